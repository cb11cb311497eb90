//! What parameters say about each other: the checks that no single row can make.
//!
//! Each check is a function of the written tree (for places) and the checked values (for what
//! holds, defaults and environment included). A check adds findings and changes nothing.

use std::collections::HashMap;

use serde_json::{Map, Value as Json};

use crate::diagnostic::{Findings, suggestion};
use crate::environment::Environment;
use crate::rows::STRATEGY_ARG_NAMES;
use crate::tree::{Entry, Node, Position};
use crate::value;

/// A configuration whose rows are checked.
struct Whole<'a> {
    tree: &'a Node,
    checked: &'a Map<String, Json>,
    environment: &'a Environment<'a>,
}

/// Looks at a whole configuration after its rows were checked.
pub(crate) fn check(
    tree: &Node,
    checked: &Map<String, Json>,
    environment: &Environment<'_>,
    findings: &mut Findings,
) {
    let whole = Whole {
        tree,
        checked,
        environment,
    };
    models(&whole, findings);
    groups(&whole, findings);
    cache(&whole, findings);
    routing(&whole, findings);
    access(&whole, findings);
    alerting(&whole, findings);
    budgets(&whole, findings);
}

impl Whole<'_> {
    /// The place of a parameter that is written in the file, the section's or the file's start
    /// where it is not.
    fn place(&self, section: &str, name: &str) -> Position {
        let start = Position {
            file: 0,
            line: 1,
            column: 1,
        };
        match self.tree.entry(section) {
            Some(entry) => entry.value.entry(name).map_or(entry.at, |entry| entry.at),
            None => start,
        }
    }

    /// A parameter as it is written, unless it is null.
    fn written(&self, section: &str, name: &str) -> Option<&Entry> {
        let entry = self.tree.entry(section)?.value.entry(name)?;
        (!entry.value.is_null()).then_some(entry)
    }

    fn value(&self, section: &str, name: &str) -> Option<&Json> {
        self.checked.get(section)?.get(name)
    }

    fn is_true(&self, section: &str, name: &str) -> bool {
        self.value(section, name) == Some(&Json::Bool(true))
    }

    fn is_given(&self, section: &str, name: &str) -> bool {
        self.value(section, name)
            .is_some_and(|value| !is_empty(value))
    }
}

fn is_empty(value: &Json) -> bool {
    match value {
        Json::Null => true,
        Json::String(text) => text.is_empty(),
        Json::Array(items) => items.is_empty(),
        Json::Object(map) => map.is_empty(),
        _ => false,
    }
}

const LITELLM: &str = "litellm_settings";
const GENERAL: &str = "general_settings";
const ROUTER: &str = "router_settings";

fn models(whole: &Whole<'_>, findings: &mut Findings) {
    let list = whole
        .tree
        .entry("model_list")
        .map(|entry| entry.value.items())
        .unwrap_or_default();
    if list.is_empty() && !whole.is_true(GENERAL, "store_model_in_db") {
        let at = whole.tree.entry("model_list").map_or(
            Position {
                file: 0,
                line: 1,
                column: 1,
            },
            |entry| entry.at,
        );
        findings.warn(
            at,
            "model_list",
            "no deployment is listed; every request will be refused",
        );
    }
    let mut ids: HashMap<String, Position> = HashMap::new();
    for (index, item) in list.iter().enumerate() {
        let Some(id) = item
            .entry("model_info")
            .and_then(|info| info.value.entry("id"))
        else {
            continue;
        };
        let Some(text) = value::text(&id.value) else {
            continue;
        };
        if let Some(first) = ids.get(&text) {
            let path = format!("model_list[{index}].model_info.id");
            let message = format!(
                "an id of its own is expected; \"{text}\" is also the id of the deployment at \
                 line {}",
                first.line
            );
            findings.error(id.value.at, &path, message);
        } else {
            ids.insert(text, id.value.at);
        }
    }
}

