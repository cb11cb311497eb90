//! Whatever a file holds, it is read or refused; it never stops the process or takes its time.

use std::time::{Duration, Instant};

use shardgate_config::{Options, parse};

fn environment(name: &str) -> Option<String> {
    ["K", "OPENAI_API_KEY"]
        .contains(&name)
        .then(|| String::from("v"))
}

fn read(text: &str) -> bool {
    parse(text, "c.yaml", &environment, Options::default()).is_ok()
}

/// A small generator of our own, so that a failure can be repeated from its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

const SOURCES: [&str; 4] = [
    include_str!("mistakes.yaml"),
    include_str!("golden/anchors.yaml"),
    include_str!("golden/scalars.yaml"),
    include_str!("../examples/production.yaml"),
];

const PIECES: [&str; 24] = [
    ":",
    "- ",
    "\n",
    " ",
    "  ",
    "[",
    "]",
    "{",
    "}",
    ",",
    "&a ",
    "*a",
    "<<: ",
    "\"",
    "'",
    "|\n",
    "!!",
    "#",
    "\t",
    "?",
    "os.environ/",
    "null",
    "1e999",
    "\u{feff}",
];

#[test]
fn mutated_files_are_read_or_refused() {
    let seed = 0x5eed_0001;
    let mut random = Random(seed);
    for round in 0..2_000 {
        let source = SOURCES[random.below(SOURCES.len())];
        let mut text: Vec<char> = source.chars().collect();
        for _ in 0..=random.below(6) {
            let at = random.below(text.len() + 1);
            match random.below(3) {
                0 => {
                    let to = (at + random.below(20)).min(text.len());
                    text.drain(at..to);
                }
                1 => {
                    let piece = PIECES[random.below(PIECES.len())];
                    text.splice(at..at, piece.chars());
                }
                _ => {
                    let other = SOURCES[random.below(SOURCES.len())];
                    let from = random.below(other.chars().count());
                    let part: Vec<char> = other.chars().skip(from).take(30).collect();
                    text.splice(at..at, part);
                }
            }
        }
        let text: String = text.into_iter().collect();
        let outcome = std::panic::catch_unwind(|| read(&text));
        assert!(outcome.is_ok(), "seed {seed:#x} round {round}:\n{text}");
    }
}

#[test]
fn truncated_files_are_read_or_refused() {
    for source in SOURCES {
        for (at, _) in source.char_indices() {
            read(&source[..at]);
        }
    }
}

#[test]
fn five_thousand_deployments_are_read_quickly() {
    let mut text = String::from("model_list:\n");
    for number in 0..5_000 {
        text.push_str(&format!(
            "- {{model_name: m{}, litellm_params: {{model: openai/m, api_key: os.environ/K, rpm: 5, \
             api_base: \"http://h{number}.example/v1\"}}, model_info: {{id: d{number}}}}}\n",
            number / 2
        ));
    }
    let start = Instant::now();
    assert!(read(&text));
    let took = start.elapsed();
    println!("5000 deployments, {} KiB: {took:?}", text.len() / 1024);
    assert!(took < Duration::from_secs(10), "{took:?}");
}
