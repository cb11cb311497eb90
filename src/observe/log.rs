//! The log: lines are handed to one writer thread through a bounded queue; whoever logs never waits.
//!
//! A line is `level event key=value ...`, or one JSON object per line with `json_logs`. When the
//! writer cannot keep up, lines are dropped and counted, and the count is logged. Nothing that may
//! hold a secret is given to it unredacted.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam_queue::ArrayQueue;

/// Lines that may wait to be written; further ones are dropped and counted.
const LINES_MAX: usize = 16 * 1024;
/// How long the writer rests when there is nothing to write.
const REST: Duration = Duration::from_millis(20);

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For finding out what goes on (`set_verbose`, `--debug`).
    Debug,
    /// Start, stop, reload, and one line per request.
    Info,
    /// We recovered.
    Warn,
    /// We failed a request, or cannot do what was asked.
    Error,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }
}

/// One line before it is written.
pub struct Line {
    level: Level,
    at: SystemTime,
    event: &'static str,
    fields: Vec<(&'static str, Cow<'static, str>)>,
}

impl Line {
    /// A line about `event` with its fields in order.
    pub fn new(
        level: Level,
        event: &'static str,
        fields: Vec<(&'static str, Cow<'static, str>)>,
    ) -> Line {
        Line {
            level,
            at: SystemTime::now(),
            event,
            fields,
        }
    }

    fn write_plain(&self, out: &mut String) {
        let _ = write!(
            out,
            "{} {:5} {}",
            stamp(self.at),
            self.level.name(),
            self.event
        );
        for (key, value) in &self.fields {
            let plain = !value.is_empty()
                && value
                    .bytes()
                    .all(|b| b.is_ascii_graphic() && b != b'"' && b != b'=');
            let _ = match plain {
                true => write!(out, " {key}={value}"),
                false => write!(out, " {key}={}", quoted(value)),
            };
        }
        out.push('\n');
    }

    fn write_json(&self, out: &mut String) {
        let (at, level) = (stamp(self.at), self.level.name());
        let _ = write!(
            out,
            r#"{{"timestamp":"{at}","level":"{level}","message":"{}""#,
            self.event
        );
        for (key, value) in &self.fields {
            let _ = write!(out, r#","{key}":{}"#, quoted(value));
        }
        out.push_str("}\n");
    }
}

fn quoted(value: &str) -> String {
    serde_json::Value::from(value).to_string()
}

/// UTC with milliseconds, as RFC 3339 writes it.
fn stamp(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, millis) = (since.as_secs(), since.subsec_millis());
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Year, month and day of a day since 1970-01-01 (Howard Hinnant's `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

struct Shared {
    lines: ArrayQueue<Line>,
    dropped: AtomicU64,
    json: AtomicBool,
    verbose: AtomicBool,
    /// The router's debug lines are wanted.
    router: AtomicBool,
    /// Asked for on the command line.
    always_verbose: bool,
    stop: AtomicBool,
}

/// A handle on the log; clones share it.
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
}

/// The writer's thread; dropping it writes what is left and ends it.
pub struct LogWriter {
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Log {
    /// Starts the writer, which writes to standard error. `always_verbose`: whatever the settings say.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn start(always_verbose: bool) -> std::io::Result<(Log, LogWriter)> {
        let shared = Arc::new(Shared {
            lines: ArrayQueue::new(LINES_MAX),
            dropped: AtomicU64::new(0),
            json: AtomicBool::new(false),
            verbose: AtomicBool::new(always_verbose),
            router: AtomicBool::new(always_verbose),
            always_verbose,
            stop: AtomicBool::new(false),
        });
        let writer = shared.clone();
        let thread = std::thread::Builder::new()
            .name("log".into())
            .spawn(move || write_all(&writer))?;
        Ok((
            Log {
                shared: shared.clone(),
            },
            LogWriter {
                shared,
                thread: Some(thread),
            },
        ))
    }

    /// Sets what a reload may change; the command line's `--debug` stays. `router`: the router's debug
    /// lines alone.
    pub fn configure(&self, json: bool, verbose: bool, router: bool) {
        let verbose = verbose || self.shared.always_verbose;
        let router = router || verbose;
        self.shared.router.store(router, Ordering::Relaxed);
        self.shared.json.store(json, Ordering::Relaxed);
        self.shared.verbose.store(verbose, Ordering::Relaxed);
    }

    /// Debug lines are wanted.
    pub fn is_verbose(&self) -> bool {
        self.shared.verbose.load(Ordering::Relaxed)
    }

    /// The router's debug lines are wanted (`router_settings.debug_level`).
    pub fn is_router_verbose(&self) -> bool {
        self.shared.router.load(Ordering::Relaxed)
    }

    /// Hands over a debug line of the router.
    pub fn router_line(&self, event: &'static str, fields: Vec<(&'static str, Cow<'static, str>)>) {
        if self.is_router_verbose() {
            self.push(Line::new(Level::Debug, event, fields));
        }
    }

    /// Hands a line to the writer; when its queue is full the line is dropped and counted.
    pub fn line(&self, line: Line) {
        if line.level == Level::Debug && !self.is_verbose() {
            return;
        }
        self.push(line);
    }

    fn push(&self, line: Line) {
        if self.shared.lines.push(line).is_err() {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write_all(shared: &Shared) {
    const BATCH_BYTES: usize = 64 * 1024;
    let mut out = String::new();
    loop {
        let stopping = shared.stop.load(Ordering::Acquire);
        let json = shared.json.load(Ordering::Relaxed);
        let dropped = shared.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let fields = vec![("lines", Cow::Owned(dropped.to_string()))];
            write_line(
                &Line::new(Level::Warn, "log_lines_dropped", fields),
                json,
                &mut out,
            );
        }
        while let Some(line) = shared.lines.pop() {
            write_line(&line, json, &mut out);
            if out.len() >= BATCH_BYTES {
                break;
            }
        }
        if !out.is_empty() {
            let _ = std::io::stderr().write_all(out.as_bytes());
            out.clear();
            continue;
        }
        if stopping {
            return;
        }
        std::thread::park_timeout(REST);
    }
}

fn write_line(line: &Line, json: bool, out: &mut String) {
    if json {
        line.write_json(out)
    } else {
        line.write_plain(out)
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// Writes one log line: `log!(log, Warn, "event", key = value, ...)`. Values are displayed.
#[macro_export]
macro_rules! log {
    ($log:expr, $level:ident, $event:literal $(, $key:ident = $value:expr)* $(,)?) => {
        $log.line($crate::observe::log::Line::new(
            $crate::observe::log::Level::$level,
            $event,
            vec![$((stringify!($key), ::std::borrow::Cow::Owned($value.to_string()))),*],
        ))
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        let mut line = Line::new(
            Level::Warn,
            "retry",
            vec![("group", "gpt".into()), ("why", "it said \"no\"\n".into())],
        );
        line.at = UNIX_EPOCH + Duration::from_millis(1_795_621_648_123);
        line
    }

    #[test]
    fn plain_lines_are_key_value_and_stay_one_line() {
        let mut out = String::new();
        line().write_plain(&mut out);
        assert_eq!(
            out,
            "2026-11-25T15:47:28.123Z warn  retry group=gpt why=\"it said \\\"no\\\"\\n\"\n"
        );
    }

    #[test]
    fn json_lines_are_one_object() {
        let mut out = String::new();
        line().write_json(&mut out);
        let value: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(value["level"], "warn");
        assert_eq!(value["why"], "it said \"no\"\n");
    }
}
