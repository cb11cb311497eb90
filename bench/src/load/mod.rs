//! The load generator: closed loop (as fast as N connections go) or open loop (at a rate, latencies
//! counted from the moment a request was due). It knows what the mock upstream must have sent and
//! judges every byte.

mod client;
mod expect;
mod figures;
mod judge;

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use clap::Args;

pub(crate) use client::{Client, Plan};
pub(crate) use expect::{Expected, Strictness};
pub(crate) use figures::Figures;

use crate::script::{self, Scenario};
use crate::upstream::ScenarioArguments;
use crate::{cpu, reactor};

/// The key that a comparison's requests bring.
pub(crate) const KEY: &str = "sk-shardgate-bench-load";

/// Flags of `shardgate-bench load`.
#[derive(Args, Clone, Debug)]
pub(crate) struct LoadArguments {
    /// Address on this machine, such as 127.0.0.1:4000.
    #[arg(long)]
    target: SocketAddr,
    #[arg(long, default_value = "/v1/chat/completions")]
    path: String,
    /// The model asked for; words after `mock-` are the upstream's scenario.
    #[arg(long, default_value = "mock-chat")]
    model: String,
    /// The model that answers name, when it is not the one asked for.
    #[arg(long)]
    answer_model: Option<String>,
    #[arg(long, default_value = "sk-1234")]
    key: String,
    /// Another random key with each request: each must be refused with 401.
    #[arg(long, conflicts_with_all = ["key", "stream"])]
    unknown_keys: bool,
    /// Connections; of an open loop, at most.
    #[arg(short, long, default_value_t = 32)]
    connections: usize,
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Seconds of measurement.
    #[arg(short, long, default_value_t = 5.0)]
    duration: f64,
    /// Seconds before it.
    #[arg(long, default_value_t = 0.3)]
    warmup: f64,
    /// Stop after that many answers per thread.
    #[arg(long)]
    requests: Option<u64>,
    /// Requests per second (open loop).
    #[arg(long)]
    rate: Option<f64>,
    /// Exponential gaps between requests of an open loop.
    #[arg(long)]
    poisson: bool,
    #[arg(long)]
    stream: bool,
    /// Ask for usage in the stream.
    #[arg(long)]
    include_usage: bool,
    /// Bytes of the request's body.
    #[arg(long, default_value_t = 400)]
    body_bytes: usize,
    /// Read only that many bytes per second on each connection.
    #[arg(long)]
    read_rate: Option<u64>,
    /// Part of the requests broken off at a random moment, 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    disconnect_rate: f64,
    /// Connections that make one request and then stay open and idle.
    #[arg(long, default_value_t = 0)]
    idle: usize,
    /// Seconds over which the connections start.
    #[arg(long, default_value_t = 0.0)]
    ramp: f64,
    /// Seconds after which a request of a closed loop is an error.
    #[arg(long, default_value_t = 30.0)]
    timeout: f64,
    /// Judge only status and framing, not each byte.
    #[arg(long)]
    lenient: bool,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// The upstream's flags, where they differ from its defaults.
    #[command(flatten)]
    scenario: ScenarioArguments,
}

/// One kind of request and the answer to it.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) path: String,
    pub(crate) model: String,
    pub(crate) key: String,
    /// `Some(include_usage)` for a stream.
    pub(crate) stream: Option<bool>,
    pub(crate) body_bytes: usize,
}

impl Question {
    /// A chat request to `model` with the usual path and key.
    pub(crate) fn chat(model: &str, stream: bool, body_bytes: usize) -> Self {
        Self {
            path: "/v1/chat/completions".into(),
            model: model.into(),
            key: KEY.into(),
            stream: stream.then_some(false),
            body_bytes,
        }
    }

    /// The body, in the order in which OpenAI's Python client writes it.
    pub(crate) fn body(&self) -> String {
        let mut body = String::from(
            "{\"messages\":[{\"role\":\"system\",\"content\":\"You are a helpful assistant.\"},\
             {\"role\":\"user\",\"content\":\"",
        );
        let mut tail = String::from("\"}],\"model\":");
        script::quote(&self.model, &mut tail);
        match self.stream {
            None => {}
            Some(false) => tail.push_str(",\"stream\":true"),
            Some(true) => {
                tail.push_str(",\"stream\":true,\"stream_options\":{\"include_usage\":true}");
            }
        }
        tail.push_str(",\"temperature\":0.7,\"max_tokens\":256}");
        let filler = self.body_bytes.saturating_sub(body.len() + tail.len());
        script::filler(1, filler, &mut body);
        body.push_str(&tail);
        body
    }

    /// The whole request, with the headers that OpenAI's Python client sends.
    pub(crate) fn request(&self, target: SocketAddr) -> Vec<u8> {
        let body = self.body();
        format!(
            "POST {} HTTP/1.1\r\nHost: {target}\r\nAccept-Encoding: identity\r\n\
             Connection: keep-alive\r\nAccept: application/json\r\nContent-Type: application/json\r\n\
             User-Agent: OpenAI/Python 2.8.0\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
            self.path,
            self.key,
            body.len()
        )
        .into_bytes()
    }

