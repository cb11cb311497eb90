//! Event streams: however they are cut, the same events come out, they are those that a plain reading line by
//! line finds, and no byte is lost between them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shardgate_io::sse::{EventSplitter, data};

fuzz_target!(|input: &[u8]| {
    let Some((&piece, stream)) = input.split_first() else {
        return;
    };
    let (whole, tail) = split(stream, stream.len().max(1));
    let (pieces, _) = split(stream, usize::from(piece).max(1));
    assert_eq!(payloads(&whole), payloads(&pieces));
    let reference = plain_reading(stream);
    let found = payloads(&whole);
    assert_eq!(found[..], reference[..found.len()]);
    // A CR at the very end may be half of a line's end: the last event is then still awaited.
    assert!(
        reference.len() == found.len()
            || (reference.len() == found.len() + 1 && stream.ends_with(b"\r"))
    );
    assert!(stream.ends_with(tail));
});

fn split(stream: &[u8], piece: usize) -> (Vec<&[u8]>, &[u8]) {
    let mut splitter = EventSplitter::default();
    let (mut events, mut at, mut given) = (Vec::new(), 0, 0);
    while given < stream.len() {
        given = (given + piece).min(stream.len());
        while let Some(event) = splitter.next(&stream[at..given]) {
            assert!(event.start < event.end && at + event.end <= given);
            events.push(&stream[at + event.start..at + event.end]);
            at += event.end;
        }
    }
    (events, &stream[at..])
}

type Payload = (Vec<u8>, Option<Vec<u8>>);

fn payloads(events: &[&[u8]]) -> Vec<Payload> {
    events
        .iter()
        .map(|event| {
            let found = data(event);
            (
                found.name.to_vec(),
                found.payload.map(|payload| payload.into_owned()),
            )
        })
        .collect()
}

/// The standard's rules, read off line by line.
fn plain_reading(stream: &[u8]) -> Vec<Payload> {
    let mut normal = Vec::new();
    for (at, &byte) in stream.iter().enumerate() {
        match byte {
            b'\r' => normal.push(b'\n'),
            b'\n' if at > 0 && stream[at - 1] == b'\r' => {}
            byte => normal.push(byte),
        }
    }
    let mut events = Vec::new();
    let mut current: Option<Payload> = None;
    let mut lines: Vec<&[u8]> = normal.split(|&b| b == b'\n').collect();
    lines.pop();
    for line in lines {
        if line.is_empty() {
            events.extend(current.take());
            continue;
        }
        let first = current.is_none();
        let (name, payload) = current.get_or_insert_default();
        let line = if first {
            line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line)
        } else {
            line
        };
        let colon = line.iter().position(|&b| b == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &line[..colon] {
            b"event" => *name = value.to_vec(),
            b"data" => match payload {
                Some(before) => {
                    before.push(b'\n');
                    before.extend_from_slice(value);
                }
                None => *payload = Some(value.to_vec()),
            },
            _ => {}
        }
    }
    events
}
