//! Server-sent events: where one starts and ends, and its name and payload without a copy. It must not know
//! what a payload means. Line ends are LF, CR LF and CR, as the HTML standard has them.

use std::borrow::Cow;

/// One whole event of the input of [`EventSplitter::next`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// First byte of the event. Bytes before it are blank lines that nobody needs.
    pub start: usize,
    /// One past the blank line that ends it.
    pub end: usize,
}

/// Finds the ends of events in a growing buffer, looking at each byte once. The bound on an event's size is the
/// caller's: when the unfinished tail grows past it, the stream is wrong.
#[derive(Clone, Default, Debug)]
pub struct EventSplitter {
    /// Where the event starts, where its current line starts, and how far we looked; all from the input's start.
    start: usize,
    line: usize,
    looked: usize,
    /// The line before ended with a CR alone.
    lone_cr: bool,
}

impl EventSplitter {
    /// The first whole event of `input`, which must start where the last event ended (`end`) and, as long as
    /// none is found, be the same bytes with more behind them. A CR at the very end of `input` may be half of
    /// CR LF; it ends an event at once only where the stream has shown that it uses lone CRs, so that such an
    /// event is not held back either.
    pub fn next(&mut self, input: &[u8]) -> Option<Event> {
        while let Some(found) = input
            .get(self.looked..)
            .and_then(|rest| memchr::memchr2(b'\n', b'\r', rest))
        {
            let at = self.looked + found;
            let blank = at == self.line;
            let (next_line, lone_cr) = match (input[at], input.get(at + 1)) {
                (b'\r', Some(b'\n')) => (at + 2, false),
                (b'\r', Some(_)) => (at + 1, true),
                (b'\r', None) if blank && self.lone_cr => (at + 1, true),
                (b'\r', None) => {
                    self.looked = at;
                    return None;
                }
                _ => (at + 1, false),
            };
            (self.line, self.looked, self.lone_cr) = (next_line, next_line, lone_cr);
            if blank && at > self.start {
                let event = Event {
                    start: self.start,
                    end: next_line,
                };
                *self = EventSplitter::default();
                return Some(event);
            }
            if blank {
                self.start = next_line;
            }
        }
        self.looked = self.looked.max(input.len());
        None
    }
}

/// Name and payload of one event.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Data<'a> {
    /// What the last `event:` line says, empty without one.
    pub name: &'a [u8],
    /// The `data:` lines joined with LF; borrowed when there is one only, `None` when there is none.
    pub payload: Option<Cow<'a, [u8]>>,
}

/// Reads an event found by [`EventSplitter`]; comments and other fields are skipped.
pub fn data(event: &[u8]) -> Data<'_> {
    let mut found = Data::default();
    let mut rest = event.strip_prefix(b"\xef\xbb\xbf").unwrap_or(event);
    while let Some((line, after)) = split_line(rest) {
        rest = after;
        match field(line) {
            (b"data", value) => found.payload = Some(join(found.payload.take(), value)),
            (b"event", value) => found.name = value,
            _ => {}
        }
    }
    found
}

/// The first line without its end, and what follows it.
fn split_line(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    if rest.is_empty() {
        return None;
    }
    let Some(at) = memchr::memchr2(b'\n', b'\r', rest) else {
        return Some((rest, &[]));
    };
    let line_end = if rest[at..].starts_with(b"\r\n") {
        2
    } else {
        1
    };
    Some((&rest[..at], &rest[at + line_end..]))
}

/// A line's field name and value; one space after the colon belongs to neither.
fn field(line: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b':', line) {
        Some(colon) => {
            let value = &line[colon + 1..];
            (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
        }
        None => (line, &[]),
    }
}

