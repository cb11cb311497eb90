//! From a whole Messages answer to the hub.

use crate::dialect::value::{Map, Value, json};

use super::{JSON_TOOL, finish_reason, usage};
use crate::dialect::hub::{Stamp, choice, completion, estimate_tokens, spaced_json, tool_call};
use crate::dialect::usage::Usage;

/// What the blocks of an answer are made into.
#[derive(Default)]
struct Parts {
    text: String,
    calls: Vec<Value>,
    thoughts: Vec<Value>,
    reasoning: String,
    citations: Vec<Value>,
    results: Vec<Value>,
    searches: Vec<Value>,
    is_json: bool,
}

/// Translates an answer.
pub fn translate(answer: &Value, stamp: &Stamp) -> (Map, Usage) {
    let mut parts = Parts::default();
    for block in answer["content"].as_array().into_iter().flatten() {
        parts.block(block);
    }
    let hidden = !parts.thoughts.is_empty() && parts.reasoning.is_empty();
    let reasoning = (!hidden).then(|| estimate_tokens(&parts.reasoning));
    let (counted, usage) = usage::to_hub(&answer["usage"], reasoning);
    let reason = match finish_reason(answer["stop_reason"].as_str().unwrap_or("stop")) {
        "tool_calls" if parts.is_json && parts.calls.is_empty() => "stop",
        reason => reason,
    };
    let message = parts.message();
    let body = completion(stamp, vec![choice(0, message, reason)], usage);
    (body, counted)
}

impl Parts {
    fn block(&mut self, block: &Value) {
        let kind = block["type"].as_str().unwrap_or_default();
        match kind {
            "text" => self.text_block(block),
            "tool_use" if block["name"] == JSON_TOOL => {
                self.is_json = true;
                self.text.push_str(&spaced_json(&block["input"]));
            }
            "tool_use" | "server_tool_use" => {
                if kind == "server_tool_use" && block["name"] == "web_search" {
                    self.searches.push(search(block));
                }
                let (id, name) = (&block["id"], &block["name"]);
                self.calls.push(tool_call(
                    self.calls.len(),
                    id.as_str().unwrap_or_default(),
                    name.as_str().unwrap_or_default(),
                    &spaced_json(&block["input"]),
                ));
            }
            "thinking" | "redacted_thinking" => {
                self.reasoning
                    .push_str(block["thinking"].as_str().unwrap_or_default());
                self.thoughts.push(block.clone());
            }
            kind if kind.ends_with("_tool_result") => self.result(block),
            _ => {}
        }
    }

    fn text_block(&mut self, block: &Value) {
        self.text
            .push_str(block["text"].as_str().unwrap_or_default());
        let Some(citations) = block["citations"].as_array() else {
            return;
        };
        let with_text = citations.iter().map(|citation| {
            let mut citation = citation.clone();
            citation["supported_text"] = block["text"].clone();
            citation
        });
        self.citations.push(with_text.collect());
    }

    /// What a tool of Anthropic's own found; a search learns its sources from it.
    fn result(&mut self, block: &Value) {
        let id = format!("ws_{}", block["tool_use_id"].as_str().unwrap_or_default());
        let sources: Vec<Value> = block["content"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|found| Some(json!({"type": "url", "url": found.get("url")?})))
            .collect();
        for call in self.searches.iter_mut().filter(|call| call["id"] == id) {
            call["action"]["sources"] = Value::Array(sources.clone());
        }
        self.results.push(block.clone());
    }

    fn message(self) -> Value {
        let mut vendor = json!({"citations": null, "thinking_blocks": null});
        if !self.citations.is_empty() {
            vendor["citations"] = Value::Array(self.citations);
        }
        let mut message = json!({"role": "assistant", "content": null});
        if !self.text.is_empty() {
            message["content"] = json!(self.text);
        }
        if !self.calls.is_empty() {
            message["tool_calls"] = Value::Array(self.calls);
        }
        if !self.thoughts.is_empty() {
            message["reasoning_content"] = json!(self.reasoning);
            message["thinking_blocks"] = json!(self.thoughts);
            vendor["thinking_blocks"] = Value::Array(self.thoughts);
        }
        if !self.results.is_empty() {
            vendor["web_search_results"] = Value::Array(self.results);
        }
        if !self.searches.is_empty() {
            vendor["web_search_calls"] = Value::Array(self.searches);
        }
        message["provider_specific_fields"] = vendor;
        message
    }
}

fn search(block: &Value) -> Value {
    let query = &block["input"]["query"];
    json!({
        "id": format!("ws_{}", block["id"].as_str().unwrap_or_default()),
        "type": "web_search_call",
        "status": "completed",
        "action": {"type": "search", "query": query, "queries": [query], "sources": []},
    })
}
