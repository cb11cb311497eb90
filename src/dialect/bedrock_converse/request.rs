//! From the hub to a Converse request. The model and whether to stream stand in the URL.

use crate::dialect::value::{Map, Value, json};

use super::JSON_TOOL;
use crate::dialect::hub::{
    Call, arguments_of, calls_of, data_url, function_of, has_tool_history, image_url, refuse_audio,
};
use crate::dialect::repair::{self, Strict};
use crate::error::{ErrorClass, GatewayError};

/// What Bedrock refuses.
const STRICT: Strict = Strict {
    opening: repair::CONTINUE,
    ends_with_user: true,
    remembers_thoughts: false,
};
/// Stands for content that Bedrock refuses because it is empty.
const EMPTY: &str = "[System: Empty message content sanitised to satisfy protocol]";
/// The longest name of a tool.
const TOOL_NAME_BYTES_MAX: usize = 64;

/// Translates a call.
pub fn translate(mut call: Call) -> Result<Map, GatewayError> {
    refuse_addresses(&call.messages)?;
    refuse_audio(&call.messages, "Bedrock")?;
    let strict = Strict {
        remembers_thoughts: is_claude(&call.model),
        ..STRICT
    };
    repair::mend(&mut call, strict);
    let mut body = Map::new();
    let guardrail = call.take("guardrailConfig");
    let (system, mut messages) = turns(&call.messages);
    if guardrail.is_some() {
        guard_last(&mut messages);
    }
    body.insert("messages", Value::Array(messages));
    if !system.is_empty() {
        body.insert("system", Value::Array(system));
    }
    let mut inference = Map::new();
    for (name, value) in [
        ("maxTokens", call.take_max_tokens()),
        ("stopSequences", call.take_stop()),
        ("temperature", call.take("temperature")),
        ("topP", call.take("top_p")),
    ] {
        put(&mut inference, name, value);
    }
    body.insert("inferenceConfig", Value::Object(inference));
    put(&mut body, "guardrailConfig", guardrail);
    for name in ["requestMetadata", "performanceConfig", "promptVariables"] {
        let value = call.take(name);
        put(&mut body, name, value);
    }
    let mut additional = Map::new();
    think(&mut call, &mut body, &mut additional);
    tools(&mut call, &mut body, &mut additional)?;
    if let Some(top_k) = call.take("top_k") {
        if call.model.contains("nova") {
            additional.insert("inferenceConfig", json!({"topK": top_k}));
        } else {
            additional.insert("top_k", top_k);
        }
    }
    for name in ["user", "response_format", "service_tier"] {
        call.take(name);
    }
    additional.extend(call.fields);
    if !additional.is_empty() {
        body.insert(
            "additionalModelRequestFields".to_owned(),
            Value::Object(additional),
        );
    }
    Ok(body)
}

/// Bedrock fetches from S3 only. What else is named by address has become bytes before, where the gateway may fetch it.
fn refuse_addresses(messages: &[Value]) -> Result<(), GatewayError> {
    let parts = messages
        .iter()
        .filter_map(|message| message["content"].as_array())
        .flatten();
    match parts
        .filter_map(image_url)
        .find(|url| !url.starts_with("data:") && !url.starts_with("s3://"))
    {
        Some(url) => Err(GatewayError::refused(
            ErrorClass::BadRequest,
            format_args!(
                "BedrockException - images must be data: or s3:// URLs for this provider; got {url}"
            ),
        )),
        None => Ok(()),
    }
}

fn put(body: &mut Map, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        body.insert(name.to_owned(), value);
    }
}

/// Whether the model is one of Anthropic's.
fn is_claude(model: &str) -> bool {
    model.contains("claude")
}

fn think(call: &mut Call, body: &mut Map, additional: &mut Map) {
    let effort = call.take_text("reasoning_effort");
    let thinking = call.take("thinking").or_else(|| {
        let effort = effort.as_deref().filter(|effort| *effort != "none")?;
        let budget = match effort {
            "low" | "minimal" => 1024,
            "medium" => 2048,
            _ => 4096,
        };
        is_claude(&call.model).then(|| json!({"type": "enabled", "budget_tokens": budget}))
    });
    if let Some(thinking) = thinking {
        additional.insert("thinking", thinking);
        let paths = json!(["/usage/output_tokens_details"]);
        body.insert("additionalModelResponseFieldPaths", paths);
    }
}

