//! What a stream costs, said in the events that say what it used (`include_cost_in_streaming_usage`): the
//! `usage` of chats and text completions and of Anthropic's `message_delta`, `response.usage` of the Responses
//! API. An amount of the vendor's own is replaced. What a price is, it must not know.

use std::borrow::Cow;

use shardgate_io::sse::{EventSplitter, data};

use super::scan::Span;
use super::splice::{Edits, Members};
use super::walk::{self, FieldList};

/// Whether any of these events may say what was used.
pub fn says_usage(events: &[u8]) -> bool {
    memchr::memmem::find(events, b"\"usage\"").is_some()
}

/// Appends `events` to `out`, `cost` (a JSON number, US dollars) in each usage. Events that are not JSON in one
/// line, and what is no whole event, stay as they are.
pub fn add(events: &[u8], cost: &str, out: &mut Vec<u8>) {
    let mut splitter = EventSplitter::default();
    let mut done = 0;
    while let Some(found) = splitter.next(&events[done..]) {
        let (start, end) = (done + found.start, done + found.end);
        out.extend_from_slice(&events[done..start]);
        add_to_event(&events[start..end], cost, out);
        done = end;
    }
    out.extend_from_slice(&events[done..]);
}

fn add_to_event(event: &[u8], cost: &str, out: &mut Vec<u8>) {
    let Some(Cow::Borrowed(payload)) = data(event).payload else {
        return out.extend_from_slice(event);
    };
    let Some(usage) = usage(payload) else {
        return out.extend_from_slice(event);
    };
    let fields = FieldList::of(payload, usage);
    let fields = fields.as_slice();
    let mut edits = Edits::new();
    let stated = fields
        .iter()
        .find(|field| walk::name_of(payload, **field) == b"cost");
    match stated {
        Some(field) => edits.replace(field.value, cost.as_bytes()),
        None => {
            let mut members = Members::new();
            members.add("cost", cost.as_bytes());
            members.apply(usage, fields, &mut edits);
        }
    }
    // The payload is a part of the event: what stands around it goes along.
    let at = payload.as_ptr() as usize - event.as_ptr() as usize;
    out.extend_from_slice(&event[..at]);
    edits.copy_into(payload, out);
    out.extend_from_slice(&event[at + payload.len()..]);
}

/// The object that says what was used, in an event that does.
fn usage(payload: &[u8]) -> Option<Span> {
    let whole = Span::new(0, payload.len());
    let found = walk::member(payload, whole, "usage")
        .or_else(|| walk::path(payload, whole, &["response", "usage"]))?;
    (found.of(payload).first() == Some(&b'{')).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(events: &str, expected: &str) {
        let mut out = Vec::new();
        add(events.as_bytes(), "3.5e-06", &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn each_usage_says_its_cost() {
        check(
            "data: {\"choices\":[],\"usage\":{\"total_tokens\":3}}\n\ndata: [DONE]\n\n",
            "data: {\"choices\":[],\"usage\":{\"total_tokens\":3,\"cost\":3.5e-06}}\n\ndata: [DONE]\n\n",
        );
        check(
            "event: message_delta\r\ndata: {\"usage\": {} , \"x\": 1}\r\n\r\n",
            "event: message_delta\r\ndata: {\"usage\": {\"cost\":3.5e-06} , \"x\": 1}\r\n\r\n",
        );
        check(
            "data: {\"response\":{\"usage\":{\"a\":{\"b\":1}}}}\n\n",
            "data: {\"response\":{\"usage\":{\"a\":{\"b\":1},\"cost\":3.5e-06}}}\n\n",
        );
        check(
            "data: {\"usage\":{\"cost\":0.7,\"a\":1}}\n\n",
            "data: {\"usage\":{\"cost\":3.5e-06,\"a\":1}}\n\n",
        );
    }

    #[test]
    fn everything_else_stays_as_it_is() {
        for same in [
            "",
            ": a comment\n\n",
            "data: {\"usage\":null}\n\n",
            "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":1}}}\n\n",
            "data: {\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\":{}\"}}]}\n\n",
            "data: {\"usage\":{\n\n",
            "data: {\"a\":1,\ndata: \"usage\":{}}\n\n",
            "\n\ndata: {\"usage\":{\"a\":1}}",
        ] {
            check(same, same);
        }
    }
}
