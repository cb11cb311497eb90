//! The gateway: LiteLLM's configuration and API on pinned io_uring shards.

pub mod admin;
pub mod auth;
pub mod cli;
pub mod coordinator;
pub mod dialect;
pub mod directory;
pub mod endpoint;
pub mod error;
pub mod id;
pub mod limit;
pub mod message;
pub mod observe;
pub mod provider;
pub mod router;
pub mod shard;
pub mod snapshot;
pub mod spend;
pub mod store;
pub mod tokens;
