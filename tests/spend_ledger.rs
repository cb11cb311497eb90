//! Shards, rings, journal and a store, killed at any moment: every call whose record was published
//! reaches the accounts exactly once.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use shardgate::spend::ledger::{Ledger, Settings};
use shardgate::spend::money::Money;
use shardgate::spend::record::CallRecord;
use shardgate_io::journal::Limits;
use shardgate_io::ring::{self, CAPACITY_BYTES_MIN, RingWriter};

const SHARDS: u64 = 3;
/// Seeds of one run; `SHARDGATE_SEEDS` sets another number.
const SEEDS: u64 = 6;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }
}

/// A store that keeps rows and its mark in one transaction.
#[derive(Default)]
struct Store {
    rows: BTreeMap<String, u32>,
    total: Money,
    mark: i64,
}

struct Process {
    shards: Vec<RingWriter>,
    ledger: Ledger,
    buffer: Vec<u8>,
}

impl Process {
    fn start(folder: &Path, store: &Store) -> Process {
        let (mut shards, mut rings) = (Vec::new(), Vec::new());
        for shard in 0..SHARDS {
            let path = folder.join(format!("shard-{shard}.ring"));
            let (writer, reader, _) = ring::open(&path, CAPACITY_BYTES_MIN, shard + 1).unwrap();
            shards.push(writer);
            rings.push(reader);
        }
        let settings = Settings {
            sync_every_us: 100,
            limits: Limits {
                segment_bytes: 4096,
                total_bytes: 1 << 30,
            },
        };
        let (mut ledger, _) = Ledger::open(&folder.join("journal"), rings, settings).unwrap();
        ledger.resume(store.mark).unwrap();
        Process {
            shards,
            ledger,
            buffer: Vec::new(),
        }
    }

    /// A finished call; false when it was refused.
    fn call(&mut self, random: &mut Random, n: u64) -> bool {
        let shard = &mut self.shards[random.below(SHARDS) as usize];
        let Ok(slot) = shard.reserve() else {
            return false;
        };
        let (id, tags) = (
            format!("call-{n}"),
            "x\n".repeat(random.below(100) as usize),
        );
        let cost = Money::from_units(u128::from(n));
        let record = CallRecord {
            request_id: &id,
            tags: &tags,
            cost,
            ..CallRecord::default()
        };
        record.encode(&mut self.buffer);
        shard.push(slot, &self.buffer);
        true
    }

    /// Delivers one batch; the ledger may not get to know.
    fn deliver(&mut self, random: &mut Random, store: &mut Store, is_lost: bool) {
        let count_max = 1 + random.below(20) as usize;
        let Some(batch) = self.ledger.batch(count_max).unwrap() else {
            return;
        };
        assert_eq!(batch.unreadable, 0);
        let mark = batch.end.number();
        assert!(mark > store.mark, "marks grow");
        for record in batch.calls.iter() {
            *store.rows.entry(record.request_id.to_owned()).or_default() += 1;
            store.total = store.total.plus(record.cost);
        }
        store.mark = mark;
        if !is_lost {
            self.ledger.delivered(batch.end).unwrap();
        }
    }
}

/// The files as they are at this moment, in another folder: what a killed process leaves.
fn snapshot(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.join("journal")).unwrap();
    for folder in ["", "journal"] {
        for entry in std::fs::read_dir(from.join(folder)).unwrap().flatten() {
            if entry.file_type().unwrap().is_file() {
                let name = Path::new(folder).join(entry.file_name());
                std::fs::copy(from.join(&name), to.join(&name)).unwrap();
            }
        }
    }
}