fn join<'a>(before: Option<Cow<'a, [u8]>>, value: &'a [u8]) -> Cow<'a, [u8]> {
    match before {
        None => Cow::Borrowed(value),
        Some(before) => {
            let mut joined = before.into_owned();
            joined.push(b'\n');
            joined.extend_from_slice(value);
            Cow::Owned(joined)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The events found when the stream comes in pieces cut at `cuts`, each as text; then the tail.
    fn split(stream: &[u8], cuts: &[usize]) -> (Vec<String>, String) {
        let mut splitter = EventSplitter::default();
        let mut events = Vec::new();
        let mut at = 0;
        for &cut in cuts.iter().chain([&stream.len()]) {
            while let Some(event) = splitter.next(&stream[at..cut]) {
                events.push(
                    String::from_utf8_lossy(&stream[at + event.start..at + event.end]).into_owned(),
                );
                at += event.end;
            }
        }
        (events, String::from_utf8_lossy(&stream[at..]).into_owned())
    }

    fn check(stream: &str, expected: &[&str], tail: &str) {
        let bytes = stream.as_bytes();
        let trimmed = |events: Vec<String>| -> Vec<String> {
            events.iter().map(|e| e.trim_end().to_owned()).collect()
        };
        let (whole, whole_tail) = split(bytes, &[]);
        assert_eq!(trimmed(whole), expected, "{stream:?}");
        assert_eq!(whole_tail, tail, "{stream:?}");
        let every: Vec<usize> = (0..bytes.len()).collect();
        assert_eq!(
            trimmed(split(bytes, &every).0),
            expected,
            "{stream:?} byte by byte"
        );
        for first in 0..bytes.len() {
            for second in first..bytes.len() {
                let (events, _) = split(bytes, &[first, second]);
                assert_eq!(
                    trimmed(events),
                    expected,
                    "{stream:?} cut at {first} and {second}"
                );
            }
        }
    }

    #[test]
    fn ends_of_events() {
        check("data: a\n\ndata: b\n\n", &["data: a", "data: b"], "");
        check(
            "data: a\r\n\r\ndata: b\r\n\r\n",
            &["data: a", "data: b"],
            "",
        );
        check("data: a\r\rdata: b\r\r", &["data: a", "data: b"], "");
        check(
            "data: a\n\r\ndata: b\r\n\ndata: c",
            &["data: a", "data: b"],
            "data: c",
        );
        check(
            "\n\n\r\ndata: a\n\n\n\n: ping\n\n",
            &["data: a", ": ping"],
            "",
        );
        check("data: a\ndata: b\n\n", &["data: a\ndata: b"], "");
        check("data: a\n", &[], "data: a\n");
        check("data: a\r\n\r", &[], "data: a\r\n\r");
        check("", &[], "");
    }

    #[test]
    fn a_lone_cr_event_is_not_held_back() {
        let mut splitter = EventSplitter::default();
        assert_eq!(
            splitter.next(b"data: a\r\r"),
            Some(Event { start: 0, end: 9 })
        );
        assert_eq!(splitter.next(b""), None);
    }

    #[test]
    fn names_and_payloads() {
        let check = |event: &str, name: &str, payload: Option<&str>| {
            let found = data(event.as_bytes());
            assert_eq!(found.name, name.as_bytes(), "{event:?}");
            assert_eq!(
                found.payload.as_deref(),
                payload.map(str::as_bytes),
                "{event:?}"
            );
            found.payload.is_none_or(|p| matches!(p, Cow::Borrowed(_)))
        };
        assert!(check("data: {\"a\":1}\n\n", "", Some("{\"a\":1}")));
        assert!(check(
            "event: x\r\ndata:[DONE]\r\n\r\n",
            "x",
            Some("[DONE]")
        ));
        assert!(check("data:  two\r\r", "", Some(" two")));
        assert!(check(": comment\nid: 1\n\n", "", None));
        assert!(check("data\n\n", "", Some("")));
        assert!(check("\u{feff}data: a\n\n", "", Some("a")));
        assert!(check("dataset: a\n\n", "", None));
        assert!(check("data: unfinished", "", Some("unfinished")));
        assert!(!check("data: a\nevent: x\ndata: b\n\n", "x", Some("a\nb")));
    }
}
