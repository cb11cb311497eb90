//! The decoder of Anthropic's events: see `decoder`.
#![no_main]

decoder::fuzz!(r#"{"model": "anthropic/claude-3-5-sonnet-20241022", "api_key": "k"}"#);
