//! Google's generateContent, from and to the hub: Gemini and Gemma on the Gemini API and on Vertex AI. Knows no address and
//! no credential.

pub mod client;
pub mod embed;
pub mod error;
pub mod request;
pub mod response;
pub mod schema;
pub mod stream;
pub mod usage;

/// The hub's word for a reason to stop.
pub fn finish_reason(reason: &str) -> &'static str {
    match reason {
        "MAX_TOKENS" => "length",
        "SAFETY"
        | "RECITATION"
        | "LANGUAGE"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION"
        | "MODEL_ARMOR" => "content_filter",
        _ => "stop",
    }
}
