//! usage-based-routing and its second version: the deployment with the fewest tokens in the last
//! minute, those expected of running calls included, so that a burst spreads. Limits are checked
//! before, for every strategy. The second version settles ties by requests.

use super::{Choice, Rng, Strategy};

pub(super) struct UsageBased;
pub(super) struct UsageBasedV2;

impl Strategy for UsageBased {
    fn name(&self) -> &'static str {
        "usage-based-routing"
    }

    fn enforces_limits(&self) -> bool {
        true
    }

    fn choose(&self, choice: &Choice<'_>, rng: &mut Rng) -> usize {
        choice.lowest(rng, |deployment| {
            deployment.live.tokens_per_minute(choice.now)
        })
    }
}

impl Strategy for UsageBasedV2 {
    fn name(&self) -> &'static str {
        "usage-based-routing-v2"
    }

    fn enforces_limits(&self) -> bool {
        true
    }

    fn choose(&self, choice: &Choice<'_>, rng: &mut Rng) -> usize {
        // A request weighs less than any token, so that it only settles ties.
        const REQUEST_WEIGHT: f64 = 1e-6;
        choice.lowest(rng, |deployment| {
            let tokens = deployment.live.tokens_per_minute(choice.now);
            tokens + deployment.live.requests_per_minute(choice.now) * REQUEST_WEIGHT
        })
    }
}
