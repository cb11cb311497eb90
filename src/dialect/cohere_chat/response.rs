//! From a whole chat answer to the hub.

use crate::dialect::value::{Map, Value, json};

use super::finish_reason;
use crate::dialect::hub::{Stamp, choice, completion, tool_call};
use crate::dialect::usage::Usage;

/// Translates an answer.
pub fn translate(answer: &Value, stamp: &Stamp) -> (Map, Usage) {
    let message = &answer["message"];
    let parts = message["content"].as_array().map(Vec::as_slice);
    let parts = parts.unwrap_or_default();
    let join = |name: &str| -> String {
        let texts = parts.iter().filter_map(|part| part[name].as_str());
        texts.collect()
    };
    let (text, thoughts) = (join("text"), join("thinking"));
    let mut hub = json!({"role": "assistant", "content": null});
    if !text.is_empty() {
        hub["content"] = json!(text);
    }
    if !thoughts.is_empty() {
        hub["reasoning_content"] = json!(thoughts);
    }
    let calls: Vec<Value> = message["tool_calls"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
        .map(|(index, call)| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let function = &call["function"];
            let arguments = text(&function["arguments"]);
            tool_call(
                index,
                &text(&call["id"]),
                &text(&function["name"]),
                &arguments,
            )
        })
        .collect();
    if !calls.is_empty() {
        hub["tool_calls"] = Value::Array(calls);
    }
    let notes: Vec<Value> = message["citations"]
        .as_array()
        .into_iter()
        .flatten()
        .map(annotation)
        .collect();
    if !notes.is_empty() {
        hub["annotations"] = Value::Array(notes);
    }
    let reason = finish_reason(answer["finish_reason"].as_str().unwrap_or_default());
    let (counted, usage) = usage_to_hub(&answer["usage"]);
    (
        completion(stamp, vec![choice(0, hub, reason)], usage),
        counted,
    )
}

fn annotation(citation: &Value) -> Value {
    let id = citation["sources"][0]["id"].as_str().unwrap_or_default();
    json!({"type": "url_citation", "url_citation": {
        "start_index": citation["start"], "end_index": citation["end"],
        "title": "", "url": format!("source:{id}"),
    }})
}

/// The hub's `usage`.
pub fn usage_to_hub(usage: &Value) -> (Usage, Value) {
    let tokens = usage.get("tokens").unwrap_or(&usage["billed_units"]);
    let number = |name: &str| tokens[name].as_u64().unwrap_or(0);
    let (prompt, completion) = (number("input_tokens"), number("output_tokens"));
    let counted = Usage {
        prompt_tokens: prompt,
        completion_tokens: completion,
        total_tokens: prompt + completion,
        ..Usage::default()
    };
    let body = json!({
        "completion_tokens": completion, "prompt_tokens": prompt, "total_tokens": prompt + completion,
    });
    (counted, body)
}
