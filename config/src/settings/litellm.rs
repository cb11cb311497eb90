//! `litellm_settings` as types. The fields are the rows, name by name.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value as Json;

use super::value::{CacheBackend, CacheMode, Fallback, Kept, Quantization, Secret, seconds};

/// Callbacks, network, fallbacks, keys and caching.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LitellmSettings {
    /// Integrations that hear of each success.
    pub success_callback: Vec<String>,
    /// Integrations that hear of each failure.
    pub failure_callback: Vec<String>,
    /// Integrations that hear of both: names, or `module.instance` of a Python class. One that is
    /// listed twice runs once.
    pub callbacks: Vec<String>,
    /// Integrations that hear of failures and latency of Postgres, Redis, caches and our own parts.
    pub service_callbacks: Vec<String>,
    /// Integrations that hear of changes by administrators.
    pub audit_log_callbacks: Vec<String>,
    /// Changes by administrators are kept in the database.
    pub store_audit_logs: bool,
    /// No text of prompts or answers leaves through any callback.
    pub turn_off_message_logging: bool,
    /// Key hash, user, team and alias are removed from what callbacks get.
    pub redact_user_api_key_info: bool,
    /// Error texts carry no prompt.
    pub redact_messages_in_exceptions: bool,
    /// A request's `no-log` is ignored.
    pub global_disable_no_log_param: bool,
    /// Callbacks get the upstream's request and answer as they were.
    pub log_raw_request_response: bool,
    /// Tags of every Langfuse trace: `cache_hit`, `proxy_base_url`, `user_api_key_alias`, ...
    pub langfuse_default_tags: Vec<String>,
    /// Bucket and credentials of the `s3` callback.
    pub s3_callback_params: Option<Kept>,
    /// Queue and credentials of the `aws_sqs` callback.
    pub aws_sqs_callback_params: Option<Kept>,
    /// Settings of the `datadog` callback.
    pub datadog_params: Option<Kept>,
    /// Fields of a request's metadata that become labels.
    pub custom_prometheus_metadata_labels: Vec<String>,
    /// Tags that become labels.
    pub custom_prometheus_tags: Vec<String>,
    /// Which metrics are kept, with which labels.
    pub prometheus_metrics_config: Option<Vec<Json>>,
    /// Budget metrics of all keys exist from the start.
    pub prometheus_initialize_budget_metrics: bool,
    /// The end user becomes a label.
    pub enable_end_user_cost_tracking_prometheus_only: bool,
    /// `/metrics` needs a key.
    pub require_auth_for_metrics_endpoint: bool,
    /// Request headers that become tags of the spend row.
    pub extra_spend_tag_headers: Vec<String>,
    /// A callback's pre-call hook may change the request, and requests a provider would refuse are
    /// repaired.
    pub modify_params: bool,
    /// Turns on what the documentation calls preview.
    pub enable_preview_features: bool,
    /// Logs at level DEBUG, payloads redacted.
    pub set_verbose: bool,
    /// Each log line is a JSON object.
    pub json_logs: bool,
    /// Accepted; nothing is ever sent home.
    pub telemetry: bool,
    /// One upstream call, its stream included; then 408.
    #[serde(default, with = "seconds::optional")]
    pub request_timeout: Option<Duration>,
    /// Retries, where neither router_settings nor general_settings say it.
    pub num_retries: Option<u64>,
    /// As `router_settings.allowed_fails`, which wins.
    pub allowed_fails: Option<u64>,
    /// As `router_settings.cooldown_time`, which wins.
    #[serde(default, with = "seconds::optional")]
    pub cooldown_time: Option<Duration>,
    /// Parameters the provider does not know are dropped instead of refused.
    pub drop_params: bool,
    /// Upstreams are dialled over IPv4 only.
    pub force_ipv4: bool,
    /// Files that a request names by address come from public addresses alone.
    pub user_url_validation: bool,
    /// Hosts whose private addresses may be asked for such files.
    pub user_url_allowed_hosts: Vec<String>,
    /// False: upstream certificates are not checked. A path: the file of the roots.
    pub ssl_verify: Json,
    /// The client certificate shown to upstreams.
    pub ssl_certificate: Option<String>,
    /// `traceparent` and `tracestate` go upstream.
    pub forward_traceparent_to_llm_provider: bool,
    /// Tools are described in the prompt where the provider has none.
    pub add_function_to_prompt: bool,
    /// Answers are checked against the schema the request asked for.
    pub enable_json_schema_validation: bool,
    /// System messages to GitHub Copilot stay system messages.
    pub disable_copilot_system_to_assistant: bool,
    /// Fireworks' inline transform of image URLs is not asked for.
    pub disable_add_transform_inline_image_block: bool,
    /// No tokenizer is fetched; the OpenAI one counts.
    pub disable_hf_tokenizer_download: bool,
    /// Tokens are never counted here.
    pub disable_token_counter: bool,
    /// Upstream headers are answered as `llm_provider-*`.
    pub return_response_headers: bool,
    /// The usage at a stream's end carries its cost.
    pub include_cost_in_streaming_usage: bool,
    /// No upstream is called; every answer is canned.
    pub network_mock: bool,
    /// Names that are replaced in every request.
    pub model_alias_map: BTreeMap<String, String>,
    /// Providers written in Python: `{provider, custom_handler}`.
    pub custom_provider_map: Option<Vec<Json>>,
    /// Guardrails, in their older form.
    pub guardrails: Option<Vec<Json>>,
    /// Groups shown without a key.
    pub public_model_groups: Option<Vec<String>>,
    /// As `router_settings.fallbacks`, which wins.
    pub fallbacks: Vec<Fallback>,
    /// As `router_settings.default_fallbacks`, which wins.
    pub default_fallbacks: Vec<Fallback>,
    /// As `router_settings.content_policy_fallbacks`, which wins.
    pub content_policy_fallbacks: Vec<Fallback>,
    /// As `router_settings.context_window_fallbacks`, which wins.
    pub context_window_fallbacks: Vec<Fallback>,
    /// No end user in spend rows or metrics; totals stay.
    pub disable_end_user_cost_tracking: bool,
    /// No end user among the labels; rows keep it.
    pub disable_end_user_cost_tracking_prometheus_only: bool,
    /// Who may make keys, and what each must bring.
    pub key_generation_settings: Option<KeyGeneration>,
    /// What a new key gets where its request is silent.
    pub default_key_generate_params: Option<KeyParams>,
    /// What a new key may ask for at most.
    pub upperbound_key_generate_params: Option<KeyParams>,
    /// What a new user gets.
    pub default_internal_user_params: Option<Kept>,
    /// What a new team gets.
    pub default_team_params: Option<Kept>,
    /// Callbacks of single teams.
    pub default_team_settings: Option<Vec<Json>>,
    /// USD that all callers together may spend per `budget_duration`.
    pub max_budget: Option<f64>,
    /// The period of `max_budget`.
    pub budget_duration: Option<String>,
    /// USD that an end user may spend.
    pub max_user_budget: Option<f64>,
    /// Another name of `max_user_budget`.
    pub max_end_user_budget: Option<f64>,
    /// The budget of end users who have none.
    pub max_end_user_budget_id: Option<String>,
    /// USD that a new user may spend.
    pub max_internal_user_budget: Option<f64>,
    /// The period of `max_internal_user_budget`.
    pub internal_user_budget_duration: Option<String>,
    /// What may be spent per tag.
    pub tag_budget_config: Option<Kept>,
    /// Share of a model's limits that a priority keeps.
    pub priority_reservation: Option<BTreeMap<String, f64>>,
    /// The share of those without a priority, and from where on shares are kept.
    pub priority_reservation_settings: Option<BTreeMap<String, f64>>,
    /// The status of a request that a budget refuses.
    pub budget_exceeded_status_code: u64,
    /// End users who are refused, or the file that lists them.
    pub blocked_user_list: Option<Json>,
    /// Words that are refused, or the file that lists them.
    pub banned_keywords_list: Option<Json>,
    /// Where the day begins for budgets.
    pub timezone: String,
    /// Answers are cached; needs `cache_params`.
    pub cache: bool,
    /// Where and what is cached.
    pub cache_params: Option<CacheParams>,
    /// Parameters that are not OpenAI's are part of the cache's key.
    pub enable_caching_on_provider_specific_optional_params: bool,
    /// How long the memory cache keeps an answer, where no ttl is set.
    #[serde(default, with = "seconds::optional")]
    pub default_in_memory_ttl: Option<Duration>,
    /// How long Redis keeps an answer, where no ttl is set.
    #[serde(default, with = "seconds::optional")]
    pub default_redis_ttl: Option<Duration>,
    /// How long values that were missing in Redis are not asked for again.
    #[serde(default, with = "seconds::optional")]
    pub default_redis_batch_cache_expiry: Option<Duration>,
    /// Short names of MCP servers.
    pub mcp_aliases: Option<BTreeMap<String, String>>,
    /// `/v1/messages` on OpenAI models goes to chat completions instead of responses.
    pub use_chat_completions_url_for_anthropic_messages: bool,
    /// Aliases of keys have 2 to 255 letters, digits and `_-/.@`.
    pub enable_key_alias_format_validation: bool,
    /// The share by which a provider's costs are lower than its list prices.
    pub cost_discount_config: Option<BTreeMap<String, f64>>,
    /// What is added to a provider's costs; `global` for all.
    pub cost_margin_config: Option<Kept>,
    /// Names without a row, as they were written.
    #[serde(default)]
    pub unknown: Kept,
}

