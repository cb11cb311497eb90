//! The settings that a request needs, flattened from the config's sections.

use std::time::Duration;

use shardgate_config::{Config, DebugLevel, ResponseModel, TokenRateLimit};
use shardgate_io::{http1, net, pool};

use crate::auth::key::KeyHash;
use crate::auth::network::Network;

/// Settings of the data plane.
pub struct Settings {
    /// The hash of `master_key`.
    pub master_key: Option<KeyHash>,
    /// What stands for the master key in rows of spend: its hash, or with
    /// `disable_adding_master_key_hash_to_db` LiteLLM's word.
    pub master_key_name: String,
    /// `default_team_disabled`: a key without a team is refused.
    pub team_required: bool,
    /// `litellm_settings.budget_exceeded_status_code`
    pub budget_status: u16,
    /// `user_api_key_cache_ttl`: how long a key is believed without another look.
    pub key_ttl: Duration,
    /// `enforce_user_param`
    pub user_required: bool,
    /// `litellm_settings.max_budget` binds everybody together.
    pub global_budget: bool,
    /// `allow_requests_on_db_unavailable`
    pub pass_without_database: bool,
    /// `fail_closed_rate_limit_enforcement`
    pub fail_closed: bool,
    /// Calls that fail leave a row: not with `disable_error_logs`.
    pub error_rows: bool,
    /// `general_settings.store_prompts_in_spend_logs`
    pub store_prompts: bool,
    /// `journal_sync_ms: 0`: no answer ends before the disk has its record.
    pub strict_journal: bool,
    /// `allowed_routes`
    pub allowed_routes: Option<Vec<String>>,
    /// `admin_only_routes`
    pub admin_only_routes: Vec<String>,
    /// `litellm_key_header_name`, lower-case.
    pub key_header: Option<String>,
    /// Keys that do not begin with `sk-` are tokens of others: `enable_jwt_auth`, `enable_oauth2_auth`.
    pub takes_tokens: bool,
    /// `enable_oauth2_proxy_auth`: fields of an identity and the headers that name them, lower-case.
    pub proxy_names: Option<Vec<(String, String)>>,
    /// `enforced_params`: fields that each request carries, nested ones with dots.
    pub enforced_params: Vec<String>,
    /// The same for service accounts (`service_account_settings`).
    pub service_account_params: Vec<String>,
    /// `reject_clientside_metadata_tags`
    pub reject_tags: bool,
    /// `user_header_name` and the customers of `user_header_mappings`, lower-case.
    pub end_user_headers: Vec<String>,
    /// `infer_model_from_keys`
    pub infer_model: bool,
    /// `token_rate_limit_type`: whether the prompt's tokens and the answer's count.
    pub counts_tokens: (bool, bool),
    /// `banned_keywords_list`, in small letters.
    pub banned_keywords: Vec<String>,
    /// `extra_spend_tag_headers`
    pub tag_headers: Vec<String>,
    /// `blocked_user_list`
    pub blocked_users: std::collections::HashSet<String>,
    /// `custom_auth`: a Python function says who calls, unless it is the master key's holder.
    pub custom_auth: bool,
    /// `disable_responses_id_security`: stored answers are everybody's.
    pub shares_responses: bool,
    /// Tokens are counted: not with `disable_token_counter`.
    pub counts_prompts: bool,
    /// `public_routes`.
    pub public_routes: Vec<String>,
    /// `allowed_ips`.
    pub allowed_ips: Option<Vec<Network>>,
    /// `use_x_forwarded_for`.
    pub use_x_forwarded_for: bool,
    /// `trusted_proxies`.
    pub trusted_proxies: Option<Vec<Network>>,
    /// `max_request_size_mb` in bytes.
    pub request_bytes_max: usize,
    /// `max_response_size_mb` in bytes.
    pub response_bytes_max: usize,
    /// `global_max_parallel_requests`.
    pub parallel_max: Option<u64>,
    /// Deadlines of client connections.
    pub server: http1::server::Settings,
    /// How upstreams are dialled.
    pub connect: net::Connect,
    /// Bounds of upstream pools.
    pub pool: pool::Limits,
    /// `forward_openai_org_id`.
    pub forward_openai_org_id: bool,
    /// `forward_client_headers_to_llm_api`.
    pub forward_client_headers: bool,
    /// `forward_traceparent_to_llm_provider`.
    pub forward_traceparent: bool,
    /// `allow_client_side_credentials`.
    pub client_side_credentials: bool,
    /// `dangerously_allow_mock_testing_request_params`.
    pub mock_testing: bool,
    /// Answers carry the model's name as the client asked for it.
    pub requested_model: bool,
    /// `always_include_stream_usage`.
    pub always_include_stream_usage: Option<bool>,
    /// `include_cost_in_streaming_usage`.
    pub stream_cost: bool,
    /// `model_alias_map`.
    pub model_alias_map: std::collections::BTreeMap<String, String>,
    /// `return_response_headers`.
    pub upstream_headers: bool,
    /// `mid_stream_fallback`.
    pub mid_stream_fallback: bool,
    /// `litellm_settings.drop_params`.
    pub drop_params: bool,
    /// `litellm_settings.modify_params`.
    pub modify_params: bool,
    /// What may be fetched of the addresses that requests name.
    pub urls: UrlRules,
    /// `completion_model`.
    pub completion_model: Option<String>,
    /// `embedding_model`.
    pub embedding_model: Option<String>,
    /// `moderation_model`.
    pub moderation_model: Option<String>,
    /// `image_generation_model`.
    pub image_generation_model: Option<String>,
    /// `json_logs`.
    pub json_logs: bool,
    /// `set_verbose`.
    pub verbose: bool,
    /// `router_settings.cache_responses`.
    pub cache_responses: bool,
    /// `router_settings.debug_level: DEBUG`, or its older name.
    pub router_verbose: bool,
    /// One log line per request (`access_log`, ours).
    pub access_log: bool,
    /// A prefix of all paths, from SERVER_ROOT_PATH.
    pub root_path: String,
    /// The whole request with retries and fallbacks.
    pub timeout: Duration,
    /// Health checks in the background.
    pub health: HealthChecks,
}

