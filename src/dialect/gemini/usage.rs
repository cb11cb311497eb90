//! Google's counters.

use crate::dialect::value::{Map, Value, json};

use crate::dialect::usage::Usage;

/// The hub's `usage`; `searches` is the number of searches that the answer is grounded in.
pub fn to_hub(usage: &Value, searches: u64) -> (Usage, Value) {
    let number = |name: &str| usage[name].as_u64().unwrap_or(0);
    let prompt = number("promptTokenCount") + number("toolUsePromptTokenCount");
    let thoughts = number("thoughtsTokenCount");
    let completion = number("candidatesTokenCount") + thoughts;
    let total = number("totalTokenCount").max(prompt + completion);
    let cached = number("cachedContentTokenCount");
    let mut body = json!({
        "completion_tokens": completion,
        "prompt_tokens": prompt,
        "total_tokens": total,
    });
    let mut details = by_modality(&usage["promptTokensDetails"]);
    let audio = details.get("audio_tokens").and_then(Value::as_u64);
    if cached > 0 {
        details.insert("cached_tokens", json!(cached));
        let parts = by_modality(&usage["cacheTokensDetails"]);
        details.insert("cached_tokens_details", Value::Object(parts));
        body["cache_read_input_tokens"] = json!(cached);
    }
    if searches > 0 {
        details.insert("web_search_requests", json!(searches));
    }
    let mut written = by_modality(&usage["candidatesTokensDetails"]);
    let spoken = written.get("audio_tokens").and_then(Value::as_u64);
    if thoughts > 0 {
        written.insert("reasoning_tokens", json!(thoughts));
    }
    if completion > 0 && !written.is_empty() {
        body["completion_tokens_details"] = Value::Object(written);
    }
    if completion > 0 && !details.is_empty() {
        body["prompt_tokens_details"] = Value::Object(details);
    }
    let counted = Usage {
        prompt_tokens: prompt,
        completion_tokens: completion,
        total_tokens: total,
        cached_tokens: cached,
        reasoning_tokens: thoughts,
        audio_prompt_tokens: audio.unwrap_or(0),
        audio_completion_tokens: spoken.unwrap_or(0),
        ..Usage::default()
    };
    (counted, body)
}

/// `[{"modality": "TEXT", "tokenCount": 3}]` as `{"text_tokens": 3}`.
fn by_modality(list: &Value) -> Map {
    let mut out = Map::new();
    for entry in list.as_array().into_iter().flatten() {
        let Some(kind) = entry["modality"].as_str() else {
            continue;
        };
        let name = match kind {
            "DOCUMENT" => "text_tokens".to_owned(),
            kind => format!("{}_tokens", kind.to_ascii_lowercase()),
        };
        let count = entry["tokenCount"].as_u64().unwrap_or(0);
        let before = out.get(&name).and_then(Value::as_u64).unwrap_or(0);
        out.insert(name, json!(before + count));
    }
    out
}
