//! The coordinator's part in spend: from the shards' rings by way of the journal to the store.
//!
//! A thread of its own keeps the ledger, because `fdatasync` blocks; it hands out one batch at a
//! time and waits for the answer. The coordinator writes a batch and its mark in one transaction,
//! and tries again until the store has taken it, be that for hours: the journal holds what comes
//! meanwhile. Rows that the database refuses for themselves are kept in a file and reported.

use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as thread_mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use shardgate_io::journal::Place;
use shardgate_io::ring::calls::{self, OpenCalls};
use shardgate_io::ring::{self, RingReader, RingWriter};
use tokio::sync::mpsc;

use crate::log;
use crate::observe::log::Log;
use crate::spend::begun;
use crate::spend::calls::Calls;
use crate::spend::ledger::{Ledger, Settings};
use crate::spend::money::Money;
use crate::store::spend::{Batch, Mark, row_of, row_text};
use crate::store::{Command, LEDGER_POSITION, Store, StoreError};

/// Between two looks into the rings.
const TICK: Duration = Duration::from_millis(10);
/// The same where every answer waits for it.
const TICK_STRICT: Duration = Duration::from_millis(1);
/// Rows of one transaction.
const ROWS_MAX: usize = 500;
/// Between two tries while the store is away.
const RETRY: Duration = Duration::from_millis(500);
/// Between two lines about the same trouble.
const COMPLAIN: Duration = Duration::from_secs(10);

/// How accounts are kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of the rings and the journal.
    pub folder: PathBuf,
    /// Shards; each gets a ring.
    pub shards: usize,
    /// Bytes of a ring.
    pub ring_bytes: u64,
    /// The journal: `journal_sync_ms` and its size.
    pub ledger: Settings,
    /// `proxy_batch_write_at`: between two batches that are not full.
    pub write_every: Duration,
    /// False with `disable_spend_logs`.
    pub keep_rows: bool,
    /// False with `disable_end_user_cost_tracking`.
    pub end_users: bool,
    /// False with `disable_spend_updates`.
    pub totals: bool,
    /// How long the last records may take to reach the store at the end; what is left is in the
    /// journal for the next start.
    pub stop_within: Duration,
}

impl Options {
    /// Usual values for a gateway of so many shards.
    #[must_use]
    pub fn new(folder: PathBuf, shards: usize) -> Options {
        Options {
            folder,
            shards,
            ring_bytes: 32 << 20,
            ledger: Settings::default(),
            write_every: Duration::from_secs(10),
            keep_rows: true,
            end_users: true,
            totals: true,
            stop_within: Duration::from_secs(5),
        }
    }
}

/// The store's side of the ledger; [`Accounts::run`] it on the coordinator.
#[derive(Debug)]
pub struct Accounts {
    options: Options,
    writer: String,
    work: mpsc::Receiver<Work>,
    answers: thread_mpsc::Sender<Answer>,
    thread: JoinHandle<()>,
}

/// Ends the accounts when the shards have ended.
#[derive(Clone, Debug)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// No more records will come: the last ones are written, then [`Accounts::run`] returns.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A batch for the store.
#[derive(Debug)]
struct Work {
    calls: Arc<Calls>,
    begin: Place,
    end: Place,
}

/// What became of a batch.
enum Written {
    /// The store has it, or the process ends.
    All,
    /// The store was further than its begin, and took nothing.
    Ahead,
}

/// The store's answer to the ledger.
#[derive(Debug)]
enum Answer {
    /// It has everything up to this mark, from an earlier run.
    Mark(i64),
    /// It has the batch that ended here.
    Done(Place),
}

