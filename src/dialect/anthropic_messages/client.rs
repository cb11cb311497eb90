//! Clients of the Messages API in front of any provider: their requests as the hub's, the hub's answers as theirs.

use crate::dialect::value::{Map, Value, json};

use crate::dialect::hub::spaced_json;
use crate::error::{GatewayError, push_json_string};

/// The hub's request for a Messages request.
pub fn to_chat(mut request: Map) -> Map {
    let mut chat = Map::new();
    let mut messages = Vec::new();
    if let Some(system) = request.remove("system").as_ref().and_then(system_text) {
        messages.push(json!({"role": "system", "content": system}));
    }
    if let Some(Value::Array(turns)) = request.remove("messages") {
        for turn in &turns {
            push_turn(turn, &mut messages);
        }
    }
    chat.insert("messages", Value::Array(messages));
    if request.get("stream") == Some(&Value::Bool(true)) {
        chat.insert("stream_options", json!({"include_usage": true}));
    }
    rename(&mut request, "stop_sequences", &mut chat, "stop");
    if let Some(Value::Array(tools)) = request.remove("tools") {
        let tools = tools.iter().map(tool).collect();
        chat.insert("tools", tools);
    }
    if let Some(choice) = request.remove("tool_choice") {
        if choice["disable_parallel_tool_use"] == true {
            chat.insert("parallel_tool_calls", json!(false));
        }
        chat.insert("tool_choice", tool_choice(&choice));
    }
    if let Some(user) = request.get("metadata").and_then(|data| data.get("user_id")) {
        chat.insert("user", user.clone());
    }
    let thinking = request.remove("thinking").unwrap_or_default();
    if let Some(budget) = thinking["budget_tokens"].as_u64() {
        let effort = match budget {
            ..2048 => "low",
            2048..4096 => "medium",
            _ => "high",
        };
        chat.insert("reasoning_effort", json!(effort));
    }
    if let Some(format) = request.remove("output_format") {
        let schema = json!({"name": "answer", "schema": format["schema"]});
        let format = json!({"type": "json_schema", "json_schema": schema});
        chat.insert("response_format", format);
    }
    for name in ["service_tier", "context_management", "betas"] {
        request.remove(name);
    }
    chat.extend(request);
    chat
}

fn rename(from: &mut Map, name: &str, to: &mut Map, other: &str) {
    if let Some(value) = from.remove(name) {
        to.insert(other.to_owned(), value);
    }
}

/// Text as it is; blocks as parts, so that `cache_control` stays.
fn system_text(system: &Value) -> Option<Value> {
    match system {
        Value::String(text) if text.is_empty() => None,
        Value::String(_) => Some(system.clone()),
        Value::Array(blocks) => {
            let parts: Vec<Value> = blocks.iter().filter_map(part).collect();
            (!parts.is_empty()).then_some(Value::Array(parts))
        }
        _ => None,
    }
}

fn push_turn(turn: &Value, messages: &mut Vec<Value>) {
    let role = turn["role"].as_str().unwrap_or("user");
    let Value::Array(blocks) = &turn["content"] else {
        messages.push(json!({"role": role, "content": turn["content"]}));
        return;
    };
    if role == "assistant" {
        messages.push(assistant(blocks));
        return;
    }
    for block in blocks.iter().filter(|block| block["type"] == "tool_result") {
        messages.push(json!({
            "role": "tool", "tool_call_id": block["tool_use_id"], "content": result_content(&block["content"]),
        }));
    }
    let parts: Vec<Value> = blocks.iter().filter_map(part).collect();
    if !parts.is_empty() {
        messages.push(json!({"role": role, "content": parts}));
    }
}

fn result_content(content: &Value) -> Value {
    let Value::Array(blocks) = content else {
        return match content {
            Value::Null => json!(""),
            other => other.clone(),
        };
    };
    if blocks.iter().all(|block| block["type"] == "text") {
        let text: String = blocks
            .iter()
            .filter_map(|block| block["text"].as_str())
            .collect();
        return json!(text);
    }
    blocks.iter().filter_map(part).collect()
}

fn assistant(blocks: &[Value]) -> Value {
    let mut message = json!({"role": "assistant"});
    let text: String = blocks
        .iter()
        .filter(|block| block["type"] == "text")
        .filter_map(|block| block["text"].as_str())
        .collect();
    if !text.is_empty() {
        message["content"] = json!(text);
    }
    let calls: Vec<Value> = blocks
        .iter()
        .filter(|block| block["type"] == "tool_use")
        .map(|block| {
            let function =
                json!({"name": block["name"], "arguments": spaced_json(&block["input"])});
            json!({"id": block["id"], "type": "function", "function": function})
        })
        .collect();
    if !calls.is_empty() {
        message["tool_calls"] = Value::Array(calls);
    }
    let is_thought = |block: &&Value| {
        matches!(
            block["type"].as_str(),
            Some("thinking" | "redacted_thinking")
        )
    };
    let thoughts: Vec<Value> = blocks.iter().filter(is_thought).cloned().collect();
    if !thoughts.is_empty() {
        message["thinking_blocks"] = Value::Array(thoughts);
    }
    message
}

