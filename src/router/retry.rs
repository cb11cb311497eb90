//! Whether a failed attempt is made again in the same group, and after which wait.

use super::failure::FailureClass;
use super::failures::Kind;
use super::rng::Rng;
use super::spec::{ClassPolicy, RouterSettings};
use crate::limit::{Micros, Padded};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Retries without an explicit `num_retries`, for failures without a default of their own.
const RETRIES_DEFAULT: u32 = 3;
/// LiteLLM's first wait; it doubles with every retry up to the longest.
const WAIT_FIRST: Duration = Duration::from_millis(500);
const WAIT_LONGEST: Duration = Duration::from_secs(8);
/// A Retry-After beyond this is not waited for.
const RETRY_AFTER_LONGEST: Duration = Duration::from_secs(60);
/// A wait is shortened by up to this share, so that clients do not come back together.
const JITTER: f64 = 0.25;

impl ClassPolicy {
    /// The number written for a kind of failure.
    #[must_use]
    pub fn of(&self, kind: Kind) -> Option<u32> {
        match kind {
            Kind::Authentication => self.authentication,
            Kind::Timeout => self.timeout,
            Kind::RateLimit => self.rate_limit,
            Kind::ContentPolicy => self.content_policy,
            Kind::InternalServer => self.internal_server,
            Kind::BadRequest => self.bad_request,
            Kind::Rest => None,
        }
    }
}

/// How many retries a failure may have in one group: the request's own number, else the group's
/// policy, else the router's, else the deployment's own, else `num_retries`, else the defaults. A request that is wrong
/// wherever it goes is retried only where a policy says so.
#[must_use]
pub(super) fn retries_max(
    settings: &RouterSettings,
    group_policy: Option<&ClassPolicy>,
    class: FailureClass,
    asked: Option<u32>,
    own: Option<u32>,
) -> u32 {
    let kind = Kind::of(class);
    let written = group_policy
        .and_then(|policy| policy.of(kind))
        .or(settings.retry_policy.of(kind));
    let hopeless = kind == Kind::BadRequest || class == FailureClass::PermissionDenied;
    if hopeless && written.is_none() {
        return 0;
    }
    let default = match kind {
        Kind::ContentPolicy | Kind::InternalServer => 4,
        Kind::BadRequest => 0,
        Kind::Authentication | Kind::Timeout | Kind::RateLimit | Kind::Rest => RETRIES_DEFAULT,
    };
    asked
        .or(written)
        .or(own)
        .or(settings.num_retries)
        .unwrap_or(default)
}

/// The wait before a retry, `retries` having been made: none where another deployment can take
/// over, else what the upstream asked for, else LiteLLM's backoff, never under `retry_after`.
pub(super) fn wait_before(
    settings: &RouterSettings,
    retries: u32,
    asked: Option<Duration>,
    another_is_healthy: bool,
    rng: &mut Rng,
) -> Duration {
    if another_is_healthy {
        return Duration::ZERO;
    }
    let asked = asked.filter(|wait| !wait.is_zero() && *wait <= RETRY_AFTER_LONGEST);
    if let Some(wait) = asked {
        return wait;
    }
    let doubled = WAIT_FIRST.saturating_mul(1u32.checked_shl(retries).unwrap_or(u32::MAX));
    let jittered = doubled.min(WAIT_LONGEST).mul_f64(1.0 - JITTER * rng.unit());
    jittered.max(settings.retry_after)
}

const BUDGET_SECONDS: usize = 10;
const SECOND_US: u64 = 1_000_000;

/// How much load retries may add to a group: a share of its requests of the last ten seconds,
/// but always some a second, so that quiet traffic keeps its retries and an outage does not
/// double itself. Each shard counts for itself; a decision reads all of them.
#[derive(Debug)]
pub struct RetryBudget {
    shards: Box<[Padded<Counts>]>,
}

#[derive(Debug, Default)]
struct Counts {
    requests: [AtomicU64; BUDGET_SECONDS],
    retries: [AtomicU64; BUDGET_SECONDS],
}

fn count(ring: &[AtomicU64; BUDGET_SECONDS], second: u64) {
    let word = &ring[second as usize % BUDGET_SECONDS];
    let old = word.load(Ordering::Relaxed);
    let new = if old >> 32 == second {
        old + 1
    } else {
        (second << 32) | 1
    };
    word.store(new, Ordering::Relaxed);
}

fn counted(ring: &[AtomicU64; BUDGET_SECONDS], second: u64, seconds: u64) -> u64 {
    let words = ring.iter().map(|word| word.load(Ordering::Relaxed));
    let young = words.filter(|word| second.saturating_sub(word >> 32) < seconds);
    young.map(|word| word & 0xFFFF_FFFF).sum()
}

impl RetryBudget {
    /// An empty budget, spent from by that many shards.
    #[must_use]
    pub fn new(shards: usize) -> RetryBudget {
        RetryBudget {
            shards: (0..shards.max(1)).map(|_| Padded::default()).collect(),
        }
    }

