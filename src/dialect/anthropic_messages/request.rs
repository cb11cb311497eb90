//! From the hub to a Messages request.

use crate::dialect::value::{Map, Text, Value, json};

use super::JSON_TOOL;
use super::model::{self, Thinking};
use crate::dialect::hub::{
    Call, arguments_of, calls_of, data_url, function_of, has_tool_history, image_url, refuse_audio,
    spaced_json,
};
use crate::dialect::openai_chat::params::python_repr;
use crate::dialect::repair::{self, Strict};
use crate::error::{ErrorClass, GatewayError};

/// What Anthropic refuses.
const STRICT: Strict = Strict {
    opening: ".",
    ends_with_user: false,
    remembers_thoughts: true,
};
/// Stands for content that Anthropic refuses because it is empty.
const EMPTY: &str = "[System: Empty message content sanitised to satisfy protocol]";
/// What a thinking model may write besides its thoughts when the client names no limit.
const ANSWER_TOKENS: u64 = 4096;
/// The beta that structured output is in.
const STRUCTURED_OUTPUTS: &str = "structured-outputs-2025-11-13";

/// A request in Anthropic's shape.
#[derive(Clone, Debug)]
pub struct Translated {
    /// The body, with `model`.
    pub body: Map,
    /// The beta that the request needs.
    pub beta: Option<&'static str>,
}

/// Translates a call. `label` is the provider's name in refusals.
pub fn translate(mut call: Call, label: &str) -> Result<Translated, GatewayError> {
    refuse_audio(&call.messages, label)?;
    repair::mend(&mut call, STRICT);
    let mut body = Map::new();
    body.insert("model", json!(call.model));
    let (system, messages) = turns(&call.messages);
    if messages.is_empty() {
        return Err(only_system(&call.messages, label));
    }
    body.insert("messages", Value::Array(messages));
    if !system.is_empty() {
        body.insert("system", Value::Array(system));
    }
    let limit = call.take_max_tokens();
    put(&mut body, "stop_sequences", call.take_stop());
    let effort = call.take_text("reasoning_effort");
    let thinking = match call.take("thinking") {
        None => think(&mut body, &call.model, effort.as_deref()),
        given => given,
    };
    let limit = limit.unwrap_or_else(|| default_limit(&call.model, thinking.as_ref()).into());
    body.insert("max_tokens", limit);
    let thinks = thinking
        .as_ref()
        .is_some_and(|thinking| thinking["type"] != "disabled");
    put(&mut body, "thinking", thinking);
    tools(&mut call, &mut body);
    let beta = answer_format(&mut call, &mut body, thinks);
    if let Some(user) = call.take_text("user").filter(|user| is_opaque(user)) {
        body.insert("metadata", json!({"user_id": user}));
    }
    if call.stream {
        body.insert("stream", json!(true));
    }
    for (name, value) in call.fields {
        body.entry(name).or_insert(value);
    }
    Ok(Translated { body, beta })
}

fn put(body: &mut Map, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        body.insert(name.to_owned(), value);
    }
}

/// Anthropic wants no personal data in the user's id.
fn is_opaque(user: &str) -> bool {
    let is_phone = user.len() > 6
        && user
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b"+-() ".contains(&byte));
    !user.contains('@') && !is_phone
}

fn only_system(messages: &[Value], label: &str) -> GatewayError {
    let received = python_repr(spaced_json(&Value::Array(messages.to_vec())).as_bytes());
    let class = ErrorClass::BadRequest;
    GatewayError::refused(
        class,
        format_args!(
            "{label}Exception - litellm.BadRequestError: Anthropic requires at least one non-system message. Either provide \
             one, or set `litellm.modify_params = True` // `litellm_settings::modify_params: True` to add the dummy user \
             message - {{'role': 'user', 'content': 'Please continue.'}}.\nReceived Messages={received}"
        ),
    )
}

/// The system's blocks, and the turns: roles alternate.
fn turns(messages: &[Value]) -> (Vec<Value>, Vec<Value>) {
    let mut system = Vec::new();
    let mut turns: Vec<Value> = Vec::new();
    let last = messages.len().saturating_sub(1);
    for (index, message) in messages.iter().enumerate() {
        let role = message["role"].as_str().unwrap_or("user");
        let (role, mut blocks) = match role {
            "system" | "developer" => {
                system.extend(blocks_of(message, false));
                continue;
            }
            "assistant" => ("assistant", assistant(message)),
            "tool" | "function" => ("user", vec![tool_result(message)]),
            _ => ("user", blocks_of(message, true)),
        };
        if role == "assistant" && index == last {
            trim_end(&mut blocks);
        }
        match turns.last_mut() {
            Some(turn) if turn["role"] == role => {
                if let Some(content) = turn["content"].as_array_mut() {
                    content.append(&mut blocks);
                }
            }
            _ if blocks.is_empty() => {}
            _ => turns.push(json!({"role": role, "content": blocks})),
        }
    }
    (system, turns)
}

