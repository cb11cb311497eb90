//! The fleet: what this instance shares with others over Redis. Limits and budgets are leased in one
//! atomic script per tick (and per slot of a cluster); changes of rows and cooldowns are news.
//!
//! No request waits for Redis. Who finds his lease used up waits a moment for the next tick; while
//! Redis is slow or away every instance goes on with its share, one line says so, and the next tick that is
//! answered ends it. What is left of a budget is read from the database meanwhile.

mod alone;
mod link;
mod news;
mod part;
#[cfg(test)]
mod simulation;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use redis::{RedisResult, Script, Value};
use shardgate_config::Config;
use tokio::sync::{Notify, mpsc};

pub(super) use self::alone::Peers;
use self::alone::{Asking, WRITING};
use self::link::{Address, Link};
use self::part::{Part, Reply, Report};
use super::Control;
use crate::limit::{Counter, Roll};
use crate::log;
use crate::message::ToShard;

/// Between two looks at what shards want.
const TICK: Duration = Duration::from_millis(10);
/// The least time between two of them when somebody waits.
const TICK_LEAST: Duration = Duration::from_millis(2);
/// Between two signs of life in each slot.
const BEAT: Duration = Duration::from_millis(500);
/// Between two tries while Redis is away.
const RETRY: Duration = Duration::from_millis(500);
/// An instance that was not heard for so long is gone; its leases are free.
const LIFE: Duration = Duration::from_secs(5);
/// After Redis was away nobody is given anything for so long, until all have told what they hold.
const SETTLING: Duration = Duration::from_millis(1500);
/// Counters of one call.
const COUNTERS_MAX: usize = 1000;
/// Slots that counters are spread over in a cluster.
const SLOTS: usize = 16;
/// Announcements that may wait; an instance that missed one reads the row again when it grows old.
const NEWS_MAX: usize = 1024;

/// The fleet before it runs.
pub(super) struct Fleet {
    address: Address,
    /// How long what was settled here may be missing in the database.
    late: Duration,
    /// Where counters are entered.
    pub(super) roll: Arc<Roll>,
    /// Rung by whoever waits for a lease.
    pub(super) wake: Arc<Notify>,
    /// What others should hear.
    pub(super) cry: mpsc::Sender<String>,
    heard: mpsc::Receiver<String>,
}

impl Fleet {
    /// The fleet that the configuration names; none without a Redis.
    pub(super) fn of(config: &Config) -> Option<Fleet> {
        let address = Address::of(config)?;
        let (cry, heard) = mpsc::channel(NEWS_MAX);
        Some(Fleet {
            address,
            late: config.general.proxy_batch_write_at + WRITING,
            roll: Arc::default(),
            wake: Arc::default(),
            cry,
            heard,
        })
    }

    /// Shares as long as the process lives.
    pub(super) fn start(self, control: Arc<Control>) {
        let instance = crate::store::secret::uuid();
        tokio::spawn(news::hear(
            control.clone(),
            self.address.clone(),
            instance.clone(),
        ));
        tokio::spawn(news::cry(
            self.address.clone(),
            instance.clone(),
            self.heard,
        ));
        tokio::spawn(news::cooldowns(control.clone(), self.cry));
        let slots = if self.address.is_cluster() { SLOTS } else { 1 };
        let keeper = Keeper {
            control,
            roll: self.roll,
            wake: self.wake,
            address: self.address,
            instance,
            script: Script::new(include_str!("agree.lua")),
            slots,
            parts: HashMap::new(),
            by_name: HashMap::new(),
            active: HashSet::new(),
            deployments: HashSet::new(),
            version: 0,
            members: 0,
            asking: Asking::default(),
            late: self.late,
            is_up: false,
            is_said: false,
            beat: Instant::now(),
        };
        tokio::spawn(keeper.keep());
    }
}

