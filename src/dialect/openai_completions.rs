//! Clients of text completions in front of a chat: the prompt becomes a user's message, the answer's message a text. What
//! a chat cannot do (`suffix`, `echo`, `best_of`, prompts of token ids) is refused by name. Knows no provider.

use crate::dialect::value::{Map, Value, json};

use super::hub::text_of;
use crate::error::{ErrorClass, GatewayError, push_json_string};

/// Prompts of one request, at most: each is a call of its own.
pub const PROMPTS_MAX: usize = 64;

/// The prompts of a list; `None` for a single prompt, or for what is no list of texts.
pub fn prompts(prompt: &Value) -> Option<Vec<&str>> {
    let items = prompt.as_array().filter(|items| items.len() > 1)?;
    items.iter().map(Value::as_str).collect()
}

/// The hub's request for one prompt. `drop_params` leaves out what a chat cannot do.
pub fn to_chat(mut request: Map, drop_params: bool) -> Result<Map, GatewayError> {
    let drop_params = drop_params || request.get("drop_params") == Some(&Value::Bool(true));
    let prompt = match request.remove("prompt").unwrap_or_default() {
        Value::String(text) => text.to_string(),
        Value::Array(mut items) if items.len() == 1 && items[0].is_string() => {
            text_of(&items.remove(0))
        }
        Value::Null => {
            return Err(refused(
                "prompt",
                "the request has no `prompt`; add it to the body",
            ));
        }
        Value::Array(items) if items.len() > 1 && items.iter().all(Value::is_string) => {
            return Err(refused("prompt", "`prompt`: one prompt at a time"));
        }
        _ => {
            return Err(refused(
                "prompt",
                "`prompt`: this model answers chats, which are text; send a string or a list of strings, not token ids",
            ));
        }
    };
    unsupported(&mut request, drop_params)?;
    if let Some(count) = request.remove("logprobs").filter(|count| !count.is_null()) {
        let asked = count
            .as_u64()
            .unwrap_or(u64::from(count == Value::Bool(true)));
        request.insert("logprobs", Value::Bool(true));
        if asked > 0 && count.is_number() {
            request.insert("top_logprobs", json!(asked));
        }
    }
    let message = json!({"role": "user", "content": prompt});
    request.insert("messages", json!([message]));
    Ok(request)
}

/// Takes out what a chat has no word for. Values that mean "no" go silently.
fn unsupported(request: &mut Map, drop_params: bool) -> Result<(), GatewayError> {
    let mut found = Vec::new();
    for name in ["best_of", "echo", "suffix"] {
        let wanted = match request.remove(name).unwrap_or_default() {
            Value::Null | Value::Bool(false) => false,
            Value::String(text) => !text.is_empty(),
            Value::Number(count) => count.as_u64() != Some(1),
            _ => true,
        };
        if wanted {
            found.push(name);
        }
    }
    let Some(first) = found.first().filter(|_| !drop_params) else {
        return Ok(());
    };
    let names: Vec<_> = found.iter().map(|name| format!("'{name}'")).collect();
    let mut error = GatewayError::refused(
        ErrorClass::UnsupportedParams,
        format_args!(
            "this model answers chats, which have no parameters: [{}]. To drop these, set \
             `litellm_settings: drop_params: true`, or send drop_params=true in your request.",
            names.join(", ")
        ),
    );
    error.param = Some((*first).to_owned());
    Err(error)
}

fn refused(param: &str, text: &str) -> GatewayError {
    let mut error = GatewayError::refused(ErrorClass::BadRequest, text);
    error.param = Some(param.to_owned());
    error
}

/// The text completion for the hub's answer.
pub fn from_chat(chat: &Value) -> Value {
    let choices = chat["choices"].as_array().into_iter().flatten();
    let choices = choices.map(|choice| {
        json!({
            "finish_reason": choice["finish_reason"],
            "index": choice["index"],
            "text": text_of(&choice["message"]["content"]),
            "logprobs": logprobs(&choice["logprobs"]),
        })
    });
    let mut body = json!({
        "id": chat["id"], "object": "text_completion", "created": chat["created"], "model": chat["model"],
        "choices": choices.collect::<Vec<_>>(), "usage": chat["usage"],
    });
    if let Some(fingerprint) = chat.get("system_fingerprint") {
        body["system_fingerprint"] = fingerprint.clone();
    }
    body
}

