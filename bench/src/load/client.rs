//! The load generator's loop: one thread, one epoll set, many connections, each of which sends the
//! same request and judges what comes back. Closed loop, or open loop at a rate; slow readers; and
//! clients that leave at any moment.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::expect::Expected;
use super::figures::Figures;
use super::judge::Judge;
use crate::reactor::{Clock, Interest, Poller, Random, Ready, Timers, Wake};
use crate::wire::{self, ChunkDecoder, Framing, Parsed};

const READ_BYTES: usize = 64 * 1024;
/// Connections opened in one round, so that a backlog never overflows.
const CONNECTS_MAX: usize = 128;
/// Requests of an open loop that wait for a connection.
const QUEUE_MAX: usize = 1_000_000;
/// Receive buffer of a slow reader, so that its slowness reaches the other side.
const SLOW_BUFFER_BYTES: usize = 4096;
const SECOND_NS: u64 = 1_000_000_000;
/// How often requests that take too long are looked for.
const SWEEP_NS: u64 = SECOND_NS / 4;
/// Pause before a failed connection is opened anew.
const RETRY_NS: u64 = 50_000_000;

/// What to do to whom.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) target: SocketAddr,
    /// One whole request.
    pub(crate) request: Vec<u8>,
    pub(crate) expected: Expected,
    pub(crate) connections: usize,
    /// Requests per second; without it each connection sends its next at once.
    pub(crate) rate: Option<f64>,
    /// Exponential gaps between the requests of an open loop.
    pub(crate) poisson: bool,
    /// Nanoseconds over which the connections start.
    pub(crate) ramp_ns: u64,
    /// Bytes per second that a reader takes.
    pub(crate) read_rate: Option<u64>,
    /// Part of the requests broken off at a random moment, 0 to 1.
    pub(crate) disconnect_rate: f64,
    /// A request that takes longer is an error.
    pub(crate) timeout_ns: u64,
    pub(crate) seed: u64,
    /// Where in the request 32 digits of a key stand that are drawn anew with each request.
    pub(crate) key_at: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Idle,
    /// Sends the request, waits for the head.
    Asking,
    Body(Framing),
}

struct Connection {
    stream: Option<TcpStream>,
    /// Changes with each request and each connection.
    serial: u64,
    state: State,
    interest: Interest,
    sent: usize,
    /// Stop sending here, when the request is to be broken off within itself.
    send_end: usize,
    breaks: bool,
    due_ns: u64,
    first_byte: bool,
    event_ns: u64,
    inbox: Vec<u8>,
    decoder: ChunkDecoder,
    keep_alive: bool,
    reused: bool,
    judge: Judge,
}

/// One thread's load.
pub(crate) struct Client {
    plan: Plan,
    clock: Clock,
    poller: Poller,
    ready: Vec<Ready>,
    connections: Vec<Connection>,
    /// Connections of an open loop with nothing to do.
    idle: Vec<usize>,
    /// When each waiting request of an open loop was due.
    queue: VecDeque<u64>,
    next_due_ns: u64,
    timers: Timers,
    serial: u64,
    random: Random,
    scratch: Vec<u8>,
    figures: Figures,
    window_ns: u64,
    sweep_ns: u64,
}

impl Client {
    pub(crate) fn new(plan: Plan) -> io::Result<Self> {
        let connections = (0..plan.connections).map(|_| Connection::new()).collect();
        let mut client = Self {
            random: Random::new(plan.seed),
            idle: (0..plan.connections).rev().collect(),
            plan,
            clock: Clock::new(),
            poller: Poller::new()?,
            ready: Vec::new(),
            connections,
            queue: VecDeque::new(),
            next_due_ns: 0,
            timers: Timers::default(),
            serial: 1,
            scratch: vec![0; READ_BYTES],
            figures: Figures::new(),
            window_ns: 0,
            sweep_ns: SWEEP_NS,
        };
        if client.plan.rate.is_none() {
            client.idle.clear();
            client.schedule_starts();
        }
        Ok(client)
    }

