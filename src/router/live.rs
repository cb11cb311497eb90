//! The numbers that change while requests run, shared by all shards: who is busy, how fast, how
//! much was used, who is cooling down.
//!
//! A `Cell` belongs to one shard and one deployment: that shard writes it, all read it, without a
//! lock or a message. What all must agree on (cooldowns, limits) is one set of atomics for each
//! deployment. The `Registry` keeps them by deployment id, so that they outlive a reload. This
//! module must not decide anything: it counts and answers.

use super::decision::Decisions;
use super::failures::FailureLog;
use super::mean::{self, Estimate, Mean};
use super::queue::{GroupQueue, LocalQueue};
use super::retry::RetryBudget;
use super::spec::DeploymentSpec;
use super::{Candidate, affinity::Affinity};
use crate::limit::{Micros, Padded, Semaphore, Window};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// The span of rpm and tpm.
const LIMIT_WINDOW: Duration = Duration::from_secs(60);
const MINUTE_US: u64 = 60_000_000;
/// A deployment that does not answer is left alone so long at first,
const SILENCE_FIRST: Duration = Duration::from_secs(5);
/// and twice as long each time in a row, so often.
const SILENCE_DOUBLINGS: u32 = 4;

/// One shard's numbers about one deployment. Written by that shard alone.
#[derive(Debug, Default)]
pub struct Cell {
    in_flight: AtomicU32,
    /// Calls that have had no sign of life yet, and since when there was none.
    unanswered: AtomicU32,
    silent_since: AtomicU64,
    /// Time to the first token, in microseconds.
    pub first_token: Mean,
    /// Time per output token, in microseconds.
    pub per_token: Mean,
    /// Output tokens of an answer.
    pub output_tokens: Mean,
    /// The 95th percentile of the time to an answer's first byte, in microseconds, as bits.
    first_byte_p95: AtomicU64,
    minute: AtomicU64,
    tokens: [AtomicU64; 2],
    requests: [AtomicU64; 2],
    succeeded: AtomicU64,
    failed: AtomicU64,
}

/// What all shards' means say together, as of the last sample: a choice reads this of every
/// deployment, so it is computed when a sample comes and not when one is read.
#[derive(Debug, Default)]
struct Speed {
    value: AtomicU64,
    /// When the newest sample came; 0 before the first.
    last: AtomicU64,
}

impl Speed {
    fn publish(&self, estimate: Estimate) {
        self.value
            .store(estimate.value.to_bits(), Ordering::Relaxed);
        self.last.store(estimate.last.0, Ordering::Relaxed);
    }
}

/// A published mean, for a choice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Published {
    /// The mean, in microseconds; meaningless when `last` is zero.
    pub(super) value: f64,
    /// When the newest sample came; 0 before the first.
    pub(super) last: Micros,
}

/// What latency-based routing goes by.
#[derive(Debug, Default)]
struct Speeds {
    first_token: Speed,
    per_token: Speed,
}

fn bump(counter: &AtomicU64, by: u64) {
    counter.store(
        counter.load(Ordering::Relaxed).wrapping_add(by),
        Ordering::Relaxed,
    );
}

impl Cell {
    /// One more call is running.
    pub fn begin(&self, now: Micros) {
        let n = self.in_flight.load(Ordering::Relaxed);
        self.in_flight.store(n + 1, Ordering::Relaxed);
        let n = self.unanswered.load(Ordering::Relaxed);
        if n == 0 {
            self.silent_since.store(now.0, Ordering::Relaxed);
        }
        self.unanswered.store(n + 1, Ordering::Relaxed);
    }

    /// A call had its first answer, good or bad: the deployment lives.
    pub fn answered(&self, now: Micros) {
        self.unheard();
        self.silent_since.store(now.0, Ordering::Relaxed);
    }

    /// A call ended without any answer.
    pub fn unheard(&self) {
        let n = self.unanswered.load(Ordering::Relaxed);
        debug_assert!(n > 0, "a call was answered twice");
        self.unanswered
            .store(n.saturating_sub(1), Ordering::Relaxed);
    }

    /// Whether calls have waited for so many microseconds without any sign of life.
    pub fn is_quiet(&self, for_us: u64, now: Micros) -> bool {
        self.unanswered.load(Ordering::Relaxed) > 0
            && now
                .0
                .saturating_sub(self.silent_since.load(Ordering::Relaxed))
                >= for_us
    }

