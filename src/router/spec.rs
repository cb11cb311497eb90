//! What the router is made of, as plain values: the snapshot fills these from the configuration.
//! Nothing here knows YAML, and no default of the configuration is repeated elsewhere.

use super::affinity::TieChecks;
use std::collections::BTreeMap;
use std::time::Duration;

/// One upstream call may take this long where nothing is written.
pub const REQUEST_TIMEOUT_DEFAULT: Duration = Duration::from_secs(600);

/// Everything that a router is built from.
#[derive(Clone, Debug, Default)]
pub struct RouterSpec {
    /// One per `model_list` entry, in that order.
    pub deployments: Vec<DeploymentSpec>,
    /// `model_group_alias`.
    pub aliases: Vec<AliasSpec>,
    /// `router_settings` and its relatives.
    pub settings: RouterSettings,
}

/// One `model_list` entry.
#[derive(Clone, Debug, Default)]
pub struct DeploymentSpec {
    /// `model_info.id`: live numbers are kept under it over reloads.
    pub id: String,
    /// `model_name`: its group, perhaps a pattern (`*`, `openai/*`).
    pub group: String,
    /// `litellm_params.model`, with the provider's prefix; may hold `*` in a pattern's entry.
    pub model: String,
    /// `model_info.health_check_model`: what a pattern's entry calls when it is asked for by its id.
    pub named_model: Option<String>,
    /// The provider's name (`openai`, `azure`, ...).
    pub provider: String,
    /// Share of traffic under simple-shuffle.
    pub weight: Option<f64>,
    /// Requests per minute, over all shards.
    pub rpm: Option<u64>,
    /// Tokens per minute, over all shards.
    pub tpm: Option<u64>,
    /// Calls at once: `litellm_params.max_parallel_requests`, else `general_settings`', else
    /// `default_max_parallel_requests` (the snapshot settles which).
    pub max_parallel: Option<u32>,
    /// `litellm_params.timeout`.
    pub timeout: Option<Duration>,
    /// `litellm_params.stream_timeout`.
    pub stream_timeout: Option<Duration>,
    /// `litellm_params.cooldown_time`.
    pub cooldown: Option<Duration>,
    /// `litellm_params.order`: only the lowest order that can serve is used.
    pub order: Option<i64>,
    /// `litellm_params.tags`.
    pub tags: Vec<String>,
    /// `litellm_params.tag_regex`: patterns on lines of the request's head that stand for a tag. One
    /// that does not compile matches nothing: the snapshot has checked them.
    pub tag_patterns: Vec<String>,
    /// `litellm_params.max_retries`, or `num_retries`.
    pub max_retries: Option<u32>,
    /// `litellm_params.region_name`.
    pub region: Option<String>,
    /// Dollars per input token.
    pub input_cost: Option<f64>,
    /// Dollars per output token.
    pub output_cost: Option<f64>,
    /// Tokens that a prompt may have: `max_input_tokens`, else `max_tokens`.
    pub context_window: Option<u64>,
    /// What the model is known not to do (bits of `Needs`).
    pub lacks: Needs,
    /// Whether the provider caches prompts (for `prompt_caching` affinity).
    pub caches_prompts: bool,
    /// Its pattern stands for names without a provider (`gpt-4o`, not `openai/gpt-4o`) only.
    pub bare: bool,
}

/// One `model_group_alias` entry.
#[derive(Clone, Debug, Default)]
pub struct AliasSpec {
    /// The name that clients use, or the group's new label when `group` names no group.
    pub alias: String,
    /// Where it leads.
    pub group: String,
    /// Whether `/models` leaves it out.
    pub hidden: bool,
}

/// Abilities that a request needs of a model: a set of bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs(pub u16);

impl Needs {
    /// Nothing special.
    pub const NONE: Needs = Needs(0);
    /// Images among the messages.
    pub const VISION: Needs = Needs(1);
    /// Tools.
    pub const TOOLS: Needs = Needs(2);
    /// A JSON schema for the answer.
    pub const RESPONSE_SCHEMA: Needs = Needs(4);
    /// Audio among the messages.
    pub const AUDIO_INPUT: Needs = Needs(8);
    /// Audio in the answer.
    pub const AUDIO_OUTPUT: Needs = Needs(16);
    /// PDF files among the messages.
    pub const PDF_INPUT: Needs = Needs(32);
    /// An assistant's message to go on from.
    pub const ASSISTANT_PREFILL: Needs = Needs(64);
    /// Reasoning.
    pub const REASONING: Needs = Needs(128);
    /// Web search.
    pub const WEB_SEARCH: Needs = Needs(256);
    /// Several tools called at once.
    pub const PARALLEL_TOOLS: Needs = Needs(512);

    /// Both sets together.
    #[must_use]
    pub fn and(self, other: Needs) -> Needs {
        Needs(self.0 | other.0)
    }

    /// Whether the two sets share a bit.
    #[must_use]
    pub fn meets(self, other: Needs) -> bool {
        self.0 & other.0 != 0
    }
}

/// A number for each kind of failure, where one is written: `retry_policy`,
/// `allowed_fails_policy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassPolicy {
    /// `AuthenticationError...`.
    pub authentication: Option<u32>,
    /// `TimeoutError...`.
    pub timeout: Option<u32>,
    /// `RateLimitError...`.
    pub rate_limit: Option<u32>,
    /// `ContentPolicyViolationError...`.
    pub content_policy: Option<u32>,
    /// `InternalServerError...`.
    pub internal_server: Option<u32>,
    /// `BadRequestError...`.
    pub bad_request: Option<u32>,
}

/// Group (or `*`) to the groups tried after it, in order.
pub type FallbackTable = BTreeMap<String, Vec<String>>;

