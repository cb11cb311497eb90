//! From the hub to a chat request: the messages are the hub's, most parameters too.

use crate::dialect::value::{Map, Value, json};

use crate::dialect::hub::Call;

/// Translates a call.
pub fn translate(mut call: Call) -> Map {
    let mut body = Map::new();
    body.insert("model", json!(call.model));
    body.insert("stream", json!(call.stream));
    let messages = call.messages.iter().map(message).collect();
    body.insert("messages", messages);
    for (name, value) in [
        ("max_tokens", call.take_max_tokens()),
        ("stop_sequences", call.take_stop()),
        ("p", call.take("top_p")),
        ("k", call.take("top_k")),
    ] {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    }
    match call.take_text("tool_choice").as_deref() {
        Some("required") => body.insert("tool_choice", json!("REQUIRED")),
        Some("none") => body.insert("tool_choice", json!("NONE")),
        _ => None,
    };
    let format = call.take("response_format");
    if let Some(format) = format.as_ref().and_then(answer_format) {
        body.insert("response_format", format);
    }
    for name in ["user", "tool_choice", "parallel_tool_calls"] {
        call.take(name);
    }
    for (name, value) in call.fields {
        body.entry(name).or_insert(value);
    }
    body
}

fn message(message: &Value) -> Value {
    let mut message = message.clone();
    if let Some(members) = message.as_object_mut() {
        for name in [
            "name",
            "cache_control",
            "provider_specific_fields",
            "refusal",
        ] {
            members.remove(name);
        }
        members.retain(|_, value| !value.is_null());
        if members.get("role") == Some(&json!("developer")) {
            members.insert("role", json!("system"));
        }
    }
    message
}

fn answer_format(format: &Value) -> Option<Value> {
    let kind = format["type"].as_str()?;
    if kind == "text" {
        return None;
    }
    let mut own = json!({"type": "json_object"});
    if let Some(schema) = Call::schema_of(format) {
        own["json_schema"] = schema.clone();
    }
    Some(own)
}
