//! What one call is billed for, as counts.
//!
//! [`Quantities`] is the union of what vendors bill: tokens of every kind, seconds, characters,
//! images, pixels, queries. Read from a vendor's usage object with every spelling in use, it is
//! normalised to one convention: `prompt` includes cached and cache-write tokens, `completion`
//! includes reasoning, audio and image tokens. Knows no prices.

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

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

/// Reads a `usage` object of the OpenAI family (chat, completions, embeddings, images, audio,
/// responses), of Anthropic, and the vendors' additions to them. `None` when it is no JSON object.
///
/// Anthropic counts cached tokens beside `input_tokens`; here they are added to `prompt`. Answers
/// in OpenAI's shape already include them, which `prompt_tokens` tells.
#[must_use]
pub fn from_openai(raw: &[u8]) -> Option<Quantities> {
    let wire: Wire = serde_json::from_slice(raw).ok()?;
    Some(wire.quantities())
}

/// Reads the `meta` object of a rerank answer: `billed_units.search_units` or `.total_tokens`.
#[must_use]
pub fn from_rerank_meta(raw: &[u8]) -> Option<Quantities> {
    #[derive(serde::Deserialize, Default)]
    #[serde(default)]
    struct Meta {
        billed_units: Map<Billed>,
        tokens: Map<Billed>,
    }
    #[derive(serde::Deserialize, Default)]
    #[serde(default)]
    struct Billed {
        search_units: Count,
        total_tokens: Count,
        input_tokens: Count,
        output_tokens: Count,
    }
    let Meta {
        billed_units: Map(billed),
        tokens: Map(tokens),
    } = serde_json::from_slice(raw).ok()?;
    let prompt = first([
        billed.input_tokens,
        tokens.input_tokens,
        billed.total_tokens,
    ]);
    let completion = first([billed.output_tokens, tokens.output_tokens]);
    Some(Quantities {
        prompt,
        completion,
        total: billed.total_tokens.0.max(prompt.saturating_add(completion)),
        queries: billed.search_units.0,
        ..Quantities::default()
    })
}

/// Reads `usageMetadata` of Gemini's generateContent. Thoughts are counted beside the candidates,
/// tokens of tool results beside the prompt; both are added here.
#[must_use]
pub fn from_gemini(raw: &[u8]) -> Option<Quantities> {
    let wire: GeminiWire = serde_json::from_slice(raw).ok()?;
    let of = |parts: &[Modality], name: &str| {
        let parts = parts
            .iter()
            .filter(|part| part.modality.0.eq_ignore_ascii_case(name));
        parts.fold(0, |sum: u64, part| sum.saturating_add(part.token_count.0))
    };
    let prompt = wire
        .prompt_token_count
        .0
        .saturating_add(wire.tool_use_prompt_token_count.0);
    let completion = wire
        .candidates_token_count
        .0
        .saturating_add(wire.thoughts_token_count.0);
    Some(Quantities {
        prompt,
        completion,
        total: wire
            .total_token_count
            .0
            .max(prompt.saturating_add(completion)),
        cached: wire.cached_content_token_count.0,
        cached_audio: of(&wire.cache_tokens_details, "AUDIO"),
        cached_image: of(&wire.cache_tokens_details, "IMAGE"),
        audio_in: of(&wire.prompt_tokens_details, "AUDIO"),
        image_in: of(&wire.prompt_tokens_details, "IMAGE"),
        video_in: of(&wire.prompt_tokens_details, "VIDEO"),
        audio_out: of(&wire.candidates_tokens_details, "AUDIO"),
        image_out: of(&wire.candidates_tokens_details, "IMAGE"),
        reasoning: wire.thoughts_token_count.0,
        ..Quantities::default()
    })
}

#[derive(serde::Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct GeminiWire {
    prompt_token_count: Count,
    candidates_token_count: Count,
    thoughts_token_count: Count,
    tool_use_prompt_token_count: Count,
    total_token_count: Count,
    cached_content_token_count: Count,
    prompt_tokens_details: Vec<Modality>,
    candidates_tokens_details: Vec<Modality>,
    cache_tokens_details: Vec<Modality>,
}

