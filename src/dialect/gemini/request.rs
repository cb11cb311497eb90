//! From the hub to a generateContent request.

use crate::dialect::value::{Map, Value, json};

use super::schema;
use crate::dialect::hub::{
    Call, arguments_of, calls_of, data_url, function_of, image_url, media_type_of, text_of,
};

/// Stands where the conversation has nothing but a system prompt.
const NOTHING: &str = ".";

/// Translates a call. The model's name stands in the URL.
pub fn translate(mut call: Call) -> Map {
    let mut body = Map::new();
    let folds_system = call.model.contains("gemma");
    let (system, contents) = contents(&call.messages, folds_system);
    body.insert("contents", Value::Array(contents));
    if !system.is_empty() {
        body.insert("system_instruction", json!({"parts": system}));
    }
    tools(&mut call, &mut body);
    let config = generation_config(&mut call);
    if !config.is_empty() {
        body.insert("generationConfig", Value::Object(config));
    }
    for (from, to) in [
        ("safety_settings", "safetySettings"),
        ("safetySettings", "safetySettings"),
        ("cached_content", "cachedContent"),
        ("cachedContent", "cachedContent"),
    ] {
        if let Some(value) = call.take(from) {
            body.insert(to.to_owned(), value);
        }
    }
    for name in ["user", "labels", "parallel_tool_calls", "service_tier"] {
        call.take(name);
    }
    for (name, value) in call.fields {
        body.entry(name).or_insert(value);
    }
    body
}

/// The system's parts, and the turns.
fn contents(messages: &[Value], folds_system: bool) -> (Vec<Value>, Vec<Value>) {
    let mut system = Vec::new();
    let mut turns: Vec<Value> = Vec::new();
    for message in messages {
        let (role, parts) = match message["role"].as_str() {
            Some("system" | "developer") => {
                let text = text_of(&message["content"]);
                if !text.is_empty() {
                    system.push(json!({"text": text}));
                }
                continue;
            }
            Some("assistant") => ("model", model_parts(message)),
            Some("tool" | "function") => ("user", vec![tool_result(message, messages)]),
            _ => ("user", parts_of(&message["content"])),
        };
        push_turn(&mut turns, role, parts);
    }
    if folds_system && !system.is_empty() {
        match turns.first_mut() {
            Some(turn) if turn["role"] == "user" => {
                if let Some(parts) = turn["parts"].as_array_mut() {
                    parts.splice(0..0, system.drain(..));
                }
            }
            _ => turns.insert(
                0,
                json!({"role": "user", "parts": std::mem::take(&mut system)}),
            ),
        }
    }
    if turns.is_empty() {
        push_turn(&mut turns, "user", vec![json!({"text": NOTHING})]);
    }
    (system, turns)
}

fn push_turn(turns: &mut Vec<Value>, role: &str, mut parts: Vec<Value>) {
    match turns.last_mut() {
        Some(turn) if turn["role"] == role => {
            if let Some(list) = turn["parts"].as_array_mut() {
                list.append(&mut parts);
            }
        }
        _ if parts.is_empty() => {}
        _ => turns.push(json!({"role": role, "parts": parts})),
    }
}

fn parts_of(content: &Value) -> Vec<Value> {
    match content {
        Value::String(text) if text.is_empty() => Vec::new(),
        Value::String(text) => vec![json!({"text": text})],
        Value::Array(parts) => parts.iter().filter_map(part).collect(),
        _ => Vec::new(),
    }
}

fn part(part: &Value) -> Option<Value> {
    match part["type"].as_str()? {
        "text" => {
            let text = part["text"].as_str().filter(|text| !text.is_empty())?;
            Some(json!({"text": text}))
        }
        "image_url" => {
            let format = part["image_url"]["format"].as_str();
            Some(media(image_url(part)?, format))
        }
        "video_url" => Some(media(part["video_url"]["url"].as_str()?, None)),
        "input_audio" => {
            let audio = &part["input_audio"];
            let format = audio["format"].as_str().unwrap_or("wav");
            let media_type = if format.contains('/') {
                format.to_owned()
            } else {
                format!("audio/{format}")
            };
            Some(json!({"inline_data": {"data": audio["data"], "mime_type": media_type}}))
        }
        "file" => {
            let file = &part["file"];
            let url = file["file_data"]
                .as_str()
                .or_else(|| file["file_id"].as_str())?;
            Some(media(url, file["format"].as_str()))
        }
        _ => None,
    }
}

/// Data stands in the request, what has an address is fetched by Google.
fn media(url: &str, format: Option<&str>) -> Value {
    match data_url(url) {
        Some((media_type, data)) => {
            json!({"inline_data": {"data": data, "mime_type": format.unwrap_or(media_type)}})
        }
        None => {
            let mut file = json!({"file_uri": url});
            if let Some(media_type) = format.or_else(|| media_type_of(url)) {
                file["mime_type"] = json!(media_type);
            }
            json!({"file_data": file})
        }
    }
}

fn model_parts(message: &Value) -> Vec<Value> {
    let mut parts = parts_of(&message["content"]);
    let signatures = &message["provider_specific_fields"]["thought_signatures"];
    let calls = calls_of(message);
    if let (Some(signature), true, Some(last)) =
        (signatures.item(0), calls.is_empty(), parts.last_mut())
    {
        last["thoughtSignature"] = signature.clone();
    }
    for (index, call) in calls.iter().enumerate() {
        let name = &call["function"]["name"];
        let mut part = json!({"function_call": {"name": name, "args": arguments_of(call)}});
        let own = call["provider_specific_fields"].get("thought_signature");
        let signature = own.or_else(|| signatures.item(index));
        if let Some(signature) = signature {
            part["thoughtSignature"] = signature.clone();
        }
        parts.push(part);
    }
    parts
}

