//! A process that publishes records is killed for real, again and again: whatever it had said to be
//! published is in the ring of the next one.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use shardgate_io::ring::{self, CAPACITY_BYTES_MIN};

const RING: &str = "SHARDGATE_TEST_RING";
const ROUNDS: u64 = 12;

/// Does nothing in a usual run; [`killed_processes`] starts it as the process to kill.
#[test]
fn publisher() {
    let Some(path) = std::env::var_os(RING) else {
        return;
    };
    let (mut writer, mut reader, _) = ring::open(Path::new(&path), CAPACITY_BYTES_MIN, 1).unwrap();
    // What the last process left is told, with its numbers, before new work; after the words that
    // the test harness has put on this line.
    let mut out = std::io::stdout().lock();
    writeln!(out).unwrap();
    let mut next = 0;
    reader.read(|_, payload| {
        let number = u64::from_le_bytes(payload[..8].try_into().unwrap());
        writeln!(out, "found {number}").unwrap();
        next = number + 1;
        true
    });
    reader.release();
    writeln!(out, "ready").unwrap();
    let start = std::env::var("SHARDGATE_TEST_NEXT")
        .unwrap()
        .parse::<u64>()
        .unwrap();
    for number in start.max(next).. {
        let Ok(slot) = writer.reserve() else {
            // Full: nothing more to do but to be killed.
            loop {
                std::thread::park();
            }
        };
        let mut payload = vec![number as u8; 8 + number as usize % 90];
        payload[..8].copy_from_slice(&number.to_le_bytes());
        writer.push(slot, &payload);
        writeln!(out, "published {number}").unwrap();
    }
}

#[test]
fn killed_processes() {
    let folder = std::env::temp_dir().join(format!("ring-killed-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("ring");
    let (mut published, mut found) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["publisher", "--exact", "--nocapture", "--test-threads=1"])
            .env(RING, &path)
            .env("SHARDGATE_TEST_NEXT", (published.len() as u64).to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut left = 1 + (round * 37) % 150;
        for line in &mut lines {
            let line = line.unwrap();
            if let Some(number) = line.strip_prefix("found ") {
                found.push(number.parse::<u64>().unwrap());
            } else if let Some(number) = line.strip_prefix("published ") {
                published.push(number.parse::<u64>().unwrap());
                left -= 1;
                if left == 0 {
                    break;
                }
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it said between our last look and its death.
        for line in lines.map_while(Result::ok) {
            if let Some(number) = line.strip_prefix("published ") {
                published.extend(number.parse::<u64>());
            }
        }
    }
    let (_, mut reader, _) = ring::open(&path, CAPACITY_BYTES_MIN, 1).unwrap();
    reader.read(|_, payload| {
        found.push(u64::from_le_bytes(payload[..8].try_into().unwrap()));
        true
    });
    let _ = std::fs::remove_dir_all(&folder);
    assert!(
        found.windows(2).all(|pair| pair[0] < pair[1]),
        "doubled or out of order: {found:?}"
    );
    let lost: Vec<_> = published
        .iter()
        .filter(|number| !found.contains(number))
        .collect();
    assert!(lost.is_empty(), "lost {lost:?}");
    println!("{} published, {ROUNDS} kills", published.len());
}
