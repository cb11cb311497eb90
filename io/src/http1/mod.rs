//! HTTP/1.1: heads parsed into spans, bodies framed, messages encoded, and the connection loops on
//! top of the driver. It knows bytes and RFC 9112; it must not know what a body means.

pub mod body;
pub mod client;
pub mod drain;
pub mod encode;
pub mod head;
pub mod server;
mod target;
mod watch;
