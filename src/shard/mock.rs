//! `mock_response`: canned answers, so that a team can test without a provider.
//!
//! LiteLLM's magic values give its errors; a text becomes the assistant's message (or the completion's
//! text), a map is the answer itself. Usage is always 10, 20 and 30 tokens.

use serde_json::{Value, json};

use crate::provider::Operation;

/// What a canned answer is.
#[derive(Debug, PartialEq)]
pub(super) enum Mock {
    /// A JSON body.
    Json(Vec<u8>),
    /// The payloads of an event stream, without `[DONE]`.
    Events(Vec<Vec<u8>>),
    /// A failure of LiteLLM's class, with its status.
    Fail(Magic),
    /// A stream that breaks after these payloads.
    Breaks(Vec<Vec<u8>>),
}

/// The failures that magic values stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Magic {
    RateLimit,
    ContextWindow,
    InternalServer,
    ContentFilter,
}

/// Usage of every canned answer.
fn usage() -> Value {
    json!({"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30})
}

/// What to answer for `mock`; `id` and `created` are the call's.
pub(super) fn answer(
    operation: Operation,
    mock: &Value,
    model: &str,
    stream: bool,
    id: &str,
    created: u64,
) -> Mock {
    let text = match mock {
        Value::String(text) => text.as_str(),
        Value::Object(_) if !stream => return Mock::Json(mock.to_string().into_bytes()),
        other => return Mock::Json(structured(operation, other, model).to_string().into_bytes()),
    };
    match text {
        "litellm.RateLimitError" => return Mock::Fail(Magic::RateLimit),
        "litellm.ContextWindowExceededError" => return Mock::Fail(Magic::ContextWindow),
        "litellm.InternalServerError" => return Mock::Fail(Magic::InternalServer),
        "Exception: content_filter_policy" => return Mock::Fail(Magic::ContentFilter),
        "Exception: mock_streaming_error" if stream => {
            return Mock::Breaks(events(operation, "mock", model, id, created, false));
        }
        "Exception: mock_streaming_error" => return Mock::Fail(Magic::InternalServer),
        _ => {}
    }
    if stream {
        return Mock::Events(events(operation, text, model, id, created, true));
    }
    Mock::Json(
        whole(operation, text, model, id, created)
            .to_string()
            .into_bytes(),
    )
}

/// Lists: vectors for embeddings, images for image requests.
fn structured(operation: Operation, mock: &Value, model: &str) -> Value {
    match operation {
        Operation::Embeddings => json!({"object": "list", "model": model,
            "data": [{"object": "embedding", "index": 0, "embedding": mock}],
            "usage": {"prompt_tokens": 10, "total_tokens": 10}}),
        Operation::ImageGeneration => json!({"created": 0, "data": mock}),
        _ => mock.clone(),
    }
}

fn whole(operation: Operation, text: &str, model: &str, id: &str, created: u64) -> Value {
    match operation {
        Operation::Completions => json!({"id": format!("cmpl-{id}"), "object": "text_completion",
            "created": created, "model": model,
            "choices": [{"index": 0, "text": text, "finish_reason": "stop", "logprobs": null}],
            "usage": usage()}),
        Operation::Embeddings => json!({"object": "list", "model": model,
            "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2, 0.3]}],
            "usage": {"prompt_tokens": 10, "total_tokens": 10}}),
        Operation::Transcription | Operation::Translation => json!({"text": text}),
        Operation::Responses => json!({"id": format!("resp_{id}"), "object": "response",
            "created_at": created, "model": model, "status": "completed",
            "output": [{"type": "message", "id": format!("msg_{id}"), "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": text, "annotations": []}]}],
            "usage": {"input_tokens": 10, "output_tokens": 20, "total_tokens": 30}}),
        _ => json!({"id": format!("chatcmpl-{id}"), "object": "chat.completion",
            "created": created, "model": model,
            "choices": [{"index": 0, "finish_reason": "stop",
                "message": {"role": "assistant", "content": text}}],
            "usage": usage()}),
    }
}

/// The text in pieces of three characters, then the finish, then the usage.
fn events(
    operation: Operation,
    text: &str,
    model: &str,
    id: &str,
    created: u64,
    whole: bool,
) -> Vec<Vec<u8>> {
    const PIECE_CHARS: usize = 3;
    let (object, prefix) = match operation {
        Operation::Completions => ("text_completion", "cmpl"),
        _ => ("chat.completion.chunk", "chatcmpl"),
    };
    let frame = |choices: Value| {
        json!({"id": format!("{prefix}-{id}"), "object": object, "created": created,
            "model": model, "choices": choices})
    };
    let piece = |text: &str, first: bool, finish: Option<&str>| match (operation, finish) {
        (Operation::Completions, finish) => {
            json!([{"index": 0, "text": text, "finish_reason": finish}])
        }
        (_, Some(finish)) => json!([{"index": 0, "delta": {}, "finish_reason": finish}]),
        (_, None) if first => {
            json!([{"index": 0, "delta": {"role": "assistant", "content": text}}])
        }
        (_, None) => json!([{"index": 0, "delta": {"content": text}}]),
    };
    let chars: Vec<char> = text.chars().collect();
    let mut out = Vec::new();
    for (at, part) in chars.chunks(PIECE_CHARS).enumerate() {
        let part: String = part.iter().collect();
        out.push(frame(piece(&part, at == 0, None)).to_string().into_bytes());
    }
    if whole {
        out.push(
            frame(piece("", false, Some("stop")))
                .to_string()
                .into_bytes(),
        );
        let mut last = frame(json!([]));
        last["usage"] = usage();
        out.push(last.to_string().into_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magic_values_are_failures() {
        let check = |text: &str, stream, expected: Mock| {
            let mock = Value::from(text);
            assert_eq!(
                answer(Operation::Chat, &mock, "m", stream, "1", 0),
                expected
            );
        };
        check(
            "litellm.RateLimitError",
            false,
            Mock::Fail(Magic::RateLimit),
        );
        check(
            "litellm.ContextWindowExceededError",
            true,
            Mock::Fail(Magic::ContextWindow),
        );
        check(
            "Exception: content_filter_policy",
            false,
            Mock::Fail(Magic::ContentFilter),
        );
    }

    #[test]
    fn a_stream_is_cut_every_three_characters() {
        let Mock::Events(events) =
            answer(Operation::Chat, &"hellö wörld".into(), "m", true, "1", 0)
        else {
            panic!("not a stream")
        };
        assert_eq!(events.len(), 4 + 2);
        let last: Value = serde_json::from_slice(&events[5]).unwrap();
        assert_eq!(last["usage"]["total_tokens"], 30);
    }
}