    /// For how long calls have waited without any sign of life.
    pub fn silent_for(&self, now: Micros) -> Duration {
        match self.unanswered.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            _ => now.since(Micros(self.silent_since.load(Ordering::Relaxed))),
        }
    }

    /// A call has ended.
    pub fn end(&self, succeeded: bool) {
        let n = self.in_flight.load(Ordering::Relaxed);
        debug_assert!(n > 0, "a call ended twice");
        self.in_flight.store(n.saturating_sub(1), Ordering::Relaxed);
        bump(
            if succeeded {
                &self.succeeded
            } else {
                &self.failed
            },
            1,
        );
    }

    /// Counts a request's start, with the tokens expected of it.
    pub fn use_up(&self, tokens: u64, now: Micros) {
        let minute = now.0 / MINUTE_US;
        let old = self.minute.load(Ordering::Relaxed);
        if old != minute {
            for kind in [&self.tokens, &self.requests] {
                let last = if old + 1 == minute {
                    kind[0].load(Ordering::Relaxed)
                } else {
                    0
                };
                kind[1].store(last, Ordering::Relaxed);
                kind[0].store(0, Ordering::Relaxed);
            }
            self.minute.store(minute, Ordering::Relaxed);
        }
        bump(&self.tokens[0], tokens);
        bump(&self.requests[0], 1);
    }

    /// Replaces the tokens expected by those that were used.
    pub fn correct(&self, expected: u64, used: u64) {
        let tokens = self.tokens[0].load(Ordering::Relaxed) + used;
        self.tokens[0].store(tokens.saturating_sub(expected), Ordering::Relaxed);
    }

    /// Moves the estimate of the 95th percentile towards what was just seen.
    pub fn note_first_byte(&self, took: Duration) {
        let took = took.as_micros() as f64;
        let old = f64::from_bits(self.first_byte_p95.load(Ordering::Relaxed));
        let step = (0.02 * old.max(took)).max(1.0);
        let new = match (old == 0.0, took > old) {
            (true, _) => took * 2.0,
            (_, true) => old + step * 0.95,
            (_, false) => old - step * 0.05,
        };
        self.first_byte_p95.store(new.to_bits(), Ordering::Relaxed);
    }

    fn used(&self, kind: &[AtomicU64; 2], now: Micros) -> f64 {
        let minute = now.0 / MINUTE_US;
        let gone = (now.0 % MINUTE_US) as f64 / MINUTE_US as f64;
        let (current, last) = (
            kind[0].load(Ordering::Relaxed) as f64,
            kind[1].load(Ordering::Relaxed) as f64,
        );
        match minute.saturating_sub(self.minute.load(Ordering::Relaxed)) {
            0 => current + last * (1.0 - gone),
            1 => current * (1.0 - gone),
            _ => 0.0,
        }
    }
}

/// All that shards know together about one deployment.
#[derive(Debug)]
pub struct DeploymentLive {
    cells: Box<[Padded<Cell>]>,
    /// Until when something is the matter with it, whatever it is: the one word that a choice
    /// reads when all is well.
    uncalm_until: Padded<AtomicU64>,
    speeds: Padded<Speeds>,
    cooling_until: AtomicU64,
    resting_until: AtomicU64,
    /// How often in a row it was found silent, and until when it is left alone for that.
    silences: AtomicU32,
    silent_until: AtomicU64,
    unhealthy: AtomicBool,
    budget_spent: AtomicBool,
    /// Failures of the last minute.
    pub failures: FailureLog,
    /// rpm.
    pub requests: Arc<Window>,
    /// tpm.
    pub tokens: Arc<Window>,
    /// max_parallel_requests.
    pub parallel: Arc<Semaphore>,
}

impl DeploymentLive {
    fn new(shards: usize) -> DeploymentLive {
        DeploymentLive {
            cells: (0..shards.max(1)).map(|_| Padded::default()).collect(),
            uncalm_until: Padded::default(),
            speeds: Padded::default(),
            cooling_until: AtomicU64::new(0),
            resting_until: AtomicU64::new(0),
            silences: AtomicU32::new(0),
            silent_until: AtomicU64::new(0),
            unhealthy: AtomicBool::new(false),
            budget_spent: AtomicBool::new(false),
            failures: FailureLog::default(),
            requests: Arc::new(Window::new(0, LIMIT_WINDOW, shards)),
            tokens: Arc::new(Window::new(0, LIMIT_WINDOW, shards)),
            parallel: Arc::new(Semaphore::new(None)),
        }
    }

    fn configure(&self, spec: &DeploymentSpec) {
        self.requests.set_limit(spec.rpm.unwrap_or(0));
        self.tokens.set_limit(spec.tpm.unwrap_or(0));
        self.parallel.set_limit(spec.max_parallel);
    }

