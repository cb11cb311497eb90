//! One request's life: attempts, retries, fallbacks, waits, and exactly one end.
//!
//! The shard asks `step` what to do, does it, tells `finished` how an attempt went, and asks
//! again. A journey is used with one router from its start to its end: the snapshot that the
//! request began with. It must not know how an attempt is made.

mod hedge;
mod line;
mod onward;
#[cfg(test)]
mod tests;

use super::facts::{Facts, MockTesting};
use super::failure::{Cause, Failure, FailureClass};
use super::filter::{self, Permit, Search};
use super::pattern::{Captures, substitute};
use super::queue::WaitId;
use super::spec::REQUEST_TIMEOUT_DEFAULT;
use super::{DeploymentIx, GroupIx, Live, Resolution, Rng, Router, cooldown};
use crate::limit::Micros;
pub use hedge::Side;
use line::Turn;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

/// What the shard should do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Call this deployment, then tell `finished`.
    Attempt(Attempt),
    /// Step again after this wait.
    Sleep(Duration),
    /// Step again when `Live::woken` names it, at the latest then.
    Wait(Wait),
    /// Answer this error. The journey is over.
    Fail(Failure),
}

/// One call to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The deployment to call.
    pub deployment: DeploymentIx,
    /// Its group: for `x-litellm-model-group` see `Journey::group`.
    pub group: GroupIx,
    /// How long the call may take, its stream included.
    pub timeout: Duration,
    /// An answer must begin within this time, else the attempt is a timeout: it tries whether a
    /// deployment that hung lives again.
    pub answer_within: Option<Duration>,
    /// An attempt that has no answer by then is late: `Journey::hedge` may begin a second one beside
    /// it.
    pub hedge_after: Option<Duration>,
    /// Which attempt of the request this is, from 1.
    pub number: u32,
    /// The entry of the request's own `fallbacks` that is served, for its overrides.
    pub client_fallback: Option<usize>,
}

/// Waiting in the queue of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// How `Live::woken` will name the request.
    pub id: WaitId,
    /// Step again then in any case.
    pub until: Micros,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// It served the client.
    Success(Success),
    /// It failed.
    Failure {
        /// The kind of failure.
        class: FailureClass,
        /// The upstream's status; the class's own where there was none.
        status: Option<u16>,
        /// The upstream's Retry-After.
        retry_after: Option<Duration>,
        /// The client has part of the answer already, and it cannot be continued elsewhere.
        committed: bool,
    },
    /// The client left. Nobody's fault.
    ClientGone,
}

/// Numbers of an attempt that served.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Success {
    /// From the start of the attempt to the first byte of the answer's body.
    pub first_byte: Duration,
    /// From the start of the attempt to its end.
    pub total: Duration,
    /// Tokens of the prompt, where the upstream said.
    pub input_tokens: Option<u64>,
    /// Tokens of the answer, where known.
    pub output_tokens: Option<u64>,
    /// What ties a later request to this answer.
    pub answer: Option<u64>,
}

/// One group on the way, and the name that led to it.
#[derive(Clone, Debug)]
struct Leg {
    asked: Box<str>,
    group: GroupIx,
    named: Option<DeploymentIx>,
    captures: Captures,
    client_fallback: Option<usize>,
}

impl Leg {
    fn new(asked: &str, resolution: Resolution, router: &Router) -> Option<Leg> {
        let group = router.group_of(&resolution)?;
        let (named, captures) = match resolution {
            Resolution::Deployment(deployment) => (Some(deployment), Captures::new()),
            Resolution::Pattern(_, captures) => (None, captures),
            Resolution::Group(_) | Resolution::Unknown => (None, Captures::new()),
        };
        Some(Leg {
            asked: asked.into(),
            group,
            named,
            captures,
            client_fallback: None,
        })
    }

    fn is_same(&self, other: &Leg) -> bool {
        self.group == other.group && self.named == other.named && self.captures == other.captures
    }
}

#[derive(Debug)]
enum State {
    Ready,
    Resting(Micros),
    Waiting(WaitId),
    InFlight(Permit, Micros),
    Failed,
    Over,
}

/// One request's way through the router.
#[derive(Debug)]
pub struct Journey {
    facts: Rc<Facts>,
    state: State,
    leg: Leg,
    /// Groups still to be tried after this one.
    pending: VecDeque<Leg>,
    visited: Vec<Leg>,
    /// Deployments that failed in this group.
    tried: Vec<DeploymentIx>,
    retries: u32,
    attempts: u32,
    attempted_retries: u32,
    attempted_fallbacks: u32,
    mock: Option<MockTesting>,
    client_fallbacks_planned: bool,
    last_deployment: Option<DeploymentIx>,
    /// A second attempt beside the running one.
    second: Option<(Permit, Micros)>,
    failure: Option<Failure>,
    began: Micros,
    deadline: Micros,
}

