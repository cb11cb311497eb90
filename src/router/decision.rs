//! The last choices of a shard, and why: for `GET /router/state`.

use super::{DeploymentIx, GroupIx};
use crate::limit::Micros;

const KEPT: usize = 100;

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

/// One choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// When.
    pub at: Micros,
    /// In which group.
    pub group: GroupIx,
    /// Which deployment.
    pub deployment: DeploymentIx,
    /// Why.
    pub why: Why,
    /// Deployments that the strategy could choose from.
    pub candidates: u16,
    /// Deployments left out because they cool down.
    pub cooling: u16,
    /// Deployments left out because they are full.
    pub full: u16,
}

/// A ring of the last hundred; the oldest makes room.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    ring: Vec<Decision>,
    next: usize,
}

impl Decisions {
    pub(super) fn note(&mut self, decision: Decision) {
        if self.ring.len() < KEPT {
            self.ring.push(decision);
        } else {
            self.ring[self.next] = decision;
        }
        self.next = (self.next + 1) % KEPT;
    }

    /// Newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Decision> {
        let (young, old) = self.ring.split_at(self.next.min(self.ring.len()));
        old.iter().chain(young).rev()
    }
}

impl super::Live {
    /// The last hundred choices of this shard, newest first.
    pub fn decisions(&self) -> Vec<Decision> {
        self.decisions.borrow().newest_first().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_last_hundred() {
        let mut decisions = Decisions::default();
        for at in 0..250 {
            decisions.note(Decision {
                at: Micros(at),
                group: GroupIx(0),
                deployment: DeploymentIx(0),
                why: Why::Only,
                candidates: 1,
                cooling: 0,
                full: 0,
            });
        }
        let at: Vec<u64> = decisions.newest_first().map(|d| d.at.0).collect();
        assert_eq!(at.len(), 100);
        assert_eq!((at[0], at[99]), (249, 150));
    }
}
