//! From the shards' rings to the journal, and from there to whoever keeps the accounts.
//!
//! The coordinator calls [`Ledger::tick`] often: it takes what the shards have published, and every
//! `journal_sync` it makes all of it durable with one `fdatasync`, and only then gives the rings
//! their room back. [`Ledger::batch`] hands out durable records in order with a mark that grows; a
//! store that writes the mark in the transaction of the rows, and tells it to [`Ledger::resume`]
//! after a crash, has every call exactly once.
//!
//! Disk full or broken: nothing is given back to the rings, they fill, and their `reserve` refuses
//! new work. Time is passed in; the disk is reached only through `shardgate_io`.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use shardgate_io::journal::{Journal, Limits, Place};
use shardgate_io::ring::RingReader;

use super::calls::Calls;

/// Bytes taken from the rings before a sync is due at once, and beyond which nothing more is taken
/// while the disk refuses.
const WAITING_BYTES_MAX: usize = 8 << 20;

/// How a ledger works.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// `journal_sync_ms`: between two syncs, microseconds; 0 syncs at each tick.
    pub sync_every_us: u64,
    /// How large the journal may become.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            sync_every_us: 100_000,
            limits: Limits::default(),
        }
    }
}

/// What was found when a ledger was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Records in the journal that were not delivered.
    pub undelivered: u64,
    /// Bytes of the journal that held no whole record.
    pub torn_bytes: u64,
}

/// What a tick did.
#[derive(Debug, Default)]
pub struct Tick {
    /// Records taken from the rings.
    pub taken: u64,
    /// Whether everything taken so far is durable.
    pub is_durable: bool,
    /// Why not, when the disk said so.
    pub error: Option<io::Error>,
}

/// Records to be delivered.
#[derive(Debug)]
pub struct Batch {
    /// The records, oldest first.
    pub calls: Calls,
    /// The place of the first one: a store whose mark lies beyond it has some of them already.
    pub begin: Place,
    /// The place after the last one: for [`Ledger::delivered`], and as `number()` the mark.
    pub end: Place,
    /// Records that this version cannot read; they stay in the journal's past.
    pub unreadable: u64,
}

/// The rings' reader and the journal's keeper.
#[derive(Debug)]
pub struct Ledger {
    rings: Vec<RingReader>,
    journal: Journal,
    settings: Settings,
    /// The last position of each ring that the journal has: what a crash brings again is known.
    last: BTreeMap<u64, u64>,
    synced_at_us: u64,
    delivered: Place,
}

impl Ledger {
    /// Opens the journal in `folder` and goes on where the last process ended.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(
        folder: &Path,
        rings: Vec<RingReader>,
        settings: Settings,
    ) -> io::Result<(Ledger, Found)> {
        let (journal, found) = Journal::open(folder, settings.limits)?;
        let delivered = journal.released();
        let ledger = Ledger {
            rings,
            journal,
            settings,
            last: found.last,
            synced_at_us: 0,
            delivered,
        };
        Ok((
            ledger,
            Found {
                undelivered: found.records,
                torn_bytes: found.torn_bytes,
            },
        ))
    }

    /// Adds the ring of another shard.
    pub fn add_ring(&mut self, ring: RingReader) {
        self.rings.push(ring);
    }

    /// Tells how far the store has come: the mark it keeps. What lies before is not delivered
    /// again. A mark beyond the journal's end means that the folder was emptied; new records then
    /// get places beyond it, or the store would take them for old ones.
    ///
    /// # Errors
    /// What the disk says.
    pub fn resume(&mut self, mark: i64) -> io::Result<()> {
        let place = Place::from_number(mark);
        let end = self.journal.end();
        self.delivered(place.min(end))?;
        if place > end {
            self.journal.skip_past(place)?;
            self.delivered(self.journal.end())?;
        }
        Ok(())
    }

    /// Takes what the shards have published, and makes it durable when that is due. `now_us` is any
    /// clock that only goes forward.
    pub fn tick(&mut self, now_us: u64) -> Tick {
        let taken = self.take();
        let age = now_us.saturating_sub(self.synced_at_us);
        let due = age >= self.settings.sync_every_us;
        if !due && self.journal.waiting_bytes() < WAITING_BYTES_MAX {
            return Tick {
                taken,
                is_durable: self.journal.waiting_bytes() == 0,
                error: None,
            };
        }
        self.synced_at_us = now_us;
        let synced = self.flush();
        Tick {
            taken: taken + synced.taken,
            ..synced
        }
    }

    /// Takes what the shards have published and makes it durable now.
    pub fn flush(&mut self) -> Tick {
        let taken = self.take();
        match self.journal.sync() {
            Ok(_) => {
                self.rings.iter_mut().for_each(RingReader::release);
                Tick {
                    taken,
                    is_durable: true,
                    error: None,
                }
            }
            Err(error) => Tick {
                taken,
                is_durable: false,
                error: Some(error),
            },
        }
    }

    /// Whether new billable work should be refused although the rings still have room: the journal
    /// has reached its limit because nobody takes its records.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.journal.is_full()
    }

    /// Bytes of the journal.
    #[must_use]
    pub fn journal_bytes(&self) -> u64 {
        self.journal.bytes()
    }

    /// Bytes of the rings that held no whole record.
    #[must_use]
    pub fn torn_bytes(&self) -> u64 {
        self.rings.iter().map(RingReader::torn_bytes).sum()
    }

    /// The next durable records, `count_max` at most; `None` when all are delivered. They come again
    /// until [`Ledger::delivered`], maybe with more behind them: where it is not known whether the
    /// store took a batch, ask it for its mark and [`Ledger::resume`].
    ///
    /// # Errors
    /// What the disk says.
    pub fn batch(&self, count_max: usize) -> io::Result<Option<Batch>> {
        if self.delivered >= self.journal.end() {
            return Ok(None);
        }
        let (mut calls, mut unreadable) = (Calls::default(), 0);
        let end = self.journal.read(self.delivered, |_, _, payload| {
            if !calls.push(payload) {
                unreadable += 1;
            }
            calls.len() < count_max
        })?;
        Ok(Some(Batch {
            calls,
            begin: self.delivered,
            end,
            unreadable,
        }))
    }

    /// Records before `end` are safe in the store.
    ///
    /// # Errors
    /// What the disk says. They count as delivered in this process all the same.
    pub fn delivered(&mut self, end: Place) -> io::Result<()> {
        self.delivered = self.delivered.max(end.min(self.journal.end()));
        self.journal.release(self.delivered)
    }

    /// Moves published records into the journal's memory.
    fn take(&mut self) -> u64 {
        let mut taken = 0;
        for ring in &mut self.rings {
            let (id, last) = (ring.id(), self.last.get(&ring.id()).copied());
            let mut newest = last;
            let journal = &mut self.journal;
            let has_room = |journal: &Journal| {
                !journal.is_full() && journal.waiting_bytes() < WAITING_BYTES_MAX
            };
            if !has_room(journal) {
                break;
            }
            ring.read(|position, payload| {
                // In the journal since before the crash, but the ring was not told.
                if last.is_none_or(|last| position > last) {
                    journal.append(id, position, payload);
                    newest = Some(position);
                    taken += 1;
                }
                has_room(journal)
            });
            if let Some(newest) = newest {
                self.last.insert(id, newest);
            }
        }
        taken
    }
}
