//! Hosts on the OpenAI wire whose base is another than their API's: Cloudflare's Workers AI and Hugging Face's endpoints.

use crate::dialect::value::{Value, json};

use super::openai::{OpenAiWire, Rules};
use super::translated::whole;
use super::{
    Answer, AnswerContext, Base, Incoming, Operation, Outgoing, Provider, Reply, RequestOptions,
    Route, Secret, Setup, StreamReader,
};
use crate::dialect::openai_chat::params::{Param, Rule};
use crate::dialect::openai_chat::plan::RequestRules;
use crate::error::GatewayError;
use crate::provider::errors::ErrorStyle;

static HOSTED: Rules = Rules {
    request: RequestRules {
        params: &[
            (Param::User, Rule::Remove),
            (Param::ReasoningEffort, Rule::Refuse),
        ],
        stream_false: true,
        ..RequestRules::PLAIN
    },
    errors: ErrorStyle::RawOnce,
    ..Rules::PLAIN
};

struct Hosted {
    wire: OpenAiWire,
}

/// Cloudflare's base where none is given: the account's.
pub(super) fn cloudflare_base(lookup: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let account = lookup("cloudflare_account_id").or_else(|| lookup("CLOUDFLARE_ACCOUNT_ID"))?;
    Some(format!(
        "https://api.cloudflare.com/client/v4/accounts/{account}/ai/v1"
    ))
}

/// Builds a deployment on Cloudflare. A base that ends in `/run`, as their own API has it, means the one beside it.
pub(super) fn build_cloudflare(setup: Setup<'_>) -> Result<Box<dyn Provider>, String> {
    let mut base = setup.base.clone();
    if let Some(prefix) = base.prefix.strip_suffix("/run") {
        base.prefix = prefix.to_owned();
    }
    build(&setup, base)
}

/// Builds a deployment on Hugging Face: its router, or an endpoint of one's own.
pub(super) fn build_huggingface(setup: Setup<'_>) -> Result<Box<dyn Provider>, String> {
    build(&setup, setup.base.clone())
}

fn build(setup: &Setup<'_>, mut base: Base) -> Result<Box<dyn Provider>, String> {
    if !base.prefix.ends_with("/v1") && !base.prefix.ends_with("/chat/completions") {
        base.prefix.push_str("/v1");
    }
    let moved = Setup {
        base: &base,
        ..*setup
    };
    let mut wire = OpenAiWire::new(&moved, &HOSTED);
    if let Some(key) = setup.key.map(Secret::reveal) {
        wire.header("authorization", &format!("Bearer {key}"))?;
    }
    Ok(Box::new(Hosted { wire }))
}

impl Provider for Hosted {
    fn route(&self, operation: Operation, stream: bool) -> Result<Route, GatewayError> {
        self.wire.route(operation, stream)
    }

    fn request(
        &self,
        operation: Operation,
        incoming: Incoming<'_>,
        options: &RequestOptions<'_>,
    ) -> Result<Outgoing, GatewayError> {
        self.wire.request(operation, incoming, options)
    }

    /// Text generation inference leaves the id empty.
    fn answer(
        &self,
        reply: &Reply<'_>,
        context: &AnswerContext<'_>,
    ) -> Result<Answer, GatewayError> {
        let mut answer = self.wire.answer(reply, context)?;
        if answer.id.as_deref() == Some("") {
            let body = answer.body.to_vec(reply.body);
            if let Ok(mut body) = Value::read(&body) {
                let id = format!("chatcmpl-{}", context.fresh_id);
                body["id"] = json!(id);
                answer.body = whole(&body);
                answer.id = Some(id);
            }
        }
        Ok(answer)
    }

    fn stream(&self, context: &AnswerContext<'_>) -> StreamReader {
        self.wire.stream(context)
    }

    fn error(&self, reply: &Reply<'_>) -> GatewayError {
        self.wire.error(reply)
    }
}
