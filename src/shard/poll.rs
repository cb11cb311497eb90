//! Answers that are promises: a job was started, and is looked at until it is done. A stream gets what each look says that is
//! new; a client that leaves ends the job. Where to look and what is done, the provider says.

use std::time::{Duration, Instant};

use shardgate_io::buffer::Buf;
use shardgate_io::driver::{Timer, sleep_until, spawn};
use shardgate_io::http1::client::{Exchange, Headers, Outgoing as Sendable};
use shardgate_io::http1::encode::{end_head, header_u64};
use shardgate_io::http1::server::Party;

use super::attempt::Work;
use super::exchange::{
    Answered, Broken, Failed, Streaming, Whole, collect, counted_answer, lease, send_and_wait,
    upstream_error, woken,
};
use super::relay::Relay;
use super::{Shard, answer};
use crate::provider::{AnswerContext, Moment, Operation, Outgoing, Reply, Route};
use crate::snapshot::{Deployment, head_bytes};

/// The pause between two looks, longer each time up to the other.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long a job's end may take that nobody waits for.
const FAREWELL: Duration = Duration::from_secs(5);

/// A job whose stream has begun: where to look next, and after which pause.
pub(super) struct Poll {
    path: String,
    pause: Duration,
}

/// Looks until the job is done, or has something for a stream, within `deadline`.
pub(super) async fn run(
    work: &mut Work<'_, impl Party>,
    deployment: &Deployment,
    mut exchange: Exchange,
    outgoing: &Outgoing,
    context: &AnswerContext<'_>,
    deadline: Instant,
) -> Result<Answered, Failed> {
    let bytes_max = work.call.snapshot.settings.response_bytes_max;
    let reader = deployment.target.stream(context);
    let mut relay = Relay::new(reader, work.call.http11, bytes_max);
    let mut pause = PAUSE;
    loop {
        let (body, headers, next) = looked(work, deployment, exchange, deadline).await?;
        if outgoing.stream {
            relay.take(&line(&body)).map_err(Some)?;
        }
        let Some(path) = next else {
            return match outgoing.stream {
                true => Ok(streaming(relay, headers, None)),
                false => whole(work, deployment, body, headers, context),
            };
        };
        let mut poll = Poll { path, pause };
        // Another's credential would be lost on the way.
        if relay.has_output() && work.asked.own.is_none() {
            return Ok(streaming(relay, headers, Some(Box::new(poll))));
        }
        let asked = look_again(work, deployment, &mut poll, deadline).await;
        exchange = asked.inspect_err(|_| abandon(work.shard, deployment, &poll))?;
        pause = poll.pause;
    }
}

/// One more look on behalf of a stream; true when the job is done.
pub(super) async fn advance(
    work: &mut Work<'_, impl Party>,
    poll: &mut Poll,
    relay: &mut Relay,
    deadline: Instant,
) -> Result<bool, Failed> {
    let snapshot = work.call.snapshot.clone();
    let Some(at) = work.call.route.deployment else {
        return Err(None);
    };
    let deployment = &snapshot.deployments[at];
    let seen = async {
        let exchange = look_again(work, deployment, poll, deadline).await?;
        let (body, _, next) = looked(work, deployment, exchange, deadline).await?;
        relay.take(&line(&body)).map_err(Some)?;
        Ok(next)
    };
    match seen.await {
        Ok(Some(path)) => {
            poll.path = path;
            Ok(false)
        }
        Ok(None) => Ok(true),
        Err(failed) => {
            abandon(work.shard, deployment, poll);
            Err(failed)
        }
    }
}

/// The stream's client has left.
pub(super) fn left(work: &Work<'_, impl Party>, poll: &Poll) {
    if let Some(at) = work.call.route.deployment {
        abandon(work.shard, &work.call.snapshot.deployments[at], poll);
    }
}

/// Tells the provider that nobody waits any more; nobody waits for its answer either.
fn abandon(shard: &Shard, deployment: &Deployment, poll: &Poll) {
    let target = &deployment.target;
    let (Some(path), Some(shard)) = (target.break_off(&poll.path), shard.itself.upgrade()) else {
        return;
    };
    let Ok(route) = target.route(Operation::Chat, false) else {
        return;
    };
    let route = Route {
        path_and_query: path,
        ..route
    };
    let mut head = Buf::small();
    head.extend_from_slice(&head_bytes(target, &route));
    header_u64(&mut head, "content-length", 0);
    end_head(&mut head);
    let origin = deployment.origin.clone();
    let settings = &shard.snapshot().settings;
    let (how, limits) = (settings.connect, settings.server.limits);
    spawn("a job that is broken off", async move {
        let Ok(lease) = shard.pool.lease(&origin, how).await else {
            return;
        };
        let mut timer = Timer::default();
        let sent = Exchange::send(lease, Sendable::One(head), false, &mut timer, FAREWELL).await;
        let (Ok(_), mut exchange) = sent else {
            return;
        };
        // Its answer is read as far as its head, so that the request is not cut off on its way.
        let heard = async {
            while exchange.receive().await.is_ok() {
                if exchange.parse_head(&limits).unwrap_or(true) {
                    break;
                }
            }
        };
        let until = sleep_until(Instant::now() + FAREWELL);
        either(heard, until).await;
    });
}

