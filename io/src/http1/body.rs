//! Chunked bodies: finds the data runs in pieces of any size and copies nothing. Trailers are checked and
//! dropped. It must not know where the pieces come from, and it keeps none of them.

use super::head::{Refusal, is_token_byte};

/// Hexadecimal digits of a chunk's size, leading zeros included.
const SIZE_DIGITS_MAX: u8 = 16;

/// Bytes of all trailers of one body.
const TRAILER_BYTES_MAX: u32 = 8 * 1024;

/// Bytes of all chunk extensions of one body, where they are tolerated.
const EXTENSION_BYTES_MAX: u32 = 16 * 1024;

/// What [`ChunkDecoder::next`] found at the front of its input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Chunk {
    /// `input[start..end]` is body; go on with `input[consumed..]`. Never empty.
    Data {
        /// First byte of the run.
        start: usize,
        /// One past the last byte of the run.
        end: usize,
        /// Bytes of the input that are dealt with.
        consumed: usize,
    },
    /// All of the input was framing and is dealt with; more has to come.
    NeedMore {
        /// Bytes of the input that are dealt with: all of them.
        consumed: usize,
    },
    /// The body is over; what follows `input[..consumed]` is the next message.
    End {
        /// Bytes of the input that are dealt with.
        consumed: usize,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Size { digits: u8 },
    Padding,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
    Refused(Refusal),
}

/// Decodes one chunked body. Make a new one for the next body.
#[derive(Clone, Debug)]
pub struct ChunkDecoder {
    state: State,
    /// Bytes left of the chunk, or its size so far.
    left: u64,
    trailer_bytes: u32,
    extension_bytes: u32,
    tolerate_extensions: bool,
}

impl ChunkDecoder {
    /// A decoder at the start of a body. Extensions, and blanks after a size, are refused or skipped: we refuse
    /// them in requests, where another hop may read them differently, and skip them in responses.
    pub fn new(tolerate_extensions: bool) -> Self {
        ChunkDecoder {
            state: State::Size { digits: 0 },
            left: 0,
            trailer_bytes: 0,
            extension_bytes: 0,
            tolerate_extensions,
        }
    }

    /// True once the last chunk and its trailers are dealt with.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Looks at `input`, which starts where the last call's `consumed` ended. After an error every further call
    /// returns the same error.
    pub fn next(&mut self, input: &[u8]) -> Result<Chunk, Refusal> {
        let mut at = 0;
        while at < input.len() {
            match self.state {
                State::Done => break,
                State::Data => return Ok(self.data(input, at)),
                _ => {}
            }
            self.state = self.step(input[at]).unwrap_or_else(State::Refused);
            if let State::Refused(refusal) = self.state {
                return Err(refusal);
            }
            at += 1;
        }
        match self.state {
            State::Done => Ok(Chunk::End { consumed: at }),
            State::Refused(refusal) => Err(refusal),
            _ => Ok(Chunk::NeedMore { consumed: at }),
        }
    }

    fn data(&mut self, input: &[u8], start: usize) -> Chunk {
        let there = input.len() - start;
        // At most `there`, which is a usize.
        let run = self.left.min(there as u64) as usize;
        self.left -= run as u64;
        if self.left == 0 {
            self.state = State::DataCr;
        }
        let end = start + run;
        Chunk::Data {
            start,
            end,
            consumed: end,
        }
    }

    /// The state after one byte of framing.
    fn step(&mut self, byte: u8) -> Result<State, Refusal> {
        match self.state {
            State::Size { digits } => self.size(byte, digits),
            State::Padding | State::Extension => self.extension(byte),
            State::SizeLf if self.left > 0 => expect(byte, b'\n', State::Data),
            State::SizeLf => expect(byte, b'\n', State::TrailerStart),
            State::DataCr => expect(byte, b'\r', State::DataLf),
            State::DataLf => expect(byte, b'\n', State::Size { digits: 0 }),
            State::EndLf => expect(byte, b'\n', State::Done),
            State::TrailerLf => expect(byte, b'\n', State::TrailerStart),
            State::TrailerStart if byte == b'\r' => Ok(State::EndLf),
            State::TrailerStart | State::TrailerName | State::TrailerValue => self.trailer(byte),
            State::Data | State::Done | State::Refused(_) => Ok(self.state),
        }
    }

