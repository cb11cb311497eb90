//! The world around the router: a clock that jumps from event to event, upstreams that serve,
//! fail and hang, clients that come and leave, shards that each have their own live handle.

use crate::model::Model;
use crate::plan::{Arrival, Change, Mood, Plan};
use shardgate::router::{
    Cause, Facts, FailureClass, Journey, Live, Micros, Outcome, Registry, Rng, Router, Step,
    Success, WaitId, Wishes,
};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

/// A mistake put in on purpose, to see that the judge finds it. The router itself is never
/// changed: the world misuses it the way such a mistake would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planted {
    Nothing,
    /// Limits let one more through.
    OffByOneLimit,
    /// A cooldown never ends.
    ForgottenCooldownEnd,
    /// A call's end is told twice.
    DoubleFinish,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrives(usize),
    Ends(usize, u32),
    Wakes(usize, u32),
    Leaves(usize),
    Polls(usize),
}

struct Request {
    journey: Option<Journey>,
    arrival: Arrival,
    /// Counts what happened to it; an event of an earlier count is void.
    stage: u32,
    running: Option<(usize, Outcome)>,
    waiting: Option<WaitId>,
    ends: u32,
    attempts: u32,
    /// When it came, on the router's clock, and how long it took.
    began: Micros,
    took: Duration,
}

pub(crate) struct World {
    plan: Plan,
    planted: Planted,
    router: Router,
    lives: Vec<Live>,
    rng: Rng,
    model: Model,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    sequence: u64,
    requests: Vec<Request>,
    moods: Vec<Mood>,
    changes: std::vec::IntoIter<Change>,
    next_change: Option<Change>,
    waiting: HashMap<(usize, WaitId), usize>,
    polling: Vec<bool>,
    now: Micros,
    trace: u64,
}

const POLL: Duration = Duration::from_millis(3);

impl World {
    pub(crate) fn new(seed: u64, planted: Planted) -> World {
        let plan = Plan::from_seed(seed);
        let mut spec = plan.spec.clone();
        if planted == Planted::OffByOneLimit {
            for deployment in &mut spec.deployments {
                deployment.rpm = deployment.rpm.map(|n| n + 1);
                deployment.max_parallel = deployment.max_parallel.map(|n| n + 1);
            }
        }
        let deployments = spec.deployments.len();
        let router = Router::new(spec, &mut Registry::new(plan.shards));
        let mut changes = plan.changes.clone().into_iter();
        World {
            router,
            lives: (0..plan.shards).map(Live::new).collect(),
            rng: Rng::new(seed ^ 0xABCD),
            model: Model::new(&plan.spec),
            events: BinaryHeap::new(),
            sequence: 0,
            requests: Vec::new(),
            moods: vec![Mood::Serves(Duration::from_millis(10)); deployments],
            next_change: changes.next(),
            changes,
            waiting: HashMap::new(),
            polling: vec![false; plan.shards],
            now: Micros(0),
            trace: 0,
            plan,
            planted,
        }
    }

