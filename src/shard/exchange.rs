//! One attempt's exchange: build the request, send it, wait for something usable.

use std::ops::Range;
use std::time::{Duration, Instant};

use shardgate_io::buffer::Buf;
use shardgate_io::driver::{Pieces, Timer};
use shardgate_io::http1::client::{AnswerError, Data, Exchange, Headers, Outgoing as Sendable};
use shardgate_io::http1::encode::{end_head, header};
use shardgate_io::http1::server::{Party, Woke};
use shardgate_io::pool::Lease;

use super::attempt::Work;
use super::body::Content;
use super::mock::{self, Magic, Mock};
use super::relay::{self, Progress, Relay, Stop};
use super::{admin, answer, credential, estimate, fault, media, poll, prompts, replay, turns};
use crate::dialect::scan::Span;
use crate::dialect::splice::Spliced;
use crate::dialect::usage::Usage;
use crate::dialect::value::Value;
use crate::dialect::walk;
use crate::error::{ErrorClass, GatewayError};
use crate::provider::{
    Answer, AnswerContext, Incoming, Moment, Operation, Outgoing, Reply, RequestOptions,
    StreamReader, canned_answer, canned_stream,
};
use crate::snapshot::{Deployment, head_bytes};

/// Head and body up to this size are sent with one write; larger bodies are not copied.
const ONE_WRITE_BYTES_MAX: usize = 8 * 1024;
/// How much of an error's body is read.
const ERROR_BYTES_MAX: usize = 1024 * 1024;

/// Something that can be answered.
pub(super) enum Answered {
    /// A whole answer, read and edited.
    Whole(Box<Whole>),
    /// A stream whose first events are there.
    Stream(Box<Streaming>),
    /// Bytes that go on as they come (audio).
    Raw(Box<Exchange>),
}

/// A whole answer.
pub(super) struct Whole {
    pub status: u16,
    pub content_type: Vec<u8>,
    /// The upstream's headers, for `llm_provider-*`.
    pub headers: Headers,
    /// The upstream's body, which `answer` edits.
    pub body: Buf,
    pub answer: Option<Answer>,
}

/// A stream that has begun.
pub(super) struct Streaming {
    /// `None` for canned answers.
    pub exchange: Option<Exchange>,
    pub headers: Headers,
    pub relay: Relay,
    /// The first events are all there is.
    pub ended: bool,
    /// Where the next ones come from, when not from `exchange`.
    pub poll: Option<Box<poll::Poll>>,
}

/// Why an attempt failed; `None`: the client has left.
pub(super) type Failed = Option<GatewayError>;

/// Makes one attempt at `deployment`, up to the first usable byte.
pub(super) async fn run(
    work: &mut Work<'_, impl Party>,
    deployment: &Deployment,
    model: &str,
    deadline: Instant,
) -> Result<Answered, Failed> {
    if let Some(why) = &deployment.unusable {
        return Err(Some(fault::unusable(why)));
    }
    if let Some(mock) = work.asked.mock.as_deref().or(deployment.mock.as_ref()) {
        let mock = mock.clone();
        return mocked(work, &mock);
    }
    if work.asked.operation.is_count() && !deployment.target.counts(work.asked.operation) {
        return counted(work, model).await;
    }
    if work.asked.operation == Operation::Completions
        && let Some(bodies) = prompts::split(work, deployment).map_err(Some)?
    {
        return Box::pin(prompts::run(work, deployment, model, bodies, deadline)).await;
    }
    if work.asked.operation == Operation::Responses {
        Box::pin(turns::ready(work, deployment)).await?;
    }
    if deployment.target.takes_bytes_only {
        Box::pin(media::ready(work, deployment, deadline)).await?;
    }
    if let Some(fetched) = &deployment.credential {
        Box::pin(credential::ready(work, deployment, fetched, deadline)).await?;
    }
    let (sendable, outgoing) = build(work, deployment, model).map_err(Some)?;
    debug_request(work, deployment, model);
    let mut exchange = answered(work, deployment, sendable, model, deadline).await?;
    let context = context(work, &outgoing);
    if exchange.head.status >= 400 {
        return Err(Some(
            upstream_error(work, deployment, &mut exchange, deadline).await?,
        ));
    }
    if replay::applies(work, deployment) {
        return Box::pin(replay::run(work, deployment, exchange, &context, deadline)).await;
    }
    if outgoing.is_promise {
        return poll::run(work, deployment, exchange, &outgoing, &context, deadline).await;
    }
    if is_stream(deployment, &exchange, &outgoing, &context) {
        return stream(work, deployment, exchange, &context, deadline).await;
    }
    if work.asked.operation == Operation::Speech {
        return Ok(Answered::Raw(Box::new(exchange)));
    }
    whole(work, deployment, exchange, &context, deadline).await
}

