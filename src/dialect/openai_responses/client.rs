//! Requests and whole answers.

use crate::dialect::value::{Map, Value, json};

use crate::error::{ErrorClass, GatewayError};

/// What a chat has no place for.
const LEFT_OUT: &[&str] = &[
    "store",
    "include",
    "truncation",
    "background",
    "max_tool_calls",
    "prompt",
    "stream_options",
    "top_logprobs",
    "conversation",
];

/// The hub's request for a Responses request.
pub fn to_chat(mut request: Map) -> Result<Map, GatewayError> {
    if request
        .get("previous_response_id")
        .is_some_and(Value::is_string)
    {
        return Err(GatewayError::refused(
            ErrorClass::BadRequest,
            "previous_response_id: this model's provider keeps no responses; send the whole conversation as input",
        ));
    }
    let mut chat = Map::new();
    let mut messages = Vec::new();
    if let Some(text) = request.remove("instructions").filter(Value::is_string) {
        messages.push(json!({"role": "system", "content": text}));
    }
    match request.remove("input") {
        Some(Value::Array(items)) => items.iter().for_each(|item| push_item(item, &mut messages)),
        Some(text @ Value::String(_)) => messages.push(json!({"role": "user", "content": text})),
        _ => {}
    }
    chat.insert("messages", Value::Array(messages));
    if let Some(limit) = request.remove("max_output_tokens").filter(Value::is_u64) {
        chat.insert("max_tokens", limit);
    }
    if let Some(effort) = request
        .remove("reasoning")
        .and_then(|given| given.get("effort").cloned())
    {
        chat.insert("reasoning_effort", effort);
    }
    let text = request.remove("text").unwrap_or_default();
    if let Some(format) = answer_format(&text["format"]) {
        chat.insert("response_format", format);
    }
    tools(&mut request, &mut chat);
    if request.get("stream") == Some(&Value::Bool(true)) {
        chat.insert("stream_options", json!({"include_usage": true}));
    }
    for name in LEFT_OUT {
        request.remove(name);
    }
    request.remove("previous_response_id");
    chat.extend(request);
    Ok(chat)
}

fn push_item(item: &Value, messages: &mut Vec<Value>) {
    match item["type"].as_str() {
        Some("function_call") => {
            let function = json!({"name": item["name"], "arguments": item["arguments"]});
            let call = json!({"id": item["call_id"], "type": "function", "function": function});
            let last = messages
                .last_mut()
                .filter(|last| last["role"] == "assistant");
            match last {
                Some(last) if last["tool_calls"].is_array() => {
                    if let Some(calls) = last["tool_calls"].as_array_mut() {
                        calls.push(call);
                    }
                }
                Some(last) => last["tool_calls"] = json!([call]),
                None => messages
                    .push(json!({"role": "assistant", "content": null, "tool_calls": [call]})),
            }
        }
        Some("function_call_output") => messages.push(json!({
            "role": "tool", "tool_call_id": item["call_id"], "content": content(&item["output"]),
        })),
        Some("message") | None if item.get("role").is_some() => {
            messages.push(json!({"role": item["role"], "content": content(&item["content"])}));
        }
        _ => {}
    }
}

/// Text stays text; a list of texts of one's own answer becomes one text.
fn content(given: &Value) -> Value {
    let Value::Array(parts) = given else {
        return given.clone();
    };
    if parts.iter().all(|part| part["type"] == "output_text") {
        let text: String = parts
            .iter()
            .filter_map(|part| part["text"].as_str())
            .collect();
        return json!(text);
    }
    parts.iter().filter_map(part).collect()
}

fn part(part: &Value) -> Option<Value> {
    Some(match part["type"].as_str()? {
        "input_text" | "output_text" | "text" => json!({"type": "text", "text": part["text"]}),
        "input_image" => {
            let mut image = json!({"url": part["image_url"]});
            if let Some(detail) = part.get("detail") {
                image["detail"] = detail.clone();
            }
            json!({"type": "image_url", "image_url": image})
        }
        "input_file" => {
            let data = part.get("file_data").or_else(|| part.get("file_url"))?;
            json!({"type": "file", "file": {"file_data": data}})
        }
        "input_audio" => part.clone(),
        _ => return None,
    })
}

fn answer_format(format: &Value) -> Option<Value> {
    match format["type"].as_str()? {
        "json_schema" => {
            let schema = json!({
                "name": format["name"], "schema": format["schema"], "strict": format["strict"],
            });
            Some(json!({"type": "json_schema", "json_schema": schema}))
        }
        "json_object" => Some(json!({"type": "json_object"})),
        _ => None,
    }
}

