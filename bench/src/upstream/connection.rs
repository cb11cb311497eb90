//! One client connection of the mock upstream: its buffers, and where it stands in its answer.
//! Knows its socket but neither the epoll set nor the journal.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::answer::{Answer, Whole};
use crate::reactor::Interest;
use crate::script::{EventIndex, Fault, StreamScript};

/// Where a connection stands.
pub(crate) enum Phase {
    /// Waits for a request, or for the rest of one.
    Reading,
    /// Waits for its latency.
    Delayed(Box<Answer>),
    Streaming(Box<Streaming>),
    /// Says nothing until the client leaves.
    Hung,
    /// Sends RST at its next timer: what was written has arrived by then.
    ResetSoon,
}

/// A stream under way.
pub(crate) struct Streaming {
    pub(crate) script: StreamScript,
    pub(crate) next: Option<EventIndex>,
    pub(crate) started_ns: u64,
}

/// What a step of a stream leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The next events are due `.0` nanoseconds after the stream's start.
    Next(u64),
    End,
    /// Ends, by the scenario's will; close the connection after what is written.
    Cut,
    /// Ends with an error event.
    Failed,
    Hang,
    Reset,
}

/// A client connection.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    /// Differs for each tenant of a slot.
    pub(crate) serial: u64,
    pub(crate) inbox: Vec<u8>,
    /// Bytes that `inbox` must hold before it is worth parsing again.
    pub(crate) need: usize,
    outbox: Vec<u8>,
    written: usize,
    pub(crate) interest: Interest,
    pub(crate) phase: Phase,
    pub(crate) continue_sent: bool,
    pub(crate) answers: u32,
    pub(crate) close_after: Option<u32>,
    /// Close when the outbox is empty.
    pub(crate) closing: bool,
    /// The journal's number of the request under way.
    pub(crate) number: u64,
    /// Content events sent for it.
    pub(crate) events: u32,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, serial: u64) -> Self {
        Self {
            stream,
            serial,
            inbox: Vec::new(),
            need: 0,
            outbox: Vec::new(),
            written: 0,
            interest: Interest::Read,
            phase: Phase::Reading,
            continue_sent: false,
            answers: 0,
            close_after: None,
            closing: false,
            number: 0,
            events: 0,
        }
    }

    /// Reads once. `Ok(0)` is the peer's end; a `WouldBlock` is an error.
    pub(crate) fn read(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(scratch)?;
        self.inbox.extend_from_slice(&scratch[..count]);
        Ok(count)
    }

    /// Writes what it can; `true` when nothing is left.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        while self.written < self.outbox.len() {
            match self.stream.write(&self.outbox[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.written = 0;
        self.outbox.clear();
        // Thousands of waiting streams must not each keep the buffer of their biggest answer.
        self.outbox.shrink_to(4096);
        Ok(true)
    }

    pub(crate) fn blocked(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Drops the connection with RST.
    pub(crate) fn reset(self) {
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.outbox.extend_from_slice(bytes);
    }

    /// Head and body together: they leave in one write.
    pub(crate) fn push_whole(&mut self, whole: &Whole, id: u64) {
        let reason = if whole.status < 400 { "OK" } else { "Mock" };
        let mut head = String::with_capacity(256);
        let _ = write!(
            head,
            "HTTP/1.1 {} {reason}\r\ncontent-type: {}\r\ncontent-length: {}\r\nx-request-id: req_{id:016x}\r\n",
            whole.status,
            whole.content_type,
            whole.body.len()
        );
        if let Some(seconds) = whole.retry_after_s {
            let _ = write!(head, "retry-after: {seconds}\r\n");
        }
        head.push_str("\r\n");
        self.push(head.as_bytes());
        let body = whole.body.as_bytes();
        if whole.truncate {
            self.push(&body[..body.len() / 2]);
            self.closing = true;
        } else {
            self.push(body);
        }
    }

    /// The head of a stream; its first events follow in the same write.
    pub(crate) fn push_stream_head(&mut self, script: &StreamScript) {
        let kind = match script.kind {
            crate::script::StreamKind::Audio => "audio/mpeg",
            _ => "text/event-stream; charset=utf-8",
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncache-control: no-cache\r\n\
             x-request-id: req_{:016x}\r\ntransfer-encoding: chunked\r\n\r\n",
            script.id
        );
        self.push(head.as_bytes());
    }

    /// Appends the next write of the stream to the outbox.
    pub(crate) fn step(&mut self, streaming: &mut Streaming, scratch: &mut String) -> Step {
        let scenario = &streaming.script.scenario;
        let half = scenario.chunks / 2;
        let mut in_write = 0;
        while let Some(index) = streaming.next {
            scratch.clear();
            let at_fault = index == EventIndex::Content(half + 1);
            match scenario.fault {
                Fault::HangMidstream if at_fault => return Step::Hang,
                Fault::ResetMidstream if at_fault => return Step::Reset,
                Fault::ErrorMidstream if at_fault => {
                    push_error_event(scratch);
                    self.push_chunk(scratch);
                    self.push(b"0\r\n\r\n");
                    return Step::Failed;
                }
                Fault::BadSse if at_fault => scratch.push_str("data: {\"id\": \"chatcmpl-oops\n\n"),
                Fault::NoDone if index == EventIndex::Done => {}
                _ => streaming.script.event(index, scratch),
            }
            if at_fault && scenario.fault == Fault::Truncate {
                scratch.truncate(scratch.len() / 2);
                self.push_chunk(scratch);
                return Step::Cut;
            }
            if scenario.comments && matches!(index, EventIndex::Content(_)) {
                scratch.insert_str(0, ": keep-alive\n\n");
            }
            self.push_chunk(scratch);
            streaming.next = streaming.script.after(index);
            let Some(next) = streaming.next else { break };
            if let EventIndex::Content(_) = index {
                self.events += 1;
                in_write += 1;
            }
            let waits = match (index, next) {
                (EventIndex::Open, _) => !scratch.is_empty(),
                (EventIndex::Content(_), EventIndex::Content(_)) => in_write >= scenario.burst,
                (EventIndex::Content(_), _) => true,
                _ => false,
            };
            if waits {
                let place = match next {
                    EventIndex::Content(n) => n,
                    _ => scenario.chunks + 1,
                };
                return Step::Next(u64::from(place) * scenario.cadence_us * 1000);
            }
        }
        if streaming.script.kind == crate::script::StreamKind::Audio {
            self.events = scenario.chunks;
        }
        self.push(b"0\r\n\r\n");
        Step::End
    }

    fn push_chunk(&mut self, text: &str) {
        if !text.is_empty() {
            let size = format!("{:x}\r\n", text.len());
            self.push(size.as_bytes());
            self.push(text.as_bytes());
            self.push(b"\r\n");
        }
    }
}

fn push_error_event(out: &mut String) {
    out.push_str("data: ");
    out.push_str(&super::answer::error_body(
        "The server had an error while processing your request",
        "server_error",
        None,
    ));
    out.push_str("\n\n");
}
