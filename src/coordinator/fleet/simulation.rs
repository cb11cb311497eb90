//! Many instances that lease one counter from a common store, in virtual time: the real parts and
//! counters, and the real script on a store of its own. Each run has a seed; a failure prints it.
//!
//! What must hold: no call is let in that a single gateway with the whole limit would have refused,
//! and none is refused while for some ticks there was room for it somewhere in the fleet. While the store
//! is away a budget is passed by one call at most.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mlua::{Lua, Value, Variadic};

use super::part::{Part, Reply, Report};
use crate::limit::{Bell, Counter, Meter, Micros, Reservation, Semaphore, Window};

const TICK_MS: u64 = 10;
const BEAT_MS: u64 = 500;
const PATIENCE_MS: u64 = 2000;
/// So long there must have been room for a call before its refusal is wrong.
const TICKS_FEW_MS: u64 = 100;

/// What was settled is in the database after so long at the latest.
const LATE_MS: u64 = 300;

/// A call is refused within so long when nothing is left.
const SOON_MS: u64 = 300;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    fn among(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to + 1 - from)
    }
}

#[derive(Default)]
struct Hash {
    fields: BTreeMap<String, String>,
    ends_ms: Option<u64>,
}

/// The commands that the script uses, and its clock.
#[derive(Default)]
struct Redis {
    now_ms: u64,
    keys: BTreeMap<String, Hash>,
}

impl Redis {
    fn call(&mut self, lua: &Lua, arguments: &[String]) -> mlua::Result<Value> {
        let now_ms = self.now_ms;
        self.keys
            .retain(|_, hash| hash.ends_ms.is_none_or(|end| end > now_ms));
        let list = |items: Vec<String>| lua.create_sequence_from(items).map(Value::Table);
        let [command, rest @ ..] = arguments else {
            return Ok(Value::Nil);
        };
        if command == "TIME" {
            let (seconds, micros) = (now_ms / 1000, now_ms % 1000 * 1000);
            return list(vec![seconds.to_string(), micros.to_string()]);
        }
        let key = rest[0].clone();
        match command.as_str() {
            "HGETALL" => {
                let fields = self.keys.get(&key).map(|hash| &hash.fields);
                let flat = fields.into_iter().flatten();
                return list(flat.flat_map(|(k, v)| [k.clone(), v.clone()]).collect());
            }
            "HSET" => {
                for pair in rest[1..].chunks(2) {
                    let hash = self.keys.entry(key.clone()).or_default();
                    hash.fields.insert(pair[0].clone(), pair[1].clone());
                }
            }
            "HDEL" => {
                if let Some(hash) = self.keys.get_mut(&key) {
                    rest[1..].iter().for_each(|field| {
                        hash.fields.remove(field);
                    });
                }
                self.keys.retain(|_, hash| !hash.fields.is_empty());
            }
            "HINCRBYFLOAT" => {
                let hash = self.keys.entry(key).or_default();
                let before: f64 = hash
                    .fields
                    .get(&rest[1])
                    .map_or(0.0, |v| v.parse().unwrap());
                let after = before + rest[2].parse::<f64>().unwrap();
                hash.fields.insert(rest[1].clone(), format!("{after:.0}"));
            }
            "PEXPIRE" => {
                if let Some(hash) = self.keys.get_mut(&key) {
                    hash.ends_ms = Some(now_ms + rest[1].parse::<f64>().unwrap() as u64);
                }
            }
            "PTTL" => {
                let end = self.keys.get(&key).and_then(|hash| hash.ends_ms);
                return Ok(Value::Number(end.map_or(-1.0, |end| (end - now_ms) as f64)));
            }
            other => panic!("the script calls {other}"),
        }
        Ok(Value::Nil)
    }
}

/// The script on that store.
struct Store {
    lua: Lua,
    script: mlua::Function,
    redis: Rc<RefCell<Redis>>,
}

impl Store {
    fn new() -> Store {
        let (lua, redis) = (Lua::new(), Rc::new(RefCell::new(Redis::default())));
        let here = redis.clone();
        let call = lua.create_function(move |lua, arguments: Variadic<Value>| {
            let texts: Vec<String> = arguments.iter().map(|a| a.to_string().unwrap()).collect();
            here.borrow_mut().call(lua, &texts)
        });
        let table = lua.create_table().unwrap();
        table.set("call", call.unwrap()).unwrap();
        lua.globals().set("redis", table).unwrap();
        let script = lua.load(include_str!("agree.lua")).into_function().unwrap();
        Store { lua, script, redis }
    }

