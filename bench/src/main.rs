//! The scales: a scripted upstream, a load generator, comparisons beside nginx and haproxy, and the
//! routing lab. It starts processes and may link the pure policies; nothing of the gateway knows it.

use clap::{Parser, Subcommand};

mod accounting;
mod compare;
mod cpu;
mod idle;
mod instructions;
mod load;
mod reactor;
mod routing;
mod script;
mod soak;
mod subject;
mod translation;
mod upstream;
mod wire;

#[derive(Parser)]
#[command(
    name = "shardgate-bench",
    about = "Measures a gateway; talks to 127.0.0.1 only"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A scripted OpenAI-compatible upstream.
    Upstream(upstream::UpstreamArguments),
    /// Load, with every answer judged.
    Load(Box<load::LoadArguments>),
    /// Direct, nginx, haproxy and Shardgate side by side on one core.
    Compare(compare::CompareArguments),
    /// A long mixed run: do files and memory come back?
    Soak(soak::SoakArguments),
    /// What thousands of idle connections and slow readers do to other traffic.
    Idle(idle::IdleArguments),
    /// One piece of the request path, for valgrind to count (see bench/instructions).
    Instructions(instructions::InstructionArguments),
    /// The routing lab: every strategy on simulated deployments, in virtual time.
    Routing(routing::RoutingArguments),
}

fn main() -> std::process::ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Upstream(arguments) => upstream::run(&arguments),
        Command::Load(arguments) => load::run(&arguments),
        Command::Compare(arguments) => compare::run(&arguments),
        Command::Soak(arguments) => soak::run(&arguments),
        Command::Idle(arguments) => idle::run(&arguments),
        Command::Instructions(arguments) => instructions::run(&arguments),
        Command::Routing(arguments) => routing::run(&arguments),
    };
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            let _ = std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!("shardgate-bench: {error}\n"),
            );
            std::process::ExitCode::FAILURE
        }
    }
}
