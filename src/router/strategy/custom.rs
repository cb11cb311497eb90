//! custom: what the user's own strategy chose, asked by the shard before the journey began. Where
//! it chose nothing, or something that cannot serve now, simple-shuffle does.

use super::{Choice, Rng, Strategy};

pub(super) struct Custom;

impl Strategy for Custom {
    fn name(&self) -> &'static str {
        "custom"
    }

    fn choose(&self, choice: &Choice<'_>, rng: &mut Rng) -> usize {
        let wanted = choice.facts.wishes.custom_choice.as_deref();
        let position = wanted.and_then(|id| {
            choice
                .candidates
                .iter()
                .position(|c| choice.deployment(c).spec.id == id)
        });
        position.unwrap_or_else(|| super::default().choose(choice, rng))
    }
}