    fn agree(
        &self,
        now_ms: u64,
        who: &str,
        report: Option<(&str, &Report)>,
    ) -> (bool, Vec<String>) {
        self.redis.borrow_mut().now_ms = now_ms;
        let (mut keys, mut arguments) = (vec!["slot".to_owned()], Vec::new());
        arguments.extend([who.to_owned(), "1500".to_owned(), "5000".to_owned()]);
        if let Some((key, report)) = report {
            keys.push(key.to_owned());
            arguments.extend([report.kind.to_owned(), report.limit.to_string()]);
            arguments.extend([report.held, report.busy].map(|n| n.to_string()));
            arguments.extend([report.want, report.need, report.least].map(|n| n.to_string()));
            arguments.push(report.mark.clone());
            arguments.extend([report.ms, report.known].map(|n| n.to_string()));
            arguments.push(i64::from(report.alone).to_string());
        }
        let globals = self.lua.globals();
        globals.set("KEYS", keys).unwrap();
        globals.set("ARGV", arguments).unwrap();
        let answer: Vec<Value> = self.script.call(()).unwrap();
        let mut texts = answer.iter().map(|value| value.to_string().unwrap());
        let settling = texts.next().unwrap() == "1";
        (settling, texts.skip(1).collect())
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Money,
    Tokens,
    AtOnce,
}

/// What a running call has taken.
enum Taken {
    Money(i64),
    Tokens(Reservation),
    Place,
}

struct Run {
    until_ms: u64,
    /// The most it may take, and what it takes in the end.
    worst: u64,
    used: u64,
    taken: Taken,
}

struct Wait {
    since_ms: u64,
    worst: u64,
}

/// Arrival, return, what was told, the answer, when it was sent.
type Sent = (
    u64,
    u64,
    Option<Report>,
    Option<(bool, Vec<String>)>,
    Micros,
);

struct Instance {
    name: String,
    part: Part,
    counter: Counter,
    tick_ms: u64,
    beat_ms: u64,
    missed: bool,
    /// A call of the script: when it reaches the store, when its answer is there, and what it is.
    sent: Option<Sent>,
    running: Vec<Run>,
    waiting: Vec<Wait>,
}

fn micros(ms: u64) -> Micros {
    Micros(ms * 1000)
}

impl Instance {
    fn new(kind: Kind, limit: u64, number: usize) -> Instance {
        let counter = match kind {
            Kind::Money => {
                let meter = Meter::default();
                meter.set_max(limit as i64);
                Counter::Meter(Arc::new(meter))
            }
            Kind::Tokens => {
                Counter::Window(Arc::new(Window::new(limit, Duration::from_secs(60), 2)))
            }
            Kind::AtOnce => Counter::Semaphore(Arc::new(Semaphore::new(Some(limit as u32)))),
        };
        let bell = Arc::new(Bell::default());
        match &counter {
            Counter::Meter(meter) => meter.terms.register(bell, 0, None),
            Counter::Window(window) => window.terms.register(bell, 0, None),
            Counter::Semaphore(semaphore) => {
                semaphore.terms.register(bell, 0, None);
                semaphore.set_leased(0);
            }
        }
        Instance {
            name: format!("i{number}"),
            part: Part::new("counter".to_owned(), counter.clone()),
            counter,
            tick_ms: 0,
            beat_ms: 0,
            missed: false,
            sent: None,
            running: Vec::new(),
            waiting: Vec::new(),
        }
    }

    /// What a shard does: takes, or misses; `Err` says whether to wait.
    fn take(&mut self, worst: u64, limit: u64, now: Micros) -> Result<Taken, bool> {
        match &self.counter {
            Counter::Meter(meter) => meter
                .hold(limit as i64, worst as i64)
                .map(|()| Taken::Money(worst as i64))
                .map_err(|_| meter.miss(worst as i64, now)),
            Counter::Window(window) => window
                .take(0, worst, now)
                .map(Taken::Tokens)
                .map_err(|full| full.soon),
            Counter::Semaphore(semaphore) => match semaphore.try_acquire() {
                true => Ok(Taken::Place),
                false => Err(semaphore.miss(now)),
            },
        }
    }