/// Names of groups, aliases included, and patterns.
struct Groups {
    names: Vec<String>,
}

impl Groups {
    fn read(whole: &Whole<'_>) -> Groups {
        let list = whole.checked.get("model_list").and_then(Json::as_array);
        let name = |entry: &Json| {
            entry
                .get("model_name")
                .and_then(Json::as_str)
                .map(str::to_owned)
        };
        let mut names: Vec<String> = list.into_iter().flatten().filter_map(name).collect();
        for section in [GENERAL, ROUTER] {
            let aliases = whole
                .value(section, "model_group_alias")
                .and_then(Json::as_object);
            names.extend(
                aliases
                    .into_iter()
                    .flat_map(|aliases| aliases.keys().cloned()),
            );
        }
        Groups { names }
    }

    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|known| match known.split_once('*') {
            Some((before, after)) => {
                let after = after.rsplit('*').next().unwrap_or(after);
                name.len() >= before.len() + after.len()
                    && name.starts_with(before)
                    && name.ends_with(after)
            }
            None => known == name,
        })
    }

    fn complain(&self, node: &Node, path: &str, findings: &mut Findings) {
        if let Some(name) = value::text(node) {
            self.complain_name(&name, node.at, path, findings);
        }
    }

    fn complain_name(&self, name: &str, at: Position, path: &str, findings: &mut Findings) {
        if !self.has(name) {
            let near = suggestion(name, self.names.iter().map(String::as_str));
            let message = format!("no model group is called \"{name}\"{near}");
            findings.warn(at, path, message);
        }
    }
}

/// Wherever a group is named, there must be one of that name.
fn groups(whole: &Whole<'_>, findings: &mut Findings) {
    let groups = Groups::read(whole);
    if groups.names.is_empty() || whole.is_true(GENERAL, "store_model_in_db") {
        return;
    }
    let lists = [
        "fallbacks",
        "default_fallbacks",
        "content_policy_fallbacks",
        "context_window_fallbacks",
    ];
    for section in [LITELLM, ROUTER] {
        for name in lists {
            if let Some(entry) = whole.written(section, name) {
                fallback_groups(
                    &groups,
                    &entry.value,
                    &format!("{section}.{name}"),
                    findings,
                );
            }
        }
    }
    for name in [
        "completion_model",
        "embedding_model",
        "moderation_model",
        "image_generation_model",
    ] {
        if let Some(entry) = whole.written(GENERAL, name) {
            groups.complain(&entry.value, &format!("{GENERAL}.{name}"), findings);
        }
    }
    if let Some(params) = whole.written(LITELLM, "cache_params") {
        let embedding = [
            "qdrant_semantic_cache_embedding_model",
            "redis_semantic_cache_embedding_model",
        ];
        for name in embedding {
            if let Some(entry) = params.value.entry(name) {
                let path = format!("{LITELLM}.cache_params.{name}");
                groups.complain(&entry.value, &path, findings);
            }
        }
    }
    if let Some(entry) = whole.written(ROUTER, "caching_groups") {
        for (index, group) in entry.value.items().iter().enumerate() {
            for (inner, member) in group.items().iter().enumerate() {
                let path = format!("{ROUTER}.caching_groups[{index}][{inner}]");
                groups.complain(member, &path, findings);
            }
        }
    }
}

fn fallback_groups(groups: &Groups, node: &Node, path: &str, findings: &mut Findings) {
    let items = if node.entries().is_empty() {
        node.items()
    } else {
        std::slice::from_ref(node)
    };
    for (index, item) in items.iter().enumerate() {
        let path = format!("{path}[{index}]");
        groups.complain(item, &path, findings);
        for entry in item.entries() {
            if entry.key != "*" {
                groups.complain_name(&entry.key, entry.at, &path, findings);
            }
            let path = format!("{path}.{}", entry.key);
            groups.complain(&entry.value, &path, findings);
            for (inner, target) in entry.value.items().iter().enumerate() {
                groups.complain(target, &format!("{path}[{inner}]"), findings);
            }
        }
    }
}

