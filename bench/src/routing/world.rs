//! Runs one trace through the router under one strategy, in virtual time.

use super::behaviour::{Call, Fate, fate};
use super::scenario::{Deployment, GROUP};
use super::trace::Row;
use shardgate::router::{
    Facts, FailureClass, Journey, Live, Micros, Outcome, Registry, Rng, Router, RouterSpec, Step,
    Success, WaitId, Wishes,
};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

/// What became of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Served {
    pub(crate) at_s: f64,
    /// What the user waited for: the first token of a stream, else the whole answer.
    pub(crate) waited: Duration,
    /// The deployment that served it, if any did.
    pub(crate) deployment: Option<usize>,
    /// Dollars.
    pub(crate) cost: f64,
    pub(crate) attempts: u32,
    /// The status of a request that failed.
    pub(crate) status: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrives(usize),
    FirstByte(usize, u32),
    Ends(usize, u32),
    Wakes(usize, u32),
    Polls(usize),
}

struct Request {
    journey: Option<Journey>,
    stage: u32,
    /// The deployment at work, how it will end, when it began.
    running: Option<(usize, Outcome, Micros)>,
    attempts: u32,
}

/// How a run is set up.
pub(crate) struct Setup<'a> {
    pub(crate) deployments: &'a [Deployment],
    pub(crate) spec: RouterSpec,
    pub(crate) rows: &'a [Row],
    pub(crate) shards: usize,
    pub(crate) seed: u64,
    /// Every choice is the best one, by looking ahead.
    pub(crate) oracle: bool,
}

struct World<'a> {
    setup: Setup<'a>,
    router: Router,
    lives: Vec<Live>,
    rng: Rng,
    events: BinaryHeap<Reverse<(Micros, u64, Event)>>,
    sequence: u64,
    requests: Vec<Request>,
    waiting: HashMap<(usize, WaitId), usize>,
    polling: Vec<bool>,
    /// Calls that each provider counted in its minute.
    provider: Vec<(u64, u32)>,
    now: Micros,
    served: Vec<Option<Served>>,
}

/// Runs the trace to its end; answers what became of each request, in the trace's order.
pub(crate) fn run(setup: Setup<'_>) -> Vec<Served> {
    let router = Router::new(setup.spec.clone(), &mut Registry::new(setup.shards));
    let count = setup.rows.len();
    let mut world = World {
        router,
        lives: (0..setup.shards).map(Live::new).collect(),
        rng: Rng::new(setup.seed ^ 0x5EED),
        events: BinaryHeap::new(),
        sequence: 0,
        requests: Vec::with_capacity(count),
        waiting: HashMap::new(),
        polling: vec![false; setup.shards],
        provider: vec![(0, 0); setup.deployments.len()],
        now: Micros(0),
        served: vec![None; count],
        setup,
    };
    for (request, row) in world.setup.rows.iter().enumerate() {
        let at = Micros((row.at_s * 1e6) as u64);
        world
            .events
            .push(Reverse((at, request as u64, Event::Arrives(request))));
        world.requests.push(Request {
            journey: None,
            stage: 0,
            running: None,
            attempts: 0,
        });
    }
    world.sequence = count as u64;
    while let Some(Reverse((at, _, event))) = world.events.pop() {
        world.now = at;
        world.happen(event);
    }
    world.served.into_iter().flatten().collect()
}

