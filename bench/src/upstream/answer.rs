//! From a request to what shall be answered: which endpoint, which scenario, which body. Pure: the
//! number of the answer and the random generator are passed in.

use std::borrow::Cow;
use std::fmt::Write as _;

use memchr::{memchr2, memmem};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::script::{self, CREATED_S, Fault, Scenario, StreamKind, StreamScript};
use crate::wire::{self, RequestHead};

/// From here on a body is parsed without its prompt.
const LONG_BODY_BYTES: usize = 2048;

/// What the connection is to do.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A body of known length.
    Whole(Whole),
    Stream(StreamScript),
    Hang,
    Reset,
    Close,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) retry_after_s: Option<u32>,
    pub(crate) body: String,
    /// Send half of the body, then FIN.
    pub(crate) truncate: bool,
}

impl Whole {
    pub(crate) fn json(status: u16, body: String) -> Self {
        Self {
            status,
            content_type: "application/json",
            retry_after_s: None,
            body,
            truncate: false,
        }
    }
}

/// What is asked of the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Chat,
    Completion,
    Embeddings,
    Moderations,
    Rerank,
    Images,
    Speech,
    Transcription,
    Responses,
    Models,
}

/// The fields of a request that matter, whatever its format.
#[derive(Debug, Default, Deserialize)]
struct Asked<'a> {
    #[serde(borrow, default)]
    model: Option<Cow<'a, str>>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
    #[serde(borrow, default)]
    documents: Option<&'a RawValue>,
    #[serde(default)]
    top_n: Option<usize>,
    #[serde(default)]
    dimensions: Option<usize>,
    #[serde(borrow, default)]
    encoding_format: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    response_format: Option<&'a RawValue>,
    #[serde(default)]
    n: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

/// A request understood: its model, its scenario, and what to answer unless it is to fail.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) model: String,
    pub(crate) scenario: Scenario,
    answer: Answer,
}

/// Reads the request. `id` numbers the answer.
pub(crate) fn plan(base: &Scenario, head: &RequestHead, body: &[u8], id: u64) -> Plan {
    let path = head.path.split('?').next().unwrap_or_default();
    let Some(endpoint) = endpoint_of(&head.method, path) else {
        let text = error_body("Invalid URL", "invalid_request_error", Some("unknown_url"));
        return Plan {
            model: String::new(),
            scenario: Scenario::default(),
            answer: Answer::Whole(Whole::json(404, text)),
        };
    };
    let mut reduced = Vec::new();
    let form_type = head
        .header("content-type")
        .filter(|kind| kind.starts_with("multipart/"));
    let asked = match form_type {
        Some(kind) => asked_form(body, kind),
        None if body.is_empty() => Asked::default(),
        None => match serde_json::from_slice(without_prompt(body, &mut reduced)) {
            Ok(asked) => asked,
            Err(error) => return refusal(&format!("We could not parse your JSON body: {error}")),
        },
    };
    let model = match &asked.model {
        Some(model) => model.to_string(),
        None => model_in_path(path).to_owned(),
    };
    let mut scenario = base.clone();
    scenario.apply_model(&model);
    for (name, value) in &head.headers {
        apply_header(&mut scenario, name, value);
    }
    let answer = answer(endpoint, &asked, &scenario, id, &model);
    Plan {
        model,
        scenario,
        answer,
    }
}

