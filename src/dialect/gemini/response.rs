//! From a whole generateContent answer to the hub.

use crate::dialect::value::{Map, Value, json};

use super::{finish_reason, usage};
use crate::dialect::hub::{Stamp, choice, completion, spaced_json, tool_call};
use crate::dialect::usage::Usage;

/// What the parts of a candidate are made into.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) text: String,
    pub(super) reasoning: String,
    pub(super) thoughts: Vec<Value>,
    pub(super) calls: Vec<Value>,
    pub(super) images: Vec<Value>,
    pub(super) signatures: Vec<Value>,
}

impl Parts {
    /// Reads the parts of a candidate; calls are numbered from `first`, their ids made of `fresh`.
    pub(super) fn read(candidate: &Value, first: usize, fresh: &str) -> Self {
        let mut parts = Self::default();
        for part in candidate["content"]["parts"]
            .as_array()
            .into_iter()
            .flatten()
        {
            parts.part(part, first, fresh);
        }
        parts
    }

    fn part(&mut self, part: &Value, first: usize, fresh: &str) {
        let either = |camel: &str, snake: &str| {
            part.get(camel)
                .or_else(|| part.get(snake))
                .filter(|value| !value.is_null())
        };
        let signature = either("thoughtSignature", "thought_signature");
        self.signatures.extend(signature.cloned());
        if let Some(call) = either("functionCall", "function_call") {
            let index = first + self.calls.len();
            let id = match call["id"].as_str() {
                Some(id) => id.to_owned(),
                None => format!("call_{fresh}{index}"),
            };
            let name = call["name"].as_str().unwrap_or_default();
            let args = call.get("args").cloned().unwrap_or_else(|| json!({}));
            let mut call = tool_call(index, &id, name, &spaced_json(&args));
            if let Some(signature) = signature {
                call["provider_specific_fields"] = json!({"thought_signature": signature});
            }
            self.calls.push(call);
        } else if let Some(data) = either("inlineData", "inline_data") {
            let media_type = data["mimeType"].as_str().or(data["mime_type"].as_str());
            let url = format!(
                "data:{};base64,{}",
                media_type.unwrap_or("image/png"),
                data["data"].as_str().unwrap_or_default()
            );
            self.images.push(json!({
                "image_url": {"url": url}, "index": self.images.len(), "type": "image_url",
            }));
        } else if let Some(text) = part["text"].as_str() {
            if part["thought"] == true {
                self.reasoning.push_str(text);
                self.thoughts
                    .push(json!({"type": "thinking", "thinking": text}));
            } else {
                self.text.push_str(text);
            }
        }
    }

    fn message(self) -> Value {
        let mut message = json!({
            "role": "assistant",
            "content": null,
            "images": self.images,
            "thinking_blocks": self.thoughts,
        });
        if !self.text.is_empty() || self.calls.is_empty() {
            message["content"] = json!(self.text);
        }
        if !self.reasoning.is_empty() {
            message["reasoning_content"] = json!(self.reasoning);
        }
        if !self.calls.is_empty() {
            message["tool_calls"] = Value::Array(self.calls);
        }
        if !self.signatures.is_empty() {
            message["provider_specific_fields"] = json!({"thought_signatures": self.signatures});
        }
        message
    }
}

/// Translates an answer.
pub fn translate(answer: &Value, stamp: &Stamp) -> (Map, Usage) {
    let candidates = answer["candidates"].as_array();
    let candidates = candidates.map(Vec::as_slice).unwrap_or_default();
    let is_empty = |candidate: &Value| candidate.get("content").is_none();
    let searches = candidates
        .iter()
        .filter_map(|candidate| candidate["groundingMetadata"]["webSearchQueries"].as_array())
        .map(Vec::len)
        .sum::<usize>();
    let (counted, usage) = usage::to_hub(&answer["usageMetadata"], searches as u64);
    if candidates.iter().all(is_empty) {
        let reason = candidates
            .first()
            .and_then(|candidate| candidate["finishReason"].as_str())
            .map_or("content_filter", finish_reason);
        let message = json!({"role": "assistant", "content": null});
        return (
            completion(stamp, vec![choice(0, message, reason)], usage),
            counted,
        );
    }
    let mut choices = Vec::new();
    for (index, candidate) in candidates.iter().enumerate() {
        choices.push(translate_candidate(index, candidate, &stamp.fresh));
    }
    let mut body = completion(stamp, choices, usage);
    if let Some(id) = answer.get("responseId").filter(|id| id.is_string()) {
        body.insert("id", id.clone());
    }
    for (name, field) in [
        ("vertex_ai_grounding_metadata", "groundingMetadata"),
        ("vertex_ai_url_context_metadata", "urlContextMetadata"),
        ("vertex_ai_safety_results", "safetyRatings"),
        ("vertex_ai_citation_metadata", "citationMetadata"),
    ] {
        let found = candidates
            .iter()
            .filter_map(|candidate| candidate.get(field).cloned());
        body.insert(name.to_owned(), found.collect());
    }
    (body, counted)
}

fn translate_candidate(index: usize, candidate: &Value, fresh: &str) -> Value {
    let native = candidate["finishReason"].as_str().unwrap_or("STOP");
    let parts = Parts::read(candidate, 0, fresh);
    let reason = match finish_reason(native) {
        "stop" if !parts.calls.is_empty() => "tool_calls",
        reason => reason,
    };
    let mut choice = choice(index, parts.message(), reason);
    choice["provider_specific_fields"] = json!({"native_finish_reason": native});
    if let Some(result) = candidate.get("logprobsResult") {
        choice["logprobs"] = logprobs(result);
    }
    choice
}

fn logprobs(result: &Value) -> Value {
    let entry = |candidate: &Value| json!({"token": candidate["token"], "logprob": candidate["logProbability"]});
    let chosen = result["chosenCandidates"].as_array().into_iter().flatten();
    let content: Vec<Value> = chosen
        .enumerate()
        .map(|(index, candidate)| {
            let top = result["topCandidates"][index]["candidates"].as_array();
            let mut token = entry(candidate);
            token["top_logprobs"] = top.into_iter().flatten().map(entry).collect();
            token
        })
        .collect();
    json!({"content": content})
}
