//! How many tokens a text or a request is: OpenAI's two encodings, counted exactly, and the tokens that a chat adds around
//! its messages and tools. Everything else (Anthropic, Google, open models) is counted with the older of the two, as
//! LiteLLM does. Pure; the tables are in the binary and are unpacked once, by whoever counts first ([`warm`] does it ahead).
//! Linear in the text, whatever the text is: about 10 MB a second, which is why nobody counts on a shard. Knows no provider, no price and no configuration.

mod functions;

use std::borrow::Cow;

use bpe_openai::{Tokenizer, cl100k_base, o200k_base};
use serde::Deserialize;
use serde_json::Value;

/// What an image costs whose size is not looked at.
const IMAGE_TOKENS: u64 = 250;
/// What a small picture of known low detail costs.
const LOW_DETAIL_TOKENS: u64 = 85;
/// Around each message.
const MESSAGE_TOKENS: u64 = 3;
/// For a `name` in a message.
const NAME_TOKENS: u64 = 1;
/// The beginning of the answer, which is part of the prompt.
const ANSWER_TOKENS: u64 = 3;

/// Which table splits a model's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `cl100k_base`: GPT-3.5, GPT-4, embeddings, and models that are not OpenAI's.
    Cl100k,
    /// `o200k_base`: GPT-4o and later.
    O200k,
}

impl Encoding {
    /// The encoding of a model; a provider's prefix and `ft:` do not matter.
    pub fn of(model: &str) -> Self {
        const NEWER: &[&str] = &[
            "gpt-4o",
            "gpt-4.1",
            "gpt-4.5",
            "gpt-5",
            "gpt-oss",
            "chatgpt-4o",
            "codex-mini",
            "o1",
            "o3",
            "o4",
        ];
        let name = model.rsplit('/').next().unwrap_or(model);
        let name = name.strip_prefix("ft:").unwrap_or(name);
        let is_newer = |family: &&str| {
            let rest = name.strip_prefix(*family);
            // `o1` is a model, `o100` is not one of that family.
            rest.is_some_and(|rest| {
                !family.starts_with('o') || rest.is_empty() || rest.starts_with(['-', ':'])
            })
        };
        if NEWER.iter().any(is_newer) {
            Self::O200k
        } else {
            Self::Cl100k
        }
    }

    fn table(self) -> &'static Tokenizer {
        match self {
            Self::Cl100k => cl100k_base(),
            Self::O200k => o200k_base(),
        }
    }

    /// Tokens of a text.
    pub fn count(self, text: &str) -> u64 {
        self.table().count(text) as u64
    }
}

/// Unpacks both tables: a tenth of a second that no request should meet. Call it off the shards.
pub fn warm() {
    for encoding in [Encoding::Cl100k, Encoding::O200k] {
        encoding.count("");
    }
}

/// Tokens of a request's prompt: of `messages` with `tools`, else of `prompt`, `input` or Google's `contents`, as `model`
/// splits them. A body that is no JSON object counts as text. At most `u32::MAX`.
pub fn count(model: &str, body: &[u8]) -> u32 {
    let encoding = Encoding::of(model);
    let counted = match serde_json::from_slice::<Prompt<'_>>(body) {
        Ok(prompt) => prompt.count(encoding),
        Err(_) => encoding.count(&String::from_utf8_lossy(body)),
    };
    u32::try_from(counted).unwrap_or(u32::MAX)
}

/// What of a body is counted.
#[derive(Deserialize)]
struct Prompt<'a> {
    messages: Option<Value>,
    system: Option<Value>,
    instructions: Option<Value>,
    tools: Option<Value>,
    tool_choice: Option<Value>,
    prompt: Option<Value>,
    input: Option<Value>,
    contents: Option<Value>,
    #[serde(rename = "systemInstruction")]
    system_instruction: Option<Value>,
    #[serde(borrow)]
    query: Option<Cow<'a, str>>,
}

