//! The shape through which dialects are translated: OpenAI's chat, as JSON values. What all translations need of it is
//! here: reading its messages and writing its answers and chunks. Knows no provider.

use crate::dialect::value::{Map, Text, Value, json};

use crate::error::{ErrorClass, GatewayError, push_json_string};

/// A client's request, taken apart.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// The model as the provider knows it.
    pub model: String,
    /// The conversation.
    pub messages: Vec<Value>,
    /// All other fields that are not for the gateway; dialects take out what they translate, the rest goes as it is.
    pub fields: Map,
    /// The client wants a stream.
    pub stream: bool,
    /// The client asked for the usage of its stream.
    pub usage_asked: bool,
    /// Parameters that the provider does not take are left out instead of refused.
    pub drop_params: bool,
    /// What a provider would refuse may be mended (`modify_params`).
    pub modify_params: bool,
    /// The client's `extra_headers`.
    pub headers: Vec<(String, String)>,
}

impl Call {
    /// Takes a field out; null counts as missing.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.fields.remove(name).filter(|value| !value.is_null())
    }

    /// Takes a field out if it is text.
    pub fn take_text(&mut self, name: &str) -> Option<Text> {
        match self.take(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The limit of tokens under either of its names.
    pub fn take_max_tokens(&mut self) -> Option<Value> {
        let old = self.take("max_tokens");
        self.take("max_completion_tokens").or(old)
    }

    /// `stop` as a list.
    pub fn take_stop(&mut self) -> Option<Value> {
        self.take("stop").map(|stop| match stop {
            Value::Array(_) => stop,
            one => Value::Array(vec![one]),
        })
    }

    /// The schema of a `response_format` that has one.
    pub fn schema_of(format: &Value) -> Option<&Value> {
        match format["type"].as_str()? {
            "json_schema" => format["json_schema"].get("schema"),
            "json_object" => format.get("response_schema"),
            _ => None,
        }
    }
}

/// A JSON value with spaces behind separators, as clients know the arguments of translated tool calls.
pub fn spaced_json(value: &Value) -> String {
    let mut out = Vec::new();
    push_spaced(&mut out, value);
    String::from_utf8(out).unwrap_or_default()
}

fn push_spaced(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Object(members) => {
            out.push(b'{');
            for (index, (name, value)) in members.iter().enumerate() {
                if index > 0 {
                    out.extend_from_slice(b", ");
                }
                push_json_string(out, name);
                out.extend_from_slice(b": ");
                push_spaced(out, value);
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.extend_from_slice(b", ");
                }
                push_spaced(out, item);
            }
            out.push(b']');
        }
        Value::String(text) => push_json_string(out, text),
        other => other.write(out),
    }
}

/// The text of a message's content: the string, or its text parts one behind the other.
pub fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.to_string(),
        Value::Array(parts) => parts
            .iter()
            .filter_map(|part| part["text"].as_str())
            .collect(),
        _ => String::new(),
    }
}

/// Media type and base64 text of a `data:` URL.
pub fn data_url(url: &str) -> Option<(&str, &str)> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    let media = head.strip_suffix(";base64")?;
    Some((media.split(';').next().unwrap_or(media), data))
}

/// The URL of an `image_url` part, which is a string or an object.
pub fn image_url(part: &Value) -> Option<&str> {
    let image = part.get("image_url")?;
    image.as_str().or_else(|| image["url"].as_str())
}

/// Refuses what a model without ears would lose silently.
pub fn refuse_audio(messages: &[Value], label: &str) -> Result<(), GatewayError> {
    let parts = messages
        .iter()
        .filter_map(|message| message["content"].as_array());
    if !parts.flatten().any(|part| part["type"] == "input_audio") {
        return Ok(());
    }
    let text = format!(
        "{label}Exception - messages: this provider's models take no `input_audio`; leave it out, or name a model that hears"
    );
    Err(GatewayError::refused(ErrorClass::BadRequest, text))
}

/// The media type by a URL's file extension; `image/png` for images of unknown kind is not guessed.
pub fn media_type_of(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    Some(
        match path.rsplit('.').next()?.to_ascii_lowercase().as_str() {
            "png" => "image/png",
            "jpg" | "jpeg" => "image/jpeg",
            "gif" => "image/gif",
            "webp" => "image/webp",
            "pdf" => "application/pdf",
            "mp4" => "video/mp4",
            "mov" => "video/mov",
            "webm" => "video/webm",
            "mp3" => "audio/mp3",
            "wav" => "audio/wav",
            "txt" => "text/plain",
            "csv" => "text/csv",
            "html" => "text/html",
            _ => return None,
        },
    )
}

/// The arguments of a tool call in a conversation, parsed; what is no JSON object becomes an empty one.
pub fn arguments_of(call: &Value) -> Value {
    let text = call["function"]["arguments"].as_str().unwrap_or_default();
    match Value::read(text.as_bytes()) {
        Ok(value @ Value::Object(_)) => value,
        _ => json!({}),
    }
}