/// An answer that the model shall continue must not end in white space.
fn trim_end(blocks: &mut [Value]) {
    if let Some(Value::String(text)) = blocks.last_mut().and_then(|block| block.get_mut("text")) {
        *text = Text::new(text.trim_end());
    }
}

/// A message's content as blocks; its own `cache_control` counts for the last one.
fn blocks_of(message: &Value, keep_empty: bool) -> Vec<Value> {
    let mut blocks = Vec::new();
    match &message["content"] {
        Value::Array(parts) => blocks.extend(parts.iter().filter_map(block)),
        Value::String(text) if !text.trim().is_empty() => {
            blocks.push(json!({"type": "text", "text": text}));
        }
        _ => {}
    }
    if blocks.is_empty() && keep_empty {
        blocks.push(json!({"type": "text", "text": EMPTY}));
    }
    if let (Some(cache), Some(Value::Object(block))) =
        (message.get("cache_control"), blocks.last_mut())
    {
        block.insert("cache_control", cache.clone());
    }
    blocks
}

/// One part of a message. Parts of unknown type may be Anthropic's own and go as they are.
fn block(part: &Value) -> Option<Value> {
    let mut block = match part["type"].as_str() {
        Some("text") => {
            let text = part["text"].as_str().unwrap_or_default();
            if text.trim().is_empty() {
                return None;
            }
            json!({"type": "text", "text": text})
        }
        Some("image_url") => media(image_url(part)?, part["image_url"].get("format")),
        Some("file") => file(&part["file"])?,
        _ => return Some(part.clone()),
    };
    if let Some(cache) = part.get("cache_control") {
        block["cache_control"] = cache.clone();
    }
    for name in ["citations", "title", "context"] {
        if let Some(value) = part.get(name).filter(|_| block["type"] == "document") {
            block[name] = value.clone();
        }
    }
    Some(block)
}

fn media(url: &str, format: Option<&Value>) -> Value {
    let Some((media_type, data)) = data_url(url) else {
        let kind = if url
            .split('?')
            .next()
            .is_some_and(|path| path.ends_with(".pdf"))
        {
            "document"
        } else {
            "image"
        };
        return json!({"type": kind, "source": {"type": "url", "url": url}});
    };
    let media_type = format.and_then(Value::as_str).unwrap_or(media_type);
    let kind = if media_type.starts_with("image/") {
        "image"
    } else {
        "document"
    };
    json!({"type": kind, "source": {"type": "base64", "media_type": media_type, "data": data}})
}

fn file(file: &Value) -> Option<Value> {
    if let Some(data) = file["file_data"].as_str() {
        return Some(media(data, file.get("format")));
    }
    let id = file["file_id"].as_str()?;
    if id.starts_with("http") || id.starts_with("data:") {
        return Some(media(id, file.get("format")));
    }
    Some(json!({"type": "document", "source": {"type": "file", "file_id": id}}))
}

fn assistant(message: &Value) -> Vec<Value> {
    let mut blocks = Vec::new();
    if let Some(thoughts) = message["thinking_blocks"].as_array() {
        blocks.extend(thoughts.iter().cloned());
    }
    blocks.extend(blocks_of(message, false));
    for call in calls_of(message) {
        let mut block = json!({
            "type": "tool_use",
            "id": call["id"],
            "name": call["function"]["name"],
            "input": arguments_of(&call),
        });
        if let Some(cache) = call.get("cache_control") {
            block["cache_control"] = cache.clone();
        }
        blocks.push(block);
    }
    blocks
}

fn tool_result(message: &Value) -> Value {
    let id = message.get("tool_call_id").or_else(|| message.get("name"));
    let content = match &message["content"] {
        Value::Array(parts) => Value::Array(parts.iter().filter_map(block).collect()),
        Value::Null => json!(""),
        other => other.clone(),
    };
    let mut block = json!({"type": "tool_result", "tool_use_id": id, "content": content});
    if let Some(cache) = message.get("cache_control") {
        block["cache_control"] = cache.clone();
    }
    block
}

