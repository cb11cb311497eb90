//! How often a deployment failed in the last minute, by kind, over all shards.

use super::failure::FailureClass;
use crate::limit::Micros;
use std::sync::atomic::{AtomicU64, Ordering};

const SECONDS: usize = 60;
const SECOND_US: u64 = 1_000_000;

/// Kinds of failure that have a number of their own in `allowed_fails_policy`, and the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// AuthenticationError.
    Authentication,
    /// TimeoutError.
    Timeout,
    /// RateLimitError.
    RateLimit,
    /// ContentPolicyViolationError.
    ContentPolicy,
    /// InternalServerError.
    InternalServer,
    /// BadRequestError.
    BadRequest,
    /// Any other.
    Rest,
}

const KINDS: usize = 7;

impl Kind {
    /// The kind of a class. LiteLLM's subclasses count as their parents.
    #[must_use]
    pub fn of(class: FailureClass) -> Kind {
        match class {
            FailureClass::Authentication => Kind::Authentication,
            FailureClass::Timeout => Kind::Timeout,
            FailureClass::RateLimit => Kind::RateLimit,
            FailureClass::ContentPolicy => Kind::ContentPolicy,
            FailureClass::InternalServer => Kind::InternalServer,
            FailureClass::BadRequest | FailureClass::ContextWindow => Kind::BadRequest,
            FailureClass::PermissionDenied
            | FailureClass::ServiceUnavailable
            | FailureClass::NotFound
            | FailureClass::ApiConnection
            | FailureClass::Other(_) => Kind::Rest,
        }
    }
}

/// Failures of a rolling minute, counted by the second. Failures are rare, so all shards share
/// one log.
#[derive(Debug)]
pub struct FailureLog {
    /// For each kind, a ring of seconds: the second's number (high half) and its failures.
    seconds: Box<[[AtomicU64; SECONDS]; KINDS]>,
}

impl Default for FailureLog {
    fn default() -> Self {
        let ring = || std::array::from_fn(|_| AtomicU64::new(0));
        FailureLog {
            seconds: Box::new(std::array::from_fn(|_| ring())),
        }
    }
}

impl FailureLog {
    /// Counts a failure; answers how many of its kind the last minute has seen, this one included.
    pub fn add(&self, kind: Kind, now: Micros) -> u32 {
        let second = now.0 / SECOND_US + 1;
        let ring = &self.seconds[kind as usize];
        let _ = ring[second as usize % SECONDS].fetch_update(
            Ordering::AcqRel,
            Ordering::Relaxed,
            |old| {
                Some(if old >> 32 == second {
                    old + 1
                } else {
                    (second << 32) | 1
                })
            },
        );
        self.count(kind, now)
    }

    /// How many of a kind the last minute has seen.
    pub fn count(&self, kind: Kind, now: Micros) -> u32 {
        let second = now.0 / SECOND_US + 1;
        let ring = self.seconds[kind as usize]
            .iter()
            .map(|word| word.load(Ordering::Relaxed));
        let young = ring.filter(|word| second.saturating_sub(word >> 32) < SECONDS as u64);
        young.map(|word| (word & 0xFFFF_FFFF) as u32).sum()
    }

    /// Forgets all of them.
    pub fn clear(&self) {
        let words = self.seconds.iter().flatten();
        words.for_each(|word| word.store(0, Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_a_rolling_minute() {
        let log = FailureLog::default();
        let at = |s: u64| Micros(s * SECOND_US);
        assert_eq!(log.add(Kind::Timeout, at(0)), 1);
        assert_eq!(log.add(Kind::Timeout, at(30)), 2);
        assert_eq!(log.add(Kind::Rest, at(30)), 1);
        assert_eq!(log.count(Kind::Timeout, at(59)), 2);
        assert_eq!(log.count(Kind::Timeout, at(60)), 1);
        assert_eq!(log.add(Kind::Timeout, at(91)), 1);
        log.clear();
        assert_eq!(log.count(Kind::Timeout, at(91)), 0);
    }
}
