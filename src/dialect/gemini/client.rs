//! Clients of generateContent in front of any provider: their requests as the hub's, the hub's answers and chunks as
//! theirs. The model and whether to stream are expected as members of the body, as the URL says them.

use crate::dialect::value::{Map, Value, json};

use crate::dialect::hub::spaced_json;
use crate::error::{GatewayError, push_json_string};

/// A member under either of its spellings.
fn take(from: &mut Map, camel: &str, snake: &str) -> Option<Value> {
    let other = from.remove(snake);
    from.remove(camel).or(other)
}

fn either<'a>(value: &'a Value, camel: &str, snake: &str) -> &'a Value {
    match &value[camel] {
        Value::Null => &value[snake],
        found => found,
    }
}

/// The hub's request for a generateContent request.
pub fn to_chat(mut request: Map) -> Map {
    let mut chat = Map::new();
    let mut messages = Vec::new();
    if let Some(system) = take(&mut request, "systemInstruction", "system_instruction") {
        messages.push(json!({"role": "system", "content": text_of(&system)}));
    }
    match request.remove("contents") {
        Some(Value::Array(turns)) => turns.iter().for_each(|turn| push_turn(turn, &mut messages)),
        Some(turn) => push_turn(&turn, &mut messages),
        None => {}
    }
    chat.insert("messages", Value::Array(messages));
    if let Some(config) = take(&mut request, "generationConfig", "generation_config") {
        generation_config(&config, &mut chat);
    }
    tools(&mut request, &mut chat);
    for name in ["model", "stream"] {
        let value = request.remove(name);
        if let Some(value) = value.filter(|value| *value != json!(false)) {
            chat.insert(name.to_owned(), value);
        }
    }
    if chat.get("stream") == Some(&Value::Bool(true)) {
        chat.insert("stream_options", json!({"include_usage": true}));
    }
    chat
}

fn text_of(content: &Value) -> String {
    let parts = content["parts"].as_array().into_iter().flatten();
    parts.filter_map(|part| part["text"].as_str()).collect()
}

