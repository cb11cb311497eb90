//! A stream for a model that answers whole only (`enable_preview_features`, Azure's o1): the answer is asked for
//! whole and told in events, in the client's dialect.

use std::time::Instant;

use shardgate_io::http1::client::Exchange;
use shardgate_io::http1::server::Party;

use super::attempt::Work;
use super::exchange::{self, Answered, Failed, Streaming};
use super::relay::Relay;
use crate::dialect::openai_chat::replay;
use crate::dialect::splice::Spliced;
use crate::error::{ErrorClass, GatewayError};
use crate::provider::{AnswerContext, Operation, Outgoing};
use crate::snapshot::Deployment;

/// Whether the client wants a stream of a deployment that gives none: of a chat, in whatever dialect.
pub(super) fn applies<P>(work: &Work<'_, P>, deployment: &Deployment) -> bool {
    let (target, operation) = (&deployment.target, work.asked.operation);
    target.answers_whole
        && work.asked.stream
        && (operation == Operation::Chat || target.is_bridged(operation))
}

/// The same request, for a whole answer.
pub(super) fn ask_whole(outgoing: &mut Outgoing, body: &[u8]) {
    if let Some(asked) = replay::ask_whole(&outgoing.body.to_vec(body)) {
        outgoing.body = Spliced::Whole(asked);
        outgoing.stream = false;
    }
}

/// Reads the whole answer and makes a stream of it.
pub(super) async fn run(
    work: &mut Work<'_, impl Party>,
    deployment: &Deployment,
    mut exchange: Exchange,
    context: &AnswerContext<'_>,
    deadline: Instant,
) -> Result<Answered, Failed> {
    let bytes_max = work.call.snapshot.settings.response_bytes_max;
    let body = exchange::collect(work, &mut exchange, bytes_max, deadline).await?;
    let headers = exchange.take_headers();
    exchange.finish();
    let events = replay::events(&body).ok_or_else(|| {
        let text = "litellm.APIConnectionError: the upstream's answer is no chat";
        Some(GatewayError::new(ErrorClass::ApiConnection, text))
    })?;
    let reader = deployment.target.stream(context);
    let mut relay = match work.asked.array {
        true => Relay::array(reader, work.call.http11, bytes_max),
        false => Relay::new(reader, work.call.http11, bytes_max),
    };
    for event in events.iter().map(Vec::as_slice).chain([&b"[DONE]"[..]]) {
        let framed = [b"data: ", event, b"\n\n"].concat();
        relay.take(&framed).map_err(Some)?;
    }
    relay.ended().map_err(Some)?;
    Ok(Answered::Stream(Box::new(Streaming {
        exchange: None,
        headers,
        relay,
        ended: true,
        poll: None,
    })))
}
