//! An append-only journal of records in segment files, safe against the death of the machine.
//!
//! Records of many rings are appended, made durable together by [`Journal::sync`] (one
//! `fdatasync`), read back from any position, and let go when their reader has them elsewhere.
//! What cannot be written stays in memory and is tried again, so the caller can refuse new work and
//! lose nothing. Only whole frames are ever handed out; a torn end is cut off when the journal is
//! opened.
//!
//! Knows bytes only. Blocks on the disk: never call it on a shard.
//!
//! ```text
//! 00000001.journal ...   frames, one after another
//! frame: length u32 | kind u32 | source u64 | position u64 | checksum u64 | payload
//! released               segment and offset up to which everything is let go
//! ```

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::ring::{array, checksum};

const KIND: u32 = 0x4345_524a;
const FRAME_HEAD: usize = 32;
/// Bytes of the largest payload.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;
const RELEASED: &str = "released";

/// A place in the journal. Ordered; a later one is larger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Number of the segment, from 1.
    pub segment: u32,
    /// Bytes into it.
    pub offset: u32,
}

impl Place {
    /// As one number that grows with the place: what a database keeps to know a replay.
    #[must_use]
    pub fn number(self) -> i64 {
        (i64::from(self.segment) << 32) | i64::from(self.offset)
    }

    fn plus(self, bytes: usize) -> Place {
        Place {
            offset: self.offset + bytes as u32,
            ..self
        }
    }

    /// The place of [`Place::number`].
    #[must_use]
    pub fn from_number(number: i64) -> Place {
        Place {
            segment: (number >> 32) as u32,
            offset: number as u32,
        }
    }
}

/// How large things may become.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes after which a new segment begins; at most 1 GiB.
    pub segment_bytes: u32,
    /// Bytes of all segments, beyond which [`Journal::is_full`].
    pub total_bytes: u64,
}

/// Bytes read at once: what a reader of some hundred records takes.
const PIECE_BYTES: usize = 256 << 10;
/// Bytes read at once where a single frame is longer than that; any fits.
const LONG_PIECE_BYTES: usize = FRAME_HEAD + PAYLOAD_BYTES_MAX;

/// A part of a segment.
struct Piece {
    bytes: Vec<u8>,
    /// Nothing follows in this segment.
    is_last: bool,
}

struct Frame<'a> {
    source: u64,
    position: u64,
    payload: &'a [u8],
}

/// What bytes begin with.
enum Look<'a> {
    Whole(Frame<'a>, usize),
    /// A frame whose rest is missing here.
    Cut,
    Bad,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            segment_bytes: 64 << 20,
            total_bytes: 16 << 30,
        }
    }
}

/// What was found when a journal was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The last position of each source that the journal holds.
    pub last: BTreeMap<u64, u64>,
    /// Records that are not released.
    pub records: u64,
    /// Bytes that were passed over because they held no whole frame.
    pub torn_bytes: u64,
}

/// The journal in one folder.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    limits: Limits,
    /// The segment that is written, up to where it is durable.
    file: File,
    end: Place,
    /// Its last write failed; nothing more is written to it.
    is_broken: bool,
    /// Frames that are not durable yet.
    waiting: Vec<u8>,
    released: Place,
    /// Bytes of the segments before the one that is written.
    older_bytes: u64,
}