fn cache(whole: &Whole<'_>, findings: &mut Findings) {
    let path = "litellm_settings.cache_params";
    let Some(params) = whole.value(LITELLM, "cache_params") else {
        if whole.is_true(LITELLM, "cache") {
            let at = whole.place(LITELLM, "cache");
            let message = "`cache: true` expects `cache_params` with a `type` beside it";
            findings.error(at, "litellm_settings.cache", message);
        }
        return;
    };
    let at = whole.place(LITELLM, "cache_params");
    let given = |name: &str| params.get(name).is_some_and(|value| !is_empty(value));
    let needs: &[&str] = match params.get("type").and_then(Json::as_str) {
        Some("s3") => &["s3_bucket_name"],
        Some("qdrant" | "qdrant-semantic") => &[
            "qdrant_api_base",
            "qdrant_collection_name",
            "similarity_threshold",
        ],
        Some("redis-semantic") => &["similarity_threshold"],
        _ => &[],
    };
    for name in needs.iter().filter(|name| !given(name)) {
        let message = format!("required by the cache's type; `{name}` is not set");
        findings.error(at, &format!("{path}.{name}"), message);
    }
    let sentinel = ["service_name", "sentinel_nodes"];
    if sentinel.iter().any(|name| given(name)) && !sentinel.iter().all(|name| given(name)) {
        findings.error(
            at,
            path,
            "Sentinel needs both `service_name` and `sentinel_nodes`",
        );
    }
    let redis = matches!(
        params.get("type").and_then(Json::as_str),
        Some("redis" | "redis-semantic")
    );
    let places = ["host", "url", "redis_startup_nodes", "sentinel_nodes"];
    if redis && !places.iter().any(|name| given(name)) {
        let message = "Redis needs `host`, `url`, `redis_startup_nodes` or `sentinel_nodes`, or \
                       REDIS_HOST or REDIS_URL in the environment";
        findings.error(at, path, message);
    }
}

fn routing(whole: &Whole<'_>, findings: &mut Findings) {
    let strategy = whole
        .value(ROUTER, "routing_strategy")
        .and_then(Json::as_str)
        .unwrap_or_default();
    strategy_args(whole, strategy, findings);
    if strategy == "custom" && !whole.is_given(ROUTER, "custom_routing_strategy_path") {
        let at = whole.place(ROUTER, "routing_strategy");
        let message = "`custom` expects `custom_routing_strategy_path` beside it";
        findings.error(at, "router_settings.routing_strategy", message);
    }
    let redis = ["redis_host", "redis_url"]
        .iter()
        .any(|name| whole.is_given(ROUTER, name))
        || whole.value(ROUTER, "cache_kwargs").is_some_and(|kwargs| {
            kwargs
                .get("startup_nodes")
                .or(kwargs.get("sentinel_nodes"))
                .is_some()
        });
    if strategy == "usage-based-routing-v2" && !redis {
        let at = whole.place(ROUTER, "routing_strategy");
        let message = "without `redis_host` or `redis_url` usage is counted in this instance only";
        findings.warn(at, "router_settings.routing_strategy", message);
    }
    for section in [ROUTER, LITELLM] {
        let fails = whole.written(section, "allowed_fails");
        let cooldown = [ROUTER, LITELLM]
            .iter()
            .any(|s| whole.written(s, "cooldown_time").is_some());
        if let (Some(entry), false) = (fails, cooldown) {
            let path = format!("{section}.allowed_fails");
            let message = "without `cooldown_time` a deployment cools down for 5 seconds";
            findings.warn(entry.at, &path, message);
        }
    }
}

