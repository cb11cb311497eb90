//! Providers on the OpenAI wire: OpenAI itself and everybody who copies it. A deployment holds one plan per kind of
//! request and its headers; a provider's peculiarities are a [`Rules`] constant.

use serde_json::Value;

use super::errors::{self, ErrorStyle};
use super::{
    Answer, AnswerContext, Base, Incoming, Operation, Outgoing, Provider, Reply, RequestOptions,
    Route, Secret, Setup, StreamReader, compatible,
};
use crate::dialect::multipart::Multipart;
use crate::dialect::openai_chat::messages::MessageRules;
use crate::dialect::openai_chat::params::{Change, Param, Rule};
use crate::dialect::openai_chat::plan::{Plan, RequestRules};
use crate::dialect::openai_chat::request::PlanOptions;
use crate::dialect::openai_chat::response::{self, ResponseRules};
use crate::dialect::openai_other;
use crate::dialect::scan::{Scan, Span, scan};
use crate::dialect::splice::{Edits, Spliced};
use crate::dialect::stream::{StreamKind, StreamTap};
use crate::dialect::tape::Tape;
use crate::error::{ErrorClass, GatewayError, push_json_string};

/// All that distinguishes a provider on the OpenAI wire.
#[derive(Debug)]
pub(super) struct Rules {
    /// Chat and text requests.
    pub request: RequestRules,
    /// Parameters of embeddings with another rule than `Keep`.
    pub embeddings: &'static [(Param, Rule)],
    /// Answers.
    pub response: ResponseRules,
    /// Errors.
    pub errors: ErrorStyle,
    /// Headers of every request.
    pub headers: &'static [(&'static str, &'static str)],
    /// The key where none is given; without one there is no `authorization`.
    pub key: Option<&'static str>,
    /// Embeddings do not get that key.
    pub keyless_embeddings: bool,
    /// The path of rerank.
    pub rerank: &'static str,
}

impl Rules {
    /// A host of which nothing is known but that it copies OpenAI.
    pub(super) const PLAIN: Self = Self {
        request: RequestRules::PLAIN,
        embeddings: &[],
        response: ResponseRules::PLAIN,
        errors: ErrorStyle::Message,
        headers: &[],
        key: None,
        keyless_embeddings: false,
        rerank: "/rerank",
    };
}

/// The parameter that leaves Fireworks' images as they are; set for models that see.
pub const NO_INLINE_IMAGES: &str = "disable_add_transform_inline_image_block";

/// The parameter that turns previews on (docs/previews.md).
pub const PREVIEW: &str = "enable_preview_features";

/// One deployment on the OpenAI wire.
pub(super) struct OpenAiWire {
    name: &'static str,
    pub(super) label: &'static str,
    pub(super) rules: &'static Rules,
    pub(super) base: Base,
    pub(super) chat: Plan,
    pub(super) embeddings: Plan,
    pub(super) images: Plan,
    pub(super) other: Plan,
    pub(super) headers: Vec<(String, String)>,
    model: String,
    has_key: bool,
}

/// Builds a deployment of a provider that differs by its rules only.
pub(super) fn build(setup: Setup<'_>) -> Result<Box<dyn Provider>, String> {
    let rules = compatible::rules(setup.entry.name);
    let mut wire = OpenAiWire::new(&setup, rules);
    if let Some(key) = setup.key.map(Secret::reveal).or(rules.key) {
        wire.header("authorization", &format!("Bearer {key}"))?;
    }
    // One or several are allowed; a deployment sends the first.
    let organizations = || setup.list("organization").into_iter().next();
    if let Some(organization) = setup.text("organization").or_else(organizations) {
        wire.header("openai-organization", &organization)?;
    }
    Ok(Box::new(wire))
}

