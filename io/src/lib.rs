//! The machine: pinned threads, ring, sockets, TLS and HTTP/1.1, one shard per core.
//!
//! It has never heard of LLMs, JSON or YAML. The gateway gives it connections to serve and origins to
//! call; it gives the gateway heads, bodies and events, in owned buffers.

pub mod alloc;
pub mod buffer;
pub mod driver;
pub mod http1;
pub mod journal;
pub mod mesh;
pub mod net;
pub mod pool;
pub mod quoted;
pub mod ring;
pub mod shard;
pub mod sse;
pub mod tls;
