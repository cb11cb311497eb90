//! What a request may bring of its own and what it must bring: credentials and addresses for the
//! upstream, tags, switches for tests, required fields, the end user's headers.
//!
//! It judges names and values of the body; where a call goes is decided elsewhere.

use serde_json::Value;
use shardgate_io::http1::server::Request;

use super::body::Fields;
use super::call::Call;
use super::fault;
use crate::error::{ErrorClass, GatewayError};

/// Fields that would send our requests, or our keys, somewhere else.
const RESERVED: [&str; 12] = [
    "api_base",
    "base_url",
    "api_key",
    "user_config",
    "aws_sts_endpoint",
    "aws_web_identity_token",
    "aws_bedrock_runtime_endpoint",
    "sagemaker_base_url",
    "vertex_credentials",
    "s3_endpoint_url",
    "langfuse_host",
    "slack_webhook_url",
];

/// Fields that steer the gateway: what they hold is looked into. Prompts and tools are the model's.
const STEERING: [&str; 12] = [
    "metadata",
    "litellm_metadata",
    "litellm_params",
    "extra_body",
    "fallbacks",
    "default_fallbacks",
    "context_window_fallbacks",
    "content_policy_fallbacks",
    "model_list",
    "router_settings",
    "litellm_embedding_config",
    "cache",
];

/// Values of a body's steering fields are looked into this deep; the scanner refuses deeper ones.
const DEPTH_MAX: usize = 128;

/// Nothing in the request leads elsewhere, except what the client may bring. `permitted` are the
/// names that the model's deployments allow.
pub(super) fn reserved(call: &Call, fields: &Fields<'_>, model: &str) -> Result<(), GatewayError> {
    let is_reserved = |name: &[u8]| RESERVED.iter().any(|have| have.as_bytes() == name);
    let steers = |name: &[u8]| STEERING.iter().any(|have| have.as_bytes() == name);
    if !fields.any(|name| is_reserved(name) || steers(name)) {
        return Ok(());
    }
    for name in RESERVED {
        if fields.raw(name).is_some() && !may_bring(call, fields, model, name) {
            return Err(refused(name));
        }
    }
    for name in STEERING {
        let Some(raw) = fields.raw(name) else {
            continue;
        };
        if let Some(found) = within(raw) {
            return Err(refused(&format!("{found} (in {name})")));
        }
    }
    Ok(())
}

/// The same for the parts of a form.
pub(super) fn reserved_parts<'a>(
    mut names: impl Iterator<Item = &'a str>,
) -> Result<(), GatewayError> {
    match names.find(|name| RESERVED.contains(name)) {
        Some(name) => Err(refused(name)),
        None => Ok(()),
    }
}

fn refused(name: &str) -> GatewayError {
    fault::unauthorized(format!(
        "Authentication Error, Rejected Request: {name} is not allowed in request body. Enable it \
         with `general_settings.allow_client_side_credentials: true`, or for one model with \
         `litellm_params.configurable_clientside_auth_params`"
    ))
}

fn may_bring(call: &Call, fields: &Fields<'_>, model: &str, name: &str) -> bool {
    const CREDENTIALS: [&str; 3] = ["api_base", "base_url", "api_key"];
    if !CREDENTIALS.contains(&name) {
        return false;
    }
    if call.snapshot.settings.client_side_credentials {
        return true;
    }
    let value = fields.text(name).ok().flatten().unwrap_or_default();
    let model = call
        .account
        .as_ref()
        .map_or(model, |account| account.caller.resolve(model));
    let mut group = call
        .snapshot
        .deployments
        .iter()
        .filter(|made| made.group == model)
        .peekable();
    group.peek().is_some() && group.all(|made| made.may_bring(name, &value))
}

/// A reserved name at any depth of a value.
fn within(raw: &[u8]) -> Option<&'static str> {
    let may_hold = |name: &&'static str| memchr::memmem::find(raw, name.as_bytes()).is_some();
    let escaped = memchr::memchr(b'\\', raw).is_some();
    if !escaped && !RESERVED.iter().any(may_hold) {
        return None;
    }
    let value: Value = serde_json::from_slice(raw).ok()?;
    let mut open = vec![(&value, 0)];
    while let Some((value, depth)) = open.pop() {
        match value {
            Value::Object(map) => {
                if let Some(found) = RESERVED.iter().find(|name| map.contains_key(**name)) {
                    return Some(found);
                }
                open.extend(map.values().map(|inner| (inner, depth + 1)));
            }
            Value::Array(list) => open.extend(list.iter().map(|inner| (inner, depth + 1))),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return None;
        }
    }
    None
}

