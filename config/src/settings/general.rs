//! `general_settings` as types. The fields are the rows, name by name.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value as Json;

use super::value::{Alias, Kept, ResponseModel, Secret, TokenRateLimit, seconds};

/// The server: default models, authentication, database, limits, health, alerting.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeneralSettings {
    /// The model of completions that name none.
    pub completion_model: Option<String>,
    /// The model of embeddings that name none.
    pub embedding_model: Option<String>,
    /// The model of moderations that name none.
    pub moderation_model: Option<String>,
    /// The model of every image request, whatever the request names.
    pub image_generation_model: Option<String>,
    /// A key bound to one model (or whose first model it is) routes there, over the body's `model`.
    pub infer_model_from_keys: bool,
    /// The key of the administrator. With it set every LLM route needs a valid key and the admin
    /// routes need this one.
    pub master_key: Option<Secret>,
    /// A header that carries the key, besides the usual ones.
    pub litellm_key_header_name: Option<String>,
    /// Tokens of an identity provider are accepted as keys; needs `litellm_jwtauth`.
    pub enable_jwt_auth: bool,
    /// How tokens are verified and what their claims mean.
    pub litellm_jwtauth: Option<JwtAuth>,
    /// The routes that anybody but an administrator may call: exact paths, `/prefix/*`, or groups
    /// such as `openai_routes`. Others get 403.
    pub allowed_routes: Option<Vec<String>>,
    /// Prefixes of routes that only an administrator may call.
    pub admin_only_routes: Vec<String>,
    /// Routes that need no key.
    pub public_routes: Vec<String>,
    /// The only clients that are served; others get 403 before their body is read.
    pub allowed_ips: Option<Vec<String>>,
    /// The client's address is the one in `X-Forwarded-For`.
    pub use_x_forwarded_for: bool,
    /// The peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Option<Vec<String>>,
    /// LiteLLM's name of `trusted_proxies`, which wins.
    pub trusted_proxy_ranges: Option<Vec<String>>,
    /// LLM requests need `user` in the body, or `X-User-ID`.
    pub enforce_user_param: bool,
    /// Fields that every LLM request must carry.
    pub enforced_params: Vec<String>,
    /// Requests that bring their own tags are refused.
    pub reject_clientside_metadata_tags: bool,
    /// A header that names the end user.
    pub user_header_name: Option<String>,
    /// Headers that name users of several kinds.
    pub user_header_mappings: Option<Json>,
    /// Opaque tokens are checked by introspection.
    pub enable_oauth2_auth: bool,
    /// The identity is taken from the headers of an OAuth2 proxy in front.
    pub enable_oauth2_proxy_auth: bool,
    /// Which header of the OAuth2 proxy means what.
    pub oauth2_config_mappings: Option<BTreeMap<String, String>>,
    /// A Python function that is called with the request and the key, and returns an identity or
    /// raises.
    pub custom_auth: Option<String>,
    /// Budgets and model lists are enforced on identities of `custom_auth` too.
    pub custom_auth_run_common_checks: bool,
    /// A Python function that is called after the identity provider's answer for the admin UI's
    /// login.
    pub custom_sso: Option<String>,
    /// A Python function that signs a request in to the admin UI.
    pub custom_ui_sso_sign_in_handler: Option<String>,
    /// An early form of user authentication.
    pub allow_user_auth: bool,
    /// How long a key is believed without another look at the database.
    #[serde(with = "seconds")]
    pub user_api_key_cache_ttl: Duration,
    /// Who may sign in to the admin UI.
    pub ui_access_mode: Json,
    /// Users' keys are told without the master key's row.
    pub disable_master_key_return: bool,
    /// Accepted and ignored: nothing here needs a licence.
    pub litellm_license: Option<Secret>,
    /// The Postgres that holds keys, teams and spend.
    pub database_url: Option<Secret>,
    /// Accepted for old files; only Postgres and the embedded store exist.
    pub database_type: Option<String>,
    /// Connections to the database, at most.
    pub database_connection_pool_limit: u64,
    /// How long an admin request waits for a connection before its 503.
    #[serde(with = "seconds")]
    pub database_connection_timeout: Duration,
    /// With the database down, unknown keys pass instead of getting 503.
    pub allow_requests_on_db_unavailable: bool,
    /// No row per request; the totals of keys, users and teams are still kept.
    pub disable_spend_logs: bool,
    /// No totals either.
    pub disable_spend_updates: bool,
    /// Failed requests leave no row.
    pub disable_error_logs: bool,
    /// This instance does not reset budgets.
    pub disable_reset_budget: bool,
    /// Rows made by the master key carry no hash of it.
    pub disable_adding_master_key_hash_to_db: bool,
    /// `/model/new`, `/model/update` and `/model/delete` are kept in the database and reach every
    /// instance.
    pub store_model_in_db: bool,
    /// What is read from the database.
    pub supported_db_objects: Option<Vec<String>>,
    /// Messages and answers are stored in the request's row.
    pub store_prompts_in_spend_logs: bool,
    /// Rows of requests older than this are deleted.
    pub maximum_spend_logs_retention_period: Option<String>,
    /// How often old rows are looked for.
    pub maximum_spend_logs_retention_interval: Option<String>,
    /// No migration at start; a schema that is too old is an error that names what is missing.
    pub disable_prisma_schema_update: bool,
    /// Increments of several instances are joined in Redis before they are written.
    pub use_redis_transaction_buffer: bool,
    /// Spend is written at least this often.
    #[serde(with = "seconds")]
    pub proxy_batch_write_at: Duration,
    /// Budgets are looked at for a reset after a random time from this ...
    #[serde(with = "seconds")]
    pub proxy_budget_rescheduler_min_time: Duration,
    /// ... to this.
    #[serde(with = "seconds")]
    pub proxy_budget_rescheduler_max_time: Duration,
    /// Milliseconds between two syncs of the spend journal to the disk; 0 waits for each record.
    pub journal_sync_ms: u64,
    /// Where `os.environ/NAME` is looked up first, or what encrypts stored credentials.
    pub key_management_system: Option<String>,
    /// Settings of the key management system.
    pub key_management_settings: Vec<KeyManagement>,
    /// Short for `key_management_system: azure_key_vault`.
    pub use_azure_key_vault: bool,
    /// Short for `key_management_system: google_kms`.
    pub use_google_kms: bool,
    /// Short for `key_management_system: aws_secret_manager`.
    pub use_aws_secret_manager: bool,
    /// A key without a team is refused.
    pub default_team_disabled: bool,
    /// A Python function that makes or refuses a new key.
    pub custom_key_generate: Option<String>,
    /// Concurrent calls per deployment that sets none itself; wins over
    /// `router_settings.default_max_parallel_requests`.
    pub max_parallel_requests: Option<u64>,
    /// Concurrent requests over all shards; more get 429 with `retry-after` at once.
    pub global_max_parallel_requests: Option<u64>,
    /// Megabytes of a request's body; a larger one gets 413 as soon as that is known.
    pub max_request_size_mb: f64,
    /// Megabytes of an answer (of one event, in a stream); a larger one becomes 502.
    pub max_response_size_mb: f64,
    /// A client has this long to send a request's head.
    #[serde(with = "seconds")]
    pub request_head_timeout: Duration,
    /// A request's body may pause this long between two reads.
    #[serde(with = "seconds")]
    pub request_body_timeout: Duration,
    /// A client may leave its answer unread this long; then the connection is closed.
    #[serde(with = "seconds")]
    pub response_send_timeout: Duration,
    /// One log line per request.
    pub access_log: bool,
    /// Bytes of a request's head; a longer one gets 431.
    pub max_request_head_bytes: u64,
    /// Header lines of a request; more get 431.
    pub max_request_headers: u64,
    /// An idle client connection is closed after this.
    #[serde(with = "seconds")]
    pub keepalive_timeout: Duration,
    /// With Redis unreachable, limited requests get 503 instead of local limits.
    pub fail_closed_rate_limit_enforcement: bool,
    /// Which tokens count against a key's tokens per minute.
    pub token_rate_limit_type: TokenRateLimit,
    /// A call that found its deployment full is not retried.
    pub disable_retry_on_max_parallel_request_limit_error: bool,
    /// Deployments are probed in the background and unhealthy ones are routed around.
    pub background_health_checks: bool,
    /// Time between two probes of a deployment.
    #[serde(with = "seconds")]
    pub health_check_interval: Duration,
    /// `/health` shows each deployment; false leaves the counts.
    pub health_check_details: bool,
    /// Probes steer the router.
    pub enable_health_check_routing: bool,
    /// Where alerts go; all of them are used.
    pub alerting: Vec<String>,
    /// Requests slower than this, or hanging, raise an alert.
    #[serde(with = "seconds")]
    pub alerting_threshold: Duration,
    /// Settings of the alerting methods.
    pub alerting_args: AlertingArgs,
    /// The only alerts that are sent.
    pub alert_types: Option<Vec<String>>,
    /// Alerts of that type go to this URL (or these) instead.
    pub alert_to_webhook_url: BTreeMap<String, Vec<Secret>>,
    /// How often a spend report goes out through the alerting methods.
    pub spend_report_frequency: Option<String>,
    /// The client's `OpenAI-Organization` reaches openai upstreams.
    pub forward_openai_org_id: bool,
    /// The client's `x-*` headers go upstream; ours and credentials never do.
    pub forward_client_headers_to_llm_api: bool,
    /// Pass-through routes take the client's own provider credentials, without a virtual key.
    pub use_client_credentials_pass_through_routes: bool,
    /// `api_key` and `api_base` of a request's body are used; otherwise such a request is refused.
    pub allow_client_side_credentials: bool,
    /// Requests may carry `mock_testing_*`.
    pub dangerously_allow_mock_testing_request_params: bool,
    /// Limits of keys that are service accounts, over their own.
    pub service_account_settings: Option<Vec<ServiceAccount>>,
    /// What may be spent per provider; a spent provider's deployments are skipped until its reset.
    pub provider_budget_config: BTreeMap<String, ProviderBudget>,
    /// Other names of model groups, as in `router_settings`, which wins.
    pub model_group_alias: BTreeMap<String, Alias>,
    /// The least wait before a retry; a provider's `Retry-After` wins.
    #[serde(with = "seconds")]
    pub retry_after: Duration,
    /// Retries, where `router_settings.num_retries` is not set.
    pub num_retries: Option<u64>,
    /// Routes of your own that are passed on.
    pub pass_through_endpoints: Vec<PassThrough>,
    /// True: every stream ends with its usage, asked for or not. False: the usage is never asked
    /// for upstream unless the client does.
    pub always_include_stream_usage: Option<bool>,
    /// `model` in answers: what the client asked for, or what the upstream answered. The upstream's
    /// name is always in `x-litellm-upstream-model`.
    pub response_model: ResponseModel,
    /// Ids of `/v1/responses` are not bound to their caller.
    pub disable_responses_id_security: bool,
    /// Which MCP servers a user sees.
    pub user_mcp_management_mode: String,
    /// How often it is looked at whether a batch is done.
    #[serde(with = "seconds")]
    pub proxy_batch_polling_interval: Duration,
    /// Names without a row, as they were written.
    #[serde(default)]
    pub unknown: Kept,
}

