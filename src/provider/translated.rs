//! What providers of another dialect than OpenAI's share: reading the client's request and the deployment's defaults,
//! refusing parameters, headers, and streams that are translated event by event.

use crate::dialect::value::{Map, Value};

use super::errors::is_context_window;
use super::{
    Answer, AnswerContext, Base, Incoming, Reply, RequestOptions, Route, Setup, StreamEnd,
    StreamTranslator, retry_after,
};
use crate::dialect::events::EventReader;
use crate::dialect::frames::Framing;
use crate::dialect::hub::{Call, Stamp, unreadable};
use crate::dialect::openai_chat::params::{Param, is_gateway_field, is_gateway_setting};
use crate::dialect::splice::Spliced;
use crate::dialect::usage::Usage;
use crate::error::{ErrorClass, Fault, GatewayError};

/// What models that are asked by prompt do not take. Some have a word for the first.
pub(super) const REFUSED_BY_PROMPT: &[Param] = &[
    Param::FrequencyPenalty,
    Param::N,
    Param::PresencePenalty,
    Param::LogitBias,
    Param::Logprobs,
    Param::TopLogprobs,
    Param::ResponseFormat,
    Param::Tools,
    Param::ToolChoice,
    Param::ParallelToolCalls,
    Param::Modalities,
    Param::Prediction,
    Param::Audio,
    Param::ServiceTier,
    Param::Verbosity,
    Param::WebSearchOptions,
];

/// A deployment, without its dialect.
pub(super) struct Common {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    pub(super) model: String,
    pub(super) base: Base,
    pub(super) headers: Vec<(String, String)>,
    defaults: Map,
    drop_params: bool,
    dropped: Vec<String>,
    allowed: Vec<String>,
}

impl Common {
    /// Reads what is the same for all providers.
    pub(super) fn new(setup: &Setup<'_>) -> Self {
        let mut defaults = Map::new();
        for (name, value) in setup.params {
            if !is_gateway_setting(name) && name != "extra_body" && !value.is_null() {
                defaults.insert(name, value.into());
            }
        }
        if let Some(Value::Object(extra)) = setup.params.get("extra_body").map(Value::from) {
            defaults.extend(extra);
        }
        let mut common = Self {
            name: setup.entry.name,
            label: setup.entry.label,
            model: setup.model.to_owned(),
            base: setup.base.clone(),
            headers: Vec::new(),
            defaults,
            drop_params: setup.flag("drop_params"),
            dropped: setup.list("additional_drop_params"),
            allowed: setup.list("allowed_openai_params"),
        };
        for list in ["extra_headers", "headers"] {
            for (name, value) in headers_of(setup.params.get(list).map(Value::from).as_ref()) {
                // A header that cannot be sent is left out; the configuration's reader has already said so.
                let _ = common.header(&name, &value);
            }
        }
        common
    }

