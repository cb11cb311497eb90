//! Waiting for a slot of a group, in its queue's order.

use super::{Journey, State, Step, Wait};
use crate::limit::Micros;
use crate::router::failure::{Cause, FailureClass};
use crate::router::filter::Refusal;
use crate::router::queue::WaitId;
use crate::router::{Live, Router};
use std::time::Duration;

/// Whether a request may try for a slot.
pub(super) enum Turn {
    Now,
    /// It waits its turn.
    Later(WaitId),
    /// The queue is full: it has gone on to another group, or failed.
    Never,
}

impl Journey {
    /// Keeps the order: whoever would jump the queue, or waits without being on turn, waits on.
    pub(super) fn hold(&mut self, router: &Router, live: &Live, now: Micros) -> Turn {
        let group = &router.group(self.leg.group).live;
        match self.state {
            State::Waiting(id) => {
                group.queue.look_at_clock(now);
                if live.take_turn(group, id) {
                    Turn::Now
                } else {
                    Turn::Later(id)
                }
            }
            _ if group.queue.admits_newcomer(self.priority(router), now) => Turn::Now,
            _ => self.join(router, live).map_or(Turn::Never, Turn::Later),
        }
    }

    fn priority(&self, router: &Router) -> i32 {
        self.facts
            .wishes
            .priority
            .or(router.settings().default_priority)
            .unwrap_or(0)
    }

    /// Joins the queue; goes on to the next group when it is full.
    fn join(&mut self, router: &Router, live: &Live) -> Option<WaitId> {
        let group = &router.group(self.leg.group).live;
        let queue_max = router.settings().queue_max;
        if let Some(id) = live.enqueue(group, self.priority(router), queue_max) {
            self.state = State::Waiting(id);
            return Some(id);
        }
        self.fail_by(
            FailureClass::RateLimit,
            Cause::QueueFull,
            Some(Duration::from_secs(1)),
        );
        self.next_group(FailureClass::RateLimit, router);
        None
    }

    pub(super) fn leave_queue(&mut self, router: &Router, live: &Live) {
        if let State::Waiting(id) = self.state {
            live.leave(&router.group(self.leg.group).live, id);
            self.state = State::Ready;
        }
    }

    /// Whether a slot was taken that came free for somebody before it in the queue: between its turn and
    /// its try another shard's call ended.
    pub(super) fn is_overtaking(&self, router: &Router, live: &Live) -> bool {
        match self.state {
            State::Waiting(id) => live.is_behind(&router.group(self.leg.group).live, id),
            _ => false,
        }
    }

    /// Waits on, as if it had not been its turn.
    pub(super) fn wait_on(&self, router: &Router, live: &Live) -> Option<Step> {
        let State::Waiting(id) = self.state else {
            return None;
        };
        live.end_turn(&router.group(self.leg.group).live);
        let until = self.deadline;
        Some(Step::Wait(Wait { id, until }))
    }

    /// Nobody can serve now: wait if a slot can come in time, else go on to the next group.
    pub(super) fn refused(
        &mut self,
        refusal: Refusal,
        router: &Router,
        live: &Live,
        now: Micros,
    ) -> Option<Step> {
        let group = &router.group(self.leg.group).live;
        if self.may_wait(refusal, router) {
            if let Some(at) = refusal.opens {
                group.queue.opens(at);
            }
            if let State::Waiting(id) = self.state {
                live.end_turn(group);
                return Some(Step::Wait(Wait {
                    id,
                    until: self.deadline,
                }));
            }
            // A slot may have come free between the look and the joining: it looks once more.
            self.join(router, live);
            return None;
        }
        self.leave_queue(router, live);
        let class = class_of(refusal.cause);
        self.fail_by(class, refusal.cause, refusal.opens.map(|at| now.until(at)));
        self.next_group(class, router);
        None
    }

    /// Everybody waits for a slot; those with a priority also for a limit or a cooldown to end.
    fn may_wait(&self, refusal: Refusal, router: &Router) -> bool {
        let has_priority = self
            .facts
            .wishes
            .priority
            .or(router.settings().default_priority)
            .is_some();
        match refusal.cause {
            Cause::NoSlot => !router.settings().no_waiting,
            Cause::LimitReached | Cause::Cooling => {
                has_priority && refusal.opens.is_some_and(|at| at < self.deadline)
            }
            _ => false,
        }
    }

    pub(super) fn give_up(&mut self, router: &Router, live: &Live) {
        let waited = matches!(self.state, State::Waiting(_));
        self.leave_queue(router, live);
        if waited {
            self.fail_by(
                FailureClass::RateLimit,
                Cause::NoSlot,
                Some(Duration::from_secs(1)),
            );
        } else {
            self.fail_by(FailureClass::Timeout, Cause::Deadline, None);
        }
        self.state = State::Failed;
    }
}

pub(super) fn class_of(cause: Cause) -> FailureClass {
    match cause {
        Cause::PromptTooLong => FailureClass::ContextWindow,
        Cause::TagsDenied => FailureClass::Authentication,
        Cause::RegionDenied | Cause::Unsupported => FailureClass::BadRequest,
        Cause::Deadline => FailureClass::Timeout,
        Cause::Denied => FailureClass::PermissionDenied,
        Cause::Upstream | Cause::Mocked => FailureClass::InternalServer,
        Cause::Cooling
        | Cause::LimitReached
        | Cause::NoSlot
        | Cause::QueueFull
        | Cause::BudgetSpent
        | Cause::Empty => FailureClass::RateLimit,
    }
}
