//! Heads of requests and responses, parsed into spans of the caller's buffer. httparse finds the parts; the
//! checks on top refuse every head that two programs in a row could read differently (RFC 9112, sections 5, 6
//! and 11). It must not know what a header means beyond framing, connection and host.

use std::mem::MaybeUninit;

use super::target;

/// Headers that one parse can hold; `Limits::headers_max` counts up to this.
const HEADERS_CAPACITY: usize = 256;

/// Bytes that spans can count; `Limits::head_bytes_max` counts up to this.
const HEAD_BYTES_LIMIT: usize = 1 << 30;

/// Up to this many bytes an unfinished head is parsed again with each piece, so that nonsense is refused early.
/// Above it we wait for the blank line first: a slow sender must not make us parse quadratically.
const EAGER_BYTES_MAX: usize = 4 * 1024;

/// A run of bytes in the buffer that was parsed.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The bytes; empty when the buffer is not the one that was parsed and too short.
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.range()).unwrap_or_default()
    }

    /// As a range of indices.
    pub fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Bytes in it.
    pub fn len(self) -> usize {
        self.range().len()
    }

    /// True without a byte in it.
    pub fn is_empty(self) -> bool {
        self.start >= self.end
    }
}

/// A request's method.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub enum Method {
    /// GET
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// PATCH
    Patch,
    /// DELETE
    Delete,
    /// OPTIONS
    Options,
    /// Any other token; see `RequestHead::method_span`.
    #[default]
    Other,
}

impl Method {
    /// The token, `None` for [`Method::Other`].
    pub fn as_str(self) -> Option<&'static str> {
        match self {
            Method::Get => Some("GET"),
            Method::Head => Some("HEAD"),
            Method::Post => Some("POST"),
            Method::Put => Some("PUT"),
            Method::Patch => Some("PATCH"),
            Method::Delete => Some("DELETE"),
            Method::Options => Some("OPTIONS"),
            Method::Other => None,
        }
    }

    /// Methods are case-sensitive.
    pub fn from_token(token: &[u8]) -> Method {
        match token {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"POST" => Method::Post,
            b"PUT" => Method::Put,
            b"PATCH" => Method::Patch,
            b"DELETE" => Method::Delete,
            b"OPTIONS" => Method::Options,
            _ => Method::Other,
        }
    }
}

/// How the end of a body is known.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum Framing {
    /// No body.
    #[default]
    None,
    /// This many bytes, which may be 0.
    Length(u64),
    /// Chunks, see [`super::body::ChunkDecoder`].
    Chunked,
    /// The peer closes. Only in responses.
    UntilClose,
}

/// One header.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Header {
    /// As it was spelt.
    pub name: Span,
    /// Without the blanks around it.
    pub value: Span,
}

/// A request's head. Make one with `default` and use it again for the next request.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// Its token, for [`Method::Other`].
    pub method_span: Span,
    /// The whole target.
    pub target: Span,
    /// Starts with `/`; `*` for `OPTIONS *`; may be empty where the target is a URL without a path.
    pub path: Span,
    /// Without the `?`; empty when there is none.
    pub query: Span,
    /// HTTP/1.1, else HTTP/1.0.
    pub http11: bool,
    /// In their order, repeated names included.
    pub headers: Vec<Header>,
    /// The host asked for, with its port if it was given. Empty only in HTTP/1.0 or when sent so.
    pub host: Span,
    /// `None`, `Length` or `Chunked`.
    pub framing: Framing,
    /// May the connection serve another request.
    pub keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub expect_continue: bool,
    /// Bytes of the head, blank line included.
    pub len: usize,
    names_hops: bool,
}

/// A response's head. Make one with `default` and use it again for the next response.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct ResponseHead {
    /// 100 to 999.
    pub status: u16,
    /// HTTP/1.1, else HTTP/1.0.
    pub http11: bool,
    /// In their order, repeated names included.
    pub headers: Vec<Header>,
    /// How its body ends.
    pub framing: Framing,
    /// May the connection serve another request.
    pub keep_alive: bool,
    /// Bytes of the head, blank line included.
    pub len: usize,
    names_hops: bool,
}

/// Whether the head is whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parse {
    /// The head is filled in.
    Complete,
    /// More bytes are needed; what is in the head means nothing.
    Partial,
}

