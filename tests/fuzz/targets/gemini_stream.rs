//! The decoder of Gemini's events: see `decoder`.
#![no_main]

decoder::fuzz!(r#"{"model": "gemini/gemini-2.5-flash", "api_key": "k"}"#);
