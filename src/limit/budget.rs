//! Money that somebody may spend: what was spent, and what running calls may still cost.
//!
//! A call is let in while the sum of both is below the budget, and holds its worst case until it is
//! settled; so a budget is passed by at most one call. One that instances share ([`Terms`]) lets a
//! call in while the instance's lease has its worst case, or all that is left of the budget.

use super::{Micros, Mode, Padded, Terms};
use std::sync::atomic::{AtomicI64, Ordering};

/// Billionths of a dollar.
pub type Nano = i64;

/// The nearest whole number of billionths; what does not fit is the most there can be.
#[must_use]
pub fn nano(dollars: f64) -> Nano {
    // A float to an integer saturates.
    (dollars * 1e9).round() as Nano
}

/// Dollars of a number of billionths.
#[must_use]
pub fn dollars(nano: Nano) -> f64 {
    nano as f64 / 1e9
}

/// Counts one payer's money over all shards.
#[derive(Debug, Default)]
pub struct Meter {
    spent: Padded<AtomicI64>,
    held: AtomicI64,
    /// The end of the budget's period, as the database said it last; 0 for none.
    period: AtomicI64,
    /// What may be spent by the budget; 0 where none is known.
    max: AtomicI64,
    /// Everything that was settled in this process.
    settled: AtomicI64,
    /// What is leased and not held; without meaning as long as nothing is leased.
    lease: AtomicI64,
    /// How it is shared with other instances.
    pub terms: Terms,
}

impl Meter {
    /// What was spent, settled calls only.
    pub fn spent(&self) -> Nano {
        self.spent.load(Ordering::Acquire)
    }

    /// What was spent and what running calls hold.
    pub fn committed(&self) -> Nano {
        self.spent()
            .saturating_add(self.held.load(Ordering::Acquire))
    }

    /// Holds `worst` for a call.
    ///
    /// # Errors
    /// The sum of spent and held, when that has reached `budget`.
    pub fn hold(&self, budget: Nano, worst: Nano) -> Result<(), Nano> {
        let is_leased = self.terms.mode() == Mode::Leased && budget != Nano::MAX;
        // Who has leased all that is left has it for the last call of all, whatever that may cost.
        let rest = budget.saturating_sub(self.committed());
        let took = self
            .lease
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |lease| {
                let is_there = !is_leased || lease > 0 && lease >= worst.min(rest);
                is_there.then(|| lease.saturating_sub(worst))
            });
        if took.is_err() {
            return Err(self.committed());
        }
        if is_leased {
            self.held.fetch_add(worst, Ordering::AcqRel);
            return Ok(());
        }
        let budget = match Nano::try_from(self.terms.limit(budget.unsigned_abs())) {
            Ok(here) if budget != Nano::MAX => here,
            _ => budget,
        };
        let committed = self
            .held
            .fetch_add(worst, Ordering::AcqRel)
            .saturating_add(self.spent());
        if committed < budget {
            return Ok(());
        }
        self.held.fetch_sub(worst, Ordering::AcqRel);
        self.lease.fetch_add(worst, Ordering::AcqRel);
        Err(committed)
    }

    /// There was not enough for a call; answers whether it is worth waiting a moment.
    pub fn miss(&self, worst: Nano, now: Micros) -> bool {
        let wanted = worst.unsigned_abs().max(1);
        self.terms.mode() == Mode::Leased && self.terms.miss(wanted, now).soon
    }

    /// Replaces what a call held by what it cost.
    pub fn settle(&self, worst: Nano, cost: Nano) {
        self.spent.fetch_add(cost, Ordering::AcqRel);
        self.settled.fetch_add(cost, Ordering::AcqRel);
        self.lease
            .fetch_add(worst.saturating_sub(cost), Ordering::AcqRel);
        self.held.fetch_sub(worst, Ordering::AcqRel);
    }

    /// What the budget is.
    pub fn set_max(&self, max: Nano) {
        self.max.store(max, Ordering::Release);
    }

    /// What the budget is; 0 where none is known.
    pub fn max(&self) -> Nano {
        self.max.load(Ordering::Acquire)
    }

    /// The end of the budget's period.
    pub fn period(&self) -> i64 {
        self.period.load(Ordering::Acquire)
    }

    /// Everything that was settled in this process.
    pub fn settled(&self) -> Nano {
        self.settled.load(Ordering::Acquire)
    }

    /// What is leased: held and not held.
    pub fn leased(&self) -> (Nano, Nano) {
        let (held, lease) = (&self.held, &self.lease);
        (held.load(Ordering::Acquire), lease.load(Ordering::Acquire))
    }

    /// Takes what is leased and not held out again.
    pub fn reclaim(&self) {
        let _ = self
            .lease
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |lease| {
                (lease > 0).then_some(0)
            });
    }

    /// Adds to what is leased; less than nothing takes from it.
    pub fn lease(&self, more: Nano) {
        self.lease.fetch_add(more, Ordering::AcqRel);
    }

    /// What all instances together are known to have spent.
    pub fn heard(&self, spent: Nano) {
        self.spent.fetch_max(spent, Ordering::AcqRel);
    }

    /// Takes over what the database says. It lags behind what was settled here, unless a new period
    /// has begun (`period` is when it ends); then it is right.
    pub fn adopt(&self, stored: Nano, period: i64) {
        if self.period.swap(period, Ordering::AcqRel) == period {
            self.spent.fetch_max(stored, Ordering::AcqRel);
        } else {
            self.spent.store(stored, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_passed_by_one_call_at_most() {
        let meter = Meter::default();
        assert_eq!(meter.hold(100, 60), Ok(()));
        assert_eq!(meter.hold(100, 60), Ok(()));
        assert_eq!(meter.hold(100, 60), Err(120));
        meter.settle(60, 10);
        meter.settle(60, 10);
        assert_eq!((meter.spent(), meter.committed()), (20, 20));
        assert_eq!(meter.hold(20, 1), Err(20), "what is spent up is closed");
    }

    #[test]
    fn who_has_leased_the_rest_may_pass_the_budget_once() {
        let meter = Meter::default();
        meter.terms.go_leased();
        assert!(meter.hold(100, 500).is_err(), "nothing is leased yet");
        meter.lease(60);
        assert!(
            meter.hold(100, 500).is_err(),
            "others may have the other 40"
        );
        meter.heard(40);
        assert_eq!(meter.hold(100, 500), Ok(()));
        assert!(meter.hold(100, 500).is_err(), "one at a time");
        meter.settle(500, 10);
        assert_eq!((meter.spent(), meter.leased()), (50, (0, 50)));
        assert_eq!(meter.hold(100, 500), Ok(()));
    }

    #[test]
    fn the_database_lags_and_resets() {
        let meter = Meter::default();
        meter.adopt(50, 0);
        meter.settle(0, 10);
        meter.adopt(55, 0);
        assert_eq!(meter.spent(), 60);
        meter.adopt(0, 7);
        assert_eq!(meter.spent(), 0, "a new period has begun");
    }

    #[test]
    fn dollars_are_rounded() {
        assert_eq!(nano(0.1), 100_000_000);
        assert_eq!(dollars(nano(3.5e-6)), 3.5e-6);
        assert_eq!(nano(f64::INFINITY), i64::MAX);
    }
}
