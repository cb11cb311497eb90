//! The maps inside `general_settings`.

use crate::row::Default::{EmptyMap, Required, Texts, Unset};
use crate::row::Effect::{InForce, Later};
use crate::row::Kind::{
    Any, Bool, Either, Integer, List, Many, Map, Number, Period, Seconds, Secret, SecretUrl, Text,
    Url,
};
use crate::row::{Default, SECONDS_MAX, Table, row};

const WEB: &[&str] = &["http", "https"];
const OFF: Default = Default::Bool(false);
const MONEY: crate::row::Kind = Number(0.0, f64::MAX);

/// `general_settings.litellm_jwtauth`.
#[rustfmt::skip] // A row is read as a whole.
pub(super) static JWT: Table = Table {
    doc: "How JSON Web Tokens are verified and what their claims mean.",
    open: false,
    rows: &[
        row(InForce, "secret", Secret, Unset,
            "The shared secret (HS*) or the public key in PEM (RS*, ES*, PS*).")
            .example("os.environ/JWT_SECRET"),
        row(InForce, "public_key_url", Many(&Url(WEB)), Unset,
            "Where the signing keys (JWKS) are fetched.")
            .env(&["JWT_PUBLIC_KEY_URL"]).example("https://idp.example/.well-known/jwks.json"),
        row(InForce, "public_key_ttl", Seconds(0.0, SECONDS_MAX), Default::Number(600.0),
            "How long fetched keys are believed."),
        row(InForce, "algorithms", List(&Text), Unset,
            "The only signature algorithms accepted; `none` never is.")
            .example("[RS256]"),
        row(InForce, "issuer", Text, Unset,
            "What `iss` must be.")
            .example("https://idp.example"),
        row(InForce, "audience", Many(&Text), Unset,
            "What `aud` must contain one of.")
            .env(&["JWT_AUDIENCE"]).example("shardgate"),
        row(InForce, "leeway", Seconds(0.0, 86_400.0), Default::Number(0.0),
            "How far clocks may differ."),
        row(InForce, "admin_jwt_scope", Text, Default::Text("litellm_proxy_admin"),
            "The scope that makes a token an administrator's."),
        row(InForce, "admin_allowed_routes", List(&Text), Unset,
            "What an administrator's token may call.")
            .example("[management_routes, info_routes]"),
        row(InForce, "team_id_jwt_field", Text, Unset,
            "The claim with the team's id.")
            .example("client_id"),
        row(InForce, "team_ids_jwt_field", Text, Unset,
            "The claim with the ids of all teams.")
            .example("groups"),
        row(InForce, "team_id_default", Text, Unset,
            "The team of tokens that name none.")
            .example("default-team"),
        row(InForce, "team_id_upsert", Bool, OFF,
            "Teams that are not known are made."),
        row(InForce, "team_allowed_routes", List(&Text), Unset,
            "What a team's token may call.")
            .example("[openai_routes, info_routes]"),
        row(InForce, "user_id_jwt_field", Text, Unset,
            "The claim with the user's id.")
            .example("sub"),
        row(InForce, "user_email_jwt_field", Text, Unset,
            "The claim with the user's address.")
            .example("email"),
        row(InForce, "user_allowed_email_domain", Text, Unset,
            "The only domain of users.")
            .example("example.com"),
        row(InForce, "user_id_upsert", Bool, OFF,
            "Users who are not known are made."),
        row(InForce, "virtual_key_claim_field", Text, Unset,
            "The claim whose value may stand for a key (`/jwt/key/mapping/*`).")
            .example("client_id"),
        row(InForce, "user_roles_jwt_field", Text, Unset,
            "The claim with the user's roles; goes with `user_allowed_roles`.")
            .example("resource_access.roles"),
        row(InForce, "user_allowed_roles", List(&Text), Unset,
            "The roles that may call anything at all.")
            .example("[basic_user]"),
        row(InForce, "end_user_id_jwt_field", Text, Unset,
            "The claim with the end user's id.")
            .example("customer_id"),
        row(InForce, "org_id_jwt_field", Text, Unset,
            "The claim with the organization's id.")
            .example("org_id"),
        row(InForce, "roles_jwt_field", Text, Unset,
            "The claim with the roles that `role_mappings` translates.")
            .example("roles"),
        row(InForce, "role_mappings", List(&Any), Unset,
            "`{role, internal_role}`: what a role of the token is here.")
            .example("[{role: llm.admin, internal_role: proxy_admin}]"),
        row(InForce, "object_id_jwt_field", Text, Unset,
            "The claim with the caller's id, user or team by `role_mappings`.")
            .example("oid"),
        row(InForce, "scope_mappings", List(&Any), Unset,
            "`{scope, models, routes}`: what a scope allows.")
            .example("[{scope: llm.chat, models: [gpt-4o]}]"),
        row(InForce, "enforce_scope_based_access", Bool, OFF,
            "`scope_mappings` are binding."),
        row(InForce, "enforce_rbac", Bool, OFF,
            "Tokens without a known role are refused."),
        row(InForce, "enforce_team_based_model_access", Bool, OFF,
            "The team's model list is binding."),
        row(InForce, "public_allowed_routes", List(&Text), Unset,
            "What may be called without a token.")
            .example("[/health/readiness]"),
        row(InForce, "custom_validate", Text, Unset,
            "A Python function that has the last word on a token.")
            .example("my_auth.validate"),
    ],
};

