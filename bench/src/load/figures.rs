//! What a run has measured: counts, errors by kind, histograms. Merges over threads, and prints
//! itself as JSON or as a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// Microseconds; a longer wait is recorded as this.
const US_MAX: u64 = 3_600_000_000;

/// Microseconds with three digits.
#[derive(Clone)]
pub(crate) struct Times(Option<Histogram<u64>>);

impl Times {
    fn new() -> Self {
        // The bounds are constants that the crate accepts; without a histogram nothing is recorded.
        Self(Histogram::new_with_bounds(1, US_MAX, 3).ok())
    }

    pub(crate) fn record_ns(&mut self, ns: u64) {
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record((ns / 1000).max(1));
        }
    }

    fn merge(&mut self, other: &Self) {
        if let (Some(own), Some(other)) = (&mut self.0, &other.0) {
            let _ = own.add(other);
        }
    }

    /// Microseconds below which `part` (0 to 1) of the values lie.
    pub(crate) fn quantile_us(&self, part: f64) -> u64 {
        self.0
            .as_ref()
            .map_or(0, |histogram| histogram.value_at_quantile(part))
    }

    fn json(&self) -> Value {
        json!({
            "count": self.0.as_ref().map_or(0, Histogram::len),
            "mean": self.0.as_ref().map_or(0.0, Histogram::mean).round(),
            "p50": self.quantile_us(0.5),
            "p90": self.quantile_us(0.9),
            "p99": self.quantile_us(0.99),
            "p999": self.quantile_us(0.999),
            "max": self.0.as_ref().map_or(0, Histogram::max),
        })
    }
}

/// One run's figures.
#[derive(Clone)]
pub(crate) struct Figures {
    pub(crate) duration_ns: u64,
    /// Answers that were complete and right.
    pub(crate) requests: u64,
    pub(crate) events: u64,
    pub(crate) body_bytes: u64,
    pub(crate) connects: u64,
    /// Requests that this side broke off on purpose.
    pub(crate) disconnects: u64,
    /// Requests of an open loop that found no connection and a full queue.
    pub(crate) dropped: u64,
    pub(crate) errors: BTreeMap<&'static str, u64>,
    /// The first thing that was not as expected.
    pub(crate) sample: Option<String>,
    /// From the moment a request was due to its last byte.
    pub(crate) latency: Times,
    pub(crate) first_byte: Times,
    /// Between reads that brought events of one stream.
    pub(crate) gap: Times,
    /// The load generator's own processor time.
    pub(crate) own_cpu_ns: u64,
}

impl Figures {
    pub(crate) fn new() -> Self {
        Self {
            duration_ns: 0,
            requests: 0,
            events: 0,
            body_bytes: 0,
            connects: 0,
            disconnects: 0,
            dropped: 0,
            errors: BTreeMap::new(),
            sample: None,
            latency: Times::new(),
            first_byte: Times::new(),
            gap: Times::new(),
            own_cpu_ns: 0,
        }
    }

    pub(crate) fn error(&mut self, kind: &'static str) {
        *self.errors.entry(kind).or_insert(0) += 1;
    }

    pub(crate) fn errors_total(&self) -> u64 {
        self.errors.values().sum()
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.requests as f64 / (self.duration_ns.max(1) as f64 / 1e9)
    }

    /// Adds the figures of another thread of the same run.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.duration_ns = self.duration_ns.max(other.duration_ns);
        self.requests += other.requests;
        self.events += other.events;
        self.body_bytes += other.body_bytes;
        self.connects += other.connects;
        self.disconnects += other.disconnects;
        self.dropped += other.dropped;
        for (kind, count) in &other.errors {
            *self.errors.entry(kind).or_insert(0) += count;
        }
        if self.sample.is_none() {
            self.sample.clone_from(&other.sample);
        }
        self.latency.merge(&other.latency);
        self.first_byte.merge(&other.first_byte);
        self.gap.merge(&other.gap);
        self.own_cpu_ns += other.own_cpu_ns;
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "duration_s": self.duration_ns as f64 / 1e9,
            "requests": self.requests,
            "requests_per_s": self.per_second().round(),
            "events": self.events,
            "body_bytes": self.body_bytes,
            "connects": self.connects,
            "disconnects": self.disconnects,
            "dropped": self.dropped,
            "errors": self.errors,
            "error_sample": self.sample,
            "latency_us": self.latency.json(),
            "first_byte_us": self.first_byte.json(),
            "gap_us": self.gap.json(),
            "own_cpu_us": self.own_cpu_ns / 1000,
            "own_cpu_us_per_request": self.own_cpu_ns as f64 / 1000.0 / self.requests.max(1) as f64,
        })
    }

    pub(crate) fn table(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(
            out,
            "{} requests in {:.2} s, {:.0} per second, {} events, {} body bytes, {} connections opened",
            self.requests,
            self.duration_ns as f64 / 1e9,
            self.per_second(),
            self.events,
            self.body_bytes,
            self.connects
        );
        let _ = writeln!(
            out,
            "{:<12}{:>9}{:>9}{:>9}{:>9}{:>9}",
            "us", "p50", "p90", "p99", "p99.9", "max"
        );
        for (name, times) in [
            ("latency", &self.latency),
            ("first byte", &self.first_byte),
            ("gap", &self.gap),
        ] {
            let _ = write!(out, "{name:<12}");
            for part in [0.5, 0.9, 0.99, 0.999, 1.0] {
                let _ = write!(out, "{:>9}", times.quantile_us(part));
            }
            out.push('\n');
        }
        let _ = writeln!(
            out,
            "errors: {}  disconnects: {}  dropped: {}  own CPU: {:.1} us per request",
            self.errors_total(),
            self.disconnects,
            self.dropped,
            self.own_cpu_ns as f64 / 1000.0 / self.requests.max(1) as f64
        );
        for (kind, count) in &self.errors {
            let _ = writeln!(out, "  {kind}: {count}");
        }
        if let Some(sample) = &self.sample {
            let _ = writeln!(out, "  first: {sample}");
        }
        out
    }
}
