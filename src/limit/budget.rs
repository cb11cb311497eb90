//! Money that somebody may spend: what was spent, and what running calls may still cost.
//!
//! A call is let in while the sum of both is below the budget, and holds its worst case until it is
//! settled; so a budget is passed by at most one call.

use super::Padded;
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
        let committed = self
            .held
            .fetch_add(worst, Ordering::AcqRel)
            .saturating_add(self.spent());
        if committed < budget {
            return Ok(());
        }
        self.held.fetch_sub(worst, Ordering::AcqRel);
        Err(committed)
    }

    /// Replaces what a call held by what it cost.
    pub fn settle(&self, worst: Nano, cost: Nano) {
        self.spent.fetch_add(cost, Ordering::AcqRel);
        self.held.fetch_sub(worst, Ordering::AcqRel);
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
