//! From a whole Converse answer to the hub.

use crate::dialect::value::{Map, Value, json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{JSON_TOOL, finish_reason};
use crate::dialect::hub::{Stamp, choice, completion, estimate_tokens, spaced_json, tool_call};
use crate::dialect::usage::Usage;

/// Translates an answer.
pub fn translate(answer: &Value, stamp: &Stamp) -> (Map, Usage) {
    let mut parts = Parts::default();
    for block in answer["output"]["message"]["content"]
        .as_array()
        .into_iter()
        .flatten()
    {
        parts.block(block, stamp);
    }
    let hidden = !parts.thoughts.is_empty() && parts.reasoning.is_empty();
    let reasoning = (!hidden).then(|| estimate_tokens(&parts.reasoning));
    let (counted, usage) = usage_to_hub(&answer["usage"], reasoning);
    let reason = match finish_reason(answer["stopReason"].as_str().unwrap_or("end_turn")) {
        "tool_calls" if parts.is_json && parts.calls.is_empty() => "stop",
        reason => reason,
    };
    let choices = vec![choice(0, parts.message(), reason)];
    (completion(stamp, choices, usage), counted)
}

#[derive(Default)]
struct Parts {
    text: String,
    reasoning: String,
    thoughts: Vec<Value>,
    native: Vec<Value>,
    calls: Vec<Value>,
    is_json: bool,
}

impl Parts {
    fn block(&mut self, block: &Value, stamp: &Stamp) {
        if let Some(text) = block["text"].as_str() {
            self.text.push_str(text);
        } else if let Some(tool) = block.get("toolUse") {
            let name = tool["name"].as_str().unwrap_or_default();
            let input = spaced_json(&tool["input"]);
            if name == JSON_TOOL {
                self.is_json = true;
                self.text.push_str(&input);
                return;
            }
            let id = tool["toolUseId"].as_str().unwrap_or_default();
            self.calls.push(tool_call(
                self.calls.len(),
                id,
                stamp.tool_name(name),
                &input,
            ));
        } else if let Some(thought) = block.get("reasoningContent") {
            self.native.push(thought.clone());
            self.thoughts.push(thought_to_hub(thought));
            let text = thought["reasoningText"]["text"].as_str();
            self.reasoning.push_str(text.unwrap_or_default());
        }
    }

    fn message(self) -> Value {
        let mut message = json!({"role": "assistant", "content": self.text});
        if !self.calls.is_empty() {
            message["tool_calls"] = Value::Array(self.calls);
        }
        if !self.thoughts.is_empty() {
            message["reasoning_content"] = json!(self.reasoning);
            message["thinking_blocks"] = Value::Array(self.thoughts);
            message["provider_specific_fields"] = json!({"reasoningContentBlocks": self.native});
        }
        message
    }
}

fn thought_to_hub(thought: &Value) -> Value {
    if let Some(data) = thought["redactedContent"].as_str() {
        let plain = STANDARD
            .decode(data)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        return json!({"type": "redacted_thinking", "data": plain.as_deref().unwrap_or(data)});
    }
    let text = &thought["reasoningText"];
    let mut block = json!({"type": "thinking", "thinking": text["text"]});
    if let Some(signature) = text.get("signature") {
        block["signature"] = signature.clone();
    }
    block
}

/// The hub's `usage`. Bedrock counts cached input apart; the hub's prompt holds all of it.
pub fn usage_to_hub(usage: &Value, reasoning: Option<u64>) -> (Usage, Value) {
    let number = |name: &str| usage[name].as_u64().unwrap_or(0);
    let (input, output) = (number("inputTokens"), number("outputTokens"));
    let (read, written) = (
        number("cacheReadInputTokens"),
        number("cacheWriteInputTokens"),
    );
    let prompt = input + read + written;
    let total = number("totalTokens").max(prompt + output);
    let reasoning = reasoning.map(|tokens| tokens.min(output));
    let completion = match reasoning {
        Some(tokens) => json!({"reasoning_tokens": tokens, "text_tokens": output - tokens}),
        None => json!({}),
    };
    let body = json!({
        "completion_tokens": output,
        "prompt_tokens": prompt,
        "total_tokens": total,
        "completion_tokens_details": completion,
        "prompt_tokens_details": {
            "cache_write_tokens": written, "cached_tokens": read,
            "text_tokens": input, "cache_creation_tokens": written,
        },
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
    });
    let counted = Usage {
        prompt_tokens: prompt,
        completion_tokens: output,
        total_tokens: total,
        cached_tokens: read,
        cache_creation_tokens: written,
        reasoning_tokens: reasoning.unwrap_or(0),
        ..Usage::default()
    };
    (counted, body)
}
