//! What an answer used that is passed on as it is: the providers' ways to say so, told apart by their names. Looks at whole
//! bodies, at server-sent events and at AWS's binary ones; changes nothing.

use crate::dialect::value::{Map, Value};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::aws_events::AwsEvents;
use super::frames::{Framing, Sse};
use super::scan::Span;
use super::usage::Usage;
use super::{anthropic_messages, bedrock_converse, gemini};

/// Notes usage and model as an answer passes.
#[derive(Default)]
pub struct Observer {
    events: Sse,
    frames: Option<AwsEvents>,
    usage: Map,
    model: Option<String>,
    id: Option<String>,
    /// Something did not fit; nothing more is looked at.
    is_blind: bool,
}

impl Observer {
    /// One for AWS's binary events.
    pub fn of_frames() -> Self {
        Self {
            frames: Some(AwsEvents::default()),
            ..Self::default()
        }
    }

    /// A piece of a stream of events, cut anywhere.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.is_blind {
            return;
        }
        if let Some(mut frames) = self.frames.take() {
            let fed = frames.feed(bytes, &mut |_, data| {
                self.frame(data);
                Ok(())
            });
            self.frames = Some(frames);
            self.is_blind = fed.is_err();
            return;
        }
        let mut events = std::mem::take(&mut self.events);
        let fed = events.feed(bytes, &mut |_, data| {
            self.whole(data);
            Ok(())
        });
        self.events = events;
        self.is_blind = fed.is_err();
    }

    /// A binary event: of Converse as it is, of a model that is invoked its own event in base64.
    fn frame(&mut self, data: &[u8]) {
        const WRAPPED: &[u8] = b"{\"bytes\"";
        if !data.starts_with(WRAPPED) {
            return self.whole(data);
        }
        let wrapped = Value::read(data).unwrap_or_default();
        let event = wrapped["bytes"]
            .as_str()
            .and_then(|text| STANDARD.decode(text).ok());
        if let Some(event) = event {
            self.whole(&event);
        }
    }

    /// A whole answer, or one event; of a list each item. What is no JSON object says nothing.
    pub fn whole(&mut self, body: &[u8]) {
        let names_tokens = ["sage", "okens"]
            .iter()
            .any(|word| memchr::memmem::find(body, word.as_bytes()).is_some());
        if !names_tokens {
            return;
        }
        match Value::read(body) {
            Ok(Value::Object(whole)) => self.note(&whole),
            Ok(Value::Array(items)) => items
                .iter()
                .filter_map(Value::as_object)
                .for_each(|item| self.note(item)),
            _ => {}
        }
    }

    fn note(&mut self, whole: &Map) {
        let inner = ["message", "response", "delta"]
            .iter()
            .filter_map(|name| whole.get(name)?.as_object());
        for part in std::iter::once(whole).chain(inner) {
            for name in ["usage", "usageMetadata", "usage_metadata"] {
                if let Some(Value::Object(usage)) = part.get(name) {
                    self.usage.extend(usage.clone());
                }
            }
            let text = |name: &str| part.get(name)?.as_str().map(str::to_owned);
            self.model = text("model")
                .or_else(|| text("modelVersion"))
                .or(self.model.take());
            self.id = self.id.take().or_else(|| text("id"));
        }
    }

    /// The model that the answer names.
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// The answer's id.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Tokens, when the answer named any.
    pub fn usage(&self) -> Option<Usage> {
        let has = |name: &str| self.usage.contains_key(name);
        if self.usage.is_empty() {
            return None;
        }
        let whole = Value::Object(self.usage.clone());
        if has("promptTokenCount") || has("totalTokenCount") {
            return Some(gemini::usage::to_hub(&whole, 0).0);
        }
        if has("inputTokens") {
            return Some(bedrock_converse::response::usage_to_hub(&whole, Some(0)).0);
        }
        if has("cache_creation_input_tokens") || has("cache_read_input_tokens") {
            return Some(anthropic_messages::usage::to_hub(&whole, Some(0)).0);
        }
        // Cohere's counts stand one level down.
        let inner = self
            .usage
            .get("tokens")
            .or_else(|| self.usage.get("billed_units"));
        let bytes = inner.unwrap_or(&whole).to_vec();
        Usage::read(&bytes, Span::new(0, bytes.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answer: &str, expected: Option<(u64, u64)>) {
        let counts = |observer: &Observer| {
            let usage = observer.usage()?;
            Some((usage.prompt_tokens, usage.completion_tokens))
        };
        let mut whole = Observer::default();
        whole.whole(answer.as_bytes());
        assert_eq!(counts(&whole), expected, "{answer}");
        let event = format!("event: x\ndata: {answer}\n\n");
        for cut in 0..event.len() {
            let mut observer = Observer::default();
            observer.feed(&event.as_bytes()[..cut]);
            observer.feed(&event.as_bytes()[cut..]);
            assert_eq!(counts(&observer), expected, "{answer} cut at {cut}");
        }
    }

    #[test]
    fn every_way_to_say_it() {
        check(
            r#"{"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}"#,
            Some((3, 4)),
        );
        check(
            r#"{"response":{"usage":{"input_tokens":3,"output_tokens":4,"total_tokens":7}}}"#,
            Some((3, 4)),
        );
        check(
            r#"{"message":{"usage":{"input_tokens":3,"cache_read_input_tokens":2,"output_tokens":4}}}"#,
            Some((5, 4)),
        );
        check(
            r#"{"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":4,"totalTokenCount":7}}"#,
            Some((3, 4)),
        );
        check(
            r#"{"usage":{"inputTokens":3,"outputTokens":4,"totalTokens":7}}"#,
            Some((3, 4)),
        );
        check(
            r#"{"usage":{"tokens":{"input_tokens":3,"output_tokens":4}}}"#,
            Some((3, 4)),
        );
        check(r#"{"text":"no usage"}"#, None);
        check("[1]", None);
    }

    #[test]
    fn a_list_is_a_stream_too() {
        let mut observer = Observer::default();
        observer.whole(br#"[{"text":1},{"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":4,"totalTokenCount":7}}]"#);
        assert_eq!(observer.usage().unwrap().completion_tokens, 4);
    }

    #[test]
    fn a_stream_adds_up() {
        let mut observer = Observer::default();
        observer.feed(b"data: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"claude\",\"usage\":");
        observer
            .feed(b"{\"input_tokens\":25,\"cache_read_input_tokens\":0,\"output_tokens\":1}}}\n\n");
        observer.feed(b"data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":15}}\n\n");
        let usage = observer.usage().unwrap();
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), (25, 15));
        assert_eq!(
            (observer.model(), observer.id()),
            (Some("claude"), Some("msg_1"))
        );
    }
}
