//! The request target: which of RFC 9112's forms it has, where its authority, path and query are, and whether
//! its path means the same to every hop. It must not know which paths exist.

use super::head::{Method, Refusal, Span};

/// Where the parts of a target are, counted from the target's start.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Parts {
    /// Empty unless the target is in absolute form.
    pub(super) authority: Span,
    pub(super) path: Span,
    pub(super) query: Span,
}

/// Splits a target and refuses what another hop could read differently.
pub(super) fn split(target: &[u8], method: Method) -> Result<Parts, Refusal> {
    match target.first() {
        Some(b'/') => split_path(target, 0),
        Some(b'*') if target.len() == 1 && method == Method::Options => Ok(Parts {
            path: Span { start: 0, end: 1 },
            ..Parts::default()
        }),
        _ => absolute(target),
    }
}

fn absolute(target: &[u8]) -> Result<Parts, Refusal> {
    let start = if starts_with_ignore_case(target, b"http://") {
        7
    } else if starts_with_ignore_case(target, b"https://") {
        8
    } else {
        return Err(FORM);
    };
    let rest = &target[start..];
    let length = rest
        .iter()
        .position(|b| matches!(b, b'/' | b'?'))
        .unwrap_or(rest.len());
    if length == 0 || !is_authority(&rest[..length]) {
        return Err(AUTHORITY);
    }
    let mut parts = split_path(target, start + length)?;
    parts.authority = span(start, start + length);
    Ok(parts)
}

fn starts_with_ignore_case(target: &[u8], prefix: &[u8]) -> bool {
    target
        .get(..prefix.len())
        .is_some_and(|front| front.eq_ignore_ascii_case(prefix))
}

fn split_path(target: &[u8], start: usize) -> Result<Parts, Refusal> {
    let mark = memchr::memchr(b'?', &target[start..]).map(|found| start + found);
    let path_end = mark.unwrap_or(target.len());
    let path = &target[start..path_end];
    let query_start = mark.map_or(target.len(), |at| at + 1);
    check_path(path)?;
    if !target[query_start..].iter().all(|&b| is_target_byte(b)) {
        return Err(BYTE);
    }
    Ok(Parts {
        authority: Span::default(),
        path: span(start, path_end),
        query: if mark.is_some() {
            span(query_start, target.len())
        } else {
            Span::default()
        },
    })
}

/// Refuses bytes that have no place in a path, and every spelling of a slash, a dot segment or a control byte
/// that one hop decodes and the next does not.
fn check_path(path: &[u8]) -> Result<(), Refusal> {
    let mut segment_start = 0;
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        match byte {
            b'/' => {
                refuse_dot_segment(&path[segment_start..at])?;
                segment_start = at + 1;
            }
            b'%' => {
                check_escape(&path[at + 1..])?;
                at += 2;
            }
            b'\\' => return Err(BACKSLASH),
            _ if !is_target_byte(byte) => return Err(BYTE),
            _ => {}
        }
        at += 1;
    }
    refuse_dot_segment(&path[segment_start..])
}

fn check_escape(after_percent: &[u8]) -> Result<(), Refusal> {
    let digits = match after_percent {
        [high, low, ..] => hex(*high).zip(hex(*low)),
        _ => None,
    };
    match digits.map(|(high, low)| high << 4 | low) {
        None => Err(ESCAPE),
        Some(b'/' | b'\\') => Err(ENCODED_SLASH),
        Some(0..=31 | 127) => Err(ENCODED_CONTROL),
        Some(_) => Ok(()),
    }
}

fn hex(digit: u8) -> Option<u8> {
    // A digit of base 16 is below 16.
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// `.` and `..`, each dot plain or as `%2e`.
fn refuse_dot_segment(segment: &[u8]) -> Result<(), Refusal> {
    let mut rest = segment;
    let mut dots = 0;
    while !rest.is_empty() && dots < 3 {
        rest = match rest {
            [b'.', rest @ ..] | [b'%', b'2', b'e' | b'E', rest @ ..] => rest,
            _ => return Ok(()),
        };
        dots += 1;
    }
    if dots == 0 || !rest.is_empty() || dots > 2 {
        Ok(())
    } else {
        Err(DOT_SEGMENT)
    }
}

/// Printable ASCII without `#`, which starts a fragment and never travels.
fn is_target_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'#'
}

/// Bytes that a host and port are made of (RFC 3986, 3.2.2): no user, no path, and no comma, which would make
/// a list of it.
pub(super) fn is_authority(host: &[u8]) -> bool {
    host.iter().all(|&b| {
        b.is_ascii_alphanumeric()
            || matches!(b, b'-' | b'.' | b'_' | b'~' | b'%' | b'[' | b']' | b':')
            || matches!(
                b,
                b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'='
            )
    })
}

/// Both ends are within a head, whose length fits (see `head::HEAD_BYTES_LIMIT`).
fn span(start: usize, end: usize) -> Span {
    Span {
        start: start as u32,
        end: end as u32,
    }
}

const FORM: Refusal = Refusal::bad_request(
    "the request target must be a path that starts with / (or a whole http URL)",
);
const AUTHORITY: Refusal =
    Refusal::bad_request("the request target must name a plain host and port");
const BYTE: Refusal = Refusal::bad_request(
    "the request target may hold printable ASCII without # only; percent-encode the rest",
);
const BACKSLASH: Refusal = Refusal::bad_request("the path must not hold a backslash");
const ESCAPE: Refusal =
    Refusal::bad_request("a % in the path must be followed by two hexadecimal digits");
const ENCODED_SLASH: Refusal =
    Refusal::bad_request("the path must not hold an encoded slash or backslash (%2F, %5C)");
const ENCODED_CONTROL: Refusal =
    Refusal::bad_request("the path must not hold encoded control bytes");
const DOT_SEGMENT: Refusal = Refusal::bad_request("the path must not hold . or .. segments");
