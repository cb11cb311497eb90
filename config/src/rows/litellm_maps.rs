//! The maps inside `litellm_settings`.

use crate::row::Default::{Means, Required, Texts, Unset};
use crate::row::Effect::{InForce, Later};
use crate::row::Kind::{
    Addresses, Any, Bool, Choice, Either, Integer, List, Map, Number, Period, Seconds, Secret,
    SecretUrl, Table as In, Text, Url,
};
use crate::row::{Default, Row, SECONDS_MAX, Table, row};

const OFF: Default = Default::Bool(false);
const WEB: &[&str] = &["http", "https"];
/// Schemes of a Redis URL.
pub(super) const REDIS: &[&str] = &["redis", "rediss", "unix"];
const MONEY: crate::row::Kind = Number(0.0, f64::MAX);

/// The cache's backends.
const BACKENDS: &[&str] = &[
    "local",
    "memory",
    "redis",
    "redis-semantic",
    "s3",
    "qdrant",
    "qdrant-semantic",
    "disk",
    "hosted",
    "gcs",
    "azure-blob",
];

/// What can be cached, with and without LiteLLM's leading `a`.
const CALL_TYPES: &[&str] = &[
    "acompletion",
    "completion",
    "atext_completion",
    "text_completion",
    "aembedding",
    "embedding",
    "atranscription",
    "transcription",
    "arerank",
    "rerank",
    "aresponses",
    "responses",
    "anthropic_messages",
];

/// `litellm_settings.cache_params`.
pub(super) static CACHE_PARAMS: Table = Table {
    doc: "Where and what is cached. A backend that fails is a miss, never a failed request.",
    open: false,
    rows: CACHE_ROWS,
};

