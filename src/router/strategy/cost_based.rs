//! cost-based-routing: the deployment that will charge least for this request; ties at random.

use super::{Choice, Rng, Strategy};

/// Output tokens expected of an answer that is not bounded.
const OUTPUT_TOKENS_GUESSED: u64 = 256;
/// LiteLLM's price for a model it does not know, in dollars per token: after all known ones.
const UNKNOWN_PRICE: f64 = 5.0;

pub(super) struct CostBased;

impl Strategy for CostBased {
    fn name(&self) -> &'static str {
        "cost-based-routing"
    }

    fn choose(&self, choice: &Choice<'_>, rng: &mut Rng) -> usize {
        let input = choice.facts.input_tokens.max(1) as f64;
        let bound = choice
            .facts
            .output_tokens_max
            .unwrap_or(OUTPUT_TOKENS_GUESSED);
        let output = bound.clamp(1, OUTPUT_TOKENS_GUESSED) as f64;
        choice.lowest(rng, |deployment| {
            let spec = &deployment.spec;
            input * spec.input_cost.unwrap_or(UNKNOWN_PRICE)
                + output * spec.output_cost.unwrap_or(UNKNOWN_PRICE)
        })
    }
}
