//! What must arrive: every byte of what the mock upstream sends for a request, but for the answer's
//! number. A gateway may write an answer in its own way (LiteLLM leaves null members out and adds
//! empty ones): the first event of each kind that means the same becomes what is expected, byte for
//! byte, from then on. Pure.

use memchr::memmem;
use serde_json::Value;

use crate::script::{self, EventIndex, ID_DIGITS, Scenario, StreamKind, StreamScript};

/// What stands before an answer's number.
const ID_MARK: &[u8] = b"\"chatcmpl-";

/// How strictly answers are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// Every byte.
    Bytes,
    /// Status, framing, and the end of a stream.
    Framing,
}

/// What must arrive.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(super) strictness: Strictness,
    pub(super) status: u16,
    /// Some answers fail with this status instead.
    pub(super) also: Option<u16>,
    /// The events of a stream, or one JSON body.
    parts: Vec<Part>,
    pub(super) streams: bool,
    chunk_bytes: usize,
}

#[derive(Clone, Debug)]
struct Part {
    bytes: Vec<u8>,
    /// Which content it carries.
    content: Option<u32>,
    learned: bool,
}

/// The number of the answer that is being judged.
pub(super) type Id = Option<[u8; ID_DIGITS]>;

impl Expected {
    /// The answer of the mock upstream to a chat request for `model`.
    pub(crate) fn chat(
        model: &str,
        scenario: &Scenario,
        stream: Option<bool>,
        strictness: Strictness,
    ) -> Self {
        let parts = match stream {
            None => {
                let mut body = String::new();
                script::chat_answer(scenario, 0, model, &mut body);
                vec![Part {
                    bytes: body.into_bytes(),
                    content: None,
                    learned: false,
                }]
            }
            Some(include_usage) => events(model, scenario, include_usage),
        };
        let sometimes = scenario.may_fail() && scenario.fail_rate < 1.0;
        let (status, also) = if sometimes {
            (200, Some(scenario.status))
        } else {
            (scenario.status, None)
        };
        let (streams, chunk_bytes) = (stream.is_some(), scenario.chunk_bytes);
        Self {
            strictness,
            status,
            also,
            parts,
            streams,
            chunk_bytes,
        }
    }

    /// The same where every request is refused with 401.
    pub(super) fn refused(self) -> Self {
        Self {
            status: 401,
            also: None,
            ..self
        }
    }

    pub(crate) fn with(self, strictness: Strictness) -> Self {
        Self { strictness, ..self }
    }

    /// Events of a whole stream.
    pub(super) fn events(&self) -> usize {
        self.parts.len()
    }

    /// Judges one part of the answer; says what is wrong.
    pub(super) fn judge(&mut self, index: usize, got: &[u8], id: &mut Id) -> Result<(), String> {
        let Some(part) = self.parts.get(index) else {
            return Err(format!("more than {} events", self.parts.len()));
        };
        if equal(&part.bytes, got, id) {
            return Ok(());
        }
        if part.learned || !self.learn(index, got, id) {
            let wanted = self
                .parts
                .get(index)
                .map_or(b"".as_slice(), |part| &part.bytes);
            return Err(format!("part {index}: {}", difference(wanted, got)));
        }
        Ok(())
    }

    /// Takes `got` as the way in which parts of that kind are written, if it means the same.
    fn learn(&mut self, index: usize, got: &[u8], id: &mut Id) -> bool {
        let Some(part) = self.parts.get_mut(index) else {
            return false;
        };
        let means = |bytes: &[u8]| {
            let text = bytes.strip_prefix(b"data: ").unwrap_or(bytes);
            serde_json::from_slice::<Value>(text).ok()
        };
        let same = match (means(&part.bytes), means(got)) {
            (Some(wanted), Some(got)) => same_meaning(&wanted, &got),
            _ => false,
        };
        let new = id_of(got);
        if !same || (id.is_some() && new.is_some() && *id != new) {
            return false;
        }
        *id = new.or(*id);
        let Some(content) = part.content else {
            part.bytes = got.to_vec();
            part.learned = true;
            return true;
        };
        let text = self.filler(content);
        let Some(at) = memmem::find(got, &text) else {
            return false;
        };
        let (before, after) = (&got[..at], &got[at + text.len()..]);
        for place in 0..self.parts.len() {
            if let Some(content) = self.parts[place].content {
                let bytes = [before, &self.filler(content), after].concat();
                self.parts[place] = Part {
                    bytes,
                    content: Some(content),
                    learned: true,
                };
            }
        }
        true
    }

    fn filler(&self, content: u32) -> Vec<u8> {
        let mut text = String::new();
        script::filler(content, self.chunk_bytes, &mut text);
        text.into_bytes()
    }
}