impl Prompt<'_> {
    fn count(&self, encoding: Encoding) -> u64 {
        let tools = self.tools.as_ref().unwrap_or(&Value::Null);
        let choice = self.tool_choice.as_ref().unwrap_or(&Value::Null);
        let beside = [&self.system, &self.instructions, &self.system_instruction];
        let beside: u64 = beside
            .iter()
            .filter_map(|part| part.as_ref())
            .map(|part| texts(encoding, part))
            .sum();
        let query = self.query.as_deref().map_or(0, |text| encoding.count(text));
        if let Some(Value::Array(messages)) = &self.messages {
            return beside + chat(encoding, messages, tools, choice);
        }
        let rest = [&self.prompt, &self.input, &self.contents];
        let rest: u64 = rest
            .iter()
            .filter_map(|part| part.as_ref())
            .map(|part| texts(encoding, part))
            .sum();
        beside + query + rest + tool_tokens(encoding, tools, choice, false)
    }
}

/// Tokens of a chat: its messages, its tools (null for none), and how they may be called.
pub fn chat(encoding: Encoding, messages: &[Value], tools: &Value, choice: &Value) -> u64 {
    let has_system = messages.iter().any(|message| message["role"] == "system");
    let own: u64 = messages
        .iter()
        .map(|message| message_tokens(encoding, message))
        .sum();
    own + ANSWER_TOKENS + tool_tokens(encoding, tools, choice, has_system)
}

fn message_tokens(encoding: Encoding, message: &Value) -> u64 {
    let members = message.as_object().into_iter().flatten();
    let tokens = members.map(|(name, value)| match (name.as_str(), value) {
        ("tool_calls", Value::Array(calls)) => calls
            .iter()
            .map(|call| texts(encoding, &call["function"]["arguments"]))
            .sum(),
        ("name", Value::String(text)) => encoding.count(text) + NAME_TOKENS,
        (_, Value::String(text)) => encoding.count(text),
        ("content", parts) => texts(encoding, parts),
        _ => 0,
    });
    MESSAGE_TOKENS + tokens.sum::<u64>()
}

/// Tokens of all text within a value; an image has a price of its own. The nesting is bounded by the JSON reader.
fn texts(encoding: Encoding, value: &Value) -> u64 {
    match value {
        Value::String(text) => encoding.count(text),
        // An input that is tokens already.
        Value::Number(_) => 1,
        Value::Array(items) => items.iter().map(|item| texts(encoding, item)).sum(),
        Value::Object(part) => match part.get("type").and_then(Value::as_str) {
            Some("image_url" | "image" | "input_image") => image_tokens(part.get("image_url")),
            Some("tool_use") => part
                .get("input")
                .map_or(0, |input| encoding.count(&input.to_string())),
            _ => [
                "text",
                "content",
                "parts",
                "thinking",
                "arguments",
                "output",
                "functionCall",
                "functionResponse",
            ]
            .iter()
            .filter_map(|name| part.get(*name))
            .map(|inner| match inner {
                Value::Object(_) => encoding.count(&inner.to_string()),
                inner => texts(encoding, inner),
            })
            .sum(),
        },
        _ => 0,
    }
}

fn image_tokens(image: Option<&Value>) -> u64 {
    match image.map(|image| &image["detail"]) {
        Some(detail) if detail == "low" => LOW_DETAIL_TOKENS,
        _ => IMAGE_TOKENS,
    }
}

/// Tools are written into the prompt as declarations.
fn tool_tokens(encoding: Encoding, tools: &Value, choice: &Value, has_system: bool) -> u64 {
    const AROUND: u64 = 9;
    const SHARED_WITH_SYSTEM: u64 = 4;
    const NAMED: u64 = 7;
    let mut tokens = 0;
    if let Some(tools) = tools.as_array().filter(|tools| !tools.is_empty()) {
        tokens += encoding.count(&functions::declared(tools)) + AROUND;
        tokens -= if has_system { SHARED_WITH_SYSTEM } else { 0 };
    }
    if choice == "none" {
        tokens += 1;
    } else if let Some(name) = choice["function"]["name"].as_str() {
        tokens += NAMED + encoding.count(name);
    }
    tokens
}

#[cfg(test)]
mod tests;
