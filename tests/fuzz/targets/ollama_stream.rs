//! The decoder of Ollama's lines: see `decoder`.
#![no_main]

mod decoder;

use std::cell::LazyCell;

use decoder::{dialect, error, provider};
use libfuzzer_sys::fuzz_target;

const PARAMS: &str = r#"{"model": "ollama_chat/llama3", "api_base": "http://127.0.0.1:9"}"#;

thread_local! {
    static TARGET: LazyCell<provider::Target> = LazyCell::new(|| decoder::target(PARAMS));
}

fuzz_target!(|input: &[u8]| TARGET.with(|target| decoder::check(target, input)));
