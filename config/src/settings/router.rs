//! `router_settings` as types. The fields are the rows, name by name.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value as Json;

use super::general::ProviderBudget;
use super::litellm::RedisMore;
use super::value::{Alias, DebugLevel, Fallback, Kept, RoutingStrategy, Secret, seconds};

/// Which deployment serves a request, how often it is tried, and what is tried instead.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouterSettings {
    /// How one of a group's deployments is chosen.
    pub routing_strategy: RoutingStrategy,
    /// Arguments of the strategy; one that it does not know is an error.
    pub routing_strategy_args: StrategyArgs,
    /// The Python strategy of `routing_strategy: custom`.
    pub custom_routing_strategy_path: Option<String>,
    /// Other names of model groups. `{model: group, hidden: true}` keeps the alias out of
    /// `/models`.
    pub model_group_alias: BTreeMap<String, Alias>,
    /// Defaults of every request's body; the deployment's and the client's own win.
    pub default_litellm_params: Kept,
    /// Concurrent calls per deployment, where nothing else says it.
    pub default_max_parallel_requests: Option<u64>,
    /// The priority of requests that bring none; lower is sooner.
    pub default_priority: Option<u64>,
    /// How late a queued request may notice a free slot, at most.
    #[serde(with = "seconds")]
    pub polling_interval: Duration,
    /// Groups whose members share cached answers.
    pub caching_groups: Vec<Vec<String>>,
    /// Where `/v1/assistants` and `/v1/threads` go.
    pub assistants_config: Option<Assistants>,
    /// The Redis in which instances share limits, cooldowns, health and budgets.
    pub redis_host: Option<String>,
    /// Its port.
    pub redis_port: u64,
    /// Its password.
    pub redis_password: Option<Secret>,
    /// Its user.
    pub redis_username: Option<String>,
    /// Its database number.
    pub redis_db: Option<u64>,
    /// TLS to Redis.
    pub redis_ssl: bool,
    /// All of that as one URL, which wins.
    pub redis_url: Option<Secret>,
    /// More settings of that Redis.
    pub cache_kwargs: RedisMore,
    /// An upstream connection is not used again past this age.
    #[serde(with = "seconds")]
    pub client_ttl: Duration,
    /// Reaching an upstream, its TLS included.
    #[serde(with = "seconds")]
    pub connect_timeout: Duration,
    /// An upstream connection that idles longer is closed.
    #[serde(with = "seconds")]
    pub upstream_idle_timeout: Duration,
    /// Idle connections that a shard keeps per upstream.
    pub max_idle_connections: u64,
    /// Connections of a shard per upstream; further requests wait for one.
    pub max_upstream_connections: u64,
    /// A second cache in each shard's memory, in front of the configured one.
    pub cache_responses: bool,
    /// Deployments whose context window the prompt exceeds are skipped.
    pub enable_pre_call_checks: bool,
    /// More checks before a call.
    pub optional_pre_call_checks: Vec<String>,
    /// Requests with tags use the deployments that have one of them, or the tag `default`.
    pub enable_tag_filtering: bool,
    /// One common tag is enough; false: all of the request's tags are needed.
    pub tag_filtering_match_any: bool,
    /// More failures than this within a minute cool a deployment down.
    pub allowed_fails: Option<u64>,
    /// How long a deployment is out of rotation.
    #[serde(default, with = "seconds::optional")]
    pub cooldown_time: Option<Duration>,
    /// No deployment is ever taken out of rotation for failures.
    pub disable_cooldowns: bool,
    /// Retries by kind of error.
    pub retry_policy: Option<RetryPolicy>,
    /// Failures within a minute that are borne, by kind of error.
    pub allowed_fails_policy: Option<AllowedFailsPolicy>,
    /// `retry_policy` of single groups; wins over it.
    pub model_group_retry_policy: BTreeMap<String, RetryPolicy>,
    /// Requests that may wait for a slot in one group, over all shards; the next gets 429.
    pub max_queued_requests: u64,
    /// The share that retries may add to a group's load: 0.2 is a fifth.
    pub retry_budget_ratio: f64,
    /// Retries a second that a group may make whatever its load.
    pub retry_budget_floor: u64,
    /// A stream that breaks after its first byte goes on with a fallback.
    pub mid_stream_fallback: bool,
    /// A second call is made when the first has not answered as soon as 95 of 100 do.
    pub hedging: bool,
    /// What is tried, in order, when a group has failed.
    pub fallbacks: Vec<Fallback>,
    /// What is tried when a prompt breaks the provider's content policy.
    pub content_policy_fallbacks: Vec<Fallback>,
    /// What is tried when a prompt is too long.
    pub context_window_fallbacks: Vec<Fallback>,
    /// What is tried for groups that have no fallbacks of their own.
    pub default_fallbacks: Vec<Fallback>,
    /// Fallbacks that are tried; then the last error is answered.
    pub max_fallbacks: u64,
    /// Calls after the first one failed. Wins over general_settings and litellm_settings.
    pub num_retries: Option<u64>,
    /// The least wait before a retry; wins over general_settings.
    #[serde(default, with = "seconds::optional")]
    pub retry_after: Option<Duration>,
    /// A whole request, its retries and fallbacks included.
    #[serde(with = "seconds")]
    pub timeout: Duration,
    /// A whole stream; past it the stream ends with an error event.
    #[serde(default, with = "seconds::optional")]
    pub stream_timeout: Option<Duration>,
    /// What the router logs.
    pub debug_level: DebugLevel,
    /// The router logs more.
    pub set_verbose: bool,
    /// What may be spent per provider; wins over general_settings.
    pub provider_budget_config: BTreeMap<String, ProviderBudget>,
    /// Odds and ends.
    pub router_general_settings: RouterGeneral,
    /// A deployment that cannot work is left out with a warning.
    pub ignore_invalid_deployments: bool,
    /// rpm and tpm of deployments are hard limits under every strategy.
    pub enforce_model_rate_limits: bool,
    /// How long a caller stays with a deployment, where a check asks for it.
    #[serde(with = "seconds")]
    pub deployment_affinity_ttl_seconds: Duration,
    /// A retry goes to the rest of the group by weight.
    pub enable_weighted_failover: bool,
    /// Alerts of the router alone.
    pub alerting_config: Option<Kept>,
    /// A slip in LiteLLM's own pages.
    pub enable_pre_call_check: bool,
    /// Search providers behind `/v1/search`.
    pub search_tools: Option<Vec<Json>>,
    /// Guardrails of one name that share the work.
    pub guardrail_list: Option<Vec<Json>>,
    /// Names without a row, as they were written.
    #[serde(default)]
    pub unknown: Kept,
}

