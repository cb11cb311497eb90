//! What a call used, in tokens, as the provider counted it.

use super::scan::Span;
use super::walk;

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
}

impl Usage {
    /// Reads a `usage` object of the OpenAI family: chat, completions, embeddings, images, responses, and the vendors'
    /// additions to it. `None` when it is no object.
    pub fn read(body: &[u8], span: Span) -> Option<Self> {
        let mut usage = Self::default();
        let mut any = false;
        for field in walk::members(body, span) {
            any = true;
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
                _ => {}
            }
        }
        if usage.total_tokens == 0 {
            usage.total_tokens = usage.prompt_tokens + usage.completion_tokens;
        }
        any.then_some(usage)
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
                _ => {}
            }
        }
    }
}
