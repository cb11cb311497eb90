//! Relaying a stream: as it arrives, never held back, with a tap.
//!
//! Several events that are readable at once go out in one write; none is split, none waits for the
//! next. A slow client stops our reading; a client that leaves ends the upstream call.

use std::time::Instant;

use shardgate_io::buffer::Buf;
use shardgate_io::http1::client::{AnswerError, Data, Exchange};
use shardgate_io::http1::encode::{
    CHUNK_PREFIX_BYTES_MAX, CHUNK_SUFFIX, LAST_CHUNK, chunk_prefix_into,
};
use shardgate_io::http1::server::{Connection, Party, Woke};
use shardgate_io::sse::{EventSplitter, data};

use super::fault;
use crate::dialect::anthropic_messages::client;
use crate::dialect::gemini::client as google;
use crate::dialect::openai_responses::client as responses;
use crate::dialect::stream::{EventAction, StreamTap};
use crate::dialect::usage::Usage;
use crate::error::{ErrorClass, GatewayError};
use crate::provider::{Operation, StreamEnd, StreamReader, StreamTranslator, as_array};

/// A comment between two events, framed as a chunk: a client skips it, one that left resets.
const PROBE_COMMENT: &[u8] = b"3\r\n:\n\n\r\n";
/// The same between two elements of a JSON array.
const PROBE_SPACE: &[u8] = b"1\r\n\n\r\n";
pub(super) const DONE: &[u8] = b"data: [DONE]\n\n";

/// What was relayed so far, and what still has to go out.
pub(super) struct Relay {
    reader: Reader,
    /// Events that are ready; the first bytes are room for a chunk's prefix.
    out: Buf,
    chunked: bool,
    /// One JSON array instead of events.
    is_array: bool,
    event_bytes_max: usize,
    /// The stream has failed behind what is ready.
    failure: Option<GatewayError>,
}

/// How the upstream's bytes become the client's events.
#[expect(
    clippy::large_enum_variant,
    reason = "most streams are of the large kind"
)]
enum Reader {
    /// Events of the client's own dialect.
    Events(Events),
    /// Anything else.
    Translated(Box<dyn StreamTranslator>),
}

struct Events {
    tap: StreamTap,
    splitter: EventSplitter,
    /// An event that has not ended yet.
    partial: Buf,
}

/// How far a stream came.
pub(super) enum Progress {
    /// Something can go to the client.
    Ready,
    /// The upstream's stream is over.
    Ended,
}

/// Why a stream stopped.
pub(super) enum Stop {
    /// The client has left.
    Gone,
    /// The upstream failed, a deadline passed, or the process ends.
    Failed(GatewayError),
}

impl Relay {
    pub(super) fn new(reader: StreamReader, chunked: bool, event_bytes_max: usize) -> Relay {
        let reader = match reader {
            StreamReader::Tap(tap) => Reader::Events(Events {
                tap: *tap,
                splitter: EventSplitter::default(),
                partial: Buf::none(),
            }),
            StreamReader::Translate(translator) => Reader::Translated(translator),
        };
        Relay {
            reader,
            out: Buf::none(),
            chunked,
            is_array: false,
            event_bytes_max,
            failure: None,
        }
    }

    /// A stream that is one JSON array.
    pub(super) fn array(reader: StreamReader, chunked: bool, event_bytes_max: usize) -> Relay {
        let mut relay = Relay::new(as_array(reader), chunked, event_bytes_max);
        relay.is_array = true;
        relay
    }