/// Arguments of the routing strategy.
#[derive(Clone, Debug, Deserialize)]
pub struct StrategyArgs {
    /// latency: how long a measurement counts. usage: how long a minute's count is kept.
    #[serde(default, with = "seconds::optional")]
    pub ttl: Option<Duration>,
    /// latency: deployments within this fraction of the fastest share the traffic.
    pub lowest_latency_buffer: Option<f64>,
    /// latency: measurements kept per deployment.
    pub max_latency_list_size: Option<u64>,
    /// The rest of the map, as it was written.
    #[serde(flatten)]
    pub more: Kept,
}

/// Where assistants and threads go.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assistants {
    /// The provider.
    pub custom_llm_provider: String,
    /// Its credentials and URL.
    pub litellm_params: Kept,
    /// Names without a row, as they were written.
    #[serde(default)]
    pub unknown: Kept,
}

/// Retries by kind of error.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryPolicy {
    /// 401 and 403.
    #[serde(rename = "AuthenticationErrorRetries")]
    pub authentication_error_retries: Option<u64>,
    /// Timeouts.
    #[serde(rename = "TimeoutErrorRetries")]
    pub timeout_error_retries: Option<u64>,
    /// 429.
    #[serde(rename = "RateLimitErrorRetries")]
    pub rate_limit_error_retries: Option<u64>,
    /// Refused by the content policy.
    #[serde(rename = "ContentPolicyViolationErrorRetries")]
    pub content_policy_violation_error_retries: Option<u64>,
    /// 5xx.
    #[serde(rename = "InternalServerErrorRetries")]
    pub internal_server_error_retries: Option<u64>,
    /// 400.
    #[serde(rename = "BadRequestErrorRetries")]
    pub bad_request_error_retries: Option<u64>,
    /// Names without a row, as they were written.
    #[serde(default)]
    pub unknown: Kept,
}

/// Failures within a minute that are borne, by kind of error.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowedFailsPolicy {
    /// 400.
    #[serde(rename = "BadRequestErrorAllowedFails")]
    pub bad_request_error_allowed_fails: Option<u64>,
    /// 401 and 403.
    #[serde(rename = "AuthenticationErrorAllowedFails")]
    pub authentication_error_allowed_fails: Option<u64>,
    /// Timeouts.
    #[serde(rename = "TimeoutErrorAllowedFails")]
    pub timeout_error_allowed_fails: Option<u64>,
    /// 429.
    #[serde(rename = "RateLimitErrorAllowedFails")]
    pub rate_limit_error_allowed_fails: Option<u64>,
    /// Refused by the content policy.
    #[serde(rename = "ContentPolicyViolationErrorAllowedFails")]
    pub content_policy_violation_error_allowed_fails: Option<u64>,
    /// 5xx.
    #[serde(rename = "InternalServerErrorAllowedFails")]
    pub internal_server_error_allowed_fails: Option<u64>,
    /// Names without a row, as they were written.
    #[serde(default)]
    pub unknown: Kept,
}

/// Odds and ends of the router.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouterGeneral {
    /// Accepted; there is no other mode.
    pub async_only_mode: bool,
    /// A model that is in no group is called as it is named.
    pub pass_through_all_models: bool,
    /// Names without a row, as they were written.
    #[serde(default)]
    pub unknown: Kept,
}