    /// Sets a header of all requests.
    pub(super) fn header(&mut self, name: &str, value: &str) -> Result<(), String> {
        if !is_header(name, value) {
            return Err(format!(
                "the value for header {name:?} has letters that no header may have"
            ));
        }
        self.headers.retain(|(other, _)| other != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        Ok(())
    }

    /// A POST of JSON to `path_and_query`.
    pub(super) fn route(&self, path_and_query: String) -> Route {
        let mut headers = self.headers.clone();
        headers.push(("content-type".to_owned(), "application/json".to_owned()));
        Route {
            method: "POST",
            path_and_query,
            headers,
        }
    }

    /// Takes a request apart. `refused` are the parameters that the provider does not take.
    pub(super) fn call(
        &self,
        incoming: Incoming<'_>,
        options: &RequestOptions<'_>,
        refused: &[Param],
    ) -> Result<Call, GatewayError> {
        let Incoming::Json { body, .. } = incoming else {
            return Err(GatewayError::malformed("the body must be a JSON object"));
        };
        let mut fields: Map = Map::read(body).map_err(GatewayError::malformed)?;
        let drop = options.drop_params
            || self.drop_params
            || fields.get("drop_params") == Some(&Value::Bool(true));
        let mut dropped = self.dropped.clone();
        dropped.extend(strings(fields.get("additional_drop_params")));
        let mut allowed = self.allowed.clone();
        allowed.extend(strings(fields.get("allowed_openai_params")));
        let mut call = Call {
            model: options.model.unwrap_or(&self.model).to_owned(),
            headers: headers_of(fields.get("extra_headers")),
            stream: fields.remove("stream") == Some(Value::Bool(true)),
            drop_params: drop,
            modify_params: options.modify_params,
            ..Call::default()
        };
        let stream_options = fields.remove("stream_options").unwrap_or_default();
        call.usage_asked = stream_options["include_usage"] == true;
        if let Some(Value::Object(extra)) = fields.remove("extra_body") {
            fields.extend(extra);
        }
        for (name, value) in &self.defaults {
            if fields.get(name).is_none_or(Value::is_null) {
                fields.insert(name.clone(), value.clone());
            }
        }
        fields.remove("model");
        if let Some(Value::Array(messages)) = fields.remove("messages") {
            call.messages = messages;
        }
        fields.retain(|name, value| {
            !value.is_null()
                && !is_gateway_field(name.as_bytes())
                && !dropped.iter().any(|other| name == other)
        });
        self.refuse(&mut fields, refused, &allowed, drop, &call.model)?;
        call.fields = fields;
        Ok(call)
    }

    fn refuse(
        &self,
        fields: &mut Map,
        refused: &[Param],
        allowed: &[String],
        drop: bool,
        model: &str,
    ) -> Result<(), GatewayError> {
        let mut found: Vec<Param> = refused
            .iter()
            .copied()
            .filter(|param| {
                fields.contains_key(param.name())
                    && !allowed.iter().any(|name| name == param.name())
            })
            .collect();
        if found.is_empty() {
            return Ok(());
        }
        if drop {
            for param in found {
                fields.remove(param.name());
            }
            return Ok(());
        }
        found.sort_unstable();
        let names: Vec<_> = found
            .iter()
            .map(|param| format!("'{}'", param.name()))
            .collect();
        let names = names.join(", ");
        let name = self.name;
        Err(GatewayError::refused(
            ErrorClass::UnsupportedParams,
            format_args!(
                "{name} does not support parameters: [{names}], for model={model}. To drop these, set \
                 `litellm.drop_params=True` or for proxy:\n\n`litellm_settings:\n drop_params: true`\n. \n If you want to \
                 use these params dynamically send allowed_openai_params=[{names}] in your request."
            ),
        ))
    }

    /// What every answer of this call carries.
    pub(super) fn stamp(&self, context: &AnswerContext<'_>) -> Stamp {
        let model = if context.keep_upstream_model {
            &self.model
        } else {
            context.requested_model
        };
        Stamp {
            id: format!("chatcmpl-{}", context.fresh_id),
            fresh: context.fresh_id.to_owned(),
            created: context.now_unix_s,
            model: model.to_owned(),
            usage_asked: context.usage_asked,
            renamed: context.renamed.to_vec(),
        }
    }
}

/// A path segment of a URL: what is no letter, digit or one of `-_.~@` is percent-encoded.
pub(super) fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A reply's JSON.
pub(super) fn json(label: &str, reply: &Reply<'_>) -> Result<Value, GatewayError> {
    Value::read(reply.body).map_err(|error| unreadable(label, error))
}

/// Whether a header may be sent.
fn is_header(name: &str, value: &str) -> bool {
    let visible = |byte: u8| (0x20..0x7f).contains(&byte) || byte == b'\t';
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    value.bytes().all(visible) && !name.is_empty() && name.bytes().all(plain)
}

/// A JSON object as headers; what cannot be sent is left out.
fn headers_of(value: Option<&Value>) -> Vec<(String, String)> {
    let members = value.and_then(Value::as_object).into_iter().flatten();
    members
        .map(|(name, value)| {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            (name.to_ascii_lowercase(), text)
        })
        .filter(|(name, value)| is_header(name, value))
        .collect()
}

fn strings(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

/// A JSON body of our own.
pub(super) fn whole(body: &Value) -> Spliced {
    Spliced::Whole(body.to_vec())
}

/// An answer of our own, with what is known of it.
pub(super) fn answer(body: Map, usage: Usage) -> Answer {
    let finish_reason = body
        .get("choices")
        .and_then(|choices| choices[0]["finish_reason"].as_str())
        .map(str::to_owned);
    let id = body.get("id").and_then(Value::as_str).map(str::to_owned);
    let mut answer = Answer::new(whole(&Value::Object(body)));
    answer.content_type = Some("application/json");
    answer.usage = Some(usage);
    answer.finish_reason = finish_reason;
    answer.id = id;
    answer
}

/// The error that a reply means, once its class, its status and its text are known.
pub(super) fn upstream_error(
    reply: &Reply<'_>,
    class: ErrorClass,
    status: u16,
    message: String,
) -> GatewayError {
    let mut error = GatewayError::new(class, message).with_status(status);
    error.upstream_status = Some(reply.status);
    error.retry_after = retry_after(reply);
    error.upstream_headers = reply
        .headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    error.retryable = match class {
        ErrorClass::RateLimit => true,
        ErrorClass::ContextWindowExceeded | ErrorClass::ContentPolicyViolation => false,
        _ => matches!(reply.status, 401 | 408 | 409 | 429 | 500..),
    };
    error.fault = if status >= 500 || matches!(status, 401 | 403 | 408 | 429) {
        Fault::Upstream
    } else {
        Fault::Client
    };
    error
}

/// What a reply means at a provider whose errors are told by their status, with the body as text.
pub(super) fn plain_error(label: &str, reply: &Reply<'_>) -> GatewayError {
    let text = String::from_utf8_lossy(reply.body);
    if is_context_window(reply.body) {
        let class = ErrorClass::ContextWindowExceeded;
        let message = format!(
            "litellm.{}: litellm.BadRequestError: {label}Exception - {text}",
            class.name()
        );
        return upstream_error(reply, class, 400, message);
    }
    let class = match reply.status {
        401 => ErrorClass::Authentication,
        403 => ErrorClass::PermissionDenied,
        404 => ErrorClass::NotFound,
        408 | 504 => ErrorClass::Timeout,
        429 => ErrorClass::RateLimit,
        503 => ErrorClass::ServiceUnavailable,
        500.. => ErrorClass::InternalServer,
        _ => ErrorClass::BadRequest,
    };
    let status = match class {
        ErrorClass::BadRequest => reply.status,
        class => class.status(),
    };
    let message = format!("litellm.{}: {label}Exception - {text}", class.name());
    upstream_error(reply, class, status, message)
}

/// A stream that is cut into events and translated.
pub(super) struct Translator<F, R> {
    framing: F,
    reader: R,
    is_done: bool,
}

impl<F: Framing, R: EventReader> Translator<F, R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            framing: F::default(),
            reader,
            is_done: false,
        }
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if !self.is_done {
            self.reader.finish(out);
            out.extend_from_slice(self.reader.end_mark());
            self.is_done = true;
        }
    }
}

