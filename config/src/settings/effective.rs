//! Which value counts where two sections may set one parameter.
//!
//! `router_settings` wins over `general_settings`, which wins over `litellm_settings`. A list that
//! is set wins whole; maps of aliases and budgets are joined name by name.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value as Json;

use super::{Alias, Config, Fallback, ProviderBudget};

impl Config {
    /// An explicit number of retries.
    pub fn num_retries(&self) -> Option<u64> {
        self.router
            .num_retries
            .or(self.general.num_retries)
            .or(self.litellm.num_retries)
    }

    /// The least wait before a retry.
    pub fn retry_after(&self) -> Duration {
        self.router.retry_after.unwrap_or(self.general.retry_after)
    }

    /// An explicit number of failures within a minute that are borne.
    pub fn allowed_fails(&self) -> Option<u64> {
        self.router.allowed_fails.or(self.litellm.allowed_fails)
    }

    /// How long a deployment is out of rotation, where it is written.
    pub fn cooldown_time(&self) -> Option<Duration> {
        self.router.cooldown_time.or(self.litellm.cooldown_time)
    }

    /// What is tried when a group has failed.
    pub fn fallbacks(&self) -> &[Fallback] {
        first(&self.router.fallbacks, &self.litellm.fallbacks)
    }

    /// What is tried for groups without fallbacks of their own.
    pub fn default_fallbacks(&self) -> &[Fallback] {
        first(
            &self.router.default_fallbacks,
            &self.litellm.default_fallbacks,
        )
    }

    /// What is tried when a prompt breaks a content policy.
    pub fn content_policy_fallbacks(&self) -> &[Fallback] {
        first(
            &self.router.content_policy_fallbacks,
            &self.litellm.content_policy_fallbacks,
        )
    }

    /// What is tried when a prompt is too long.
    pub fn context_window_fallbacks(&self) -> &[Fallback] {
        first(
            &self.router.context_window_fallbacks,
            &self.litellm.context_window_fallbacks,
        )
    }

    /// Other names of groups.
    pub fn model_group_alias(&self) -> BTreeMap<String, Alias> {
        joined(
            &self.general.model_group_alias,
            &self.router.model_group_alias,
        )
    }

    /// What may be spent per provider.
    pub fn provider_budgets(&self) -> BTreeMap<String, ProviderBudget> {
        joined(
            &self.general.provider_budget_config,
            &self.router.provider_budget_config,
        )
    }

    /// Concurrent calls of a deployment that sets none itself.
    pub fn max_parallel_requests(&self) -> Option<u64> {
        self.general
            .max_parallel_requests
            .or(self.router.default_max_parallel_requests)
    }

    /// The peers whose `X-Forwarded-For` is believed; `None` where nobody is named.
    pub fn trusted_proxies(&self) -> Option<&[String]> {
        let named = self.general.trusted_proxies.as_deref();
        named.or(self.general.trusted_proxy_ranges.as_deref())
    }

    /// Whether upstream certificates are checked, and the file of the roots where it is not the
    /// system's.
    pub fn upstream_verification(&self) -> (bool, Option<&str>) {
        match &self.litellm.ssl_verify {
            Json::Bool(verify) => (*verify, None),
            Json::String(path) => (true, Some(path)),
            _ => (true, None),
        }
    }
}

fn first<'a>(winner: &'a [Fallback], other: &'a [Fallback]) -> &'a [Fallback] {
    if winner.is_empty() { other } else { winner }
}

fn joined<T: Clone>(
    loser: &BTreeMap<String, T>,
    winner: &BTreeMap<String, T>,
) -> BTreeMap<String, T> {
    let mut all = loser.clone();
    all.extend(
        winner
            .iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    all
}
