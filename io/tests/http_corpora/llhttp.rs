//! llhttp in strict mode: it and we agree on what is accepted and on the bytes of bodies, save the cases listed
//! with their reason. Its requests often lack a Host; where that is all we miss, one is added.

use serde::Deserialize;
use shardgate_io::http1::body::{Chunk, ChunkDecoder};
use shardgate_io::http1::head::{
    Framing, Limits, Parse, RequestHead, ResponseHead, parse_request, parse_response,
};

#[derive(Deserialize)]
struct Case {
    file: String,
    title: String,
    meta: Option<String>,
    input: String,
    expect: String,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(rename = "type")]
    kind: Option<String>,
    /// The fixture has llhttp treat bodies as absent, which only its user can ask for.
    #[serde(rename = "skipBody", default)]
    skip_body: bool,
}

/// Cases in which we differ, by file and a part of the title, with the reason.
const DIFFERENT: &[(&str, &str, &str)] = &[
    (
        "request/content-length.md",
        "Funky",
        "a GET has no body: the other corpus calls one ambiguous",
    ),
    (
        "request/connection.md",
        "and pausing",
        "Upgrade is ignored; llhttp stops for it",
    ),
    (
        "request/invalid.md",
        "ANNOUNCE method",
        "an unknown method is the endpoint table's to refuse",
    ),
    (
        "request/invalid.md",
        "Invalid method",
        "an unknown method is the endpoint table's to refuse",
    ),
    ("request/method.md", "M-SEARCH", "`*` is for OPTIONS"),
    ("request/method.md", "with ICE", "HTTP only"),
    ("request/method.md", "with RTSP", "HTTP only"),
    (
        "request/pausing.md",
        "on_chunk_extension",
        "no chunk extensions in requests",
    ),
    (
        "request/transfer-encoding.md",
        "Chunk extensions",
        "no chunk extensions in requests",
    ),
    ("request/sample.md", "No HTTP version", "no HTTP/0.9"),
    (
        "request/transfer-encoding.md",
        "`chunked` as last transfer-encoding",
        "no coding but chunked",
    ),
    (
        "request/uri.md",
        "Fragment in URI",
        "a fragment does not travel",
    ),
    (
        "request/uri.md",
        "basic auth",
        "no user in a target (RFC 9110, 4.2.4)",
    ),
    ("response/sample.md", "RTSP response", "HTTP only"),
    ("response/sample.md", "ICE response", "HTTP only"),
    (
        "response/sample.md",
        "HTTP version 0.9",
        "HTTP/1.0 and 1.1 only",
    ),
    (
        "response/transfer-encoding.md",
        "Trailing space",
        "blanks behind a size are harmless here, and sent by some",
    ),
    (
        "response/transfer-encoding.md",
        "chunked` before other",
        "no coding but chunked",
    ),
    (
        "response/transfer-encoding.md",
        "chunked is not the last",
        "no coding but chunked",
    ),
    (
        "response/transfer-encoding.md",
        "`chunkedchunked`",
        "no coding but chunked",
    ),
    (
        "response/transfer-encoding.md",
        "No extension after",
        "extensions of responses are skipped unread",
    ),
    (
        "response/transfer-encoding.md",
        "Unbalanced",
        "extensions of responses are skipped unread",
    ),
];

#[derive(Debug, PartialEq)]
struct Verdict {
    accepted: bool,
    body: Vec<u8>,
}

#[test]
fn verdicts() {
    let Some(corpora) = crate::corpora() else {
        return;
    };
    let text = std::fs::read_to_string(corpora.join("llhttp.jsonl")).expect("readable");
    let mut wrong = Vec::new();
    let mut compared = 0;
    let mut used = vec![false; DIFFERENT.len()];
    for line in text.lines() {
        let case: Case = serde_json::from_str(line).expect("case");
        let meta: Option<Meta> = case
            .meta
            .as_deref()
            .and_then(|meta| serde_json::from_str(meta).ok());
        let Some(Meta {
            kind: Some(kind),
            skip_body: false,
        }) = meta
        else {
            continue;
        };
        if kind != "request" && kind != "response" {
            continue;
        }
        compared += 1;
        let expected = theirs(&case.expect);
        let input = input_bytes(&case.input);
        let (got, why) = if kind == "request" {
            requests(&input)
        } else {
            responses(&input)
        };
        let same =
            got.accepted == expected.accepted && (!got.accepted || got.body == expected.body);
        let excuse = DIFFERENT
            .iter()
            .position(|(file, title, _)| *file == case.file && case.title.contains(title));
        match excuse {
            Some(at) if !same => used[at] = true,
            None if !same => wrong.push(format!(
                "{}: {}\n  input {:?}\n  expected {expected:?}\n  got {got:?}: {why}",
                case.file,
                case.title,
                String::from_utf8_lossy(&input)
            )),
            _ => {}
        }
    }
    println!(
        "llhttp: {compared} compared, {} differ on purpose",
        DIFFERENT.len()
    );
    assert!(
        wrong.is_empty(),
        "{} disagree:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    let stale: Vec<_> = DIFFERENT
        .iter()
        .zip(used)
        .filter(|(_, used)| !used)
        .collect();
    assert!(stale.is_empty(), "listed, but we agree: {stale:?}");
}

/// The corpus is text: line ends stand for CR LF, and escapes for single bytes.
fn input_bytes(text: &str) -> Vec<u8> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.replace("\\\n", "").replace('\n', "\r\n");
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let (byte, after) = match rest {
            [b'\\', b'r', after @ ..] => (b'\r', after),
            [b'\\', b'n', after @ ..] => (b'\n', after),
            [b'\\', b't', after @ ..] => (b'\t', after),
            [b'\\', b'f', after @ ..] => (0x0c, after),
            [b'\\', b'x', high, low, after @ ..] => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).expect("ASCII");
                (u8::from_str_radix(digits, 16).expect("hexadecimal"), after)
            }
            _ => (*first, after),
        };
        bytes.push(byte);
        rest = after;
    }
    bytes
}

