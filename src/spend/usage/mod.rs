//! What one call is billed for, as counts.
//!
//! [`Quantities`] is the union of what vendors bill: tokens of every kind, seconds, characters,
//! images, pixels, queries. Read from a vendor's usage object with every spelling in use, it is
//! normalised to one convention: `prompt` includes cached and cache-write tokens, `completion`
//! includes reasoning, audio and image tokens. Knows no prices.

mod lenient;
#[cfg(test)]
mod tests;
mod wire;

pub use wire::{from_gemini, from_openai, from_rerank_meta};

use super::money::Money;
use crate::dialect::usage::Usage;

/// What a call is billed for. What the provider did not say is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quantities {
    /// Input tokens of all kinds, cached ones and cache writes included.
    pub prompt: u64,
    /// Output tokens of all kinds, reasoning included.
    pub completion: u64,
    /// As the provider stated it; the sum of both when it did not.
    pub total: u64,
    /// Input tokens read from the provider's cache, of all kinds.
    pub cached: u64,
    /// Of `cached`: tokens of audio.
    pub cached_audio: u64,
    /// Of `cached`: tokens of images.
    pub cached_image: u64,
    /// Input tokens written to the provider's cache for 5 minutes (or its only lifetime).
    pub cache_write: u64,
    /// Input tokens written to the provider's cache for an hour.
    pub cache_write_1h: u64,
    /// Input tokens of audio, cached ones included.
    pub audio_in: u64,
    /// Input tokens of images, cached ones included.
    pub image_in: u64,
    /// Input tokens of video.
    pub video_in: u64,
    /// Output tokens spent on reasoning.
    pub reasoning: u64,
    /// Output tokens of audio.
    pub audio_out: u64,
    /// Output tokens of images.
    pub image_out: u64,
    /// Tokens of citations (Perplexity).
    pub citation: u64,
    /// Duration of the media sent (transcription), microseconds.
    pub input_us: u64,
    /// Duration of the media made (video, speech), microseconds.
    pub output_us: u64,
    /// Time a rented model ran (Replicate, SageMaker), microseconds.
    pub wall_us: u64,
    /// Characters sent (speech).
    pub characters_in: u64,
    /// Characters received.
    pub characters_out: u64,
    /// Images sent, for models that bill them by the piece.
    pub images_in: u64,
    /// Images made.
    pub images_out: u64,
    /// Pixels of all images made.
    pub pixels_out: u64,
    /// Search units of a rerank call, or queries of a search.
    pub queries: u64,
    /// Pages read (OCR).
    pub pages: u64,
    /// Web searches that the provider made for the answer.
    pub web_searches: u64,
    /// How much context those searches fetched.
    pub search_size: SearchSize,
    /// Sessions of a code interpreter.
    pub code_sessions: u64,
    /// The tier that served the call, as the answer says.
    pub tier: Tier,
    /// Served inside the United States at a surcharge (Anthropic's `inference_geo`).
    pub geo_us: bool,
    /// Served in fast mode at a surcharge (Anthropic's `speed`).
    pub fast: bool,
    /// What the vendor itself says the call cost (OpenRouter); wins over the table's price.
    pub stated: Option<Money>,
}

/// `search_context_size`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SearchSize {
    /// `low`
    Low,
    /// `medium`, the vendors' default.
    #[default]
    Medium,
    /// `high`
    High,
}

impl SearchSize {
    /// From `search_context_size`; what nobody knows is the vendors' default.
    #[must_use]
    pub fn named(name: &str) -> SearchSize {
        match name {
            "low" => SearchSize::Low,
            "high" => SearchSize::High,
            _ => SearchSize::Medium,
        }
    }
}

/// The tier of service, which has prices of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Tier {
    /// The usual one.
    #[default]
    Standard,
    /// `priority`
    Priority,
    /// `flex`
    Flex,
    /// Through a batch API.
    Batches,
    /// `balanced`
    Balanced,
    /// `ultrafast`
    Ultrafast,
    /// `decisions`
    Decisions,
}

impl Tier {
    /// Every tier that has a name in the price table, with that name.
    pub const NAMED: [(Tier, &'static str); 6] = [
        (Tier::Priority, "priority"),
        (Tier::Flex, "flex"),
        (Tier::Batches, "batches"),
        (Tier::Balanced, "balanced"),
        (Tier::Ultrafast, "ultrafast"),
        (Tier::Decisions, "decisions"),
    ];

    /// From `service_tier` of a request or answer; `auto`, `default`, `standard` and what nobody
    /// knows is the standard one.
    #[must_use]
    pub fn named(name: &str) -> Tier {
        if name == "batch" {
            return Tier::Batches;
        }
        let known = Tier::NAMED.iter().find(|(_, text)| *text == name);
        known.map_or(Tier::Standard, |(tier, _)| *tier)
    }
}

/// What a dialect's tap saw.
impl From<&Usage> for Quantities {
    fn from(usage: &Usage) -> Quantities {
        let long = usage.cache_creation_1h_tokens;
        let mut out = Quantities {
            prompt: usage.prompt_tokens,
            completion: usage.completion_tokens,
            total: usage.total_tokens,
            cached: usage.cached_tokens,
            cached_audio: usage.cached_audio_tokens,
            cached_image: usage.cached_image_tokens,
            cache_write: usage.cache_creation_tokens.saturating_sub(long),
            cache_write_1h: long,
            reasoning: usage.reasoning_tokens,
            audio_in: usage.audio_prompt_tokens,
            image_in: usage.image_prompt_tokens,
            audio_out: usage.audio_completion_tokens,
            image_out: usage.image_completion_tokens,
            citation: usage.citation_tokens,
            characters_in: usage.characters,
            queries: usage.search_units,
            web_searches: usage.web_searches,
            search_size: SearchSize::named(usage.search_context_size.as_str()),
            tier: Tier::named(usage.service_tier.as_str()),
            geo_us: usage.inference_geo.as_str() == "us",
            fast: usage.speed.as_str() == "fast",
            input_us: Money::parse(usage.seconds.as_str()).map_or(0, micros),
            stated: Money::parse(usage.cost.as_str()).ok(),
            ..Quantities::default()
        };
        out.add_reasoning_beside(usage.total_tokens);
        out
    }
}

impl Quantities {
    /// xAI counts reasoning beside the completion; its total gives that away.
    fn add_reasoning_beside(&mut self, total: u64) {
        let sum = self.prompt.saturating_add(self.completion);
        if self.reasoning > 0 && total == sum.saturating_add(self.reasoning) {
            self.completion = self.completion.saturating_add(self.reasoning);
        }
        self.total = total.max(self.prompt.saturating_add(self.completion));
    }
}

/// A number of seconds, read as exactly as money is, in microseconds.
fn micros(seconds: Money) -> u64 {
    u64::try_from(seconds.units() / 1_000_000_000_000_000_000).unwrap_or(u64::MAX)
}