/// What an effort means for the model; sets `output_config` beside.
fn think(body: &mut Map, model: &str, effort: Option<&str>) -> Option<Value> {
    let effort = effort.filter(|effort| *effort != "none")?;
    if model::thinking(model) == Thinking::Adaptive {
        let effort = if effort == "minimal" { "low" } else { effort };
        body.insert("output_config", json!({"effort": effort}));
        return Some(json!({"type": "adaptive", "display": "summarized"}));
    }
    let budget = match effort {
        "low" | "minimal" => 1024,
        "medium" => 2048,
        _ => 4096,
    };
    Some(json!({"type": "enabled", "budget_tokens": budget}))
}

fn default_limit(model: &str, thinking: Option<&Value>) -> u64 {
    match thinking.and_then(|thinking| thinking["budget_tokens"].as_u64()) {
        Some(budget) => budget + ANSWER_TOKENS,
        None => model::max_tokens(model),
    }
}

fn tools(call: &mut Call, body: &mut Map) {
    let mut tools: Vec<Value> = match call.take("tools") {
        Some(Value::Array(tools)) => tools.iter().map(tool).collect(),
        _ => Vec::new(),
    };
    if let Some(Value::Array(functions)) = call.take("functions") {
        tools.extend(functions.iter().map(function));
    }
    if let Some(search) = call.take("web_search_options") {
        tools.push(web_search(&search));
    }
    if tools.is_empty() && has_tool_history(&call.messages) {
        tools.push(function(
            &json!({"name": "dummy_tool", "description": "This is a dummy tool call"}),
        ));
    }
    let parallel = call.take("parallel_tool_calls");
    let choice = call
        .take("tool_choice")
        .or_else(|| call.take("function_call"));
    let mut choice = choice.as_ref().and_then(tool_choice);
    if parallel == Some(Value::Bool(false)) && !tools.is_empty() {
        let choice = choice.get_or_insert_with(|| json!({"type": "auto"}));
        choice["disable_parallel_tool_use"] = json!(true);
    }
    if !tools.is_empty() {
        body.insert("tools", Value::Array(tools));
        put(body, "tool_choice", choice);
    }
}

/// A tool. What is no function may be one of Anthropic's own and goes as it is.
fn tool(tool: &Value) -> Value {
    let Some(given) = function_of(tool) else {
        return tool.clone();
    };
    let mut translated = function(given);
    let cache = tool
        .get("cache_control")
        .or_else(|| given.get("cache_control"));
    if let Some(cache) = cache {
        translated["cache_control"] = cache.clone();
    }
    translated
}

fn function(function: &Value) -> Value {
    let mut schema = match function.get("parameters") {
        Some(Value::Object(schema)) => schema.clone(),
        _ => Map::new(),
    };
    schema.entry("type").or_insert_with(|| json!("object"));
    if schema.len() == 1 {
        schema.insert("properties", json!({}));
    }
    let mut tool = json!({"name": function["name"], "input_schema": schema, "type": "custom"});
    if let Some(description) = function.get("description").filter(|text| text.is_string()) {
        tool["description"] = description.clone();
    }
    tool
}

fn web_search(options: &Value) -> Value {
    let mut tool = json!({"type": "web_search_20250305", "name": "web_search"});
    if let Some(place) = options["user_location"].get("approximate") {
        tool["user_location"] = place.clone();
        tool["user_location"]["type"] = json!("approximate");
    }
    match options["search_context_size"].as_str() {
        Some("low") => tool["max_uses"] = json!(1),
        Some("medium") => tool["max_uses"] = json!(5),
        Some("high") => tool["max_uses"] = json!(10),
        _ => {}
    }
    tool
}

fn tool_choice(choice: &Value) -> Option<Value> {
    Some(match choice {
        Value::String(choice) => match choice.as_str() {
            "required" => json!({"type": "any"}),
            "none" => json!({"type": "none"}),
            _ => json!({"type": "auto"}),
        },
        Value::Object(_) => {
            let name = choice["function"]
                .get("name")
                .or_else(|| choice.get("name"))?;
            json!({"type": "tool", "name": name})
        }
        _ => return None,
    })
}

/// `response_format`; returns the beta that it needs.
fn answer_format(call: &mut Call, body: &mut Map, thinks: bool) -> Option<&'static str> {
    let format = call.take("response_format")?;
    let schema = Call::schema_of(&format)?;
    if model::has_structured_output(&call.model) {
        let format = json!({"type": "json_schema", "schema": schema});
        body.insert("output_format", format);
        return Some(STRUCTURED_OUTPUTS);
    }
    let tool = json!({"name": JSON_TOOL, "input_schema": schema});
    match body.get_mut("tools") {
        Some(Value::Array(tools)) => tools.insert(0, tool),
        _ => put(body, "tools", Some(json!([tool]))),
    }
    if !thinks {
        let choice = json!({"type": "tool", "name": JSON_TOOL});
        body.insert("tool_choice", choice);
    }
    None
}