/// Opens the rings and the journal and starts the ledger. The writers belong to the shards, in
/// their order.
///
/// # Errors
/// What the file system says; `WouldBlock` when another gateway uses the folder.
pub fn open(
    options: Options,
    log: Log,
    price: &Price<'_>,
) -> io::Result<(Vec<Books>, Accounts, Stop)> {
    let folder = &options.folder;
    std::fs::create_dir_all(folder)?;
    let (writers, rings, died) = open_rings(&options, price)?;
    if died > 0 {
        log!(
            log,
            Warn,
            "spend",
            what = "calls that an earlier run left under way are recorded as failures",
            calls = died
        );
    }
    let (ledger, found) = Ledger::open(&folder.join("journal"), rings, options.ledger)?;
    if found.undelivered > 0 || found.torn_bytes > 0 {
        log!(
            log,
            Info,
            "spend",
            what = "records of an earlier run",
            undelivered = found.undelivered,
            torn_bytes = found.torn_bytes
        );
    }
    let writer = identity(&folder.join("writer"))?;
    let (hand_out, work) = mpsc::channel(1);
    let (answers, answered) = thread_mpsc::channel();
    let stop = Arc::new(AtomicBool::new(false));
    let keeper = Keeper {
        ledger,
        answered,
        hand_out,
        stop: Arc::clone(&stop),
        write_every: options.write_every,
        stop_within: options.stop_within,
        look_every: match options.ledger.sync_every_us {
            0 => TICK_STRICT,
            _ => TICK,
        },
        log,
    };
    let thread = std::thread::Builder::new()
        .name("ledger".into())
        .spawn(|| {
            shardgate_io::shard::give_way_to_shards();
            keeper.keep();
        })?;
    Ok((
        writers,
        Accounts {
            options,
            writer,
            work,
            answers,
            thread,
        },
        Stop(stop),
    ))
}

/// A shard's ring, and what it has under way.
pub type Books = (RingWriter, OpenCalls);
/// What so many tokens of a prompt cost at a deployment.
pub type Price<'a> = dyn Fn(&str, u64) -> Money + 'a;

/// One ring per shard, and those that a run with more shards has left; and how many calls a process
/// that died has left under way.
fn open_rings(
    options: &Options,
    price: &Price<'_>,
) -> io::Result<(Vec<Books>, Vec<RingReader>, usize)> {
    let (mut writers, mut readers, mut died) = (Vec::new(), Vec::new(), 0);
    let machine = machine();
    let path = |shard: usize| options.folder.join(format!("shard-{shard}.ring"));
    let mut shard = 0;
    while shard < options.shards || path(shard).exists() {
        let (mut writer, reader, _) = ring::open(&path(shard), options.ring_bytes, random())?;
        let path = path(shard).with_extension("calls");
        let (mut open, left) = calls::open(&path, machine, &writer)?;
        died += left.len();
        for (place, bytes) in left {
            // Without room it is told at the next start.
            let Ok(slot) = writer.reserve() else { break };
            let mut record = Vec::new();
            match begun::record(&bytes, price) {
                Some(found) => found.encode(&mut record),
                None => {
                    writer.cancel(slot);
                    open.free(place);
                    continue;
                }
            }
            open.end(&place, &writer);
            writer.push(slot, &record);
            open.free(place);
        }
        if shard < options.shards {
            writers.push((writer, open));
        }
        readers.push(reader);
        shard += 1;
    }
    Ok((writers, readers, died))
}

/// Names the machine's run: 0 where it has no name.
fn machine() -> u64 {
    let name = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = name
        .chars()
        .filter(char::is_ascii_hexdigit)
        .take(16)
        .collect();
    u64::from_str_radix(&digits, 16).unwrap_or(0)
}