/// `enforced_params` of the configuration, the key, its team and service accounts.
pub(super) fn enforced(call: &Call, fields: &Fields<'_>) -> Result<(), GatewayError> {
    for path in &call.snapshot.settings.enforced_params {
        present(fields, path)?;
    }
    let Some(account) = &call.account else {
        return Ok(());
    };
    let caller = &account.caller;
    if caller.is_service_account() {
        for path in &call.snapshot.settings.service_account_params {
            present(fields, path)?;
        }
    }
    for metadata in [&caller.metadata, &caller.team_metadata] {
        let list = metadata.get("enforced_params").and_then(Value::as_array);
        for path in list.into_iter().flatten().filter_map(Value::as_str) {
            present(fields, path)?;
        }
    }
    Ok(())
}

/// The field is there and not null; `a.b` is `b` in `a`.
fn present(fields: &Fields<'_>, path: &str) -> Result<(), GatewayError> {
    let (name, rest) = path.split_once('.').unwrap_or((path, ""));
    let there = match (fields.raw(name), rest.is_empty()) {
        (None, _) => false,
        (Some(_), true) => true,
        (Some(raw), false) => serde_json::from_slice::<Value>(raw).is_ok_and(|value| {
            let found = rest.split('.').try_fold(&value, |at, part| at.get(part));
            found.is_some_and(|value| !value.is_null())
        }),
    };
    if there {
        return Ok(());
    }
    let mut error = GatewayError::refused(
        ErrorClass::BadRequest,
        format!(
            "Please pass param={path} in request. This is a required param for this caller (enforced_params)"
        ),
    );
    error.param = Some(path.to_owned());
    Err(error)
}

/// `reject_clientside_metadata_tags`
pub(super) fn own_tags(call: &Call, tags: &[String]) -> Result<(), GatewayError> {
    if !call.snapshot.settings.reject_tags || tags.is_empty() {
        return Ok(());
    }
    let mut error = GatewayError::refused(
        ErrorClass::BadRequest,
        "Client-side tags are not allowed in a request (general_settings.reject_clientside_metadata_tags): \
         tags come from the key's and the team's metadata",
    );
    error.param = Some("metadata.tags".to_owned());
    Err(error)
}

/// `mock_testing_*` without `dangerously_allow_mock_testing_request_params`.
pub(super) fn mock_testing_refused(name: &str) -> GatewayError {
    let mut error = GatewayError::refused(
        ErrorClass::BadRequest,
        format!(
            "{name} is not allowed in a request; enable it with \
             general_settings.dangerously_allow_mock_testing_request_params"
        ),
    );
    error.param = Some(name.to_owned());
    error
}

/// `infer_model_from_keys`: the first model of the key, where that is the name of one.
pub(super) fn inferred_model(call: &Call) -> Option<String> {
    if !call.snapshot.settings.infer_model {
        return None;
    }
    let first = call.account.as_ref()?.caller.models.first()?;
    let special = first.contains('*') || first.starts_with("all-") || first == "no-default-models";
    let snapshot = &call.snapshot;
    let known = snapshot.deployments.iter().any(|made| made.group == *first);
    (!special && known).then(|| first.clone())
}

/// The end user: a header that the configuration names, the body's `user`, or a usual header.
pub(super) fn end_user(call: &Call, request: &Request, body: Option<String>) -> Option<String> {
    const HEADERS: [&str; 3] = [
        "x-litellm-end-user-id",
        "x-litellm-customer-id",
        "x-user-id",
    ];
    const BYTES_MAX: usize = 256;
    let header = |name: &str| Some(String::from_utf8_lossy(request.header(name)?).into_owned());
    let configured = call.snapshot.settings.end_user_headers.iter();
    let named = configured
        .map(String::as_str)
        .find_map(header)
        .or(body)
        .or_else(|| HEADERS.iter().copied().find_map(header));
    named.filter(|name| !name.is_empty() && name.len() <= BYTES_MAX)
}