/// A chat's log probabilities as text completions have them: lists side by side.
fn logprobs(given: &Value) -> Value {
    let Some(content) = given["content"].as_array() else {
        return Value::Null;
    };
    let mut offset = 0;
    let (mut tokens, mut probabilities, mut top, mut offsets) = (vec![], vec![], vec![], vec![]);
    for token in content {
        let text = token["token"].as_str().unwrap_or_default();
        tokens.push(json!(text));
        probabilities.push(token["logprob"].clone());
        let likely = token["top_logprobs"].as_array().into_iter().flatten();
        let likely: Map = likely
            .filter_map(|other| {
                Some((
                    other["token"].as_str()?.to_owned(),
                    other["logprob"].clone(),
                ))
            })
            .collect();
        top.push(Value::Object(likely));
        offsets.push(json!(offset));
        offset += text.chars().count();
    }
    json!({"tokens": tokens, "token_logprobs": probabilities, "top_logprobs": top, "text_offset": offsets})
}

/// One answer of several, whose choices follow each other; what they used is added up.
pub fn join(parts: Vec<Value>) -> Value {
    let mut parts = parts.into_iter();
    let mut whole = parts.next().unwrap_or_default();
    for part in parts {
        if let (Some(choices), Value::Array(more)) =
            (whole["choices"].as_array_mut(), part["choices"].clone())
        {
            choices.extend(more);
        }
        add(&mut whole["usage"], &part["usage"]);
    }
    for (index, choice) in whole["choices"]
        .as_array_mut()
        .into_iter()
        .flatten()
        .enumerate()
    {
        choice["index"] = json!(index);
    }
    whole
}