fn tools(request: &mut Map, chat: &mut Map) {
    let mut tools = Vec::new();
    if let Some(Value::Array(given)) = request.remove("tools") {
        for tool in given {
            match tool["type"].as_str() {
                Some("function") => tools.push(function(&tool)),
                Some(kind) if kind.starts_with("web_search") => {
                    chat.insert("web_search_options", json!({}));
                }
                _ => tools.push(tool),
            }
        }
    }
    if !tools.is_empty() {
        chat.insert("tools", Value::Array(tools));
    }
    if let Some(choice) = request
        .remove("tool_choice")
        .filter(|choice| !choice.is_null())
    {
        let choice = match choice.get("name") {
            Some(name) => json!({"type": "function", "function": {"name": name}}),
            None => choice,
        };
        chat.insert("tool_choice", choice);
    }
}

fn function(tool: &Value) -> Value {
    let mut function = tool.clone();
    if let Some(members) = function.as_object_mut() {
        members.remove("type");
        members.retain(|_, value| !value.is_null());
    }
    json!({"type": "function", "function": function})
}

/// The hub's `usage` in the words of the Responses API.
pub(super) fn usage(usage: &Value) -> Value {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    json!({
        "input_tokens": number(&usage["prompt_tokens"]),
        "input_tokens_details": {"cached_tokens": number(&usage["prompt_tokens_details"]["cached_tokens"])},
        "output_tokens": number(&usage["completion_tokens"]),
        "output_tokens_details": {
            "reasoning_tokens": number(&usage["completion_tokens_details"]["reasoning_tokens"]),
        },
        "total_tokens": number(&usage["total_tokens"]),
    })
}

/// A response with that output.
pub(super) fn response(
    id: &str,
    created: u64,
    model: &Value,
    output: Vec<Value>,
    reason: &str,
) -> Value {
    let (status, details) = match reason {
        "length" => ("incomplete", json!({"reason": "max_output_tokens"})),
        "content_filter" => ("incomplete", json!({"reason": "content_filter"})),
        _ => ("completed", Value::Null),
    };
    json!({
        "id": id, "object": "response", "created_at": created, "status": status, "error": null,
        "incomplete_details": details, "model": model, "output": output, "parallel_tool_calls": true,
        "tool_choice": "auto", "tools": [], "metadata": {},
    })
}

/// The item of a message.
pub(super) fn message_item(id: &str, text: &str, notes: &Value) -> Value {
    let notes = if notes.is_array() {
        notes.clone()
    } else {
        json!([])
    };
    json!({
        "id": id, "type": "message", "status": "completed", "role": "assistant",
        "content": [{"type": "output_text", "text": text, "annotations": notes}],
    })
}

/// The item of a function call.
pub(super) fn call_item(call_id: &str, name: &str, arguments: &str, status: &str) -> Value {
    json!({
        "id": format!("fc_{call_id}"), "type": "function_call", "status": status, "call_id": call_id,
        "name": name, "arguments": arguments,
    })
}

/// The item of reasoning.
pub(super) fn reasoning_item(id: &str, text: &str) -> Value {
    json!({"id": id, "type": "reasoning", "summary": [{"type": "summary_text", "text": text}]})
}

/// A response's id: the one that is given, else one of our own making.
pub(super) fn named(id: &str, fresh: &str) -> String {
    match id.is_empty() {
        true => format!("resp_{fresh}"),
        false => id.to_owned(),
    }
}

/// The Responses answer for the hub's; `fresh` makes the ids of its parts, and its own where `id` is empty.
pub fn from_chat(chat: &Value, fresh: &str, id: &str) -> Value {
    let choice = &chat["choices"][0];
    let message = &choice["message"];
    let mut output = Vec::new();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let thought = text(&message["reasoning_content"]);
    if !thought.is_empty() {
        output.push(reasoning_item(&format!("rs_{fresh}"), &thought));
    }
    let content = text(&message["content"]);
    if !content.is_empty() {
        let id = format!("msg_{fresh}");
        output.push(message_item(&id, &content, &message["annotations"]));
    }
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        let function = &call["function"];
        let (id, name) = (text(&call["id"]), text(&function["name"]));
        output.push(call_item(
            &id,
            &name,
            &text(&function["arguments"]),
            "completed",
        ));
    }
    let reason = choice["finish_reason"].as_str().unwrap_or_default();
    let created = chat["created"].as_u64().unwrap_or(0);
    let mut body = response(&named(id, fresh), created, &chat["model"], output, reason);
    body["usage"] = usage(&chat["usage"]);
    body
}

/// The event that ends a stream with an error: as the API's own, with the object that its SDKs raise besides.
pub fn error_event(error: &GatewayError) -> Vec<u8> {
    let whole = error.body_openai();
    let inner = Value::read(&whole).unwrap_or_default();
    let inner = &inner["error"];
    let event = json!({
        "type": "error", "code": inner["code"], "message": error.text(), "param": inner["param"], "sequence_number": 0,
        "error": inner,
    });
    format!("event: error\ndata: {event}\n\n").into_bytes()
}
