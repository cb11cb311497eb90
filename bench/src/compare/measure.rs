//! The single measurements of a comparison. Each drives one server for a moment and says what that
//! cost per unit of work; the caller interleaves and compares.

use std::io;
use std::time::Duration;

use crate::load::{self, Client, Figures, Plan, Question};
use crate::subject::{Kind, Subject};

/// Streams that wait for events, 200 ms apart.
const ALONE_STREAMS: usize = 2000;
const ALONE_CADENCE: Duration = Duration::from_millis(200);
/// For the memory of a stream.
const SLOW_STREAMS: usize = 2000;
/// For the memory of an idle connection.
const IDLE_CONNECTIONS: usize = 5000;
/// Time for a server to notice that clients have gone.
const CALM: Duration = Duration::from_millis(300);

pub(crate) const CHAT: &str = "mock-chat";
pub(crate) const ALONE: &str = "mock-chunks-100-cadence-200";
pub(crate) const BACK_TO_BACK: &str = "mock-chunks-500";
pub(crate) const SLOW: &str = "mock-chunks-600-cadence-1000";

/// Models that the servers must know.
pub(crate) fn models() -> Vec<String> {
    [CHAT, ALONE, BACK_TO_BACK, SLOW].map(String::from).to_vec()
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metric {
    Request32,
    Request256,
    RequestInAll,
    Prompt16K,
    EventAlone,
    EventBackToBack,
    AddedP50,
    AddedP99,
    ResidentIdle,
    ResidentStream,
    ResidentConnection,
    Throughput32,
}

impl Metric {
    pub(crate) const ALL: [Self; 12] = [
        Self::Request32,
        Self::Request256,
        Self::RequestInAll,
        Self::Prompt16K,
        Self::EventAlone,
        Self::EventBackToBack,
        Self::AddedP50,
        Self::AddedP99,
        Self::ResidentIdle,
        Self::ResidentStream,
        Self::ResidentConnection,
        Self::Throughput32,
    ];

    /// Its name on the command line and in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Request32 => "request_32",
            Self::Request256 => "request_256",
            Self::RequestInAll => "request_in_all",
            Self::Prompt16K => "prompt_16k",
            Self::EventAlone => "event_alone",
            Self::EventBackToBack => "event_back_to_back",
            Self::AddedP50 => "added_p50",
            Self::AddedP99 => "added_p99",
            Self::ResidentIdle => "resident_idle",
            Self::ResidentStream => "resident_stream",
            Self::ResidentConnection => "resident_connection",
            Self::Throughput32 => "throughput_32",
        }
    }

    /// Its row in the table, with the unit.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Request32 => "CPU us per request, 32 connections",
            Self::Request256 => "CPU us per request, 256 connections",
            Self::RequestInAll => "CPU us per request in all, with its row in the database",
            Self::Prompt16K => "CPU us per request, 16 KB prompt",
            Self::EventAlone => "CPU us per SSE event arriving alone",
            Self::EventBackToBack => "CPU us per SSE event, back to back",
            Self::AddedP50 => "added p50 at half load, us",
            Self::AddedP99 => "added p99 at half load, us",
            Self::ResidentIdle => "resident memory at rest, KiB",
            Self::ResidentStream => "resident KiB per slow stream (2,000)",
            Self::ResidentConnection => "resident KiB per idle connection (5,000)",
            Self::Throughput32 => "requests per second, 32 connections",
        }
    }
}

/// A window of load, and what it cost the server.
pub(crate) struct Window {
    pub(crate) figures: Figures,
    /// Within the window.
    pub(crate) cpu_ns: u64,
    /// From the warm-up until the server was at rest again: with what it does later.
    all_ns: u64,
    /// Answers in the warm-up and the window.
    answered: u64,
}

impl Window {
    pub(crate) fn us_per_request(&self) -> f64 {
        self.cpu_ns as f64 / 1000.0 / self.figures.requests.max(1) as f64
    }

    pub(crate) fn all_us_per_request(&self) -> f64 {
        self.all_ns as f64 / 1000.0 / self.answered.max(1) as f64
    }

    pub(crate) fn us_per_event(&self) -> f64 {
        self.cpu_ns as f64 / 1000.0 / self.figures.events.max(1) as f64
    }
}

/// Runs `plan` for `warmup` and then for `duration`, which counts, on a server at rest.
pub(crate) fn window(
    subject: &Subject,
    plan: Plan,
    warmup: Duration,
    duration: Duration,
) -> io::Result<Window> {
    let begin_ns = subject.cpu_ns()?;
    let mut client = Client::new(plan)?;
    load::turn_for(&mut client, warmup, None)?;
    let (warm, warm_ns) = (client.answered(), subject.cpu_ns()?);
    let figures = load::measure(&mut client, duration, None)?;
    let end_ns = subject.cpu_ns()?;
    drop(client);
    subject.rest()?;
    Ok(Window {
        answered: warm + figures.requests,
        figures,
        cpu_ns: end_ns - warm_ns,
        all_ns: subject.cpu_ns()? - begin_ns,
    })
}

