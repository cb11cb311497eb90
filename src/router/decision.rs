//! The last choices in each group, and why: for `GET /router/state`.
//!
//! Each shard writes a ring of its own; whoever is curious reads them all. A decision that is
//! read while it is written may come out mixed: this is for people, not for the router.

use crate::limit::Micros;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Decisions kept for each group and shard; the oldest makes room.
const KEPT: usize = 100;
const MARK_BITS: u32 = 24;
const COUNT_BITS: u32 = 12;

/// Why a deployment was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It was the only one left.
    Only,
    /// The strategy chose it.
    Strategy,
    /// It served this prompt before.
    Affinity,
    /// The custom strategy's host named it.
    Custom,
    /// The client asked for it by its id.
    Named,
    /// It hung, and one call tries whether it lives again.
    Probe,
}

const WHYS: [Why; 6] = [
    Why::Only,
    Why::Strategy,
    Why::Affinity,
    Why::Custom,
    Why::Named,
    Why::Probe,
];

impl Why {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Why::Only => "the only one left",
            Why::Strategy => "the strategy's choice",
            Why::Affinity => "it served this prompt before",
            Why::Custom => "the custom strategy's choice",
            Why::Named => "the client named it",
            Why::Probe => "it hung: this call tries whether it lives",
        }
    }
}

/// One choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// When.
    pub at: Micros,
    /// The chosen deployment's mark: see `Router::deployment_of_mark`.
    pub mark: u32,
    /// Why.
    pub why: Why,
    /// Deployments that could be chosen from.
    pub candidates: u16,
    /// Deployments left out because they cool down.
    pub cooling: u16,
    /// Deployments left out because they are full.
    pub full: u16,
}

/// One shard's last decisions in one group. That shard writes, all read.
#[derive(Debug)]
pub struct Decisions {
    next: AtomicU32,
    ring: Box<[(AtomicU64, AtomicU64)]>,
}

impl Default for Decisions {
    fn default() -> Self {
        Decisions {
            next: AtomicU32::new(0),
            ring: (0..KEPT).map(|_| Default::default()).collect(),
        }
    }
}

impl Decisions {
    pub(super) fn note(&self, decision: Decision) {
        let next = self.next.load(Ordering::Relaxed) as usize;
        let count = |count: u16| u64::from(count.min((1 << COUNT_BITS) - 1));
        let word = u64::from(decision.mark)
            | (decision.why as u64) << MARK_BITS
            | count(decision.candidates) << (MARK_BITS + 4)
            | count(decision.cooling) << (MARK_BITS + 4 + COUNT_BITS)
            | count(decision.full) << (MARK_BITS + 4 + 2 * COUNT_BITS);
        if let Some((at, what)) = self.ring.get(next) {
            what.store(word, Ordering::Relaxed);
            at.store(decision.at.0.max(1), Ordering::Relaxed);
        }
        self.next
            .store(((next + 1) % KEPT) as u32, Ordering::Relaxed);
    }

    /// All that are kept, in no order.
    pub fn all(&self) -> impl Iterator<Item = Decision> {
        self.ring.iter().filter_map(read)
    }

    /// The last one.
    pub fn last(&self) -> Option<Decision> {
        let next = self.next.load(Ordering::Relaxed) as usize;
        read(self.ring.get((next + KEPT - 1) % KEPT)?)
    }
}

fn read((at, what): &(AtomicU64, AtomicU64)) -> Option<Decision> {
    let (at, word) = (at.load(Ordering::Relaxed), what.load(Ordering::Relaxed));
    let count = |from: u32| ((word >> from) & ((1 << COUNT_BITS) - 1)) as u16;
    let why = (word >> MARK_BITS) & 15;
    (at > 0).then(|| Decision {
        at: Micros(at),
        mark: (word & ((1 << MARK_BITS) - 1)) as u32,
        why: WHYS.get(why as usize).copied().unwrap_or(Why::Strategy),
        candidates: count(MARK_BITS + 4),
        cooling: count(MARK_BITS + 4 + COUNT_BITS),
        full: count(MARK_BITS + 4 + 2 * COUNT_BITS),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_last_hundred() {
        let decisions = Decisions::default();
        let decision = |at| Decision {
            at: Micros(at),
            mark: 0xABCDEF,
            why: Why::Probe,
            candidates: 20,
            cooling: 3,
            full: 5_000,
        };
        (1..=250).for_each(|at| decisions.note(decision(at)));
        let mut all: Vec<Decision> = decisions.all().collect();
        all.sort_by_key(|decision| decision.at);
        assert_eq!(all.len(), 100);
        assert_eq!(decisions.last().map(|last| last.at), Some(Micros(250)));
        assert_eq!(
            all[0],
            Decision {
                full: 4_095,
                ..decision(151)
            }
        );
        assert_eq!(all[99].at, Micros(250));
    }
}
