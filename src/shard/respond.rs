//! Sending what an attempt found to the client.

use std::pin::Pin;
use std::time::Instant;

use shardgate_io::buffer::Buf;
use shardgate_io::http1::client::{Data, Exchange, Headers};
use shardgate_io::http1::encode::{Name, header, push_decimal};
use shardgate_io::http1::server::After;

use super::answer::{self, Length};
use super::attempt::Work;
use super::call::{Call, Charge};
use super::exchange::{Answered, Streaming, Whole};
use super::relay::{self, Progress, Stop};
use super::{cache, estimate, ledger, poll, turns};
use crate::dialect::usage::Usage;
use crate::error::{ErrorClass, GatewayError};
use crate::spend::meter;
use crate::spend::record::Outcome;
use crate::spend::usage::Quantities;

/// How an answer went.
pub(super) struct Served {
    pub after: After,
    pub usage: Option<Usage>,
    /// The upstream failed after the answer had begun.
    pub failed: Option<GatewayError>,
    pub client_left: bool,
    /// It failed, but the stream goes on with another attempt.
    pub goes_on: bool,
}

impl Served {
    fn well(after: After, usage: Option<Usage>) -> Served {
        Served {
            client_left: after == After::Abort,
            after,
            usage,
            failed: None,
            goes_on: false,
        }
    }
}

/// Sends an answer to its end. Each kind has a box of its own, so that a stream, which stays for long,
/// holds no room for the others.
pub(super) fn send<'a>(
    work: &'a mut Work<'_>,
    answered: Answered,
    deadline: Instant,
) -> Pin<Box<dyn Future<Output = Served> + 'a>> {
    match answered {
        Answered::Whole(_) | Answered::Raw(_) if work.is_continuing() => {
            Box::pin(std::future::ready(not_a_stream()))
        }
        Answered::Whole(whole) => Box::pin(send_whole(work, whole)),
        Answered::Stream(streaming) => Box::pin(send_stream(work, streaming, deadline)),
        Answered::Raw(exchange) => Box::pin(send_raw(work, exchange, deadline)),
    }
}

/// Notes what the call used and costs: for the header, the budgets and its record. `model` is the
/// one that the answer names.
pub(super) fn bill(call: &mut Call, usage: Option<&Usage>, model: Option<&str>) {
    if let Some(charge) = usage.and_then(|usage| charge(call, usage, model)) {
        call.cost = charge.cost.total.nanodollars();
        call.bill.charge = Some(Box::new(charge));
    }
}

/// What `usage` costs at the deployment that serves.
pub(super) fn charge(call: &Call, usage: &Usage, model: Option<&str>) -> Option<Charge> {
    let deployment = &call.snapshot.deployments[call.route.deployment?];
    let mut used = Quantities::from(usage);
    if deployment.meter.is_timed() {
        used.wall_us = u64::try_from(call.began.elapsed().as_micros()).unwrap_or(u64::MAX);
    }
    let model = model.unwrap_or_default();
    let cost = deployment.meter.cost_answered(&used, model);
    Some(Charge { used, cost })
}

/// Bills a call that was sent and is not waited for any longer.
pub(super) fn bill_sent<P>(work: &mut Work<'_, P>) {
    if work.call.route.sent {
        let sent = estimate::of_sent(work.asked.operation, work.prompt_tokens);
        bill(work.call, sent.as_ref(), None);
    }
}

/// Starts an answer's head with LiteLLM's headers and copies of the upstream's.
fn begin(work: &mut Work<'_>, status: u16, upstream: &Headers, out: &mut Vec<u8>) {
    let call = &mut *work.call;
    call.status = status;
    answer::begin(work.shard, call, status, out);
    const CALL_ID: Name = Name::new("x-litellm-call-id");
    match &call.client_id {
        Some(id) => CALL_ID.write(out, id.as_bytes()),
        None => CALL_ID.write(out, &call.id.bytes()),
    }
    if let Some(at) = call.route.deployment {
        out.extend_from_slice(&call.snapshot.deployments[at].answer_headers);
    }
    const GROUP: Name = Name::new("x-litellm-model-group");
    GROUP.write(out, call.route.group.as_bytes());
    let total = call.began.elapsed();
    let ours = total.saturating_sub(call.route.upstream);
    const DURATION: Name = Name::new("x-litellm-response-duration-ms");
    const OVERHEAD: Name = Name::new("x-litellm-overhead-duration-ms");
    milliseconds(out, DURATION, total);
    milliseconds(out, OVERHEAD, ours);
    const RETRIES: Name = Name::new("x-litellm-attempted-retries");
    const FALLBACKS: Name = Name::new("x-litellm-attempted-fallbacks");
    RETRIES.write_u64(out, u64::from(call.route.attempted_retries));
    FALLBACKS.write_u64(out, u64::from(call.route.attempted_fallbacks));
    if call.route.raced {
        header(out, "x-litellm-fastest_response_batch_completion", b"True");
    }
    super::callers::headers(work.shard, call, out);
    if !call.snapshot.settings.upstream_headers {
        return;
    }
    for (name, value) in upstream.each() {
        if name.len() > 12 && name[..12].eq_ignore_ascii_case(b"x-ratelimit-") {
            header(out, name, value);
        }
        answer::provider_header(out, name, value);
    }
}

