//! The process's allocator: a shard keeps the small blocks that it frees and gives the last one out first, so that the
//! memory of the next request is what the last one left in the cache. Every other thread, and every block above
//! [`KEPT_BYTES_MAX`], goes to the allocator behind. It must not know what is allocated.
//!
//! Sizes are rounded up to classes, on every thread alike: a block may be freed elsewhere than it was made.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::{Cell, UnsafeCell};
use std::ptr;

/// The largest block that is kept, in bytes: the largest future of a request fits.
pub const KEPT_BYTES_MAX: usize = 4096 + BEYOND;

/// What a shard keeps of one class at most, in bytes; more goes back. Some hundred requests that end in one turn of the
/// loop must find room: what does not goes the long way twice.
const CLASS_BYTES_MAX: usize = 256 * 1024;

/// Classes are 16 bytes apart up to here, then [`WIDE_STEP`]: a stream stays for long, and what it wastes with it.
const NARROW_BYTES_MAX: usize = 1024 + BEYOND;
const NARROW_STEP: usize = 16;
const WIDE_STEP: usize = 64;
/// A class is this much larger than a whole number of steps: the system's allocator puts eight bytes in front of a
/// block and both fit into whole steps.
const BEYOND: usize = 8;
const NARROW_CLASSES: usize = NARROW_BYTES_MAX / NARROW_STEP;
const CLASSES: usize = NARROW_CLASSES + (KEPT_BYTES_MAX - NARROW_BYTES_MAX) / WIDE_STEP;
const _: () = assert!((KEPT_BYTES_MAX - NARROW_BYTES_MAX).is_multiple_of(WIDE_STEP));

/// An allocator that has shelves for freed blocks in front of `A`.
pub struct Shelves<A>(pub A);

/// Freed blocks of one class; each holds the address of the next in its first bytes.
#[derive(Clone, Copy)]
struct Shelf {
    top: *mut u8,
    count: u32,
}

struct Thread {
    keeps: Cell<bool>,
    shelves: UnsafeCell<[Shelf; CLASSES]>,
}

thread_local! {
    static THREAD: Thread = const {
        Thread {
            keeps: Cell::new(false),
            shelves: UnsafeCell::new([Shelf { top: ptr::null_mut(), count: 0 }; CLASSES]),
        }
    };
}

/// From now on this thread keeps what it frees, for as long as it lives: at most 256 KiB of each of 112 sizes. What it
/// keeps at its end is lost, so this is for threads that end with the process.
pub fn keep_on_this_thread() {
    THREAD.with(|thread| thread.keeps.set(true));
}

/// The class of a block of `size` bytes, 1 to [`KEPT_BYTES_MAX`].
#[inline]
const fn class_of(size: usize) -> usize {
    if size <= NARROW_BYTES_MAX {
        size.saturating_sub(BEYOND + 1) / NARROW_STEP
    } else {
        NARROW_CLASSES + (size - NARROW_BYTES_MAX - 1) / WIDE_STEP
    }
}

/// How large the blocks of a class are, in bytes.
#[inline]
const fn class_bytes(class: usize) -> usize {
    if class < NARROW_CLASSES {
        (class + 1) * NARROW_STEP + BEYOND
    } else {
        NARROW_BYTES_MAX + (class + 1 - NARROW_CLASSES) * WIDE_STEP
    }
}

/// The layout of a class' blocks. Any layout that is small enough and asks for no more than sixteen bytes of alignment
/// fits into it.
#[inline]
#[expect(unsafe_code, reason = "the numbers are right by construction")]
const fn class_layout(class: usize) -> Layout {
    // SAFETY: 16 is a power of two, and a class is far below `isize::MAX` bytes.
    unsafe { Layout::from_size_align_unchecked(class_bytes(class), NARROW_STEP) }
}

#[inline]
fn is_kept(layout: Layout) -> bool {
    layout.size() <= KEPT_BYTES_MAX && layout.align() <= NARROW_STEP
}

impl Thread {
    /// A block of `class` that was freed before.
    #[inline]
    #[expect(unsafe_code, reason = "a list that runs through the free blocks")]
    fn take(&self, class: usize) -> *mut u8 {
        // SAFETY: the list belongs to this thread and nothing that runs in between borrows it. Its blocks are free, are
        // at least 24 bytes long, and their first bytes were written by `put`.
        unsafe {
            let shelf = &mut (&mut *self.shelves.get())[class];
            let block = shelf.top;
            if !block.is_null() {
                shelf.top = block.cast::<*mut u8>().read();
                shelf.count -= 1;
            }
            block
        }
    }

    /// Keeps a block; false when there are enough of its class.
    #[inline]
    #[expect(unsafe_code, reason = "a list that runs through the free blocks")]
    fn put(&self, class: usize, block: *mut u8) -> bool {
        if !self.keeps.get() {
            return false;
        }
        // SAFETY: as in `take`; the block is the caller's to give, is 16-byte aligned and has room for an address.
        unsafe {
            let shelf = &mut (&mut *self.shelves.get())[class];
            if shelf.count as usize >= CLASS_BYTES_MAX / class_bytes(class) {
                return false;
            }
            block.cast::<*mut u8>().write(shelf.top);
            shelf.top = block;
            shelf.count += 1;
            true
        }
    }
}