/// `general_settings.key_management_settings`.
#[rustfmt::skip] // A row is read as a whole.
static KEY_MANAGEMENT: Table = Table {
    doc: "Settings of the key management system.",
    open: true,
    rows: &[
        row(InForce, "project_id", Text, Unset,
            "Google: the project, of the KMS's key or of the Secret Manager.")
            .env(&["GOOGLE_SECRET_MANAGER_PROJECT_ID"])
            .example("my-project"),
        row(InForce, "location_id", Text, Unset,
            "Google: the key's region.")
            .example("global"),
        row(InForce, "key_ring_id", Text, Unset,
            "Google: the key ring.")
            .example("shardgate"),
        row(InForce, "key_id", Text, Unset,
            "The key of Google's or AWS's KMS. It opens what the environment has as ciphertexts, among them \
             `LITELLM_SALT_KEY`, which encrypts what is stored.")
            .example("credentials"),
        row(InForce, "vault_url", Url(WEB), Unset,
            "Azure and HashiCorp: the vault.")
            .env(&["AZURE_KEY_VAULT_URI"]).example("https://vault.example"),

        row(InForce, "hosted_keys", List(&Text), Unset,
            "The only names that are looked up there.")
            .example("[OPENAI_API_KEY]"),
        row(InForce, "store_virtual_keys", Bool, OFF,
            "Virtual keys are stored there too, as long as they live, whatever `access_mode` says."),
        row(InForce, "prefix_for_stored_virtual_keys", Text, Default::Text("litellm/"),
            "What the names of stored virtual keys begin with; a slash follows where it has none."),
        row(InForce, "access_mode", Text, Default::Text("read_only"),
            "`read_only`, `write_only` or `read_and_write`."),
        row(InForce, "primary_secret_name", Text, Unset,
            "One secret that holds all the others as JSON.")
            .example("shardgate"),
    ],
};

/// Such a map, as the item of a list or a map.
pub(super) static A_KEY_MANAGEMENT: crate::row::Kind = crate::row::Kind::Table(&KEY_MANAGEMENT);

/// `general_settings.alerting_args`.
#[rustfmt::skip] // A row is read as a whole.
pub(super) static ALERTING_ARGS: Table = Table {
    doc: "Settings of the alerting methods. A listed method without its settings \
          (or their variables) is an error at start.",
    open: false,
    rows: &[
        row(Later, "slack_webhook_url", SecretUrl(WEB), Unset,
            "Slack's incoming webhook.")
            .env(&["SLACK_WEBHOOK_URL"]).example("os.environ/SLACK_WEBHOOK_URL"),
        row(Later, "slack_channel", Text, Unset,
            "The channel, where the webhook allows to choose one.")
            .example("\"#llm-alerts\""),
        row(Later, "discord_webhook_url", SecretUrl(WEB), Unset,
            "Discord's webhook.")
            .env(&["DISCORD_WEBHOOK_URL"]).example("os.environ/DISCORD_WEBHOOK_URL"),
        row(Later, "microsoft_teams_webhook_url", SecretUrl(WEB), Unset,
            "The webhook of a Teams channel.")
            .env(&["MICROSOFT_TEAMS_WEBHOOK_URL"])
            .example("os.environ/MICROSOFT_TEAMS_WEBHOOK_URL"),
        row(Later, "webhook_url", SecretUrl(WEB), Unset,
            "A webhook of your own that takes LiteLLM's events as JSON.")
            .env(&["WEBHOOK_URL"]).example("os.environ/WEBHOOK_URL"),
        row(Later, "smtp_host", Text, Unset,
            "The mail server.")
            .env(&["SMTP_HOST"]).example("smtp.example.com"),
        row(Later, "smtp_port", Integer(1, 65_535), Default::Integer(587),
            "The mail server's port.")
            .env(&["SMTP_PORT"]),
        row(Later, "smtp_user", Text, Unset,
            "The mail server's user.")
            .env(&["SMTP_USERNAME"]).example("alerts@example.com"),
        row(Later, "smtp_password", Secret, Unset,
            "The user's password.")
            .env(&["SMTP_PASSWORD"]).example("os.environ/SMTP_PASSWORD"),
        row(Later, "smtp_tls", Bool, Default::Bool(true),
            "STARTTLS before the password is sent.")
            .env(&["SMTP_TLS"]),
        row(Later, "from_email", Text, Unset,
            "The sender.")
            .env(&["SMTP_SENDER_EMAIL"]).example("alerts@example.com"),
        row(Later, "to_emails", Many(&Text), Texts(&[]),
            "The recipients.")
            .example("[ops@example.com]"),
        row(Later, "daily_report_frequency", Seconds(1.0, SECONDS_MAX), Default::Number(43_200.0),
            "Time between two daily reports."),
        row(Later, "report_check_interval", Seconds(1.0, SECONDS_MAX), Default::Number(300.0),
            "How often it is looked at whether a report is due."),
        row(Later, "budget_alert_ttl", Seconds(0.0, SECONDS_MAX), Default::Number(86_400.0),
            "A budget alert is not repeated within this."),
        row(Later, "outage_alert_ttl", Seconds(0.0, SECONDS_MAX), Default::Number(60.0),
            "An outage alert is not repeated within this."),
        row(Later, "region_outage_alert_ttl", Seconds(0.0, SECONDS_MAX), Default::Number(60.0),
            "A region's outage alert is not repeated within this."),
        row(Later, "minor_outage_alert_threshold", Integer(1, i64::MAX), Default::Integer(5),
            "Errors in a minute that make a minor outage."),
        row(Later, "major_outage_alert_threshold", Integer(1, i64::MAX), Default::Integer(10),
            "Errors in a minute that make a major outage."),
        row(Later, "max_outage_alert_list_size", Integer(1, i64::MAX), Default::Integer(10),
            "Outages that are remembered."),
        row(Later, "log_to_console", Bool, OFF,
            "Alerts are logged too."),
    ],
};

