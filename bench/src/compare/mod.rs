//! The comparison that `make bench` prints: direct, nginx, haproxy and Shardgate, each on the same
//! pinned core, interleaved within each round. Only ratios within a round mean something on a
//! machine that others use; the median over the rounds is what counts.

pub(crate) mod measure;
mod report;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::reactor;
use crate::subject::{Kind, Setting, Subject, Upstream};
use measure::{Metric, Window};
use report::Samples;

/// Flags of `shardgate-bench compare`.
#[derive(Args, Clone, Debug)]
pub(crate) struct CompareArguments {
    /// Rounds; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
    /// Servers, of direct, nginx, haproxy, shardgate, guarded (shardgate with keys, three limits, a
    /// budget and a row in the database for each request).
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "direct,nginx,haproxy,shardgate,guarded"
    )]
    servers: Vec<String>,
    /// Metrics by their names in JSON; all without it.
    #[arg(long, value_delimiter = ',')]
    metrics: Vec<String>,
    /// Shardgate's binary; the one beside this program without it.
    #[arg(long)]
    shardgate: Option<PathBuf>,
    /// A further flag for Shardgate, such as --shardgate-flag=--io-driver=epoll.
    #[arg(long)]
    shardgate_flag: Vec<String>,
    /// Folder of latest.json and latest.md.
    #[arg(long, default_value = "bench/results")]
    results: PathBuf,
}

struct Comparison<'a> {
    arguments: &'a CompareArguments,
    setting: Setting,
    samples: Samples,
}

/// Measures and prints. Fails when a server answered wrongly.
pub(crate) fn run(arguments: &CompareArguments) -> io::Result<()> {
    reactor::raise_file_limit();
    let (own_core, server_core) = cores()?;
    let _ = sched_setaffinity(None, &only(own_core));
    let upstream = Upstream::start(&own_core.to_string())?;
    let folder = std::env::temp_dir().join(format!("shardgate-bench-{}", std::process::id()));
    let setting = Setting {
        upstream: upstream.address,
        cores: server_core.to_string(),
        shardgate: arguments.shardgate.clone().unwrap_or_else(sibling),
        shards: 1,
        shardgate_flags: arguments.shardgate_flag.clone(),
        folder: folder.clone(),
        models: measure::models(),
    };
    let mut comparison = Comparison {
        arguments,
        setting,
        samples: Samples::default(),
    };
    let kinds = comparison.rounds()?;
    comparison.print(&kinds)?;
    let _ = std::fs::remove_dir_all(&folder);
    match comparison.samples.errors.len() {
        0 => Ok(()),
        count => Err(io::Error::other(format!("{count} measurements had errors"))),
    }
}

/// A core for load and upstream, and one for the server.
pub(crate) fn cores() -> io::Result<(usize, usize)> {
    let allowed = sched_getaffinity(None)?;
    let mut list = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
    match (list.next(), list.next()) {
        (Some(own), Some(server)) => Ok((own, server)),
        _ => Err(io::Error::other(
            "a comparison needs two cores; this process may use only one",
        )),
    }
}

fn only(core: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(core);
    set
}

/// The gateway that was built together with this program.
pub(crate) fn sibling() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.parent().unwrap_or(Path::new(".")).join("shardgate")
}

pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