fn events(model: &str, scenario: &Scenario, include_usage: bool) -> Vec<Part> {
    let script = StreamScript {
        kind: StreamKind::Chat,
        scenario: scenario.clone(),
        id: 0,
        model: model.to_owned(),
        include_usage,
    };
    let (mut list, mut index) = (Vec::new(), Some(EventIndex::Open));
    while let Some(at) = index {
        let mut text = String::new();
        script.event(at, &mut text);
        let content = match at {
            EventIndex::Content(n) => Some(n),
            _ => None,
        };
        list.push(Part {
            bytes: text.into_bytes(),
            content,
            learned: false,
        });
        index = script.after(at);
    }
    list
}

/// Equality but for the number of the answer, which must be that of the parts before.
fn equal(wanted: &[u8], got: &[u8], id: &mut Id) -> bool {
    if wanted == got {
        return true;
    }
    let Some(at) = memmem::find(wanted, ID_MARK).map(|at| at + ID_MARK.len()) else {
        return false;
    };
    let end = at + ID_DIGITS;
    if wanted.len() != got.len() || wanted[..at] != got[..at] || wanted[end..] != got[end..] {
        return false;
    }
    match (<[u8; ID_DIGITS]>::try_from(&got[at..end]), *id) {
        (Ok(new), Some(known)) => new == known,
        (Ok(new), None) => {
            *id = Some(new);
            true
        }
        (Err(_), _) => false,
    }
}

fn id_of(got: &[u8]) -> Id {
    let at = memmem::find(got, ID_MARK)? + ID_MARK.len();
    got.get(at..at + ID_DIGITS)?.try_into().ok()
}

/// The same but for members without a value, and the answer's number.
fn same_meaning(wanted: &Value, got: &Value) -> bool {
    match (wanted, got) {
        (Value::Object(wanted), Value::Object(got)) => {
            let there = |(name, value): (&String, &Value)| match got.get(name) {
                Some(other) => same_meaning(value, other),
                None => is_empty(value),
            };
            let known =
                |(name, value): (&String, &Value)| wanted.contains_key(name) || is_empty(value);
            wanted.iter().all(there) && got.iter().all(known)
        }
        (Value::Array(wanted), Value::Array(got)) => {
            wanted.len() == got.len()
                && wanted
                    .iter()
                    .zip(got)
                    .all(|(wanted, got)| same_meaning(wanted, got))
        }
        (Value::String(wanted), Value::String(got)) => {
            wanted == got || (wanted.starts_with("chatcmpl-") && got.starts_with("chatcmpl-"))
        }
        _ => wanted == got,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn difference(wanted: &[u8], got: &[u8]) -> String {
    let at = wanted.iter().zip(got).take_while(|(a, b)| a == b).count();
    let show = |bytes: &[u8]| {
        let from = at.saturating_sub(20).min(bytes.len());
        String::from_utf8_lossy(&bytes[from..bytes.len().min(at + 120)]).into_owned()
    };
    format!("expected ...{:?}, got ...{:?}", show(wanted), show(got))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(stream: Option<bool>) -> Expected {
        let mut scenario = Scenario::default();
        scenario.apply_model("mock-chunks-2");
        Expected::chat("mock-chunks-2", &scenario, stream, Strictness::Bytes)
    }

    #[test]
    fn another_way_of_writing_is_learned_once() {
        let mut expected = expected(Some(true));
        let content = |n: u32, id: u32, extra: &str| {
            let mut text = String::new();
            script::filler(n, 8, &mut text);
            format!(
                "data: {{\"id\":\"chatcmpl-{id:016x}\",\"object\":\"chat.completion.chunk\",\
                 \"created\":1700000000,\"model\":\"mock-chunks-2\",\"service_tier\":\"default\",\
                 \"system_fingerprint\":\"fp_mock\",\"choices\":[{{\"index\":0,\"delta\":\
                 {{\"content\":\"{text}\"}}{extra}}}]}}\n\n"
            )
        };
        let mut judge = |n, id, extra: &str, known: &mut Id| {
            expected
                .judge(n as usize, content(n, id, extra).as_bytes(), known)
                .is_ok()
        };
        assert!(judge(1, 5, "", &mut None), "null members may be left out");
        assert!(
            judge(2, 6, "", &mut None),
            "what was learned holds for all content"
        );
        assert!(!judge(2, 6, ",\"x\":{}", &mut None), "but no third way");
        let mut id = None;
        assert!(judge(1, 7, "", &mut id) && judge(2, 7, "", &mut id));
        assert!(
            !judge(2, 8, "", &mut id),
            "another number within the stream"
        );
    }

    #[test]
    fn another_meaning_is_not_learned() {
        let mut expected = expected(None);
        let mut body = expected.parts[0].bytes.clone();
        let at = memmem::find(&body, b"\"total_tokens\":").map_or(0, |at| at + 15);
        body[at] ^= 1;
        assert!(expected.judge(0, &body, &mut None).is_err());
    }
}
