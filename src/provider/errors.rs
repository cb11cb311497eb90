//! What an upstream's error means: its class, whether another attempt may help, and the text that clients of LiteLLM know
//! and match on.

use std::borrow::Cow;
use std::time::Duration;

use memchr::memmem;

use super::Operation;
use crate::dialect::scan::{Span, decode_string};
use crate::dialect::walk;
use crate::error::{ErrorClass, Fault, GatewayError};

/// An answer of an upstream.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// What was asked.
    pub operation: Operation,
    /// The HTTP status.
    pub status: u16,
    /// Header names in lower case, and values. May be empty for answers below 400, whose headers nobody reads here.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
}

impl<'a> Reply<'a> {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers
            .iter()
            .find(|(other, _)| *other == name)
            .map(|(_, value)| *value)
    }
}

/// How a provider's errors are worded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorStyle {
    /// The text is the message in the body, as OpenAI's client library finds it.
    Message,
    /// The text is the body as it came.
    Raw,
    /// As `Raw`, and the class is never said twice.
    RawOnce,
    /// `AzureException RateLimitError - text`.
    Azure,
    /// `DatabricksException - body`.
    Databricks,
    /// As `Raw`; other statuses than the well-known ones, and 500, are an `APIError`.
    OpenRouter,
}

/// Texts by which providers say that a prompt does not fit.
const CONTEXT_WINDOW: &[&str] = &[
    "maximum context length is",
    "string too long. Expected a string with maximum length",
    "context_length_exceeded",
    "input tokens exceed the configured limit",
    "is longer than the model's context length",
    "prompt is too long",
    "prompt: length",
    "too many tokens",
    "Too many input tokens",
    "Input is too long",
    "input is too long",
    "exceeds the maximum number of tokens allowed",
    "Request payload size exceeds",
    "Prompt has too many tokens",
    "`inputs` tokens + `max_new_tokens` must be <=",
    "Input text length should not exceed",
    "length limit exceeded",
];

/// Texts by which providers say that content was refused.
const CONTENT_POLICY: &[&str] = &[
    "content_policy_violation",
    "content filtering policy",
    "content_filter_policy",
    "The response was filtered due to the prompt triggering Azure OpenAI's content management",
    "Your task failed as a result of our safety system",
    "The model produced invalid content",
    "The response was blocked.",
    "ResponsibleAIPolicyViolation",
];

/// Whether one of `needles` stands in `text`.
pub fn contains_any(text: &[u8], needles: &[&str]) -> bool {
    needles
        .iter()
        .any(|needle| memmem::find(text, needle.as_bytes()).is_some())
}

/// Whether a text says that the prompt does not fit.
pub fn is_context_window(text: &[u8]) -> bool {
    contains_any(text, CONTEXT_WINDOW)
}

/// Whether a text says that content was refused.
pub fn is_content_policy(text: &[u8]) -> bool {
    contains_any(text, CONTENT_POLICY)
}

/// How long the upstream wants to be left alone: `retry-after-ms`, else `retry-after` in seconds. Dates are not read.
pub fn retry_after(reply: &Reply<'_>) -> Option<Duration> {
    let number = |name| {
        reply
            .header(name)?
            .trim()
            .parse::<f64>()
            .ok()
            .filter(|value| (0.0..=86_400_000.0).contains(value))
    };
    match number("retry-after-ms") {
        Some(milliseconds) => Some(Duration::from_secs_f64(milliseconds / 1000.0)),
        None => number("retry-after").map(Duration::from_secs_f64),
    }
}

/// The message of an error body: `error.message`, `message`, `error` as text; `None` when there is no such thing.
pub fn message_of(body: &[u8]) -> Option<Cow<'_, str>> {
    let whole = outermost(body);
    let error = walk::member(body, whole, "error");
    let inner = error.and_then(|error| walk::member(body, error, "message"));
    let message = inner.or_else(|| walk::member(body, whole, "message"));
    decode_string(message?.of(body))
}

fn outermost(body: &[u8]) -> Span {
    let start = body
        .iter()
        .position(|byte| !byte.is_ascii_whitespace())
        .unwrap_or(0);
    Span::new(start, body.len())
}

