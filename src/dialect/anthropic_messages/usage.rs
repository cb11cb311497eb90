//! Anthropic's counters. The provider counts cached input apart; the hub's prompt holds all of it.

use crate::dialect::value::{Value, json};

use crate::dialect::usage::Usage;

/// The hub's `usage`. `reasoning` is the number of tokens of the thoughts; `None` where they are hidden.
pub fn to_hub(usage: &Value, reasoning: Option<u64>) -> (Usage, Value) {
    let number = |name: &str| usage[name].as_u64().unwrap_or(0);
    let (input, output) = (number("input_tokens"), number("output_tokens"));
    let (read, written) = (
        number("cache_read_input_tokens"),
        number("cache_creation_input_tokens"),
    );
    let prompt = input + read + written;
    let mut details = json!({
        "cache_write_tokens": written,
        "cached_tokens": read,
        "text_tokens": input,
        "cache_creation_tokens": written,
    });
    if let Some(creation) = usage
        .get("cache_creation")
        .filter(|value| value.is_object())
    {
        details["cache_creation_token_details"] = creation.clone();
    }
    let reasoning = reasoning.map(|tokens| tokens.min(output));
    let completion = match reasoning {
        Some(tokens) => json!({"reasoning_tokens": tokens, "text_tokens": output - tokens}),
        None => json!({}),
    };
    let mut body = json!({
        "completion_tokens": output,
        "prompt_tokens": prompt,
        "total_tokens": prompt + output,
        "completion_tokens_details": completion,
        "prompt_tokens_details": details,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
    });
    for name in ["server_tool_use", "service_tier", "inference_geo"] {
        if let Some(value) = usage.get(name).filter(|value| !value.is_null()) {
            body[name] = value.clone();
        }
    }
    let counted = Usage {
        prompt_tokens: prompt,
        completion_tokens: output,
        total_tokens: prompt + output,
        cached_tokens: read,
        cache_creation_tokens: written,
        reasoning_tokens: reasoning.unwrap_or(0),
        ..Usage::default()
    };
    (counted, body)
}
