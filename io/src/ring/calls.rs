//! Work that is under way, in a mapped file beside the ring: a place for each, with what should be
//! known of it if the process dies. No system call; begun, it is a copy and a store.
//!
//! There are as many places as the ring has room for records: what has room there has a place here.
//! Only pages that were used once take memory, and the place that was given back last is used next.
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

/// A place that is taken. Nothing stands in it before [`OpenCalls::begin`].
#[derive(Debug)]
pub struct Place(u32);

/// The places; belong to one shard.
#[derive(Debug)]
pub struct OpenCalls {
    start: NonNull<u8>,
    bytes: usize,
    places: u32,
    /// The one that was given back last is taken next: it is in the cache.
    free: Vec<u32>,
    file: File,
}

// SAFETY: the mapping is plain memory that lives as long as the value, and only its owner touches it.
unsafe impl Send for OpenCalls {}

/// What a process that died has left under way, with what it wrote of each.
pub type Left = Vec<(Place, Vec<u8>)>;

/// Opens the file at `path`, or makes one, with a place for each record that `ring` has room for (a
/// file in which work was left keeps its size this time); `machine` names this run of the machine.
/// Answers what a process that died on this machine has left under way: each is to be told to
/// `ring`, with [`OpenCalls::end`].
///
/// # Errors
/// `WouldBlock` when another process has it open, and what the file system says.
pub fn open(path: &Path, machine: u64, ring: &RingWriter) -> io::Result<(OpenCalls, Left)> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    lock(&file)?;
    let wanted = ring.records_max();
    let places_of = |bytes: u64| bytes.saturating_sub(HEADER_BYTES as u64) / PLACE_BYTES as u64;
    let found = u32::try_from(places_of(file.metadata()?.len())).unwrap_or(0);
    let mut calls = OpenCalls::of_file(file, if found == 0 { wanted } else { found })?;
    if calls.is_of(machine) {
        let left = calls.look(ring);
        if found == wanted || !left.is_empty() {
            return Ok((calls, left));
        }
    }
    if found != wanted {
        let file = calls.file.try_clone()?;
        drop(calls);
        file.set_len(0)?;
        calls = OpenCalls::of_file(file, wanted)?;
    }
    calls.make(machine);
    Ok((calls, Vec::new()))
}

impl OpenCalls {
    /// Takes a place for work that will begin; `None` when so much is under way that none is free.
    pub fn take(&mut self) -> Option<Place> {
        self.free.pop().map(Place)
    }

