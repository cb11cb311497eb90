//! The refusals that a shard itself makes, in LiteLLM's words where clients know them.

use std::time::Duration;

use crate::error::{ErrorClass, Fault, GatewayError};

fn ours(class: ErrorClass, status: u16, text: String) -> GatewayError {
    let mut error = GatewayError::new(class, text).with_status(status);
    error.fault = Fault::Client;
    error.retryable = false;
    error
}

/// 403: not for this caller.
pub(super) fn forbidden(text: String) -> GatewayError {
    ours(ErrorClass::PermissionDenied, 403, text).with_kind("auth_error")
}

/// 401: no key, or an unknown one.
pub(super) fn unauthorized(text: impl Into<String>) -> GatewayError {
    ours(ErrorClass::Authentication, 401, text.into()).with_kind("auth_error")
}

/// 429: a limit of ours; come back in a moment.
pub(super) fn too_many(text: String) -> GatewayError {
    let mut error = ours(ErrorClass::RateLimit, 429, text);
    error.retry_after = Some(Duration::from_secs(1));
    error
}

/// 413: the body is larger than `max_request_size_mb`.
pub(super) fn too_large(bytes_max: usize) -> GatewayError {
    let megabytes = bytes_max as f64 / (1024.0 * 1024.0);
    let text =
        format!("the request is larger than {megabytes} MB (general_settings.max_request_size_mb)");
    ours(ErrorClass::BadRequest, 413, text)
}

/// 408: the body did not come.
pub(super) fn request_late() -> GatewayError {
    let text = "the request's body made no progress for general_settings.request_body_timeout";
    ours(ErrorClass::Timeout, 408, text.to_owned())
}

/// 400: the body is not HTTP.
pub(super) fn malformed(reason: &str) -> GatewayError {
    ours(ErrorClass::BadRequest, 400, reason.to_owned())
}

/// 503: we cannot take it now.
pub(super) fn overloaded(text: &str) -> GatewayError {
    let mut error = ours(ErrorClass::ServiceUnavailable, 503, text.to_owned());
    error.fault = Fault::Gateway;
    error.retry_after = Some(Duration::from_secs(1));
    error
}

/// 502: the upstream's answer is larger than `max_response_size_mb`.
pub(super) fn answer_too_large(bytes_max: usize) -> GatewayError {
    let megabytes = bytes_max as f64 / (1024.0 * 1024.0);
    let text = format!(
        "the upstream's answer is larger than {megabytes} MB \
         (general_settings.max_response_size_mb)"
    );
    let mut error = ours(ErrorClass::Api, 502, text);
    error.fault = Fault::Upstream;
    error
}

/// 400: the deployment cannot be called as it is configured.
pub(super) fn unusable(why: &str) -> GatewayError {
    let mut error = ours(
        ErrorClass::BadRequest,
        400,
        format!("litellm.BadRequestError: {why}"),
    );
    error.fault = Fault::Gateway;
    error
}

/// 503: the process ends before the answer did.
pub(super) fn draining() -> GatewayError {
    overloaded("the gateway is shutting down and its drain timeout has passed")
}

/// 500: an attempt after the request was let go, which none should make.
pub(super) fn let_go() -> GatewayError {
    let text = "the request was let go before this attempt; please report it";
    ours(ErrorClass::InternalServer, 500, text.to_owned())
}