/// How JSON Web Tokens are verified and what their claims mean.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtAuth {
    /// The shared secret (HS*) or the public key in PEM (RS*, ES*, PS*).
    pub secret: Option<Secret>,
    /// Where the signing keys (JWKS) are fetched.
    pub public_key_url: Option<Vec<String>>,
    /// How long fetched keys are believed.
    #[serde(with = "seconds")]
    pub public_key_ttl: Duration,
    /// The only signature algorithms accepted; `none` never is.
    pub algorithms: Option<Vec<String>>,
    /// What `iss` must be.
    pub issuer: Option<String>,
    /// What `aud` must contain one of.
    pub audience: Option<Vec<String>>,
    /// How far clocks may differ.
    #[serde(with = "seconds")]
    pub leeway: Duration,
    /// The scope that makes a token an administrator's.
    pub admin_jwt_scope: String,
    /// What an administrator's token may call.
    pub admin_allowed_routes: Option<Vec<String>>,
    /// The claim with the team's id.
    pub team_id_jwt_field: Option<String>,
    /// The claim with the ids of all teams.
    pub team_ids_jwt_field: Option<String>,
    /// The team of tokens that name none.
    pub team_id_default: Option<String>,
    /// Teams that are not known are made.
    pub team_id_upsert: bool,
    /// What a team's token may call.
    pub team_allowed_routes: Option<Vec<String>>,
    /// The claim with the user's id.
    pub user_id_jwt_field: Option<String>,
    /// The claim with the user's address.
    pub user_email_jwt_field: Option<String>,
    /// The only domain of users.
    pub user_allowed_email_domain: Option<String>,
    /// Users who are not known are made.
    pub user_id_upsert: bool,
    /// The claim whose value may stand for a key.
    pub virtual_key_claim_field: Option<String>,
    /// The claim with the user's roles; goes with `user_allowed_roles`.
    pub user_roles_jwt_field: Option<String>,
    /// The roles that may call anything at all.
    pub user_allowed_roles: Option<Vec<String>>,
    /// The claim with the end user's id.
    pub end_user_id_jwt_field: Option<String>,
    /// The claim with the organization's id.
    pub org_id_jwt_field: Option<String>,
    /// The claim with the roles that `role_mappings` translates.
    pub roles_jwt_field: Option<String>,
    /// `{role, internal_role}`: what a role of the token is here.
    pub role_mappings: Option<Vec<Json>>,
    /// The claim with the caller's id, user or team by `role_mappings`.
    pub object_id_jwt_field: Option<String>,
    /// `{scope, models, routes}`: what a scope allows.
    pub scope_mappings: Option<Vec<Json>>,
    /// `scope_mappings` are binding.
    pub enforce_scope_based_access: bool,
    /// Tokens without a known role are refused.
    pub enforce_rbac: bool,
    /// The team's model list is binding.
    pub enforce_team_based_model_access: bool,
    /// What may be called without a token.
    pub public_allowed_routes: Option<Vec<String>>,
    /// A Python function that has the last word on a token.
    pub custom_validate: Option<String>,
    /// Names without a row, as they were written.
    #[serde(default)]
    pub unknown: Kept,
}