fn theirs(expect: &str) -> Verdict {
    let mut body = Vec::new();
    for line in expect.lines() {
        let Some((_, part)) = line.split_once("span[body]=") else {
            continue;
        };
        match part {
            "cr" => body.push(b'\r'),
            "lf" => body.push(b'\n'),
            quoted => body.extend_from_slice(quoted.trim_matches('"').as_bytes()),
        }
    }
    Verdict {
        accepted: !expect.contains("error code="),
        body,
    }
}

fn verdict(body: Vec<u8>, why: &str) -> (Verdict, String) {
    (
        Verdict {
            accepted: why.is_empty(),
            body,
        },
        why.to_owned(),
    )
}

/// Every request of the input in turn.
fn requests(input: &[u8]) -> (Verdict, String) {
    let mut bytes = input.to_vec();
    let mut body = Vec::new();
    let mut head = RequestHead::default();
    while !bytes.is_empty() {
        match parse_request(&bytes, &mut head, &Limits::default()) {
            Ok(Parse::Complete) => {}
            Ok(Parse::Partial) if finish_head(&mut bytes) => continue,
            Ok(Parse::Partial) => break,
            Err(refusal) if refusal.reason.contains("exactly one Host") && add_host(&mut bytes) => {
                continue;
            }
            Err(refusal) => return verdict(body, refusal.reason),
        }
        bytes.drain(..head.len);
        match take_body(&mut bytes, head.framing, &mut body, false) {
            Ok(true) => {}
            Ok(false) => break,
            Err(reason) => return verdict(body, &reason),
        }
        if !head.keep_alive && !bytes.is_empty() && bytes != b"\r\n" {
            return verdict(body, "data after close");
        }
    }
    verdict(body, "")
}

/// Adds a Host to the head at the front when it has none; the one in the target if there is one.
fn add_host(bytes: &mut Vec<u8>) -> bool {
    let text: String = bytes
        .iter()
        .map(|&b| if b.is_ascii() { char::from(b) } else { '?' })
        .collect();
    let text = text.trim_start();
    let start = bytes.len() - text.len();
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    if head.to_ascii_lowercase().contains("\r\nhost:") {
        return false;
    }
    let line = head.split("\r\n").next().unwrap_or_default();
    let target = line.split(' ').nth(1).unwrap_or_default();
    let host = target
        .strip_prefix("http://")
        .and_then(|rest| rest.split(['/', '?']).next());
    let at = start + line.len() + 2;
    bytes.splice(
        at..at,
        format!("Host: {}\r\n", host.unwrap_or("a")).into_bytes(),
    );
    true
}

/// llhttp judges header by header, we judge whole heads: completes one that stops after a line.
fn finish_head(bytes: &mut Vec<u8>) -> bool {
    let stops = bytes.ends_with(b"\r\n") && bytes.len() > 2 && !bytes.ends_with(b"\r\n\r\n");
    if stops {
        bytes.extend_from_slice(b"\r\n");
    }
    stops
}

/// Every response of the input in turn.
fn responses(input: &[u8]) -> (Verdict, String) {
    let mut bytes = input.to_vec();
    let mut body = Vec::new();
    let mut head = ResponseHead::default();
    while !bytes.is_empty() {
        match parse_response(&bytes, false, &mut head, &Limits::default()) {
            Ok(Parse::Complete) => {}
            Ok(Parse::Partial) if finish_head(&mut bytes) => continue,
            Ok(Parse::Partial) => break,
            Err(refusal) => return verdict(body, refusal.reason),
        }
        bytes.drain(..head.len);
        match take_body(&mut bytes, head.framing, &mut body, true) {
            Ok(true) => {}
            Ok(false) => break,
            Err(reason) => return verdict(body, &reason),
        }
        if !head.keep_alive && !bytes.is_empty() && bytes != b"\r\n" {
            return verdict(body, "data after close");
        }
    }
    verdict(body, "")
}

/// Moves one body from `bytes`; false when its end has not come.
fn take_body(
    bytes: &mut Vec<u8>,
    framing: Framing,
    body: &mut Vec<u8>,
    tolerate: bool,
) -> Result<bool, String> {
    let length = match framing {
        Framing::None => 0,
        Framing::Length(length) => length,
        Framing::UntilClose => u64::MAX,
        Framing::Chunked => return take_chunks(bytes, body, tolerate),
    };
    let there = bytes
        .len()
        .min(usize::try_from(length).unwrap_or(usize::MAX));
    body.extend(bytes.drain(..there));
    Ok(there as u64 == length)
}

fn take_chunks(bytes: &mut Vec<u8>, body: &mut Vec<u8>, tolerate: bool) -> Result<bool, String> {
    let mut decoder = ChunkDecoder::new(tolerate);
    loop {
        match decoder
            .next(bytes)
            .map_err(|refusal| refusal.reason.to_owned())?
        {
            Chunk::Data {
                start,
                end,
                consumed,
            } => {
                body.extend_from_slice(&bytes[start..end]);
                bytes.drain(..consumed);
            }
            Chunk::NeedMore { .. } => {
                bytes.clear();
                return Ok(false);
            }
            Chunk::End { consumed } => {
                bytes.drain(..consumed);
                return Ok(true);
            }
        }
    }
}
