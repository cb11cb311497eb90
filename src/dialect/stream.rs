//! The tap on a stream of server-sent events in the client's own dialect: looks at each event as it passes, keeps usage
//! and the end, and replaces, hides or passes it. The framing (where an event starts and ends) is done elsewhere.

use std::borrow::Cow;

use super::openai_chat::response::{ResponseRules, edit_finish_reason, finish_reason};
use super::scan::{Field, Scan, Span, decode_string, scan};
use super::splice::{Edits, Members};
use super::template::Template;
use super::usage::Usage;
use super::walk::{self, FieldList};
use crate::error::{ErrorClass, GatewayError, push_json_string};

/// What the relay does with an event.
#[derive(Debug)]
pub enum EventAction {
    /// Relays the event as it came.
    Pass,
    /// Relays what the tap wrote: whole frames, `data: ` and the empty line included.
    Replace,
    /// Relays nothing.
    Hide,
    /// Ends the stream with this error.
    Error(GatewayError),
    /// The end mark; relays what the tap wrote, the mark included, and ends.
    Done,
}

/// Which events a stream has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// Chunks of chat completions.
    Chat,
    /// Chunks of text completions.
    Completions,
    /// Events of the Responses API.
    Responses,
    /// Events that pass as they are.
    Opaque,
}

/// What a string of an event is that the next one may differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Text,
    Padding,
}

/// The start of an event's line.
const DATA: &[u8] = b"data: ";

/// The state of one stream.
#[derive(Debug)]
pub struct StreamTap {
    kind: StreamKind,
    rules: &'static ResponseRules,
    label: &'static str,
    /// The model for the client, as JSON; empty leaves the provider's.
    model: Box<[u8]>,
    usage_asked: bool,
    usage: Option<Box<Usage>>,
    /// The provider's usage object that still has to be sent in a chunk of its own.
    usage_to_send: Vec<u8>,
    /// `"id":...,"created":...,` of the last chunk, for that chunk.
    head: Vec<u8>,
    finish_reason: Option<String>,
    text_bytes: u64,
    is_done: bool,
    /// The chunk at hand says more than text: a finish reason, usage, reasoning under two names.
    is_last: bool,
    edits: Edits,
    template: Template,
    /// The strings of the event at hand that the next one may differ in.
    strings: Vec<(Span, Part)>,
}

impl StreamTap {
    /// A tap for one stream. `model` is the name for the client, `None` leaves the provider's; `label` names the provider
    /// in errors.
    pub fn new(
        kind: StreamKind,
        rules: &'static ResponseRules,
        label: &'static str,
        model: Option<&str>,
        usage_asked: bool,
    ) -> Self {
        let mut json = Vec::new();
        if let Some(model) = model {
            push_json_string(&mut json, model);
        }
        Self {
            kind,
            rules,
            label,
            model: json.into_boxed_slice(),
            usage_asked,
            usage: None,
            usage_to_send: Vec::new(),
            head: Vec::new(),
            finish_reason: None,
            text_bytes: 0,
            is_done: false,
            is_last: false,
            edits: Edits::new(),
            template: Template::default(),
            strings: Vec::new(),
        }
    }

    /// Looks at one event: the value of its `event:` line, empty without one, and its data. On `Replace` and `Done` what
    /// has to be relayed stands in `out`, which is cleared first.
    pub fn event(&mut self, name: &[u8], data: &[u8], out: &mut Vec<u8>) -> EventAction {
        out.clear();
        if data == b"[DONE]" {
            self.is_done = true;
            self.push_usage(out);
            out.extend_from_slice(b"data: [DONE]\n\n");
            return EventAction::Done;
        }
        if data.is_empty() || self.kind == StreamKind::Opaque {
            return EventAction::Pass;
        }
        if let Some(text) = self.template.apply(data, out) {
            self.text_bytes += text as u64;
            return EventAction::Replace;
        }
        let chunk = match scan(data) {
            Ok(chunk) => chunk,
            Err(error) => {
                return EventAction::Error(
                    self.broken(&format!("unreadable event in the stream: {error}")),
                );
            }
        };
        if self.kind == StreamKind::Responses {
            return self.response_event(name, data, &chunk, out);
        }
        if let Some(error) = chunk
            .find(data, "error")
            .map(|index| chunk.fields()[index].value)
            && !walk::is_null(data, error)
        {
            return EventAction::Error(self.upstream_error(data, error));
        }
        self.chunk(data, &chunk, out)
    }

