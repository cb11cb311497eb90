//! What a call used, in tokens, as the provider counted it.

use super::scan::{Field, Span};
use super::walk::{self, FieldList};

/// Tokens of one call. What the provider did not say is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt, cached ones included.
    pub prompt_tokens: u64,
    /// Tokens of the answer, reasoning included.
    pub completion_tokens: u64,
    /// As stated; the sum of both when it was not.
    pub total_tokens: u64,
    /// Prompt tokens read from the provider's cache.
    pub cached_tokens: u64,
    /// Prompt tokens written to the provider's cache.
    pub cache_creation_tokens: u64,
    /// Completion tokens that were spent on reasoning.
    pub reasoning_tokens: u64,
    /// Prompt tokens of audio.
    pub audio_prompt_tokens: u64,
    /// Completion tokens of audio.
    pub audio_completion_tokens: u64,
    /// Units that a rerank call was billed for.
    pub search_units: u64,
    /// Of `cache_creation_tokens`: those written for an hour.
    pub cache_creation_1h_tokens: u64,
    /// Of `cached_tokens`: those of audio.
    pub cached_audio_tokens: u64,
    /// Of `cached_tokens`: those of images.
    pub cached_image_tokens: u64,
    /// Prompt tokens of images.
    pub image_prompt_tokens: u64,
    /// Completion tokens of images.
    pub image_completion_tokens: u64,
    /// Tokens of citations (Perplexity).
    pub citation_tokens: u64,
    /// Characters that embeddings are billed by (Vertex AI).
    pub characters: u64,
    /// Web searches that the provider made.
    pub web_searches: u64,
    /// `search_context_size`.
    pub search_context_size: Word,
    /// Duration of the audio that was heard, seconds.
    pub seconds: Word,
    /// `service_tier`, where it stands in the usage (Anthropic); OpenAI has it beside.
    pub service_tier: Word,
    /// `inference_geo` (Anthropic).
    pub inference_geo: Word,
    /// `speed` (Anthropic).
    pub speed: Word,
    /// What the vendor says the call cost, US dollars (OpenRouter).
    pub cost: Word,
}

/// A short text kept in place: a name from a short list, or a number as its text. Longer ones are
/// empty.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Word {
    len: u8,
    bytes: [u8; WORD_BYTES_MAX],
}

/// Bytes of a [`Word`]; a double has 24 at most.
const WORD_BYTES_MAX: usize = 24;

impl Word {
    /// `text`, or nothing when it is too long.
    pub fn new(text: &str) -> Word {
        let mut word = Word::default();
        if let Some(place) = word.bytes.get_mut(..text.len()) {
            place.copy_from_slice(text.as_bytes());
            word.len = text.len() as u8;
        }
        word
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        let text = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default()
    }

    /// A string without its quotes, or a number's text; nothing else.
    fn read(body: &[u8], span: Span) -> Word {
        let text = std::str::from_utf8(span.of(body)).unwrap_or_default();
        match text.as_bytes() {
            [b'"', .., b'"'] => Word::new(&text[1..text.len() - 1]),
            [b'0'..=b'9', ..] => Word::new(text),
            _ => Word::default(),
        }
    }
}

impl std::fmt::Debug for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_str().fmt(f)
    }
}

impl Usage {
    /// Reads a `usage` object of the OpenAI family: chat, completions, embeddings, images, responses, and the vendors'
    /// additions to it. `None` when it is no object.
    pub fn read(body: &[u8], span: Span) -> Option<Self> {
        Self::of(body, FieldList::of(body, span).as_slice())
    }

    /// The same of members that were found already.
    pub fn of(body: &[u8], fields: &[Field]) -> Option<Self> {
        let mut usage = Self::default();
        for &field in fields {
            let number = || walk::unsigned(body, field.value).unwrap_or(0);
            match walk::name_of(body, field) {
                b"prompt_tokens" | b"input_tokens" => usage.prompt_tokens = number(),
                b"completion_tokens" | b"output_tokens" => usage.completion_tokens = number(),
                b"total_tokens" => usage.total_tokens = number(),
                b"prompt_tokens_details" | b"input_tokens_details" => {
                    usage.read_prompt(body, field.value)
                }
                b"completion_tokens_details" | b"output_tokens_details" => {
                    usage.read_completion(body, field.value)
                }
                b"prompt_cache_hit_tokens" | b"cache_read_input_tokens" => {
                    usage.cached_tokens = usage.cached_tokens.max(number());
                }
                b"cache_creation_input_tokens" => usage.cache_creation_tokens = number(),
                b"reasoning_tokens" => {
                    usage.reasoning_tokens = usage.reasoning_tokens.max(number())
                }
                name => usage.read_rare(name, body, field.value),
            }
        }
        if usage.total_tokens == 0 {
            usage.total_tokens = usage.prompt_tokens + usage.completion_tokens;
        }
        (!fields.is_empty()).then_some(usage)
    }

