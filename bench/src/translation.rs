//! What translating costs, for `bench/instructions`: a chat of a thousand tokens to Anthropic, its answer back, and the
//! chunks of a stream; beside them the same chat to a provider of the client's dialect. The same functions that a shard
//! calls, without a socket.

use std::hint::black_box;

use serde_json::json;
use shardgate::dialect::scan::scan;
use shardgate::provider::{
    AnswerContext, Incoming, Operation, Reply, RequestOptions, StreamReader, Target,
};

use crate::load::Question;

/// Four bytes a token.
const PROMPT_BYTES: usize = 4000;

fn target(model: &str) -> Option<Target> {
    let params =
        json!({"model": model, "api_key": "sk-bench", "api_base": "https://bench.invalid"});
    Target::from_params(params.as_object()?, &|_| None).ok()
}

fn claude() -> Option<Target> {
    target("anthropic/claude-sonnet-4-5")
}

fn gpt() -> Option<Target> {
    target("openai/gpt-4o")
}

const fn context() -> AnswerContext<'static> {
    AnswerContext {
        operation: Operation::Chat,
        requested_model: "claude",
        keep_upstream_model: false,
        usage_asked: true,
        now_unix_s: 1_764_000_000,
        fresh_id: "0123456789abcdef0123456789abcdef",
        response_id: "",
        renamed: &[],
    }
}

/// A chat's body as Anthropic takes it.
pub(crate) fn request(rounds: u32) -> Option<()> {
    ask(&claude()?, rounds)
}

/// The same chat's body as OpenAI takes it.
pub(crate) fn same_request(rounds: u32) -> Option<()> {
    ask(&gpt()?, rounds)
}

fn ask(target: &Target, rounds: u32) -> Option<()> {
    let body = Question::chat("claude", true, PROMPT_BYTES).body();
    let fields = scan(body.as_bytes()).ok()?;
    let mut out = Vec::new();
    for _ in 0..rounds {
        let incoming = Incoming::Json {
            body: black_box(body.as_bytes()),
            scan: &fields,
        };
        let made = target.request(Operation::Chat, incoming, &RequestOptions::default());
        out.clear();
        made.ok()?.body.copy_into(body.as_bytes(), &mut out);
        black_box(&out);
    }
    Some(())
}

/// Four bytes a token, 300 tokens.
fn text() -> String {
    "A sentence of the answer. ".repeat(46)
}

/// Anthropic's answer of 300 tokens as a chat's.
pub(crate) fn answer(rounds: u32) -> Option<()> {
    let body = json!({"id": "msg_01", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
        "content": [{"type": "text", "text": text()}], "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 1000, "output_tokens": 300}})
    .to_string();
    answered(&claude()?, &body, rounds)
}

/// OpenAI's answer of 300 tokens as the client gets it.
pub(crate) fn same_answer(rounds: u32) -> Option<()> {
    let message = json!({"role": "assistant", "content": text(), "refusal": null});
    let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": "stop"});
    let body = json!({"id": "chatcmpl-01", "object": "chat.completion", "created": 1_764_000_000, "model": "gpt-4o",
        "choices": [choice], "usage": {"prompt_tokens": 1000, "completion_tokens": 300, "total_tokens": 1300}})
    .to_string();
    answered(&gpt()?, &body, rounds)
}

fn answered(target: &Target, body: &str, rounds: u32) -> Option<()> {
    let mut out = Vec::new();
    for _ in 0..rounds {
        let reply = Reply {
            operation: Operation::Chat,
            status: 200,
            headers: &[],
            body: black_box(body.as_bytes()),
        };
        let made = target.answer(&reply, &context()).ok()?;
        out.clear();
        made.body.copy_into(body.as_bytes(), &mut out);
        black_box(&out);
    }
    Some(())
}

/// Sixteen chunks of Anthropic's stream as a chat's.
pub(crate) fn chunks(rounds: u32) -> Option<()> {
    let target = claude()?;
    let StreamReader::Translate(mut reader) = target.stream(&context()) else {
        return None;
    };
    let event = |event: serde_json::Value| {
        let kind = event["type"].as_str().unwrap_or_default().to_owned();
        format!("event: {kind}\ndata: {event}\n\n").into_bytes()
    };
    let mut out = Vec::new();
    let usage = json!({"input_tokens": 1000, "output_tokens": 1});
    let message = json!({"id": "msg_01", "type": "message", "role": "assistant", "content": [],
        "model": "claude-sonnet-4-5", "usage": usage});
    let start = event(json!({"type": "message_start", "message": message}));
    reader.feed(&start, &mut out).ok()?;
    let block = json!({"type": "text", "text": ""});
    let open = event(json!({"type": "content_block_start", "index": 0, "content_block": block}));
    reader.feed(&open, &mut out).ok()?;
    let delta = json!({"type": "text_delta", "text": " a token"});
    let chunk = event(json!({"type": "content_block_delta", "index": 0, "delta": delta}));
    for _ in 0..rounds {
        for _ in 0..16 {
            out.clear();
            reader.feed(black_box(&chunk), &mut out).ok()?;
            black_box(&out);
        }
        (!out.is_empty()).then_some(())?;
    }
    Some(())
}
