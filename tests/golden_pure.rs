//! Replays the recorded transcripts of `tests/golden` through the pure functions: what goes upstream, and what the client
//! gets of the recorded answer. Where we differ on purpose, `tests/golden/DIFFERENCES.md` says so and why; a case that
//! differs without standing there fails, and so does one that stands there and no longer differs.

#![expect(clippy::unwrap_used, reason = "what is unexpected fails the test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use shardgate::dialect::scan::scan;
use shardgate::dialect::stream::EventAction;
use shardgate::error::GatewayError;
use shardgate::provider::{
    AnswerContext, Grant, Incoming, Moment, Operation, Outgoing, Reply, RequestOptions, Route,
    Secret, StreamEnd, StreamReader, Target, find,
};
use shardgate_io::sse::{EventSplitter, data};

const STUB: &str = "http://127.0.0.1:1";

/// Providers with a dialect of their own, which `golden_translated` replays.
const TRANSLATED: &[&str] = &[
    "anthropic",
    "bedrock",
    "cohere",
    "cohere_chat",
    "gemini",
    "gemini_api",
    "messages_api",
    "ollama",
    "replicate",
    "ollama_chat",
    "vertex_ai",
    "watsonx",
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// One line of the outcome of a case.
enum Outcome {
    Same,
    Differs(Vec<String>),
    /// The provider or the client's dialect is not there yet.
    Missing(String),
}

#[test]
fn recorded_transcripts_are_replayed() {
    let listed = differences();
    let mut folders: Vec<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    folders.retain(|path| path.is_dir() && !TRANSLATED.iter().any(|name| path.ends_with(name)));
    folders.sort();
    let mut failures = Vec::new();
    for path in folders {
        let provider = path.file_name().unwrap().to_str().unwrap().to_owned();
        let (mut same, mut listed_here, mut missing, mut wrong) =
            (0, 0, BTreeMap::<String, usize>::new(), 0);
        for file in cases(&path) {
            let case: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
            let id = format!("{provider}/{}", file.file_stem().unwrap().to_str().unwrap());
            let expected = listed.iter().any(|pattern| matches(pattern, &id));
            match replay(&case) {
                Outcome::Same if expected => failures.push(format!(
                    "{id}: stands in DIFFERENCES.md and does not differ"
                )),
                Outcome::Same => same += 1,
                Outcome::Differs(_) if expected => listed_here += 1,
                Outcome::Differs(lines) => {
                    wrong += 1;
                    failures.push(format!("{id}:\n    {}", lines.join("\n    ")));
                }
                Outcome::Missing(what) => *missing.entry(what).or_default() += 1,
            }
        }
        println!(
            "{provider:16} same {same:3}  listed {listed_here:3}  wrong {wrong:3}  missing {missing:?}"
        );
    }
    assert!(
        failures.is_empty(),
        "{} cases:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

fn cases(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|file| {
        file.extension()
            .is_some_and(|extension| extension == "json")
    });
    files.sort();
    files
}

/// The patterns of DIFFERENCES.md: what stands in backticks at the start of a list item.
fn differences() -> Vec<String> {
    let text = std::fs::read_to_string(folder().join("DIFFERENCES.md")).unwrap_or_default();
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
        "/v1/images/generations" => Operation::ImageGeneration,
        "/v1/moderations" => Operation::Moderation,
        "/v1/rerank" | "/rerank" | "/v2/rerank" => Operation::Rerank,
        "/v1/responses" => Operation::Responses,
        _ => return None,
    })
}