    fn settle(&self, run: Run) {
        match (&self.counter, run.taken) {
            (Counter::Meter(meter), Taken::Money(worst)) => meter.settle(worst, run.used as i64),
            (Counter::Window(window), Taken::Tokens(taken)) => window.settle(taken, run.used),
            (Counter::Semaphore(semaphore), _) => semaphore.release(),
            _ => {}
        }
    }

    /// One tick as the keeper makes it, whose call and answer are on their way for a while.
    fn tick(&mut self, store: &Store, now_ms: u64, random: &mut Random) -> bool {
        let now = micros(now_ms);
        let key = self.part.key();
        match self.sent.take() {
            Some((at, back, report, None, sent)) if now_ms >= at => {
                let asked = report.as_ref().map(|report| (key.as_str(), report));
                let answer = store.agree(now_ms, &self.name, asked);
                self.sent = Some((at, back, report, Some(answer), sent));
            }
            Some((_, back, report, Some((settling, fields)), sent)) if now_ms >= back => {
                self.tick_ms = sent.0 / 1000 + TICK_MS;
                let Some(report) = report else { return false };
                let number = |at: usize| fields[at].parse::<f64>().unwrap();
                let reply = Reply {
                    settling,
                    granted: number(0) as u64,
                    free: number(1) as u64,
                    room: number(2) as i64,
                    calm: fields[3] == "1",
                    scarce: fields[4] == "1",
                    mark: fields[5].clone(),
                    ms: number(6) as i64,
                };
                self.part.take(&report, &reply, sent);
                return report.need > 0;
            }
            Some(other) => self.sent = Some(other),
            None if now_ms >= self.tick_ms || self.missed => {
                self.missed = false;
                let report = self.part.report(now);
                let is_beat = now_ms >= self.beat_ms + BEAT_MS;
                if report.is_none() && !is_beat {
                    self.tick_ms = now_ms + TICK_MS;
                    return false;
                }
                self.beat_ms = now_ms;
                let at = now_ms + random.below(3);
                self.sent = Some((at, at + random.below(3), report, None, now));
            }
            None => {}
        }
        false
    }
}

/// The whole fleet, and what is true of it.
struct Fleet {
    seed: u64,
    kind: Kind,
    limit: u64,
    random: Random,
    store: Store,
    instances: Vec<Instance>,
    now_ms: u64,
    spent: u64,
    /// The least room in each of the last milliseconds.
    room: VecDeque<i64>,
    /// Milliseconds since nothing runs.
    quiet_ms: u64,
    admitted: u64,
    refused: u64,
    /// What was spent in all as the database has it, for each millisecond since the store fell silent; none
    /// where it cannot be read either.
    recorded: Option<Vec<u64>>,
    /// The store will have forgotten everything when it comes back.
    forgets: bool,
    /// The store does not answer, or has not for long.
    is_away: bool,
    troubled_until_ms: u64,
    /// The largest call that was let in.
    largest: u64,
    admitted_alone: u64,
}

impl Fleet {
    fn new(kind: Kind, seed: u64) -> Fleet {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let count = random.among(2, 6) as usize;
        let limit = match kind {
            Kind::Money => random.among(1_000, 1_000_000),
            Kind::Tokens => random.among(200, 20_000),
            Kind::AtOnce => random.among(2, 30),
        };
        let instances = (0..count).map(|n| Instance::new(kind, limit, n)).collect();
        Fleet {
            seed,
            kind,
            limit,
            random,
            store: Store::new(),
            instances,
            now_ms: 1_000,
            spent: 0,
            room: VecDeque::new(),
            quiet_ms: 0,
            admitted: 0,
            refused: 0,
            recorded: None,
            forgets: false,
            is_away: false,
            troubled_until_ms: 0,
            largest: 0,
            admitted_alone: 0,
        }
    }

    fn held(&self) -> u64 {
        let runs = self.instances.iter().flat_map(|one| &one.running);
        runs.map(|run| run.worst).sum()
    }

    fn left(&self) -> i64 {
        self.limit as i64 - self.spent as i64 - self.held() as i64
    }

    fn at(&self) -> String {
        format!("seed {} ({:?}) at {} ms", self.seed, self.kind, self.now_ms)
    }

    /// A call, of which `worst` may be more than there is.
    fn come(&mut self, at: usize, worst: u64) {
        let since_ms = self.now_ms;
        if !self.try_start(at, worst, since_ms) {
            self.instances[at].waiting.push(Wait { since_ms, worst });
        }
    }

