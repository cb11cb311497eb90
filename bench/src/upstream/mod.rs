//! A scripted OpenAI-compatible upstream. What it does is decided by flags, by words in the model's
//! name (which pass through any gateway) and by `x-mock-*` headers; `/_mock/` shows what it saw.
//! It costs little CPU, so that it can share a core with the load generator.

mod answer;
mod connection;
mod journal;
mod server;

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use clap::Args;

use crate::reactor;
use crate::script::{Fault, Scenario, Spread};

pub(crate) use server::{Server, Shared};

/// Flags of `shardgate-bench upstream`.
#[derive(Args, Clone, Debug)]
pub(crate) struct UpstreamArguments {
    /// Port on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Threads, each with its own listener.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Requests kept for /_mock/log; 0 keeps none and is cheapest.
    #[arg(long = "log", default_value_t = 10_000)]
    log_entries_max: usize,
    #[command(flatten)]
    scenario: ScenarioArguments,
}

/// The scenario of requests that do not say otherwise.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ScenarioArguments {
    /// Milliseconds before the first byte.
    #[arg(long)]
    latency_ms: Option<f64>,
    /// How latencies spread: fixed, uniform (half to one and a half times), exponential.
    #[arg(long, value_parser = ["fixed", "uniform", "exponential"])]
    distribution: Option<String>,
    /// Content events of a stream.
    #[arg(long)]
    chunks: Option<u32>,
    /// Bytes of text in each.
    #[arg(long)]
    chunk_bytes: Option<usize>,
    /// Milliseconds between events; 0 sends them back to back.
    #[arg(long)]
    cadence_ms: Option<f64>,
    /// Events in one write.
    #[arg(long)]
    burst: Option<u32>,
    /// Bytes of a JSON chat answer.
    #[arg(long)]
    answer_bytes: Option<usize>,
    /// Error status.
    #[arg(long)]
    fail_status: Option<u16>,
    /// Part of the requests that fail, 0 to 1.
    #[arg(long)]
    fail_rate: Option<f64>,
    /// Seconds of the Retry-After header of failures.
    #[arg(long)]
    retry_after: Option<u32>,
    /// Never answer.
    #[arg(long)]
    hang: bool,
    /// RST instead of an answer.
    #[arg(long)]
    reset: bool,
    /// Half of the answer, then FIN.
    #[arg(long)]
    truncate: bool,
    /// Answers on one connection before it is closed without notice.
    #[arg(long)]
    close_after: Option<u32>,
    /// Tokens in usage.
    #[arg(long)]
    prompt_tokens: Option<u64>,
    /// Tokens in usage; as many as --chunks without it.
    #[arg(long)]
    completion_tokens: Option<u64>,
}

impl ScenarioArguments {
    /// The scenario of these flags.
    pub(crate) fn scenario(&self) -> Scenario {
        let plain = Scenario::default();
        let us = |ms: f64| (ms * 1000.0).max(0.0) as u64;
        Scenario {
            latency_us: self.latency_ms.map_or(plain.latency_us, us),
            spread: match self.distribution.as_deref() {
                Some("uniform") => Spread::Uniform,
                Some("exponential") => Spread::Exponential,
                _ => Spread::Fixed,
            },
            chunks: self.chunks.unwrap_or(plain.chunks),
            chunk_bytes: self.chunk_bytes.unwrap_or(plain.chunk_bytes),
            cadence_us: self.cadence_ms.map_or(plain.cadence_us, us),
            burst: self.burst.unwrap_or(plain.burst).max(1),
            answer_bytes: self.answer_bytes.unwrap_or(plain.answer_bytes),
            fault: match (self.hang, self.reset, self.truncate) {
                (true, _, _) => Fault::Hang,
                (_, true, _) => Fault::Reset,
                (_, _, true) => Fault::Truncate,
                _ => Fault::None,
            },
            status: self.fail_status.unwrap_or(plain.status),
            fail_rate: self.fail_rate.unwrap_or(plain.fail_rate),
            retry_after_s: self.retry_after,
            close_after: self.close_after,
            prompt_tokens: self.prompt_tokens.unwrap_or(plain.prompt_tokens),
            completion_tokens: self.completion_tokens,
            ..plain
        }
    }
}

/// Serves until killed. Prints `listening on 127.0.0.1:PORT` when it is ready.
pub(crate) fn run(arguments: &UpstreamArguments) -> io::Result<()> {
    reactor::raise_file_limit();
    let shared = Arc::new(Shared::new(
        arguments.scenario.scenario(),
        arguments.log_entries_max,
    ));
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, arguments.port));
    let first = Server::bind(address, Arc::clone(&shared))?;
    let address = first.address()?;
    for _ in 1..arguments.threads.max(1) {
        let shared = Arc::clone(&shared);
        // Bound on its own thread: an epoll set's event buffer does not move between threads.
        std::thread::spawn(move || serve(Server::bind(address, shared)?));
    }
    writeln!(io::stdout(), "listening on {address}")?;
    io::stdout().flush()?;
    serve(first)
}

fn serve(mut server: Server) -> io::Result<()> {
    loop {
        server.turn(None)?;
    }
}
