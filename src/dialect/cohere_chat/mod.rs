//! Cohere's v2 API, from and to the hub: chat, embeddings. Knows no address and no credential.

pub mod embed;
pub mod request;
pub mod response;
pub mod stream;

/// The hub's word for a reason to stop.
pub fn finish_reason(reason: &str) -> &'static str {
    match reason {
        "MAX_TOKENS" => "length",
        "TOOL_CALL" => "tool_calls",
        "ERROR_TOXIC" => "content_filter",
        _ => "stop",
    }
}