fn replay(case: &Value) -> Outcome {
    let path = case["client_request"]["path"].as_str().unwrap();
    let Some(operation) = operation(path) else {
        return Outcome::Missing(format!("path {path}"));
    };
    let config: Value = with_stub(&case["config"]);
    let Some(params) = config["litellm_params"].as_object() else {
        return Outcome::Missing("config".to_owned());
    };
    let prefix = params["model"].as_str().unwrap().split('/').next().unwrap();
    if (find(prefix).is_none() && case["provider"] != "openai") || TRANSLATED.contains(&prefix) {
        return Outcome::Missing(format!("provider {prefix}"));
    }
    let env: Map<String, Value> = with_stub(&case["env"])
        .as_object()
        .cloned()
        .unwrap_or_default();
    let lookup = |name: &str| env.get(name).and_then(Value::as_str).map(str::to_owned);
    let target = match Target::from_params(params, &lookup) {
        Ok(target) => target,
        Err(error) => return Outcome::Differs(vec![format!("target: {error}")]),
    };
    let call = Call {
        case,
        operation,
        target: &target,
        group: config["model_name"].as_str().unwrap(),
    };
    let mut lines = Vec::new();
    call.run(&mut lines);
    if lines.is_empty() {
        Outcome::Same
    } else {
        Outcome::Differs(lines)
    }
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
}

