//! One connection, plain or TLS, read by readiness and written by owned buffers.
//!
//! A stream that waits holds no buffer: [`Stream::poll_readable`] keeps one poll armed in the kernel,
//! over requests and over the time in the pool, and only when it fires is a buffer taken.

use std::io;
use std::mem;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::secure::Secure;
use crate::buffer::Buf;
use crate::driver::{Peek, Pieces, Readable, Socket, Timer};
use crate::tls::{ClientTls, ServerTls};

/// A connection of this shard.
pub struct Stream {
    socket: Socket,
    /// The armed poll, kept when the future that waited on it is dropped.
    armed: Option<Readable>,
    secure: Option<Box<Secure>>,
}

impl Stream {
    /// A plain connection.
    pub fn plain(socket: Socket) -> Stream {
        Stream {
            socket,
            armed: None,
            secure: None,
        }
    }

    /// Speaks TLS to `host` over a fresh connection.
    ///
    /// # Errors
    /// `TimedOut` past the deadline; `InvalidData` for a certificate that cannot be trusted.
    pub async fn tls_client(
        socket: Socket,
        tls: &ClientTls,
        host: &str,
        deadline: Instant,
    ) -> io::Result<Stream> {
        let mut secure = Box::new(Secure::new(tls.session(host)?));
        secure.handshake(&socket, deadline).await?;
        Ok(Stream {
            socket,
            armed: None,
            secure: Some(secure),
        })
    }

    /// Answers the TLS of a client that has just connected.
    ///
    /// # Errors
    /// As [`Stream::tls_client`].
    pub async fn tls_server(
        socket: Socket,
        tls: &ServerTls,
        deadline: Instant,
    ) -> io::Result<Stream> {
        let mut secure = Box::new(Secure::new(tls.session()?));
        secure.handshake(&socket, deadline).await?;
        Ok(Stream {
            socket,
            armed: None,
            secure: Some(secure),
        })
    }

    /// The socket below, for what is asked of it at once (abort, linger).
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Ready when something can be received at once: data, the end of the stream or an error.
    /// The poll in the kernel stays armed when this returns `Pending`, whoever polls next.
    ///
    /// # Errors
    /// When the driver refuses the poll.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.secure.as_ref().is_some_and(|secure| secure.is_ready()) {
                return Poll::Ready(Ok(()));
            }
            let socket = &self.socket;
            let armed = self.armed.get_or_insert_with(|| socket.readable());
            let result = ready!(armed.as_mut().poll(cx));
            self.armed = None;
            match (&mut self.secure, result) {
                (Some(secure), Ok(())) => secure.pull(&self.socket),
                (_, result) => return Poll::Ready(result),
            }
        }
    }

    /// Receives into the free tail of `buf`, which is given room if it has none; 0 is the end.
    /// Call it when [`Stream::poll_readable`] was ready; it must be awaited to its end.
    ///
    /// # Errors
    /// As the system says.
    pub async fn recv(&mut self, buf: &mut Buf) -> io::Result<usize> {
        if let Some(secure) = &mut self.secure {
            return secure.receive(buf);
        }
        if buf.room() == 0 {
            let more = buf.len().max(crate::buffer::SMALL_BYTES);
            buf.reserve(more);
        }
        let (result, back) = self.socket.recv(mem::take(buf)).await;
        *buf = back;
        result
    }

    /// Sends all of `buf[start..]` and gives the buffer back, for the next use or the pool.
    /// `grace` is how long no byte at all may go out.
    ///
    /// # Errors
    /// `TimedOut` without progress; else as the system says.
    pub async fn send_all(
        &mut self,
        buf: Buf,
        start: usize,
        timer: &mut Timer,
        grace: Duration,
    ) -> (io::Result<()>, Buf) {
        match &mut self.secure {
            None => self.socket.send_all(buf, start, timer, grace).await,
            Some(secure) => {
                // In a box: most connections are plain and need not hold room for this.
                let sent = Box::pin(secure.send(&self.socket, &buf[start..], timer, grace)).await;
                (sent, buf)
            }
        }
    }

    /// Sends all pieces in one vectored call where the socket takes them.
    ///
    /// # Errors
    /// As [`Stream::send_all`].
    pub async fn send_pieces(
        &mut self,
        pieces: Pieces,
        timer: &mut Timer,
        grace: Duration,
    ) -> io::Result<()> {
        let Some(secure) = &mut self.secure else {
            return self.socket.send_pieces(pieces, timer, grace).await.0;
        };
        for piece in pieces.iter() {
            Box::pin(secure.send(&self.socket, piece, timer, grace)).await?;
        }
        Ok(())
    }

    /// What can be received at once. The end of a TLS stream counts as broken: its peer has closed.
    pub fn peek(&self) -> Peek {
        match &self.secure {
            None => self.socket.peek(),
            Some(secure) if secure.is_over() => Peek::Broken,
            Some(secure) if secure.is_ready() => Peek::Data,
            Some(_) => Peek::Nothing,
        }
    }

    /// Sends a few bytes at once to see whether the peer resets the connection.
    ///
    /// # Errors
    /// When it is broken already.
    pub fn probe(&self, bytes: &[u8]) -> io::Result<()> {
        match self.socket.try_send(bytes) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }

    /// Ends our side, after all that was sent.
    pub fn close_write(&mut self) {
        if let Some(secure) = &mut self.secure {
            secure.close(&self.socket);
        }
        self.socket.shutdown_write();
    }
}