impl<F: Framing, R: EventReader> StreamTranslator for Translator<F, R> {
    fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), GatewayError> {
        if self.is_done {
            return Ok(());
        }
        let reader = &mut self.reader;
        // What comes behind the end is nobody's, good or bad, however the bytes were cut.
        let fed = self.framing.feed(bytes, &mut |name, data| {
            if reader.ends_early() && reader.progress().is_whole {
                return Ok(());
            }
            reader.event(name, data, out)
        });
        if self.reader.ends_early() && self.reader.progress().is_whole {
            self.close(out);
            return Ok(());
        }
        fed
    }

    fn end(&mut self, out: &mut Vec<u8>) -> StreamEnd {
        if self.is_done {
            return StreamEnd::Complete;
        }
        let reader = &mut self.reader;
        let flushed = self
            .framing
            .flush(&mut |name, data| reader.event(name, data, out));
        if flushed.is_err() || !self.reader.progress().is_whole {
            return StreamEnd::Cut;
        }
        self.close(out);
        StreamEnd::Complete
    }

    fn text_bytes(&self) -> u64 {
        self.reader.progress().text_bytes
    }

    fn is_done(&self) -> bool {
        self.is_done
    }

    fn usage(&self) -> Option<Usage> {
        self.reader.progress().usage
    }

    fn finish_reason(&self) -> Option<&str> {
        self.reader.progress().finish_reason
    }
}
