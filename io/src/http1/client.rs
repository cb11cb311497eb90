//! The client side of HTTP/1.1: one exchange on one leased connection.
//!
//! The caller waits for readiness (so that it can watch its own client meanwhile), then feeds the
//! exchange with [`Exchange::receive`]. Interim responses are skipped; framing is decoded, trailers
//! are dropped.

use std::io;
use std::ops::Range;
use std::time::Duration;

use super::body::{Chunk, ChunkDecoder};
use super::head::{Framing, Header, Limits, Parse, Refusal, ResponseHead, parse_response};
use crate::buffer::Buf;
use crate::driver::{Pieces, Timer};
use crate::net::Stream;
use crate::pool::Lease;

/// A request ready to be sent.
pub enum Outgoing {
    /// Head and body in one buffer, sent with one write.
    One(Buf),
    /// A head and pieces of a large body, sent vectored.
    Many(Pieces),
}

/// Why an answer cannot be used.
#[derive(Debug)]
pub enum AnswerError {
    /// The connection failed or ended; `before_answer` when not a byte of an answer had come.
    Io {
        /// What the system said.
        error: io::Error,
        /// No byte of an answer had come.
        before_answer: bool,
    },
    /// What came is not HTTP.
    Malformed(Refusal),
}

enum BodyState {
    Head,
    Length(u64),
    Chunked(ChunkDecoder),
    UntilClose,
    Done,
}

/// One request and its answer on one upstream connection.
pub struct Exchange {
    lease: Lease,
    inbox: Buf,
    /// The answer's head; its spans point into what [`Exchange::head_bytes`] gives.
    pub head: ResponseHead,
    head_bytes: Buf,
    state: BodyState,
    to_head: bool,
    ended: bool,
    answered: bool,
    /// Bytes at the front of `inbox` that were handed out and may be thrown away.
    used: usize,
}

/// The headers of an answer, by themselves.
#[derive(Default)]
pub struct Headers {
    list: Vec<Header>,
    bytes: Buf,
}

impl Headers {
    /// Names as the upstream spelt them, and values, in order.
    pub fn each(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.list
            .iter()
            .map(|header| (header.name.of(&self.bytes), header.value.of(&self.bytes)))
    }

    /// Names and values that are text.
    pub fn texts(&self) -> Vec<(&str, &str)> {
        let text = |bytes| std::str::from_utf8(bytes).ok();
        self.each()
            .filter_map(|(name, value)| Some((text(name)?, text(value)?)))
            .collect()
    }
}

/// A run of the answer's body.
#[derive(Debug, PartialEq, Eq)]
pub enum Data {
    /// Decoded bytes at this range of [`Exchange::bytes`]; valid until the next call.
    Run(Range<usize>),
    /// Nothing more is here; wait and receive.
    NeedMore,
    /// The body is complete.
    End,
}

impl Exchange {
    /// Sends the request on a leased connection. `to_head`: the method is HEAD, the answer has no
    /// body. The sent buffer comes back (shared pieces stay the caller's).
    ///
    /// # Errors
    /// As the system says, or `TimedOut` when nothing went out for `grace`.
    pub async fn send(
        mut lease: Lease,
        request: Outgoing,
        to_head: bool,
        timer: &mut Timer,
        grace: Duration,
    ) -> (io::Result<()>, Exchange) {
        let sent = match request {
            Outgoing::One(buf) => lease.stream.send_all(buf, 0, timer, grace).await.0,
            Outgoing::Many(pieces) => lease.stream.send_pieces(pieces, timer, grace).await,
        };
        let exchange = Exchange {
            lease,
            inbox: Buf::none(),
            head: ResponseHead::default(),
            head_bytes: Buf::none(),
            state: BodyState::Head,
            to_head,
            ended: false,
            answered: false,
            used: 0,
        };
        (sent, exchange)
    }

    /// The connection, to wait on.
    pub fn stream(&mut self) -> &mut Stream {
        &mut self.lease.stream
    }

    /// The connection had served a request before.
    pub fn reused(&self) -> bool {
        self.lease.reused
    }

