//! The `shardgate` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    shardgate::cli::run()
}
