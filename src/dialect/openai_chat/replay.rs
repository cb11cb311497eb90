//! A whole chat as the stream that its client asked for, for models that answer whole only: one event a choice
//! with all it says, one with its end, one with the usage. And the request that asks for it.

use serde_json::{Map, Value, json};

/// The request for a whole answer in place of a stream; `None` where the body is no JSON object.
pub fn ask_whole(body: &[u8]) -> Option<Vec<u8>> {
    let mut fields: Map<String, Value> = serde_json::from_slice(body).ok()?;
    fields.shift_remove("stream");
    fields.shift_remove("stream_options");
    serde_json::to_vec(&fields).ok()
}

/// The events of a chat; `None` where it is none.
pub fn events(chat: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut chat: Map<String, Value> = serde_json::from_slice(chat).ok()?;
    let choices = match chat.shift_remove("choices")? {
        Value::Array(choices) => choices,
        _ => return None,
    };
    let usage = chat.shift_remove("usage").filter(Value::is_object);
    chat.insert("object".to_owned(), "chat.completion.chunk".into());
    let event = |choices: Value, usage: Option<Value>| {
        let mut event = chat.clone();
        event.insert("choices".to_owned(), choices);
        if let Some(usage) = usage {
            event.insert("usage".to_owned(), usage);
        }
        Value::Object(event).to_string().into_bytes()
    };
    let mut out = Vec::with_capacity(2 * choices.len() + 1);
    for (at, choice) in choices.into_iter().enumerate() {
        let Value::Object(mut choice) = choice else {
            return None;
        };
        let index = choice.get("index").cloned().unwrap_or_else(|| at.into());
        let finish = choice.insert("finish_reason".to_owned(), Value::Null);
        let delta = choice.shift_remove("message").map(delta);
        choice.insert("delta".to_owned(), delta.unwrap_or_else(|| json!({})));
        choice.insert("index".to_owned(), index.clone());
        out.push(event(json!([choice]), None));
        let end = json!([{"index": index, "delta": {}, "finish_reason": finish}]);
        out.push(event(end, None));
    }
    out.extend(usage.map(|usage| event(json!([]), Some(usage))));
    Some(out)
}

/// A message as a stream says it: its tool calls are numbered.
fn delta(mut message: Value) -> Value {
    let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
    for (at, call) in calls.into_iter().flatten().enumerate() {
        if let Some(call) = call.as_object_mut() {
            call.entry("index").or_insert_with(|| at.into());
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chat_becomes_a_stream() {
        let chat = json!({"id": "c", "object": "chat.completion", "model": "o1", "choices": [
            {"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "content": "hi",
                "tool_calls": [{"id": "t", "function": {"name": "f", "arguments": "{}"}}]}}],
            "usage": {"total_tokens": 3}});
        let events = events(chat.to_string().as_bytes()).unwrap();
        let events: Vec<Value> = events
            .iter()
            .map(|event| serde_json::from_slice(event).unwrap())
            .collect();
        assert!(
            events
                .iter()
                .all(|event| event["object"] == "chat.completion.chunk")
        );
        let first = &events[0]["choices"][0];
        assert_eq!(first["delta"]["content"], "hi");
        assert_eq!(first["delta"]["tool_calls"][0]["index"], 0);
        assert!(first["finish_reason"].is_null() && first.get("message").is_none());
        assert_eq!(events[1]["choices"][0]["finish_reason"], "tool_calls");
        assert_eq!(events[2]["usage"]["total_tokens"], 3);
        assert_eq!(events.len(), 3);
    }

    #[test]
    fn what_is_no_chat_is_none() {
        for body in ["", "[]", "{}", r#"{"choices":1}"#, r#"{"choices":[1]}"#] {
            assert!(events(body.as_bytes()).is_none(), "{body}");
        }
        let asked = ask_whole(br#"{"model":"m","stream":true,"stream_options":{},"n":1}"#).unwrap();
        assert_eq!(asked, br#"{"model":"m","n":1}"#);
        assert!(ask_whole(b"[]").is_none());
    }
}