fn milliseconds(out: &mut Vec<u8>, name: Name, time: std::time::Duration) {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let mut digits = [b'0'; 3];
    for (place, digit) in digits.iter_mut().rev().enumerate() {
        // A remainder below ten is one digit.
        *digit = b'0' + (micros / 10u64.pow(place as u32) % 10) as u8;
    }
    name.begin(out);
    push_decimal(out, micros / 1000);
    out.push(b'.');
    out.extend_from_slice(&digits);
    out.extend_from_slice(b"\r\n");
}

/// What the contract takes off and adds (`cost_discount_config`, `cost_margin_config`), where it does.
fn contract(cost: &crate::spend::cost::Cost, out: &mut Vec<u8>) {
    if cost.discount.is_zero() && cost.margin.is_zero() {
        return;
    }
    for (name, amount) in [
        ("x-litellm-response-cost-original", cost.original),
        ("x-litellm-response-cost-discount-amount", cost.discount),
        ("x-litellm-response-cost-margin-amount", cost.margin),
    ] {
        header(out, name, amount.repr().as_str().as_bytes());
    }
}

async fn send_whole(work: &mut Work<'_>, whole: Box<Whole>) -> Served {
    let answer = whole.answer.as_ref();
    let length = answer.map_or(whole.body.len(), |answer| answer.body.len(&whole.body));
    let mut out = Buf::for_bytes(length + crate::shard::answer::HEAD_BYTES);
    let usage = answer.and_then(|answer| answer.usage);
    if let Some(answer) = answer {
        bill(work.call, usage.as_ref(), answer.upstream_model.as_deref());
        work.call.bill.answer_id.clone_from(&answer.id);
    }
    begin(work, whole.status, &whole.headers, &mut out);
    let cost = work.call.bill.cost();
    let shown = meter::header(&cost);
    const COST: Name = Name::new("x-litellm-response-cost");
    COST.write(&mut out, shown.as_str().as_bytes());
    contract(&cost, &mut out);
    let kind = answer.and_then(|answer| answer.content_type);
    let kind = kind.map_or(&*whole.content_type, str::as_bytes);
    let kind = if kind.is_empty() {
        b"application/json"
    } else {
        kind
    };
    answer::CONTENT_TYPE.write(&mut out, kind);
    let close = answer::finish(work.call, work.connection, Length::Known(length), &mut out);
    if work.turn.is_some() {
        let body = answer.map_or_else(Vec::new, |answer| answer.body.to_vec(&whole.body));
        turns::keep(work, &body);
    }
    let head = out.len();
    match answer {
        Some(answer) => answer.body.copy_into(&whole.body, &mut out),
        None => out.extend_from_slice(&whole.body),
    }
    if let Some(terms) = work.caching.take().filter(|_| whole.status == 200) {
        cache::keep(work.shard, work.call, &terms, kind, &out[head..]);
    }
    if let Some(texts) = &mut work.call.texts {
        texts.answered(&out[head..]);
    }
    let outcome = match whole.status {
        200..=399 => Outcome::Success,
        _ => Outcome::Failure,
    };
    if !ledger::settle(work.shard, work.call, outcome).await {
        return unrecorded(work, usage);
    }
    Served::well(
        answer::send(work.call, work.connection, out, close).await,
        usage,
    )
}

