//! The ring under random work, killed at every moment a copy of its file can show.

use std::collections::VecDeque;
use std::path::PathBuf;

use super::*;

/// A small generator, so that a failure has a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("ring-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn all(reader: &mut RingReader) -> Vec<(u64, Vec<u8>)> {
    let mut seen = Vec::new();
    reader.read(|position, payload| {
        seen.push((position, payload.to_vec()));
        true
    });
    seen
}

fn payload(random: &mut Random) -> Vec<u8> {
    let len = match random.below(10) {
        0 => 0,
        1 => PAYLOAD_BYTES_MAX as u64,
        _ => random.below(600),
    };
    (0..len).map(|_| random.below(256) as u8).collect()
}

#[test]
fn records_come_out_as_they_went_in() {
    let folder = Folder::new("order");
    let (mut writer, mut reader, recovery) =
        open(&folder.file("r"), CAPACITY_BYTES_MIN, 7).unwrap();
    assert_eq!(recovery, Recovery::default());
    let mut random = Random(99);
    let mut expected = VecDeque::new();
    for _ in 0..5_000 {
        if random.below(3) < 2
            && let Ok(slot) = writer.reserve()
        {
            let payload = payload(&mut random);
            expected.push_back((writer.push(slot, &payload), payload));
        } else {
            let budget = random.below(20);
            let mut left = budget;
            let mut seen = Vec::new();
            reader.read(|position, payload| {
                seen.push((position, payload.to_vec()));
                left = left.saturating_sub(1);
                left > 0
            });
            for record in seen {
                assert_eq!(Some(record), expected.pop_front());
            }
            reader.release();
        }
    }
    assert_eq!(all(&mut reader), Vec::from(expected));
    assert_eq!(reader.torn_bytes(), 0);
}

#[test]
fn a_full_ring_refuses_before_the_work() {
    let folder = Folder::new("full");
    let (mut writer, mut reader, _) = open(&folder.file("r"), CAPACITY_BYTES_MIN, 1).unwrap();
    let mut slots = Vec::new();
    while let Ok(slot) = writer.reserve() {
        slots.push(slot);
    }
    assert!(slots.len() >= 14, "{}", slots.len());
    // Every slot that was promised holds the largest record.
    let count = slots.len();
    for slot in slots {
        writer.push(slot, &[1; PAYLOAD_BYTES_MAX]);
    }
    assert_eq!(writer.reserve().unwrap_err(), Full);
    assert_eq!(all(&mut reader).len(), count);
    assert_eq!(
        writer.reserve().unwrap_err(),
        Full,
        "read, but not released"
    );
    reader.release();
    let slot = writer.reserve().unwrap();
    writer.cancel(slot);
}

#[test]
fn only_released_records_are_forgotten() {
    let folder = Folder::new("release");
    let path = folder.file("r");
    let (mut writer, mut reader, _) = open(&path, CAPACITY_BYTES_MIN, 3).unwrap();
    let mut push = |text: &[u8]| {
        let slot = writer.reserve().unwrap();
        writer.push(slot, text)
    };
    let first = push(b"first");
    assert_eq!(all(&mut reader).len(), 1);
    reader.release();
    let second = push(b"second");
    assert_eq!(all(&mut reader), [(second, b"second".to_vec())]);
    reader.rewind();
    assert_eq!(all(&mut reader), [(second, b"second".to_vec())]);
    assert!(writer.is_released(first) && !writer.is_released(second));
    drop((writer, reader));
    let (writer, mut reader, recovery) = open(&path, CAPACITY_BYTES_MIN, 4).unwrap();
    assert_eq!((recovery.records, reader.id(), writer.id()), (1, 3, 3));
    assert_eq!(all(&mut reader), [(second, b"second".to_vec())]);
}