    /// The provider closed the stream. Writes what is missing of a whole one to `out`, and says whether it was whole: an
    /// end mark or a finish reason was there.
    pub fn ended(&mut self, out: &mut Vec<u8>) -> bool {
        out.clear();
        if self.is_done {
            return true;
        }
        if self.finish_reason.is_none() {
            return self.kind == StreamKind::Opaque;
        }
        self.is_done = true;
        if self.kind != StreamKind::Responses {
            self.push_usage(out);
            out.extend_from_slice(b"data: [DONE]\n\n");
        }
        true
    }

    /// Tokens, as far as the provider said.
    pub fn usage(&self) -> Option<Usage> {
        self.usage.as_deref().copied()
    }

    /// Why the first choice ended.
    pub fn finish_reason(&self) -> Option<&str> {
        self.finish_reason.as_deref()
    }

    /// Bytes of the answer's text, reasoning and tool arguments that have passed, as JSON has them.
    pub fn text_bytes(&self) -> u64 {
        self.text_bytes
    }

    /// Whether the end mark has passed.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    fn broken(&self, text: &str) -> GatewayError {
        GatewayError::new(
            ErrorClass::ApiConnection,
            format!(
                "litellm.APIConnectionError: APIConnectionError: {}Exception - {text}",
                self.label
            ),
        )
    }

    /// An error that the provider sends in the stream. A numeric `code` is its status.
    fn upstream_error(&self, data: &[u8], error: Span) -> GatewayError {
        let message =
            walk::member(data, error, "message").and_then(|value| decode_string(value.of(data)));
        let message = message.unwrap_or_else(|| String::from_utf8_lossy(error.of(data)));
        let code = walk::member(data, error, "code").and_then(|value| walk::unsigned(data, value));
        match code
            .and_then(|code| u16::try_from(code).ok())
            .filter(|code| (400..600).contains(code))
        {
            Some(status) => {
                let text = format!(
                    "litellm.APIError: APIError: {}Exception - {message}",
                    self.label
                );
                GatewayError::new(ErrorClass::Api, text).with_status(status)
            }
            None => self.broken(&message),
        }
    }

    fn chunk(&mut self, data: &[u8], chunk: &Scan, out: &mut Vec<u8>) -> EventAction {
        let mut edits = std::mem::take(&mut self.edits);
        edits.clear();
        self.strings.clear();
        self.is_last = false;
        let mut members = Members::new();
        let mut choices = 0usize;
        let mut usage_index = None;
        for (index, field) in chunk.fields().iter().enumerate() {
            if walk::is_null(data, field.value) {
                members.remove(index);
                continue;
            }
            match chunk.name(data, index) {
                b"model" if !self.model.is_empty() => edits.replace(field.value, &self.model),
                b"choices" => {
                    for (choice, fields) in walk::objects(data, field.value) {
                        choices += 1;
                        self.choice(data, choice, fields.as_slice(), &mut edits);
                    }
                }
                b"usage" => {
                    self.usage = Usage::read(data, field.value).map(Box::new);
                    usage_index = Some(index);
                }
                b"obfuscation" => self.strings.push((field.value, Part::Padding)),
                b"x_groq" => self.groq(data, field.value, index, &mut members),
                b"id"
                | b"object"
                | b"created"
                | b"model"
                | b"system_fingerprint"
                | b"service_tier" => {}
                name if self
                    .rules
                    .stream_drops
                    .iter()
                    .any(|drop| drop.as_bytes() == name) =>
                {
                    members.remove(index)
                }
                _ => {}
            }
        }
        let action = self.place_usage(data, chunk, choices, usage_index, &mut members);
        if matches!(action, EventAction::Replace) {
            members.apply(chunk.object, chunk.fields(), &mut edits);
            out.extend_from_slice(DATA);
            edits.copy_into(data, out);
            out.extend_from_slice(b"\n\n");
        }
        // Only chunks that changed nothing but `text_bytes` may be repeated unseen.
        if choices == 1
            && usage_index.is_none()
            && !self.is_last
            && self.kind != StreamKind::Responses
        {
            self.remember(data, out, &edits);
        } else {
            self.template.forget();
        }
        if !self.template.is_set() {
            // Events will go on being edited one by one.
            self.edits = edits;
        }
        action
    }

    /// Keeps the event and what became of it as a template of the next ones.
    fn remember(&mut self, data: &[u8], out: &[u8], edits: &Edits) {
        let moved = self.strings.iter().map(|(span, part)| {
            let place = DATA.len() + edits.moved(span.start);
            (*span, place, *part == Part::Text)
        });
        self.template.remember(data, out, moved);
    }

    /// Usage goes out in a chunk without choices, and only to a client that asked. Chunks with neither are hidden.
    fn place_usage(
        &mut self,
        data: &[u8],
        chunk: &Scan,
        choices: usize,
        usage: Option<usize>,
        members: &mut Members,
    ) -> EventAction {
        let Some(index) = usage else {
            if choices > 0 {
                self.keep_head(data, chunk);
            }
            // An empty chunk (Azure's verdict on the prompt) passes to those who expect empty chunks.
            return if choices == 0 && !self.usage_asked {
                EventAction::Hide
            } else {
                EventAction::Replace
            };
        };
        let span = chunk.fields()[index].value;
        if choices == 0 {
            self.usage_to_send.clear();
            if !self.usage_asked {
                return EventAction::Hide;
            }
            if let Some(details) = self.missing_details(data, span) {
                members.remove(index);
                members.add("usage", &details);
            }
            return EventAction::Replace;
        }
        members.remove(index);
        self.keep_head(data, chunk);
        if self.usage_asked {
            self.usage_to_send.clear();
            self.usage_to_send.extend_from_slice(span.of(data));
        }
        EventAction::Replace
    }

    /// The usage object with `completion_tokens_details`, where the provider gives no details at all.
    fn missing_details(&self, data: &[u8], span: Span) -> Option<Vec<u8>> {
        let usage = self
            .usage
            .as_deref()
            .filter(|_| self.kind == StreamKind::Chat)?;
        let missing = walk::member(data, span, "completion_tokens_details").is_none()
            && walk::member(data, span, "prompt_tokens_details").is_none()
            && self.has_text_only();
        missing.then(|| {
            let mut out = span.of(data).trim_ascii_end().to_vec();
            out.pop();
            let text = usage.completion_tokens - usage.reasoning_tokens.min(usage.completion_tokens);
            out.extend_from_slice(
                format!(
                    r#","completion_tokens_details":{{"reasoning_tokens":{},"text_tokens":{text}}}}}"#,
                    usage.reasoning_tokens
                )
                .as_bytes(),
            );
            out
        })
    }

    fn has_text_only(&self) -> bool {
        self.finish_reason.as_deref() != Some("tool_calls")
    }

    /// Keeps what a usage chunk of our own repeats.
    fn keep_head(&mut self, data: &[u8], chunk: &Scan) {
        if !self.usage_asked || !self.head.is_empty() {
            return;
        }
        for name in ["id", "created"] {
            if let Some(value) = chunk.value(data, name) {
                self.head
                    .extend_from_slice(format!("\"{name}\":").as_bytes());
                self.head.extend_from_slice(value);
                self.head.push(b',');
            }
        }
    }

    /// The usage chunk for a provider that sent its usage elsewhere.
    fn push_usage(&mut self, out: &mut Vec<u8>) {
        if self.usage_to_send.is_empty() {
            return;
        }
        out.extend_from_slice(b"data: {");
        out.extend_from_slice(&self.head);
        if !self.model.is_empty() {
            out.extend_from_slice(b"\"model\":");
            out.extend_from_slice(&self.model);
            out.push(b',');
        }
        let object = if self.kind == StreamKind::Chat {
            "chat.completion.chunk"
        } else {
            "text_completion"
        };
        out.extend_from_slice(
            format!("\"object\":\"{object}\",\"choices\":[],\"usage\":").as_bytes(),
        );
        out.append(&mut self.usage_to_send);
        out.extend_from_slice(b"}\n\n");
    }

    /// Groq's envelope: its usage is ours, the rest is left out.
    fn groq(&mut self, data: &[u8], span: Span, index: usize, members: &mut Members) {
        members.remove(index);
        self.is_last = true;
        let Some(usage) = walk::member(data, span, "usage") else {
            return;
        };
        self.usage = Usage::read(data, usage).map(Box::new);
        if self.usage_asked {
            self.usage_to_send.clear();
            self.usage_to_send.extend_from_slice(usage.of(data));
        }
    }

    fn choice(&mut self, data: &[u8], choice: Span, fields: &[Field], edits: &mut Edits) {
        let mut members = Members::new();
        let mut finished = false;
        for (index, field) in fields.iter().enumerate() {
            if walk::is_null(data, field.value) {
                members.remove(index);
                continue;
            }
            match walk::name_of(data, *field) {
                b"delta" => self.delta(data, field.value, edits),
                b"text" => self.text(field.value),
                b"finish_reason" => {
                    finished = true;
                    self.is_last = true;
                    if self.finish_reason.is_none()
                        && let Some(reason) = decode_string(field.value.of(data))
                    {
                        let reason = finish_reason(&reason).map_or(reason, Cow::Borrowed);
                        self.finish_reason = Some(reason.into_owned());
                    }
                    edit_finish_reason(data, field.value, edits);
                }
                _ => {}
            }
        }
        if finished && self.rules.drop_last_filter {
            let filter = |field: &Field| walk::name_of(data, *field) == b"content_filter_results";
            if let Some(index) = fields.iter().position(filter) {
                members.remove(index);
            }
        }
        members.apply(choice, fields, edits);
    }

    fn delta(&mut self, data: &[u8], delta: Span, edits: &mut Edits) {
        let fields = FieldList::of(data, delta);
        let mut members = Members::new();
        let mut reasoning = None;
        for (index, field) in fields.as_slice().iter().enumerate() {
            if walk::is_null(data, field.value) {
                members.remove(index);
                continue;
            }
            match walk::name_of(data, *field) {
                b"role" => {}
                b"tool_calls" => {
                    for call in walk::elements(data, field.value) {
                        edit_call(data, call, edits);
                        if let Some(text) = walk::path(data, call, &["function", "arguments"]) {
                            self.text(text);
                        }
                    }
                }
                b"reasoning" => {
                    self.count(field.value);
                    self.is_last = true;
                    reasoning = Some(field.value).filter(|_| reasoning.is_none());
                }
                b"content" | b"reasoning_content" => self.text(field.value),
                _ => self.count(field.value),
            }
        }
        if let Some(reasoning) = reasoning
            && !fields
                .as_slice()
                .iter()
                .any(|field| walk::name_of(data, *field) == b"reasoning_content")
        {
            members.add("reasoning_content", reasoning.of(data));
        }
        members.apply(delta, fields.as_slice(), edits);
    }

    /// A text of the answer, which the next chunk will have in the same place.
    fn text(&mut self, span: Span) {
        self.count(span);
        self.strings.push((span, Part::Text));
    }

    /// Counts a value's bytes, without its quotes.
    fn count(&mut self, span: Span) {
        self.text_bytes += u64::from((span.end - span.start).saturating_sub(2));
    }

    fn response_event(
        &mut self,
        name: &[u8],
        data: &[u8],
        event: &Scan,
        out: &mut Vec<u8>,
    ) -> EventAction {
        let kind = event.value(data, "type").unwrap_or(name);
        match kind {
            b"\"error\"" => return EventAction::Error(self.upstream_error(data, event.object)),
            b"\"response.failed\"" => {
                let error =
                    walk::path(data, event.object, &["response", "error"]).unwrap_or(event.object);
                self.is_done = true;
                return EventAction::Error(self.upstream_error(data, error));
            }
            b"\"response.completed\"" => self.finish_reason = Some("stop".to_owned()),
            b"\"response.incomplete\"" => self.finish_reason = Some("length".to_owned()),
            _ if kind.ends_with(b".delta\"") => {
                if let Some(text) = walk::member(data, event.object, "delta") {
                    self.count(text);
                }
            }
            _ => {}
        }
        let Some(response) = walk::member(data, event.object, "response") else {
            return EventAction::Pass;
        };
        if let Some(usage) = walk::member(data, response, "usage") {
            self.usage = Usage::read(data, usage).map(Box::new).or(self.usage.take());
        }
        let Some(model) = walk::member(data, response, "model").filter(|_| !self.model.is_empty())
        else {
            return EventAction::Pass;
        };
        self.edits.clear();
        self.edits.replace(model, &self.model);
        if !name.is_empty() {
            out.extend_from_slice(b"event: ");
            out.extend_from_slice(name);
            out.push(b'\n');
        }
        out.extend_from_slice(b"data: ");
        self.edits.copy_into(data, out);
        out.extend_from_slice(b"\n\n");
        EventAction::Replace
    }
}

