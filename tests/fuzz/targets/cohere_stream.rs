//! The decoder of Cohere's events: see `decoder`.
#![no_main]

decoder::fuzz!(r#"{"model": "cohere_chat/command-r", "api_key": "k"}"#);