#[derive(serde::Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Modality {
    modality: Text,
    token_count: Count,
}

/// Every spelling in use; unknown members are skipped.
#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct Wire {
    prompt_tokens: Option<Count>,
    input_tokens: Count,
    completion_tokens: Option<Count>,
    output_tokens: Count,
    total_tokens: Count,
    prompt_tokens_details: Map<PromptDetails>,
    input_tokens_details: Map<PromptDetails>,
    input_token_details: Map<PromptDetails>,
    completion_tokens_details: Map<CompletionDetails>,
    output_tokens_details: Map<CompletionDetails>,
    output_token_details: Map<CompletionDetails>,
    prompt_cache_hit_tokens: Count,
    cached_tokens: Count,
    cache_read_input_tokens: Count,
    cache_creation_input_tokens: Count,
    cache_creation: Map<CacheCreation>,
    reasoning_tokens: Count,
    server_tool_use: Map<ServerTools>,
    citation_tokens: Count,
    search_context_size: Text,
    search_units: Count,
    seconds: Seconds,
    duration: Seconds,
    characters: Count,
    pages_processed: Count,
    service_tier: Text,
    inference_geo: Text,
    speed: Text,
    cost: Dollars,
}

#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct PromptDetails {
    cached_tokens: Count,
    cache_write_tokens: Count,
    cache_creation_tokens: Count,
    cache_creation_token_details: Map<CacheCreation>,
    cached_tokens_details: Map<CachedDetails>,
    audio_tokens: Count,
    image_tokens: Count,
    video_tokens: Count,
    web_search_requests: Count,
    image_count: Count,
    character_count: Count,
}

#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct CachedDetails {
    audio_tokens: Count,
    image_tokens: Count,
}

#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct CompletionDetails {
    reasoning_tokens: Count,
    audio_tokens: Count,
    image_tokens: Count,
}

#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct CacheCreation {
    ephemeral_5m_input_tokens: Count,
    ephemeral_1h_input_tokens: Count,
}

#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct ServerTools {
    web_search_requests: Count,
}

impl Wire {
    fn quantities(&self) -> Quantities {
        let details = [&self.prompt_tokens_details, &self.input_tokens_details]
            .into_iter()
            .chain([&self.input_token_details]);
        let mut out = Quantities {
            citation: self.citation_tokens.0,
            characters_in: self.characters.0,
            pages: self.pages_processed.0,
            queries: self.search_units.0,
            input_us: self.seconds.0.max(self.duration.0),
            web_searches: self.server_tool_use.0.web_search_requests.0,
            tier: Tier::named(&self.service_tier.0),
            geo_us: *self.inference_geo.0 == *"us",
            fast: *self.speed.0 == *"fast",
            stated: self.cost.0,
            search_size: SearchSize::named(&self.search_context_size.0),
            ..Quantities::default()
        };
        details.for_each(|Map(details)| out.add_prompt(details));
        self.add_cache(&mut out);
        self.add_totals(&mut out);
        out
    }

    fn add_cache(&self, out: &mut Quantities) {
        let cached = [self.prompt_cache_hit_tokens, self.cached_tokens];
        let cached = cached.into_iter().chain([self.cache_read_input_tokens]);
        out.cached = cached.fold(out.cached, |most, Count(count)| most.max(count));
        let Map(lifetimes) = &self.cache_creation;
        let long = lifetimes
            .ephemeral_1h_input_tokens
            .0
            .max(out.cache_write_1h);
        let all = self.cache_creation_input_tokens.0;
        let all = all.max(out.cache_write + out.cache_write_1h);
        let all = all.max(lifetimes.ephemeral_5m_input_tokens.0.saturating_add(long));
        out.cache_write = all - long;
        out.cache_write_1h = long;
    }