fn run(seed: u64, root: &Path) -> (u64, u64) {
    let mut random = Random(seed);
    let (mut store, mut calls, mut kills, mut now_us) = (Store::default(), 0_u64, 0_u64, 0);
    let mut folder = root.join("0");
    std::fs::create_dir_all(&folder).unwrap();
    let mut process = Process::start(&folder, &store);
    for _ in 0..600 {
        now_us += random.below(60);
        match random.below(20) {
            0..=12 => calls += u64::from(process.call(&mut random, calls)),
            13..=15 => assert!(process.ledger.tick(now_us).error.is_none()),
            16 | 17 => process.deliver(&mut random, &mut store, false),
            // The store did it, but the answer was lost: its mark tells.
            18 => {
                process.deliver(&mut random, &mut store, true);
                process.ledger.resume(store.mark).unwrap();
            }
            // Killed, now and then between the store's transaction and our own note of it.
            _ => {
                let delivers = random.below(2) == 0;
                if delivers {
                    process.deliver(&mut random, &mut store, true);
                }
                kills += 1;
                let next = root.join(kills.to_string());
                snapshot(&folder, &next);
                drop(process);
                folder = next;
                process = Process::start(&folder, &store);
            }
        }
    }
    loop {
        now_us += 1000;
        let tick = process.ledger.tick(now_us);
        process.deliver(&mut random, &mut store, false);
        if tick.taken == 0 && process.ledger.batch(1).unwrap().is_none() {
            break;
        }
    }
    assert_eq!(store.rows.len() as u64, calls, "seed {seed}: lost");
    assert!(
        store.rows.values().all(|times| *times == 1),
        "seed {seed}: doubled"
    );
    let expected: Money = (0..calls).map(|n| Money::from_units(u128::from(n))).sum();
    assert_eq!(store.total, expected, "seed {seed}");
    (calls, kills)
}

#[test]
fn every_published_call_counts_once() {
    let root = std::env::temp_dir().join(format!("ledger-{}", std::process::id()));
    let (mut calls, mut kills) = (0, 0);
    let seeds = std::env::var("SHARDGATE_SEEDS")
        .ok()
        .and_then(|seeds| seeds.parse().ok());
    for seed in 1..=seeds.unwrap_or(SEEDS) {
        let folder: PathBuf = root.join(seed.to_string());
        let (more_calls, more_kills) = run(seed, &folder);
        (calls, kills) = (calls + more_calls, kills + more_kills);
        std::fs::remove_dir_all(&folder).unwrap();
    }
    let _ = std::fs::remove_dir_all(&root);
    println!("{calls} calls, {kills} kills");
}

#[test]
fn a_store_that_is_away_fills_journal_and_rings_until_work_is_refused() {
    let root = std::env::temp_dir().join(format!("ledger-full-{}", std::process::id()));
    std::fs::create_dir_all(&root).unwrap();
    let (mut writer, reader, _) = ring::open(&root.join("r"), CAPACITY_BYTES_MIN, 1).unwrap();
    let settings = Settings {
        sync_every_us: 0,
        limits: Limits {
            segment_bytes: 4096,
            total_bytes: 20_000,
        },
    };
    let (mut ledger, _) = Ledger::open(&root.join("journal"), vec![reader], settings).unwrap();
    let (mut buffer, mut accepted, mut now_us) = (Vec::new(), 0, 0);
    while let Ok(slot) = writer.reserve() {
        let id = format!("call-{accepted}");
        CallRecord {
            request_id: &id,
            ..CallRecord::default()
        }
        .encode(&mut buffer);
        writer.push(slot, &buffer);
        accepted += 1;
        now_us += 1;
        ledger.tick(now_us);
    }
    assert!(ledger.is_full());
    // The store is back: everything that was accepted arrives, and there is room again.
    let mut arrived = 0;
    loop {
        now_us += 1;
        let taken = ledger.tick(now_us).taken;
        let Some(batch) = ledger.batch(100).unwrap() else {
            if taken == 0 {
                break;
            }
            continue;
        };
        arrived += batch.calls.len();
        ledger.delivered(batch.end).unwrap();
    }
    assert_eq!(arrived, accepted);
    assert!(!ledger.is_full());
    assert!(writer.reserve().is_ok());
    let _ = std::fs::remove_dir_all(&root);
}

#[test]
fn an_emptied_folder_does_not_bring_old_marks_back() {
    let root = std::env::temp_dir().join(format!("ledger-empty-{}", std::process::id()));
    std::fs::create_dir_all(&root).unwrap();
    let mut store = Store {
        mark: (7 << 32) + 12_345,
        ..Store::default()
    };
    let mut process = Process::start(&root, &store);
    let mut random = Random(5);
    for n in 0..5 {
        assert!(process.call(&mut random, n));
    }
    assert!(process.ledger.tick(1000).is_durable);
    while process.ledger.batch(1).unwrap().is_some() {
        // Asserts that the marks grow.
        process.deliver(&mut random, &mut store, false);
    }
    assert_eq!(store.rows.len(), 5);
    drop(process);
    let process = Process::start(&root, &store);
    assert!(process.ledger.batch(1).unwrap().is_none());
    let _ = std::fs::remove_dir_all(&root);
}
