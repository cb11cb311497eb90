//! How many calls may run at once, over all shards.

use super::{Micros, Mode, Padded, Terms};
use std::sync::atomic::{AtomicU32, Ordering};

/// Counts calls in progress. Never lets more than its limit in; says no at once when full, since
/// who waits is the queue's affair.
#[derive(Debug)]
pub struct Semaphore {
    in_use: Padded<AtomicU32>,
    /// What may run here: the limit, or what is leased of it.
    limit: AtomicU32,
    /// The limit as it is configured.
    configured: AtomicU32,
    /// How it is shared with other instances.
    pub terms: Terms,
}

impl Semaphore {
    /// A semaphore for `limit` calls at once; `None` for as many as come.
    #[must_use]
    pub fn new(limit: Option<u32>) -> Semaphore {
        Semaphore {
            in_use: Padded::default(),
            limit: AtomicU32::new(limit.unwrap_or(u32::MAX)),
            configured: AtomicU32::new(limit.unwrap_or(u32::MAX)),
            terms: Terms::default(),
        }
    }

    /// Changes the limit. Calls above a lowered limit run to their end.
    pub fn set_limit(&self, limit: Option<u32>) {
        let limit = limit.unwrap_or(u32::MAX);
        self.configured.store(limit, Ordering::Relaxed);
        if self.terms.mode() == Mode::Own {
            self.limit.store(limit, Ordering::Relaxed);
        }
    }

    /// The limit as it is configured.
    pub fn configured(&self) -> u32 {
        self.configured.load(Ordering::Relaxed)
    }

    /// What is leased of the limit: so many calls may run here.
    pub fn leased(&self) -> u32 {
        self.limit.load(Ordering::Acquire)
    }

    /// Sets what is leased.
    pub fn set_leased(&self, count: u32) {
        self.limit.store(count, Ordering::Release);
    }

    /// Nothing was free for a call; answers whether it is worth waiting a moment.
    pub fn miss(&self, now: Micros) -> bool {
        self.terms.mode() == Mode::Leased && self.terms.miss(1, now).soon
    }

    /// Lets one call in, if there is room.
    pub fn try_acquire(&self) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        self.in_use
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |n| {
                (n < limit).then_some(n + 1)
            })
            .is_ok()
    }

    /// Gives back what one successful `try_acquire` took.
    pub fn release(&self) {
        let before = self
            .in_use
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |n| n.checked_sub(1));
        debug_assert!(before.is_ok(), "released more often than acquired");
    }

    /// Calls in progress.
    pub fn in_use(&self) -> u32 {
        self.in_use.load(Ordering::Relaxed)
    }

    /// Whether a call would be let in now.
    pub fn has_room(&self) -> bool {
        if self.terms.mode() == Mode::Leased {
            // Who finds nothing asks for more.
            return true;
        }
        self.in_use() < self.limit.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_exactly_its_limit_in() {
        let semaphore = Semaphore::new(Some(2));
        assert!(semaphore.try_acquire());
        assert!(semaphore.try_acquire());
        assert!(!semaphore.try_acquire());
        semaphore.release();
        assert!(semaphore.has_room());
        assert!(semaphore.try_acquire());
        assert_eq!(semaphore.in_use(), 2);
    }

    #[test]
    fn a_lowered_limit_waits_for_the_calls_above_it() {
        let semaphore = Semaphore::new(None);
        assert!((0..5).all(|_| semaphore.try_acquire()));
        semaphore.set_limit(Some(3));
        semaphore.release();
        semaphore.release();
        assert!(!semaphore.try_acquire());
        semaphore.release();
        assert!(semaphore.try_acquire());
    }

    #[test]
    fn threads_never_pass_the_limit_together() {
        let semaphore = Semaphore::new(Some(3));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        if semaphore.try_acquire() {
                            assert!(semaphore.in_use() <= 3);
                            semaphore.release();
                        }
                    }
                });
            }
        });
        assert_eq!(semaphore.in_use(), 0);
    }
}
