//! The coordinator's own calls: one request, one answer, over HTTP or HTTPS. Bounded in time and size.
//!
//! Shards have their pools; this is for the few calls beside traffic: key sets of identity providers,
//! tokens, alerts. It follows no redirects, keeps no connection and retries nothing.

use std::io;
use std::time::Duration;

use shardgate_io::http1::body::{Chunk, ChunkDecoder};
use shardgate_io::http1::head::{Framing, Limits, Parse, ResponseHead, parse_response};
use shardgate_io::tls::{ClientTls, ReadState, TlsSession};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer's body, at most.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// From the name's look-up to the answer's last byte.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes calls.
pub struct Web {
    tls: ClientTls,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    /// GET, POST, ...
    pub method: &'a str,
    /// `http://` or `https://`, host, port, path and query.
    pub url: &'a str,
    /// Headers besides host and those about framing.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
}

impl Web {
    /// Trusts the system's roots.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn new() -> Result<Web, String> {
        Ok(Web {
            tls: ClientTls::new(true)?,
        })
    }

    /// Makes one call.
    ///
    /// # Errors
    /// What went wrong; never a secret of the request.
    pub async fn call(&self, ask: &Ask<'_>) -> io::Result<Reply> {
        match tokio::time::timeout(PATIENCE, self.exchange(ask)).await {
            Ok(done) => done,
            Err(_) => Err(wrong("no answer within 10 s")),
        }
    }

    async fn exchange(&self, ask: &Ask<'_>) -> io::Result<Reply> {
        let target = Target::parse(ask.url)?;
        let stream =
            TcpStream::connect((target.host.trim_matches(['[', ']']), target.port)).await?;
        let session = match target.secure {
            true => Some(self.tls.session(target.host)?),
            false => None,
        };
        let mut link = Link { stream, session };
        link.send(&request(ask, &target)?).await?;
        let mut answer = Vec::new();
        let mut head = ResponseHead::default();
        while !complete(&answer, &mut head)? {
            if !link.read(&mut answer).await? {
                return Err(wrong("the connection ended before the answer"));
            }
            if answer.len() > ANSWER_BYTES_MAX {
                return Err(wrong("the answer is too large"));
            }
        }
        let body = link.body(answer.split_off(head.len), head.framing).await?;
        Ok(Reply {
            status: head.status,
            body,
        })
    }
}

/// The final head is there; those before it (1xx) are cut off.
fn complete(answer: &[u8], head: &mut ResponseHead) -> io::Result<bool> {
    match parse_response(answer, false, head, &Limits::default()) {
        Ok(Parse::Complete) if head.status >= 200 => Ok(true),
        Ok(Parse::Complete) => Err(wrong("an interim answer was not asked for")),
        Ok(Parse::Partial) => Ok(false),
        Err(refusal) => Err(wrong(refusal.reason)),
    }
}

/// A URL's parts.
struct Target<'a> {
    secure: bool,
    host: &'a str,
    port: u16,
    path: &'a str,
}

impl Target<'_> {
    fn parse(url: &str) -> io::Result<Target<'_>> {
        let (secure, rest) = match url.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            _ => return Err(wrong("the URL must begin with http:// or https://")),
        };
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        let colon = authority
            .rfind(':')
            .filter(|at| !authority[*at..].contains(']'));
        let (host, port) = match colon {
            Some(at) => (&authority[..at], authority[at + 1..].parse().ok()),
            None => (authority, Some(if secure { 443 } else { 80 })),
        };
        let port = port.ok_or_else(|| wrong("the URL's port is no number"))?;
        if host.is_empty() || host.contains('@') {
            return Err(wrong("the URL needs a host, and no credentials in it"));
        }
        Ok(Target {
            secure,
            host,
            port,
            path,
        })
    }
}

fn request(ask: &Ask<'_>, target: &Target<'_>) -> io::Result<Vec<u8>> {
    let breaks = |text: &str| text.bytes().any(|byte| byte.is_ascii_control());
    let headers = ask.headers.iter();
    if breaks(ask.url)
        || headers
            .into_iter()
            .any(|(name, value)| breaks(name) || breaks(value))
    {
        return Err(wrong("a header's value or the URL has a line break in it"));
    }
    let slash = if target.path.starts_with('/') {
        ""
    } else {
        "/"
    };
    let mut head = format!(
        "{} {slash}{} HTTP/1.1\r\nhost: {}:{}\r\nconnection: close\r\naccept: application/json\r\n\
         user-agent: shardgate\r\n",
        ask.method, target.path, target.host, target.port
    );
    for (name, value) in ask.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !ask.body.is_empty() || ask.method == "POST" {
        head.push_str(&format!("content-length: {}\r\n", ask.body.len()));
    }
    head.push_str("\r\n");
    Ok([head.as_bytes(), ask.body].concat())
}

fn wrong(why: &str) -> io::Error {
    io::Error::other(why.to_owned())
}

