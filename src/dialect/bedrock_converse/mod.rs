//! Bedrock's Converse, from and to the hub, and the few models that speak only their own invoke dialects. Knows no address
//! and no credential.

pub mod embed;
pub mod error;
pub mod invoke;
pub mod request;
pub mod response;
pub mod stream;

/// The tool through which models are made to answer in JSON.
pub const JSON_TOOL: &str = "json_tool_call";

/// The hub's word for a reason to stop.
pub fn finish_reason(reason: &str) -> &str {
    match reason {
        "end_turn" | "stop_sequence" => "stop",
        "max_tokens" | "model_context_window_exceeded" => "length",
        "tool_use" => "tool_calls",
        "guardrail_intervened" | "content_filtered" => "content_filter",
        other => other,
    }
}
