//! The small types that settings are made of.

use std::fmt;
use std::ops::Deref;

use serde::Deserialize;
use serde_json::{Map, Value as Json};

use crate::diagnostic::{has_credentials, names_secret};

/// Text that is never shown: `Debug` and `Display` print `***`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself, for the one who needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A map that is kept as it was written. `Debug` hides what is named like a secret.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Kept(Map<String, Json>);

impl Kept {
    /// Wraps a map.
    pub fn new(map: Map<String, Json>) -> Kept {
        Kept(map)
    }
}

impl Deref for Kept {
    type Target = Map<String, Json>;

    fn deref(&self) -> &Map<String, Json> {
        &self.0
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        redacted(&self.0).fmt(f)
    }
}

/// The same map with every secret hidden.
pub(super) fn redacted(map: &Map<String, Json>) -> Map<String, Json> {
    map.iter()
        .map(|(name, value)| (name.clone(), without_secrets(name, value)))
        .collect()
}

/// Numbers and booleans are no secrets, whatever they are called: `max_tokens`, `cost_per_token`.
fn without_secrets(name: &str, value: &Json) -> Json {
    match value {
        Json::Null | Json::Bool(_) | Json::Number(_) => value.clone(),
        _ if names_secret(name) => Json::from("***"),
        Json::String(text) if has_credentials(text) => Json::from("***"),
        Json::String(_) => value.clone(),
        Json::Array(items) => items
            .iter()
            .map(|item| without_secrets(name, item))
            .collect(),
        Json::Object(inner) => Json::Object(redacted(inner)),
    }
}

/// What is tried when a group has failed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Fallback {
    /// The group that failed; `*` for any.
    pub model: String,
    /// The groups that are tried, in order.
    pub to: Vec<String>,
}

/// Where an alias leads.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Alias {
    /// The group (or the label inside, where it is no group's name).
    pub model: String,
    /// The alias is left out of `/models`.
    pub hidden: bool,
}

/// How one of a group's deployments is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoutingStrategy {
    /// By weight, else rpm, else tpm, else evenly.
    SimpleShuffle,
    /// The fewest requests in flight.
    LeastBusy,
    /// The fewest tokens this minute.
    UsageBasedRouting,
    /// The fewest tokens this minute, counted together with other instances.
    #[serde(rename = "usage-based-routing-v2")]
    UsageBasedRoutingV2,
    /// The quickest of late.
    LatencyBasedRouting,
    /// The cheapest.
    CostBasedRouting,
    /// Python, see `custom_routing_strategy_path`.
    Custom,
}

/// Where answers are cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CacheBackend {
    /// This process's memory (`local` is LiteLLM's name of it).
    #[serde(alias = "local")]
    Memory,
    /// Redis, single, cluster or behind Sentinel.
    Redis,
    /// Redis with vector search.
    RedisSemantic,
    /// S3 and compatibles.
    S3,
    /// Qdrant.
    #[serde(alias = "qdrant-semantic")]
    Qdrant,
    /// Files.
    Disk,
    /// A cache elsewhere, over HTTP.
    Hosted,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    AzureBlob,
}

/// Which requests are cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheMode {
    /// Those that ask for it.
    DefaultOff,
    /// All that do not refuse it.
    DefaultOn,
}

/// How Qdrant keeps vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantization {
    /// One bit a dimension.
    Binary,
    /// One byte a dimension.
    Scalar,
    /// Product quantization.
    Product,
}

/// The router's log level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DebugLevel {
    /// Everything.
    Debug,
    /// What matters.
    Info,
}

/// Which name answers carry in `model`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResponseModel {
    /// The one the client asked for.
    Requested,
    /// The one the upstream answered.
    Upstream,
}

/// Which tokens count against a key's tokens per minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenRateLimit {
    /// Prompt and answer.
    Total,
    /// The prompt's.
    Input,
    /// The answer's.
    Output,
}

/// Spans as seconds in JSON.
pub(super) mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, de::Error};

    pub(in crate::settings) fn deserialize<'de, D>(from: D) -> Result<Duration, D::Error>
    where
        D: Deserializer<'de>,
    {
        Duration::try_from_secs_f64(f64::deserialize(from)?).map_err(D::Error::custom)
    }

    /// The same where there may be none.
    pub(in crate::settings) mod optional {
        use std::time::Duration;

        use serde::{Deserialize, Deserializer, de::Error};

        pub(in crate::settings) fn deserialize<'de, D>(
            from: D,
        ) -> Result<Option<Duration>, D::Error>
        where
            D: Deserializer<'de>,
        {
            let seconds = Option::<f64>::deserialize(from)?;
            seconds
                .map(Duration::try_from_secs_f64)
                .transpose()
                .map_err(D::Error::custom)
        }
    }
}
