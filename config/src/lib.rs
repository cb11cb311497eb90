//! The file: `config.yaml` to a typed `Config`, or every diagnostic with line and column.
//!
//! Text becomes a located tree (`yaml`), `include:` and `os.environ/` are resolved in it, the rows
//! (`rows`) check and complete it, what parameters say about each other is looked at (`semantics`),
//! and the result becomes plain typed fields (`settings`). No step stops at the first mistake.
//!
//! This crate reads files and nothing else: the environment is a function that is passed in, and
//! nothing here knows what a parameter does once it is in force.

mod check;
mod diagnostic;
mod environment;
mod load;
pub mod reference;
pub mod row;
pub mod rows;
mod semantics;
mod settings;
mod tree;
mod value;
mod written;
mod yaml;

pub use diagnostic::{Diagnostic, has_credentials, names_secret};
pub use load::{Loaded, Options, load, parse, written, written_text};
pub use settings::{
    AlertingArgs, Alias, AllowedFailsPolicy, Assistants, CacheBackend, CacheMode, CacheParams,
    CallbackSettings, Config, DebugLevel, Fallback, GeneralSettings, JwtAuth, Kept, KeyGeneration,
    KeyManagement, KeyParams, LitellmSettings, ModelEntry, Node, Otel, PassThrough, PersonalKeys,
    ProviderBudget, Quantization, RedisMore, ResponseModel, RetryPolicy, RouterGeneral,
    RouterSettings, RoutingStrategy, Secret, ServiceAccount, StrategyArgs, TeamKeys,
    TokenRateLimit,
};
pub use tree::Position;
