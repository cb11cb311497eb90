//! `mid_stream_fallback`: a stream that breaks after its first byte goes on with another deployment.
//!
//! What the client has so far is kept, as text. The next deployment gets it as the beginning of its
//! answer; its events go out under the first stream's id and model, without a second role chunk, and
//! the usage event says what all parts used together. What text cannot continue (tool calls, several
//! choices) ends in LiteLLM's error event, as it does without the setting.

use serde_json::{Map, Value, json};

use super::attempt::Work;
use super::call::Call;
use super::estimate::BYTES_PER_TOKEN;
use super::relay::Relay;
use crate::dialect::scan::{Scan, scan};
use crate::dialect::usage::Usage;
use crate::provider::Operation;
use crate::spend::cost::Cost;
use crate::spend::usage::Quantities;

/// What a client has of a stream, and what it cost so far.
#[derive(Default)]
pub(super) struct Sent {
    text: String,
    /// The fields that are the same in all of a stream's events.
    identity: Map<String, Value>,
    /// Something other than text went out: it cannot be continued.
    unsound: bool,
    /// The answer came to its end; only what follows it is missing.
    finished: bool,
    /// An earlier part broke: this one goes on from there.
    pub continuing: bool,
    /// The connection closes behind the answer.
    pub close: bool,
    prompt_tokens: u64,
    completion_tokens: u64,
    cost: Cost,
}

/// Fields that identify a stream.
const IDENTITY: [&str; 3] = ["id", "created", "model"];

impl Sent {
    /// Whether the stream can go on elsewhere.
    pub(super) fn can_go_on(&self) -> bool {
        !self.unsound && !self.finished
    }

    /// Takes note of events on their way out, and makes those of a later part fit the first.
    pub(super) fn pass(&mut self, events: &[u8], bytes_max: usize, out: &mut Vec<u8>) {
        let mut at = 0;
        for end in memchr::memmem::find_iter(events, b"\n\n").map(|found| found + 2) {
            self.event(&events[at..end], out);
            at = end;
        }
        out.extend_from_slice(&events[at..]);
        self.unsound |= self.text.len() > bytes_max;
    }

    fn event(&mut self, event: &[u8], out: &mut Vec<u8>) {
        let payload = event.strip_prefix(b"data: ").map(<[u8]>::trim_ascii_end);
        let parsed = payload.and_then(|json| serde_json::from_slice::<Value>(json).ok());
        let Some(Value::Object(mut chunk)) = parsed else {
            out.extend_from_slice(event);
            return;
        };
        let length = self.text.len();
        self.note(&chunk);
        if !self.continuing {
            out.extend_from_slice(event);
            return;
        }
        let empty = self.text.len() == length;
        if self.fit(&mut chunk, empty) {
            out.extend_from_slice(b"data: ");
            out.extend_from_slice(Value::Object(chunk).to_string().as_bytes());
            out.extend_from_slice(b"\n\n");
        }
    }

    fn note(&mut self, chunk: &Map<String, Value>) {
        if self.identity.is_empty() {
            let known = IDENTITY
                .iter()
                .filter_map(|name| chunk.get_key_value(*name));
            self.identity = known
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
        }
        for choice in chunk
            .get("choices")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            self.unsound |= choice["index"].as_u64().unwrap_or(0) > 0;
            self.finished |= !choice["finish_reason"].is_null();
            for (name, value) in choice["delta"].as_object().into_iter().flatten() {
                match (name.as_str(), value) {
                    ("content", Value::String(text)) => self.text.push_str(text),
                    (_, Value::Null) | ("role" | "reasoning_content", _) => {}
                    _ => self.unsound = true,
                }
            }
        }
    }

    /// Makes a chunk of a later part one of the first stream; false when nothing is left of it.
    fn fit(&self, chunk: &mut Map<String, Value>, empty: bool) -> bool {
        for (name, value) in &self.identity {
            chunk.insert(name.clone(), value.clone());
        }
        let mut counts = false;
        if let Some(usage) = chunk.get_mut("usage").and_then(Value::as_object_mut) {
            counts = true;
            let total = self.prompt_tokens + self.completion_tokens;
            for (name, more) in [
                ("prompt_tokens", self.prompt_tokens),
                ("completion_tokens", self.completion_tokens),
                ("total_tokens", total),
            ] {
                let own = usage.get(name).and_then(Value::as_u64).unwrap_or(0);
                usage.insert(name.into(), (own + more).into());
            }
        }
        let mut says = counts || !empty;
        for choice in chunk
            .get_mut("choices")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            says |= !choice["finish_reason"].is_null();
            if let Some(delta) = choice.get_mut("delta").and_then(Value::as_object_mut) {
                says |= delta.shift_remove("role").is_none();
            }
        }
        says
    }

    /// What one part used: what its upstream counted, else by its length.
    fn part(&mut self, call: &Call, usage: Option<Usage>, prompt_tokens: u64) {
        let all = self.text.len() as u64 / BYTES_PER_TOKEN + 1;
        let (prompt, completion) = match usage {
            Some(usage) => (usage.prompt_tokens, usage.completion_tokens),
            None => (prompt_tokens, all.saturating_sub(self.completion_tokens)),
        };
        let used = Quantities {
            prompt,
            completion,
            total: prompt + completion,
            ..Quantities::default()
        };
        let deployment = call
            .route
            .deployment
            .map(|at| &call.snapshot.deployments[at]);
        if let Some(deployment) = deployment {
            self.cost = self.cost.plus(&deployment.meter.cost_answered(&used, ""));
        }
        self.prompt_tokens += prompt;
        self.completion_tokens += completion;
    }

    /// Adds what earlier parts used and cost to the call's bill.
    pub(super) fn add_to(&self, call: &mut Call) {
        let charge = call.bill.charge();
        let used = &mut charge.used;
        used.prompt += self.prompt_tokens;
        used.completion += self.completion_tokens;
        used.total += self.prompt_tokens + self.completion_tokens;
        charge.cost = charge.cost.plus(&self.cost);
        call.cost = charge.cost.total.nanodollars();
    }

    /// What the parts that broke cost.
    pub(super) fn cost(&self) -> Cost {
        self.cost
    }

    /// Tokens of the parts that broke.
    pub(super) fn tokens(&self) -> u64 {
        self.prompt_tokens + self.completion_tokens
    }

    /// The body that asks for the rest: the client's, with what it has as the answer's beginning.
    pub(super) fn body(&self, body: &[u8]) -> Option<Box<(Vec<u8>, Scan)>> {
        let mut fields: Map<String, Value> = serde_json::from_slice(body).ok()?;
        if !self.text.is_empty() {
            let messages = fields.get_mut("messages")?.as_array_mut()?;
            messages.push(json!({"role": "assistant", "content": self.text}));
        }
        let bytes = serde_json::to_vec(&fields).ok()?;
        let scan = scan(&bytes).ok()?;
        Some(Box::new((bytes, scan)))
    }
}