impl Journal {
    /// Opens the journal in `folder`, or begins one.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(folder: &Path, limits: Limits) -> io::Result<(Journal, Found)> {
        let limits = Limits {
            segment_bytes: limits.segment_bytes.clamp(4096, 1 << 30),
            ..limits
        };
        std::fs::create_dir_all(folder)?;
        let released = read_released(folder)?;
        let mut segments = segments(folder)?;
        segments.retain(|segment| *segment >= released.segment);
        let mut found = Found::default();
        let mut older_bytes = 0;
        let mut end = Place {
            segment: released.segment.max(1),
            offset: 0,
        };
        for (nth, segment) in segments.iter().enumerate() {
            let bytes = std::fs::read(path_of(folder, *segment))?;
            let whole = scan(&bytes, |offset, frame| {
                found.last.insert(frame.source, frame.position);
                let place = Place {
                    segment: *segment,
                    offset,
                };
                found.records += u64::from(place >= released);
            });
            found.torn_bytes += (bytes.len() - whole.intact) as u64;
            if nth + 1 < segments.len() {
                older_bytes += bytes.len() as u64;
            }
            end = Place {
                segment: *segment,
                offset: whole.end as u32,
            };
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path_of(folder, end.segment))?;
        file.set_len(u64::from(end.offset))?;
        file.sync_all()?;
        sync_folder(folder)?;
        let journal = Journal {
            folder: folder.to_owned(),
            limits,
            file,
            end,
            is_broken: false,
            waiting: Vec::new(),
            released: released.max(Place {
                segment: 1,
                offset: 0,
            }),
            older_bytes,
        };
        Ok((journal, found))
    }

    /// Adds a record of `source` to what the next [`Journal::sync`] writes. A payload beyond
    /// [`PAYLOAD_BYTES_MAX`] is cut there.
    pub fn append(&mut self, source: u64, position: u64, payload: &[u8]) {
        let payload = &payload[..payload.len().min(PAYLOAD_BYTES_MAX)];
        let len = payload.len() as u32;
        let sum = checksum(len, KIND, position ^ source.rotate_left(32), payload);
        self.waiting.extend_from_slice(&len.to_le_bytes());
        self.waiting.extend_from_slice(&KIND.to_le_bytes());
        for word in [source, position, sum] {
            self.waiting.extend_from_slice(&word.to_le_bytes());
        }
        self.waiting.extend_from_slice(payload);
    }

    /// Bytes that wait for the next [`Journal::sync`].
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.waiting.len()
    }

    /// Makes everything that was appended durable; the new end is returned.
    ///
    /// # Errors
    /// What the disk says. Nothing is lost: what was appended still waits, and the next call tries
    /// again in a segment of its own, because a file whose `fdatasync` failed cannot be trusted.
    pub fn sync(&mut self) -> io::Result<Place> {
        if self.waiting.is_empty() {
            return Ok(self.end);
        }
        if self.is_broken || self.end.offset >= self.limits.segment_bytes {
            self.next_segment()?;
        }
        let start = u64::from(self.end.offset);
        let written = self
            .file
            .write_all_at(&self.waiting, start)
            .and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // Best effort: should the bytes be there after all, they are read twice, and their
            // positions tell.
            let _ = self.file.set_len(start);
            self.is_broken = true;
            return Err(error);
        }
        self.end.offset += self.waiting.len() as u32;
        self.waiting.clear();
        Ok(self.end)
    }

    /// Goes on in a segment after `place`, which was reached by a journal that is gone: places
    /// must grow for those who remember them.
    ///
    /// # Errors
    /// What the disk says.
    pub fn skip_past(&mut self, place: Place) -> io::Result<()> {
        if place <= self.end {
            return Ok(());
        }
        self.end = Place {
            segment: place.segment,
            offset: self.end.offset,
        };
        self.next_segment()
    }

    /// Up to where records are durable.
    #[must_use]
    pub fn end(&self) -> Place {
        self.end
    }

    /// Up to where records are let go.
    #[must_use]
    pub fn released(&self) -> Place {
        self.released
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.older_bytes + u64::from(self.end.offset) + self.waiting.len() as u64
    }

    /// Whether what is not released has reached the limit.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let here = self.released.segment == self.end.segment;
        let released = if here {
            u64::from(self.released.offset)
        } else {
            0
        };
        self.bytes() - released >= self.limits.total_bytes
    }

    /// Hands durable records from `from` on to `take`, until it answers false or none is left.
    /// Returns the place after the last one handed out.
    ///
    /// # Errors
    /// What the disk says.
    pub fn read(
        &self,
        from: Place,
        mut take: impl FnMut(u64, u64, &[u8]) -> bool,
    ) -> io::Result<Place> {
        let mut at = from.max(self.released);
        let mut bytes_max = PIECE_BYTES;
        while at < self.end {
            let piece = self.read_piece(at, bytes_max)?;
            if piece.bytes.is_empty() {
                at = Place {
                    segment: at.segment + 1,
                    offset: 0,
                };
                continue;
            }
            let mut cursor = 0;
            while cursor < piece.bytes.len() {
                match frame_at(&piece.bytes[cursor..]) {
                    Look::Whole(frame, size) => {
                        cursor += size;
                        if !take(frame.source, frame.position, frame.payload) {
                            return Ok(at.plus(cursor));
                        }
                    }
                    Look::Cut if !piece.is_last => break,
                    Look::Cut | Look::Bad => cursor += 1,
                }
            }
            bytes_max = if cursor == 0 {
                LONG_PIECE_BYTES
            } else {
                PIECE_BYTES
            };
            at = at.plus(cursor);
        }
        Ok(at)
    }

    /// Lets go of everything before `place`: it is safe elsewhere. Segments that hold nothing else
    /// are removed.
    ///
    /// # Errors
    /// What the disk says; then it is still held, and comes again after a restart.
    pub fn release(&mut self, place: Place) -> io::Result<()> {
        let place = place.min(self.end);
        if place <= self.released {
            return Ok(());
        }
        write_released(&self.folder, place)?;
        let before = std::mem::replace(&mut self.released, place);
        for segment in before.segment..place.segment {
            let path = path_of(&self.folder, segment);
            let Ok(known) = path.metadata() else { continue };
            std::fs::remove_file(&path)?;
            self.older_bytes = self.older_bytes.saturating_sub(known.len());
        }
        Ok(())
    }

    /// So many bytes from `at` on: a segment is large, a reader stops early.
    fn read_piece(&self, at: Place, bytes_max: usize) -> io::Result<Piece> {
        let mut bytes = Vec::new();
        let file = match File::open(path_of(&self.folder, at.segment)) {
            Ok(file) => file,
            // A segment that was never made: the disk was full then.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Piece {
                    bytes,
                    is_last: true,
                });
            }
            Err(error) => return Err(error),
        };
        let end = if at.segment == self.end.segment {
            u64::from(self.end.offset)
        } else {
            file.metadata()?.len()
        };
        let left = end.saturating_sub(u64::from(at.offset));
        let len = left.min(bytes_max as u64);
        bytes.resize(len as usize, 0);
        file.read_exact_at(&mut bytes, u64::from(at.offset))?;
        Ok(Piece {
            bytes,
            is_last: len == left,
        })
    }

    /// Begins the next segment.
    fn next_segment(&mut self) -> io::Result<()> {
        let segment = self.end.segment + 1;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path_of(&self.folder, segment))?;
        sync_folder(&self.folder)?;
        self.older_bytes += u64::from(self.end.offset);
        self.file = file;
        self.is_broken = false;
        self.end = Place { segment, offset: 0 };
        Ok(())
    }
}

