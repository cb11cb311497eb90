//! One connected stream socket: owned buffers go in and come back.

use std::cell::UnsafeCell;
use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Instant;

use monoio::buf::{IoBuf, IoBufMut, IoVecBuf};
use monoio::io::{AsyncReadRent, AsyncWriteRent};
use monoio::net::{TcpListener, TcpStream};

use super::Timer;
use crate::buffer::Buf;

/// Waits for readability (or the end of the stream) and holds no buffer. It owns its socket's
/// descriptor, may be kept over many polls, and may be dropped at any time.
pub type Readable = Pin<Box<dyn Future<Output = io::Result<()>>>>;

/// What can be read at once, found without taking anything out of the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peek {
    /// At least one byte.
    Data,
    /// Nothing yet.
    Nothing,
    /// The peer has ended its side.
    End,
    /// The connection is broken (reset).
    Broken,
}

/// A connected stream socket of this shard. Clones share it; it closes when the last one is gone.
#[derive(Clone)]
pub struct Socket {
    stream: Rc<UnsafeCell<TcpStream>>,
}

impl Socket {
    /// Takes over a connected stream socket (TCP, or a Unix pair of the mesh).
    ///
    /// # Errors
    /// When the driver cannot register it.
    pub fn from_owned(fd: OwnedFd) -> io::Result<Socket> {
        set_nonblocking(&fd)?;
        let stream = TcpStream::from_std(std::net::TcpStream::from(fd))?;
        Ok(Socket::from_stream(stream))
    }

    fn from_stream(stream: TcpStream) -> Socket {
        Socket {
            stream: Rc::new(UnsafeCell::new(stream)),
        }
    }

    /// Connects to an address (never a name) with TCP_NODELAY set. May be dropped.
    ///
    /// # Errors
    /// As the system says: refused, unreachable, no descriptor left, ...
    pub async fn connect(address: SocketAddr) -> io::Result<Socket> {
        let stream = TcpStream::connect_addr(address).await?;
        stream.set_nodelay(true)?;
        Ok(Socket::from_stream(stream))
    }

    /// A poll for readability that outlives borrows of the socket.
    pub fn readable(&self) -> Readable {
        let stream = self.stream.clone();
        Box::pin(async move {
            let socket = Socket { stream };
            socket.stream_mut().readable(false).await
        })
    }

