//! From the events of a Messages stream to the hub's chunks.

use crate::dialect::value::{Value, json};

use super::{JSON_TOOL, finish_reason, usage};
use crate::dialect::events::{EventReader, Progress};
use crate::dialect::hub::{ChunkWriter, Delta, Stamp, ToolDelta, estimate_tokens, unreadable};
use crate::dialect::usage::Usage;
use crate::error::GatewayError;

/// What the block is that deltas belong to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Block {
    #[default]
    Other,
    /// The tool that stands for JSON output: its input is the text.
    Json,
    Tool {
        index: usize,
        has_input: bool,
    },
}

/// Translates the events of one stream.
#[derive(Debug)]
pub struct Events {
    label: &'static str,
    writer: ChunkWriter,
    block: Block,
    tools: usize,
    is_json: bool,
    usage: Value,
    counted: Option<Usage>,
    reasoning_tokens: u64,
    reason: Option<String>,
    is_whole: bool,
    /// Makes an error of the provider's error object.
    error: fn(&'static str, &Value) -> GatewayError,
}

impl Events {
    /// A reader for a stream of the provider `label`.
    pub fn new(
        label: &'static str,
        stamp: &Stamp,
        error: fn(&'static str, &Value) -> GatewayError,
    ) -> Self {
        Self {
            label,
            writer: ChunkWriter::new(stamp, ""),
            block: Block::Other,
            tools: 0,
            is_json: false,
            usage: json!({}),
            counted: None,
            reasoning_tokens: 0,
            reason: None,
            is_whole: false,
            error,
        }
    }
}

impl EventReader for Events {
    fn event(&mut self, _name: &[u8], data: &[u8], out: &mut Vec<u8>) -> Result<(), GatewayError> {
        let event = Value::read(data).map_err(|error| unreadable(self.label, error))?;
        match event["type"].as_str().unwrap_or_default() {
            "message_start" => self.count(&event["message"]["usage"]),
            "content_block_start" => self.start(&event["content_block"], out),
            "content_block_delta" => self.delta(&event["delta"], out),
            "content_block_stop" => self.stop(out),
            "message_delta" => {
                self.count(&event["usage"]);
                if let Some(reason) = event["delta"]["stop_reason"].as_str() {
                    let reason = match finish_reason(reason) {
                        "tool_calls" if self.is_json && self.tools == 0 => "stop",
                        reason => reason,
                    };
                    self.reason = Some(reason.to_owned());
                }
            }
            "message_stop" => self.is_whole = true,
            "error" => return Err((self.error)(self.label, &event)),
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        let reason = self.reason.get_or_insert_with(|| "stop".to_owned());
        self.writer.finish(reason, out);
        let (counted, usage) = usage::to_hub(&self.usage, Some(self.reasoning_tokens));
        self.counted = Some(counted);
        self.writer.usage(&usage, out);
    }

    fn progress(&self) -> Progress<'_> {
        Progress {
            text_bytes: self.writer.text_bytes(),
            is_whole: self.is_whole,
            usage: self.counted,
            finish_reason: self.reason.as_deref(),
        }
    }
}

impl Events {
    /// Counters come in parts; what is said later counts.
    fn count(&mut self, usage: &Value) {
        for (name, value) in usage.as_object().into_iter().flatten() {
            if !value.is_null() && name != "service_tier" {
                self.usage[name.as_str()] = value.clone();
            }
        }
        self.counted = Some(usage::to_hub(&self.usage, Some(self.reasoning_tokens)).0);
    }

    fn start(&mut self, block: &Value, out: &mut Vec<u8>) {
        self.block = match block["type"].as_str() {
            Some("tool_use") if block["name"] == JSON_TOOL => {
                self.is_json = true;
                Block::Json
            }
            Some("tool_use") => {
                let index = self.tools;
                self.tools += 1;
                self.tool(index, Some(block), "", out);
                Block::Tool {
                    index,
                    has_input: false,
                }
            }
            Some("redacted_thinking") => {
                let delta = Delta {
                    content: Some(""),
                    reasoning: Some(""),
                    thinking: Some(block.clone()),
                    ..Delta::default()
                };
                self.writer.delta(&delta, out);
                Block::Other
            }
            Some("text") => {
                self.writer
                    .text(block["text"].as_str().unwrap_or_default(), out);
                Block::Other
            }
            _ => Block::Other,
        };
    }

    fn tool(&mut self, index: usize, block: Option<&Value>, input: &str, out: &mut Vec<u8>) {
        let tool = ToolDelta {
            index,
            id: block.and_then(|block| block["id"].as_str()),
            name: block.and_then(|block| block["name"].as_str()),
            arguments: input,
        };
        let delta = Delta {
            content: Some(""),
            tools: &[tool],
            ..Delta::default()
        };
        self.writer.delta(&delta, out);
    }

    fn delta(&mut self, delta: &Value, out: &mut Vec<u8>) {
        let text = |name: &str| delta[name].as_str().unwrap_or_default();
        match text("type") {
            "text_delta" => self.writer.text(text("text"), out),
            "input_json_delta" => self.input(text("partial_json"), out),
            "thinking_delta" => {
                let thought = text("thinking");
                self.reasoning_tokens += estimate_tokens(thought);
                let delta = Delta {
                    content: Some(""),
                    reasoning: Some(thought),
                    thinking: Some(json!({"type": "thinking", "thinking": thought})),
                    ..Delta::default()
                };
                self.writer.delta(&delta, out);
            }
            "signature_delta" => {
                let signed =
                    json!({"type": "thinking", "thinking": "", "signature": delta["signature"]});
                let delta = Delta {
                    content: Some(""),
                    reasoning: Some(""),
                    thinking: Some(signed),
                    ..Delta::default()
                };
                self.writer.delta(&delta, out);
            }
            "citations_delta" => {
                let delta = Delta {
                    content: Some(""),
                    vendor: Some(json!({"citation": delta["citation"]})),
                    ..Delta::default()
                };
                self.writer.delta(&delta, out);
            }
            _ => {}
        }
    }

    fn input(&mut self, piece: &str, out: &mut Vec<u8>) {
        match self.block {
            Block::Json => self.writer.text(piece, out),
            Block::Tool { index, has_input } => {
                self.block = Block::Tool {
                    index,
                    has_input: has_input || !piece.is_empty(),
                };
                self.tool(index, None, piece, out);
            }
            Block::Other => {}
        }
    }

    /// A tool without arguments gets an empty object.
    fn stop(&mut self, out: &mut Vec<u8>) {
        if let Block::Tool {
            index,
            has_input: false,
        } = self.block
        {
            self.tool(index, None, "{}", out);
        }
        self.block = Block::Other;
    }
}