impl OpenAiWire {
    /// A deployment without its credentials.
    pub(super) fn new(setup: &Setup<'_>, rules: &'static Rules) -> Self {
        let name = setup.entry.name;
        let model = compatible::upstream_model(name, setup.model);
        let mut chat = Plan::new(name, &model, &rules.request, setup.params);
        compatible::model_rules(name, &reasoning_name(setup), &mut chat);
        if name == "openai" && setup.flag(PREVIEW) {
            chat.set(Param::Metadata, Rule::Value(visible_metadata));
        }
        if name == "fireworks_ai" && !setup.flag(NO_INLINE_IMAGES) && !model.contains("vision") {
            chat.set_messages(MessageRules {
                inline_images: true,
                ..rules.request.messages
            });
        }
        let embeddings = RequestRules {
            params: rules.embeddings,
            ..RequestRules::PLAIN
        };
        let mut embeddings = Plan::new(name, &model, &embeddings, setup.params);
        let mut other = Plan::new(name, &model, &RequestRules::PLAIN, setup.params);
        embeddings.without_stream_usage();
        other.without_stream_usage();
        other.set(Param::Metadata, Rule::Value(|_| Change::Keep));
        let mut headers = Vec::new();
        headers.extend(
            rules
                .headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let mut wire = Self {
            label: setup.entry.label,
            rules,
            base: setup.base.clone(),
            chat,
            embeddings,
            images: other.clone(),
            other,
            headers,
            name,
            model: model.into_owned(),
            has_key: setup.key.is_some(),
        };
        for list in ["extra_headers", "headers"] {
            let Some(Value::Object(extra)) = setup.params.get(list) else {
                continue;
            };
            for (name, value) in extra {
                let value = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                // A header that cannot be sent is left out; the configuration's reader has already said so.
                let _ = wire.header(&name.to_ascii_lowercase(), &value);
            }
        }
        wire
    }

    /// Sets a header of all requests.
    pub(super) fn header(&mut self, name: &str, value: &str) -> Result<(), String> {
        let visible = value
            .bytes()
            .all(|byte| (0x20..0x7f).contains(&byte) || byte == b'\t');
        if !visible
            || name.is_empty()
            || !name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        {
            return Err(format!(
                "the value for header {name:?} has letters that no header may have"
            ));
        }
        self.headers.retain(|(other, _)| other != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        Ok(())
    }

    /// The plan for an operation with a JSON body.
    fn plan(&self, operation: Operation) -> &Plan {
        match operation {
            Operation::Chat | Operation::Completions => &self.chat,
            Operation::Embeddings => &self.embeddings,
            Operation::ImageGeneration => &self.images,
            _ => &self.other,
        }
    }

    /// A route to `path_and_query`.
    pub(super) fn route_to(&self, operation: Operation, path_and_query: String) -> Route {
        let mut headers = self.headers.clone();
        if !operation.is_multipart() {
            headers.push(("content-type".to_owned(), "application/json".to_owned()));
        }
        Route {
            method: "POST",
            path_and_query,
            headers,
        }
    }

    fn json(
        &self,
        operation: Operation,
        body: &[u8],
        scan: &Scan,
        options: &RequestOptions<'_>,
    ) -> Result<Outgoing, GatewayError> {
        let model = options
            .model
            .map(|model| compatible::upstream_model(self.name, model));
        let options = PlanOptions {
            model: model.as_deref(),
            drop_params: options.drop_params,
            stream_usage: options.stream_usage,
        };
        let edited = self.plan(operation).apply(body, scan, &options)?;
        Ok(Outgoing {
            body: edited.body,
            path_and_query: None,
            headers: edited.headers,
            stream: edited.stream,
            usage_asked: edited.usage_asked,
            is_promise: false,
            renamed: Vec::new(),
            response_id: String::new(),
        })
    }

    fn form(&self, body: &[u8], parts: &Multipart, options: &RequestOptions<'_>) -> Outgoing {
        let model = options.model.unwrap_or(&self.model);
        let mut edits = Edits::new();
        match parts.field("model") {
            Some(part) => edits.replace(part.content, model.as_bytes()),
            None => edits.replace(
                Span {
                    start: parts.end,
                    end: parts.end,
                },
                parts.render("model", model).as_bytes(),
            ),
        }
        let mut outgoing = Outgoing::new(Spliced::Edits(edits));
        outgoing.stream = parts.text(body, "stream") == Some("true");
        outgoing
    }
}

/// The name by which a model's kind is known: `base_model` where the deployment's own says nothing.
pub(super) fn reasoning_name(setup: &Setup<'_>) -> String {
    let name = setup
        .text("base_model")
        .unwrap_or_else(|| setup.model.to_owned());
    name.rsplit('/').next().unwrap_or_default().to_owned()
}

/// What of the client's metadata OpenAI gets: texts, and no more than it takes.
fn visible_metadata(metadata: &[u8]) -> Change {
    const MEMBERS_MAX: usize = 16;
    let all: serde_json::Map<String, Value> = serde_json::from_slice(metadata).unwrap_or_default();
    let texts = all
        .into_iter()
        .filter(|(name, value)| value.is_string() && name != "hidden_params");
    let visible: serde_json::Map<String, Value> = texts.take(MEMBERS_MAX).collect();
    match visible.is_empty() {
        true => Change::Remove,
        false => Change::Replace(Value::Object(visible).to_string().into_bytes().into()),
    }
}

impl Provider for OpenAiWire {
    fn speaks(&self, operation: Operation) -> bool {
        match operation {
            Operation::Messages | Operation::GenerateContent => false,
            Operation::Completions => completes_text(self.name, &self.model),
            _ => true,
        }
    }

    fn route(&self, operation: Operation, _stream: bool) -> Result<Route, GatewayError> {
        let path = match operation {
            Operation::Messages | Operation::GenerateContent => {
                return Err(unsupported(self.label, operation));
            }
            Operation::Rerank if self.base.prefix.ends_with("/v1") => "/rerank",
            Operation::Rerank => self.rules.rerank,
            _ => operation.path(),
        };
        let mut route = self.route_to(operation, self.base.join(path));
        if operation == Operation::Embeddings && !self.has_key && self.rules.keyless_embeddings {
            route.headers.retain(|(name, _)| name != "authorization");
        }
        Ok(route)
    }

    fn request(
        &self,
        operation: Operation,
        incoming: Incoming<'_>,
        options: &RequestOptions<'_>,
    ) -> Result<Outgoing, GatewayError> {
        match incoming {
            Incoming::Json { body, scan } => self.json(operation, body, scan, options),
            Incoming::Multipart { body, parts } => Ok(self.form(body, parts, options)),
        }
    }

    fn answer(
        &self,
        reply: &Reply<'_>,
        context: &AnswerContext<'_>,
    ) -> Result<Answer, GatewayError> {
        answer(self.label, &self.rules.response, reply, context)
    }

    fn stream(&self, context: &AnswerContext<'_>) -> StreamReader {
        StreamReader::Tap(Box::new(tap(self.label, &self.rules.response, context)))
    }

    fn error(&self, reply: &Reply<'_>) -> GatewayError {
        errors::from_reply(self.label, self.rules.errors, reply)
    }
}

/// Providers that serve text completions beside chats.
const COMPLETING: &[&str] = &[
    "custom_openai",
    "deepinfra",
    "featherless_ai",
    "fireworks_ai",
    "hosted_vllm",
    "litellm_proxy",
    "llamafile",
    "lm_studio",
    "meta_llama",
    "nebius",
    "nscale",
    "openai_like",
    "openrouter",
    "text-completion-openai",
    "together_ai",
    "wandb",
    "xinference",
];

/// Whether text completions of a model go to the provider as they are. OpenAI's own chat models refuse them; a name that
/// is not one of OpenAI's is somebody's own host, which mostly takes both.
fn completes_text(name: &str, model: &str) -> bool {
    match name {
        "openai" => !is_openai_chat(model),
        _ => COMPLETING.binary_search(&name).is_ok(),
    }
}

/// OpenAI's chat models by their names.
fn is_openai_chat(model: &str) -> bool {
    let model = model.strip_prefix("ft:").unwrap_or(model);
    let reasons = model.starts_with('o') && model.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
    (reasons || model.starts_with("gpt-") || model.starts_with("chatgpt-")) && !is_text_model(model)
}

/// OpenAI's models for text completions by their names.
pub(super) fn is_text_model(model: &str) -> bool {
    ["instruct", "davinci", "babbage"]
        .iter()
        .any(|word| model.contains(word))
}

/// The tap for a stream in OpenAI's dialect.
pub(super) fn tap(
    label: &'static str,
    rules: &'static ResponseRules,
    context: &AnswerContext<'_>,
) -> StreamTap {
    let kind = match context.operation {
        Operation::Chat => StreamKind::Chat,
        Operation::Completions => StreamKind::Completions,
        Operation::Responses => StreamKind::Responses,
        _ => StreamKind::Opaque,
    };
    let model = (!context.keep_upstream_model).then_some(context.requested_model);
    StreamTap::new(kind, rules, label, model, context.usage_asked)
}

/// A refusal of an operation that the provider does not have.
pub(super) fn unsupported(label: &str, operation: Operation) -> GatewayError {
    GatewayError::refused(
        ErrorClass::BadRequest,
        format_args!("{label} has no operation {operation:?}"),
    )
}

/// An answer in OpenAI's dialect.
pub(super) fn answer(
    label: &str,
    rules: &ResponseRules,
    reply: &Reply<'_>,
    context: &AnswerContext<'_>,
) -> Result<Answer, GatewayError> {
    let body = reply.body;
    if !matches!(
        context.operation,
        Operation::Chat
            | Operation::Completions
            | Operation::Embeddings
            | Operation::Rerank
            | Operation::Responses
    ) && scan(body).is_err()
    {
        // Audio, subtitles, plain text.
        return Ok(Answer::new(Spliced::unchanged()));
    }
    let mut tape = Tape::default();
    let fields = match context.operation {
        Operation::Chat => tape.scan(body),
        _ => scan(body),
    }
    .map_err(|error| unreadable(label, &error))?;
    let mut model = Vec::new();
    push_json_string(&mut model, context.requested_model);
    let model = (!context.keep_upstream_model).then_some(model.as_slice());
    let mut edits = Edits::new();
    let mut answer = Answer::new(Spliced::unchanged());
    answer.upstream_model = fields
        .string(body, "model")
        .map(std::borrow::Cow::into_owned);
    answer.id = fields.string(body, "id").map(std::borrow::Cow::into_owned);
    match context.operation {
        Operation::Chat => {
            let read = response::edit(body, (&fields, &tape), rules, model, &mut edits);
            (answer.usage, answer.finish_reason) = (read.usage, read.finish_reason);
        }
        Operation::Rerank => {
            let (whole, usage) = openai_other::rerank(body, &fields, context.fresh_id);
            answer.usage = usage;
            answer.body = Spliced::Whole(whole);
            return Ok(answer);
        }
        operation => {
            let kind = match operation {
                Operation::Completions => openai_other::Kind::Completions,
                Operation::Embeddings => openai_other::Kind::Embeddings,
                Operation::Moderation => openai_other::Kind::KeepModel,
                _ => openai_other::Kind::Plain,
            };
            answer.usage = openai_other::edit(body, &fields, kind, model, &mut edits);
            answer.finish_reason = openai_other::finish_reason(body, &fields);
        }
    }
    answer.body = Spliced::Edits(edits);
    Ok(answer)
}

/// An answer that is no JSON object.
pub(super) fn unreadable(label: &str, error: &dyn std::fmt::Display) -> GatewayError {
    GatewayError::new(
        ErrorClass::ApiConnection,
        format!(
            "litellm.APIConnectionError: APIConnectionError: {label}Exception - unreadable answer: {error}"
        ),
    )
}
