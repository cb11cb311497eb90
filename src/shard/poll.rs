//! Answers that are promises: a job was started, and is looked at until it is done. The client waits meanwhile; one that
//! leaves ends the looking. Where to look and what is done, the provider says.

use std::time::{Duration, Instant};

use shardgate_io::buffer::Buf;
use shardgate_io::driver::sleep_until;
use shardgate_io::http1::client::{Exchange, Headers, Outgoing as Sendable};
use shardgate_io::http1::encode::end_head;
use shardgate_io::http1::server::Party;

use super::attempt::Work;
use super::exchange::{
    Answered, Broken, Failed, Streaming, Whole, collect, lease, send_and_wait, upstream_error,
    woken,
};
use super::relay::Relay;
use super::{answer, fault};
use crate::provider::{AnswerContext, Moment, Outgoing, Reply, Route};
use crate::snapshot::{Deployment, head_bytes};

/// The pause between two looks, longer each time up to the other.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Looks until the job is done, within `deadline`.
pub(super) async fn run(
    work: &mut Work<'_, impl Party>,
    deployment: &Deployment,
    mut exchange: Exchange,
    outgoing: &Outgoing,
    context: &AnswerContext<'_>,
    deadline: Instant,
) -> Result<Answered, Failed> {
    let bytes_max = work.call.snapshot.settings.response_bytes_max;
    let mut looks = Vec::new();
    let mut pause = PAUSE;
    loop {
        if exchange.head.status >= 400 {
            let error = upstream_error(work, deployment, &mut exchange, deadline).await?;
            return Err(Some(error));
        }
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
        if outgoing.stream {
            if looks.len() + body.len() > bytes_max {
                return Err(Some(fault::answer_too_large(bytes_max)));
            }
            // A line each: a line end inside JSON is white space.
            looks.extend(body.iter().map(|byte| match byte {
                b'\n' | b'\r' => b' ',
                byte => *byte,
            }));
            looks.push(b'\n');
        }
        let Some(path) = next else {
            return match outgoing.stream {
                true => streamed(work, deployment, &looks, headers, context),
                false => whole(deployment, body, headers, context),
            };
        };
        let until = Instant::now() + pause;
        pause = (pause * 3 / 2).min(PAUSE_MAX);
        let waited = work.connection.wait_for(sleep_until(until), deadline).await;
        waited.map_err(woken)?;
        exchange = look(work, deployment, path, deadline).await?;
    }
}

fn whole(
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
    Ok(Answered::Whole(Box::new(Whole {
        status: 200,
        content_type: b"application/json".to_vec(),
        headers,
        body,
        answer: Some(answer),
    })))
}

fn streamed(
    work: &Work<'_, impl Party>,
    deployment: &Deployment,
    looks: &[u8],
    headers: Headers,
    context: &AnswerContext<'_>,
) -> Result<Answered, Failed> {
    let reader = deployment.target.stream(context);
    let bytes_max = work.call.snapshot.settings.response_bytes_max;
    let mut relay = Relay::new(reader, work.call.http11, bytes_max);
    relay.take(looks).map_err(Some)?;
    Ok(Answered::Stream(Box::new(Streaming {
        exchange: None,
        headers,
        relay,
        ended: true,
    })))
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
