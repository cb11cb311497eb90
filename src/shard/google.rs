//! Requests of Google's API: what stands in the URL there and in the body everywhere else (whether to stream), the key in
//! the query, and the two ways to stream.

use serde_json::{Map, Value};
use shardgate_io::buffer::Buf;
use shardgate_io::http1::server::Request;

use crate::endpoint::Verb;

/// Writes what the URL says into the body. A body that is no JSON object stays as it is and is refused later.
pub(super) fn complete(verb: Verb, request: &mut Request) {
    let body = request.body();
    // The two names are ours; where a client has them, they are not Google's.
    let has_ours = |name: &str| memchr::memmem::find(body, name.as_bytes()).is_some();
    let made = if has_ours("\"stream\"") || has_ours("\"model\"") {
        rewritten(verb, body)
    } else if verb == Verb::Stream {
        with_stream(body)
    } else {
        None
    };
    if let Some(made) = made {
        replace_body(request, &made);
    }
}

/// Another body in place of the client's.
pub(super) fn replace_body(request: &mut Request, made: &[u8]) {
    let start = request.body.start;
    let mut bytes = Buf::for_bytes(start + made.len());
    bytes.extend_from_slice(&request.bytes[..start]);
    bytes.extend_from_slice(made);
    request.bytes = bytes;
    request.body = start..start + made.len();
}

fn with_stream(body: &[u8]) -> Option<Vec<u8>> {
    let rest = body.trim_ascii_start().strip_prefix(b"{")?;
    let comma: &[u8] = if rest.trim_ascii_start().starts_with(b"}") {
        b""
    } else {
        b","
    };
    Some([b"{\"stream\":true", comma, rest].concat())
}

fn rewritten(verb: Verb, body: &[u8]) -> Option<Vec<u8>> {
    let mut fields: Map<String, Value> = serde_json::from_slice(body).ok()?;
    fields.remove("model");
    fields.remove("stream");
    if verb == Verb::Stream {
        fields.insert("stream".to_owned(), Value::Bool(true));
    }
    serde_json::to_vec(&fields).ok()
}

/// A member of the request's query, as it stands there.
pub(super) fn in_query<'a>(request: &'a Request, name: &str) -> Option<&'a [u8]> {
    let query = request.head.query.of(&request.bytes);
    query.split(|byte| *byte == b'&').find_map(|pair| {
        let rest = pair.strip_prefix(name.as_bytes())?;
        rest.strip_prefix(b"=")
    })
}

/// Google streams one JSON array unless events are asked for.
pub(super) fn wants_array(verb: Option<Verb>, request: &Request) -> bool {
    verb == Some(Verb::Stream) && in_query(request, "alt") != Some(b"sse")
}