impl Journey {
    /// Begins the journey of a request that asked for a model under this name. `None` when the
    /// name leads nowhere: that is the client's error, and no fallback saves it.
    #[must_use]
    pub fn new(
        router: &Router,
        asked: &str,
        resolution: Resolution,
        facts: impl Into<Rc<Facts>>,
        now: Micros,
    ) -> Option<Journey> {
        let facts = facts.into();
        let leg = Leg::new(asked, resolution, router)?;
        let settings = router.settings();
        let stream = facts
            .stream
            .then_some(facts.wishes.stream_timeout)
            .flatten();
        let own = stream.or(facts.wishes.timeout);
        let routers = facts.stream.then_some(settings.stream_timeout).flatten();
        let timeout = own.or(routers).unwrap_or(settings.timeout);
        Some(Journey {
            mock: facts
                .wishes
                .mock
                .filter(|_| !facts.wishes.disable_fallbacks),
            facts,
            state: State::Ready,
            leg,
            pending: VecDeque::new(),
            visited: Vec::new(),
            tried: Vec::new(),
            retries: 0,
            attempts: 0,
            attempted_retries: 0,
            attempted_fallbacks: 0,
            client_fallbacks_planned: false,
            last_deployment: None,
            second: None,
            failure: None,
            began: now,
            deadline: now.plus(timeout),
        })
    }

    /// What to do now.
    pub fn step(&mut self, router: &Router, live: &Live, now: Micros, rng: &mut Rng) -> Step {
        loop {
            match self.state {
                State::Resting(until) if now < until => return Step::Sleep(now.until(until)),
                State::Resting(_) => self.state = State::Ready,
                State::Failed | State::Over => {
                    self.state = State::Over;
                    return Step::Fail(self.last_failure());
                }
                State::InFlight(..) => {
                    debug_assert!(false, "stepped while an attempt runs");
                    return Step::Sleep(router.settings().polling_interval);
                }
                State::Ready | State::Waiting(_) => {
                    if let Some(step) = self.choose(router, live, now, rng) {
                        return step;
                    }
                }
            }
        }
    }

    /// Tells how the running attempt ended. Without a running attempt it does nothing.
    pub fn finished(
        &mut self,
        outcome: Outcome,
        router: &Router,
        live: &Live,
        now: Micros,
        rng: &mut Rng,
    ) {
        let State::InFlight(mut permit, started) = std::mem::replace(&mut self.state, State::Over)
        else {
            debug_assert!(false, "finished twice");
            return;
        };
        self.drop_second(router, live);
        let deployment = permit.deployment;
        match outcome {
            Outcome::Success(success) => {
                filter::hear(router, live, &mut permit, now);
                self.succeeded(success, permit, router, live, now);
            }
            Outcome::ClientGone => {
                filter::release(router, live, permit, None, true);
            }
            Outcome::Failure {
                class,
                status,
                retry_after,
                committed,
            } => {
                self.charge_failure(permit, started, class, router, live, now);
                cooldown::note_failure(router, deployment, class, retry_after, now);
                self.fail(Failure {
                    class,
                    status: status.unwrap_or(class.status()),
                    cause: Cause::Upstream,
                    retry_after_s: retry_after.map(seconds_up),
                    group: self.leg.group,
                    deployment: Some(deployment),
                });
                if committed {
                    self.state = State::Failed;
                } else {
                    self.after_failure(class, retry_after, deployment, router, live, now, rng);
                }
            }
        }
    }

    /// Tells that the attempt will not be made: the caller may not use this group. Nothing counts
    /// against the deployment, and the next group is tried.
    pub fn skip(&mut self, class: FailureClass, router: &Router, live: &Live) {
        self.drop_second(router, live);
        if let State::InFlight(permit, _) = std::mem::replace(&mut self.state, State::Over) {
            filter::give_back(router, live, permit);
            self.fail_by(class, Cause::Denied, None);
            self.next_group(class, router);
        }
    }

    /// Gives up whatever the journey is at: the client left, or the process stops. Safe at any
    /// time, any number of times.
    pub fn abandon(&mut self, router: &Router, live: &Live) {
        self.drop_second(router, live);
        match std::mem::replace(&mut self.state, State::Over) {
            State::Waiting(id) => live.leave(&router.group(self.leg.group).live, id),
            State::InFlight(permit, _) => filter::release(router, live, permit, None, true),
            State::Ready | State::Resting(_) | State::Failed | State::Over => {}
        }
    }

