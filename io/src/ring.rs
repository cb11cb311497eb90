//! A ring of records in a mapped file: one writer, one reader, and it outlives the process.
//!
//! A shard pushes the record of each finished call; that is a copy into memory, no system call. The
//! pages belong to the file, so `kill -9` loses nothing that was published; only the machine's own
//! death can, and what the disk then holds is told from what it lacks by position and checksum. The
//! reader takes records out and gives their room back once they are safe elsewhere. When the ring
//! is full, [`RingWriter::reserve`] refuses, before the work is begun whose record would not fit.
//!
//! Knows bytes only, not what a record says.
//!
//! ```text
//! 0     magic, version, capacity, id
//! 64    tail: bytes ever published (writer)        at 64, so that the two sides share no line
//! 128   head: bytes ever released (reader)
//! 4096  data: frames, each at its position modulo the capacity, none across the end
//!
//! frame: length u32 | kind u32 | position u64 | checksum u64 | payload, filled up to 8
//! ```

#![expect(
    unsafe_code,
    reason = "a mapped file is memory that only pointers reach"
)]

pub mod calls;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of the largest payload.
pub const PAYLOAD_BYTES_MAX: usize = 4072;
/// Bytes of the smallest ring: room for a few frames.
pub const CAPACITY_BYTES_MIN: u64 = 16 * FRAME_BYTES_MAX;
/// Bytes of the largest ring.
pub const CAPACITY_BYTES_MAX: u64 = 1 << 32;

const MAGIC: u64 = 0x3147_4e49_5244_5253; // "SRDRING1", little endian
const VERSION: u64 = 1;
const HEADER_BYTES: usize = 4096;
const TAIL_AT: usize = 64;
const HEAD_AT: usize = 128;
const FRAME_HEAD: usize = 24;
const FRAME_BYTES_MAX: u64 = (FRAME_HEAD + PAYLOAD_BYTES_MAX) as u64;
const KIND_RECORD: u32 = 0x4345_5231;
const KIND_FILL: u32 = 0x4c49_4631;

/// The ring has no room: the reader is behind, or its disk is full. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// What was found when a ring was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Records that wait for the reader.
    pub records: u64,
    /// Bytes that were passed over because they held no whole record: 0 unless the machine died.
    pub torn_bytes: u64,
}

/// Room for one record, held from before the work until its record is pushed. Give it back with
/// [`RingWriter::push`] or [`RingWriter::cancel`].
#[derive(Debug)]
#[must_use = "the room stays taken until the slot is pushed or cancelled"]
pub struct Slot(());

/// The writing side; belongs to one shard.
#[derive(Debug)]
pub struct RingWriter {
    map: Arc<Map>,
    tail: u64,
    /// The reader's progress as last seen; read anew only when it looks full.
    head: u64,
    slots: u64,
}

/// The reading side; belongs to the coordinator.
#[derive(Debug)]
pub struct RingReader {
    map: Arc<Map>,
    /// Up to where it has read; what lies before is not released until it says so.
    read: u64,
    torn_bytes: u64,
}

/// Opens the ring at `path`, or makes one of `capacity_bytes` (rounded up to whole pages) whose
/// id is `id`. A ring that exists keeps its id, and its capacity while records wait in it.
///
/// # Errors
/// `WouldBlock` when another process has it open, `InvalidData` when the file is no ring,
/// `InvalidInput` for a capacity out of range, and what the file system says; its space is
/// claimed here, so that a full disk shows now and not as a bus error later.
pub fn open(
    path: &Path,
    capacity_bytes: u64,
    id: u64,
) -> io::Result<(RingWriter, RingReader, Recovery)> {
    if !(CAPACITY_BYTES_MIN..=CAPACITY_BYTES_MAX).contains(&capacity_bytes) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("a ring has {CAPACITY_BYTES_MIN} to {CAPACITY_BYTES_MAX} bytes"),
        ));
    }
    let capacity = capacity_bytes.next_multiple_of(HEADER_BYTES as u64);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    lock(&file)?;
    let (map, is_new) = Map::open(file, capacity, id)?;
    let mut map = Arc::new(map);
    let (mut tail, mut recovery) = map.recover();
    if !is_new && recovery.records == 0 && map.capacity != capacity {
        let again = Arc::try_unwrap(map).map_err(|_| io::Error::other("the ring is shared"))?;
        map = Arc::new(again.remake(capacity)?);
        (tail, recovery) = (map.head().load(Ordering::Acquire), Recovery::default());
    }
    map.tail().store(tail, Ordering::Release);
    let head = map.head().load(Ordering::Acquire);
    let writer = RingWriter {
        map: Arc::clone(&map),
        tail,
        head,
        slots: 0,
    };
    let reader = RingReader {
        map,
        read: head,
        torn_bytes: 0,
    };
    Ok((writer, reader, recovery))
}