/// Whichever is first.
async fn either(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    let (mut one, mut other) = (std::pin::pin!(one), std::pin::pin!(other));
    std::future::poll_fn(|cx| {
        if one.as_mut().poll(cx).is_ready() || other.as_mut().poll(cx).is_ready() {
            return std::task::Poll::Ready(());
        }
        std::task::Poll::Pending
    })
    .await;
}

/// What a look says, and where to look next.
async fn looked(
    work: &mut Work<'_, impl Party>,
    deployment: &Deployment,
    mut exchange: Exchange,
    deadline: Instant,
) -> Result<(Buf, Headers, Option<String>), Failed> {
    if exchange.head.status >= 400 {
        let error = upstream_error(work, deployment, &mut exchange, deadline).await?;
        return Err(Some(error));
    }
    let bytes_max = work.call.snapshot.settings.response_bytes_max;
    let body = collect(work, &mut exchange, bytes_max, deadline).await?;
    let headers = exchange.take_headers();
    exchange.finish();
    let reply = Reply {
        operation: work.asked.operation,
        status: 200,
        headers: &[],
        body: &body,
    };
    let next = deployment.target.follow(&reply).map_err(Some)?;
    Ok((body, headers, next))
}

/// A look as a line: a line end inside JSON is white space.
fn line(body: &[u8]) -> Vec<u8> {
    let plain = body.iter().map(|byte| match byte {
        b'\n' | b'\r' => b' ',
        byte => *byte,
    });
    plain.chain([b'\n']).collect()
}

async fn look_again(
    work: &mut Work<'_, impl Party>,
    deployment: &Deployment,
    poll: &mut Poll,
    deadline: Instant,
) -> Result<Exchange, Failed> {
    let until = Instant::now() + poll.pause;
    poll.pause = (poll.pause * 3 / 2).min(PAUSE_MAX);
    let waited = work.connection.wait_for(sleep_until(until), deadline).await;
    waited.map_err(woken)?;
    look(work, deployment, poll.path.clone(), deadline).await
}

fn whole<P>(
    work: &Work<'_, P>,
    deployment: &Deployment,
    body: Buf,
    headers: Headers,
    context: &AnswerContext<'_>,
) -> Result<Answered, Failed> {
    let reply = Reply {
        operation: context.operation,
        status: 200,
        headers: &[],
        body: &body,
    };
    let answer = deployment.target.answer(&reply, context).map_err(Some)?;
    let answer = counted_answer(work, answer, &body);
    Ok(Answered::Whole(Box::new(Whole {
        status: 200,
        content_type: b"application/json".to_vec(),
        headers,
        body,
        answer: Some(answer),
    })))
}

fn streaming(relay: Relay, headers: Headers, poll: Option<Box<Poll>>) -> Answered {
    Answered::Stream(Box::new(Streaming {
        exchange: None,
        headers,
        relay,
        ended: poll.is_none(),
        poll,
    }))
}

/// One look; a reused connection that turns out dead is replaced once.
async fn look(
    work: &mut Work<'_, impl Party>,
    deployment: &Deployment,
    path_and_query: String,
    deadline: Instant,
) -> Result<Exchange, Failed> {
    let target = &deployment.target;
    let mut route = Route {
        method: "GET",
        path_and_query,
        ..target.route(work.asked.operation, false).map_err(Some)?
    };
    if target.is_signed() {
        let held = deployment.credential.as_ref().map(|fetched| fetched.look());
        let state = held.as_ref().and_then(|held| held.as_ref());
        let now_unix_s = answer::unix_seconds();
        let moment = Moment {
            now_unix_s,
            grant: state.and_then(|state| state.grant(now_unix_s)),
        };
        let signed = target.sign(&route, b"", &moment).map_err(Some)?;
        route.headers.extend(signed);
    }
    let sendable = || {
        let mut head = Buf::small();
        head.extend_from_slice(&head_bytes(target, &route));
        end_head(&mut head);
        Sendable::One(head)
    };
    let leased = lease(work, deployment, false, deadline).await?;
    let reused = leased.reused;
    match send_and_wait(work, leased, sendable(), deadline).await {
        Err(Broken::Stale) if reused => {
            let fresh = lease(work, deployment, true, deadline).await?;
            let again = send_and_wait(work, fresh, sendable(), deadline).await;
            again.map_err(Broken::into_failed)
        }
        other => other.map_err(Broken::into_failed),
    }
}
