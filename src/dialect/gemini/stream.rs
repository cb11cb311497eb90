//! From the events of streamGenerateContent to the hub's chunks.

use crate::dialect::value::{Value, json};

use super::response::Parts;
use super::{error, finish_reason, usage};
use crate::dialect::events::{EventReader, Progress};
use crate::dialect::hub::{ChunkWriter, Delta, Stamp, ToolDelta, unreadable};
use crate::dialect::usage::Usage;
use crate::error::GatewayError;

/// What stands behind the choices of a chunk that is more than text.
const EMPTY_METADATA: &str = ",\"vertex_ai_grounding_metadata\":[],\"vertex_ai_url_context_metadata\":[],\
\"vertex_ai_safety_ratings\":[],\"vertex_ai_safety_results\":[],\"vertex_ai_citation_metadata\":[]";

/// Translates the events of one stream.
#[derive(Debug)]
pub struct Events {
    label: &'static str,
    stamp: Stamp,
    writer: Option<ChunkWriter>,
    calls: usize,
    searches: u64,
    usage: Value,
    counted: Option<Usage>,
    reason: Option<&'static str>,
}

impl Events {
    /// A reader for a stream of the provider `label`.
    pub const fn new(label: &'static str, stamp: Stamp) -> Self {
        Self {
            label,
            stamp,
            writer: None,
            calls: 0,
            searches: 0,
            usage: Value::Null,
            counted: None,
            reason: None,
        }
    }
}

impl EventReader for Events {
    fn event(&mut self, _name: &[u8], data: &[u8], out: &mut Vec<u8>) -> Result<(), GatewayError> {
        let event = Value::read(data).map_err(|error| unreadable(self.label, error))?;
        if let Some(error) = event.get("error") {
            return Err(error::in_stream(error));
        }
        let usage = &event["usageMetadata"];
        if usage.get("promptTokenCount").is_some() {
            self.usage = usage.clone();
            self.counted = Some(usage::to_hub(usage, self.searches).0);
        }
        if self.writer.is_none()
            && let Some(id) = event["responseId"].as_str()
        {
            self.stamp.id = id.to_owned();
        }
        if event["promptFeedback"]["blockReason"].is_string() {
            self.reason = Some("content_filter");
        }
        let candidate = &event["candidates"][0];
        self.candidate(candidate, out);
        if let Some(reason) = candidate["finishReason"].as_str() {
            self.reason = Some(match finish_reason(reason) {
                "stop" if self.calls > 0 => "tool_calls",
                reason => reason,
            });
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        let stamp = &self.stamp;
        let writer = self
            .writer
            .get_or_insert_with(|| ChunkWriter::new(stamp, ""));
        writer.finish(self.reason.unwrap_or("stop"), out);
        let (counted, usage) = usage::to_hub(&self.usage, self.searches);
        self.counted = Some(counted);
        writer.usage(&usage, out);
    }

    fn progress(&self) -> Progress<'_> {
        Progress {
            text_bytes: self.writer.as_ref().map_or(0, ChunkWriter::text_bytes),
            is_whole: self.reason.is_some(),
            usage: self.counted,
            finish_reason: self.reason,
        }
    }

    /// Google has no end mark: more usage may follow the reason to stop.
    fn ends_early(&self) -> bool {
        false
    }
}

impl Events {
    fn candidate(&mut self, candidate: &Value, out: &mut Vec<u8>) {
        let grounding = candidate.get("groundingMetadata");
        if let Some(queries) = grounding.and_then(|data| data["webSearchQueries"].as_array()) {
            self.searches = queries.len() as u64;
        }
        let parts = Parts::read(candidate, self.calls, &self.stamp.fresh);
        self.calls += parts.calls.len();
        let text = Some(parts.text.as_str()).filter(|text| !text.is_empty());
        let reasoning = Some(parts.reasoning.as_str()).filter(|text| !text.is_empty());
        let mut vendor = json!({});
        if !parts.signatures.is_empty() {
            vendor["thought_signatures"] = Value::Array(parts.signatures);
        }
        if !parts.images.is_empty() {
            vendor["images"] = Value::Array(parts.images);
        }
        let vendor = Some(vendor).filter(|vendor| vendor != &json!({}));
        let tools: Vec<ToolDelta<'_>> = parts.calls.iter().map(tool).collect();
        if text.is_none() && reasoning.is_none() && tools.is_empty() && vendor.is_none() {
            return;
        }
        let tail = match (grounding, tools.is_empty() && reasoning.is_none()) {
            (Some(data), _) => format!(",\"vertex_ai_grounding_metadata\":[{data}]"),
            (None, true) => String::new(),
            (None, false) => EMPTY_METADATA.to_owned(),
        };
        let delta = Delta {
            content: text,
            reasoning,
            tools: &tools,
            vendor,
            tail: &tail,
            ..Delta::default()
        };
        let stamp = &self.stamp;
        self.writer
            .get_or_insert_with(|| ChunkWriter::new(stamp, ""))
            .delta(&delta, out);
    }
}

fn tool(call: &Value) -> ToolDelta<'_> {
    ToolDelta {
        index: call["index"].as_u64().unwrap_or(0) as usize,
        id: call["id"].as_str(),
        name: call["function"]["name"].as_str(),
        arguments: call["function"]["arguments"].as_str().unwrap_or_default(),
    }
}
