//! The decoder of Bedrock's binary event stream: see `decoder`.
#![no_main]

mod decoder;

use std::cell::LazyCell;

use decoder::{dialect, error, provider};
use libfuzzer_sys::fuzz_target;

const PARAMS: &str = r#"{"model": "bedrock/anthropic.claude-3-haiku-20240307-v1:0", "aws_access_key_id": "a", "aws_secret_access_key": "s"}"#;

thread_local! {
    static TARGET: LazyCell<provider::Target> = LazyCell::new(|| decoder::target(PARAMS));
}

fuzz_target!(|input: &[u8]| TARGET.with(|target| decoder::check(target, input)));
