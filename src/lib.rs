//! The gateway: LiteLLM's configuration and API on pinned io_uring shards.

pub mod auth;
pub mod directory;
pub mod limit;
pub mod router;
pub mod spend;
pub mod store;