/// Every whole frame of a segment.
struct Whole {
    /// After the last one.
    end: usize,
    /// Bytes of all of them.
    intact: usize,
}

fn scan(bytes: &[u8], mut each: impl FnMut(u32, &Frame<'_>)) -> Whole {
    let (mut at, mut whole) = (0, Whole { end: 0, intact: 0 });
    while at < bytes.len() {
        match frame_at(&bytes[at..]) {
            Look::Whole(frame, size) => {
                each(at as u32, &frame);
                at += size;
                whole = Whole {
                    end: at,
                    intact: whole.intact + size,
                };
            }
            Look::Cut | Look::Bad => at += 1,
        }
    }
    whole
}

fn frame_at(bytes: &[u8]) -> Look<'_> {
    let Some((head, rest)) = bytes.split_at_checked(FRAME_HEAD) else {
        return Look::Cut;
    };
    let [len, kind] = [0, 4].map(|at| u32::from_le_bytes(array(&head[at..at + 4])));
    let [source, position, sum] =
        [8, 16, 24].map(|at| u64::from_le_bytes(array(&head[at..at + 8])));
    if kind != KIND || len as usize > PAYLOAD_BYTES_MAX {
        return Look::Bad;
    }
    let Some(payload) = rest.get(..len as usize) else {
        return Look::Cut;
    };
    if sum != checksum(len, KIND, position ^ source.rotate_left(32), payload) {
        return Look::Bad;
    }
    Look::Whole(
        Frame {
            source,
            position,
            payload,
        },
        FRAME_HEAD + payload.len(),
    )
}

fn path_of(folder: &Path, segment: u32) -> PathBuf {
    folder.join(format!("{segment:08}.journal"))
}

/// Numbers of the segments in the folder, ascending.
fn segments(folder: &Path) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".journal"));
        found.extend(number.and_then(|number| number.parse::<u32>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}

fn read_released(folder: &Path) -> io::Result<Place> {
    let mut text = String::new();
    match File::open(folder.join(RELEASED)) {
        Ok(mut file) => file.read_to_string(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Place::default()),
        Err(error) => return Err(error),
    };
    let mut numbers = text.split_whitespace().map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(segment)), Some(Ok(offset))) => Ok(Place { segment, offset }),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{}: expected two numbers", folder.join(RELEASED).display()),
        )),
    }
}

/// Written beside and moved over, so that there is always a whole one.
fn write_released(folder: &Path, place: Place) -> io::Result<()> {
    let new = folder.join("released.new");
    let mut file = File::create(&new)?;
    writeln!(file, "{} {}", place.segment, place.offset)?;
    file.sync_data()?;
    std::fs::rename(&new, folder.join(RELEASED))?;
    sync_folder(folder)
}

/// Makes names in the folder durable.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
