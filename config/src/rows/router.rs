//! `router_settings`: which deployment, how often, and what then.

use super::general_maps::A_PROVIDER_BUDGET;
use super::litellm_maps::{REDIS, REDIS_KWARGS};
use crate::row::Default::{EmptyMap, Means, Number as Num, Texts, Unset};
use crate::row::Effect::{InForce, Later};
use crate::row::Kind::{
    Aliases, Any, Bool, Choice, Fallbacks, Integer, Known, List, Map, Number, Seconds, Secret,
    SecretUrl, Table as In, Text,
};
use crate::row::{Default, Row, SECONDS_MAX, Table, row};

/// `router_settings`.
pub static ROUTER_SETTINGS: Table = Table {
    doc: "Which deployment serves a request, how often it is tried, and what is tried instead.",
    open: false,
    rows: ROWS,
};

/// The routing strategies.
const STRATEGIES: &[&str] = &[
    "simple-shuffle",
    "least-busy",
    "usage-based-routing",
    "usage-based-routing-v2",
    "latency-based-routing",
    "cost-based-routing",
    "custom",
];

const OFF: Default = Default::Bool(false);

#[rustfmt::skip] // A row is read as a whole.
const ROWS: &[Row] = &[
    row(InForce, "routing_strategy", Choice(STRATEGIES), Default::Text("simple-shuffle"),
        "How one of a group's deployments is chosen.")
        .example("latency-based-routing"),
    row(InForce, "routing_strategy_args", In(&STRATEGY_ARGS), EmptyMap,
        "Arguments of the strategy; one that it does not know is an error."),
    row(Later, "custom_routing_strategy_path", Text, Unset,
        "The Python strategy of `routing_strategy: custom`.")
        .example("my_router.strategy"),
    row(InForce, "model_group_alias", Aliases, EmptyMap,
        "Other names of model groups. `{model: group, hidden: true}` keeps the alias out of \
         `/models`.")
        .example("{fast: gpt-4o, secret: {model: gpt-4o, hidden: true}}"),
    row(InForce, "default_litellm_params", Map(&Any), EmptyMap,
        "Defaults of every request's body; the deployment's and the client's own win.")
        .example("{temperature: 0.2}"),
    row(InForce, "default_max_parallel_requests", Integer(1, i64::MAX), Unset,
        "Concurrent calls per deployment, where nothing else says it.")
        .example("100"),
    row(InForce, "default_priority", Integer(0, i64::MAX), Unset,
        "The priority of requests that bring none; lower is sooner.")
        .example("10"),
    row(InForce, "polling_interval", Seconds(0.0, 60.0), Num(0.003),
        "How late a queued request may notice a free slot, at most."),
    row(InForce, "caching_groups", List(&List(&Text)), Texts(&[]),
        "Groups whose members share cached answers.")
        .example("[[gpt-4o, fast]]"),
    row(InForce, "assistants_config", In(&ASSISTANTS), Unset,
        "Where `/v1/assistants` and `/v1/threads` go."),
    row(InForce, "redis_host", Text, Unset,
        "The Redis in which instances share limits, cooldowns, health and budgets.")
        .example("redis.example"),
    row(InForce, "redis_port", Integer(1, 65_535), Default::Integer(6379),
        "Its port."),
    row(InForce, "redis_password", Secret, Unset,
        "Its password.")
        .example("os.environ/REDIS_PASSWORD"),
    row(InForce, "redis_username", Text, Unset,
        "Its user.")
        .example("default"),
    row(InForce, "redis_db", Integer(0, 65_535), Unset,
        "Its database number.")
        .example("0"),
    row(InForce, "redis_ssl", Bool, OFF,
        "TLS to Redis."),
    row(InForce, "redis_url", SecretUrl(REDIS), Unset,
        "All of that as one URL, which wins.")
        .example("os.environ/REDIS_URL"),
    row(InForce, "cache_kwargs", In(&REDIS_KWARGS), EmptyMap,
        "More settings of that Redis."),
    row(InForce, "client_ttl", Seconds(0.0, SECONDS_MAX), Num(3600.0),
        "An upstream connection is not used again past this age."),
    row(InForce, "connect_timeout", Seconds(0.00001, SECONDS_MAX), Num(10.0),
        "Reaching an upstream, its TLS included.")
        .ours(),
    row(InForce, "upstream_idle_timeout", Seconds(0.0, SECONDS_MAX), Num(90.0),
        "An upstream connection that idles longer is closed.")
        .ours(),
    row(InForce, "max_idle_connections", Integer(0, 1_000_000), Default::Integer(512),
        "Idle connections that a shard keeps per upstream.")
        .ours(),
    row(InForce, "max_upstream_connections", Integer(1, 1_000_000), Default::Integer(16_384),
        "Connections of a shard per upstream; further requests wait for one.")
        .ours(),
    row(InForce, "cache_responses", Bool, OFF,
        "A cache of whole answers in each shard's memory, in front of any other."),
    row(InForce, "enable_pre_call_checks", Bool, OFF,
        "Deployments whose context window the prompt exceeds are skipped."),
    row(InForce, "optional_pre_call_checks", List(&Known(PRE_CALL_CHECKS)), Texts(&[]),
        "More checks before a call.")
        .example("[prompt_caching]"),
    row(InForce, "enable_tag_filtering", Bool, OFF,
        "Requests with tags use the deployments that have one of them, or the tag `default`."),
    row(InForce, "tag_filtering_match_any", Bool, Default::Bool(true),
        "One common tag is enough; false: all of the request's tags are needed."),
    row(InForce, "allowed_fails", Integer(0, i64::MAX), Means("1"),
        "More failures than this within a minute cool a deployment down.")
        .example("3"),
    row(InForce, "cooldown_time", Seconds(0.0, SECONDS_MAX), Means("5"),
        "How long a deployment is out of rotation.")
        .example("30"),
    row(InForce, "disable_cooldowns", Bool, OFF,
        "No deployment is ever taken out of rotation for failures."),
    row(InForce, "retry_policy", In(&RETRY_POLICY), Unset,
        "Retries by kind of error."),
    row(InForce, "allowed_fails_policy", In(&ALLOWED_FAILS_POLICY), Unset,
        "Failures within a minute that are borne, by kind of error."),
    row(InForce, "model_group_retry_policy", Map(&A_RETRY_POLICY), EmptyMap,
        "`retry_policy` of single groups; wins over it.")
        .example("{gpt-4o: {RateLimitErrorRetries: 5}}"),
    row(InForce, "max_queued_requests", Integer(0, 10_000_000), Default::Integer(10_000),
        "Requests that may wait for a slot in one group, over all shards; the next gets 429.")
        .ours(),
    row(InForce, "retry_budget_ratio", Number(0.0, 100.0), Num(0.2),
        "The share that retries may add to a group's load: 0.2 is a fifth.")
        .ours(),
    row(InForce, "retry_budget_floor", Integer(0, 1_000_000), Default::Integer(10),
        "Retries a second that a group may make whatever its load.")
        .ours(),
    row(InForce, "mid_stream_fallback", Bool, OFF,
        "A stream that breaks after its first byte goes on with a fallback.")
        .ours(),
    row(InForce, "hedging", Bool, OFF,
        "A second call is made when the first has not answered as soon as 95 of 100 do.")
        .ours(),
    row(InForce, "fallbacks", Fallbacks, Texts(&[]),
        "What is tried, in order, when a group has failed.")
        .example("[{gpt-4o: [fast]}]"),
    row(InForce, "content_policy_fallbacks", Fallbacks, Texts(&[]),
        "What is tried when a prompt breaks the provider's content policy.")
        .example("[{gpt-4o: [fast]}]"),
    row(InForce, "context_window_fallbacks", Fallbacks, Texts(&[]),
        "What is tried when a prompt is too long.")
        .example("[{gpt-4o: [fast]}]"),
    row(InForce, "default_fallbacks", Fallbacks, Texts(&[]),
        "What is tried for groups that have no fallbacks of their own.")
        .example("[fast]"),
    row(InForce, "max_fallbacks", Integer(0, 1000), Default::Integer(5),
        "Fallbacks that are tried; then the last error is answered."),
    row(InForce, "num_retries", Integer(0, 100), Means("3"),
        "Calls after the first one failed. Wins over general_settings and litellm_settings.")
        .example("3"),
    row(InForce, "retry_after", Seconds(0.0, SECONDS_MAX), Unset,
        "The least wait before a retry; wins over general_settings.")
        .example("1"),
    row(InForce, "timeout", Seconds(0.00001, SECONDS_MAX), Num(600.0),
        "A whole request, its retries and fallbacks included."),
    row(InForce, "stream_timeout", Seconds(0.00001, SECONDS_MAX), Means("`timeout`"),
        "A whole stream; past it the stream ends with an error event.")
        .example("600"),
    row(InForce, "debug_level", Choice(&["DEBUG", "INFO"]), Default::Text("INFO"),
        "What the router logs."),
    row(InForce, "set_verbose", Bool, OFF,
        "The router logs more.")
        .instead("`router_settings.debug_level: DEBUG`"),
    row(InForce, "provider_budget_config", Map(&A_PROVIDER_BUDGET), EmptyMap,
        "What may be spent per provider; wins over general_settings.")
        .example("{openai: {budget_limit: 100, time_period: 1d}}"),
    row(InForce, "router_general_settings", In(&ROUTER_GENERAL), EmptyMap,
        "Odds and ends."),
    row(InForce, "ignore_invalid_deployments", Bool, OFF,
        "A deployment that cannot work is left out with a warning."),
    row(InForce, "enforce_model_rate_limits", Bool, Default::Bool(true),
        "rpm and tpm of deployments are hard limits under every strategy."),
    row(InForce, "deployment_affinity_ttl_seconds", Seconds(0.0, SECONDS_MAX), Num(3600.0),
        "How long a caller stays with a deployment, where a check asks for it."),
    row(InForce, "enable_weighted_failover", Bool, OFF,
        "A retry goes to the rest of the group by weight."),
    row(InForce, "enable_pre_call_check", Bool, OFF,
        "A slip in LiteLLM's own pages.")
        .instead("`router_settings.enable_pre_call_checks`"),
    row(Later, "search_tools", List(&Any), Unset,
        "Search providers behind `/v1/search`.")
        .example("[]"),
    row(Later, "guardrail_list", List(&Any), Unset,
        "Guardrails of one name that share the work.")
        .example("[]"),
    row(Later, "alerting_config", Map(&Any), Unset,
        "Alerts of the router alone.")
        .example("{}"),
];

