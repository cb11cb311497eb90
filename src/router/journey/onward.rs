//! What comes after a failure: another attempt in the group, another group, or the end.

use super::{Journey, Leg, State};
use crate::limit::Micros;
use crate::router::facts::MockTesting;
use crate::router::failure::{Cause, FailureClass};
use crate::router::{DeploymentIx, Live, Rng, Router, fallback, filter, retry};
use std::collections::VecDeque;
use std::time::Duration;

impl Journey {
    #[expect(
        clippy::too_many_arguments,
        reason = "the journey's context and one failure"
    )]
    pub(super) fn after_failure(
        &mut self,
        class: FailureClass,
        retry_after: Option<Duration>,
        failed: DeploymentIx,
        router: &Router,
        live: &Live,
        now: Micros,
        rng: &mut Rng,
    ) {
        if !self.tried.contains(&failed) {
            self.tried.push(failed);
        }
        match self.retry_wait(class, retry_after, failed, router, live, now, rng) {
            Some(wait) => {
                self.retries += 1;
                self.attempted_retries += 1;
                self.state = match wait.is_zero() {
                    true => State::Ready,
                    false => State::Resting(now.plus(wait)),
                };
            }
            None => self.next_group(class, router),
        }
    }

    /// How long to wait before one more attempt in this group; `None` when there is to be none.
    #[expect(
        clippy::too_many_arguments,
        reason = "the journey's context and one failure"
    )]
    fn retry_wait(
        &self,
        class: FailureClass,
        retry_after: Option<Duration>,
        failed: DeploymentIx,
        router: &Router,
        live: &Live,
        now: Micros,
        rng: &mut Rng,
    ) -> Option<Duration> {
        let settings = router.settings();
        let policy = router.group_retry_policy(&self.leg.asked, self.leg.group);
        let own = router.deployment(failed).spec.max_retries;
        let most = retry::retries_max(settings, policy, class, self.facts.wishes.num_retries, own);
        if self.retries >= most || self.has_special_fallback(class, router) {
            return None;
        }
        let another = self.leg.named.is_none() && filter::another_is_healthy(router, failed, now);
        let itself = router.deployment(failed).live.cooling_until() <= now;
        let untried = router.group(self.leg.group).deployments.len() > self.tried.len();
        let lost = class == FailureClass::NotFound && !(another && untried);
        if lost || !(another || itself) {
            return None;
        }
        let wait = retry::wait_before(settings, self.retries, retry_after, another, rng);
        let budget = &router.group(self.leg.group).live.budget;
        let in_time = now.plus(wait) < self.deadline;
        (in_time && budget.take(live.shard(), settings, now)).then_some(wait)
    }

    fn has_special_fallback(&self, class: FailureClass, router: &Router) -> bool {
        let special = matches!(
            class,
            FailureClass::ContextWindow | FailureClass::ContentPolicy
        );
        special && !self.names_after(class, router).is_empty()
    }

    fn names_after<'a>(&'a self, class: FailureClass, router: &'a Router) -> &'a [String] {
        if self.facts.wishes.disable_fallbacks || self.facts.wishes.fallbacks.is_some() {
            return &[];
        }
        fallback::after(router, &self.facts, class, &self.leg.asked, self.leg.group)
    }

    /// Goes to the next group: the request's own fallbacks, else those of the group that failed,
    /// behind those planned already, so that a list is served in its order.
    pub(super) fn next_group(&mut self, class: FailureClass, router: &Router) {
        self.plan(class, router);
        let most = self
            .facts
            .wishes
            .max_fallbacks
            .unwrap_or(router.settings().max_fallbacks);
        self.state = State::Failed;
        while self.attempted_fallbacks < most {
            let Some(next) = self.pending.pop_front() else {
                return;
            };
            let done = std::mem::replace(&mut self.leg, next);
            self.visited.push(done);
            if self.visited.iter().any(|leg| leg.is_same(&self.leg)) {
                continue;
            }
            self.attempted_fallbacks += 1;
            self.retries = 0;
            self.tried.clear();
            self.state = State::Ready;
            return;
        }
    }

    fn plan(&mut self, class: FailureClass, router: &Router) {
        let own = self
            .facts
            .wishes
            .fallbacks
            .as_ref()
            .filter(|_| !self.facts.wishes.disable_fallbacks);
        let mut planned = VecDeque::new();
        if let Some(own) = own.filter(|_| !self.client_fallbacks_planned) {
            for (position, name) in own.iter().enumerate() {
                let leg = Leg::new(name, router.resolve(name), router);
                planned.extend(leg.map(|leg| Leg {
                    client_fallback: Some(position),
                    ..leg
                }));
            }
        } else {
            let names = self.names_after(class, router);
            planned.extend(
                names
                    .iter()
                    .filter_map(|n| Leg::new(n, router.resolve(n), router)),
            );
        }
        self.client_fallbacks_planned |= self.facts.wishes.fallbacks.is_some();
        self.pending.extend(planned);
    }

    pub(super) fn fail_as_asked(&mut self, mock: MockTesting, router: &Router) {
        let class = match mock {
            MockTesting::Fallbacks => FailureClass::InternalServer,
            MockTesting::ContextFallbacks => FailureClass::ContextWindow,
            MockTesting::ContentPolicyFallbacks => FailureClass::ContentPolicy,
            MockTesting::RateLimitError => FailureClass::RateLimit,
        };
        self.fail_by(class, Cause::Mocked, None);
        self.next_group(class, router);
    }
}