/// Settings of the key management system.
#[derive(Clone, Debug, Deserialize)]
pub struct KeyManagement {
    /// Google: the project.
    pub project_id: Option<String>,
    /// Google: the key's region.
    pub location_id: Option<String>,
    /// Google: the key ring.
    pub key_ring_id: Option<String>,
    /// The key that encrypts what is stored.
    pub key_id: Option<String>,
    /// Azure and HashiCorp: the vault.
    pub vault_url: Option<String>,
    /// The only names that are looked up there.
    pub hosted_keys: Option<Vec<String>>,
    /// Virtual keys are stored there too.
    pub store_virtual_keys: bool,
    /// What the names of stored virtual keys begin with.
    pub prefix_for_stored_virtual_keys: String,
    /// `read_only`, `write_only` or `read_and_write`.
    pub access_mode: String,
    /// One secret that holds all the others as JSON.
    pub primary_secret_name: Option<String>,
    /// The rest of the map, as it was written.
    #[serde(flatten)]
    pub more: Kept,
}

/// Settings of the alerting methods. A listed method without its settings (or their variables) is
/// an error at start.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertingArgs {
    /// Slack's incoming webhook.
    pub slack_webhook_url: Option<Secret>,
    /// The channel, where the webhook allows to choose one.
    pub slack_channel: Option<String>,
    /// Discord's webhook.
    pub discord_webhook_url: Option<Secret>,
    /// The webhook of a Teams channel.
    pub microsoft_teams_webhook_url: Option<Secret>,
    /// A webhook of your own that takes LiteLLM's events as JSON.
    pub webhook_url: Option<Secret>,
    /// The mail server.
    pub smtp_host: Option<String>,
    /// The mail server's port.
    pub smtp_port: u64,
    /// The mail server's user.
    pub smtp_user: Option<String>,
    /// The user's password.
    pub smtp_password: Option<Secret>,
    /// STARTTLS before the password is sent.
    pub smtp_tls: bool,
    /// The sender.
    pub from_email: Option<String>,
    /// The recipients.
    pub to_emails: Vec<String>,
    /// Time between two daily reports.
    #[serde(with = "seconds")]
    pub daily_report_frequency: Duration,
    /// How often it is looked at whether a report is due.
    #[serde(with = "seconds")]
    pub report_check_interval: Duration,
    /// A budget alert is not repeated within this.
    #[serde(with = "seconds")]
    pub budget_alert_ttl: Duration,
    /// An outage alert is not repeated within this.
    #[serde(with = "seconds")]
    pub outage_alert_ttl: Duration,
    /// A region's outage alert is not repeated within this.
    #[serde(with = "seconds")]
    pub region_outage_alert_ttl: Duration,
    /// Errors in a minute that make a minor outage.
    pub minor_outage_alert_threshold: u64,
    /// Errors in a minute that make a major outage.
    pub major_outage_alert_threshold: u64,
    /// Outages that are remembered.
    pub max_outage_alert_list_size: u64,
    /// Alerts are logged too.
    pub log_to_console: bool,
    /// Names without a row, as they were written.
    #[serde(default)]
    pub unknown: Kept,
}