    /// Runs to the end; answers a fingerprint of all that happened, or what went wrong.
    pub(crate) fn run(mut self) -> Result<u64, String> {
        for (index, arrival) in self.plan.arrivals.clone().into_iter().enumerate() {
            self.plan_event(Micros(arrival.at_us), Event::Arrives(index));
            if let Some(after) = arrival.leaves_after {
                self.plan_event(Micros(arrival.at_us).plus(after), Event::Leaves(index));
            }
            self.requests.push(Request {
                journey: None,
                arrival,
                stage: 0,
                running: None,
                waiting: None,
                ends: 0,
                attempts: 0,
                began: Micros(0),
                took: Duration::ZERO,
            });
        }
        let mut steps = std::mem::take(&mut self.plan.clock_steps)
            .into_iter()
            .peekable();
        let mut jumped = 0;
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            while let Some((_, step)) = steps.next_if(|(when, _)| *when <= at) {
                jumped += u64::try_from(step.as_micros()).unwrap_or(0);
            }
            self.now = Micros(self.now.0.max(at + jumped));
            self.change_moods(at);
            self.note(at, event);
            self.happen(event, jumped)?;
        }
        self.check_end(jumped)
    }

    /// Events are planned on the clock without its jumps.
    fn plan_event(&mut self, at: Micros, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((at.0, self.sequence, event)));
    }

    fn plan_in(&mut self, wait: Duration, jumped: u64, event: Event) {
        self.plan_event(Micros(self.now.0 - jumped).plus(wait), event);
    }

    fn change_moods(&mut self, at: u64) {
        while let Some(change) = self.next_change.filter(|change| change.at_us <= at) {
            self.moods[change.deployment] = change.mood;
            self.next_change = self.changes.next();
        }
    }

    fn note(&mut self, at: u64, event: Event) {
        let text = format!("{at} {event:?}");
        for byte in text.bytes() {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }

    fn happen(&mut self, event: Event, jumped: u64) -> Result<(), String> {
        match event {
            Event::Arrives(request) => {
                self.arrive(request);
                self.go_on(request, jumped)
            }
            Event::Ends(request, stage) if self.requests[request].stage == stage => {
                self.end_attempt(request, None)?;
                self.go_on(request, jumped)?;
                self.wake(jumped)
            }
            Event::Wakes(request, stage) if self.requests[request].stage == stage => {
                self.go_on(request, jumped)?;
                self.wake(jumped)
            }
            Event::Leaves(request) => {
                self.leave(request);
                self.wake(jumped)
            }
            Event::Polls(shard) => self.poll(shard, jumped),
            Event::Ends(..) | Event::Wakes(..) => Ok(()),
        }
    }

    fn arrive(&mut self, request: usize) {
        let entry = &mut self.requests[request];
        entry.began = self.now;
        let facts = Facts {
            input_tokens: entry.arrival.input_tokens,
            wishes: Wishes {
                priority: entry.arrival.priority,
                ..Wishes::default()
            }
            .into(),
            ..Facts::default()
        };
        let group = &entry.arrival.group;
        let resolution = self.router.resolve(group);
        entry.journey = Journey::new(&self.router, group, resolution, facts, self.now);
    }

    fn priority(&self, request: usize) -> i32 {
        let own = self.requests[request].arrival.priority;
        own.or(self.plan.spec.settings.default_priority)
            .unwrap_or(0)
    }

    /// Steps a request until it has to wait for something.
    fn go_on(&mut self, request: usize, jumped: u64) -> Result<(), String> {
        if self.requests[request].ends > 0 {
            return Ok(());
        }
        let shard = self.requests[request].arrival.shard;
        let Some(mut journey) = self.requests[request].journey.take() else {
            return Ok(());
        };
        let step = journey.step(&self.router, &self.lives[shard], self.now, &mut self.rng);
        let group = self.router.group(journey.group()).name.to_string();
        self.requests[request].stage += 1;
        let stage = self.requests[request].stage;
        let result = match step {
            Step::Attempt(attempt) => {
                self.stop_waiting(request);
                let priority = self.priority(request);
                let deployment = attempt.deployment.0 as usize;
                self.attempt(request, deployment, attempt.timeout, jumped);
                self.model
                    .attempted(deployment, request, priority, self.now)
            }
            Step::Sleep(wait) => {
                self.plan_in(wait, jumped, Event::Wakes(request, stage));
                Ok(())
            }
            Step::Wait(wait) => {
                self.requests[request].waiting = Some(wait.id);
                self.waiting.insert((shard, wait.id), request);
                self.model.waits(&group, request, self.priority(request));
                self.plan_in(
                    self.now.until(wait.until),
                    jumped,
                    Event::Wakes(request, stage),
                );
                self.start_polling(shard, jumped);
                Ok(())
            }
            Step::Fail(failure) => {
                self.stop_waiting(request);
                self.model.left(request);
                self.end(request);
                let early = matches!(failure.cause, Cause::LimitReached | Cause::Cooling);
                if early {
                    self.model.refused(&group, self.now)
                } else {
                    Ok(())
                }
            }
        };
        self.requests[request].journey = Some(journey);
        result
    }

    fn attempt(&mut self, request: usize, deployment: usize, timeout: Duration, jumped: u64) {
        let failure = |class| Outcome::Failure {
            class,
            status: None,
            retry_after: None,
            committed: false,
        };
        let arrival = &self.requests[request].arrival;
        let (took, outcome) = match self.moods[deployment] {
            Mood::Serves(mean) => {
                let took = mean.mul_f64(0.5 + self.rng.unit());
                let success = Success {
                    first_byte: took / 2,
                    total: took,
                    input_tokens: Some(arrival.input_tokens),
                    output_tokens: Some(arrival.output_tokens),
                    answer: None,
                };
                (took, Outcome::Success(success))
            }
            Mood::Fails(class, percent) if self.rng.below(100) < percent.into() => {
                (Duration::from_millis(5), failure(class))
            }
            Mood::Fails(..) => (
                Duration::from_millis(50),
                Outcome::Success(Success::default()),
            ),
            Mood::Hangs => (Duration::MAX, failure(FailureClass::Timeout)),
        };
        let (took, outcome) = if took > timeout {
            (timeout, failure(FailureClass::Timeout))
        } else {
            (took, outcome)
        };
        let entry = &mut self.requests[request];
        entry.running = Some((deployment, outcome));
        entry.attempts += 1;
        let stage = entry.stage;
        self.plan_in(took, jumped, Event::Ends(request, stage));
    }

    fn end_attempt(&mut self, request: usize, gone: Option<Outcome>) -> Result<(), String> {
        let entry = &mut self.requests[request];
        let shard = entry.arrival.shard;
        let Some((deployment, outcome)) = entry.running.take() else {
            return Ok(());
        };
        let outcome = gone.unwrap_or(outcome);
        let Some(journey) = &mut entry.journey else {
            return Ok(());
        };
        let live = &self.router.deployments()[deployment].live;
        let cooling = live.cooling_until();
        journey.finished(
            outcome,
            &self.router,
            &self.lives[shard],
            self.now,
            &mut self.rng,
        );
        let failed = match outcome {
            Outcome::Failure { class, .. } => Some(class),
            Outcome::Success(_) | Outcome::ClientGone => None,
        };
        self.model.ended(deployment, failed, self.now);
        if self.planted == Planted::ForgottenCooldownEnd && live.cooling_until() > cooling {
            live.cool_until(Micros::NEVER);
        }
        if self.planted == Planted::DoubleFinish && live.parallel.in_use() > 0 {
            live.parallel.release();
        }
        if failed.is_none() {
            self.end(request);
        }
        Ok(())
    }

    fn end(&mut self, request: usize) {
        let entry = &mut self.requests[request];
        entry.ends += 1;
        entry.took = self.now.since(entry.began);
    }

    fn leave(&mut self, request: usize) {
        if self.requests[request].ends > 0 || self.requests[request].journey.is_none() {
            return;
        }
        let shard = self.requests[request].arrival.shard;
        if let Some((deployment, _)) = self.requests[request].running.take() {
            self.model.ended(deployment, None, self.now);
        }
        self.stop_waiting(request);
        self.model.left(request);
        let entry = &mut self.requests[request];
        entry.stage += 1;
        if let Some(mut journey) = entry.journey.take() {
            journey.abandon(&self.router, &self.lives[shard]);
        }
        self.end(request);
    }

    fn stop_waiting(&mut self, request: usize) {
        let shard = self.requests[request].arrival.shard;
        if let Some(id) = self.requests[request].waiting.take() {
            self.waiting.remove(&(shard, id));
        }
    }

    /// Whoever a shard names may step again, at once.
    fn wake(&mut self, jumped: u64) -> Result<(), String> {
        let mut quiet = 0;
        let mut shard = 0;
        while quiet < self.plan.shards {
            quiet += 1;
            while let Some(id) = self.lives[shard].woken(self.now) {
                quiet = 0;
                match self.waiting.get(&(shard, id)) {
                    Some(request) => self.go_on(*request, jumped)?,
                    None => return Err(format!("{id:?} was woken but does not wait")),
                }
            }
            shard = (shard + 1) % self.plan.shards;
        }
        Ok(())
    }

    fn start_polling(&mut self, shard: usize, jumped: u64) {
        if !std::mem::replace(&mut self.polling[shard], true) {
            self.plan_in(POLL * 40, jumped, Event::Polls(shard));
        }
    }

    fn poll(&mut self, shard: usize, jumped: u64) -> Result<(), String> {
        self.polling[shard] = false;
        self.wake(jumped)?;
        self.model.check_idle(self.now)?;
        if self.lives[shard].anybody_waits() {
            self.start_polling(shard, jumped);
        }
        Ok(())
    }

    fn check_end(self, jumped: u64) -> Result<u64, String> {
        let longest = self.model.longest() + Duration::from_micros(jumped);
        for (index, request) in self.requests.iter().enumerate() {
            if request.ends != 1 {
                return Err(format!("request {index} ended {} times", request.ends));
            }
            if request.took > longest {
                return Err(format!("request {index} took {:?}", request.took));
            }
            let most = 7 * (1 + self.plan.spec.settings.max_fallbacks);
            if request.attempts > most {
                return Err(format!(
                    "request {index} made {} attempts",
                    request.attempts
                ));
            }
        }
        for deployment in self.router.deployments() {
            let live = &deployment.live;
            if live.in_flight() != 0 || live.parallel.in_use() != 0 {
                return Err(format!("{} still has calls running", deployment.spec.id));
            }
        }
        if self
            .router
            .groups()
            .iter()
            .any(|group| group.live.queue.waiting() > 0)
        {
            return Err(String::from("somebody waits after the end"));
        }
        self.model.check_end()?;
        Ok(self.trace)
    }
}
