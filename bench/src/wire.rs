//! The least of HTTP/1.1 that the scales need on both sides: a message's head, its length, chunk
//! framing. It is lenient where the gateway is strict, so that a fault of the gateway shows as the
//! gateway's. No socket.

use memchr::memmem;

/// Bytes of a head, at most.
const HEAD_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a body, at most.
const BODY_BYTES_MAX: usize = 512 * 1024 * 1024;
const HEADERS_MAX: usize = 128;

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(usize),
    Chunked,
    /// Only for answers: the connection's end.
    Close,
}

/// A request's head.
#[derive(Clone, Debug)]
pub(crate) struct RequestHead {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) framing: Framing,
    /// Bytes up to and with the blank line.
    pub(crate) bytes: usize,
    pub(crate) expects_continue: bool,
    pub(crate) keep_alive: bool,
}

impl RequestHead {
    /// The first header of that name, whatever its case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// What a parser says about the bytes so far.
#[derive(Debug)]
pub(crate) enum Parsed<T> {
    Partial,
    Complete(T),
    Bad(&'static str),
}

/// Parses the request head at the front of `bytes`.
pub(crate) fn request_head(bytes: &[u8]) -> Parsed<RequestHead> {
    let mut slots = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut slots);
    let head_bytes = match request.parse(bytes) {
        Ok(httparse::Status::Complete(count)) => count,
        Ok(httparse::Status::Partial) if bytes.len() > HEAD_BYTES_MAX => {
            return Parsed::Bad("head too large");
        }
        Ok(httparse::Status::Partial) => return Parsed::Partial,
        Err(_) => return Parsed::Bad("head is not HTTP/1.1"),
    };
    let mut head = RequestHead {
        method: request.method.unwrap_or_default().to_owned(),
        path: request.path.unwrap_or_default().to_owned(),
        headers: Vec::with_capacity(request.headers.len()),
        framing: Framing::Length(0),
        bytes: head_bytes,
        expects_continue: false,
        keep_alive: request.version == Some(1),
    };
    for header in request.headers.iter() {
        let value = String::from_utf8_lossy(header.value).into_owned();
        if let Err(reason) = apply_framing(header.name, header.value, &mut head.framing) {
            return Parsed::Bad(reason);
        }
        if header.name.eq_ignore_ascii_case("expect") {
            head.expects_continue = value.eq_ignore_ascii_case("100-continue");
        } else if header.name.eq_ignore_ascii_case("connection") {
            head.keep_alive = !value.eq_ignore_ascii_case("close");
        }
        head.headers.push((header.name.to_owned(), value));
    }
    Parsed::Complete(head)
}

fn apply_framing(name: &str, value: &[u8], framing: &mut Framing) -> Result<(), &'static str> {
    if name.eq_ignore_ascii_case("content-length") {
        let length = std::str::from_utf8(value)
            .ok()
            .and_then(|text| text.trim().parse().ok());
        match length {
            Some(length) if length <= BODY_BYTES_MAX => *framing = Framing::Length(length),
            _ => return Err("content-length is not a number or too large"),
        }
    } else if name.eq_ignore_ascii_case("transfer-encoding") {
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err("transfer-encoding is not chunked");
        }
        *framing = Framing::Chunked;
    }
    Ok(())
}

/// An answer's head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnswerHead {
    pub(crate) status: u16,
    pub(crate) framing: Framing,
    pub(crate) bytes: usize,
    pub(crate) keep_alive: bool,
    pub(crate) event_stream: bool,
}

/// Parses the answer head at the front of `bytes`.
pub(crate) fn answer_head(bytes: &[u8]) -> Parsed<AnswerHead> {
    let mut slots = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut answer = httparse::Response::new(&mut slots);
    let head_bytes = match answer.parse(bytes) {
        Ok(httparse::Status::Complete(count)) => count,
        Ok(httparse::Status::Partial) if bytes.len() > HEAD_BYTES_MAX => {
            return Parsed::Bad("head too large");
        }
        Ok(httparse::Status::Partial) => return Parsed::Partial,
        Err(_) => return Parsed::Bad("head is not HTTP/1.1"),
    };
    let mut head = AnswerHead {
        status: answer.code.unwrap_or(0),
        framing: Framing::Close,
        bytes: head_bytes,
        keep_alive: answer.version == Some(1),
        event_stream: false,
    };
    for header in answer.headers.iter() {
        if let Err(reason) = apply_framing(header.name, header.value, &mut head.framing) {
            return Parsed::Bad(reason);
        }
        if header.name.eq_ignore_ascii_case("connection") {
            head.keep_alive = !header.value.eq_ignore_ascii_case(b"close");
        } else if header.name.eq_ignore_ascii_case("content-type") {
            head.event_stream = header.value.starts_with(b"text/event-stream");
        }
    }
    if head.status == 204 || head.status == 304 || (100..200).contains(&head.status) {
        head.framing = Framing::Length(0);
    }
    Parsed::Complete(head)
}