#[rustfmt::skip] // A row is read as a whole.
const CACHE_ROWS: &[Row] = &[
    row(Later, "type", Choice(BACKENDS), Required,
        "The backend.")
        .example("redis"),
    row(Later, "mode", Choice(&["default_off", "default_on"]), Default::Text("default_off"),
        "Whether requests are cached unless they say no, or only those that say yes."),
    row(Later, "ttl", Seconds(0.0, SECONDS_MAX), Means("kept until evicted"),
        "How long an answer is kept.")
        .example("3600"),
    row(Later, "supported_call_types",
        List(&Choice(CALL_TYPES)), Texts(&["acompletion", "atext_completion", "aembedding",
            "atranscription"]),
        "The only calls that are cached."),
    row(Later, "namespace", Text, Default::Text("litellm.caching.caching"),
        "What every key begins with."),
    row(InForce, "host", Text, Unset,
        "Redis: the host.")
        .env(&["REDIS_HOST"]).example("redis.example"),
    row(InForce, "port", Integer(1, 65_535), Default::Integer(6379),
        "Redis: the port.")
        .env(&["REDIS_PORT"]),
    row(InForce, "password", Secret, Unset,
        "Redis: the password.")
        .env(&["REDIS_PASSWORD"]).example("os.environ/REDIS_PASSWORD"),
    row(InForce, "username", Text, Unset,
        "Redis: the user.")
        .env(&["REDIS_USERNAME"]).example("default"),
    row(InForce, "url", SecretUrl(REDIS), Unset,
        "Redis: all of that as one URL, which wins.")
        .env(&["REDIS_URL"]).example("os.environ/REDIS_URL"),
    row(InForce, "ssl", Bool, OFF,
        "Redis: TLS.")
        .env(&["REDIS_SSL"]),
    row(InForce, "db", Integer(0, 65_535), Unset,
        "Redis: the database number.")
        .example("0"),
    row(Later, "max_connections", Integer(1, 100_000), Unset,
        "Redis: connections, at most.")
        .example("100"),
    row(InForce, "socket_timeout", Seconds(0.0, SECONDS_MAX), Unset,
        "Redis: how long a command may take.")
        .example("0.5"),
    row(InForce, "redis_startup_nodes", List(&A_NODE), Unset,
        "Redis Cluster: nodes, any of which is enough to find the others.")
        .env(&["REDIS_CLUSTER_NODES"]).example("[{host: 10.0.0.1, port: 6379}]"),
    row(InForce, "service_name", Text, Unset,
        "Redis Sentinel: the master's name.")
        .example("mymaster"),
    row(InForce, "sentinel_nodes", Addresses, Unset,
        "Redis Sentinel: the sentinels.")
        .example("[[10.0.0.1, 26379]]"),
    row(InForce, "sentinel_password", Secret, Unset,
        "Redis Sentinel: the sentinels' password.")
        .example("os.environ/SENTINEL_PASSWORD"),
    row(Later, "redis_flush_size", Integer(1, 1_000_000), Unset,
        "Redis: writes that are sent together.")
        .example("100"),
    row(Later, "default_in_memory_ttl", Seconds(0.0, SECONDS_MAX), Unset,
        "How long the memory in front of the backend keeps an answer.")
        .example("60"),
    row(Later, "default_in_redis_ttl", Seconds(0.0, SECONDS_MAX), Unset,
        "How long Redis keeps an answer, where `ttl` is not set.")
        .example("3600"),
    row(Later, "max_size_mb", Number(0.0, 1_048_576.0), Default::Number(256.0),
        "Memory: megabytes that are kept, over all shards.")
        .ours(),
    row(Later, "disk_cache_dir", Text, Means("the system's temporary directory"),
        "Disk: the directory.")
        .example("/var/cache/shardgate"),
    row(Later, "ssl_cert_reqs", Either(&[Text, Bool]), Unset,
        "Redis: whether the certificate is checked; `none` does not.")
        .example("required"),
    row(Later, "ssl_check_hostname", Bool, Unset,
        "Redis: whether the certificate's name is checked.")
        .example("true"),
    row(Later, "gcp_service_account", Text, Unset,
        "Redis on Google Cloud: the account for IAM.")
        .example("projects/-/serviceAccounts/cache@example.iam.gserviceaccount.com"),
    row(Later, "gcp_ssl_ca_certs", Text, Unset,
        "Redis on Google Cloud: the file of the roots.")
        .example("/etc/shardgate/redis-ca.pem"),
    row(Later, "gcs_bucket_name", Text, Unset,
        "Google Cloud Storage: the bucket.")
        .example("cache"),
    row(Later, "gcs_path_service_account", Text, Unset,
        "Google Cloud Storage: the file of the service account.")
        .example("/etc/shardgate/gcs.json"),
    row(Later, "gcs_path", Text, Unset,
        "Google Cloud Storage: what the objects' names begin with.")
        .example("llm/"),
    row(Later, "s3_bucket_name", Text, Unset,
        "S3: the bucket.")
        .example("cache"),
    row(Later, "s3_region_name", Text, Unset,
        "S3: the region.")
        .example("eu-central-1"),
    row(Later, "s3_path", Text, Unset,
        "S3: what the objects' names begin with.")
        .example("llm/"),
    row(Later, "s3_endpoint_url", Url(WEB), Unset,
        "S3: the endpoint of a compatible store.")
        .example("https://s3.example"),
    row(Later, "s3_aws_access_key_id", Secret, Means("the environment or the instance role"),
        "S3: credentials.")
        .example("os.environ/AWS_ACCESS_KEY_ID"),
    row(Later, "s3_aws_secret_access_key", Secret, Means("the environment or the instance role"),
        "S3: credentials.")
        .example("os.environ/AWS_SECRET_ACCESS_KEY"),
    row(Later, "s3_aws_session_token", Secret, Unset,
        "S3: temporary credentials.")
        .example("os.environ/AWS_SESSION_TOKEN"),
    row(Later, "s3_config", Map(&Any), Unset,
        "S3: accepted for old files.")
        .example("{}"),
    row(Later, "s3_use_ssl", Bool, Default::Bool(true),
        "S3: TLS."),
    row(Later, "s3_verify", Bool, Default::Bool(true),
        "S3: the certificate is checked."),
    row(Later, "qdrant_api_base", Url(WEB), Unset,
        "Qdrant: the server.")
        .env(&["QDRANT_API_BASE", "QDRANT_URL"]).example("https://qdrant.example"),
    row(Later, "qdrant_api_key", Secret, Unset,
        "Qdrant: its key.")
        .env(&["QDRANT_API_KEY"]).example("os.environ/QDRANT_API_KEY"),
    row(Later, "qdrant_semantic_cache_embedding_model",
        Text, Default::Text("text-embedding-ada-002"),
        "Qdrant: the model group that embeds prompts."),
    row(Later, "qdrant_collection_name", Text, Unset,
        "Qdrant: the collection, made where it is missing.")
        .example("answers"),
    row(Later, "qdrant_quantization_config",
        Choice(&["binary", "scalar", "product"]), Default::Text("binary"),
        "Qdrant: the quantization of a collection that is made."),
    row(Later, "qdrant_semantic_cache_vector_size", Integer(1, 65_536), Unset,
        "Qdrant: dimensions of the embedding.")
        .example("1536"),
    row(Later, "redis_semantic_cache_embedding_model",
        Text, Default::Text("text-embedding-ada-002"),
        "redis-semantic: the model group that embeds prompts."),
    row(Later, "redis_semantic_cache_index_name", Text, Unset,
        "redis-semantic: the index.")
        .example("answers"),
    row(Later, "similarity_threshold", Number(0.0, 1.0), Unset,
        "Semantic caches: the least cosine similarity of a hit.")
        .example("0.9"),
];