impl Work<'_> {
    /// Begins to keep what the client gets, where the settings ask for it and it can be continued.
    pub(super) fn keep_stream(&mut self) {
        let asks = self.call.snapshot.settings.mid_stream_fallback
            && self.asked.stream
            && self.asked.operation == Operation::Chat;
        if asks && self.sent.is_none() {
            self.sent = Some(Box::default());
        }
    }

    /// Takes note of what goes out of `relay` next.
    pub(super) fn note_sent(&mut self, relay: &mut Relay) {
        let bytes_max = self.call.snapshot.settings.response_bytes_max;
        if let Some(sent) = &mut self.sent {
            relay.rewrite(|events, out| sent.pass(events, bytes_max, out));
        }
    }

    /// The stream broke: whether it will go on elsewhere. What this part used is noted then.
    pub(super) fn break_stream(&mut self, usage: Option<Usage>) -> bool {
        let prompt_tokens = self.prompt_tokens;
        match &mut self.sent {
            Some(sent) if sent.can_go_on() => {
                sent.part(self.call, usage, prompt_tokens);
                sent.continuing = true;
                true
            }
            _ => false,
        }
    }

    /// Whether the client has part of a stream already.
    pub(super) fn is_continuing(&self) -> bool {
        self.sent.as_ref().is_some_and(|sent| sent.continuing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(delta: Value, finish: Option<&str>) -> String {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
        let chunk = json!({"id": "one", "created": 1, "model": "m", "choices": [choice]});
        format!("data: {chunk}\n\n")
    }

    fn pass(sent: &mut Sent, events: &[String]) -> String {
        let mut out = Vec::new();
        sent.pass(events.concat().as_bytes(), 1000, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_first_part_passes_as_it_came() {
        let events = [
            chunk(json!({"role": "assistant", "content": ""}), None),
            ": a comment\n\n".to_owned(),
            chunk(json!({"content": "Hel"}), None),
        ];
        let mut sent = Sent::default();
        assert_eq!(pass(&mut sent, &events), events.concat());
        assert_eq!(sent.text, "Hel");
        assert!(sent.can_go_on());
    }

    #[test]
    fn a_later_part_fits_the_first() {
        let mut sent = Sent::default();
        pass(
            &mut sent,
            &[chunk(json!({"role": "assistant", "content": "Hel"}), None)],
        );
        (sent.continuing, sent.prompt_tokens, sent.completion_tokens) = (true, 10, 2);
        let usage = json!({"id": "two", "choices": [],
            "usage": {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}});
        let out = pass(
            &mut sent,
            &[
                chunk(json!({"role": "assistant", "content": ""}), None).replace("one", "two"),
                chunk(json!({"content": "lo"}), None).replace("one", "two"),
                chunk(json!({}), Some("stop")).replace("one", "two"),
                format!("data: {usage}\n\n"),
                "data: [DONE]\n\n".to_owned(),
            ],
        );
        assert!(!out.contains("two") && !out.contains("role"), "{out}");
        assert!(out.contains(r#""prompt_tokens":22"#) && out.contains(r#""total_tokens":27"#));
        assert_eq!(
            out.matches("data: ").count(),
            4,
            "the second role chunk is gone"
        );
        assert_eq!(sent.text, "Hello");
        assert!(!sent.can_go_on(), "it came to its end");
    }

    #[test]
    fn tool_calls_and_a_second_choice_cannot_go_on() {
        for event in [
            chunk(json!({"tool_calls": [{"index": 0}]}), None),
            chunk(json!({"content": "x"}), None).replace(r#""index":0"#, r#""index":1"#),
        ] {
            let mut sent = Sent::default();
            pass(&mut sent, &[event]);
            assert!(!sent.can_go_on());
        }
    }

    #[test]
    fn the_rest_is_asked_for_behind_what_was_sent() {
        let mut sent = Sent::default();
        pass(&mut sent, &[chunk(json!({"content": "Hel"}), None)]);
        let asked = br#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
        let body: Value = serde_json::from_slice(&sent.body(asked).unwrap().0).unwrap();
        let last = json!({"role": "assistant", "content": "Hel"});
        assert_eq!(body["messages"][1], last);
    }
}