    fn schedule_starts(&mut self) {
        let count = self.plan.connections.max(1) as u64;
        for slot in 0..self.plan.connections {
            let even_ns = self.plan.ramp_ns * slot as u64 / count;
            // At most that many per millisecond, whatever the ramp.
            let least_ns = (slot / CONNECTS_MAX) as u64 * 1_000_000;
            let serial = self.connections[slot].serial;
            self.timers
                .set(even_ns.max(least_ns), Wake { slot, serial });
        }
    }

    /// Starts a new window of measurement.
    pub(crate) fn start_window(&mut self) {
        self.figures = Figures::new();
        self.window_ns = self.clock.now_ns();
    }

    /// The figures since [`Client::start_window`].
    pub(crate) fn figures(&mut self) -> Figures {
        self.figures.duration_ns = self.clock.now_ns() - self.window_ns;
        self.figures.clone()
    }

    pub(crate) fn answered(&self) -> u64 {
        self.figures.requests + self.figures.errors_total()
    }

    /// Connections whose answer has begun and not ended.
    pub(crate) fn answering(&self) -> usize {
        let begun = |connection: &&Connection| {
            connection.first_byte && !matches!(connection.state, State::Closed | State::Idle)
        };
        self.connections.iter().filter(begun).count()
    }

    /// One round that sleeps at most `longest`.
    pub(crate) fn turn(&mut self, longest: Duration) -> io::Result<()> {
        let now_ns = self.clock.now_ns();
        let mut wait = self
            .timers
            .wait(now_ns)
            .map_or(longest, |own| own.min(longest));
        if self.plan.rate.is_some() {
            wait = wait.min(Duration::from_nanos(
                self.next_due_ns.saturating_sub(now_ns),
            ));
        }
        let mut ready = std::mem::take(&mut self.ready);
        ready.clear();
        self.poller.wait(Some(wait), &mut ready)?;
        for event in &ready {
            self.on_ready(*event);
        }
        self.ready = ready;
        let now_ns = self.clock.now_ns();
        while let Some(wake) = self.timers.pop_due(now_ns) {
            self.on_timer(wake, now_ns);
        }
        if let Some(rate) = self.plan.rate {
            self.issue(rate, now_ns);
        }
        if now_ns >= self.sweep_ns {
            self.sweep_ns = now_ns + SWEEP_NS;
            self.sweep(now_ns);
        }
        Ok(())
    }

    /// Gives up requests that take too long: cheaper than a timer for each.
    fn sweep(&mut self, now_ns: u64) {
        for slot in 0..self.connections.len() {
            let connection = &self.connections[slot];
            let waits = !matches!(connection.state, State::Closed | State::Idle);
            if waits && now_ns.saturating_sub(connection.due_ns) >= self.plan.timeout_ns {
                self.fail(slot, "timeout", String::new());
            }
        }
    }

    /// Sends what an open loop owes at `now_ns`.
    fn issue(&mut self, rate: f64, now_ns: u64) {
        if self.next_due_ns == 0 {
            self.next_due_ns = now_ns;
        }
        while self.next_due_ns <= now_ns {
            if self.queue.len() < QUEUE_MAX {
                self.queue.push_back(self.next_due_ns);
            } else {
                self.figures.dropped += 1;
            }
            let mut gap = SECOND_NS as f64 / rate;
            if self.plan.poisson {
                gap *= -(1.0 - self.random.unit()).ln();
            }
            self.next_due_ns += (gap as u64).max(1);
        }
        while !self.idle.is_empty()
            && let Some(due_ns) = self.queue.pop_front()
            && let Some(slot) = self.idle.pop()
        {
            self.ask(slot, due_ns);
        }
    }

    fn on_ready(&mut self, event: Ready) {
        let slot = event.key as usize;
        if event.readable {
            self.read(slot, READ_BYTES);
        }
        if event.writable {
            self.send(slot);
        }
    }