impl Plan {
    /// The answer of the plan, or its failure.
    pub(crate) fn decide(self, fails: bool) -> Answer {
        let (scenario, answer) = (self.scenario, self.answer);
        if !fails {
            return answer;
        }
        if scenario.status != 200 {
            return Answer::Whole(failure(&scenario));
        }
        match (scenario.fault, answer) {
            (Fault::Hang, _) => Answer::Hang,
            (Fault::Reset, _) => Answer::Reset,
            (Fault::Close, _) => Answer::Close,
            (Fault::HangMidstream, Answer::Whole(_)) => Answer::Hang,
            (Fault::ResetMidstream, Answer::Whole(_)) => Answer::Reset,
            (Fault::Html, _) => Answer::Whole(Whole {
                content_type: "text/html",
                ..Whole::json(502, "<html><body>502 Bad Gateway</body></html>".into())
            }),
            (Fault::BadJson, _) => Answer::Whole(Whole::json(200, "{\"choices\": [oops".into())),
            (Fault::Empty, _) => Answer::Whole(Whole::json(200, String::new())),
            (Fault::Truncate, Answer::Whole(whole)) => Answer::Whole(Whole {
                truncate: true,
                ..whole
            }),
            (fault, Answer::Stream(mut script)) => {
                script.scenario.fault = fault;
                Answer::Stream(script)
            }
            (_, answer) => answer,
        }
    }
}

/// A long body without its `messages` and `prompt`: the parser need not walk through them. A body
/// that this does not understand comes back as it is, for the parser to refuse.
fn without_prompt<'a>(body: &'a [u8], reduced: &'a mut Vec<u8>) -> &'a [u8] {
    if body.len() < LONG_BODY_BYTES {
        return body;
    }
    for name in [b"\"messages\":".as_slice(), b"\"prompt\":"] {
        let Some(start) = memmem::find(body, name).map(|at| at + name.len()) else {
            continue;
        };
        let Some(length) = value_length(&body[start..]) else {
            continue;
        };
        reduced.extend_from_slice(&body[..start]);
        reduced.extend_from_slice(b"null");
        reduced.extend_from_slice(&body[start + length..]);
        return reduced;
    }
    body
}

