//! Money that somebody may spend: what was spent, and what running calls may still cost.
//!
//! A call is let in while the sum of both is below the budget, and holds its worst case until it is
//! settled; so a budget is passed by at most one call. One that instances share ([`Terms`]) lets a
//! call in while the instance's lease has its worst case, or all that is left of the budget.
//!
//! While the others cannot be asked, an instance goes on with its lease and with a part of what nobody
//! had leased: parts that together are at most half of what was left, so that the budget is not passed by
//! one call of each. The database, where it can be read, renews the part ([`Meter::renew`]): it knows what
//! all have spent, but for what was not written yet. Of a budget that is nearly spent nothing is given out.

use super::{Micros, Mode, Padded, Terms};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

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

/// One of so many parts of a budget stays untouched while instances cannot be asked: it makes up for what
/// one of them has not heard of the others.
const MARGIN: Nano = 10;
/// So many instances share a budget where nobody has ever heard how many they are.
const MEMBERS_UNKNOWN: Nano = 4;

/// Counts one payer's money over all shards.
#[derive(Debug, Default)]
pub struct Meter {
    spent: Padded<AtomicI64>,
    held: AtomicI64,
    /// The end of the budget's period, as the database said it last; 0 for none.
    period: AtomicI64,
    /// What may be spent by the budget; 0 where none is known.
    max: AtomicI64,
    /// Above what a warning is given; 0 for never.
    soft: AtomicI64,
    /// It was given.
    warned: AtomicBool,
    /// Everything that was settled in this process.
    settled: AtomicI64,
    /// What was leased and is not spent: what running calls hold of it, and what is left. Without
    /// meaning as long as nothing is leased.
    own: AtomicI64,
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
        if budget != Nano::MAX && self.terms.mode() != Mode::Own {
            return self.hold_leased(budget, worst);
        }
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

    /// The same of what is leased. Who has leased all that is left has it for the last call of all,
    /// whatever that may cost.
    fn hold_leased(&self, budget: Nano, worst: Nano) -> Result<(), Nano> {
        loop {
            let held = self.held.load(Ordering::Acquire);
            let committed = self.spent().saturating_add(held);
            if committed >= budget {
                // Also of what was leased before the budget became smaller.
                return Err(committed);
            }
            let enough = worst.min(budget.saturating_sub(committed)).max(1);
            let is_there = || self.own().saturating_sub(held) >= enough;
            if !is_there() {
                return Err(committed);
            }
            let after = held.saturating_add(worst);
            let taken =
                self.held
                    .compare_exchange(held, after, Ordering::AcqRel, Ordering::Acquire);
            if taken.is_err() {
                continue;
            }
            // Between the look and the taking all of it may have been given back.
            if is_there() {
                return Ok(());
            }
            self.held.fetch_sub(worst, Ordering::AcqRel);
        }
    }

    /// From now on the others cannot be asked. Of `members` instances (0: nobody knows how many) each goes on
    /// with its lease and a part of half of what is left: of `free`, which no instance had leased a moment
    /// ago. Who has not heard that has no part before [`Meter::renew`], unless it is the only one.
    pub fn go_alone(&self, free: Option<Nano>, members: u64) {
        if self.terms.mode() == Mode::Own {
            self.begin_lease();
        }
        self.terms.go_alone(members);
        if free.is_some() || members == 1 {
            self.take_part(free);
        }
    }

    /// Takes a part of half of `free`, or of what is left as far as this instance knows.
    pub fn take_part(&self, free: Option<Nano>) {
        let left = self.max().saturating_sub(self.spent());
        let part = match self.members() {
            // There is nobody else.
            1 => left - self.own(),
            members => self.share_of(free.unwrap_or(left).min(left), members),
        };
        self.lease(part.max(0));
    }

    /// What one of `members` instances may spend of what is left while they cannot agree: of two halves one
    /// is for what they do not know of each other.
    fn share_of(&self, left: Nano, members: Nano) -> Nano {
        ((left - self.max() / MARGIN) / members / 2).max(0)
    }

