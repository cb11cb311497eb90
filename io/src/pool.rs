//! Upstream connections of one shard, per origin: lease, return, dial, age, limits, waiters.
//!
//! An idle connection keeps its poll armed, so that one the peer has closed is seen and thrown away
//! without a system call, and the same poll then waits for the next answer.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::net::{Connect, Stream, dial};
use crate::tls::ClientTls;

/// Where requests go: one scheme, host and port. Shared by all shards; `id` is dense and never
/// reused, so that a pool is an array.
pub struct Origin {
    /// Its index in every shard's pool.
    pub id: usize,
    /// The name or address, without brackets.
    pub host: Box<str>,
    /// The port.
    pub port: u16,
    /// How to speak TLS to it; `None` for plain http.
    pub tls: Option<Arc<ClientTls>>,
    /// What the name resolves to now; kept fresh off the shards. Empty: not resolved (yet).
    pub addresses: ArcSwap<Vec<SocketAddr>>,
}

/// The bounds of a shard's pool.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A connection is not reused past this age (`client_ttl`).
    pub age_max: Duration,
    /// An idle connection is closed after this long.
    pub idle_max: Duration,
    /// Idle connections kept per origin; the oldest goes first.
    pub idle_count_max: usize,
    /// Connections per origin; further requests wait for one to be given back.
    pub live_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            age_max: Duration::from_secs(3600),
            idle_max: Duration::from_secs(90),
            idle_count_max: 512,
            live_max: 16_384,
        }
    }
}

/// A connection between two requests. It keeps its counted place, so it must not be dropped while
/// the pool is borrowed.
struct Idle {
    stream: Stream,
    born: Instant,
    since: Instant,
    seat: Seat,
}

#[derive(Default)]
struct Slot {
    idle: VecDeque<Idle>,
    live: usize,
    waiters: VecDeque<Waker>,
}

struct Inner {
    slots: Vec<Slot>,
    limits: Limits,
}

/// The upstream connections of one shard.
#[derive(Clone)]
pub struct Pool {
    inner: Rc<RefCell<Inner>>,
}

/// A connection on loan. Dropping it closes the connection; [`Lease::keep`] gives it back.
pub struct Lease {
    /// The connection.
    pub stream: Stream,
    /// It served a request before, so it may turn out dead (see the transparent redial).
    pub reused: bool,
    born: Instant,
    seat: Seat,
}

/// What a request for a connection gets.
enum Place {
    Idle(Lease),
    Free(Seat),
}

/// One counted connection of an origin.
struct Seat {
    pool: Pool,
    origin: usize,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut inner = self.pool.inner.borrow_mut();
        let slot = &mut inner.slots[self.origin];
        slot.live -= 1;
        if let Some(waiter) = slot.waiters.pop_front() {
            waiter.wake();
        }
    }
}

impl Pool {
    /// An empty pool.
    pub fn new(limits: Limits) -> Pool {
        Pool {
            inner: Rc::new(RefCell::new(Inner {
                slots: Vec::new(),
                limits,
            })),
        }
    }

    /// Sets the bounds, after a reload.
    pub fn set_limits(&self, limits: Limits) {
        self.inner.borrow_mut().limits = limits;
    }

    /// A connection to `origin`: an idle one that is alive and young enough, else a new one.
    ///
    /// # Errors
    /// When dialling fails; `TimedOut` also when no connection came free in time.
    pub async fn lease(&self, origin: &Arc<Origin>, how: Connect) -> io::Result<Lease> {
        let deadline = Instant::now() + how.timeout;
        match self.place(origin.id, deadline).await? {
            Place::Idle(lease) => Ok(lease),
            Place::Free(seat) => Pool::open(origin, how, seat, deadline).await,
        }
    }

    /// A new connection to `origin`, where a reused one may be stale.
    ///
    /// # Errors
    /// As [`Pool::lease`].
    pub async fn fresh(&self, origin: &Arc<Origin>, how: Connect) -> io::Result<Lease> {
        let deadline = Instant::now() + how.timeout;
        let seat = match self.place(origin.id, deadline).await? {
            // Others that went idle before it are no fresher: it is closed and gives its place.
            Place::Idle(lease) => lease.seat,
            Place::Free(seat) => seat,
        };
        Pool::open(origin, how, seat, deadline).await
    }