    /// One shard's own numbers.
    pub fn cell(&self, shard: usize) -> &Cell {
        self.cells
            .get(shard)
            .map_or(&self.cells[0].0, |cell| &cell.0)
    }

    /// All shards' numbers.
    pub fn cells(&self) -> impl Iterator<Item = &Cell> {
        self.cells.iter().map(|cell| &cell.0)
    }

    /// Publishes what all shards know of its speed, for choices by latency.
    pub(super) fn publish_speed(&self, ttl_us: u64, now: Micros) {
        let first_token = self.cells().map(|cell| &cell.first_token);
        self.speeds
            .first_token
            .publish(mean::merge(first_token, ttl_us, now));
        let per_token = self.cells().map(|cell| &cell.per_token);
        self.speeds
            .per_token
            .publish(mean::merge(per_token, ttl_us, now));
    }

    /// What was published of its speed: to the first token of a stream, else by output token.
    pub(super) fn speed(&self, stream: bool) -> Published {
        let speeds = &self.speeds;
        let speed = if stream {
            &speeds.first_token
        } else {
            &speeds.per_token
        };
        Published {
            value: f64::from_bits(speed.value.load(Ordering::Relaxed)),
            last: Micros(speed.last.load(Ordering::Relaxed)),
        }
    }

    /// Calls running now, over all shards.
    pub fn in_flight(&self) -> u32 {
        self.cells()
            .map(|cell| cell.in_flight.load(Ordering::Relaxed))
            .sum()
    }

    /// Tokens of the last minute, over all shards, those expected of running calls included.
    pub fn tokens_per_minute(&self, now: Micros) -> f64 {
        self.cells().map(|cell| cell.used(&cell.tokens, now)).sum()
    }

    /// Requests of the last minute, over all shards.
    pub fn requests_per_minute(&self, now: Micros) -> f64 {
        self.cells()
            .map(|cell| cell.used(&cell.requests, now))
            .sum()
    }

    /// Calls ended well and ended badly, since the start.
    pub fn totals(&self) -> (u64, u64) {
        self.cells().fold((0, 0), |(good, bad), cell| {
            let (g, b) = (&cell.succeeded, &cell.failed);
            (
                good + g.load(Ordering::Relaxed),
                bad + b.load(Ordering::Relaxed),
            )
        })
    }

    /// Time within which 95 of 100 answers began, as this shard saw it; zero when unknown.
    pub fn first_byte_p95(&self, shard: usize) -> Duration {
        let micros = f64::from_bits(self.cell(shard).first_byte_p95.load(Ordering::Relaxed));
        Duration::from_micros(micros.max(0.0) as u64)
    }

    /// Takes it out of rotation until then; a later end stays.
    pub fn cool_until(&self, until: Micros) {
        self.cooling_until.fetch_max(until.0, Ordering::Release);
        self.uncalm_until.fetch_max(until.0, Ordering::Release);
    }

    /// Ends a cooldown at once.
    pub fn warm_up(&self) {
        self.cooling_until.store(0, Ordering::Release);
        self.resting_until.store(0, Ordering::Release);
        self.look_calm();
    }

    /// Whether nothing is the matter with it: it is healthy, in rotation, and answers.
    pub fn is_calm(&self, now: Micros) -> bool {
        self.uncalm_until.load(Ordering::Acquire) <= now.0
    }

    /// Finds out anew until when something is the matter. Looks twice, so that what another shard
    /// notes meanwhile is not lost.
    fn look_calm(&self) {
        let until = || {
            let lasting = !self.is_healthy() || self.is_budget_spent() || self.is_silent();
            let passing = self.cooling_until().max(self.resting_until());
            if lasting { Micros::NEVER } else { passing }
        };
        self.uncalm_until.store(until().0, Ordering::Release);
        self.uncalm_until.fetch_max(until().0, Ordering::AcqRel);
    }

    /// When it comes back; in the past when it is in rotation.
    pub fn cooling_until(&self) -> Micros {
        Micros(self.cooling_until.load(Ordering::Acquire))
    }

    /// Asks to leave it alone until then while another can serve.
    pub fn rest_until(&self, until: Micros) {
        self.resting_until.fetch_max(until.0, Ordering::Release);
        self.uncalm_until.fetch_max(until.0, Ordering::Release);
    }

    /// Until when it would rather be left alone.
    pub fn resting_until(&self) -> Micros {
        Micros(self.resting_until.load(Ordering::Acquire))
    }

