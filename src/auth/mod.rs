//! Who may do what: networks, keys, tokens. Pure: addresses, headers and tables come in, a verdict goes out.

pub mod calendar;
pub mod caller;
pub mod jwt;
pub mod key;
pub mod network;
pub mod route;