fn push_turn(turn: &Value, messages: &mut Vec<Value>) {
    let parts = turn["parts"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if turn["role"] == "model" {
        let mut message = json!({"role": "assistant", "content": text_of(turn)});
        let calls: Vec<Value> = parts
            .iter()
            .map(|part| either(part, "functionCall", "function_call"))
            .filter(|call| call.is_object())
            .map(|call| {
                let name = call["name"].as_str().unwrap_or_default();
                let function = json!({"name": name, "arguments": spaced_json(&call["args"])});
                json!({"id": call_id(call), "type": "function", "function": function})
            })
            .collect();
        if !calls.is_empty() {
            message["tool_calls"] = Value::Array(calls);
        }
        messages.push(message);
        return;
    }
    for part in parts {
        let result = either(part, "functionResponse", "function_response");
        if result.is_object() {
            let content = result["response"].to_string();
            messages
                .push(json!({"role": "tool", "tool_call_id": call_id(result), "content": content}));
        }
    }
    if parts.iter().all(|part| part["text"].is_string()) {
        if !parts.is_empty() {
            messages.push(json!({"role": "user", "content": text_of(turn)}));
        }
        return;
    }
    let content: Vec<Value> = parts.iter().filter_map(content_part).collect();
    if !content.is_empty() {
        messages.push(json!({"role": "user", "content": content}));
    }
}

/// Calls without an id are known by their function's name.
fn call_id(call: &Value) -> String {
    match call["id"].as_str() {
        Some(id) => id.to_owned(),
        None => format!("call_{}", call["name"].as_str().unwrap_or_default()),
    }
}

fn content_part(part: &Value) -> Option<Value> {
    if part["text"].is_string() {
        return Some(json!({"type": "text", "text": part["text"]}));
    }
    let data = either(part, "inlineData", "inline_data");
    if data.is_object() {
        let media_type = either(data, "mimeType", "mime_type").as_str()?;
        let url = format!("data:{media_type};base64,{}", data["data"].as_str()?);
        return Some(if media_type.starts_with("image/") {
            json!({"type": "image_url", "image_url": {"url": url}})
        } else {
            json!({"type": "file", "file": {"file_data": url}})
        });
    }
    let file = either(part, "fileData", "file_data");
    let url = either(file, "fileUri", "file_uri").as_str()?;
    Some(json!({"type": "image_url", "image_url": {"url": url}}))
}

fn generation_config(config: &Value, chat: &mut Map) {
    for (camel, snake, name) in [
        ("temperature", "temperature", "temperature"),
        ("topP", "top_p", "top_p"),
        ("topK", "top_k", "top_k"),
        ("maxOutputTokens", "max_output_tokens", "max_tokens"),
        ("stopSequences", "stop_sequences", "stop"),
        ("candidateCount", "candidate_count", "n"),
        ("seed", "seed", "seed"),
        ("presencePenalty", "presence_penalty", "presence_penalty"),
        ("frequencyPenalty", "frequency_penalty", "frequency_penalty"),
    ] {
        let value = either(config, camel, snake);
        if !value.is_null() {
            chat.insert(name.to_owned(), value.clone());
        }
    }
    let schema = match either(config, "responseJsonSchema", "response_json_schema") {
        Value::Null => either(config, "responseSchema", "response_schema"),
        schema => schema,
    };
    let is_json = either(config, "responseMimeType", "response_mime_type") == "application/json";
    if schema.is_object() {
        let schema = json!({"name": "answer", "schema": schema});
        let format = json!({"type": "json_schema", "json_schema": schema});
        chat.insert("response_format", format);
    } else if is_json {
        chat.insert("response_format", json!({"type": "json_object"}));
    }
    let thinking = either(config, "thinkingConfig", "thinking_config");
    if let Some(budget) = either(thinking, "thinkingBudget", "thinking_budget").as_u64() {
        let effort = match budget {
            0 => "none",
            1..2048 => "low",
            2048..4096 => "medium",
            _ => "high",
        };
        chat.insert("reasoning_effort", json!(effort));
    }
}

fn tools(request: &mut Map, chat: &mut Map) {
    let mut functions = Vec::new();
    for tool in request
        .get("tools")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let declared = either(tool, "functionDeclarations", "function_declarations");
        for function in declared.as_array().into_iter().flatten() {
            let mut own = json!({"name": function["name"]});
            if function["description"].is_string() {
                own["description"] = function["description"].clone();
            }
            let schema = match either(function, "parametersJsonSchema", "parameters_json_schema") {
                Value::Null => &function["parameters"],
                schema => schema,
            };
            if schema.is_object() {
                own["parameters"] = lower_types(schema);
            }
            functions.push(json!({"type": "function", "function": own}));
        }
    }
    if functions.is_empty() {
        return;
    }
    chat.insert("tools", Value::Array(functions));
    let Some(config) = take(request, "toolConfig", "tool_config") else {
        return;
    };
    let calling = either(&config, "functionCallingConfig", "function_calling_config");
    let names = either(calling, "allowedFunctionNames", "allowed_function_names");
    let choice = match (calling["mode"].as_str(), names[0].as_str()) {
        (Some("ANY"), Some(name)) if names[1].is_null() => {
            json!({"type": "function", "function": {"name": name}})
        }
        (Some("ANY"), _) => json!("required"),
        (Some("NONE"), _) => json!("none"),
        _ => json!("auto"),
    };
    chat.insert("tool_choice", choice);
}

/// Google writes `OBJECT` where JSON Schema has `object`.
fn lower_types(schema: &Value) -> Value {
    match schema {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| match value {
                Value::String(kind) if name == "type" => {
                    (name.clone(), json!(kind.to_ascii_lowercase()))
                }
                value => (name.clone(), lower_types(value)),
            })
            .collect::<Map>()
            .into(),
        Value::Array(items) => items.iter().map(lower_types).collect(),
        other => other.clone(),
    }
}

fn finish_reason(reason: &str) -> &'static str {
    match reason {
        "length" => "MAX_TOKENS",
        "content_filter" => "SAFETY",
        _ => "STOP",
    }
}

fn usage(usage: &Value) -> Value {
    let number = |name: &str| usage[name].as_u64().unwrap_or(0);
    json!({
        "promptTokenCount": number("prompt_tokens"),
        "candidatesTokenCount": number("completion_tokens"),
        "totalTokenCount": number("total_tokens"),
    })
}