    /// Whether it hangs: it was found silent and has not answered since.
    pub fn is_silent(&self) -> bool {
        self.silences.load(Ordering::Acquire) > 0
    }

    /// Leaves it alone for a while because it does not answer; longer each time in a row. Answers
    /// whether the caller was the one to find it so: then a call of his may try whether it lives.
    pub fn note_silence(&self, now: Micros) -> bool {
        let until = self.silent_until.load(Ordering::Acquire);
        let times = self.silences.load(Ordering::Relaxed).min(SILENCE_DOUBLINGS);
        let next = now.plus(SILENCE_FIRST * (1 << times));
        let found = until <= now.0
            && self
                .silent_until
                .compare_exchange(until, next.0, Ordering::AcqRel, Ordering::Acquire)
                .is_ok();
        if found {
            self.silences.store(times + 1, Ordering::Release);
            self.look_calm();
        }
        found
    }

    /// It answered.
    pub fn note_life(&self) {
        if self.is_silent() {
            self.silences.store(0, Ordering::Release);
            self.silent_until.store(0, Ordering::Release);
            self.look_calm();
        }
    }

    /// Until when it is left alone for its silence.
    pub fn silent_until(&self) -> Micros {
        Micros(self.silent_until.load(Ordering::Acquire))
    }

    /// What the last health check found.
    pub fn set_healthy(&self, healthy: bool) {
        self.unhealthy.store(!healthy, Ordering::Release);
        self.look_calm();
    }

    /// Whether the last health check went well (or none was made).
    pub fn is_healthy(&self) -> bool {
        !self.unhealthy.load(Ordering::Relaxed)
    }

    /// Whether its budget, or its provider's, is spent.
    pub fn set_budget_spent(&self, spent: bool) {
        self.budget_spent.store(spent, Ordering::Release);
        self.look_calm();
    }

    /// See `set_budget_spent`.
    pub fn is_budget_spent(&self) -> bool {
        self.budget_spent.load(Ordering::Relaxed)
    }
}

/// All that shards know together about one group.
#[derive(Debug)]
pub struct GroupLive {
    /// How many retries the group may still make.
    pub budget: RetryBudget,
    /// Who waits for a slot.
    pub queue: GroupQueue,
    /// Which deployment served a prompt before.
    pub affinity: Affinity,
    /// The last choices, a ring for each shard.
    pub decisions: Box<[Decisions]>,
}

/// Keeps live numbers by name over reloads. Owned by whoever builds routers.
#[derive(Debug)]
pub struct Registry {
    shards: usize,
    deployments: HashMap<String, Arc<DeploymentLive>>,
    groups: HashMap<String, Arc<GroupLive>>,
}

impl Registry {
    /// A registry for that many shards.
    #[must_use]
    pub fn new(shards: usize) -> Registry {
        Registry {
            shards: shards.max(1),
            deployments: HashMap::new(),
            groups: HashMap::new(),
        }
    }

    /// The numbers of a deployment, with the limits of its entry put in force.
    pub fn deployment(&mut self, spec: &DeploymentSpec) -> Arc<DeploymentLive> {
        let shards = self.shards;
        let entry = self.deployments.entry(spec.id.clone());
        let live = entry.or_insert_with(|| Arc::new(DeploymentLive::new(shards)));
        live.configure(spec);
        Arc::clone(live)
    }

    /// The numbers of a group.
    pub fn group(&mut self, name: &str) -> Arc<GroupLive> {
        let shards = self.shards;
        let entry = self.groups.entry(name.to_owned());
        Arc::clone(entry.or_insert_with(|| {
            Arc::new(GroupLive {
                budget: RetryBudget::new(shards),
                queue: GroupQueue::new(shards),
                affinity: Affinity::default(),
                decisions: (0..shards).map(|_| Decisions::default()).collect(),
            })
        }))
    }

    /// Forgets what no router uses any longer. To be called when an old router is gone.
    pub fn forget_unused(&mut self) {
        self.deployments
            .retain(|_, live| Arc::strong_count(live) > 1);
        self.groups.retain(|_, live| Arc::strong_count(live) > 1);
    }
}

/// One shard's way to the live numbers: it knows which cells are its own. Not shared; made once
/// for each shard, kept over reloads.
#[derive(Debug, Default)]
pub struct Live {
    shard: usize,
    /// Room for the candidates of a choice, so that choosing allocates nothing.
    pub(super) scratch: RefCell<Vec<Candidate>>,
    /// Requests of this shard that wait for a slot.
    pub(super) waiting: RefCell<LocalQueue>,
}

