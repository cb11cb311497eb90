//! The Gemini API: chat translated to generateContent, embeddings.

use crate::dialect::value::Value;

use super::translated::{Common, Translator, answer, json, upstream_error, whole};
use super::{
    Answer, AnswerContext, Incoming, Operation, Outgoing, Provider, Reply, RequestOptions, Route,
    Setup, StreamReader, openai,
};
use crate::dialect::events::{EventReader, Progress};
use crate::dialect::frames::Sse;
use crate::dialect::gemini::stream::Events;
use crate::dialect::gemini::{embed, error, request, response, usage};
use crate::dialect::hub::{Call, media_type_of, unreadable};
use crate::dialect::openai_chat::params::Param;
use crate::dialect::splice::Spliced;
use crate::error::GatewayError;

/// What Gemini models do not take.
pub(super) const REFUSED: &[Param] = &[
    Param::LogitBias,
    Param::Prediction,
    Param::Verbosity,
    Param::SafetyIdentifier,
    Param::PromptCacheKey,
];

struct Gemini {
    common: Common,
    refused: Vec<Param>,
}

/// Builds a deployment.
pub(super) fn build(setup: Setup<'_>) -> Result<Box<dyn Provider>, String> {
    let mut common = Common::new(&setup);
    if let Some(key) = setup.key {
        common.header("x-goog-api-key", key.reveal())?;
    }
    let mut refused = REFUSED.to_vec();
    refused.push(Param::TopLogprobs);
    Ok(Box::new(Gemini { common, refused }))
}

/// The method behind a model's colon, and its query.
pub(super) const fn method(operation: Operation, stream: bool) -> Option<&'static str> {
    match (operation, stream) {
        (Operation::Chat | Operation::GenerateContent, false) => Some(":generateContent"),
        (Operation::Chat | Operation::GenerateContent, true) => Some(":streamGenerateContent"),
        (Operation::GenerateCount, _) => Some(":countTokens"),
        (Operation::Embeddings, _) => Some(":batchEmbedContents"),
        _ => None,
    }
}

impl Gemini {
    fn path(
        &self,
        operation: Operation,
        model: &str,
        stream: bool,
    ) -> Result<String, GatewayError> {
        let method = method(operation, stream)
            .ok_or_else(|| openai::unsupported(self.common.label, operation))?;
        let path = self.common.base.join(&format!("/models/{model}{method}"));
        Ok(with_sse(path, stream))
    }
}

/// A stream is asked for as events.
pub(super) fn with_sse(path: String, stream: bool) -> String {
    if !stream {
        return path;
    }
    let mark = if path.contains('?') { '&' } else { '?' };
    format!("{path}{mark}alt=sse")
}

/// A call as the provider takes it: its own model in the path, unless the request says another.
pub(super) fn outgoing(mut call: Call, operation: Operation, path: Option<String>) -> Outgoing {
    let headers = std::mem::take(&mut call.headers);
    let (stream, usage_asked) = (call.stream, call.usage_asked);
    let body = if operation == Operation::Embeddings {
        embed::batch(call)
    } else {
        Value::Object(request::translate(call))
    };
    Outgoing {
        path_and_query: path,
        headers,
        stream,
        usage_asked,
        ..Outgoing::new(whole(&body))
    }
}

impl Provider for Gemini {
    fn route(&self, operation: Operation, stream: bool) -> Result<Route, GatewayError> {
        let path = self.path(operation, &self.common.model, stream)?;
        Ok(self.common.route(path))
    }

    fn request(
        &self,
        operation: Operation,
        incoming: Incoming<'_>,
        options: &RequestOptions<'_>,
    ) -> Result<Outgoing, GatewayError> {
        if matches!(
            operation,
            Operation::GenerateContent | Operation::GenerateCount
        ) {
            let mut outgoing = native_request(operation, &self.common, incoming, options)?;
            if let Some(model) = options.model {
                outgoing.path_and_query = Some(self.path(operation, model, outgoing.stream)?);
            }
            return Ok(outgoing);
        }
        if !matches!(operation, Operation::Chat | Operation::Embeddings) {
            return Err(openai::unsupported(self.common.label, operation));
        }
        let call = self.common.call(incoming, options, &self.refused)?;
        let path = match options.model {
            Some(model) => Some(self.path(operation, model, call.stream)?),
            None => None,
        };
        Ok(outgoing(call, operation, path))
    }

    fn speaks(&self, operation: Operation) -> bool {
        !matches!(
            operation,
            Operation::Messages | Operation::Responses | Operation::Completions
        )
    }