    /// Tells when the first byte of the answer came, so that others learn of it before the end.
    pub fn first_byte(&mut self, router: &Router, live: &Live, now: Micros) {
        if let State::InFlight(permit, started) = &mut self.state {
            filter::hear(router, live, permit, now);
            let took = now.since(*started);
            let cell = router.deployment(permit.deployment).live.cell(live.shard());
            cell.note_first_byte(took);
            if self.facts.stream {
                let samples = router.settings().latency.samples_max;
                cell.first_token.add(took.as_micros() as f64, samples, now);
                router.publish_speed(permit.deployment, now);
            }
        }
    }

    /// Retries made so far: `x-litellm-attempted-retries`.
    #[must_use]
    pub fn attempted_retries(&self) -> u32 {
        self.attempted_retries
    }

    /// Fallbacks begun so far: `x-litellm-attempted-fallbacks`.
    #[must_use]
    pub fn attempted_fallbacks(&self) -> u32 {
        self.attempted_fallbacks
    }

    /// The group that serves now.
    #[must_use]
    pub fn group(&self) -> GroupIx {
        self.leg.group
    }

    /// The name under which the serving group was asked for: the client's, or the fallback's.
    #[must_use]
    pub fn asked(&self) -> &str {
        &self.leg.asked
    }

    /// Whether the journey has come to its end.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// When everything must be done.
    #[must_use]
    pub fn deadline(&self) -> Micros {
        self.deadline
    }