impl Live {
    /// The handle of shard number `shard`, counted from 0.
    #[must_use]
    pub fn new(shard: usize) -> Live {
        Live {
            shard,
            ..Live::default()
        }
    }

    /// Which shard this is.
    pub fn shard(&self) -> usize {
        self.shard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(shards: usize) -> DeploymentLive {
        DeploymentLive::new(shards)
    }

    #[test]
    fn in_flight_is_summed_over_shards() {
        let live = live(2);
        live.cell(0).begin(Micros(0));
        live.cell(1).begin(Micros(0));
        live.cell(1).begin(Micros(0));
        live.cell(1).end(true);
        assert_eq!(live.in_flight(), 2);
        assert_eq!(live.totals(), (1, 0));
    }

    #[test]
    fn silence_is_the_time_without_a_sign_of_life() {
        let live = live(1);
        let cell = live.cell(0);
        let at = |s: u64| Micros(s * 1_000_000);
        cell.begin(at(1));
        cell.begin(at(2));
        assert_eq!(cell.silent_for(at(5)), Duration::from_secs(4));
        cell.answered(at(5));
        assert_eq!(cell.silent_for(at(7)), Duration::from_secs(2));
        cell.unheard();
        assert_eq!(cell.silent_for(at(9)), Duration::ZERO);
    }

    #[test]
    fn a_silent_one_is_left_alone_longer_each_time() {
        let live = live(1);
        let at = |s: u64| Micros(s * 1_000_000);
        assert!(live.note_silence(at(0)));
        assert!(!live.note_silence(at(4)), "known already");
        assert_eq!(live.silent_until(), at(5));
        assert!(live.note_silence(at(5)));
        assert_eq!(live.silent_until(), at(15));
        live.note_life();
        assert!(!live.is_silent());
        assert!(live.note_silence(at(16)));
        assert_eq!(live.silent_until(), at(21));
    }

    #[test]
    fn usage_fades_over_the_minute_after() {
        let live = live(1);
        live.cell(0).use_up(100, Micros(30_000_000));
        assert_eq!(live.tokens_per_minute(Micros(31_000_000)), 100.0);
        assert_eq!(live.tokens_per_minute(Micros(90_000_000)), 50.0);
        live.cell(0).use_up(10, Micros(90_000_000));
        assert_eq!(live.tokens_per_minute(Micros(90_000_000)), 60.0);
        live.cell(0).correct(10, 4);
        assert_eq!(live.tokens_per_minute(Micros(90_000_000)), 54.0);
        assert_eq!(live.tokens_per_minute(Micros(300_000_000)), 0.0);
    }

    #[test]
    fn a_later_cooldown_end_stays() {
        let live = live(1);
        live.cool_until(Micros(10));
        live.cool_until(Micros(5));
        assert_eq!(live.cooling_until(), Micros(10));
        live.warm_up();
        assert_eq!(live.cooling_until(), Micros(0));
    }

    #[test]
    fn calm_is_when_nothing_is_the_matter() {
        let live = live(1);
        let at = Micros(10);
        assert!(live.is_calm(at));
        live.cool_until(Micros(20));
        live.set_healthy(false);
        assert!(!live.is_calm(at));
        live.set_healthy(true);
        assert!(!live.is_calm(at), "it still cools down");
        assert!(live.is_calm(Micros(20)));
        live.set_budget_spent(true);
        assert!(!live.is_calm(Micros(30)));
        live.set_budget_spent(false);
        live.note_silence(Micros(30));
        assert!(!live.is_calm(Micros(u64::MAX - 1)));
        live.note_life();
        assert!(live.is_calm(Micros(30)));
    }

    #[test]
    fn numbers_survive_a_reload_and_limits_follow_it() {
        let mut registry = Registry::new(1);
        let mut spec = DeploymentSpec {
            id: "a".into(),
            rpm: Some(2),
            ..Default::default()
        };
        let first = registry.deployment(&spec);
        first.cell(0).begin(Micros(0));
        spec.rpm = Some(9);
        let second = registry.deployment(&spec);
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(second.requests.limit(), 9);
        drop((first, second));
        registry.forget_unused();
        assert!(registry.deployments.is_empty());
    }

    #[test]
    fn the_p95_estimate_comes_near() {
        let live = live(1);
        let mut rng = super::super::Rng::new(3);
        for _ in 0..20_000 {
            live.cell(0)
                .note_first_byte(Duration::from_micros(rng.below(1_000) as u64));
        }
        let p95 = live.first_byte_p95(0).as_micros();
        assert!((900..1_000).contains(&p95), "{p95}");
    }
}
