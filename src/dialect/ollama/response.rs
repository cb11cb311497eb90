//! From a whole answer to the hub.

use crate::dialect::value::{Map, Value, json};

use crate::dialect::hub::{Stamp, choice, completion, spaced_json, tool_call};
use crate::dialect::usage::Usage;

/// Translates an answer of chat or generate.
pub fn translate(answer: &Value, stamp: &Stamp) -> (Map, Usage) {
    let message = &answer["message"];
    let text = message["content"].as_str().or(answer["response"].as_str());
    let mut hub = json!({"role": "assistant", "content": text.unwrap_or_default()});
    let thought = message["thinking"].as_str().or(answer["thinking"].as_str());
    if let Some(thought) = thought.filter(|text| !text.is_empty()) {
        hub["reasoning_content"] = json!(thought);
    }
    let calls = calls_to_hub(message, 0, &stamp.fresh);
    let reason = finish_reason(answer, !calls.is_empty());
    if !calls.is_empty() {
        hub["tool_calls"] = Value::Array(calls);
    }
    let (counted, usage) = usage_to_hub(answer);
    (
        completion(stamp, vec![choice(0, hub, reason)], usage),
        counted,
    )
}

/// Ollama numbers no calls: their ids are made of `fresh`, counted from `first`.
pub(super) fn calls_to_hub(message: &Value, first: usize, fresh: &str) -> Vec<Value> {
    let calls = message["tool_calls"].as_array().into_iter().flatten();
    calls
        .enumerate()
        .map(|(index, call)| {
            let index = first + index;
            let id = match call["id"].as_str() {
                Some(id) => id.to_owned(),
                None => format!("call_{fresh}{index}"),
            };
            let function = &call["function"];
            let name = function["name"].as_str().unwrap_or_default();
            tool_call(index, &id, name, &spaced_json(&function["arguments"]))
        })
        .collect()
}

/// The hub's word for why it ended.
pub(super) fn finish_reason(answer: &Value, has_calls: bool) -> &'static str {
    match answer["done_reason"].as_str() {
        Some("length") => "length",
        _ if has_calls => "tool_calls",
        _ => "stop",
    }
}

/// The hub's `usage`.
pub(super) fn usage_to_hub(answer: &Value) -> (Usage, Value) {
    let number = |name: &str| answer[name].as_u64().unwrap_or(0);
    let (prompt, completion) = (number("prompt_eval_count"), number("eval_count"));
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

/// The hub's answer to embeddings.
pub fn embeddings(answer: &Value, model: &str) -> Option<(Map, Usage)> {
    let vectors = answer["embeddings"].as_array()?;
    let data = vectors
        .iter()
        .enumerate()
        .map(|(index, vector)| json!({"object": "embedding", "index": index, "embedding": vector}));
    let tokens = answer["prompt_eval_count"].as_u64().unwrap_or(0);
    let mut body = Map::new();
    body.insert("object", json!("list"));
    body.insert("model", json!(model));
    body.insert("data", data.collect());
    body.insert(
        "usage".to_owned(),
        json!({
            "completion_tokens": 0, "prompt_tokens": tokens, "total_tokens": tokens,
            "completion_tokens_details": null, "prompt_tokens_details": null,
        }),
    );
    let counted = Usage {
        prompt_tokens: tokens,
        total_tokens: tokens,
        ..Usage::default()
    };
    Some((body, counted))
}