impl Comparison<'_> {
    fn rounds(&mut self) -> io::Result<Vec<Kind>> {
        let mut subjects = Vec::new();
        for kind in Kind::ALL {
            if !self
                .arguments
                .servers
                .iter()
                .any(|name| name == kind.name())
            {
                continue;
            }
            match Subject::start(kind, &self.setting) {
                Ok(subject) => subjects.push(subject),
                Err(error) => {
                    say(&format!("left out: {error}"));
                    self.samples.errors.push(error.to_string());
                }
            }
        }
        let kinds: Vec<Kind> = subjects.iter().map(|subject| subject.kind).collect();
        for round in 0..self.arguments.rounds {
            for metric in [
                Metric::Request32,
                Metric::Request256,
                Metric::Prompt16K,
                Metric::EventAlone,
                Metric::EventBackToBack,
            ] {
                self.each(&subjects, metric, round)?;
            }
            self.paced(&subjects, round)?;
            if self.wants(Metric::Request256) {
                self.two_shards(&kinds)?;
            }
        }
        drop(subjects);
        self.resident(&kinds);
        Ok(kinds)
    }

    fn wants(&self, metric: Metric) -> bool {
        let list = &self.arguments.metrics;
        list.is_empty() || list.iter().any(|name| name == metric.name())
    }

    fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.arguments.seconds.clamp(0.1, 600.0))
    }

    /// One metric for all servers; who is first changes with the round.
    fn each(&mut self, subjects: &[Subject], metric: Metric, round: usize) -> io::Result<()> {
        if !self.wants(metric) {
            return Ok(());
        }
        let duration = self.duration();
        for place in 0..subjects.len() {
            let subject = &subjects[(place + round) % subjects.len()];
            let window = match metric {
                Metric::Request256 => measure::requests(subject, 256, 400, duration)?,
                Metric::Prompt16K => measure::requests(subject, 32, 16 * 1024, duration)?,
                Metric::EventAlone => measure::events_alone(subject, duration)?,
                Metric::EventBackToBack => measure::events_back_to_back(subject, duration)?,
                _ => measure::requests(subject, 32, 400, duration)?,
            };
            let value = match metric {
                Metric::EventAlone | Metric::EventBackToBack => window.us_per_event(),
                _ => window.us_per_request(),
            };
            self.note(subject.kind, metric, round, value, &window);
            if metric == Metric::Request32 {
                let per_second = window.figures.per_second();
                self.samples
                    .add(Metric::Throughput32, subject.kind, round, per_second);
            }
            if metric == Metric::Request32 && subject.kind == Kind::Guarded {
                let in_all = window.all_us_per_request();
                self.samples
                    .add(Metric::RequestInAll, subject.kind, round, in_all);
            }
        }
        Ok(())
    }

    fn note(&mut self, kind: Kind, metric: Metric, round: usize, value: f64, window: &Window) {
        let figures = &window.figures;
        say(&format!(
            "round {round} {:<20} {kind:<10} {value:>9.2}   {:.0} requests/s, {:.0} events/s, {} errors",
            metric.name(),
            figures.per_second(),
            figures.events as f64 / (figures.duration_ns as f64 / 1e9),
            figures.errors_total()
        ));
        if figures.errors_total() > 0 {
            let sample = figures.sample.as_deref().unwrap_or("");
            self.samples.errors.push(format!(
                "round {round}, {}, {kind}: {:?}; first: {sample}",
                metric.name(),
                figures.errors
            ));
        }
        if measure::applies(metric, kind) {
            self.samples.add(metric, kind, round, value);
        }
    }

    /// Latency at half of what nginx can do in this round, less that without a proxy.
    fn paced(&mut self, subjects: &[Subject], round: usize) -> io::Result<()> {
        let nginx = self.samples.value(Metric::Throughput32, Kind::Nginx, round);
        let Some(nginx) = nginx.filter(|_| self.wants(Metric::AddedP99)) else {
            return Ok(());
        };
        // What it reached just now, not what its processor time would allow: others use the cores.
        let rate = 0.5 * nginx;
        self.samples.half_load.push(rate);
        let mut rows = Vec::new();
        for place in 0..subjects.len() {
            let subject = &subjects[(place + round) % subjects.len()];
            let window = measure::paced(subject, rate, self.duration())?;
            let latency = &window.figures.latency;
            let (p50, p99) = (
                latency.quantile_us(0.5) as f64,
                latency.quantile_us(0.99) as f64,
            );
            self.note(subject.kind, Metric::AddedP99, round, p99, &window);
            rows.push((subject.kind, p50, p99));
        }
        let direct = rows.iter().find(|row| row.0 == Kind::Direct).copied();
        let Some((_, direct_p50, direct_p99)) = direct else {
            return Ok(());
        };
        for (kind, p50, p99) in rows {
            if kind != Kind::Direct {
                // Noise may make it negative; a ratio needs something to divide by.
                let added = |with: f64, without: f64| (with - without).max(1.0);
                self.samples
                    .add(Metric::AddedP50, kind, round, added(p50, direct_p50));
                self.samples
                    .add(Metric::AddedP99, kind, round, added(p99, direct_p99));
            }
        }
        Ok(())
    }

    fn two_shards(&mut self, kinds: &[Kind]) -> io::Result<()> {
        if !kinds.contains(&Kind::Shardgate) {
            return Ok(());
        }
        let (own, server) = cores_of(&self.setting)?;
        let one = Subject::start(Kind::Shardgate, &self.setting)?;
        let one_capacity = measure::capacity(&one, self.duration())?;
        drop(one);
        let setting = Setting {
            shards: 2,
            cores: format!("{own},{server}"),
            ..self.setting.clone()
        };
        let two = Subject::start(Kind::Shardgate, &setting)?;
        let two_capacity = measure::capacity(&two, self.duration())?;
        say(&format!(
            "two shards: {two_capacity:.0} requests per busiest second, one: {one_capacity:.0}"
        ));
        self.samples.two_shards.push(two_capacity / one_capacity);
        Ok(())
    }

    /// Memory, once, on fresh processes.
    fn resident(&mut self, kinds: &[Kind]) {
        if !self.wants(Metric::ResidentStream) {
            return;
        }
        for kind in kinds.iter().copied().filter(|kind| *kind != Kind::Direct) {
            match measure::resident(|| Subject::start(kind, &self.setting)) {
                Ok(list) => {
                    for (metric, value) in list {
                        say(&format!("{:<28} {kind:<10} {value:>9.1}", metric.name()));
                        self.samples.add(metric, kind, 0, value);
                    }
                }
                Err(error) => self
                    .samples
                    .errors
                    .push(format!("memory of {kind}: {error}")),
            }
        }
    }

    fn print(&self, kinds: &[Kind]) -> io::Result<()> {
        let table = self.samples.table(kinds);
        let mut out = io::stdout().lock();
        writeln!(out, "\n{table}")?;
        for error in &self.samples.errors {
            writeln!(out, "error: {error}")?;
        }
        let folder = &self.arguments.results;
        std::fs::create_dir_all(folder)?;
        std::fs::write(
            folder.join("latest.json"),
            format!("{:#}\n", self.samples.json()),
        )?;
        std::fs::write(folder.join("latest.md"), table)?;
        writeln!(out, "written: {}", folder.join("latest.json").display())
    }
}

/// The load's core and the server's, of a comparison under way.
fn cores_of(setting: &Setting) -> io::Result<(usize, usize)> {
    let server = setting.cores.parse().map_err(io::Error::other)?;
    let own = sched_getaffinity(None)?;
    let own = (0..CpuSet::MAX_CPU)
        .find(|core| own.is_set(*core))
        .unwrap_or(0);
    Ok((own, server))
}