    #[expect(
        unsafe_code,
        clippy::mut_from_ref,
        reason = "the runtime's stream is a counted fd"
    )]
    fn stream_mut(&self) -> &mut TcpStream {
        // SAFETY: the runtime's `read`, `write` and `writev` take `&mut` but only clone the counted
        // descriptor into the operation before they return its future; no state of the stream is
        // read or written afterwards, and nothing here is Send, so no two references are in use at
        // one moment.
        unsafe { &mut *self.stream.get() }
    }

    /// Receives what is there into the free tail of `buf` (which must have room) and gives the count;
    /// 0 is the end of the stream. Must be awaited to its end: call it after a poll for readability.
    ///
    /// # Errors
    /// As the system says.
    pub async fn recv(&self, buf: Buf) -> (io::Result<usize>, Buf) {
        debug_assert!(buf.room() > 0, "receive needs room");
        let (result, tail) = self.stream_mut().read(Tail(buf)).await;
        (result, tail.0)
    }

    /// Sends `buf[start..]` whole. No progress until `deadline` (moved on by every bit that goes
    /// out, see `grace`) shuts the connection down and gives `TimedOut`.
    ///
    /// # Errors
    /// As the system says, or `TimedOut`.
    pub async fn send_all(
        &self,
        buf: Buf,
        start: usize,
        timer: &mut Timer,
        grace: std::time::Duration,
    ) -> (io::Result<()>, Buf) {
        let mut rest = Rest { buf, start };
        while rest.start < rest.buf.len() {
            let send = std::pin::pin!(self.stream_mut().write(rest));
            let (sent, back) = self.finish_send(send, timer, grace).await;
            rest = back;
            match sent {
                Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), rest.buf),
                Ok(count) => rest.start += count,
                Err(error) => return (Err(error), rest.buf),
            }
        }
        (Ok(()), rest.buf)
    }

    /// Sends all pieces in order, vectored. Deadlines as in [`Socket::send_all`].
    ///
    /// # Errors
    /// As the system says, or `TimedOut`.
    pub async fn send_pieces(
        &self,
        mut pieces: Pieces,
        timer: &mut Timer,
        grace: std::time::Duration,
    ) -> (io::Result<()>, Pieces) {
        while pieces.prepare() {
            let send = std::pin::pin!(self.stream_mut().writev(pieces));
            let (sent, back) = self.finish_send(send, timer, grace).await;
            pieces = back;
            match sent {
                Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), pieces),
                Ok(count) => pieces.sent(count),
                Err(error) => return (Err(error), pieces),
            }
        }
        (Ok(()), pieces)
    }

    /// Awaits one send; past the deadline the socket is shut down, which ends the send, and the
    /// buffer still comes back.
    async fn finish_send<T>(
        &self,
        mut send: Pin<&mut impl Future<Output = (io::Result<usize>, T)>>,
        timer: &mut Timer,
        grace: std::time::Duration,
    ) -> (io::Result<usize>, T) {
        let mut deadline = None;
        let mut late = false;
        let (result, back) = std::future::poll_fn(|cx| {
            let poll = send.as_mut().poll(cx);
            if poll.is_pending() && !late {
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + grace);
                if timer.poll(cx, deadline).is_ready() {
                    late = true;
                    self.abort();
                }
            }
            poll
        })
        .await;
        if late && result.is_err() {
            return (Err(io::ErrorKind::TimedOut.into()), back);
        }
        (result, back)
    }

    /// Shuts both sides down at once: whatever is pending on the socket ends.
    pub fn abort(&self) {
        let _ = socket2::SockRef::from(self).shutdown(std::net::Shutdown::Both);
    }

    /// Ends our side of the stream; the peer reads the end after what was sent.
    pub fn shutdown_write(&self) {
        let _ = socket2::SockRef::from(self).shutdown(std::net::Shutdown::Write);
    }

    /// Sets SO_LINGER to zero, so that closing answers with a reset: used where a peer must not
    /// take what it got for complete.
    pub fn reset_on_close(&self) {
        let _ = socket2::SockRef::from(self).set_linger(Some(std::time::Duration::ZERO));
    }

    /// What can be read at once; takes nothing and never waits.
    pub fn peek(&self) -> Peek {
        let mut byte = [MaybeUninit::uninit()];
        let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
        match socket2::SockRef::from(self).recv_with_flags(&mut byte, flags) {
            Ok(0) => Peek::End,
            Ok(_) => Peek::Data,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Peek::Nothing,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Peek::Nothing,
            Err(_) => Peek::Broken,
        }
    }

    /// Writes a few bytes at once if the socket takes them now (wake-ups, probes).
    pub fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        socket2::SockRef::from(self).send_with_flags(bytes, flags)
    }

    /// Receives what is there now into the free tail of `buf`, without waiting (TLS).
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there; else as the system says.
    pub fn recv_now(&self, buf: &mut Buf) -> io::Result<usize> {
        let tail = buf.spare_capacity_mut();
        let count = socket2::SockRef::from(self).recv_with_flags(tail, libc::MSG_DONTWAIT)?;
        let len = buf.len() + count;
        #[expect(unsafe_code, reason = "the system wrote the bytes")]
        // SAFETY: the call wrote `count` bytes at the start of the free tail.
        unsafe {
            buf.set_len(len);
        }
        Ok(count)
    }

    /// Reads a few bytes at once if they are there (wake-ups).
    pub fn try_recv(&self, buf: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
        socket2::SockRef::from(self).recv_with_flags(buf, libc::MSG_DONTWAIT)
    }
}

impl AsFd for Socket {
    #[expect(
        unsafe_code,
        reason = "the runtime's stream offers only the raw descriptor"
    )]
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor stays open as long as the stream, which `self` keeps alive.
        unsafe { BorrowedFd::borrow_raw((*self.stream.get()).as_raw_fd()) }
    }
}

fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    socket2::SockRef::from(fd).set_nonblocking(true)
}

/// A listening socket whose accept is never cancelled: it is ended by shutting the socket down.
pub struct Accepting {
    listener: TcpListener,
}

impl Accepting {
    /// Takes over a bound, listening socket.
    ///
    /// # Errors
    /// When the driver cannot register it.
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<Accepting> {
        listener.set_nonblocking(true)?;
        Ok(Accepting {
            listener: TcpListener::from_std(listener)?,
        })
    }

    /// The next connection, with TCP_NODELAY set. Must be awaited to its end.
    ///
    /// # Errors
    /// `InvalidInput` after the listener was shut down; EMFILE and the like as the system says.
    pub async fn accept(&self) -> io::Result<(Socket, SocketAddr)> {
        let (stream, peer) = self.listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok((Socket::from_stream(stream), peer))
    }

    /// A second handle on the listening socket, to shut it down with.
    ///
    /// # Errors
    /// When no descriptor is free.
    #[expect(
        unsafe_code,
        reason = "the runtime's listener offers only the raw descriptor"
    )]
    pub fn closer(&self) -> io::Result<std::net::TcpListener> {
        // SAFETY: the listener is open; the borrowed handle is only used to duplicate it.
        let borrowed = unsafe { std::net::TcpListener::from_raw_fd(self.listener.as_raw_fd()) };
        let copy = borrowed.try_clone();
        let _ = borrowed.into_raw_fd();
        copy
    }
}

/// Received bytes go to the free tail of a buffer.
struct Tail(Buf);

