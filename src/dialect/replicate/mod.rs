//! Replicate's predictions: a prompt goes in, pieces of text come out of a job that is looked at again and again.

use crate::dialect::value::{Map, Value, json};

use crate::dialect::bedrock_converse::invoke::llama_prompt;
use crate::dialect::events::{EventReader, Progress};
use crate::dialect::hub::{Call, ChunkWriter, Stamp, choice, completion, text_of, unreadable};
use crate::dialect::usage::Usage;
use crate::error::{ErrorClass, GatewayError};

/// Where a prediction stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It runs: look again by this id.
    Runs(String),
    /// It has its output.
    Done,
    /// It ended in another way.
    Failed,
}

/// A request; `version` names one where the model does not.
pub fn request(mut call: Call, version: Option<&str>) -> Value {
    let prompt = prompt(&call.model, &call.messages);
    let mut input = Map::new();
    input.insert("prompt", json!(prompt));
    let most = call.take_max_tokens();
    let stop = call.take_stop();
    for (name, value) in [("stop_sequences", stop), ("max_new_tokens", most)] {
        if let Some(value) = value {
            input.insert(name.to_owned(), value);
        }
    }
    input.insert("stream", json!(call.stream));
    input.extend(call.fields);
    let mut body = Map::new();
    if let Some(version) = version {
        body.insert("version", json!(version));
    }
    body.insert("input", Value::Object(input));
    Value::Object(body)
}

/// The messages as the model's family writes them; others get the texts one below the other.
fn prompt(model: &str, messages: &[Value]) -> String {
    if model.contains("llama-3") && model.contains("instruct") {
        return llama_prompt(messages);
    }
    let texts: Vec<String> = messages
        .iter()
        .map(|message| text_of(&message["content"]))
        .collect();
    texts.join("\n")
}

/// Where a prediction stands.
pub fn standing(prediction: &Value) -> Standing {
    match prediction["status"].as_str() {
        Some("succeeded") => Standing::Done,
        Some("failed" | "canceled" | "aborted") => Standing::Failed,
        _ => match prediction["id"].as_str() {
            Some(id) => Standing::Runs(id.to_owned()),
            None => Standing::Failed,
        },
    }
}

/// What an output's pieces say so far.
fn output(prediction: &Value) -> String {
    match &prediction["output"] {
        Value::String(text) => text.to_string(),
        Value::Array(pieces) => pieces.iter().filter_map(Value::as_str).collect(),
        _ => String::new(),
    }
}

fn count(prediction: &Value) -> Usage {
    let number = |name: &str| prediction["metrics"][name].as_u64().unwrap_or(0);
    let (prompt, written) = (number("input_token_count"), number("output_token_count"));
    Usage {
        prompt_tokens: prompt,
        completion_tokens: written,
        total_tokens: prompt + written,
        ..Usage::default()
    }
}

/// The hub's answer to a prediction that is done.
pub fn answer(prediction: &Value, stamp: &Stamp) -> (Map, Usage) {
    let counted = count(prediction);
    let message = json!({"role": "assistant", "content": output(prediction)});
    let body = completion(
        stamp,
        vec![choice(0, message, "stop")],
        usage_to_hub(&counted),
    );
    (body, counted)
}

fn usage_to_hub(counted: &Usage) -> Value {
    json!({
        "completion_tokens": counted.completion_tokens,
        "prompt_tokens": counted.prompt_tokens,
        "total_tokens": counted.total_tokens,
    })
}

/// The error of a prediction that did not succeed.
pub fn failed(prediction: &Value) -> GatewayError {
    let why = match &prediction["error"] {
        Value::String(why) => why.to_string(),
        _ => "no reason is given".to_owned(),
    };
    let status = prediction["status"].as_str().unwrap_or("unknown");
    let text = format!(
        "litellm.UnprocessableEntityError: ReplicateException - prediction not succeeded - {status}: {why}"
    );
    GatewayError::new(ErrorClass::BadRequest, text).with_status(422)
}

/// Translates what a prediction said each time it was looked at, a line of JSON each.
#[derive(Debug)]
pub struct Looks {
    writer: ChunkWriter,
    said: String,
    counted: Option<Usage>,
}

impl Looks {
    /// A reader for a stream.
    pub fn new(stamp: &Stamp) -> Self {
        Self {
            writer: ChunkWriter::new(stamp, ""),
            said: String::new(),
            counted: None,
        }
    }
}

impl EventReader for Looks {
    fn event(&mut self, _name: &[u8], data: &[u8], out: &mut Vec<u8>) -> Result<(), GatewayError> {
        let prediction = Value::read(data).map_err(|error| unreadable("Replicate", error))?;
        let standing = standing(&prediction);
        if standing == Standing::Failed {
            return Err(failed(&prediction));
        }
        let all = output(&prediction);
        if let Some(new) = all.strip_prefix(self.said.as_str()) {
            self.writer.text(new, out);
            self.said = all;
        }
        if standing == Standing::Done {
            self.counted = Some(count(&prediction));
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.writer.finish("stop", out);
        let usage = usage_to_hub(&self.counted.unwrap_or_default());
        self.writer.usage(&usage, out);
    }

    fn progress(&self) -> Progress<'_> {
        Progress {
            text_bytes: self.writer.text_bytes(),
            is_whole: self.counted.is_some(),
            usage: self.counted,
            finish_reason: self.counted.map(|_| "stop"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prediction_stands_somewhere() {
        let runs = Standing::Runs("p".to_owned());
        for (said, expected) in [
            (json!({"id": "p", "status": "starting"}), runs.clone()),
            (json!({"id": "p", "status": "processing"}), runs),
            (json!({"id": "p", "status": "succeeded"}), Standing::Done),
            (json!({"id": "p", "status": "failed"}), Standing::Failed),
            (json!({"status": "starting"}), Standing::Failed),
        ] {
            assert_eq!(standing(&said), expected, "{said}");
        }
    }

    #[test]
    fn looks_become_pieces_of_what_is_new() {
        let mut looks = Looks::new(&Stamp::default());
        let mut out = Vec::new();
        for line in [
            r#"{"id":"p","status":"processing","output":["The"]}"#,
            r#"{"id":"p","status":"processing","output":["The"]}"#,
            r#"{"id":"p","status":"succeeded","output":["The"," end"],"metrics":{"input_token_count":3,"output_token_count":2}}"#,
        ] {
            looks.event(b"", line.as_bytes(), &mut out).unwrap();
        }
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.matches("data: ").count(), 2, "{text}");
        assert!(text.contains("\" end\""));
        assert_eq!(looks.progress().usage.unwrap().total_tokens, 5);
        assert!(
            looks
                .event(
                    b"",
                    br#"{"status":"failed","error":"oom"}"#,
                    &mut Vec::new()
                )
                .is_err()
        );
    }
}
