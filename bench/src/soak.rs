//! A long mixed run with clients that leave at any moment and upstreams that fail in every way:
//! at its end the gateway must hold as many files as at its start, and no more memory than it
//! settled at. Streams that nobody broke off are still judged byte by byte.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use crate::compare;
use crate::load::{self, Client, Figures, Plan, Question, Strictness};
use crate::subject::{Kind, Setting, Subject, Upstream};
use crate::{cpu, reactor};

/// Resident memory may grow by that part after the first quarter of the run.
const GROWTH_MAX: f64 = 0.2;
/// And by that, whatever the part: allocators keep a little.
const GROWTH_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// For the gateway to notice that all clients have gone.
const CALM: Duration = Duration::from_secs(3);
/// How often memory is looked at.
const SAMPLE: Duration = Duration::from_secs(5);

/// Flags of `shardgate-bench soak`.
#[derive(Args, Clone, Debug)]
pub(crate) struct SoakArguments {
    /// Seconds of the mixed run.
    #[arg(short, long, default_value_t = 300)]
    duration: u64,
    #[command(flatten)]
    gateway: GatewayArguments,
}

/// Which gateway, and how it is started.
#[derive(Args, Clone, Debug)]
pub(crate) struct GatewayArguments {
    /// Shardgate's binary; the one beside this program without it.
    #[arg(long)]
    shardgate: Option<PathBuf>,
    /// A further flag for Shardgate, such as --shardgate-flag=--io-driver=epoll.
    #[arg(long)]
    shardgate_flag: Vec<String>,
    #[arg(long, default_value_t = 1)]
    shards: usize,
}

impl GatewayArguments {
    /// Starts a mock upstream and the gateway in front of it, which knows `models`.
    pub(crate) fn start(&self, models: &[&str]) -> io::Result<(Upstream, Subject, PathBuf)> {
        let (own, server) = compare::cores()?;
        let upstream = Upstream::start(&own.to_string())?;
        let folder = std::env::temp_dir().join(format!("shardgate-bench-{}", std::process::id()));
        let both = format!("{own},{server}");
        let setting = Setting {
            upstream: upstream.address,
            cores: if self.shards > 1 {
                both
            } else {
                server.to_string()
            },
            shardgate: self.shardgate.clone().unwrap_or_else(compare::sibling),
            shards: self.shards,
            shardgate_flags: self.shardgate_flag.clone(),
            folder: folder.clone(),
            models: models.iter().map(|model| (*model).to_owned()).collect(),
        };
        let subject = Subject::start(Kind::Guarded, &setting)?;
        Ok((upstream, subject, folder))
    }
}

/// One part of the mix.
struct Part {
    name: &'static str,
    model: &'static str,
    stream: bool,
    body_bytes: usize,
    connections: usize,
    disconnect_rate: f64,
    read_rate: Option<u64>,
    /// Answers are failures by design: only that they come is looked at.
    fails: bool,
}

const fn part(name: &'static str, model: &'static str, stream: bool) -> Part {
    Part {
        name,
        model,
        stream,
        body_bytes: 400,
        connections: 8,
        disconnect_rate: 0.0,
        read_rate: None,
        fails: false,
    }
}

const MIX: [Part; 10] = [
    Part {
        connections: 16,
        ..part("chat", "mock-latency-5", false)
    },
    Part {
        body_bytes: 16_384,
        ..part("long prompts", "mock-latency-2", false)
    },
    Part {
        connections: 32,
        disconnect_rate: 0.3,
        ..part("streams, clients leave", "mock-chunks-20-cadence-20", true)
    },
    Part {
        disconnect_rate: 0.5,
        ..part("chat, clients leave", "mock-latency-50", false)
    },
    Part {
        read_rate: Some(2000),
        ..part("slow readers", "mock-chunks-30", true)
    },
    Part {
        disconnect_rate: 1.0,
        connections: 4,
        ..part("upstream hangs", "mock-hang", true)
    },
    Part {
        fails: true,
        connections: 2,
        ..part("upstream resets", "mock-reset-latency-20", false)
    },
    Part {
        fails: true,
        connections: 2,
        ..part("stream breaks", "mock-reset-midstream-latency-20", true)
    },
    Part {
        fails: true,
        connections: 2,
        ..part("refusals", "mock-status-500-latency-20", false)
    },
    Part {
        fails: true,
        connections: 2,
        ..part("half answers", "mock-truncate-latency-20", true)
    },
];

