//! What the mock upstream does and says, as a pure function of the request: the scenario's grammar,
//! the filler text and the JSON of each event. The load generator calls the same functions to know
//! every byte that must arrive. No socket, no clock.

use std::fmt::Write as _;

/// Seconds; constant, so that answers are reproducible.
pub(crate) const CREATED_S: u64 = 1_700_000_000;
/// Digits of the number in an answer's id.
pub(crate) const ID_DIGITS: usize = 16;

const FILLER: &[u8] =
    b"the quick brown fox jumps over the lazy dog while shards relay tokens in order ";

/// What goes wrong, and where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    #[default]
    None,
    /// Accepts the request and never answers.
    Hang,
    /// RST instead of an answer.
    Reset,
    /// FIN instead of an answer.
    Close,
    /// Half of the answer, then FIN.
    Truncate,
    /// An event whose data is not JSON.
    BadSse,
    /// A 200 whose body is not JSON.
    BadJson,
    /// An event with an error object after half of the content events, then the end.
    ErrorMidstream,
    /// Half of the content events, then silence.
    HangMidstream,
    /// Half of the content events, then RST.
    ResetMidstream,
    /// All events but no `[DONE]`.
    NoDone,
    /// An HTML page, as proxies in between send them.
    Html,
    /// A 200 with no body.
    Empty,
}

/// How latencies spread around `latency_us`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Spread {
    #[default]
    Fixed,
    /// Between half and one and a half times.
    Uniform,
    /// Exponential with that mean.
    Exponential,
}

/// Everything that decides an answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scenario {
    pub(crate) latency_us: u64,
    pub(crate) spread: Spread,
    /// Content events (or audio pieces) of a streamed answer.
    pub(crate) chunks: u32,
    /// Bytes of text in each.
    pub(crate) chunk_bytes: usize,
    /// Microseconds between them; 0 sends them back to back.
    pub(crate) cadence_us: u64,
    /// Events written by one write.
    pub(crate) burst: u32,
    /// Bytes of the whole JSON body of a chat answer that is not streamed.
    pub(crate) answer_bytes: usize,
    pub(crate) fault: Fault,
    /// An error status, or 200.
    pub(crate) status: u16,
    /// Part of the requests that get `status` or `fault`, 0 to 1.
    pub(crate) fail_rate: f64,
    /// Only that many requests per model fail, then all succeed.
    pub(crate) fail_times: Option<u32>,
    pub(crate) retry_after_s: Option<u32>,
    /// Answers on one connection before it is closed without notice.
    pub(crate) close_after: Option<u32>,
    pub(crate) prompt_tokens: u64,
    pub(crate) completion_tokens: Option<u64>,
    pub(crate) cached_tokens: u64,
    pub(crate) tools: bool,
    pub(crate) reasoning: bool,
    /// An SSE comment before each content event.
    pub(crate) comments: bool,
    pub(crate) finish_reason: &'static str,
    /// OpenAI's error code for a 400 (`context_length_exceeded`, `content_policy_violation`).
    pub(crate) error_code: Option<&'static str>,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            latency_us: 0,
            spread: Spread::Fixed,
            chunks: 10,
            chunk_bytes: 8,
            cadence_us: 0,
            burst: 1,
            answer_bytes: 600,
            fault: Fault::None,
            status: 200,
            fail_rate: 1.0,
            fail_times: None,
            retry_after_s: None,
            close_after: None,
            prompt_tokens: 12,
            completion_tokens: None,
            cached_tokens: 0,
            tools: false,
            reasoning: false,
            comments: false,
            finish_reason: "stop",
            error_code: None,
        }
    }
}

impl Scenario {
    /// Applies the words after `mock-` in a model name, such as `chunks-50-cadence-20` or
    /// `status-429-retry-7`. Unknown words are skipped: they may belong to the model's name.
    pub(crate) fn apply_model(&mut self, model: &str) {
        if let Some(at) = model.rfind("mock-") {
            self.apply(&model[at + 5..]);
        }
    }

    /// Applies words joined by `-`.
    pub(crate) fn apply(&mut self, text: &str) {
        let mut words = text.split('-').peekable();
        while let Some(word) = words.next() {
            let value = words.peek().copied().unwrap_or("");
            if self.apply_number(word, value) || self.apply_pair(word, value) {
                words.next();
            } else {
                self.apply_flag(word);
            }
        }
    }

