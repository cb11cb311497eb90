//! The router's plain values, from `router_settings` and the routing halves of the other sections.

use std::time::Duration;

use serde_json::Value;
use shardgate_config::{AllowedFailsPolicy, Config, Fallback, ModelEntry, RetryPolicy};

use super::Deployment;
use crate::router::{
    AliasSpec, ClassPolicy, DeploymentSpec, FallbackTable, LatencyArgs, Needs, RouterSettings,
    RouterSpec, TieChecks,
};
use crate::spend::money::Money;
use crate::spend::price::Kind;

/// LiteLLM's cooldown where none is written.
const COOLDOWN: Duration = Duration::from_secs(5);

/// What the router is built from; `deployments` are those of `entries`.
pub(super) fn spec(
    config: &Config,
    entries: &[&ModelEntry],
    deployments: &[Deployment],
) -> RouterSpec {
    let both = entries.iter().zip(deployments);
    RouterSpec {
        deployments: both
            .map(|(entry, made)| deployment(config, entry, made))
            .collect(),
        aliases: aliases(config),
        settings: settings(config),
    }
}

fn deployment(config: &Config, entry: &ModelEntry, made: &Deployment) -> DeploymentSpec {
    let fact = |name: &str| {
        entry
            .model_info
            .get(name)
            .or_else(|| entry.litellm_params.get(name))
    };
    let parallel = entry
        .max_parallel_requests()
        .or(config.max_parallel_requests());
    let window = ["max_input_tokens", "max_tokens"]
        .iter()
        .find_map(|name| entry.model_info.get(*name).and_then(Value::as_u64));
    // What the entry does not say, the price table may know.
    let known = made.meter.prices();
    let listed = |kind| known.usual(kind).map(Money::dollars);
    DeploymentSpec {
        id: made.id.clone(),
        group: entry.model_name.clone(),
        model: entry.model().to_owned(),
        named_model: text(entry, "health_check_model").filter(|_| entry.model().contains('*')),
        provider: made.target.entry.name.to_owned(),
        weight: entry.weight(),
        rpm: entry.rpm(),
        tpm: entry.tpm(),
        max_parallel: parallel.map(|count| u32::try_from(count).unwrap_or(u32::MAX)),
        timeout: entry.timeout(),
        stream_timeout: entry.stream_timeout(),
        cooldown: entry.cooldown_time(),
        order: entry.order().and_then(|order| i64::try_from(order).ok()),
        tags: entry.tags().into_iter().map(str::to_owned).collect(),
        tag_patterns: tag_patterns(entry),
        max_retries: entry.max_retries().map(small),
        region: entry.region_name().map(str::to_owned),
        input_cost: fact("input_cost_per_token")
            .and_then(Value::as_f64)
            .or(listed(Kind::Input)),
        output_cost: fact("output_cost_per_token")
            .and_then(Value::as_f64)
            .or(listed(Kind::Output)),
        context_window: window.or(known.input_window()),
        lacks: lacks(entry),
        caches_prompts: flag(entry, "supports_prompt_caching") == Some(true),
        bare: made.implied && !entry.model_name.contains('/'),
    }
}