    /// What few vendors say.
    fn read_rare(&mut self, name: &[u8], body: &[u8], span: Span) {
        let number = || walk::unsigned(body, span).unwrap_or(0);
        let word = || Word::read(body, span);
        match name {
            b"cache_creation" => self.read_lifetimes(body, span),
            b"server_tool_use" => {
                let searches = walk::member(body, span, "web_search_requests");
                self.web_searches = searches.and_then(|s| walk::unsigned(body, s)).unwrap_or(0);
            }
            b"citation_tokens" => self.citation_tokens = number(),
            b"search_units" => self.search_units = number(),
            b"search_context_size" => self.search_context_size = word(),
            b"seconds" | b"duration" => self.seconds = word(),
            b"service_tier" => self.service_tier = word(),
            b"inference_geo" => self.inference_geo = word(),
            b"speed" => self.speed = word(),
            b"cost" => self.cost = word(),
            _ => {}
        }
    }

    fn read_lifetimes(&mut self, body: &[u8], span: Span) {
        let long = walk::member(body, span, "ephemeral_1h_input_tokens");
        let long = long.and_then(|span| walk::unsigned(body, span));
        self.cache_creation_1h_tokens = long.unwrap_or(self.cache_creation_1h_tokens);
    }

    fn read_prompt(&mut self, body: &[u8], span: Span) {
        for field in walk::members(body, span) {
            let number = || walk::unsigned(body, field.value).unwrap_or(0);
            match walk::name_of(body, field) {
                b"cached_tokens" => self.cached_tokens = number(),
                b"audio_tokens" => self.audio_prompt_tokens = number(),
                b"cache_write_tokens" | b"cache_creation_tokens" => {
                    self.cache_creation_tokens = number()
                }
                b"cache_creation_token_details" => self.read_lifetimes(body, field.value),
                b"cached_tokens_details" => {
                    let of = |name| walk::member(body, field.value, name);
                    let count = |name| of(name).and_then(|span| walk::unsigned(body, span));
                    self.cached_audio_tokens = count("audio_tokens").unwrap_or(0);
                    self.cached_image_tokens = count("image_tokens").unwrap_or(0);
                }
                b"image_tokens" => self.image_prompt_tokens = number(),
                b"character_count" => self.characters = number(),
                b"web_search_requests" => self.web_searches = number(),
                _ => {}
            }
        }
    }

    fn read_completion(&mut self, body: &[u8], span: Span) {
        for field in walk::members(body, span) {
            let number = || walk::unsigned(body, field.value).unwrap_or(0);
            match walk::name_of(body, field) {
                b"reasoning_tokens" => self.reasoning_tokens = number(),
                b"audio_tokens" => self.audio_completion_tokens = number(),
                b"image_tokens" => self.image_completion_tokens = number(),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Usage {
        Usage::read(body.as_bytes(), Span::new(0, body.len())).unwrap()
    }

    #[test]
    fn what_few_vendors_say() {
        let usage = read(
            r#"{"input_tokens":30,"cache_creation_input_tokens":1500,"service_tier":"priority",
                "cache_creation":{"ephemeral_5m_input_tokens":500,"ephemeral_1h_input_tokens":1000},
                "server_tool_use":{"web_search_requests":2},"inference_geo":"us","speed":"fast",
                "cost":0.0012,"search_context_size":"high","citation_tokens":4,"seconds":1.5}"#,
        );
        assert_eq!(usage.cache_creation_1h_tokens, 1000);
        assert_eq!((usage.web_searches, usage.citation_tokens), (2, 4));
        assert_eq!(usage.service_tier.as_str(), "priority");
        assert_eq!(
            (usage.inference_geo.as_str(), usage.speed.as_str()),
            ("us", "fast")
        );
        assert_eq!(
            (usage.cost.as_str(), usage.seconds.as_str()),
            ("0.0012", "1.5")
        );
        assert_eq!(usage.search_context_size.as_str(), "high");
    }

    #[test]
    fn details_of_details() {
        let usage = read(
            r#"{"prompt_tokens":100,"completion_tokens":10,"prompt_tokens_details":{
                "cached_tokens":60,"audio_tokens":70,"image_tokens":5,
                "cached_tokens_details":{"audio_tokens":50,"image_tokens":1}},
                "completion_tokens_details":{"image_tokens":9},"cost":null,"speed":true}"#,
        );
        assert_eq!(
            (usage.cached_audio_tokens, usage.cached_image_tokens),
            (50, 1)
        );
        assert_eq!(
            (usage.image_prompt_tokens, usage.image_completion_tokens),
            (5, 9)
        );
        assert_eq!(usage.cost, Word::default());
        assert_eq!(Word::new(&"x".repeat(25)), Word::default());
    }
}
