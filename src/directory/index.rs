//! Which keys exist, by the first half of their hash: so that keys that nobody has never reach the
//! database, however many of them are tried.
//!
//! Another program may write keys into the same database without telling us: a few unknown keys a
//! second are looked up all the same.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use crate::auth::calendar::SECOND_US;

/// Unknown keys that are looked up in the database in one second.
const LOOKUPS_A_SECOND: u32 = 20;

/// The known keys; empty and without say until it is filled.
#[derive(Default)]
pub(super) struct Index {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    filled: bool,
    tokens: HashSet<u64>,
    second: i64,
    lookups: u32,
}

/// The first 16 of the token's hexadecimal digits.
fn short(token: &str) -> Option<u64> {
    u64::from_str_radix(token.get(..16)?, 16).ok()
}

impl Index {
    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// These keys exist.
    pub(super) fn add<'a>(&self, tokens: impl Iterator<Item = &'a str>) {
        self.with(|inner| inner.tokens.extend(tokens.filter_map(short)));
    }

    /// All keys have been added: from now on what is not here is unknown.
    pub(super) fn filled(&self) {
        self.with(|inner| inner.filled = true);
    }

    /// The database should be asked for this key.
    pub(super) fn may_exist(&self, token: &str, now_us: i64) -> bool {
        self.with(|inner| {
            if !inner.filled || short(token).is_some_and(|short| inner.tokens.contains(&short)) {
                return true;
            }
            let second = now_us / SECOND_US;
            if inner.second != second {
                inner.second = second;
                inner.lookups = 0;
            }
            inner.lookups += 1;
            inner.lookups <= LOOKUPS_A_SECOND
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_are_few_and_known_ones_are_free() {
        let index = Index::default();
        let token = |n: u64| format!("{n:016x}{}", "0".repeat(48));
        let asked = |from: u64, now_us| {
            (from..from + 1000)
                .filter(|n| index.may_exist(&token(*n), now_us))
                .count()
        };
        assert_eq!(
            asked(0, 0),
            1000,
            "before it is filled everything may exist"
        );
        let known: Vec<String> = (0..500).map(token).collect();
        index.add(known.iter().map(String::as_str));
        index.filled();
        assert_eq!(asked(0, SECOND_US), 500 + LOOKUPS_A_SECOND as usize);
        assert_eq!(asked(1000, SECOND_US), 0);
        assert_eq!(asked(1000, 2 * SECOND_US), LOOKUPS_A_SECOND as usize);
    }
}