/// Bounds on a head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes, blank line included.
    pub head_bytes_max: usize,
    /// Header lines; at most 256 count.
    pub headers_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            head_bytes_max: 64 * 1024,
            headers_max: 128,
        }
    }
}

/// Why a message is not accepted. The connection must be closed after the answer: what follows on it cannot be
/// told apart any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// 400, 414, 431, 501 or 505; 502 for responses.
    pub status: u16,
    /// What to change, for the answer.
    pub reason: &'static str,
}

impl Refusal {
    pub(super) const fn bad_request(reason: &'static str) -> Refusal {
        Refusal {
            status: 400,
            reason,
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.reason)
    }
}

impl std::error::Error for Refusal {}

impl RequestHead {
    /// The first value of a header, by its lower-case name.
    pub fn header<'a>(&self, bytes: &'a [u8], name: &str) -> Option<&'a [u8]> {
        first(&self.headers, bytes, name)
    }

    /// Names and values in their order.
    pub fn each<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.headers
            .iter()
            .map(move |h| (h.name.of(bytes), h.value.of(bytes)))
    }

    /// The headers that its `Connection` headers name.
    pub fn connection_tokens<'a>(&'a self, bytes: &'a [u8]) -> ConnectionTokens<'a> {
        ConnectionTokens {
            headers: if self.names_hops { &self.headers } else { &[] },
            bytes,
        }
    }
}

impl ResponseHead {
    /// The first value of a header, by its lower-case name.
    pub fn header<'a>(&self, bytes: &'a [u8], name: &str) -> Option<&'a [u8]> {
        first(&self.headers, bytes, name)
    }

    /// Names and values in their order.
    pub fn each<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.headers
            .iter()
            .map(move |h| (h.name.of(bytes), h.value.of(bytes)))
    }

    /// The headers that its `Connection` headers name.
    pub fn connection_tokens<'a>(&'a self, bytes: &'a [u8]) -> ConnectionTokens<'a> {
        ConnectionTokens {
            headers: if self.names_hops { &self.headers } else { &[] },
            bytes,
        }
    }
}

fn first<'a>(headers: &[Header], bytes: &'a [u8], name: &str) -> Option<&'a [u8]> {
    headers
        .iter()
        .find(|h| {
            h.name.len() == name.len() && h.name.of(bytes).eq_ignore_ascii_case(name.as_bytes())
        })
        .map(|h| h.value.of(bytes))
}

/// The header names that a message's `Connection` headers list besides `close` and `keep-alive`: they concern
/// this hop and a proxy strips them. Costs nothing where there are none.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionTokens<'a> {
    headers: &'a [Header],
    bytes: &'a [u8],
}

impl ConnectionTokens<'_> {
    /// True when the header called `name`, in any case, is for this hop only.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.headers
            .iter()
            .filter(|h| h.name.of(self.bytes).eq_ignore_ascii_case(b"connection"))
            .any(|h| list(h.value.of(self.bytes)).any(|token| token.eq_ignore_ascii_case(name)))
    }
}

/// True for the headers that every proxy strips: those that concern one hop, and those that frame the message,
/// save `Content-Length`, which stands for a body that may travel unchanged.
pub fn is_hop_by_hop(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 10] = [
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    ];
    NAMES
        .iter()
        .any(|hop| hop.len() == name.len() && name.eq_ignore_ascii_case(hop))
}

/// True for a non-empty run of token bytes (RFC 9110, 5.6.2).
pub const fn is_token(name: &[u8]) -> bool {
    let mut rest = name;
    while let [first, others @ ..] = rest {
        if !is_token_byte(*first) {
            return false;
        }
        rest = others;
    }
    !name.is_empty()
}

