//! AWS's binary event stream: frames with headers, a payload and two checksums. Both are checked; a frame that fails ends the
//! stream. Knows no service.

use crate::dialect::frames::{EVENT_BYTES_MAX, Framing, Sink, too_large};
use crate::error::{ErrorClass, GatewayError};

/// Lengths and their checksum.
const PRELUDE_BYTES: usize = 12;
/// The checksum behind a frame.
const CHECKSUM_BYTES: usize = 4;
/// Stands in front of an exception's name where an event's name is expected.
pub const EXCEPTION: &str = "exception:";

/// Frames, cut out of bytes. An event's name is its `:event-type`; an exception's is its type behind [`EXCEPTION`].
#[derive(Debug, Default)]
pub struct AwsEvents {
    partial: Vec<u8>,
}

impl Framing for AwsEvents {
    fn feed(&mut self, bytes: &[u8], sink: &mut Sink<'_>) -> Result<(), GatewayError> {
        self.partial.extend_from_slice(bytes);
        let mut start = 0;
        while let Some(length) = frame_length(&self.partial[start..])? {
            let Some(frame) = self.partial.get(start..start + length) else {
                break;
            };
            let frame = Frame::parse(frame)?;
            sink(frame.name().as_bytes(), frame.payload)?;
            start += length;
        }
        self.partial.drain(..start);
        Ok(())
    }
}

/// The length of the frame at the start of `bytes`, once its prelude is there.
fn frame_length(bytes: &[u8]) -> Result<Option<usize>, GatewayError> {
    let Some(prelude) = bytes.get(..PRELUDE_BYTES) else {
        return Ok(None);
    };
    let length = number(prelude, 0) as usize;
    if crc32(&prelude[..8]) != number(prelude, 8) {
        return Err(broken("the checksum of a frame's prelude is wrong"));
    }
    if length > EVENT_BYTES_MAX {
        return Err(too_large());
    }
    if length < PRELUDE_BYTES + CHECKSUM_BYTES {
        return Err(broken("a frame is shorter than its own lengths"));
    }
    Ok(Some(length))
}

/// Four bytes, the highest first; 0 where there are none.
fn number(bytes: &[u8], at: usize) -> u32 {
    match bytes.get(at..at + 4) {
        Some(&[a, b, c, d]) => u32::from_be_bytes([a, b, c, d]),
        _ => 0,
    }
}

struct Frame<'a> {
    headers: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Frame<'a> {
    fn parse(frame: &'a [u8]) -> Result<Self, GatewayError> {
        let (content, checksum) = frame.split_at(frame.len() - CHECKSUM_BYTES);
        if crc32(content) != number(checksum, 0) {
            return Err(broken("the checksum of a frame is wrong"));
        }
        let headers_length = number(frame, 4) as usize;
        let rest = &content[PRELUDE_BYTES..];
        if headers_length > rest.len() {
            return Err(broken("a frame's headers are longer than the frame"));
        }
        let (headers, payload) = rest.split_at(headers_length);
        Ok(Self { headers, payload })
    }

    fn name(&self) -> String {
        let mut event = "";
        let mut exception = None;
        for (name, value) in (Headers { rest: self.headers }) {
            match name {
                ":event-type" => event = value,
                ":exception-type" | ":error-code" => exception = Some(value),
                _ => {}
            }
        }
        match exception {
            Some(kind) => format!("{EXCEPTION}{kind}"),
            None => event.to_owned(),
        }
    }
}

/// The headers of a frame that are text.
struct Headers<'a> {
    rest: &'a [u8],
}

impl<'a> Headers<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn length(&mut self) -> Option<usize> {
        let bytes = self.take(2)?;
        Some(usize::from(bytes[0]) << 8 | usize::from(bytes[1]))
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let count = usize::from(*self.take(1)?.first()?);
            let name = std::str::from_utf8(self.take(count)?).ok()?;
            let kind = *self.take(1)?.first()?;
            let count = match kind {
                0 | 1 => 0,
                2 => 1,
                3 => 2,
                4 => 4,
                5 | 8 => 8,
                6 | 7 => self.length()?,
                9 => 16,
                _ => return None,
            };
            let value = self.take(count)?;
            if kind == 7 {
                return Some((name, std::str::from_utf8(value).ok()?));
            }
        }
    }
}

fn broken(what: &str) -> GatewayError {
    GatewayError::new(
        ErrorClass::ApiConnection,
        format!("litellm.APIConnectionError: the event stream is broken: {what}"),
    )
}

const CRC_TABLE: [u32; 256] = crc_table();

const fn crc_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 {
                0xedb8_8320 ^ (value >> 1)
            } else {
                value >> 1
            };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
}

/// The checksum of zip and Ethernet.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc = CRC_TABLE[((crc ^ u32::from(*byte)) & 0xff) as usize] ^ (crc >> 8);
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: &str, payload: &[u8]) -> Vec<u8> {
        let mut headers = vec![11];
        headers.extend_from_slice(b":event-type");
        headers.extend_from_slice(&[7, 0, kind.len() as u8]);
        headers.extend_from_slice(kind.as_bytes());
        let length = PRELUDE_BYTES + headers.len() + payload.len() + CHECKSUM_BYTES;
        let mut out = (length as u32).to_be_bytes().to_vec();
        out.extend_from_slice(&(headers.len() as u32).to_be_bytes());
        out.extend_from_slice(&crc32(&out).to_be_bytes());
        out.extend_from_slice(&headers);
        out.extend_from_slice(payload);
        out.extend_from_slice(&crc32(&out).to_be_bytes());
        out
    }

    /// Name and payload.
    type Read = (Vec<u8>, Vec<u8>);

    fn read(bytes: &[&[u8]]) -> Result<Vec<Read>, GatewayError> {
        let mut events = Vec::new();
        let mut framing = AwsEvents::default();
        for piece in bytes {
            framing.feed(piece, &mut |name, data| {
                events.push((name.to_vec(), data.to_vec()));
                Ok(())
            })?;
        }
        Ok(events)
    }

    #[test]
    fn the_checksum_is_the_published_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn frames_are_found_however_they_are_cut_and_a_flipped_bit_is_seen() {
        let mut bytes = frame("a", b"{}");
        bytes.extend_from_slice(&frame("messageStop", b"{\"x\":1}"));
        let whole = read(&[&bytes]).unwrap();
        assert_eq!(whole.len(), 2);
        for at in 0..bytes.len() {
            assert_eq!(read(&[&bytes[..at], &bytes[at..]]).unwrap(), whole);
        }
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 4;
            assert!(read(&[&flipped]).is_err(), "{at}");
        }
    }
}
