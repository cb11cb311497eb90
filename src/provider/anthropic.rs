//! Anthropic. Chat is translated; `/v1/messages` is the provider's own dialect and passes with the model's name changed.

use crate::dialect::value::{Map, Value, json};

use super::translated::{Common, Translator, answer, upstream_error, whole};
use super::{
    Answer, AnswerContext, Incoming, Operation, Outgoing, Provider, Reply, RequestOptions, Route,
    Setup, StreamReader, openai,
};
use crate::dialect::anthropic_messages::stream::Events;
use crate::dialect::anthropic_messages::{error, request, response, usage};
use crate::dialect::events::{EventReader, Progress};
use crate::dialect::frames::Sse;
use crate::dialect::hub::{Stamp, unreadable};
use crate::dialect::openai_chat::params::Param;
use crate::dialect::splice::Spliced;
use crate::error::GatewayError;

/// What Claude models do not take.
pub(super) const REFUSED: &[Param] = &[
    Param::N,
    Param::Modalities,
    Param::Prediction,
    Param::Audio,
    Param::PresencePenalty,
    Param::FrequencyPenalty,
    Param::LogitBias,
    Param::Seed,
    Param::Logprobs,
    Param::TopLogprobs,
    Param::Verbosity,
    Param::SafetyIdentifier,
    Param::PromptCacheKey,
];

/// The version of the API.
const VERSION: &str = "2023-06-01";

struct Anthropic {
    common: Common,
    path: String,
}

/// Builds a deployment.
pub(super) fn build(setup: Setup<'_>) -> Result<Box<dyn Provider>, String> {
    let mut common = Common::new(&setup);
    if !common
        .headers
        .iter()
        .any(|(name, _)| name == "anthropic-version")
    {
        common.header("anthropic-version", VERSION)?;
    }
    if let Some(key) = setup.key {
        if key.reveal().starts_with("sk-ant-oat") {
            common.header("authorization", &format!("Bearer {}", key.reveal()))?;
            common.header("anthropic-beta", "oauth-2025-04-20")?;
        } else {
            common.header("x-api-key", key.reveal())?;
        }
    }
    let path = if setup.base.prefix.ends_with("/v1") {
        setup.base.join("/messages")
    } else {
        setup.base.join("/v1/messages")
    };
    Ok(Box::new(Anthropic { common, path }))
}

impl Provider for Anthropic {
    fn route(&self, operation: Operation, _stream: bool) -> Result<Route, GatewayError> {
        match operation {
            Operation::Chat | Operation::Messages => Ok(self.common.route(self.path.clone())),
            Operation::MessagesCount => {
                Ok(self.common.route(format!("{}/count_tokens", self.path)))
            }
            _ => Err(openai::unsupported(self.common.label, operation)),
        }
    }

    fn request(
        &self,
        operation: Operation,
        incoming: Incoming<'_>,
        options: &RequestOptions<'_>,
    ) -> Result<Outgoing, GatewayError> {
        if matches!(operation, Operation::Messages | Operation::MessagesCount) {
            return native_request(operation, &self.common, incoming, options);
        }
        if operation != Operation::Chat {
            return Err(openai::unsupported(self.common.label, operation));
        }
        let mut call = self.common.call(incoming, options, REFUSED)?;
        let mut headers = std::mem::take(&mut call.headers);
        let (stream, usage_asked) = (call.stream, call.usage_asked);
        let translated = request::translate(call, self.common.label)?;
        let beta = translated.beta;
        headers.extend(beta.map(|beta| ("anthropic-beta".to_owned(), beta.to_owned())));
        Ok(Outgoing {
            headers,
            stream,
            usage_asked,
            ..Outgoing::new(whole(&Value::Object(translated.body)))
        })
    }

    fn speaks(&self, operation: Operation) -> bool {
        !matches!(
            operation,
            Operation::Responses | Operation::GenerateContent | Operation::Completions
        )
    }

    fn wants_inline(&self, _operation: Operation, url: &str, _format: Option<&str>) -> bool {
        // Anthropic fetches over TLS only.
        !url.starts_with("https://")
    }

    fn takes_bytes_only(&self) -> bool {
        true
    }

    fn counts(&self, operation: Operation) -> bool {
        operation == Operation::MessagesCount
    }

    fn answer(
        &self,
        reply: &Reply<'_>,
        context: &AnswerContext<'_>,
    ) -> Result<Answer, GatewayError> {
        claude_answer(&self.common, reply, context)
    }