    /// Whether the call needs to wait no longer: it was let in or refused.
    fn try_start(&mut self, at: usize, worst: u64, since_ms: u64) -> bool {
        let (now, left) = (micros(self.now_ms), self.left());
        let taken = self.instances[at].take(worst, self.limit, now);
        match taken {
            Ok(taken) => {
                self.largest = self.largest.max(worst);
                let is_troubled = self.is_troubled();
                self.admitted_alone += u64::from(self.is_away);
                let fits = left >= worst as i64
                    || self.kind == Kind::Money && left > 0
                    || is_troubled && left + self.largest as i64 >= worst as i64;
                assert!(fits, "{}: {worst} let in, {left} were left", self.at());
                let used = match self.kind {
                    Kind::AtOnce => 0,
                    _ => self.random.among(0, worst),
                };
                let until_ms = self.now_ms + self.random.among(1, 200);
                let run = Run {
                    until_ms,
                    worst,
                    used,
                    taken,
                };
                self.instances[at].running.push(run);
                self.admitted += 1;
                self.note();
                true
            }
            Err(soon) => {
                self.instances[at].missed = true;
                if soon && self.now_ms < since_ms + PATIENCE_MS {
                    return false;
                }
                if self.is_troubled() {
                    self.refused += 1;
                    return true;
                }
                let least = self.room.iter().min().copied().unwrap_or(0);
                let had_room = least >= worst as i64
                    || self.kind == Kind::Money && left > 0 && self.quiet_ms >= TICKS_FEW_MS;
                let waited_ms = self.now_ms - since_ms;
                assert!(
                    !had_room,
                    "{}: {worst} refused after {waited_ms} ms, {least} were left all the time",
                    self.at()
                );
                // Nothing was left and nothing ran that could give some back: that is said soon.
                let is_used_up = left <= 0 && self.quiet_ms >= waited_ms;
                let is_late = is_used_up && waited_ms > SOON_MS;
                assert!(!is_late, "{}: refused after {waited_ms} ms", self.at());
                self.refused += 1;
                true
            }
        }
    }

    fn is_troubled(&self) -> bool {
        self.is_away || self.now_ms < self.troubled_until_ms
    }

    /// The store does not answer any more, whatever was on its way.
    fn fall_silent(&mut self) {
        self.is_away = true;
        self.recorded = (!self.seed.is_multiple_of(3)).then(|| vec![self.spent]);
        let members = self.instances.len() as u64;
        self.forgets = self.random.below(2) == 0;
        for at in 0..self.instances.len() {
            let one = &mut self.instances[at];
            if let Some((_, back, _, Some(_), _)) = &mut one.sent
                && self.forgets
            {
                // A report whose answer is lost together with the store's memory is told again: rather
                // too much than too little, but that is not what is looked at here.
                *back = self.now_ms;
                one.tick(&self.store, self.now_ms, &mut self.random);
            }
            one.sent = None;
            one.part.go_alone(members, micros(self.now_ms));
            for wait in std::mem::take(&mut one.waiting) {
                if !self.try_start(at, wait.worst, wait.since_ms) {
                    self.instances[at].waiting.push(wait);
                }
            }
        }
    }

    /// It answers again, maybe without a memory.
    fn come_back(&mut self) {
        self.is_away = false;
        self.troubled_until_ms = self.now_ms + 4_000;
        if self.forgets {
            self.store = Store::new();
        }
    }

    fn note(&mut self) {
        let left = self.left();
        if let Some(last) = self.room.back_mut() {
            *last = left.min(*last);
        }
    }

    fn step(&mut self) {
        self.now_ms += 1;
        self.room.push_back(self.left());
        if self.room.len() > TICKS_FEW_MS as usize {
            self.room.pop_front();
        }
        for at in 0..self.instances.len() {
            let now_ms = self.now_ms;
            let one = &mut self.instances[at];
            let over = one.running.extract_if(.., |run| run.until_ms <= now_ms);
            for run in over.collect::<Vec<_>>() {
                self.spent += run.used;
                one.settle(run);
            }
            if !self.is_away && one.tick(&self.store, now_ms, &mut self.random) {
                for wait in std::mem::take(&mut one.waiting) {
                    if !self.try_start(at, wait.worst, wait.since_ms) {
                        self.instances[at].waiting.push(wait);
                    }
                }
            }
        }
        if self.is_away {
            self.read_records();
        }
        let is_quiet = self.held() == 0;
        self.quiet_ms = if is_quiet { self.quiet_ms + 1 } else { 0 };
        self.give_up();
    }