/// The tool calls of an assistant's message; the old `function_call` counts as one.
pub fn calls_of(message: &Value) -> Vec<Value> {
    match message["tool_calls"].as_array() {
        Some(calls) => calls.clone(),
        None => message
            .get("function_call")
            .filter(|call| call.is_object())
            .map(|call| json!({"id": call["name"], "type": "function", "function": call}))
            .into_iter()
            .collect(),
    }
}

/// The function of a tool, when the tool is one.
pub fn function_of(tool: &Value) -> Option<&Value> {
    match tool["type"].as_str() {
        Some("function") | None => tool.get("function").filter(|function| function.is_object()),
        _ => None,
    }
}

/// Whether the conversation holds tool calls or their results.
pub fn has_tool_history(messages: &[Value]) -> bool {
    messages.iter().any(|message| {
        message["role"] == "tool"
            || message["tool_calls"]
                .as_array()
                .is_some_and(|calls| !calls.is_empty())
    })
}

/// How many tokens a text has, roughly: for providers that do not count their reasoning apart.
pub fn estimate_tokens(text: &str) -> u64 {
    let mut tokens = 0;
    let mut run = 0_u64;
    for letter in text.chars() {
        if letter.is_alphanumeric() {
            tokens += u64::from(run.is_multiple_of(8));
            run += 1;
        } else {
            run = 0;
            tokens += u64::from(!letter.is_whitespace());
        }
    }
    tokens
}

/// What every answer and chunk carries.
#[derive(Clone, Debug, Default)]
pub struct Stamp {
    /// The answer's id.
    pub id: String,
    /// Letters and digits that no other call has, for ids that the provider does not give.
    pub fresh: String,
    /// Seconds of unix time.
    pub created: u64,
    /// The model as the client sees it.
    pub model: String,
    /// The client asked for the usage of its stream.
    pub usage_asked: bool,
    /// Tools that went under another name: as sent, and as the client named them.
    pub renamed: Vec<(String, String)>,
}

impl Stamp {
    /// A tool's name as the client knows it.
    pub fn tool_name<'a>(&'a self, sent: &'a str) -> &'a str {
        asked_name(&self.renamed, sent)
    }
}

/// The name that the client gave to what was sent under another.
pub fn asked_name<'a>(renamed: &'a [(String, String)], sent: &'a str) -> &'a str {
    let found = renamed.iter().find(|(name, _)| name == sent);
    found.map_or(sent, |(_, asked)| asked)
}

/// A chat completion.
pub fn completion(stamp: &Stamp, choices: Vec<Value>, usage: Value) -> Map {
    let mut body = Map::with_capacity(8);
    body.push_new("id", json!(stamp.id));
    body.push_new("created", json!(stamp.created));
    body.push_new("model", json!(stamp.model));
    body.push_new("object", json!("chat.completion"));
    body.push_new("choices", Value::Array(choices));
    body.push_new("usage", usage);
    body
}

/// One choice of a completion.
pub fn choice(index: usize, message: Value, finish_reason: &str) -> Value {
    let mut choice = Map::new();
    choice.push_new("finish_reason", json!(finish_reason));
    choice.push_new("index", json!(index));
    choice.push_new("message", message);
    Value::Object(choice)
}

/// A tool call of a whole answer.
pub fn tool_call(index: usize, id: &str, name: &str, arguments: &str) -> Value {
    json!({"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
}

/// What a chunk adds to the message.
#[derive(Debug, Default)]
pub struct Delta<'a> {
    /// Text.
    pub content: Option<&'a str>,
    /// Reasoning text.
    pub reasoning: Option<&'a str>,
    /// An entry of `thinking_blocks`.
    pub thinking: Option<Value>,
    /// Pieces of tool calls.
    pub tools: &'a [ToolDelta<'a>],
    /// `provider_specific_fields`.
    pub vendor: Option<Value>,
    /// Members of the chunk behind its choices, e.g. `,"x":1`.
    pub tail: &'a str,
}

/// A piece of a tool call.
#[derive(Clone, Copy, Debug)]
pub struct ToolDelta<'a> {
    /// Which call.
    pub index: usize,
    /// Its id, in its first piece.
    pub id: Option<&'a str>,
    /// Its function's name, in its first piece.
    pub name: Option<&'a str>,
    /// What comes behind the arguments so far.
    pub arguments: &'a str,
}

/// Writes the chunks of a streamed answer.
#[derive(Debug)]
pub struct ChunkWriter {
    head: Vec<u8>,
    /// Members of each chunk behind its choices.
    tail: &'static str,
    has_role: bool,
    text_bytes: u64,
    usage_asked: bool,
}