    fn size(&mut self, byte: u8, digits: u8) -> Result<State, Refusal> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ if digits == 0 => return Err(SIZE),
            b'\r' => return Ok(State::SizeLf),
            b';' if self.tolerate_extensions => return Ok(State::Extension),
            b' ' | b'\t' if self.tolerate_extensions => return Ok(State::Padding),
            b';' | b' ' | b'\t' => return Err(EXTENSION),
            _ => return Err(SIZE),
        };
        if digits == SIZE_DIGITS_MAX {
            return Err(SIZE_LONG);
        }
        let before = if digits == 0 { 0 } else { self.left };
        // Sixteen digits fit in 64 bits.
        self.left = before << 4 | u64::from(digit);
        Ok(State::Size { digits: digits + 1 })
    }

    fn extension(&mut self, byte: u8) -> Result<State, Refusal> {
        self.extension_bytes += 1;
        match byte {
            b'\r' => Ok(State::SizeLf),
            b' ' | b'\t' | b';' if self.state == State::Padding => Ok(if byte == b';' {
                State::Extension
            } else {
                State::Padding
            }),
            _ if self.state == State::Padding => Err(SIZE),
            _ if self.extension_bytes > EXTENSION_BYTES_MAX => Err(EXTENSION_LONG),
            b'\t' | b' '..=b'~' | 0x80.. => Ok(State::Extension),
            _ => Err(LINE_END),
        }
    }

    fn trailer(&mut self, byte: u8) -> Result<State, Refusal> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > TRAILER_BYTES_MAX {
            return Err(TRAILER_LONG);
        }
        match (self.state, byte) {
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => Ok(State::TrailerValue),
            (State::TrailerStart | State::TrailerName, b) if is_token_byte(b) => {
                Ok(State::TrailerName)
            }
            _ => Err(TRAILER),
        }
    }
}

fn expect(byte: u8, wanted: u8, then: State) -> Result<State, Refusal> {
    if byte == wanted {
        Ok(then)
    } else {
        Err(LINE_END)
    }
}

const SIZE: Refusal =
    Refusal::bad_request("a chunk size must be hexadecimal digits and nothing else");
const SIZE_LONG: Refusal = Refusal::bad_request("a chunk size has at most 16 digits");
const EXTENSION: Refusal =
    Refusal::bad_request("chunk extensions are not accepted; send only the size");
const EXTENSION_LONG: Refusal = Refusal::bad_request("chunk extensions are too long");
const LINE_END: Refusal = Refusal::bad_request(
    "chunk framing must end its lines with CR LF and chunks must have their size",
);
const TRAILER: Refusal = Refusal::bad_request("a trailer is malformed; send none");
const TRAILER_LONG: Refusal = Refusal::bad_request("trailers are too long; send none");

#[cfg(test)]
mod tests {
    use super::*;

    /// Body and what is left behind it, or the refusal's reason; fed in pieces of `piece` bytes.
    fn decode(input: &[u8], piece: usize, tolerate: bool) -> Result<(Vec<u8>, Vec<u8>), String> {
        let mut decoder = ChunkDecoder::new(tolerate);
        let mut body = Vec::new();
        let mut at = 0;
        let mut given = piece.min(input.len());
        loop {
            match decoder
                .next(&input[at..given])
                .map_err(|refusal| refusal.reason.to_owned())?
            {
                Chunk::Data {
                    start,
                    end,
                    consumed,
                } => {
                    assert!(start < end && end <= consumed, "a run is never empty");
                    body.extend_from_slice(&input[at + start..at + end]);
                    at += consumed;
                }
                Chunk::NeedMore { consumed } => {
                    at += consumed;
                    assert_eq!(at, given, "all of a piece is dealt with");
                    if given == input.len() {
                        return Err("partial".to_owned());
                    }
                    given = (given + piece).min(input.len());
                }
                Chunk::End { consumed } => {
                    assert!(decoder.is_done());
                    return Ok((body, input[at + consumed..].to_vec()));
                }
            }
        }
    }

    fn check(input: &str, tolerate: bool, expected: Result<&str, &str>) {
        for piece in (1..=input.len().max(1)).rev() {
            let got = decode(input.as_bytes(), piece, tolerate);
            match (&got, expected) {
                // What follows the body depends on the pieces: only the whole input has all of it.
                (Ok((body, _)), Ok(body_wanted)) => {
                    assert_eq!(body, body_wanted.as_bytes(), "{input:?} by {piece}")
                }
                (Err(reason), Err(part)) => {
                    assert!(reason.contains(part), "{input:?} by {piece}: {reason}")
                }
                _ => panic!("{input:?} by {piece}: expected {expected:?}, got {got:?}"),
            }
        }
    }