    fn add_totals(&self, out: &mut Quantities) {
        let beside = self.cache_read_input_tokens.0 > 0 || self.cache_creation_input_tokens.0 > 0;
        out.prompt = match self.prompt_tokens {
            Some(Count(prompt)) => prompt,
            // Anthropic's own shape: what was cached is counted apart.
            None if beside => [out.cached, out.cache_write, out.cache_write_1h]
                .into_iter()
                .fold(self.input_tokens.0, u64::saturating_add),
            None => self.input_tokens.0,
        };
        let details = [&self.completion_tokens_details, &self.output_tokens_details];
        for Map(details) in details.into_iter().chain([&self.output_token_details]) {
            out.reasoning = out.reasoning.max(details.reasoning_tokens.0);
            out.audio_out = out.audio_out.max(details.audio_tokens.0);
            out.image_out = out.image_out.max(details.image_tokens.0);
        }
        out.reasoning = out.reasoning.max(self.reasoning_tokens.0);
        out.completion = self
            .completion_tokens
            .map_or(self.output_tokens.0, |Count(count)| count);
        out.add_reasoning_beside(self.total_tokens.0);
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

/// A number of seconds, read as exactly as money is, in microseconds.
fn micros(seconds: Money) -> u64 {
    u64::try_from(seconds.units() / 1_000_000_000_000_000_000).unwrap_or(u64::MAX)
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

    fn add_prompt(&mut self, details: &PromptDetails) {
        let Map(lifetimes) = &details.cache_creation_token_details;
        let Map(cached) = &details.cached_tokens_details;
        let long = lifetimes.ephemeral_1h_input_tokens.0;
        let written = details
            .cache_write_tokens
            .0
            .max(details.cache_creation_tokens.0);
        self.cached = self.cached.max(details.cached_tokens.0);
        self.cache_write_1h = self.cache_write_1h.max(long);
        self.cache_write = self.cache_write.max(written.saturating_sub(long));
        self.cached_audio = self.cached_audio.max(cached.audio_tokens.0);
        self.cached_image = self.cached_image.max(cached.image_tokens.0);
        self.audio_in = self.audio_in.max(details.audio_tokens.0);
        self.image_in = self.image_in.max(details.image_tokens.0);
        self.video_in = self.video_in.max(details.video_tokens.0);
        self.web_searches = self.web_searches.max(details.web_search_requests.0);
        self.images_in = self.images_in.max(details.image_count.0);
        self.characters_in = self.characters_in.max(details.character_count.0);
    }
}

fn first<const N: usize>(counts: [Count; N]) -> u64 {
    counts
        .into_iter()
        .map(|Count(count)| count)
        .find(|count| *count > 0)
        .unwrap_or(0)
}

/// A count that is forgiving: `3`, `3.0`, `null`; what is no count is 0.
#[derive(Clone, Copy, Default)]
struct Count(u64);

/// A duration in seconds, whole or not, kept in microseconds.
#[derive(Clone, Copy, Default)]
struct Seconds(u64);

/// A cost in dollars, if it is one.
#[derive(Clone, Copy, Default)]
struct Dollars(Option<Money>);

/// A text, or nothing.
#[derive(Clone, Default)]
struct Text(Box<str>);

/// An object, or the default when it is `null` or something else.
#[derive(Default)]
struct Map<T>(T);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(Lenient)
            .map(|scalar| Count(scalar.count()))
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let scalar = deserializer.deserialize_any(Lenient)?;
        Ok(Seconds(scalar.micros()))
    }
}

impl<'de> Deserialize<'de> for Dollars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let scalar = deserializer.deserialize_any(Lenient)?;
        Ok(Dollars(scalar.dollars()))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let scalar = deserializer.deserialize_any(Lenient)?;
        Ok(Text(if let Scalar::Text(text) = scalar {
            text
        } else {
            Box::default()
        }))
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Map<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for Members<T> {
            type Value = T;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(serde::de::value::MapAccessDeserializer::new(map))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<T, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(T::default())
            }

            fn visit_unit<E>(self) -> Result<T, E> {
                Ok(T::default())
            }

            fn visit_bool<E>(self, _: bool) -> Result<T, E> {
                Ok(T::default())
            }

            fn visit_u64<E>(self, _: u64) -> Result<T, E> {
                Ok(T::default())
            }

            fn visit_i64<E>(self, _: i64) -> Result<T, E> {
                Ok(T::default())
            }

            fn visit_f64<E>(self, _: f64) -> Result<T, E> {
                Ok(T::default())
            }

            fn visit_str<E>(self, _: &str) -> Result<T, E> {
                Ok(T::default())
            }
        }
        deserializer
            .deserialize_any(Members(std::marker::PhantomData))
            .map(Map)
    }
}

