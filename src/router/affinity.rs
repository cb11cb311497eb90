//! Which deployment served a prompt's beginning before, so that a provider's prompt cache is met
//! again. A small table that forgets: two prompts that fall on one place evict each other.

use crate::limit::Micros;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const PLACES: usize = 1024;
/// Providers keep a prompt for about five minutes.
const REMEMBERED: Duration = Duration::from_secs(300);
const MARK_BITS: u32 = 24;
const MARK_MASK: u64 = (1 << MARK_BITS) - 1;

/// Prompts by their fingerprint, shared by all shards.
#[derive(Debug)]
pub struct Affinity {
    /// The fingerprint, and when (in seconds) beside the deployment's mark.
    places: Box<[(AtomicU64, AtomicU64)]>,
}

impl Default for Affinity {
    fn default() -> Self {
        Affinity {
            places: (0..PLACES).map(|_| Default::default()).collect(),
        }
    }
}

impl Affinity {
    /// Remembers that the deployment marked so served the prompt.
    pub fn remember(&self, prompt: u64, mark: u32, now: Micros) {
        let (fingerprint, served) = &self.places[prompt as usize % PLACES];
        served.store(
            ((now.0 / 1_000_000) << MARK_BITS) | (u64::from(mark) & MARK_MASK),
            Ordering::Relaxed,
        );
        fingerprint.store(prompt, Ordering::Relaxed);
    }

    /// The mark of the deployment that served the prompt lately.
    pub fn recall(&self, prompt: u64, now: Micros) -> Option<u32> {
        let (fingerprint, served) = &self.places[prompt as usize % PLACES];
        let word = served.load(Ordering::Relaxed);
        let age = (now.0 / 1_000_000).saturating_sub(word >> MARK_BITS);
        let known = prompt != 0
            && fingerprint.load(Ordering::Relaxed) == prompt
            && age < REMEMBERED.as_secs();
        known.then_some((word & MARK_MASK) as u32)
    }
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
        affinity.remember(77, mark("a"), Micros(1_000_000));
        assert_eq!(affinity.recall(77, Micros(2_000_000)), Some(mark("a")));
        assert_eq!(affinity.recall(77 + PLACES as u64, Micros(2_000_000)), None);
        assert_eq!(affinity.recall(77, Micros(302_000_000)), None);
        assert_ne!(mark("a"), mark("b"));
    }
}
