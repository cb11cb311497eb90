//! From the hub to a chat or generate request.

use crate::dialect::value::{Map, Value, json};

use crate::dialect::hub::{Call, arguments_of, calls_of, data_url, image_url, text_of};

/// What Ollama takes under `options`; all else stands beside.
const OPTIONS: &[&str] = &[
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "num_ctx",
    "num_predict",
    "num_keep",
    "num_gpu",
    "num_thread",
    "num_batch",
    "repeat_last_n",
    "repeat_penalty",
    "typical_p",
    "tfs_z",
    "mirostat",
    "mirostat_eta",
    "mirostat_tau",
];

/// A request to `/api/chat`.
pub fn chat(mut call: Call) -> Map {
    let messages = call.messages.iter().map(message).collect();
    let mut body = shared(&mut call);
    body.insert("messages", messages);
    body.extend(call.fields);
    body
}

/// A request to `/api/generate`, with the conversation as one prompt.
pub fn generate(mut call: Call) -> Map {
    let mut prompt = String::new();
    let mut images = Vec::new();
    for message in &call.messages {
        let who = match message["role"].as_str() {
            Some("system" | "developer") => "System",
            Some("assistant") => "Assistant",
            _ => "User",
        };
        let text = text_of(&message["content"]);
        prompt.push_str(&format!("### {who}:\n{text}\n\n"));
        images.extend(images_of(&message["content"]));
    }
    let mut body = shared(&mut call);
    body.insert("prompt", json!(prompt));
    body.insert("images", Value::Array(images));
    call.take("tools");
    body.extend(call.fields);
    body
}

fn shared(call: &mut Call) -> Map {
    let mut options = Map::new();
    for (name, value) in [
        ("num_predict", call.take_max_tokens()),
        ("stop", call.take_stop()),
        ("repeat_penalty", call.take("frequency_penalty")),
    ] {
        if let Some(value) = value {
            options.insert(name.to_owned(), value);
        }
    }
    for name in OPTIONS {
        if let Some(value) = call.take(name) {
            options.insert((*name).to_owned(), value);
        }
    }
    let mut body = Map::new();
    body.insert("model", json!(call.model));
    body.insert("stream", json!(call.stream));
    body.insert("options", Value::Object(options));
    if let Some(effort) = call.take_text("reasoning_effort") {
        body.insert("think", json!(effort != "none"));
    }
    if let Some(format) = call.take("response_format") {
        match (Call::schema_of(&format), format["type"].as_str()) {
            (Some(schema), _) => body.insert("format", schema.clone()),
            (None, Some("json_object")) => body.insert("format", json!("json")),
            _ => None,
        };
    }
    for name in ["user", "tool_choice", "parallel_tool_calls"] {
        call.take(name);
    }
    body
}

fn images_of(content: &Value) -> Vec<Value> {
    let parts = content.as_array().into_iter().flatten();
    parts
        .filter_map(image_url)
        .map(|url| json!(data_url(url).map_or(url, |(_, data)| data)))
        .collect()
}

fn message(message: &Value) -> Value {
    let content = &message["content"];
    let role = match message["role"].as_str() {
        Some("developer") => "system",
        Some(role) => role,
        None => "user",
    };
    let mut own = json!({"role": role, "content": text_of(content), "images": images_of(content)});
    if content.is_array() || !images_of(content).is_empty() {
        own["images"] = Value::Array(images_of(content));
    }
    let calls: Vec<Value> = calls_of(message)
        .iter()
        .map(|call| {
            let function =
                json!({"name": call["function"]["name"], "arguments": arguments_of(call)});
            json!({"id": call["id"], "function": function})
        })
        .collect();
    if !calls.is_empty() {
        own["tool_calls"] = Value::Array(calls);
    }
    if let Some(id) = message.get("tool_call_id") {
        own["tool_call_id"] = id.clone();
    }
    if let Some(thought) = message
        .get("reasoning_content")
        .filter(|text| text.is_string())
    {
        own["thinking"] = thought.clone();
    }
    own
}
