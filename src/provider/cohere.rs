//! Cohere: chat and embeddings of its v2 API, rerank.

use crate::dialect::value::Value;

use super::translated::{Common, Translator, answer, json, plain_error, whole};
use super::{
    Answer, AnswerContext, Base, Incoming, Operation, Outgoing, Provider, Reply, RequestOptions,
    Route, Setup, StreamReader, openai,
};
use crate::dialect::cohere_chat::stream::Events;
use crate::dialect::cohere_chat::{embed, request, response};
use crate::dialect::frames::JsonLines;
use crate::dialect::hub::unreadable;
use crate::dialect::openai_chat::params::Param;
use crate::dialect::openai_other;
use crate::dialect::scan::scan;
use crate::dialect::splice::Spliced;
use crate::error::GatewayError;

const REFUSED: &[Param] = &[
    Param::N,
    Param::LogitBias,
    Param::TopLogprobs,
    Param::Modalities,
    Param::Prediction,
    Param::Audio,
    Param::ReasoningEffort,
    Param::Verbosity,
    Param::ServiceTier,
    Param::WebSearchOptions,
];

struct Cohere {
    common: Common,
    base: Base,
}

/// Builds a deployment.
pub(super) fn build(setup: Setup<'_>) -> Result<Box<dyn Provider>, String> {
    let mut common = Common::new(&setup);
    common.header("request-source", "unspecified:litellm")?;
    if let Some(key) = setup.key {
        common.header("authorization", &format!("Bearer {}", key.reveal()))?;
    }
    // A base may name an endpoint; which one is called depends on the request.
    let mut base = setup.base.clone();
    for endpoint in ["/chat", "/embed", "/rerank", "/generate"] {
        if let Some(prefix) = base.prefix.strip_suffix(endpoint) {
            base.prefix = prefix.to_owned();
            break;
        }
    }
    for version in ["/v1", "/v2"] {
        if let Some(prefix) = base.prefix.strip_suffix(version) {
            base.prefix = prefix.to_owned();
        }
    }
    if let Some(model) = common.model.strip_prefix("v1/") {
        common.model = model.to_owned();
    }
    Ok(Box::new(Cohere { common, base }))
}

impl Provider for Cohere {
    fn route(&self, operation: Operation, _stream: bool) -> Result<Route, GatewayError> {
        let path = match operation {
            Operation::Chat => "/v2/chat",
            Operation::Embeddings => "/v2/embed",
            Operation::Rerank => "/v1/rerank",
            _ => return Err(openai::unsupported(self.common.label, operation)),
        };
        Ok(self.common.route(self.base.join(path)))
    }

    fn request(
        &self,
        operation: Operation,
        incoming: Incoming<'_>,
        options: &RequestOptions<'_>,
    ) -> Result<Outgoing, GatewayError> {
        let refused = if operation == Operation::Chat {
            REFUSED
        } else {
            &[]
        };
        let mut call = self.common.call(incoming, options, refused)?;
        let headers = std::mem::take(&mut call.headers);
        let (stream, usage_asked) = (call.stream, call.usage_asked);
        let body = match operation {
            Operation::Chat => request::translate(call),
            Operation::Embeddings => embed::request(call),
            Operation::Rerank => {
                let mut body = call.fields;
                body.insert("model", Value::from(call.model));
                body
            }
            _ => return Err(openai::unsupported(self.common.label, operation)),
        };
        Ok(Outgoing {
            headers,
            stream,
            usage_asked,
            ..Outgoing::new(whole(&Value::Object(body)))
        })
    }

    fn answer(
        &self,
        reply: &Reply<'_>,
        context: &AnswerContext<'_>,
    ) -> Result<Answer, GatewayError> {
        let label = self.common.label;
        if context.operation == Operation::Rerank {
            let fields = scan(reply.body).map_err(|error| unreadable(label, error))?;
            let (body, usage) = openai_other::rerank(reply.body, &fields, context.fresh_id);
            let mut answer = Answer::new(Spliced::Whole(body));
            answer.usage = usage;
            return Ok(answer);
        }
        let said = json(label, reply)?;
        let stamp = self.common.stamp(context);
        let (body, usage) = if context.operation == Operation::Embeddings {
            embed::answer(&said, &stamp.model).ok_or_else(|| unreadable(label, "no embeddings"))?
        } else {
            response::translate(&said, &stamp)
        };
        Ok(answer(body, usage))
    }

    fn stream(&self, context: &AnswerContext<'_>) -> StreamReader {
        let events = Events::new(&self.common.stamp(context));
        StreamReader::Translate(Box::new(Translator::<JsonLines, _>::new(events)))
    }

    fn error(&self, reply: &Reply<'_>) -> GatewayError {
        let label = if reply.status == 429 {
            self.common.label
        } else {
            "Cohere"
        };
        plain_error(label, reply)
    }
}
