//! HTTP/1.1: heads parsed into spans, bodies framed, messages encoded. It knows bytes and RFC 9112; it must
//! not know what a body means, nor which socket or runtime carries it.

pub mod body;
pub mod encode;
pub mod head;
mod target;
