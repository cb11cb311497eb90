//! The decoders of tests/fuzz, on stable and without a fuzzer: each seed is damaged in ways that a fixed generator picks,
//! and a stream that is fed whole and in pieces must give the same bytes and the same end, without a panic.

use std::fs;
use std::path::Path;

use shardgate::provider::{AnswerContext, Operation, StreamEnd, StreamReader, Target};

/// The target's name, which is also its folder of seeds, and its deployment.
const DECODERS: &[(&str, &str)] = &[
    (
        "anthropic_stream",
        r#"{"model": "anthropic/claude-3-5-sonnet-20241022", "api_key": "k"}"#,
    ),
    (
        "bedrock_stream",
        r#"{"model": "bedrock/anthropic.claude-3-haiku-20240307-v1:0", "aws_access_key_id": "a",
            "aws_secret_access_key": "s"}"#,
    ),
    (
        "cohere_stream",
        r#"{"model": "cohere_chat/command-r", "api_key": "k"}"#,
    ),
    (
        "gemini_stream",
        r#"{"model": "gemini/gemini-2.5-flash", "api_key": "k"}"#,
    ),
    (
        "ollama_stream",
        r#"{"model": "ollama_chat/llama3", "api_base": "http://127.0.0.1:9"}"#,
    ),
    (
        "replicate_looks",
        r#"{"model": "replicate/a/b", "api_key": "k"}"#,
    ),
    (
        "watsonx_stream",
        r#"{"model": "watsonx/ibm/granite", "token": "t", "project_id": "p"}"#,
    ),
];
/// Damaged copies of each seed.
const COPIES: u64 = 150;
const CLIENTS: [Operation; 3] = [Operation::Chat, Operation::Messages, Operation::Responses];

#[test]
fn damaged_streams_are_decoded_alike_however_they_are_cut() {
    for (name, params) in DECODERS {
        let params = serde_json::from_str(params).unwrap();
        let target = Target::from_params(&params, &|_| None).unwrap();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds");
        let mut seeds: Vec<_> = fs::read_dir(folder.join(name)).unwrap().collect();
        seeds.sort_by_key(|entry| entry.as_ref().unwrap().path());
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for entry in seeds {
            let path = entry.unwrap().path();
            let stream = fs::read(&path).unwrap().split_off(2);
            for copy in 0..COPIES {
                let mut random = Random(copy + 1);
                let damaged = damage(&stream, copy, &mut random);
                let piece = 1 + random.below(40);
                for operation in CLIENTS {
                    let whole = feed(&target, operation, &damaged, damaged.len().max(1));
                    let pieces = feed(&target, operation, &damaged, piece);
                    assert_eq!(
                        whole,
                        pieces,
                        "{} copy {copy} {operation:?}",
                        path.display()
                    );
                }
            }
        }
    }
}

/// The first copy is the seed itself; others are cut, or have bytes changed, doubled or left out.
fn damage(stream: &[u8], copy: u64, random: &mut Random) -> Vec<u8> {
    let mut bytes = stream.to_vec();
    if copy == 0 {
        return bytes;
    }
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len().max(1));
        match random.below(4) {
            0 => bytes.truncate(at),
            1 if at < bytes.len() => bytes[at] = random.below(256) as u8,
            2 => {
                let end = (at + random.below(64)).min(bytes.len());
                bytes.drain(at.min(end)..end);
            }
            _ => {
                let end = (at + random.below(200)).min(bytes.len());
                let again = bytes[at.min(end)..end].to_vec();
                bytes.splice(at.min(end)..at.min(end), again);
            }
        }
    }
    bytes
}

/// What the client gets, and how it ended: `None` where an error ended it.
type Fed = (Vec<u8>, Option<StreamEnd>);

fn feed(target: &Target, operation: Operation, stream: &[u8], piece: usize) -> Option<Fed> {
    let context = AnswerContext {
        operation,
        requested_model: "m",
        keep_upstream_model: false,
        usage_asked: true,
        now_unix_s: 1_741_570_000,
        fresh_id: "abc",
        response_id: "",
        renamed: &[],
    };
    let StreamReader::Translate(mut reader) = target.stream(&context) else {
        return None;
    };
    let mut out = Vec::new();
    let failed = stream
        .chunks(piece)
        .any(|bytes| reader.feed(bytes, &mut out).is_err());
    let end = (!failed).then(|| reader.end(&mut out));
    if end == Some(StreamEnd::Complete) {
        assert!(reader.is_done());
    }
    // What is translated is JSON of ours; a client of the provider's own dialect gets its events as they are.
    assert!(operation != Operation::Chat || std::str::from_utf8(&out).is_ok());
    Some((out, end))
}

/// A xorshift generator: the copy's number is the seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23) ^ 0x5851_f42d;
        (self.0 >> 20) as usize % bound
    }
}