const PRE_CALL_CHECKS: &[&str] = &[
    "router_budget_limiting",
    "prompt_caching",
    "enforce_model_rate_limits",
    "session_affinity",
    "deployment_affinity",
    "responses_api_deployment_check",
];

/// `router_settings.routing_strategy_args`.
#[rustfmt::skip] // A row is read as a whole.
static STRATEGY_ARGS: Table = Table {
    doc: "Arguments of the routing strategy.",
    open: true,
    rows: &[
        row(InForce, "ttl", Seconds(0.0, SECONDS_MAX), Unset,
            "latency: how long a measurement counts. usage: how long a minute's count is kept.")
            .example("300"),
        row(InForce, "lowest_latency_buffer", Number(0.0, 1000.0), Unset,
            "latency: deployments within this fraction of the fastest share the traffic.")
            .example("0.1"),
        row(InForce, "max_latency_list_size", Integer(1, 100_000), Unset,
            "latency: measurements kept per deployment.")
            .example("10"),
    ],
};

/// The arguments that each strategy knows.
pub(crate) const STRATEGY_ARG_NAMES: &[(&str, &[&str])] = &[
    (
        "latency-based-routing",
        &["ttl", "lowest_latency_buffer", "max_latency_list_size"],
    ),
    ("usage-based-routing", &["ttl"]),
    ("usage-based-routing-v2", &["ttl"]),
];