async fn send_stream(
    work: &mut Work<'_>,
    mut streaming: Box<Streaming>,
    deadline: Instant,
) -> Served {
    // In its box to the end: a stream stays for long, and thousands of them at once.
    let Streaming {
        exchange,
        headers,
        relay,
        ended,
        poll,
    } = &mut *streaming;
    let headers = std::mem::take(headers);
    let (mut head, close) = stream_head(work, headers, relay.content_type());
    if work.sent.is_none() {
        work.forget_request();
    }
    if work.call.snapshot.router.settings().ties.answer {
        work.call.bill.answer_id = relay.answer_id(work.asked.operation);
    }
    relay.arm_probe(work.connection);
    work.call.bill.first_token = work.call.began.elapsed();
    let mut failed = None;
    let mut over = *ended;
    loop {
        failed = failed.or_else(|| relay.take_failure());
        if work.sent.is_some() {
            work.note_sent(relay);
            if failed.is_some() && work.break_stream(relay.usage()) {
                return Box::pin(go_on(work, exchange.take(), relay, head, failed)).await;
            }
        }
        if let Some(error) = &failed {
            relay.push_error(error, work.asked.operation);
        }
        let last = over || failed.is_some();
        if last {
            let is_cut = failed.is_some();
            bill(
                work.call,
                estimate::of_stream(work, relay, is_cut).as_ref(),
                None,
            );
            if let Some(response) = relay.response() {
                turns::keep(work, &response);
            }
            if let Some(sent) = &work.sent {
                sent.add_to(work.call);
            }
            let outcome = if is_cut {
                Outcome::Cut
            } else {
                Outcome::Success
            };
            if !ledger::settle(work.shard, work.call, outcome).await {
                return unrecorded(work, estimate::of_stream(work, relay, is_cut));
            }
        }
        if work.call.snapshot.settings.stream_cost {
            work.say_cost(relay);
        }
        if let Some(texts) = &mut work.call.texts {
            texts.answered(relay.waiting());
        }
        if relay
            .flush(work.connection, head.take(), last)
            .await
            .is_err()
        {
            poll.iter().for_each(|poll| poll::left(work, poll));
            return left(work, exchange.take(), relay);
        }
        if last {
            break;
        }
        if let Some(poll) = poll {
            match Box::pin(poll::advance(work, poll, relay, deadline)).await {
                Ok(false) => {}
                Ok(true) => {
                    failed = relay.ended().err();
                    over = true;
                }
                Err(Some(error)) => failed = Some(error),
                Err(None) => break,
            }
            continue;
        }
        let Some(exchange) = exchange else { break };
        match relay.advance(exchange, work.connection, deadline).await {
            Ok(Progress::Ready) => {}
            Ok(Progress::Ended) => {
                failed = relay.ended().err();
                over = true;
            }
            Err(Stop::Failed(error)) => failed = Some(error),
            Err(Stop::Gone) => break,
        }
    }
    if failed.is_none() && !over {
        return left(work, exchange.take(), relay);
    }
    if let Some(exchange) = exchange.take() {
        exchange.finish();
    }
    let after = if close {
        After::Close
    } else {
        After::KeepAlive
    };
    Served {
        after,
        usage: estimate::of_stream(work, relay, failed.is_some()),
        failed,
        client_left: false,
        goes_on: false,
    }
}

/// The disk did not take the call's record (`journal_sync_ms: 0`): the connection is cut, for an
/// answer that is whole would say that the call is written down.
fn unrecorded(work: &mut Work<'_>, usage: Option<Usage>) -> Served {
    work.call.status = 503;
    Served {
        after: After::Abort,
        usage,
        failed: None,
        client_left: false,
        goes_on: false,
    }
}

/// The head of a stream, and whether the connection closes behind it. A stream that goes on from a
/// broken one has its head already.
fn stream_head(work: &mut Work<'_>, headers: Headers, content_type: &[u8]) -> (Option<Buf>, bool) {
    if let Some(sent) = work.sent.as_ref().filter(|sent| sent.continuing) {
        return (None, sent.close);
    }
    let mut head = Buf::small();
    begin(work, 200, &headers, &mut head);
    header(&mut head, "content-type", content_type);
    header(&mut head, "cache-control", b"no-cache");
    let close = answer::finish(work.call, work.connection, Length::Unknown, &mut head);
    if let Some(sent) = &mut work.sent {
        sent.close = close;
    }
    (Some(head), close)
}

/// Sends what is ready of a stream that broke; the next attempt goes on from there.
async fn go_on(
    work: &mut Work<'_>,
    exchange: Option<Exchange>,
    relay: &mut relay::Relay,
    head: Option<Buf>,
    failed: Option<GatewayError>,
) -> Served {
    if relay.flush(work.connection, head, false).await.is_err() {
        return left(work, exchange, relay);
    }
    if let Some(exchange) = exchange {
        exchange.finish();
    }
    Served {
        after: After::Abort,
        usage: None,
        failed,
        client_left: false,
        goes_on: true,
    }
}

