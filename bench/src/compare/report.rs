//! Turns the samples of a comparison into medians, ratios to nginx within a round, a markdown table
//! and JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use serde_json::{Map, Value, json};

use super::measure::Metric;
use crate::subject::Kind;

/// Everything that was measured.
#[derive(Default)]
pub(crate) struct Samples {
    /// Per metric and server, the value of each round in which there was one.
    values: BTreeMap<(Metric, Kind), BTreeMap<usize, f64>>,
    pub(crate) errors: Vec<String>,
    /// Ratio of what two shards can do to what one can, per round.
    pub(crate) two_shards: Vec<f64>,
    /// Requests per second of the paced runs, per round.
    pub(crate) half_load: Vec<f64>,
}

impl Samples {
    pub(crate) fn add(&mut self, metric: Metric, kind: Kind, round: usize, value: f64) {
        self.values
            .entry((metric, kind))
            .or_default()
            .insert(round, value);
    }

    pub(crate) fn value(&self, metric: Metric, kind: Kind, round: usize) -> Option<f64> {
        self.values.get(&(metric, kind))?.get(&round).copied()
    }

    fn median(&self, metric: Metric, kind: Kind) -> Option<f64> {
        median(self.values.get(&(metric, kind))?.values().copied())
    }

    /// The median over the rounds of the ratio to nginx in the same round.
    pub(crate) fn ratio(&self, metric: Metric, kind: Kind) -> Option<f64> {
        let own = self.values.get(&(metric, kind))?;
        let nginx = self.values.get(&(metric, Kind::Nginx))?;
        median(own.iter().filter_map(|(round, value)| {
            nginx
                .get(round)
                .filter(|base| **base > 0.0)
                .map(|base| value / base)
        }))
    }

    /// The table that goes into the README.
    pub(crate) fn table(&self, kinds: &[Kind]) -> String {
        let mut out = String::from("| |");
        for kind in kinds {
            let _ = write!(out, " {kind} |");
        }
        out.push_str("\n|---|");
        out.push_str(&"---|".repeat(kinds.len()));
        out.push('\n');
        for metric in Metric::ALL {
            if kinds
                .iter()
                .all(|kind| self.median(metric, *kind).is_none())
            {
                continue;
            }
            let _ = write!(out, "| {} |", metric.title());
            for kind in kinds {
                match (self.median(metric, *kind), self.ratio(metric, *kind)) {
                    (Some(value), Some(ratio)) if *kind != Kind::Nginx => {
                        let _ = write!(out, " {} ({ratio:.2}) |", short(value));
                    }
                    (Some(value), _) => {
                        let _ = write!(out, " {} |", short(value));
                    }
                    (None, _) => out.push_str(" |"),
                }
            }
            out.push('\n');
        }
        if let Some(ratio) = median(self.two_shards.iter().copied()) {
            let _ = writeln!(
                out,
                "\nTwo shards against one: {ratio:.2} (requests per second of processor time of the busiest shard)."
            );
        }
        if let Some(rate) = median(self.half_load.iter().copied()) {
            let _ = writeln!(
                out,
                "\nHalf load: {rate:.0} requests per second, half of what nginx reached with 32 connections in that round."
            );
        }
        out
    }

    pub(crate) fn json(&self) -> Value {
        let mut metrics = Map::new();
        for metric in Metric::ALL {
            let mut row = Map::new();
            for kind in Kind::ALL {
                if let Some(rounds) = self.values.get(&(metric, kind)) {
                    let values: Vec<f64> = rounds.values().copied().collect();
                    let entry = json!({
                        "median": self.median(metric, kind),
                        "ratio_to_nginx": self.ratio(metric, kind),
                        "rounds": values,
                    });
                    row.insert(kind.name().into(), entry);
                }
            }
            if !row.is_empty() {
                row.insert("title".into(), metric.title().into());
                metrics.insert(metric.name().into(), row.into());
            }
        }
        json!({
            "machine": machine(),
            "metrics": metrics,
            "two_shards_to_one": {
                "median": median(self.two_shards.iter().copied()),
                "rounds": self.two_shards,
            },
            "half_load_requests_per_s": self.half_load,
            "errors": self.errors,
        })
    }
}

fn short(value: f64) -> String {
    if value.abs() >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

fn machine() -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processor = read("/proc/cpuinfo");
    let model = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    json!({
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "processor": model.map(|text| text.trim_matches([' ', '\t', ':'])),
        "cores": processor.lines().filter(|line| line.starts_with("processor")).count(),
        "load": read("/proc/loadavg").trim(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_within_a_round() {
        let mut samples = Samples::default();
        for (round, (nginx, own)) in [(10.0, 8.0), (20.0, 16.0), (40.0, 48.0)].iter().enumerate() {
            samples.add(Metric::Request32, Kind::Nginx, round, *nginx);
            samples.add(Metric::Request32, Kind::Shardgate, round, *own);
        }
        assert_eq!(samples.ratio(Metric::Request32, Kind::Shardgate), Some(0.8));
        assert!(
            samples
                .table(&[Kind::Nginx, Kind::Shardgate])
                .contains("16.0 (0.80)")
        );
    }
}
