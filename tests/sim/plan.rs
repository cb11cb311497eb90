//! One simulated day, drawn from a seed: deployments, settings, how deployments behave and when
//! that changes, and the requests that arrive.

use shardgate::router::{
    ClassPolicy, DeploymentSpec, FailureClass, Rng, RouterSettings, RouterSpec,
};
use std::time::Duration;

/// What a deployment does with calls, for a while.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mood {
    /// Answers after about so long.
    Serves(Duration),
    /// Fails at once, so often out of a hundred.
    Fails(FailureClass, u8),
    /// Never answers.
    Hangs,
}

/// From when on a deployment behaves so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub at_us: u64,
    pub deployment: usize,
    pub mood: Mood,
}

/// One request that arrives.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub at_us: u64,
    pub shard: usize,
    pub group: String,
    pub priority: Option<i32>,
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// The client leaves after this time.
    pub leaves_after: Option<Duration>,
}

/// The whole day.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub shards: usize,
    pub spec: RouterSpec,
    pub changes: Vec<Change>,
    pub arrivals: Vec<Arrival>,
    /// The clock jumps ahead so far, then.
    pub clock_steps: Vec<(u64, Duration)>,
}

fn one<T: Clone>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.below(of.len())].clone()
}

fn maybe<T: Clone>(rng: &mut Rng, of: &[T]) -> Option<T> {
    (rng.below(2) == 0).then(|| one(rng, of))
}

impl Plan {
    pub(crate) fn from_seed(seed: u64) -> Plan {
        let mut rng = Rng::new(seed);
        let rng = &mut rng;
        let shards = 1 + rng.below(3);
        let groups = 1 + rng.below(2);
        let mut deployments = Vec::new();
        for group in 0..groups {
            for _ in 0..1 + rng.below(4) {
                deployments.push(deployment(rng, deployments.len(), group));
            }
        }
        let mut settings = settings(rng);
        if groups == 2 && rng.below(2) == 0 {
            settings
                .fallbacks
                .insert(String::from("g0"), vec![String::from("g1")]);
        }
        let span_us = 30_000_000 + rng.bits() % 150_000_000;
        let changes = changes(rng, deployments.len(), span_us);
        let arrivals = arrivals(rng, shards, groups, span_us);
        let steps = rng.below(3);
        let step = |rng: &mut Rng| {
            (
                rng.bits() % span_us,
                Duration::from_millis(1 + rng.bits() % 90_000),
            )
        };
        let mut clock_steps: Vec<_> = (0..steps).map(|_| step(rng)).collect();
        clock_steps.sort_unstable();
        let spec = RouterSpec {
            deployments,
            aliases: Vec::new(),
            settings,
        };
        Plan {
            shards,
            spec,
            changes,
            arrivals,
            clock_steps,
        }
    }
}

fn deployment(rng: &mut Rng, number: usize, group: usize) -> DeploymentSpec {
    DeploymentSpec {
        id: format!("d{number}"),
        group: format!("g{group}"),
        model: format!("openai/m{number}"),
        provider: String::from("openai"),
        weight: maybe(rng, &[1.0, 2.0, 7.0]),
        rpm: (rng.below(3) == 0).then(|| one(rng, &[1, 5, 20, 60])),
        tpm: (rng.below(4) == 0).then(|| one(rng, &[1_000, 5_000])),
        max_parallel: (rng.below(3) == 0).then(|| one(rng, &[1, 2, 5])),
        timeout: maybe(rng, &[Duration::from_secs(2), Duration::from_secs(10)]),
        input_cost: maybe(rng, &[1e-6, 2e-6]),
        output_cost: maybe(rng, &[1e-6, 4e-6]),
        ..DeploymentSpec::default()
    }
}

fn settings(rng: &mut Rng) -> RouterSettings {
    let strategies = [
        "simple-shuffle",
        "least-busy",
        "latency-based-routing",
        "usage-based-routing",
        "usage-based-routing-v2",
        "cost-based-routing",
    ];
    let policy = ClassPolicy {
        timeout: maybe(rng, &[0, 1, 3]),
        internal_server: maybe(rng, &[0, 2]),
        rate_limit: maybe(rng, &[0, 5]),
        ..ClassPolicy::default()
    };
    RouterSettings {
        strategy: one(rng, &strategies).to_owned(),
        num_retries: maybe(rng, &[0, 1, 2, 5]),
        allowed_fails: maybe(rng, &[0, 1, 3]),
        allowed_fails_policy: (rng.below(3) == 0).then_some(policy),
        cooldown_time: one(
            rng,
            &[
                Duration::from_secs(1),
                Duration::from_secs(5),
                Duration::from_secs(30),
            ],
        ),
        timeout: one(
            rng,
            &[
                Duration::from_secs(5),
                Duration::from_secs(30),
                Duration::from_secs(90),
            ],
        ),
        retry_after: one(rng, &[Duration::ZERO, Duration::from_secs(1)]),
        default_priority: maybe(rng, &[0, 5]),
        queue_max: one(rng, &[3, 1000]),
        ..RouterSettings::default()
    }
}

fn mood(rng: &mut Rng) -> Mood {
    let classes = [
        FailureClass::InternalServer,
        FailureClass::RateLimit,
        FailureClass::ServiceUnavailable,
        FailureClass::ApiConnection,
        FailureClass::Authentication,
        FailureClass::BadRequest,
        FailureClass::NotFound,
    ];
    match rng.below(6) {
        0 => Mood::Fails(one(rng, &classes), 100),
        1 => Mood::Fails(one(rng, &classes), 30),
        2 if rng.below(2) == 0 => Mood::Hangs,
        _ => Mood::Serves(Duration::from_micros(1_000 + rng.bits() % 3_000_000)),
    }
}

fn changes(rng: &mut Rng, deployments: usize, span_us: u64) -> Vec<Change> {
    let mut changes = Vec::new();
    for deployment in 0..deployments {
        changes.push(Change {
            at_us: 0,
            deployment,
            mood: mood(rng),
        });
        for _ in 0..rng.below(5) {
            changes.push(Change {
                at_us: rng.bits() % span_us,
                deployment,
                mood: mood(rng),
            });
        }
    }
    changes.sort_by_key(|change| (change.at_us, change.deployment));
    changes
}

fn arrivals(rng: &mut Rng, shards: usize, groups: usize, span_us: u64) -> Vec<Arrival> {
    let count = 50 + rng.below(400);
    let burst = rng.below(3) == 0;
    let start = rng.bits() % (span_us / 2);
    let mut arrivals: Vec<Arrival> = (0..count)
        .map(|_| Arrival {
            at_us: if burst {
                start + rng.bits() % 3_000_000
            } else {
                rng.bits() % span_us
            },
            shard: rng.below(shards),
            group: format!("g{}", rng.below(groups)),
            priority: maybe(rng, &[0, 1, 9]),
            input_tokens: 1 + rng.bits() % 300,
            output_tokens: 1 + rng.bits() % 300,
            leaves_after: (rng.below(20) == 0)
                .then(|| Duration::from_micros(rng.bits() % 8_000_000)),
        })
        .collect();
    arrivals.sort_by_key(|arrival| arrival.at_us);
    arrivals
}
