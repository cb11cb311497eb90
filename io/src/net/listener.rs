//! Listening: one SO_REUSEPORT socket per shard, and the gate that keeps descriptors in reserve.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket as RawSocket, Type};

use crate::driver::{Accepting, Socket, sleep_until};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// How long accepting pauses when no descriptor is free.
const PAUSE: Duration = Duration::from_millis(50);

/// Binds one listening socket per shard to `address`, all in one SO_REUSEPORT group; port 0 gives
/// all of them the same free port.
///
/// # Errors
/// As the system says (in use, not permitted, not an address of this host).
pub fn bind(address: SocketAddr, shards: usize) -> io::Result<Vec<TcpListener>> {
    let mut address = address;
    // Without this first, exclusive bind a second gateway would silently share the port.
    if address.port() != 0 {
        bind_one(address, false)?;
    }
    let mut listeners = Vec::with_capacity(shards);
    for _ in 0..shards.max(1) {
        let listener = bind_one(address, true)?;
        address = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok(listeners)
}

fn bind_one(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = RawSocket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    if reuse_port {
        socket.listen(BACKLOG)?;
    }
    Ok(socket.into())
}

/// Raises the limit of open files to the hard limit and gives what is in force.
pub fn raise_file_limit() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    #[expect(unsafe_code, reason = "std has no call for limits")]
    // SAFETY: both calls get a valid pointer to a limit of ours.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            return 1024;
        }
        let raised = libc::rlimit {
            rlim_cur: limit.rlim_max,
            rlim_max: limit.rlim_max,
        };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raised) == 0 {
            limit = raised;
        }
    }
    limit.rlim_cur
}

/// Counts client connections over all shards and says when no more should be accepted, so that
/// descriptors are left for upstream connections and those already here go on being served.
#[derive(Debug)]
pub struct Gate {
    clients: AtomicUsize,
    clients_max: usize,
}

impl Gate {
    /// A gate for a process that may open `files` descriptors: a third of them, and at least 48,
    /// are kept for upstream connections and everything else.
    pub fn for_files(files: u64) -> Gate {
        let files = usize::try_from(files).unwrap_or(usize::MAX);
        let reserve = (files / 3).max(48);
        Gate {
            clients: AtomicUsize::new(0),
            clients_max: files.saturating_sub(reserve).max(8),
        }
    }

    /// Client connections that are open now.
    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }

    fn is_full(&self) -> bool {
        self.clients() >= self.clients_max
    }

    /// Counts a connection in; the connection's task must call [`Gate::leave`] at its end.
    pub fn enter(&self) {
        self.clients.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection out.
    pub fn leave(&self) {
        self.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The listening side of one shard.
pub struct Listener {
    accepting: Accepting,
}

impl Listener {
    /// Takes over one of the sockets of [`bind`], on the shard that will accept from it.
    ///
    /// # Errors
    /// When the driver cannot register it.
    pub fn new(listener: TcpListener) -> io::Result<Listener> {
        Ok(Listener {
            accepting: Accepting::from_std(listener)?,
        })
    }

    /// A handle that ends accepting: shutting it down makes [`Listener::next`] return `None`.
    ///
    /// # Errors
    /// When no descriptor is free.
    pub fn closer(&self) -> io::Result<TcpListener> {
        self.accepting.closer()
    }

    /// The next connection; `None` after the listener was shut down. Where descriptors run out it
    /// pauses, and goes on when some are free again; those waiting stay in the kernel's queue.
    pub async fn next(&self, gate: &Gate) -> Option<(Socket, SocketAddr)> {
        loop {
            while gate.is_full() {
                sleep_until(Instant::now() + PAUSE).await;
            }
            match self.accepting.accept().await {
                Ok(accepted) => {
                    gate.enter();
                    return Some(accepted);
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINVAL | libc::EBADF | libc::ECANCELED) => return None,
                    Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                        sleep_until(Instant::now() + PAUSE).await;
                    }
                    // The peer was gone before we came to it; the next one is not.
                    _ => {}
                },
            }
        }
    }
}

/// Ends accepting on a listener by its closer.
pub fn stop(closer: &TcpListener) {
    let _ = socket2::SockRef::from(closer).shutdown(std::net::Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shards_share_one_port_and_a_second_gateway_is_refused() {
        let first = bind(([127, 0, 0, 1], 0).into(), 3).unwrap();
        let port = first[0].local_addr().unwrap().port();
        assert!(
            first
                .iter()
                .all(|listener| listener.local_addr().unwrap().port() == port)
        );
        let second = bind(([127, 0, 0, 1], port).into(), 1);
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn the_gate_keeps_a_reserve() {
        let gate = Gate::for_files(300);
        assert_eq!(gate.clients_max, 200);
        (0..200).for_each(|_| gate.enter());
        assert!(gate.is_full());
        gate.leave();
        assert!(!gate.is_full());
        assert_eq!(Gate::for_files(16).clients_max, 8);
    }
}
