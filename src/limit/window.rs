//! So many requests, or tokens, in a window of time: exact over all shards.
//!
//! One shared pool holds what is left of the window. A shard that takes from a large pool borrows
//! a slice and serves itself from that, so that shards seldom meet on one cache line; a small
//! limit has no slices. Who finds the pool empty collects from the others' slices before it says
//! no. So the limit is never passed, and nobody is refused while something is left.
//!
//! A window begins with the first request after the last one ended, as LiteLLM's do.
//!
//! A window that is shared with other instances ([`Terms`]) holds what was leased: only the
//! coordinator begins it and puts units in.

use super::{Micros, Mode, Padded, Terms};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// The window's start is kept in units of this many microseconds, to fit beside the rest.
const TICK_US: u64 = 10_000;
/// A window's start may lie before the clock's: it is kept this many ticks later (a day).
const SHIFT_TICKS: u64 = 8_640_000;
/// Bits of a word that hold what is left; the others hold the window's start.
const LEFT_BITS: u32 = 30;
const LEFT_MASK: u64 = (1 << LEFT_BITS) - 1;
/// A limit above this many times the shards has slices; below it every request asks the pool.
const SLICES_PER_SHARD: u64 = 16;
/// How often somebody who was refused looks again while others are moving units about.
const LOOKS_MAX: u32 = 64;

/// A window's limit. Units are requests or tokens.
#[derive(Debug)]
pub struct Window {
    limit: AtomicU64,
    span_ticks: u64,
    /// Start of the window (in ticks, plus one; 0 before the first) and what is left of it.
    pool: Padded<AtomicU64>,
    /// The same, per shard: units borrowed and not yet used. Void when the start is another.
    slices: Box<[Padded<AtomicU64>]>,
    /// Units that are in nobody's word for a moment: moves begun, and moves done.
    begun: Padded<AtomicU32>,
    done: AtomicU32,
    /// Units used above what was left, in a leased window.
    debt: AtomicU64,
    /// How it is shared with other instances.
    pub terms: Terms,
}

/// Units taken from a window, to be settled when the true amount is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    start: u64,
    /// Units taken.
    pub amount: u64,
}

/// There is no room for the amount asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// When there may be room again; `Micros::NEVER` for an amount above the whole limit.
    pub until: Micros,
    /// More is being asked of the other instances: worth waiting a moment.
    pub soon: bool,
}

fn word(start: u64, left: u64) -> u64 {
    (start << LEFT_BITS) | left.min(LEFT_MASK)
}

fn start_of(word: u64) -> u64 {
    word >> LEFT_BITS
}

fn left_of(word: u64) -> u64 {
    word & LEFT_MASK
}

impl Window {
    /// At most `limit` units in every `span`, shared by `shards` shards. Limits above
    /// 1,073,741,823 are taken as that.
    #[must_use]
    pub fn new(limit: u64, span: Duration, shards: usize) -> Window {
        let span_us = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Window {
            limit: AtomicU64::new(limit.min(LEFT_MASK)),
            span_ticks: (span_us / TICK_US).max(1),
            pool: Padded::default(),
            slices: (0..shards.max(1)).map(|_| Padded::default()).collect(),
            begun: Padded::default(),
            done: AtomicU32::new(0),
            debt: AtomicU64::new(0),
            terms: Terms::default(),
        }
    }