    /// Work begins: `fill` writes what should be known of it and says how many bytes that is.
    pub fn begin(&mut self, place: &Place, fill: impl FnOnce(&mut [u8]) -> usize) {
        let payload = self.payload(place.0);
        let len = fill(&mut payload[8..]) as u64;
        payload[..8].copy_from_slice(&len.to_le_bytes());
        self.state(place.0).store(BEGUN, Ordering::Release);
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

    /// Gives a place back in which nothing was begun.
    pub fn untake(&mut self, place: Place) {
        self.free.push(place.0);
    }

    /// Maps the file, whose space is claimed for so many places.
    fn of_file(file: File, places: u32) -> io::Result<OpenCalls> {
        let bytes = HEADER_BYTES + places as usize * PLACE_BYTES;
        claim(&file, bytes as u64)?;
        let start = super::mapped(&file, bytes)?;
        Ok(OpenCalls {
            start,
            bytes,
            places,
            free: Vec::new(),
            file,
        })
    }

    /// Whether the file was made in this run of the machine.
    fn is_of(&self, machine: u64) -> bool {
        let header = [MAGIC, u64::from(self.places), machine];
        [0, 8, 16].map(|at| self.word(at).load(Ordering::Acquire)) == header
    }

    /// Empties the file: all places are free.
    fn make(&mut self, machine: u64) {
        self.whole().fill(0);
        let header = [MAGIC, u64::from(self.places), machine];
        for (at, word) in [0, 8, 16].into_iter().zip(header) {
            self.word(at).store(word, Ordering::Release);
        }
        self.free = (0..self.places).rev().collect();
    }

    /// What is under way, and which places are free.
    fn look(&mut self, ring: &RingWriter) -> Left {
        let mut left = Vec::new();
        for number in (0..self.places).rev() {
            let state = self.state(number).load(Ordering::Acquire);
            let is_over = state > BEGUN && ring.tail > state - 2;
            if state == FREE || is_over {
                if is_over {
                    self.state(number).store(FREE, Ordering::Release);
                }
                self.free.push(number);
                continue;
            }
            let payload = self.payload(number);
            let len = u64::from_le_bytes(super::array(&payload[..8])) as usize;
            let payload = payload[8..].get(..len).unwrap_or_default().to_vec();
            left.push((Place(number), payload));
        }
        left
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
    use crate::ring::{CAPACITY_BYTES_MIN, FRAME_BYTES_MAX, open as open_ring};

    fn folder(name: &str) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn begin(calls: &mut OpenCalls, text: &[u8]) -> Place {
        let place = calls.take().unwrap();
        calls.begin(&place, |out| {
            out[..text.len()].copy_from_slice(text);
            text.len()
        });
        place
    }

    /// A death at any step: what was begun and has no record is left, once.
    #[test]
    fn a_death_at_any_step_leaves_what_has_no_record() {
        for step in 0..5 {
            let folder = folder(&format!("calls-{step}"));
            let (ring_path, path) = (folder.join("ring"), folder.join("calls"));
            let (mut ring, reader, _) = open_ring(&ring_path, CAPACITY_BYTES_MIN, 1).unwrap();
            let (mut calls, left) = open(&path, 7, &ring).unwrap();
            assert!(left.is_empty());
            let (first, _second) = (begin(&mut calls, b"first"), begin(&mut calls, b"second"));
            let _taken_only = calls.take().unwrap();
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
            let (calls, left) = open(&path, machine, &ring).unwrap();
            let texts: Vec<&[u8]> = left.iter().map(|(_, text)| &text[..]).collect();
            let wanted: &[&[u8]] = match step {
                0 | 1 => &[b"second", b"first"],
                4 => &[],
                _ => &[b"second"],
            };
            assert_eq!(texts, wanted, "step {step}");
            assert_eq!(calls.free.len() + left.len(), ring.records_max() as usize);
            std::fs::remove_dir_all(&folder).unwrap();
        }
    }

    /// As many as the ring has room for, so that whoever has room there has a place here.
    #[test]
    fn each_slot_of_the_ring_has_a_place() {
        let folder = folder("places");
        for pages in [16, 17, 100] {
            let capacity = pages * FRAME_BYTES_MAX;
            let path = folder.join(format!("ring-{pages}"));
            let (mut ring, ..) = open_ring(&path, capacity, 1).unwrap();
            let (mut calls, _) = open(&path.with_extension("calls"), 7, &ring).unwrap();
            let mut places = Vec::new();
            while let Ok(slot) = ring.reserve() {
                places.push((slot, calls.take().unwrap()));
            }
            assert_eq!(places.len(), ring.records_max() as usize);
            assert!(calls.take().is_none());
            for (slot, place) in places {
                ring.cancel(slot);
                calls.untake(place);
            }
            assert!(calls.take().is_some());
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    /// A ring of another size: nothing that was left is lost, and the file follows when nothing is.
    #[test]
    fn another_size_loses_nothing() {
        let folder = folder("sizes");
        let path = folder.join("calls");
        let [small, large] = [16, 40].map(|pages| {
            let path = folder.join(format!("ring-{pages}"));
            open_ring(&path, pages * FRAME_BYTES_MAX, 1).unwrap()
        });
        let (mut calls, _) = open(&path, 7, &large.0).unwrap();
        let _under_way = begin(&mut calls, b"left");
        drop(calls);
        let (mut calls, mut left) = open(&path, 7, &small.0).unwrap();
        assert_eq!(left.len(), 1);
        calls.free(left.pop().unwrap().0);
        drop(calls);
        for ring in [&small.0, &large.0, &large.0] {
            let (calls, left) = open(&path, 7, ring).unwrap();
            assert!(left.is_empty());
            assert_eq!(calls.free.len(), ring.records_max() as usize);
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
