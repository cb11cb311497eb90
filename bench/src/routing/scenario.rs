//! A scenario: deployments that behave as scripted, the traffic they get, and what changes when.

use serde::Deserialize;
use shardgate::router::{DeploymentSpec, RouterSettings, RouterSpec};
use std::io;
use std::path::Path;
use std::time::Duration;

/// The group that scenarios without names of their own use.
pub(crate) const GROUP: &str = "model";

/// A scenario file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    /// One sentence: what happens.
    pub(crate) about: String,
    #[serde(default = "ten_minutes")]
    pub(crate) duration_s: f64,
    pub(crate) traffic: Traffic,
    pub(crate) deployments: Vec<Deployment>,
    #[serde(default)]
    pub(crate) settings: Settings,
}

fn ten_minutes() -> f64 {
    600.0
}

/// What arrives.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Traffic {
    /// Mean arrivals, at random moments.
    pub(crate) per_second: f64,
    /// More of them for a while.
    #[serde(default)]
    pub(crate) bursts: Vec<Burst>,
    /// Share of requests that ask for a stream.
    #[serde(default)]
    pub(crate) streams: f64,
    #[serde(default = "prompt")]
    pub(crate) input_tokens: Spread,
    #[serde(default = "answer")]
    pub(crate) output_tokens: Spread,
}

/// A time with other traffic.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Burst {
    pub(crate) at_s: f64,
    pub(crate) until_s: f64,
    pub(crate) per_second: f64,
}

fn prompt() -> Spread {
    Spread {
        median: 400.0,
        spread: 0.8,
    }
}

fn answer() -> Spread {
    Spread {
        median: 120.0,
        spread: 0.6,
    }
}

/// A log-normal distribution: half of all lies below the median; `spread` is the standard
/// deviation of the logarithm (0 is always the same, 1 is wide).
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    #[serde(default)]
    pub(crate) spread: f64,
}

/// One deployment and how it behaves.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Deployment {
    pub(crate) id: String,
    pub(crate) weight: Option<f64>,
    pub(crate) rpm: Option<u64>,
    pub(crate) tpm: Option<u64>,
    pub(crate) max_parallel_requests: Option<u32>,
    pub(crate) timeout_s: Option<f64>,
    /// Dollars per million tokens.
    #[serde(default)]
    pub(crate) input_cost_per_million: f64,
    #[serde(default)]
    pub(crate) output_cost_per_million: f64,
    /// Milliseconds to the first token.
    pub(crate) first_token_ms: Spread,
    /// Tokens a second after that.
    pub(crate) tokens_per_second: Spread,
    /// Calls at once that it serves at full speed; more share it.
    pub(crate) slots: Option<u32>,
    /// The provider's own limit, in requests a minute: above it it answers 429.
    pub(crate) provider_rpm: Option<u32>,
    /// Share of calls that fail with 500.
    #[serde(default)]
    pub(crate) failing: f64,
    #[serde(default)]
    pub(crate) changes: Vec<Change>,
}

/// A time in which a deployment behaves otherwise.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Change {
    pub(crate) at_s: f64,
    pub(crate) until_s: f64,
    #[serde(flatten)]
    pub(crate) how: How,
}

/// What is other about it.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum How {
    /// Everything takes so many times as long.
    Slower(f64),
    /// So large a share of calls fails with 500.
    Failing(f64),
    /// Calls are refused at once.
    Down(bool),
    /// Calls are never answered.
    Hangs(bool),
}

/// The router's settings that a scenario changes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    pub(crate) num_retries: Option<u32>,
    pub(crate) allowed_fails: Option<u32>,
    pub(crate) cooldown_time_s: Option<f64>,
    pub(crate) timeout_s: Option<f64>,
    pub(crate) lowest_latency_buffer: Option<f64>,
}

impl Scenario {
    /// Reads a scenario file.
    pub(crate) fn read(path: &Path) -> io::Result<Scenario> {
        let wrong =
            |why: &dyn std::fmt::Display| io::Error::other(format!("{}: {why}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
        let scenario: Scenario = serde_json::from_str(&text).map_err(|error| wrong(&error))?;
        if scenario.deployments.is_empty() || scenario.duration_s.is_nan() {
            return Err(wrong(&"a scenario needs deployments and a duration"));
        }
        Ok(scenario)
    }

    /// The router that the scenario runs, under one strategy.
    pub(crate) fn spec(&self, strategy: &str) -> RouterSpec {
        let defaults = RouterSettings::default();
        let seconds = |value: Option<f64>| value.map(Duration::from_secs_f64);
        let mut settings = RouterSettings {
            strategy: strategy.to_owned(),
            num_retries: self.settings.num_retries,
            allowed_fails: self.settings.allowed_fails,
            cooldown_time: seconds(self.settings.cooldown_time_s).unwrap_or(defaults.cooldown_time),
            timeout: seconds(self.settings.timeout_s).unwrap_or(defaults.timeout),
            ..defaults
        };
        settings.latency.buffer = self.settings.lowest_latency_buffer.unwrap_or(0.0);
        let deployments = self.deployments.iter().map(|deployment| DeploymentSpec {
            id: deployment.id.clone(),
            group: GROUP.to_owned(),
            model: deployment.id.clone(),
            weight: deployment.weight,
            rpm: deployment.rpm,
            tpm: deployment.tpm,
            max_parallel: deployment.max_parallel_requests,
            timeout: seconds(deployment.timeout_s),
            input_cost: Some(deployment.input_cost_per_million / 1e6),
            output_cost: Some(deployment.output_cost_per_million / 1e6),
            ..DeploymentSpec::default()
        });
        RouterSpec {
            deployments: deployments.collect(),
            aliases: Vec::new(),
            settings,
        }
    }

    /// When something changes, and when it ends, with the deployment's place.
    pub(crate) fn changes(&self) -> Vec<(usize, Change)> {
        let entries = self.deployments.iter().enumerate();
        entries
            .flat_map(|(at, d)| d.changes.iter().map(move |change| (at, *change)))
            .collect()
    }
}