impl World<'_> {
    fn plan(&mut self, at: Micros, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((at, self.sequence, event)));
    }

    fn shard(&self, request: usize) -> usize {
        request % self.setup.shards
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrives(request) => {
                self.arrive(request);
                self.go_on(request);
            }
            Event::FirstByte(request, stage) if self.requests[request].stage == stage => {
                let live = &self.lives[self.shard(request)];
                if let Some(journey) = &mut self.requests[request].journey {
                    journey.first_byte(&self.router, live, self.now);
                }
            }
            Event::Ends(request, stage) if self.requests[request].stage == stage => {
                self.end_attempt(request);
                self.wake();
            }
            Event::Wakes(request, stage) if self.requests[request].stage == stage => {
                self.go_on(request);
                self.wake();
            }
            Event::Polls(shard) => {
                self.polling[shard] = false;
                self.wake();
                if self.lives[shard].anybody_waits() {
                    self.poll_later(shard);
                }
            }
            Event::FirstByte(..) | Event::Ends(..) | Event::Wakes(..) => {}
        }
    }

    fn arrive(&mut self, request: usize) {
        let row = &self.setup.rows[request];
        let best = self.setup.oracle.then(|| self.best(request)).flatten();
        let facts = Facts {
            stream: row.stream,
            input_tokens: row.input_tokens as u64,
            wishes: Wishes {
                custom_choice: best.map(|place| self.setup.deployments[place].id.clone()),
                ..Wishes::default()
            }
            .into(),
            ..Facts::default()
        };
        let resolution = self.router.resolve(GROUP);
        let journey = Journey::new(&self.router, GROUP, resolution, facts, self.now);
        self.requests[request].journey = journey;
    }

    fn call(&self, request: usize, place: usize) -> Call {
        Call {
            request,
            attempt: self.requests[request].attempts,
            output_tokens: self.setup.rows[request].output_tokens,
            at_s: self.now.0 as f64 / 1e6,
            beside: self.router.deployments()[place]
                .live
                .in_flight()
                .saturating_sub(1),
        }
    }

    /// The deployment that will serve the request soonest, as only an oracle can know.
    fn best(&self, request: usize) -> Option<usize> {
        let stream = self.setup.rows[request].stream;
        let waits = |place: usize| {
            let mut call = self.call(request, place);
            call.beside = self.router.deployments()[place].live.in_flight();
            match fate(&self.setup.deployments[place], place, self.setup.seed, call) {
                Fate::Answer(first, total) => Some(if stream { first } else { total }),
                Fate::Fails(_) | Fate::Refused | Fate::Hangs => None,
            }
        };
        let places = 0..self.setup.deployments.len();
        let open = places.filter(|place| !self.is_over_providers_limit(*place));
        open.filter_map(|place| Some((waits(place)?, place)))
            .min()
            .map(|(_, place)| place)
    }

    fn is_over_providers_limit(&self, place: usize) -> bool {
        let (minute, count) = self.provider[place];
        let limit = self.setup.deployments[place].provider_rpm;
        minute == self.now.0 / 60_000_000 && limit.is_some_and(|limit| count >= limit)
    }

    fn go_on(&mut self, request: usize) {
        let shard = self.shard(request);
        let Some(mut journey) = self.requests[request].journey.take() else {
            return;
        };
        let step = journey.step(&self.router, &self.lives[shard], self.now, &mut self.rng);
        self.requests[request].journey = Some(journey);
        self.requests[request].stage += 1;
        let stage = self.requests[request].stage;
        match step {
            Step::Attempt(attempt) => {
                let place = attempt.deployment.0 as usize;
                self.attempt(request, place, attempt.timeout, attempt.answer_within);
            }
            Step::Sleep(wait) => self.plan(self.now.plus(wait), Event::Wakes(request, stage)),
            Step::Wait(wait) => {
                self.waiting.insert((shard, wait.id), request);
                self.plan(wait.until, Event::Wakes(request, stage));
                self.poll_later(shard);
            }
            Step::Fail(failure) => self.note(request, None, failure.status),
        }
    }

    fn attempt(
        &mut self,
        request: usize,
        place: usize,
        timeout: Duration,
        answer_within: Option<Duration>,
    ) {
        self.requests[request].attempts += 1;
        let limited = self.is_over_providers_limit(place);
        let minute = self.now.0 / 60_000_000;
        let (counted, count) = self.provider[place];
        self.provider[place] = (minute, if counted == minute { count + 1 } else { 1 });
        let mut call = self.call(request, place);
        call.attempt -= 1;
        let fate = fate(&self.setup.deployments[place], place, self.setup.seed, call);
        let failure = |class, wait: Option<u64>| Outcome::Failure {
            class,
            status: None,
            retry_after: wait.map(Duration::from_secs),
            committed: false,
        };
        let rest = 60 - (self.now.0 / 1_000_000) % 60;
        let (took, outcome) = match fate {
            _ if limited => (
                Duration::from_millis(20),
                failure(FailureClass::RateLimit, Some(rest)),
            ),
            Fate::Answer(first, total) => (total, self.success(request, first, total)),
            Fate::Fails(after) => (after, failure(FailureClass::InternalServer, None)),
            Fate::Refused => (
                Duration::from_millis(1),
                failure(FailureClass::ApiConnection, None),
            ),
            Fate::Hangs => (Duration::MAX, failure(FailureClass::Timeout, None)),
        };
        let first = match fate {
            Fate::Answer(first, _) => first,
            Fate::Fails(_) | Fate::Refused | Fate::Hangs => took,
        };
        let silent = answer_within.filter(|within| first > *within);
        let timeout = silent.unwrap_or(timeout);
        let late = silent.is_some() || took > timeout;
        let outcome = if late {
            failure(FailureClass::Timeout, None)
        } else {
            outcome
        };
        let stage = self.requests[request].stage;
        if let (Outcome::Success(success), false) = (outcome, late) {
            self.plan(
                self.now.plus(success.first_byte),
                Event::FirstByte(request, stage),
            );
        }
        self.plan(
            self.now.plus(took.min(timeout)),
            Event::Ends(request, stage),
        );
        self.requests[request].running = Some((place, outcome, self.now));
    }

    fn success(&self, request: usize, first: Duration, total: Duration) -> Outcome {
        let row = &self.setup.rows[request];
        Outcome::Success(Success {
            first_byte: first,
            total,
            input_tokens: Some(row.input_tokens as u64),
            output_tokens: Some(row.output_tokens as u64),
            answer: None,
        })
    }

    fn end_attempt(&mut self, request: usize) {
        let shard = self.shard(request);
        let Some((place, outcome, began)) = self.requests[request].running.take() else {
            return;
        };
        let Some(journey) = &mut self.requests[request].journey else {
            return;
        };
        journey.finished(
            outcome,
            &self.router,
            &self.lives[shard],
            self.now,
            &mut self.rng,
        );
        match outcome {
            Outcome::Success(success) => self.note(request, Some((place, success, began)), 200),
            Outcome::Failure { .. } | Outcome::ClientGone => self.go_on(request),
        }
    }

    fn note(&mut self, request: usize, served: Option<(usize, Success, Micros)>, status: u16) {
        let row = &self.setup.rows[request];
        let arrived = Micros((row.at_s * 1e6) as u64);
        let waited = match served {
            Some((_, success, began)) if row.stream => {
                began.plus(success.first_byte).since(arrived)
            }
            _ => self.now.since(arrived),
        };
        let cost = served.map_or(0.0, |(place, ..)| {
            let deployment = &self.setup.deployments[place];
            let input = row.input_tokens * deployment.input_cost_per_million;
            (input + row.output_tokens * deployment.output_cost_per_million) / 1e6
        });
        self.served[request] = Some(Served {
            at_s: row.at_s,
            waited,
            deployment: served.map(|(place, ..)| place),
            cost,
            attempts: self.requests[request].attempts,
            status,
        });
    }

    fn wake(&mut self) {
        for shard in 0..self.setup.shards {
            while let Some(id) = self.lives[shard].woken(self.now) {
                if let Some(request) = self.waiting.remove(&(shard, id)) {
                    self.go_on(request);
                }
            }
        }
    }

    fn poll_later(&mut self, shard: usize) {
        if !std::mem::replace(&mut self.polling[shard], true) {
            let wait = self.router.settings().polling_interval;
            self.plan(self.now.plus(wait), Event::Polls(shard));
        }
    }
}
