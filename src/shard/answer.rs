//! Answers: heads and bodies as the client gets them.
//!
//! One place writes every head, so that the headers LiteLLM's clients look for are on all of them.

use std::pin::Pin;

use shardgate_io::buffer::Buf;
use shardgate_io::http1::encode::{
    CHUNK_SUFFIX, Name, chunk_prefix, end_head, header, header_u64, status_line,
};
use shardgate_io::http1::head::Refusal;
use shardgate_io::http1::server::{After, Connection};

use super::Shard;
use super::call::Call;
use crate::dialect::anthropic_messages::client;
use crate::dialect::gemini::client as google;
use crate::error::GatewayError;
use crate::message::AdminAnswer;
use crate::provider::Operation;

/// Room for a head, beside a body.
pub(super) const HEAD_BYTES: usize = 2048;

/// Headers of answers and requests alike.
pub(super) const CONTENT_TYPE: Name = Name::new("content-type");
pub(super) const CONTENT_LENGTH: Name = Name::new("content-length");
const DATE: Name = Name::new("date");

/// Seconds since 1970.
pub(super) fn unix_seconds() -> u64 {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// How the body of an answer is framed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    Known(usize),
    /// Chunked for HTTP/1.1, until the end of the connection for 1.0.
    Unknown,
}

/// Starts a head: status line and the headers that every answer has.
pub(super) fn begin(shard: &Shard, call: &Call, status: u16, out: &mut Vec<u8>) {
    status_line(out, status);
    DATE.write(out, shard.dates.borrow_mut().at(unix_seconds()));
    if call.cors {
        out.extend_from_slice(
            b"access-control-allow-origin: *\r\naccess-control-allow-credentials: true\r\n",
        );
    }
}

/// Ends a head with its framing; true when the connection closes after this answer.
pub(super) fn finish(
    call: &Call,
    connection: &Connection,
    length: Length,
    out: &mut Vec<u8>,
) -> bool {
    let close =
        !call.keep_alive || connection.draining() || (length == Length::Unknown && !call.http11);
    match length {
        Length::Known(bytes) => CONTENT_LENGTH.write_u64(out, bytes as u64),
        Length::Unknown if call.http11 => {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
        Length::Unknown => {}
    }
    if close {
        out.extend_from_slice(b"connection: close\r\n");
    } else if !call.http11 {
        out.extend_from_slice(b"connection: keep-alive\r\n");
    }
    end_head(out);
    close
}

fn after(close: bool) -> After {
    if close {
        After::Close
    } else {
        After::KeepAlive
    }
}

/// Sends a complete answer whose head was begun in `out`.
pub(super) async fn send_whole(
    call: &mut Call,
    connection: &mut Connection,
    mut out: Buf,
    body: &[u8],
) -> After {
    let close = finish(call, connection, Length::Known(body.len()), &mut out);
    if !call.to_head {
        out.extend_from_slice(body);
    }
    send(call, connection, out, close).await
}

/// Sends the last bytes of an answer.
pub(super) async fn send(
    call: &mut Call,
    connection: &mut Connection,
    out: Buf,
    close: bool,
) -> After {
    match connection.send(out, 0).await {
        Ok(_) => after(close),
        Err(_) => {
            call.status = 499;
            After::Abort
        }
    }
}

/// Adds a piece of a body whose length is not known.
pub(super) fn push_chunk(chunked: bool, data: &[u8], out: &mut Vec<u8>) {
    if !chunked {
        out.extend_from_slice(data);
        return;
    }
    let (prefix, len) = chunk_prefix(data.len());
    out.extend_from_slice(&prefix[..len]);
    out.extend_from_slice(data);
    out.extend_from_slice(CHUNK_SUFFIX);
}

/// A small JSON answer of our own.
pub(super) async fn json(
    shard: &Shard,
    call: &mut Call,
    connection: &mut Connection,
    status: u16,
    body: &[u8],
) -> After {
    call.status = status;
    let mut out = Buf::small();
    begin(shard, call, status, &mut out);
    header(&mut out, "content-type", b"application/json");
    send_whole(call, connection, out, body).await
}

/// The answer to a request that failed, in the shape of the client's dialect. In a box, since many
/// places may fail and each would hold room for it.
pub(super) fn error<'a>(
    shard: &'a Shard,
    call: &'a mut Call,
    connection: &'a mut Connection,
    error: &'a GatewayError,
    close: bool,
) -> Pin<Box<dyn Future<Output = After> + 'a>> {
    Box::pin(send_error(shard, call, connection, error, close))
}

