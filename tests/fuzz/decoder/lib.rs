//! What all targets of stream decoders share, compiled once for all of them: a stream that is fed whole and in
//! pieces gives the same bytes and the same end, and none makes a decoder panic. The first byte of an input is
//! the size of its pieces, the second says which client asks.

#[path = "../../../src/dialect/mod.rs"]
pub mod dialect;
#[path = "../../../src/error.rs"]
pub mod error;
#[path = "../../../src/provider/mod.rs"]
pub mod provider;

use provider::{AnswerContext, Operation, StreamEnd, StreamReader, Target};

const CLIENTS: [Operation; 4] = [
    Operation::Chat,
    Operation::Messages,
    Operation::Responses,
    Operation::GenerateContent,
];

/// A target that feeds each input to the decoder of a deployment with these `litellm_params`.
#[macro_export]
macro_rules! fuzz {
    ($params:expr) => {
        thread_local! {
            static TARGET: $crate::provider::Target = $crate::target($params);
        }

        libfuzzer_sys::fuzz_target!(|input: &[u8]| TARGET.with(|target| $crate::check(target, input)));
    };
}

/// A deployment; `params` are its `litellm_params` as JSON.
pub fn target(params: &str) -> Target {
    let params = serde_json::from_str(params).expect("JSON");
    Target::from_params(&params, &|_| None).expect("a deployment")
}

/// Feeds an input.
pub fn check(target: &Target, input: &[u8]) {
    let [piece, client, stream @ ..] = input else {
        return;
    };
    let operation = CLIENTS[usize::from(*client) % CLIENTS.len()];
    let Some(whole) = feed(target, operation, stream, stream.len().max(1)) else {
        return;
    };
    let pieces = feed(target, operation, stream, usize::from(*piece).max(1));
    assert_eq!(Some(whole), pieces);
}

/// What the client gets, and how it ended: `None` where an error ended it. Streams that are relayed have no decoder.
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
    let mut failed = false;
    for bytes in stream.chunks(piece) {
        if reader.feed(bytes, &mut out).is_err() {
            failed = true;
            break;
        }
    }
    let end = (!failed).then(|| reader.end(&mut out));
    if end == Some(StreamEnd::Complete) {
        assert!(reader.is_done());
    }
    // What is translated is JSON of ours; a client of the provider's own dialect gets its events as they are.
    assert!(operation != Operation::Chat || std::str::from_utf8(&out).is_ok());
    Some((out, end))
}