fn strategy_args(whole: &Whole<'_>, strategy: &str, findings: &mut Findings) {
    let Some(args) = whole.written(ROUTER, "routing_strategy_args") else {
        return;
    };
    if strategy == "custom" {
        return;
    }
    let known = STRATEGY_ARG_NAMES
        .iter()
        .find(|(name, _)| *name == strategy);
    let known = known.map(|(_, names)| *names).unwrap_or_default();
    for entry in args
        .value
        .entries()
        .iter()
        .filter(|entry| !known.contains(&entry.key.as_str()))
    {
        let path = format!("router_settings.routing_strategy_args.{}", entry.key);
        let near = suggestion(&entry.key, known.iter().copied());
        let takes = if known.is_empty() {
            String::from("none")
        } else {
            known.join(", ")
        };
        let message = format!("{strategy} does not know this argument; it takes {takes}{near}");
        findings.error(entry.at, &path, message);
    }
}

/// Identities in headers come from trusted peers, and say who somebody is, not what they may do.
fn oauth2_proxy(whole: &Whole<'_>, proxies: &[&str], findings: &mut Findings) {
    const FIELDS: [&str; 8] = [
        "user_id",
        "user_email",
        "team_id",
        "team_alias",
        "groups",
        "org_id",
        "end_user_id",
        "models",
    ];
    if !whole.is_true(GENERAL, "enable_oauth2_proxy_auth") {
        return;
    }
    if !proxies.iter().any(|name| whole.is_given(GENERAL, name)) {
        let at = whole.place(GENERAL, "enable_oauth2_proxy_auth");
        let message = "expects `trusted_proxies`, the addresses of the OAuth2 proxy: the headers of \
                       others are not believed";
        findings.error(at, "general_settings.enable_oauth2_proxy_auth", message);
    }
    let mappings = whole.value(GENERAL, "oauth2_config_mappings");
    let names = mappings.and_then(Json::as_object).into_iter().flatten();
    for (name, _) in names.filter(|(name, _)| !FIELDS.contains(&name.as_str())) {
        let at = whole.place(GENERAL, "oauth2_config_mappings");
        let message = format!(
            "{name} cannot come from a header; {} can",
            FIELDS.join(", ")
        );
        findings.error(at, "general_settings.oauth2_config_mappings", message);
    }
}

fn access(whole: &Whole<'_>, findings: &mut Findings) {
    if !whole.is_given(GENERAL, "master_key") && !whole.tree.is_null() {
        let at = whole.place(GENERAL, "master_key");
        let message = "not set: everybody who reaches the port may call every model, and the admin \
                       routes refuse";
        findings.warn(at, "general_settings.master_key", message);
    }
    let jwt = whole.value(GENERAL, "litellm_jwtauth");
    let verifies = |jwt: &Json| {
        ["secret", "public_key_url"]
            .iter()
            .any(|name| jwt.get(name).is_some_and(|v| !is_empty(v)))
    };
    if whole.is_true(GENERAL, "enable_jwt_auth") {
        let outside = whole.environment.value("JWT_PUBLIC_KEY_URL").is_some();
        if !outside && !jwt.is_some_and(verifies) {
            let at = whole.place(GENERAL, "enable_jwt_auth");
            let message = "expects `litellm_jwtauth` with `secret` or `public_key_url` (or \
                           JWT_PUBLIC_KEY_URL in the environment)";
            findings.error(at, "general_settings.enable_jwt_auth", message);
        }
    }
    let given = |name: &str| {
        jwt.and_then(|jwt| jwt.get(name))
            .is_some_and(|v| !is_empty(v))
    };
    if given("user_roles_jwt_field") != given("user_allowed_roles") {
        let at = whole.place(GENERAL, "litellm_jwtauth");
        let message = "`user_roles_jwt_field` and `user_allowed_roles` go together";
        findings.error(at, "general_settings.litellm_jwtauth", message);
    }
    let proxies = ["trusted_proxies", "trusted_proxy_ranges"];
    oauth2_proxy(whole, &proxies, findings);
    if whole.is_true(GENERAL, "use_x_forwarded_for")
        && !proxies.iter().any(|name| whole.is_given(GENERAL, name))
    {
        let at = whole.place(GENERAL, "use_x_forwarded_for");
        let message = "without `trusted_proxies` any client may claim any address";
        findings.warn(at, "general_settings.use_x_forwarded_for", message);
    }
}

