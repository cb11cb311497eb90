//! Judges an answer: every byte must be what the mock upstream sent for that request, but for the
//! answer's number, which is only known to be the same throughout a stream. Pure.

use memchr::memmem;

use crate::script::{self, EventIndex, ID_DIGITS, Scenario, StreamKind, StreamScript};

/// Bytes of an answer or an event kept for judging, at most.
const KEPT_BYTES_MAX: usize = 64 * 1024 * 1024;

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
    strictness: Strictness,
    status: u16,
    /// Some answers fail with this status instead.
    also: Option<u16>,
    shape: Shape,
}

#[derive(Clone, Debug)]
enum Shape {
    Json(Vec<u8>),
    /// The stream's events, as asked for; and with the `"usage":null` that a gateway's own wish for
    /// usage adds to each.
    Events([Vec<Vec<u8>>; 2]),
}

impl Expected {
    /// The answer of the mock upstream to a chat request for `model`.
    pub(crate) fn chat(
        model: &str,
        scenario: &Scenario,
        stream: Option<bool>,
        strictness: Strictness,
    ) -> Self {
        let shape = match stream {
            None => {
                let mut body = String::new();
                script::chat_answer(scenario, 0, model, &mut body);
                Shape::Json(body.into_bytes())
            }
            Some(include_usage) => {
                let plain = events(model, scenario, include_usage, true);
                let padded = events(model, scenario, true, include_usage);
                Shape::Events([plain, padded])
            }
        };
        let sometimes = scenario.may_fail() && scenario.fail_rate < 1.0;
        let (status, also) = if sometimes {
            (200, Some(scenario.status))
        } else {
            (scenario.status, None)
        };
        Self {
            strictness,
            status,
            also,
            shape,
        }
    }

    pub(crate) fn with(self, strictness: Strictness) -> Self {
        Self { strictness, ..self }
    }

    pub(crate) fn streams(&self) -> bool {
        matches!(self.shape, Shape::Events(_))
    }
}

fn events(model: &str, scenario: &Scenario, usage: bool, show_usage: bool) -> Vec<Vec<u8>> {
    let script = StreamScript {
        kind: StreamKind::Chat,
        scenario: scenario.clone(),
        id: 0,
        model: model.to_owned(),
        include_usage: usage,
    };
    let (mut list, mut index) = (Vec::new(), Some(EventIndex::Open));
    while let Some(at) = index {
        if at != EventIndex::Usage || show_usage {
            let mut text = String::new();
            script.event(at, &mut text);
            list.push(text.into_bytes());
        }
        index = script.after(at);
    }
    list
}

/// Judges one answer as it arrives.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    kept: Vec<u8>,
    /// Which of the two lists of events still fits.
    fits: [bool; 2],
    events: usize,
    id: Option<[u8; ID_DIGITS]>,
    status: u16,
    wrong: Option<String>,
}

impl Judge {
    /// Forgets the last answer, and keeps its buffer.
    pub(crate) fn start(&mut self) {
        self.kept.clear();
        self.kept.shrink_to(16 * 1024);
        self.fits = [true; 2];
        self.events = 0;
        self.id = None;
        self.status = 0;
        self.wrong = None;
    }

    pub(crate) fn status(&mut self, status: u16) {
        self.status = status;
    }

    /// Takes body bytes; returns how many events they completed.
    pub(crate) fn body(&mut self, expected: &Expected, bytes: &[u8]) -> u64 {
        if self.kept.len() + bytes.len() > KEPT_BYTES_MAX {
            self.wrong("the answer does not end".into());
            return 0;
        }
        let Shape::Events(lists) = &expected.shape else {
            self.kept.extend_from_slice(bytes);
            return 0;
        };
        if self.status != 200 {
            self.kept.extend_from_slice(bytes);
            return 0;
        }
        if self.kept.is_empty() {
            let used = self.take_events(expected.strictness, lists, bytes);
            self.kept.extend_from_slice(&bytes[used.1..]);
            return used.0;
        }
        let mut kept = std::mem::take(&mut self.kept);
        kept.extend_from_slice(bytes);
        let (events, used) = self.take_events(expected.strictness, lists, &kept);
        kept.drain(..used);
        self.kept = kept;
        events
    }

    /// Judges the whole events at the front of `bytes`: how many, and their length.
    fn take_events(
        &mut self,
        strictness: Strictness,
        lists: &[Vec<Vec<u8>>; 2],
        bytes: &[u8],
    ) -> (u64, usize) {
        let (mut events, mut at) = (0, 0);
        while let Some(length) = memmem::find(&bytes[at..], b"\n\n") {
            let event = &bytes[at..at + length + 2];
            at += length + 2;
            if event.first() == Some(&b':') {
                continue;
            }
            events += 1;
            if strictness == Strictness::Bytes {
                self.judge_event(lists, event);
            }
            self.events += 1;
        }
        (events, at)
    }

