//! The coordinator: one thread that owns everything that must agree.
//!
//! It reloads the configuration, keeps names resolved, answers the admin API and tells the shards; it
//! never touches a connection of theirs, and no request waits for it unless it asks for the admin API.

pub mod accounts;
mod budgets;
mod credentials;
mod fleet;
mod health;
mod hooks;
mod keys;
mod media;
mod models;
mod origins;
mod outbound;
mod probe;
mod proofs;
mod reload;
mod retention;
mod rotation;
mod secrets;
mod spenders;
mod stored;
mod texts;
mod turns;
mod watchdog;
pub mod web;

pub use credentials::Credentials;
pub use hooks::Hooks;
pub use models::check_model;
pub use origins::Origins;
pub use probe::Probed;
pub use reload::{Read, Report, Source};
pub use secrets::{Escrow, Secrets};
pub use stored::SECTIONS;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use shardgate_io::mesh::HubEnd;
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};

use crate::admin;
use crate::admin::desk::Desk;
use crate::log;
use crate::message::{FromShard, ToShard};
use crate::observe::log::Log;
use crate::provider::Secret;
use crate::router::{Micros, Registry};
use crate::snapshot::{Meters, Snapshot};
use crate::spend::price::PriceTable;

/// One shard's mailbox, seen from here.
pub type Hub = HubEnd<FromShard, ToShard>;

/// Messages that may wait each way between the coordinator and a shard; an admin request that finds
/// the mailbox full is answered 503 by the shard.
pub const MAILBOX_MAX: usize = 1024;

/// What outlives reloads: where origins are, the router's live numbers, prices.
pub struct Lasting {
    /// Upstream origins by name.
    pub origins: Origins,
    /// Credentials that are fetched.
    pub credentials: Credentials,
    /// What models cost.
    pub prices: Arc<PriceTable>,
    /// What providers and deployments have cost.
    pub spenders: Meters,
    registry: Mutex<Registry>,
    /// When the clock of the router began, the coordinator's and the shards' alike.
    pub started: Instant,
}

impl Lasting {
    /// Nothing known yet, for a gateway of so many shards.
    pub fn new(shards: usize) -> Lasting {
        Lasting {
            origins: Origins::default(),
            credentials: Credentials::default(),
            // A test reads it: it is never in error.
            prices: Arc::new(PriceTable::built_in().unwrap_or_default()),
            spenders: Meters::default(),
            registry: Mutex::new(Registry::new(shards)),
            started: Instant::now(),
        }
    }

    /// The live numbers by deployment id.
    pub fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the coordinator's parts share.
pub struct Control {
    log: Log,
    source: Source,
    lasting: Lasting,
    snapshot: Mutex<Arc<Snapshot>>,
    /// Snapshots of before that shards may still hold.
    retired: Mutex<Vec<Arc<Snapshot>>>,
    /// Reloads take turns.
    reloading: tokio::sync::Mutex<()>,
    hubs: Arc<Vec<Hub>>,
    /// Keys, teams, users: rows and accounts.
    desk: Arc<Desk>,
    /// Tokens of others than us.
    proofs: Mutex<Arc<proofs::Proofs>>,
    /// Answers that conversations go on from.
    turns: turns::Turns,
    /// Files that requests named.
    media: media::Media,
    /// What health calls found.
    health: health::Health,
    /// Where this gateway listens, for its own health calls.
    listening: SocketAddr,
    /// Proves that a health call is ours.
    probe_token: String,
    /// The other instances cannot be asked; false where there are none.
    fleet_away: Arc<AtomicBool>,
    /// Instances that were heard through the database while some cannot reach Redis.
    peers: fleet::Peers,
    /// Rung by whoever waits for a lease.
    lease_wanted: Option<Arc<tokio::sync::Notify>>,
}

impl Control {
    /// The router's clock: the shards'.
    pub fn now(&self) -> Micros {
        let elapsed = self.lasting.started.elapsed().as_micros();
        Micros(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }

    /// The configuration in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What models cost.
    pub fn prices(&self) -> &Arc<PriceTable> {
        &self.lasting.prices
    }

    /// Keys, teams, users.
    pub fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }

    /// `public_routes` names this path.
    pub fn is_public(&self, path: &str) -> bool {
        self.snapshot()
            .settings
            .public_routes
            .iter()
            .any(|route| route == path)
    }

    /// Lets every shard answer its readiness probe with yes.
    fn say_ready(&self) {
        for (shard, hub) in self.hubs.iter().enumerate() {
            if hub.send(ToShard::Ready).is_err() {
                log!(self.log, Error, "ready_not_delivered", shard = shard);
            }
        }
    }

    fn proofs(&self) -> Arc<proofs::Proofs> {
        self.proofs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn publish(&self, snapshot: Arc<Snapshot>) {
        let old = std::mem::replace(
            &mut *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner),
            snapshot.clone(),
        );
        self.let_go(Some(old));
        for (shard, hub) in self.hubs.iter().enumerate() {
            if hub.send(ToShard::Snapshot(snapshot.clone())).is_err() {
                log!(self.log, Error, "reload_not_delivered", shard = shard);
            }
        }
    }
}

impl Control {
    /// Takes an old snapshot, and drops those that no shard holds any longer. Here and nowhere else: to
    /// take thousands of deployments apart would hold up a shard's requests, and memory that one thread
    /// gave back for another is free only when that one looks for it.
    fn let_go(&self, old: Option<Arc<Snapshot>>) {
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        retired.extend(old);
        retired.retain(|held| Arc::strong_count(held) > 1);
    }
}

async fn keep_letting_go(control: Arc<Control>) {
    const PERIOD: Duration = Duration::from_secs(1);
    loop {
        tokio::time::sleep(PERIOD).await;
        control.let_go(None);
    }
}

/// What the coordinator is started with.
pub struct Start {
    /// The log.
    pub log: Log,
    /// Where configurations come from.
    pub source: Source,
    /// What the first snapshot was made with.
    pub lasting: Lasting,
    /// The configuration that the first snapshot was made of.
    pub config: shardgate_config::Config,
    /// What encrypts stored secrets, where a secret manager says it; else the environment does.
    pub salt: Option<Secret>,
    /// The first snapshot.
    pub snapshot: Arc<Snapshot>,
    /// The shards' mailboxes.
    pub hubs: Vec<Hub>,
    /// Their threads.
    pub threads: Vec<JoinHandle<()>>,
    /// Where the gateway listens.
    pub listening: SocketAddr,
    /// Marks our own health calls.
    pub probe_token: String,
    /// Set while Redis is away.
    pub fleet_away: Arc<AtomicBool>,
    /// How many shards do not go on.
    pub stalled: Arc<AtomicU64>,
    /// How long requests may go on after SIGTERM.
    pub drain_timeout: Duration,
    /// Where calls are written down, if they are.
    pub accounts: Option<(accounts::Accounts, accounts::Stop)>,
}

/// Runs until the process should end and the shards have drained.
///
/// # Errors
/// When signals cannot be handled or a mailbox cannot be watched.
pub async fn run(start: Start) -> std::io::Result<()> {
    // First of all: shards answer already, and a signal must not end the process as it would.
    let hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let hubs = Arc::new(start.hubs);
    let env = |name: &str| std::env::var(name).ok();
    let chores = Chores {
        resets: budgets::schedule(&start.config),
        retention: retention::schedule(&start.config),
        rotation: rotation::schedule(env).map_err(std::io::Error::other)?,
    };
    let fleet = fleet::Fleet::of(&start.config);
    let desk = keys::open(&start.log, &start.config, &hubs, fleet.as_ref(), start.salt).await?;
    let proofs = proofs::Proofs::from_config(&start.config).map_err(std::io::Error::other)?;
    let functions = hooks::Functions::of(&start.config, start.source.folder());
    if let Some(functions) = functions {
        let started = Hooks::start(functions, start.log.clone()).await;
        desk.set_hooks(Some(started.map_err(std::io::Error::other)?));
    }
    let escrow = Escrow::of(&start.config, &env, &start.log).map_err(std::io::Error::other)?;
    desk.set_escrow(escrow.map(Arc::new));
    let control = Arc::new(Control {
        desk,
        proofs: Mutex::new(Arc::new(proofs)),
        log: start.log,
        source: start.source,
        lasting: start.lasting,
        snapshot: Mutex::new(start.snapshot),
        retired: Mutex::default(),
        reloading: tokio::sync::Mutex::new(()),
        hubs,
        turns: turns::Turns::default(),
        media: media::Media::default(),
        health: health::Health::default(),
        listening: start.listening,
        probe_token: start.probe_token,
        fleet_away: start.fleet_away,
        peers: fleet::Peers::default(),
        lease_wanted: fleet.as_ref().map(|fleet| fleet.wake.clone()),
    });
    if control.desk.rules().store_models {
        // The outcome is in the log; the file's models are served in any case.
        let _ = control.reload().await;
    }
    hear_shards(&control)?;
    control.say_ready();
    keep_up(&control, chores, fleet);
    tokio::spawn(watchdog::keep(control.clone(), start.stalled));
    tokio::spawn(reload_on_hangup(control.clone(), hangup));
    let writing = start.accounts.map(|(accounts, stop)| {
        let store = Arc::clone(&control.desk.directory.store);
        (tokio::spawn(accounts.run(store, control.log.clone())), stop)
    });
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    let deadline = drain(&control, start.drain_timeout);
    wait_for_shards(&start.threads, deadline).await;
    if let Some((writing, stop)) = writing {
        stop.stop();
        // It has its own deadline, and what it does not reach is in the journal.
        let _ = writing.await;
    }
    Ok(())
}

/// Serves what every shard asks for.
fn hear_shards(control: &Arc<Control>) -> std::io::Result<()> {
    let router = admin::router(control.clone());
    for shard in 0..control.hubs.len() {
        let bell = bell(control, shard)?;
        tokio::spawn(listen(control.clone(), router.clone(), shard, bell));
    }
    Ok(())
}

/// Lets the shards end; until when requests may go on.
fn drain(control: &Control, timeout: Duration) -> Instant {
    let deadline = Instant::now() + timeout;
    let seconds = timeout.as_secs_f64();
    log!(control.log, Info, "draining", seconds = seconds);
    for hub in control.hubs.iter() {
        let _ = hub.send(ToShard::Drain { deadline });
    }
    deadline
}

/// What is done now and then where the configuration or the environment says so.
struct Chores {
    resets: Option<budgets::Schedule>,
    retention: Option<retention::Schedule>,
    rotation: Option<rotation::Schedule>,
}

/// What is done now and then as long as the process lives.
fn keep_up(control: &Arc<Control>, chores: Chores, fleet: Option<fleet::Fleet>) {
    if control.snapshot().router.settings().pre_call_checks {
        tokio::task::spawn_blocking(crate::tokens::warm);
    }
    tokio::spawn(proofs::keep_keys(control.clone()));
    tokio::spawn(health::keep(control.clone()));
    tokio::spawn(keys::fill_index(control.clone()));
    tokio::spawn(keys::hear(control.clone()));
    if let Some(schedule) = chores.resets {
        tokio::spawn(budgets::keep(control.clone(), schedule));
    }
    if let Some(schedule) = chores.retention {
        tokio::spawn(retention::keep(control.clone(), schedule));
    }
    if let Some(schedule) = chores.rotation {
        tokio::spawn(rotation::keep(control.clone(), schedule));
    }
    if let Some(fleet) = fleet {
        fleet.start(control.clone());
    }
    tokio::spawn(spenders::keep(control.clone()));
    tokio::spawn(budgets::warn(control.clone()));
    tokio::spawn(keep_resolved(control.clone()));
    tokio::spawn(keep_letting_go(control.clone()));
}

fn bell(control: &Control, shard: usize) -> std::io::Result<tokio::net::UnixStream> {
    let bell = control.hubs[shard].bell()?;
    bell.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(bell)
}

/// Answers one shard's messages until it is gone.
async fn listen(
    control: Arc<Control>,
    router: axum::Router,
    shard: usize,
    mut bell: tokio::net::UnixStream,
) {
    let mut rings = [0; 64];
    while matches!(bell.read(&mut rings).await, Ok(count) if count > 0) {
        let hub = &control.hubs[shard];
        hub.heard();
        while let Some(message) = hub.pop() {
            match message {
                FromShard::Texts(texts) => {
                    tokio::spawn(texts::store(control.clone(), texts));
                }
                FromShard::LookUp { hash } => {
                    tokio::spawn(keys::look_up(control.clone(), shard, hash));
                }
                FromShard::Prove { hash, proof } => {
                    tokio::spawn(proofs::answer(control.clone(), shard, hash, proof));
                }
                FromShard::LookUpPayer { name } => {
                    tokio::spawn(keys::look_up_payer(control.clone(), shard, name));
                }
                FromShard::Count { id, model, prompt } => {
                    tokio::spawn(count(control.clone(), shard, id, model, prompt));
                }
                FromShard::Media { id, wanted } => {
                    tokio::spawn(media::answer(control.clone(), shard, id, wanted));
                }
                FromShard::Remember(turn) => turns::remember(&control, *turn),
                FromShard::Stored { id, ask } => {
                    tokio::spawn(turns::answer(control.clone(), shard, id, ask));
                }
                FromShard::Fetch(credential) => {
                    tokio::spawn(credentials::keep(control.clone(), credential));
                }
                FromShard::LeaseWanted => {
                    if let Some(wanted) = &control.lease_wanted {
                        wanted.notify_one();
                    }
                }
                FromShard::Dress { id, dress } => {
                    tokio::spawn(keys::dress(control.clone(), shard, id, dress));
                }
                FromShard::Admin { id, request } => {
                    let (control, router) = (control.clone(), router.clone());
                    tokio::spawn(async move {
                        let answer = admin::answer(router, *request).await;
                        let _ = control.hubs[shard].send(ToShard::Reply { id, answer });
                    });
                }
            }
        }
    }
}

/// Counts a prompt's tokens where it holds up nobody.
async fn count(control: Arc<Control>, shard: usize, id: u64, model: String, prompt: Vec<u8>) {
    let counts = control.snapshot().settings.counts_prompts;
    let counted = tokio::task::spawn_blocking(move || match counts {
        true => crate::tokens::count(&model, &prompt),
        false => 0,
    });
    let counted = counted.await;
    let answer = crate::message::AdminAnswer {
        status: 200,
        headers: Vec::new(),
        body: counted.map_or_else(|_| Vec::new(), |tokens| tokens.to_string().into_bytes()),
    };
    let _ = control.hubs[shard].send(ToShard::Reply { id, answer });
}

async fn keep_resolved(control: Arc<Control>) {
    const RETRY: Duration = Duration::from_secs(2);
    let mut asked = Instant::now();
    loop {
        tokio::time::sleep(RETRY).await;
        let stale = asked.elapsed() >= origins::FRESH;
        if stale {
            asked = Instant::now();
        }
        control.lasting.origins.resolve(!stale).await;
    }
}

async fn reload_on_hangup(control: Arc<Control>, mut hangup: tokio::signal::unix::Signal) {
    while hangup.recv().await.is_some() {
        // The outcome is in the log.
        let _ = control.reload().await;
    }
}

/// Waits until every shard's thread has ended, a little past the deadline at most.
async fn wait_for_shards(threads: &[JoinHandle<()>], deadline: Instant) {
    const SLACK: Duration = Duration::from_secs(2);
    const STEP: Duration = Duration::from_millis(5);
    while threads.iter().any(|thread| !thread.is_finished()) && Instant::now() < deadline + SLACK {
        tokio::time::sleep(STEP).await;
    }
}