fn tag_patterns(entry: &ModelEntry) -> Vec<String> {
    let list = entry
        .litellm_params
        .get("tag_regex")
        .and_then(Value::as_array);
    let texts = list.into_iter().flatten().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

/// Patterns that do not compile, with the reason.
pub(super) fn bad_tag_pattern(entry: &ModelEntry) -> Option<String> {
    tag_patterns(entry).iter().find_map(|text| {
        let error = regex::Regex::new(text).err()?;
        Some(format!("litellm_params.tag_regex: {error}"))
    })
}

fn text(entry: &ModelEntry, name: &str) -> Option<String> {
    let text = entry.model_info.get(name).and_then(Value::as_str);
    text.map(str::to_owned)
}

fn flag(entry: &ModelEntry, name: &str) -> Option<bool> {
    entry.model_info.get(name).and_then(Value::as_bool)
}

/// What `model_info` says that the model cannot do.
fn lacks(entry: &ModelEntry) -> Needs {
    const ABILITIES: &[(&str, Needs)] = &[
        ("supports_vision", Needs::VISION),
        ("supports_function_calling", Needs::TOOLS),
        ("supports_response_schema", Needs::RESPONSE_SCHEMA),
        ("supports_audio_input", Needs::AUDIO_INPUT),
        ("supports_audio_output", Needs::AUDIO_OUTPUT),
        ("supports_pdf_input", Needs::PDF_INPUT),
        ("supports_assistant_prefill", Needs::ASSISTANT_PREFILL),
        ("supports_reasoning", Needs::REASONING),
        ("supports_web_search", Needs::WEB_SEARCH),
        ("supports_parallel_function_calling", Needs::PARALLEL_TOOLS),
    ];
    let denied = ABILITIES
        .iter()
        .filter(|(name, _)| flag(entry, name) == Some(false));
    denied.fold(Needs::NONE, |all, (_, need)| all.and(*need))
}

/// `router_settings.model_group_alias` wins over general_settings'.
fn aliases(config: &Config) -> Vec<AliasSpec> {
    let all = config.model_group_alias();
    all.into_iter()
        .map(|(alias, to)| AliasSpec {
            alias,
            group: to.model,
            hidden: to.hidden,
        })
        .collect()
}

fn settings(config: &Config) -> RouterSettings {
    let router = &config.router;
    let checks = |name: &str| router.optional_pre_call_checks.iter().any(|n| n == name);
    RouterSettings {
        strategy: strategy(config),
        caching_groups: router.caching_groups.clone(),
        latency: latency(config),
        fallbacks: table(config.fallbacks()),
        default_fallbacks: config
            .default_fallbacks()
            .iter()
            .flat_map(|entry| entry.to.clone())
            .collect(),
        context_window_fallbacks: table(config.context_window_fallbacks()),
        content_policy_fallbacks: table(config.content_policy_fallbacks()),
        max_fallbacks: small(router.max_fallbacks),
        num_retries: config.num_retries().map(small),
        retry_policy: router
            .retry_policy
            .as_ref()
            .map(retry_policy)
            .unwrap_or_default(),
        group_retry_policy: router
            .model_group_retry_policy
            .iter()
            .map(|(group, policy)| (group.clone(), retry_policy(policy)))
            .collect(),
        retry_after: config.retry_after(),
        allowed_fails: config.allowed_fails().map(small),
        allowed_fails_policy: router.allowed_fails_policy.as_ref().map(fails_policy),
        cooldown_time: config.cooldown_time().unwrap_or(COOLDOWN),
        disable_cooldowns: router.disable_cooldowns,
        timeout: router.timeout,
        stream_timeout: router.stream_timeout,
        request_timeout: config.litellm.request_timeout,
        pre_call_checks: router.enable_pre_call_checks,
        prompt_caching: checks("prompt_caching"),
        ties: TieChecks {
            answer: checks("responses_api_deployment_check"),
            session: checks("session_affinity"),
            caller: checks("deployment_affinity"),
        },
        ties_last: router.deployment_affinity_ttl_seconds,
        enforce_limits: router.enforce_model_rate_limits || checks("enforce_model_rate_limits"),
        weighted_failover: router.enable_weighted_failover,
        no_waiting: config
            .general
            .disable_retry_on_max_parallel_request_limit_error,
        tag_filtering: router.enable_tag_filtering,
        tags_match_any: router.tag_filtering_match_any,
        default_priority: router.default_priority.and_then(|p| i32::try_from(p).ok()),
        polling_interval: router.polling_interval,
        queue_max: small(router.max_queued_requests),
        retry_budget_ratio: router.retry_budget_ratio,
        retry_budget_floor: small(router.retry_budget_floor),
        hedging: router.hedging,
    }
}

fn small(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn strategy(config: &Config) -> String {
    use shardgate_config::RoutingStrategy as S;
    let name = match config.router.routing_strategy {
        S::SimpleShuffle => "simple-shuffle",
        S::LeastBusy => "least-busy",
        S::UsageBasedRouting => "usage-based-routing",
        S::UsageBasedRoutingV2 => "usage-based-routing-v2",
        S::LatencyBasedRouting => "latency-based-routing",
        S::CostBasedRouting => "cost-based-routing",
        S::Custom => "custom",
    };
    name.to_owned()
}

fn latency(config: &Config) -> LatencyArgs {
    let (args, default) = (&config.router.routing_strategy_args, LatencyArgs::default());
    LatencyArgs {
        ttl: args.ttl.unwrap_or(default.ttl),
        buffer: args.lowest_latency_buffer.unwrap_or(default.buffer),
        samples_max: args
            .max_latency_list_size
            .map_or(default.samples_max, small),
    }
}

fn table(entries: &[Fallback]) -> FallbackTable {
    let mut table = FallbackTable::new();
    for entry in entries {
        table
            .entry(entry.model.clone())
            .or_default()
            .extend(entry.to.iter().cloned());
    }
    table
}

fn retry_policy(policy: &RetryPolicy) -> ClassPolicy {
    ClassPolicy {
        authentication: policy.authentication_error_retries.map(small),
        timeout: policy.timeout_error_retries.map(small),
        rate_limit: policy.rate_limit_error_retries.map(small),
        content_policy: policy.content_policy_violation_error_retries.map(small),
        internal_server: policy.internal_server_error_retries.map(small),
        bad_request: policy.bad_request_error_retries.map(small),
    }
}

fn fails_policy(policy: &AllowedFailsPolicy) -> ClassPolicy {
    ClassPolicy {
        authentication: policy.authentication_error_allowed_fails.map(small),
        timeout: policy.timeout_error_allowed_fails.map(small),
        rate_limit: policy.rate_limit_error_allowed_fails.map(small),
        content_policy: policy
            .content_policy_violation_error_allowed_fails
            .map(small),
        internal_server: policy.internal_server_error_allowed_fails.map(small),
        bad_request: policy.bad_request_error_allowed_fails.map(small),
    }
}