    fn apply_number(&mut self, word: &str, value: &str) -> bool {
        let Ok(number) = value.parse::<u64>() else {
            return false;
        };
        let small = u32::try_from(number).unwrap_or(u32::MAX);
        match word {
            "latency" => self.latency_us = number.saturating_mul(1000),
            "cadence" => self.cadence_us = number.saturating_mul(1000),
            "chunks" => self.chunks = small,
            "bytes" => self.chunk_bytes = usize::try_from(number).unwrap_or(8),
            "burst" => self.burst = small.max(1),
            "answer" => self.answer_bytes = usize::try_from(number).unwrap_or(600),
            "status" => self.status = u16::try_from(number).unwrap_or(500).clamp(200, 599),
            "rate" => self.fail_rate = number as f64 / 100.0,
            "times" => self.fail_times = Some(small),
            "retry" => self.retry_after_s = Some(small),
            "close" => self.close_after = Some(small),
            "prompt" => self.prompt_tokens = number,
            "completion" => self.completion_tokens = Some(number),
            "cached" => self.cached_tokens = number,
            _ => return false,
        }
        true
    }

    fn apply_pair(&mut self, word: &str, value: &str) -> bool {
        self.fault = match (word, value) {
            ("error", "midstream") => Fault::ErrorMidstream,
            ("hang", "midstream") => Fault::HangMidstream,
            ("reset", "midstream") => Fault::ResetMidstream,
            _ => return false,
        };
        true
    }

    fn apply_flag(&mut self, word: &str) {
        match word {
            "exp" => self.spread = Spread::Exponential,
            "uniform" => self.spread = Spread::Uniform,
            "hang" => self.fault = Fault::Hang,
            "reset" => self.fault = Fault::Reset,
            "close" => self.fault = Fault::Close,
            "truncate" => self.fault = Fault::Truncate,
            "badsse" => self.fault = Fault::BadSse,
            "badjson" => self.fault = Fault::BadJson,
            "nodone" => self.fault = Fault::NoDone,
            "html" => self.fault = Fault::Html,
            "empty" => self.fault = Fault::Empty,
            "tools" => self.tools = true,
            "reasoning" => self.reasoning = true,
            "comments" => self.comments = true,
            "length" => self.finish_reason = "length",
            "filter" => self.finish_reason = "content_filter",
            "context" => self.fail_with(400, "context_length_exceeded"),
            "policy" => self.fail_with(400, "content_policy_violation"),
            _ => {}
        }
    }

    fn fail_with(&mut self, status: u16, code: &'static str) {
        self.status = status;
        self.error_code = Some(code);
    }

    /// Whether an answer may differ from the plain one.
    pub(crate) fn may_fail(&self) -> bool {
        self.status != 200 || self.fault != Fault::None
    }

    /// The same without its failure.
    pub(crate) fn without_failure(&self) -> Self {
        Self {
            fault: Fault::None,
            status: 200,
            ..self.clone()
        }
    }

    pub(crate) fn completion_tokens(&self) -> u64 {
        self.completion_tokens.unwrap_or(u64::from(self.chunks))
    }

    /// OpenAI's usage object.
    pub(crate) fn usage_json(&self, out: &mut String) {
        let (prompt, completion) = (self.prompt_tokens, self.completion_tokens());
        let reasoning = if self.reasoning { completion / 2 } else { 0 };
        let _ = write!(
            out,
            "{{\"prompt_tokens\":{prompt},\"completion_tokens\":{completion},\"total_tokens\":{},\
             \"prompt_tokens_details\":{{\"cached_tokens\":{},\"audio_tokens\":0}},\
             \"completion_tokens_details\":{{\"reasoning_tokens\":{reasoning},\"audio_tokens\":0,\
             \"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}}}",
            prompt + completion,
            self.cached_tokens
        );
    }
}

/// `bytes` of text that needs no escaping in JSON and starts with `index`.
pub(crate) fn filler(index: u32, bytes: usize, out: &mut String) {
    let start = out.len();
    let _ = write!(out, "{index:06} ");
    out.truncate(start + bytes.min(out.len() - start));
    let mut left = bytes - (out.len() - start);
    let mut at = index as usize % FILLER.len();
    while left > 0 {
        let piece = &FILLER[at..FILLER.len().min(at + left)];
        out.extend(piece.iter().map(|byte| char::from(*byte)));
        left -= piece.len();
        at = 0;
    }
}