/// The error that a reply with a status of 400 or more means.
pub fn from_reply(label: &str, style: ErrorStyle, reply: &Reply<'_>) -> GatewayError {
    let style = match style {
        ErrorStyle::Message if reply.operation == Operation::Responses => ErrorStyle::Raw,
        style => style,
    };
    let text = match style {
        ErrorStyle::Message | ErrorStyle::Azure => message_of(reply.body)
            .unwrap_or_else(|| Cow::Owned(format!("Error code: {}", reply.status))),
        _ => String::from_utf8_lossy(reply.body),
    };
    let (class, status) = classify(style, reply, &text);
    let mut error =
        GatewayError::new(class, worded(label, style, reply, class, &text)).with_status(status);
    error.upstream_status = Some(reply.status);
    error.retry_after = retry_after(reply);
    error.upstream_headers = reply
        .headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    error.retryable = is_retryable(reply.status, class);
    error.fault = if status >= 500 || matches!(status, 401 | 403 | 408 | 429) {
        Fault::Upstream
    } else {
        Fault::Client
    };
    keep_details(&mut error, style, reply);
    error
}

/// What another attempt, here or elsewhere, may mend.
const fn is_retryable(upstream_status: u16, class: ErrorClass) -> bool {
    match class {
        ErrorClass::RateLimit => true,
        ErrorClass::ContextWindowExceeded | ErrorClass::ContentPolicyViolation => false,
        _ => matches!(upstream_status, 401 | 408 | 409 | 429 | 500..),
    }
}

fn classify(style: ErrorStyle, reply: &Reply<'_>, text: &str) -> (ErrorClass, u16) {
    let status = reply.status;
    if matches!(status, 400 | 413 | 422) && is_context_window(reply.body) {
        return (ErrorClass::ContextWindowExceeded, 400);
    }
    if status == 400 && is_content_policy(reply.body) {
        return (ErrorClass::ContentPolicyViolation, 400);
    }
    if status == 429 || memmem::find(text.as_bytes(), b"Request too large").is_some() {
        return (ErrorClass::RateLimit, 429);
    }
    let named = memmem::find(text.as_bytes(), b"invalid_request_error").is_some();
    match status {
        400 | 422 => (ErrorClass::BadRequest, status),
        401 => (ErrorClass::Authentication, 401),
        404 => (ErrorClass::NotFound, 404),
        408 | 504 | 522 | 524 => (ErrorClass::Timeout, 408),
        _ if named && style != ErrorStyle::OpenRouter => (ErrorClass::BadRequest, status),
        500 if style != ErrorStyle::OpenRouter => (ErrorClass::InternalServer, 500),
        503 => (ErrorClass::ServiceUnavailable, 503),
        _ => (ErrorClass::Api, status),
    }
}

/// The message up to the note about the group.
fn worded(
    label: &str,
    style: ErrorStyle,
    reply: &Reply<'_>,
    class: ErrorClass,
    text: &str,
) -> String {
    let name = class.name();
    match (style, class) {
        (ErrorStyle::Databricks, ErrorClass::ContextWindowExceeded) => {
            format!(
                "litellm.{name}: litellm.BadRequestError: {label}Exception: Context Window Error - {text}"
            )
        }
        (ErrorStyle::Azure, ErrorClass::ContextWindowExceeded) => {
            format!("litellm.{name}: litellm.BadRequestError: {label}Exception {name} - {text}")
        }
        (_, ErrorClass::ContextWindowExceeded) => {
            let code = if reply.operation == Operation::Embeddings && style == ErrorStyle::Message {
                format!("Error code: {} - ", reply.status)
            } else {
                String::new()
            };
            format!(
                "litellm.{name}: litellm.BadRequestError: {name}: {label}Exception - {code}{text}"
            )
        }
        (ErrorStyle::Azure, ErrorClass::ContentPolicyViolation) => {
            format!("litellm.BadRequestError: litellm.{name}: {text}")
        }
        (_, ErrorClass::ContentPolicyViolation) => {
            format!("litellm.BadRequestError: {label}Exception - {text}")
        }
        (_, ErrorClass::BadRequest) => format!("litellm.{name}: {label}Exception - {text}"),
        (ErrorStyle::Azure, _) => format!("litellm.{name}: {label}Exception {name} - {text}"),
        (ErrorStyle::RawOnce | ErrorStyle::Databricks, _) => {
            format!("litellm.{name}: {label}Exception - {text}")
        }
        (_, ErrorClass::Authentication | ErrorClass::NotFound)
            if memmem::find(text.as_bytes(), b"invalid_request_error").is_some() =>
        {
            format!("litellm.{name}: {label}Exception - {text}")
        }
        _ => format!("litellm.{name}: {name}: {label}Exception - {text}"),
    }
}