/// Tool calls have a type in every delta.
fn edit_call(data: &[u8], call: Span, edits: &mut Edits) {
    let has_type = walk::member(data, call, "type").is_some_and(|kind| !walk::is_null(data, kind));
    let fields = FieldList::of(data, call);
    let mut members = Members::new();
    for (index, field) in fields.as_slice().iter().enumerate() {
        if walk::is_null(data, field.value) {
            members.remove(index);
        }
    }
    if !has_type {
        members.add("type", b"\"function\"");
    }
    members.apply(call, fields.as_slice(), edits);
}

#[cfg(test)]
mod tests {
    use super::*;

    static RULES: ResponseRules = ResponseRules::PLAIN;

    fn tap(kind: StreamKind, usage_asked: bool) -> StreamTap {
        StreamTap::new(kind, &RULES, "OpenAI", Some("alias"), usage_asked)
    }

    fn chunk(choice: &str, more: &str) -> String {
        format!(
            r#"{{"id":"c1","created":1,"model":"up","choices":[{{"index":0,{choice}}}]{more}}}"#
        )
    }

    /// The text that is relayed for `events`, `!` for an error.
    fn relayed(tap: &mut StreamTap, events: &[String]) -> Vec<String> {
        let mut out = Vec::new();
        let relay = |event: &String| match tap.event(b"", event.as_bytes(), &mut out) {
            EventAction::Pass => event.clone(),
            EventAction::Replace | EventAction::Done => String::from_utf8(out.clone()).unwrap(),
            EventAction::Hide => String::new(),
            EventAction::Error(error) => format!("!{error}"),
        };
        events.iter().map(relay).collect()
    }

