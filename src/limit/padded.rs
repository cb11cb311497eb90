//! A value alone on its cache lines, so that two shards which write neighbours do not slow each
//! other down.

use std::ops::Deref;

/// Keeps its value on cache lines of its own (two of them: processors fetch lines in pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Padded<T>(pub T);

impl<T> Deref for Padded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
