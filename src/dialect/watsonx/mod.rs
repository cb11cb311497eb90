//! IBM watsonx.ai where it is not OpenAI's chat: text generation by prompt, and embeddings.

use crate::dialect::value::{Map, Value, json};

use crate::dialect::events::{EventReader, Progress};
use crate::dialect::hub::{Call, ChunkWriter, Stamp, choice, completion, text_of, unreadable};
use crate::dialect::usage::Usage;
use crate::error::GatewayError;

/// A request for text.
pub fn generation(mut call: Call) -> Map {
    let texts: Vec<String> = call
        .messages
        .iter()
        .map(|message| text_of(&message["content"]))
        .collect();
    let mut parameters = Map::new();
    let most = call.take_max_tokens();
    let stop = call.take_stop();
    let renamed = [
        ("max_new_tokens", most),
        ("stop_sequences", stop),
        ("random_seed", call.take("seed")),
        ("repetition_penalty", call.take("frequency_penalty")),
    ];
    for (name, value) in renamed {
        if let Some(value) = value {
            parameters.insert(name.to_owned(), value);
        }
    }
    call.take("user");
    parameters.extend(call.fields);
    let mut body = Map::new();
    body.insert("input", json!(texts.join("\n")));
    body.insert("parameters", Value::Object(parameters));
    body.insert("model_id", json!(call.model));
    body
}

/// A request for embeddings.
pub fn embeddings(mut call: Call) -> Map {
    let texts = match call.take("input") {
        Some(texts @ Value::Array(_)) => texts,
        Some(one) => json!([one]),
        None => json!([]),
    };
    for name in ["encoding_format", "user", "dimensions"] {
        call.take(name);
    }
    let mut body = Map::new();
    body.insert("inputs", texts);
    if !call.fields.is_empty() {
        body.insert("parameters", Value::Object(call.fields));
    }
    body.insert("model_id", json!(call.model));
    body
}

/// Seconds of unix time of `2025-03-10T01:25:52.000Z`.
pub fn unix_seconds(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years are counted from March, so that the leap day is their last one.
    let (year, month) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let leaps = year / 4 - year / 100 + year / 400;
    let days = year * 365 + leaps + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// Why a text ended, in the hub's words.
fn reason(said: &Value) -> &'static str {
    match said.as_str() {
        Some("max_tokens" | "token_limit") => "length",
        _ => "stop",
    }
}

fn count(result: &Value) -> Usage {
    let number = |name: &str| result[name].as_u64().unwrap_or(0);
    let (prompt, written) = (number("input_token_count"), number("generated_token_count"));
    Usage {
        prompt_tokens: prompt,
        completion_tokens: written,
        total_tokens: prompt + written,
        ..Usage::default()
    }
}

fn usage_to_hub(counted: &Usage) -> Value {
    json!({
        "completion_tokens": counted.completion_tokens,
        "prompt_tokens": counted.prompt_tokens,
        "total_tokens": counted.total_tokens,
    })
}

/// The hub's answer to generated text.
pub fn generated(reply: &Value, stamp: &Stamp) -> Option<(Map, Usage)> {
    let result = reply["results"].item(0)?;
    let counted = count(result);
    let message = json!({"role": "assistant", "content": result["generated_text"]});
    let ended = reason(&result["stop_reason"]);
    let body = completion(
        stamp,
        vec![choice(0, message, ended)],
        usage_to_hub(&counted),
    );
    Some((body, counted))
}

/// The hub's answer to embeddings.
pub fn embedded(reply: &Value, model: &str) -> Option<(Map, Usage)> {
    let results = reply["results"].as_array()?;
    let data: Vec<Value> = results
        .iter()
        .enumerate()
        .map(|(index, result)| {
            json!({"object": "embedding", "index": index, "embedding": result["embedding"]})
        })
        .collect();
    let tokens = reply["input_token_count"].as_u64().unwrap_or(0);
    let usage = json!({
        "completion_tokens": 0, "prompt_tokens": tokens, "total_tokens": tokens,
        "completion_tokens_details": null, "prompt_tokens_details": null,
    });
    let mut body = Map::new();
    body.insert("model", json!(model));
    body.insert("data", Value::Array(data));
    body.insert("object", json!("list"));
    body.insert("usage", usage);
    let counted = Usage {
        prompt_tokens: tokens,
        total_tokens: tokens,
        ..Usage::default()
    };
    Some((body, counted))
}

/// Translates the events of generated text.
#[derive(Debug)]
pub struct TextEvents {
    writer: ChunkWriter,
    counted: Usage,
    reason: Option<&'static str>,
}

impl TextEvents {
    /// A reader for a stream.
    pub fn new(stamp: &Stamp) -> Self {
        Self {
            writer: ChunkWriter::new(stamp, ""),
            counted: Usage::default(),
            reason: None,
        }
    }
}

impl EventReader for TextEvents {
    fn event(&mut self, _name: &[u8], data: &[u8], out: &mut Vec<u8>) -> Result<(), GatewayError> {
        let event = Value::read(data).map_err(|error| unreadable("Watsonx", error))?;
        if event["errors"].is_array() {
            return Err(unreadable("Watsonx", &event["errors"]));
        }
        let result = &event["results"][0];
        self.writer
            .text(result["generated_text"].as_str().unwrap_or_default(), out);
        let said = count(result);
        // The prompt is counted in the first event, the text so far in each.
        self.counted.prompt_tokens = self.counted.prompt_tokens.max(said.prompt_tokens);
        self.counted.completion_tokens = self.counted.completion_tokens.max(said.completion_tokens);
        self.counted.total_tokens = self.counted.prompt_tokens + self.counted.completion_tokens;
        match result["stop_reason"].as_str() {
            None | Some("not_finished") => {}
            Some(_) => self.reason = Some(reason(&result["stop_reason"])),
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.writer.finish(self.reason.unwrap_or("stop"), out);
        self.writer.usage(&usage_to_hub(&self.counted), out);
    }

    fn progress(&self) -> Progress<'_> {
        Progress {
            text_bytes: self.writer.text_bytes(),
            is_whole: self.reason.is_some(),
            usage: Some(self.counted),
            finish_reason: self.reason,
        }
    }

    /// There is no end mark.
    fn ends_early(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read() {
        assert_eq!(
            unix_seconds("2025-03-10T01:25:52.000Z"),
            Some(1_741_569_952)
        );
        assert_eq!(unix_seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(unix_seconds("2000-02-29T12:34:56Z"), Some(951_827_696));
        assert_eq!(unix_seconds("yesterday"), None);
    }

    #[test]
    fn a_text_stream_is_counted_and_ended() {
        let mut events = TextEvents::new(&Stamp::default());
        let mut out = Vec::new();
        for data in [
            r#"{"results":[{"generated_text":"Par","input_token_count":5,"generated_token_count":1,"stop_reason":"not_finished"}]}"#,
            r#"{"results":[{"generated_text":"is","input_token_count":0,"generated_token_count":2,"stop_reason":"max_tokens"}]}"#,
        ] {
            events.event(b"", data.as_bytes(), &mut out).unwrap();
        }
        assert_eq!(events.progress().finish_reason, Some("length"));
        assert_eq!(events.counted.total_tokens, 7);
        assert!(String::from_utf8(out).unwrap().contains("\"Par\""));
    }
}