impl RingWriter {
    /// Takes room for one record, or says that there is none. A few loads; no system call.
    pub fn reserve(&mut self) -> Result<Slot, Full> {
        // The slots handed out, this one, and what the end of the ring may waste.
        let need = (self.slots + 2) * FRAME_BYTES_MAX;
        if self.free() < need {
            self.head = self.map.head().load(Ordering::Acquire);
            if self.free() < need {
                return Err(Full);
            }
        }
        self.slots += 1;
        Ok(Slot(()))
    }

    /// Records that the ring has room for, be they as large as they may: so many slots are handed out
    /// at once.
    #[must_use]
    pub fn records_max(&self) -> u32 {
        // One frame's room is what the end of the ring may waste.
        u32::try_from(self.map.capacity / FRAME_BYTES_MAX - 1).unwrap_or(u32::MAX)
    }

    /// Writes a record into its room and publishes it: from here on it outlives the process.
    /// Returns its position, which is larger than that of every record before it. A payload beyond
    /// [`PAYLOAD_BYTES_MAX`] is cut there.
    pub fn push(&mut self, slot: Slot, payload: &[u8]) -> u64 {
        let Slot(()) = slot;
        self.slots -= 1;
        let payload = &payload[..payload.len().min(PAYLOAD_BYTES_MAX)];
        let bytes = frame_bytes(payload.len());
        let left = self.map.left_at(self.tail);
        if left < bytes {
            self.map.write_fill(self.tail, left);
            self.tail += left;
        }
        let position = self.tail;
        self.map.write_frame(position, payload);
        self.tail += bytes;
        self.map.tail().store(self.tail, Ordering::Release);
        position
    }

    /// Gives the room back without a record.
    pub fn cancel(&mut self, slot: Slot) {
        let Slot(()) = slot;
        self.slots -= 1;
    }

    /// Whether the record at `position` is safe beyond this ring, for those who wait for it.
    #[must_use]
    pub fn is_released(&self, position: u64) -> bool {
        self.map.head().load(Ordering::Acquire) > position
    }

    /// The ring's id.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.map.id
    }

    /// Bytes that wait for the reader.
    #[must_use]
    pub fn waiting_bytes(&self) -> u64 {
        self.tail - self.map.head().load(Ordering::Acquire)
    }

    fn free(&self) -> u64 {
        self.map.capacity - (self.tail - self.head)
    }
}

impl RingReader {
    /// Hands published records to `take`, oldest first, until it answers false or none is left.
    /// Each is seen once; their room is given back by [`RingReader::release`]. The record that
    /// was answered with false counts as seen.
    pub fn read(&mut self, mut take: impl FnMut(u64, &[u8]) -> bool) {
        let tail = self.map.tail().load(Ordering::Acquire);
        let mut payload = [0; PAYLOAD_BYTES_MAX];
        while self.read < tail {
            match self.map.frame_at(self.read, &mut payload) {
                Frame::Record { bytes, len } => {
                    let position = self.read;
                    self.read += bytes;
                    if !take(position, &payload[..len]) {
                        return;
                    }
                }
                Frame::Fill { bytes } => self.read += bytes,
                Frame::Torn => {
                    self.torn_bytes += 8;
                    self.read += 8;
                }
            }
        }
    }

    /// Gives the room of all records that were read back to the writer: they are safe elsewhere.
    pub fn release(&mut self) {
        self.map.head().store(self.read, Ordering::Release);
    }

    /// Goes back to the last release, to read again what was not made safe.
    pub fn rewind(&mut self) {
        self.read = self.map.head().load(Ordering::Acquire);
    }

    /// The ring's id.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.map.id
    }

    /// Bytes passed over because they held no whole record.
    #[must_use]
    pub fn torn_bytes(&self) -> u64 {
        self.torn_bytes
    }
}

/// What lies at a position.
enum Frame {
    Record { bytes: u64, len: usize },
    Fill { bytes: u64 },
    Torn,
}

const fn frame_bytes(payload_len: usize) -> u64 {
    (FRAME_HEAD + payload_len).next_multiple_of(8) as u64
}

/// The mapped file.
#[derive(Debug)]
struct Map {
    start: NonNull<u8>,
    capacity: u64,
    id: u64,
    file: File,
}

// SAFETY: the mapping is plain memory that lives as long as the value. The two sides meet in two
// atomics; of the data, the writer only touches what lies outside head..tail and the reader only
// what lies inside, so no byte is ever written and read at once.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

/// Maps the first `bytes` of a file that its caller holds open and locked, for all processes to see.
fn mapped(file: &File, bytes: usize) -> io::Result<NonNull<u8>> {
    // SAFETY: a fresh shared mapping of a file that is open and locked; the kernel picks the
    // place. Nobody shortens the file while it is locked, so no page of it goes away.
    let start = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(start.cast()).ok_or_else(io::Error::last_os_error)
}