#[expect(unsafe_code, reason = "an allocator")]
// SAFETY: a block comes from `A` with the layout of its class, which is at least what was asked for, and goes back to it
// with the same layout; in between it lies on one shelf of one thread, where nobody else has it.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Shelves<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !is_kept(layout) {
            // SAFETY: the caller's promise.
            return unsafe { self.0.alloc(layout) };
        }
        let class = class_of(layout.size());
        let block = THREAD.with(|thread| thread.take(class));
        if block.is_null() {
            // SAFETY: no class is empty.
            return unsafe { self.0.alloc(class_layout(class)) };
        }
        block
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !is_kept(layout) {
            // SAFETY: the caller's promise, and `alloc` handed the same layout on.
            return unsafe { self.0.dealloc(block, layout) };
        }
        let class = class_of(layout.size());
        if !THREAD.with(|thread| thread.put(class, block)) {
            // SAFETY: `alloc` made it with this layout.
            unsafe { self.0.dealloc(block, class_layout(class)) }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !is_kept(layout) {
            // SAFETY: the caller's promise.
            return unsafe { self.0.alloc_zeroed(layout) };
        }
        // SAFETY: the caller's promise; the block is as long as the layout says or longer.
        unsafe {
            let block = self.alloc(layout);
            if !block.is_null() {
                block.write_bytes(0, layout.size());
            }
            block
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the size fits this alignment.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (is_kept(layout), is_kept(wanted)) {
            // SAFETY: the caller's promise, and `alloc` handed the same layout on.
            (false, false) => unsafe { self.0.realloc(block, layout, size) },
            (true, true) if class_of(layout.size()) == class_of(size) => block,
            // SAFETY: both blocks are as long as is copied, and they are two.
            _ => unsafe {
                let moved = self.alloc(wanted);
                if !moved.is_null() {
                    ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
                    self.dealloc(block, layout);
                }
                moved
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::alloc::System;

    #[test]
    fn a_class_holds_its_sizes_and_wastes_little() {
        for size in 1..=KEPT_BYTES_MAX {
            let bytes = class_bytes(class_of(size));
            assert!(bytes >= size, "{size} in {bytes}");
            let step = if size <= BEYOND {
                NARROW_STEP + BEYOND
            } else if size <= NARROW_BYTES_MAX {
                NARROW_STEP
            } else {
                WIDE_STEP
            };
            assert!(bytes - size < step, "{size} in {bytes}");
        }
        assert_eq!(class_of(KEPT_BYTES_MAX), CLASSES - 1);
    }

    #[test]
    #[expect(unsafe_code, reason = "calls an allocator")]
    fn the_last_block_freed_is_the_first_given_out_and_growth_keeps_the_bytes() {
        let shelves = Shelves(System);
        let layout = Layout::from_size_align(100, 8).unwrap();
        std::thread::spawn(move || {
            // SAFETY: each block is freed once, with the layout it has.
            unsafe {
                let other = shelves.alloc(layout);
                keep_on_this_thread();
                let first = shelves.alloc(layout);
                shelves.dealloc(other, layout);
                shelves.dealloc(first, layout);
                assert_eq!(shelves.alloc(layout), first);
                assert_eq!(shelves.alloc(layout), other);
                shelves.dealloc(other, layout);
                first.write_bytes(7, 100);
                assert_eq!(shelves.realloc(first, layout, 104), first);
                let layout = Layout::from_size_align(104, 8).unwrap();
                let grown = shelves.realloc(first, layout, 10_000);
                assert!((0..100).all(|at| grown.add(at).read() == 7));
                let layout = Layout::from_size_align(10_000, 8).unwrap();
                let shrunk = shelves.realloc(grown, layout, 50);
                assert!((0..50).all(|at| shrunk.add(at).read() == 7));
                let layout = Layout::from_size_align(50, 8).unwrap();
                shelves.dealloc(shrunk, layout);
                let zeroed = shelves.alloc_zeroed(layout);
                assert!((0..50).all(|at| zeroed.add(at).read() == 0));
                shelves.dealloc(zeroed, layout);
            }
        })
        .join()
        .unwrap();
    }

    #[test]
    #[expect(unsafe_code, reason = "calls an allocator")]
    fn what_is_kept_is_bounded() {
        let shelves = Shelves(System);
        let layout = Layout::from_size_align(4096, 16).unwrap();
        std::thread::spawn(move || {
            keep_on_this_thread();
            // SAFETY: each block is freed once, with the layout it has.
            let blocks: Vec<_> = (0..100).map(|_| unsafe { shelves.alloc(layout) }).collect();
            // SAFETY: as above.
            blocks
                .iter()
                .for_each(|&block| unsafe { shelves.dealloc(block, layout) });
            let class = class_of(4096);
            // SAFETY: nobody borrows the shelves.
            let kept = THREAD.with(|thread| unsafe { (&*thread.shelves.get())[class].count });
            assert_eq!(kept, 63);
        })
        .join()
        .unwrap();
    }
}