    fn judge_event(&mut self, lists: &[Vec<Vec<u8>>; 2], event: &[u8]) {
        let mut id = self.id;
        for (list, fits) in lists.iter().zip(&mut self.fits) {
            let same = list
                .get(self.events)
                .is_some_and(|wanted| equal(wanted, event, &mut id));
            *fits = *fits && same;
        }
        self.id = id;
        if self.fits == [false; 2] {
            let wanted = lists[0]
                .get(self.events)
                .map_or(b"nothing".as_slice(), Vec::as_slice);
            let text = format!("event {}: {}", self.events, difference(wanted, event));
            self.wrong(text);
        }
    }

    fn wrong(&mut self, text: String) {
        if self.wrong.is_none() {
            self.wrong = Some(text);
        }
    }

    /// The verdict at the end of the body: the kind of error, and what was seen.
    pub(crate) fn verdict(&mut self, expected: &Expected) -> Result<(), (&'static str, String)> {
        if Some(self.status) == expected.also {
            return Ok(());
        }
        if self.status != expected.status {
            let text = String::from_utf8_lossy(&self.kept[..self.kept.len().min(300)]);
            let kind = match self.status {
                429 => "status 429",
                400..=499 => "status 4xx",
                502 => "status 502",
                503 => "status 503",
                500..=599 => "status 5xx",
                _ => "status other",
            };
            return Err((kind, format!("status {}: {text}", self.status)));
        }
        if let Some(text) = self.wrong.take() {
            return Err(("mismatch", text));
        }
        match &expected.shape {
            Shape::Json(wanted)
                if expected.strictness == Strictness::Bytes
                    && expected.status == 200
                    && !equal(wanted, &self.kept, &mut None) =>
            {
                return Err(("mismatch", difference(wanted, &self.kept)));
            }
            Shape::Events(lists) if expected.strictness == Strictness::Bytes => {
                let complete =
                    (0..2).any(|which| self.fits[which] && self.events == lists[which].len());
                if !complete || !self.kept.is_empty() {
                    let text = format!("{} of {} events", self.events, lists[0].len());
                    return Err(("incomplete", text));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Equality but for the number of the answer.
fn equal(wanted: &[u8], got: &[u8], id: &mut Option<[u8; ID_DIGITS]>) -> bool {
    if wanted == got {
        return true;
    }
    let mark = b"\"chatcmpl-";
    let Some(at) = memmem::find(wanted, mark).map(|at| at + mark.len()) else {
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

    fn verdict(stream: Option<bool>, sent: &[u8], cut: usize) -> Result<(), &'static str> {
        let mut scenario = Scenario::default();
        scenario.apply_model("mock-chunks-2");
        let expected = Expected::chat("mock-chunks-2", &scenario, stream, Strictness::Bytes);
        let mut judge = Judge::default();
        judge.start();
        judge.status(200);
        judge.body(&expected, &sent[..cut]);
        judge.body(&expected, &sent[cut..]);
        judge.verdict(&expected).map_err(|(kind, _)| kind)
    }

    fn stream(id: u64, usage: bool, hide: bool) -> Vec<u8> {
        let mut scenario = Scenario::default();
        scenario.apply_model("mock-chunks-2");
        let list = events("mock-chunks-2", &scenario, usage, !hide);
        let text = String::from_utf8(list.concat()).expect("ASCII");
        text.replace("chatcmpl-0000000000000000", &format!("chatcmpl-{id:016x}"))
            .into_bytes()
    }

    #[test]
    fn streams_are_judged_wherever_they_are_cut() {
        let sent = stream(77, false, false);
        for cut in 0..sent.len() {
            assert_eq!(verdict(Some(false), &sent, cut), Ok(()));
        }
        assert_eq!(verdict(Some(false), &stream(77, true, true), 10), Ok(()));
        assert_eq!(verdict(Some(true), &stream(77, true, false), 10), Ok(()));
        assert_eq!(
            verdict(Some(true), &stream(77, false, false), 10),
            Err("mismatch")
        );
    }

    #[test]
    fn a_changed_byte_is_found() {
        let mut sent = stream(77, false, false);
        let last = sent.len() - 40;
        sent[last] ^= 1;
        assert!(verdict(Some(false), &sent, 0).is_err());
        let mut two_ids = stream(77, false, false);
        two_ids.truncate(two_ids.len() / 2);
        let rest = stream(78, false, false);
        two_ids.extend_from_slice(&rest[two_ids.len()..]);
        assert!(verdict(Some(false), &two_ids, 0).is_err());
    }
}
