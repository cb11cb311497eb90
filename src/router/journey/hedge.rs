//! Hedging: a second attempt beside one that is late. The first usable answer serves the request, the
//! other attempt is closed; each has its own permit and its own account.

use super::{Attempt, Journey, State};
use crate::limit::Micros;
use crate::router::failure::FailureClass;
use crate::router::filter::{self, Permit};
use crate::router::{DeploymentIx, Live, Rng, Router, cooldown};
use std::time::Duration;

/// A second attempt is not begun sooner than this, however quick answers usually are.
const LEAST: Duration = Duration::from_millis(1);

/// One of two attempts that run side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that began first.
    First,
    /// The one that began because the first was late.
    Second,
}

impl Journey {
    /// When an attempt counts as late: when 95 of 100 answers of its deployment would have begun.
    /// `None` without hedging, or where that is not known yet.
    pub(super) fn hedge_after(
        &self,
        router: &Router,
        live: &Live,
        deployment: DeploymentIx,
    ) -> Option<Duration> {
        if !router.settings().hedging {
            return None;
        }
        let usual = &router.deployment(deployment).live;
        let p95 = usual.first_byte_p95(live.shard());
        (!p95.is_zero()).then(|| p95.max(LEAST))
    }

    /// Begins a second attempt beside the running one, on another deployment where one can serve:
    /// within the retry budget, and never before those who wait for a slot. Tell `hedge_won` or
    /// `hedge_failed` when either has come to something.
    pub fn hedge(
        &mut self,
        router: &Router,
        live: &Live,
        now: Micros,
        rng: &mut Rng,
    ) -> Option<Attempt> {
        let State::InFlight(running, _) = &self.state else {
            return None;
        };
        let running = running.deployment;
        let group = &router.group(self.leg.group).live;
        if self.second.is_some() || group.queue.waiting() > 0 || now >= self.deadline {
            return None;
        }
        self.tried.push(running);
        let chosen = filter::choose(&self.search(router, live, now), rng);
        self.tried.pop();
        let permit = chosen.ok()?;
        if !group.budget.take(live.shard(), router.settings(), now) {
            filter::give_back(router, live, permit);
            return None;
        }
        self.attempts += 1;
        let deployment = permit.deployment;
        let attempt = Attempt {
            deployment,
            group: self.leg.group,
            timeout: self.attempt_timeout(router, deployment, now),
            answer_within: permit.answer_within,
            hedge_after: None,
            number: self.attempts,
            client_fallback: self.leg.client_fallback,
        };
        self.second = Some((permit, now));
        Some(attempt)
    }

    /// One of the two attempts has an answer: the other is closed, which is nobody's fault. A first
    /// attempt that lost was as slow as it has been so far.
    pub fn hedge_won(&mut self, winner: Side, router: &Router, live: &Live, now: Micros) {
        let Some((permit, started)) = self.take_side(other(winner)) else {
            return;
        };
        if winner == Side::Second {
            let cell = router.deployment(permit.deployment).live.cell(live.shard());
            cell.note_first_byte(now.since(started));
            self.note_slow(permit.deployment, started, router, live, now);
        }
        // What it used is not known, for it told no usage: what was expected of it stays taken.
        filter::release(router, live, permit, None, true);
    }

    /// One of the two attempts failed: that counts against its deployment, the other goes on alone.
    pub fn hedge_failed(
        &mut self,
        failed: Side,
        class: FailureClass,
        retry_after: Option<Duration>,
        router: &Router,
        live: &Live,
        now: Micros,
    ) {
        let Some((permit, started)) = self.take_side(failed) else {
            return;
        };
        let deployment = permit.deployment;
        self.charge_failure(permit, started, class, router, live, now);
        cooldown::note_failure(router, deployment, class, retry_after, now);
        if !self.tried.contains(&deployment) {
            self.tried.push(deployment);
        }
    }

    /// Takes one of two running attempts out; the one that stays is the running one.
    fn take_side(&mut self, side: Side) -> Option<(Permit, Micros)> {
        let second = self.second.take()?;
        if side == Side::Second {
            return Some(second);
        }
        let (permit, started) = second;
        self.last_deployment = Some(permit.deployment);
        match std::mem::replace(&mut self.state, State::InFlight(permit, started)) {
            State::InFlight(first, began) => Some((first, began)),
            _ => None,
        }
    }

    /// Lets go of a second attempt whose end nobody told: the client left.
    pub(super) fn drop_second(&mut self, router: &Router, live: &Live) {
        if let Some((permit, _)) = self.second.take() {
            filter::release(router, live, permit, None, true);
        }
    }
}

fn other(side: Side) -> Side {
    match side {
        Side::First => Side::Second,
        Side::Second => Side::First,
    }
}
