//! The command line: LiteLLM's flags, so that `litellm --config x` becomes `shardgate --config x`.

mod check;
mod client;
mod db;
mod demo;
mod import;
mod keys;
mod remote;
mod serve;
mod spend;
mod teams;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// An LLM gateway: one API, virtual keys, routing, fallbacks and limits in front of every provider.
#[derive(Parser, Debug)]
#[command(
    name = "shardgate",
    version,
    disable_version_flag = true,
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Read a config file and report every mistake in it (exit 0 or 2). Starts nothing.
    Check {
        /// The file.
        file: PathBuf,
        /// Unknown parameters are errors.
        #[arg(long)]
        strict: bool,
    },
    /// Serve an embedded demo model that needs no key, and print a request to try.
    Demo(Box<ServeArgs>),
    /// Look at the database, or add what it lacks.
    Db {
        /// What to do.
        #[command(subcommand)]
        action: db::Action,
    },
    /// Virtual keys of a running gateway.
    Keys {
        #[command(flatten)]
        gateway: remote::Gateway,
        /// What to do.
        #[command(subcommand)]
        action: keys::Action,
    },
    /// Teams of a running gateway.
    Teams {
        #[command(flatten)]
        gateway: remote::Gateway,
        /// What to do.
        #[command(subcommand)]
        action: teams::Action,
    },
    /// Who spent what, asked of a running gateway.
    Spend {
        #[command(flatten)]
        gateway: remote::Gateway,
        #[command(flatten)]
        days: spend::Days,
    },
    /// Show what another gateway's database holds and what of it will work here. Changes nothing.
    Import {
        /// From where.
        #[command(subcommand)]
        from: import::From,
    },
    /// Print the OpenAPI document of the whole API.
    Openapi,
    /// Print a completion script for a shell.
    Completions {
        /// bash, zsh, fish, elvish or powershell.
        shell: clap_complete::Shell,
    },
}

/// What `shardgate` takes without a subcommand.
#[derive(clap::Args, Debug, Clone)]
pub struct ServeArgs {
    /// The config.yaml to serve.
    #[arg(short, long, env = "CONFIG_FILE_PATH", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Serve this one model without a config file, e.g. openai/gpt-4o.
    #[arg(short, long, value_name = "PROVIDER/MODEL")]
    model: Option<String>,
    /// The API base of --model.
    #[arg(long = "api_base", alias = "api-base", value_name = "URL")]
    api_base: Option<String>,
    /// The address to listen on.
    #[arg(long, env = "HOST", default_value = "0.0.0.0")]
    host: String,
    /// The port to listen on; 0 takes a free one and prints it.
    #[arg(short, long, env = "PORT", default_value_t = 4000)]
    port: u16,
    /// Shards: threads that serve. Default: as many as the cores this process may use.
    #[arg(long = "num_workers", alias = "num-workers", env = "NUM_WORKERS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    num_workers: Option<u16>,
    /// How shards talk to the kernel: io_uring where it can be had (auto), or one of the two.
    #[arg(long, default_value = "auto", value_name = "auto|uring|epoll")]
    io_driver: shardgate_io::driver::DriverChoice,
    /// Log at debug level, secrets redacted.
    #[arg(long, env = "DEBUG", value_parser = clap::builder::FalseyValueParser::new())]
    debug: bool,
    /// As --debug.
    #[arg(long = "detailed_debug", alias = "detailed-debug", env = "DETAILED_DEBUG", value_parser = clap::builder::FalseyValueParser::new())]
    detailed_debug: bool,
    /// Call every model of a running gateway once and print which answer.
    #[arg(long)]
    health: bool,
    /// Send one chat request to a running gateway and print the answer.
    #[arg(long)]
    test: bool,
    /// Print the version.
    #[arg(short = 'v', long)]
    version: bool,
    /// The certificate chain (PEM) to serve TLS with.
    #[arg(
        long = "ssl_certfile_path",
        alias = "ssl-certfile-path",
        env = "SSL_CERTFILE_PATH",
        value_name = "FILE",
        requires = "ssl_keyfile_path"
    )]
    ssl_certfile_path: Option<PathBuf>,
    /// The private key (PEM) of the certificate.
    #[arg(
        long = "ssl_keyfile_path",
        alias = "ssl-keyfile-path",
        env = "SSL_KEYFILE_PATH",
        value_name = "FILE",
        requires = "ssl_certfile_path"
    )]
    ssl_keyfile_path: Option<PathBuf>,
    /// How long requests may go on after SIGTERM, in seconds.
    #[arg(long, default_value_t = 30.0, value_name = "SECONDS")]
    drain_timeout: f64,
    /// Unknown parameters in the config are errors.
    #[arg(long)]
    strict: bool,
    /// The core to pin the first shard to; the others follow. Default: the first usable one.
    #[arg(long, value_name = "CPU")]
    first_cpu: Option<usize>,
}

/// Runs the command line and gives the exit code: 0, 1 (could not serve) or 2 (wrong input).
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Some(Command::Check { file, strict }) => check::run(&file, strict),
        Some(Command::Demo(args)) => demo::run(*args),
        Some(Command::Db { action }) => db::run(&action),
        Some(Command::Keys { gateway, action }) => keys::act(&gateway, &action),
        Some(Command::Teams { gateway, action }) => teams::act(&gateway, &action),
        Some(Command::Spend { gateway, days }) => spend::act(&gateway, &days),
        Some(Command::Import { from }) => import::run(&from),
        Some(Command::Openapi) => {
            say(&format!("{:#}", crate::admin::openapi::document()));
            ExitCode::SUCCESS
        }
        Some(Command::Completions { shell }) => {
            let mut command = Cli::command();
            clap_complete::generate(shell, &mut command, "shardgate", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
        None if cli.serve.version => {
            say(&format!("shardgate {}", env!("CARGO_PKG_VERSION")));
            ExitCode::SUCCESS
        }
        None => serve::run(cli.serve),
    }
}

/// Prints a line for the person at the terminal.
fn say(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Prints an error for the person at the terminal.
fn complain(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{line}");
}