/// True for a byte that a token may hold.
pub const fn is_token_byte(byte: u8) -> bool {
    const TABLE: [bool; 256] = {
        let mut table = [false; 256];
        let mut b = 0;
        while b < 128 {
            let byte = b as u8;
            table[b] = byte.is_ascii_alphanumeric()
                || matches!(byte, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+')
                || matches!(byte, b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~');
            b += 1;
        }
        table
    };
    TABLE[byte as usize]
}

/// Parses the head at the front of `bytes`, which is all that has come of this request.
pub fn parse_request(
    bytes: &[u8],
    head: &mut RequestHead,
    limits: &Limits,
) -> Result<Parse, Refusal> {
    let window = window(bytes, limits);
    if must_wait(window) {
        return partial(bytes, window, limits, 400);
    }
    let mut storage = [const { MaybeUninit::uninit() }; HEADERS_CAPACITY];
    let mut parsed = httparse::Request::new(&mut []);
    let room = &mut storage[..limits.headers_max.min(HEADERS_CAPACITY)];
    let len = match parsed.parse_with_uninit_headers(window, room) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return partial(bytes, window, limits, 400),
        Err(error) => return Err(request_error(error, window)),
    };
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version)
    else {
        return Err(REQUEST_LINE);
    };
    head.len = len;
    head.http11 = version == 1;
    head.method = Method::from_token(method.as_bytes());
    head.method_span = span_in(window, method.as_bytes());
    head.target = span_in(window, target.as_bytes());
    refuse_bare_line_ends(window, parsed.headers, len)?;
    if &window[head.method_span.range()] == b"CONNECT" {
        return Err(CONNECT);
    }
    let parts = target::split(target.as_bytes(), head.method)?;
    head.path = shift(parts.path, head.target.start);
    head.query = shift(parts.query, head.target.start);
    let facts = collect(window, parsed.headers, &mut head.headers)?;
    finish_request(
        window,
        head,
        &facts,
        shift(parts.authority, head.target.start),
    )?;
    Ok(Parse::Complete)
}

/// Parses the head at the front of `bytes`, which is all that has come of this response. Interim responses
/// (1xx) are returned like others, without a body. Refusals say 502.
pub fn parse_response(
    bytes: &[u8],
    to_head_request: bool,
    head: &mut ResponseHead,
    limits: &Limits,
) -> Result<Parse, Refusal> {
    response(bytes, to_head_request, head, limits).map_err(|refusal| Refusal {
        status: 502,
        ..refusal
    })
}

fn response(
    bytes: &[u8],
    to_head_request: bool,
    head: &mut ResponseHead,
    limits: &Limits,
) -> Result<Parse, Refusal> {
    let window = window(bytes, limits);
    if must_wait(window) {
        return partial(bytes, window, limits, 502);
    }
    let mut storage = [const { MaybeUninit::uninit() }; HEADERS_CAPACITY];
    let mut parsed = httparse::Response::new(&mut []);
    let room = &mut storage[..limits.headers_max.min(HEADERS_CAPACITY)];
    let config = httparse::ParserConfig::default();
    let len = match config.parse_response_with_uninit_headers(&mut parsed, window, room) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return partial(bytes, window, limits, 502),
        Err(error) => return Err(header_error(error)),
    };
    let (Some(status), Some(version)) = (parsed.code, parsed.version) else {
        return Err(STATUS_LINE);
    };
    if status < 100 {
        return Err(STATUS_LINE);
    }
    refuse_bare_line_ends(window, parsed.headers, len)?;
    head.len = len;
    head.status = status;
    head.http11 = version == 1;
    let facts = collect(window, parsed.headers, &mut head.headers)?;
    head.names_hops = facts.names_hops;
    let bodyless = to_head_request || matches!(status, 100..=199 | 204 | 304);
    head.framing = match facts.framing(head.http11)? {
        _ if bodyless => Framing::None,
        Framing::None => Framing::UntilClose,
        framing => framing,
    };
    head.keep_alive = facts.keep_alive(head.http11) && head.framing != Framing::UntilClose;
    Ok(Parse::Complete)
}

/// The part of `bytes` in which the head must end.
fn window<'a>(bytes: &'a [u8], limits: &Limits) -> &'a [u8] {
    &bytes[..bytes.len().min(limits.head_bytes_max).min(HEAD_BYTES_LIMIT)]
}

fn must_wait(window: &[u8]) -> bool {
    window.len() > EAGER_BYTES_MAX
        && memchr::memmem::find(window, b"\n\r\n").is_none()
        && memchr::memmem::find(window, b"\n\n").is_none()
}

/// Waits for more, unless the head fills its bound.
fn partial(bytes: &[u8], window: &[u8], limits: &Limits, status: u16) -> Result<Parse, Refusal> {
    if bytes.len() < limits.head_bytes_max.min(HEAD_BYTES_LIMIT) {
        Ok(Parse::Partial)
    } else if status == 400 && memchr::memchr(b'\n', window).is_none() {
        Err(TARGET_LONG)
    } else {
        Err(HEAD_LONG)
    }
}

