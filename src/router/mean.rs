//! A running mean that forgets: of the last few samples, and less sure of itself the longer ago
//! they were.

use crate::limit::Micros;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A mean loses half its weight in two to the power of this, in microseconds (8.4 s), without a
/// sample. A power, because this is computed for every deployment at every choice.
const HALF_LIFE_BITS: u32 = 23;
/// What a mean weighs that has faded away: it still says something where nothing fresher does.
const FADED_WEIGHT: f64 = 0.01;

/// One shard's running mean. That shard writes, all read.
#[derive(Debug, Default)]
pub struct Mean {
    value: AtomicU64,
    weight: AtomicU32,
    last: AtomicU64,
}

/// A mean, and how much is behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Estimate {
    /// The mean; meaningless without weight.
    pub(super) value: f64,
    /// Samples it stands for, faded by age; 0 when there is none within the time to live.
    pub(super) weight: f64,
    /// When the newest sample came.
    pub(super) last: Micros,
}

impl Mean {
    /// Adds a sample. The mean looks back on about `samples_max` of them.
    pub fn add(&self, sample: f64, samples_max: u32, now: Micros) {
        let weight = self.faded(now);
        let old = f64::from_bits(self.value.load(Ordering::Relaxed));
        let new = (old * f64::from(weight) + sample) / f64::from(weight + 1);
        self.value.store(new.to_bits(), Ordering::Relaxed);
        let kept = (weight + 1).min(samples_max.saturating_sub(1).max(1));
        self.weight.store(kept, Ordering::Relaxed);
        self.last.store(now.0, Ordering::Relaxed);
    }

    fn faded(&self, now: Micros) -> u32 {
        let age_us = now.0.saturating_sub(self.last.load(Ordering::Relaxed));
        fade(self.weight.load(Ordering::Relaxed), age_us)
    }
}

fn fade(weight: u32, age_us: u64) -> u32 {
    let halves = age_us >> HALF_LIFE_BITS;
    if halves < 32 { weight >> halves } else { 0 }
}

/// The mean over all shards of what is younger than `ttl_us`. Fresh samples weigh more.
pub(super) fn merge<'a>(
    means: impl Iterator<Item = &'a Mean>,
    ttl_us: u64,
    now: Micros,
) -> Estimate {
    let (mut sum, mut weights, mut last) = (0.0, 0.0, 0);
    for mean in means {
        let weight = mean.weight.load(Ordering::Relaxed);
        if weight == 0 {
            continue;
        }
        let newest = mean.last.load(Ordering::Relaxed);
        let age_us = now.0.saturating_sub(newest);
        if age_us < ttl_us {
            let weight = f64::from(fade(weight, age_us)).max(FADED_WEIGHT);
            sum += f64::from_bits(mean.value.load(Ordering::Relaxed)) * weight;
            weights += weight;
            last = last.max(newest);
        }
    }
    let value = if weights > 0.0 { sum / weights } else { 0.0 };
    Estimate {
        value,
        weight: weights,
        last: Micros(last),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: u64 = 3_600_000_000;

    #[test]
    fn the_mean_of_the_last_samples() {
        let mean = Mean::default();
        for sample in [10.0, 20.0, 30.0] {
            mean.add(sample, 10, Micros(1));
        }
        let estimate = merge([&mean].into_iter(), TTL, Micros(2));
        assert_eq!((estimate.value, estimate.weight), (20.0, 3.0));
        for _ in 0..100 {
            mean.add(50.0, 10, Micros(3));
        }
        assert!(merge([&mean].into_iter(), TTL, Micros(4)).value > 49.9);
    }

    #[test]
    fn old_samples_give_way_to_new_ones() {
        let mean = Mean::default();
        for _ in 0..10 {
            mean.add(1_000.0, 10, Micros(0));
        }
        mean.add(10.0, 10, Micros(60_000_000));
        assert_eq!(
            merge([&mean].into_iter(), TTL, Micros(60_000_000)).value,
            10.0
        );
    }

    #[test]
    fn two_shards_give_what_one_would() {
        let (a, b) = (Mean::default(), Mean::default());
        for _ in 0..4 {
            a.add(10.0, 10, Micros(1));
            b.add(30.0, 10, Micros(1));
        }
        assert_eq!(merge([&a, &b].into_iter(), TTL, Micros(2)).value, 20.0);
        let late = Micros(1 + TTL);
        assert_eq!(merge([&a, &b].into_iter(), TTL, late).weight, 0.0);
    }
}
