//! This instance's part in one counter: what it tells the others it holds and wants, and what it does
//! with what it is given.
//!
//! A part never takes back what runs, and never reports less than shards may still use: what it
//! gives up it takes out of the counter first.

use std::sync::Arc;
use std::time::Duration;

use super::alone::{Late, RENEW};
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
/// What was heard is taken for true so long after the others fell silent.
const RECENT: Duration = Duration::from_secs(1);
/// After so many looks at a budget that is not used the database says nothing new of it.
const UNUSED_LOOKS: u32 = 30;
/// Looks at what is left that an instance which does not hear of it may go by.
const LOOKS_LEFT: usize = 8;
/// How long "nothing is left" is believed of calls at once and of money.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// What is told of one counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) kind: &'static str,
    pub(super) limit: i64,
    pub(super) held: i64,
    /// Of what is held, what is in use: the rest could be given back.
    pub(super) busy: i64,
    pub(super) want: u64,
    /// The most and the least that one request lacked.
    pub(super) need: u64,
    pub(super) least: u64,
    pub(super) mark: String,
    pub(super) ms: i64,
    pub(super) known: i64,
    /// It has spent without being asked.
    pub(super) alone: bool,
}

/// What was answered to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// The common store has just come up: nobody is given anything yet.
    pub(super) settling: bool,
    pub(super) granted: u64,
    pub(super) free: u64,
    /// What is free when all have given back what they do not use.
    pub(super) room: i64,
    /// Others use nothing: who has all that is left has the rest.
    pub(super) calm: bool,
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
    /// Settled as of the last report that the others have.
    agreed: Nano,
    /// What all together had spent, as was heard last.
    common: Nano,
    period: i64,
    scarce: bool,
    /// Since when nothing was granted that was wanted, and when it was wanted last.
    starved: Option<(Micros, Micros)>,
    idle: u32,
    since_report: u32,
    reported: (i64, i64),
    /// When the others were heard last.
    heard: Micros,
    alone: Alone,
}

/// What a budget goes by while its others cannot be asked, or some of them cannot ask.
#[derive(Default)]
struct Alone {
    late: Late,
    /// What all had spent and what was settled here when that began, of a budget that no other instance
    /// has been told of.
    before: Option<(Nano, Nano)>,
    /// A call lacked something since the database was asked last.
    rang: bool,
    /// What was settled when it was asked last.
    settled: Nano,
    /// Looks since the budget was used.
    unused: u32,
    /// It has answered, or a part was taken because it did not.
    has_part: bool,
    /// It did not answer when it was asked last.
    is_unread: bool,
    /// What it says, of a budget that others spend without telling.
    recorded: Nano,
    /// What is left to those, as of the last looks: they may go by what the first of these saw.
    left_to_others: [Nano; LOOKS_LEFT],
    /// The period that the database was asked about.
    period: i64,
}