fn request_error(error: httparse::Error, window: &[u8]) -> Refusal {
    let front = window.trim_ascii_start();
    match error {
        _ if front.starts_with(b"PRI * HTTP/2") => HTTP2,
        httparse::Error::Version => {
            let mut words = front.splitn(3, |&b| b == b' ');
            match words.nth(2) {
                Some(version) if version.starts_with(b"HTTP/") => VERSION,
                _ => REQUEST_LINE,
            }
        }
        httparse::Error::Token => REQUEST_LINE,
        error => header_error(error),
    }
}

fn header_error(error: httparse::Error) -> Refusal {
    match error {
        httparse::Error::HeaderName => HEADER_NAME,
        httparse::Error::HeaderValue => HEADER_VALUE,
        httparse::Error::NewLine => LINE_END,
        httparse::Error::TooManyHeaders => HEADERS_MANY,
        httparse::Error::Version => VERSION,
        httparse::Error::Token | httparse::Error::Status => STATUS_LINE,
    }
}

/// httparse takes a line feed alone for a line's end; we do not. Every line ends right before a header's name
/// or before `len`; one empty line may stand before the first.
fn refuse_bare_line_ends(
    window: &[u8],
    headers: &[httparse::Header<'_>],
    len: usize,
) -> Result<(), Refusal> {
    let front_is_clean = match window[0] {
        b'\r' | b'\n' => {
            window.starts_with(b"\r\n") && !window[2..].starts_with(b"\r") && window[2] != b'\n'
        }
        _ => true,
    };
    let ends_line = |end: usize| end >= 2 && &window[end - 2..end] == b"\r\n";
    let clean = front_is_clean
        && window[..len].ends_with(b"\r\n\r\n")
        && headers
            .iter()
            .all(|h| ends_line(offset_in(window, h.name.as_bytes())));
    if clean { Ok(()) } else { Err(LINE_END) }
}

/// What headers say about framing and connection.
#[derive(Default)]
struct Facts {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    expect_continue: bool,
    names_hops: bool,
    hosts: u32,
    host: Span,
}

fn collect(
    window: &[u8],
    parsed: &[httparse::Header<'_>],
    headers: &mut Vec<Header>,
) -> Result<Facts, Refusal> {
    let mut facts = Facts::default();
    headers.clear();
    for header in parsed {
        let value = header.value.trim_ascii();
        let value_span = span_in(window, value);
        headers.push(Header {
            name: span_in(window, header.name.as_bytes()),
            value: value_span,
        });
        facts.note(header.name.as_bytes(), value, value_span)?;
    }
    Ok(facts)
}

impl Facts {
    /// Looks at the length first: most headers are none of these.
    fn note(&mut self, name: &[u8], value: &[u8], value_span: Span) -> Result<(), Refusal> {
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                self.hosts += 1;
                self.host = value_span;
            }
            6 if name.eq_ignore_ascii_case(b"expect") => {
                self.expect_continue |= value.eq_ignore_ascii_case(b"100-continue");
            }
            10 if name.eq_ignore_ascii_case(b"connection") => self.note_connection(value),
            14 if name.eq_ignore_ascii_case(b"content-length") => self.note_length(value)?,
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.note_coding(value)?,
            13.. if resembles_framing(name) => return Err(LOOKALIKE),
            _ => {}
        }
        Ok(())
    }

    fn note_connection(&mut self, value: &[u8]) {
        for token in list(value) {
            if token.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if token.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else {
                self.names_hops = true;
            }
        }
    }

    fn note_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.length.is_some() {
            return Err(LENGTHS);
        }
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(LENGTH);
        }
        let length = std::str::from_utf8(value)
            .ok()
            .and_then(|digits| digits.parse().ok());
        self.length = Some(length.ok_or(LENGTH)?);
        Ok(())
    }

    fn note_coding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(CODING);
        }
        self.chunked = true;
        Ok(())
    }

    fn framing(&self, http11: bool) -> Result<Framing, Refusal> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(LENGTH_AND_CODING),
            (true, None) if !http11 => Err(CODING_IN_10),
            (true, None) => Ok(Framing::Chunked),
            (false, Some(length)) => Ok(Framing::Length(length)),
            (false, None) => Ok(Framing::None),
        }
    }

    fn keep_alive(&self, http11: bool) -> bool {
        !self.close && (http11 || self.keep_alive)
    }
}

