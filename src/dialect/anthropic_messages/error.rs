//! What Anthropic's errors mean, and the words clients of LiteLLM know for them.

use crate::dialect::value::Value;

use crate::error::{ErrorClass, GatewayError};

/// Texts by which Anthropic says that a prompt does not fit.
const CONTEXT_WINDOW: &[&str] = &[
    "prompt is too long",
    "prompt: length",
    "exceed context limit",
    "Input is too long",
    "input is too long",
];

/// The class of an error by its status and text, and the message.
pub fn read(label: &str, status: u16, text: &str) -> (ErrorClass, u16, String) {
    if CONTEXT_WINDOW.iter().any(|phrase| text.contains(phrase)) {
        let class = ErrorClass::ContextWindowExceeded;
        let message = format!(
            "litellm.{}: litellm.BadRequestError: {label}Error - {text}",
            class.name()
        );
        return (class, 400, message);
    }
    let class = match status {
        401 => ErrorClass::Authentication,
        403 => ErrorClass::PermissionDenied,
        404 => ErrorClass::NotFound,
        408 | 504 => ErrorClass::Timeout,
        429 => ErrorClass::RateLimit,
        503 => ErrorClass::ServiceUnavailable,
        500.. => ErrorClass::InternalServer,
        _ => ErrorClass::BadRequest,
    };
    let name = class.name();
    let message = match status {
        500 => format!(
            "litellm.{name}: {label}Exception - {text}. Handle with `litellm.InternalServerError`."
        ),
        529 => format!("litellm.{name}: {label}Error - {text}"),
        _ => format!("litellm.{name}: {label}Exception - {text}"),
    };
    (class, class.status(), message)
}

/// The status that stands for an error's type, which is all that an event in a stream says.
pub fn status_of(kind: &str) -> u16 {
    match kind {
        "invalid_request_error" | "request_too_large" => 400,
        "authentication_error" => 401,
        "billing_error" => 402,
        "permission_error" => 403,
        "not_found_error" => 404,
        "rate_limit_error" => 429,
        "timeout_error" => 504,
        "overloaded_error" => 529,
        _ => 500,
    }
}

/// The error that an `error` event means.
pub fn in_stream(label: &'static str, event: &Value) -> GatewayError {
    let status = status_of(event["error"]["type"].as_str().unwrap_or_default());
    let (class, client_status, message) = read(label, status, &event.to_string());
    let mut error = GatewayError::new(class, message).with_status(client_status);
    error.upstream_status = Some(status);
    error
}