/// What each way of alerting cannot do without.
const ALERTING_NEEDS: &[(&str, &[&str])] = &[
    ("slack", &["slack_webhook_url"]),
    ("discord", &["discord_webhook_url"]),
    ("microsoft_teams", &["microsoft_teams_webhook_url"]),
    ("webhook", &["webhook_url"]),
    ("email", &["smtp_host", "from_email"]),
];

fn alerting(whole: &Whole<'_>, findings: &mut Findings) {
    let methods = whole.value(GENERAL, "alerting").and_then(Json::as_array);
    let at = whole.place(GENERAL, "alerting");
    let args = whole.value(GENERAL, "alerting_args");
    let given = |name: &&&str| {
        args.and_then(|args| args.get(**name))
            .is_some_and(|value| !is_empty(value))
    };
    let elsewhere = whole.is_given(GENERAL, "alert_to_webhook_url");
    for method in methods.into_iter().flatten().filter_map(Json::as_str) {
        let needs = ALERTING_NEEDS.iter().find(|(name, _)| *name == method);
        if elsewhere && method != "email" {
            continue;
        }
        let missing = needs
            .iter()
            .flat_map(|(_, names)| names.iter())
            .filter(|name| !given(name));
        for name in missing {
            let variable = if *name == "from_email" {
                String::from("SMTP_SENDER_EMAIL")
            } else {
                name.to_ascii_uppercase()
            };
            let message = format!(
                "`{method}` expects `alerting_args.{name}` (or {variable} in the \
                          environment)"
            );
            findings.error(at, "general_settings.alerting", message);
        }
    }
}

fn budgets(whole: &Whole<'_>, findings: &mut Findings) {
    if let Some(name) = whole.value(LITELLM, "timezone").and_then(Json::as_str)
        && jiff::tz::TimeZone::get(name).is_err()
    {
        let message = format!("a time zone such as Europe/Berlin is expected; got {name}");
        findings.error(
            whole.place(LITELLM, "timezone"),
            "litellm_settings.timezone",
            message,
        );
    }
    let (min, max) = (
        "proxy_budget_rescheduler_min_time",
        "proxy_budget_rescheduler_max_time",
    );
    let number = |name: &str| whole.value(GENERAL, name).and_then(Json::as_f64);
    if let (Some(least), Some(most)) = (number(min), number(max))
        && least > most
    {
        let written = if whole.written(GENERAL, max).is_some() {
            max
        } else {
            min
        };
        let at = whole.place(GENERAL, written);
        let message = format!("{max} of at least {min} is expected; got {most} and {least}");
        findings.error(at, &format!("{GENERAL}.{written}"), message);
    }
    for section in [GENERAL, ROUTER] {
        let Some(entry) = whole.written(section, "provider_budget_config") else {
            continue;
        };
        for provider in entry.value.entries() {
            let has = |name: &str| provider.value.entry(name).is_some();
            let path = format!("{section}.provider_budget_config.{}", provider.key);
            let limit = has("budget_limit") || has("max_budget");
            let period = has("time_period") || has("budget_duration");
            if limit != period {
                let message = "`budget_limit` and `time_period` go together";
                findings.error(provider.at, &path, message);
            } else if !limit && !has("daily_budget") && !has("monthly_budget") {
                let message = "a budget is expected: `budget_limit` with `time_period`, \
                               `daily_budget` or `monthly_budget`";
                findings.error(provider.at, &path, message);
            }
        }
    }
}