    /// What so many of `members` instances may spend while they cannot be asked, where `recorded` was spent.
    pub fn reserve(&self, recorded: Nano, silent: u64, members: u64) -> Nano {
        let many = |count: u64| Nano::try_from(count).unwrap_or(Nano::MAX);
        let left = self.max().saturating_sub(recorded.max(self.spent()));
        let share = self.share_of(left, many(members.max(1)));
        share.saturating_mul(many(silent))
    }

    /// The others cannot be asked, but the database could: all have spent `recorded`, of what was settled
    /// here all but `unrecorded` at most is among it. The part is measured anew; what was leased before the
    /// others fell silent is no longer counted on.
    pub fn renew(&self, recorded: Nano, unrecorded: Nano, members: u64) {
        self.terms.go_alone(members);
        self.heard(recorded);
        self.forgive();
        let held = self.held.load(Ordering::Acquire);
        let spent = self.spent();
        let share = match self.members() {
            1 => self.max().saturating_sub(spent),
            members => {
                let others = recorded.max(spent.saturating_sub(unrecorded));
                let left = self.max().saturating_sub(others);
                self.share_of(left, members).saturating_sub(unrecorded)
            }
        };
        let part = share.saturating_sub(held).max(0);
        // Not all of it for a moment: a call that comes then would be refused.
        self.reclaim_above(part);
        let (own, held) = self.leased();
        self.lease(part.saturating_sub(own.saturating_sub(held)).max(0));
    }

    /// What is leased and not held is given up; the next call that lacks it asks anew.
    pub fn lapse(&self) {
        self.terms.heard(0, None);
        self.reclaim();
    }

    fn members(&self) -> Nano {
        match self.terms.share() {
            0 => MEMBERS_UNKNOWN,
            members => Nano::try_from(members).unwrap_or(Nano::MAX),
        }
    }

    /// A new period begins, in which nobody has leased anything.
    fn begin_alone(&self) {
        if self.terms.mode() == Mode::Alone {
            self.begin_lease();
            self.take_part(Some(self.max()));
        }
    }

    /// There was not enough for a call; answers whether it is worth waiting a moment.
    pub fn miss(&self, worst: Nano, now: Micros) -> bool {
        let wanted = worst.unsigned_abs().max(1);
        self.terms.mode() != Mode::Own && self.terms.miss(wanted, now).soon
    }

    /// Replaces what a call held by what it cost. In this order: who looks in between sees too much
    /// rather than too little ([`Meter::leased`], then [`Meter::settled`], then [`Meter::spent`]).
    pub fn settle(&self, worst: Nano, cost: Nano) {
        self.spent.fetch_add(cost, Ordering::AcqRel);
        self.settled.fetch_add(cost, Ordering::AcqRel);
        self.own.fetch_sub(cost, Ordering::AcqRel);
        self.held.fetch_sub(worst, Ordering::AcqRel);
    }

    /// Above what a warning is given; 0 for never.
    pub fn set_soft(&self, soft: Nano) {
        if self.soft.swap(soft, Ordering::AcqRel) != soft {
            self.warned.store(false, Ordering::Release);
        }
    }

    /// What was spent and what the warning's bound is, once for each time that it is passed.
    pub fn soft_passed(&self) -> Option<(Nano, Nano)> {
        let (soft, spent) = (self.soft.load(Ordering::Acquire), self.spent());
        let is_passed = soft > 0 && spent >= soft;
        let had = self.warned.swap(is_passed, Ordering::AcqRel);
        (is_passed && !had).then_some((spent, soft))
    }