    fn on_timer(&mut self, wake: Wake, now_ns: u64) {
        let Some(connection) = self.connections.get_mut(wake.slot) else {
            return;
        };
        if connection.serial != wake.serial {
            return;
        }
        match connection.state {
            State::Closed | State::Idle => self.ask(wake.slot, now_ns),
            _ if connection.breaks => {
                self.figures.disconnects += 1;
                self.break_off(wake.slot);
                self.again(wake.slot, now_ns);
            }
            _ => {
                if let Some(rate) = self.plan.read_rate {
                    self.read_slowly(wake, rate, now_ns);
                }
            }
        }
    }

    fn read_slowly(&mut self, wake: Wake, rate: u64, now_ns: u64) {
        let tick_ns = (SECOND_NS / rate.max(1)).max(SECOND_NS / 10);
        let bytes = (rate * tick_ns / SECOND_NS).max(1) as usize;
        self.timers.set(now_ns + tick_ns, wake);
        self.read(wake.slot, bytes.min(READ_BYTES));
    }

    /// Starts a request that was due at `due_ns`.
    fn ask(&mut self, slot: usize, due_ns: u64) {
        self.serial += 1;
        let breaks =
            self.plan.disconnect_rate > 0.0 && self.random.unit() < self.plan.disconnect_rate;
        let whole = self.plan.request.len();
        let within = breaks && self.random.unit() < 0.3;
        let send_end = if within {
            (whole as f64 * self.random.unit()) as usize
        } else {
            whole
        };
        if let Some(at) = self.plan.key_at {
            let key = u128::from(self.random.next()) << 64 | u128::from(self.random.next());
            self.plan.request[at..at + 32].copy_from_slice(format!("{key:032x}").as_bytes());
        }
        let connection = &mut self.connections[slot];
        connection.start(self.serial, due_ns, breaks, send_end);
        let wake = Wake {
            slot,
            serial: self.serial,
        };
        if connection.stream.is_none() {
            match connect(&self.plan) {
                Ok(stream) => {
                    self.figures.connects += 1;
                    connection.interest = Interest::Write;
                    let added = self.poller.add(&stream, slot as u64, Interest::Write);
                    connection.stream = Some(stream);
                    connection.reused = false;
                    if added.is_err() {
                        self.fail(slot, "epoll", String::new());
                        return;
                    }
                }
                Err(error) => {
                    self.fail(slot, "connect", error.to_string());
                    return;
                }
            }
        } else {
            connection.reused = true;
            self.send(slot);
        }
        let now_ns = self.clock.now_ns();
        if breaks {
            let after = self.random.unit() * self.random.unit() * 0.5 * SECOND_NS as f64;
            self.timers.set(now_ns + after as u64, wake);
        } else if self.plan.read_rate.is_some() {
            self.timers.set(now_ns + SECOND_NS / 10, wake);
        }
    }

