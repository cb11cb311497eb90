//! What the mock upstream and the load generator share of the machine: one epoll set, one clock, one
//! heap of deadlines, and the process's own limits. Level-triggered and single-threaded; it knows
//! nothing of HTTP.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

/// Events taken from the kernel in one call.
const EVENTS_MAX: usize = 512;

/// One readiness report.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    /// The key given to [`Poller::add`].
    pub(crate) key: u64,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

/// An epoll set.
pub(crate) struct Poller {
    set: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self {
            set,
            events: Vec::with_capacity(EVENTS_MAX),
        })
    }

    /// Watches `source`; it is forgotten by the kernel when it is closed.
    pub(crate) fn add(&self, source: impl AsFd, key: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(
            &self.set,
            source,
            epoll::EventData::new_u64(key),
            interest.flags(),
        )?)
    }

    pub(crate) fn modify(&self, source: impl AsFd, key: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(
            &self.set,
            source,
            epoll::EventData::new_u64(key),
            interest.flags(),
        )?)
    }

    /// Waits at most `timeout` (for ever without one) and appends what is ready to `ready`.
    pub(crate) fn wait(
        &mut self,
        timeout: Option<Duration>,
        ready: &mut Vec<Ready>,
    ) -> io::Result<()> {
        let timeout = timeout.map(|wait| Timespec {
            tv_sec: wait.as_secs().min(3600) as i64,
            tv_nsec: i64::from(wait.subsec_nanos()),
        });
        self.events.clear();
        let spare = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.set, spare, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &self.events {
            let (flags, data) = (event.flags, event.data);
            ready.push(Ready {
                key: data.u64(),
                readable: flags.intersects(
                    epoll::EventFlags::IN
                        | epoll::EventFlags::RDHUP
                        | epoll::EventFlags::HUP
                        | epoll::EventFlags::ERR,
                ),
                writable: flags.intersects(epoll::EventFlags::OUT | epoll::EventFlags::ERR),
            });
        }
        Ok(())
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.set.as_fd()
    }
}

/// What to be woken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Only the peer's going away altogether.
    Hangup,
    Read,
    Write,
    ReadWrite,
}

impl Interest {
    fn flags(self) -> epoll::EventFlags {
        match self {
            Self::Hangup => epoll::EventFlags::empty(),
            Self::Read => epoll::EventFlags::IN | epoll::EventFlags::RDHUP,
            Self::Write => epoll::EventFlags::OUT,
            Self::ReadWrite => {
                epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::OUT
            }
        }
    }
}

/// Nanoseconds since the clock was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    pub(crate) fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Who is woken: a slot, and the serial that says whether its tenant is still the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wake {
    pub(crate) slot: usize,
    pub(crate) serial: u64,
}

/// Deadlines in order. One that is no longer wanted stays until it is due; the serial tells.
#[derive(Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(u64, Wake)>>,
}

impl Timers {
    pub(crate) fn set(&mut self, due_ns: u64, wake: Wake) {
        self.heap.push(Reverse((due_ns, wake)));
    }

    /// The next that is due at `now_ns`.
    pub(crate) fn pop_due(&mut self, now_ns: u64) -> Option<Wake> {
        match self.heap.peek() {
            Some(Reverse((due_ns, _))) if *due_ns <= now_ns => {
                self.heap.pop().map(|Reverse((_, wake))| wake)
            }
            _ => None,
        }
    }

    /// How long until the next deadline.
    pub(crate) fn wait(&self, now_ns: u64) -> Option<Duration> {
        self.heap
            .peek()
            .map(|Reverse((due_ns, _))| Duration::from_nanos(due_ns.saturating_sub(now_ns)))
    }
}

/// SplitMix64: small, seedable, good enough to spread load.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// In `[0, 1)`.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Raises the soft limit of open files to the hard one.
pub(crate) fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // A refusal shows itself later as EMFILE, with its own message.
    let _ = setrlimit(Resource::Nofile, wanted);
}
