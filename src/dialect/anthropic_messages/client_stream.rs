//! The hub's chunks as the events of a Messages stream.

use crate::dialect::value::{Value, json};

use super::client::{stop_reason, usage};

/// The block that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Text,
    Thinking,
    /// The call of that number in the hub's stream.
    Tool(u64),
}

/// Writes the events of one stream.
#[derive(Debug)]
pub struct Writer {
    id: String,
    model: String,
    started: bool,
    open: Option<Open>,
    /// Blocks so far.
    blocks: usize,
    reason: &'static str,
    usage: Value,
}

impl Writer {
    /// A writer; `fresh` makes the message's id.
    pub fn new(model: &str, fresh: &str) -> Self {
        Self {
            id: format!("msg_{fresh}"),
            model: model.to_owned(),
            started: false,
            open: None,
            blocks: 0,
            reason: "end_turn",
            usage: json!({"input_tokens": 0, "output_tokens": 0}),
        }
    }

    fn event(out: &mut Vec<u8>, kind: &str, event: &Value) {
        out.extend_from_slice(format!("event: {kind}\ndata: ").as_bytes());
        event.write(out);
        out.extend_from_slice(b"\n\n");
    }

    fn start(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        let usage = json!({
            "input_tokens": 0, "output_tokens": 0, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
        });
        let message = json!({
            "id": self.id, "type": "message", "role": "assistant", "content": [], "model": self.model,
            "stop_reason": null, "stop_sequence": null, "usage": usage,
        });
        let event = json!({"type": "message_start", "message": message});
        Self::event(out, "message_start", &event);
    }

    /// Takes a chunk.
    pub fn chunk(&mut self, chunk: &Value, out: &mut Vec<u8>) {
        self.start(out);
        if chunk["usage"].is_object() {
            self.usage = usage(&chunk["usage"]);
        }
        let choice = &chunk["choices"][0];
        let delta = &choice["delta"];
        self.thoughts(delta, out);
        if let Some(text) = delta["content"].as_str().filter(|text| !text.is_empty()) {
            self.switch(Open::Text, || json!({"type": "text", "text": ""}), out);
            self.delta(json!({"type": "text_delta", "text": text}), out);
        }
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            self.tool(call, out);
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            self.reason = stop_reason(reason);
        }
    }

    fn thoughts(&mut self, delta: &Value, out: &mut Vec<u8>) {
        let opened = || json!({"type": "thinking", "thinking": "", "signature": ""});
        if let Some(thought) = delta["reasoning_content"]
            .as_str()
            .filter(|text| !text.is_empty())
        {
            self.switch(Open::Thinking, opened, out);
            self.delta(json!({"type": "thinking_delta", "thinking": thought}), out);
        }
        for block in delta["thinking_blocks"].as_array().into_iter().flatten() {
            if let Some(signature) = block["signature"].as_str() {
                self.switch(Open::Thinking, opened, out);
                self.delta(
                    json!({"type": "signature_delta", "signature": signature}),
                    out,
                );
            }
        }
    }

    fn tool(&mut self, call: &Value, out: &mut Vec<u8>) {
        let index = call["index"].as_u64().unwrap_or(0);
        let function = &call["function"];
        let opened =
            || json!({"type": "tool_use", "id": call["id"], "name": function["name"], "input": {}});
        self.switch(Open::Tool(index), opened, out);
        if let Some(input) = function["arguments"]
            .as_str()
            .filter(|text| !text.is_empty())
        {
            self.delta(
                json!({"type": "input_json_delta", "partial_json": input}),
                out,
            );
        }
    }

    /// Closes what is open unless it is `block`, and opens that.
    fn switch(&mut self, block: Open, opened: impl FnOnce() -> Value, out: &mut Vec<u8>) {
        if self.open == Some(block) {
            return;
        }
        self.close(out);
        let event =
            json!({"type": "content_block_start", "index": self.blocks, "content_block": opened()});
        Self::event(out, "content_block_start", &event);
        self.open = Some(block);
    }

    fn delta(&self, delta: Value, out: &mut Vec<u8>) {
        let event = json!({"type": "content_block_delta", "index": self.blocks, "delta": delta});
        Self::event(out, "content_block_delta", &event);
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if self.open.take().is_some() {
            let event = json!({"type": "content_block_stop", "index": self.blocks});
            Self::event(out, "content_block_stop", &event);
            self.blocks += 1;
        }
    }

    /// The stream is whole: its last events.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        self.start(out);
        self.close(out);
        let event = json!({
            "type": "message_delta", "delta": {"stop_reason": self.reason}, "usage": self.usage,
        });
        Self::event(out, "message_delta", &event);
        Self::event(out, "message_stop", &json!({"type": "message_stop"}));
    }
}