/// What may be fetched of the addresses that requests name.
pub struct UrlRules {
    /// `user_url_validation`: public addresses alone.
    pub checked: bool,
    /// `user_url_allowed_hosts`: hosts that may have others.
    pub hosts_allowed: Vec<String>,
    /// One file, at most; zero: nothing is fetched.
    pub bytes_max: usize,
}

impl UrlRules {
    fn from_config(litellm: &shardgate_config::LitellmSettings) -> UrlRules {
        const MEGABYTES: f64 = 50.0;
        let named = std::env::var("MAX_IMAGE_URL_DOWNLOAD_SIZE_MB").ok();
        let size = named.and_then(|text| text.trim().parse::<f64>().ok());
        UrlRules {
            checked: litellm.user_url_validation,
            hosts_allowed: litellm.user_url_allowed_hosts.clone(),
            bytes_max: megabytes(size.unwrap_or(MEGABYTES)),
        }
    }
}

/// How deployments are checked.
pub struct HealthChecks {
    /// `background_health_checks`
    pub background: bool,
    /// `health_check_interval`
    pub interval: Duration,
    /// `health_check_details`
    pub details: bool,
    /// `enable_health_check_routing`
    pub steers: bool,
}

impl Settings {
    /// Tells the log how to write.
    pub fn configure(&self, log: &crate::observe::log::Log) {
        log.configure(self.json_logs, self.verbose, self.router_verbose);
    }

