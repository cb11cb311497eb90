//! Which deployment served a prompt's beginning, a session or a caller before, so that the next
//! request goes there again. A table that forgets: two of them that fall on one place evict each
//! other.

use crate::limit::Micros;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const PLACES: usize = 16_384;
/// Providers keep a prompt for about five minutes.
pub(super) const PROMPT_LASTS: Duration = Duration::from_secs(300);
const MARK_BITS: u32 = 24;
const MARK_MASK: u64 = (1 << MARK_BITS) - 1;

/// The fingerprint of what was served, and when (in seconds) beside the deployment's mark.
type Place = (AtomicU64, AtomicU64);

/// What was served where, by fingerprints, shared by all shards. Made at the first use.
#[derive(Debug, Default)]
pub struct Affinity {
    places: OnceLock<Box<[Place]>>,
}

impl Affinity {
    /// Remembers that the deployment marked so served this.
    pub fn remember(&self, what: u64, mark: u32, now: Micros) {
        let places = self
            .places
            .get_or_init(|| (0..PLACES).map(|_| Default::default()).collect());
        let (fingerprint, served) = &places[what as usize % PLACES];
        served.store(
            ((now.0 / 1_000_000) << MARK_BITS) | (u64::from(mark) & MARK_MASK),
            Ordering::Relaxed,
        );
        fingerprint.store(what, Ordering::Relaxed);
    }

    /// The mark of the deployment that served this within the last while.
    pub fn recall(&self, what: u64, lasts: Duration, now: Micros) -> Option<u32> {
        let (fingerprint, served) = &self.places.get()?[what as usize % PLACES];
        let word = served.load(Ordering::Relaxed);
        let age = (now.0 / 1_000_000).saturating_sub(word >> MARK_BITS);
        let known = what != 0
            && fingerprint.load(Ordering::Relaxed) == what
            && age < lasts.as_secs().max(1);
        known.then_some((word & MARK_MASK) as u32)
    }
}

/// What ties a request to a deployment that served before, where the settings ask for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ties {
    /// The answer that the request goes on from (`previous_response_id`).
    pub answer: Option<u64>,
    /// The session that the client named.
    pub session: Option<u64>,
    /// The caller's key, else its end user.
    pub caller: Option<u64>,
}

/// Which ties are looked at: `optional_pre_call_checks`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TieChecks {
    /// `responses_api_deployment_check`
    pub answer: bool,
    /// `session_affinity`
    pub session: bool,
    /// `deployment_affinity`
    pub caller: bool,
}

impl TieChecks {
    /// Whether any of them is.
    #[must_use]
    pub fn any(self) -> bool {
        self.answer || self.session || self.caller
    }
}

/// Kinds of ties, so that a session and a caller of one name are two.
#[derive(Clone, Copy, Debug)]
pub enum Tie {
    /// An answer's id.
    Answer,
    /// A session's.
    Session,
    /// A caller's.
    Caller,
}

/// The fingerprint of what ties a request.
#[must_use]
pub fn tie(kind: Tie, name: &[u8]) -> u64 {
    let start = 0xCBF2_9CE4_8422_2325_u64 ^ (kind as u64 + 1);
    let hash = name.iter().fold(start, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    });
    (hash ^ (hash >> 31)).max(1)
}

/// A prompt shorter than this is cached by no provider: 1,024 tokens.
const CACHEABLE_BYTES_MIN: usize = 4096;
/// What is marked for caching is looked at up to here.
const LOOKED_AT_BYTES: usize = 65_536;

/// The fingerprint of what a provider would cache of a prompt (its JSON as it came): everything up
/// to the last `cache_control` mark, or the beginning where nothing is marked; `None` for a short
/// prompt.
#[must_use]
pub fn fingerprint(prompt: &[u8]) -> Option<u64> {
    if prompt.len() < CACHEABLE_BYTES_MIN {
        return None;
    }
    let text = std::str::from_utf8(prompt).ok()?;
    let marked = text.rfind("\"cache_control\"").unwrap_or(0);
    let cached = &prompt[..marked
        .clamp(CACHEABLE_BYTES_MIN, LOOKED_AT_BYTES)
        .min(prompt.len())];
    let mut hash = cached.len() as u64;
    for eight in cached.chunks(8) {
        let mut word = [0; 8];
        word[..eight.len()].copy_from_slice(eight);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        hash ^= hash >> 29;
    }
    Some(hash.max(1))
}

/// A deployment's mark: the same over reloads.
#[must_use]
pub fn mark(id: &str) -> u32 {
    let hash = id.bytes().fold(0x811C_9DC5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    (hash ^ (hash >> 24)) & MARK_MASK as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_beginning_has_the_same_fingerprint() {
        let prompt = |rule: &str, mark: &str, rest: &str| {
            format!("[{}{mark}, {rest}]", rule.repeat(1_500)).into_bytes()
        };
        let mark = "\"cache_control\"";
        let first = fingerprint(&prompt("rule ", mark, "one"));
        assert!(first.is_some());
        assert_eq!(first, fingerprint(&prompt("rule ", mark, "another")));
        assert_ne!(first, fingerprint(&prompt("rude ", mark, "one")));
        let unmarked = fingerprint(&prompt("rule ", "", "one"));
        assert_eq!(unmarked, fingerprint(&prompt("rule ", "", "another")));
        assert_eq!(fingerprint(b"[short]"), None);
    }

    #[test]
    fn remembers_for_a_while() {
        let affinity = Affinity::default();
        assert_eq!(affinity.recall(77, PROMPT_LASTS, Micros(0)), None);
        affinity.remember(77, mark("a"), Micros(1_000_000));
        let recall = |what, s: u64| affinity.recall(what, PROMPT_LASTS, Micros(s * 1_000_000));
        assert_eq!(recall(77, 2), Some(mark("a")));
        assert_eq!(recall(77 + PLACES as u64, 2), None);
        assert_eq!(recall(77, 302), None);
        assert_ne!(tie(Tie::Caller, b"x"), tie(Tie::Session, b"x"));
        assert_ne!(mark("a"), mark("b"));
    }
}