#[test]
fn one_process_at_a_time_and_no_strange_file() {
    let folder = Folder::new("lock");
    let path = folder.file("r");
    let held = open(&path, CAPACITY_BYTES_MIN, 1).unwrap();
    let again = open(&path, CAPACITY_BYTES_MIN, 1).unwrap_err();
    assert_eq!(again.kind(), io::ErrorKind::WouldBlock);
    drop(held);
    let strange = folder.file("strange");
    std::fs::write(&strange, [7; 10_000]).unwrap();
    let error = open(&strange, CAPACITY_BYTES_MIN, 1).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    let error = open(&path, 10, 1).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn an_empty_ring_takes_a_new_size_and_its_positions_go_on() {
    let folder = Folder::new("resize");
    let path = folder.file("r");
    let (mut writer, mut reader, _) = open(&path, CAPACITY_BYTES_MIN, 1).unwrap();
    let slot = writer.reserve().unwrap();
    let first = writer.push(slot, b"x");
    drop((writer, reader));
    let (writer, reader_again, _) = open(&path, 2 * CAPACITY_BYTES_MIN, 1).unwrap();
    assert_eq!(writer.map.capacity, CAPACITY_BYTES_MIN, "a record waits");
    reader = reader_again;
    all(&mut reader);
    reader.release();
    drop((writer, reader));
    let (mut writer, _reader, _) = open(&path, 2 * CAPACITY_BYTES_MIN, 1).unwrap();
    assert_eq!(writer.map.capacity, 2 * CAPACITY_BYTES_MIN);
    let slot = writer.reserve().unwrap();
    assert!(writer.push(slot, b"y") > first);
}

/// `kill -9` at any moment is a copy of the file at that moment: nothing published is missing,
/// nothing released comes again.
#[test]
fn a_killed_process_loses_and_doubles_nothing() {
    for seed in 1..=60 {
        let folder = Folder::new(&format!("kill-{seed}"));
        let mut random = Random(seed);
        let path = folder.file("r");
        let mut expected: VecDeque<(u64, Vec<u8>)> = VecDeque::new();
        let mut ring = open(&path, CAPACITY_BYTES_MIN, seed).unwrap();
        for _ in 0..random.below(400) {
            match random.below(10) {
                0..=5 => {
                    if let Ok(slot) = ring.0.reserve() {
                        let payload = payload(&mut random);
                        expected.push_back((ring.0.push(slot, &payload), payload));
                    }
                }
                6 | 7 => {
                    let mut left = 1 + random.below(8);
                    let mut seen = 0;
                    ring.1.rewind();
                    ring.1.read(|_, _| {
                        seen += 1;
                        left -= 1;
                        left > 0
                    });
                    if random.below(2) == 0 {
                        ring.1.release();
                        expected.drain(..seen);
                    }
                }
                _ => {
                    let copy = folder.file("copy");
                    std::fs::copy(&path, &copy).unwrap();
                    drop(ring);
                    std::fs::rename(&copy, &path).unwrap();
                    ring = open(&path, CAPACITY_BYTES_MIN, 0).unwrap();
                    assert_eq!(ring.2.records, expected.len() as u64, "seed {seed}");
                    assert_eq!(ring.2.torn_bytes, 0, "seed {seed}");
                }
            }
        }
        ring.1.rewind();
        assert_eq!(all(&mut ring.1), Vec::from(expected), "seed {seed}");
    }
}

/// A dead machine may leave any page old. Whatever is damaged, every record that comes out is one
/// that went in, in order, and those in undamaged places all come out.
#[test]
fn damage_is_noticed_and_does_not_spread() {
    for seed in 1..=80 {
        let folder = Folder::new(&format!("torn-{seed}"));
        let mut random = Random(seed);
        let path = folder.file("r");
        let (mut writer, reader, _) = open(&path, CAPACITY_BYTES_MIN, 1).unwrap();
        let mut pushed = Vec::new();
        for _ in 0..10 {
            let slot = writer.reserve().unwrap();
            let payload = payload(&mut random);
            let start = writer.tail;
            let position = writer.push(slot, &payload);
            assert_eq!(start, position);
            pushed.push((position, payload));
        }
        let end = writer.tail;
        drop((writer, reader));
        let mut file = std::fs::read(&path).unwrap();
        let from = random.below(end);
        let to = (from + 1 + random.below(700)).min(end);
        for at in from..to {
            // Old content: zeros, or something else entirely.
            file[HEADER_BYTES + at as usize] = if seed % 2 == 0 { 0 } else { at as u8 };
        }
        std::fs::write(&path, file).unwrap();
        let (_writer, mut reader, recovery) = open(&path, CAPACITY_BYTES_MIN, 1).unwrap();
        let got = all(&mut reader);
        let whole = |(position, payload): &(u64, Vec<u8>)| {
            position + frame_bytes(payload.len()) <= from || *position >= to
        };
        let safe: Vec<_> = pushed
            .iter()
            .filter(|record| whole(record))
            .cloned()
            .collect();
        let mut rest = pushed.iter();
        assert!(
            got.iter().all(|record| rest.any(|one| one == record)),
            "seed {seed}: strange"
        );
        assert!(
            safe.iter().all(|record| got.contains(record)),
            "seed {seed}: lost"
        );
        assert_eq!(recovery.records, got.len() as u64, "seed {seed}");
    }
}

/// The end that was published may not have reached the disk, the frames before it may have.
#[test]
fn frames_beyond_a_lost_end_are_found() {
    let folder = Folder::new("end");
    let path = folder.file("r");
    let (mut writer, reader, _) = open(&path, CAPACITY_BYTES_MIN, 1).unwrap();
    for n in 0..5_u8 {
        let slot = writer.reserve().unwrap();
        writer.push(slot, &[n; 100]);
    }
    writer.map.tail().store(0, Ordering::Release);
    drop((writer, reader));
    let (mut writer, mut reader, recovery) = open(&path, CAPACITY_BYTES_MIN, 1).unwrap();
    assert_eq!(recovery.records, 5);
    let slot = writer.reserve().unwrap();
    writer.push(slot, b"next");
    assert_eq!(all(&mut reader).len(), 6);
}

#[test]
fn threads_meet_in_the_ring() {
    let folder = Folder::new("threads");
    let (mut writer, mut reader, _) = open(&folder.file("r"), CAPACITY_BYTES_MIN, 1).unwrap();
    const COUNT: u64 = 20_000;
    let thread = std::thread::spawn(move || {
        for n in 0..COUNT {
            let slot = loop {
                match writer.reserve() {
                    Ok(slot) => break slot,
                    Err(Full) => std::thread::yield_now(),
                }
            };
            let len = (n % 300) as usize;
            let mut payload = vec![n as u8; len + 8];
            payload[..8].copy_from_slice(&n.to_le_bytes());
            writer.push(slot, &payload);
        }
    });
    let mut next = 0;
    while next < COUNT {
        reader.read(|_, payload| {
            assert_eq!(payload[..8], u64::to_le_bytes(next));
            assert!(payload[8..].iter().all(|byte| *byte == next as u8));
            next += 1;
            true
        });
        reader.release();
    }
    thread.join().unwrap();
    assert_eq!(reader.torn_bytes(), 0);
}

#[test]
fn every_bit_counts_in_the_checksum() {
    let payload = [0x5a; 37];
    let whole = checksum(37, KIND_RECORD, 640, &payload);
    for bit in 0..payload.len() * 8 {
        let mut other = payload;
        other[bit / 8] ^= 1 << (bit % 8);
        assert_ne!(checksum(37, KIND_RECORD, 640, &other), whole, "bit {bit}");
    }
    assert_ne!(checksum(37, KIND_RECORD, 648, &payload), whole);
    assert_ne!(checksum(38, KIND_RECORD, 640, &payload), whole);
}
