//! The gateway: LiteLLM's configuration and API on pinned io_uring shards.
