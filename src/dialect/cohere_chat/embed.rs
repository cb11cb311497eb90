//! Embeddings.

use crate::dialect::value::{Map, Value, json};

use crate::dialect::hub::Call;
use crate::dialect::usage::Usage;

/// A request.
pub fn request(mut call: Call) -> Map {
    let texts = match call.take("input") {
        Some(texts @ Value::Array(_)) => texts,
        Some(one) => json!([one]),
        None => json!([]),
    };
    let kind = call
        .take("input_type")
        .unwrap_or_else(|| json!("search_document"));
    let mut body = Map::new();
    body.insert("model", json!(call.model));
    body.insert("texts", texts);
    body.insert("input_type", kind);
    if let Some(format) = call.take("encoding_format") {
        body.insert("embedding_types", json!([format]));
    }
    if let Some(dimensions) = call.take("dimensions") {
        body.insert("output_dimension", dimensions);
    }
    call.take("user");
    body.extend(call.fields);
    body
}

/// The hub's answer.
pub fn answer(reply: &Value, model: &str) -> Option<(Map, Usage)> {
    let vectors: Vec<&Value> = match &reply["embeddings"] {
        Value::Array(vectors) => vectors.iter().collect(),
        Value::Object(kinds) => kinds
            .values()
            .filter_map(Value::as_array)
            .flatten()
            .collect(),
        _ => return None,
    };
    let data: Vec<Value> = vectors
        .into_iter()
        .enumerate()
        .map(|(index, vector)| json!({"object": "embedding", "index": index, "embedding": vector}))
        .collect();
    let tokens = reply["meta"]["billed_units"]["input_tokens"]
        .as_u64()
        .unwrap_or(0);
    let mut body = Map::new();
    body.insert("object", json!("list"));
    body.insert("model", json!(model));
    body.insert("data", Value::Array(data));
    let details = json!({
        "audio_tokens": null, "cached_tokens": null, "image_tokens": null, "text_tokens": tokens,
        "video_tokens": null, "initial_prompt_tokens": null,
    });
    body.insert(
        "usage".to_owned(),
        json!({
            "completion_tokens": 0, "prompt_tokens": tokens, "total_tokens": tokens,
            "completion_tokens_details": null, "prompt_tokens_details": details,
        }),
    );
    let counted = Usage {
        prompt_tokens: tokens,
        total_tokens: tokens,
        ..Usage::default()
    };
    Some((body, counted))
}
