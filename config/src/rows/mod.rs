//! Every parameter, one row each, one file per section.

mod general;
mod general_maps;
mod litellm;
mod litellm_maps;
mod model;
mod router;

use model::A_MODEL_ENTRY;

use crate::row::Default::{EmptyMap, Inner, Texts, Unset};
use crate::row::Effect::{InForce, Later};
use crate::row::Kind::{Any, Bool, List, Map, Table as In, Text};
use crate::row::{Default, Row, Table, row};

pub use general::GENERAL_SETTINGS;
pub use litellm::LITELLM_SETTINGS;
pub use model::{LITELLM_PARAMS, MODEL_ENTRY, MODEL_INFO};
pub use router::ROUTER_SETTINGS;
pub(crate) use router::STRATEGY_ARG_NAMES;

/// The file as a whole.
pub static ROOT: Table = Table {
    doc: "The sections of `config.yaml`.",
    open: false,
    rows: ROOT_ROWS,
};

#[rustfmt::skip] // A row is read as a whole.
const ROOT_ROWS: &[Row] = &[
    row(InForce, "include", List(&Text), Texts(&[]),
        "Files that are merged into this one, named relative to it: their lists are appended, \
         their maps are merged, and where both set a value the included one wins.")
        .example("[]"),
    row(InForce, "environment_variables", Map(&Text), EmptyMap,
        "Variables for every `os.environ/NAME` and for every integration that reads its settings \
         from the environment. They win over the process's own.")
        .example("{LANGFUSE_HOST: \"https://langfuse.example\"}"),
    row(InForce, "model_list", List(&A_MODEL_ENTRY), Texts(&[]),
        "The deployments. Entries with one `model_name` form a group that the router balances."),
    row(InForce, "litellm_settings", In(&LITELLM_SETTINGS), Inner,
        "Callbacks, caching, timeouts and fallbacks."),
    row(InForce, "callback_settings", In(&CALLBACK_SETTINGS), Inner,
        "Settings of single callbacks."),
    row(InForce, "general_settings", In(&GENERAL_SETTINGS), Inner,
        "The server: authentication, database, limits, health, alerting."),
    row(InForce, "router_settings", In(&ROUTER_SETTINGS), Inner,
        "Routing, retries, fallbacks, cooldowns. Where a name is also in another section, this one \
         wins."),
    row(InForce, "credential_list", List(&Any), Unset,
        "Named credentials that `litellm_params.litellm_credential_name` refers to.")
        .example("[{credential_name: azure-eu, credential_values: {api_key: \
         os.environ/AZURE_API_KEY}}]"),
    row(Later, "guardrails", List(&Any), Unset,
        "Guardrails to run on requests and answers.")
        .example("[{guardrail_name: pii, litellm_params: {guardrail: presidio, mode: pre_call}}]"),
    row(InForce, "finetune_settings", List(&Any), Unset,
        "Credentials per provider for fine-tuning jobs.")
        .example("[{custom_llm_provider: openai, api_key: os.environ/OPENAI_API_KEY}]"),
    row(InForce, "files_settings", List(&Any), Unset,
        "Credentials per provider for the files endpoints.")
        .example("[{custom_llm_provider: openai, api_key: os.environ/OPENAI_API_KEY}]"),
    row(Later, "default_vertex_config", Map(&Any), Unset,
        "Project, location and credentials for the Vertex pass-through routes.")
        .example("{vertex_project: my-project, vertex_location: europe-west4}"),
    row(Later, "vector_store_registry", List(&Any), Unset,
        "Vector stores that requests may name.")
        .example("[]"),
    row(Later, "mcp_servers", Map(&Any), Unset,
        "MCP servers behind the gateway.")
        .example("{}"),
    row(Later, "prompts", List(&Any), Unset,
        "Prompt templates that requests may name.")
        .example("[]"),
    row(Later, "search_tools", List(&Any), Unset,
        "Search providers behind `/v1/search`.")
        .example("[]"),
];

/// `callback_settings`.
#[rustfmt::skip] // A row is read as a whole.
pub static CALLBACK_SETTINGS: Table = Table {
    doc: "Settings of single callbacks, by the callback's name.",
    open: false,
    rows: &[
        row(Later, "otel", In(&OTEL), Inner,
            "The OpenTelemetry callback."),
        row(Later, "datadog", Map(&Any), Unset,
            "The Datadog callback.")
            .example("{}"),
        row(Later, "langfuse", Map(&Any), Unset,
            "The Langfuse callback.")
            .example("{}"),
        row(Later, "custom_callback", Map(&Any), Unset,
            "Arguments of a Python callback.")
            .example("{}"),
    ],
};

/// `callback_settings.otel`.
#[rustfmt::skip] // A row is read as a whole.
pub static OTEL: Table = Table {
    doc: "The OpenTelemetry callback.",
    open: false,
    rows: &[
        row(Later, "message_logging", Bool, Default::Bool(true),
            "Message text in spans. False leaves it out of spans only; other callbacks keep \
             theirs."),
    ],
};