/// One entry of `cache_params.redis_startup_nodes`.
#[rustfmt::skip] // A row is read as a whole.
static NODE: Table = Table {
    doc: "A node of a cluster.",
    open: false,
    rows: &[
        row(InForce, "host", Text, Required,
            "Its host.")
            .example("10.0.0.1"),
        row(InForce, "port", Integer(1, 65_535), Default::Integer(6379),
            "Its port."),
    ],
};

/// Such a map, as the item of a list or a map.
pub(super) static A_NODE: crate::row::Kind = crate::row::Kind::Table(&NODE);

/// `router_settings.cache_kwargs`.
#[rustfmt::skip] // A row is read as a whole.
pub(super) static REDIS_KWARGS: Table = Table {
    doc: "More settings of the router's Redis.",
    open: true,
    rows: &[
        row(InForce, "ssl", Bool, OFF,
            "TLS."),
        row(InForce, "username", Text, Unset,
            "The user.")
            .example("default"),
        row(InForce, "startup_nodes", List(&A_NODE), Unset,
            "Nodes of a cluster.")
            .example("[{host: 10.0.0.1, port: 6379}]"),
        row(InForce, "service_name", Text, Unset,
            "The master's name at Sentinel.")
            .example("mymaster"),
        row(InForce, "sentinel_nodes", Addresses, Unset,
            "The sentinels.")
            .example("[[10.0.0.1, 26379]]"),
    ],
};

/// `litellm_settings.key_generation_settings`.
#[rustfmt::skip] // A row is read as a whole.
pub(super) static KEY_GENERATION: Table = Table {
    doc: "Who may make keys, and what each must bring.",
    open: false,
    rows: &[
        row(InForce, "team_key_generation", In(&TEAM_KEYS), Unset,
            "Keys of teams."),
        row(InForce, "personal_key_generation", In(&PERSONAL_KEYS), Unset,
            "Keys of persons."),
    ],
};

/// `key_generation_settings.team_key_generation`.
#[rustfmt::skip] // A row is read as a whole.
static TEAM_KEYS: Table = Table {
    doc: "Keys of teams.",
    open: false,
    rows: &[
        row(InForce, "allowed_team_member_roles", List(&Text), Unset,
            "The only roles in the team that may make keys.")
            .example("[admin]"),
        row(InForce, "required_params", List(&Text), Texts(&[]),
            "What each must bring.")
            .example("[tags]"),
    ],
};

/// `key_generation_settings.personal_key_generation`.
#[rustfmt::skip] // A row is read as a whole.
static PERSONAL_KEYS: Table = Table {
    doc: "Keys of persons.",
    open: false,
    rows: &[
        row(InForce, "allowed_user_roles", List(&Text), Unset,
            "The only users who may make keys.")
            .example("[proxy_admin]"),
        row(InForce, "required_params", List(&Text), Texts(&[]),
            "What each must bring.")
            .example("[key_alias]"),
    ],
};

/// `litellm_settings.default_key_generate_params` and `upperbound_key_generate_params`.
#[rustfmt::skip] // A row is read as a whole.
pub(super) static KEY_PARAMS: Table = Table {
    doc: "What a key has.",
    open: true,
    rows: &[
        row(InForce, "max_budget", MONEY, Unset,
            "USD per `budget_duration`.")
            .example("100"),
        row(InForce, "budget_duration", Period, Unset,
            "The period of `max_budget`.")
            .example("30d"),
        row(InForce, "duration", Period, Unset,
            "How long it lives.")
            .example("30d"),
        row(InForce, "models", List(&Text), Unset,
            "The models it may call.")
            .example("[gpt-4o]"),
        row(InForce, "user_id", Text, Unset,
            "Its user.")
            .example("shared"),
        row(InForce, "team_id", Text, Unset,
            "Its team.")
            .example("search"),
        row(InForce, "max_parallel_requests", Integer(0, i64::MAX), Unset,
            "Its concurrent requests.")
            .example("100"),
        row(InForce, "tpm_limit", Integer(0, i64::MAX), Unset,
            "Its tokens per minute.")
            .example("100000"),
        row(InForce, "rpm_limit", Integer(0, i64::MAX), Unset,
            "Its requests per minute.")
            .example("600"),
        row(Later, "metadata", Map(&Any), Unset,
            "Anything.")
            .example("{}"),
    ],
};