impl Map {
    /// Maps the file; makes it a ring if it is none yet (empty, or its making was cut short).
    fn open(file: File, capacity: u64, id: u64) -> io::Result<(Map, bool)> {
        let len = file.metadata()?.len();
        if len < HEADER_BYTES as u64 {
            return Map::make(file, capacity, id).map(|map| (map, true));
        }
        let mut probe = Map::of_file(file, len - HEADER_BYTES as u64, 0)?;
        let [magic, version, old_capacity, old_id] = [0, 8, 16, 24].map(|at| probe.word(at));
        if magic == 0 {
            let file = probe.into_file()?;
            return Map::make(file, capacity, id).map(|map| (map, true));
        }
        if magic != MAGIC || version != VERSION || old_capacity != probe.capacity {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the file is no spend ring",
            ));
        }
        probe.id = old_id;
        Ok((probe, false))
    }

    /// Claims the space, and writes the magic last.
    fn make(file: File, capacity: u64, id: u64) -> io::Result<Map> {
        let len = capacity + HEADER_BYTES as u64;
        file.set_len(0)?;
        claim(&file, len)?;
        let map = Map::of_file(file, capacity, id)?;
        map.set_word(8, VERSION);
        map.set_word(16, capacity);
        map.set_word(24, id);
        map.set_word(0, MAGIC);
        Ok(map)
    }

    /// Makes an empty ring anew with another capacity, and its positions going on.
    fn remake(self, capacity: u64) -> io::Result<Map> {
        let (id, position) = (self.id, self.head().load(Ordering::Acquire));
        let map = Map::make(self.into_file()?, capacity, id)?;
        map.head().store(position, Ordering::Release);
        map.tail().store(position, Ordering::Release);
        Ok(map)
    }

    fn of_file(file: File, capacity: u64, id: u64) -> io::Result<Map> {
        let len = usize::try_from(capacity)
            .ok()
            .and_then(|capacity| capacity.checked_add(HEADER_BYTES))
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let start = mapped(&file, len)?;
        Ok(Map {
            start,
            capacity,
            id,
            file,
        })
    }

    /// Unmaps and gives the file back, still locked.
    fn into_file(self) -> io::Result<File> {
        self.file.try_clone()
    }

    fn tail(&self) -> &AtomicU64 {
        self.atomic(TAIL_AT)
    }

    fn head(&self) -> &AtomicU64 {
        self.atomic(HEAD_AT)
    }

    fn atomic(&self, at: usize) -> &AtomicU64 {
        debug_assert!(at.is_multiple_of(8) && at < HEADER_BYTES);
        // SAFETY: inside the header, aligned (the mapping starts at a page), and only ever touched
        // as an atomic while the ring is open.
        unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(at).cast()) }
    }

    fn word(&self, at: usize) -> u64 {
        self.atomic(at).load(Ordering::Acquire)
    }

    fn set_word(&self, at: usize, value: u64) {
        self.atomic(at).store(value, Ordering::Release);
    }

    /// Bytes from `position` to the end of the data.
    fn left_at(&self, position: u64) -> u64 {
        self.capacity - position % self.capacity
    }

    fn write_fill(&self, position: u64, bytes: u64) {
        // Too little room for a head: the reader knows that such an end is empty.
        if bytes < FRAME_HEAD as u64 {
            return;
        }
        let len = (bytes - FRAME_HEAD as u64) as u32;
        self.write_head(
            position,
            len,
            KIND_FILL,
            checksum(len, KIND_FILL, position, &[]),
        );
    }

    fn write_frame(&self, position: u64, payload: &[u8]) {
        let len = payload.len() as u32;
        let sum = checksum(len, KIND_RECORD, position, payload);
        self.copy_in(position + FRAME_HEAD as u64, payload);
        self.write_head(position, len, KIND_RECORD, sum);
    }

    fn write_head(&self, position: u64, len: u32, kind: u32, sum: u64) {
        let mut head = [0; FRAME_HEAD];
        head[..4].copy_from_slice(&len.to_le_bytes());
        head[4..8].copy_from_slice(&kind.to_le_bytes());
        head[8..16].copy_from_slice(&position.to_le_bytes());
        head[16..].copy_from_slice(&sum.to_le_bytes());
        self.copy_in(position, &head);
    }

    /// Reads and checks what lies at `position`; a record's payload goes to `payload`.
    fn frame_at(&self, position: u64, payload: &mut [u8; PAYLOAD_BYTES_MAX]) -> Frame {
        let left = self.left_at(position);
        if left < FRAME_HEAD as u64 {
            return Frame::Fill { bytes: left };
        }
        let mut head = [0; FRAME_HEAD];
        self.copy_out(position, &mut head);
        let [len, kind] = [0, 4].map(|at| u32::from_le_bytes(array(&head[at..at + 4])));
        let [place, sum] = [8, 16].map(|at| u64::from_le_bytes(array(&head[at..at + 8])));
        if place != position {
            return Frame::Torn;
        }
        let bytes = frame_bytes(len as usize);
        match kind {
            KIND_FILL if sum == checksum(len, kind, position, &[]) => Frame::Fill { bytes: left },
            KIND_RECORD if len as usize <= PAYLOAD_BYTES_MAX && bytes <= left => {
                let payload = &mut payload[..len as usize];
                self.copy_out(position + FRAME_HEAD as u64, payload);
                if sum != checksum(len, kind, position, payload) {
                    return Frame::Torn;
                }
                Frame::Record {
                    bytes,
                    len: len as usize,
                }
            }
            _ => Frame::Torn,
        }
    }

    /// Walks from the head over every whole frame: to the published end, and on while frames at
    /// their own positions follow (the machine may have died with the end unwritten). Returns the
    /// end.
    fn recover(&self) -> (u64, Recovery) {
        let head = self.head().load(Ordering::Acquire);
        let published = self.tail().load(Ordering::Acquire);
        let limit = head.saturating_add(self.capacity);
        // An end that no ring can have was torn itself.
        let published = if (head..=limit).contains(&published) {
            published
        } else {
            head
        };
        let (mut at, mut recovery) = (head, Recovery::default());
        let mut payload = [0; PAYLOAD_BYTES_MAX];
        while at < limit {
            match self.frame_at(at, &mut payload) {
                Frame::Record { bytes, .. } => {
                    recovery.records += 1;
                    at += bytes;
                }
                Frame::Fill { bytes } if at < published || self.is_followed(at + bytes, limit) => {
                    at += bytes;
                }
                Frame::Torn if at < published => {
                    recovery.torn_bytes += 8;
                    at += 8;
                }
                Frame::Fill { .. } | Frame::Torn => break,
            }
        }
        (at.max(published), recovery)
    }

    fn is_followed(&self, at: u64, limit: u64) -> bool {
        let mut payload = [0; PAYLOAD_BYTES_MAX];
        at < limit && matches!(self.frame_at(at, &mut payload), Frame::Record { .. })
    }

    fn copy_in(&self, position: u64, bytes: &[u8]) {
        let at = HEADER_BYTES + (position % self.capacity) as usize;
        assert!(at + bytes.len() <= HEADER_BYTES + self.capacity as usize);
        // SAFETY: inside the mapping by the assertion; outside head..tail, so nobody reads it.
        unsafe {
            let to = self.start.as_ptr().add(at);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
    }

    fn copy_out(&self, position: u64, bytes: &mut [u8]) {
        let at = HEADER_BYTES + (position % self.capacity) as usize;
        assert!(at + bytes.len() <= HEADER_BYTES + self.capacity as usize);
        // SAFETY: inside the mapping by the assertion; inside head..tail, or before a writer
        // exists, so nobody writes it.
        unsafe {
            let from = self.start.as_ptr().add(at);
            std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len());
        }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the mapping that `of_file` made, of that length; nothing points into it any more.
        unsafe {
            libc::munmap(
                self.start.as_ptr().cast(),
                HEADER_BYTES + self.capacity as usize,
            );
        }
    }
}