/// A JSON string with its quotes.
pub(crate) fn quote(text: &str, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if u32::from(control) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            plain => out.push(plain),
        }
    }
    out.push('"');
}

/// A chat answer of `scenario.answer_bytes` (or the least that its envelope needs).
pub(crate) fn chat_answer(scenario: &Scenario, id: u64, model: &str, out: &mut String) {
    let start = out.len();
    let _ = write!(
        out,
        "{{\"id\":\"chatcmpl-{id:016x}\",\"object\":\"chat.completion\",\"created\":{CREATED_S},\"model\":"
    );
    quote(model, out);
    out.push_str(",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":");
    let mut tail = String::with_capacity(512);
    chat_answer_tail(scenario, &mut tail);
    if scenario.tools {
        out.push_str("null");
    } else {
        let envelope = out.len() - start + tail.len() + 2;
        out.push('"');
        filler(0, scenario.answer_bytes.saturating_sub(envelope), out);
        out.push('"');
    }
    out.push_str(&tail);
}

fn chat_answer_tail(scenario: &Scenario, out: &mut String) {
    if scenario.reasoning {
        out.push_str(",\"reasoning_content\":\"thinking\"");
    }
    if scenario.tools {
        out.push_str(
            ",\"tool_calls\":[{\"id\":\"call_mock\",\"type\":\"function\",\"function\":\
             {\"name\":\"get_weather\",\"arguments\":\"{\\\"city\\\":\\\"Paris\\\"}\"}}]",
        );
    }
    let finish = if scenario.tools {
        "tool_calls"
    } else {
        scenario.finish_reason
    };
    let _ = write!(
        out,
        ",\"refusal\":null,\"annotations\":[]}},\"logprobs\":null,\"finish_reason\":\"{finish}\"}}],\"usage\":"
    );
    scenario.usage_json(out);
    out.push_str(",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_mock\"}");
}

/// Which family of events a stream consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamKind {
    Chat,
    Completion,
    Responses,
    /// Raw bytes, no events.
    Audio,
}

/// One streamed answer. Events are numbered: 0 opens (the role), 1 to `chunks` are content, then
/// come those of the end.
#[derive(Clone, Debug)]
pub(crate) struct StreamScript {
    pub(crate) kind: StreamKind,
    pub(crate) scenario: Scenario,
    pub(crate) id: u64,
    pub(crate) model: String,
    pub(crate) include_usage: bool,
}

/// Where an event stands in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventIndex {
    Open,
    /// From 1.
    Content(u32),
    Finish,
    Usage,
    Done,
}

impl StreamScript {
    /// What follows `index`, or `None` at the end.
    pub(crate) fn after(&self, index: EventIndex) -> Option<EventIndex> {
        let finish = if self.kind == StreamKind::Audio {
            None
        } else {
            Some(EventIndex::Finish)
        };
        match index {
            EventIndex::Open if self.scenario.chunks > 0 => Some(EventIndex::Content(1)),
            EventIndex::Open => finish,
            EventIndex::Content(n) if n < self.scenario.chunks => Some(EventIndex::Content(n + 1)),
            EventIndex::Content(_) => finish,
            EventIndex::Finish if self.kind == StreamKind::Responses => None,
            EventIndex::Finish if self.include_usage => Some(EventIndex::Usage),
            EventIndex::Finish | EventIndex::Usage => Some(EventIndex::Done),
            EventIndex::Done => None,
        }
    }

    /// Appends the event with its `data:` and its blank line; for audio, the raw bytes.
    pub(crate) fn event(&self, index: EventIndex, out: &mut String) {
        match self.kind {
            StreamKind::Chat => self.chat_event(index, out),
            StreamKind::Completion => self.completion_event(index, out),
            StreamKind::Responses => self.responses_event(index, out),
            StreamKind::Audio => {
                if let EventIndex::Content(n) = index {
                    filler(n, self.scenario.chunk_bytes, out);
                }
            }
        }
    }

