//! `litellm_settings`: callbacks, network, fallbacks, keys, cache.

use super::litellm_maps::{CACHE_PARAMS, KEY_GENERATION, KEY_PARAMS};
use crate::row::Default::{EmptyMap, Means, Texts, Unset};
use crate::row::Effect::{InForce, Later};
use crate::row::Kind::{
    Any, Bool, Either, Fallbacks, Integer, Known, List, Many, Map, Number, Period, Seconds,
    Table as In, Text,
};
use crate::row::{Default, Row, SECONDS_MAX, Table, row};

/// `litellm_settings`.
pub static LITELLM_SETTINGS: Table = Table {
    doc: "Callbacks, network, fallbacks, keys and caching.",
    open: false,
    rows: ROWS,
};

const OFF: Default = Default::Bool(false);
const MONEY: crate::row::Kind = Number(0.0, f64::MAX);

#[rustfmt::skip] // A row is read as a whole.
const ROWS: &[Row] = &[
    // Callbacks and logs.
    row(Later, "success_callback", Many(&Known(CALLBACKS)), Texts(&[]),
        "Integrations that hear of each success.")
        .example("[langfuse]"),
    row(Later, "failure_callback", Many(&Known(CALLBACKS)), Texts(&[]),
        "Integrations that hear of each failure.")
        .example("[sentry]"),
    row(Later, "callbacks", Many(&Known(CALLBACKS)), Texts(&[]),
        "Integrations that hear of both: names, or `module.instance` of a Python class. One that \
         is listed twice runs once.")
        .env(&["LITELLM_CALLBACKS"]).example("[prometheus, otel]"),
    row(Later, "service_callbacks", Many(&Known(CALLBACKS)), Texts(&[]),
        "Integrations that hear of failures and latency of Postgres, Redis, caches and our own \
         parts.")
        .example("[prometheus_system]"),
    row(Later, "audit_log_callbacks", Many(&Known(CALLBACKS)), Texts(&[]),
        "Integrations that hear of changes by administrators.")
        .example("[s3]"),
    row(InForce, "store_audit_logs", Bool, OFF,
        "Changes by administrators are kept in the database."),
    row(Later, "turn_off_message_logging", Bool, OFF,
        "No text of prompts or answers leaves through any callback."),
    row(Later, "redact_user_api_key_info", Bool, OFF,
        "Key hash, user, team and alias are removed from what callbacks get."),
    row(Later, "redact_messages_in_exceptions", Bool, OFF,
        "Error texts carry no prompt."),
    row(Later, "global_disable_no_log_param", Bool, OFF,
        "A request's `no-log` is ignored."),
    row(Later, "log_raw_request_response", Bool, OFF,
        "Callbacks get the upstream's request and answer as they were."),
    row(Later, "langfuse_default_tags", List(&Text), Texts(&[]),
        "Tags of every Langfuse trace: `cache_hit`, `proxy_base_url`, `user_api_key_alias`, ...")
        .example("[cache_hit, user_api_key_alias]"),
    row(Later, "s3_callback_params", Map(&Any), Unset,
        "Bucket and credentials of the `s3` callback.")
        .example("{s3_bucket_name: logs}"),
    row(Later, "aws_sqs_callback_params", Map(&Any), Unset,
        "Queue and credentials of the `aws_sqs` callback.")
        .example("{}"),
    row(Later, "datadog_params", Map(&Any), Unset,
        "Settings of the `datadog` callback.")
        .example("{}"),
    row(Later, "custom_prometheus_metadata_labels", List(&Text), Texts(&[]),
        "Fields of a request's metadata that become labels.")
        .example("[metadata.team]"),
    row(Later, "custom_prometheus_tags", List(&Text), Texts(&[]),
        "Tags that become labels.")
        .example("[prod]"),
    row(Later, "prometheus_metrics_config", List(&Any), Unset,
        "Which metrics are kept, with which labels.")
        .example("[]"),
    row(Later, "prometheus_initialize_budget_metrics", Bool, OFF,
        "Budget metrics of all keys exist from the start."),
    row(Later, "enable_end_user_cost_tracking_prometheus_only", Bool, OFF,
        "The end user becomes a label."),
    row(Later, "require_auth_for_metrics_endpoint", Bool, OFF,
        "`/metrics` needs a key."),
    row(InForce, "extra_spend_tag_headers", List(&Text), Texts(&[]),
        "Request headers that become tags of the spend row.")
        .example("[x-team]"),
    row(InForce, "modify_params", Bool, OFF,
        "Conversations that Anthropic or Bedrock would refuse are repaired. What a callback's pre-call hook \
         changes comes with callbacks."),
    row(InForce, "enable_preview_features", Bool, OFF,
        "Turns on what docs/previews.md lists: streams of Azure's o1 models, `metadata` for OpenAI."),
    row(InForce, "set_verbose", Bool, OFF,
        "Logs at level DEBUG, payloads redacted.")
        .env(&["LITELLM_VERBOSE"]),
    row(InForce, "json_logs", Bool, OFF,
        "Each log line is a JSON object.")
        .env(&["LITELLM_JSON_LOGS"]),
    row(InForce, "telemetry", Bool, OFF,
        "Accepted; nothing is ever sent home."),
    // Network, requests.
    row(InForce, "request_timeout",
        Seconds(0.00001, SECONDS_MAX), Means("600, less where `stream_timeout` is less"),
        "One upstream call, its stream included; then 408.")
        .example("600"),
    row(InForce, "num_retries", Integer(0, 100), Unset,
        "Retries, where neither router_settings nor general_settings say it.")
        .example("3"),
    row(InForce, "allowed_fails", Integer(0, i64::MAX), Unset,
        "As `router_settings.allowed_fails`, which wins.")
        .example("3"),
    row(InForce, "cooldown_time", Seconds(0.0, SECONDS_MAX), Unset,
        "As `router_settings.cooldown_time`, which wins.")
        .example("30"),
    row(InForce, "drop_params", Bool, OFF,
        "Parameters the provider does not know are dropped instead of refused."),
    row(InForce, "force_ipv4", Bool, OFF,
        "Upstreams are dialled over IPv4 only."),
    row(InForce, "user_url_validation", Bool, Default::Bool(true),
        "Files that a request names by address, fetched for providers that take bytes only, come from \
         public addresses alone."),
    row(InForce, "user_url_allowed_hosts", List(&Text), Texts(&[]),
        "Hosts (`name` or `name:port`, as in the URL) whose private addresses may be asked for such files.")
        .example("[files.corp.example]"),
    row(InForce, "ssl_verify", Either(&[Bool, Text]), Default::Bool(true),
        "False: upstream certificates are not checked. A path: the file of the roots."),
    row(Later, "ssl_certificate", Text, Unset,
        "The client certificate shown to upstreams.")
        .example("/etc/shardgate/client.pem"),
    row(InForce, "forward_traceparent_to_llm_provider", Bool, OFF,
        "`traceparent` and `tracestate` go upstream."),
    row(Later, "add_function_to_prompt", Bool, OFF,
        "Tools are described in the prompt where the provider has none."),
    row(Later, "enable_json_schema_validation", Bool, OFF,
        "Answers are checked against the schema the request asked for."),
    row(Later, "disable_copilot_system_to_assistant", Bool, OFF,
        "System messages to GitHub Copilot stay system messages."),
    row(InForce, "disable_add_transform_inline_image_block", Bool, OFF,
        "Fireworks' inline transform of image URLs is not asked for."),
    row(Later, "disable_hf_tokenizer_download", Bool, OFF,
        "No tokenizer is fetched; the OpenAI one counts."),
    row(InForce, "disable_token_counter", Bool, OFF,
        "Tokens are never counted here: /utils/token_counter says 0, and no prompt is too long before it is \
         sent."),
    row(InForce, "return_response_headers", Bool, Default::Bool(true),
        "Upstream headers are answered as `llm_provider-*`."),
    row(InForce, "include_cost_in_streaming_usage", Bool, OFF,
        "The usage in a stream carries `cost`, in US dollars: in chats, text completions, messages and \
         responses."),
    row(Later, "network_mock", Bool, OFF,
        "No upstream is called; every answer is canned."),
    row(InForce, "model_alias_map", Map(&Text), EmptyMap,
        "Names that are replaced in every request.")
        .example("{gpt-4: gpt-4o}"),
    row(Later, "custom_provider_map", List(&Any), Unset,
        "Providers written in Python: `{provider, custom_handler}`.")
        .example("[{provider: mine, custom_handler: my_provider.handler}]"),
    row(Later, "mcp_aliases", Map(&Text), Unset,
        "Short names of MCP servers.")
        .example("{github: github_mcp_server}"),
    row(Later, "use_chat_completions_url_for_anthropic_messages", Bool, OFF,
        "`/v1/messages` on OpenAI models goes to chat completions instead of responses.")
        .env(&["LITELLM_USE_CHAT_COMPLETIONS_URL_FOR_ANTHROPIC_MESSAGES"]),
    row(Later, "guardrails", List(&Any), Unset,
        "Guardrails, in their older form.")
        .example("[]"),
    row(Later, "public_model_groups", List(&Text), Unset,
        "Groups shown without a key.")
        .example("[gpt-4o]"),
    // Fallbacks.
    row(InForce, "fallbacks", Fallbacks, Texts(&[]),
        "As `router_settings.fallbacks`, which wins.")
        .example("[{gpt-4o: [fast]}]"),
    row(InForce, "default_fallbacks", Fallbacks, Texts(&[]),
        "As `router_settings.default_fallbacks`, which wins.")
        .example("[fast]"),
    row(InForce, "content_policy_fallbacks", Fallbacks, Texts(&[]),
        "As `router_settings.content_policy_fallbacks`, which wins.")
        .example("[{gpt-4o: [fast]}]"),
    row(InForce, "context_window_fallbacks", Fallbacks, Texts(&[]),
        "As `router_settings.context_window_fallbacks`, which wins.")
        .example("[{gpt-4o: [fast]}]"),
    // Spend, keys.
    row(InForce, "disable_end_user_cost_tracking", Bool, OFF,
        "No end user in spend rows or metrics; totals stay."),
    row(Later, "disable_end_user_cost_tracking_prometheus_only", Bool, OFF,
        "No end user among the labels; rows keep it."),
    row(InForce, "key_generation_settings", In(&KEY_GENERATION), Unset,
        "Who may make keys, and what each must bring."),
    row(InForce, "default_key_generate_params", In(&KEY_PARAMS), Unset,
        "What a new key gets where its request is silent."),
    row(InForce, "upperbound_key_generate_params", In(&KEY_PARAMS), Unset,
        "What a new key may ask for at most."),
    row(InForce, "default_internal_user_params", Map(&Any), Unset,
        "What a new user gets.")
        .example("{user_role: internal_user, max_budget: 10}"),
    row(InForce, "default_team_params", Map(&Any), Unset,
        "What a new team gets.")
        .example("{max_budget: 100, budget_duration: 30d}"),
    row(Later, "default_team_settings", List(&Any), Unset,
        "Callbacks of single teams.")
        .example("[{team_id: search, success_callback: [langfuse]}]"),
    row(InForce, "enable_key_alias_format_validation", Bool, OFF,
        "Aliases of keys have 2 to 255 letters, digits and `_-/.@`."),
    row(InForce, "cost_discount_config", Map(&Number(0.0, 1.0)), Unset,
        "The share by which a provider's costs are lower than its list prices.")
        .example("{openai: 0.05}"),
    row(InForce, "cost_margin_config", Map(&Any), Unset,
        "What is added to a provider's costs; `global` for all.")
        .example("{global: 0.05}"),
    row(InForce, "max_budget", MONEY, Unset,
        "USD that all callers together may spend per `budget_duration`.")
        .example("1000"),
    row(InForce, "budget_duration", Period, Unset,
        "The period of `max_budget`.")
        .example("30d"),
    row(InForce, "max_user_budget", MONEY, Unset,
        "USD that an end user may spend.")
        .example("10"),
    row(InForce, "max_end_user_budget", MONEY, Unset,
        "Another name of `max_user_budget`.")
        .example("10"),
    row(InForce, "max_end_user_budget_id", Text, Unset,
        "The budget of end users who have none.")
        .example("default-customers"),
    row(InForce, "max_internal_user_budget", MONEY, Unset,
        "USD that a new user may spend.")
        .example("100"),
    row(InForce, "internal_user_budget_duration", Period, Unset,
        "The period of `max_internal_user_budget`.")
        .example("30d"),
    row(InForce, "tag_budget_config", Map(&Any), Unset,
        "What may be spent per tag.")
        .example("{search: {max_budget: 10, budget_duration: 1d}}"),
    row(InForce, "priority_reservation", Map(&Number(0.0, 1.0)), Unset,
        "Share of a model's `rpm` and `tpm` (of all its deployments together) that a priority keeps; keys and \
         teams name theirs in `metadata.priority`.")
        .example("{prod: 0.9, dev: 0.1}"),
    row(InForce, "priority_reservation_settings", Map(&Number(0.0, SECONDS_MAX)), Unset,
        "`default_priority` (0.25): the share of all without a priority. `saturation_threshold` (0.5): up to \
         this share of the model's limit everybody may take more than his own.")
        .example("{default_priority: 0.25, saturation_threshold: 0.5}"),
    row(InForce, "budget_exceeded_status_code", Integer(400, 599), Default::Integer(422),
        "The status of a request that a budget refuses."),
    row(InForce, "blocked_user_list", Either(&[List(&Text), Text]), Unset,
        "End users who are refused, or the file that lists them.")
        .example("[mallory]"),
    row(InForce, "banned_keywords_list", Either(&[List(&Text), Text]), Unset,
        "Words that are refused, or the file that lists them.")
        .example("[forbidden]"),
    row(InForce, "timezone", Text, Default::Text("UTC"),
        "Where the day begins for budgets."),
    // Cache.
    row(Later, "cache", Bool, OFF,
        "Answers are cached; needs `cache_params`."),
    row(Later, "cache_params", In(&CACHE_PARAMS), Unset,
        "Where and what is cached."),
    row(Later, "enable_caching_on_provider_specific_optional_params", Bool, OFF,
        "Parameters that are not OpenAI's are part of the cache's key."),
    row(Later, "default_in_memory_ttl", Seconds(0.0, SECONDS_MAX), Unset,
        "How long the memory cache keeps an answer, where no ttl is set.")
        .example("600"),
    row(Later, "default_redis_ttl", Seconds(0.0, SECONDS_MAX), Unset,
        "How long Redis keeps an answer, where no ttl is set.")
        .example("3600"),
    row(Later, "default_redis_batch_cache_expiry", Seconds(0.0, SECONDS_MAX), Unset,
        "How long values that were missing in Redis are not asked for again.")
        .example("10"),
];