impl Call<'_> {
    fn run(&self, lines: &mut Vec<String>) {
        let client = with_stub(&self.case["client_request"]["body"]);
        let body = client.to_string().into_bytes();
        let fields = scan(&body).unwrap();
        let options = RequestOptions {
            now_unix_s: 1_741_570_000,
            ..RequestOptions::default()
        };
        let incoming = Incoming::Json {
            body: &body,
            scan: &fields,
        };
        let stream = fields.is_true(&body, "stream");
        let sent = self.target.request(self.operation, incoming, &options);
        let sent =
            sent.and_then(|outgoing| Ok((outgoing, self.target.route(self.operation, stream)?)));
        let expected = self.case["upstream_requests"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        match (sent, expected.first()) {
            (Ok((outgoing, route)), Some(request)) => {
                self.compare_request(request, &outgoing, route, &body, lines);
                self.answer(&outgoing, &client, lines);
            }
            (Err(error), None) => self.compare_error(error, lines),
            (Ok(_), None) => lines.push("sent although nothing was expected upstream".to_owned()),
            (Err(error), Some(_)) => lines.push(format!("refused: {error}")),
        }
    }

    fn compare_request(
        &self,
        expected: &Value,
        outgoing: &Outgoing,
        mut route: Route,
        body: &[u8],
        lines: &mut Vec<String>,
    ) {
        if let Some(path) = &outgoing.path_and_query {
            route.path_and_query = path.clone();
        }
        route.headers.extend(outgoing.headers.iter().cloned());
        let sent = outgoing.body.to_vec(body);
        if self.target.is_signed() {
            let moment = Moment {
                now_unix_s: 1_741_570_000,
                grant: Some(&Grant::Bearer(Secret::new("token"))),
            };
            route
                .headers
                .extend(self.target.sign(&route, &sent, &moment).unwrap());
        }
        let (path, query) = route
            .path_and_query
            .split_once('?')
            .unwrap_or((&route.path_and_query, ""));
        check(
            "upstream method",
            &expected["method"],
            &json!(route.method),
            lines,
        );
        check("upstream path", &expected["path"], &json!(path), lines);
        let query: Map<String, Value> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect();
        let wanted = expected.get("query").cloned().unwrap_or_else(|| json!({}));
        check("upstream query", &wanted, &Value::Object(query), lines);
        for (name, value) in expected["headers"].as_object().into_iter().flatten() {
            let found = route
                .headers
                .iter()
                .find(|(other, _)| other == name)
                .map(|(_, value)| json!(value));
            check(
                &format!("upstream header {name}"),
                value,
                &found.unwrap_or(Value::Null),
                lines,
            );
        }
        if let Some(wanted) = expected.get("body") {
            match serde_json::from_slice::<Value>(&sent) {
                Ok(sent) => compare("upstream body", &with_stub(wanted), &sent, lines),
                Err(error) => lines.push(format!(
                    "upstream body: {error}: {}",
                    String::from_utf8_lossy(&sent)
                )),
            }
        }
    }

    fn answer(&self, outgoing: &Outgoing, client: &Value, lines: &mut Vec<String>) {
        let upstream = match self.case.get("upstream_response") {
            Some(upstream) => upstream,
            None => match self.case["upstream_responses"]
                .as_array()
                .and_then(|list| list.first())
            {
                Some(upstream) => upstream,
                None => return,
            },
        };
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
            now_unix_s: 1_741_570_000,
            fresh_id: "fresh0123456789",
            response_id: "",
            renamed: &[],
        };
        if let Some(frames) = upstream["frames"].as_array()
            && status < 400
        {
            let frames: Vec<&str> = frames.iter().map(|frame| frame.as_str().unwrap()).collect();
            return self.compare_stream(&frames, &context, lines);
        }
        let body = match (upstream.get("body"), upstream["body_text"].as_str()) {
            (Some(body), _) => python_json(body),
            (None, Some(text)) => text.to_owned(),
            (None, None) => return lines.push("no recorded answer that can be played".to_owned()),
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
                check("client status", &wanted["status"], &json!(status), lines);
                let got = answer.body.to_vec(body.as_bytes());
                match serde_json::from_slice::<Value>(&got) {
                    Ok(got) => compare("client body", &wanted["body"], &got, lines),
                    Err(error) => lines.push(format!(
                        "client body: {error}: {}",
                        String::from_utf8_lossy(&got)
                    )),
                }
            }
            Err(error) => self.compare_error(error, lines),
        }
    }

    fn compare_error(&self, mut error: GatewayError, lines: &mut Vec<String>) {
        error.in_group(self.group, &[]);
        let got: Value = serde_json::from_slice(&error.body_openai()).unwrap();
        let wanted = &self.case["client_response"];
        check(
            "client status",
            &wanted["status"],
            &json!(error.status),
            lines,
        );
        compare("client body", &wanted["body"], &got, lines);
    }

    fn compare_stream(
        &self,
        frames: &[&str],
        context: &AnswerContext<'_>,
        lines: &mut Vec<String>,
    ) {
        let bytes = frames.concat();
        let mut out = Vec::new();
        match self.target.stream(context) {
            StreamReader::Tap(mut tap) => {
                self.cut_everywhere(bytes.as_bytes(), context, lines);
                let mut part = Vec::new();
                let mut open = true;
                for (name, data) in events(&bytes) {
                    match tap.event(name.as_bytes(), data.as_bytes(), &mut part) {
                        EventAction::Pass => out.extend_from_slice(
                            format!("event: {name}\ndata: {data}\n\n").as_bytes(),
                        ),
                        EventAction::Replace => out.extend_from_slice(&part),
                        EventAction::Hide => {}
                        EventAction::Error(error) => {
                            out.extend_from_slice(&error.stream_frame());
                            out.extend_from_slice(b"data: [DONE]\n\n");
                            open = false;
                        }
                        EventAction::Done => {
                            out.extend_from_slice(&part);
                            open = false;
                        }
                    }
                    if !open {
                        break;
                    }
                }
                if open && tap.ended(&mut part) {
                    out.extend_from_slice(&part);
                }
            }
            StreamReader::Translate(mut translator) => {
                let mut result = Ok(());
                for byte in bytes.as_bytes() {
                    result = translator.feed(&[*byte], &mut out);
                    if result.is_err() || translator.is_done() {
                        break;
                    }
                }
                match result {
                    Ok(()) => {
                        if !translator.is_done() && translator.end(&mut out) == StreamEnd::Cut {
                            lines.push("the stream counts as cut".to_owned());
                        }
                    }
                    Err(error) => {
                        out.extend_from_slice(&error.stream_frame());
                        out.extend_from_slice(b"data: [DONE]\n\n");
                    }
                }
            }
        }
        self.compare_events(&String::from_utf8(out).unwrap(), lines);
    }

    /// Cut at each offset a stream gives the same bytes, and no part of it counts as complete before it said why it ended.
    fn cut_everywhere(&self, bytes: &[u8], context: &AnswerContext<'_>, lines: &mut Vec<String>) {
        const ENDS: [&str; 5] = [
            "\"finish_reason\": \"",
            "\"finish_reason\":\"",
            "response.completed",
            "response.incomplete",
            "[DONE]",
        ];
        let whole = self.tapped(&[bytes], context);
        for at in 0..bytes.len() {
            let (before, behind) = bytes.split_at(at);
            if self.tapped(&[before, behind], context) != whole {
                lines.push(format!("cut at {at} it is another stream"));
            }
            let text = String::from_utf8_lossy(before);
            let has_ended = ENDS.iter().any(|end| text.contains(end));
            if !has_ended && self.tapped(&[before], context).1 == Some(true) {
                lines.push(format!("{at} bytes of it count as complete"));
            }
        }
    }

    /// What the relay makes of pieces of a stream: the client's bytes, and whether it was complete; nothing behind an error.
    fn tapped(&self, pieces: &[&[u8]], context: &AnswerContext<'_>) -> (Vec<u8>, Option<bool>) {
        let StreamReader::Tap(mut tap) = self.target.stream(context) else {
            return (b"not a tapped stream".to_vec(), None);
        };
        let (mut splitter, mut partial) = (EventSplitter::default(), Vec::new());
        let (mut out, mut part) = (Vec::new(), Vec::new());
        let mut take = |event: &[u8], out: &mut Vec<u8>, part: &mut Vec<u8>| {
            let found = data(event);
            let Some(payload) = found.payload else {
                return true;
            };
            match tap.event(found.name, &payload, part) {
                EventAction::Pass => out.extend_from_slice(event),
                EventAction::Replace | EventAction::Done => out.extend_from_slice(part),
                EventAction::Hide => {}
                EventAction::Error(_) => return false,
            }
            true
        };
        for piece in pieces {
            partial.extend_from_slice(piece);
            let mut used = 0;
            while let Some(event) = splitter.next(&partial[used..]) {
                let (start, end) = (used + event.start, used + event.end);
                used = end;
                if !take(&partial[start..end], &mut out, &mut part) {
                    return (out, None);
                }
            }
            partial.drain(..used);
        }
        if !partial.is_empty() {
            partial.extend_from_slice(b"\n\n");
            if !take(&partial, &mut out, &mut part) {
                return (out, None);
            }
        }
        let complete = tap.ended(&mut part);
        out.extend_from_slice(&part);
        (out, Some(complete))
    }

    fn compare_events(&self, got: &str, lines: &mut Vec<String>) {
        let parse = |data: String| serde_json::from_str(&data).unwrap_or(Value::String(data));
        let got: Vec<Value> = events(got)
            .into_iter()
            .map(|(_, data)| parse(data))
            .collect();
        let wanted: Vec<Value> = self.case["client_response"]["sse"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default()
            .iter()
            .map(|event| event["data"].clone())
            .collect();
        if got.len() != wanted.len() {
            let last = got.last().map(Value::to_string).unwrap_or_default();
            lines.push(format!(
                "{} events instead of {}; the last: {last}",
                got.len(),
                wanted.len()
            ));
        }
        for (index, (wanted, got)) in wanted.iter().zip(&got).enumerate() {
            compare(&format!("event {index}"), wanted, got, lines);
        }
    }
}

