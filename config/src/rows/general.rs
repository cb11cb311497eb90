//! `general_settings`: the server itself.

use super::general_maps::{
    A_KEY_MANAGEMENT, A_PASS_THROUGH, A_PROVIDER_BUDGET, A_SERVICE_ACCOUNT, ALERTING_ARGS, JWT,
};
use crate::row::Default::{EmptyMap, Means, Number as Num, Texts, Unset};
use crate::row::Effect::{InForce, Later};
use crate::row::Kind::{
    Aliases, Any, Bool, Choice, Either, Integer, Known, List, Many, Map, Network, Number, Period,
    Python, Seconds, Secret, SecretUrl, Table as In, Text,
};
use crate::row::{Default, Row, SECONDS_MAX, Table, row};

/// `general_settings`.
pub static GENERAL_SETTINGS: Table = Table {
    doc: "The server: default models, authentication, database, limits, health, alerting.",
    open: false,
    rows: ROWS,
};

const WEB: &[&str] = &["http", "https"];
const OFF: Default = Default::Bool(false);
const ON: Default = Default::Bool(true);

#[rustfmt::skip] // A row is read as a whole.
const ROWS: &[Row] = &[
    // Default models.
    row(InForce, "completion_model", Text, Unset,
        "The model of completions that name none.")
        .example("gpt-4o"),
    row(InForce, "embedding_model", Text, Unset,
        "The model of embeddings that name none.")
        .example("fast"),
    row(InForce, "moderation_model", Text, Unset,
        "The model of moderations that name none.")
        .example("fast"),
    row(InForce, "image_generation_model", Text, Unset,
        "The model of every image request, whatever the request names.")
        .example("fast"),
    row(InForce, "infer_model_from_keys", Bool, OFF,
        "A key bound to one model (or whose first model it is) routes there, over the body's \
         `model`."),
    // Authentication.
    row(InForce, "master_key",
        Secret, Means("an open gateway: everybody may call, nobody may administer"),
        "The key of the administrator. With it set every LLM route needs a valid key and the admin \
         routes need this one.")
        .env(&["PROXY_MASTER_KEY", "LITELLM_MASTER_KEY"]).example("os.environ/LITELLM_MASTER_KEY"),
    row(InForce, "litellm_key_header_name", Text, Unset,
        "A header that carries the key, besides the usual ones.")
        .example("x-my-key"),
    row(InForce, "enable_jwt_auth", Bool, OFF,
        "Tokens of an identity provider are accepted as keys; needs `litellm_jwtauth`."),
    row(InForce, "litellm_jwtauth", In(&JWT), Unset,
        "How tokens are verified and what their claims mean."),
    row(InForce, "allowed_routes", List(&Text), Unset,
        "The routes that anybody but an administrator may call: exact paths, `/prefix/*`, or \
         groups such as `openai_routes`. Others get 403.")
        .example("[openai_routes]"),
    row(InForce, "admin_only_routes", List(&Text), Texts(&[]),
        "Prefixes of routes that only an administrator may call.")
        .example("[/model/new]"),
    row(InForce, "public_routes", List(&Text), Texts(&[]),
        "Routes that need no key.")
        .example("[/health/readiness]"),
    row(InForce, "allowed_ips", List(&Network), Unset,
        "The only clients that are served; others get 403 before their body is read.")
        .example("[10.0.0.0/8, \"2001:db8::/32\"]"),
    row(InForce, "use_x_forwarded_for", Bool, OFF,
        "The client's address is the one in `X-Forwarded-For`."),
    row(InForce, "trusted_proxies", List(&Network), Unset,
        "The peers whose `X-Forwarded-For` is believed.")
        .example("[10.0.0.0/8]").ours(),
    row(InForce, "trusted_proxy_ranges", List(&Network), Unset,
        "LiteLLM's name of `trusted_proxies`, which wins.")
        .example("[10.0.0.0/8]"),
    row(InForce, "enforce_user_param", Bool, OFF,
        "LLM requests need `user` in the body, or `X-User-ID`."),
    row(InForce, "enforced_params", List(&Text), Texts(&[]),
        "Fields that every LLM request must carry.")
        .example("[user, metadata.generation_name]"),
    row(InForce, "reject_clientside_metadata_tags", Bool, OFF,
        "Requests that bring their own tags are refused."),
    row(InForce, "user_header_name", Text, Unset,
        "A header that names the end user.")
        .example("x-openwebui-user-id"),
    row(InForce, "user_header_mappings", Any, Unset,
        "Headers that name users of several kinds.")
        .example("[{header_name: x-user-email, litellm_user_role: customer}]"),
    row(InForce, "enable_oauth2_auth", Bool, OFF,
        "Opaque tokens are checked by introspection."),
    row(InForce, "enable_oauth2_proxy_auth", Bool, OFF,
        "The identity is taken from the headers of an OAuth2 proxy in front."),
    row(InForce, "oauth2_config_mappings", Map(&Text), Unset,
        "Which header of the OAuth2 proxy means what.")
        .example("{user_id: X-Forwarded-User, user_email: X-Forwarded-Email}"),
    row(InForce, "custom_auth", Python, Unset,
        "A Python function that is called with the request and the key, and returns an identity or \
         raises.")
        .example("my_auth.user_api_key_auth"),
    row(InForce, "custom_auth_run_common_checks", Bool, OFF,
        "Budgets and model lists are enforced on identities of `custom_auth` too."),
    row(Later, "custom_sso", Python, Unset,
        "A Python function that is called after the identity provider's answer for the admin UI's \
         login.")
        .example("my_sso.handler"),
    row(Later, "custom_ui_sso_sign_in_handler", Python, Unset,
        "A Python function that signs a request in to the admin UI.")
        .example("my_sso.sign_in"),
    row(InForce, "allow_user_auth", Bool, OFF,
        "An early form of user authentication.")
        .instead("keys with a `user_id` from /key/generate, or `enable_jwt_auth`"),
    row(InForce, "user_api_key_cache_ttl", Seconds(0.0, SECONDS_MAX), Num(60.0),
        "How long a key is believed without another look at the database."),
    row(Later, "ui_access_mode",
        Either(&[Choice(&["all", "admin_only"]), Map(&Any)]), Default::Text("all"),
        "Who may sign in to the admin UI."),
    row(InForce, "disable_master_key_return", Bool, OFF,
        "`/user/info` leaves out the row of the master key, where the database has one."),
    row(InForce, "litellm_license", Secret, Unset,
        "Accepted and ignored: nothing here needs a licence.")
        .example("none"),
    // Database.
    row(InForce, "database_url",
        SecretUrl(&["postgresql", "postgres", "sqlite"]), Means("an embedded SQLite file"),
        "The Postgres that holds keys, teams and spend.")
        .env(&["DATABASE_URL"]).example("os.environ/DATABASE_URL"),
    row(InForce, "database_type", Known(&["postgres", "dynamo_db"]), Unset,
        "Accepted for old files; only Postgres and the embedded store exist.")
        .example("postgres"),
    row(InForce, "database_connection_pool_limit", Integer(1, 10_000), Default::Integer(100),
        "Connections to the database, at most."),
    row(InForce, "database_connection_timeout", Seconds(0.00001, SECONDS_MAX), Num(60.0),
        "How long an admin request waits for a connection before its 503."),
    row(InForce, "allow_requests_on_db_unavailable", Bool, OFF,
        "With the database down, unknown keys pass instead of getting 503."),
    row(InForce, "disable_spend_logs", Bool, OFF,
        "No row per request; the totals of keys, users and teams are still kept."),
    row(InForce, "disable_spend_updates", Bool, OFF,
        "No totals either."),
    row(InForce, "disable_error_logs", Bool, OFF,
        "Failed requests leave no row."),
    row(InForce, "disable_reset_budget", Bool, OFF,
        "This instance does not reset budgets."),
    row(InForce, "disable_adding_master_key_hash_to_db", Bool, OFF,
        "Rows made by the master key carry no hash of it."),
    row(InForce, "store_model_in_db", Bool, OFF,
        "`/model/new`, `/model/update` and `/model/delete` are kept in the database and reach \
         every instance.")
        .example("true"),
    row(InForce, "supported_db_objects", List(&Text), Unset,
        "What is read from the database: `models`, `credentials`; all of it where it is not set.")
        .example("[models]"),
    row(InForce, "store_prompts_in_spend_logs", Bool, OFF,
        "Messages and answers are stored in the request's row."),
    row(InForce, "maximum_spend_logs_retention_period", Period, Unset,
        "Rows of requests older than this are deleted.")
        .example("30d"),
    row(InForce, "maximum_spend_logs_retention_interval", Period, Unset,
        "How often old rows are looked for.")
        .example("1d"),
    row(InForce, "disable_prisma_schema_update", Bool, OFF,
        "No migration at start; a schema that is too old is an error that names what is missing."),
    row(InForce, "use_redis_transaction_buffer", Bool, OFF,
        "Accepted and not needed: each instance joins its increments in its journal on disk and \
         writes them in batches that count once."),
    row(InForce, "proxy_batch_write_at", Seconds(0.1, SECONDS_MAX), Num(10.0),
        "Spend is written at least this often."),
    row(InForce, "proxy_budget_rescheduler_min_time", Seconds(1.0, SECONDS_MAX), Num(597.0),
        "Budgets are looked at for a reset after a random time from this ..."),
    row(InForce, "proxy_budget_rescheduler_max_time", Seconds(1.0, SECONDS_MAX), Num(605.0),
        "... to this."),
    row(InForce, "journal_sync_ms", Integer(0, 60_000), Default::Integer(100),
        "Milliseconds between two syncs of the spend journal to the disk; 0 waits for each \
         record.")
        .ours(),
    // Keys and encryption.
    row(InForce, "key_management_system", Choice(KEY_SYSTEMS), Unset,
        "Where `os.environ/NAME` is looked up first, or what opens it where the environment has a ciphertext.")
        .example("hashicorp_vault"),
    row(InForce, "key_management_settings", Many(&A_KEY_MANAGEMENT), Texts(&[]),
        "Settings of the key management system."),
    row(InForce, "use_azure_key_vault", Bool, OFF,
        "Short for `key_management_system: azure_key_vault`."),
    row(InForce, "use_google_kms", Bool, OFF,
        "Short for `key_management_system: google_kms`."),
    row(InForce, "use_aws_secret_manager", Bool, OFF,
        "Short for `key_management_system: aws_secret_manager`."),
    row(InForce, "default_team_disabled", Bool, OFF,
        "A key without a team is refused."),
    row(InForce, "custom_key_generate", Python, Unset,
        "A Python function that makes or refuses a new key.")
        .example("my_keys.generate"),
    // Limits.
    row(InForce, "max_parallel_requests", Integer(1, i64::MAX), Unset,
        "Concurrent calls per deployment that sets none itself; wins over \
         `router_settings.default_max_parallel_requests`.")
        .example("100"),
    row(InForce, "global_max_parallel_requests", Integer(1, i64::MAX), Unset,
        "Concurrent requests over all shards; more get 429 with `retry-after` at once.")
        .example("1000"),
    row(InForce, "max_request_size_mb", Number(0.0, 1_048_576.0), Num(10.0),
        "Megabytes of a request's body; a larger one gets 413 as soon as that is known."),
    row(InForce, "max_response_size_mb", Number(0.0, 1_048_576.0), Num(10.0),
        "Megabytes of an answer (of one event, in a stream); a larger one becomes 502."),
    row(InForce, "request_head_timeout", Seconds(0.00001, SECONDS_MAX), Num(10.0),
        "A client has this long to send a request's head.")
        .ours(),
    row(InForce, "request_body_timeout", Seconds(0.00001, SECONDS_MAX), Num(60.0),
        "A request's body may pause this long between two reads.")
        .ours(),
    row(InForce, "response_send_timeout", Seconds(0.00001, SECONDS_MAX), Num(300.0),
        "A client may leave its answer unread this long; then the connection is closed.")
        .ours(),
    row(InForce, "access_log", Bool, ON,
        "One log line per request, written by a thread of its own: no request waits for it.")
        .ours(),
    row(InForce, "max_request_head_bytes", Integer(1024, 1_048_576), Default::Integer(65_536),
        "Bytes of a request's head; a longer one gets 431.")
        .ours(),
    row(InForce, "max_request_headers", Integer(1, 256), Default::Integer(128),
        "Header lines of a request; more get 431.")
        .ours(),
    row(InForce, "keepalive_timeout", Seconds(0.00001, SECONDS_MAX), Num(75.0),
        "An idle client connection is closed after this.")
        .ours(),
    row(InForce, "fail_closed_rate_limit_enforcement", Bool, OFF,
        "With Redis unreachable, limited requests get 503 instead of local limits."),
    row(InForce, "token_rate_limit_type",
        Choice(&["total", "input", "output"]), Default::Text("total"),
        "Which tokens count against a key's tokens per minute."),
    row(InForce, "disable_retry_on_max_parallel_request_limit_error", Bool, OFF,
        "A call that found its deployment full is not retried."),
    // Health and alerting.
    row(InForce, "background_health_checks", Bool, ON,
        "Deployments are probed in the background and unhealthy ones are routed around."),
    row(InForce, "health_check_interval", Seconds(1.0, SECONDS_MAX), Num(300.0),
        "Time between two probes of a deployment."),
    row(InForce, "health_check_details", Bool, ON,
        "`/health` shows each deployment; false leaves the counts."),
    row(InForce, "enable_health_check_routing", Bool, ON,
        "Probes steer the router."),
    row(Later, "alerting", List(&Known(ALERTING)), Texts(&[]),
        "Where alerts go; all of them are used.")
        .example("[slack]"),
    row(Later, "alerting_threshold", Seconds(0.00001, SECONDS_MAX), Num(300.0),
        "Requests slower than this, or hanging, raise an alert."),
    row(Later, "alerting_args", In(&ALERTING_ARGS), EmptyMap,
        "Settings of the alerting methods."),
    row(Later, "alert_types", List(&Known(ALERT_TYPES)), Means("all"),
        "The only alerts that are sent.")
        .example("[llm_exceptions, budget_alerts]"),
    row(Later, "alert_to_webhook_url", Map(&Many(&SecretUrl(WEB))), EmptyMap,
        "Alerts of that type go to this URL (or these) instead.")
        .example("{budget_alerts: \"https://hooks.example/budget\"}"),
    row(Later, "spend_report_frequency", Period, Unset,
        "How often a spend report goes out through the alerting methods.")
        .example("7d"),
    // Headers, credentials, the rest.
    row(InForce, "forward_openai_org_id", Bool, OFF,
        "The client's `OpenAI-Organization` reaches openai upstreams."),
    row(InForce, "forward_client_headers_to_llm_api", Bool, OFF,
        "The client's `x-*` headers go upstream; ours and credentials never do."),
    row(InForce, "use_client_credentials_pass_through_routes", Bool, OFF,
        "Pass-through routes take the client's own provider credentials, without a virtual key."),
    row(InForce, "allow_client_side_credentials", Bool, OFF,
        "`api_key` and `api_base` of a request's body are used; otherwise such a request is \
         refused."),
    row(InForce, "dangerously_allow_mock_testing_request_params", Bool, OFF,
        "Requests may carry `mock_testing_*`."),
    row(InForce, "service_account_settings", Many(&A_SERVICE_ACCOUNT), Unset,
        "Limits of keys that are service accounts, over their own."),
    row(InForce, "provider_budget_config", Map(&A_PROVIDER_BUDGET), EmptyMap,
        "What may be spent per provider; a spent provider's deployments are skipped until its \
         reset.")
        .example("{openai: {budget_limit: 100, time_period: 1d}}"),
    row(InForce, "model_group_alias", Aliases, EmptyMap,
        "Other names of model groups, as in `router_settings`, which wins.")
        .example("{fast: gpt-4o}"),
    row(InForce, "retry_after", Seconds(0.0, SECONDS_MAX), Num(0.0),
        "The least wait before a retry; a provider's `Retry-After` wins."),
    row(InForce, "num_retries", Integer(0, 100), Unset,
        "Retries, where `router_settings.num_retries` is not set.")
        .example("3"),
    row(InForce, "pass_through_endpoints", List(&A_PASS_THROUGH), Texts(&[]),
        "Routes of your own that are passed on."),
    row(InForce, "disable_responses_id_security", Bool, OFF,
        "Ids of `/v1/responses` are not bound to their caller."),
    row(Later, "user_mcp_management_mode",
        Choice(&["restricted", "view_all"]), Default::Text("restricted"),
        "Which MCP servers a user sees."),
    row(Later, "proxy_batch_polling_interval", Seconds(1.0, SECONDS_MAX), Num(6000.0),
        "How often it is looked at whether a batch is done."),
    row(InForce, "always_include_stream_usage", Bool, Unset,
        "True: every stream ends with its usage, asked for or not. False: the usage is never asked \
         for upstream unless the client does.")
        .example("true"),
    row(InForce, "response_model", Choice(&["requested", "upstream"]), Default::Text("requested"),
        "`model` in answers: what the client asked for, or what the upstream answered. The \
         upstream's name is always in `x-litellm-upstream-model`.")
        .ours(),
];

const KEY_SYSTEMS: &[&str] = &[
    "google_kms",
    "azure_kms",
    "aws_kms",
    "aws_secret_manager",
    "google_secret_manager",
    "azure_key_vault",
    "hashicorp_vault",
    "local",
];

/// Where alerts can go.
const ALERTING: &[&str] = &["slack", "email", "discord", "microsoft_teams", "webhook"];

const ALERT_TYPES: &[&str] = &[
    "errors",
    "timeouts",
    "unhealthy_models",
    "budget_exceeded",
    "region_outage",
    "llm_exceptions",
    "llm_too_slow",
    "llm_requests_hanging",
    "budget_alerts",
    "spend_reports",
    "failed_tracking_spend",
    "db_exceptions",
    "daily_reports",
    "cooldown_deployment",
    "new_model_added",
    "outage_alerts",
    "region_outage_alerts",
    "fallback_reports",
    "new_virtual_key_created",
    "virtual_key_updated",
    "virtual_key_deleted",
    "new_team_created",
    "team_updated",
    "team_deleted",
    "new_internal_user_created",
    "internal_user_updated",
    "internal_user_deleted",
];