    /// Budgets that are in use, or that somebody waits for, are looked up in the database.
    fn read_records(&mut self) {
        let late = self.random.below(LATE_MS) as usize;
        if let Some(recorded) = &mut self.recorded {
            recorded.push(self.spent);
        }
        let members = self.instances.len() as u64;
        for at in 0..self.instances.len() {
            let one = &mut self.instances[at];
            if one.missed {
                one.part.ring();
            }
            let is_due = self.now_ms % 1000 == 97 * at as u64;
            if !one.part.asks_for_record(is_due) {
                continue;
            }
            let then = |all: &Vec<u64>| all[(all.len() - 1).saturating_sub(late)] as i64;
            let (now, within) = (micros(self.now_ms), Duration::from_millis(LATE_MS));
            let recorded = self.recorded.as_ref().map(then);
            one.part.renew(recorded, members, now, within);
            for wait in std::mem::take(&mut one.waiting) {
                if !self.try_start(at, wait.worst, wait.since_ms) {
                    self.instances[at].waiting.push(wait);
                }
            }
        }
    }

    fn give_up(&mut self) {
        for at in 0..self.instances.len() {
            let now_ms = self.now_ms;
            let late = |wait: &mut Wait| now_ms >= wait.since_ms + PATIENCE_MS;
            let given_up = self.instances[at].waiting.extract_if(.., late);
            for wait in given_up.collect::<Vec<_>>() {
                self.try_start(at, wait.worst, wait.since_ms);
            }
        }
    }

    fn worst(&mut self) -> u64 {
        let most = match self.kind {
            Kind::AtOnce => return 1,
            // Most are small; some are larger than everything.
            Kind::Money => self.limit * [1, 1, 4, 40, 300][self.random.below(5) as usize] / 100,
            Kind::Tokens => self.limit * [1, 1, 4, 40, 90][self.random.below(5) as usize] / 100,
        };
        self.random.among(1, most.max(1))
    }

    fn crowd(&mut self, every: u64, steps: u64) {
        for _ in 0..steps {
            self.step();
            if self.random.below(every) == 0 {
                let at = self.random.below(self.instances.len() as u64);
                let at = at.min(self.random.below(self.instances.len() as u64));
                let worst = self.worst();
                self.come(at as usize, worst);
            }
        }
    }

    /// A crowd, then one call after another wherever it comes.
    fn run(&mut self) {
        // Until the store has settled.
        (0..2_500).for_each(|_| self.step());
        let every = self.random.among(1, 60);
        if self.kind == Kind::Money {
            // With much left, and with little.
            let before = self.random.among(0, 800);
            self.crowd(every, before);
            self.fall_silent();
            self.crowd(every, 4_500);
            self.come_back();
            self.crowd(every, 4_100);
        }
        self.crowd(every, 3_000);
        for _ in 0..30 {
            (0..5_000).any(|_| {
                self.step();
                let busy = |one: &Instance| one.running.len() + one.waiting.len() > 0;
                !self.instances.iter().any(busy)
            });
            let pause = self.random.below(400);
            (0..pause).for_each(|_| self.step());
            let at = self.random.below(self.instances.len() as u64) as usize;
            let worst = self.worst();
            self.come(at, worst);
        }
    }
}

fn check(kind: Kind) {
    let first: u64 = match std::env::var("SHARDGATE_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => 1,
    };
    let count = match std::env::var("SHARDGATE_SEEDS") {
        Ok(count) => count.parse().unwrap(),
        Err(_) => 12,
    };
    let (mut admitted, mut refused, mut alone) = (0, 0, 0);
    for seed in first..first + count {
        let mut fleet = Fleet::new(kind, seed);
        fleet.run();
        admitted += fleet.admitted;
        refused += fleet.refused;
        alone += fleet.admitted_alone;
    }
    assert!(admitted > 0 && refused > 0, "{admitted} and {refused}");
    assert!(
        alone > 0 || kind != Kind::Money,
        "nothing while the store was away"
    );
}

#[test]
fn a_budget_is_shared_exactly() {
    check(Kind::Money);
}

#[test]
fn tokens_are_shared_exactly() {
    check(Kind::Tokens);
}

#[test]
fn places_are_shared_exactly() {
    check(Kind::AtOnce);
}
