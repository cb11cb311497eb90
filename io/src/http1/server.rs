//! The server side of HTTP/1.1: one connection's loop from head to head.
//!
//! It reads requests (whole heads, then bodies as the handler asks), watches for a client that
//! leaves while its request is served, answers what is not HTTP with a refusal and closes gently.
//! What a request means is the [`Handler`]'s.

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::ops::Range;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::body::{Chunk, ChunkDecoder};
use super::drain::{Drain, Registered};
use super::head::{Framing, Limits, Parse, Refusal, RequestHead, parse_request};
use super::watch::Watch;
use crate::buffer::Buf;
use crate::driver::{CatchUnwind, Pieces, Timer};
use crate::net::Stream;

/// Deadlines and bounds of the server side.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// From a head's first byte to its last.
    pub head_timeout: Duration,
    /// Between two pieces of a body.
    pub body_timeout: Duration,
    /// Between two requests on one connection.
    pub idle_timeout: Duration,
    /// How long a client may take no byte of its answer.
    pub send_timeout: Duration,
    /// Bounds on heads.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(75),
            send_timeout: Duration::from_secs(300),
            limits: Limits::default(),
        }
    }
}

/// One request: its head's spans point into `bytes`, and so does the body once it was read.
pub struct Request {
    /// The head.
    pub head: RequestHead,
    /// Head and body as they came (a chunked body without its framing).
    pub bytes: Buf,
    /// Where the body is in `bytes`; empty until [`Connection::read_body`].
    pub body: Range<usize>,
}

impl Request {
    /// An empty one with room for the headers that most have.
    fn usual() -> Box<Request> {
        let mut head = RequestHead::default();
        head.headers.reserve(HEADERS_USUAL);
        Box::new(Request {
            head,
            bytes: Buf::none(),
            body: 0..0,
        })
    }

    /// The body's bytes.
    pub fn body(&self) -> &[u8] {
        &self.bytes[self.body.clone()]
    }

    /// A header's value by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.head.header(&self.bytes, name)
    }
}

/// Why a body could not be read.
#[derive(Debug)]
pub enum BodyError {
    /// Larger than the bound (413). Found from Content-Length before anything of it is read.
    TooLarge,
    /// Not HTTP: refused and closed (400).
    Refused(Refusal),
    /// No progress in time (408).
    Late,
    /// The client left.
    Gone,
}

/// What became of the connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The next request may come.
    KeepAlive,
    /// Close gently: what was sent will be read by the client.
    Close,
    /// The answer was cut: close so that the client cannot take it for complete.
    Abort,
}

/// What the gateway does with requests.
pub trait Handler {
    /// Serves one request and says what becomes of the connection.
    fn handle<'a>(
        &'a self,
        connection: &'a mut Connection,
        request: Box<Request>,
    ) -> impl Future<Output = After> + 'a;

    /// A complete answer (head and body, `connection: close`) to what is refused before it is a
    /// request, or (status 500) to a request whose handler panicked.
    fn refusal(&self, refusal: &Refusal) -> Vec<u8>;
}

/// Why [`Connection::wait_with`] woke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woke {
    /// The other stream can be received from.
    Ready,
    /// The client has left.
    Gone,
    /// The deadline has passed.
    Late,
    /// The process ends and its patience too.
    Drained,
}

/// One client connection.
pub struct Connection {
    stream: Stream,
    peer: SocketAddr,
    inbox: Buf,
    timer: Timer,
    settings: Rc<Settings>,
    drain: Registered,
    watch: Watch,
    head_sent: bool,
    http11: bool,
}

/// Headers that most requests stay below.
const HEADERS_USUAL: usize = 16;

enum Next {
    Request(Box<Request>),
    Refused(Refusal),
    Closed,
}

impl Connection {
    /// A fresh connection from `peer`, in a box: a task that waits should be small.
    pub fn new(
        stream: Stream,
        peer: SocketAddr,
        settings: Rc<Settings>,
        drain: &Rc<Drain>,
    ) -> Box<Connection> {
        let drain = drain.register(stream.socket().clone());
        Box::new(Connection {
            stream,
            peer,
            inbox: Buf::none(),
            timer: Timer::default(),
            settings,
            drain,
            watch: Watch::default(),
            head_sent: false,
            http11: true,
        })
    }

