//! `model_list`: what a deployment is, where it is, what it may do.

use crate::row::Default::{EmptyMap, Means, Required, Unset};
use crate::row::Effect::{InForce, Later};
use crate::row::Kind::{
    Any, Bool, Choice, Either, Integer, List, Many, Map, Name, Number, Period, Seconds, Secret,
    Table as In, Text, Url,
};
use crate::row::{Row, SECONDS_MAX, Table, row};

/// One entry of `model_list`.
#[rustfmt::skip] // A row is read as a whole.
pub static MODEL_ENTRY: Table = Table {
    doc: "One deployment.",
    open: false,
    rows: &[
        row(InForce, "model_name", Name, Required,
            "The public name. Entries that share it are one model group; `*` and `openai/*` are \
             patterns, the longest match wins.")
            .example("gpt-4o"),
        row(InForce, "litellm_params", In(&LITELLM_PARAMS), Required,
            "What is called and how. Every key that is not listed here is a default of the \
             request's body; the client's own value wins."),
        row(InForce, "model_info", In(&MODEL_INFO), EmptyMap,
            "Facts about the deployment, answered by `/model/info`."),
        row(InForce, "tpm", Integer(1, i64::MAX), Unset,
            "Tokens per minute; as `litellm_params.tpm`, which wins.")
            .example("100000"),
        row(InForce, "rpm", Integer(1, i64::MAX), Unset,
            "Requests per minute; as `litellm_params.rpm`, which wins.")
            .example("600"),
    ],
};

/// Such a map, as the item of a list or a map.
pub(super) static A_MODEL_ENTRY: crate::row::Kind = crate::row::Kind::Table(&MODEL_ENTRY);

/// `model_list[].litellm_params`.
pub static LITELLM_PARAMS: Table = Table {
    doc: "What is called and how. Keys without a row are defaults of the request's body.",
    open: true,
    rows: PARAMS,
};

const HTTP: &[&str] = &["http", "https"];
const MONEY: crate::row::Kind = Number(0.0, f64::MAX);

