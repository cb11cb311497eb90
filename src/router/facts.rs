//! What the router knows of one request.

use super::affinity::Ties;
use super::spec::{FallbackTable, Needs};
use std::ops::{Deref, DerefMut};
use std::sync::LazyLock;
use std::time::Duration;

/// One request, as far as routing goes. The shard fills this from the body, headers and key.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The client asked for a stream.
    pub stream: bool,
    /// Tokens of the prompt: an estimate, or exact where it matters.
    pub input_tokens: u64,
    /// `max_tokens` or its relatives.
    pub output_tokens_max: Option<u64>,
    /// Abilities that the request needs.
    pub needs: Needs,
    /// Fingerprint of the prompt's beginning, for `prompt_caching`.
    pub prompt: Option<u64>,
    /// What the request itself wants of the routing.
    pub wishes: Wanted,
}

/// What a request wants of the routing beside its model. Most want nothing.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// `tags`, `metadata.tags`, `x-litellm-tags`.
    pub tags: Vec<String>,
    /// Tags of the call's row that choose no deployment (`extra_spend_tag_headers`).
    pub spend_tags: Vec<String>,
    /// The session that a header, the body or its metadata names.
    pub session: Option<String>,
    /// The request's own `num_retries`.
    pub num_retries: Option<u32>,
    /// `priority`: lower goes first.
    pub priority: Option<i32>,
    /// The request's own `timeout`: a hard end for everything.
    pub timeout: Option<Duration>,
    /// The request's own `stream_timeout`.
    pub stream_timeout: Option<Duration>,
    /// The request's own `fallbacks`: model names, tried in order whatever the failure. For an
    /// entry that was an object this is its `model`; `Attempt::client_fallback` names the entry.
    pub fallbacks: Option<Vec<String>>,
    /// The request's own `context_window_fallbacks`.
    pub context_window_fallbacks: Option<FallbackTable>,
    /// The request's own `content_policy_fallbacks`.
    pub content_policy_fallbacks: Option<FallbackTable>,
    /// `disable_fallbacks`, of the request or its key.
    pub disable_fallbacks: bool,
    /// The request's own `max_fallbacks`.
    pub max_fallbacks: Option<u32>,
    /// A mock_testing switch, where those are permitted.
    pub mock: Option<MockTesting>,
    /// `allowed_model_region` of the request or its key.
    pub region: Option<String>,
    /// What else ties it to a deployment, where the settings ask for that.
    pub ties: Option<Ties>,
    /// Lines of the head (`User-Agent: x`) that `tag_regex` looks at, where any entry has one.
    pub head_lines: Vec<String>,
    /// The deployment id that a custom strategy's host chose.
    pub custom_choice: Option<String>,
}

/// Wishes that take no room until there are any: a stream keeps its facts for as long as it lives.
#[derive(Clone, Debug, Default)]
pub struct Wanted(Option<Box<Wishes>>);

impl From<Wishes> for Wanted {
    fn from(wishes: Wishes) -> Wanted {
        Wanted(Some(Box::new(wishes)))
    }
}

impl Deref for Wanted {
    type Target = Wishes;

    fn deref(&self) -> &Wishes {
        static NONE: LazyLock<Wishes> = LazyLock::new(Wishes::default);
        self.0.as_deref().unwrap_or_else(|| &NONE)
    }
}

impl DerefMut for Wanted {
    fn deref_mut(&mut self) -> &mut Wishes {
        self.0.get_or_insert_default()
    }
}

/// A failure that the request asks for, to see its fallbacks work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MockTesting {
    /// `mock_testing_fallbacks`.
    Fallbacks,
    /// `mock_testing_context_fallbacks`.
    ContextFallbacks,
    /// `mock_testing_content_policy_fallbacks`.
    ContentPolicyFallbacks,
    /// `mock_testing_rate_limit_error`.
    RateLimitError,
}
