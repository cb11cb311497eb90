//! Writes heads and chunk framing. Whatever is passed in, what comes out is one well-formed message: a target
//! is percent-encoded, a value loses its line ends, a name that is not a token is left out. It must not know
//! which headers a message needs.

use super::head::is_token;

/// What follows the data of a chunk.
pub const CHUNK_SUFFIX: &[u8] = b"\r\n";

/// Ends a chunked body, without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Bytes that the longest chunk prefix takes: sixteen digits and a line end.
pub const CHUNK_PREFIX_BYTES_MAX: usize = 18;

/// Appends the request line. Bytes that may not stand in a target are percent-encoded.
pub fn request_line(out: &mut Vec<u8>, method: &str, target: &str) {
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    if target.bytes().all(|b| b.is_ascii_graphic()) {
        out.extend_from_slice(target.as_bytes());
    } else {
        target.bytes().for_each(|b| push_target_byte(out, b));
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

fn push_target_byte(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    if byte.is_ascii_graphic() {
        out.push(byte);
    } else {
        out.extend_from_slice(&[
            b'%',
            DIGITS[usize::from(byte >> 4)],
            DIGITS[usize::from(byte & 15)],
        ]);
    }
}

/// Appends the status line with the usual reason phrase.
pub fn status_line(out: &mut Vec<u8>, status: u16) {
    if status == 200 {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    push_decimal(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The name of a header that we write ourselves, checked where it is made.
#[derive(Clone, Copy, Debug)]
pub struct Name(&'static str);

impl Name {
    /// A name that is a token; made as a constant, any other does not compile.
    pub const fn new(name: &'static str) -> Name {
        assert!(is_token(name.as_bytes()), "a header's name is a token");
        Name(name)
    }

    /// Appends the name and its colon: a value without line ends has to follow, and a line end.
    pub fn begin(self, out: &mut Vec<u8>) {
        out.reserve(self.0.len() + 2);
        out.extend_from_slice(self.0.as_bytes());
        out.extend_from_slice(b": ");
    }

    /// Appends one header with a text.
    pub fn write(self, out: &mut Vec<u8>, value: &[u8]) {
        self.begin(out);
        push_value(out, value);
    }

    /// Appends one header with a decimal value.
    pub fn write_u64(self, out: &mut Vec<u8>, value: u64) {
        self.begin(out);
        push_decimal(out, value);
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends one header. CR, LF and NUL are dropped from the value; a header whose name is not a token is left
/// out altogether, so nothing that is passed in can add a header or end the head.
pub fn header(out: &mut Vec<u8>, name: impl AsRef<[u8]>, value: &[u8]) {
    let name = name.as_ref();
    if !is_token(name) {
        return;
    }
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    push_value(out, value);
}

fn push_value(out: &mut Vec<u8>, value: &[u8]) {
    out.reserve(value.len() + 2);
    if memchr::memchr3(b'\r', b'\n', 0, value).is_none() {
        out.extend_from_slice(value);
    } else {
        out.extend(value.iter().filter(|b| !matches!(b, b'\r' | b'\n' | 0)));
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends one header with a decimal value.
pub fn header_u64(out: &mut Vec<u8>, name: impl AsRef<[u8]>, value: u64) {
    let name = name.as_ref();
    if !is_token(name) {
        return;
    }
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    push_decimal(out, value);
    out.extend_from_slice(b"\r\n");
}

/// Appends the blank line that ends a head.
pub fn end_head(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// Appends `value` in decimal.
pub fn push_decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        // A digit is below 10, so the cast keeps it.
        digits[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// The line before a chunk of `size` bytes: the first `.1` bytes of `.0`.
pub fn chunk_prefix(size: usize) -> ([u8; CHUNK_PREFIX_BYTES_MAX], usize) {
    let mut out = [0; CHUNK_PREFIX_BYTES_MAX];
    let start = chunk_prefix_into(&mut out, size);
    out.copy_within(start.., 0);
    (out, CHUNK_PREFIX_BYTES_MAX - start)
}

/// Writes the line before a chunk of `size` bytes at the end of `headroom`, so that it lies against the data
/// behind it, and returns where it starts. A headroom below [`CHUNK_PREFIX_BYTES_MAX`] may be too short; the
/// line is then cut at its front, which is a mistake of the caller and caught in debug builds.
pub fn chunk_prefix_into(headroom: &mut [u8], size: usize) -> usize {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut rest = size;
    let mut start = headroom.len();
    let mut put = |byte: u8| {
        debug_assert!(start > 0, "headroom too short for a chunk prefix");
        if let Some(last) = headroom[..start].last_mut() {
            *last = byte;
            start -= 1;
        }
    };
    put(b'\n');
    put(b'\r');
    loop {
        put(DIGITS[rest & 15]);
        rest >>= 4;
        if rest == 0 {
            return start;
        }
    }
}

/// The usual reason phrase, `Unknown` for a status without one.
pub fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        423 => "Locked",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        499 => "Client Closed Request",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        529 => "Overloaded",
        _ => "Unknown",
    }
}

/// The `Date` header's value, formatted once a second.
#[derive(Debug, Clone)]
pub struct DateCache {
    unix_s: u64,
    text: [u8; 29],
}

impl Default for DateCache {
    fn default() -> Self {
        DateCache {
            unix_s: 0,
            text: *b"Thu, 01 Jan 1970 00:00:00 GMT",
        }
    }
}

impl DateCache {
    /// The IMF-fixdate of `unix_s`, seconds since 1970 in UTC. Correct up to the year 9999.
    pub fn at(&mut self, unix_s: u64) -> &[u8; 29] {
        if unix_s != self.unix_s {
            self.unix_s = unix_s;
            self.text = imf_fixdate(unix_s);
        }
        &self.text
    }
}

fn imf_fixdate(unix_s: u64) -> [u8; 29] {
    const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
    const MONTHS: [&[u8; 3]; 12] = [
        b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov",
        b"Dec",
    ];
    let days = unix_s / 86_400;
    let second = unix_s % 86_400;
    let (year, month, day) = civil_date(days);
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    text[..3].copy_from_slice(DAYS[(days % 7) as usize]);
    put_two(&mut text, 5, day);
    text[8..11].copy_from_slice(MONTHS[(month - 1) as usize % 12]);
    put_two(&mut text, 12, year / 100 % 100);
    put_two(&mut text, 14, year % 100);
    put_two(&mut text, 17, second / 3_600);
    put_two(&mut text, 20, second / 60 % 60);
    put_two(&mut text, 23, second % 60);
    text
}

fn put_two(text: &mut [u8; 29], at: usize, value: u64) {
    text[at] = b'0' + (value / 10 % 10) as u8;
    text[at + 1] = b'0' + (value % 10) as u8;
}

/// Year, month (1 to 12) and day (1 to 31) of a day counted from 1970-01-01. Years are counted from March, so
/// that the leap day is the last of its year and the months' lengths follow one formula.
fn civil_date(days_since_1970: u64) -> (u64, u64, u64) {
    // 719,468 days lie between 0000-03-01 and 1970-01-01; 400 years have 146,097.
    let days = days_since_1970 + 719_468;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = days / 146_097 * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(write: impl FnOnce(&mut Vec<u8>), expected: &str) {
        let mut out = Vec::new();
        write(&mut out);
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn heads() {
        check(
            |out| request_line(out, "POST", "/v1/a?b"),
            "POST /v1/a?b HTTP/1.1\r\n",
        );
        check(
            |out| request_line(out, "GET", "/a b\r\nX: y\u{fc}"),
            "GET /a%20b%0D%0AX:%20y%C3%BC HTTP/1.1\r\n",
        );
        check(|out| status_line(out, 200), "HTTP/1.1 200 OK\r\n");
        check(
            |out| status_line(out, 429),
            "HTTP/1.1 429 Too Many Requests\r\n",
        );
        check(|out| status_line(out, 599), "HTTP/1.1 599 Unknown\r\n");
        check(|out| header(out, "a", b"b c"), "a: b c\r\n");
        check(|out| header(out, b"a", b""), "a: \r\n");
        check(|out| header(out, "a", b"b\r\nc: d\0e"), "a: bc: de\r\n");
        check(|out| header(out, "a\r\nb", b"c"), "");
        check(|out| header(out, "", b"c"), "");
        check(|out| header_u64(out, "n", 0), "n: 0\r\n");
        check(
            |out| header_u64(out, "n", u64::MAX),
            "n: 18446744073709551615\r\n",
        );
        check(end_head, "\r\n");
    }

    #[test]
    fn chunk_prefixes() {
        for size in [0, 1, 9, 10, 15, 16, 255, 256, 65_536, usize::MAX] {
            let (bytes, used) = chunk_prefix(size);
            assert_eq!(
                String::from_utf8_lossy(&bytes[..used]),
                format!("{size:x}\r\n")
            );
            let mut headroom = [b'-'; 24];
            let start = chunk_prefix_into(&mut headroom, size);
            assert_eq!(headroom[start..], bytes[..used]);
            assert!(headroom[..start].iter().all(|&b| b == b'-'));
        }
    }

    #[test]
    fn dates() {
        for (unix_s, expected) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_799, "Tue, 29 Feb 2000 23:59:59 GMT"),
            (1_709_164_800, "Thu, 29 Feb 2024 00:00:00 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (1_767_225_599, "Wed, 31 Dec 2025 23:59:59 GMT"),
            (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            let mut cache = DateCache::default();
            assert_eq!(std::str::from_utf8(cache.at(unix_s)), Ok(expected));
            assert_eq!(std::str::from_utf8(cache.at(unix_s)), Ok(expected));
        }
    }
}
