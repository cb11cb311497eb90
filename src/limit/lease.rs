//! What a counter needs to be shared with other instances: how it works at the moment, what its
//! shards asked for and did not find, and whom to tell.
//!
//! The coordinator leases units of a limit from all instances' common store and puts them into the
//! counter; shards only ever take what is there. This module must not know how leases are agreed.

use super::{Micros, Padded};
use crossbeam_queue::ArrayQueue;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Counters that may ring between two looks of the coordinator; one beyond rings at its next miss.
const BELL_MAX: usize = 1 << 16;
/// When somebody who did not find a unit may look again.
const SOON: Duration = Duration::from_millis(5);

/// How a counter is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// This instance has the whole limit.
    Own = 0,
    /// This instance has what it has leased.
    Leased = 1,
    /// The others cannot be asked: this instance has its share of the limit.
    Alone = 2,
}

/// Counters whose shards found too little, by the number they were registered with.
#[derive(Debug)]
pub struct Bell(ArrayQueue<u32>);

impl Default for Bell {
    fn default() -> Bell {
        Bell(ArrayQueue::new(BELL_MAX))
    }
}

impl Bell {
    /// The next counter that rang.
    pub fn next(&self) -> Option<u32> {
        self.0.pop()
    }
}

/// Somebody did not find what he wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Miss {
    /// When there may be some.
    pub until: Micros,
    /// It is being asked for: worth waiting a moment.
    pub soon: bool,
}

/// What was wanted and not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// In all.
    pub all: u64,
    /// By the request that wanted most.
    pub most: u64,
    /// By the one that wanted least.
    pub least: u64,
}

/// One counter's part in the sharing.
#[derive(Debug, Default)]
pub struct Terms {
    mode: Padded<AtomicU8>,
    share: AtomicU64,
    wanted: AtomicU64,
    /// The most that one request wanted.
    need: AtomicU64,
    /// The least that one request wanted; 0 for none.
    least: AtomicU64,
    /// Until when all instances together have too little, as was heard last, for whoever wants more
    /// than `room`.
    exhausted_until: AtomicU64,
    room: AtomicU64,
    /// Units that no instance has, as was heard last.
    free: AtomicU64,
    rung: AtomicBool,
    bell: OnceLock<(Arc<Bell>, u32)>,
}

impl Terms {
    /// From now on the counter is shared: it rings `bell` with `number` when it has too little. It
    /// works alone with `share`, or with what is leased where there is none.
    pub fn register(&self, bell: Arc<Bell>, number: u32, share: Option<u64>) {
        if self.bell.set((bell, number)).is_ok() {
            match share {
                Some(share) => self.go_alone(share),
                None => self.go_leased(),
            }
        }
    }

    /// How it works at the moment.
    pub fn mode(&self) -> Mode {
        match self.mode.load(Ordering::Acquire) {
            0 => Mode::Own,
            1 => Mode::Leased,
            _ => Mode::Alone,
        }
    }

    /// From now on only what is leased may be taken.
    pub fn go_leased(&self) {
        self.mode.store(Mode::Leased as u8, Ordering::Release);
    }

    /// From now on this instance has `share` of each window.
    pub fn go_alone(&self, share: u64) {
        self.share.store(share, Ordering::Release);
        self.mode.store(Mode::Alone as u8, Ordering::Release);
        self.exhausted_until.store(0, Ordering::Release);
    }

    /// What [`Terms::go_alone`] was told last.
    pub fn share(&self) -> u64 {
        self.share.load(Ordering::Acquire)
    }

    /// The limit that holds here, where the configured one is `limit`.
    pub fn limit(&self, limit: u64) -> u64 {
        match self.mode() {
            Mode::Alone => self.share.load(Ordering::Acquire).min(limit),
            Mode::Own | Mode::Leased => limit,
        }
    }

    /// Notes that `amount` was wanted and not there, and rings.
    pub fn miss(&self, amount: u64, now: Micros) -> Miss {
        let amount = amount.max(1);
        self.wanted.fetch_add(amount, Ordering::AcqRel);
        self.need.fetch_max(amount, Ordering::AcqRel);
        let lower = |least: u64| (least == 0 || amount < least).then_some(amount);
        let _ = self
            .least
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, lower);
        if !self.rung.swap(true, Ordering::AcqRel)
            && let Some((bell, number)) = self.bell.get()
            && bell.0.push(*number).is_err()
        {
            self.rung.store(false, Ordering::Release);
        }
        let until = self.exhausted_until();
        match until > now && amount > self.room.load(Ordering::Acquire) {
            true => Miss { until, soon: false },
            false => Miss {
                until: now.plus(SOON),
                soon: true,
            },
        }
    }

    /// What was wanted and not there since the last call.
    pub fn wanted(&self) -> Wanted {
        self.rung.store(false, Ordering::Release);
        Wanted {
            all: self.wanted.swap(0, Ordering::AcqRel),
            most: self.need.swap(0, Ordering::AcqRel),
            least: self.least.swap(0, Ordering::AcqRel),
        }
    }

    /// All instances together have `free` units that nobody has leased. More than `exhausted.1` will
    /// not be had before `exhausted.0`, where that is known.
    pub fn heard(&self, free: u64, exhausted: Option<(Micros, u64)>) {
        let (until, room) = exhausted.unwrap_or((Micros(0), u64::MAX));
        self.free.store(free, Ordering::Release);
        self.room.store(room, Ordering::Release);
        self.exhausted_until.store(until.0, Ordering::Release);
    }

    /// Until when somebody will not find what he wants; in the past otherwise.
    pub fn exhausted_until(&self) -> Micros {
        Micros(self.exhausted_until.load(Ordering::Acquire))
    }

    /// Units that no instance has, as was heard last.
    pub fn free(&self) -> u64 {
        self.free.load(Ordering::Acquire)
    }
}
