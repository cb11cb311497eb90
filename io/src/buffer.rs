//! Per-shard buffer pools.
//!
//! A [`Buf`] is a growable byte buffer that comes from a free list of its thread and goes back there
//! when it is dropped, so that a connection that waits holds none and one that works allocates none.
//! It knows nothing of sockets: the driver lends it to the kernel and gives it back.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// Capacity in bytes of a buffer for heads, small bodies and single events.
pub const SMALL_BYTES: usize = 4 * 1024;
/// Capacity in bytes of a buffer for bodies and batches of events.
pub const LARGE_BYTES: usize = 16 * 1024;

/// How many free small buffers a shard keeps; further ones are freed (256 KiB in all).
const SMALL_KEPT_MAX: usize = 64;
/// How many free large buffers a shard keeps; further ones are freed (512 KiB in all).
const LARGE_KEPT_MAX: usize = 32;

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { small: Vec::new(), large: Vec::new() }) };
}

struct Pool {
    small: Vec<Vec<u8>>,
    large: Vec<Vec<u8>>,
}

/// A byte buffer of this shard. Grows like a `Vec`; only buffers that kept one of the two pooled
/// capacities return to the pool.
#[derive(Default, Debug)]
pub struct Buf {
    bytes: Vec<u8>,
}

impl Buf {
    /// An empty buffer of [`SMALL_BYTES`].
    pub fn small() -> Buf {
        let kept = POOL.with_borrow_mut(|pool| pool.small.pop());
        Buf {
            bytes: kept.unwrap_or_else(|| Vec::with_capacity(SMALL_BYTES)),
        }
    }

    /// An empty buffer of [`LARGE_BYTES`].
    pub fn large() -> Buf {
        let kept = POOL.with_borrow_mut(|pool| pool.large.pop());
        Buf {
            bytes: kept.unwrap_or_else(|| Vec::with_capacity(LARGE_BYTES)),
        }
    }

    /// An empty buffer that holds at least `bytes` without growing.
    pub fn for_bytes(bytes: usize) -> Buf {
        match bytes {
            0..=SMALL_BYTES => Buf::small(),
            _ if bytes <= LARGE_BYTES => Buf::large(),
            _ => Buf {
                bytes: Vec::with_capacity(bytes),
            },
        }
    }

    /// A buffer that holds nothing and owns no memory.
    pub const fn none() -> Buf {
        Buf { bytes: Vec::new() }
    }

    /// Bytes that can be received before the buffer has to grow.
    pub fn room(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    /// Removes the first `count` bytes and moves the rest to the front.
    pub fn consume(&mut self, count: usize) {
        if count >= self.bytes.len() {
            self.bytes.clear();
        } else {
            self.bytes.drain(..count);
        }
    }
}

impl From<Vec<u8>> for Buf {
    fn from(bytes: Vec<u8>) -> Buf {
        Buf { bytes }
    }
}

impl Deref for Buf {
    type Target = Vec<u8>;
    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Buf {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl Drop for Buf {
    fn drop(&mut self) {
        let capacity = self.bytes.capacity();
        if capacity != SMALL_BYTES && capacity != LARGE_BYTES {
            return;
        }
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        // The pool is gone only while its thread ends; the buffer is then simply freed.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            let (list, kept_max) = match capacity {
                SMALL_BYTES => (&mut pool.small, SMALL_KEPT_MAX),
                _ => (&mut pool.large, LARGE_KEPT_MAX),
            };
            if list.len() < kept_max {
                list.push(bytes);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_comes_back_empty() {
        let mut first = Buf::small();
        first.extend_from_slice(b"abc");
        let address = first.as_ptr();
        drop(first);
        let second = Buf::small();
        assert_eq!(second.as_ptr(), address);
        assert!(second.is_empty());
    }

    #[test]
    fn a_grown_buffer_is_freed_and_the_pool_is_bounded() {
        let mut grown = Buf::small();
        grown.resize(100_000, 0);
        drop(grown);
        let many: Vec<Buf> = (0..SMALL_KEPT_MAX + 10).map(|_| Buf::small()).collect();
        drop(many);
        assert_eq!(POOL.with_borrow(|pool| pool.small.len()), SMALL_KEPT_MAX);
    }

    #[test]
    fn consume_keeps_the_rest() {
        let mut buf = Buf::small();
        buf.extend_from_slice(b"head|body");
        buf.consume(5);
        assert_eq!(&buf[..], b"body");
        buf.consume(50);
        assert!(buf.is_empty());
    }
}
