//! Ollama: `ollama_chat/` by its chat, `ollama/` by its generate, embeddings.

use crate::dialect::value::Value;

use super::translated::{Common, Translator, answer, json, plain_error, whole};
use super::{
    Answer, AnswerContext, Incoming, Operation, Outgoing, Provider, Reply, RequestOptions, Route,
    Setup, StreamReader, openai,
};
use crate::dialect::frames::JsonLines;
use crate::dialect::hub::unreadable;
use crate::dialect::ollama::stream::Events;
use crate::dialect::ollama::{request, response};
use crate::dialect::openai_chat::params::Param;
use crate::error::GatewayError;

const REFUSED: &[Param] = &[
    Param::N,
    Param::PresencePenalty,
    Param::LogitBias,
    Param::Logprobs,
    Param::TopLogprobs,
    Param::Modalities,
    Param::Prediction,
    Param::Audio,
    Param::ServiceTier,
    Param::Verbosity,
    Param::WebSearchOptions,
];

struct Ollama {
    common: Common,
    generates: bool,
}

/// Builds a deployment.
pub(super) fn build(setup: Setup<'_>) -> Result<Box<dyn Provider>, String> {
    let mut common = Common::new(&setup);
    if let Some(key) = setup.key {
        common.header("authorization", &format!("Bearer {}", key.reveal()))?;
    }
    let generates = setup.entry.name == "ollama";
    Ok(Box::new(Ollama { common, generates }))
}

impl Provider for Ollama {
    fn wants_inline(&self, _operation: Operation, _url: &str, _format: Option<&str>) -> bool {
        true
    }

    fn takes_bytes_only(&self) -> bool {
        true
    }

    fn route(&self, operation: Operation, _stream: bool) -> Result<Route, GatewayError> {
        let path = match operation {
            Operation::Chat if self.generates => "/api/generate",
            Operation::Chat => "/api/chat",
            Operation::Embeddings => "/api/embed",
            _ => return Err(openai::unsupported(self.common.label, operation)),
        };
        Ok(self.common.route(self.common.base.join(path)))
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
            Operation::Chat if self.generates => request::generate(call),
            Operation::Chat => request::chat(call),
            Operation::Embeddings => {
                let mut body = call.fields;
                body.remove("encoding_format");
                body.remove("user");
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
        let said = json(label, reply)?;
        let stamp = self.common.stamp(context);
        let (body, usage) = if context.operation == Operation::Embeddings {
            response::embeddings(&said, &stamp.model)
                .ok_or_else(|| unreadable(label, "no embeddings"))?
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
        plain_error(self.common.label, reply)
    }
}
