//! Serving: from the arguments to running shards, and back to exit code 0 after a drain.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shardgate_config::Config;
use shardgate_io::mesh;
use shardgate_io::net::{Gate, bind, raise_file_limit};
use shardgate_io::ring::RingWriter;
use shardgate_io::ring::calls::OpenCalls;
use shardgate_io::shard::{Started, start, usable_cpus};
use shardgate_io::tls::ServerTls;

use super::{ServeArgs, complain, say};
use crate::coordinator::accounts::{self, Accounts, Options};
use crate::coordinator::{self, Lasting, MAILBOX_MAX, Secrets, Source};
use crate::log;
use crate::observe::log::Log;
use crate::shard::{self, Shared, Stats};
use crate::snapshot::Snapshot;
use crate::spend::money::Money;

/// Serves what the arguments say.
pub(super) fn run(args: ServeArgs) -> ExitCode {
    if args.health || args.test {
        return super::client::run(&args);
    }
    let source = match (&args.config, &args.model) {
        (Some(path), _) => Source::File {
            path: path.clone(),
            strict: args.strict,
            secrets: Secrets::Asked,
        },
        (None, Some(model)) => Source::Text(one_model(model, args.api_base.as_deref())),
        (None, None) => Source::Text(String::new()),
    };
    run_with(args, source, None)
}

/// A configuration of one model, for `--model`.
fn one_model(model: &str, api_base: Option<&str>) -> String {
    let mut params = serde_json::json!({ "model": model });
    if let Some(base) = api_base {
        params["api_base"] = base.into();
    }
    serde_json::json!({"model_list": [{"model_name": model, "litellm_params": params}]}).to_string()
}