/// The events of a stream: name and data.
fn events(text: &str) -> Vec<(String, String)> {
    let mut list = Vec::new();
    for block in text.replace("\r\n", "\n").split("\n\n") {
        let (mut name, mut data) = (String::new(), Vec::new());
        for line in block.lines() {
            if let Some(value) = line.strip_prefix("data:") {
                data.push(value.strip_prefix(' ').unwrap_or(value));
            } else if let Some(value) = line.strip_prefix("event:") {
                name = value.trim().to_owned();
            }
        }
        if !data.is_empty() {
            list.push((name, data.join("\n")));
        }
    }
    list
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
        other => other.to_string(),
    }
}

fn check(what: &str, wanted: &Value, got: &Value, lines: &mut Vec<String>) {
    compare(what, wanted, got, lines);
}

/// Compares values; `wanted` may hold placeholders.
fn compare(at: &str, wanted: &Value, got: &Value, lines: &mut Vec<String>) {
    match (wanted, got) {
        (Value::Object(wanted), Value::Object(got)) => {
            for (name, value) in wanted {
                match got.get(name) {
                    Some(got) => compare(&format!("{at}.{name}"), value, got, lines),
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

/// A small generator (xorshift), for bodies nobody would write.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }

    fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }
}

/// A chat request with any fields in any order, some of them odd.
fn odd_request(random: &mut Random) -> String {
    const NAMES: &[&str] = &[
        "model",
        "messages",
        "stream",
        "stream_options",
        "temperature",
        "max_tokens",
        "max_completion_tokens",
        "seed",
        "user",
        "tools",
        "tool_choice",
        "metadata",
        "extra_body",
        "extra_headers",
        "drop_params",
        "vendor",
        "n",
        "stop",
        "reasoning_effort",
        "response_format",
        "usage",
        "thinking",
        "timeout",
        "allowed_openai_params",
    ];
    const VALUES: &[&str] = &[
        "null",
        "1",
        "true",
        "\"x\"",
        "[]",
        "{}",
        r#"{"include_usage":false}"#,
        r#"["seed","n"]"#,
        r#"[{"role":"system","content":null},{"content":[{"type":"text","text":"a"}]},3,{}]"#,
        r#"[{"function":{"strict":true,"parameters":{"additionalProperties":false,"properties":{"strict":1}}}}]"#,
        r#"{"a":{"b":[null]},"model":"z"}"#,
    ];
    let mut names = NAMES.to_vec();
    let mut body = String::from("{ ");
    for count in 0..random.below(names.len()) {
        let name = names.swap_remove(random.below(names.len()));
        let comma = if count > 0 {
            random.pick(&[",", " , ", ",\n"])
        } else {
            ""
        };
        body.push_str(&format!(
            "{comma}\"{name}\"{}:{}",
            random.pick(&["", " "]),
            random.pick(VALUES)
        ));
    }
    body.push_str(" }");
    body
}

#[test]
fn whatever_the_request_what_goes_upstream_is_valid() {
    for (index, entry) in shardgate::provider::PROVIDERS.iter().enumerate() {
        let params = json!({"model": format!("{}/some-model", entry.name), "api_base": "http://h/v1", "api_key": "k",
            "temperature": 0.5, "vendor": {"x": 1}, "drop_params": true, "stream": true});
        let Ok(target) = Target::from_params(params.as_object().unwrap(), &|_| None) else {
            continue;
        };
        for seed in 1..200u64 {
            let mut random =
                Random((seed * 1000 + index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
            let body = odd_request(&mut random);
            let fields = scan(body.as_bytes()).unwrap();
            let incoming = Incoming::Json {
                body: body.as_bytes(),
                scan: &fields,
            };
            let Ok(sent) = target.request(Operation::Chat, incoming, &RequestOptions::default())
            else {
                continue;
            };
            let sent = sent.body.to_vec(body.as_bytes());
            let valid = scan(&sent);
            assert!(
                valid.is_ok(),
                "{} seed {seed}: {valid:?}\n{body}\n{}",
                entry.name,
                String::from_utf8_lossy(&sent)
            );
        }
    }
}

#[test]
fn damaged_answers_do_no_harm() {
    let context = AnswerContext {
        operation: Operation::Chat,
        requested_model: "m",
        keep_upstream_model: false,
        usage_asked: true,
        now_unix_s: 1,
        fresh_id: "id",
        response_id: "",
        renamed: &[],
    };
    for folder_name in [
        "azure",
        "databricks",
        "hosted_vllm",
        "mistral",
        "openrouter",
        "perplexity",
    ] {
        for file in cases(&folder().join(folder_name)) {
            let case: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
            let config = with_stub(&case["config"]);
            let Ok(target) =
                Target::from_params(config["litellm_params"].as_object().unwrap(), &|_| None)
            else {
                continue;
            };
            let Some(body) = case["upstream_response"].get("body").map(python_json) else {
                continue;
            };
            for at in (0..body.len()).step_by(3) {
                for status in [200, 400, 500] {
                    let mut damaged = body.clone().into_bytes();
                    damaged[at] = b"{}[]\",:n\\"[at % 9];
                    for bytes in [&damaged[..], &body.as_bytes()[..at]] {
                        let reply = Reply {
                            operation: Operation::Chat,
                            status,
                            headers: &[],
                            body: bytes,
                        };
                        if let Ok(answer) = target.answer(&reply, &context) {
                            let got = answer.body.to_vec(bytes);
                            assert!(scan(&got).is_ok(), "{}", String::from_utf8_lossy(&got));
                        }
                    }
                }
            }
        }
    }
}
