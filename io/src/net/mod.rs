//! Connections: listening, dialling, and one [`Stream`] type over plain TCP and TLS.

mod connect;
mod listener;
mod secure;
mod stream;

pub use connect::{Connect, dial};
pub use listener::{Gate, Listener, bind, raise_file_limit, stop};
pub use stream::Stream;
