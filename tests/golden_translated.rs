//! Replays the recorded transcripts of the providers with a dialect of their own: what goes upstream, and what the client
//! gets of the recorded answer. Streams are fed whole, byte by byte and cut in two at each offset, and must give the same bytes; a stream
//! that is cut short must never count as complete. Where we differ on purpose, `tests/golden/TRANSLATED.md` says why; a
//! case that differs without standing there fails, and so does one that stands there and no longer differs.
//! `usage.cost` is the meter's and not looked for here.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde_json::{Map, Value, json};
use shardgate::dialect::anthropic_messages::client::error_body as messages_error;
use shardgate::dialect::scan::scan;
use shardgate::error::GatewayError;
use shardgate::provider::{
    AnswerContext, Grant, Incoming, Moment, Operation, Outgoing, Reply, RequestOptions, Secret,
    StreamEnd, StreamReader, Target,
};

const STUB: &str = "http://127.0.0.1:1";
const NOW: u64 = 1_741_570_000;

/// Folders, and how many of their cases are replayed.
const FOLDERS: &[(&str, usize)] = &[
    ("anthropic", 55),
    ("gemini", 40),
    ("vertex_ai", 44),
    ("bedrock", 51),
    ("cohere", 22),
    ("ollama", 17),
    ("messages_api", 20),
    ("gemini_api", 9),
    ("watsonx", 17),
    ("responses_api", 12),
];

#[test]
fn translated_transcripts_are_replayed() {
    let listed = differences();
    let mut failures = Vec::new();
    for (provider, count) in FOLDERS {
        let (mut same, mut known, mut skipped) = (0, 0, 0);
        let files = cases(&folder().join(provider));
        assert_eq!(files.len(), *count, "{provider}");
        for file in files {
            let case: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
            let id = format!("{provider}/{}", file.file_stem().unwrap().to_str().unwrap());
            let expected = listed.iter().any(|pattern| matches(pattern, &id));
            match replay(&case) {
                None => skipped += 1,
                Some(lines) if lines.is_empty() && expected => {
                    failures.push(format!("{id}: stands in TRANSLATED.md and does not differ"))
                }
                Some(lines) if lines.is_empty() => same += 1,
                Some(_) if expected => known += 1,
                Some(lines) => failures.push(format!("{id}:\n    {}", lines.join("\n    "))),
            }
        }
        println!("{provider:16} same {same:3}  listed {known:3}  skipped {skipped:3}");
    }
    assert!(
        failures.is_empty(),
        "{} cases:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn cases(folder: &Path) -> Vec<PathBuf> {
    let only = std::env::var("GOLDEN_ONLY").unwrap_or_default();
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|file| file.to_str().unwrap().contains(&only))
        .collect();
    files.sort();
    files
}

/// The patterns of TRANSLATED.md: what stands in backticks at the start of a list item.
fn differences() -> Vec<String> {
    let text = std::fs::read_to_string(folder().join("TRANSLATED.md")).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.strip_prefix("- `"))
        .flat_map(|line| line.split("`: ").next().unwrap_or_default().split("`, `"))
        .map(str::to_owned)
        .collect()
}

/// Whether `text` fits `pattern`, in which `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => text.strip_prefix(head).is_some_and(|rest| {
            (0..=rest.len()).any(|at| rest.is_char_boundary(at) && matches(tail, &rest[at..]))
        }),
    }
}

fn operation(path: &str) -> Option<Operation> {
    Some(match path {
        "/v1/chat/completions" => Operation::Chat,
        "/v1/completions" => Operation::Completions,
        "/v1/embeddings" => Operation::Embeddings,
        "/v1/rerank" | "/rerank" | "/v2/rerank" => Operation::Rerank,
        "/v1/messages" => Operation::Messages,
        "/v1/responses" => Operation::Responses,
        path if path.starts_with("/v1beta/models/") && path.contains("enerateContent") => {
            Operation::GenerateContent
        }
        _ => return None,
    })
}

/// What differs; `None` for a case that needs more than these functions.
fn replay(case: &Value) -> Option<Vec<String>> {
    let operation = operation(case["client_request"]["path"].as_str()?)?;
    case["config"].as_object()?;
    let is_native_responses = case["id"].as_str()?.starts_with("responses_api.openai");
    if is_native_responses {
        return None;
    }
    let config = with_stub(&case["config"]);
    let env = with_stub(&case["env"]);
    let lookup = |name: &str| env[name].as_str().map(str::to_owned);
    let target = match Target::from_params(config["litellm_params"].as_object()?, &lookup) {
        Ok(target) => target,
        Err(error) => return Some(vec![format!("target: {error}")]),
    };
    let mut call = Call {
        case,
        operation,
        target: &target,
        group: config["model_name"].as_str()?,
        lines: Vec::new(),
    };
    call.run();
    Some(call.lines)
}