/// A block as a part of a message; tool results are none.
fn part(block: &Value) -> Option<Value> {
    let mut part = match block["type"].as_str()? {
        "text" => json!({"type": "text", "text": block["text"]}),
        "image" => {
            json!({"type": "image_url", "image_url": {"url": source_url(&block["source"])?}})
        }
        "document" => {
            json!({"type": "file", "file": {"file_data": source_url(&block["source"])?}})
        }
        _ => return None,
    };
    if let Some(cache) = block.get("cache_control") {
        part["cache_control"] = cache.clone();
    }
    Some(part)
}

fn source_url(source: &Value) -> Option<String> {
    match source["type"].as_str()? {
        "url" => source["url"].as_str().map(str::to_owned),
        "base64" => Some(format!(
            "data:{};base64,{}",
            source["media_type"].as_str()?,
            source["data"].as_str()?
        )),
        _ => None,
    }
}

/// A tool of the client's as a function; a tool of Anthropic's own goes as it is.
fn tool(tool: &Value) -> Value {
    if tool.get("input_schema").is_none() {
        return tool.clone();
    }
    let mut function = json!({"name": tool["name"], "parameters": tool["input_schema"]});
    if let Some(description) = tool.get("description") {
        function["description"] = description.clone();
    }
    let mut translated = json!({"type": "function", "function": function});
    if let Some(cache) = tool.get("cache_control") {
        translated["cache_control"] = cache.clone();
    }
    translated
}

fn tool_choice(choice: &Value) -> Value {
    match choice["type"].as_str() {
        Some("any") => json!("required"),
        Some("none") => json!("none"),
        Some("tool") => json!({"type": "function", "function": {"name": choice["name"]}}),
        _ => json!("auto"),
    }
}

/// Anthropic's word for the hub's reason to stop.
pub(super) fn stop_reason(reason: &str) -> &'static str {
    match reason {
        "length" => "max_tokens",
        "tool_calls" | "function_call" => "tool_use",
        "content_filter" => "refusal",
        _ => "end_turn",
    }
}

/// The hub's `usage` in Anthropic's words: cached input stands apart.
pub(super) fn usage(usage: &Value) -> Value {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let details = &usage["prompt_tokens_details"];
    let read = number(&details["cached_tokens"]);
    let written = number(&details["cache_creation_tokens"]);
    let input = number(&usage["prompt_tokens"]).saturating_sub(read + written);
    let mut own =
        json!({"input_tokens": input, "output_tokens": number(&usage["completion_tokens"])});
    if read > 0 {
        own["cache_read_input_tokens"] = json!(read);
    }
    if written > 0 {
        own["cache_creation_input_tokens"] = json!(written);
    }
    own
}

/// The Messages answer for the hub's.
pub fn from_chat(chat: &Value) -> Value {
    let choice = &chat["choices"][0];
    let message = &choice["message"];
    let mut content: Vec<Value> = match message["thinking_blocks"].as_array() {
        Some(blocks) => blocks.clone(),
        None => Vec::new(),
    };
    let thought = message["reasoning_content"].as_str().unwrap_or_default();
    if content.is_empty() && !thought.is_empty() {
        content.push(json!({"type": "thinking", "thinking": thought, "signature": ""}));
    }
    if let Some(text) = message["content"].as_str().filter(|text| !text.is_empty()) {
        content.push(json!({"type": "text", "text": text}));
    }
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        let arguments = call["function"]["arguments"].as_str().unwrap_or_default();
        let input: Value = Value::read(arguments.as_bytes()).unwrap_or_else(|_| json!({}));
        let name = &call["function"]["name"];
        content.push(json!({"type": "tool_use", "id": call["id"], "name": name, "input": input}));
    }
    json!({
        "id": chat["id"],
        "type": "message",
        "role": "assistant",
        "model": chat["model"],
        "content": content,
        "stop_reason": stop_reason(choice["finish_reason"].as_str().unwrap_or_default()),
        "stop_sequence": null,
        "stop_details": null,
        "usage": usage(&chat["usage"]),
    })
}

/// `{"type": "error", ...}` as a client of the Messages API gets it.
pub fn error_body(error: &GatewayError) -> Vec<u8> {
    let kind = match error.status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    let mut out = format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"#).into_bytes();
    push_json_string(&mut out, &error.text());
    out.extend_from_slice(b"}}");
    out
}

/// The event that ends a broken stream.
pub fn error_event(error: &GatewayError) -> Vec<u8> {
    let mut out = b"event: error\ndata: ".to_vec();
    out.extend_from_slice(&error_body(error));
    out.extend_from_slice(b"\n\n");
    out
}
