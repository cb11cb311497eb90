//! What Google's errors mean, and the words clients of LiteLLM know for them.

use crate::dialect::value::Value;

use crate::error::{ErrorClass, GatewayError};

/// The class of an error by its status and text, the client's status, and the message.
pub fn read(name: &str, label: &str, status: u16, text: &str) -> (ErrorClass, u16, String) {
    let said = |class: ErrorClass, middle: &str| {
        format!(
            "litellm.{}: {label}Exception {middle}- {text}",
            class.name()
        )
    };
    let twice = |class: ErrorClass| {
        let class = class.name();
        format!("litellm.{class}: litellm.{class}: {name}Exception - {text}")
    };
    if text.contains("exceeds the maximum number of tokens allowed")
        || text.contains("Request payload size exceeds")
    {
        let class = ErrorClass::ContextWindowExceeded;
        let message = format!(
            "litellm.{0}: litellm.BadRequestError: {0}: {label}Exception - {text}",
            class.name()
        );
        return (class, 400, message);
    }
    let class = match status {
        _ if text.contains("API key not valid") => ErrorClass::Authentication,
        401 => ErrorClass::Authentication,
        404 => ErrorClass::NotFound,
        408 | 504 => ErrorClass::Timeout,
        429 => ErrorClass::RateLimit,
        500.. => ErrorClass::InternalServer,
        _ => ErrorClass::BadRequest,
    };
    let message = match (class, status) {
        (ErrorClass::InternalServer, 500) => said(class, "InternalServerError "),
        (ErrorClass::InternalServer | ErrorClass::RateLimit, _) => twice(class),
        (ErrorClass::BadRequest, _) => said(class, "BadRequestError "),
        _ => said(class, ""),
    };
    let client_status = match class {
        ErrorClass::BadRequest => status,
        class => class.status(),
    };
    (class, client_status, message)
}

/// The error that stands in a stream.
pub fn in_stream(error: &Value) -> GatewayError {
    let status = error["code"].as_u64().unwrap_or(500) as u16;
    let (class, client_status, _) = read("", "", status, "");
    let word = class.name();
    let message = format!(
        "litellm.{word}: litellm.{word}: vertex_ai_betaException - {} - {}",
        error["status"].as_str().unwrap_or_default(),
        error["message"].as_str().unwrap_or_default(),
    );
    let mut error = GatewayError::new(class, message).with_status(client_status);
    error.upstream_status = Some(status);
    error
}