/// `router_settings.assistants_config`.
#[rustfmt::skip] // A row is read as a whole.
static ASSISTANTS: Table = Table {
    doc: "Where assistants and threads go.",
    open: false,
    rows: &[
        row(InForce, "custom_llm_provider", Text, Default::Text("openai"),
            "The provider.")
            .example("azure"),
        row(InForce, "litellm_params", Map(&Any), EmptyMap,
            "Its credentials and URL.")
            .example("{api_key: os.environ/AZURE_API_KEY}"),
    ],
};

const RETRIES: crate::row::Kind = Integer(0, 100);
const FAILS: crate::row::Kind = Integer(0, i64::MAX);

/// `router_settings.retry_policy`.
#[rustfmt::skip] // A row is read as a whole.
static RETRY_POLICY: Table = Table {
    doc: "Retries by kind of error.",
    open: false,
    rows: &[
        row(InForce, "AuthenticationErrorRetries", RETRIES, Means("3"),
            "401 and 403.")
            .example("1"),
        row(InForce, "TimeoutErrorRetries", RETRIES, Means("3"),
            "Timeouts.")
            .example("2"),
        row(InForce, "RateLimitErrorRetries", RETRIES, Means("3"),
            "429.")
            .example("3"),
        row(InForce, "ContentPolicyViolationErrorRetries", RETRIES, Means("4"),
            "Refused by the content policy.")
            .example("0"),
        row(InForce, "InternalServerErrorRetries", RETRIES, Means("4"),
            "5xx.")
            .example("4"),
        row(InForce, "BadRequestErrorRetries", RETRIES, Means("0"),
            "400.")
            .example("0"),
    ],
};

