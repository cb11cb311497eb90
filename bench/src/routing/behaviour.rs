//! What a simulated deployment does with one call.
//!
//! The numbers drawn depend on the seed, the request and the deployment alone: every strategy
//! meets the same luck, so that they can be compared, and an oracle can look ahead.

use super::scenario::{Deployment, How, Spread};
use super::trace::Row;
use shardgate::router::Rng;
use std::time::Duration;

/// What would become of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fate {
    /// An answer: time to the first token, time to the last.
    Answer(Duration, Duration),
    /// 500, after a moment.
    Fails(Duration),
    /// No connection.
    Refused,
    /// Nothing, ever.
    Hangs,
}

fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.unit()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.unit()).cos()
}

impl Spread {
    /// One number of the distribution.
    pub(crate) fn draw(&self, rng: &mut Rng) -> f64 {
        self.median * (self.spread * normal(rng)).exp()
    }

    /// The distribution that fits these numbers.
    pub(crate) fn fit(numbers: &[f64]) -> Option<Spread> {
        let mut logarithms: Vec<f64> = numbers
            .iter()
            .filter(|n| **n > 0.0)
            .map(|n| n.ln())
            .collect();
        logarithms.sort_by(f64::total_cmp);
        let median = *logarithms.get(logarithms.len() / 2)?;
        let count = logarithms.len() as f64;
        let variance = logarithms.iter().map(|l| (l - median).powi(2)).sum::<f64>() / count;
        Some(Spread {
            median: median.exp(),
            spread: variance.sqrt(),
        })
    }
}

fn luck(seed: u64, request: usize, deployment: usize, attempt: u32) -> Rng {
    let mut rng = Rng::new(seed ^ (request as u64).rotate_left(20) ^ ((deployment as u64) << 50));
    let mixed = rng.bits() ^ u64::from(attempt).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    Rng::new(mixed)
}

/// A call, as far as its fate depends on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) request: usize,
    pub(crate) attempt: u32,
    pub(crate) output_tokens: f64,
    pub(crate) at_s: f64,
    /// Calls that the deployment runs beside it.
    pub(crate) beside: u32,
}

/// The fate of a call on a deployment.
pub(crate) fn fate(deployment: &Deployment, place: usize, seed: u64, call: Call) -> Fate {
    let mut rng = luck(seed, call.request, place, call.attempt);
    let first = deployment.first_token_ms.draw(&mut rng) / 1e3;
    let speed = deployment.tokens_per_second.draw(&mut rng).max(0.1);
    let dice = rng.unit();
    let mut failing = deployment.failing;
    let crowd = deployment.slots.map_or(1.0, |slots| {
        (f64::from(call.beside + 1) / f64::from(slots.max(1))).max(1.0)
    });
    let mut slower = crowd;
    for change in &deployment.changes {
        if !(change.at_s..change.until_s).contains(&call.at_s) {
            continue;
        }
        match change.how {
            How::Slower(times) => slower *= times,
            How::Failing(share) => failing = failing.max(share),
            How::Down(true) => return Fate::Refused,
            How::Hangs(true) => return Fate::Hangs,
            How::Down(false) | How::Hangs(false) => {}
        }
    }
    if dice < failing {
        return Fate::Fails(Duration::from_millis(50));
    }
    let first = first * slower;
    let total = first + call.output_tokens / speed * slower;
    Fate::Answer(
        Duration::from_secs_f64(first),
        Duration::from_secs_f64(total),
    )
}

/// Makes a deployment behave as the rows of a recorded trace say.
pub(crate) fn learn(deployment: &mut Deployment, rows: &[&Row]) {
    let firsts: Vec<f64> = rows.iter().filter_map(|row| row.first_token_ms).collect();
    let speed = |row: &&Row| {
        let spent = row.total_ms? - row.first_token_ms.unwrap_or(0.0);
        (spent > 0.0).then(|| row.output_tokens / (spent / 1e3))
    };
    let speeds: Vec<f64> = rows.iter().filter_map(speed).collect();
    if let Some(spread) = Spread::fit(&firsts) {
        deployment.first_token_ms = spread;
    }
    if let Some(spread) = Spread::fit(&speeds) {
        deployment.tokens_per_second = spread;
    }
    let failed = rows
        .iter()
        .filter(|row| row.status.is_some_and(|status| status >= 500))
        .count();
    if !rows.is_empty() {
        deployment.failing = failed as f64 / rows.len() as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fitted_distribution_is_the_one_that_was_drawn_from() {
        let spread = Spread {
            median: 300.0,
            spread: 0.4,
        };
        let mut rng = Rng::new(1);
        let numbers: Vec<f64> = (0..20_000).map(|_| spread.draw(&mut rng)).collect();
        let fitted = Spread::fit(&numbers).expect("numbers");
        assert!((fitted.median - 300.0).abs() < 6.0 && (fitted.spread - 0.4).abs() < 0.02);
        assert!(Spread::fit(&[]).is_none());
    }
}