    fn chat_event(&self, index: EventIndex, out: &mut String) {
        if index == EventIndex::Done {
            out.push_str("data: [DONE]\n\n");
            return;
        }
        let _ = write!(
            out,
            "data: {{\"id\":\"chatcmpl-{:016x}\",\"object\":\"chat.completion.chunk\",\"created\":{CREATED_S},\"model\":",
            self.id
        );
        quote(&self.model, out);
        out.push_str(
            ",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_mock\",\"choices\":[",
        );
        if index == EventIndex::Usage {
            out.push_str("],\"usage\":");
            self.scenario.usage_json(out);
            out.push_str("}\n\n");
            return;
        }
        out.push_str("{\"index\":0,\"delta\":");
        self.chat_delta(index, out);
        let finish = match index {
            EventIndex::Finish if self.scenario.tools => "\"tool_calls\"",
            EventIndex::Finish => match self.scenario.finish_reason {
                "length" => "\"length\"",
                "content_filter" => "\"content_filter\"",
                _ => "\"stop\"",
            },
            _ => "null",
        };
        let _ = write!(out, ",\"logprobs\":null,\"finish_reason\":{finish}}}]");
        self.usage_null(out);
    }

    fn chat_delta(&self, index: EventIndex, out: &mut String) {
        match index {
            EventIndex::Open if self.scenario.tools => out.push_str(
                "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"index\":0,\
                 \"id\":\"call_mock\",\"type\":\"function\",\"function\":{\"name\":\
                 \"get_weather\",\"arguments\":\"\"}}]}",
            ),
            EventIndex::Open => {
                out.push_str("{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}");
            }
            EventIndex::Content(n) if self.scenario.tools => {
                out.push_str("{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"");
                out.push_str(self.tool_piece(n));
                out.push_str("\"}}]}");
            }
            EventIndex::Content(n) => {
                let thinks = self.scenario.reasoning && n <= self.scenario.chunks / 2;
                out.push_str(if thinks {
                    "{\"reasoning_content\":\""
                } else {
                    "{\"content\":\""
                });
                filler(n, self.scenario.chunk_bytes, out);
                out.push_str("\"}");
            }
            _ => out.push_str("{}"),
        }
    }

    /// Together the pieces of a tool call's arguments are a JSON object.
    fn tool_piece(&self, n: u32) -> &'static str {
        match n {
            1 if self.scenario.chunks == 1 => "{\\\"city\\\":\\\"Paris\\\"}",
            1 => "{\\\"city\\\":",
            n if n == self.scenario.chunks => "\\\"Paris\\\"}",
            _ => " ",
        }
    }

    fn usage_null(&self, out: &mut String) {
        out.push_str(if self.include_usage {
            ",\"usage\":null}\n\n"
        } else {
            "}\n\n"
        });
    }

    fn completion_event(&self, index: EventIndex, out: &mut String) {
        if index == EventIndex::Open {
            return;
        }
        if index == EventIndex::Done {
            out.push_str("data: [DONE]\n\n");
            return;
        }
        let _ = write!(
            out,
            "data: {{\"id\":\"cmpl-{:016x}\",\"object\":\"text_completion\",\"created\":{CREATED_S},\"model\":",
            self.id
        );
        quote(&self.model, out);
        out.push_str(",\"choices\":[");
        if index == EventIndex::Usage {
            out.push_str("],\"usage\":");
            self.scenario.usage_json(out);
            out.push_str("}\n\n");
            return;
        }
        out.push_str("{\"text\":\"");
        let finish = if let EventIndex::Content(n) = index {
            filler(n, self.scenario.chunk_bytes, out);
            "null"
        } else {
            "\"stop\""
        };
        let _ = write!(
            out,
            "\",\"index\":0,\"logprobs\":null,\"finish_reason\":{finish}}}]"
        );
        self.usage_null(out);
    }

    fn responses_event(&self, index: EventIndex, out: &mut String) {
        match index {
            EventIndex::Open => {
                self.responses_whole("response.created", 0, "in_progress", out);
            }
            EventIndex::Content(n) => {
                let _ = write!(
                    out,
                    "event: response.output_text.delta\ndata: {{\"type\":\"response.output_text.delta\",\
                     \"sequence_number\":{n},\"item_id\":\"msg_mock\",\"output_index\":0,\
                     \"content_index\":0,\"delta\":\""
                );
                filler(n, self.scenario.chunk_bytes, out);
                out.push_str("\",\"logprobs\":[]}\n\n");
            }
            _ => {
                let number = self.scenario.chunks + 1;
                self.responses_whole("response.completed", number, "completed", out);
            }
        }
    }