/// The function that a result belongs to is known by the call's id.
fn tool_result(message: &Value, messages: &[Value]) -> Value {
    let id = &message["tool_call_id"];
    let named = messages
        .iter()
        .flat_map(calls_of)
        .find(|call| call["id"] == *id)
        .map(|call| call["function"]["name"].clone());
    let name = named
        .or_else(|| message.get("name").cloned())
        .unwrap_or_else(|| id.clone());
    let text = text_of(&message["content"]);
    let response = match Value::read(text.as_bytes()) {
        Ok(response @ Value::Object(_)) => response,
        _ => json!({"content": text}),
    };
    json!({"function_response": {"name": name, "response": response}})
}

fn tools(call: &mut Call, body: &mut Map) {
    let given = match call.take("tools") {
        Some(Value::Array(tools)) => tools,
        _ => Vec::new(),
    };
    let mut declarations = Vec::new();
    let mut own = Vec::new();
    for tool in &given {
        match function_of(tool) {
            Some(function) => declarations.push(declaration(function)),
            None => own.extend(google_tool(tool)),
        }
    }
    if let Some(Value::Array(functions)) = call.take("functions") {
        declarations.extend(functions.iter().map(declaration));
    }
    if call.take("web_search_options").is_some() {
        own.push(json!({"googleSearch": {}}));
    }
    if !declarations.is_empty() {
        own.insert(0, json!({"function_declarations": declarations}));
    }
    if !own.is_empty() {
        body.insert("tools", Value::Array(own));
    }
    let choice = call
        .take("tool_choice")
        .or_else(|| call.take("function_call"));
    if let Some(config) = choice.as_ref().and_then(tool_config) {
        body.insert(
            "toolConfig".to_owned(),
            json!({"functionCallingConfig": config}),
        );
    }
}

fn declaration(function: &Value) -> Value {
    let mut declared = json!({"name": function["name"]});
    if let Some(description) = function.get("description").filter(|text| text.is_string()) {
        declared["description"] = description.clone();
    }
    if let Some(parameters) = function.get("parameters").filter(|value| value.is_object()) {
        let schema = schema::declared(parameters);
        let is_empty = schema["properties"].as_object().is_none_or(Map::is_empty)
            && schema.get("anyOf").is_none();
        if !is_empty {
            declared["parameters"] = schema;
        }
    }
    declared
}

/// A tool of Google's own, e.g. `{"googleSearch": {}}`.
fn google_tool(tool: &Value) -> Option<Value> {
    match tool["type"].as_str() {
        Some(kind) if kind.starts_with("web_search") => Some(json!({"googleSearch": {}})),
        Some(_) => None,
        None => Some(tool.clone()),
    }
}

fn tool_config(choice: &Value) -> Option<Value> {
    Some(match choice {
        Value::String(choice) => match choice.as_str() {
            "required" => json!({"mode": "ANY"}),
            "none" => json!({"mode": "NONE"}),
            _ => json!({"mode": "AUTO"}),
        },
        Value::Object(_) => {
            let name = choice["function"]
                .get("name")
                .or_else(|| choice.get("name"))?;
            json!({"mode": "ANY", "allowed_function_names": [name]})
        }
        _ => return None,
    })
}

fn generation_config(call: &mut Call) -> Map {
    let mut config = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            config.insert(name.to_owned(), value);
        }
    };
    put("max_output_tokens", call.take_max_tokens());
    put("stop_sequences", call.take_stop());
    put("candidate_count", call.take("n"));
    put("responseLogprobs", call.take("logprobs"));
    put("logprobs", call.take("top_logprobs"));
    for name in [
        "temperature",
        "top_p",
        "top_k",
        "seed",
        "presence_penalty",
        "frequency_penalty",
    ] {
        put(name, call.take(name));
    }
    if let Some(Value::Array(kinds)) = call.take("modalities") {
        let kinds = kinds.iter().filter_map(Value::as_str);
        put(
            "responseModalities",
            Some(kinds.map(str::to_uppercase).collect()),
        );
    }
    let effort = call.take_text("reasoning_effort");
    let thinking = call.take("thinking");
    put(
        "thinkingConfig",
        think(&call.model, effort.as_deref(), thinking),
    );
    if let Some(format) = call.take("response_format") {
        if format["type"] != "text" {
            put("response_mime_type", Some(json!("application/json")));
        }
        put("response_json_schema", Call::schema_of(&format).cloned());
    }
    if let Some(Value::Object(own)) = call.take("generationConfig") {
        config.extend(own);
    }
    config
}

fn think(model: &str, effort: Option<&str>, thinking: Option<Value>) -> Option<Value> {
    if let Some(thinking) = thinking {
        let on = thinking["type"] != "disabled";
        let mut config = json!({"includeThoughts": on});
        match thinking["budget_tokens"].as_u64() {
            Some(budget) => config["thinkingBudget"] = json!(budget),
            None if !on => config["thinkingBudget"] = json!(0),
            None => {}
        }
        return Some(config);
    }
    let effort = effort?;
    let shows = effort != "none";
    if model.contains("gemini-3") {
        let level = match effort {
            "none" | "minimal" | "low" => "low",
            "medium" if model.contains("flash") => "medium",
            _ => "high",
        };
        return Some(json!({"thinkingLevel": level, "includeThoughts": shows}));
    }
    let budget = match effort {
        "none" => 0,
        "minimal" => 512,
        "low" => 1024,
        "medium" => 2048,
        _ => 4096,
    };
    Some(json!({"thinkingBudget": budget, "includeThoughts": shows}))
}