/// Any JSON value, with objects and arrays forgotten.
enum Scalar {
    None,
    Whole(u64),
    Fraction(f64),
    Text(Box<str>),
}

impl Scalar {
    fn count(&self) -> u64 {
        match self {
            Scalar::Whole(count) => *count,
            // A float is cut, and saturates: as `as` does.
            Scalar::Fraction(count) => *count as u64,
            _ => 0,
        }
    }

    fn micros(&self) -> u64 {
        match self {
            Scalar::Whole(seconds) => seconds.saturating_mul(1_000_000),
            Scalar::Fraction(seconds) => (seconds * 1e6).round() as u64,
            _ => 0,
        }
    }

    fn dollars(&self) -> Option<Money> {
        match self {
            Scalar::Whole(dollars) => Money::parse(&dollars.to_string()).ok(),
            // The shortest text of the double is the decimal that the vendor wrote.
            Scalar::Fraction(dollars) => Money::parse(&dollars.to_string()).ok(),
            _ => None,
        }
    }
}

struct Lenient;

impl<'de> Visitor<'de> for Lenient {
    type Value = Scalar;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
        Ok(Scalar::Whole(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar::Whole(u64::try_from(value).unwrap_or(0)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
        Ok(Scalar::Fraction(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(value.into()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Scalar, E> {
        Ok(Scalar::None)
    }

    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scalar, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &str, expected: Quantities) {
        assert_eq!(from_openai(raw.as_bytes()), Some(expected), "of {raw}");
    }

    #[test]
    fn openai_chat() {
        check(
            r#"{"prompt_tokens":1566,"completion_tokens":20,"total_tokens":1586,
                "prompt_tokens_details":{"cached_tokens":1408,"audio_tokens":3},
                "completion_tokens_details":{"reasoning_tokens":7,"audio_tokens":null}}"#,
            Quantities {
                prompt: 1566,
                completion: 20,
                total: 1586,
                cached: 1408,
                audio_in: 3,
                reasoning: 7,
                ..Quantities::default()
            },
        );
    }

    #[test]
    fn anthropic_counts_the_cache_apart_and_openai_shape_does_not() {
        let expected = Quantities {
            prompt: 4530,
            completion: 10,
            total: 4540,
            cached: 3000,
            cache_write: 500,
            cache_write_1h: 1000,
            ..Quantities::default()
        };
        check(
            r#"{"input_tokens":30,"cache_creation_input_tokens":1500,"cache_read_input_tokens":3000,
                "cache_creation":{"ephemeral_5m_input_tokens":500,"ephemeral_1h_input_tokens":1000},
                "output_tokens":10,"service_tier":"standard"}"#,
            expected,
        );
        check(
            r#"{"prompt_tokens":4530,"completion_tokens":10,"total_tokens":4540,
                "prompt_tokens_details":{"cached_tokens":3000,"cache_creation_tokens":1500,
                "cache_creation_token_details":{"ephemeral_5m_input_tokens":500,
                "ephemeral_1h_input_tokens":1000}},"cache_creation_input_tokens":1500,
                "cache_read_input_tokens":3000}"#,
            expected,
        );
    }

    #[test]
    fn responses_include_the_cache_in_input_tokens() {
        check(
            r#"{"input_tokens":100,"input_tokens_details":{"cached_tokens":40},
                "output_tokens":9,"output_tokens_details":{"reasoning_tokens":5},
                "total_tokens":109,"cost":null}"#,
            Quantities {
                prompt: 100,
                completion: 9,
                total: 109,
                cached: 40,
                reasoning: 5,
                ..Quantities::default()
            },
        );
    }

    #[test]
    fn reasoning_counted_beside_the_completion_is_added() {
        check(
            r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":115,
                "completion_tokens_details":{"reasoning_tokens":100}}"#,
            Quantities {
                prompt: 10,
                completion: 105,
                total: 115,
                reasoning: 100,
                ..Quantities::default()
            },
        );
    }