    fn responses_whole(&self, event: &str, number: u32, status: &str, out: &mut String) {
        let _ = write!(
            out,
            "event: {event}\ndata: {{\"type\":\"{event}\",\"sequence_number\":{number},\"response\":"
        );
        responses_answer(&self.scenario, self.id, &self.model, status, out);
        out.push_str("}\n\n");
    }
}

/// OpenAI's Response object; without output while it is in progress.
pub(crate) fn responses_answer(
    scenario: &Scenario,
    id: u64,
    model: &str,
    status: &str,
    out: &mut String,
) {
    let _ = write!(
        out,
        "{{\"id\":\"resp_{id:016x}\",\"object\":\"response\",\"created_at\":{CREATED_S},\
         \"status\":\"{status}\",\"error\":null,\"incomplete_details\":null,\"instructions\":null,\
         \"metadata\":{{}},\"parallel_tool_calls\":true,\"temperature\":1.0,\"tool_choice\":\"auto\",\
         \"tools\":[],\"top_p\":1.0,\"model\":"
    );
    quote(model, out);
    if status != "completed" {
        out.push_str(",\"output\":[],\"usage\":null}");
        return;
    }
    out.push_str(
        ",\"output\":[{\"type\":\"message\",\"id\":\"msg_mock\",\"status\":\"completed\",\
         \"role\":\"assistant\",\"content\":[{\"type\":\"output_text\",\"annotations\":[],\"text\":\"",
    );
    for n in 1..=scenario.chunks {
        filler(n, scenario.chunk_bytes, out);
    }
    let (input, output) = (scenario.prompt_tokens, scenario.completion_tokens());
    let _ = write!(
        out,
        "\"}}]}}],\"usage\":{{\"input_tokens\":{input},\"input_tokens_details\":{{\"cached_tokens\":{}}},\
         \"output_tokens\":{output},\"output_tokens_details\":{{\"reasoning_tokens\":0}},\
         \"total_tokens\":{}}}}}",
        scenario.cached_tokens,
        input + output
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(model: &str) -> Scenario {
        let mut scenario = Scenario::default();
        scenario.apply_model(model);
        scenario
    }

    #[test]
    fn model_names_carry_scenarios() {
        let s = scenario("openai/mock-status-429-retry-7-times-2");
        assert_eq!(
            (s.status, s.retry_after_s, s.fail_times),
            (429, Some(7), Some(2))
        );
        let s = scenario("mock-chunks-50-cadence-20-error-midstream");
        assert_eq!(
            (s.chunks, s.cadence_us, s.fault),
            (50, 20_000, Fault::ErrorMidstream)
        );
        assert_eq!(scenario("mock-hang").fault, Fault::Hang);
        assert_eq!(scenario("mock-close").fault, Fault::Close);
        assert_eq!(scenario("mock-close-3").close_after, Some(3));
        assert_eq!(scenario("gpt-4o"), Scenario::default());
    }

    #[test]
    fn every_event_is_json() {
        for kind in [
            StreamKind::Chat,
            StreamKind::Completion,
            StreamKind::Responses,
        ] {
            for name in [
                "mock-chunks-3",
                "mock-tools-chunks-2",
                "mock-reasoning-bytes-100",
            ] {
                let script = StreamScript {
                    kind,
                    scenario: scenario(name),
                    id: 7,
                    model: "a\"b".into(),
                    include_usage: true,
                };
                let mut index = Some(EventIndex::Open);
                while let Some(at) = index {
                    let mut text = String::new();
                    script.event(at, &mut text);
                    for line in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
                        if line != "[DONE]" {
                            serde_json::from_str::<serde_json::Value>(line).expect(line);
                        }
                    }
                    index = script.after(at);
                }
            }
        }
    }

    #[test]
    fn answers_have_the_size_asked_for() {
        let mut s = scenario("mock-answer-900");
        let mut out = String::new();
        chat_answer(&s, 1, "mock-answer-900", &mut out);
        assert_eq!(out.len(), 900);
        serde_json::from_str::<serde_json::Value>(&out).expect("JSON");
        s.tools = true;
        out.clear();
        chat_answer(&s, 1, "m", &mut out);
        serde_json::from_str::<serde_json::Value>(&out).expect("JSON");
    }
}