fn candidate(parts: Vec<Value>, reason: Option<&str>, index: usize) -> Value {
    json!({
        "content": {"parts": parts, "role": "model"}, "finishReason": reason, "index": index,
        "safetyRatings": [],
    })
}

fn call_part(name: &str, arguments: &str) -> Value {
    let args: Value = Value::read(arguments.as_bytes()).unwrap_or_else(|_| json!({}));
    json!({"functionCall": {"name": name, "args": args}})
}

/// The generateContent answer for the hub's.
pub fn from_chat(chat: &Value) -> Value {
    let choices = chat["choices"].as_array().into_iter().flatten();
    let candidates = choices.enumerate().map(|(index, choice)| {
        let message = &choice["message"];
        let mut parts = Vec::new();
        if let Some(thought) = message["reasoning_content"]
            .as_str()
            .filter(|text| !text.is_empty())
        {
            parts.push(json!({"text": thought, "thought": true}));
        }
        if let Some(text) = message["content"].as_str().filter(|text| !text.is_empty()) {
            parts.push(json!({"text": text}));
        }
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            let function = &call["function"];
            parts.push(call_part(
                function["name"].as_str().unwrap_or_default(),
                function["arguments"].as_str().unwrap_or_default(),
            ));
        }
        let reason = finish_reason(choice["finish_reason"].as_str().unwrap_or_default());
        candidate(parts, Some(reason), index)
    });
    json!({"candidates": candidates.collect::<Vec<_>>(), "usageMetadata": usage(&chat["usage"])})
}

/// An error as Google's API has it.
pub fn error_body(error: &GatewayError) -> Vec<u8> {
    let status = match error.status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        408 | 504 => "DEADLINE_EXCEEDED",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        503 => "UNAVAILABLE",
        500.. => "INTERNAL",
        _ => "INVALID_ARGUMENT",
    };
    let code = error.status;
    let mut out = format!(r#"{{"error":{{"code":{code},"message":"#).into_bytes();
    push_json_string(&mut out, &error.text());
    out.extend_from_slice(format!(r#","status":"{status}"}}}}"#).as_bytes());
    out
}

/// Writes the events of one stream. Calls come out whole, as this dialect knows no pieces of them.
#[derive(Debug)]
pub struct Writer {
    calls: Vec<(String, String)>,
    reason: &'static str,
    usage: Value,
}

impl Default for Writer {
    fn default() -> Self {
        Self {
            calls: Vec::new(),
            reason: "STOP",
            usage: json!({}),
        }
    }
}

impl Writer {
    fn event(event: &Value, out: &mut Vec<u8>) {
        out.extend_from_slice(b"data: ");
        event.write(out);
        out.extend_from_slice(b"\n\n");
    }

    /// Takes a chunk.
    pub fn chunk(&mut self, chunk: &Value, out: &mut Vec<u8>) {
        if chunk["usage"].is_object() {
            self.usage = chunk["usage"].clone();
        }
        let choice = &chunk["choices"][0];
        let delta = &choice["delta"];
        let mut parts = Vec::new();
        if let Some(thought) = delta["reasoning_content"]
            .as_str()
            .filter(|text| !text.is_empty())
        {
            parts.push(json!({"text": thought, "thought": true}));
        }
        if let Some(text) = delta["content"].as_str().filter(|text| !text.is_empty()) {
            parts.push(json!({"text": text}));
        }
        if !parts.is_empty() {
            Self::event(&json!({"candidates": [candidate(parts, None, 0)]}), out);
        }
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let index = call["index"].as_u64().unwrap_or(0) as usize;
            let function = &call["function"];
            if index >= self.calls.len() {
                let name = function["name"].as_str().unwrap_or_default();
                self.calls.push((name.to_owned(), String::new()));
            }
            if let Some((_, arguments)) = self.calls.last_mut() {
                arguments.push_str(function["arguments"].as_str().unwrap_or_default());
            }
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            self.reason = finish_reason(reason);
        }
    }

    /// The stream is whole: its last event.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        let calls = std::mem::take(&mut self.calls);
        let parts = calls
            .iter()
            .map(|(name, arguments)| call_part(name, arguments));
        let candidate = candidate(parts.collect(), Some(self.reason), 0);
        let event = json!({"candidates": [candidate], "usageMetadata": usage(&self.usage)});
        Self::event(&event, out);
    }
}
