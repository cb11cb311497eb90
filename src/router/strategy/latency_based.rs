//! latency-based-routing: the fastest of late, by time to the first token for streams and by time
//! per output token otherwise; at random among those within `lowest_latency_buffer` of it.
//!
//! Deployments never measured are tried one call at a time (a busy one by a call now and then), so
//! that a new one is learned without a stampede. One not measured for a while gets a call now and
//! then, so that its recovery is noticed.

use super::{Candidate, Choice, Rng, Strategy};
use crate::limit::Micros;

/// A deployment that runs other calls but was never measured gets one in so many choices.
const EXPLORE_ONE_IN: usize = 20;
/// A measurement older than this is checked again,
const STALE_US: u64 = 10_000_000;
/// by one in so many choices.
const PROBE_ONE_IN: usize = 50;

pub(super) struct LatencyBased;

impl Strategy for LatencyBased {
    fn name(&self) -> &'static str {
        "latency-based-routing"
    }

    fn arguments(&self) -> &'static [&'static str] {
        &["lowest_latency_buffer", "max_latency_list_size", "ttl"]
    }

    fn goes_by_speed(&self) -> bool {
        true
    }

    fn choose(&self, choice: &Choice<'_>, rng: &mut Rng) -> usize {
        let args = &choice.router.settings().latency;
        let ttl_us = u64::try_from(args.ttl.as_micros()).unwrap_or(u64::MAX);
        // A measurement counts from here on; the clock's zero stands for none at all.
        let counts_from = choice.now.0.saturating_sub(ttl_us).max(1);
        let fresh_from = choice.now.0.saturating_sub(STALE_US);
        let (mut lowest, mut unseen, mut stale) = (f64::INFINITY, false, false);
        for candidate in choice.candidates {
            let measured = choice.deployment(candidate).live.speed(choice.facts.stream);
            if measured.last.0 >= counts_from {
                candidate.scratch.set(measured.value);
                lowest = lowest.min(measured.value);
                stale |= measured.last.0 < fresh_from;
            } else {
                candidate.scratch.set(f64::NAN);
                unseen = true;
            }
        }
        let idle = |c: &Candidate| choice.deployment(c).live.in_flight() == 0;
        if unseen {
            let lucky = rng.below(EXPLORE_ONE_IN) == 0;
            let fresh = |c: &Candidate| c.scratch.get().is_nan() && (lucky || idle(c));
            if let Some(position) = one_of(choice, rng, fresh) {
                return position;
            }
            if lowest.is_infinite() {
                return choice.lowest(rng, |d| f64::from(d.live.in_flight()));
            }
        }
        if stale && rng.below(PROBE_ONE_IN) == 0 {
            let last = |c: &Candidate| choice.deployment(c).live.speed(choice.facts.stream).last;
            let old = |c: &Candidate| last(c) < Micros(fresh_from) && idle(c);
            if let Some(position) = one_of(choice, rng, old) {
                return position;
            }
        }
        let enough = lowest * (1.0 + args.buffer);
        one_of(choice, rng, |c| c.scratch.get() <= enough).unwrap_or(0)
    }
}

/// One of the candidates that satisfy, each as likely as the others.
fn one_of(
    choice: &Choice<'_>,
    rng: &mut Rng,
    satisfies: impl Fn(&Candidate) -> bool,
) -> Option<usize> {
    let (mut found, mut chosen) = (0, None);
    for (position, candidate) in choice.candidates.iter().enumerate() {
        if satisfies(candidate) {
            found += 1;
            if found == 1 || rng.below(found) == 0 {
                chosen = Some(position);
            }
        }
    }
    chosen
}