    /// The client's address.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The process is ending: answers carry `connection: close`.
    pub fn draining(&self) -> bool {
        self.drain.is_draining()
    }

    /// Something of the answer has gone out.
    pub fn head_sent(&self) -> bool {
        self.head_sent
    }

    /// Bytes of a further request are here already.
    fn pipelined(&self) -> bool {
        !self.inbox.is_empty()
    }

    async fn next(&mut self) -> Next {
        // Made when its first bytes are here: a connection that waits should be small.
        let mut request: Option<Box<Request>> = None;
        let mut deadline = Instant::now() + self.settings.idle_timeout;
        self.drain.set_idle(true);
        let mut request = loop {
            if !self.inbox.is_empty() {
                let begun = request.is_some();
                let mut made = request.take().unwrap_or_else(Request::usual);
                match parse_request(&self.inbox, &mut made.head, &self.settings.limits) {
                    Ok(Parse::Complete) => break made,
                    Ok(Parse::Partial) => request = Some(made),
                    Err(refusal) => return Next::Refused(refusal),
                }
                if !begun {
                    deadline = Instant::now() + self.settings.head_timeout;
                }
            } else if self.drain.is_draining() {
                return Next::Closed;
            }
            match self.receive(deadline).await {
                Ok(0) => return Next::Closed,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut && request.is_some() => {
                    return Next::Refused(Refusal {
                        status: 408,
                        reason: "the request's head took longer than request_head_timeout",
                    });
                }
                Err(_) => return Next::Closed,
            }
        };
        self.drain.set_idle(false);
        self.head_sent = false;
        let head = &request.head;
        self.http11 = head.http11;
        self.watch = Watch::default();
        let mut bytes = mem::take(&mut self.inbox);
        if head.framing == Framing::None && bytes.len() > head.len {
            self.inbox = Buf::for_bytes(bytes.len() - head.len);
            self.inbox.extend_from_slice(&bytes[head.len..]);
            bytes.truncate(head.len);
        }
        let start = head.len;
        request.bytes = bytes;
        request.body = start..start;
        Next::Request(request)
    }

    /// Waits for bytes and appends them to the inbox.
    async fn receive(&mut self, deadline: Instant) -> io::Result<usize> {
        self.readable(deadline).await?;
        if self.inbox.capacity() == 0 {
            // Most requests fit; a larger body makes room for itself once its length is known.
            self.inbox = Buf::small();
        }
        let received = self.stream.recv(&mut self.inbox).await;
        if self.inbox.is_empty() {
            self.inbox = Buf::none();
        }
        received
    }