fn with_stub(value: &Value) -> Value {
    let host = STUB.strip_prefix("http://").unwrap();
    let text = value
        .to_string()
        .replace("<stub>", STUB)
        .replace("<stubhost>", host);
    serde_json::from_str(&text).unwrap()
}

struct Call<'a> {
    case: &'a Value,
    operation: Operation,
    target: &'a Target,
    group: &'a str,
    lines: Vec<String>,
}

impl Call<'_> {
    fn run(&mut self) {
        let mut client = with_stub(&self.case["client_request"]["body"]);
        if self.operation == Operation::GenerateContent {
            // What the path says, the shard puts into the body.
            let path = self.case["client_request"]["path"].as_str().unwrap();
            client["model"] = json!(self.group);
            client["stream"] = json!(path.contains(":stream"));
        }
        let body = client.to_string().into_bytes();
        let fields = scan(&body).unwrap();
        let options = RequestOptions {
            now_unix_s: NOW,
            ..RequestOptions::default()
        };
        let incoming = Incoming::Json {
            body: &body,
            scan: &fields,
        };
        let sent = self.target.request(self.operation, incoming, &options);
        let expected = self.case["upstream_requests"].get(0);
        match (sent, expected) {
            (Ok(outgoing), Some(request)) => {
                self.compare_request(request, &outgoing, &body);
                self.answer(&outgoing, &client);
            }
            (Err(error), None) => self.compare_error(error),
            (Ok(_), None) => self.lines.push("sent, and nothing was expected".to_owned()),
            (Err(error), Some(_)) => self.lines.push(format!("refused: {error}")),
        }
    }

    fn compare_request(&mut self, expected: &Value, outgoing: &Outgoing, body: &[u8]) {
        let mut route = match self.target.route(self.operation, outgoing.stream) {
            Ok(route) => route,
            Err(error) => return self.lines.push(format!("route: {error}")),
        };
        if let Some(path) = &outgoing.path_and_query {
            route.path_and_query = path.clone();
        }
        route.headers.extend(outgoing.headers.iter().cloned());
        let sent = outgoing.body.to_vec(body);
        if self.target.is_signed() {
            let grant = Grant::Bearer(Secret::new(self.token()));
            let moment = Moment {
                now_unix_s: NOW,
                grant: Some(&grant),
            };
            let signed = self.target.sign(&route, &sent, &moment).unwrap();
            route.headers.extend(signed);
        }
        let (path, query) = route
            .path_and_query
            .split_once('?')
            .unwrap_or((&route.path_and_query, ""));
        let query: Map<String, Value> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect();
        let wanted = expected.get("query").cloned().unwrap_or_else(|| json!({}));
        let lines = &mut self.lines;
        compare("upstream path", &expected["path"], &json!(path), lines);
        compare("upstream query", &wanted, &Value::Object(query), lines);
        for (name, value) in expected["headers"].as_object().into_iter().flatten() {
            let found = route.headers.iter().rev().find(|(other, _)| other == name);
            let found = found.map(|(_, value)| json!(value)).unwrap_or_default();
            if name == "content-type" && found.as_str().is_some_and(|found| same_type(value, found))
            {
                continue;
            }
            compare(&format!("upstream header {name}"), value, &found, lines);
        }
        match (expected.get("body"), serde_json::from_slice::<Value>(&sent)) {
            (Some(wanted), Ok(sent)) => compare("upstream body", &with_stub(wanted), &sent, lines),
            (Some(_), Err(error)) => lines.push(format!("upstream body: {error}")),
            (None, _) => {}
        }
    }

    /// The token that the recorded token endpoint gave.
    fn token(&self) -> String {
        let mut helpers = self.case["aux"].as_array().into_iter().flatten();
        let token = helpers.find_map(|helper| helper["response"]["body"]["access_token"].as_str());
        token.unwrap_or("token").to_owned()
    }

    fn answer(&mut self, outgoing: &Outgoing, client: &Value) {
        let upstream = self
            .case
            .get("upstream_response")
            .or_else(|| self.case["upstream_responses"].get(0));
        let Some(upstream) = upstream else { return };
        let status = upstream["status"].as_u64().unwrap_or(200) as u16;
        let headers: Vec<(&str, &str)> = upstream["headers"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
            .collect();
        let context = AnswerContext {
            operation: self.operation,
            requested_model: client["model"].as_str().unwrap_or_default(),
            keep_upstream_model: false,
            usage_asked: outgoing.usage_asked,
            now_unix_s: NOW,
            fresh_id: "fresh0123456789",
            response_id: "",
            renamed: &outgoing.renamed,
        };
        if let Some(bytes) = frames(upstream).filter(|_| status < 400) {
            return self.compare_stream(&bytes, &context);
        }
        let body = match (upstream.get("body"), upstream["body_text"].as_str()) {
            (Some(body), _) => python_json(body),
            (None, Some(text)) => text.to_owned(),
            (None, None) => String::new(),
        };
        let reply = Reply {
            operation: self.operation,
            status,
            headers: &headers,
            body: body.as_bytes(),
        };
        match self.target.answer(&reply, &context) {
            Ok(answer) => {
                let wanted = &self.case["client_response"];
                let got = answer.body.to_vec(body.as_bytes());
                let lines = &mut self.lines;
                compare("client status", &wanted["status"], &json!(status), lines);
                match serde_json::from_slice::<Value>(&got) {
                    Ok(got) => compare("client body", &wanted["body"], &got, lines),
                    Err(error) => lines.push(format!("client body: {error}")),
                }
            }
            Err(error) => self.compare_error(error),
        }
    }

    fn compare_error(&mut self, mut error: GatewayError) {
        error.in_group(self.group, &[]);
        let body = match self.operation {
            Operation::Messages => messages_error(&error),
            _ => error.body_openai(),
        };
        let got: Value = serde_json::from_slice(&body).unwrap();
        let wanted = &self.case["client_response"];
        compare(
            "client status",
            &wanted["status"],
            &json!(error.status),
            &mut self.lines,
        );
        compare("client body", &wanted["body"], &got, &mut self.lines);
    }

    fn compare_stream(&mut self, bytes: &[u8], context: &AnswerContext<'_>) {
        let (whole, end) = self.feed(&[bytes], context);
        if end == StreamEnd::Cut && !whole.contains("\"error\"") {
            self.lines.push("the stream counts as cut".to_owned());
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        if self.feed(&single, context) != (whole.clone(), end) {
            self.lines
                .push("fed byte by byte it is another stream".to_owned());
        }
        for at in (0..bytes.len()).step_by(1) {
            if self.feed(&[&bytes[..at], &bytes[at..]], context) != (whole.clone(), end) {
                self.lines.push(format!("cut at {at} it is another stream"));
            }
            let (part, end) = self.feed(&[&bytes[..at]], context);
            // On the OpenAI wire a stream that has said why it ended needs no end mark.
            let has_ended = String::from_utf8_lossy(&bytes[..at]).contains("\"finish_reason\": \"");
            if end == StreamEnd::Complete && part != whole && !has_ended {
                self.lines
                    .push(format!("{at} bytes of it count as complete"));
            }
        }
        self.compare_events(&whole);
    }

    fn feed(&self, pieces: &[&[u8]], context: &AnswerContext<'_>) -> (String, StreamEnd) {
        let StreamReader::Translate(mut translator) = self.target.stream(context) else {
            panic!("not a translated stream");
        };
        let mut out = Vec::new();
        for piece in pieces {
            if let Err(error) = translator.feed(piece, &mut out) {
                out.extend_from_slice(&error.stream_frame());
                out.extend_from_slice(b"data: [DONE]\n\n");
                return (String::from_utf8(out).unwrap(), StreamEnd::Cut);
            }
        }
        let end = translator.end(&mut out);
        (String::from_utf8(out).unwrap(), end)
    }

    fn compare_events(&mut self, got: &str) {
        let got: Vec<Value> = got
            .split("\n\n")
            .filter_map(|block| block.lines().find_map(|line| line.strip_prefix("data: ")))
            .map(|data| serde_json::from_str(data).unwrap_or_else(|_| json!(data)))
            .collect();
        let wanted = self.case["client_response"]["sse"].as_array();
        let wanted: Vec<&Value> = wanted
            .into_iter()
            .flatten()
            .map(|event| &event["data"])
            .collect();
        if got.len() != wanted.len() {
            let last = got.last().map(Value::to_string).unwrap_or_default();
            self.lines.push(format!(
                "{} events instead of {}; the last: {last}",
                got.len(),
                wanted.len()
            ));
        }
        for (index, (wanted, got)) in wanted.iter().zip(&got).enumerate() {
            compare(&format!("event {index}"), wanted, got, &mut self.lines);
        }
    }
}

/// The bytes of a recorded stream.
fn frames(upstream: &Value) -> Option<Vec<u8>> {
    if let Some(frames) = upstream["frames"].as_array() {
        return Some(
            frames
                .iter()
                .flat_map(|frame| frame.as_str().unwrap().bytes())
                .collect(),
        );
    }
    let engine = base64::engine::general_purpose::STANDARD;
    let frames = upstream["frames_base64"].as_array()?;
    Some(
        frames
            .iter()
            .flat_map(|frame| engine.decode(frame.as_str().unwrap()).unwrap())
            .collect(),
    )
}

fn same_type(wanted: &Value, got: &str) -> bool {
    let kind = |text: &str| text.split(';').next().map(str::to_owned);
    wanted.as_str().and_then(kind) == kind(got)
}

/// A value with the separators that the recorder's library writes.
fn python_json(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let parts: Vec<_> = members
                .iter()
                .map(|(name, value)| format!("{}: {}", json!(name), python_json(value)))
                .collect();
            format!("{{{}}}", parts.join(", "))
        }
        Value::Array(items) => format!(
            "[{}]",
            items.iter().map(python_json).collect::<Vec<_>>().join(", ")
        ),
        other => ascii(&other.to_string()),
    }
}