/// The integrations that have a name; anything with a dot in it is `module.instance`.
const CALLBACKS: &[&str] = &[
    "langfuse",
    "langfuse_otel",
    "langsmith",
    "helicone",
    "wandb",
    "sentry",
    "mlflow",
    "slack",
    "otel",
    "lunary",
    "datadog",
    "datadog_llm_observability",
    "prometheus",
    "prometheus_system",
    "logfire",
    "arize",
    "arize_phoenix",
    "webhook",
    "s3",
    "s3_v2",
    "gcs_bucket",
    "gcs_pubsub",
    "azure_storage",
    "aws_sqs",
    "sqs",
    "dynamodb",
    "supabase",
    "posthog",
    "openmeter",
    "lago",
    "braintrust",
    "galileo",
    "literalai",
    "langtrace",
    "opik",
    "argilla",
    "humanloop",
    "pagerduty",
    "greenscale",
    "generic",
    "generic_api",
    "athina",
    "traceloop",
    "promptlayer",
    "cloudzero",
    "vantage",
    "weave_otel",
    "levo",
    "deepeval",
    "focus",
    "email",
    "smtp_email",
    "resend_email",
    "dynamic_rate_limiter",
    "dynamic_rate_limiter_v3",
    "batch_redis_requests",
    "detect_prompt_injection",
    "presidio",
    "hide_secrets",
    "llamaguard_moderations",
    "llmguard_moderations",
    "lakera_prompt_injection",
    "google_text_moderation",
    "openai_moderations",
    "aporia_prompt_injection",
    "blocked_user_check",
    "banned_keywords",
    "vector_store_pre_call_hook",
    "agentops",
    "max_budget_limiter",
    "parallel_request_limiter",
];
