//! latency-based-routing: the fastest of late, by time to the first token for streams and by time
//! per output token otherwise; at random among those within `lowest_latency_buffer` of it.
//!
//! Deployments never measured are tried one call at a time (a busy one by a call now and then), so
//! that a new one is learned without a stampede. One not measured for a while gets a call now and
//! then, so that its recovery is noticed.

use super::{Candidate, Choice, Rng, Strategy};

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
        let speed = |c: &Candidate| choice.deployment(c).live.speed(choice.facts.stream);
        let (mut lowest, mut ties, mut fastest) = (f64::INFINITY, 0, 0);
        let (mut unseen, mut oldest) = (false, u64::MAX);
        for (position, candidate) in choice.candidates.iter().enumerate() {
            let measured = speed(candidate);
            if measured.last.0 < counts_from {
                unseen = true;
                continue;
            }
            oldest = oldest.min(measured.last.0);
            if measured.value < lowest {
                (lowest, ties, fastest) = (measured.value, 1, position);
            } else if measured.value == lowest {
                ties += 1;
                if rng.below(ties) == 0 {
                    fastest = position;
                }
            }
        }
        let idle = |c: &Candidate| choice.deployment(c).live.in_flight() == 0;
        if unseen {
            let lucky = rng.below(EXPLORE_ONE_IN) == 0;
            let fresh = |c: &Candidate| speed(c).last.0 < counts_from && (lucky || idle(c));
            if let Some(position) = one_of(choice, rng, fresh) {
                return position;
            }
            if ties == 0 {
                return choice.lowest(rng, |d| f64::from(d.live.in_flight()));
            }
        }
        if oldest < fresh_from && rng.below(PROBE_ONE_IN) == 0 {
            let old = |c: &Candidate| speed(c).last.0 < fresh_from && idle(c);
            if let Some(position) = one_of(choice, rng, old) {
                return position;
            }
        }
        if args.buffer <= 0.0 {
            return fastest;
        }
        let enough = lowest * (1.0 + args.buffer);
        let near = |c: &Candidate| {
            let measured = speed(c);
            measured.last.0 >= counts_from && measured.value <= enough
        };
        one_of(choice, rng, near).unwrap_or(fastest)
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
