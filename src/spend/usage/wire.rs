//! Vendors' usage objects as they are on the wire, with every spelling in use, read into
//! [`Quantities`]. Knows no prices and no convention but the one that it reads into.

use super::lenient::{Count, Dollars, Map, Seconds, Text};
use super::{Quantities, SearchSize, Tier};

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

impl Quantities {
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