/// Such a map, as the item of a list or a map.
static A_RETRY_POLICY: crate::row::Kind = crate::row::Kind::Table(&RETRY_POLICY);

/// `router_settings.allowed_fails_policy`.
#[rustfmt::skip] // A row is read as a whole.
static ALLOWED_FAILS_POLICY: Table = Table {
    doc: "Failures within a minute that are borne, by kind of error.",
    open: false,
    rows: &[
        row(InForce, "BadRequestErrorAllowedFails", FAILS, Means("1000"),
            "400.")
            .example("1000"),
        row(InForce, "AuthenticationErrorAllowedFails", FAILS, Means("10"),
            "401 and 403.")
            .example("10"),
        row(InForce, "TimeoutErrorAllowedFails", FAILS, Means("12"),
            "Timeouts.")
            .example("12"),
        row(InForce, "RateLimitErrorAllowedFails", FAILS, Means("10000"),
            "429.")
            .example("10000"),
        row(InForce, "ContentPolicyViolationErrorAllowedFails", FAILS, Means("15"),
            "Refused by the content policy.")
            .example("15"),
        row(InForce, "InternalServerErrorAllowedFails", FAILS, Means("20"),
            "5xx.")
            .example("20"),
    ],
};

/// `router_settings.router_general_settings`.
#[rustfmt::skip] // A row is read as a whole.
static ROUTER_GENERAL: Table = Table {
    doc: "Odds and ends of the router.",
    open: false,
    rows: &[
        row(InForce, "async_only_mode", Bool, OFF,
            "Accepted; there is no other mode."),
        row(InForce, "pass_through_all_models", Bool, OFF,
            "A model that is in no group is called as it is named, with the provider's credentials of \
             the environment."),
    ],
};
