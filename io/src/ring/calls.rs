//! Work that is under way, in a mapped file beside the ring: a place for each, with what should be
//! known of it if the process dies. No system call; begun, it is a copy and a store.
//!
//! A place is given free in two steps, so that a death in between neither loses nor doubles: it says
//! first that it ends with the ring's next record, then the record is pushed, then it is free. After
//! a death of the machine pages may be of any age: then nothing here is believed.
//!
//! Knows bytes only, not what they say.
//!
//! ```text
//! 0     magic, places, machine
//! 4096  places of PLACE_BYTES each: state u64 | length u64 | payload
//! state: 0 free, 1 begun, n + 2: over when the ring's tail is beyond n
//! ```

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{RingWriter, claim, lock};

const MAGIC: u64 = 0x3153_4c4c_4143_4453; // "SDCALLS1", little endian
const HEADER_BYTES: usize = 4096;
const PLACE_BYTES: usize = 1024;
const PLACE_HEAD: usize = 16;
/// Bytes of the largest payload.
pub const BEGUN_BYTES_MAX: usize = PLACE_BYTES - PLACE_HEAD;

const FREE: u64 = 0;
const BEGUN: u64 = 1;

/// A place that is taken.
#[derive(Debug)]
pub struct Place(u32);

/// The places; belong to one shard.
#[derive(Debug)]
pub struct OpenCalls {
    start: NonNull<u8>,
    bytes: usize,
    /// The one that was given back last is taken next: it is in the cache.
    free: Vec<u32>,
    _file: File,
}

// SAFETY: the mapping is plain memory that lives as long as the value, and only its owner touches it.
unsafe impl Send for OpenCalls {}

/// What a process that died has left under way, with what it wrote of each.
pub type Left = Vec<(Place, Vec<u8>)>;

/// Opens the file at `path`, or makes one of `places`; `machine` names this run of the machine.
/// Answers what a process that died on this machine has left under way: each is to be told to
/// `ring`, with [`OpenCalls::end`].
///
/// # Errors
/// `WouldBlock` when another process has it open, and what the file system says.
pub fn open(
    path: &Path,
    places: u32,
    machine: u64,
    ring: &RingWriter,
) -> io::Result<(OpenCalls, Left)> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    lock(&file)?;
    let bytes = HEADER_BYTES + places as usize * PLACE_BYTES;
    if file.metadata()?.len() != bytes as u64 {
        file.set_len(0)?;
        claim(&file, bytes as u64)?;
    }
    let mut calls = OpenCalls::of_file(file, bytes)?;
    let header = [MAGIC, u64::from(places), machine];
    if [0, 8, 16].map(|at| calls.word(at).load(Ordering::Acquire)) != header {
        calls.whole().fill(0);
        for (at, word) in [0, 8, 16].into_iter().zip(header) {
            calls.word(at).store(word, Ordering::Release);
        }
    }
    let mut left = Vec::new();
    for number in (0..places).rev() {
        let state = calls.state(number).load(Ordering::Acquire);
        let is_over = state > BEGUN && ring.tail > state - 2;
        if state == FREE || is_over {
            calls.state(number).store(FREE, Ordering::Release);
            calls.free.push(number);
        } else {
            let payload = calls.payload(number);
            let len = u64::from_le_bytes(super::array(&payload[..8])) as usize;
            let payload = payload[8..].get(..len).unwrap_or_default().to_vec();
            left.push((Place(number), payload));
        }
    }
    Ok((calls, left))
}

impl OpenCalls {
    /// Work begins: `fill` writes what should be known of it and says how many bytes that is. `None`
    /// when so much is under way that no place is free.
    pub fn begin(&mut self, fill: impl FnOnce(&mut [u8]) -> usize) -> Option<Place> {
        let number = self.free.pop()?;
        let payload = self.payload(number);
        let len = fill(&mut payload[8..]) as u64;
        payload[..8].copy_from_slice(&len.to_le_bytes());
        self.state(number).store(BEGUN, Ordering::Release);
        Some(Place(number))
    }

