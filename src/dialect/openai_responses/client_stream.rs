//! The hub's chunks as the events of a Responses stream.

use crate::dialect::value::{Value, json};

use super::client::{call_item, message_item, named, reasoning_item, response, usage};

/// The item that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Open {
    Text(String),
    Reasoning(String),
    Call {
        index: u64,
        id: String,
        name: String,
        arguments: String,
    },
}

/// Writes the events of one stream.
#[derive(Debug)]
pub struct Writer {
    fresh: String,
    /// The response's id; empty for one of our own making.
    id: String,
    /// The whole, once it is.
    finished: Option<Value>,
    model: Value,
    created: u64,
    sequence: u64,
    open: Option<Open>,
    output: Vec<Value>,
    reason: String,
    usage: Value,
}

impl Writer {
    /// A writer; `fresh` makes the ids, `created` is now in seconds of unix time.
    pub fn new(model: &str, fresh: &str, created: u64) -> Self {
        Self {
            fresh: fresh.to_owned(),
            id: String::new(),
            finished: None,
            model: json!(model),
            created,
            sequence: 0,
            open: None,
            output: Vec::new(),
            reason: String::new(),
            usage: json!({}),
        }
    }

    /// The same with an id for the response.
    pub fn named(mut self, id: &str) -> Self {
        id.clone_into(&mut self.id);
        self
    }

    /// The whole response, once the stream has ended.
    pub fn take_response(&mut self) -> Option<Vec<u8>> {
        self.finished
            .take()
            .map(|whole| whole.to_string().into_bytes())
    }

    fn event(&mut self, kind: &str, mut event: Value, out: &mut Vec<u8>) {
        event["type"] = json!(kind);
        event["sequence_number"] = json!(self.sequence);
        self.sequence += 1;
        out.extend_from_slice(format!("event: {kind}\ndata: ").as_bytes());
        event.write(out);
        out.extend_from_slice(b"\n\n");
    }

    fn start(&mut self, out: &mut Vec<u8>) {
        if self.sequence > 0 {
            return;
        }
        let id = named(&self.id, &self.fresh);
        let mut body = response(&id, self.created, &self.model, Vec::new(), "");
        body["status"] = json!("in_progress");
        self.event("response.created", json!({"response": body}), out);
        self.event("response.in_progress", json!({"response": body}), out);
    }

    fn item_id(&self, kind: &str) -> String {
        format!("{kind}_{}{}", self.fresh, self.output.len())
    }

    /// Takes a chunk.
    pub fn chunk(&mut self, chunk: &Value, out: &mut Vec<u8>) {
        self.start(out);
        if chunk["usage"].is_object() {
            self.usage = chunk["usage"].clone();
        }
        let choice = &chunk["choices"][0];
        let delta = &choice["delta"];
        if let Some(text) = delta["reasoning_content"]
            .as_str()
            .filter(|text| !text.is_empty())
        {
            self.reasoning(text, out);
        }
        if let Some(text) = delta["content"].as_str().filter(|text| !text.is_empty()) {
            self.text(text, out);
        }
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            self.call(call, out);
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            reason.clone_into(&mut self.reason);
        }
    }

    fn reasoning(&mut self, text: &str, out: &mut Vec<u8>) {
        let place = json!({"output_index": self.output.len()});
        if !matches!(self.open, Some(Open::Reasoning(_))) {
            self.close(out);
            let id = self.item_id("rs");
            let item = json!({"id": id, "type": "reasoning", "summary": []});
            let event = json!({"output_index": self.output.len(), "item": item});
            self.event("response.output_item.added", event, out);
            self.open = Some(Open::Reasoning(String::new()));
        }
        if let Some(Open::Reasoning(so_far)) = &mut self.open {
            so_far.push_str(text);
        }
        let mut event = place;
        event["output_index"] = json!(self.output.len());
        event["item_id"] = json!(self.item_id("rs"));
        event["summary_index"] = json!(0);
        event["delta"] = json!(text);
        self.event("response.reasoning_summary_text.delta", event, out);
    }

    fn text(&mut self, text: &str, out: &mut Vec<u8>) {
        if !matches!(self.open, Some(Open::Text(_))) {
            self.close(out);
            let (id, index) = (self.item_id("msg"), self.output.len());
            let item = json!({
                "id": id, "type": "message", "status": "in_progress", "role": "assistant", "content": [],
            });
            let event = json!({"output_index": index, "item": item});
            self.event("response.output_item.added", event, out);
            let part = json!({"type": "output_text", "text": "", "annotations": []});
            let event =
                json!({"item_id": id, "output_index": index, "content_index": 0, "part": part});
            self.event("response.content_part.added", event, out);
            self.open = Some(Open::Text(String::new()));
        }
        if let Some(Open::Text(so_far)) = &mut self.open {
            so_far.push_str(text);
        }
        let event = json!({
            "item_id": self.item_id("msg"), "output_index": self.output.len(), "content_index": 0, "delta": text,
        });
        self.event("response.output_text.delta", event, out);
    }

    fn call(&mut self, call: &Value, out: &mut Vec<u8>) {
        let index = call["index"].as_u64().unwrap_or(0);
        let is_open = matches!(&self.open, Some(Open::Call { index: open, .. }) if *open == index);
        if !is_open {
            self.close(out);
            let id = call["id"].as_str().unwrap_or_default().to_owned();
            let name = call["function"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            let item = call_item(&id, &name, "", "in_progress");
            let event = json!({"output_index": self.output.len(), "item": item});
            self.event("response.output_item.added", event, out);
            self.open = Some(Open::Call {
                index,
                id,
                name,
                arguments: String::new(),
            });
        }
        let piece = call["function"]["arguments"].as_str().unwrap_or_default();
        let Some(Open::Call { id, arguments, .. }) = &mut self.open else {
            return;
        };
        if piece.is_empty() {
            return;
        }
        arguments.push_str(piece);
        let event = json!({
            "item_id": format!("fc_{id}"), "output_index": self.output.len(), "delta": piece,
        });
        self.event("response.function_call_arguments.delta", event, out);
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        let index = self.output.len();
        let item = match self.open.take() {
            None => return,
            Some(Open::Reasoning(text)) => reasoning_item(&self.item_id("rs"), &text),
            Some(Open::Text(text)) => {
                let id = self.item_id("msg");
                let place = json!({"item_id": id, "output_index": index, "content_index": 0});
                let mut done = place.clone();
                done["text"] = json!(text);
                self.event("response.output_text.done", done, out);
                let mut done = place;
                done["part"] = json!({"type": "output_text", "text": text, "annotations": []});
                self.event("response.content_part.done", done, out);
                message_item(&id, &text, &Value::Null)
            }
            Some(Open::Call {
                id,
                name,
                arguments,
                ..
            }) => {
                let done = json!({
                    "item_id": format!("fc_{id}"), "output_index": index, "arguments": arguments,
                });
                self.event("response.function_call_arguments.done", done, out);
                call_item(&id, &name, &arguments, "completed")
            }
        };
        let event = json!({"output_index": index, "item": item});
        self.event("response.output_item.done", event, out);
        self.output.push(item);
    }

    /// The stream is whole: its last events.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        self.start(out);
        self.close(out);
        let id = named(&self.id, &self.fresh);
        let output = std::mem::take(&mut self.output);
        let mut body = response(&id, self.created, &self.model, output, &self.reason);
        body["usage"] = usage(&self.usage);
        let kind = if body["status"] == "incomplete" {
            "response.incomplete"
        } else {
            "response.completed"
        };
        self.finished = Some(body.clone());
        self.event(kind, json!({"response": body}), out);
    }
}