    /// What the request is known by.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The model to ask a deployment of the serving group for, provider's prefix included: stars
    /// are filled with what the client's name had in their place.
    #[must_use]
    pub fn upstream_model<'a>(&self, router: &'a Router, deployment: DeploymentIx) -> Cow<'a, str> {
        let spec = &router.deployment(deployment).spec;
        let model = &spec.model;
        if let (Some(named), Some(_)) = (&spec.named_model, self.leg.named) {
            Cow::Borrowed(named)
        } else if model.contains('*') {
            Cow::Owned(substitute(model, &self.leg.asked, &self.leg.captures))
        } else {
            Cow::Borrowed(model)
        }
    }

    fn choose(&mut self, router: &Router, live: &Live, now: Micros, rng: &mut Rng) -> Option<Step> {
        if now >= self.deadline {
            self.give_up(router, live);
            return None;
        }
        if let Some(mock) = self.mock.take() {
            self.fail_as_asked(mock, router);
            return None;
        }
        match self.hold(router, live, now) {
            Turn::Now => {}
            Turn::Later(id) => {
                return Some(Step::Wait(Wait {
                    id,
                    until: self.deadline,
                }));
            }
            Turn::Never => return None,
        }
        match filter::choose(&self.search(router, live, now), rng) {
            Ok(permit) if self.is_overtaking(router, live) => {
                filter::give_back(router, live, permit);
                self.wait_on(router, live)
            }
            Ok(permit) => {
                self.leave_queue(router, live);
                Some(Step::Attempt(self.start(permit, router, live, now)))
            }
            Err(refusal) => self.refused(refusal, router, live, now),
        }
    }

    fn search<'a>(&'a self, router: &'a Router, live: &'a Live, now: Micros) -> Search<'a> {
        Search {
            router,
            live,
            facts: &self.facts,
            group: self.leg.group,
            named: self.leg.named,
            tried: &self.tried,
            now,
        }
    }

    fn start(&mut self, permit: Permit, router: &Router, live: &Live, now: Micros) -> Attempt {
        self.attempts += 1;
        if self.retries == 0 {
            router
                .group(self.leg.group)
                .live
                .budget
                .note_request(live.shard(), now);
        }
        let deployment = permit.deployment;
        self.last_deployment = Some(deployment);
        let attempt = Attempt {
            deployment,
            group: self.leg.group,
            timeout: self.attempt_timeout(router, deployment, now),
            answer_within: permit.answer_within,
            hedge_after: self.hedge_after(router, live, deployment),
            number: self.attempts,
            client_fallback: self.leg.client_fallback,
        };
        self.state = State::InFlight(permit, now);
        attempt
    }

    /// The deployment's own timeout wins over the router's, counted from the request's beginning;
    /// the request's own bounds all.
    fn attempt_timeout(&mut self, router: &Router, ix: DeploymentIx, now: Micros) -> Duration {
        let (settings, spec) = (router.settings(), &router.deployment(ix).spec);
        let stream = self.facts.stream;
        let own = stream
            .then_some(spec.stream_timeout)
            .flatten()
            .or(spec.timeout);
        let asked = self.facts.wishes.timeout.or(self
            .facts
            .wishes
            .stream_timeout
            .filter(|_| stream));
        if let (Some(own), None) = (own, asked) {
            self.deadline = self.deadline.max(self.began.plus(own));
        }
        let left = now.until(self.deadline);
        let streams = stream && settings.stream_timeout.is_some();
        let call = match settings.request_timeout {
            None if streams => left,
            written => written.unwrap_or(REQUEST_TIMEOUT_DEFAULT),
        };
        own.unwrap_or(call).min(left)
    }

    fn succeeded(
        &mut self,
        success: Success,
        permit: Permit,
        router: &Router,
        live: &Live,
        now: Micros,
    ) {
        let ix = permit.deployment;
        let deployment = router.deployment(ix);
        let cell = deployment.live.cell(live.shard());
        let samples = router.settings().latency.samples_max;
        let output = success.output_tokens.unwrap_or(0);
        if !self.facts.stream {
            let each = success.total.as_micros() as f64 / output.max(1) as f64;
            cell.per_token.add(each, samples, now);
            router.publish_speed(ix, now);
        }
        if let Some(output) = success.output_tokens {
            cell.output_tokens.add(output as f64, samples, now);
        }
        let input = success.input_tokens.unwrap_or(self.facts.input_tokens);
        let used = success.output_tokens.map(|output| input + output);
        if let Some(prompt) = self.facts.prompt.filter(|_| deployment.spec.caches_prompts) {
            let affinity = &router.group(self.leg.group).live.affinity;
            affinity.remember(prompt, deployment.mark, now);
        }
        if let Some(ties) = self.facts.wishes.ties {
            let affinity = &router.group(self.leg.group).live.affinity;
            let served = [success.answer, ties.session, ties.caller];
            for what in served.into_iter().flatten() {
                affinity.remember(what, deployment.mark, now);
            }
        }
        filter::release(router, live, permit, used, true);
    }

    /// Gives back the permit of an attempt that failed. A timeout counts as slow, and may have used
    /// what was expected of it.
    fn charge_failure(
        &self,
        mut permit: Permit,
        started: Micros,
        class: FailureClass,
        router: &Router,
        live: &Live,
        now: Micros,
    ) {
        let used = if class == FailureClass::Timeout {
            self.note_slow(permit.deployment, started, router, live, now);
            None
        } else {
            filter::hear(router, live, &mut permit, now);
            Some(0)
        };
        filter::release(router, live, permit, used, false);
    }

    /// Counts an attempt without an answer as slow: as long as it took so far, for the first token or
    /// for all the tokens that were expected.
    fn note_slow(
        &self,
        ix: DeploymentIx,
        started: Micros,
        router: &Router,
        live: &Live,
        now: Micros,
    ) {
        let cell = router.deployment(ix).live.cell(live.shard());
        let samples = router.settings().latency.samples_max;
        let took = now.since(started).as_micros() as f64;
        if self.facts.stream {
            cell.first_token.add(took, samples, now);
        } else {
            let expected =
                super::mean::merge([&cell.output_tokens].into_iter(), u64::MAX, now).value;
            cell.per_token.add(took / expected.max(1.0), samples, now);
        }
        router.publish_speed(ix, now);
    }

    pub(super) fn last_failure(&self) -> Failure {
        self.failure.unwrap_or(Failure {
            class: FailureClass::InternalServer,
            status: 500,
            cause: Cause::Empty,
            retry_after_s: None,
            group: self.leg.group,
            deployment: None,
        })
    }

    /// Keeps the failure to answer with: the last one, but what an upstream said before what we
    /// found ourselves.
    fn fail(&mut self, failure: Failure) {
        let known = self.failure.is_some_and(|old| old.cause == Cause::Upstream);
        if !known || matches!(failure.cause, Cause::Upstream | Cause::Deadline) {
            self.failure = Some(failure);
        }
    }

    fn fail_by(&mut self, class: FailureClass, cause: Cause, retry_after: Option<Duration>) {
        self.fail(Failure {
            class,
            status: class.status(),
            cause,
            retry_after_s: retry_after.map(seconds_up),
            group: self.leg.group,
            deployment: None,
        });
    }
}

fn seconds_up(wait: Duration) -> u32 {
    u32::try_from(wait.as_micros().div_ceil(1_000_000))
        .unwrap_or(u32::MAX)
        .max(1)
}
