//! From the events of a Converse stream to the hub's chunks.

use crate::dialect::value::{Value, json};

use super::response::usage_to_hub;
use super::{JSON_TOOL, error, finish_reason};
use crate::dialect::aws_events::EXCEPTION;
use crate::dialect::events::{EventReader, Progress};
use crate::dialect::hub::{
    ChunkWriter, Delta, Stamp, ToolDelta, asked_name, estimate_tokens, unreadable,
};
use crate::dialect::usage::Usage;
use crate::error::GatewayError;

/// What stands behind the choices of each chunk.
const TAIL: &str = ",\"provider_specific_fields\":{}";

/// Translates the events of one stream.
#[derive(Debug)]
pub struct Events {
    writer: ChunkWriter,
    renamed: Vec<(String, String)>,
    /// The tool that input belongs to; its number, and whether input has come.
    tool: Option<(usize, bool)>,
    tools: usize,
    in_json: bool,
    is_json: bool,
    reasoning_tokens: u64,
    usage: Option<Value>,
    counted: Option<Usage>,
    reason: Option<String>,
}

impl Events {
    /// A reader for a stream.
    pub fn new(stamp: &Stamp) -> Self {
        Self {
            writer: ChunkWriter::new(stamp, TAIL),
            renamed: stamp.renamed.clone(),
            tool: None,
            tools: 0,
            in_json: false,
            is_json: false,
            reasoning_tokens: 0,
            usage: None,
            counted: None,
            reason: None,
        }
    }
}

impl EventReader for Events {
    fn event(&mut self, name: &[u8], data: &[u8], out: &mut Vec<u8>) -> Result<(), GatewayError> {
        let name = String::from_utf8_lossy(name);
        if let Some(kind) = name.strip_prefix(EXCEPTION) {
            return Err(error::in_stream(kind, data));
        }
        let event = Value::read(data).map_err(|error| unreadable("Bedrock", error))?;
        match name.as_ref() {
            "contentBlockStart" => self.start(&event["start"], out),
            "contentBlockDelta" => self.delta(&event["delta"], out),
            "contentBlockStop" => self.stop(out),
            "messageStop" => {
                let reason = event["stopReason"].as_str().unwrap_or("end_turn");
                self.reason = Some(match finish_reason(reason) {
                    "tool_calls" if self.is_json && self.tools == 0 => "stop".to_owned(),
                    reason => reason.to_owned(),
                });
            }
            "metadata" => {
                self.counted = Some(usage_to_hub(&event["usage"], Some(self.reasoning_tokens)).0);
                self.usage = Some(event["usage"].clone());
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        let reason = self.reason.get_or_insert_with(|| "stop".to_owned());
        self.writer.finish(reason, out);
        let usage = self.usage.take().unwrap_or_default();
        let (_, usage) = usage_to_hub(&usage, Some(self.reasoning_tokens));
        self.writer.usage(&usage, out);
    }

    fn progress(&self) -> Progress<'_> {
        Progress {
            text_bytes: self.writer.text_bytes(),
            is_whole: self.reason.is_some() && self.counted.is_some(),
            usage: self.counted,
            finish_reason: self.reason.as_deref(),
        }
    }
}

impl Events {
    fn start(&mut self, start: &Value, out: &mut Vec<u8>) {
        let Some(tool) = start.get("toolUse") else {
            return;
        };
        if tool["name"] == JSON_TOOL {
            (self.in_json, self.is_json) = (true, true);
            return;
        }
        let index = self.tools;
        self.tools += 1;
        self.tool = Some((index, false));
        let id = tool["toolUseId"].as_str();
        let renamed = std::mem::take(&mut self.renamed);
        let name = tool["name"].as_str();
        let name = name.map(|name| asked_name(&renamed, name));
        self.write_tool(index, id, name, "", out);
        self.renamed = renamed;
    }

    fn write_tool(
        &mut self,
        index: usize,
        id: Option<&str>,
        name: Option<&str>,
        arguments: &str,
        out: &mut Vec<u8>,
    ) {
        let tool = ToolDelta {
            index,
            id,
            name,
            arguments,
        };
        let delta = Delta {
            content: Some(""),
            tools: &[tool],
            ..Delta::default()
        };
        self.writer.delta(&delta, out);
    }

    fn delta(&mut self, delta: &Value, out: &mut Vec<u8>) {
        if let Some(text) = delta["text"].as_str() {
            self.writer.text(text, out);
        } else if let Some(input) = delta["toolUse"]["input"].as_str() {
            if self.in_json {
                return self.writer.text(input, out);
            }
            if let Some((index, _)) = self.tool {
                self.tool = Some((index, true));
                self.write_tool(index, None, None, input, out);
            }
        } else if let Some(thought) = delta.get("reasoningContent") {
            self.thought(thought, out);
        }
    }

    fn thought(&mut self, thought: &Value, out: &mut Vec<u8>) {
        let text = thought["text"].as_str().unwrap_or_default();
        self.reasoning_tokens += estimate_tokens(text);
        let block = match (thought.get("redactedContent"), thought.get("signature")) {
            (Some(data), _) => json!({"type": "redacted_thinking", "index": 0, "data": data}),
            (None, Some(signature)) => {
                json!({"type": "thinking", "index": 0, "thinking": text, "signature": signature})
            }
            (None, None) => json!({"type": "thinking", "index": 0, "thinking": text}),
        };
        let delta = Delta {
            content: Some(""),
            reasoning: Some(text),
            thinking: Some(block),
            vendor: Some(json!({"reasoningContent": thought})),
            ..Delta::default()
        };
        self.writer.delta(&delta, out);
    }

    /// A tool without arguments gets an empty object.
    fn stop(&mut self, out: &mut Vec<u8>) {
        if let Some((index, false)) = self.tool {
            self.write_tool(index, None, None, "{}", out);
        }
        self.tool = None;
        self.in_json = false;
    }
}