/// Chat answers of 600 bytes in a closed loop.
pub(crate) fn requests(
    subject: &Subject,
    connections: usize,
    body_bytes: usize,
    duration: Duration,
) -> io::Result<Window> {
    let question = Question::chat(CHAT, false, body_bytes);
    let plan = question.plan(subject.address, connections);
    window(subject, plan, duration / 4, duration)
}

/// Many streams, evenly staggered: each event arrives by itself.
pub(crate) fn events_alone(subject: &Subject, duration: Duration) -> io::Result<Window> {
    let question = Question::chat(ALONE, true, 400);
    let mut plan = question.plan(subject.stream_address, ALONE_STREAMS);
    plan.ramp_ns = u64::try_from(ALONE_CADENCE.as_nanos()).unwrap_or(0);
    window(
        subject,
        plan,
        ALONE_CADENCE * 4,
        duration.max(ALONE_CADENCE * 5),
    )
}

/// A few streams without pauses.
pub(crate) fn events_back_to_back(subject: &Subject, duration: Duration) -> io::Result<Window> {
    let plan = Question::chat(BACK_TO_BACK, true, 400).plan(subject.stream_address, 32);
    window(subject, plan, duration / 4, duration)
}

/// Requests at a steady rate; their latencies count from the moment each was due.
pub(crate) fn paced(subject: &Subject, rate: f64, duration: Duration) -> io::Result<Window> {
    let mut plan = Question::chat(CHAT, false, 400).plan(subject.address, 64);
    plan.rate = Some(rate);
    window(subject, plan, duration / 4, duration)
}

/// Resident bytes at rest, per slow stream, per idle connection. Wants a fresh server for each.
pub(crate) fn resident(fresh: impl Fn() -> io::Result<Subject>) -> io::Result<[(Metric, f64); 3]> {
    const KIB: f64 = 1024.0;
    let subject = fresh()?;
    let rest = warmed_bytes(&subject)?;
    let plan = Question::chat(SLOW, true, 400).plan(subject.stream_address, SLOW_STREAMS);
    let mut client = Client::new(plan)?;
    load::turn_for(&mut client, Duration::from_millis(2500), None)?;
    if client.answering() < SLOW_STREAMS {
        return Err(io::Error::other(format!(
            "{}: only {} of {SLOW_STREAMS} slow streams run",
            subject.kind,
            client.answering()
        )));
    }
    let streams = subject.resident_bytes()?.saturating_sub(rest) as f64 / SLOW_STREAMS as f64;
    drop(client);
    drop(subject);
    let subject = fresh()?;
    let plan = Question::chat(CHAT, false, 400).plan(subject.address, 1);
    let before = warmed_bytes(&subject)?;
    let idle = load::open_idle(&plan, IDLE_CONNECTIONS)?;
    std::thread::sleep(CALM);
    let connections = subject.resident_bytes()?.saturating_sub(before) as f64 / idle.len() as f64;
    Ok([
        (Metric::ResidentIdle, rest as f64 / KIB),
        (Metric::ResidentStream, streams / KIB),
        (Metric::ResidentConnection, connections / KIB),
    ])
}

/// Resident bytes after some requests and streams, so that what is read or allocated once does not
/// count.
fn warmed_bytes(subject: &Subject) -> io::Result<u64> {
    let requests = Question::chat(CHAT, false, 400).plan(subject.address, 8);
    let streams = Question::chat(BACK_TO_BACK, true, 400).plan(subject.stream_address, 8);
    for plan in [requests, streams] {
        let mut client = Client::new(plan)?;
        load::turn_for(&mut client, Duration::from_secs(2), Some(2000))?;
    }
    std::thread::sleep(CALM);
    subject.resident_bytes()
}

/// What two shards can do against one, from processor time alone, so that it holds on a machine
/// that has no core left for them: requests per second of the busiest thread.
pub(crate) fn capacity(subject: &Subject, duration: Duration) -> io::Result<f64> {
    let plan = Question::chat(CHAT, false, 400).plan(subject.address, 256);
    let mut client = Client::new(plan)?;
    load::turn_for(&mut client, duration / 4, None)?;
    let before = subject.thread_cpu_ns()?;
    let figures = load::measure(&mut client, duration, None)?;
    let spent = |(id, ns): &(u32, u64)| {
        ns - before
            .iter()
            .find(|(other, _)| other == id)
            .map_or(0, |(_, ns)| *ns)
    };
    let busiest_ns = subject
        .thread_cpu_ns()?
        .iter()
        .map(spent)
        .max()
        .unwrap_or(1)
        .max(1);
    Ok(figures.requests as f64 / (busiest_ns as f64 / 1e9))
}

/// Whether a server takes part in a metric.
pub(crate) fn applies(metric: Metric, kind: Kind) -> bool {
    kind != Kind::Direct || metric == Metric::Throughput32
}