/// `type` and `param` of a refused request are the upstream's, where its library shows them.
fn keep_details(error: &mut GatewayError, style: ErrorStyle, reply: &Reply<'_>) {
    if !matches!(style, ErrorStyle::Message | ErrorStyle::Azure)
        || !matches!(reply.status, 400 | 422)
    {
        return;
    }
    let body = reply.body;
    let Some(inner) = walk::member(body, outermost(body), "error") else {
        return;
    };
    let text =
        |name| walk::member(body, inner, name).and_then(|value| decode_string(value.of(body)));
    if error.class == ErrorClass::ContentPolicyViolation && style == ErrorStyle::Azure {
        keep_filter_result(error, body, inner);
        return;
    }
    error.param = text("param").map(Cow::into_owned);
    if matches!(
        error.class,
        ErrorClass::BadRequest | ErrorClass::ContentPolicyViolation
    ) && let Some(kind) = text("type")
    {
        error.kind = Some(Cow::Owned(kind.into_owned()));
    }
}

/// Azure says in `innererror` which filter spoke; clients find it under both spellings.
fn keep_filter_result(error: &mut GatewayError, body: &[u8], inner: Span) {
    let Some(result) = walk::member(body, inner, "innererror") else {
        return;
    };
    let result = String::from_utf8_lossy(result.of(body));
    let whole = String::from_utf8_lossy(inner.of(body));
    let fields =
        format!(r#"{{"innererror":{result},"inner_error":{result},"azure_error":{whole}}}"#);
    error.vendor_fields = Some(fields.into_boxed_str());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply<'a>(status: u16, headers: &'a [(&'a str, &'a str)], body: &'a str) -> Reply<'a> {
        Reply {
            operation: Operation::Chat,
            status,
            headers,
            body: body.as_bytes(),
        }
    }

    #[test]
    fn statuses_have_classes_and_say_whether_to_try_again() {
        let check = |status, body, class, client_status, retryable| {
            let error = from_reply("OpenAI", ErrorStyle::Message, &reply(status, &[], body));
            assert_eq!(
                (error.class, error.status, error.retryable),
                (class, client_status, retryable),
                "{status} {body}"
            );
        };
        check(400, "{}", ErrorClass::BadRequest, 400, false);
        check(401, "{}", ErrorClass::Authentication, 401, true);
        check(403, "{}", ErrorClass::Api, 403, false);
        check(404, "{}", ErrorClass::NotFound, 404, false);
        check(408, "{}", ErrorClass::Timeout, 408, true);
        check(413, "{}", ErrorClass::Api, 413, false);
        check(422, "{}", ErrorClass::BadRequest, 422, false);
        check(429, "{}", ErrorClass::RateLimit, 429, true);
        check(500, "", ErrorClass::InternalServer, 500, true);
        check(502, "<html>", ErrorClass::Api, 502, true);
        check(503, "{}", ErrorClass::ServiceUnavailable, 503, true);
        check(504, "{}", ErrorClass::Timeout, 408, true);
        check(
            400,
            r#"{"error":{"message":"prompt is too long"}}"#,
            ErrorClass::ContextWindowExceeded,
            400,
            false,
        );
        check(
            400,
            r#"{"error":{"code":"content_policy_violation"}}"#,
            ErrorClass::ContentPolicyViolation,
            400,
            false,
        );
    }

    #[test]
    fn the_upstream_says_when_to_come_back() {
        let wait = |headers| retry_after(&reply(429, headers, ""));
        assert_eq!(wait(&[("retry-after", "7")]), Some(Duration::from_secs(7)));
        assert_eq!(
            wait(&[("retry-after", "7"), ("retry-after-ms", "1500")]),
            Some(Duration::from_millis(1500))
        );
        assert_eq!(wait(&[("retry-after", "-1")]), None);
        assert_eq!(
            wait(&[("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")]),
            None
        );
    }
}
