//! The decoder of looks at Replicate's predictions: see `decoder`.
#![no_main]

mod decoder;

use std::cell::LazyCell;

use decoder::{dialect, error, provider};
use libfuzzer_sys::fuzz_target;

const PARAMS: &str = r#"{"model": "replicate/a/b", "api_key": "k"}"#;

thread_local! {
    static TARGET: LazyCell<provider::Target> = LazyCell::new(|| decoder::target(PARAMS));
}

fuzz_target!(|input: &[u8]| TARGET.with(|target| decoder::check(target, input)));
