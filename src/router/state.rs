//! What `GET /router/state` tells of the deployments: plain values, read from the live numbers.

use super::mean::{Estimate, merge};
use super::{Decision, DeploymentIx, GroupIx, Micros, Router};

/// One deployment now.
#[derive(Clone, Debug)]
pub struct DeploymentState {
    /// Which.
    pub deployment: DeploymentIx,
    /// Whether the last health check went well.
    pub healthy: bool,
    /// Whether nothing comes from it.
    pub silent: bool,
    /// Whether its budget, or its provider's, is spent.
    pub budget_spent: bool,
    /// When its cooldown ends, if it cools down.
    pub cooling_until: Option<Micros>,
    /// Calls running, over all shards.
    pub in_flight: u32,
    /// Requests of the last minute.
    pub requests_per_minute: f64,
    /// Tokens of the last minute.
    pub tokens_per_minute: f64,
    /// What is used of its rpm window.
    pub rpm_used: Option<u64>,
    /// What is used of its tpm window.
    pub tpm_used: Option<u64>,
    /// Mean time to the first token, in microseconds.
    pub first_token_us: Option<f64>,
    /// Mean time per output token, in microseconds.
    pub per_token_us: Option<f64>,
    /// Calls that ended well since the start.
    pub succeeded: u64,
    /// Calls that ended badly since the start.
    pub failed: u64,
}

impl DeploymentState {
    /// Its state in words.
    #[must_use]
    pub fn words(&self) -> &'static str {
        match self {
            DeploymentState {
                cooling_until: Some(_),
                ..
            } => "cooling down",
            DeploymentState {
                budget_spent: true, ..
            } => "budget spent",
            DeploymentState { healthy: false, .. } => "unhealthy",
            DeploymentState { silent: true, .. } => "silent",
            _ => "in rotation",
        }
    }
}

/// Choices kept over all groups and shards.
const DECISIONS_MAX: usize = 100;

/// The last hundred choices, newest first, with their groups.
#[must_use]
pub fn decisions(router: &Router) -> Vec<(GroupIx, Decision)> {
    let groups = router.groups().iter().enumerate();
    let mut all: Vec<(GroupIx, Decision)> = groups
        .flat_map(|(index, group)| {
            let rings = group.live.decisions.iter();
            rings
                .flat_map(|ring| ring.all())
                .map(move |d| (GroupIx(index as u32), d))
        })
        .collect();
    all.sort_by_key(|(_, decision)| std::cmp::Reverse(decision.at));
    all.truncate(DECISIONS_MAX);
    all
}

/// All deployments, in the order of `model_list`.
#[must_use]
pub fn deployments(router: &Router, now: Micros) -> Vec<DeploymentState> {
    let ttl_us = u64::try_from(router.settings().latency.ttl.as_micros()).unwrap_or(u64::MAX);
    let known = |estimate: Estimate| (estimate.weight > 0.0).then_some(estimate.value);
    let entries = router.deployments().iter().enumerate();
    let state = |(index, deployment): (usize, &super::Deployment)| {
        let (spec, live) = (&deployment.spec, &deployment.live);
        let (succeeded, failed) = live.totals();
        DeploymentState {
            deployment: DeploymentIx(index as u32),
            healthy: live.is_healthy(),
            silent: live.is_silent(),
            budget_spent: live.is_budget_spent(),
            cooling_until: Some(live.cooling_until()).filter(|until| *until > now),
            in_flight: live.in_flight(),
            requests_per_minute: live.requests_per_minute(now),
            tokens_per_minute: live.tokens_per_minute(now),
            rpm_used: spec.rpm.map(|_| live.requests.used(now)),
            tpm_used: spec.tpm.map(|_| live.tokens.used(now)),
            first_token_us: known(merge(live.cells().map(|c| &c.first_token), ttl_us, now)),
            per_token_us: known(merge(live.cells().map(|c| &c.per_token), ttl_us, now)),
            succeeded,
            failed,
        }
    };
    entries.map(state).collect()
}