    /// Begins the next period where `now_us` has passed the end of this one; `next` says when it ends.
    pub fn begin_next(&self, now_us: i64, next: impl FnOnce() -> i64) {
        let ends = self.period();
        if ends == 0 || now_us < ends {
            return;
        }
        let begun = self
            .period
            .compare_exchange(ends, next(), Ordering::AcqRel, Ordering::Acquire);
        if begun.is_ok() {
            self.spent.store(0, Ordering::Release);
            self.begin_alone();
        }
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

    fn own(&self) -> Nano {
        self.own.load(Ordering::Acquire)
    }

    /// What was leased and is not spent, and what running calls hold. The second is the larger one
    /// while the last call of a budget runs, and where calls run that were let in without a lease.
    pub fn leased(&self) -> (Nano, Nano) {
        let own = self.own();
        (own, self.held.load(Ordering::Acquire))
    }

    /// Takes what is leased and not held out again.
    pub fn reclaim(&self) {
        self.reclaim_above(0);
    }

    /// The same, but for so much.
    fn reclaim_above(&self, kept: Nano) {
        loop {
            let held = self.held.load(Ordering::Acquire);
            let spare = self.own().saturating_sub(held).saturating_sub(kept);
            if spare <= 0 {
                return;
            }
            // Held as if by a call, so that none takes it meanwhile.
            let after = held.saturating_add(spare);
            let taken =
                self.held
                    .compare_exchange(held, after, Ordering::AcqRel, Ordering::Acquire);
            if taken.is_ok() {
                self.own.fetch_sub(spare, Ordering::AcqRel);
                self.held.fetch_sub(spare, Ordering::AcqRel);
                return;
            }
        }
    }

    /// Adds to what is leased.
    pub fn lease(&self, more: Nano) {
        self.own.fetch_add(more, Ordering::AcqRel);
    }

    /// Leasing begins: nothing is leased but what running calls hold.
    pub fn begin_lease(&self) {
        let held = self.held.load(Ordering::Acquire);
        self.own.store(held, Ordering::Release);
    }

    /// What was spent above the lease is among what was settled, and owed no longer.
    pub fn forgive(&self) {
        self.own.fetch_max(0, Ordering::AcqRel);
    }

    /// What all instances together are known to have spent.
    pub fn heard(&self, spent: Nano) {
        self.spent.fetch_max(spent, Ordering::AcqRel);
    }

    /// Takes over what the database says. It lags behind what was settled here, unless a new period
    /// has begun (`period` is when it ends); then it is right.
    pub fn adopt(&self, stored: Nano, period: i64) {
        let before = self.period.swap(period, Ordering::AcqRel);
        if before == period {
            self.spent.fetch_max(stored, Ordering::AcqRel);
            return;
        }
        self.spent.store(stored, Ordering::Release);
        if before != 0 {
            self.begin_alone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_given_once_for_each_time() {
        let meter = Meter::default();
        meter.set_soft(50);
        meter.settle(0, 40);
        assert_eq!(meter.soft_passed(), None);
        meter.settle(0, 40);
        assert_eq!(meter.soft_passed(), Some((80, 50)));
        assert_eq!(meter.soft_passed(), None);
        meter.adopt(0, 7);
        assert_eq!(meter.soft_passed(), None);
        meter.settle(0, 60);
        assert_eq!(
            meter.soft_passed(),
            Some((60, 50)),
            "again in the next period"
        );
    }

    #[test]
    fn a_period_begins_when_the_last_has_ended() {
        let meter = Meter::default();
        meter.adopt(30, 100);
        meter.begin_next(99, || 200);
        assert_eq!((meter.spent(), meter.period()), (30, 100));
        meter.begin_next(100, || 200);
        assert_eq!((meter.spent(), meter.period()), (0, 200));
    }

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
        assert_eq!((meter.spent(), meter.leased()), (50, (50, 0)));
        assert_eq!(meter.hold(100, 500), Ok(()));
    }

    /// Whatever each had leased of what was left: together they do not pass the budget.
    #[test]
    fn instances_that_cannot_be_asked_do_not_pass_a_budget_together() {
        for (spent, leases) in [(0, [0, 0, 0, 0]), (500, [9, 1, 0, 0]), (950, [30, 5, 0, 5])] {
            let free = 1000 - spent - leases.iter().sum::<Nano>();
            let (mut together, mut served) = (spent, 0);
            for lease in leases {
                let meter = Meter::default();
                meter.set_max(1000);
                meter.terms.go_leased();
                meter.heard(spent);
                meter.lease(lease);
                match lease > 0 {
                    true => meter.go_alone(Some(free), 4),
                    // It has not heard the others of late: the database says what was spent.
                    false => {
                        meter.go_alone(None, 4);
                        assert!(meter.hold(1000, 1).is_err(), "nothing was read yet");
                        meter.renew(spent, 0, 4);
                    }
                }
                while meter.hold(1000, 5).is_ok() {
                    meter.settle(5, 5);
                    together += 5;
                    served += 1;
                }
            }
            assert!(together <= 1000, "{spent} and {leases:?}: {together}");
            let some = if spent < 900 { 20 } else { 7 };
            assert!(served >= some, "{spent} and {leases:?}: {served}");
        }
    }

    #[test]
    fn who_is_alone_in_the_fleet_has_the_whole_budget_and_each_its_part_of_a_new_period() {
        let meter = Meter::default();
        meter.set_max(100);
        meter.adopt(40, 7);
        meter.go_alone(None, 1);
        assert_eq!(meter.leased(), (60, 0));
        meter.go_alone(None, 2);
        meter.begin_next(7, || 9);
        assert_eq!((meter.spent(), meter.leased()), (0, (22, 0)));
        meter.set_max(200);
        meter.renew(0, 0, 2);
        assert_eq!(meter.leased(), (45, 0));
    }

    /// Each reads what was recorded at another time, and what is recorded comes late.
    #[test]
    fn renewed_parts_do_not_pass_a_budget_together() {
        for (members, late) in [(2, 0), (2, 3), (4, 1), (4, 5), (7, 3)] {
            let meters: Vec<Meter> = (0..members).map(|_| Meter::default()).collect();
            for meter in &meters {
                meter.set_max(10_000);
                meter.go_alone(None, members);
            }
            let (mut rounds, mut together) = (vec![vec![0; meters.len()]], 0);
            for round in 0..200 {
                let of = |back: usize| &rounds[rounds.len().saturating_sub(back).max(1) - 1];
                let recorded = of(late + 1).iter().sum();
                for (at, meter) in meters.iter().enumerate() {
                    let unrecorded = meter.settled() - of(late + 1)[at];
                    meter.renew(recorded, unrecorded, members);
                    // Some are more eager than others.
                    for _ in 0..(round + at) % 3 * 1000 {
                        if meter.hold(10_000, 5).is_ok() {
                            meter.settle(5, 5);
                            together += 5;
                        }
                    }
                }
                rounds.push(meters.iter().map(Meter::settled).collect());
            }
            assert!(together <= 10_000, "{members} and {late}: {together}");
            assert!(together >= 8_500, "{members} and {late}: {together}");
        }
    }

    #[test]
    fn who_does_not_know_how_many_they_are_takes_little() {
        let meter = Meter::default();
        meter.set_max(1000);
        meter.go_alone(None, 0);
        assert!(meter.hold(1000, 1).is_err());
        assert!(meter.miss(1, Micros(0)), "the database is being asked");
        meter.renew(500, 0, 0);
        assert_eq!(meter.leased(), (50, 0));
        meter.renew(500, 0, 1);
        assert_eq!(meter.leased(), (500, 0));
        meter.renew(950, 0, 4);
        assert_eq!(meter.leased(), (0, 0), "a tenth stays untouched");
    }

    #[test]
    fn what_is_given_back_is_not_held() {
        let meter = Meter::default();
        meter.terms.go_leased();
        meter.lease(100);
        assert_eq!(meter.hold(1000, 60), Ok(()));
        meter.reclaim();
        assert_eq!(meter.leased(), (60, 60));
        assert!(meter.hold(1000, 1).is_err());
        meter.settle(60, 80);
        assert_eq!(meter.leased(), (-20, 0), "it cost more than its worst case");
        meter.forgive();
        meter.lease(10);
        assert_eq!(meter.hold(1000, 10), Ok(()));
    }

    #[test]
    fn threads_never_hold_more_than_is_leased() {
        let meter = Meter::default();
        meter.terms.go_leased();
        meter.lease(1_000);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        if meter.hold(1_000_000, 7).is_ok() {
                            meter.settle(7, 0);
                        }
                    }
                });
            }
            for _ in 0..20_000 {
                meter.reclaim();
                let (own, _) = meter.leased();
                assert!((0..=1_000).contains(&own), "{own}");
                meter.lease(1_000 - own);
            }
        });
        assert_eq!(meter.leased(), (1_000, 0));
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