struct Keeper {
    control: Arc<Control>,
    roll: Arc<Roll>,
    wake: Arc<Notify>,
    address: Address,
    instance: String,
    script: Script,
    slots: usize,
    parts: HashMap<u32, Part>,
    by_name: HashMap<String, u32>,
    /// Parts that are looked at in every tick.
    active: HashSet<u32>,
    /// Deployments whose limits are entered, and the snapshot they are of.
    deployments: HashSet<String>,
    version: u64,
    /// Instances that reach Redis, as was heard last; 0 before that.
    members: u64,
    asking: Asking,
    late: Duration,
    is_up: bool,
    /// That Redis is away has been said.
    is_said: bool,
    beat: Instant,
}

impl Keeper {
    async fn keep(mut self) {
        loop {
            self.enter_new();
            let address = self.address.clone();
            match self.meanwhile(async move { address.connect().await }).await {
                Ok(link) => {
                    let error = self.agree(link).await;
                    self.go_alone(&error.to_string());
                }
                Err(error) => self.go_alone(&error.to_string()),
            }
            self.meanwhile(tokio::time::sleep(RETRY)).await;
        }
    }

    /// Everybody goes on with his share.
    fn go_alone(&mut self, why: &str) {
        self.is_up = false;
        self.control.fleet_away.store(true, Ordering::Release);
        self.enter_new();
        let now = self.control.now();
        for part in self.parts.values_mut() {
            part.go_alone(self.members, now);
        }
        self.wake_shards();
        if std::mem::replace(&mut self.is_said, true) {
            return;
        }
        log!(
            self.control.log,
            Warn,
            "redis",
            what = "away; limits hold with this instance's share",
            instances = self.members.max(1),
            why = why
        );
    }

    /// Ticks until something fails.
    async fn agree(&mut self, mut link: Link) -> redis::RedisError {
        self.beat = Instant::now() - BEAT;
        self.active = self.parts.keys().copied().collect();
        loop {
            let began = Instant::now();
            if let Err(error) = self.tick(&mut link).await {
                return error;
            }
            self.keep_asking();
            if !self.is_up {
                self.ask(false);
            }
            let next = if self.is_up { TICK } else { TICK * 10 };
            tokio::select! {
                () = self.wake.notified() => {
                    tokio::time::sleep(TICK_LEAST.saturating_sub(began.elapsed())).await;
                }
                () = tokio::time::sleep(next.saturating_sub(began.elapsed())) => {}
            }
        }
    }

    /// Counters that are new, and deployments' limits after a reload.
    fn enter_new(&mut self) {
        let snapshot = self.control.snapshot();
        if snapshot.version != self.version {
            self.version = snapshot.version;
            for deployment in snapshot.router.deployments() {
                let (spec, live) = (&deployment.spec, &deployment.live);
                let windows = [
                    ("rpm", spec.rpm, &live.requests),
                    ("tpm", spec.tpm, &live.tokens),
                ];
                for (unit, limit, window) in windows {
                    let name = format!("deployment:{}:{unit}", spec.id);
                    if limit.is_some() && self.deployments.insert(name.clone()) {
                        self.roll.enter(&name, Counter::Window(window.clone()));
                    }
                }
                let name = format!("deployment:{}:parallel", spec.id);
                if spec.max_parallel.is_some() && self.deployments.insert(name.clone()) {
                    self.roll
                        .enter(&name, Counter::Semaphore(live.parallel.clone()));
                }
            }
        }
        for (number, name, counter) in self.roll.take_new(self.members, self.is_up) {
            if let Some(before) = self.by_name.insert(name.clone(), number) {
                self.parts.remove(&before);
                self.active.remove(&before);
            }
            self.parts.insert(number, Part::new(name, counter));
            self.active.insert(number);
        }
    }

