//! What a run amounts to: waiting times, shares, cost, regret, recovery; as a table and as JSON.

use super::scenario::{Change, Scenario};
use super::world::Served;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Recovery is looked at in steps of this many seconds,
const STEP_S: f64 = 5.0;
/// from the mean of so long before the change.
const BASE_S: f64 = 60.0;
/// Waiting is back to usual when it is at most so many times what it was.
const USUAL: f64 = 1.5;

/// One strategy on one scenario.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Result {
    pub(crate) strategy: String,
    pub(crate) requests: usize,
    /// Share of requests that were served.
    pub(crate) served: f64,
    /// Requests that were not, by the status they got.
    pub(crate) failed: BTreeMap<u16, usize>,
    /// What users waited for, in milliseconds.
    pub(crate) p50_ms: f64,
    pub(crate) p95_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) mean_ms: f64,
    /// How much longer than with perfect foresight, on average.
    pub(crate) regret_ms: f64,
    /// Dollars per thousand requests served.
    pub(crate) cost_per_thousand: f64,
    /// Upstream calls beyond one a request, as a share.
    pub(crate) extra_calls: f64,
    /// Share of the requests served, by deployment.
    pub(crate) shares: Vec<(String, f64)>,
    pub(crate) recoveries: Vec<Recovery>,
}

/// How a strategy met one change.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Recovery {
    pub(crate) deployment: String,
    pub(crate) at_s: f64,
    /// Seconds until waiting was back to usual; none when it was not before the change ended.
    pub(crate) recovered_s: Option<f64>,
    /// Seconds from the change's end until the deployment had half its share again; none when it
    /// never had.
    pub(crate) returned_s: Option<f64>,
}

/// One scenario with all its strategies.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) scenario: String,
    pub(crate) about: String,
    pub(crate) seed: u64,
    pub(crate) shards: usize,
    pub(crate) results: Vec<Result>,
}

/// The value below which that share of sorted numbers lies.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1) as f64;
    sorted
        .get((last * share).round() as usize)
        .copied()
        .unwrap_or(f64::NAN)
}

fn waits_ms(served: &[Served]) -> Vec<f64> {
    let good = served.iter().filter(|request| request.deployment.is_some());
    good.map(|request| request.waited.as_secs_f64() * 1e3)
        .collect()
}

fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len().max(1) as f64
}

/// Sums a run up, beside the oracle's run of the same trace.
pub(crate) fn sum_up(
    scenario: &Scenario,
    strategy: &str,
    served: &[Served],
    oracle: &[Served],
) -> Result {
    let mut waits = waits_ms(served);
    waits.sort_by(f64::total_cmp);
    let both = served.iter().zip(oracle);
    let both = both.filter(|(own, best)| own.deployment.is_some() && best.deployment.is_some());
    let regrets: Vec<f64> = both
        .map(|(own, best)| (own.waited.as_secs_f64() - best.waited.as_secs_f64()) * 1e3)
        .collect();
    let good = waits.len().max(1) as f64;
    let calls: u32 = served.iter().map(|request| request.attempts).sum();
    let names = scenario.deployments.iter().enumerate();
    let share = |place: usize| {
        served
            .iter()
            .filter(|request| request.deployment == Some(place))
            .count() as f64
            / good
    };
    Result {
        strategy: strategy.to_owned(),
        requests: served.len(),
        served: waits.len() as f64 / served.len().max(1) as f64,
        failed: failures(served),
        p50_ms: quantile(&waits, 0.50),
        p95_ms: quantile(&waits, 0.95),
        p99_ms: quantile(&waits, 0.99),
        mean_ms: mean(&waits),
        regret_ms: mean(&regrets),
        cost_per_thousand: served.iter().map(|request| request.cost).sum::<f64>() / good * 1e3,
        extra_calls: f64::from(calls) / served.len().max(1) as f64 - 1.0,
        shares: names
            .map(|(place, d)| (d.id.clone(), share(place)))
            .collect(),
        recoveries: scenario
            .changes()
            .into_iter()
            .map(|(place, change)| recovery(scenario, place, change, served))
            .collect(),
    }
}

fn failures(served: &[Served]) -> BTreeMap<u16, usize> {
    let mut failed = BTreeMap::new();
    for request in served.iter().filter(|request| request.deployment.is_none()) {
        *failed.entry(request.status).or_default() += 1;
    }
    failed
}

