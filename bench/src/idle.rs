//! Thousands of connections that do nothing, and readers at a byte per second: what other traffic
//! feels of them, and what they cost in memory.

use std::io::{self, Write as _};
use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::load::{self, Client, Figures, Question};
use crate::reactor;
use crate::soak::GatewayArguments;
use crate::subject::Subject;

const CHAT: &str = "mock-chat";
/// 400 KB that a slow reader will not have read for days.
const LONG: &str = "mock-chunks-400-bytes-800";
/// Other traffic's p99 may move by that.
const MOVED_US_MAX: i64 = 2000;

/// Flags of `shardgate-bench idle`.
#[derive(Args, Clone, Debug)]
pub(crate) struct IdleArguments {
    /// Idle keep-alive connections.
    #[arg(long, default_value_t = 10_000)]
    idle: usize,
    /// Readers of a stream at one byte per second.
    #[arg(long, default_value_t = 1_000)]
    readers: usize,
    /// Requests per second of the other traffic.
    #[arg(long, default_value_t = 500.0)]
    rate: f64,
    /// Seconds of each measurement.
    #[arg(short, long, default_value_t = 5.0)]
    duration: f64,
    #[command(flatten)]
    gateway: GatewayArguments,
}

/// Measures and prints. Fails when the other traffic feels it.
pub(crate) fn run(arguments: &IdleArguments) -> io::Result<()> {
    reactor::raise_file_limit();
    let (_upstream, subject, folder) = arguments.gateway.start(&[CHAT, LONG])?;
    let duration = Duration::from_secs_f64(arguments.duration.clamp(0.1, 3600.0));
    let mut before = traffic(&subject, arguments.rate, duration)?;
    let rest = subject.resident_bytes()?;
    let chat = Question::chat(CHAT, false, 400).plan(subject.address, 1);
    let idle = load::open_idle(&chat, arguments.idle)?;
    std::thread::sleep(Duration::from_millis(500));
    let with_idle = subject.resident_bytes()?;
    let mut slow = Question::chat(LONG, true, 400).plan(subject.address, arguments.readers);
    slow.read_rate = Some(1);
    slow.timeout_ns = u64::MAX;
    slow.ramp_ns = 1_000_000_000;
    let mut readers = Client::new(slow)?;
    settle(&mut readers, &subject, arguments.readers)?;
    let with_readers = subject.resident_bytes()?;
    // The readers go on reading on a thread of their own.
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let (mut after, reading) = std::thread::scope(|scope| {
        let measured = scope.spawn(|| {
            let figures = traffic(&subject, arguments.rate, duration);
            drop(stop);
            figures
        });
        while stopped.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) {
            readers.turn(Duration::from_millis(20))?;
        }
        let figures = measured
            .join()
            .map_err(|_| io::Error::other("the load thread panicked"))?;
        io::Result::Ok((figures?, readers.figures()))
    })?;
    let settled = subject.resident_bytes()?;
    let closed = idle
        .iter()
        .filter(|stream| !load::still_open(stream))
        .count();
    // Noise moves a p99 too: the middle of the distribution is printed beside it.
    let p99 = |figures: &mut Figures| figures.latency.quantile_us(0.99);
    let moved_us = p99(&mut after) as i64 - p99(&mut before) as i64;
    let per = |bytes: u64, less: u64, count: usize| {
        bytes.saturating_sub(less) as f64 / 1024.0 / count.max(1) as f64
    };
    let report = json!({
        "idle": arguments.idle,
        "idle_closed": closed,
        "readers": arguments.readers,
        "readers_errors": reading.errors,
        "p50_us": { "before": before.latency.quantile_us(0.5), "after": after.latency.quantile_us(0.5) },
        "p99_us": { "before": p99(&mut before), "after": p99(&mut after), "moved": moved_us },
        "errors": { "before": before.errors, "after": after.errors },
        "resident_kib": {
            "rest": rest / 1024,
            "with_idle": with_idle / 1024,
            "with_readers": with_readers / 1024,
            "at_end": settled / 1024,
            "per_idle": per(with_idle, rest, arguments.idle),
            "per_reader": per(with_readers, with_idle, arguments.readers),
        },
    });
    writeln!(io::stdout(), "{report:#}")?;
    let _ = std::fs::remove_dir_all(folder);
    let errors = after.errors_total() + reading.errors_total() + closed as u64;
    if moved_us > MOVED_US_MAX || errors > 0 {
        return Err(io::Error::other(format!(
            "p99 moved by {moved_us} us, {errors} errors"
        )));
    }
    Ok(())
}

/// Until all readers have an answer and the first rush, up to what the kernel's buffers hold, is over.
fn settle(readers: &mut Client, subject: &Subject, count: usize) -> io::Result<()> {
    const SECOND_NS: u64 = 1_000_000_000;
    for _ in 0..60 {
        let before_ns = subject.cpu_ns()?;
        load::turn_for(readers, Duration::from_secs(1), None)?;
        let quiet = subject.cpu_ns()? - before_ns < SECOND_NS / 10;
        if quiet && readers.answering() == count {
            return Ok(());
        }
    }
    Err(io::Error::other(format!(
        "after a minute {} of {count} readers have an answer",
        readers.answering()
    )))
}

fn traffic(subject: &Subject, rate: f64, duration: Duration) -> io::Result<Figures> {
    let mut plan = Question::chat(CHAT, false, 400).plan(subject.address, 32);
    plan.rate = Some(rate);
    let mut client = Client::new(plan)?;
    load::turn_for(&mut client, Duration::from_millis(500), None)?;
    load::measure(&mut client, duration, None)
}