impl Part {
    pub(super) fn new(name: String, counter: Counter) -> Part {
        let mut alone = Alone::default();
        if let Counter::Meter(meter) = &counter
            && meter.terms.mode() == Mode::Alone
        {
            alone.late.begin(0, Micros(0));
            alone.before = Some((meter.spent(), meter.settled()));
        }
        Part {
            name,
            counter,
            mark: "0".to_owned(),
            start: 0,
            granted: 0,
            seen: 0,
            joined: 0,
            agreed: 0,
            common: 0,
            period: 0,
            scarce: false,
            starved: None,
            idle: 0,
            since_report: u32::MAX / 2,
            reported: (0, 0),
            heard: Micros(0),
            alone,
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
        let known = members;
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
                let is_known = self.mark != "0" && now.since(self.heard) < RECENT;
                let free = Nano::try_from(meter.terms.free()).unwrap_or(Nano::MAX);
                self.alone = Alone::default();
                self.alone.late.begin(meter.settled(), now);
                self.alone.before = Some((meter.spent(), meter.settled()));
                self.alone.has_part = is_known || known == 1;
                meter.go_alone(is_known.then_some(free), known);
            }
        }
    }

    /// A call lacked something.
    pub(super) fn ring(&mut self) {
        if let Counter::Meter(meter) = &self.counter
            && meter.terms.mode() == Mode::Alone
        {
            // It may ring again.
            meter.terms.wanted();
            self.alone.rang = true;
        }
    }

    /// Whether the database should say what was spent of this budget: because a call waits for it, or
    /// (`is_due`) because the budget is in use. A part that nobody uses is given up, as it grows old.
    pub(super) fn asks_for_record(&mut self, is_due: bool) -> bool {
        let Counter::Meter(meter) = &self.counter else {
            return false;
        };
        let alone = &mut self.alone;
        let rang = std::mem::take(&mut alone.rang);
        alone.period = meter.period();
        if !is_due {
            return rang;
        }
        let settled = meter.settled();
        let is_used = rang || alone.settled != settled || meter.leased().1 > 0;
        alone.settled = settled;
        alone.unused = if is_used {
            0
        } else {
            alone.unused.saturating_add(1)
        };
        let is_alone = meter.terms.mode() == Mode::Alone;
        if is_alone && !is_used && !alone.is_unread {
            meter.lapse();
            alone.has_part = false;
        }
        // What was spent last may not have been written yet.
        is_used || !is_alone && alone.unused < UNUSED_LOOKS
    }

    /// The database has `recorded` of this budget, or could not be asked; what was settled within `late` may
    /// not be among it.
    pub(super) fn renew(
        &mut self,
        recorded: Option<Nano>,
        members: u64,
        now: Micros,
        late: Duration,
    ) {
        let Counter::Meter(meter) = &self.counter else {
            return;
        };
        if meter.terms.mode() != Mode::Alone || self.alone.period != meter.period() {
            return;
        }
        self.alone.is_unread = recorded.is_none();
        match recorded {
            Some(recorded) => {
                let unrecorded = self.alone.late.since(meter.settled(), now, late);
                meter.renew(recorded, unrecorded, members);
            }
            // It goes by what it knows, once.
            None if !self.alone.has_part => meter.take_part(None),
            None => {}
        }
        self.alone.has_part = true;
        meter.terms.heard(0, Some((now.plus(RENEW), 0)));
    }

    /// The database has `recorded` of what all spend, also those who cannot tell it.
    pub(super) fn others_spend(&mut self, recorded: Option<Nano>) {
        if let Counter::Meter(meter) = &self.counter
            && self.alone.period == meter.period()
        {
            self.alone.recorded = recorded.unwrap_or(self.alone.recorded);
        }
    }

    /// `silent` of `members` instances spend without telling: their parts are left to them.
    pub(super) fn leave(&mut self, silent: u64, members: u64) {
        if let Counter::Meter(meter) = &self.counter {
            let looks = &mut self.alone.left_to_others;
            looks.rotate_right(1);
            looks[0] = meter.reserve(self.alone.recorded, silent, members);
        }
    }

    /// Nobody spends without telling any more.
    pub(super) fn leave_nothing(&mut self) {
        self.alone.left_to_others = [0; LOOKS_LEFT];
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
        let wanted = window.terms.wanted();
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
                self.note_use(lately > 0 || wanted.all > 0);
                let keep = match (self.scarce, self.idle >= IDLE_TICKS) {
                    (_, true) => 0,
                    // What is too little for a call may be what another instance's call lacks.
                    (true, _) if wanted.most > left => 0,
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
            self.note_use(wanted.all > 0);
        }
        Report {
            kind: "w",
            limit: i64::try_from(window.limit()).unwrap_or(i64::MAX),
            held: i64::try_from(if is_leased { self.granted } else { used }).unwrap_or(i64::MAX),
            busy: i64::try_from(used).unwrap_or(i64::MAX),
            want: if is_leased { wanted.all + stock } else { 0 },
            need: wanted.most,
            least: wanted.least,
            mark: self.mark.clone(),
            ms: i64::try_from(ms.as_millis()).unwrap_or(i64::MAX).max(1),
            known: 0,
            alone: false,
        }
    }

    fn of_semaphore(&mut self, semaphore: &Semaphore) -> Report {
        let wanted = semaphore.terms.wanted();
        let is_leased = semaphore.terms.mode() == Mode::Leased;
        let before = self.granted;
        let (lease, in_use) = (semaphore.leased(), semaphore.in_use());
        self.note_use(wanted.all > 0 || in_use > 0);
        if is_leased
            && lease > in_use
            && wanted.all == 0
            && (self.scarce || self.idle >= IDLE_TICKS)
        {
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
            busy: i64::from(in_use),
            want: if is_leased { wanted.all.min(limit) } else { 0 },
            need: wanted.most.min(1),
            least: wanted.least.min(1),
            mark: "0".to_owned(),
            ms: 0,
            known: 0,
            alone: false,
        }
    }

    fn of_meter(&mut self, meter: &Meter) -> Report {
        let wanted = meter.terms.wanted();
        let is_leased = meter.terms.mode() == Mode::Leased;
        if self.period != meter.period() {
            self.period = meter.period();
            self.mark = "0".to_owned();
            self.common = 0;
            self.alone.recorded = 0;
            self.alone.before = None;
        }
        let is_known = self.mark != "0";
        match (is_known, is_leased) {
            (true, true) => meter.forgive(),
            (false, true) => meter.begin_lease(),
            // Alone it has a part that nobody agreed to.
            (_, false) => {}
        }
        let (own, held) = meter.leased();
        let left = own.saturating_sub(held).max(0).unsigned_abs();
        // A lease that is too small for a call may be what another instance's call lacks.
        let is_short = wanted.all == 0 || wanted.most > left;
        if is_known && is_leased && (self.scarce && is_short || self.idle >= IDLE_TICKS) {
            meter.reclaim();
        }
        // In this order, so that a call that ends meanwhile is told twice rather than not at all.
        let (own, held) = meter.leased();
        let settled = meter.settled();
        let known = match (is_known, self.alone.before) {
            (true, _) => self.common.max(self.alone.recorded),
            (false, Some((spent, _))) => spent,
            (false, None) => meter.spent(),
        };
        if !is_known {
            let before = self.alone.before.map_or(settled, |(_, settled)| settled);
            (self.joined, self.agreed) = (before, before);
        }
        let lately = settled.saturating_sub(self.seen).max(0).unsigned_abs();
        self.seen = settled;
        self.note_use(lately > 0 || wanted.all > 0 || held > 0);
        let left = own.saturating_sub(held).max(0).unsigned_abs();
        let stock = (lately * STOCK_TICKS).saturating_sub(left);
        let to_others = self.alone.left_to_others.iter().max();
        Report {
            kind: "m",
            limit: meter.max().saturating_sub(to_others.copied().unwrap_or(0)),
            held: if is_known { own.max(held) } else { held },
            busy: held,
            want: if is_leased {
                wanted.all.saturating_add(stock)
            } else {
                0
            },
            need: wanted.most,
            least: wanted.least,
            mark: self.mark.clone(),
            ms: settled.saturating_sub(self.joined),
            known,
            alone: !is_leased,
        }
    }

    /// Takes what was answered to a report that was sent at `sent`.
    pub(super) fn take(&mut self, report: &Report, reply: &Reply, sent: Micros) {
        if matches!(self.counter, Counter::Meter(_)) {
            self.join(report, reply);
        }
        if reply.settling {
            return;
        }
        self.scarce = reply.scarce;
        self.heard = sent;
        // As the others know it now: who gives it all back at once has to say so.
        let granted = i64::try_from(reply.granted).unwrap_or(i64::MAX);
        self.reported.0 = self.reported.0.saturating_add(granted);
        let room = match &self.counter {
            Counter::Meter(_) if reply.calm && reply.room > 0 => u64::MAX,
            _ => reply.room.max(0).unsigned_abs(),
        };
        let is_exhausted = self.is_starved(report, reply, sent) || self.is_used_up(sent);
        let exhausted = |until: Micros| is_exhausted.then_some((until, room));
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
                let until = if room > 0 { soon } else { until };
                window.terms.heard(reply.free, exhausted(until));
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
                semaphore.terms.heard(reply.free, exhausted(soon));
                semaphore.terms.go_leased();
            }
            Counter::Meter(meter) => {
                if meter.terms.mode() == Mode::Alone {
                    // First, so that who lacks it now waits for the next answer.
                    meter.terms.heard(reply.free, None);
                    meter.reclaim();
                }
                meter.lease(Nano::try_from(reply.granted).unwrap_or(Nano::MAX));
                meter.heard(reply.ms);
                meter.terms.heard(reply.free, exhausted(soon));
                meter.terms.go_leased();
            }
        }
    }

    /// The others know what was settled until this report. In an epoch that has just begun they know
    /// what was common before; what came since is told of the new one.
    fn join(&mut self, report: &Report, reply: &Reply) {
        if self.mark == reply.mark {
            self.agreed = self.joined.saturating_add(report.ms);
            self.common = reply.ms;
        } else if report.mark == self.mark {
            self.joined = self.agreed;
            self.common = self.common.max(reply.ms);
            self.mark.clone_from(&reply.mark);
            self.alone.before = None;
        }
    }

    /// Whether somebody has waited long enough for what others do not use.
    fn is_starved(&mut self, report: &Report, reply: &Reply, sent: Micros) -> bool {
        // Less than one call lacks is nothing.
        let is_short = report.want > 0 && (reply.granted == 0 || reply.granted < report.least);
        self.starved = match self.starved {
            _ if !is_short => None,
            Some((since, last)) if sent.since(last) < STARVED => Some((since, sent)),
            _ => Some((sent, sent)),
        };
        self.starved
            .is_some_and(|(since, _)| sent.since(since) >= STARVED)
    }

    /// Whether a window of requests is known to be used up: no request gives its unit back.
    fn is_used_up(&self, now: Micros) -> bool {
        let is_requests = self.name.ends_with(":rpm");
        matches!(&self.counter, Counter::Window(window)
            if is_requests && window.terms.exhausted_until() > now)
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
