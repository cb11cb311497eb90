//! From the lines of a stream to the hub's chunks.

use crate::dialect::value::{Value, json};

use super::response::{calls_to_hub, finish_reason, usage_to_hub};
use crate::dialect::events::{EventReader, Progress};
use crate::dialect::hub::{ChunkWriter, Delta, Stamp, ToolDelta, unreadable};
use crate::dialect::usage::Usage;
use crate::error::GatewayError;

/// Translates the lines of one stream.
#[derive(Debug)]
pub struct Events {
    writer: ChunkWriter,
    fresh: String,
    calls: usize,
    usage: Value,
    counted: Option<Usage>,
    reason: Option<&'static str>,
}

impl Events {
    /// A reader for a stream.
    pub fn new(stamp: &Stamp) -> Self {
        Self {
            writer: ChunkWriter::new(stamp, ""),
            fresh: stamp.fresh.clone(),
            calls: 0,
            usage: Value::Null,
            counted: None,
            reason: None,
        }
    }
}

impl EventReader for Events {
    fn event(&mut self, _name: &[u8], data: &[u8], out: &mut Vec<u8>) -> Result<(), GatewayError> {
        let event = Value::read(data).map_err(|error| unreadable("Ollama", error))?;
        if let Some(error) = event.get("error") {
            return Err(unreadable("Ollama", error));
        }
        let message = &event["message"];
        let text = message["content"].as_str().or(event["response"].as_str());
        let thought = message["thinking"].as_str().or(event["thinking"].as_str());
        if let Some(thought) = thought.filter(|text| !text.is_empty()) {
            let delta = Delta {
                reasoning: Some(thought),
                ..Delta::default()
            };
            self.writer.delta(&delta, out);
        }
        self.writer.text(text.unwrap_or_default(), out);
        let calls = calls_to_hub(message, self.calls, &self.fresh);
        if !calls.is_empty() {
            self.calls += calls.len();
            let tools: Vec<ToolDelta<'_>> = calls.iter().map(tool).collect();
            let delta = Delta {
                tools: &tools,
                ..Delta::default()
            };
            self.writer.delta(&delta, out);
        }
        if event["done"] == true {
            self.reason = Some(finish_reason(&event, self.calls > 0));
            let (counted, mut usage) = usage_to_hub(&event);
            if self.calls == 0 {
                let text = counted.completion_tokens;
                usage["completion_tokens_details"] =
                    json!({"reasoning_tokens": 0, "text_tokens": text});
            }
            (self.counted, self.usage) = (Some(counted), usage);
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.writer.finish(self.reason.unwrap_or("stop"), out);
        self.writer.usage(&self.usage, out);
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

fn tool(call: &Value) -> ToolDelta<'_> {
    ToolDelta {
        index: call["index"].as_u64().unwrap_or(0) as usize,
        id: call["id"].as_str(),
        name: call["function"]["name"].as_str(),
        arguments: call["function"]["arguments"].as_str().unwrap_or_default(),
    }
}
