//! What a call used, what that costs, and the record of it that survives a crash.
//!
//! Everything here that decides is a function of bytes and numbers: it knows no socket, clock or
//! configuration type. Only [`ledger`] touches files, on the coordinator's side of the ring.

pub mod begun;
pub mod calls;
pub mod cost;
pub mod ledger;
pub mod meter;
pub mod money;
pub mod price;
pub mod record;
pub mod row;
pub mod usage;