/// The tokens of a prompt, for a provider that does not count them itself. Counted off the shard.
async fn counted(work: &mut Work<'_, impl Party>, model: &str) -> Result<Answered, Failed> {
    let prompt = work.body().to_vec();
    let tokens = admin::count(work.shard, work.connection, model, prompt).await;
    let tokens = tokens.map_err(Some)?.ok_or(None)?;
    let body = match work.asked.operation {
        Operation::GenerateCount => format!(r#"{{"totalTokens":{tokens}}}"#),
        _ => format!(r#"{{"input_tokens":{tokens}}}"#),
    };
    Ok(Answered::Whole(Box::new(Whole {
        status: 200,
        content_type: b"application/json".to_vec(),
        headers: Headers::default(),
        body: Buf::from(body.into_bytes()),
        answer: None,
    })))
}

/// `set_verbose`: what goes where, with everything that looks like a secret masked.
fn debug_request(work: &Work<'_, impl Party>, deployment: &Deployment, model: &str) {
    const SHOWN_BYTES_MAX: usize = 4096;
    let log = &work.shard.shared.log;
    if !log.is_verbose() {
        return;
    }
    let body = work.body();
    let mut text = String::from_utf8_lossy(&body[..body.len().min(SHOWN_BYTES_MAX)]).into_owned();
    deployment.redact(&mut text);
    crate::log!(
        log,
        Debug,
        "upstream_request",
        id = work.call.shown_id(),
        deployment = deployment.id,
        provider = deployment.target.entry.name,
        model = model,
        host = deployment.origin.host,
        body = crate::error::mask_secrets(&text),
    );
}

/// The answer comes in events: it says so, or its provider streams in a way of its own (AWS event
/// streams, lines of JSON).
fn is_stream(
    deployment: &Deployment,
    exchange: &Exchange,
    outgoing: &Outgoing,
    context: &AnswerContext<'_>,
) -> bool {
    let kind = exchange.header("content-type").unwrap_or_default();
    if kind.starts_with(b"text/event-stream") {
        return true;
    }
    outgoing.stream
        && !kind.starts_with(b"application/json")
        && matches!(
            deployment.target.stream(context),
            StreamReader::Translate(_)
        )
}

/// What an answer needs to know of the call; the strings are the call's.
fn context<'a: 'b, 'b>(work: &Work<'a, impl Party>, outgoing: &'b Outgoing) -> AnswerContext<'b> {
    let settings = &work.call.snapshot.settings;
    AnswerContext {
        operation: work.asked.operation,
        requested_model: work.asked.alias.as_ref().unwrap_or(&work.asked.model),
        keep_upstream_model: !settings.requested_model || work.asked.keeps_model,
        usage_asked: outgoing.usage_asked || settings.always_include_stream_usage == Some(true),
        now_unix_s: work.now_unix_s,
        fresh_id: work.fresh_id,
        response_id: &outgoing.response_id,
        renamed: &outgoing.renamed,
    }
}

fn build(
    work: &Work<'_, impl Party>,
    deployment: &Deployment,
    model: &str,
) -> Result<(Sendable, Outgoing), GatewayError> {
    let (asked, body) = (work.asked, work.body());
    let settings = &work.call.snapshot.settings;
    let incoming = match work.content.as_deref() {
        Some(Content::Json(scan)) => Incoming::Json {
            body,
            scan: work.replaced().unwrap_or(scan),
        },
        Some(Content::Form(parts)) => Incoming::Multipart { body, parts },
        None => return Err(fault::let_go()),
    };
    let target = &deployment.target;
    let own = target.model.contains('*').then(|| {
        let prefix = model.strip_prefix(target.entry.name);
        prefix
            .and_then(|rest| rest.strip_prefix('/'))
            .unwrap_or(model)
    });
    let beta = target.takes_beta.then(|| work.header("anthropic-beta"));
    let options = RequestOptions {
        beta: beta
            .flatten()
            .and_then(|beta| std::str::from_utf8(beta).ok()),
        model: own,
        drop_params: settings.drop_params,
        modify_params: settings.modify_params,
        stream_usage: settings.always_include_stream_usage,
        now_unix_s: work.now_unix_s,
    };
    let mut outgoing = target.request(asked.operation, incoming, &options)?;
    if replay::applies(work, deployment) {
        replay::ask_whole(&mut outgoing, body);
    }
    if let Some(turn) = &work.turn {
        outgoing.response_id.clone_from(&turn.id);
    }
    let mut head = Buf::small();
    begin_head(work, deployment, &outgoing, &mut head)?;
    work.forwarded(target.entry.name, &mut head);
    let length = outgoing.body.len(body);
    answer::CONTENT_LENGTH.write_u64(&mut head, length as u64);
    end_head(&mut head);
    if head.len() + length <= ONE_WRITE_BYTES_MAX {
        outgoing.body.copy_into(body, &mut head);
        return Ok((Sendable::One(head), outgoing));
    }
    Ok((Sendable::Many(pieces(head, &outgoing, work)), outgoing))
}

/// The head up to its framing: made beforehand where nothing in it depends on the request.
fn begin_head(
    work: &Work<'_, impl Party>,
    deployment: &Deployment,
    outgoing: &Outgoing,
    head: &mut Buf,
) -> Result<(), GatewayError> {
    let (operation, target) = (work.asked.operation, &deployment.target);
    let version = other_version(work, operation);
    let ready = deployment.head(operation, outgoing.stream);
    let ready = ready.filter(|_| version.is_none());
    if let (Some(ready), None, false) = (ready, &outgoing.path_and_query, target.is_signed()) {
        head.extend_from_slice(ready);
    } else {
        let mut route = target.route(operation, outgoing.stream)?;
        if let Some(path) = &outgoing.path_and_query {
            route.path_and_query.clone_from(path);
        }
        if target.is_signed() {
            let bytes = outgoing.body.to_vec(work.body());
            let held = deployment.credential.as_ref().map(|fetched| fetched.look());
            let state = held.as_ref().and_then(|held| held.as_ref());
            // The clock of now: the call may have waited for its credential, or for its turn.
            let now_unix_s = answer::unix_seconds();
            let moment = Moment {
                now_unix_s,
                grant: state.and_then(|state| state.grant(now_unix_s)),
            };
            let signed = target.sign(&route, &bytes, &moment)?;
            route.headers.extend(signed);
        }
        if let Some(version) = version {
            let own = route
                .headers
                .iter_mut()
                .find(|(name, _)| name == "anthropic-version");
            if let Some((_, own)) = own {
                *own = version;
            }
        }
        head.extend_from_slice(&head_bytes(target, &route));
    }
    for (name, value) in &outgoing.headers {
        header(head, name, value.as_bytes());
    }
    if matches!(work.content.as_deref(), Some(Content::Form(_)))
        && let Some(kind) = work.header("content-type")
    {
        header(head, "content-type", kind);
    }
    Ok(())
}

/// The version of Anthropic's API that its client asks for, where it is not the usual one.
fn other_version(work: &Work<'_, impl Party>, operation: Operation) -> Option<String> {
    if !matches!(operation, Operation::Messages | Operation::MessagesCount) {
        return None;
    }
    let version = work.header("anthropic-version")?;
    let version = std::str::from_utf8(version).ok()?;
    (version != "2023-06-01").then(|| version.to_owned())
}

/// A large body as pieces of the client's own bytes and of what was edited into them.
fn pieces(head: Buf, outgoing: &Outgoing, work: &Work<'_, impl Party>) -> Pieces {
    let mut pieces = Pieces::new();
    pieces.push(head);
    for piece in outgoing.body.pieces(work.body()) {
        match range_within(&work.bytes, piece) {
            Some(range) => pieces.push_shared(&work.bytes, range),
            None => pieces.push(Buf::from(piece.to_vec())),
        }
    }
    pieces
}

/// Where `piece` lies in `whole`, when it is a part of it.
fn range_within(whole: &[u8], piece: &[u8]) -> Option<Range<usize>> {
    let (base, at) = (whole.as_ptr() as usize, piece.as_ptr() as usize);
    let start = at.checked_sub(base)?;
    (start + piece.len() <= whole.len()).then(|| start..start + piece.len())
}

/// Sends the request and waits for the answer's head; a reused connection that turns out dead before
/// any byte of an answer is replaced once by a fresh one, unseen.
async fn answered(
    work: &mut Work<'_, impl Party>,
    deployment: &Deployment,
    sendable: Sendable,
    model: &str,
    deadline: Instant,
) -> Result<Exchange, Failed> {
    let lease = lease(work, deployment, false, deadline).await?;
    let reused = lease.reused;
    match send_and_wait(work, lease, sendable, deadline).await {
        Err(Broken::Stale) if reused => {
            let (again, _) = build(work, deployment, model).map_err(Some)?;
            let lease = self::lease(work, deployment, true, deadline).await?;
            send_and_wait(work, lease, again, deadline)
                .await
                .map_err(Broken::into_failed)
        }
        other => other.map_err(Broken::into_failed),
    }
}

pub(super) enum Broken {
    /// The connection broke before a byte of an answer had come.
    Stale,
    Failed(Failed),
}

impl Broken {
    pub(super) fn into_failed(self) -> Failed {
        match self {
            Broken::Failed(failed) => failed,
            Broken::Stale => Some(connection_error("the upstream closed the connection")),
        }
    }
}

fn connection_error(why: &str) -> GatewayError {
    let text = format!("litellm.APIConnectionError: Connection error: {why}");
    GatewayError::new(ErrorClass::ApiConnection, text)
}

pub(super) async fn lease(
    work: &mut Work<'_, impl Party>,
    deployment: &Deployment,
    fresh: bool,
    deadline: Instant,
) -> Result<Lease, Failed> {
    let mut how = work.call.snapshot.settings.connect;
    how.timeout = how
        .timeout
        .min(deadline.saturating_duration_since(Instant::now()));
    let origin = &deployment.origin;
    if origin.addresses.load().is_empty() {
        let text = format!("the name {} does not resolve", origin.host);
        return Err(Some(connection_error(&text)));
    }
    let pool = &work.shard.pool;
    let leased = match fresh {
        false => {
            work.connection
                .wait_for(pool.lease(origin, how), deadline)
                .await
        }
        true => {
            work.connection
                .wait_for(pool.fresh(origin, how), deadline)
                .await
        }
    };
    match leased {
        Ok(Ok(lease)) => Ok(lease),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::TimedOut => Err(Some(relay::late())),
        Ok(Err(error)) => Err(Some(connection_error(&error.to_string()))),
        Err(woke) => Err(woken(woke)),
    }
}

pub(super) fn woken(woke: Woke) -> Failed {
    match woke {
        Woke::Gone => None,
        Woke::Drained => Some(fault::draining()),
        Woke::Late | Woke::Ready => Some(relay::late()),
    }
}

pub(super) async fn send_and_wait(
    work: &mut Work<'_, impl Party>,
    lease: Lease,
    sendable: Sendable,
    deadline: Instant,
) -> Result<Exchange, Broken> {
    let to_head = false;
    work.call.route.sent = true;
    let mut timer = Timer::default();
    if let Some(socket) = &work.closable {
        socket.replace(Some(lease.stream.socket().clone()));
    }
    let grace = deadline
        .saturating_duration_since(Instant::now())
        .max(Duration::from_millis(1));
    let (sent, mut exchange) = Exchange::send(lease, sendable, to_head, &mut timer, grace).await;
    if let Err(error) = sent {
        // An upstream may answer before it has read all and close: what it said still counts.
        if !matches!(error.kind(), std::io::ErrorKind::BrokenPipe) {
            return Err(stale(AnswerError::Io {
                error,
                before_answer: true,
            }));
        }
    }
    let limits = work.call.snapshot.settings.server.limits;
    loop {
        match work.connection.wait_with(exchange.stream(), deadline).await {
            Woke::Ready => exchange.receive().await.map_err(stale)?,
            woke => return Err(Broken::Failed(woken(woke))),
        }
        if exchange.parse_head(&limits).map_err(stale)? {
            return Ok(exchange);
        }
    }
}

fn stale(error: AnswerError) -> Broken {
    match &error {
        AnswerError::Io {
            before_answer: true,
            error: io,
        } if io.kind() != std::io::ErrorKind::TimedOut => Broken::Stale,
        _ => Broken::Failed(Some(relay::broken(&error))),
    }
}

/// Reads an answer's body whole, at most `bytes_max`.
pub(super) async fn collect(
    work: &mut Work<'_, impl Party>,
    exchange: &mut Exchange,
    bytes_max: usize,
    deadline: Instant,
) -> Result<Buf, Failed> {
    let expected = exchange.body_length().unwrap_or(0);
    if expected > bytes_max as u64 {
        return Err(Some(fault::answer_too_large(bytes_max)));
    }
    let mut body = Buf::for_bytes(usize::try_from(expected).unwrap_or(0));
    loop {
        match exchange
            .data()
            .map_err(|error| Some(relay::broken(&error)))?
        {
            Data::Run(range) => {
                if body.len() + range.len() > bytes_max {
                    return Err(Some(fault::answer_too_large(bytes_max)));
                }
                body.extend_from_slice(&exchange.bytes()[range]);
            }
            Data::End => return Ok(body),
            Data::NeedMore => match relay::wait(exchange, work.connection, deadline).await {
                Ok(()) => {}
                Err(Stop::Gone) => return Err(None),
                Err(Stop::Failed(error)) => return Err(Some(error)),
            },
        }
    }
}

pub(super) async fn upstream_error(
    work: &mut Work<'_, impl Party>,
    deployment: &Deployment,
    exchange: &mut Exchange,
    deadline: Instant,
) -> Result<GatewayError, Failed> {
    let (status, headers) = (exchange.head.status, exchange.take_headers());
    let body = collect(work, exchange, ERROR_BYTES_MAX, deadline).await;
    let body = match body {
        Ok(body) => body,
        Err(None) => return Err(None),
        // The status says enough.
        Err(Some(_)) => Buf::none(),
    };
    let operation = work.asked.operation;
    let reply = Reply {
        operation,
        status,
        headers: &headers.texts(),
        body: &body,
    };
    let mut error = deployment.target.error(&reply);
    deployment.redact(&mut error.message);
    Ok(error)
}

async fn whole(
    work: &mut Work<'_, impl Party>,
    deployment: &Deployment,
    mut exchange: Exchange,
    context: &AnswerContext<'_>,
    deadline: Instant,
) -> Result<Answered, Failed> {
    let bytes_max = work.call.snapshot.settings.response_bytes_max;
    let body = collect(work, &mut exchange, bytes_max, deadline).await?;
    let status = exchange.head.status;
    let content_type = exchange.header("content-type").unwrap_or_default().to_vec();
    let headers = exchange.take_headers();
    exchange.finish();
    let is_json = memchr::memmem::find(&content_type, b"json").is_some();
    let answer = match is_json || content_type.is_empty() {
        true => {
            let operation = work.asked.operation;
            let reply = Reply {
                operation,
                status,
                headers: &[],
                body: &body,
            };
            let answer = deployment.target.answer(&reply, context).map_err(Some)?;
            Some(counted_answer(work, answer, &body))
        }
        false => None,
    };
    Ok(Answered::Whole(Box::new(Whole {
        status,
        content_type,
        headers,
        body,
        answer,
    })))
}

/// With its usage estimated where it came without.
pub(super) fn counted_answer<P>(work: &Work<'_, P>, mut answer: Answer, body: &[u8]) -> Answer {
    if answer.usage.is_none() {
        answer.usage = estimate::of_whole(work, &answer, body);
    }
    answer
}

/// Waits for the first events; until they are there the attempt can still fail unseen.
async fn stream(
    work: &mut Work<'_, impl Party>,
    deployment: &Deployment,
    mut exchange: Exchange,
    context: &AnswerContext<'_>,
    deadline: Instant,
) -> Result<Answered, Failed> {
    let headers = exchange.take_headers();
    let reader = deployment.target.stream(context);
    let bytes_max = work.call.snapshot.settings.response_bytes_max;
    let mut relay = match work.asked.array {
        true => Relay::array(reader, work.call.http11, bytes_max),
        false => Relay::new(reader, work.call.http11, bytes_max),
    };
    let ended = match relay
        .advance(&mut exchange, work.connection, deadline)
        .await
    {
        Ok(Progress::Ready) => false,
        Ok(Progress::Ended) => {
            relay.ended().map_err(Some)?;
            true
        }
        Err(Stop::Gone) => return Err(None),
        // What came before the failure goes out first; the failure is met again by the relay.
        Err(Stop::Failed(error)) if relay.has_output() => {
            relay.fail_later(error);
            false
        }
        Err(Stop::Failed(error)) => return Err(Some(error)),
    };
    let exchange = Some(exchange);
    Ok(Answered::Stream(Box::new(Streaming {
        exchange,
        headers,
        relay,
        ended,
        poll: None,
    })))
}

fn mocked(work: &Work<'_, impl Party>, mock: &serde_json::Value) -> Result<Answered, Failed> {
    let asked = work.asked;
    let (id, created) = (work.fresh_id, work.now_unix_s);
    let made = mock::answer(
        asked.operation,
        mock,
        &asked.model,
        asked.stream,
        id,
        created,
    );
    let whole = |body: Vec<u8>| {
        let mut answer = crate::provider::Answer::new(Spliced::unchanged());
        answer.usage = walk::member(&body, Span::new(0, body.len()), "usage")
            .and_then(|span| Usage::read(&body, span));
        let body = dressed(asked.operation, body, id);
        let answer = counted_answer(work, answer, &body);
        let (status, body) = (200, Buf::from(body));
        let content_type = b"application/json".to_vec();
        let headers = Headers::default();
        Answered::Whole(Box::new(Whole {
            status,
            content_type,
            headers,
            body,
            answer: Some(answer),
        }))
    };
    match made {
        Mock::Json(body) => Ok(whole(body)),
        Mock::Fail(magic) => Err(Some(magic_error(magic, &asked.model))),
        Mock::Events(events) => canned(work, &events, None),
        Mock::Breaks(events) => {
            let text = "litellm.APIConnectionError: mock streaming error";
            canned(
                work,
                &events,
                Some(GatewayError::new(ErrorClass::ApiConnection, text)),
            )
        }
    }
}

/// A canned chat for a client of another dialect. What is in another shape already stays as it is.
fn dressed(operation: Operation, body: Vec<u8>, fresh_id: &str) -> Vec<u8> {
    match Value::read(&body) {
        Ok(chat) if chat["object"] == "chat.completion" => {
            canned_answer(operation, chat, fresh_id).to_vec()
        }
        _ => body,
    }
}

fn canned(
    work: &Work<'_, impl Party>,
    events: &[Vec<u8>],
    breaks: Option<GatewayError>,
) -> Result<Answered, Failed> {
    let outgoing = Outgoing {
        usage_asked: work.asked.include_usage,
        ..Outgoing::new(crate::dialect::splice::Spliced::unchanged())
    };
    let context = context(work, &outgoing);
    let reader = canned_stream(&context);
    let bytes_max = work.call.snapshot.settings.response_bytes_max;
    let mut relay = match work.asked.array {
        true => Relay::array(reader, work.call.http11, bytes_max),
        false => Relay::new(reader, work.call.http11, bytes_max),
    };
    for event in events {
        let framed = [b"data: ", event.as_slice(), b"\n\n"].concat();
        relay.take(&framed).map_err(Some)?;
    }
    match breaks {
        Some(error) => relay.fail_later(error),
        None => {
            relay.take(b"data: [DONE]\n\n").map_err(Some)?;
        }
    }
    let headers = Headers::default();
    Ok(Answered::Stream(Box::new(Streaming {
        exchange: None,
        headers,
        relay,
        ended: true,
        poll: None,
    })))
}

fn magic_error(magic: Magic, model: &str) -> GatewayError {
    let class = match magic {
        Magic::RateLimit => ErrorClass::RateLimit,
        Magic::ContextWindow => ErrorClass::ContextWindowExceeded,
        Magic::InternalServer => ErrorClass::InternalServer,
        Magic::ContentFilter => ErrorClass::ContentPolicyViolation,
    };
    GatewayError::new(
        class,
        format!(
            "litellm.{}: this is a mock error, model={model}",
            class.name()
        ),
    )
}
