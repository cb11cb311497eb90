//! Who waits for a slot of a group, and who goes first: by priority, then first come first
//! served, over all shards.
//!
//! Each shard keeps the list of its own waiters and publishes its foremost; a ticket counter that
//! all share gives the order. When a slot comes free the group's count of releases goes up, and
//! every waiter may try once more, the foremost first. A waiter that tried and found nothing for
//! itself (its tags need another deployment) does not hold up those behind it. A full queue turns
//! the next request away.

use super::live::{GroupLive, Live};
use crate::limit::{Micros, Padded};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Place in the order: the priority above the ticket. Lower goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place(u64);

const TICKET_BITS: u32 = 48;
const NOBODY: u64 = u64::MAX;

impl Place {
    fn new(priority: i32, ticket: u64) -> Place {
        let biased = priority.clamp(i32::from(i16::MIN), i32::from(i16::MAX) - 1) + 0x8000;
        let biased = u64::try_from(biased).unwrap_or(0);
        Place((biased << TICKET_BITS) | (ticket & ((1 << TICKET_BITS) - 1)))
    }
}

/// Names one waiting request on its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WaitId(pub u64);

/// The part of a group's queue that all shards see.
#[derive(Debug)]
pub struct GroupQueue {
    tickets: AtomicU64,
    waiting: Padded<AtomicU32>,
    releases: Padded<AtomicU64>,
    /// When a slot opens by itself: a limit's window or a cooldown ends.
    opens_at: AtomicU64,
    shards: Box<[Padded<Front>]>,
}

/// What one shard publishes of its own waiters.
#[derive(Debug)]
struct Front {
    /// The foremost of all.
    first: AtomicU64,
    /// The foremost that has not tried since the release `as_of`.
    untried: AtomicU64,
    /// The release that `untried` is true of; after a later one everybody may try again.
    as_of: AtomicU64,
}

impl Front {
    /// The place of the shard's waiter who goes first after that release.
    fn foremost(&self, release: u64) -> u64 {
        // Written last by `publish`: whoever sees it sees what it belongs to, or something newer.
        if self.as_of.load(Ordering::Acquire) >= release {
            self.untried.load(Ordering::Acquire)
        } else {
            self.first.load(Ordering::Acquire)
        }
    }
}

impl GroupQueue {
    /// An empty queue for that many shards.
    #[must_use]
    pub fn new(shards: usize) -> GroupQueue {
        let front = || Front {
            first: AtomicU64::new(NOBODY),
            untried: AtomicU64::new(NOBODY),
            as_of: AtomicU64::new(0),
        };
        GroupQueue {
            tickets: AtomicU64::new(0),
            waiting: Padded::default(),
            releases: Padded(AtomicU64::new(1)),
            opens_at: AtomicU64::new(u64::MAX),
            shards: (0..shards.max(1)).map(|_| Padded(front())).collect(),
        }
    }