    /// Reads them from a checked configuration.
    ///
    /// # Errors
    /// What the config's own checks leave open, a line each.
    pub fn from_config(config: &Config) -> Result<Settings, Vec<String>> {
        let general = &config.general;
        let litellm = &config.litellm;
        let mut errors = Vec::new();
        let mut networks = |name: &str, list: Option<&[String]>| {
            list.map(|list| {
                list.iter()
                    .filter_map(|text| {
                        let parsed = text.parse::<Network>();
                        parsed
                            .map_err(|error| errors.push(format!("{name}: {error}")))
                            .ok()
                    })
                    .collect()
            })
        };
        let allowed_ips = networks(
            "general_settings.allowed_ips",
            general.allowed_ips.as_deref(),
        );
        let trusted_proxies =
            networks("general_settings.trusted_proxies", config.trusted_proxies());
        let settings = Settings {
            master_key: general
                .master_key
                .as_ref()
                .map(|key| KeyHash::of(key.expose().as_bytes())),
            master_key_name: master_key_name(general),
            team_required: general.default_team_disabled,
            budget_status: u16::try_from(litellm.budget_exceeded_status_code).unwrap_or(422),
            key_ttl: general.user_api_key_cache_ttl,
            user_required: general.enforce_user_param,
            global_budget: litellm.max_budget.is_some(),
            pass_without_database: general.allow_requests_on_db_unavailable,
            fail_closed: general.fail_closed_rate_limit_enforcement,
            error_rows: !general.disable_error_logs,
            store_prompts: general.store_prompts_in_spend_logs,
            strict_journal: general.journal_sync_ms == 0,
            allowed_routes: general.allowed_routes.clone(),
            admin_only_routes: general.admin_only_routes.clone(),
            key_header: general
                .litellm_key_header_name
                .as_ref()
                .map(|n| n.to_ascii_lowercase()),
            takes_tokens: general.enable_jwt_auth || general.enable_oauth2_auth,
            proxy_names: proxy_names(general),
            shares_responses: general.disable_responses_id_security,
            counts_prompts: !litellm.disable_token_counter,
            public_routes: public_routes(general),
            enforced_params: general.enforced_params.clone(),
            service_account_params: service_account_params(general),
            reject_tags: general.reject_clientside_metadata_tags,
            end_user_headers: end_user_headers(general),
            infer_model: general.infer_model_from_keys,
            counts_tokens: match general.token_rate_limit_type {
                TokenRateLimit::Total => (true, true),
                TokenRateLimit::Input => (true, false),
                TokenRateLimit::Output => (false, true),
            },
            banned_keywords: listed::<Vec<String>>(
                "banned_keywords_list",
                config.litellm.banned_keywords_list.as_ref(),
                &mut errors,
            )
            .into_iter()
            .map(|word| word.to_lowercase())
            .collect(),
            tag_headers: config.litellm.extra_spend_tag_headers.clone(),
            blocked_users: listed(
                "blocked_user_list",
                config.litellm.blocked_user_list.as_ref(),
                &mut errors,
            ),
            custom_auth: general.custom_auth.is_some(),
            allowed_ips,
            use_x_forwarded_for: general.use_x_forwarded_for,
            trusted_proxies,
            request_bytes_max: megabytes(general.max_request_size_mb),
            response_bytes_max: megabytes(general.max_response_size_mb),
            parallel_max: general.global_max_parallel_requests,
            server: http1::server::Settings {
                head_timeout: general.request_head_timeout,
                body_timeout: general.request_body_timeout,
                idle_timeout: general.keepalive_timeout,
                send_timeout: general.response_send_timeout,
                limits: http1::head::Limits {
                    head_bytes_max: size(general.max_request_head_bytes),
                    headers_max: size(general.max_request_headers),
                },
            },
            connect: net::Connect {
                force_ipv4: litellm.force_ipv4,
                timeout: config.router.connect_timeout,
            },
            pool: pool::Limits {
                age_max: config.router.client_ttl,
                idle_max: config.router.upstream_idle_timeout,
                idle_count_max: size(config.router.max_idle_connections),
                live_max: size(config.router.max_upstream_connections),
            },
            forward_openai_org_id: general.forward_openai_org_id,
            forward_client_headers: general.forward_client_headers_to_llm_api,
            forward_traceparent: litellm.forward_traceparent_to_llm_provider,
            client_side_credentials: general.allow_client_side_credentials,
            mock_testing: general.dangerously_allow_mock_testing_request_params,
            requested_model: general.response_model == ResponseModel::Requested,
            always_include_stream_usage: general.always_include_stream_usage,
            stream_cost: litellm.include_cost_in_streaming_usage,
            model_alias_map: litellm.model_alias_map.clone(),
            upstream_headers: litellm.return_response_headers,
            mid_stream_fallback: config.router.mid_stream_fallback,
            drop_params: litellm.drop_params,
            modify_params: litellm.modify_params,
            urls: UrlRules::from_config(litellm),
            completion_model: general.completion_model.clone(),
            embedding_model: general.embedding_model.clone(),
            moderation_model: general.moderation_model.clone(),
            image_generation_model: general.image_generation_model.clone(),
            json_logs: litellm.json_logs,
            verbose: litellm.set_verbose,
            cache_responses: config.router.cache_responses,
            router_verbose: config.router.debug_level == DebugLevel::Debug
                || config.router.set_verbose,
            access_log: general.access_log,
            root_path: root_path(),
            timeout: config.router.timeout,
            health: HealthChecks {
                background: general.background_health_checks,
                interval: general.health_check_interval,
                details: general.health_check_details,
                steers: general.enable_health_check_routing,
            },
        };
        if errors.is_empty() {
            Ok(settings)
        } else {
            Err(errors)
        }
    }
}