#[rustfmt::skip] // A row is read as a whole.
const PARAMS: &[Row] = &[
    row(InForce, "model", Name, Required,
        "`provider/model`. The provider decides wire format, URL and authentication. Without a \
         prefix it is inferred from the known model names, else `openai`.")
        .example("openai/gpt-4o"),
    row(InForce, "api_key", Secret, Means("the provider's environment variable"),
        "The upstream credential, sent in the provider's own header.")
        .example("os.environ/OPENAI_API_KEY"),
    row(InForce, "api_base", Url(HTTP), Means("the provider's URL"),
        "Where the provider is, with or without a trailing slash and `/v1`; a path prefix is \
         kept.")
        .example("https://api.openai.com/v1"),
    row(InForce, "base_url", Url(HTTP), Unset,
        "Another name of `api_base`, which wins.")
        .example("https://api.openai.com/v1"),
    row(InForce, "api_version", Text, Means("the provider's"),
        "The version of the API, for Azure and those like it.")
        .example("2024-10-21"),
    row(InForce, "custom_llm_provider", Text, Means("the prefix of `model`"),
        "The provider, where `model` does not say it.")
        .example("openai"),
    row(Later, "deployment_id", Text, Unset,
        "Azure's name of the deployment, where it is not the model.")
        .example("my-deployment"),
    row(InForce, "organization", Many(&Text), Unset,
        "`OpenAI-Organization` of the upstream call.")
        .example("org-example"),
    row(InForce, "extra_headers", Map(&Text), Unset,
        "Headers added to the upstream call.")
        .example("{x-team: search}"),
    row(InForce, "extra_body", Map(&Any), Unset,
        "Fields added to the upstream body.")
        .example("{}"),
    row(InForce, "litellm_credential_name", Text, Unset,
        "The entry of `credential_list` to take credentials from.")
        .example("azure-eu"),
    row(InForce, "azure_ad_token", Secret, Unset,
        "A bearer token of Microsoft Entra instead of `api_key`.")
        .example("os.environ/AZURE_AD_TOKEN"),
    row(InForce, "tenant_id", Text, Unset,
        "Microsoft Entra: the tenant that issues tokens.")
        .example("00000000-0000-0000-0000-000000000000"),
    row(InForce, "client_id", Text, Unset,
        "Microsoft Entra: the application.")
        .example("00000000-0000-0000-0000-000000000000"),
    row(InForce, "client_secret", Secret, Unset,
        "Microsoft Entra: the application's secret.")
        .example("os.environ/AZURE_CLIENT_SECRET"),
    row(InForce, "aws_region_name", Text, Means("AWS_REGION"),
        "The AWS region.")
        .example("eu-central-1"),
    row(InForce, "aws_access_key_id", Secret, Unset,
        "AWS credentials; the environment's or the instance role's where not given.")
        .example("os.environ/AWS_ACCESS_KEY_ID"),
    row(InForce, "aws_secret_access_key", Secret, Unset,
        "AWS credentials.")
        .example("os.environ/AWS_SECRET_ACCESS_KEY"),
    row(InForce, "aws_session_token", Secret, Unset,
        "AWS temporary credentials.")
        .example("os.environ/AWS_SESSION_TOKEN"),
    row(InForce, "aws_session_name", Text, Unset,
        "The name of the session of an assumed role.")
        .example("shardgate"),
    row(InForce, "aws_profile_name", Text, Unset,
        "The profile of the shared credentials file.")
        .example("default"),
    row(InForce, "aws_role_name", Text, Unset,
        "The role to assume.")
        .example("arn:aws:iam::123456789012:role/llm"),
    row(InForce, "aws_web_identity_token", Secret, Unset,
        "The token of a web identity that assumes the role.")
        .example("os.environ/AWS_WEB_IDENTITY_TOKEN"),
    row(InForce, "aws_bedrock_runtime_endpoint", Url(HTTP), Unset,
        "Bedrock's endpoint, where it is not the region's.")
        .example("https://bedrock.example"),
    row(InForce, "vertex_project", Text, Unset,
        "The Google Cloud project.")
        .example("my-project"),
    row(InForce, "vertex_location", Text, Unset,
        "The Google Cloud region.")
        .example("europe-west4"),
    row(InForce, "vertex_credentials", Either(&[Secret, Map(&Any)]), Unset,
        "A service account: the path of its file, its JSON as text, or a map.")
        .example("/etc/shardgate/vertex.json"),
    row(InForce, "project_id", Text, Unset,
        "watsonx: the project. Vertex: another name of `vertex_project`.")
        .example("my-project"),
    row(InForce, "region_name", Text, Unset,
        "The deployment's region, for region-bound requests.")
        .example("eu"),
    row(InForce, "temperature", Number(0.0, 100.0), Unset,
        "Default of the request; the client's value wins.")
        .example("0.2"),
    row(InForce, "max_tokens", Integer(1, i64::MAX), Unset,
        "Default of the request; the client's value wins.")
        .example("1024"),
    row(InForce, "rpm", Integer(1, i64::MAX), Unset,
        "Requests per minute, over all shards and instances. A full deployment is skipped; when \
         all are full the client gets 429 with `retry-after`.")
        .example("600"),
    row(InForce, "tpm", Integer(1, i64::MAX), Unset,
        "Tokens per minute, likewise.")
        .example("100000"),
    row(InForce, "max_budget", Number(0.0, f64::MAX), Unset,
        "USD that calls to this deployment may cost per `budget_duration`; then it is passed over.")
        .example("100"),
    row(InForce, "budget_duration", Period, Means("30d"),
        "The period of `max_budget`.")
        .example("1d"),
    row(InForce, "weight", Number(0.0, f64::MAX), Means("1"),
        "Share of the group's traffic under `simple-shuffle`.")
        .example("7"),
    row(InForce, "max_parallel_requests",
        Integer(1, i64::MAX), Means("general_settings, then router_settings"),
        "Concurrent calls to this deployment. Excess waits up to the request's timeout, then 429.")
        .example("100"),
    row(InForce, "timeout", Seconds(0.00001, SECONDS_MAX), Means("the router's"),
        "One call to this deployment; wins over the router's.")
        .example("60"),
    row(InForce, "stream_timeout", Seconds(0.00001, SECONDS_MAX), Means("the router's"),
        "One streamed call to this deployment; wins over the router's.")
        .example("120"),
    row(InForce, "request_timeout", Seconds(0.00001, SECONDS_MAX), Unset,
        "Another name of `timeout`, which wins.")
        .example("60"),
    row(InForce, "max_retries", Integer(0, 100), Unset,
        "Retries of this deployment's calls; wins over `num_retries` of the settings.")
        .example("2"),
    row(InForce, "num_retries", Integer(0, 100), Unset,
        "Another name of `max_retries`, which wins.")
        .example("2"),
    row(InForce, "cooldown_time", Seconds(0.0, SECONDS_MAX), Means("the router's"),
        "How long this deployment cools down; wins over the router's.")
        .example("5"),
    row(InForce, "tags", List(&Text), Unset,
        "Tags that requests may ask for, see `router_settings.enable_tag_filtering`.")
        .example("[premium]"),
    row(InForce, "tag_regex", List(&Text), Unset,
        "Patterns on request headers that stand for tags.")
        .example("[\"^User-Agent: curl\"]"),
    row(InForce, "order", Integer(0, i64::MAX), Unset,
        "Deployments of a lower order are used first.")
        .example("1"),
    row(InForce, "mock_response", Either(&[Text, Map(&Any)]), Unset,
        "A canned answer; no upstream is called.")
        .example("Hello"),
    row(InForce, "drop_params", Bool, Unset,
        "Parameters the provider does not know are dropped instead of refused.")
        .example("true"),
    row(InForce, "additional_drop_params", List(&Text), Unset,
        "Parameters that are always dropped.")
        .example("[user]"),
    row(InForce, "allowed_openai_params", List(&Text), Unset,
        "Parameters that are passed on although the provider is not known to take them.")
        .example("[tools]"),
    row(InForce, "configurable_clientside_auth_params", List(&Any), Unset,
        "Credentials a client may bring itself: names, or `{api_base: pattern}`.")
        .example("[api_key]"),
    row(InForce, "use_in_pass_through", Bool, Unset,
        "The pass-through routes of the provider use this deployment's credentials."),
    row(InForce, "input_cost_per_token", MONEY, Means("the price map"),
        "USD per prompt token.")
        .example("0.0000025"),
    row(InForce, "output_cost_per_token", MONEY, Means("the price map"),
        "USD per answered token.")
        .example("0.00001"),
    row(InForce, "input_cost_per_second", MONEY, Means("the price map"),
        "USD per second of input.")
        .example("0.0001"),
    row(InForce, "output_cost_per_second", MONEY, Means("the price map"),
        "USD per second of output.")
        .example("0.0001"),
    row(InForce, "cache_read_input_token_cost", MONEY, Means("the price map"),
        "USD per prompt token that the provider had cached.")
        .example("0.00000125"),
    row(InForce, "cache_creation_input_token_cost", MONEY, Means("the price map"),
        "USD per prompt token that the provider caches.")
        .example("0.000003"),
    row(InForce, "base_model", Text, Unset,
        "The model to look up costs and windows by; as `model_info.base_model`.")
        .example("gpt-4o"),
];