/// Other letters than ASCII's as the recorder's library writes them.
fn ascii(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        if letter.is_ascii() {
            out.push(letter);
        } else {
            let mut units = [0; 2];
            for unit in letter.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

/// Compares values; `wanted` may hold placeholders.
fn compare(at: &str, wanted: &Value, got: &Value, lines: &mut Vec<String>) {
    match (wanted, got) {
        (Value::Object(wanted), Value::Object(got)) => {
            for (name, value) in wanted {
                match got.get(name) {
                    Some(got) => compare(&format!("{at}.{name}"), value, got, lines),
                    None if name == "cost" && value == "<float>" => {}
                    None => lines.push(format!("{at}.{name} is missing: {value}")),
                }
            }
            for (name, value) in got.iter().filter(|(name, _)| !wanted.contains_key(*name)) {
                lines.push(format!("{at}.{name} is there: {value}"));
            }
        }
        (Value::Array(wanted), Value::Array(got)) if wanted.len() == got.len() => {
            for (index, (wanted, got)) in wanted.iter().zip(got).enumerate() {
                compare(&format!("{at}[{index}]"), wanted, got, lines);
            }
        }
        (Value::Number(wanted), Value::Number(got)) if wanted.as_f64() == got.as_f64() => {}
        (Value::String(pattern), _) if fits(pattern, got) => {}
        _ if wanted == got => {}
        _ => lines.push(format!("{at}: {got} instead of {wanted}")),
    }
}

fn fits(pattern: &str, got: &Value) -> bool {
    match (pattern, got) {
        ("<any>", _) => true,
        ("<int>", Value::Number(number)) => number.is_u64(),
        ("<float>", Value::Number(_)) => true,
        (_, Value::String(text)) => fits_text(pattern, text),
        _ => false,
    }
}

/// Whether a text fits a pattern with placeholders in it.
fn fits_text(pattern: &str, text: &str) -> bool {
    const PLACEHOLDERS: &[&str] = &[
        "<id>",
        "<int>",
        "<float>",
        "<str>",
        "<any>",
        "<sigv4>",
        "<date>",
        "<amz-date>",
        "<sha256>",
        "<jwt>",
    ];
    let found = PLACEHOLDERS
        .iter()
        .filter_map(|name| Some((pattern.find(name)?, *name)))
        .min();
    let Some((at, name)) = found else {
        return pattern == text;
    };
    let Some(rest) = text.strip_prefix(&pattern[..at]) else {
        return false;
    };
    let tail = &pattern[at + name.len()..];
    let letter = |byte: u8| match name {
        "<id>" => byte.is_ascii_alphanumeric() || b"_.:=/+-".contains(&byte),
        "<int>" | "<date>" => byte.is_ascii_digit(),
        "<float>" => byte.is_ascii_digit() || b".e-+".contains(&byte),
        "<sigv4>" | "<sha256>" => byte.is_ascii_hexdigit(),
        "<amz-date>" => byte.is_ascii_alphanumeric(),
        "<jwt>" => byte.is_ascii_alphanumeric() || b"._-".contains(&byte),
        _ => true,
    };
    let shortest = usize::from(!matches!(name, "<str>" | "<any>"));
    let longest = rest.bytes().take_while(|byte| letter(*byte)).count();
    (shortest..=longest)
        .any(|length| rest.is_char_boundary(length) && fits_text(tail, &rest[length..]))
}