    fn wants_inline(&self, operation: Operation, url: &str, format: Option<&str>) -> bool {
        operation != Operation::GenerateContent && google_cannot_fetch(url, format)
    }

    fn takes_bytes_only(&self) -> bool {
        true
    }

    fn counts(&self, operation: Operation) -> bool {
        operation == Operation::GenerateCount
    }

    fn answer(
        &self,
        reply: &Reply<'_>,
        context: &AnswerContext<'_>,
    ) -> Result<Answer, GatewayError> {
        gemini_answer(&self.common, reply, context)
    }

    fn stream(&self, context: &AnswerContext<'_>) -> StreamReader {
        gemini_stream(&self.common, context)
    }

    fn error(&self, reply: &Reply<'_>) -> GatewayError {
        google_error(&self.common, reply)
    }
}

/// A generateContent request as the client wrote it, for this deployment's model. Whether to stream is a member `stream`
/// that does not go on.
pub(super) fn native_request(
    operation: Operation,
    common: &Common,
    incoming: Incoming<'_>,
    options: &RequestOptions<'_>,
) -> Result<Outgoing, GatewayError> {
    let call = common.call(incoming, options, &[])?;
    let mut body = call.fields;
    if operation == Operation::GenerateContent {
        body.insert("model", Value::from(call.model));
    }
    Ok(Outgoing {
        headers: call.headers,
        stream: call.stream,
        usage_asked: true,
        ..Outgoing::new(whole(&Value::Object(body)))
    })
}

/// An answer of generateContent or of an embeddings method.
pub(super) fn gemini_answer(
    common: &Common,
    reply: &Reply<'_>,
    context: &AnswerContext<'_>,
) -> Result<Answer, GatewayError> {
    if context.operation.is_count() {
        return Ok(Answer::new(Spliced::unchanged()));
    }
    let body = json(common.label, reply)?;
    let stamp = common.stamp(context);
    if context.operation == Operation::Embeddings {
        let (body, usage) = embed::answer(&body, &stamp.model)
            .ok_or_else(|| unreadable(common.label, "no embeddings"))?;
        return Ok(answer(body, usage));
    }
    let model = body["modelVersion"].as_str().map(str::to_owned);
    if context.operation == Operation::GenerateContent {
        let mut native = Answer::new(Spliced::unchanged());
        native.usage = Some(usage::to_hub(&body["usageMetadata"], 0).0);
        native.upstream_model = model;
        return Ok(native);
    }
    let (body, usage) = response::translate(&body, &stamp);
    let mut answer = answer(body, usage);
    answer.upstream_model = model;
    Ok(answer)
}

/// The reader for a stream of generateContent.
pub(super) fn gemini_stream(common: &Common, context: &AnswerContext<'_>) -> StreamReader {
    let events = Events::new(common.label, common.stamp(context));
    StreamReader::Translate(if context.operation == Operation::GenerateContent {
        Box::new(Translator::<Sse, _>::new(Native(events)))
    } else {
        Box::new(Translator::<Sse, _>::new(events))
    })
}

/// The provider's events for a client of its own dialect. They are read for what is in them.
struct Native(Events);

impl EventReader for Native {
    fn event(&mut self, _name: &[u8], data: &[u8], out: &mut Vec<u8>) -> Result<(), GatewayError> {
        let mut unused = Vec::new();
        self.0.event(b"", data, &mut unused)?;
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(data);
        out.extend_from_slice(b"\n\n");
        Ok(())
    }

    fn finish(&mut self, _out: &mut Vec<u8>) {}

    fn progress(&self) -> Progress<'_> {
        self.0.progress()
    }

    fn end_mark(&self) -> &'static [u8] {
        b""
    }

    fn ends_early(&self) -> bool {
        false
    }
}

/// What an error of Google's means.
pub(super) fn google_error(common: &Common, reply: &Reply<'_>) -> GatewayError {
    let text = String::from_utf8_lossy(reply.body);
    let (class, status, message) = error::read(common.name, common.label, reply.status, &text);
    upstream_error(reply, class, status, message)
}

/// Whether Google does not fetch a file itself: it does over TLS, with a media type, and what it keeps or plays itself.
pub(super) fn google_cannot_fetch(url: &str, format: Option<&str>) -> bool {
    const GOOGLES: [&str; 4] = [
        "https://generativelanguage.googleapis.com/",
        "https://www.youtube.com/",
        "https://youtube.com/",
        "https://youtu.be/",
    ];
    if GOOGLES.iter().any(|own| url.starts_with(own)) {
        return false;
    }
    let is_known = format.is_some() || media_type_of(url).is_some();
    !(url.starts_with("https://") && is_known)
}