/// `model_list[].model_info`.
#[rustfmt::skip] // A row is read as a whole.
pub static MODEL_INFO: Table = Table {
    doc: "Facts about the deployment. Keys without a row are answered unchanged.",
    open: true,
    rows: &[
        row(InForce, "id", Text, Means("a hash of the entry, the same over restarts"),
            "The deployment's id, in `x-litellm-model-id`, logs, metrics and spend rows.")
            .example("gpt-4o-eu-1"),
        row(InForce, "mode", Choice(MODES), Means("inferred"),
            "What the deployment does: decides the health probe and the endpoints that may use \
             it.")
            .example("chat"),
        row(InForce, "input_cost_per_token", MONEY, Means("the price map"),
            "USD per prompt token.")
            .example("0.0000025"),
        row(InForce, "output_cost_per_token", MONEY, Means("the price map"),
            "USD per answered token.")
            .example("0.00001"),
        row(InForce, "max_tokens", Integer(1, i64::MAX), Means("the price map"),
            "The context window that the pre-call check uses; `max_input_tokens` wins where it is \
             given.")
            .example("128000"),
        row(InForce, "max_input_tokens", Integer(1, i64::MAX), Means("the price map"),
            "Tokens of a prompt.")
            .example("128000"),
        row(InForce, "max_output_tokens", Integer(1, i64::MAX), Means("the price map"),
            "Tokens of an answer.")
            .example("16384"),
        row(InForce, "base_model", Text, Unset,
            "The model to look up costs and windows by, for an alias or an Azure deployment's \
             name.")
            .example("gpt-4o"),
        row(InForce, "metadata", Any, Unset,
            "Anything; answered unchanged.")
            .example("{team: search}"),
        row(InForce, "access_groups", List(&Text), Unset,
            "Names under which keys and teams may be given this model.")
            .example("[beta]"),
        row(InForce, "supported_environments", List(&Text), Unset,
            "The deployment is left out unless LITELLM_ENVIRONMENT is one of these.")
            .example("[production]"),
        row(InForce, "health_check_model", Text, Unset,
            "The model that the health probe of a pattern calls.")
            .example("openai/gpt-4o-mini"),
        row(InForce, "health_check_timeout", Seconds(0.00001, SECONDS_MAX), Unset,
            "How long the health probe waits.")
            .example("60"),
    ],
};

/// What a deployment may do.
const MODES: &[&str] = &[
    "completion",
    "chat",
    "embedding",
    "image_generation",
    "audio_transcription",
    "audio_speech",
    "moderation",
    "rerank",
    "responses",
    "realtime",
    "batch",
    "image_edit",
];
