//! This instance's part in one counter: what it tells the others it holds and wants, and what it does
//! with what it is given.
//!
//! A part never takes back what runs, and never reports less than shards may still use: what it
//! gives up it takes out of the counter first.

use std::sync::Arc;
use std::time::Duration;

use crate::directory::WINDOW;
use crate::limit::{Counter, Meter, Micros, Mode, Nano, Semaphore, Window, share_at_once};

/// A part that took nothing for so many ticks gives back what it has.
const IDLE_TICKS: u32 = 100;
/// A part with unused units says so every so many ticks, to hear whether others are short.
const LISTEN_TICKS: u32 = 5;
/// Stock for so many ticks like the last one.
const STOCK_TICKS: u64 = 4;
/// Nothing is taken for used up before others had so long to give back what they do not use.
const STARVED: Duration = Duration::from_millis(120);
/// How long "nothing is left" is believed of calls at once and of money.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// What is told of one counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) kind: &'static str,
    pub(super) limit: i64,
    pub(super) held: i64,
    pub(super) want: u64,
    pub(super) need: u64,
    pub(super) mark: String,
    pub(super) ms: i64,
    pub(super) known: i64,
}

/// What was answered to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// The common store has just come up: nobody is given anything yet.
    pub(super) settling: bool,
    pub(super) granted: u64,
    pub(super) free: u64,
    pub(super) scarce: bool,
    pub(super) mark: String,
    pub(super) ms: i64,
}

/// One counter.
pub(super) struct Part {
    pub(super) name: String,
    counter: Counter,
    /// The window's or the epoch's, as the others know it; "0" before it is known.
    mark: String,
    /// The local window that the mark belongs to.
    start: u64,
    /// Units that were put into it; calls at once of the tick before.
    granted: u64,
    /// Used of them, or settled, as of the last report.
    seen: i64,
    /// Settled before the epoch was joined.
    joined: Nano,
    period: i64,
    scarce: bool,
    /// Since when nothing was granted that was wanted.
    starved: Option<Micros>,
    idle: u32,
    since_report: u32,
    reported: (i64, i64),
}

impl Part {
    pub(super) fn new(name: String, counter: Counter) -> Part {
        Part {
            name,
            counter,
            mark: "0".to_owned(),
            start: 0,
            granted: 0,
            seen: 0,
            joined: 0,
            period: 0,
            scarce: false,
            starved: None,
            idle: 0,
            since_report: u32::MAX / 2,
            reported: (0, 0),
        }
    }

    /// What it is called in the common store. A budget's new period is another counter.
    pub(super) fn key(&self) -> String {
        match &self.counter {
            Counter::Meter(meter) => format!("{}@{}", self.name, meter.period()),
            Counter::Window(_) | Counter::Semaphore(_) => self.name.clone(),
        }
    }

    /// Whether nothing is leased, wanted or used any more.
    pub(super) fn is_at_rest(&self) -> bool {
        self.idle > 2 * IDLE_TICKS && self.reported.0 == 0
    }

    /// The others cannot be asked: this instance goes on with what it has, its share of what was
    /// free, and of what begins now its share of `members`.
    pub(super) fn go_alone(&mut self, members: u64, now: Micros) {
        if self.mode() == Mode::Alone {
            return;
        }
        self.idle = 0;
        let members = members.max(1);
        match &self.counter {
            Counter::Window(window) => {
                let free = window.terms.free() / members;
                let is_running = window
                    .running(now)
                    .is_some_and(|(start, ..)| start == self.start);
                if is_running && window.put_in(self.start, free) {
                    self.granted += free;
                }
                window.terms.go_alone((window.limit() / members).max(1));
            }
            Counter::Semaphore(semaphore) => {
                let free = u32::try_from(semaphore.terms.free() / members).unwrap_or(u32::MAX);
                let here = semaphore.leased().saturating_add(free);
                let share = share_at_once(semaphore.configured(), members);
                let here = if here == 0 { share } else { here };
                semaphore.set_leased(here.min(semaphore.configured()));
                semaphore.terms.go_alone(u64::from(semaphore.leased()));
            }
            Counter::Meter(meter) => {
                let (spent, members) = (meter.spent(), i64::try_from(members).unwrap_or(1));
                let share = spent.saturating_add((meter.max() - spent).max(0) / members);
                meter.terms.go_alone(share.max(0).unsigned_abs());
            }
        }
    }

