//! A shard: the data plane of one core.
//!
//! It accepts connections, serves LLM calls from its snapshot alone and hands the rest to the
//! coordinator. It takes no lock, opens no file and waits for nobody but its sockets.

mod admin;
mod admit;
mod answer;
mod attempt;
mod body;
mod cache;
mod call;
mod callers;
mod credential;
mod dress;
mod estimate;
mod exchange;
mod explain;
mod fault;
mod google;
mod hedge;
mod leases;
mod ledger;
mod media;
mod midstream;
mod mock;
mod own;
mod passage;
mod poll;
mod prompts;
mod relay;
mod replay;
mod request;
mod respond;
mod several;
mod steer;
mod stream_cost;
mod texts;
mod turns;
mod waiters;

use std::cell::{Cell, RefCell};
use std::net::{SocketAddr, TcpListener};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use shardgate_io::driver::{Socket, sleep_until, spawn};
use shardgate_io::http1::drain::Drain;
use shardgate_io::http1::encode::DateCache;
use shardgate_io::http1::head::Refusal;
use shardgate_io::http1::server::{self, After, Connection, Handler, Request};
use shardgate_io::mesh::{Mailbox, ShardEnd};
use shardgate_io::net::{Gate, Listener, Stream, stop};
use shardgate_io::pool::Pool;
use shardgate_io::ring::RingWriter;
use shardgate_io::ring::calls::OpenCalls;
use shardgate_io::tls::ServerTls;

use crate::id::{RequestId, RequestIds};
use crate::message::{FromShard, ToShard};
use crate::observe::log::Log;
use crate::router::{Live, Micros, Rng};
use crate::snapshot::Snapshot;

/// What all shards share: handles and counters that are written without a lock.
pub struct Shared {
    /// The log.
    pub log: Log,
    /// Counts client connections.
    pub gate: Gate,
    /// Counters.
    pub stats: Stats,
    /// The certificate to serve with.
    pub tls: Option<Arc<ServerTls>>,
    /// Marks the coordinator's own health calls.
    pub probe_token: String,
    /// When the process began.
    pub started: Instant,
    /// Redis is away, with which other instances are agreed with.
    pub fleet_away: Arc<AtomicBool>,
    /// Shards that do not go on (`coordinator::watchdog`).
    pub stalled: Arc<AtomicU64>,
}

/// Counters over all shards.
#[derive(Default)]
pub struct Stats {
    /// Handlers that panicked; each was answered 500.
    pub panics: AtomicU64,
    /// LLM calls that run now, for `global_max_parallel_requests`.
    pub running: AtomicU64,
}

/// A snapshot as requests hold it: they count in a counter of their shard, and leave the one that
/// all shards share alone.
type Held = Rc<Arc<Snapshot>>;

/// One shard.
pub struct Shard {
    index: usize,
    shared: Arc<Shared>,
    snapshot: RefCell<Held>,
    settings: RefCell<Rc<server::Settings>>,
    pool: Pool,
    drain: Rc<Drain>,
    dates: RefCell<DateCache>,
    ids: RefCell<RequestIds>,
    rng: RefCell<Rng>,
    live: Live,
    waiters: waiters::Waiters,
    itself: Weak<Shard>,
    mailbox: Mailbox<FromShard, ToShard>,
    asked: RefCell<admin::Asked>,
    callers: callers::Table,
    leases: leases::Waiting,
    /// None where nobody keeps accounts: a gateway without keys and database.
    ledger: Option<ledger::Ledger>,
    /// Answers that are given again.
    answers: cache::Answers,
    /// Deployments in clients' own credentials.
    dressed: RefCell<dress::Dressed>,
    drained_by: Cell<Option<Instant>>,
    /// The coordinator has said so; before, readiness answers 503.
    ready: Cell<bool>,
}

