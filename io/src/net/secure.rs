//! TLS under a [`Stream`](super::Stream): moves ciphertext between the socket and the session.
//!
//! What is readable is taken from the socket at once and decrypted here, because a readable socket
//! may hold only what TLS says to itself (a session ticket): waiting for plaintext means looking.

use std::io;
use std::time::{Duration, Instant};

use crate::buffer::Buf;
use crate::driver::{Socket, Timer};
use crate::tls::{ReadState, TlsSession};

/// Plaintext that may wait to be received before the socket is left alone.
const PLAIN_BYTES_MAX: usize = 64 * 1024;

/// The session of one connection and what is on its way through it.
pub(super) struct Secure {
    session: TlsSession,
    /// Decrypted and not yet received.
    plain: Buf,
    /// Encrypted and not yet sent (the socket was full).
    backlog: Buf,
    end: Option<End>,
}

/// How the peer's side ended.
enum End {
    Clean,
    Failed(io::Error),
}

impl Secure {
    pub(super) fn new(session: TlsSession) -> Secure {
        Secure {
            session,
            plain: Buf::none(),
            backlog: Buf::none(),
            end: None,
        }
    }

    /// Something can be received at once: plaintext, or the end.
    pub(super) fn is_ready(&self) -> bool {
        !self.plain.is_empty() || self.end.is_some()
    }

    /// The peer's side has ended and all it sent was received.
    pub(super) fn is_over(&self) -> bool {
        self.plain.is_empty() && self.end.is_some()
    }

    /// Takes what the socket has now and decrypts it.
    pub(super) fn pull(&mut self, socket: &Socket) {
        let mut cipher = Buf::large();
        while self.end.is_none() && self.plain.len() < PLAIN_BYTES_MAX {
            cipher.clear();
            match socket.recv_now(&mut cipher) {
                Ok(0) => {
                    let fed = self.session.feed_end();
                    self.absorb();
                    let cut = || io::ErrorKind::UnexpectedEof.into();
                    self.end
                        .get_or_insert_with(|| End::Failed(fed.err().unwrap_or_else(cut)));
                }
                Ok(_) => self.decrypt(&cipher),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.end = Some(End::Failed(error)),
            }
        }
        self.push(socket);
    }

    fn decrypt(&mut self, cipher: &[u8]) {
        let mut rest = cipher;
        while !rest.is_empty() && self.end.is_none() {
            match self.session.feed(rest) {
                Ok(taken) => rest = &rest[taken..],
                Err(error) => self.end = Some(End::Failed(error)),
            }
            self.absorb();
        }
    }

    fn absorb(&mut self) {
        if self.plain.capacity() == 0 {
            self.plain = Buf::large();
        }
        loop {
            match self.session.read_plain(&mut self.plain, usize::MAX) {
                ReadState::Bytes(_) => {}
                ReadState::WouldBlock => break,
                ReadState::Closed => {
                    self.end.get_or_insert(End::Clean);
                    break;
                }
                ReadState::Truncated => {
                    self.end
                        .get_or_insert_with(|| End::Failed(io::ErrorKind::UnexpectedEof.into()));
                    break;
                }
            }
        }
        if self.plain.is_empty() {
            self.plain = Buf::none();
        }
    }

    /// Sends what the session wants to say, as far as the socket takes it now.
    fn push(&mut self, socket: &Socket) {
        let _ = self.session.take_output(&mut self.backlog);
        if let Ok(sent) = socket.try_send(&self.backlog) {
            self.backlog.consume(sent);
        }
        if self.backlog.is_empty() {
            self.backlog = Buf::none();
        }
    }

    /// Moves plaintext into `buf`; 0 is the end.
    ///
    /// # Errors
    /// `UnexpectedEof` when the peer's side ended without close_notify; else what broke.
    pub(super) fn receive(&mut self, buf: &mut Buf) -> io::Result<usize> {
        let count = self.plain.len();
        if count > 0 {
            buf.extend_from_slice(&self.plain);
            self.plain = Buf::none();
            return Ok(count);
        }
        match &self.end {
            Some(End::Failed(error)) => Err(again(error)),
            _ => Ok(0),
        }
    }

    /// Encrypts and sends all of `plain`.
    ///
    /// # Errors
    /// As [`Socket::send_all`].
    pub(super) async fn send(
        &mut self,
        socket: &Socket,
        plain: &[u8],
        timer: &mut Timer,
        grace: Duration,
    ) -> io::Result<()> {
        let mut rest = plain;
        loop {
            let taken = self.session.write_plain(rest)?;
            rest = &rest[taken..];
            let mut out = std::mem::take(&mut self.backlog);
            self.session.take_output(&mut out)?;
            socket.send_all(out, 0, timer, grace).await.0?;
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    /// Completes the handshake.
    ///
    /// # Errors
    /// `TimedOut` past the deadline; else what the session or the socket says.
    pub(super) async fn handshake(&mut self, socket: &Socket, deadline: Instant) -> io::Result<()> {
        let mut timer = Timer::default();
        loop {
            let grace = deadline.saturating_duration_since(Instant::now());
            let mut out = std::mem::take(&mut self.backlog);
            self.session.take_output(&mut out)?;
            socket.send_all(out, 0, &mut timer, grace).await.0?;
            if !self.session.handshaking() {
                return Ok(());
            }
            if let Some(End::Failed(error)) = &self.end {
                return Err(again(error));
            }
            let mut readable = socket.readable();
            std::future::poll_fn(|cx| {
                if let std::task::Poll::Ready(result) = readable.as_mut().poll(cx) {
                    return std::task::Poll::Ready(result);
                }
                timer
                    .poll(cx, deadline)
                    .map(|()| Err(io::ErrorKind::TimedOut.into()))
            })
            .await?;
            self.pull(socket);
        }
    }

    /// Says that nothing more will be sent.
    pub(super) fn close(&mut self, socket: &Socket) {
        self.session.close();
        self.push(socket);
    }
}

/// The same error once more: it stays the connection's end.
fn again(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}