    async fn readable(&mut self, deadline: Instant) -> io::Result<()> {
        let (stream, timer) = (&mut self.stream, &mut self.timer);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(result) = stream.poll_readable(cx) {
                return Poll::Ready(result);
            }
            timer
                .poll(cx, deadline)
                .map(|()| Err(io::ErrorKind::TimedOut.into()))
        })
        .await
    }

    /// Reads the request's body, at most `bytes_max`, into `request.bytes`; what belongs to the next
    /// request stays with the connection. Answers `Expect: 100-continue` first.
    ///
    /// # Errors
    /// See [`BodyError`]; the connection must then be closed.
    pub async fn read_body(
        &mut self,
        request: &mut Request,
        bytes_max: usize,
    ) -> Result<(), BodyError> {
        let start = request.head.len;
        match request.head.framing {
            Framing::None | Framing::UntilClose => Ok(()),
            Framing::Length(length) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                if length > bytes_max {
                    return Err(BodyError::TooLarge);
                }
                let end = start + length;
                if request.bytes.len() < end {
                    // In a box: most bodies come with their heads and wait for nothing.
                    Box::pin(self.read_length(request, end)).await?;
                }
                self.keep_rest(&mut request.bytes, end);
                request.body = start..end;
                Ok(())
            }
            Framing::Chunked => Box::pin(self.read_chunked(request, start, bytes_max)).await,
        }
    }

    async fn read_length(&mut self, request: &mut Request, end: usize) -> Result<(), BodyError> {
        self.go_on(request).await?;
        // A large body is not promised memory before its bytes come.
        const AHEAD_MAX: usize = 1024 * 1024;
        let missing = end.saturating_sub(request.bytes.len());
        request.bytes.reserve(missing.min(AHEAD_MAX));
        while request.bytes.len() < end {
            self.more_body(&mut request.bytes).await?;
        }
        Ok(())
    }

    async fn read_chunked(
        &mut self,
        request: &mut Request,
        start: usize,
        bytes_max: usize,
    ) -> Result<(), BodyError> {
        let mut decoder = ChunkDecoder::new(false);
        // `start..end` is decoded data, `raw..` is still framed.
        let (mut end, mut raw) = (start, start);
        if request.bytes.len() == start {
            self.go_on(request).await?;
        }
        loop {
            match decoder
                .next(&request.bytes[raw..])
                .map_err(BodyError::Refused)?
            {
                Chunk::Data {
                    start: from,
                    end: to,
                    consumed,
                } => {
                    if end - start + (to - from) > bytes_max {
                        return Err(BodyError::TooLarge);
                    }
                    request.bytes.copy_within(raw + from..raw + to, end);
                    end += to - from;
                    raw += consumed;
                }
                Chunk::NeedMore { consumed } => {
                    raw += consumed;
                    if raw == request.bytes.len() {
                        request.bytes.truncate(end);
                        raw = end;
                    }
                    self.more_body(&mut request.bytes).await?;
                }
                Chunk::End { consumed } => {
                    raw += consumed;
                    break;
                }
            }
        }
        self.keep_rest(&mut request.bytes, raw);
        request.bytes.truncate(end);
        request.body = start..end;
        Ok(())
    }

    async fn more_body(&mut self, bytes: &mut Buf) -> Result<(), BodyError> {
        let deadline = Instant::now() + self.settings.body_timeout;
        match self.readable(deadline).await {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(BodyError::Late),
            Err(_) => return Err(BodyError::Gone),
        }
        match self.stream.recv(bytes).await {
            Ok(0) | Err(_) => Err(BodyError::Gone),
            Ok(_) => Ok(()),
        }
    }

    /// Sends `100 Continue` where the client waits for it.
    async fn go_on(&mut self, request: &Request) -> Result<(), BodyError> {
        if !request.head.expect_continue {
            return Ok(());
        }
        let mut line = Buf::small();
        line.extend_from_slice(super::watch::CONTINUE);
        let sent = self
            .stream
            .send_all(line, 0, &mut self.timer, self.settings.send_timeout);
        Box::pin(sent).await.0.map_err(|_| BodyError::Gone)
    }

    fn keep_rest(&mut self, bytes: &mut Buf, end: usize) {
        if bytes.len() > end {
            let mut rest = Buf::for_bytes((bytes.len() - end).max(crate::buffer::LARGE_BYTES));
            rest.extend_from_slice(&bytes[end..]);
            bytes.truncate(end);
            self.inbox = rest;
        }
    }

    /// Sends `buf[start..]` to the client and gives the buffer back, emptied, for the next use.
    ///
    /// # Errors
    /// The client left or took nothing for `send_timeout`.
    pub async fn send(&mut self, buf: Buf, start: usize) -> io::Result<Buf> {
        self.head_sent = true;
        let grace = self.settings.send_timeout;
        let (result, mut buf) = self
            .stream
            .send_all(buf, start, &mut self.timer, grace)
            .await;
        buf.clear();
        result.map(|()| buf)
    }

    /// Sends several buffers as one.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub async fn send_pieces(&mut self, pieces: Pieces) -> io::Result<()> {
        self.head_sent = true;
        self.stream
            .send_pieces(pieces, &mut self.timer, self.settings.send_timeout)
            .await
    }

    /// Says that the answer is an event stream whose framing allows a comment between events: with
    /// it a client that closed can be told from one that only ended its side.
    pub fn probe_with(&mut self, comment: &'static [u8]) {
        self.watch.probe_with(comment);
    }

    /// Ends our side and throws away what still comes, so that the client can read the answer
    /// before the system resets the connection.
    async fn linger(&mut self) {
        const LINGER: Duration = Duration::from_secs(2);
        const DISCARD_BYTES_MAX: usize = 64 * 1024 * 1024;
        self.stream.close_write();
        let deadline = Instant::now() + LINGER;
        let mut discarded = 0;
        while discarded < DISCARD_BYTES_MAX {
            self.inbox.clear();
            match self.receive(deadline).await {
                Ok(count) if count > 0 => discarded += count,
                _ => return,
            }
        }
    }
}