    #[test]
    fn bodies() {
        check("0\r\n\r\n", false, Ok(""));
        check("5\r\nhello\r\n0\r\n\r\n", false, Ok("hello"));
        check(
            "5\r\nhello\r\n00A\r\n0123456789\r\n000\r\n\r\nGET /",
            false,
            Ok("hello0123456789"),
        );
        check(
            "9\r\n\r\n0\r\n\r\n12\r\n0\r\n\r\n",
            false,
            Ok("\r\n0\r\n\r\n12"),
        );
        check("1\r\nx\r\n0\r\nA: b\r\nC:\r\n\r\n", false, Ok("x"));
        check("5;a=\"b\"\r\nhello\r\n0 \r\n\r\n", true, Ok("hello"));
        check("5\t ; a\r\nhello\r\n0\r\n\r\n", true, Ok("hello"));
        check("5  \r\nhello\r\n0;x\r\n\r\n", true, Ok("hello"));
        check("5\r\nhel", false, Err("partial"));
        check("5\r\nhello\r\n0\r\n", false, Err("partial"));
        check("", false, Err("partial"));
    }

    #[test]
    fn refusals() {
        for (input, reason) in [
            ("\r\n", "chunk size"),
            ("g\r\n", "chunk size"),
            ("-1\r\n", "chunk size"),
            ("+1\r\n", "chunk size"),
            ("0x1\r\n", "chunk size"),
            (" 1\r\n", "chunk size"),
            ("1_0\r\n", "chunk size"),
            ("00000000000000001\r\n", "16 digits"),
            ("10000000000000000\r\n", "16 digits"),
            ("5;a\r\nhello", "extensions"),
            ("5 \r\nhello", "extensions"),
            ("5\t\r\nhello", "extensions"),
            ("5\nhello", "chunk size"),
            ("5\rhello", "CR LF"),
            ("5\r\nhello\n0\r\n\r\n", "CR LF"),
            ("5\r\nhello0\r\n\r\n", "CR LF"),
            ("5\r\nhello!\r\n0\r\n\r\n", "CR LF"),
            ("0\r\n\n", "trailer"),
            ("0\r\n\rx", "CR LF"),
            ("0\r\nA\r\n\r\n", "trailer"),
            ("0\r\nA : b\r\n\r\n", "trailer"),
            ("0\r\nA: b\r\n c\r\n\r\n", "trailer"),
            ("0\r\nA: b\n\r\n", "trailer"),
            ("0\r\n: b\r\n\r\n", "trailer"),
        ] {
            check(input, false, Err(reason));
        }
        check("2 erfrf\r\naa\r\n", true, Err("chunk size"));
        check("5;a\n\r\nhello", true, Err("CR LF"));
        check("5;a\0\r\nhello", true, Err("CR LF"));
    }

    #[test]
    fn bounds_and_errors_stay() {
        let trailer = format!("0\r\nA: {}\r\n\r\n", "x".repeat(9_000));
        assert_eq!(
            decode(trailer.as_bytes(), 100_000, false),
            Err(TRAILER_LONG.reason.to_owned())
        );
        let extension = format!("1;{}\r\n", "x".repeat(17_000));
        assert_eq!(
            decode(extension.as_bytes(), 100_000, true),
            Err(EXTENSION_LONG.reason.to_owned())
        );
        let mut decoder = ChunkDecoder::new(false);
        assert_eq!(decoder.next(b"x"), Err(SIZE));
        assert_eq!(decoder.next(b""), Err(SIZE));
        assert_eq!(decoder.next(b"1\r\n"), Err(SIZE));
        assert!(!decoder.is_done());
    }

    #[test]
    fn the_largest_chunk() {
        let mut decoder = ChunkDecoder::new(false);
        assert_eq!(
            decoder.next(b"ffffffffffffffff\r\n"),
            Ok(Chunk::NeedMore { consumed: 18 })
        );
        assert_eq!(
            decoder.next(b"abc"),
            Ok(Chunk::Data {
                start: 0,
                end: 3,
                consumed: 3
            })
        );
        assert_eq!(decoder.left, u64::MAX - 3);
    }
}