/// What a deployment answered that should have gone on with a stream.
fn not_a_stream() -> Served {
    let text = "litellm.APIConnectionError: the upstream did not go on with a stream";
    Served {
        after: After::Abort,
        usage: None,
        failed: Some(GatewayError::new(ErrorClass::ApiConnection, text)),
        client_left: false,
        goes_on: true,
    }
}

/// Ends a stream that nobody could go on with: LiteLLM's error event.
pub(super) async fn break_off(work: &mut Work<'_>, error: &GatewayError) -> After {
    bill(work.call, None, None);
    let mut close = true;
    if let Some(sent) = &work.sent {
        close = sent.close;
        sent.add_to(work.call);
        work.call.used = Some(sent.tokens());
    }
    if !ledger::settle(work.shard, work.call, Outcome::Cut).await {
        return unrecorded(work, None).after;
    }
    let mut out = Buf::small();
    let event = [&error.stream_frame()[..], relay::DONE].concat();
    answer::push_chunk(work.call.http11, &event, &mut out);
    if work.call.http11 {
        out.extend_from_slice(shardgate_io::http1::encode::LAST_CHUNK);
    }
    answer::send(work.call, work.connection, out, close).await
}

/// The client left in the middle: the upstream call ends at once.
fn left(work: &mut Work<'_>, exchange: Option<Exchange>, relay: &relay::Relay) -> Served {
    if let Some(exchange) = exchange {
        exchange.finish();
    }
    work.call.status = 499;
    let used = estimate::of_stream(work, relay, true);
    bill(work.call, used.as_ref(), None);
    if let Some(sent) = &work.sent {
        sent.add_to(work.call);
    }
    Served {
        after: After::Abort,
        usage: used,
        failed: None,
        client_left: true,
        goes_on: false,
    }
}

/// Bytes as they come, within the bound.
async fn send_raw(work: &mut Work<'_>, mut exchange: Box<Exchange>, deadline: Instant) -> Served {
    let kind = exchange
        .header("content-type")
        .unwrap_or(b"application/octet-stream")
        .to_vec();
    let upstream = exchange.take_headers();
    let mut out = Buf::large();
    begin(work, exchange.head.status, &upstream, &mut out);
    drop(upstream);
    header(&mut out, "content-type", &kind);
    let close = answer::finish(work.call, work.connection, Length::Unknown, &mut out);
    let bytes_max = work.call.snapshot.settings.response_bytes_max;
    let mut relayed = 0;
    let failed = loop {
        match exchange.data() {
            Ok(Data::Run(range)) => {
                relayed += range.len();
                if relayed > bytes_max {
                    break Some(super::fault::answer_too_large(bytes_max));
                }
                answer::push_chunk(work.call.http11, &exchange.bytes()[range], &mut out);
                continue;
            }
            Ok(Data::End) => break None,
            Ok(Data::NeedMore) => {}
            Err(error) => break Some(relay::broken(&error)),
        }
        if !out.is_empty() {
            match work.connection.send(out, 0).await {
                Ok(back) => out = back,
                Err(_) => return raw_left(work, exchange),
            }
        }
        match relay::wait(&mut exchange, work.connection, deadline).await {
            Ok(()) => {}
            Err(Stop::Gone) => return raw_left(work, exchange),
            Err(Stop::Failed(error)) => break Some(error),
        }
    };
    exchange.finish();
    if failed.is_some() {
        // Without its last chunk nobody can take the answer for complete.
        let _ = work.connection.send(out, 0).await;
        return Served {
            after: After::Abort,
            usage: None,
            failed,
            client_left: false,
            goes_on: false,
        };
    }
    if !ledger::settle(work.shard, work.call, Outcome::Success).await {
        return unrecorded(work, None);
    }
    if work.call.http11 {
        out.extend_from_slice(shardgate_io::http1::encode::LAST_CHUNK);
    }
    Served::well(
        answer::send(work.call, work.connection, out, close).await,
        None,
    )
}

fn raw_left(work: &mut Work<'_>, exchange: Box<Exchange>) -> Served {
    exchange.finish();
    work.call.status = 499;
    Served {
        after: After::Abort,
        usage: None,
        failed: None,
        client_left: true,
        goes_on: false,
    }
}
