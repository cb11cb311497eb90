//! Which of the deployments that could serve a request gets it. One file for each strategy, one
//! row for each in the table.

mod cost_based;
mod custom;
mod latency_based;
mod least_busy;
mod simple_shuffle;
mod usage_based;

pub(super) use simple_shuffle::shares;

use super::{Candidate, Deployment, Facts, Rng, Router};
use crate::limit::Micros;

/// One choice to be made. Never without candidates.
pub struct Choice<'a> {
    /// The tables.
    pub router: &'a Router,
    /// Who may be chosen.
    pub candidates: &'a [Candidate],
    /// The request.
    pub facts: &'a Facts,
    /// Now.
    pub now: Micros,
}

impl Choice<'_> {
    fn deployment(&self, candidate: &Candidate) -> &Deployment {
        self.router.deployment(candidate.deployment)
    }

    /// The position of a candidate with the lowest value, ties at random.
    fn lowest(&self, rng: &mut Rng, value: impl Fn(&Deployment) -> f64) -> usize {
        let (mut best, mut ties, mut chosen) = (f64::INFINITY, 0, 0);
        for (position, candidate) in self.candidates.iter().enumerate() {
            let this = value(self.deployment(candidate));
            if this < best || ties == 0 {
                (best, ties, chosen) = (this, 1, position);
            } else if this == best {
                ties += 1;
                if rng.below(ties) == 0 {
                    chosen = position;
                }
            }
        }
        chosen
    }
}

/// A way to choose.
pub trait Strategy: Sync {
    /// Its name in `routing_strategy`.
    fn name(&self) -> &'static str;

    /// The keys it knows in `routing_strategy_args`.
    fn arguments(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether rpm and tpm bind under it, whatever `enforce_model_rate_limits` says.
    fn enforces_limits(&self) -> bool {
        false
    }

    /// Whether it goes by the published speeds of deployments, which cost a little to keep.
    fn goes_by_speed(&self) -> bool {
        false
    }

    /// The position among the candidates of the one to use.
    fn choose(&self, choice: &Choice<'_>, rng: &mut Rng) -> usize;
}

/// All strategies, by name.
pub static STRATEGIES: &[&dyn Strategy] = &[
    &cost_based::CostBased,
    &custom::Custom,
    &latency_based::LatencyBased,
    &least_busy::LeastBusy,
    &simple_shuffle::SimpleShuffle,
    &usage_based::UsageBased,
    &usage_based::UsageBasedV2,
];

/// The strategy of that name.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static dyn Strategy> {
    STRATEGIES
        .iter()
        .copied()
        .find(|strategy| strategy.name() == name)
}

/// The strategy that serves where none is named.
pub(super) fn default() -> &'static dyn Strategy {
    &simple_shuffle::SimpleShuffle
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_complete() {
        let names: Vec<_> = STRATEGIES.iter().map(|strategy| strategy.name()).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(names, sorted);
        assert!(
            names
                .iter()
                .all(|name| by_name(name).is_some_and(|s| s.name() == *name))
        );
        assert_eq!(default().name(), "simple-shuffle");
    }
}