    fn stream() -> Vec<String> {
        let mut events = vec![chunk(
            r#""delta":{"role":"assistant","content":""},"finish_reason":null"#,
            "",
        )];
        for text in ["a", "", "b \\\"q\\\" \\n", "日本", "c"] {
            events.push(chunk(
                &format!(r#""delta":{{"content":"{text}"}},"finish_reason":null,"logprobs":null"#),
                "",
            ));
        }
        for text in ["{", "\\\"x\\\"", "}"] {
            let call = format!(r#"{{"index":0,"function":{{"arguments":"{text}"}}}}"#);
            events.push(chunk(
                &format!(r#""delta":{{"tool_calls":[{call}]}},"finish_reason":null"#),
                "",
            ));
        }
        for pad in ["x", "yy", ""] {
            events.push(chunk(
                r#""delta":{"content":"p"}"#,
                &format!(r#","obfuscation":"{pad}""#),
            ));
        }
        events.push(chunk(r#""delta":{},"finish_reason":"stop""#, ""));
        events.push(r#"{"id":"c1","model":"up","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#.to_owned());
        events.push("[DONE]".to_owned());
        events
    }

    #[test]
    fn a_template_makes_no_difference() {
        let events = stream();
        let mut whole = tap(StreamKind::Chat, false);
        let mut slow = tap(StreamKind::Chat, false);
        for event in &events {
            slow.template.forget();
            let one = std::slice::from_ref(event);
            assert_eq!(relayed(&mut whole, one), relayed(&mut slow, one), "{event}");
            assert_eq!(whole.text_bytes(), slow.text_bytes());
        }
        assert_eq!(whole.finish_reason(), Some("stop"));
        assert_eq!(whole.usage().map(|usage| usage.total_tokens), Some(7));
        assert!(whole.is_done());
    }

    #[test]
    fn chunks_get_the_alias_and_lose_their_nulls() {
        let events = stream();
        let out = relayed(&mut tap(StreamKind::Chat, false), &events);
        assert_eq!(
            out[1],
            "data: {\"id\":\"c1\",\"created\":1,\"model\":\"alias\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n"
        );
        assert!(
            out[6].contains(r#""arguments":"{"},"type":"function"}"#),
            "{}",
            out[6]
        );
        assert_eq!(out[events.len() - 2], "", "nobody asked for usage");
        let asked = relayed(&mut tap(StreamKind::Chat, true), &events);
        assert!(
            asked[events.len() - 2].contains("\"prompt_tokens\":3"),
            "{}",
            asked[events.len() - 2]
        );
    }

    #[test]
    fn usage_beside_a_choice_gets_a_chunk_of_its_own() {
        let usage = r#","usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}"#;
        let events = [
            chunk(r#""delta":{"content":"a"},"finish_reason":"stop""#, usage),
            "[DONE]".to_owned(),
        ];
        let out = relayed(&mut tap(StreamKind::Chat, true), &events);
        assert!(!out[0].contains("usage"), "{}", out[0]);
        assert!(
            out[1].starts_with("data: {\"id\":\"c1\",\"created\":1,\"model\":\"alias\",")
                && out[1].ends_with("data: [DONE]\n\n")
        );
        let out = relayed(&mut tap(StreamKind::Chat, false), &events);
        assert_eq!(out[1], "data: [DONE]\n\n");
    }

    #[test]
    fn an_error_in_a_stream_is_an_error() {
        let events =
            [r#"{"error":{"message":"down","type":"server_error","code":null}}"#.to_owned()];
        let out = relayed(&mut tap(StreamKind::Chat, false), &events);
        assert_eq!(
            out[0],
            "!litellm.APIConnectionError: APIConnectionError: OpenAIException - down"
        );
        let out = relayed(&mut tap(StreamKind::Chat, false), &["{\"id\":".to_owned()]);
        assert!(
            out[0].starts_with("!litellm.APIConnectionError"),
            "{}",
            out[0]
        );
    }

    #[test]
    fn the_end_is_told_from_a_cut() {
        let mut out = Vec::new();
        let mut cut = tap(StreamKind::Chat, false);
        relayed(&mut cut, &stream()[..3]);
        assert!(!cut.ended(&mut out) && out.is_empty());
        let mut finished = tap(StreamKind::Chat, false);
        relayed(&mut finished, &stream()[..13]);
        assert!(finished.ended(&mut out));
        assert_eq!(out, b"data: [DONE]\n\n");
    }

    #[test]
    fn responses_keep_their_events_and_get_the_alias() {
        let mut tap = tap(StreamKind::Responses, false);
        let mut out = Vec::new();
        let created =
            br#"{"type":"response.created","response":{"id":"r","model":"up","usage":null}}"#;
        assert!(matches!(
            tap.event(b"response.created", created, &mut out),
            EventAction::Replace
        ));
        assert_eq!(
            String::from_utf8_lossy(&out),
            "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"r\",\"model\":\"alias\",\"usage\":null}}\n\n"
        );
        let delta = br#"{"type":"response.output_text.delta","delta":"x"}"#;
        assert!(matches!(
            tap.event(b"response.output_text.delta", delta, &mut out),
            EventAction::Pass
        ));
        let completed = br#"{"type":"response.completed","response":{"model":"up","usage":{"input_tokens":2,"output_tokens":5}}}"#;
        tap.event(b"response.completed", completed, &mut out);
        assert_eq!(
            tap.usage()
                .map(|usage| (usage.prompt_tokens, usage.completion_tokens)),
            Some((2, 5))
        );
        assert!(tap.text_bytes() > 0 && tap.ended(&mut out));
    }

    #[test]
    fn damaged_chunks_do_no_harm() {
        let mut out = Vec::new();
        for event in stream() {
            for at in 0..event.len() {
                let mut damaged = event.clone().into_bytes();
                for byte in [b'{', b'"', b']', 0] {
                    damaged[at] = byte;
                    tap(StreamKind::Chat, true).event(b"", &damaged, &mut out);
                }
                tap(StreamKind::Chat, true).event(b"", &event.as_bytes()[..at], &mut out);
            }
        }
    }
}
