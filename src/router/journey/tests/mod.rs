//! The journey, one behaviour a test. Rows of router_settings are named after their parameter.

mod ends;
mod fallbacks;
mod filters;
mod hedges;
mod limits;
mod retries;

use crate::router::testing::{self, deployment};
use crate::router::*;
use std::time::Duration;

/// A router with one request at a time on its way, on a clock of its own.
struct Bench {
    router: Router,
    live: Live,
    rng: Rng,
    now: Micros,
}

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn bench(deployments: Vec<DeploymentSpec>, settings: RouterSettings) -> Bench {
    let spec = RouterSpec {
        deployments,
        settings,
        aliases: Vec::new(),
    };
    Bench {
        router: testing::router(spec),
        live: Live::new(0),
        rng: Rng::new(5),
        now: Micros(1_000_000),
    }
}

/// A request that wants more of the routing than its model.
fn wishing(wishes: Wishes) -> Facts {
    Facts {
        wishes: wishes.into(),
        ..Facts::default()
    }
}

fn failure(class: FailureClass) -> Outcome {
    Outcome::Failure {
        class,
        status: None,
        retry_after: None,
        committed: false,
    }
}

impl Bench {
    fn start(&self, name: &str, facts: Facts) -> Journey {
        let resolution = self.router.resolve(name);
        Journey::new(&self.router, name, resolution, facts, self.now).expect("a known name")
    }

    fn step(&mut self, journey: &mut Journey) -> Step {
        journey.step(&self.router, &self.live, self.now, &mut self.rng)
    }

    fn finish(&mut self, journey: &mut Journey, outcome: Outcome) {
        journey.finished(outcome, &self.router, &self.live, self.now, &mut self.rng);
    }

    /// The deployment of the next attempt; sleeps as told.
    fn attempt(&mut self, journey: &mut Journey) -> Option<String> {
        loop {
            match self.step(journey) {
                Step::Attempt(attempt) => {
                    return Some(self.router.deployment(attempt.deployment).spec.id.clone());
                }
                Step::Sleep(wait) => self.now = self.now.plus(wait),
                Step::Wait(wait) => panic!("{wait:?}"),
                Step::Fail(_) => return None,
            }
        }
    }

    /// Runs a request to its end: `ok` says which deployments serve, the others fail so.
    fn run(&mut self, name: &str, facts: Facts, class: FailureClass, ok: &[&str]) -> Run {
        let mut journey = self.start(name, facts);
        let began = self.now;
        let mut calls = Vec::new();
        let served = loop {
            let Some(id) = self.attempt(&mut journey) else {
                break None;
            };
            calls.push(id.clone());
            if ok.contains(&id.as_str()) {
                self.finish(&mut journey, Outcome::Success(Success::default()));
                break Some(id);
            }
            self.finish(&mut journey, failure(class));
        };
        let failure = match served {
            Some(_) => None,
            None => journey.failure_for_tests(),
        };
        Run {
            calls,
            served,
            failure,
            took: self.now.since(began),
            retries: journey.attempted_retries(),
            fallbacks: journey.attempted_fallbacks(),
        }
    }
}

struct Run {
    calls: Vec<String>,
    served: Option<String>,
    failure: Option<Failure>,
    took: Duration,
    retries: u32,
    fallbacks: u32,
}

impl Journey {
    fn failure_for_tests(&mut self) -> Option<Failure> {
        assert!(self.is_over());
        Some(self.last_failure())
    }
}

fn lone(settings: RouterSettings) -> Bench {
    bench(vec![deployment("a", "g")], settings)
}

fn chain(settings: RouterSettings) -> Bench {
    let groups = ["a", "b", "c", "d", "e", "f", "x"];
    bench(
        groups
            .iter()
            .map(|g| deployment(g, &format!("group-{g}")))
            .collect(),
        settings,
    )
}

fn table(entries: &[(&str, &[&str])]) -> FallbackTable {
    let owned = |names: &[&str]| names.iter().map(|name| format!("group-{name}")).collect();
    let name = |group: &str| match group {
        "*" => String::from("*"),
        group => format!("group-{group}"),
    };
    entries
        .iter()
        .map(|(group, names)| (name(group), owned(names)))
        .collect()
}

fn no_retries() -> RouterSettings {
    RouterSettings {
        num_retries: Some(0),
        ..RouterSettings::default()
    }
}