/// Decodes chunk framing piece by piece.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ChunkDecoder {
    state: ChunkState,
    left: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ChunkState {
    #[default]
    Size,
    /// The rest of the size line: an extension, or its end.
    SizeEnd,
    Data,
    DataEnd,
    /// Bytes of the current trailer line so far are counted in `left`.
    Trailer,
    Done,
}

impl ChunkDecoder {
    pub(crate) fn done(&self) -> bool {
        self.state == ChunkState::Done
    }

    /// Takes framing and data from the front of `bytes`; hands each run of data to `data`. Returns
    /// how many bytes were used (all, unless the body ended).
    pub(crate) fn decode(
        &mut self,
        bytes: &[u8],
        mut data: impl FnMut(&[u8]),
    ) -> Result<usize, &'static str> {
        let mut at = 0;
        while at < bytes.len() && self.state != ChunkState::Done {
            if self.state == ChunkState::Data {
                let run = self.left.min(bytes.len() - at);
                data(&bytes[at..at + run]);
                at += run;
                self.left -= run;
                if self.left == 0 {
                    self.state = ChunkState::DataEnd;
                }
            } else {
                self.step(bytes[at])?;
                at += 1;
            }
        }
        Ok(at)
    }

    fn step(&mut self, byte: u8) -> Result<(), &'static str> {
        match (self.state, byte) {
            (ChunkState::Size, b'\r' | b';' | b' ') => self.state = ChunkState::SizeEnd,
            (ChunkState::Size, _) => {
                let digit = char::from(byte)
                    .to_digit(16)
                    .ok_or("chunk size is not hexadecimal")?;
                self.left = self.left * 16 + digit as usize;
                if self.left > BODY_BYTES_MAX {
                    return Err("chunk too large");
                }
            }
            (ChunkState::SizeEnd, b'\n') => {
                self.state = if self.left == 0 {
                    ChunkState::Trailer
                } else {
                    ChunkState::Data
                };
            }
            (ChunkState::DataEnd, b'\n') => self.state = ChunkState::Size,
            (ChunkState::DataEnd, b'\r') | (ChunkState::SizeEnd, _) => {}
            (ChunkState::DataEnd, _) => return Err("no line end after chunk data"),
            (ChunkState::Trailer, b'\n') if self.left == 0 => self.state = ChunkState::Done,
            (ChunkState::Trailer, b'\n') => self.left = 0,
            (ChunkState::Trailer, b'\r') => {}
            (ChunkState::Trailer, _) => self.left = 1,
            (ChunkState::Data | ChunkState::Done, _) => {}
        }
        Ok(())
    }
}

/// One part of a multipart form, by name.
pub(crate) fn form_field<'a>(body: &'a [u8], content_type: &str, name: &str) -> Option<&'a [u8]> {
    let boundary = content_type.split("boundary=").nth(1)?;
    let boundary = boundary.split(';').next()?.trim().trim_matches('"');
    let mark = format!("name=\"{name}\"");
    let at = memmem::find(body, mark.as_bytes())?;
    let start = at + memmem::find(&body[at..], b"\r\n\r\n")? + 4;
    let end = start + memmem::find(&body[start..], format!("\r\n--{boundary}").as_bytes())?;
    Some(&body[start..end])
}

/// Standard base64 with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = group.iter().enumerate().fold(0u32, |word, (place, byte)| {
            word | u32::from(*byte) << (16 - 8 * place)
        });
        for place in 0..4 {
            if place <= group.len() {
                out.push(char::from(
                    ALPHABET[(word >> (18 - 6 * place)) as usize & 63],
                ));
            } else {
                out.push('=');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_decode_cut_anywhere() {
        let wire = b"3\r\nabc\r\n5;x=y\r\ndefgh\r\n0\r\nx: y\r\n\r\nNEXT";
        for cut in 0..wire.len() {
            let (mut decoder, mut body) = (ChunkDecoder::default(), Vec::new());
            let mut used = decoder
                .decode(&wire[..cut], |data| body.extend_from_slice(data))
                .expect("valid");
            if used == cut {
                used += decoder
                    .decode(&wire[cut..], |data| body.extend_from_slice(data))
                    .expect("valid");
            }
            assert!(decoder.done());
            assert_eq!(
                (used, body.as_slice()),
                (wire.len() - 4, b"abcdefgh".as_slice())
            );
        }
    }

    #[test]
    fn base64_matches_rfc_4648() {
        let cases = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ];
        for (plain, coded) in cases {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn form_fields_are_found() {
        let body = b"--XX\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--XX--\r\n";
        let found = form_field(body, "multipart/form-data; boundary=XX", "model");
        assert_eq!(found, Some(b"whisper-1".as_slice()));
    }
}
