//! Anthropic's Messages API, from and to the hub. Also spoken by Claude on Vertex AI and by Bedrock's invoke. Knows no
//! address and no credential.

pub mod client;
pub mod client_stream;
pub mod error;
pub mod model;
pub mod request;
pub mod response;
pub mod stream;
pub mod usage;

/// The tool through which models without structured output are made to answer in JSON.
pub const JSON_TOOL: &str = "json_tool_call";

/// The hub's word for a reason to stop.
pub fn finish_reason(reason: &str) -> &str {
    match reason {
        "end_turn" | "stop_sequence" | "pause_turn" | "stop" => "stop",
        "max_tokens" | "model_context_window_exceeded" => "length",
        "tool_use" => "tool_calls",
        "refusal" => "content_filter",
        other => other,
    }
}