    /// What to tell now, if anything; `wanted` says whether somebody waits for the answer.
    pub(super) fn report(&mut self, now: Micros) -> Option<Report> {
        let counter = self.counter.clone();
        let report = match &counter {
            Counter::Window(window) => self.of_window(window, now),
            Counter::Semaphore(semaphore) => self.of_semaphore(semaphore),
            Counter::Meter(meter) => self.of_meter(meter),
        };
        self.since_report += 1;
        let is_alone = self.mode() != Mode::Leased;
        let due = self.since_report >= LISTEN_TICKS && report.held != 0 || is_alone;
        let changed = self.reported != (report.held, report.ms * i64::from(report.kind == "m"));
        if report.want == 0 && !changed && !due {
            return None;
        }
        self.since_report = 0;
        self.reported = (report.held, report.ms * i64::from(report.kind == "m"));
        Some(report)
    }

    fn mode(&self) -> Mode {
        match &self.counter {
            Counter::Window(window) => window.terms.mode(),
            Counter::Semaphore(semaphore) => semaphore.terms.mode(),
            Counter::Meter(meter) => meter.terms.mode(),
        }
    }

    /// Counts ticks without use.
    fn note_use(&mut self, is_used: bool) {
        self.idle = if is_used {
            0
        } else {
            self.idle.saturating_add(1)
        };
    }

    fn of_window(&mut self, window: &Window, now: Micros) -> Report {
        let (wanted, need) = window.terms.wanted();
        let is_leased = window.terms.mode() == Mode::Leased;
        let (mut stock, mut used) = (0, 0);
        let mut ms = WINDOW;
        match window.running(now) {
            None => (self.mark, self.start, self.granted, self.seen) = ("0".to_owned(), 0, 0, 0),
            Some((start, end, mut left)) => {
                if start != self.start {
                    // Shards began it, with this instance's share.
                    self.mark = "0".to_owned();
                    (self.start, self.seen) = (start, 0);
                    self.granted = window.terms.limit(window.limit());
                }
                self.granted += window.debt();
                // Alone it has a share that nobody agreed to: what is used of it counts.
                used = self.granted.saturating_sub(left);
                let lately = used.saturating_sub(self.seen.unsigned_abs());
                self.seen = i64::try_from(used).unwrap_or(i64::MAX);
                self.note_use(lately > 0 || wanted > 0);
                let keep = match (self.scarce, self.idle >= IDLE_TICKS) {
                    (_, true) => 0,
                    (true, _) => lately,
                    (false, _) => u64::MAX,
                };
                if is_leased && left > keep {
                    let back = window.reclaim(left - keep, now);
                    self.granted -= back.min(self.granted);
                    left -= back.min(left);
                }
                stock = (lately * STOCK_TICKS).saturating_sub(left);
                ms = now.until(end);
            }
        }
        if self.start == 0 {
            self.note_use(wanted > 0);
        }
        Report {
            kind: "w",
            limit: i64::try_from(window.limit()).unwrap_or(i64::MAX),
            held: i64::try_from(if is_leased { self.granted } else { used }).unwrap_or(i64::MAX),
            want: if is_leased { wanted + stock } else { 0 },
            need,
            mark: self.mark.clone(),
            ms: i64::try_from(ms.as_millis()).unwrap_or(i64::MAX).max(1),
            known: 0,
        }
    }

    fn of_semaphore(&mut self, semaphore: &Semaphore) -> Report {
        let (wanted, need) = semaphore.terms.wanted();
        let is_leased = semaphore.terms.mode() == Mode::Leased;
        let before = self.granted;
        let (lease, in_use) = (semaphore.leased(), semaphore.in_use());
        self.note_use(wanted > 0 || in_use > 0);
        if is_leased && lease > in_use && wanted == 0 && (self.scarce || self.idle >= IDLE_TICKS) {
            semaphore.set_leased(in_use);
        }
        self.granted = u64::from(semaphore.leased());
        // A shard may be about to use what has just been taken away: that is told a tick later.
        let held = match is_leased {
            true => before.max(u64::from(lease)).max(u64::from(in_use)),
            false => u64::from(in_use),
        };
        let limit = u64::from(semaphore.configured());
        Report {
            kind: "p",
            limit: i64::try_from(limit).unwrap_or(i64::MAX),
            held: i64::try_from(held).unwrap_or(i64::MAX),
            want: if is_leased { wanted.min(limit) } else { 0 },
            need: need.min(1),
            mark: "0".to_owned(),
            ms: 0,
            known: 0,
        }
    }