    fn send(&mut self, slot: usize) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        let Some(stream) = &mut connection.stream else {
            return;
        };
        while connection.sent < connection.send_end {
            match stream.write(&self.plan.request[connection.sent..connection.send_end]) {
                Ok(count) => connection.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.lost(slot, error.to_string());
                    return;
                }
            }
        }
        let wanted = if connection.sent < connection.send_end {
            Interest::ReadWrite
        } else if self.plan.read_rate.is_some() {
            Interest::Hangup
        } else {
            Interest::Read
        };
        if wanted != connection.interest {
            connection.interest = wanted;
            let _ = self.poller.modify(&*stream, slot as u64, wanted);
        }
    }

    fn read(&mut self, slot: usize, bytes: usize) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        let Some(stream) = &mut connection.stream else {
            return;
        };
        match stream.read(&mut self.scratch[..bytes]) {
            Ok(0) => self.ended(slot),
            Ok(count) => self.take(slot, count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => self.lost(slot, error.to_string()),
        }
    }

    /// The peer has closed.
    fn ended(&mut self, slot: usize) {
        if self.connections[slot].state == State::Body(Framing::Close) {
            self.finish(slot);
        } else {
            self.lost(slot, "closed by the peer".into());
        }
    }

    fn lost(&mut self, slot: usize, text: String) {
        let connection = &self.connections[slot];
        let kind = match connection.state {
            State::Idle | State::Closed => {
                self.connections[slot].close();
                return;
            }
            State::Asking if connection.reused => "closed before the answer, reused",
            State::Asking => "closed before the answer",
            State::Body(_) => "closed within the answer",
        };
        self.fail(slot, kind, text);
    }

    /// Takes `count` bytes of the scratch buffer.
    fn take(&mut self, slot: usize, count: usize) {
        let now_ns = self.clock.now_ns();
        let connection = &mut self.connections[slot];
        if !connection.first_byte {
            connection.first_byte = true;
            self.figures
                .first_byte
                .record_ns(now_ns.saturating_sub(connection.due_ns));
        }
        let bytes = &self.scratch[..count];
        match connection.take(&mut self.plan.expected, bytes) {
            Ok(progress) => {
                self.figures.body_bytes += progress.body_bytes;
                self.figures.events += progress.events;
                if progress.events > 0 {
                    if connection.event_ns > 0 {
                        self.figures.gap.record_ns(now_ns - connection.event_ns);
                    }
                    connection.event_ns = now_ns;
                }
                if progress.complete {
                    self.finish(slot);
                }
            }
            Err(reason) => self.fail(slot, "framing", reason.to_owned()),
        }
    }

    fn finish(&mut self, slot: usize) {
        let now_ns = self.clock.now_ns();
        let connection = &mut self.connections[slot];
        let (due_ns, keep) = (connection.due_ns, connection.keep_alive);
        match connection.judge.verdict(&mut self.plan.expected) {
            Ok(()) => {
                self.figures.requests += 1;
                self.figures
                    .latency
                    .record_ns(now_ns.saturating_sub(due_ns));
            }
            Err((kind, text)) => {
                self.figures.error(kind);
                self.figures.sample.get_or_insert(text);
            }
        }
        if keep {
            connection.state = State::Idle;
        } else {
            connection.close();
        }
        self.again(slot, now_ns);
    }

    fn fail(&mut self, slot: usize, kind: &'static str, text: String) {
        // Whoever breaks off a request may be answered with an early close.
        if self.connections[slot].breaks {
            self.figures.disconnects += 1;
        } else {
            self.figures.error(kind);
            self.figures
                .sample
                .get_or_insert_with(|| format!("{kind}: {text}"));
        }
        self.connections[slot].close();
        let now_ns = self.clock.now_ns();
        if self.plan.rate.is_some() {
            self.again(slot, now_ns);
        } else {
            self.serial += 1;
            self.connections[slot].serial = self.serial;
            self.timers.set(
                now_ns + RETRY_NS,
                Wake {
                    slot,
                    serial: self.serial,
                },
            );
        }
    }

    /// A connection is free for its next request.
    fn again(&mut self, slot: usize, now_ns: u64) {
        if self.plan.rate.is_some() {
            self.idle.push(slot);
        } else if self.connections[slot].stream.is_some() {
            self.ask(slot, now_ns);
        } else {
            // Through a timer, so that a failing connect does not recurse.
            self.serial += 1;
            self.connections[slot].serial = self.serial;
            self.timers.set(
                now_ns,
                Wake {
                    slot,
                    serial: self.serial,
                },
            );
        }
    }

    /// Leaves in the middle: half of the time with RST.
    fn break_off(&mut self, slot: usize) {
        let abruptly = self.random.unit() < 0.5;
        if let Some(stream) = self.connections[slot].stream.as_ref().filter(|_| abruptly) {
            let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
        self.connections[slot].close();
    }
}

