//! Follows one answer as it arrives in pieces, cuts it into events, and gives the verdict at its
//! end. Pure.

use memchr::memmem;

use super::expect::{Expected, Id, Strictness};

/// Bytes of an answer or an event kept for judging, at most.
const KEPT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Judges one answer after the other.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    kept: Vec<u8>,
    events: usize,
    id: Id,
    status: u16,
    wrong: Option<String>,
}

impl Judge {
    /// Forgets the last answer, and keeps its buffer.
    pub(crate) fn start(&mut self) {
        self.kept.clear();
        self.kept.shrink_to(16 * 1024);
        self.events = 0;
        self.id = None;
        self.status = 0;
        self.wrong = None;
    }

    pub(crate) fn status(&mut self, status: u16) {
        self.status = status;
    }

    /// Takes body bytes; returns how many events they completed.
    pub(crate) fn body(&mut self, expected: &mut Expected, bytes: &[u8]) -> u64 {
        if self.kept.len() + bytes.len() > KEPT_BYTES_MAX {
            self.wrong("the answer does not end".into());
            return 0;
        }
        if !expected.streams || self.status != 200 {
            self.kept.extend_from_slice(bytes);
            return 0;
        }
        if self.kept.is_empty() {
            let (events, used) = self.take_events(expected, bytes);
            self.kept.extend_from_slice(&bytes[used..]);
            return events;
        }
        let mut kept = std::mem::take(&mut self.kept);
        kept.extend_from_slice(bytes);
        let (events, used) = self.take_events(expected, &kept);
        kept.drain(..used);
        self.kept = kept;
        events
    }

    /// Judges the whole events at the front of `bytes`: how many, and their length.
    fn take_events(&mut self, expected: &mut Expected, bytes: &[u8]) -> (u64, usize) {
        let (mut events, mut at) = (0, 0);
        while let Some(length) = memmem::find(&bytes[at..], b"\n\n") {
            let event = &bytes[at..at + length + 2];
            at += length + 2;
            if event.first() == Some(&b':') {
                continue;
            }
            events += 1;
            if expected.strictness == Strictness::Bytes
                && let Err(text) = expected.judge(self.events, event, &mut self.id)
            {
                self.wrong(text);
            }
            self.events += 1;
        }
        (events, at)
    }

    fn wrong(&mut self, text: String) {
        if self.wrong.is_none() {
            self.wrong = Some(text);
        }
    }

    /// The verdict at the end of the body: the kind of error, and what was seen.
    pub(crate) fn verdict(
        &mut self,
        expected: &mut Expected,
    ) -> Result<(), (&'static str, String)> {
        if Some(self.status) == expected.also {
            return Ok(());
        }
        if self.status != expected.status {
            let text = String::from_utf8_lossy(&self.kept[..self.kept.len().min(300)]);
            return Err((
                kind_of(self.status),
                format!("status {}: {text}", self.status),
            ));
        }
        if let Some(text) = self.wrong.take() {
            return Err(("mismatch", text));
        }
        if expected.strictness != Strictness::Bytes || expected.status != 200 {
            return Ok(());
        }
        if !expected.streams {
            return expected
                .judge(0, &self.kept, &mut None)
                .map_err(|text| ("mismatch", text));
        }
        if self.events != expected.events() || !self.kept.is_empty() {
            return Err((
                "incomplete",
                format!("{} of {} events", self.events, expected.events()),
            ));
        }
        Ok(())
    }
}

fn kind_of(status: u16) -> &'static str {
    match status {
        429 => "status 429",
        400..=499 => "status 4xx",
        502 => "status 502",
        503 => "status 503",
        500..=599 => "status 5xx",
        _ => "status other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::{EventIndex, Scenario, StreamKind, StreamScript};

    fn scenario() -> Scenario {
        let mut scenario = Scenario::default();
        scenario.apply_model("mock-chunks-2");
        scenario
    }

    fn stream(id: u64, include_usage: bool) -> Vec<u8> {
        let script = StreamScript {
            kind: StreamKind::Chat,
            scenario: scenario(),
            id,
            model: "mock-chunks-2".into(),
            include_usage,
        };
        let (mut text, mut index) = (String::new(), Some(EventIndex::Open));
        while let Some(at) = index {
            script.event(at, &mut text);
            index = script.after(at);
        }
        text.into_bytes()
    }

    fn verdict(include_usage: bool, sent: &[u8], cut: usize) -> Result<(), &'static str> {
        let stream = Some(include_usage);
        let mut expected = Expected::chat("mock-chunks-2", &scenario(), stream, Strictness::Bytes);
        let mut judge = Judge::default();
        judge.start();
        judge.status(200);
        judge.body(&mut expected, &sent[..cut]);
        judge.body(&mut expected, &sent[cut..]);
        judge.verdict(&mut expected).map_err(|(kind, _)| kind)
    }

    #[test]
    fn streams_are_judged_wherever_they_are_cut() {
        let sent = stream(77, false);
        for cut in 0..sent.len() {
            assert_eq!(verdict(false, &sent, cut), Ok(()));
        }
        assert_eq!(verdict(true, &stream(77, true), 10), Ok(()));
        assert_eq!(
            verdict(true, &sent, 10),
            Err("mismatch"),
            "no usage at the end"
        );
        assert_eq!(
            verdict(false, &sent[..sent.len() - 14], 10),
            Err("incomplete")
        );
    }

    #[test]
    fn a_changed_byte_is_found() {
        let mut sent = stream(77, false);
        let last = sent.len() - 40;
        sent[last] ^= 1;
        assert!(verdict(false, &sent, 0).is_err());
        let mut two_ids = stream(77, false);
        two_ids.truncate(two_ids.len() / 2);
        let rest = stream(78, false);
        two_ids.extend_from_slice(&rest[two_ids.len()..]);
        assert!(verdict(false, &two_ids, 0).is_err());
    }
}
