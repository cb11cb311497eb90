//! A configuration as plain typed fields: what the rest of the house reads.
//!
//! By the time these exist everything is checked, defaulted and resolved. Their fields are the
//! rows' names; a test compares the two.

mod callback;
mod general;
mod litellm;
mod model;
mod router;
mod value;

use serde_json::{Map, Value as Json};

pub use callback::{CallbackSettings, Otel};
pub use general::{
    AlertingArgs, GeneralSettings, JwtAuth, KeyManagement, PassThrough, ProviderBudget,
    ServiceAccount,
};
pub use litellm::{
    CacheParams, KeyGeneration, KeyParams, LitellmSettings, Node, PersonalKeys, RedisMore, TeamKeys,
};
pub use model::ModelEntry;
pub use router::{
    AllowedFailsPolicy, Assistants, RetryPolicy, RouterGeneral, RouterSettings, StrategyArgs,
};
pub use value::{
    Alias, CacheBackend, CacheMode, DebugLevel, Fallback, Quantization, ResponseModel,
    RoutingStrategy, Secret, TokenRateLimit,
};

/// A whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// `environment_variables`, in the order of the file. They win over the process's own.
    pub environment: Vec<(String, Secret)>,
    /// `model_list`, in the order of the file.
    pub models: Vec<ModelEntry>,
    /// `litellm_settings`.
    pub litellm: LitellmSettings,
    /// `callback_settings`.
    pub callbacks: CallbackSettings,
    /// `general_settings`.
    pub general: GeneralSettings,
    /// `router_settings`.
    pub router: RouterSettings,
    /// Sections that are read and have no types yet (`guardrails`, `credential_list`, ...).
    pub sections: Map<String, Json>,
    /// Top-level names without a row, as they were written.
    pub unknown: Map<String, Json>,
}