    async fn open(
        origin: &Arc<Origin>,
        how: Connect,
        seat: Seat,
        deadline: Instant,
    ) -> io::Result<Lease> {
        let addresses = origin.addresses.load_full();
        let socket = dial(&addresses, how).await?;
        let stream = match &origin.tls {
            None => Stream::plain(socket),
            Some(tls) => Stream::tls_client(socket, tls, &origin.host, deadline).await?,
        };
        Ok(Lease {
            stream,
            reused: false,
            born: Instant::now(),
            seat,
        })
    }

    /// The youngest idle connection that is still good; those that are not are closed on the way.
    fn take_idle(&self, origin: usize) -> Option<Lease> {
        let now = Instant::now();
        loop {
            let mut inner = self.inner.borrow_mut();
            let limits = inner.limits;
            let idle = slot(&mut inner.slots, origin).idle.pop_back();
            drop(inner);
            let mut idle = idle?;
            if is_good(&mut idle, limits, now) {
                let Idle {
                    stream, born, seat, ..
                } = idle;
                return Some(Lease {
                    stream,
                    reused: true,
                    born,
                    seat,
                });
            }
        }
    }

    /// An idle connection, or leave to open one; waits in line when the origin has all it may have.
    async fn place(&self, origin: usize, deadline: Instant) -> io::Result<Place> {
        let mut timer = crate::driver::Timer::default();
        std::future::poll_fn(|cx| {
            if let Some(lease) = self.take_idle(origin) {
                return Poll::Ready(Ok(Place::Idle(lease)));
            }
            let mut inner = self.inner.borrow_mut();
            let live_max = inner.limits.live_max;
            let slot = slot(&mut inner.slots, origin);
            if slot.live < live_max {
                slot.live += 1;
                return Poll::Ready(Ok(Place::Free(Seat {
                    pool: self.clone(),
                    origin,
                })));
            }
            slot.waiters.push_back(cx.waker().clone());
            drop(inner);
            timer
                .poll(cx, deadline)
                .map(|()| Err(io::ErrorKind::TimedOut.into()))
        })
        .await
    }

    /// Closes idle connections that the peer has closed, that are too old or idle for too long.
    /// Called by the shard about once a second.
    pub fn sweep(&self, now: Instant) {
        let mut closed = Vec::new();
        let mut inner = self.inner.borrow_mut();
        let limits = inner.limits;
        for slot in &mut inner.slots {
            for _ in 0..slot.idle.len() {
                let Some(mut idle) = slot.idle.pop_front() else {
                    break;
                };
                if is_good(&mut idle, limits, now) {
                    slot.idle.push_back(idle);
                } else {
                    closed.push(idle);
                }
            }
        }
        drop(inner);
        drop(closed);
    }

    /// Open connections over all origins, those on loan included.
    pub fn live(&self) -> usize {
        self.inner.borrow().slots.iter().map(|slot| slot.live).sum()
    }

    fn give_back(&self, mut idle: Idle) {
        // Arms the poll; ready at once means that the peer sent what nobody asked for, or closed.
        let mut cx = Context::from_waker(Waker::noop());
        if idle.stream.poll_readable(&mut cx).is_ready() {
            return;
        }
        let mut inner = self.inner.borrow_mut();
        let limits = inner.limits;
        let slot = slot(&mut inner.slots, idle.seat.origin);
        let full = slot.idle.len() >= limits.idle_count_max;
        let oldest = if full { slot.idle.pop_front() } else { None };
        slot.idle.push_back(idle);
        let waiter = slot.waiters.pop_front();
        drop(inner);
        drop(oldest);
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }
}

fn slot(slots: &mut Vec<Slot>, origin: usize) -> &mut Slot {
    if slots.len() <= origin {
        slots.resize_with(origin + 1, Slot::default);
    }
    &mut slots[origin]
}

fn is_good(idle: &mut Idle, limits: Limits, now: Instant) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    now.duration_since(idle.born) < limits.age_max
        && now.duration_since(idle.since) < limits.idle_max
        && idle.stream.poll_readable(&mut cx).is_pending()
}

impl Lease {
    /// Gives the connection back for the next request: only after an answer was read to its end and
    /// neither side asked to close.
    pub fn keep(self) {
        let Lease {
            stream, born, seat, ..
        } = self;
        let pool = seat.pool.clone();
        pool.give_back(Idle {
            stream,
            born,
            since: Instant::now(),
            seat,
        });
    }
}