    /// Receives what is there. Call it when the stream was ready.
    ///
    /// # Errors
    /// [`AnswerError::Io`]; the end of the stream in the middle of an answer is `UnexpectedEof`.
    pub async fn receive(&mut self) -> Result<(), AnswerError> {
        if self.used > 0 {
            self.inbox.consume(self.used);
            self.used = 0;
        }
        if self.inbox.capacity() == 0 {
            self.inbox = self.next_buffer();
        }
        match self.lease.stream.recv(&mut self.inbox).await {
            Ok(0) => self.end_of_stream(),
            Ok(_) => {
                self.answered = true;
                Ok(())
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// The rest of a whole answer comes in large pieces, heads and single events in small ones.
    fn next_buffer(&self) -> Buf {
        match self.state {
            BodyState::Length(_) => Buf::large(),
            _ => Buf::small(),
        }
    }

    fn end_of_stream(&mut self) -> Result<(), AnswerError> {
        self.ended = true;
        match self.state {
            BodyState::UntilClose => {
                self.state = BodyState::Done;
                Ok(())
            }
            BodyState::Done => Ok(()),
            _ => Err(self.failed(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    fn failed(&self, error: io::Error) -> AnswerError {
        AnswerError::Io {
            error,
            before_answer: !self.answered,
        }
    }

    /// Looks for the answer's head in what was received; false: wait for more.
    ///
    /// # Errors
    /// [`AnswerError::Malformed`].
    pub fn parse_head(&mut self, limits: &Limits) -> Result<bool, AnswerError> {
        loop {
            let parsed = parse_response(&self.inbox, self.to_head, &mut self.head, limits);
            match parsed.map_err(AnswerError::Malformed)? {
                Parse::Partial => return Ok(false),
                Parse::Complete if self.head.status < 200 => self.inbox.consume(self.head.len),
                Parse::Complete => break,
            }
        }
        self.state = match self.head.framing {
            Framing::None | Framing::Length(0) => BodyState::Done,
            Framing::Length(length) => BodyState::Length(length),
            Framing::Chunked => BodyState::Chunked(ChunkDecoder::new(true)),
            Framing::UntilClose => BodyState::UntilClose,
        };
        self.head_bytes = Buf::for_bytes(self.head.len);
        self.head_bytes
            .extend_from_slice(&self.inbox[..self.head.len]);
        self.used = self.head.len;
        Ok(true)
    }

    /// The bytes that the head's spans point into.
    pub fn head_bytes(&self) -> &[u8] {
        &self.head_bytes
    }

    /// A header's value by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.head.header(&self.head_bytes, name)
    }

    /// Takes the head's headers out: a stream keeps little while it waits.
    pub fn take_headers(&mut self) -> Headers {
        let names = std::mem::take(&mut self.head.headers);
        Headers {
            list: names,
            bytes: std::mem::take(&mut self.head_bytes),
        }
    }

    /// What [`Data::Run`] points into.
    pub fn bytes(&self) -> &[u8] {
        &self.inbox
    }

    /// The next run of the body in what was received.
    ///
    /// # Errors
    /// [`AnswerError::Malformed`] for broken chunk framing.
    pub fn data(&mut self) -> Result<Data, AnswerError> {
        let start = self.used;
        let here = self.inbox.len() - start;
        let data = match &mut self.state {
            BodyState::Done => Data::End,
            BodyState::Head => Data::NeedMore,
            _ if here == 0 => Data::NeedMore,
            BodyState::UntilClose => {
                self.used = self.inbox.len();
                Data::Run(start..self.used)
            }
            BodyState::Length(left) => {
                let run = usize::try_from(*left).unwrap_or(usize::MAX).min(here);
                *left -= run as u64;
                if *left == 0 {
                    self.state = BodyState::Done;
                }
                self.used += run;
                Data::Run(start..start + run)
            }
            BodyState::Chunked(_) => return self.chunk(),
        };
        if data == Data::NeedMore {
            self.rest_buffer();
        }
        Ok(data)
    }

    fn chunk(&mut self) -> Result<Data, AnswerError> {
        let BodyState::Chunked(decoder) = &mut self.state else {
            return Ok(Data::NeedMore);
        };
        let at = self.used;
        match decoder
            .next(&self.inbox[at..])
            .map_err(AnswerError::Malformed)?
        {
            Chunk::Data {
                start,
                end,
                consumed,
            } => {
                self.used += consumed;
                Ok(Data::Run(at + start..at + end))
            }
            Chunk::NeedMore { consumed } => {
                self.used += consumed;
                self.rest_buffer();
                Ok(Data::NeedMore)
            }
            Chunk::End { consumed } => {
                self.used += consumed;
                self.state = BodyState::Done;
                Ok(Data::End)
            }
        }
    }

    /// Waiting holds no buffer: an empty one goes back to the pool.
    fn rest_buffer(&mut self) {
        if self.used == self.inbox.len() {
            self.used = 0;
            self.inbox = Buf::none();
        }
    }

    /// How many bytes the body will have, where the head says so.
    pub fn body_length(&self) -> Option<u64> {
        match (&self.state, self.head.framing) {
            (BodyState::Done, _) => Some(0),
            (_, Framing::Length(length)) => Some(length),
            _ => None,
        }
    }

    /// The answer was read to its end.
    pub fn is_complete(&self) -> bool {
        matches!(self.state, BodyState::Done)
    }

    /// Ends the exchange: the connection goes back to the pool where it can serve again, else it is
    /// closed at once, which also tells the upstream to stop.
    pub fn finish(self) {
        let clean = self.is_complete() && self.used == self.inbox.len() && !self.ended;
        if clean && self.head.keep_alive {
            self.lease.keep();
        } else {
            self.lease.stream.socket().abort();
        }
    }
}