    pub(super) fn content_type(&self) -> &'static [u8] {
        if self.is_array {
            b"application/json; charset=UTF-8"
        } else {
            b"text/event-stream; charset=utf-8"
        }
    }

    /// Tokens, as far as the upstream said.
    pub(super) fn usage(&self) -> Option<Usage> {
        match &self.reader {
            Reader::Events(events) => events.tap.usage(),
            Reader::Translated(translator) => translator.usage(),
        }
    }

    /// The id of the answer, where what is ready begins with the event that says it: a later request of
    /// the Responses API may go on from there.
    pub(super) fn answer_id(&self, operation: Operation) -> Option<String> {
        if operation != Operation::Responses || !self.has_output() {
            return None;
        }
        let ready = &self.out[CHUNK_PREFIX_BYTES_MAX..];
        let start = memchr::memmem::find(ready, b"data: ")? + b"data: ".len();
        let end = start + memchr::memchr(b'\n', &ready[start..])?;
        let event: serde_json::Value = serde_json::from_slice(&ready[start..end]).ok()?;
        event["response"]["id"].as_str().map(str::to_owned)
    }

    /// The whole answer, where it may be asked for again.
    pub(super) fn response(&mut self) -> Option<Vec<u8>> {
        match &mut self.reader {
            Reader::Events(_) => None,
            Reader::Translated(translator) => translator.response(),
        }
    }

    /// Bytes of the answer's text that have come.
    pub(super) fn text_bytes(&self) -> u64 {
        match &self.reader {
            Reader::Events(events) => events.tap.text_bytes(),
            Reader::Translated(translator) => translator.text_bytes(),
        }
    }

    /// Keeps a failure until what is ready has gone out.
    pub(super) fn fail_later(&mut self, error: GatewayError) {
        self.failure = Some(error);
    }

    pub(super) fn take_failure(&mut self) -> Option<GatewayError> {
        self.failure.take()
    }

    /// Takes in all that was received; waits for more until there is something to send.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(super) async fn advance(
        &mut self,
        exchange: &mut Exchange,
        connection: &mut impl Party,
        deadline: Instant,
    ) -> Result<Progress, Stop> {
        loop {
            match exchange
                .data()
                .map_err(|error| Stop::Failed(broken(&error)))?
            {
                Data::Run(range) => {
                    self.take(&exchange.bytes()[range]).map_err(Stop::Failed)?;
                }
                Data::End => return Ok(Progress::Ended),
                Data::NeedMore if self.has_output() => return Ok(Progress::Ready),
                Data::NeedMore => wait(exchange, connection, deadline).await?,
            }
        }
    }

    pub(super) fn has_output(&self) -> bool {
        self.out.len() > CHUNK_PREFIX_BYTES_MAX
    }

    /// Takes in a run of the stream's bytes.
    pub(super) fn take(&mut self, run: &[u8]) -> Result<(), GatewayError> {
        self.reserve_prefix(run.len());
        let out = &mut self.out;
        match &mut self.reader {
            Reader::Translated(translator) => translator.feed(run, out),
            Reader::Events(events) => {
                events.take(run, out)?;
                if events.partial.len() > self.event_bytes_max {
                    return Err(fault::answer_too_large(self.event_bytes_max));
                }
                Ok(())
            }
        }
    }

    /// Replaces what is ready by what `edit` makes of it.
    pub(super) fn rewrite(&mut self, edit: impl FnOnce(&[u8], &mut Vec<u8>)) {
        if !self.has_output() {
            return;
        }
        let ready = std::mem::take(&mut self.out);
        self.reserve_prefix(ready.len());
        edit(&ready[CHUNK_PREFIX_BYTES_MAX..], &mut self.out);
    }

    fn reserve_prefix(&mut self, bytes: usize) {
        if self.out.capacity() == 0 {
            self.out = Buf::for_bytes(bytes + 2 * CHUNK_PREFIX_BYTES_MAX);
        }
        if self.out.is_empty() {
            self.out.resize(CHUNK_PREFIX_BYTES_MAX, 0);
        }
    }

    /// Adds bytes of our own, or of the upstream as they came.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.reserve_prefix(bytes.len());
        self.out.extend_from_slice(bytes);
    }

    /// Sends what is ready, behind `head` where the answer begins; `last` ends the body.
    ///
    /// # Errors
    /// The client left or took nothing for too long.
    pub(super) async fn flush(
        &mut self,
        connection: &mut Connection,
        head: Option<Buf>,
        last: bool,
    ) -> std::io::Result<()> {
        let mut out = std::mem::take(&mut self.out);
        let mut start = CHUNK_PREFIX_BYTES_MAX.min(out.len());
        let has_data = out.len() > start;
        if self.chunked && has_data {
            let size = out.len() - start;
            start = chunk_prefix_into(&mut out[..CHUNK_PREFIX_BYTES_MAX], size);
            out.extend_from_slice(CHUNK_SUFFIX);
        }
        if self.chunked && last {
            out.extend_from_slice(LAST_CHUNK);
        }
        let Some(mut head) = head else {
            if out.len() > start {
                connection.send(out, start).await?;
            }
            return Ok(());
        };
        head.extend_from_slice(&out[start..]);
        drop(out);
        connection.send(head, 0).await.map(drop)
    }

    /// The events that wait for the next flush.
    pub(super) fn waiting(&self) -> &[u8] {
        self.out.get(CHUNK_PREFIX_BYTES_MAX..).unwrap_or_default()
    }

    /// Tells a watching connection how to find out whether its client is still there.
    pub(super) fn arm_probe(&self, connection: &mut Connection) {
        if self.chunked {
            connection.probe_with(if self.is_array {
                PROBE_SPACE
            } else {
                PROBE_COMMENT
            });
        }
    }

    /// The upstream has ended its stream; was it complete?
    ///
    /// # Errors
    /// A stream that was cut is never taken for complete.
    pub(super) fn ended(&mut self) -> Result<(), GatewayError> {
        self.reserve_prefix(0);
        let out = &mut self.out;
        let whole = match &mut self.reader {
            Reader::Translated(translator) => translator.end(out) == StreamEnd::Complete,
            Reader::Events(events) => events.end(out)?,
        };
        if whole {
            return Ok(());
        }
        let text = "the upstream's stream ended before it was complete";
        Err(GatewayError::new(
            ErrorClass::ApiConnection,
            format!("litellm.APIConnectionError: {text}"),
        ))
    }

    /// Ends a stream that has begun with an error: LiteLLM's frame, then `[DONE]`; for clients of
    /// Anthropic's, Google's and the Responses API their own.
    pub(super) fn push_error(&mut self, error: &GatewayError, operation: Operation) {
        match operation {
            Operation::Messages => return self.push(&client::error_event(error)),
            Operation::Responses => return self.push(&responses::error_event(error)),
            Operation::GenerateContent => {
                let (before, after): (&[u8], &[u8]) = match self.is_array {
                    true => (b",\r\n", b"]"),
                    false => (b"data: ", b"\n\n"),
                };
                return self.push(&[before, &google::error_body(error), after].concat());
            }
            _ => {}
        }
        self.push(&error.stream_frame());
        self.push(DONE);
    }
}