    async fn tick(&mut self, link: &mut Link) -> RedisResult<()> {
        self.enter_new();
        while let Some(number) = self.roll.bell.next() {
            if let Some(part) = self.parts.get_mut(&number) {
                part.ring();
                self.active.insert(number);
            }
        }
        let now = self.control.now();
        let mut slots: Vec<Vec<(u32, String, Report)>> = vec![Vec::new(); self.slots];
        let mut somebody_waits = false;
        for number in &self.active {
            let Some(part) = self.parts.get_mut(number) else {
                continue;
            };
            if let Some(report) = part.report(now) {
                somebody_waits |= report.need > 0;
                let key = part.key();
                slots[slot_of(&key, self.slots)].push((*number, key, report));
            }
        }
        let is_beat = self.beat.elapsed() >= BEAT || !self.is_up;
        if is_beat {
            self.beat = Instant::now();
        }
        let mut settling = false;
        for (slot, reports) in slots.into_iter().enumerate() {
            if reports.is_empty() && is_beat {
                settling |= self.call(link, slot, &[]).await?;
            }
            for piece in reports.chunks(COUNTERS_MAX) {
                settling |= self.call(link, slot, piece).await?;
            }
        }
        if is_beat && !settling && !self.is_up {
            self.come_back();
        }
        let parts = &self.parts;
        self.active
            .retain(|number| parts.get(number).is_some_and(|part| !part.is_at_rest()));
        if somebody_waits {
            self.wake_shards();
        }
        Ok(())
    }

    fn come_back(&mut self) {
        (self.is_up, self.is_said) = (true, false);
        self.active = self.parts.keys().copied().collect();
        self.control.fleet_away.store(false, Ordering::Release);
        log!(
            self.control.log,
            Info,
            "redis",
            what = "limits are agreed with the other instances",
            instances = self.members
        );
    }

    /// One call of the script; answers whether the store is settling.
    async fn call(
        &mut self,
        link: &mut Link,
        slot: usize,
        reports: &[(u32, String, Report)],
    ) -> RedisResult<bool> {
        let sent = self.control.now();
        let mut call = self.script.key(format!("shardgate:{{{slot}}}:slot"));
        call.arg(&self.instance)
            .arg(SETTLING.as_millis() as u64)
            .arg(LIFE.as_millis() as u64);
        for (_, key, report) in reports {
            call.key(format!("shardgate:{{{slot}}}:{key}"))
                .arg(report.kind)
                .arg(report.limit)
                .arg(report.held)
                .arg(report.busy)
                .arg(report.want)
                .arg(report.need)
                .arg(report.least)
                .arg(&report.mark)
                .arg(report.ms)
                .arg(report.known)
                .arg(u8::from(report.alone));
        }
        let answer = call.invoke_async::<Vec<Value>>(link);
        let late = || std::io::Error::from(std::io::ErrorKind::TimedOut);
        let answer = tokio::time::timeout(self.address.answer_within(), answer)
            .await
            .map_err(|_| late())??;
        let [settling, members, replies @ ..] = answer.as_slice() else {
            return Err(late().into());
        };
        let settling = number(settling) == 1;
        self.members = number(members).max(1).unsigned_abs();
        for ((part, _, report), reply) in reports.iter().zip(replies.chunks(7)) {
            let [granted, free, room, calm, scarce, mark, ms] = reply else {
                continue;
            };
            let reply = Reply {
                settling,
                granted: number(granted).max(0).unsigned_abs(),
                free: number(free).max(0).unsigned_abs(),
                room: number(room),
                calm: number(calm) == 1,
                scarce: number(scarce) == 1,
                mark: text(mark),
                ms: number(ms),
            };
            if let Some(part) = self.parts.get_mut(part) {
                part.take(report, &reply, sent);
            }
        }
        Ok(settling)
    }

    /// Those who wait for a lease look again.
    fn wake_shards(&self) {
        for hub in self.control.hubs.iter() {
            // A full mailbox: they look again when their patience ends.
            let _ = hub.send(ToShard::Leased);
        }
    }
}

fn slot_of(key: &str, slots: usize) -> usize {
    use std::hash::Hasher;
    // The same on every instance, so not std's.
    let mut sum = Fnv(0xcbf2_9ce4_8422_2325);
    sum.write(key.as_bytes());
    (sum.finish() % slots.max(1) as u64) as usize
}

struct Fnv(u64);

impl std::hash::Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

fn text(value: &Value) -> String {
    redis::from_redis_value(value.clone()).unwrap_or_default()
}

fn number(value: &Value) -> i64 {
    match value {
        Value::Int(number) => *number,
        other => text(other).parse().unwrap_or(0),
    }
}