/// Length of the JSON value at the front, judged by its strings and brackets only.
fn value_length(bytes: &[u8]) -> Option<usize> {
    let (mut depth, mut at) = (0usize, 0);
    loop {
        match bytes.get(at)? {
            b'"' => {
                at += 1;
                loop {
                    at += memchr2(b'"', b'\\', bytes.get(at..)?)?;
                    if bytes[at] == b'"' {
                        break;
                    }
                    at += 2;
                }
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            b'[' | b'{' => depth += 1,
            b']' | b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

fn refusal(message: &str) -> Plan {
    let text = error_body(message, "invalid_request_error", None);
    Plan {
        model: String::new(),
        scenario: Scenario::default(),
        answer: Answer::Whole(Whole::json(400, text)),
    }
}

/// `x-mock: latency-20-chunks-5` or `x-mock-latency: 20`.
fn apply_header(scenario: &mut Scenario, name: &str, value: &str) {
    if name.len() < 6 || !name.as_bytes()[..6].eq_ignore_ascii_case(b"x-mock") {
        return;
    }
    match name.get(7..) {
        Some(word) => scenario.apply(&format!("{}-{value}", word.to_ascii_lowercase())),
        None => scenario.apply(value),
    }
}

fn endpoint_of(method: &str, path: &str) -> Option<Endpoint> {
    const TABLE: [(&str, Endpoint); 13] = [
        ("/chat/completions", Endpoint::Chat),
        ("/completions", Endpoint::Completion),
        ("/embeddings", Endpoint::Embeddings),
        ("/moderations", Endpoint::Moderations),
        ("/rerank", Endpoint::Rerank),
        ("/images/generations", Endpoint::Images),
        ("/images/edits", Endpoint::Images),
        ("/images/variations", Endpoint::Images),
        ("/audio/speech", Endpoint::Speech),
        ("/audio/transcriptions", Endpoint::Transcription),
        ("/audio/translations", Endpoint::Transcription),
        ("/responses", Endpoint::Responses),
        ("/models", Endpoint::Models),
    ];
    if method == "GET" && path.contains("/models/") {
        return Some(Endpoint::Models);
    }
    TABLE
        .iter()
        .find(|(suffix, _)| path.ends_with(suffix))
        .map(|(_, endpoint)| *endpoint)
}

/// Azure's and the engines' way: `/deployments/MODEL/...`; the last segment for `/models/MODEL`.
fn model_in_path(path: &str) -> &str {
    for mark in ["/deployments/", "/engines/", "/models/"] {
        if let Some((_, rest)) = path.split_once(mark) {
            return rest.split('/').next().unwrap_or_default();
        }
    }
    ""
}

fn asked_form<'a>(body: &'a [u8], content_type: &str) -> Asked<'a> {
    let text = |name| {
        wire::form_field(body, content_type, name)
            .and_then(|value| std::str::from_utf8(value).ok())
            .map(Cow::Borrowed)
    };
    Asked {
        model: text("model"),
        encoding_format: text("response_format"),
        n: text("n").and_then(|count| count.parse().ok()),
        ..Asked::default()
    }
}

fn answer(
    endpoint: Endpoint,
    asked: &Asked<'_>,
    scenario: &Scenario,
    id: u64,
    model: &str,
) -> Answer {
    let options = asked.stream_options.as_ref();
    let stream = |kind| {
        Answer::Stream(StreamScript {
            kind,
            scenario: scenario.without_failure(),
            id,
            model: model.to_owned(),
            include_usage: options.and_then(|options| options.include_usage) == Some(true),
        })
    };
    let streams = asked.stream == Some(true);
    match endpoint {
        Endpoint::Chat if streams => return stream(StreamKind::Chat),
        Endpoint::Completion if streams => return stream(StreamKind::Completion),
        Endpoint::Responses if streams => return stream(StreamKind::Responses),
        Endpoint::Speech => return stream(StreamKind::Audio),
        _ => {}
    }
    let mut body = String::with_capacity(scenario.answer_bytes + 512);
    let mut content_type = "application/json";
    match endpoint {
        Endpoint::Chat => script::chat_answer(scenario, id, model, &mut body),
        Endpoint::Completion => completion(scenario, id, model, &mut body),
        Endpoint::Responses => {
            script::responses_answer(scenario, id, model, "completed", &mut body);
        }
        Endpoint::Embeddings => embeddings(scenario, asked, model, &mut body),
        Endpoint::Moderations => moderations(asked, id, model, &mut body),
        Endpoint::Rerank => rerank(asked, id, model, &mut body),
        Endpoint::Images => images(asked, model, &mut body),
        Endpoint::Transcription => content_type = transcription(asked, &mut body),
        Endpoint::Models | Endpoint::Speech => models(model, &mut body),
    }
    Answer::Whole(Whole {
        content_type,
        ..Whole::json(200, body)
    })
}

fn completion(scenario: &Scenario, id: u64, model: &str, out: &mut String) {
    let _ = write!(
        out,
        "{{\"id\":\"cmpl-{id:016x}\",\"object\":\"text_completion\",\"created\":{CREATED_S},\"model\":"
    );
    script::quote(model, out);
    out.push_str(",\"choices\":[{\"text\":\"");
    script::filler(0, scenario.answer_bytes.saturating_sub(450), out);
    out.push_str("\",\"index\":0,\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":");
    scenario.usage_json(out);
    out.push('}');
}

/// Elements of a JSON value that may be one thing or a list of things.
fn count(value: Option<&RawValue>) -> usize {
    let Some(value) = value else { return 1 };
    match serde_json::from_str::<Vec<&RawValue>>(value.get()) {
        // A list of numbers is one input of token ids.
        Ok(list)
            if list
                .first()
                .is_some_and(|first| first.get().parse::<f64>().is_ok()) =>
        {
            1
        }
        Ok(list) => list.len(),
        Err(_) => 1,
    }
}

fn embeddings(scenario: &Scenario, asked: &Asked<'_>, model: &str, out: &mut String) {
    let dimensions = asked.dimensions.unwrap_or(8).clamp(1, 16_384);
    let coded = asked.encoding_format.as_deref() == Some("base64");
    out.push_str("{\"object\":\"list\",\"data\":[");
    for index in 0..count(asked.input) {
        let _ = write!(
            out,
            "{}{{\"object\":\"embedding\",\"index\":{index},\"embedding\":",
            if index == 0 { "" } else { "," }
        );
        let vector = (0..dimensions).map(|place| (index * 8 + place) as f32 / 64.0);
        if coded {
            let bytes: Vec<u8> = vector.flat_map(f32::to_le_bytes).collect();
            let _ = write!(out, "\"{}\"}}", wire::base64(&bytes));
        } else {
            let numbers: Vec<String> = vector.map(|number| format!("{number:?}")).collect();
            let _ = write!(out, "[{}]}}", numbers.join(","));
        }
    }
    out.push_str("],\"model\":");
    script::quote(model, out);
    let tokens = scenario.prompt_tokens;
    let _ = write!(
        out,
        ",\"usage\":{{\"prompt_tokens\":{tokens},\"total_tokens\":{tokens}}}}}"
    );
}

fn moderations(asked: &Asked<'_>, id: u64, model: &str, out: &mut String) {
    const CATEGORIES: [&str; 13] = [
        "harassment",
        "harassment/threatening",
        "hate",
        "hate/threatening",
        "illicit",
        "illicit/violent",
        "self-harm",
        "self-harm/instructions",
        "self-harm/intent",
        "sexual",
        "sexual/minors",
        "violence",
        "violence/graphic",
    ];
    let list = |value: &str| {
        let pairs: Vec<String> = CATEGORIES
            .iter()
            .map(|name| format!("\"{name}\":{value}"))
            .collect();
        pairs.join(",")
    };
    let result = format!(
        "{{\"flagged\":false,\"categories\":{{{}}},\"category_scores\":{{{}}}}}",
        list("false"),
        list("0.001")
    );
    let _ = write!(out, "{{\"id\":\"modr-{id:016x}\",\"model\":");
    script::quote(
        if model.is_empty() {
            "omni-moderation-latest"
        } else {
            model
        },
        out,
    );
    let results = vec![result; count(asked.input)];
    let _ = write!(out, ",\"results\":[{}]}}", results.join(","));
}

fn rerank(asked: &Asked<'_>, id: u64, model: &str, out: &mut String) {
    let documents = count(asked.documents);
    let shown = asked.top_n.unwrap_or(documents).min(documents);
    let results: Vec<String> = (0..shown)
        .map(|rank| {
            let score = 0.9 / (rank + 1) as f64;
            format!(
                "{{\"index\":{},\"relevance_score\":{score:.4}}}",
                documents - 1 - rank
            )
        })
        .collect();
    let _ = write!(out, "{{\"id\":\"rerank-{id:016x}\",\"model\":");
    script::quote(model, out);
    let _ = write!(
        out,
        ",\"results\":[{}],\"meta\":{{\"billed_units\":{{\"search_units\":1}}}}}}",
        results.join(",")
    );
}

fn images(asked: &Asked<'_>, model: &str, out: &mut String) {
    /// A PNG of one transparent pixel.
    const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    let wanted = asked.response_format.map(RawValue::get);
    let coded = wanted == Some("\"b64_json\"")
        || asked.encoding_format.as_deref() == Some("b64_json")
        || model.contains("gpt-image");
    let one = if coded {
        format!("{{\"b64_json\":\"{PIXEL}\"}}")
    } else {
        "{\"url\":\"http://127.0.0.1/mock.png\",\"revised_prompt\":\"a mock\"}".to_owned()
    };
    let all = vec![one; asked.n.unwrap_or(1).clamp(1, 10)];
    let _ = write!(
        out,
        "{{\"created\":{CREATED_S},\"data\":[{}],\"usage\":{{\"input_tokens\":10,\
         \"output_tokens\":20,\"total_tokens\":30,\"input_tokens_details\":{{\"text_tokens\":10,\
         \"image_tokens\":0}}}}}}",
        all.join(",")
    );
}

fn transcription(asked: &Asked<'_>, out: &mut String) -> &'static str {
    match asked.encoding_format.as_deref() {
        Some("text") => {
            out.push_str("hello from the mock\n");
            "text/plain; charset=utf-8"
        }
        Some("srt") => {
            out.push_str("1\n00:00:00,000 --> 00:00:01,000\nhello from the mock\n\n");
            "text/plain; charset=utf-8"
        }
        Some("vtt") => {
            out.push_str("WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nhello from the mock\n\n");
            "text/plain; charset=utf-8"
        }
        Some("verbose_json") => {
            out.push_str(
                "{\"task\":\"transcribe\",\"language\":\"english\",\"duration\":1.0,\
                 \"text\":\"hello from the mock\",\"segments\":[]}",
            );
            "application/json"
        }
        _ => {
            out.push_str(
                "{\"text\":\"hello from the mock\",\"usage\":{\"type\":\"duration\",\"seconds\":1}}",
            );
            "application/json"
        }
    }
}

fn models(model: &str, out: &mut String) {
    let one = |name: &str| {
        let mut text = String::from("{\"id\":");
        script::quote(name, &mut text);
        let _ = write!(
            text,
            ",\"object\":\"model\",\"created\":{CREATED_S},\"owned_by\":\"mock\"}}"
        );
        text
    };
    if model.is_empty() {
        let names = ["mock", "mock-embedding", "mock-image"].map(one);
        let _ = write!(
            out,
            "{{\"object\":\"list\",\"data\":[{}]}}",
            names.join(",")
        );
    } else {
        out.push_str(&one(model));
    }
}

fn failure(scenario: &Scenario) -> Whole {
    let (message, kind, code) = match (scenario.status, scenario.error_code) {
        (400, Some("context_length_exceeded")) => (
            "This model's maximum context length is 128000 tokens. However, your messages \
             resulted in 200000 tokens. Please reduce the length of the messages.",
            "invalid_request_error",
            Some("context_length_exceeded"),
        ),
        (400, Some(code)) => (
            "Your request was rejected as a result of our safety system.",
            "invalid_request_error",
            Some(code),
        ),
        (401, _) => (
            "Incorrect API key provided.",
            "invalid_request_error",
            Some("invalid_api_key"),
        ),
        (403, _) => ("You are not allowed to do that.", "permission_error", None),
        (404, _) => (
            "The model does not exist.",
            "invalid_request_error",
            Some("model_not_found"),
        ),
        (429, _) => (
            "Rate limit reached for requests",
            "requests",
            Some("rate_limit_exceeded"),
        ),
        (500..=599, _) => ("The server had an error", "server_error", None),
        _ => ("Mock failure", "invalid_request_error", None),
    };
    Whole {
        retry_after_s: scenario.retry_after_s,
        ..Whole::json(scenario.status, error_body(message, kind, code))
    }
}

/// OpenAI's error body.
pub(crate) fn error_body(message: &str, kind: &str, code: Option<&str>) -> String {
    let mut out = String::from("{\"error\":{\"message\":");
    script::quote(message, &mut out);
    let _ = write!(out, ",\"type\":\"{kind}\",\"param\":null,\"code\":");
    match code {
        Some(code) => script::quote(code, &mut out),
        None => out.push_str("null"),
    }
    out.push_str("}}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_left_out() {
        let prompt = "a\\\"]}".repeat(1000);
        let body = format!("{{\"messages\":[{{\"content\":\"{prompt}\"}}],\"model\":\"m\"}}");
        let mut reduced = Vec::new();
        let short = without_prompt(body.as_bytes(), &mut reduced);
        assert_eq!(short, b"{\"messages\":null,\"model\":\"m\"}");
    }
}