/// `router_settings`, with the routing halves of `litellm_settings` and `general_settings` where
/// those do not lose.
#[derive(Clone, Debug)]
pub struct RouterSettings {
    /// `routing_strategy`.
    pub strategy: String,
    /// `caching_groups`: names of groups whose answers pass for each other's.
    pub caching_groups: Vec<Vec<String>>,
    /// `routing_strategy_args` of latency-based routing.
    pub latency: LatencyArgs,
    /// `fallbacks`.
    pub fallbacks: FallbackTable,
    /// `default_fallbacks`: after a group without an entry in `fallbacks`.
    pub default_fallbacks: Vec<String>,
    /// `context_window_fallbacks`; a `*` entry serves groups without one of their own.
    pub context_window_fallbacks: FallbackTable,
    /// `content_policy_fallbacks`; a `*` entry serves groups without one of their own.
    pub content_policy_fallbacks: FallbackTable,
    /// `max_fallbacks`: groups tried after the first, in total.
    pub max_fallbacks: u32,
    /// An explicit `num_retries`.
    pub num_retries: Option<u32>,
    /// `retry_policy`.
    pub retry_policy: ClassPolicy,
    /// `model_group_retry_policy`: by group name, alias or label.
    pub group_retry_policy: BTreeMap<String, ClassPolicy>,
    /// `retry_after`: the least wait before a retry on the same deployment.
    pub retry_after: Duration,
    /// An explicit `allowed_fails`.
    pub allowed_fails: Option<u32>,
    /// `allowed_fails_policy`, when one is written.
    pub allowed_fails_policy: Option<ClassPolicy>,
    /// `cooldown_time`.
    pub cooldown_time: Duration,
    /// `disable_cooldowns`.
    pub disable_cooldowns: bool,
    /// `timeout`: a whole request, with its retries and fallbacks.
    pub timeout: Duration,
    /// `stream_timeout`: a whole stream; `timeout` when not written.
    pub stream_timeout: Option<Duration>,
    /// `litellm_settings.request_timeout` where it is written: one upstream call, its stream
    /// included. Otherwise `REQUEST_TIMEOUT_DEFAULT`, which gives way to `stream_timeout`.
    pub request_timeout: Option<Duration>,
    /// `enable_pre_call_checks`.
    pub pre_call_checks: bool,
    /// `optional_pre_call_checks` has `prompt_caching`.
    pub prompt_caching: bool,
    /// The other `optional_pre_call_checks` that tie a request to a deployment.
    pub ties: TieChecks,
    /// `deployment_affinity_ttl_seconds`.
    pub ties_last: Duration,
    /// `enforce_model_rate_limits`: rpm and tpm are limits, not only shares.
    pub enforce_limits: bool,
    /// `enable_weighted_failover`: a retry goes to the rest of the group by weight.
    pub weighted_failover: bool,
    /// `disable_retry_on_max_parallel_request_limit_error`: nobody waits for a slot.
    pub no_waiting: bool,
    /// `enable_tag_filtering`.
    pub tag_filtering: bool,
    /// `tag_filtering_match_any`: false asks for all of the request's tags.
    pub tags_match_any: bool,
    /// `default_priority`.
    pub default_priority: Option<i32>,
    /// `polling_interval`: how late a waiting request may notice a free slot.
    pub polling_interval: Duration,
    /// Requests that may wait in one group, over all shards; the next gets 429.
    pub queue_max: u32,
    /// Ours: retries may add this share to a group's load (0.2 is 20 %).
    pub retry_budget_ratio: f64,
    /// Ours: retries a second and group that are allowed whatever the load.
    pub retry_budget_floor: u32,
    /// Ours: a second attempt when the first has not answered by the deployment's p95.
    pub hedging: bool,
}

/// `routing_strategy_args` of latency-based routing.
#[derive(Clone, Copy, Debug)]
pub struct LatencyArgs {
    /// Measurements older than this do not count.
    pub ttl: Duration,
    /// Deployments within this share of the fastest are as good as it (0.1 is 10 %).
    pub buffer: f64,
    /// How many measurements the average looks back on.
    pub samples_max: u32,
}

impl Default for LatencyArgs {
    fn default() -> Self {
        LatencyArgs {
            ttl: Duration::from_secs(3600),
            buffer: 0.0,
            samples_max: 10,
        }
    }
}

impl Default for RouterSettings {
    fn default() -> Self {
        RouterSettings {
            strategy: String::from("simple-shuffle"),
            latency: LatencyArgs::default(),
            fallbacks: FallbackTable::new(),
            default_fallbacks: Vec::new(),
            context_window_fallbacks: FallbackTable::new(),
            content_policy_fallbacks: FallbackTable::new(),
            max_fallbacks: 5,
            num_retries: None,
            retry_policy: ClassPolicy::default(),
            group_retry_policy: BTreeMap::new(),
            retry_after: Duration::ZERO,
            allowed_fails: None,
            allowed_fails_policy: None,
            cooldown_time: Duration::from_secs(5),
            disable_cooldowns: false,
            timeout: Duration::from_secs(600),
            stream_timeout: None,
            request_timeout: None,
            pre_call_checks: false,
            prompt_caching: false,
            ties: TieChecks::default(),
            ties_last: Duration::from_secs(3600),
            enforce_limits: true,
            weighted_failover: false,
            no_waiting: false,
            tag_filtering: false,
            tags_match_any: true,
            default_priority: None,
            polling_interval: Duration::from_millis(3),
            queue_max: 10_000,
            retry_budget_ratio: 0.2,
            retry_budget_floor: 10,
            caching_groups: Vec::new(),
            hedging: false,
        }
    }
}