/// Adds counts, members of members included.
fn add(sum: &mut Value, more: &Value) {
    match (sum, more) {
        (Value::Object(sum), Value::Object(more)) => {
            for (name, value) in more {
                add(sum.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (sum @ Value::Null, more) => *sum = more.clone(),
        (sum, more) => {
            if let (Some(one), Some(other)) = (sum.as_u64(), more.as_u64()) {
                *sum = json!(one + other);
            }
        }
    }
}

/// The events of a whole answer, for clients that asked for a stream.
pub fn events(whole: &Value, usage_asked: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let choices = whole["choices"].as_array().into_iter().flatten();
    for choice in choices {
        let event = json!({
            "id": whole["id"], "object": "text_completion", "created": whole["created"], "model": whole["model"],
            "choices": [choice],
        });
        out.extend_from_slice(b"data: ");
        event.write(&mut out);
        out.extend_from_slice(b"\n\n");
    }
    if usage_asked {
        let event = json!({
            "id": whole["id"], "object": "text_completion", "created": whole["created"], "model": whole["model"],
            "choices": [], "usage": whole["usage"],
        });
        out.extend_from_slice(b"data: ");
        event.write(&mut out);
        out.extend_from_slice(b"\n\n");
    }
    out.extend_from_slice(super::hub::DONE);
    out
}

/// Writes the events of one stream.
#[derive(Debug)]
pub struct Writer {
    usage_asked: bool,
}

impl Writer {
    /// A writer; the usage is left out where nobody asked for it.
    pub const fn new(usage_asked: bool) -> Self {
        Self { usage_asked }
    }

    /// Takes a chunk.
    pub fn chunk(&mut self, chunk: &Value, out: &mut Vec<u8>) {
        let choices: Vec<&Value> = chunk["choices"].as_array().into_iter().flatten().collect();
        let usage = chunk
            .get("usage")
            .filter(|usage| self.usage_asked && usage.is_object());
        let says = |choice: &&Value| {
            !choice["finish_reason"].is_null()
                || choice["delta"]["content"]
                    .as_str()
                    .is_some_and(|text| !text.is_empty())
        };
        if usage.is_none() && !choices.iter().any(says) {
            return;
        }
        out.extend_from_slice(b"data: {\"id\":");
        push_json_string(out, chunk["id"].as_str().unwrap_or_default());
        let (created, model) = (&chunk["created"], &chunk["model"]);
        out.extend_from_slice(
            format!(",\"object\":\"text_completion\",\"created\":{created},\"model\":{model},\"choices\":[")
                .as_bytes(),
        );
        for (count, choice) in choices.into_iter().filter(says).enumerate() {
            if count > 0 {
                out.push(b',');
            }
            out.extend_from_slice(format!("{{\"index\":{},\"text\":", choice["index"]).as_bytes());
            push_json_string(out, choice["delta"]["content"].as_str().unwrap_or_default());
            let rest = format!(
                ",\"logprobs\":{},\"finish_reason\":{}}}",
                logprobs(&choice["logprobs"]),
                choice["finish_reason"]
            );
            out.extend_from_slice(rest.as_bytes());
        }
        out.push(b']');
        if let Some(usage) = usage {
            out.extend_from_slice(b",\"usage\":");
            usage.write(out);
        }
        out.extend_from_slice(b"}\n\n");
    }

    /// The stream is whole: the end mark.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(super::hub::DONE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(request: Value) -> Result<Value, String> {
        let Value::Object(fields) = request else {
            panic!("no object")
        };
        to_chat(fields, false)
            .map(Value::Object)
            .map_err(|error| error.message.clone())
    }

    #[test]
    fn a_prompt_becomes_a_message() {
        let expected = json!({"max_tokens": 3, "messages": [{"role": "user", "content": "hi"}]});
        for prompt in [json!("hi"), json!(["hi"])] {
            let request = json!({"prompt": prompt, "max_tokens": 3, "echo": false, "best_of": 1, "suffix": null});
            assert_eq!(chat(request).unwrap(), expected);
        }
        let asked = chat(json!({"prompt": "hi", "logprobs": 2})).unwrap();
        assert_eq!(
            (&asked["logprobs"], &asked["top_logprobs"]),
            (&json!(true), &json!(2))
        );
        let asked = chat(json!({"prompt": "hi", "logprobs": 0})).unwrap();
        assert_eq!(
            (&asked["logprobs"], &asked["top_logprobs"]),
            (&json!(true), &Value::Null)
        );
    }

    #[test]
    fn what_a_chat_cannot_do_is_refused_by_name() {
        for (field, value) in [
            ("echo", json!(true)),
            ("suffix", json!("end")),
            ("best_of", json!(2)),
        ] {
            let mut request = json!({"prompt": "hi"});
            request[field] = value;
            assert!(
                chat(request.clone())
                    .unwrap_err()
                    .contains(&format!("'{field}'"))
            );
            request["drop_params"] = json!(true);
            assert!(chat(request).unwrap().get(field).is_none());
        }
        for prompt in [json!([1, 2]), json!([[1, 2]]), Value::Null] {
            assert!(
                chat(json!({"prompt": prompt}))
                    .unwrap_err()
                    .contains("prompt")
            );
        }
    }

    #[test]
    fn answers_are_joined() {
        let part = |text: &str| {
            json!({"id": "1", "choices": [{"index": 0, "text": text}],
                "usage": {"prompt_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}}})
        };
        let whole = join(vec![part("a"), part("b")]);
        assert_eq!(
            whole["choices"],
            json!([{"index": 0, "text": "a"}, {"index": 1, "text": "b"}])
        );
        assert_eq!(
            whole["usage"],
            json!({"prompt_tokens": 4, "prompt_tokens_details": {"cached_tokens": 2}})
        );
    }

    #[test]
    fn log_probabilities_stand_side_by_side() {
        let given = json!({"content": [
            {"token": "a", "logprob": -0.5, "top_logprobs": [{"token": "a", "logprob": -0.5}]},
            {"token": "bc", "logprob": -1.0},
        ]});
        assert_eq!(
            logprobs(&given),
            json!({"tokens": ["a", "bc"], "token_logprobs": [-0.5, -1.0], "top_logprobs": [{"a": -0.5}, {}],
                "text_offset": [0, 1]})
        );
    }
}