/// Where and what is cached. A backend that fails is a miss, never a failed request.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheParams {
    /// The backend.
    #[serde(rename = "type")]
    pub backend: CacheBackend,
    /// Whether requests are cached unless they say no, or only those that say yes.
    pub mode: CacheMode,
    /// How long an answer is kept.
    #[serde(default, with = "seconds::optional")]
    pub ttl: Option<Duration>,
    /// The only calls that are cached.
    pub supported_call_types: Vec<String>,
    /// What every key begins with.
    pub namespace: String,
    /// Redis: the host.
    pub host: Option<String>,
    /// Redis: the port.
    pub port: u64,
    /// Redis: the password.
    pub password: Option<Secret>,
    /// Redis: the user.
    pub username: Option<String>,
    /// Redis: all of that as one URL, which wins.
    pub url: Option<Secret>,
    /// Redis: TLS.
    pub ssl: bool,
    /// Redis: the database number.
    pub db: Option<u64>,
    /// Redis: connections, at most.
    pub max_connections: Option<u64>,
    /// Redis: how long a command may take.
    #[serde(default, with = "seconds::optional")]
    pub socket_timeout: Option<Duration>,
    /// Redis Cluster: nodes, any of which is enough to find the others.
    pub redis_startup_nodes: Option<Vec<Node>>,
    /// Redis Sentinel: the master's name.
    pub service_name: Option<String>,
    /// Redis Sentinel: the sentinels.
    pub sentinel_nodes: Option<Vec<(String, u16)>>,
    /// Redis Sentinel: the sentinels' password.
    pub sentinel_password: Option<Secret>,
    /// Redis: writes that are sent together.
    pub redis_flush_size: Option<u64>,
    /// How long the memory in front of the backend keeps an answer.
    #[serde(default, with = "seconds::optional")]
    pub default_in_memory_ttl: Option<Duration>,
    /// How long Redis keeps an answer, where `ttl` is not set.
    #[serde(default, with = "seconds::optional")]
    pub default_in_redis_ttl: Option<Duration>,
    /// Memory: megabytes that are kept, over all shards.
    pub max_size_mb: f64,
    /// Disk: the directory.
    pub disk_cache_dir: Option<String>,
    /// S3: the bucket.
    pub s3_bucket_name: Option<String>,
    /// S3: the region.
    pub s3_region_name: Option<String>,
    /// S3: what the objects' names begin with.
    pub s3_path: Option<String>,
    /// S3: the endpoint of a compatible store.
    pub s3_endpoint_url: Option<String>,
    /// S3: credentials.
    pub s3_aws_access_key_id: Option<Secret>,
    /// S3: credentials.
    pub s3_aws_secret_access_key: Option<Secret>,
    /// S3: temporary credentials.
    pub s3_aws_session_token: Option<Secret>,
    /// S3: accepted for old files.
    pub s3_config: Option<Kept>,
    /// S3: TLS.
    pub s3_use_ssl: bool,
    /// S3: the certificate is checked.
    pub s3_verify: bool,
    /// Qdrant: the server.
    pub qdrant_api_base: Option<String>,
    /// Qdrant: its key.
    pub qdrant_api_key: Option<Secret>,
    /// Qdrant: the model group that embeds prompts.
    pub qdrant_semantic_cache_embedding_model: String,
    /// Qdrant: the collection, made where it is missing.
    pub qdrant_collection_name: Option<String>,
    /// Qdrant: the quantization of a collection that is made.
    pub qdrant_quantization_config: Quantization,
    /// Qdrant: dimensions of the embedding.
    pub qdrant_semantic_cache_vector_size: Option<u64>,
    /// redis-semantic: the model group that embeds prompts.
    pub redis_semantic_cache_embedding_model: String,
    /// redis-semantic: the index.
    pub redis_semantic_cache_index_name: Option<String>,
    /// Semantic caches: the least cosine similarity of a hit.
    pub similarity_threshold: Option<f64>,
    /// Redis: whether the certificate is checked; `none` does not.
    pub ssl_cert_reqs: Option<Json>,
    /// Redis: whether the certificate's name is checked.
    pub ssl_check_hostname: Option<bool>,
    /// Redis on Google Cloud: the account for IAM.
    pub gcp_service_account: Option<String>,
    /// Redis on Google Cloud: the file of the roots.
    pub gcp_ssl_ca_certs: Option<String>,
    /// Google Cloud Storage: the bucket.
    pub gcs_bucket_name: Option<String>,
    /// Google Cloud Storage: the file of the service account.
    pub gcs_path_service_account: Option<String>,
    /// Google Cloud Storage: what the objects' names begin with.
    pub gcs_path: Option<String>,
    /// Names without a row, as they were written.
    #[serde(default)]
    pub unknown: Kept,
}