/// Limits of keys that are service accounts.
#[derive(Clone, Debug, Deserialize)]
pub struct ServiceAccount {
    /// The kind of key.
    pub key_type: String,
    /// `max_parallel_requests`, `rpm`, `tpm`, `enforced_params` of such keys.
    pub settings: Kept,
    /// Fields that requests of such keys must carry.
    pub enforced_params: Option<Vec<String>>,
    /// The rest of the map, as it was written.
    #[serde(flatten)]
    pub more: Kept,
}

/// What may be spent at one provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderBudget {
    /// USD per `time_period`.
    pub budget_limit: Option<f64>,
    /// The period of `budget_limit`.
    pub time_period: Option<String>,
    /// Another name of `budget_limit`, which wins.
    pub max_budget: Option<f64>,
    /// Another name of `time_period`, which wins.
    pub budget_duration: Option<String>,
    /// USD per day.
    pub daily_budget: Option<f64>,
    /// USD per month.
    pub monthly_budget: Option<f64>,
    /// Names without a row, as they were written.
    #[serde(default)]
    pub unknown: Kept,
}

/// A route of your own that is passed on.
#[derive(Clone, Debug, Deserialize)]
pub struct PassThrough {
    /// The route here.
    pub path: String,
    /// Where it goes.
    pub target: String,
    /// Headers added to the call.
    pub headers: Kept,
    /// The route needs a key.
    pub auth: bool,
    /// The client's headers go along.
    pub forward_headers: bool,
    /// Everything below the path goes along.
    pub include_subpath: bool,
    /// The client's query joins the target's.
    pub merge_query_params: bool,
    /// USD per call.
    pub cost_per_request: f64,
    /// The rest of the map, as it was written.
    #[serde(flatten)]
    pub more: Kept,
}