/// Serves what `source` says; `try_model` names the model of the request that is printed to try.
pub(super) fn run_with(args: ServeArgs, source: Source, try_model: Option<&str>) -> ExitCode {
    let began = Instant::now();
    match serve(args, source, try_model, began) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Input(errors)) => {
            errors
                .iter()
                .for_each(|error| complain(&format!("error: {error}")));
            complain("nothing was started; `shardgate check FILE` repeats these checks");
            ExitCode::from(2)
        }
        Err(Failure::Start(error)) => {
            complain(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

enum Failure {
    /// The input is wrong: the config or a flag.
    Input(Vec<String>),
    /// The machine refuses.
    Start(String),
}

impl From<String> for Failure {
    fn from(error: String) -> Failure {
        Failure::Start(error)
    }
}

fn serve(
    args: ServeArgs,
    source: Source,
    try_model: Option<&str>,
    began: Instant,
) -> Result<(), Failure> {
    let cpus = usable_cpus();
    let shards = args.num_workers.map_or(cpus.len(), usize::from);
    let lasting = Lasting::new(shards);
    let (snapshot, read) = source.build(&lasting, 1).map_err(Failure::Input)?;
    let tls = server_tls(&args)?;
    let debug = args.debug || args.detailed_debug;
    let (log, writer) =
        Log::start(debug).map_err(|error| format!("no thread for the log: {error}"))?;
    snapshot.settings.configure(&log);
    crate::observe::panics::report_to(&log);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("no runtime for the coordinator: {error}"))?;
    runtime.block_on(lasting.origins.resolve(true));
    let address = address(&args)?;
    let listeners = bind(address, shards)
        .map_err(|error| format!("cannot listen on {address}: {error} (--host, --port)"))?;
    let listening = listeners[0]
        .local_addr()
        .map_err(|error| error.to_string())?;
    let snapshot = Arc::new(snapshot);
    let probe_token = random_token();
    let shared = Arc::new(Shared {
        log: log.clone(),
        gate: Gate::for_files(raise_file_limit()),
        stats: Stats::default(),
        tls,
        probe_token: probe_token.clone(),
        started: lasting.started,
        fleet_away: Arc::default(),
        stalled: Arc::default(),
    });
    let (fleet_away, stalled) = (shared.fleet_away.clone(), shared.stalled.clone());
    let accounts = accounts(&read.config, &snapshot, shards, &log).map_err(|error| {
        format!("the spend journal cannot be opened: {error} (SHARDGATE_LEDGER_FOLDER)")
    })?;
    let (rings, accounts) = accounts.unzip();
    let mut rings = rings.unwrap_or_default().into_iter();
    let mut hubs = Vec::with_capacity(shards);
    let mut threads = Vec::with_capacity(shards);
    let mut first: Option<Started> = None;
    for (index, listener) in listeners.into_iter().enumerate() {
        let (end, hub) = mesh::pair(MAILBOX_MAX).map_err(|error| error.to_string())?;
        hubs.push(hub);
        let (snapshot, shared) = (snapshot.clone(), shared.clone());
        let (seed, ring) = (random_seed(), rings.next());
        let body = move || shard::run(index, listener, end, snapshot, shared, seed, ring);
        let cpu = cpu(&args, &cpus, index);
        let (thread, started) = start(index, cpu, args.io_driver, body)?;
        threads.push(thread);
        first.get_or_insert(started);
    }
    announce(
        &log,
        &read,
        &snapshot,
        first.as_ref(),
        shards,
        listening,
        began,
    );
    if let Some(model) = try_model {
        say(&try_line(listening, model));
    }
    let start = coordinator::Start {
        log: log.clone(),
        source,
        lasting,
        config: read.config,
        salt: read.salt,
        snapshot,
        hubs,
        threads,
        listening,
        probe_token,
        fleet_away,
        stalled,
        drain_timeout: Duration::from_secs_f64(args.drain_timeout.clamp(0.0, 86_400.0)),
        accounts,
    };
    runtime
        .block_on(coordinator::run(start))
        .map_err(|error| format!("the coordinator cannot run: {error}"))?;
    log!(log, Info, "stopped");
    drop(writer);
    Ok(())
}

/// The rings and the journal of spend, in the working folder beside the embedded store's file;
/// `SHARDGATE_LEDGER_FOLDER` names another, `SHARDGATE_RING_BYTES` sizes each shard's ring.
const LEDGER_FOLDER: &str = "shardgate-ledger";

type Opened = (Vec<(RingWriter, OpenCalls)>, (Accounts, accounts::Stop));

/// Where calls are written down: by the store's file or database. A gateway without a master key
/// and without a database has nobody to write down for.
fn accounts(
    config: &Config,
    snapshot: &Snapshot,
    shards: usize,
    log: &Log,
) -> std::io::Result<Option<Opened>> {
    let general = &config.general;
    if general.master_key.is_none() && general.database_url.is_none() {
        return Ok(None);
    }
    let named = std::env::var_os("SHARDGATE_LEDGER_FOLDER").map(PathBuf::from);
    let mut options = Options::new(named.unwrap_or_else(|| LEDGER_FOLDER.into()), shards);
    let ring_bytes = std::env::var("SHARDGATE_RING_BYTES").ok();
    if let Some(bytes) = ring_bytes.and_then(|text| text.parse().ok()) {
        options.ring_bytes = bytes;
    }
    options.ledger.sync_every_us = general.journal_sync_ms * 1000;
    options.write_every = general.proxy_batch_write_at;
    options.keep_rows = !general.disable_spend_logs;
    options.end_users = !config.litellm.disable_end_user_cost_tracking;
    options.totals = !general.disable_spend_updates;
    let first = options.folder.clone();
    let price = |deployment: &str, tokens| {
        let mut all = snapshot.deployments.iter();
        let made = all.find(|made| made.id == deployment);
        made.map_or_else(Money::default, |made| made.meter.worst_case(tokens, 0))
    };
    for nth in 2.. {
        match accounts::open(options.clone(), log.clone(), &price) {
            Ok((rings, accounts, stop)) => return Ok(Some((rings, (accounts, stop)))),
            // Another gateway works in this folder.
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && nth < 64 => {
                let mut name = first.clone().into_os_string();
                name.push(format!("-{nth}"));
                options.folder = name.into();
            }
            // Keys are in memory only then, too.
            Err(error) if general.database_url.is_none() => {
                let folder = options.folder.display();
                log!(
                    log,
                    Warn,
                    "spend",
                    what = "calls are not recorded",
                    folder = folder,
                    why = error
                );
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn server_tls(args: &ServeArgs) -> Result<Option<Arc<ServerTls>>, Failure> {
    match (&args.ssl_certfile_path, &args.ssl_keyfile_path) {
        (Some(certificate), Some(key)) => ServerTls::load(certificate, key)
            .map(|tls| Some(Arc::new(tls)))
            .map_err(|error| Failure::Input(vec![error])),
        _ => Ok(None),
    }
}

fn address(args: &ServeArgs) -> Result<SocketAddr, Failure> {
    let wrong = |why: &str| Failure::Input(vec![format!("--host {}: {why}", args.host)]);
    (args.host.trim_matches(['[', ']']), args.port)
        .to_socket_addrs()
        .map_err(|error| wrong(&error.to_string()))?
        .next()
        .ok_or_else(|| wrong("the name has no address"))
}

/// Shards are pinned while there are cores for them; further ones float.
fn cpu(args: &ServeArgs, cpus: &[usize], index: usize) -> Option<usize> {
    let first = args
        .first_cpu
        .and_then(|cpu| cpus.iter().position(|have| *have == cpu));
    cpus.get(first.unwrap_or(0) + index).copied()
}

fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
}

/// 256 random bits as hex.
fn random_token() -> String {
    (0..4).map(|_| format!("{:016x}", random_seed())).collect()
}

fn announce(
    log: &Log,
    read: &coordinator::Read,
    snapshot: &crate::snapshot::Snapshot,
    started: Option<&Started>,
    shards: usize,
    listening: SocketAddr,
    began: Instant,
) {
    for warning in &read.warnings {
        log!(log, Warn, "config", what = warning);
    }
    if let Some(note) = started.and_then(|started| started.note.as_ref()) {
        log!(log, Warn, "io_driver", what = note);
    }
    if snapshot.settings.master_key.is_none() {
        let what = "no master_key is set: LLM routes are open to everybody, admin routes refuse";
        log!(log, Warn, "open_proxy", what = what);
    }
    let not_in_force = match read.not_in_force.is_empty() {
        true => "nothing".to_owned(),
        false => read.not_in_force.join(","),
    };
    log!(
        log,
        Info,
        "started",
        address = listening,
        driver = started.map_or("none", |started| started.kind.name()),
        shards = shards,
        models = snapshot.deployments.len(),
        accepted_not_in_force_yet = not_in_force,
        ms = began.elapsed().as_millis()
    );
}

fn try_line(listening: SocketAddr, model: &str) -> String {
    let port = listening.port();
    format!(
        "Shardgate serves on port {port}. Try:\n\n  curl http://localhost:{port}/v1/chat/completions \
         -H 'content-type: application/json' -d \
         '{{\"model\": \"{model}\", \"messages\": [{{\"role\": \"user\", \"content\": \"hello\"}}]}}'\n"
    )
}
