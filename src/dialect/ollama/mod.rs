//! Ollama's chat and generate, from and to the hub, and its embeddings. Knows no address.

pub mod request;
pub mod response;
pub mod stream;