    #[test]
    fn vendors_additions() {
        check(
            r#"{"prompt_tokens":1,"completion_tokens":2,"cost":0.0012,"service_tier":"flex",
                "server_tool_use":{"web_search_requests":2},"search_context_size":"high",
                "citation_tokens":4,"seconds":1.5}"#,
            Quantities {
                prompt: 1,
                completion: 2,
                total: 3,
                stated: Money::parse("0.0012").ok(),
                tier: Tier::Flex,
                web_searches: 2,
                search_size: SearchSize::High,
                citation: 4,
                input_us: 1_500_000,
                ..Quantities::default()
            },
        );
    }

    #[test]
    fn nonsense_counts_are_nothing_and_never_an_error() {
        check(
            r#"{"prompt_tokens":-4,"completion_tokens":"many","total_tokens":{},
                "prompt_tokens_details":[1,2],"completion_tokens_details":"x"}"#,
            Quantities::default(),
        );
        assert_eq!(from_openai(b"null"), None);
        assert_eq!(from_openai(b"[1"), None);
    }

    /// Both readers, where both read.
    #[test]
    fn the_tap_sees_the_same() {
        for raw in [
            r#"{"prompt_tokens":1566,"completion_tokens":20,"total_tokens":1586,
                "prompt_tokens_details":{"cached_tokens":1408,"audio_tokens":3}}"#,
            r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":115,
                "completion_tokens_details":{"reasoning_tokens":100}}"#,
            r#"{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,"cost":0.0012,
                "service_tier":"flex","server_tool_use":{"web_search_requests":2},
                "search_context_size":"high","citation_tokens":4,"seconds":1.5}"#,
            r#"{"prompt_tokens":4530,"completion_tokens":10,"total_tokens":4540,
                "prompt_tokens_details":{"cached_tokens":3000,"cache_creation_tokens":1500,
                "cache_creation_token_details":{"ephemeral_1h_input_tokens":1000}}}"#,
        ] {
            let span = crate::dialect::scan::Span::new(0, raw.len());
            let usage = Usage::read(raw.as_bytes(), span).unwrap();
            assert_eq!(
                Some(Quantities::from(&usage)),
                from_openai(raw.as_bytes()),
                "of {raw}"
            );
        }
    }

    #[test]
    fn gemini_counts_thoughts_apart() {
        let raw = r#"{"promptTokenCount":40,"candidatesTokenCount":2,"thoughtsTokenCount":120,
            "totalTokenCount":162,"cachedContentTokenCount":10,
            "promptTokensDetails":[{"modality":"TEXT","tokenCount":8},
                                   {"modality":"AUDIO","tokenCount":32}]}"#;
        let expected = Quantities {
            prompt: 40,
            completion: 122,
            total: 162,
            cached: 10,
            audio_in: 32,
            reasoning: 120,
            ..Quantities::default()
        };
        assert_eq!(from_gemini(raw.as_bytes()), Some(expected));
    }

    #[test]
    fn rerank_meta() {
        let read = |raw: &str| from_rerank_meta(raw.as_bytes()).unwrap();
        let units = read(r#"{"api_version":{"version":"1"},"billed_units":{"search_units":1}}"#);
        assert_eq!((units.queries, units.prompt), (1, 0));
        let tokens = read(r#"{"billed_units":{"total_tokens":815},"tokens":{}}"#);
        assert_eq!((tokens.queries, tokens.prompt, tokens.total), (0, 815, 815));
    }
}
