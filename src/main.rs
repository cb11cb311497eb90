//! The `shardgate` command.
fn main() {}