/// On whose behalf an upstream is waited for: a client that may leave meanwhile, or nobody.
pub trait Party {
    /// Ready when there is no more sense in waiting.
    fn poll_trouble(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<Woke>;

    /// Waits until `other` can be received from, the client is gone, `deadline` passes or the drain
    /// runs out, whichever is first.
    fn wait_with(&mut self, other: &mut Stream, deadline: Instant) -> impl Future<Output = Woke> {
        std::future::poll_fn(move |cx| {
            if other.poll_readable(cx).is_ready() {
                return Poll::Ready(Woke::Ready);
            }
            self.poll_trouble(cx, deadline)
        })
    }

    /// Runs `work` (which may be dropped) unless the client goes, `deadline` passes or the drain
    /// runs out first.
    ///
    /// # Errors
    /// What came first.
    fn wait_for<T>(
        &mut self,
        work: impl Future<Output = T>,
        deadline: Instant,
    ) -> impl Future<Output = Result<T, Woke>> {
        async move {
            let mut work = std::pin::pin!(work);
            std::future::poll_fn(|cx| {
                if let Poll::Ready(value) = work.as_mut().poll(cx) {
                    return Poll::Ready(Ok(value));
                }
                self.poll_trouble(cx, deadline).map(Err)
            })
            .await
        }
    }
}

impl Party for Connection {
    fn poll_trouble(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<Woke> {
        let speaks = !self.head_sent && self.http11;
        if self
            .watch
            .poll_gone(cx, &mut self.stream, speaks)
            .is_ready()
        {
            let woke = if self.drain.is_over() {
                Woke::Drained
            } else {
                Woke::Gone
            };
            return Poll::Ready(woke);
        }
        if self.drain.is_over() {
            return Poll::Ready(Woke::Drained);
        }
        self.timer.poll(cx, deadline).map(|()| Woke::Late)
    }
}

/// Nobody: only the deadline ends a wait. For a call that runs beside another one, which watches the
/// client for both.
#[derive(Default)]
pub struct Nobody {
    timer: Timer,
}

impl Party for Nobody {
    fn poll_trouble(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<Woke> {
        self.timer.poll(cx, deadline).map(|()| Woke::Late)
    }
}

/// Serves one connection to its end. `panics` is told of each handler that panicked.
pub async fn serve<H: Handler>(mut connection: Box<Connection>, handler: Rc<H>, panics: &dyn Fn()) {
    loop {
        let request = match connection.next().await {
            Next::Request(request) => request,
            Next::Closed => return,
            Next::Refused(refusal) => {
                Box::pin(refuse(&mut connection, &*handler, &refusal)).await;
                return;
            }
        };
        let after = {
            let work = handler.handle(&mut connection, request);
            CatchUnwind(Box::pin(work)).await
        };
        match after {
            Ok(After::KeepAlive) if !connection.draining() || connection.pipelined() => {}
            Ok(After::KeepAlive | After::Close) => {
                Box::pin(connection.linger()).await;
                return;
            }
            Ok(After::Abort) => {
                connection.stream.socket().reset_on_close();
                return;
            }
            Err(()) => {
                panics();
                Box::pin(after_panic(&mut connection, &*handler)).await;
                return;
            }
        }
    }
}

async fn refuse<H: Handler>(connection: &mut Connection, handler: &H, refusal: &Refusal) {
    let answer = Buf::from(handler.refusal(refusal));
    if connection.send(answer, 0).await.is_ok() {
        Box::pin(connection.linger()).await;
    }
}

async fn after_panic<H: Handler>(connection: &mut Connection, handler: &H) {
    if connection.head_sent() {
        connection.stream.socket().reset_on_close();
        return;
    }
    let reason = "the gateway failed on this request; its log has the place";
    refuse(
        connection,
        handler,
        &Refusal {
            status: 500,
            reason,
        },
    )
    .await;
}
