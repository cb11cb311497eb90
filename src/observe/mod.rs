//! What people see of a running gateway: log lines and counters.

pub mod log;
pub mod panics;