impl ChunkWriter {
    /// A writer; `tail` is put behind the choices of each chunk, e.g. `,"x":1`.
    pub fn new(stamp: &Stamp, tail: &'static str) -> Self {
        let mut head = b"data: {\"id\":".to_vec();
        push_json_string(&mut head, &stamp.id);
        head.extend_from_slice(format!(",\"created\":{},\"model\":", stamp.created).as_bytes());
        push_json_string(&mut head, &stamp.model);
        head.extend_from_slice(b",\"object\":\"chat.completion.chunk\",\"choices\":[");
        Self {
            head,
            tail,
            has_role: false,
            text_bytes: 0,
            usage_asked: stamp.usage_asked,
        }
    }

    /// Bytes of text, reasoning and tool arguments that have come out.
    pub const fn text_bytes(&self) -> u64 {
        self.text_bytes
    }

    /// A chunk of the first choice.
    pub fn delta(&mut self, delta: &Delta<'_>, out: &mut Vec<u8>) {
        let text = [delta.content, delta.reasoning].into_iter().flatten();
        let tools = delta.tools.iter().map(|tool| tool.arguments);
        self.text_bytes += text.chain(tools).map(|text| text.len() as u64).sum::<u64>();
        out.extend_from_slice(&self.head);
        out.extend_from_slice(b"{\"index\":0,\"delta\":{");
        let start = out.len();
        if !std::mem::replace(&mut self.has_role, true) {
            out.extend_from_slice(b",\"role\":\"assistant\"");
        }
        if let Some(content) = delta.content {
            out.extend_from_slice(b",\"content\":");
            push_json_string(out, content);
        }
        if let Some(reasoning) = delta.reasoning {
            out.extend_from_slice(b",\"reasoning_content\":");
            push_json_string(out, reasoning);
        }
        if let Some(thinking) = &delta.thinking {
            out.extend_from_slice(b",\"thinking_blocks\":[");
            thinking.write(out);
            out.push(b']');
        }
        if !delta.tools.is_empty() {
            out.extend_from_slice(b",\"tool_calls\":");
            for (index, tool) in delta.tools.iter().enumerate() {
                out.push(if index == 0 { b'[' } else { b',' });
                push_tool(out, tool);
            }
            out.push(b']');
        }
        if let Some(vendor) = &delta.vendor {
            out.extend_from_slice(b",\"provider_specific_fields\":");
            vendor.write(out);
        }
        // Each member brought the comma in front of it; the first one's is in the way.
        if out.get(start) == Some(&b',') {
            out.remove(start);
        }
        self.close(delta.tail, out);
    }

    fn close(&self, tail: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(b"}}]");
        out.extend_from_slice(tail.as_bytes());
        out.extend_from_slice(self.tail.as_bytes());
        out.extend_from_slice(b"}\n\n");
    }

    /// A chunk with text only; nothing for no text.
    pub fn text(&mut self, text: &str, out: &mut Vec<u8>) {
        if !text.is_empty() {
            let delta = Delta {
                content: Some(text),
                ..Delta::default()
            };
            self.delta(&delta, out);
        }
    }

    /// The chunk that says why the answer ended.
    pub fn finish(&mut self, reason: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(b"{\"index\":0,\"finish_reason\":");
        push_json_string(out, reason);
        out.extend_from_slice(b",\"delta\":{");
        self.close("", out);
    }

    /// The chunk with the usage, for a client that asked.
    pub fn usage(&mut self, usage: &Value, out: &mut Vec<u8>) {
        if !self.usage_asked {
            return;
        }
        out.extend_from_slice(&self.head);
        out.extend_from_slice(b"],\"usage\":");
        usage.write(out);
        out.extend_from_slice(b"}\n\n");
    }
}

/// The end mark of a chat stream.
pub const DONE: &[u8] = b"data: [DONE]\n\n";

fn push_tool(out: &mut Vec<u8>, tool: &ToolDelta<'_>) {
    out.extend_from_slice(format!("{{\"index\":{},\"type\":\"function\"", tool.index).as_bytes());
    if let Some(id) = tool.id {
        out.extend_from_slice(b",\"id\":");
        push_json_string(out, id);
    }
    out.extend_from_slice(b",\"function\":{\"arguments\":");
    push_json_string(out, tool.arguments);
    if let Some(name) = tool.name {
        out.extend_from_slice(b",\"name\":");
        push_json_string(out, name);
    }
    out.extend_from_slice(b"}}");
}

/// A provider's answer or event that is not what it has to be.
pub fn unreadable(label: &str, what: impl std::fmt::Display) -> GatewayError {
    GatewayError::new(
        ErrorClass::ApiConnection,
        format!(
            "litellm.APIConnectionError: APIConnectionError: {label}Exception - unreadable answer: {what}"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_spaced() {
        let value = json!({"a": [1, "x,y"], "b": {"c": null}});
        assert_eq!(
            spaced_json(&value),
            r#"{"a": [1, "x,y"], "b": {"c": null}}"#
        );
    }

    #[test]
    fn data_urls_are_split() {
        assert_eq!(
            data_url("data:image/png;base64,AA=="),
            Some(("image/png", "AA=="))
        );
        assert_eq!(data_url("data:text/plain,hello"), None);
        assert_eq!(data_url("https://x/y.png"), None);
    }
}
