//! `callback_settings` as types. The fields are the rows, name by name.

use serde::Deserialize;

use super::value::Kept;

/// Settings of single callbacks, by the callback's name.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallbackSettings {
    /// The OpenTelemetry callback.
    pub otel: Otel,
    /// The Datadog callback.
    pub datadog: Option<Kept>,
    /// The Langfuse callback.
    pub langfuse: Option<Kept>,
    /// Arguments of a Python callback.
    pub custom_callback: Option<Kept>,
    /// Names without a row, as they were written.
    #[serde(default)]
    pub unknown: Kept,
}

/// The OpenTelemetry callback.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Otel {
    /// Message text in spans. False leaves it out of spans only; other callbacks keep theirs.
    pub message_logging: bool,
    /// Names without a row, as they were written.
    #[serde(default)]
    pub unknown: Kept,
}
