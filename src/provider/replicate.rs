//! Replicate: a prediction is made, then looked at until it is done.

use std::borrow::Cow;

use crate::dialect::value::Value;

use super::translated::{
    Common, REFUSED_BY_PROMPT, Translator, answer, json, plain_error, segment, whole,
};
use super::{
    Answer, AnswerContext, Incoming, Operation, Outgoing, Provider, Reply, RequestOptions, Route,
    Setup, StreamReader, openai,
};
use crate::dialect::frames::JsonLines;
use crate::dialect::replicate::{self, Looks, Standing};
use crate::error::GatewayError;

struct Replicate {
    common: Common,
}

/// Builds a deployment.
pub(super) fn build(setup: Setup<'_>) -> Result<Box<dyn Provider>, String> {
    let mut common = Common::new(&setup);
    if let Some(key) = setup.key {
        common.header("authorization", &format!("Token {}", key.reveal()))?;
    }
    Ok(Box::new(Replicate { common }))
}

/// A model's version: `owner/name:version`.
fn version(model: &str) -> Option<&str> {
    model.split_once(':').map(|(_, version)| version)
}

impl Replicate {
    fn path(&self, model: &str) -> String {
        let parts: Vec<Cow<'_, str>> = model.split('/').map(|part| segment(part).into()).collect();
        let name = parts.join("/");
        let path = match model {
            _ if version(model).is_some() => "/predictions".to_owned(),
            _ if model.starts_with("deployments/") => format!("/{name}/predictions"),
            _ => format!("/models/{name}/predictions"),
        };
        self.common.base.join(&path)
    }
}

impl Provider for Replicate {
    fn route(&self, operation: Operation, _stream: bool) -> Result<Route, GatewayError> {
        if operation != Operation::Chat {
            return Err(openai::unsupported(self.common.label, operation));
        }
        Ok(self.common.route(self.path(&self.common.model)))
    }

    fn request(
        &self,
        operation: Operation,
        incoming: Incoming<'_>,
        options: &RequestOptions<'_>,
    ) -> Result<Outgoing, GatewayError> {
        if operation != Operation::Chat {
            return Err(openai::unsupported(self.common.label, operation));
        }
        let mut call = self.common.call(incoming, options, REFUSED_BY_PROMPT)?;
        call.fields.remove("user");
        // A seed is no input of the models that are asked by prompt.
        call.fields.remove("seed");
        let headers = std::mem::take(&mut call.headers);
        let (stream, usage_asked) = (call.stream, call.usage_asked);
        let model = call.model.clone();
        Ok(Outgoing {
            headers,
            stream,
            usage_asked,
            is_promise: true,
            path_and_query: options.model.map(|model| self.path(model)),
            ..Outgoing::new(whole(&replicate::request(call, version(&model))))
        })
    }

    fn follow(&self, reply: &Reply<'_>) -> Result<Option<String>, GatewayError> {
        let prediction = json(self.common.label, reply)?;
        match replicate::standing(&prediction) {
            Standing::Done => Ok(None),
            Standing::Failed => Err(replicate::failed(&prediction)),
            // By its id below our own base: an answer does not say where we go.
            Standing::Runs(id) => {
                let path = format!("/predictions/{}", segment(&id));
                Ok(Some(self.common.base.join(&path)))
            }
        }
    }

    fn break_off(&self, path: &str) -> Option<String> {
        Some(format!("{path}/cancel"))
    }

    fn answer(
        &self,
        reply: &Reply<'_>,
        context: &AnswerContext<'_>,
    ) -> Result<Answer, GatewayError> {
        let prediction: Value = json(self.common.label, reply)?;
        if replicate::standing(&prediction) != Standing::Done {
            return Err(replicate::failed(&prediction));
        }
        let (body, usage) = replicate::answer(&prediction, &self.common.stamp(context));
        Ok(answer(body, usage))
    }

    fn stream(&self, context: &AnswerContext<'_>) -> StreamReader {
        let looks = Looks::new(&self.common.stamp(context));
        StreamReader::Translate(Box::new(Translator::<JsonLines, _>::new(looks)))
    }

    fn error(&self, reply: &Reply<'_>) -> GatewayError {
        plain_error(self.common.label, reply)
    }
}