    /// The work is over when the record that `ring` pushes next is published.
    pub fn end(&mut self, place: &Place, ring: &RingWriter) {
        self.state(place.0).store(ring.tail + 2, Ordering::Release);
    }

    /// The place is free.
    pub fn free(&mut self, place: Place) {
        self.state(place.0).store(FREE, Ordering::Release);
        self.free.push(place.0);
    }

    fn of_file(file: File, bytes: usize) -> io::Result<OpenCalls> {
        let start = super::mapped(&file, bytes)?;
        Ok(OpenCalls {
            start,
            bytes,
            free: Vec::new(),
            _file: file,
        })
    }

    fn whole(&mut self) -> &mut [u8] {
        // SAFETY: the whole mapping, of which the value is the only owner.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }

    fn payload(&mut self, number: u32) -> &mut [u8] {
        let at = HEADER_BYTES + number as usize * PLACE_BYTES + 8;
        &mut self.whole()[at..at + PLACE_BYTES - 8]
    }

    fn state(&self, number: u32) -> &AtomicU64 {
        self.word(HEADER_BYTES + number as usize * PLACE_BYTES)
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        debug_assert!(at.is_multiple_of(8) && at + 8 <= self.bytes);
        // SAFETY: inside the mapping and aligned (it starts at a page). What kills a process comes
        // between instructions; the order of the stores is what counts.
        unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(at).cast()) }
    }
}

impl Drop for OpenCalls {
    fn drop(&mut self) {
        // SAFETY: the mapping that was made for this value, which nobody else knows.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::{CAPACITY_BYTES_MIN, open as open_ring};

    /// A death at any step: what was begun and has no record is left, once.
    #[test]
    fn a_death_at_any_step_leaves_what_has_no_record() {
        for step in 0..5 {
            let folder = std::env::temp_dir().join(format!("calls-{}-{step}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            let (ring_path, path) = (folder.join("ring"), folder.join("calls"));
            let (mut ring, reader, _) = open_ring(&ring_path, CAPACITY_BYTES_MIN, 1).unwrap();
            let (mut calls, left) = open(&path, 8, 7, &ring).unwrap();
            assert!(left.is_empty());
            let mut begin = |text: &[u8]| {
                let fill = |out: &mut [u8]| {
                    out[..text.len()].copy_from_slice(text);
                    text.len()
                };
                calls.begin(fill).unwrap()
            };
            let (first, _second) = (begin(b"first"), begin(b"second"));
            if step > 0 {
                calls.end(&first, &ring);
            }
            if step > 1 {
                let slot = ring.reserve().unwrap();
                ring.push(slot, b"record");
            }
            if step > 2 {
                calls.free(first);
            }
            drop((calls, ring, reader));
            let machine = if step == 4 { 8 } else { 7 };
            let (ring, _reader, _) = open_ring(&ring_path, CAPACITY_BYTES_MIN, 1).unwrap();
            let (calls, left) = open(&path, 8, machine, &ring).unwrap();
            let texts: Vec<&[u8]> = left.iter().map(|(_, text)| &text[..]).collect();
            let wanted: &[&[u8]] = match step {
                0 | 1 => &[b"second", b"first"],
                4 => &[],
                _ => &[b"second"],
            };
            assert_eq!(texts, wanted, "step {step}");
            assert_eq!(calls.free.len() + left.len(), 8);
            std::fs::remove_dir_all(&folder).unwrap();
        }
    }

    #[test]
    fn places_are_bounded() {
        let folder = std::env::temp_dir().join(format!("places-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (ring, ..) = open_ring(&folder.join("ring"), CAPACITY_BYTES_MIN, 1).unwrap();
        let (mut calls, _) = open(&folder.join("calls"), 2, 7, &ring).unwrap();
        let places = [calls.begin(|_| 0), calls.begin(|_| 0)];
        assert!(calls.begin(|_| 0).is_none());
        places.into_iter().flatten().for_each(|p| calls.free(p));
        assert!(calls.begin(|_| 0).is_some());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
