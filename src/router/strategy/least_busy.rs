//! least-busy: the deployment with the fewest calls running, over all shards; ties at random.

use super::{Choice, Rng, Strategy};

pub(super) struct LeastBusy;

impl Strategy for LeastBusy {
    fn name(&self) -> &'static str {
        "least-busy"
    }

    fn choose(&self, choice: &Choice<'_>, rng: &mut Rng) -> usize {
        choice.lowest(rng, |deployment| f64::from(deployment.live.in_flight()))
    }
}
