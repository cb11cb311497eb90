//! Embeddings: `batchEmbedContents` of the Gemini API, and `predict` of Vertex AI.

use crate::dialect::value::{Map, Value, json};

use crate::dialect::hub::Call;
use crate::dialect::usage::Usage;

/// The texts of a request.
fn texts(call: &Call) -> Vec<String> {
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    match call.fields.get("input") {
        Some(Value::Array(items)) => items.iter().map(text).collect(),
        Some(one) => vec![text(one)],
        None => Vec::new(),
    }
}

/// A `batchEmbedContents` request.
pub fn batch(mut call: Call) -> Value {
    let dimensions = call.take("dimensions");
    let task = call.take("task_type").or_else(|| call.take("input_type"));
    let requests = texts(&call).into_iter().map(|text| {
        let mut request = json!({
            "model": format!("models/{}", call.model),
            "content": {"parts": [{"text": text}]},
        });
        if let Some(dimensions) = &dimensions {
            request["outputDimensionality"] = dimensions.clone();
        }
        if let Some(task) = &task {
            request["taskType"] = task.clone();
        }
        request
    });
    json!({"requests": requests.collect::<Vec<_>>()})
}

/// A `predict` request.
pub fn predict(mut call: Call) -> Value {
    let task = call.take("task_type").or_else(|| call.take("input_type"));
    let title = call.take("title");
    let instances = texts(&call).into_iter().map(|text| {
        let mut instance = json!({"content": text});
        if let Some(task) = &task {
            instance["task_type"] = task.clone();
        }
        if let Some(title) = &title {
            instance["title"] = title.clone();
        }
        instance
    });
    let mut body = json!({"instances": instances.collect::<Vec<_>>(), "parameters": {}});
    if let Some(dimensions) = call.take("dimensions") {
        body["parameters"]["outputDimensionality"] = dimensions;
    }
    body
}

/// The hub's answer. The Gemini API does not count: one token per text is said there.
pub fn answer(reply: &Value, model: &str) -> Option<(Map, Usage)> {
    let (vectors, prompt, details) = match reply["predictions"].as_array() {
        Some(predictions) => {
            let vectors: Vec<&Value> = predictions
                .iter()
                .map(|prediction| &prediction["embeddings"]["values"])
                .collect();
            let tokens = predictions.iter().filter_map(|prediction| {
                prediction["embeddings"]["statistics"]["token_count"].as_u64()
            });
            let characters = &reply["metadata"]["billableCharacterCount"];
            let details = json!({
                "audio_tokens": null, "cached_tokens": null, "image_tokens": null, "text_tokens": null,
                "video_tokens": null, "initial_prompt_tokens": null, "character_count": characters,
            });
            (vectors, tokens.sum(), details)
        }
        None => {
            let embeddings = reply["embeddings"].as_array()?;
            let vectors: Vec<&Value> = embeddings.iter().map(|entry| &entry["values"]).collect();
            let count = vectors.len() as u64;
            (vectors, count, Value::Null)
        }
    };
    let data: Vec<Value> = vectors
        .into_iter()
        .enumerate()
        .map(|(index, vector)| json!({"object": "embedding", "index": index, "embedding": vector}))
        .collect();
    let body = json!({
        "model": model, "object": "list", "data": data,
        "usage": {
            "completion_tokens": 0, "prompt_tokens": prompt, "total_tokens": prompt,
            "completion_tokens_details": null, "prompt_tokens_details": details,
        },
    });
    let counted = Usage {
        prompt_tokens: prompt,
        total_tokens: prompt,
        ..Usage::default()
    };
    match body {
        Value::Object(body) => Some((body, counted)),
        _ => None,
    }
}
