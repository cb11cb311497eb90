//! Instruction counts of what every request goes through, for `bench/instructions`: valgrind counts
//! the instructions of two runs with different numbers of rounds, and their difference is what a
//! round costs, exactly and on any machine. Only the pure parts are called: no socket, no clock.

use std::hint::black_box;
use std::io;

use clap::{Args, ValueEnum};
use shardgate::dialect::openai_chat::plan::{Plan, RequestRules};
use shardgate::dialect::openai_chat::request::PlanOptions;
use shardgate::dialect::openai_chat::response::ResponseRules;
use shardgate::dialect::scan::scan;
use shardgate::dialect::stream::{self as dialect_stream, EventAction, StreamTap};
use shardgate::router::{
    DeploymentSpec, Facts, Journey, Live, Micros, Outcome, Registry, Rng, Router, RouterSettings,
    RouterSpec, Step, Success,
};
use shardgate_io::http1::body::{Chunk, ChunkDecoder};
use shardgate_io::http1::head::{self, Limits, RequestHead, ResponseHead};
use shardgate_io::sse;

use crate::load::Question;
use crate::script::{EventIndex, Scenario, StreamKind, StreamScript};
use crate::{accounting, translation};

/// Flags of `shardgate-bench instructions`.
#[derive(Args, Clone, Debug)]
pub(crate) struct InstructionArguments {
    /// What to run.
    part: Part,
    /// How often.
    #[arg(long, default_value_t = 1000)]
    rounds: u32,
}

/// One piece of the request path.
#[derive(ValueEnum, Clone, Copy, Debug)]
pub(crate) enum Part {
    /// Parse the head of a chat request.
    RequestHead,
    /// Parse the head of an answer.
    ResponseHead,
    /// Decode the framing of 16 chunks of one event each.
    Chunks,
    /// Find 16 events and their data.
    Events,
    /// Note the fields of a chat request of 400 bytes.
    Scan,
    /// The same with a prompt of 16 KB.
    ScanLong,
    /// Edit a scanned chat request for its deployment and put it together.
    Splice,
    /// Look at 16 chunks of a stream on their way to the client.
    Tap,
    /// Route a chat request of a group of one deployment, to its end.
    RouteOne,
    /// The same with 20 deployments and latency-based routing.
    RouteLatency,
    /// Translate a chat of 1,000 tokens for Anthropic.
    TranslateRequest,
    /// Translate Anthropic's answer of 300 tokens.
    TranslateAnswer,
    /// Translate 16 chunks of Anthropic's stream.
    TranslateChunks,
    /// The chat that is translated, for a provider of the client's dialect.
    SameRequest,
    /// Its answer from there.
    SameAnswer,
    /// Know a caller, take three limits and a budget, write the call down and settle.
    Account,
}

/// Runs one part. Prints nothing: valgrind does.
pub(crate) fn run(arguments: &InstructionArguments) -> io::Result<()> {
    let work = match arguments.part {
        Part::RequestHead => request_head,
        Part::ResponseHead => response_head,
        Part::Chunks => chunks,
        Part::Events => events,
        Part::Scan => scan_short,
        Part::ScanLong => scan_long,
        Part::Splice => splice,
        Part::Tap => tap,
        Part::RouteOne => |rounds| route(1, rounds),
        Part::RouteLatency => |rounds| route(20, rounds),
        Part::TranslateRequest => translation::request,
        Part::TranslateAnswer => translation::answer,
        Part::TranslateChunks => translation::chunks,
        Part::SameRequest => translation::same_request,
        Part::SameAnswer => translation::same_answer,
        Part::Account => accounting::account,
    };
    work(arguments.rounds).ok_or_else(|| io::Error::other("the input was refused"))
}

fn request_head(rounds: u32) -> Option<()> {
    let request = Question::chat("gpt-4o", false, 400).request(([127, 0, 0, 1], 4000).into());
    let mut parsed = RequestHead::default();
    for _ in 0..rounds {
        let outcome = head::parse_request(black_box(&request), &mut parsed, &Limits::default());
        black_box(outcome.ok()?);
        black_box(&parsed);
    }
    Some(())
}

fn response_head(rounds: u32) -> Option<()> {
    let answer = b"HTTP/1.1 200 OK\r\ndate: Tue, 24 Nov 2026 10:00:00 GMT\r\n\
        content-type: application/json\r\ncontent-length: 600\r\nconnection: keep-alive\r\n\
        openai-organization: org-1\r\nopenai-processing-ms: 312\r\nopenai-version: 2020-10-01\r\n\
        x-ratelimit-limit-requests: 10000\r\nx-ratelimit-remaining-requests: 9999\r\n\
        x-ratelimit-limit-tokens: 2000000\r\nx-ratelimit-remaining-tokens: 1999000\r\n\
        x-request-id: req_0123456789abcdef\r\n\r\n";
    let mut parsed = ResponseHead::default();
    for _ in 0..rounds {
        let limits = Limits::default();
        let outcome = head::parse_response(black_box(answer), false, &mut parsed, &limits);
        black_box(outcome.ok()?);
        black_box(&parsed);
    }
    Some(())
}