    /// Counts a request's first attempt in the group.
    pub fn note_request(&self, shard: usize, now: Micros) {
        if let Some(counts) = self.shards.get(shard) {
            count(&counts.requests, now.0 / SECOND_US + 1);
        }
    }

    /// Takes one retry from the budget, if there is one.
    pub fn take(&self, shard: usize, settings: &RouterSettings, now: Micros) -> bool {
        let second = now.0 / SECOND_US + 1;
        let sum = |ring: fn(&Counts) -> &[AtomicU64; BUDGET_SECONDS], seconds| -> u64 {
            self.shards
                .iter()
                .map(|counts| counted(ring(counts), second, seconds))
                .sum()
        };
        let this_second = sum(|counts| &counts.retries, 1);
        let span = BUDGET_SECONDS as u64;
        let made = sum(|counts| &counts.retries, span) + 1;
        let share = sum(|counts| &counts.requests, span) as f64 * settings.retry_budget_ratio;
        let granted = this_second < u64::from(settings.retry_budget_floor) || made as f64 <= share;
        if granted && let Some(counts) = self.shards.get(shard) {
            count(&counts.retries, second);
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> RouterSettings {
        RouterSettings::default()
    }

    #[test]
    fn retry_policy_order() {
        use FailureClass::*;
        let mut s = settings();
        assert_eq!(retries_max(&s, None, Timeout, None, None), 3);
        assert_eq!(retries_max(&s, None, InternalServer, None, None), 4);
        assert_eq!(retries_max(&s, None, BadRequest, None, None), 0);
        assert_eq!(retries_max(&s, None, ApiConnection, None, None), 3);
        assert_eq!(retries_max(&s, None, Timeout, None, Some(6)), 6);
        assert_eq!(retries_max(&s, None, Timeout, Some(0), Some(6)), 0);
        s.num_retries = Some(1);
        assert_eq!(retries_max(&s, None, InternalServer, None, None), 1);
        assert_eq!(retries_max(&s, None, BadRequest, None, None), 0);
        assert_eq!(retries_max(&s, None, ContextWindow, Some(5), None), 0);
        s.retry_policy.timeout = Some(2);
        s.retry_policy.bad_request = Some(1);
        assert_eq!(retries_max(&s, None, Timeout, None, None), 2);
        assert_eq!(retries_max(&s, None, BadRequest, None, None), 1);
        let group = ClassPolicy {
            timeout: Some(7),
            ..Default::default()
        };
        assert_eq!(retries_max(&s, Some(&group), Timeout, None, None), 7);
        assert_eq!(retries_max(&s, Some(&group), RateLimit, None, None), 1);
        assert_eq!(retries_max(&s, Some(&group), Timeout, Some(0), None), 0);
        assert_eq!(retries_max(&s, Some(&group), BadRequest, Some(4), None), 4);
    }

    #[test]
    fn backoff_is_litellms() {
        let mut rng = Rng::new(1);
        let mut wait = |retries, asked, other| {
            wait_before(&settings(), retries, asked, other, &mut rng).as_secs_f64()
        };
        let between = |value: f64, top: f64| value > top * 0.75 - 1e-6 && value <= top;
        assert!(between(wait(0, None, false), 0.5));
        assert!(between(wait(2, None, false), 2.0));
        assert!(between(wait(10, None, false), 8.0));
        assert!(between(wait(99, None, false), 8.0));
        assert_eq!(wait(0, None, true), 0.0);
        assert_eq!(wait(0, Some(Duration::from_secs(7)), false), 7.0);
        assert_eq!(wait(0, Some(Duration::from_secs(7)), true), 0.0);
        assert!(between(wait(0, Some(Duration::from_secs(61)), false), 0.5));
    }

    #[test]
    fn retry_after_is_the_least_wait() {
        let settings = RouterSettings {
            retry_after: Duration::from_secs(2),
            ..settings()
        };
        let mut rng = Rng::new(1);
        let wait = wait_before(&settings, 0, None, false, &mut rng);
        assert_eq!(wait, Duration::from_secs(2));
        let asked = Some(Duration::from_secs(1));
        let wait = wait_before(&settings, 0, asked, false, &mut rng);
        assert_eq!(wait, Duration::from_secs(1));
    }

    #[test]
    fn quiet_traffic_keeps_its_retries_and_an_outage_is_bounded() {
        let budget = RetryBudget::new(2);
        let now = Micros(5_000_000);
        let quiet = (0..50).filter(|_| budget.take(0, &settings(), now)).count();
        assert_eq!(quiet, 10);
        let busy = RetryBudget::new(2);
        (0..1_000).for_each(|i| busy.note_request(i % 2, now));
        let granted = (0..1_000)
            .filter(|i| busy.take(i % 2, &settings(), now))
            .count();
        assert_eq!(granted, 200);
        assert!(
            busy.take(0, &settings(), Micros(6_000_000)),
            "the next second has its own ten"
        );
    }
}