    fn stream(&self, context: &AnswerContext<'_>) -> StreamReader {
        claude_stream(&self.common, context)
    }

    fn error(&self, reply: &Reply<'_>) -> GatewayError {
        let text = String::from_utf8_lossy(reply.body);
        let (class, status, message) = error::read(self.common.label, reply.status, &text);
        upstream_error(reply, class, status, message)
    }
}

/// A Messages request as the client wrote it, for this deployment's model.
pub(super) fn native_request(
    operation: Operation,
    common: &Common,
    incoming: Incoming<'_>,
    options: &RequestOptions<'_>,
) -> Result<Outgoing, GatewayError> {
    let Incoming::Json { body, .. } = incoming else {
        return Err(GatewayError::malformed("the body must be a JSON object"));
    };
    let given: Map = Map::read(body).map_err(GatewayError::malformed)?;
    let metadata = given.get("metadata").cloned();
    let mut call = common.call(incoming, options, &[])?;
    let mut native = std::mem::take(&mut call.fields);
    native.insert("messages", Value::Array(call.messages));
    native.insert("model", json!(call.model));
    if operation == Operation::Messages {
        native.insert("stream", json!(call.stream));
    }
    if let Some(user) = metadata
        .as_ref()
        .and_then(|metadata| metadata.get("user_id"))
    {
        native.insert("metadata", json!({"user_id": user}));
    }
    Ok(Outgoing {
        headers: call.headers,
        stream: call.stream,
        usage_asked: true,
        ..Outgoing::new(whole(&Value::Object(native)))
    })
}

/// The features that an `anthropic-beta` header names.
pub(super) fn betas(header: Option<&str>) -> impl Iterator<Item = &str> {
    let names = header.unwrap_or_default().split(',');
    names.map(str::trim).filter(|name| !name.is_empty())
}

/// An answer of a Claude model for a chat or Messages client.
pub(super) fn claude_answer(
    common: &Common,
    reply: &Reply<'_>,
    context: &AnswerContext<'_>,
) -> Result<Answer, GatewayError> {
    if context.operation.is_count() {
        return Ok(Answer::new(Spliced::unchanged()));
    }
    let mut body: Value =
        Value::read(reply.body).map_err(|error| unreadable(common.label, error))?;
    if !body["content"].is_array() {
        return Err(unreadable(common.label, "no content"));
    }
    let stamp = common.stamp(context);
    let model = body["model"].as_str().map(str::to_owned);
    let mut translated = if context.operation == Operation::Messages {
        let (usage, _) = usage::to_hub(&body["usage"], Some(0));
        let reason = body["stop_reason"].as_str().map(str::to_owned);
        let id = body["id"].as_str().map(str::to_owned);
        body["model"] = json!(stamp.model);
        let mut native = Answer::new(whole(&body));
        native.usage = Some(usage);
        native.finish_reason = reason;
        native.id = id;
        native
    } else {
        let (body, usage) = response::translate(&body, &stamp);
        answer(body, usage)
    };
    translated.upstream_model = model;
    Ok(translated)
}

/// The reader for a Claude model's stream for a chat or Messages client.
pub(super) fn claude_stream(common: &Common, context: &AnswerContext<'_>) -> StreamReader {
    let stamp = common.stamp(context);
    let events = Events::new(common.label, &stamp, error::in_stream);
    StreamReader::Translate(if context.operation == Operation::Messages {
        Box::new(Translator::<Sse, _>::new(Native { events, stamp }))
    } else {
        Box::new(Translator::<Sse, _>::new(events))
    })
}

/// The provider's events for a client of its own dialect. They are read for what is in them.
struct Native {
    events: Events,
    stamp: Stamp,
}

impl EventReader for Native {
    fn event(&mut self, name: &[u8], data: &[u8], out: &mut Vec<u8>) -> Result<(), GatewayError> {
        let mut unused = Vec::new();
        self.events.event(name, data, &mut unused)?;
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name);
        out.extend_from_slice(b"\ndata: ");
        if name == b"message_start" {
            let mut event = Value::read(data).unwrap_or_default();
            event["message"]["model"] = json!(self.stamp.model);
            event.write(out);
        } else {
            out.extend_from_slice(data);
        }
        out.extend_from_slice(b"\n\n");
        Ok(())
    }

    fn finish(&mut self, _out: &mut Vec<u8>) {}

    fn progress(&self) -> Progress<'_> {
        self.events.progress()
    }

    fn end_mark(&self) -> &'static [u8] {
        b""
    }
}