/// Runs shard `index` until it has drained.
pub async fn run(
    index: usize,
    listener: TcpListener,
    end: ShardEnd<FromShard, ToShard>,
    snapshot: Arc<Snapshot>,
    shared: Arc<Shared>,
    seed: u64,
    ring: Option<(RingWriter, OpenCalls)>,
) {
    let started = Listener::new(listener).and_then(|listener| {
        let closer = listener.closer()?;
        Ok((listener, closer, end.attach()?))
    });
    let (listener, closer, mailbox) = match started {
        Ok(started) => started,
        Err(error) => {
            crate::log!(
                shared.log,
                Error,
                "shard_not_started",
                shard = index,
                why = error
            );
            return;
        }
    };
    let shard = Rc::new_cyclic(|itself| Shard {
        index,
        settings: RefCell::new(Rc::new(snapshot.settings.server)),
        pool: Pool::new(snapshot.settings.pool),
        snapshot: RefCell::new(Rc::new(snapshot)),
        shared,
        drain: Rc::default(),
        dates: RefCell::default(),
        ids: RefCell::new(RequestIds::new(index, seed)),
        rng: RefCell::new(Rng::new(seed)),
        live: Live::new(index),
        waiters: waiters::Waiters::default(),
        itself: itself.clone(),
        mailbox,
        asked: RefCell::default(),
        callers: callers::Table::default(),
        leases: leases::Waiting::default(),
        ledger: ring.map(ledger::Ledger::new),
        answers: cache::Answers::default(),
        dressed: RefCell::default(),
        drained_by: Cell::new(None),
        ready: Cell::new(false),
    });
    spawn("the mailbox", listen(shard.clone(), closer));
    spawn("the pool's sweep", sweep(shard.clone()));
    while let Some((socket, peer)) = listener.next(&shard.shared.gate).await {
        spawn("a connection", connection(shard.clone(), socket, peer));
    }
    shard.drained().await;
}

/// Serves one client connection from its first byte to its last.
async fn connection(shard: Rc<Shard>, socket: Socket, peer: SocketAddr) {
    let settings = shard.settings.borrow().clone();
    let stream = match &shard.shared.tls {
        None => Ok(Stream::plain(socket)),
        Some(tls) => {
            let deadline = Instant::now() + settings.head_timeout;
            Box::pin(Stream::tls_server(socket, tls, deadline)).await
        }
    };
    if let Ok(stream) = stream {
        let connection = Connection::new(stream, peer, settings, &shard.drain);
        let panics = shard.clone();
        server::serve(connection, shard.clone(), &move || {
            panics.shared.stats.panics.fetch_add(1, Ordering::Relaxed);
        })
        .await;
    }
    shard.shared.gate.leave();
}

async fn listen(shard: Rc<Shard>, closer: TcpListener) {
    while let Some(message) = shard.mailbox.next().await {
        match message {
            ToShard::Snapshot(snapshot) => shard.adopt(snapshot),
            ToShard::Ready => shard.ready.set(true),
            ToShard::Account { hash, found, turn } => shard.callers.heard(hash, found, turn),
            ToShard::Leased => shard.leases.wake(),
            ToShard::Reply { id, answer } => shard.asked.borrow_mut().answered(id, answer),
            ToShard::Drain { deadline } => {
                shard.drained_by.set(Some(deadline));
                shard.drain.begin();
                stop(&closer);
                let shard = shard.clone();
                spawn("the drain's end", async move {
                    sleep_until(deadline).await;
                    shard.drain.finish();
                });
            }
        }
    }
}

async fn sweep(shard: Rc<Shard>) {
    const PERIOD: Duration = Duration::from_secs(1);
    loop {
        sleep_until(Instant::now() + PERIOD).await;
        shard.pool.sweep(Instant::now());
    }
}

impl Shard {
    fn adopt(&self, snapshot: Arc<Snapshot>) {
        self.callers.forget_vouched();
        self.dressed.borrow_mut().clear();
        self.answers.clear();
        self.pool.set_limits(snapshot.settings.pool);
        *self.settings.borrow_mut() = Rc::new(snapshot.settings.server);
        *self.snapshot.borrow_mut() = Rc::new(snapshot);
    }

    fn snapshot(&self) -> Held {
        self.snapshot.borrow().clone()
    }

    /// The router's clock: microseconds since the process began, the same on every shard.
    fn now(&self) -> Micros {
        Micros(u64::try_from(self.shared.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// The instant of a time of the router's clock.
    fn instant(&self, at: Micros) -> Instant {
        self.shared.started + Duration::from_micros(at.0)
    }

    fn next_id(&self) -> RequestId {
        self.ids.borrow_mut().take()
    }

    /// Waits until the last connection is gone, or a moment past the drain's deadline.
    async fn drained(&self) {
        const STEP: Duration = Duration::from_millis(5);
        const SLACK: Duration = Duration::from_secs(1);
        while self.drain.open() > 0 {
            let now = Instant::now();
            if self
                .drained_by
                .get()
                .is_some_and(|deadline| now > deadline + SLACK)
            {
                return;
            }
            sleep_until(now + STEP).await;
        }
    }
}

impl Handler for Shard {
    fn handle<'a>(
        &'a self,
        connection: &'a mut Connection,
        request: Box<Request>,
    ) -> impl Future<Output = After> + 'a {
        request::serve(self, connection, request)
    }

    fn refusal(&self, refusal: &Refusal) -> Vec<u8> {
        answer::refusal(self, refusal)
    }
}
