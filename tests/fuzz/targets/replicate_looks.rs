//! The decoder of looks at Replicate's predictions: see `decoder`.
#![no_main]

decoder::fuzz!(r#"{"model": "replicate/a/b", "api_key": "k"}"#);
