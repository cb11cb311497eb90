//! The decoder of Ollama's lines: see `decoder`.
#![no_main]

decoder::fuzz!(r#"{"model": "ollama_chat/llama3", "api_base": "http://127.0.0.1:9"}"#);