impl Events {
    fn take(&mut self, run: &[u8], out: &mut Vec<u8>) -> Result<(), GatewayError> {
        if self.partial.is_empty() {
            let used = self.whole_events(run, out)?;
            if used < run.len() {
                self.partial = Buf::for_bytes(run.len() - used);
                self.partial.extend_from_slice(&run[used..]);
            }
            return Ok(());
        }
        let mut bytes = std::mem::take(&mut self.partial);
        bytes.extend_from_slice(run);
        let used = self.whole_events(&bytes, out)?;
        if used < bytes.len() {
            bytes.consume(used);
            self.partial = bytes;
        }
        Ok(())
    }

    /// Handles the whole events of `bytes` and says how many bytes they are.
    fn whole_events(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, GatewayError> {
        let mut used = 0;
        let mut scratch = Buf::small();
        while let Some(event) = self.splitter.next(&bytes[used..]) {
            let (start, end) = (used + event.start, used + event.end);
            used = end;
            self.event(&bytes[start..end], &mut scratch, out)?;
        }
        Ok(used)
    }

    fn event(
        &mut self,
        event: &[u8],
        scratch: &mut Buf,
        out: &mut Vec<u8>,
    ) -> Result<(), GatewayError> {
        let found = data(event);
        let Some(payload) = found.payload else {
            // A comment keeps connections alive on the way; it is the upstream's, so it goes on.
            out.extend_from_slice(event);
            return Ok(());
        };
        match self.tap.event(found.name, &payload, scratch) {
            EventAction::Pass => out.extend_from_slice(event),
            EventAction::Replace | EventAction::Done => out.extend_from_slice(scratch),
            EventAction::Hide => {}
            EventAction::Error(error) => return Err(error),
        }
        Ok(())
    }

    /// The stream is over; true when it was complete.
    fn end(&mut self, out: &mut Vec<u8>) -> Result<bool, GatewayError> {
        let mut scratch = Buf::small();
        if !self.partial.is_empty() {
            // A last event without its blank line.
            let mut rest = std::mem::take(&mut self.partial);
            rest.extend_from_slice(b"\n\n");
            self.event(&rest, &mut scratch, out)?;
        }
        let whole = self.tap.ended(&mut scratch);
        out.extend_from_slice(&scratch);
        Ok(whole)
    }
}

/// Waits for the upstream and receives.
pub(super) async fn wait(
    exchange: &mut Exchange,
    connection: &mut impl Party,
    deadline: Instant,
) -> Result<(), Stop> {
    match connection.wait_with(exchange.stream(), deadline).await {
        Woke::Ready => exchange
            .receive()
            .await
            .map_err(|error| Stop::Failed(broken(&error))),
        Woke::Gone => Err(Stop::Gone),
        Woke::Late => Err(Stop::Failed(late())),
        Woke::Drained => Err(Stop::Failed(fault::draining())),
    }
}

/// An answer that came in time to nobody.
pub(super) fn late() -> GatewayError {
    let text = "litellm.Timeout: Timeout Error: the upstream did not answer in time";
    GatewayError::new(ErrorClass::Timeout, text)
}

/// What the client reads of a connection that broke.
pub(super) fn broken(error: &AnswerError) -> GatewayError {
    let why = match error {
        AnswerError::Io { error, .. } => match error.kind() {
            std::io::ErrorKind::TimedOut => return late(),
            std::io::ErrorKind::UnexpectedEof => {
                "the upstream closed the connection before its answer was complete".to_owned()
            }
            std::io::ErrorKind::ConnectionRefused => "Connection error: refused".to_owned(),
            kind => format!("Connection error: {kind}"),
        },
        AnswerError::Malformed(refusal) => {
            format!("the upstream's answer is not HTTP: {}", refusal.reason)
        }
    };
    GatewayError::new(
        ErrorClass::ApiConnection,
        format!("litellm.APIConnectionError: {why}"),
    )
}