    /// Changes the limit; what was used in the running window stays used.
    pub fn set_limit(&self, limit: u64) {
        let limit = limit.min(LEFT_MASK);
        let old = self.limit.swap(limit, Ordering::AcqRel);
        if self.terms.mode() != Mode::Own {
            return;
        }
        let _ = self
            .pool
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |pool| {
                let left = (left_of(pool) + limit).saturating_sub(old);
                (start_of(pool) != 0).then(|| word(start_of(pool), left))
            });
    }

    /// The limit in force, in units a window.
    pub fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Takes `amount` units, or says when to come back.
    pub fn take(&self, shard: usize, amount: u64, now: Micros) -> Result<Reservation, Full> {
        let mode = self.terms.mode();
        let limit = self.limit();
        if amount > limit {
            return Err(Full {
                until: Micros::NEVER,
                soon: false,
            });
        }
        if mode == Mode::Leased {
            return self.take_leased(shard, amount, now);
        }
        let limit = self.terms.limit(limit);
        // A request that is larger than an instance's share may use up all of it.
        let amount = amount.min(limit);
        loop {
            let pool = self.pool.load(Ordering::Acquire);
            if self.is_over(pool, now) {
                let start = now.0.div_ceil(TICK_US) + 1 + SHIFT_TICKS;
                if self.swap(&self.pool, pool, word(start, limit - amount)) {
                    return Ok(Reservation { start, amount });
                }
                continue;
            }
            let start = start_of(pool);
            if self.take_from_slice(shard, start, amount) {
                return Ok(Reservation { start, amount });
            }
            if left_of(pool) < amount {
                return self.collect(start, amount);
            }
            if self.borrow(shard, pool, amount, limit) {
                return Ok(Reservation { start, amount });
            }
        }
    }

    /// The same from what is leased; the rest of the window is everybody's.
    fn take_leased(&self, shard: usize, amount: u64, now: Micros) -> Result<Reservation, Full> {
        loop {
            let pool = self.pool.load(Ordering::Acquire);
            let start = start_of(pool);
            let is_over = self.is_over(pool, now);
            if !is_over && self.take_from_slice(shard, start, amount) {
                return Ok(Reservation { start, amount });
            }
            if !is_over && left_of(pool) >= amount {
                if self.borrow(shard, pool, amount, self.limit()) {
                    return Ok(Reservation { start, amount });
                }
                continue;
            }
            if !is_over && let Ok(taken) = self.collect(start, amount) {
                return Ok(taken);
            }
            let miss = self.terms.miss(amount, now);
            return Err(Full {
                until: miss.until,
                soon: miss.soon,
            });
        }
    }

    /// Whether `amount` could be taken now. A hint: another shard may be quicker.
    pub fn has_room(&self, amount: u64, now: Micros) -> bool {
        let pool = self.pool.load(Ordering::Acquire);
        if self.terms.mode() == Mode::Leased {
            // Who finds nothing asks for more, also when that is in vain: others may give back.
            return amount <= self.limit();
        }
        if self.is_over(pool, now) {
            return amount <= self.limit();
        }
        left_of(pool) >= amount || left_of(pool) + self.borrowed(start_of(pool)) >= amount
    }

    /// When the running window ends; `now` when none is running.
    pub fn ends(&self, now: Micros) -> Micros {
        let pool = self.pool.load(Ordering::Acquire);
        if self.terms.mode() == Mode::Leased {
            return self.terms.exhausted_until().max(now);
        }
        if self.is_over(pool, now) {
            now
        } else {
            self.end_of(start_of(pool))
        }
    }

    /// Units used in the running window.
    pub fn used(&self, now: Micros) -> u64 {
        let pool = self.pool.load(Ordering::Acquire);
        if self.is_over(pool, now) {
            return 0;
        }
        let left = left_of(pool) + self.borrowed(start_of(pool));
        match self.terms.mode() {
            Mode::Leased => self.limit().saturating_sub(left + self.terms.free()),
            Mode::Own | Mode::Alone => self.terms.limit(self.limit()).saturating_sub(left),
        }
    }

    /// Replaces what was reserved by what was `used`: the rest comes back, or more is charged as
    /// far as there is more. A window that has ended keeps what it had.
    pub fn settle(&self, reservation: Reservation, used: u64) {
        if used < reservation.amount {
            self.give_back(reservation.start, reservation.amount - used);
        } else {
            self.charge(reservation.start, used - reservation.amount);
        }
    }

    fn is_over(&self, pool: u64, now: Micros) -> bool {
        start_of(pool) == 0 || now >= self.end_of(start_of(pool))
    }

    fn end_of(&self, start: u64) -> Micros {
        Micros((start - 1 + self.span_ticks).saturating_sub(SHIFT_TICKS) * TICK_US)
    }

    fn swap(&self, cell: &AtomicU64, old: u64, new: u64) -> bool {
        cell.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    fn borrowed(&self, start: u64) -> u64 {
        let words = self
            .slices
            .iter()
            .map(|slice| slice.load(Ordering::Acquire));
        words
            .filter(|word| start_of(*word) == start)
            .map(left_of)
            .sum()
    }

    fn take_from_slice(&self, shard: usize, start: u64, amount: u64) -> bool {
        let Some(slice) = self.slices.get(shard) else {
            return false;
        };
        let take = |old: u64| {
            let enough = start_of(old) == start && left_of(old) >= amount;
            enough.then(|| word(start, left_of(old) - amount))
        };
        slice
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, take)
            .is_ok()
    }

    /// Takes `amount`, and a slice beyond it where the limit is large.
    fn borrow(&self, shard: usize, pool: u64, amount: u64, limit: u64) -> bool {
        let share = limit / (SLICES_PER_SHARD * self.slices.len() as u64);
        let slice = if share > amount { share } else { 0 };
        let grab = (amount + slice).min(left_of(pool));
        self.begun.fetch_add(1, Ordering::AcqRel);
        let taken = self.swap(&self.pool, pool, word(start_of(pool), left_of(pool) - grab));
        if taken && grab > amount {
            self.put(shard, start_of(pool), grab - amount);
        }
        self.done.fetch_add(1, Ordering::AcqRel);
        taken
    }

    fn put(&self, shard: usize, start: u64, amount: u64) {
        let Some(slice) = self.slices.get(shard) else {
            return self.give_back(start, amount);
        };
        let _ = slice.fetch_update(Ordering::AcqRel, Ordering::Acquire, |old| {
            let left = if start_of(old) == start {
                left_of(old)
            } else {
                0
            };
            Some(word(start, left + amount))
        });
    }

    fn give_back(&self, start: u64, amount: u64) {
        let limit = self.limit();
        let _ = self
            .pool
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |pool| {
                let left = (left_of(pool) + amount).min(limit);
                (start_of(pool) == start).then(|| word(start, left))
            });
    }

    /// Gathers `amount` from the pool and every slice; all of it or nothing.
    fn collect(&self, start: u64, amount: u64) -> Result<Reservation, Full> {
        for _ in 0..LOOKS_MAX {
            let begun = self.begun.fetch_add(1, Ordering::AcqRel);
            let quiet = begun == self.done.load(Ordering::Acquire);
            let found = self.drain(start, amount);
            if found < amount && found > 0 {
                self.give_back(start, found);
            }
            self.done.fetch_add(1, Ordering::AcqRel);
            if found == amount {
                return Ok(Reservation { start, amount });
            }
            let still = begun.wrapping_add(1) == self.begun.load(Ordering::Acquire);
            if quiet && still {
                break;
            }
            std::hint::spin_loop();
        }
        Err(Full {
            until: self.end_of(start),
            soon: false,
        })
    }

    /// Takes up to `amount` from wherever it is; answers how much it found.
    fn drain(&self, start: u64, amount: u64) -> u64 {
        let slices = self.slices.iter().map(|slice| &slice.0);
        let mut found = 0;
        for cell in std::iter::once(&self.pool.0).chain(slices) {
            let missing = amount - found;
            if missing == 0 {
                break;
            }
            let before = cell.fetch_update(Ordering::AcqRel, Ordering::Acquire, |old| {
                let some = start_of(old) == start && left_of(old) > 0;
                some.then(|| word(start, left_of(old).saturating_sub(missing)))
            });
            found += before.map_or(0, |old| left_of(old).min(missing));
        }
        found
    }

    fn charge(&self, start: u64, amount: u64) {
        if amount > 0 {
            self.begun.fetch_add(1, Ordering::AcqRel);
            let found = self.drain(start, amount);
            self.done.fetch_add(1, Ordering::AcqRel);
            let is_running = start_of(self.pool.load(Ordering::Acquire)) == start;
            if self.terms.mode() == Mode::Leased && is_running {
                self.debt.fetch_add(amount - found, Ordering::AcqRel);
            }
        }
    }

    /// The running window: its mark, its end and the units left in it. `None` when none runs.
    pub fn running(&self, now: Micros) -> Option<(u64, Micros, u64)> {
        let pool = self.pool.load(Ordering::Acquire);
        let start = start_of(pool);
        let left = || left_of(pool) + self.borrowed(start);
        (!self.is_over(pool, now)).then(|| (start, self.end_of(start), left()))
    }

    /// Takes up to `amount` unused units out of the running window; answers how many.
    pub fn reclaim(&self, amount: u64, now: Micros) -> u64 {
        let pool = self.pool.load(Ordering::Acquire);
        if amount == 0 || self.is_over(pool, now) {
            return 0;
        }
        self.begun.fetch_add(1, Ordering::AcqRel);
        let found = self.drain(start_of(pool), amount);
        self.done.fetch_add(1, Ordering::AcqRel);
        found
    }

    /// Puts `amount` units into the window with that mark, as long as it runs; answers whether.
    pub fn put_in(&self, start: u64, amount: u64) -> bool {
        let put = |pool: u64| {
            let left = left_of(pool) + amount;
            (start_of(pool) == start).then(|| word(start, left))
        };
        self.pool
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, put)
            .is_ok()
    }

    /// Begins a window that ends at `until` with `amount` units; answers its mark. What was left of
    /// the one before is void.
    pub fn begin(&self, until: Micros, amount: u64) -> u64 {
        let ticks = (until.0 / TICK_US + SHIFT_TICKS + 1).saturating_sub(self.span_ticks);
        let before = start_of(self.pool.load(Ordering::Acquire));
        // Marks differ, so that slices of the window before are void.
        let start = if ticks == before { ticks - 1 } else { ticks };
        self.debt.store(0, Ordering::Release);
        self.pool.store(word(start, amount), Ordering::Release);
        start
    }

    /// Units used above what was left, since the last call.
    pub fn debt(&self) -> u64 {
        self.debt.swap(0, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn seconds(s: u64) -> Micros {
        Micros(s * 1_000_000)
    }

    #[test]
    fn exactly_the_limit_in_each_window() {
        let window = Window::new(3, MINUTE, 2);
        for minute in 0..3 {
            let now = seconds(5 + minute * 61);
            assert!((0..3).all(|i| window.take(i % 2, 1, now).is_ok()));
            let full = window.take(0, 1, now).expect_err("the fourth");
            assert_eq!(full.until, seconds(65 + minute * 61));
            assert_eq!(window.used(now), 3);
        }
    }

    #[test]
    fn a_window_lasts_its_span_from_the_first_request() {
        let window = Window::new(1, MINUTE, 1);
        assert!(window.take(0, 1, seconds(10)).is_ok());
        assert!(window.take(0, 1, Micros(69_999_999)).is_err());
        assert!(window.take(0, 1, seconds(70)).is_ok());
    }

    #[test]
    fn slices_of_other_shards_are_used_before_a_refusal() {
        let window = Window::new(1_000, MINUTE, 4);
        let now = seconds(1);
        assert!((0..4).all(|shard| window.take(shard, 1, now).is_ok()));
        let rest = (0..2_000)
            .filter(|_| window.take(0, 1, now).is_ok())
            .count();
        assert_eq!(rest, 996);
        assert!(!window.has_room(1, now));
    }

    #[test]
    fn tokens_are_settled() {
        let window = Window::new(100, MINUTE, 2);
        let now = seconds(1);
        let first = window.take(0, 80, now).expect("room");
        assert!(window.take(1, 30, now).is_err());
        window.settle(first, 20);
        assert_eq!(window.used(now), 20);
        let second = window.take(1, 30, now).expect("room after settling");
        window.settle(second, 60);
        assert_eq!(window.used(now), 80);
        assert!(!window.has_room(21, now));
    }

    #[test]
    fn what_was_reserved_in_a_past_window_does_not_come_back() {
        let window = Window::new(10, MINUTE, 1);
        let old = window.take(0, 10, seconds(0)).expect("room");
        window.take(0, 10, seconds(100)).expect("a new window");
        window.settle(old, 0);
        assert!(window.take(0, 1, seconds(101)).is_err());
    }

    #[test]
    fn an_amount_above_the_limit_never_fits() {
        let window = Window::new(10, MINUTE, 1);
        assert_eq!(
            window.take(0, 11, seconds(0)),
            Err(Full {
                until: Micros::NEVER,
                soon: false,
            })
        );
    }

    #[test]
    fn a_new_limit_counts_what_was_used() {
        let window = Window::new(10, MINUTE, 1);
        let now = seconds(1);
        assert!((0..6).all(|_| window.take(0, 1, now).is_ok()));
        window.set_limit(8);
        assert_eq!((0..9).filter(|_| window.take(0, 1, now).is_ok()).count(), 2);
        window.set_limit(20);
        assert_eq!(
            (0..30).filter(|_| window.take(0, 1, now).is_ok()).count(),
            12
        );
    }

    #[test]
    fn threads_take_exactly_the_limit_together() {
        for limit in [7, 60, 5_000] {
            let window = Window::new(limit, MINUTE, 4);
            let taken = AtomicU64::new(0);
            std::thread::scope(|scope| {
                for shard in 0..4 {
                    let (window, taken) = (&window, &taken);
                    scope.spawn(move || {
                        for _ in 0..limit {
                            let ok = window.take(shard, 1, seconds(3)).is_ok();
                            taken.fetch_add(u64::from(ok), Ordering::Relaxed);
                        }
                    });
                }
            });
            assert_eq!(taken.load(Ordering::Relaxed), limit);
        }
    }
}