async fn send_error(
    shard: &Shard,
    call: &mut Call,
    connection: &mut Connection,
    error: &GatewayError,
    close: bool,
) -> After {
    call.status = error.status;
    call.bill.error_class = error.class.name();
    call.keep_alive &= !close;
    let mut out = Buf::small();
    begin(shard, call, error.status, &mut out);
    header(&mut out, "content-type", b"application/json");
    header(&mut out, "x-litellm-call-id", call.shown_id().as_bytes());
    header(
        &mut out,
        "x-litellm-version",
        env!("CARGO_PKG_VERSION").as_bytes(),
    );
    header(&mut out, "x-litellm-response-cost", b"0");
    super::callers::headers(shard, call, &mut out);
    for (name, value) in &call.refusal_headers {
        header(&mut out, name, value.as_bytes());
    }
    if let Some(wait) = error.retry_after {
        header_u64(&mut out, "retry-after", wait.as_secs_f64().ceil() as u64);
    }
    for (name, value) in &error.upstream_headers {
        provider_header(&mut out, name.as_bytes(), value.as_bytes());
    }
    let body = match call.operation {
        Some(Operation::Messages | Operation::MessagesCount) => client::error_body(error),
        Some(Operation::GenerateContent | Operation::GenerateCount) => google::error_body(error),
        _ => error.body_openai(),
    };
    send_whole(call, connection, out, &body).await
}

/// A header of the upstream's answer, as LiteLLM passes it on.
pub(super) fn provider_header(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    const PREFIX: &[u8] = b"llm_provider-";
    let start = out.len();
    out.extend_from_slice(PREFIX);
    let before = out.len();
    header(out, name, value);
    if out.len() == before {
        out.truncate(start);
    } else {
        out[before..before + name.len()].make_ascii_lowercase();
    }
}

/// The coordinator's answer.
pub(super) async fn admin(
    shard: &Shard,
    call: &mut Call,
    connection: &mut Connection,
    answer: AdminAnswer,
) -> After {
    call.status = answer.status;
    let mut out = Buf::small();
    begin(shard, call, answer.status, &mut out);
    for (name, value) in &answer.headers {
        header(&mut out, name, value);
    }
    send_whole(call, connection, out, &answer.body).await
}

/// The answer to a CORS preflight: everything is allowed, as LiteLLM does.
pub(super) async fn preflight(
    shard: &Shard,
    call: &mut Call,
    connection: &mut Connection,
    asked_headers: Option<&[u8]>,
) -> After {
    call.status = 200;
    let mut out = Buf::small();
    begin(shard, call, 200, &mut out);
    header(
        &mut out,
        "access-control-allow-methods",
        b"DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT",
    );
    header(&mut out, "access-control-max-age", b"600");
    if let Some(asked) = asked_headers {
        header(&mut out, "access-control-allow-headers", asked);
    }
    header(&mut out, "content-type", b"text/plain; charset=utf-8");
    send_whole(call, connection, out, b"OK").await
}

/// A complete answer to what is refused before it is a request.
pub(super) fn refusal(shard: &Shard, refusal: &Refusal) -> Vec<u8> {
    let kind = if refusal.status >= 500 {
        "internal_server_error"
    } else {
        "invalid_request_error"
    };
    let body = serde_json::json!({"error": {"message": refusal.reason, "type": kind,
        "param": null, "code": refusal.status.to_string()}})
    .to_string();
    let mut out = Vec::with_capacity(512);
    status_line(&mut out, refusal.status);
    header(
        &mut out,
        "date",
        shard.dates.borrow_mut().at(unix_seconds()),
    );
    header(&mut out, "content-type", b"application/json");
    header_u64(&mut out, "content-length", body.len() as u64);
    header(&mut out, "connection", b"close");
    end_head(&mut out);
    out.extend_from_slice(body.as_bytes());
    out
}