/// A parameter that is a list, or the path of a file with one a line.
fn listed<T: FromIterator<String> + Default>(
    name: &str,
    given: Option<&serde_json::Value>,
    errors: &mut Vec<String>,
) -> T {
    use serde_json::Value;
    match given {
        Some(Value::Array(list)) => list
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        Some(Value::String(path)) => match std::fs::read_to_string(path) {
            Ok(text) => {
                let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
                lines.map(str::to_owned).collect()
            }
            Err(error) => {
                errors.push(format!("litellm_settings.{name}: {path}: {error}"));
                Default::default()
            }
        },
        _ => Default::default(),
    }
}

fn service_account_params(general: &shardgate_config::GeneralSettings) -> Vec<String> {
    let mut all = Vec::new();
    for settings in general.service_account_settings.iter().flatten() {
        all.extend(settings.enforced_params.clone().unwrap_or_default());
        let inner = settings
            .settings
            .get("enforced_params")
            .and_then(serde_json::Value::as_array);
        let names = inner
            .into_iter()
            .flatten()
            .filter_map(serde_json::Value::as_str);
        all.extend(names.map(str::to_owned));
    }
    all
}

/// `user_header_name`, and the headers of `user_header_mappings` that name customers.
fn end_user_headers(general: &shardgate_config::GeneralSettings) -> Vec<String> {
    let mut headers: Vec<String> = general.user_header_name.iter().cloned().collect();
    let mappings = general.user_header_mappings.as_ref();
    let list = mappings.and_then(|mappings| mappings.as_array().cloned());
    let one = mappings.filter(|mapping| mapping.is_object()).cloned();
    for mapping in list.into_iter().flatten().chain(one) {
        let text = |name: &str| mapping.get(name).and_then(serde_json::Value::as_str);
        if text("litellm_user_role") == Some("customer") {
            headers.extend(text("header_name").map(str::to_owned));
        }
    }
    headers
        .iter_mut()
        .for_each(|name| name.make_ascii_lowercase());
    headers
}

/// `public_routes`, and those that tokens are not needed for.
fn public_routes(general: &shardgate_config::GeneralSettings) -> Vec<String> {
    let jwt = general
        .litellm_jwtauth
        .as_ref()
        .filter(|_| general.enable_jwt_auth);
    let more = jwt.and_then(|jwt| jwt.public_allowed_routes.clone());
    let mut routes = general.public_routes.clone();
    routes.extend(more.unwrap_or_default());
    routes
}

/// `oauth2_config_mappings`, or what OAuth2 proxies usually send.
fn proxy_names(general: &shardgate_config::GeneralSettings) -> Option<Vec<(String, String)>> {
    const USUAL: [(&str, &str); 3] = [
        ("user_id", "x-forwarded-user"),
        ("user_email", "x-forwarded-email"),
        ("groups", "x-forwarded-groups"),
    ];
    if !general.enable_oauth2_proxy_auth {
        return None;
    }
    let pair = |field: &str, header: &str| (field.to_owned(), header.to_ascii_lowercase());
    Some(match &general.oauth2_config_mappings {
        Some(mappings) => mappings
            .iter()
            .map(|(field, header)| pair(field, header))
            .collect(),
        None => USUAL
            .iter()
            .map(|(field, header)| pair(field, header))
            .collect(),
    })
}

fn size(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn megabytes(count: f64) -> usize {
    const MEGABYTE: f64 = 1024.0 * 1024.0;
    // A float to an integer saturates, which is what "no bound to speak of" should mean.
    (count * MEGABYTE) as usize
}

fn root_path() -> String {
    let path = std::env::var("SERVER_ROOT_PATH").unwrap_or_default();
    let path = path.trim_matches('/');
    if path.is_empty() {
        String::new()
    } else {
        format!("/{path}")
    }
}

fn master_key_name(general: &shardgate_config::GeneralSettings) -> String {
    match &general.master_key {
        None => String::new(),
        Some(_) if general.disable_adding_master_key_hash_to_db => {
            "litellm_proxy_master_key".to_owned()
        }
        Some(key) => KeyHash::of(key.expose().as_bytes()).hex(),
    }
}