/// Sixteen events of a chat stream, as the mock upstream sends them.
fn stream() -> Vec<String> {
    let script = StreamScript {
        kind: StreamKind::Chat,
        scenario: Scenario {
            chunks: 16,
            ..Scenario::default()
        },
        id: 1,
        model: "gpt-4o".into(),
        include_usage: false,
    };
    let event = |n| {
        let mut text = String::new();
        script.event(EventIndex::Content(n), &mut text);
        text
    };
    (1..=16).map(event).collect()
}

fn chunks(rounds: u32) -> Option<()> {
    let mut wire = Vec::new();
    for event in stream() {
        wire.extend_from_slice(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes());
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    for _ in 0..rounds {
        let (mut decoder, mut at) = (ChunkDecoder::new(true), 0);
        loop {
            at += match black_box(decoder.next(&wire[at..]).ok()?) {
                Chunk::Data { consumed, .. } => consumed,
                Chunk::NeedMore { .. } => return None,
                Chunk::End { .. } => break,
            };
        }
    }
    Some(())
}

fn events(rounds: u32) -> Option<()> {
    let text = stream().concat().into_bytes();
    for _ in 0..rounds {
        let (mut splitter, mut at) = (sse::EventSplitter::default(), 0);
        while let Some(event) = splitter.next(black_box(&text[at..])) {
            black_box(sse::data(&text[at + event.start..at + event.end]));
            at += event.end;
        }
        (at == text.len()).then_some(())?;
    }
    Some(())
}

fn scan_short(rounds: u32) -> Option<()> {
    scan_body(400, rounds)
}

fn scan_long(rounds: u32) -> Option<()> {
    scan_body(16 * 1024, rounds)
}

fn scan_body(body_bytes: usize, rounds: u32) -> Option<()> {
    let body = Question::chat("gpt-4o", true, body_bytes).body();
    for _ in 0..rounds {
        black_box(scan(black_box(body.as_bytes())).ok()?);
    }
    Some(())
}

fn splice(rounds: u32) -> Option<()> {
    let body = Question::chat("gpt-4o", true, 400).body();
    let fields = scan(body.as_bytes()).ok()?;
    let defaults = serde_json::Map::new();
    let plan = Plan::new(
        "openai",
        "gpt-4o-2024-08-06",
        &RequestRules::PLAIN,
        &defaults,
    );
    let mut out = Vec::new();
    for _ in 0..rounds {
        let options = PlanOptions::default();
        let edited = plan
            .apply(black_box(body.as_bytes()), &fields, &options)
            .ok()?;
        out.clear();
        edited.body.copy_into(body.as_bytes(), &mut out);
        black_box(&out);
    }
    Some(())
}

fn tap(rounds: u32) -> Option<()> {
    let chunks = stream();
    let kind = dialect_stream::StreamKind::Chat;
    let mut tap = StreamTap::new(kind, &ResponseRules::PLAIN, "Openai", Some("gpt-4o"), false);
    let mut out = Vec::new();
    for _ in 0..rounds {
        for chunk in &chunks {
            let data = chunk.strip_prefix("data: ")?.trim_end();
            let action = tap.event(b"", black_box(data.as_bytes()), &mut out);
            if matches!(black_box(&action), EventAction::Error(_)) {
                return None;
            }
        }
    }
    Some(())
}

/// Requests one after the other to one group, on a gateway of two shards; every deployment has been
/// measured on both.
fn route(deployments: usize, rounds: u32) -> Option<()> {
    let entry = |n: usize| DeploymentSpec {
        id: format!("deployment-{n}"),
        group: "gpt-4o".into(),
        model: "openai/gpt-4o".into(),
        provider: "openai".into(),
        ..DeploymentSpec::default()
    };
    let settings = RouterSettings {
        strategy: "latency-based-routing".into(),
        ..RouterSettings::default()
    };
    let spec = RouterSpec {
        deployments: (0..deployments).map(entry).collect(),
        aliases: Vec::new(),
        settings,
    };
    let router = Router::new(spec, &mut Registry::new(2));
    let lives = [Live::new(0), Live::new(1)];
    let mut rng = Rng::new(7);
    let mut now = Micros(1_000_000);
    for (at, deployment) in router.deployments().iter().enumerate() {
        for shard in 0..2 {
            let cell = deployment.live.cell(shard);
            cell.per_token.add(100.0 + at as f64, 10, now);
        }
    }
    for round in 0..rounds {
        let live = &lives[round as usize % 2];
        now = Micros(now.0 + 50);
        let found = router.resolve(black_box("gpt-4o"));
        let mut journey = Journey::new(&router, "gpt-4o", found, Facts::default(), now)?;
        let step = journey.step(&router, live, now, &mut rng);
        matches!(black_box(step), Step::Attempt(_)).then_some(())?;
        now = Micros(now.0 + 50);
        journey.first_byte(&router, live, now);
        let success = Success {
            total: std::time::Duration::from_micros(50),
            ..Success::default()
        };
        journey.finished(Outcome::Success(success), &router, live, now, &mut rng);
    }
    Some(())
}