/// A node of a cluster.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u64,
    /// Names without a row, as they were written.
    #[serde(default)]
    pub unknown: Kept,
}

/// More settings of the router's Redis.
#[derive(Clone, Debug, Deserialize)]
pub struct RedisMore {
    /// TLS.
    pub ssl: bool,
    /// The user.
    pub username: Option<String>,
    /// Nodes of a cluster.
    pub startup_nodes: Option<Vec<Node>>,
    /// The master's name at Sentinel.
    pub service_name: Option<String>,
    /// The sentinels.
    pub sentinel_nodes: Option<Vec<(String, u16)>>,
    /// The rest of the map, as it was written.
    #[serde(flatten)]
    pub more: Kept,
}

/// Who may make keys, and what each must bring.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyGeneration {
    /// Keys of teams.
    pub team_key_generation: Option<TeamKeys>,
    /// Keys of persons.
    pub personal_key_generation: Option<PersonalKeys>,
    /// Names without a row, as they were written.
    #[serde(default)]
    pub unknown: Kept,
}

/// Keys of teams.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeamKeys {
    /// The only roles in the team that may make keys.
    pub allowed_team_member_roles: Option<Vec<String>>,
    /// What each must bring.
    pub required_params: Vec<String>,
    /// Names without a row, as they were written.
    #[serde(default)]
    pub unknown: Kept,
}

/// Keys of persons.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersonalKeys {
    /// The only users who may make keys.
    pub allowed_user_roles: Option<Vec<String>>,
    /// What each must bring.
    pub required_params: Vec<String>,
    /// Names without a row, as they were written.
    #[serde(default)]
    pub unknown: Kept,
}

/// What a key has.
#[derive(Clone, Debug, Deserialize)]
pub struct KeyParams {
    /// USD per `budget_duration`.
    pub max_budget: Option<f64>,
    /// The period of `max_budget`.
    pub budget_duration: Option<String>,
    /// How long it lives.
    pub duration: Option<String>,
    /// The models it may call.
    pub models: Option<Vec<String>>,
    /// Its user.
    pub user_id: Option<String>,
    /// Its team.
    pub team_id: Option<String>,
    /// Its concurrent requests.
    pub max_parallel_requests: Option<u64>,
    /// Its tokens per minute.
    pub tpm_limit: Option<u64>,
    /// Its requests per minute.
    pub rpm_limit: Option<u64>,
    /// Anything.
    pub metadata: Option<Kept>,
    /// The rest of the map, as it was written.
    #[serde(flatten)]
    pub more: Kept,
}