/// One entry of `general_settings.service_account_settings`.
#[rustfmt::skip] // A row is read as a whole.
static SERVICE_ACCOUNT: Table = Table {
    doc: "Limits of keys that are service accounts.",
    open: true,
    rows: &[
        row(InForce, "key_type", Text, Default::Text("service_account"),
            "The kind of key."),
        row(InForce, "settings", Map(&Any), EmptyMap,
            "`max_parallel_requests`, `rpm`, `tpm`, `enforced_params` of such keys.")
            .example("{rpm: 100}"),
        row(InForce, "enforced_params", List(&Text), Unset,
            "Fields that requests of such keys must carry.")
            .example("[user]"),
    ],
};

/// Such a map, as the item of a list or a map.
pub(super) static A_SERVICE_ACCOUNT: crate::row::Kind = crate::row::Kind::Table(&SERVICE_ACCOUNT);

/// One entry of a `provider_budget_config`.
#[rustfmt::skip] // A row is read as a whole.
static PROVIDER_BUDGET: Table = Table {
    doc: "What may be spent at one provider.",
    open: false,
    rows: &[
        row(InForce, "budget_limit", MONEY, Unset,
            "USD per `time_period`.")
            .example("100"),
        row(InForce, "time_period", Period, Unset,
            "The period of `budget_limit`.")
            .example("1d"),
        row(InForce, "max_budget", MONEY, Unset,
            "Another name of `budget_limit`, which wins.")
            .example("100"),
        row(InForce, "budget_duration", Period, Unset,
            "Another name of `time_period`, which wins.")
            .example("1d"),
        row(InForce, "daily_budget", MONEY, Unset,
            "USD per day.")
            .example("100"),
        row(InForce, "monthly_budget", MONEY, Unset,
            "USD per month.")
            .example("2000"),
    ],
};

/// Such a map, as the item of a list or a map.
pub(super) static A_PROVIDER_BUDGET: crate::row::Kind = crate::row::Kind::Table(&PROVIDER_BUDGET);

/// One entry of `general_settings.pass_through_endpoints`.
#[rustfmt::skip] // A row is read as a whole.
static PASS_THROUGH: Table = Table {
    doc: "A route of your own that is passed on.",
    open: true,
    rows: &[
        row(InForce, "path", Text, Required,
            "The route here.")
            .example("/v1/rerank-own"),
        row(InForce, "target", Url(WEB), Required,
            "Where it goes.")
            .example("https://rerank.example/v1"),
        row(InForce, "headers", Map(&Either(&[Secret, Bool])), EmptyMap,
            "Headers added to the call.")
            .example("{authorization: os.environ/RERANK_KEY}"),
        row(InForce, "auth", Bool, OFF,
            "The route needs a key."),
        row(InForce, "forward_headers", Bool, OFF,
            "The client's headers go along."),
        row(InForce, "include_subpath", Bool, OFF,
            "Everything below the path goes along."),
        row(InForce, "merge_query_params", Bool, OFF,
            "The client's query joins the target's."),
        row(InForce, "cost_per_request", MONEY, Default::Number(0.0),
            "USD per call."),
    ],
};

/// Such a map, as the item of a list or a map.
pub(super) static A_PASS_THROUGH: crate::row::Kind = crate::row::Kind::Table(&PASS_THROUGH);
