//! From the events of a chat stream to the hub's chunks.

use crate::dialect::value::Value;

use super::finish_reason;
use super::response::usage_to_hub;
use crate::dialect::events::{EventReader, Progress};
use crate::dialect::hub::{ChunkWriter, Delta, Stamp, ToolDelta, unreadable};
use crate::dialect::usage::Usage;
use crate::error::GatewayError;

/// Translates the events of one stream.
#[derive(Debug)]
pub struct Events {
    writer: ChunkWriter,
    usage: Value,
    counted: Option<Usage>,
    reason: Option<&'static str>,
}

impl Events {
    /// A reader for a stream.
    pub fn new(stamp: &Stamp) -> Self {
        Self {
            writer: ChunkWriter::new(stamp, ""),
            usage: Value::Null,
            counted: None,
            reason: None,
        }
    }
}

impl EventReader for Events {
    fn event(&mut self, _name: &[u8], data: &[u8], out: &mut Vec<u8>) -> Result<(), GatewayError> {
        if data == b"[DONE]" {
            return Ok(());
        }
        let event = Value::read(data).map_err(|error| unreadable("Cohere", error))?;
        let message = &event["delta"]["message"];
        match event["type"].as_str().unwrap_or_default() {
            "content-start" | "content-delta" => {
                let content = &message["content"];
                self.writer
                    .text(content["text"].as_str().unwrap_or_default(), out);
                if let Some(thought) = content["thinking"].as_str().filter(|text| !text.is_empty())
                {
                    let delta = Delta {
                        content: Some(""),
                        reasoning: Some(thought),
                        ..Delta::default()
                    };
                    self.writer.delta(&delta, out);
                }
            }
            "tool-call-start" | "tool-call-delta" => self.tool(&event, out),
            "message-end" => {
                let end = &event["delta"];
                if let Some(error) = end["error"].as_str() {
                    return Err(unreadable("Cohere", error));
                }
                self.reason = Some(finish_reason(
                    end["finish_reason"].as_str().unwrap_or_default(),
                ));
                self.usage = end["usage"].clone();
                self.counted = Some(usage_to_hub(&self.usage).0);
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.writer.finish(self.reason.unwrap_or("stop"), out);
        self.writer.usage(&usage_to_hub(&self.usage).1, out);
    }

    fn progress(&self) -> Progress<'_> {
        Progress {
            text_bytes: self.writer.text_bytes(),
            is_whole: self.reason.is_some(),
            usage: self.counted,
            finish_reason: self.reason,
        }
    }
}

impl Events {
    fn tool(&mut self, event: &Value, out: &mut Vec<u8>) {
        let call = &event["delta"]["message"]["tool_calls"];
        let function = &call["function"];
        let tool = ToolDelta {
            index: event["index"].as_u64().unwrap_or(0) as usize,
            id: call["id"].as_str(),
            name: function["name"].as_str(),
            arguments: function["arguments"].as_str().unwrap_or_default(),
        };
        let delta = Delta {
            content: Some(""),
            tools: &[tool],
            ..Delta::default()
        };
        self.writer.delta(&delta, out);
    }
}