    fn of_meter(&mut self, meter: &Meter) -> Report {
        let (wanted, need) = meter.terms.wanted();
        let is_leased = meter.terms.mode() == Mode::Leased;
        let settled = meter.settled();
        if self.period != meter.period() {
            self.period = meter.period();
            self.mark = "0".to_owned();
        }
        if self.mark == "0" {
            self.joined = settled;
        }
        let (held, lease) = meter.leased();
        let lately = settled.saturating_sub(self.seen).max(0).unsigned_abs();
        self.seen = settled;
        self.note_use(lately > 0 || wanted > 0 || held > 0);
        // What was spent above the lease is among what was settled.
        // A lease that is too small for a call may be what another instance's call lacks.
        let is_short = need > lease.max(0).unsigned_abs();
        let gives_back = self.scarce && (wanted == 0 || is_short) || self.idle >= IDLE_TICKS;
        if lease < 0 || self.mark == "0" {
            meter.lease(-lease);
        } else if gives_back {
            meter.reclaim();
        }
        let (held, lease) = meter.leased();
        let stock = (lately * STOCK_TICKS).saturating_sub(lease.max(0).unsigned_abs());
        Report {
            kind: "m",
            limit: meter.max(),
            held: held.saturating_add(lease.max(0)),
            want: if is_leased {
                wanted.saturating_add(stock)
            } else {
                0
            },
            need,
            mark: self.mark.clone(),
            ms: settled.saturating_sub(self.joined),
            known: meter.spent(),
        }
    }

    /// Takes what was answered to a report that was sent at `sent`.
    pub(super) fn take(&mut self, report: &Report, reply: &Reply, sent: Micros) {
        if reply.settling {
            return;
        }
        self.scarce = reply.scarce;
        // Less than one call needs is nothing.
        self.starved = match reply.granted {
            granted if granted > 0 && granted >= report.need => None,
            _ if report.want > 0 => self.starved.or(Some(sent)),
            _ => self.starved,
        };
        let free = if reply.free < report.need {
            0
        } else {
            reply.free
        };
        let is_starved = self
            .starved
            .is_some_and(|since| sent.since(since) >= STARVED);
        let exhausted = |until: Micros| if is_starved { until } else { Micros(0) };
        let soon = sent.plus(EXHAUSTED);
        match &self.counter.clone() {
            Counter::Window(window) => {
                let left = Duration::from_millis(reply.ms.max(0).unsigned_abs());
                let until = sent.plus(left);
                if window.terms.mode() == Mode::Alone {
                    window.terms.go_leased();
                    let unused = window.reclaim(u64::MAX, sent);
                    self.granted = self.granted.saturating_sub(unused);
                }
                self.put_in(window, reply, until, sent);
                // A smaller call may still find what is left.
                let until = if reply.free > 0 { soon } else { until };
                window.terms.heard(free, exhausted(until));
                window.terms.go_leased();
            }
            Counter::Semaphore(semaphore) => {
                let granted = u32::try_from(reply.granted).unwrap_or(u32::MAX);
                if semaphore.terms.mode() == Mode::Alone {
                    semaphore.set_leased(semaphore.in_use());
                    self.granted = u64::from(semaphore.leased());
                }
                semaphore.set_leased(semaphore.leased().saturating_add(granted));
                self.granted = self.granted.max(u64::from(semaphore.leased()));
                semaphore.terms.heard(free, exhausted(soon));
                semaphore.terms.go_leased();
            }
            Counter::Meter(meter) => {
                if self.mark != reply.mark {
                    // What was spent until the report is in the total that it told.
                    self.joined = self.joined.saturating_add(report.ms);
                    self.mark.clone_from(&reply.mark);
                }
                meter.lease(Nano::try_from(reply.granted).unwrap_or(Nano::MAX));
                meter.heard(reply.ms);
                meter.terms.heard(free, exhausted(soon));
                meter.terms.go_leased();
            }
        }
    }

    fn put_in(&mut self, window: &Arc<Window>, reply: &Reply, until: Micros, now: Micros) {
        let is_running = window
            .running(now)
            .is_some_and(|(start, ..)| start == self.start);
        let is_same = self.mark == reply.mark || self.mark == "0";
        if is_running && is_same && window.put_in(self.start, reply.granted) {
            self.granted += reply.granted;
            self.mark.clone_from(&reply.mark);
        } else if reply.granted > 0 {
            self.start = window.begin(until, reply.granted);
            (self.granted, self.seen) = (reply.granted, 0);
            self.mark.clone_from(&reply.mark);
        }
    }
}