fn connect(plan: &Plan) -> io::Result<TcpStream> {
    let socket = Socket::new(
        Domain::for_address(plan.target),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if plan.read_rate.is_some() {
        socket.set_recv_buffer_size(SLOW_BUFFER_BYTES)?;
    }
    match socket.connect(&plan.target.into()) {
        Ok(()) => {}
        Err(error)
            if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
        Err(error) => return Err(error),
    }
    Ok(socket.into())
}

/// What a read brought.
#[derive(Default)]
struct Progress {
    body_bytes: u64,
    events: u64,
    complete: bool,
}

impl Connection {
    fn new() -> Self {
        Self {
            stream: None,
            serial: 0,
            state: State::Closed,
            interest: Interest::Read,
            sent: 0,
            send_end: 0,
            breaks: false,
            due_ns: 0,
            first_byte: false,
            event_ns: 0,
            inbox: Vec::new(),
            decoder: ChunkDecoder::default(),
            keep_alive: true,
            reused: false,
            judge: Judge::default(),
        }
    }

    fn start(&mut self, serial: u64, due_ns: u64, breaks: bool, send_end: usize) {
        self.serial = serial;
        self.due_ns = due_ns;
        self.breaks = breaks;
        self.send_end = send_end;
        self.sent = 0;
        self.first_byte = false;
        self.event_ns = 0;
        self.state = State::Asking;
        self.inbox.clear();
        self.judge.start();
    }

    fn close(&mut self) {
        self.stream = None;
        self.state = State::Closed;
    }

    fn take(&mut self, expected: &mut Expected, bytes: &[u8]) -> Result<Progress, &'static str> {
        match self.state {
            State::Closed => Ok(Progress::default()),
            State::Idle => Err("bytes without a request"),
            State::Body(framing) => self.take_body(expected, framing, bytes),
            State::Asking => {
                let mut inbox = std::mem::take(&mut self.inbox);
                inbox.extend_from_slice(bytes);
                let progress = self.take_head(expected, &mut inbox);
                self.inbox = inbox;
                progress
            }
        }
    }

    fn take_head(
        &mut self,
        expected: &mut Expected,
        inbox: &mut Vec<u8>,
    ) -> Result<Progress, &'static str> {
        loop {
            let head = match wire::answer_head(inbox) {
                Parsed::Partial => return Ok(Progress::default()),
                Parsed::Bad(reason) => return Err(reason),
                Parsed::Complete(head) => head,
            };
            if (100..200).contains(&head.status) {
                inbox.drain(..head.bytes);
                continue;
            }
            if head.status == 200 && expected.streams && !head.event_stream {
                return Err("not an event stream");
            }
            self.judge.status(head.status);
            self.keep_alive = head.keep_alive && head.framing != Framing::Close;
            self.decoder = ChunkDecoder::default();
            self.state = State::Body(head.framing);
            let progress = self.take_body(expected, head.framing, &inbox[head.bytes..]);
            inbox.clear();
            return progress;
        }
    }

    fn take_body(
        &mut self,
        expected: &mut Expected,
        framing: Framing,
        bytes: &[u8],
    ) -> Result<Progress, &'static str> {
        let mut progress = Progress {
            body_bytes: bytes.len() as u64,
            ..Progress::default()
        };
        match framing {
            Framing::Length(left) => {
                let rest = left
                    .checked_sub(bytes.len())
                    .ok_or("more than content-length")?;
                progress.events = self.judge.body(expected, bytes);
                self.state = State::Body(Framing::Length(rest));
                progress.complete = rest == 0;
            }
            Framing::Chunked => {
                let judge = &mut self.judge;
                let events = &mut progress.events;
                let used = self
                    .decoder
                    .decode(bytes, |data| *events += judge.body(expected, data))?;
                progress.complete = self.decoder.done();
                if used < bytes.len() {
                    return Err("bytes after the last chunk");
                }
            }
            Framing::Close => progress.events = self.judge.body(expected, bytes),
        }
        Ok(progress)
    }
}