fn finish_request(
    window: &[u8],
    head: &mut RequestHead,
    facts: &Facts,
    authority: Span,
) -> Result<(), Refusal> {
    head.framing = facts.framing(head.http11)?;
    let bodyless = matches!(head.method, Method::Get | Method::Head);
    if bodyless && !matches!(head.framing, Framing::None | Framing::Length(0)) {
        return Err(BODY);
    }
    head.keep_alive = facts.keep_alive(head.http11);
    head.expect_continue = facts.expect_continue
        && head.http11
        && !matches!(head.framing, Framing::None | Framing::Length(0));
    head.names_hops = facts.names_hops;
    head.host = facts.host;
    let host = facts.host.of(window);
    if facts.hosts > 1 || (facts.hosts == 0 && head.http11) {
        return Err(HOSTS);
    }
    if !target::is_authority(host) {
        return Err(HOST);
    }
    if !authority.is_empty() {
        if facts.hosts == 1 && !authority.of(window).eq_ignore_ascii_case(host) {
            return Err(HOST_DIFFERS);
        }
        head.host = authority;
    }
    Ok(())
}

/// `Content_Length`, `Transfer--Encoding` and their like, which some programs take for the real ones.
fn resembles_framing(name: &[u8]) -> bool {
    let letters = || {
        name.iter()
            .filter(|b| b.is_ascii_alphanumeric())
            .map(u8::to_ascii_lowercase)
    };
    letters().eq(*b"transferencoding") || letters().eq(*b"contentlength")
}

/// The members of a comma list, without blanks and without empty ones.
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&b| b == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

/// Where `part`, a slice of `whole`, starts.
fn offset_in(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr()
        .addr()
        .saturating_sub(whole.as_ptr().addr())
        .min(whole.len())
}

fn span_in(whole: &[u8], part: &[u8]) -> Span {
    let start = offset_in(whole, part);
    // The window is at most HEAD_BYTES_LIMIT long.
    Span {
        start: start as u32,
        end: (start + part.len()).min(whole.len()) as u32,
    }
}

fn shift(span: Span, by: u32) -> Span {
    Span {
        start: span.start + by,
        end: span.end + by,
    }
}

const REQUEST_LINE: Refusal = Refusal::bad_request(
    "the request line must be: method, one space, target, one space, HTTP/1.1",
);
const STATUS_LINE: Refusal = Refusal::bad_request("the status line is malformed");
const LINE_END: Refusal =
    Refusal::bad_request("lines of a head must end with CR LF; a bare CR or LF is refused");
const HEADER_NAME: Refusal = Refusal::bad_request(
    "a header line must be a name, a colon right behind it, and a value on the same line",
);
const HEADER_VALUE: Refusal = Refusal::bad_request("a header value must not hold control bytes");
const HTTP2: Refusal = Refusal::bad_request("HTTP/2 is not spoken here; use HTTP/1.1");
const LENGTH: Refusal = Refusal::bad_request("Content-Length must be one decimal number");
const LENGTHS: Refusal = Refusal::bad_request("Content-Length must be given once");
const CODING: Refusal =
    Refusal::bad_request("Transfer-Encoding must be `chunked`, once; no other coding is accepted");
const LENGTH_AND_CODING: Refusal =
    Refusal::bad_request("send Content-Length or Transfer-Encoding, not both");
const CODING_IN_10: Refusal = Refusal::bad_request("Transfer-Encoding needs HTTP/1.1");
const LOOKALIKE: Refusal =
    Refusal::bad_request("a header name must not resemble Content-Length or Transfer-Encoding");
const BODY: Refusal = Refusal::bad_request("a GET or HEAD request must not have a body");
const HOSTS: Refusal = Refusal::bad_request("a request must have exactly one Host header");
const HOST: Refusal =
    Refusal::bad_request("Host must be one host name or address, with a port at most");
const HOST_DIFFERS: Refusal =
    Refusal::bad_request("Host must agree with the host in the request target");
const CONNECT: Refusal = Refusal {
    status: 501,
    reason: "CONNECT is not served here",
};
const TARGET_LONG: Refusal = Refusal {
    status: 414,
    reason: "the request target is too long",
};
const HEAD_LONG: Refusal = Refusal {
    status: 431,
    reason: "the head is too long; send fewer or shorter headers",
};
const HEADERS_MANY: Refusal = Refusal {
    status: 431,
    reason: "too many headers",
};
const VERSION: Refusal = Refusal {
    status: 505,
    reason: "the version must be HTTP/1.1 or HTTP/1.0",
};

#[cfg(test)]
mod tests;