    /// A plan of `connections` in a closed loop.
    pub(crate) fn plan(&self, target: SocketAddr, connections: usize) -> Plan {
        let mut scenario = Scenario::default();
        scenario.apply_model(&self.model);
        Plan {
            target,
            request: self.request(target),
            expected: Expected::chat(&self.model, &scenario, self.stream, Strictness::Bytes),
            connections,
            rate: None,
            poisson: false,
            ramp_ns: 0,
            read_rate: None,
            disconnect_rate: 0.0,
            timeout_ns: 60_000_000_000,
            seed: 1,
            key_at: None,
        }
    }
}

impl LoadArguments {
    fn plan(&self, thread: usize) -> Plan {
        let threads = self.threads.max(1);
        let question = Question {
            path: self.path.clone(),
            model: self.model.clone(),
            key: match self.unknown_keys {
                true => format!("sk-{:032x}", 0),
                false => self.key.clone(),
            },
            stream: self.stream.then_some(self.include_usage),
            body_bytes: self.body_bytes,
        };
        let mut scenario = self.scenario.scenario();
        scenario.apply_model(&self.model);
        let strictness = if self.lenient {
            Strictness::Framing
        } else {
            Strictness::Bytes
        };
        let answer_model = self.answer_model.as_deref().unwrap_or(&self.model);
        let mut expected = Expected::chat(answer_model, &scenario, question.stream, strictness);
        if self.unknown_keys {
            expected = expected.refused();
        }
        let connections =
            self.connections / threads + usize::from(thread < self.connections % threads);
        let plan = question.plan(self.target, connections);
        let key_at = memchr::memmem::find(&plan.request, b"Bearer sk-").map(|at| at + 10);
        Plan {
            key_at: key_at.filter(|_| self.unknown_keys),
            expected,
            rate: self.rate.map(|rate| rate / threads as f64),
            poisson: self.poisson,
            ramp_ns: (self.ramp.max(0.0) * 1e9) as u64,
            read_rate: self.read_rate,
            disconnect_rate: self.disconnect_rate,
            timeout_ns: (self.timeout.max(0.001) * 1e9) as u64,
            seed: self.seed + thread as u64,
            ..plan
        }
    }
}

/// Runs until its bound and prints the figures. Fails when an answer was wrong.
pub(crate) fn run(arguments: &LoadArguments) -> io::Result<()> {
    reactor::raise_file_limit();
    if !arguments.target.ip().is_loopback() {
        return Err(io::Error::other(
            "--target must be an address of this machine",
        ));
    }
    let idle = open_idle(&arguments.plan(0), arguments.idle)?;
    let mut threads = Vec::new();
    for thread in 1..arguments.threads.max(1) {
        let arguments = arguments.clone();
        threads.push(std::thread::spawn(move || drive(&arguments, thread)));
    }
    let mut figures = drive(arguments, 0)?;
    for thread in threads {
        let other = thread
            .join()
            .map_err(|_| io::Error::other("a load thread panicked"))??;
        figures.merge(&other);
    }
    let closed = idle.iter().filter(|stream| !still_open(stream)).count();
    for _ in 0..closed {
        figures.error("idle connection closed");
    }
    let mut out = io::stdout().lock();
    if arguments.json {
        writeln!(out, "{:#}", figures.json())?;
    } else {
        write!(out, "{}", figures.table())?;
    }
    match figures.errors_total() {
        0 => Ok(()),
        count => Err(io::Error::other(format!("{count} errors"))),
    }
}

fn drive(arguments: &LoadArguments, thread: usize) -> io::Result<Figures> {
    let mut client = Client::new(arguments.plan(thread))?;
    let seconds = |count: f64| Duration::from_secs_f64(count.max(0.0));
    turn_for(&mut client, seconds(arguments.warmup), None)?;
    measure(&mut client, seconds(arguments.duration), arguments.requests)
}

/// Lets the client work for `duration`, or until it has `requests` answers.
pub(crate) fn turn_for(
    client: &mut Client,
    duration: Duration,
    requests: Option<u64>,
) -> io::Result<()> {
    let end = Instant::now() + duration;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || requests.is_some_and(|count| client.answered() >= count) {
            return Ok(());
        }
        client.turn(left.min(Duration::from_millis(100)))?;
    }
}

/// One window of measurement.
pub(crate) fn measure(
    client: &mut Client,
    duration: Duration,
    requests: Option<u64>,
) -> io::Result<Figures> {
    client.start_window();
    let cpu_ns = cpu::thread_ns();
    turn_for(client, duration, requests)?;
    let mut figures = client.figures();
    figures.own_cpu_ns = cpu::thread_ns() - cpu_ns;
    Ok(figures)
}

/// Opens connections that make one request each and then stay.
pub(crate) fn open_idle(plan: &Plan, count: usize) -> io::Result<Vec<TcpStream>> {
    use std::io::Read as _;
    let mut scratch = vec![0; 64 * 1024];
    let mut idle = Vec::with_capacity(count);
    for _ in 0..count {
        let mut stream = TcpStream::connect(plan.target)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(&plan.request)?;
        if stream.read(&mut scratch)? == 0 {
            return Err(io::Error::other("an idle connection was closed at once"));
        }
        idle.push(stream);
    }
    Ok(idle)
}

/// Whether the peer has not closed. Takes bytes that may still lie there.
pub(crate) fn still_open(stream: &TcpStream) -> bool {
    use std::io::Read as _;
    let mut scratch = [0; 4096];
    let mut stream = stream;
    if stream.set_nonblocking(true).is_err() {
        return false;
    }
    match stream.read(&mut scratch) {
        Ok(count) => count > 0,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}
