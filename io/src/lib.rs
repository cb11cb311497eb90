//! The machine: pinned threads, ring, sockets, TLS and HTTP/1.1, one shard per core.

pub mod http1;
pub mod sse;
