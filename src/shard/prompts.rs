//! Text completions of several prompts for a model that answers chats: a call for each prompt, one behind the other, and
//! one answer of all. Knows no provider; what a prompt becomes is the dialect's business.

use std::time::Instant;

use shardgate_io::buffer::Buf;
use shardgate_io::http1::client::Headers;
use shardgate_io::http1::server::Party;

use super::attempt::Work;
use super::exchange::{self, Answered, Failed, Streaming, Whole};
use super::relay::Relay;
use crate::dialect::openai_completions::{self as completions, PROMPTS_MAX};
use crate::dialect::scan::{Span, scan};
use crate::dialect::splice::Spliced;
use crate::dialect::usage::Usage;
use crate::dialect::value::{Map, Value};
use crate::dialect::walk;
use crate::error::{ErrorClass, GatewayError};
use crate::provider::{Answer, Operation, StreamEnd, StreamReader, StreamTranslator};
use crate::snapshot::Deployment;

/// The request taken apart, where it is one for several prompts that the deployment answers as chats.
pub(super) fn split(
    work: &Work<'_, impl Party>,
    deployment: &Deployment,
) -> Result<Option<Vec<Vec<u8>>>, GatewayError> {
    let operation = work.asked.operation;
    if operation != Operation::Completions || !deployment.target.is_bridged(operation) {
        return Ok(None);
    }
    let mut fields = Map::read(work.body()).map_err(GatewayError::malformed)?;
    let given = fields.remove("prompt").unwrap_or_default();
    let Some(prompts) = completions::prompts(&given) else {
        return Ok(None);
    };
    if prompts.len() > PROMPTS_MAX {
        let text = format!("`prompt`: at most {PROMPTS_MAX} prompts in one request");
        return Err(GatewayError::refused(ErrorClass::BadRequest, text));
    }
    fields.remove("stream");
    fields.remove("stream_options");
    let body = |prompt: &&str| {
        fields.insert("prompt", Value::from(*prompt));
        fields.to_vec()
    };
    Ok(Some(prompts.iter().map(body).collect()))
}

/// Asks with each of `bodies` and joins what comes.
pub(super) async fn run(
    work: &mut Work<'_, impl Party>,
    deployment: &Deployment,
    model: &str,
    bodies: Vec<Vec<u8>>,
    deadline: Instant,
) -> Result<Answered, Failed> {
    let before = work.put_body(None);
    let joined = each(work, deployment, model, bodies, deadline).await;
    work.put_body(before);
    let (whole, headers) = joined?;
    if work.asked.stream {
        return Ok(streamed(work, &whole, headers));
    }
    let body = whole.to_vec();
    let mut answer = Answer::new(Spliced::unchanged());
    answer.usage = usage(&body);
    answer.id = whole["id"].as_str().map(str::to_owned);
    let answer = exchange::counted_answer(work, answer, &body);
    Ok(Answered::Whole(Box::new(Whole {
        status: 200,
        content_type: b"application/json".to_vec(),
        headers,
        body: Buf::from(body),
        answer: Some(answer),
    })))
}

async fn each(
    work: &mut Work<'_, impl Party>,
    deployment: &Deployment,
    model: &str,
    bodies: Vec<Vec<u8>>,
    deadline: Instant,
) -> Result<(Value, Headers), Failed> {
    let bytes_max = work.call.snapshot.settings.response_bytes_max;
    let mut bytes = 0;
    let (mut parts, mut headers) = (Vec::new(), Headers::default());
    for body in bodies {
        let fields = scan(&body).map_err(|error| Some(GatewayError::malformed(error)))?;
        work.put_body(Some(Box::new((body, fields))));
        let asked = exchange::run(work, deployment, model, deadline);
        let Answered::Whole(whole) = Box::pin(asked).await? else {
            let text = "litellm.APIConnectionError: the upstream answered with a stream that nobody asked for";
            return Err(Some(GatewayError::new(ErrorClass::ApiConnection, text)));
        };
        let body = match &whole.answer {
            Some(answer) => answer.body.to_vec(&whole.body),
            None => whole.body.to_vec(),
        };
        bytes += body.len();
        if bytes > bytes_max {
            return Err(Some(super::fault::answer_too_large(bytes_max)));
        }
        let part = Value::read(&body);
        parts.push(part.map_err(|error| Some(GatewayError::malformed(error)))?);
        headers = whole.headers;
    }
    Ok((completions::join(parts), headers))
}

fn usage(body: &[u8]) -> Option<Usage> {
    let span = walk::member(body, Span::new(0, body.len()), "usage")?;
    Usage::read(body, span)
}

fn streamed(work: &Work<'_, impl Party>, whole: &Value, headers: Headers) -> Answered {
    let ready = Ready {
        usage: usage(&whole.to_vec()),
    };
    let bytes_max = work.call.snapshot.settings.response_bytes_max;
    let reader = StreamReader::Translate(Box::new(ready));
    let mut relay = Relay::new(reader, work.call.http11, bytes_max);
    relay.push(&completions::events(whole, work.asked.include_usage));
    Answered::Stream(Box::new(Streaming {
        exchange: None,
        headers,
        relay,
        ended: true,
        poll: None,
    }))
}

/// A stream that is there already.
struct Ready {
    usage: Option<Usage>,
}

impl StreamTranslator for Ready {
    fn feed(&mut self, _bytes: &[u8], _out: &mut Vec<u8>) -> Result<(), GatewayError> {
        Ok(())
    }

    fn end(&mut self, _out: &mut Vec<u8>) -> StreamEnd {
        StreamEnd::Complete
    }

    fn text_bytes(&self) -> u64 {
        0
    }

    fn is_done(&self) -> bool {
        true
    }

    fn usage(&self) -> Option<Usage> {
        self.usage
    }

    fn finish_reason(&self) -> Option<&str> {
        None
    }
}
