//! What Bedrock's errors mean, and the words clients of LiteLLM know for them.

use crate::dialect::value::Value;

use crate::error::{ErrorClass, GatewayError};

/// Texts by which Bedrock says that a prompt does not fit.
const CONTEXT_WINDOW: &[&str] = &[
    "too many tokens",
    "expected maxLength:",
    "Input is too long",
    "input is too long",
    "prompt is too long",
    "prompt: length: 1..",
    "Too many input tokens",
];
/// Texts by which AWS says that it does not know who calls.
const UNKNOWN_CALLER: &[&str] = &[
    "security token included in the request is invalid",
    "security token included in the request is expired",
    "The request signature we calculated does not match",
    "UnrecognizedClientException",
];

/// The class of an error by its status and text, the client's status, and the message.
pub fn read(status: u16, text: &str) -> (ErrorClass, u16, String) {
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));
    if says(CONTEXT_WINDOW) {
        let class = ErrorClass::ContextWindowExceeded;
        let message = format!(
            "litellm.{}: litellm.BadRequestError: BedrockException: Context Window Error - {text}",
            class.name()
        );
        return (class, 400, message);
    }
    let (class, client_status) = match status {
        _ if says(UNKNOWN_CALLER) => (ErrorClass::Authentication, status),
        401 => (ErrorClass::Authentication, 401),
        403 => (ErrorClass::PermissionDenied, 403),
        404 => (ErrorClass::NotFound, 404),
        408 | 504 => (ErrorClass::Timeout, 408),
        429 => (ErrorClass::RateLimit, 429),
        500.. => (ErrorClass::ServiceUnavailable, 503),
        _ => (ErrorClass::BadRequest, status),
    };
    let middle = match class {
        ErrorClass::Authentication => " Invalid Authentication",
        ErrorClass::Timeout => ": Timeout Error",
        _ => "",
    };
    let message = format!(
        "litellm.{}: BedrockException{middle} - {text}",
        class.name()
    );
    (class, client_status, message)
}

/// The error that an exception in a stream means.
pub fn in_stream(kind: &str, payload: &[u8]) -> GatewayError {
    let said = Value::read(payload).unwrap_or_default();
    let status = match said["originalStatusCode"].as_u64() {
        Some(status) => status as u16,
        None => match kind {
            "validationException" => 400,
            "accessDeniedException" => 403,
            "throttlingException" => 429,
            "modelTimeoutException" => 408,
            "serviceUnavailableException" => 503,
            _ => 500,
        },
    };
    let text = format!("{kind} {}", String::from_utf8_lossy(payload));
    let (class, client_status, message) = read(status, &text);
    let mut error = GatewayError::new(class, message).with_status(client_status);
    error.upstream_status = Some(status);
    error
}
