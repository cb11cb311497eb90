//! The mock upstream's loop: accepts, reads requests, lets answers go when they are due, notices
//! clients that leave. One thread; `turn` is one round, so that a load generator can share it.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::answer::{self, Answer, Whole};
use super::connection::{Connection, Phase, Step, Streaming};
use super::journal::{Journal, Outcome, Received};
use crate::reactor::{Clock, Interest, Poller, Random, Ready, Timers, Wake};
use crate::script::{EventIndex, Scenario, Spread};
use crate::wire::{self, ChunkDecoder, Framing, Parsed, RequestHead};

const LISTENER: u64 = u64::MAX;
const BACKLOG: i32 = 16_384;
/// Connections accepted in one round.
const ACCEPTS_MAX: usize = 256;
/// Bytes taken from a connection in one round.
const READ_BYTES: usize = 64 * 1024;
/// How long what was written gets to arrive before a RST.
const RESET_DELAY_NS: u64 = 30_000_000;

/// What the threads share.
pub(crate) struct Shared {
    journal: Mutex<Journal>,
    answers: AtomicU64,
    serials: AtomicU64,
    clock: Clock,
}

impl Shared {
    pub(crate) fn new(base: Scenario, log_entries_max: usize) -> Self {
        Self {
            journal: Mutex::new(Journal::new(base, log_entries_max)),
            answers: AtomicU64::new(1),
            serials: AtomicU64::new(1),
            clock: Clock::new(),
        }
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One thread's share of the upstream.
pub(crate) struct Server {
    shared: Arc<Shared>,
    listener: Socket,
    poller: Poller,
    ready: Vec<Ready>,
    slots: Vec<Option<Connection>>,
    free: Vec<usize>,
    timers: Timers,
    /// Streams without cadence that go on in the next round.
    runnable: VecDeque<Wake>,
    random: Random,
    scratch: Vec<u8>,
    text: String,
}

impl Server {
    pub(crate) fn bind(address: SocketAddr, shared: Arc<Shared>) -> io::Result<Self> {
        let listener = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        listener.set_reuse_address(true)?;
        listener.set_reuse_port(true)?;
        listener.set_nonblocking(true)?;
        listener.bind(&address.into())?;
        listener.listen(BACKLOG)?;
        let poller = Poller::new()?;
        poller.add(&listener, LISTENER, Interest::Read)?;
        Ok(Self {
            shared,
            listener,
            poller,
            ready: Vec::new(),
            slots: Vec::new(),
            free: Vec::new(),
            timers: Timers::default(),
            runnable: VecDeque::new(),
            random: Random::new(1),
            scratch: vec![0; READ_BYTES],
            text: String::new(),
        })
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener
            .local_addr()?
            .as_socket()
            .ok_or_else(|| io::Error::other("the listener has no address"))
    }

    /// How long a round may sleep; `None` for ever.
    pub(crate) fn wait(&self) -> Option<Duration> {
        if self.runnable.is_empty() {
            self.timers.wait(self.shared.clock.now_ns())
        } else {
            Some(Duration::ZERO)
        }
    }

    /// One round that sleeps at most `longest`. Returns how much there was to do.
    pub(crate) fn turn(&mut self, longest: Option<Duration>) -> io::Result<usize> {
        let wait = match (self.wait(), longest) {
            (Some(own), Some(longest)) => Some(own.min(longest)),
            (own, longest) => own.or(longest),
        };
        let mut ready = std::mem::take(&mut self.ready);
        ready.clear();
        self.poller.wait(wait, &mut ready)?;
        let mut work = ready.len();
        for event in &ready {
            if event.key == LISTENER {
                self.accept();
            } else {
                self.on_ready(*event);
            }
        }
        self.ready = ready;
        let now_ns = self.shared.clock.now_ns();
        while let Some(wake) = self.timers.pop_due(now_ns) {
            self.on_timer(wake);
            work += 1;
        }
        for _ in 0..self.runnable.len() {
            let Some(wake) = self.runnable.pop_front() else {
                break;
            };
            self.on_timer(wake);
            work += 1;
        }
        Ok(work)
    }

    fn accept(&mut self) {
        for _ in 0..ACCEPTS_MAX {
            let Ok((socket, _)) = self.listener.accept() else {
                return;
            };
            let set = socket
                .set_nonblocking(true)
                .and_then(|()| socket.set_tcp_nodelay(true));
            if set.is_err() {
                continue;
            }
            let slot = self.free.pop().unwrap_or_else(|| {
                self.slots.push(None);
                self.slots.len() - 1
            });
            let serial = self.shared.serials.fetch_add(1, Ordering::Relaxed);
            let connection = Connection::new(socket.into(), serial);
            if self
                .poller
                .add(&connection.stream, slot as u64, Interest::Read)
                .is_err()
            {
                self.free.push(slot);
                continue;
            }
            self.slots[slot] = Some(connection);
            self.shared.journal().connected();
        }
    }

    fn on_ready(&mut self, event: Ready) {
        let slot = event.key as usize;
        if event.readable && !self.read(slot) {
            return;
        }
        if event.writable {
            self.flush(slot);
        }
    }

    /// Returns whether the connection is still there.
    fn read(&mut self, slot: usize) -> bool {
        let Some(Some(connection)) = self.slots.get_mut(slot) else {
            return false;
        };
        match connection.read(&mut self.scratch) {
            Ok(0) => {
                self.leave(slot, Outcome::Cancelled);
                false
            }
            Ok(_) => {
                self.take_requests(slot);
                true
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => true,
            Err(_) => {
                self.leave(slot, Outcome::Cancelled);
                false
            }
        }
    }

    /// Answers what stands complete in the inbox, one after the other.
    fn take_requests(&mut self, slot: usize) {
        while let Some(Some(connection)) = self.slots.get_mut(slot) {
            if !matches!(connection.phase, Phase::Reading)
                || connection.closing
                || connection.inbox.is_empty()
                || connection.inbox.len() < connection.need
            {
                return;
            }
            let head = match wire::request_head(&connection.inbox) {
                Parsed::Complete(head) => head,
                Parsed::Partial => return,
                Parsed::Bad(reason) => {
                    let body = answer::error_body(reason, "invalid_request_error", None);
                    connection.push_whole(&Whole::json(400, body), 0);
                    connection.closing = true;
                    self.flush(slot);
                    return;
                }
            };
            match take_body(connection, &head) {
                Parsed::Complete(body) => {
                    connection.need = 0;
                    connection.continue_sent = false;
                    self.handle(slot, &head, &body);
                }
                Parsed::Partial => {
                    if head.expects_continue && !connection.continue_sent {
                        connection.continue_sent = true;
                        connection.push(b"HTTP/1.1 100 Continue\r\n\r\n");
                        self.flush(slot);
                    }
                    return;
                }
                Parsed::Bad(_) => {
                    self.leave(slot, Outcome::Faulted);
                    return;
                }
            }
        }
    }

    fn handle(&mut self, slot: usize, head: &RequestHead, body: &[u8]) {
        if let Some(command) = head.path.strip_prefix("/_mock/") {
            let text = self.control(command, body);
            let Some(Some(connection)) = self.slots.get_mut(slot) else {
                return;
            };
            connection.push_whole(&text, 0);
            connection.closing = !head.keep_alive;
            self.flush(slot);
            return;
        }
        let id = self.shared.answers.fetch_add(1, Ordering::Relaxed);
        let now_ns = self.shared.clock.now_ns();
        let mut journal = self.shared.journal();
        let plan = answer::plan(&journal.scenario, head, body, id);
        let (model, scenario) = (plan.model.clone(), plan.scenario.clone());
        let fails = scenario.may_fail()
            && self.random.unit() < scenario.fail_rate
            && scenario
                .fail_times
                .is_none_or(|times| journal.take_failure(&model, times));
        let answer = plan.decide(fails);
        let status = match &answer {
            Answer::Whole(whole) => whole.status,
            Answer::Stream(_) => 200,
            Answer::Hang | Answer::Reset | Answer::Close => 0,
        };
        let Some(Some(connection)) = self.slots.get_mut(slot) else {
            return;
        };
        let received = Received {
            at_ns: now_ns,
            connection: connection.serial,
            head,
            body,
            model: &model,
            status,
        };
        connection.number = journal.received(&received);
        drop(journal);
        connection.events = 0;
        connection.close_after = scenario.close_after;
        connection.closing = !head.keep_alive;
        let latency_ns = latency_ns(&scenario, &mut self.random);
        connection.phase = Phase::Delayed(Box::new(answer));
        let wake = Wake {
            slot,
            serial: connection.serial,
        };
        if latency_ns == 0 {
            self.on_timer(wake);
        } else {
            self.timers.set(now_ns + latency_ns, wake);
        }
    }

    fn control(&mut self, command: &str, body: &[u8]) -> Whole {
        let mut journal = self.shared.journal();
        let name = command.split('?').next().unwrap_or_default();
        match name {
            "log" => Whole {
                content_type: "application/x-ndjson",
                ..Whole::json(200, journal.log())
            },
            "stats" => Whole::json(200, journal.stats()),
            "reset" => {
                journal.reset();
                Whole::json(200, "{}\n".into())
            }
            "scenario" => {
                let mut scenario = journal.base.clone();
                scenario.apply(String::from_utf8_lossy(body).trim());
                journal.scenario = scenario;
                Whole::json(200, "{}\n".into())
            }
            _ => Whole::json(
                404,
                "{\"commands\":[\"log\",\"stats\",\"reset\",\"scenario\"]}\n".into(),
            ),
        }
    }

    fn on_timer(&mut self, wake: Wake) {
        let Some(Some(connection)) = self.slots.get_mut(wake.slot) else {
            return;
        };
        if connection.serial != wake.serial {
            return;
        }
        match std::mem::replace(&mut connection.phase, Phase::Reading) {
            Phase::Delayed(answer) => self.begin(wake.slot, *answer),
            Phase::Streaming(streaming) => self.step(wake.slot, streaming),
            Phase::ResetSoon => self.break_off(wake.slot),
            phase @ (Phase::Reading | Phase::Hung) => connection.phase = phase,
        }
    }

    fn begin(&mut self, slot: usize, answer: Answer) {
        let Some(Some(connection)) = self.slots.get_mut(slot) else {
            return;
        };
        match answer {
            Answer::Whole(whole) => {
                connection.push_whole(&whole, connection.number);
                self.finish(
                    slot,
                    if whole.truncate {
                        Outcome::Faulted
                    } else {
                        Outcome::Answered
                    },
                );
            }
            Answer::Stream(script) => {
                connection.push_stream_head(&script);
                let streaming = Streaming {
                    script,
                    next: Some(EventIndex::Open),
                    started_ns: self.shared.clock.now_ns(),
                };
                self.step(slot, Box::new(streaming));
            }
            Answer::Hang => connection.phase = Phase::Hung,
            Answer::Reset => self.break_off(slot),
            Answer::Close => self.leave(slot, Outcome::Faulted),
        }
    }

    fn step(&mut self, slot: usize, mut streaming: Box<Streaming>) {
        let Some(Some(connection)) = self.slots.get_mut(slot) else {
            return;
        };
        let wake = Wake {
            slot,
            serial: connection.serial,
        };
        match connection.step(&mut streaming, &mut self.text) {
            Step::Next(after_ns) => {
                let due_ns = streaming.started_ns + after_ns;
                let cadenced = streaming.script.scenario.cadence_us > 0;
                connection.phase = Phase::Streaming(streaming);
                self.flush(slot);
                let blocked = matches!(&self.slots[slot], Some(connection) if connection.blocked());
                if blocked {
                    // Goes on when the client has taken it.
                } else if cadenced {
                    self.timers.set(due_ns, wake);
                } else {
                    self.runnable.push_back(wake);
                }
            }
            Step::End => self.finish(slot, Outcome::Answered),
            Step::Failed => self.finish(slot, Outcome::Faulted),
            Step::Cut => {
                connection.closing = true;
                self.finish(slot, Outcome::Faulted);
            }
            Step::Hang => {
                connection.phase = Phase::Hung;
                self.flush(slot);
            }
            Step::Reset => {
                connection.phase = Phase::ResetSoon;
                self.flush(slot);
                self.timers
                    .set(self.shared.clock.now_ns() + RESET_DELAY_NS, wake);
            }
        }
    }

    /// The answer is in the outbox as a whole: note it and look for the next request.
    fn finish(&mut self, slot: usize, outcome: Outcome) {
        let now_ns = self.shared.clock.now_ns();
        let Some(Some(connection)) = self.slots.get_mut(slot) else {
            return;
        };
        self.shared
            .journal()
            .ended(connection.number, outcome, connection.events, now_ns);
        connection.phase = Phase::Reading;
        connection.answers += 1;
        connection.closing |= connection
            .close_after
            .is_some_and(|max| connection.answers >= max);
        self.flush(slot);
    }

    /// Writes; when all is written, goes on with what waited for that.
    fn flush(&mut self, slot: usize) {
        let Some(Some(connection)) = self.slots.get_mut(slot) else {
            return;
        };
        let was_blocked = connection.interest == Interest::ReadWrite;
        let Ok(empty) = connection.flush() else {
            self.leave(slot, Outcome::Cancelled);
            return;
        };
        let wanted = if empty {
            Interest::Read
        } else {
            Interest::ReadWrite
        };
        if wanted != connection.interest {
            connection.interest = wanted;
            let _ = self.poller.modify(&connection.stream, slot as u64, wanted);
        }
        if !empty {
            return;
        }
        if connection.closing && matches!(connection.phase, Phase::Reading) {
            self.remove(slot);
            return;
        }
        let wake = Wake {
            slot,
            serial: connection.serial,
        };
        if was_blocked {
            match connection.phase {
                Phase::Streaming(_) => self.runnable.push_back(wake),
                Phase::Reading => self.take_requests(slot),
                _ => {}
            }
        }
    }

    /// The connection ends while a request may be under way.
    fn leave(&mut self, slot: usize, outcome: Outcome) {
        let Some(Some(connection)) = self.slots.get(slot) else {
            return;
        };
        if !matches!(connection.phase, Phase::Reading) || outcome == Outcome::Faulted {
            let now_ns = self.shared.clock.now_ns();
            self.shared
                .journal()
                .ended(connection.number, outcome, connection.events, now_ns);
        }
        self.remove(slot);
    }

    fn break_off(&mut self, slot: usize) {
        let now_ns = self.shared.clock.now_ns();
        if let Some(connection) = self.slots[slot].take() {
            let mut journal = self.shared.journal();
            journal.ended(
                connection.number,
                Outcome::Faulted,
                connection.events,
                now_ns,
            );
            journal.connections_open -= 1;
            connection.reset();
            self.free.push(slot);
        }
    }

    fn remove(&mut self, slot: usize) {
        if self.slots[slot].take().is_some() {
            self.shared.journal().connections_open -= 1;
            self.free.push(slot);
        }
    }
}

impl AsFd for Server {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }
}

/// Takes the body of `head` and both from the inbox, when all of it has arrived.
fn take_body(connection: &mut Connection, head: &RequestHead) -> Parsed<Vec<u8>> {
    let inbox = &mut connection.inbox;
    match head.framing {
        Framing::Length(length) => {
            let end = head.bytes + length;
            if inbox.len() < end {
                connection.need = end;
                return Parsed::Partial;
            }
            let body = inbox[head.bytes..end].to_vec();
            inbox.drain(..end);
            Parsed::Complete(body)
        }
        Framing::Chunked | Framing::Close => {
            let (mut decoder, mut body) = (ChunkDecoder::default(), Vec::new());
            match decoder.decode(&inbox[head.bytes..], |data| body.extend_from_slice(data)) {
                Ok(used) if decoder.done() => {
                    inbox.drain(..head.bytes + used);
                    Parsed::Complete(body)
                }
                Ok(_) => {
                    connection.need = inbox.len() + 1;
                    Parsed::Partial
                }
                Err(reason) => Parsed::Bad(reason),
            }
        }
    }
}

fn latency_ns(scenario: &Scenario, random: &mut Random) -> u64 {
    let mean_ns = scenario.latency_us.saturating_mul(1000);
    match scenario.spread {
        Spread::Fixed => mean_ns,
        Spread::Uniform => (mean_ns as f64 * (0.5 + random.unit())) as u64,
        Spread::Exponential => (mean_ns as f64 * -(1.0 - random.unit()).ln()) as u64,
    }
}