fn between(served: &[Served], from_s: f64, to_s: f64) -> impl Iterator<Item = &Served> {
    served
        .iter()
        .filter(move |request| (from_s..to_s).contains(&request.at_s))
}

fn mean_wait(served: &[Served], from_s: f64, to_s: f64) -> Option<f64> {
    let waits: Vec<f64> = between(served, from_s, to_s)
        .map(|request| request.waited.as_secs_f64())
        .collect();
    let failed = between(served, from_s, to_s).any(|request| request.deployment.is_none());
    (!waits.is_empty() && !failed).then(|| mean(&waits))
}

fn share_of(served: &[Served], place: usize, from_s: f64, to_s: f64) -> f64 {
    let all = between(served, from_s, to_s).count().max(1) as f64;
    let own = between(served, from_s, to_s)
        .filter(|r| r.deployment == Some(place))
        .count();
    own as f64 / all
}

fn steps(from_s: f64, to_s: f64) -> impl Iterator<Item = f64> {
    let count = ((to_s - from_s) / STEP_S).floor().max(0.0) as usize;
    (0..count).map(move |step| from_s + step as f64 * STEP_S)
}

fn recovery(scenario: &Scenario, place: usize, change: Change, served: &[Served]) -> Recovery {
    let before = change.at_s - BASE_S;
    let usual = mean_wait(served, before, change.at_s).unwrap_or(f64::INFINITY) * USUAL;
    let calm = |from_s: &f64| {
        let wait = |from_s: f64| mean_wait(served, from_s, from_s + STEP_S);
        let fine = |wait: Option<f64>| wait.is_some_and(|wait| wait <= usual);
        fine(wait(*from_s)) && fine(wait(from_s + STEP_S))
    };
    let half = share_of(served, place, before, change.at_s) / 2.0;
    let back = |from_s: &f64| share_of(served, place, *from_s, from_s + STEP_S) >= half;
    let recovered = steps(change.at_s, change.until_s.min(scenario.duration_s)).find(calm);
    let returned = steps(change.until_s, scenario.duration_s).find(back);
    Recovery {
        deployment: scenario.deployments[place].id.clone(),
        at_s: change.at_s,
        recovered_s: recovered.map(|at| at - change.at_s),
        returned_s: returned.map(|at| at - change.until_s),
    }
}

impl Report {
    /// The report as a table of text.
    pub(crate) fn table(&self) -> String {
        let mut text = format!("\n{}: {}\n", self.scenario, self.about);
        let _ = writeln!(
            text,
            "{:<24}{:>9}{:>9}{:>9}{:>9}{:>11}{:>9}{:>8}  {:<14}share",
            "strategy",
            "p50 ms",
            "p95 ms",
            "p99 ms",
            "regret",
            "$/1000",
            "served",
            "extra",
            "recovered"
        );
        for result in &self.results {
            let _ = writeln!(
                text,
                "{:<24}{:>9.0}{:>9.0}{:>9.0}{:>9.0}{:>11.3}{:>8.2}%{:>7.1}%  {:<14}{}",
                result.strategy,
                result.p50_ms,
                result.p95_ms,
                result.p99_ms,
                result.regret_ms,
                result.cost_per_thousand,
                result.served * 100.0,
                result.extra_calls * 100.0,
                recoveries(&result.recoveries),
                shares(&result.shares),
            );
        }
        text
    }
}

fn recoveries(all: &[Recovery]) -> String {
    let one = |recovery: &Recovery| {
        recovery
            .recovered_s
            .map_or(String::from("never"), |s| format!("{s:.0} s"))
    };
    if all.is_empty() {
        String::from("-")
    } else {
        all.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

fn shares(all: &[(String, f64)]) -> String {
    all.iter()
        .map(|(id, share)| format!("{id} {:.0}% ", share * 100.0))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_sorted_numbers() {
        let numbers: Vec<f64> = (0..=100).map(f64::from).collect();
        assert_eq!(quantile(&numbers, 0.5), 50.0);
        assert_eq!(quantile(&numbers, 0.99), 99.0);
        assert!(quantile(&[], 0.5).is_nan());
    }
}