fn lock(file: &File) -> io::Result<()> {
    file.try_lock().map_err(|error| match error {
        std::fs::TryLockError::WouldBlock => io::Error::new(
            io::ErrorKind::WouldBlock,
            "the ring is open in another process",
        ),
        std::fs::TryLockError::Error(error) => error,
    })
}

/// Takes the space on the disk now: a write to a page without a block would end the process.
fn claim(file: &File, bytes: u64) -> io::Result<()> {
    let bytes = libc::off_t::try_from(bytes).map_err(io::Error::other)?;
    // SAFETY: plain numbers and a descriptor that is open.
    let error = unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, bytes) };
    if error == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(error))
    }
}

pub(crate) fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(bytes);
    out
}

/// Tells a whole frame from a torn one; no defence against somebody who writes the file.
pub(crate) fn checksum(len: u32, kind: u32, position: u64, payload: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    const START: u64 = 0x51ed_270b_153f_a3c7;
    let fold = |sum: u64, word: u64| {
        let product = u128::from(sum ^ word ^ START) * u128::from(FACTOR);
        (product as u64) ^ ((product >> 64) as u64)
    };
    let mut sum = fold(u64::from(len) << 32 | u64::from(kind), position);
    let mut words = payload.chunks_exact(8);
    for word in &mut words {
        sum = fold(sum, u64::from_le_bytes(array(word)));
    }
    let mut last = [0; 8];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    fold(sum, u64::from_le_bytes(last))
}

#[cfg(test)]
mod tests;
