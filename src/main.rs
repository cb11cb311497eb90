//! The `shardgate` command.

use std::alloc::System;
use std::process::ExitCode;

use shardgate_io::alloc::Shelves;

#[global_allocator]
static ALLOCATOR: Shelves<System> = Shelves(System);

fn main() -> ExitCode {
    shardgate::cli::run()
}