/// A connection, with TLS or without.
struct Link {
    stream: TcpStream,
    session: Option<TlsSession>,
}

impl Link {
    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.session.is_none() {
            return self.stream.write_all(bytes).await;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            if let Some(session) = &mut self.session {
                let taken = session.write_plain(rest)?;
                rest = &rest[taken..];
            }
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        let mut out = Vec::new();
        if let Some(session) = &mut self.session {
            session.take_output(&mut out)?;
        }
        self.stream.write_all(&out).await
    }

    /// Appends what comes; false at the end.
    async fn read(&mut self, into: &mut Vec<u8>) -> io::Result<bool> {
        let mut bytes = [0; 16 * 1024];
        loop {
            if let Some(session) = &mut self.session {
                match session.read_plain(into, bytes.len()) {
                    ReadState::Bytes(_) => return Ok(true),
                    ReadState::Closed => return Ok(false),
                    ReadState::Truncated => return Err(wrong("the answer was cut off")),
                    ReadState::WouldBlock => {}
                }
            }
            let count = self.stream.read(&mut bytes).await?;
            let Some(session) = &mut self.session else {
                into.extend_from_slice(&bytes[..count]);
                return Ok(count > 0);
            };
            if count == 0 {
                session.feed_end()?;
                continue;
            }
            let mut rest = &bytes[..count];
            while !rest.is_empty() {
                let taken = session.feed(rest)?;
                rest = &rest[taken..];
                if taken == 0
                    && !matches!(session.read_plain(into, bytes.len()), ReadState::Bytes(_))
                {
                    return Err(wrong("the TLS connection does not go on"));
                }
            }
            self.flush().await?;
        }
    }

    async fn body(&mut self, begun: Vec<u8>, framing: Framing) -> io::Result<Vec<u8>> {
        let mut raw = begun;
        let enough = |raw: &[u8]| match framing {
            Framing::None => true,
            Framing::Length(length) => raw.len() as u64 >= length,
            Framing::Chunked => unchunked(raw).is_some(),
            Framing::UntilClose => false,
        };
        while !enough(&raw) {
            if raw.len() > ANSWER_BYTES_MAX {
                return Err(wrong("the answer is too large"));
            }
            if !self.read(&mut raw).await? {
                match framing {
                    Framing::UntilClose => return Ok(raw),
                    _ => return Err(wrong("the answer was cut off")),
                }
            }
        }
        match framing {
            Framing::None => Ok(Vec::new()),
            Framing::Length(length) => {
                raw.truncate(usize::try_from(length).unwrap_or(usize::MAX));
                Ok(raw)
            }
            Framing::Chunked => {
                unchunked(&raw).ok_or_else(|| wrong("the answer's chunks are broken"))
            }
            Framing::UntilClose => Ok(raw),
        }
    }
}

/// The data of chunks, once all of them are there. Quadratic over pieces that come; answers are small.
fn unchunked(raw: &[u8]) -> Option<Vec<u8>> {
    let (mut decoder, mut rest, mut data) = (ChunkDecoder::new(true), raw, Vec::new());
    loop {
        match decoder.next(rest).ok()? {
            Chunk::Data {
                start,
                end,
                consumed,
            } => {
                data.extend_from_slice(&rest[start..end]);
                rest = &rest[consumed..];
            }
            Chunk::NeedMore { .. } => return None,
            Chunk::End { .. } => return Some(data),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let check = |url: &str, secure, host: &str, port, path: &str| {
            let target = Target::parse(url).unwrap();
            assert_eq!(
                (target.secure, target.host, target.port, target.path),
                (secure, host, port, path),
                "{url}"
            );
        };
        check("https://a.b/c?d", true, "a.b", 443, "/c?d");
        check("http://a.b:81", false, "a.b", 81, "");
        check("http://[::1]:81/x", false, "[::1]", 81, "/x");
        check("http://[::1]/x", false, "[::1]", 80, "/x");
        for wrong in ["ftp://a", "a", "http://", "http://u:p@h/", "http://a:b/"] {
            assert!(Target::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_value_with_a_line_break_makes_no_second_header() {
        let ask = |value: &'static str| {
            let headers = [("authorization", value)];
            let ask = Ask {
                method: "GET",
                url: "http://a/",
                headers: &headers,
                body: b"",
            };
            request(&ask, &Target::parse(ask.url).unwrap())
                .map(|bytes| String::from_utf8(bytes).unwrap())
        };
        assert!(
            ask("Bearer x")
                .unwrap()
                .ends_with("authorization: Bearer x\r\n\r\n")
        );
        assert!(ask("Bearer x\r\nevil: 1").is_err());
        assert!(ask("Bearer x\nevil: 1").is_err());
    }

    #[test]
    fn chunks_are_joined() {
        assert_eq!(
            unchunked(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").unwrap(),
            b"abcde"
        );
        assert_eq!(unchunked(b"3\r\nabc\r\n2\r\nd"), None);
    }
}
