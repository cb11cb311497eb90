//! Recorded streams of a vendor: cut anywhere they give the same events, all of them JSON.

use shardgate_io::sse::{EventSplitter, data};

#[test]
fn recorded_streams() {
    let Some(corpora) = crate::corpora() else {
        return;
    };
    let mut events_seen = 0;
    for entry in std::fs::read_dir(corpora.join("anthropic_sse")).expect("corpus") {
        let stream = std::fs::read(entry.expect("entry").path()).expect("readable");
        let whole = split(&stream, &[]);
        assert!(whole.len() > 3);
        events_seen += whole.len();
        for (name, payload) in &whole {
            let value: serde_json::Value = serde_json::from_slice(payload).expect("JSON");
            assert_eq!(
                value.get("type").and_then(|kind| kind.as_str()),
                Some(name.as_str())
            );
        }
        let every: Vec<usize> = (0..stream.len()).collect();
        assert_eq!(split(&stream, &every), whole);
        for cut in 0..stream.len() {
            assert_eq!(split(&stream, &[cut]), whole, "cut at {cut}");
        }
        for end in 0..stream.len() {
            let front = split(&stream[..end], &[]);
            assert_eq!(front[..], whole[..front.len()], "truncated at {end}");
        }
    }
    println!("sse: {events_seen} recorded events");
}

fn split(stream: &[u8], cuts: &[usize]) -> Vec<(String, Vec<u8>)> {
    let mut splitter = EventSplitter::default();
    let mut events = Vec::new();
    let mut at = 0;
    for &cut in cuts.iter().chain([&stream.len()]) {
        while let Some(event) = splitter.next(&stream[at..cut]) {
            let found = data(&stream[at + event.start..at + event.end]);
            let name = String::from_utf8_lossy(found.name).into_owned();
            events.push((name, found.payload.unwrap_or_default().into_owned()));
            at += event.end;
        }
    }
    events
}