impl Part {
    fn plan(&self, subject: &Subject, seed: u64) -> Plan {
        let question = Question::chat(self.model, self.stream, self.body_bytes);
        let mut plan = question.plan(subject.address, self.connections);
        plan.disconnect_rate = self.disconnect_rate;
        plan.read_rate = self.read_rate;
        plan.seed = seed;
        if self.fails {
            plan.expected = plan.expected.with(Strictness::Framing);
        }
        plan
    }
}

/// The gateway's files: sockets to the upstream are a pool's business and counted apart.
#[derive(Clone, Copy, Debug)]
struct Files {
    total: usize,
    upstream: usize,
}

impl Files {
    fn of(subject: &Subject, upstream: &Upstream) -> io::Result<Self> {
        let port = upstream.address.port();
        let pooled = subject
            .processes()
            .into_iter()
            .map(|pid| cpu::sockets_to(pid, port));
        Ok(Self {
            total: subject.open_files()?,
            upstream: pooled.sum::<io::Result<usize>>()?,
        })
    }

    fn own(self) -> usize {
        self.total - self.upstream
    }
}

/// Runs the mix and prints what is left. Fails on a leak or a wrong answer.
pub(crate) fn run(arguments: &SoakArguments) -> io::Result<()> {
    reactor::raise_file_limit();
    let models: Vec<&str> = MIX.iter().map(|part| part.model).collect();
    let (upstream, subject, folder) = arguments.gateway.start(&models)?;
    let seconds = arguments.duration.max(4);
    let rests = mix(&subject, Duration::from_secs((seconds / 20).clamp(2, 10)))?.0;
    std::thread::sleep(CALM);
    let start = Files::of(&subject, &upstream)?;
    drop(rests);
    let (figures, resident) = mix(&subject, Duration::from_secs(seconds))?;
    std::thread::sleep(CALM);
    let end = Files::of(&subject, &upstream)?;
    let settled = *resident.get(resident.len() / 4).unwrap_or(&0);
    let highest = resident
        .iter()
        .skip(resident.len() / 4)
        .copied()
        .max()
        .unwrap_or(0);
    let mut findings = Vec::new();
    if end.own() != start.own() {
        findings.push(format!(
            "files besides the pool: {} at start, {} at end",
            start.own(),
            end.own()
        ));
    }
    let growth = highest.saturating_sub(settled);
    if growth > GROWTH_BYTES_MAX && growth as f64 > settled as f64 * GROWTH_MAX {
        findings.push(format!("memory grew from {settled} to {highest} bytes"));
    }
    let mut parts = serde_json::Map::new();
    for (part, figures) in MIX.iter().zip(&figures) {
        if !part.fails && figures.errors_total() > 0 {
            let sample = figures.sample.as_deref().unwrap_or("");
            findings.push(format!(
                "{}: {:?}; first: {sample}",
                part.name, figures.errors
            ));
        }
        let row = json!({
            "requests": figures.requests,
            "disconnects": figures.disconnects,
            "errors": figures.errors,
        });
        parts.insert(part.name.into(), row);
    }
    let report = json!({
        "seconds": seconds,
        "files": {
            "start": start.own(), "end": end.own(),
            "pool_start": start.upstream, "pool_end": end.upstream,
        },
        "resident_kib": {
            "first": resident.first().map(|bytes| bytes / 1024),
            "settled": settled / 1024,
            "highest": highest / 1024,
            "last": resident.last().map(|bytes| bytes / 1024),
        },
        "parts": parts,
        "findings": findings,
    });
    writeln!(io::stdout(), "{report:#}")?;
    let _ = std::fs::remove_dir_all(folder);
    match findings.len() {
        0 => Ok(()),
        count => Err(io::Error::other(format!("{count} findings"))),
    }
}

/// All parts at once; their figures, and the gateway's memory over time.
fn mix(subject: &Subject, duration: Duration) -> io::Result<(Vec<Figures>, Vec<u64>)> {
    let threads: Vec<_> = MIX
        .iter()
        .enumerate()
        .map(|(place, part)| {
            let plan = part.plan(subject, place as u64 + 1);
            std::thread::spawn(move || -> io::Result<Figures> {
                load::measure(&mut Client::new(plan)?, duration, None)
            })
        })
        .collect();
    let end = Instant::now() + duration;
    let mut resident = Vec::new();
    loop {
        resident.push(subject.resident_bytes()?);
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        std::thread::sleep(left.min(SAMPLE));
    }
    let mut figures = Vec::new();
    for thread in threads {
        figures.push(
            thread
                .join()
                .map_err(|_| io::Error::other("a load thread panicked"))??,
        );
    }
    Ok((figures, resident))
}