    /// Requests that wait, over all shards.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Acquire)
    }

    /// A slot came free: those who wait may try again.
    pub fn release(&self) {
        if self.waiting() > 0 {
            self.releases.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Notes that a slot opens by itself then.
    pub fn opens(&self, at: Micros) {
        self.opens_at.fetch_min(at.0, Ordering::AcqRel);
    }

    /// Counts slots that opened by themselves as released.
    pub fn look_at_clock(&self, now: Micros) {
        let at = self.opens_at.load(Ordering::Acquire);
        let due = at <= now.0;
        let mine = due
            && self
                .opens_at
                .compare_exchange(at, u64::MAX, Ordering::AcqRel, Ordering::Acquire)
                .is_ok();
        if mine {
            self.release();
        }
    }

    /// Whether a newcomer may take a slot without jumping the queue.
    pub fn admits_newcomer(&self, priority: i32, now: Micros) -> bool {
        if self.waiting() == 0 {
            return true;
        }
        self.look_at_clock(now);
        !self.is_behind(Place::new(priority, u64::MAX))
    }

    /// The shard whose waiter should try next, if any.
    pub fn next_shard(&self) -> Option<usize> {
        let releases = self.releases.load(Ordering::Acquire);
        let fronts = self.shards.iter().enumerate();
        let places = fronts.map(|(shard, front)| (front.foremost(releases), shard));
        places
            .filter(|(place, _)| *place != NOBODY)
            .min()
            .map(|(_, shard)| shard)
    }

    fn is_behind(&self, place: Place) -> bool {
        let releases = self.releases.load(Ordering::Acquire);
        let mut fronts = self.shards.iter();
        fronts.any(|front| front.foremost(releases) < place.0)
    }

    fn publish(&self, shard: usize, waiters: &[Waiter]) {
        let Some(front) = self.shards.get(shard) else {
            return;
        };
        let releases = self.releases.load(Ordering::Acquire);
        let places = |all: bool| {
            let those = waiters
                .iter()
                .filter(move |waiter| all || waiter.tried < releases);
            those.map(|waiter| waiter.place.0).min().unwrap_or(NOBODY)
        };
        front.first.store(places(true), Ordering::Release);
        front.untried.store(places(false), Ordering::Release);
        front.as_of.store(releases, Ordering::Release);
    }
}

#[derive(Debug)]
struct Waiter {
    id: WaitId,
    place: Place,
    /// The last release after which it tried, and was told to.
    tried: u64,
    told: u64,
}

/// One shard's waiters, by group.
#[derive(Debug, Default)]
pub(super) struct LocalQueue {
    next_id: u64,
    groups: Vec<(Arc<GroupLive>, Vec<Waiter>)>,
}

impl LocalQueue {
    fn waiters(&mut self, group: &Arc<GroupLive>) -> &mut Vec<Waiter> {
        let known = self
            .groups
            .iter()
            .position(|(live, _)| Arc::ptr_eq(live, group));
        let index = known.unwrap_or_else(|| {
            self.groups.push((Arc::clone(group), Vec::new()));
            self.groups.len() - 1
        });
        &mut self.groups[index].1
    }
}

impl Live {
    /// Puts a request at the end of its priority's line; `None` when `queue_max` wait already.
    pub(super) fn enqueue(
        &self,
        group: &Arc<GroupLive>,
        priority: i32,
        queue_max: u32,
    ) -> Option<WaitId> {
        let queue = &group.queue;
        let join = |n: u32| (n < queue_max).then_some(n + 1);
        queue
            .waiting
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, join)
            .ok()?;
        let ticket = queue.tickets.fetch_add(1, Ordering::AcqRel);
        let mut local = self.waiting.borrow_mut();
        local.next_id += 1;
        let id = WaitId(local.next_id);
        let place = Place::new(priority, ticket);
        let waiters = local.waiters(group);
        waiters.push(Waiter {
            id,
            place,
            tried: 0,
            told: 0,
        });
        queue.publish(self.shard(), waiters);
        Some(id)
    }

    /// Whether it is this waiter's turn. If so it has its try now.
    pub(super) fn take_turn(&self, group: &Arc<GroupLive>, id: WaitId) -> bool {
        let queue = &group.queue;
        let mut local = self.waiting.borrow_mut();
        let waiters = local.waiters(group);
        let Some(waiter) = waiters.iter_mut().find(|waiter| waiter.id == id) else {
            return true;
        };
        let releases = queue.releases.load(Ordering::Acquire);
        if waiter.tried >= releases {
            return false;
        }
        if queue.is_behind(waiter.place) {
            // Somebody came before it; it is named again when that one has tried.
            waiter.told = waiter.tried;
            return false;
        }
        waiter.tried = releases;
        waiter.told = releases;
        true
    }

    /// Whether somebody goes before this waiter who may try again, since its turn came.
    pub(super) fn is_behind(&self, group: &Arc<GroupLive>, id: WaitId) -> bool {
        let mut local = self.waiting.borrow_mut();
        let waiters = local.waiters(group);
        let own = waiters.iter().find(|waiter| waiter.id == id);
        own.is_some_and(|waiter| group.queue.is_behind(waiter.place))
    }

    /// Publishes the shard's foremost anew, after a try that found nothing.
    pub(super) fn end_turn(&self, group: &Arc<GroupLive>) {
        let mut local = self.waiting.borrow_mut();
        group.queue.publish(self.shard(), local.waiters(group));
    }

    /// Takes a request out of the line: it has a slot, or gave up.
    pub(super) fn leave(&self, group: &Arc<GroupLive>, id: WaitId) {
        let mut local = self.waiting.borrow_mut();
        let waiters = local.waiters(group);
        let before = waiters.len();
        waiters.retain(|waiter| waiter.id != id);
        if waiters.len() < before {
            group.queue.waiting.fetch_sub(1, Ordering::AcqRel);
        }
        group.queue.publish(self.shard(), waiters);
        if waiters.is_empty() {
            local.groups.retain(|(live, _)| !Arc::ptr_eq(live, group));
        }
    }

    /// The next request of this shard that should step again because a slot may be free for it.
    /// To be asked after each `finished`, after each step of a request that waited, and every
    /// `polling_interval` while anybody waits. Each is named once a release.
    pub fn woken(&self, now: Micros) -> Option<WaitId> {
        let mut local = self.waiting.borrow_mut();
        for (group, waiters) in &mut local.groups {
            group.queue.look_at_clock(now);
            let releases = group.queue.releases.load(Ordering::Acquire);
            let untried = waiters.iter_mut().filter(|w| w.tried < releases);
            let Some(foremost) = untried.min_by_key(|w| w.place) else {
                continue;
            };
            if foremost.told < releases && !group.queue.is_behind(foremost.place) {
                foremost.told = releases;
                return Some(foremost.id);
            }
        }
        None
    }

    /// Whether any request of this shard waits.
    pub fn anybody_waits(&self) -> bool {
        !self.waiting.borrow().groups.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Registry;
    use super::*;

    fn group(shards: usize) -> Arc<GroupLive> {
        Registry::new(shards).group("g")
    }

    #[test]
    fn lower_priority_numbers_go_first_then_first_come() {
        let group = group(1);
        let live = Live::new(0);
        let late = live.enqueue(&group, 5, 10).expect("room");
        let second = live.enqueue(&group, 0, 10).expect("room");
        let third = live.enqueue(&group, 0, 10).expect("room");
        for expected in [second, third, late] {
            assert_eq!(live.woken(Micros(0)), Some(expected));
            assert_eq!(live.woken(Micros(0)), None, "named once");
            assert!(live.take_turn(&group, expected));
            live.leave(&group, expected);
        }
        assert!(!live.anybody_waits());
        assert_eq!(group.queue.waiting(), 0);
    }

    #[test]
    fn first_come_first_served_over_shards() {
        let group = group(2);
        let (a, b) = (Live::new(0), Live::new(1));
        let first = a.enqueue(&group, 0, 10).expect("room");
        let second = b.enqueue(&group, 0, 10).expect("room");
        assert_eq!(group.queue.next_shard(), Some(0));
        assert!(!b.take_turn(&group, second), "not its turn yet");
        assert!(!group.queue.admits_newcomer(0, Micros(0)));
        assert!(
            group.queue.admits_newcomer(-1, Micros(0)),
            "a more urgent one may pass"
        );
        assert!(a.take_turn(&group, first));
        a.leave(&group, first);
        assert_eq!(group.queue.next_shard(), Some(1));
        assert_eq!(b.woken(Micros(0)), Some(second));
        assert!(b.take_turn(&group, second));
    }

    #[test]
    fn one_that_can_use_no_slot_does_not_hold_up_the_others() {
        let group = group(1);
        let live = Live::new(0);
        let picky = live.enqueue(&group, 0, 10).expect("room");
        assert!(live.take_turn(&group, picky));
        live.end_turn(&group);
        assert!(group.queue.admits_newcomer(0, Micros(0)));
        let other = live.enqueue(&group, 0, 10).expect("room");
        assert!(live.take_turn(&group, other));
        live.end_turn(&group);
        assert!(
            !live.take_turn(&group, picky),
            "nothing changed since it tried"
        );
        group.queue.release();
        assert_eq!(live.woken(Micros(0)), Some(picky));
        assert!(!live.take_turn(&group, other));
        assert!(live.take_turn(&group, picky));
    }

    #[test]
    fn after_a_release_all_go_in_order_again() {
        let group = group(2);
        let (a, b) = (Live::new(0), Live::new(1));
        let first = a.enqueue(&group, 0, 10).expect("room");
        let last = a.enqueue(&group, 2, 10).expect("room");
        let middle = b.enqueue(&group, 1, 10).expect("room");
        assert!(a.take_turn(&group, first));
        a.end_turn(&group);
        assert_eq!(b.woken(Micros(0)), Some(middle));
        // Before it has had its try, a slot comes free: the first one may try again.
        group.queue.release();
        assert!(!b.take_turn(&group, middle), "the first goes before it");
        assert_eq!(a.woken(Micros(0)), Some(first));
        assert!(a.take_turn(&group, first));
        a.end_turn(&group);
        assert!(!a.take_turn(&group, last));
        assert_eq!(b.woken(Micros(0)), Some(middle), "named again");
        assert!(b.take_turn(&group, middle));
        b.end_turn(&group);
        assert_eq!(a.woken(Micros(0)), Some(last));
        assert!(a.take_turn(&group, last));
        a.end_turn(&group);
        assert!(group.queue.admits_newcomer(9, Micros(0)), "all have tried");
    }

    #[test]
    fn a_full_queue_turns_away() {
        let group = group(1);
        let live = Live::new(0);
        assert!(live.enqueue(&group, 0, 1).is_some());
        assert!(live.enqueue(&group, 0, 1).is_none());
    }

    #[test]
    fn a_slot_that_opens_by_itself_counts_as_released() {
        let group = group(1);
        let live = Live::new(0);
        let id = live.enqueue(&group, 0, 9).expect("room");
        assert!(live.take_turn(&group, id));
        live.end_turn(&group);
        group.queue.opens(Micros(100));
        assert_eq!(live.woken(Micros(99)), None);
        assert_eq!(live.woken(Micros(100)), Some(id));
    }
}
