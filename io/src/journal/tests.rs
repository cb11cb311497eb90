//! The journal cut off at every byte, damaged, full, and opened again.

use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("journal-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

type Record = (u64, u64, Vec<u8>);

fn all(journal: &Journal, from: Place) -> Vec<Record> {
    let mut seen = Vec::new();
    let end = journal
        .read(from, |source, position, payload| {
            seen.push((source, position, payload.to_vec()));
            true
        })
        .unwrap();
    assert_eq!(end, journal.end());
    seen
}

fn record(n: u64) -> Record {
    (n % 3, n * 8, vec![n as u8; (n as usize * 7) % 50])
}

fn fill(journal: &mut Journal, numbers: std::ops::Range<u64>) -> Vec<Record> {
    let records: Vec<Record> = numbers.map(record).collect();
    for (source, position, payload) in &records {
        journal.append(*source, *position, payload);
    }
    records
}

const SMALL: Limits = Limits {
    segment_bytes: 4096,
    total_bytes: 1 << 20,
};

#[test]
fn records_are_there_after_a_sync_only() {
    let folder = Folder::new("sync");
    let (mut journal, found) = Journal::open(&folder.0, SMALL).unwrap();
    assert_eq!(found, Found::default());
    let records = fill(&mut journal, 0..5);
    assert_eq!(all(&journal, Place::default()), []);
    journal.sync().unwrap();
    assert_eq!(all(&journal, Place::default()), records);
    fill(&mut journal, 5..6);
    drop(journal);
    let (journal, found) = Journal::open(&folder.0, SMALL).unwrap();
    assert_eq!((found.records, found.torn_bytes), (5, 0));
    assert_eq!(found.last, BTreeMap::from([(0, 24), (1, 32), (2, 16)]));
    assert_eq!(all(&journal, Place::default()), records);
}

#[test]
fn segments_follow_one_another_and_go_when_released() {
    let folder = Folder::new("segments");
    let (mut journal, _) = Journal::open(&folder.0, SMALL).unwrap();
    let mut records = Vec::new();
    for n in 0..60 {
        records.extend(fill(&mut journal, n * 10..n * 10 + 10));
        journal.sync().unwrap();
    }
    assert!(journal.end().segment > 5, "{:?}", journal.end());
    assert_eq!(all(&journal, Place::default()), records);
    // In small steps, each going on where the last one ended.
    let (mut at, mut seen) = (Place::default(), Vec::new());
    while at < journal.end() {
        let mut left = 7;
        at = journal
            .read(at, |source, position, payload| {
                seen.push((source, position, payload.to_vec()));
                left -= 1;
                left > 0
            })
            .unwrap();
        journal.release(at).unwrap();
        assert_eq!(Place::from_number(at.number()), at);
    }
    assert_eq!(seen, records);
    assert_eq!(segments(&folder.0).unwrap(), [journal.end().segment]);
    assert!(journal.bytes() <= 8192, "{}", journal.bytes());
    drop(journal);
    let (journal, found) = Journal::open(&folder.0, SMALL).unwrap();
    assert_eq!(found.records, 0);
    assert_eq!(all(&journal, Place::default()), []);
}

#[test]
fn a_release_survives() {
    let folder = Folder::new("released");
    let (mut journal, _) = Journal::open(&folder.0, SMALL).unwrap();
    let records = fill(&mut journal, 0..10);
    journal.sync().unwrap();
    let mut left = 4;
    let at = journal
        .read(Place::default(), |_, _, _| {
            left -= 1;
            left > 0
        })
        .unwrap();
    journal.release(at).unwrap();
    drop(journal);
    let (journal, found) = Journal::open(&folder.0, SMALL).unwrap();
    assert_eq!(found.records, 6);
    assert_eq!(all(&journal, Place::default()), records[4..]);
}

#[test]
fn cut_off_anywhere_the_whole_records_before_remain() {
    let folder = Folder::new("cut");
    let (mut journal, _) = Journal::open(&folder.0, SMALL).unwrap();
    let records = fill(&mut journal, 0..12);
    journal.sync().unwrap();
    drop(journal);
    let path = path_of(&folder.0, 1);
    let bytes = std::fs::read(&path).unwrap();
    let mut ends = vec![0];
    ends.extend(records.iter().scan(0, |at, (_, _, payload)| {
        *at += FRAME_HEAD + payload.len();
        Some(*at)
    }));
    for cut in 0..=bytes.len() {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let (mut journal, _) = Journal::open(&folder.0, SMALL).unwrap();
        let whole = ends.iter().rposition(|end| *end <= cut).unwrap();
        assert_eq!(
            all(&journal, Place::default()),
            records[..whole],
            "cut at {cut}"
        );
        // It goes on where it was cut.
        let more = fill(&mut journal, 90..91);
        journal.sync().unwrap();
        assert_eq!(all(&journal, Place::default()).last(), more.last());
    }
}

#[test]
fn a_damaged_record_costs_itself_only() {
    let folder = Folder::new("damage");
    let (mut journal, _) = Journal::open(&folder.0, SMALL).unwrap();
    let records = fill(&mut journal, 0..12);
    journal.sync().unwrap();
    drop(journal);
    let path = path_of(&folder.0, 1);
    let bytes = std::fs::read(&path).unwrap();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        std::fs::write(&path, &damaged).unwrap();
        let (journal, found) = Journal::open(&folder.0, SMALL).unwrap();
        let seen = all(&journal, Place::default());
        assert_eq!(seen.len(), records.len() - 1, "damaged at {at}");
        assert!(seen.iter().all(|one| records.contains(one)));
        assert!(found.torn_bytes > 0);
    }
}

#[test]
fn a_full_journal_says_so_and_a_failing_disk_loses_nothing() {
    let folder = Folder::new("full");
    let limits = Limits {
        segment_bytes: 4096,
        total_bytes: 5000,
    };
    let (mut journal, _) = Journal::open(&folder.0, limits).unwrap();
    let mut records = Vec::new();
    while !journal.is_full() {
        let n = records.len() as u64;
        records.extend(fill(&mut journal, n..n + 1));
        journal.sync().unwrap();
    }
    // A disk that refuses: here, a file that cannot be written.
    journal.file = File::open(path_of(&folder.0, journal.end().segment)).unwrap();
    let n = records.len() as u64;
    records.extend(fill(&mut journal, n..n + 3));
    assert!(journal.sync().is_err());
    assert!(journal.waiting_bytes() > 0);
    journal.sync().unwrap();
    assert_eq!(all(&journal, Place::default()), records);
    drop(journal);
    let (journal, _) = Journal::open(&folder.0, limits).unwrap();
    assert_eq!(all(&journal, Place::default()), records);
}