/// Names this folder's journal in the store, for as long as the folder lives.
fn identity(path: &Path) -> io::Result<String> {
    match std::fs::read_to_string(path) {
        Ok(name) if !name.trim().is_empty() => return Ok(name.trim().to_owned()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let name = format!("{:016x}{:016x}", random(), random());
    let mut file = File::create(path)?;
    file.write_all(name.as_bytes())?;
    file.sync_all()?;
    Ok(name)
}

/// From the keys that std draws for its maps.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The thread that keeps the ledger.
struct Keeper {
    ledger: Ledger,
    answered: thread_mpsc::Receiver<Answer>,
    hand_out: mpsc::Sender<Work>,
    stop: Arc<AtomicBool>,
    write_every: Duration,
    stop_within: Duration,
    /// Between two looks into the rings.
    look_every: Duration,
    log: Log,
}

impl Keeper {
    fn keep(mut self) {
        let start = Instant::now();
        // Nothing is handed out before the store has said where it stands.
        let (mut is_out, mut next_write, mut quiet_until) = (true, Duration::ZERO, Duration::ZERO);
        let mut stop_at = None;
        loop {
            let stopping = self.stop.load(Ordering::Acquire);
            let now = start.elapsed();
            if stopping && stop_at.is_none() {
                stop_at = Some(now + self.stop_within);
            }
            let tick = match stopping {
                true => self.ledger.flush(),
                false => self.ledger.tick(now.as_micros() as u64),
            };
            if let Some(error) = tick.error.filter(|_| now >= quiet_until) {
                quiet_until = now + COMPLAIN;
                log!(
                    self.log,
                    Error,
                    "spend",
                    what = "the journal cannot be written",
                    why = error
                );
            }
            if !is_out && (stopping || now >= next_write) {
                match self.hand_out_batch() {
                    Some(is_full) => {
                        is_out = true;
                        next_write = if is_full { now } else { now + self.write_every };
                    }
                    None if stopping => return,
                    None => next_write = now + TICK,
                }
            }
            if stop_at.is_some_and(|at| now >= at) {
                return;
            }
            match self.answered.recv_timeout(self.look_every) {
                Ok(answer) => {
                    is_out = false;
                    self.take_answer(answer);
                }
                Err(thread_mpsc::RecvTimeoutError::Timeout) => {}
                // The coordinator is gone; records stay in the rings and the journal.
                Err(thread_mpsc::RecvTimeoutError::Disconnected) => {
                    self.ledger.flush();
                    return;
                }
            }
        }
    }

    /// Gives the next batch to the coordinator; whether it was full, or nothing when none waits.
    fn hand_out_batch(&mut self) -> Option<bool> {
        let batch = match self.ledger.batch(ROWS_MAX) {
            Ok(batch) => batch?,
            Err(error) => {
                log!(
                    self.log,
                    Error,
                    "spend",
                    what = "the journal cannot be read",
                    why = error
                );
                return None;
            }
        };
        if batch.unreadable > 0 {
            log!(
                self.log,
                Error,
                "spend",
                what = "records of another version are left out",
                count = batch.unreadable
            );
        }
        let is_full = batch.calls.len() >= ROWS_MAX;
        // One at a time, so there is room; a closed channel shows when answers are awaited.
        let _ = self.hand_out.try_send(Work {
            calls: Arc::new(batch.calls),
            begin: batch.begin,
            end: batch.end,
        });
        Some(is_full)
    }

    fn take_answer(&mut self, answer: Answer) {
        let kept = match answer {
            Answer::Mark(mark) => self.ledger.resume(mark),
            Answer::Done(end) => self.ledger.delivered(end),
        };
        if let Err(error) = kept {
            // The store's mark tells the same after a restart.
            log!(
                self.log,
                Warn,
                "spend",
                what = "the journal's end was not noted",
                why = error
            );
        }
    }
}

impl Accounts {
    /// Writes what the ledger hands out, until it is stopped.
    pub async fn run(mut self, store: Arc<dyn Store>, log: Log) {
        let mark = self.known_mark(store.as_ref(), &log).await;
        let _ = self.answers.send(Answer::Mark(mark));
        while let Some(work) = self.work.recv().await {
            let end = work.end;
            let answer = match self.write(store.as_ref(), &log, work).await {
                Written::All => Answer::Done(end),
                // An earlier process of this folder has written some of it while it died.
                Written::Ahead => Answer::Mark(self.known_mark(store.as_ref(), &log).await),
            };
            let _ = self.answers.send(answer);
        }
        let Accounts {
            thread, answers, ..
        } = self;
        drop(answers);
        // It has ended, or its channel would be open.
        let _ = thread.join();
    }

    async fn known_mark(&mut self, store: &dyn Store, log: &Log) -> i64 {
        let mut patience = Patience::default();
        loop {
            let asked = Command::Ask(&LEDGER_POSITION, vec![Some(self.writer.clone())]);
            match store.row(asked).await {
                Ok(row) => {
                    return row
                        .and_then(|row| row.get("position")?.as_i64())
                        .unwrap_or(0);
                }
                Err(error) => patience.wait(log, &error).await,
            }
            // Stopped while the store was away: the ledger has gone.
            if self.work.is_closed() {
                return 0;
            }
        }
    }

    /// Until the store has it.
    async fn write(&mut self, store: &dyn Store, log: &Log, work: Work) -> Written {
        let mut patience = Patience::default();
        loop {
            let batch = self.batch(Arc::clone(&work.calls), work.begin, work.end);
            match store.rows(Command::Spend(batch)).await {
                Ok(rows) if rows.is_empty() => return Written::All,
                Ok(_) => return Written::Ahead,
                Err(StoreError::Refused(why)) => {
                    log!(
                        log,
                        Warn,
                        "spend",
                        what = "a batch is written row by row",
                        why = why
                    );
                    self.write_singly(store, log, work).await;
                    return Written::All;
                }
                Err(error) => patience.wait(log, &error).await,
            }
            if self.work.is_closed() {
                return Written::All;
            }
        }
    }

    /// Each row for itself, with a mark of its own within the batch; then the batch's mark.
    async fn write_singly(&mut self, store: &dyn Store, log: &Log, work: Work) {
        let mut patience = Patience::default();
        let writer = format!("{}#{}", self.writer, work.end.number());
        for (call, position) in work.calls.singly().map(Arc::new).zip(1..) {
            loop {
                let mut batch = self.batch(Arc::clone(&call), work.begin, work.end);
                batch.mark = Mark {
                    writer: writer.clone(),
                    from: position - 1,
                    to: position,
                };
                match store.rows(Command::Spend(batch)).await {
                    Ok(_) => break,
                    Err(StoreError::Refused(why)) => {
                        self.set_aside(log, &call, &why);
                        break;
                    }
                    Err(error) => patience.wait(log, &error).await,
                }
            }
        }
        let done = Command::Spend(self.batch(Arc::default(), work.begin, work.end));
        if let Err(error) = store.rows(done).await {
            log!(
                log,
                Warn,
                "spend",
                what = "the mark was not written",
                why = error
            );
        }
    }

    fn batch(&self, calls: Arc<Calls>, begin: Place, end: Place) -> Batch {
        Batch {
            calls,
            keep_rows: self.options.keep_rows,
            end_users: self.options.end_users,
            totals: self.options.totals,
            mark: Mark {
                writer: self.writer.clone(),
                from: begin.number(),
                to: end.number(),
            },
        }
    }

    /// A call whose row the database will never take: kept for people to look at.
    fn set_aside(&self, log: &Log, call: &Calls, why: &str) {
        let path = self.options.folder.join("refused.jsonl");
        for record in call.iter() {
            let row = row_text(&row_of(&record));
            let written = OpenOptions::new()
                .create(true)
                .append(true)
                .open(&path)
                .and_then(|mut file| {
                    writeln!(file, "{{\"why\":{},\"row\":{row}}}", serde_json::json!(why))
                });
            log!(
                log,
                Error,
                "spend",
                what = "the database refused a call's row",
                request_id = record.request_id,
                why = why,
                kept = written.is_ok(),
                file = path.display()
            );
        }
    }
}

/// Waits between tries, and says so now and then.
#[derive(Default)]
struct Patience {
    said: Option<Instant>,
}

impl Patience {
    async fn wait(&mut self, log: &Log, error: &StoreError) {
        if self.said.is_none_or(|said| said.elapsed() >= COMPLAIN) {
            self.said = Some(Instant::now());
            log!(
                log,
                Warn,
                "spend",
                what = "the store is away; records wait",
                why = error
            );
        }
        tokio::time::sleep(RETRY).await;
    }
}

#[cfg(test)]
mod tests;