// SAFETY: the pointer is the free tail of a Vec that is owned by the operation until it completes and
// does not move meanwhile; `set_init` is told how many bytes of it the kernel wrote.
#[expect(unsafe_code, reason = "lends the free tail of a buffer to the kernel")]
unsafe impl IoBufMut for Tail {
    fn write_ptr(&mut self) -> *mut u8 {
        self.0.spare_capacity_mut().as_mut_ptr().cast()
    }
    fn bytes_total(&mut self) -> usize {
        self.0.room()
    }
    unsafe fn set_init(&mut self, count: usize) {
        let len = self.0.len() + count;
        // SAFETY: the kernel wrote `count` bytes after the old end, within the capacity.
        unsafe { self.0.set_len(len) }
    }
}

/// What is still to be sent of a buffer.
struct Rest {
    buf: Buf,
    start: usize,
}

// SAFETY: the range is initialised memory of a Vec that the operation owns until it completes.
#[expect(unsafe_code, reason = "lends a buffer to the kernel")]
unsafe impl IoBuf for Rest {
    fn read_ptr(&self) -> *const u8 {
        self.buf[self.start..].as_ptr()
    }
    fn bytes_init(&self) -> usize {
        self.buf.len() - self.start
    }
}

/// Buffers and ranges of them that are sent as one, without being copied together.
#[derive(Default)]
pub struct Pieces {
    /// The buffers that the ranges point into; shared ones may be sent again (retries).
    owned: Vec<Rc<Buf>>,
    /// (buffer, start, end) in sending order.
    ranges: Vec<(usize, usize, usize)>,
    next: usize,
    iovecs: Vec<libc::iovec>,
}

impl Pieces {
    /// No pieces.
    pub fn new() -> Pieces {
        Pieces::default()
    }

    /// Adds a whole buffer.
    pub fn push(&mut self, buf: Buf) {
        let len = buf.len();
        self.push_shared(&Rc::new(buf), 0..len);
    }

    /// Adds a range of a shared buffer.
    pub fn push_shared(&mut self, buf: &Rc<Buf>, range: std::ops::Range<usize>) {
        debug_assert!(range.end <= buf.len());
        if range.is_empty() {
            return;
        }
        let index = match self.owned.iter().rposition(|held| Rc::ptr_eq(held, buf)) {
            Some(index) => index,
            None => {
                self.owned.push(buf.clone());
                self.owned.len() - 1
            }
        };
        self.ranges.push((index, range.start, range.end));
    }

    /// Bytes that are still to be sent.
    pub fn bytes(&self) -> usize {
        self.ranges[self.next..]
            .iter()
            .map(|(_, start, end)| end - start)
            .sum()
    }

    /// What is still to be sent, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.ranges[self.next..]
            .iter()
            .map(|&(index, start, end)| &self.owned[index][start..end])
    }

    /// Refills the vector; false when nothing is left.
    fn prepare(&mut self) -> bool {
        /// The kernel takes at most this many pieces in one call.
        const PIECES_MAX: usize = 1024;
        self.iovecs.clear();
        for &(index, start, end) in self.ranges[self.next..].iter().take(PIECES_MAX) {
            let bytes = &self.owned[index][start..end];
            self.iovecs.push(libc::iovec {
                iov_base: bytes.as_ptr().cast_mut().cast(),
                iov_len: bytes.len(),
            });
        }
        !self.iovecs.is_empty()
    }

    fn sent(&mut self, mut count: usize) {
        while count > 0 {
            let Some((_, start, end)) = self.ranges.get_mut(self.next) else {
                return;
            };
            let part = count.min(*end - *start);
            *start += part;
            count -= part;
            if start == end {
                self.next += 1;
            }
        }
    }
}

// SAFETY: the vector points at initialised memory of buffers that are owned (counted) by `self`,
// which the operation holds until it completes; nothing changes a shared buffer.
#[expect(unsafe_code, reason = "lends several buffers to the kernel")]
unsafe impl IoVecBuf for Pieces {
    fn read_iovec_ptr(&self) -> *const libc::iovec {
        self.iovecs.as_ptr()
    }
    fn read_iovec_len(&self) -> usize {
        self.iovecs.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_resume_where_a_partial_send_stopped() {
        let shared = Rc::new(Buf::from(b"0123456789".to_vec()));
        let mut pieces = Pieces::new();
        pieces.push(Buf::from(b"head".to_vec()));
        pieces.push_shared(&shared, 2..5);
        pieces.push_shared(&shared, 5..5);
        assert_eq!(pieces.bytes(), 7);
        assert!(pieces.prepare());
        assert_eq!(pieces.iovecs.len(), 2);
        pieces.sent(5);
        assert_eq!(pieces.bytes(), 2);
        assert!(pieces.prepare());
        assert_eq!(pieces.iovecs.len(), 1);
        pieces.sent(2);
        assert!(!pieces.prepare());
    }
}