/// The system's blocks, and the turns: roles alternate.
fn turns(messages: &[Value]) -> (Vec<Value>, Vec<Value>) {
    let mut system = Vec::new();
    let mut turns: Vec<Value> = Vec::new();
    for message in messages {
        let (role, mut blocks) = match message["role"].as_str() {
            Some("system" | "developer") => {
                system.extend(blocks_of(message));
                continue;
            }
            Some("assistant") => ("assistant", assistant(message)),
            Some("tool" | "function") => ("user", tool_result(message)),
            _ => {
                let mut blocks = blocks_of(message);
                if blocks.is_empty() {
                    blocks.push(json!({"text": EMPTY}));
                }
                ("user", blocks)
            }
        };
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

/// With a guardrail, the last turn's text is what it looks at.
fn guard_last(turns: &mut [Value]) {
    let Some(last) = turns.last_mut().filter(|turn| turn["role"] == "user") else {
        return;
    };
    for block in last["content"].as_array_mut().into_iter().flatten() {
        if let Some(text) = block.get("text").cloned() {
            *block = json!({"guardContent": {"text": {"text": text}}});
        }
    }
}

fn cache_point() -> Value {
    json!({"cachePoint": {"type": "default"}})
}

fn blocks_of(message: &Value) -> Vec<Value> {
    let mut blocks = Vec::new();
    match &message["content"] {
        Value::String(text) if !text.trim().is_empty() => blocks.push(json!({"text": text})),
        Value::Array(parts) => {
            for part in parts {
                blocks.extend(block(part));
                if part.get("cache_control").is_some() {
                    blocks.push(cache_point());
                }
            }
        }
        _ => {}
    }
    if message.get("cache_control").is_some() && !blocks.is_empty() {
        blocks.push(cache_point());
    }
    blocks
}

fn block(part: &Value) -> Option<Value> {
    match part["type"].as_str()? {
        "text" => {
            let text = part["text"]
                .as_str()
                .filter(|text| !text.trim().is_empty())?;
            Some(json!({"text": text}))
        }
        "image_url" => media(image_url(part)?),
        "file" => {
            let file = &part["file"];
            let url = file["file_data"]
                .as_str()
                .or_else(|| file["file_id"].as_str());
            media(url?)
        }
        "guarded_text" => Some(json!({"guardContent": {"text": {"text": part["text"]}}})),
        _ => None,
    }
}

/// Images and documents as bytes; what lies in S3 by its address.
fn media(url: &str) -> Option<Value> {
    let (media_type, source) = match data_url(url) {
        Some((media_type, data)) => (media_type.to_owned(), json!({"bytes": data})),
        None => {
            let media_type = crate::dialect::hub::media_type_of(url)?.to_owned();
            (media_type, json!({"s3Location": {"uri": url}}))
        }
    };
    let (kind, format) = media_type.split_once('/')?;
    let format = match format {
        "jpg" => "jpeg",
        "plain" => "txt",
        "markdown" => "md",
        "msword" => "doc",
        "vnd.openxmlformats-officedocument.wordprocessingml.document" => "docx",
        "vnd.ms-excel" => "xls",
        "vnd.openxmlformats-officedocument.spreadsheetml.sheet" => "xlsx",
        other => other,
    };
    Some(match kind {
        "image" => json!({"image": {"format": format, "source": source}}),
        "video" => json!({"video": {"format": format, "source": source}}),
        _ => json!({"document": {"format": format, "name": "document", "source": source}}),
    })
}

fn assistant(message: &Value) -> Vec<Value> {
    let mut blocks: Vec<Value> = message["thinking_blocks"]
        .as_array()
        .into_iter()
        .flatten()
        .map(thought)
        .collect();
    blocks.extend(blocks_of(message));
    for call in calls_of(message) {
        let name = call["function"]["name"].as_str().unwrap_or_default();
        blocks.push(json!({"toolUse": {
            "toolUseId": call["id"], "name": tool_name(name), "input": arguments_of(&call),
        }}));
    }
    blocks
}

fn thought(block: &Value) -> Value {
    match block.get("data") {
        Some(data) => json!({"reasoningContent": {"redactedContent": data}}),
        None => {
            let mut text = json!({"text": block["thinking"]});
            if let Some(signature) = block.get("signature") {
                text["signature"] = signature.clone();
            }
            json!({"reasoningContent": {"reasoningText": text}})
        }
    }
}

fn tool_result(message: &Value) -> Vec<Value> {
    let id = message.get("tool_call_id").or_else(|| message.get("name"));
    let content = match &message["content"] {
        Value::String(text) => vec![json!({"text": text})],
        Value::Array(parts) => parts.iter().filter_map(block).collect(),
        _ => Vec::new(),
    };
    let mut blocks = vec![json!({"toolResult": {"toolUseId": id, "content": content}})];
    if message.get("cache_control").is_some() {
        blocks.push(cache_point());
    }
    blocks
}

/// The names of tools that Bedrock takes in another form only: as sent, and as given.
pub fn renamed(call: &Call) -> Vec<(String, String)> {
    let tools = call.fields.get("tools").and_then(Value::as_array);
    let names = tools.into_iter().flatten().filter_map(|tool| {
        let name = function_of(tool)?["name"].as_str()?;
        let sent = tool_name(name);
        (sent != name).then(|| (sent, name.to_owned()))
    });
    names.collect()
}

/// A name as Bedrock takes it: letters, digits, `_` and `-`.
fn tool_name(name: &str) -> String {
    let plain = |letter: char| match letter {
        letter if letter.is_ascii_alphanumeric() || letter == '_' || letter == '-' => letter,
        _ => '_',
    };
    name.chars().take(TOOL_NAME_BYTES_MAX).map(plain).collect()
}

fn tools(call: &mut Call, body: &mut Map, additional: &mut Map) -> Result<(), GatewayError> {
    let strict = !is_claude(&call.model) && call.model.contains("llama");
    let mut tools = Vec::new();
    for tool in call
        .take("tools")
        .as_ref()
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        if let Some(function) = function_of(tool) {
            tools.push(tool_spec(function, strict));
        }
        if tool.get("cache_control").is_some() {
            tools.push(cache_point());
        }
    }
    if tools.is_empty() && has_tool_history(&call.messages) {
        let dummy = json!({"name": "dummy_tool", "description": "This is a dummy tool call"});
        tools.push(tool_spec(&dummy, strict));
    }
    let mut choice = match call.take("tool_choice") {
        Some(choice) => tool_choice(&choice, call.drop_params)?,
        None => None,
    };
    let format = call.take("response_format").unwrap_or_default();
    if let Some(schema) = Call::schema_of(&format) {
        let json_tool = json!({"name": JSON_TOOL, "description": JSON_TOOL, "parameters": schema});
        tools.push(tool_spec(&json_tool, strict));
        choice = Some(json!({"tool": {"name": JSON_TOOL}})).filter(|_| takes_choice(&call.model));
    }
    let parallel = call.take("parallel_tool_calls");
    if tools.is_empty() {
        return Ok(());
    }
    if parallel == Some(Value::Bool(false)) && is_claude(&call.model) {
        let kind = match &choice {
            Some(choice) if choice.get("any").is_some() => "any",
            _ => "auto",
        };
        let own = json!({"type": kind, "disable_parallel_tool_use": true});
        additional.insert("tool_choice", own);
    }
    let mut config = json!({"tools": tools});
    if let Some(choice) = choice {
        config["toolChoice"] = choice;
    }
    body.insert("toolConfig", config);
    Ok(())
}

/// Whether the model may be told which tool to use.
pub fn takes_choice(model: &str) -> bool {
    ["claude", "mistral", "nova", "gpt-oss", "qwen"]
        .iter()
        .any(|name| model.contains(name))
}

fn tool_spec(function: &Value, strict: bool) -> Value {
    let mut schema = match function.get("parameters") {
        Some(schema @ Value::Object(_)) => schema.clone(),
        _ => json!({"type": "object", "properties": {}}),
    };
    if strict && let Some(schema) = schema.as_object_mut() {
        schema.remove("additionalProperties");
    }
    let name = tool_name(function["name"].as_str().unwrap_or_default());
    let description = function["description"]
        .as_str()
        .filter(|text| !text.is_empty());
    let description = description.unwrap_or(&name).to_owned();
    json!({"toolSpec": {"name": name, "description": description, "inputSchema": {"json": schema}}})
}

fn tool_choice(choice: &Value, drop: bool) -> Result<Option<Value>, GatewayError> {
    Ok(match choice {
        Value::String(choice) => match choice.as_str() {
            "auto" => Some(json!({"auto": {}})),
            "required" => Some(json!({"any": {}})),
            _ if drop => None,
            other => {
                return Err(GatewayError::refused(
                    ErrorClass::UnsupportedParams,
                    format_args!(
                        "Bedrock doesn't support tool_choice={other}. To drop it from the call, set `litellm.drop_params = True."
                    ),
                ));
            }
        },
        Value::Object(_) => choice["function"]["name"]
            .as_str()
            .map(|name| json!({"tool": {"name": tool_name(name)}})),
        _ => None,
    })
}
