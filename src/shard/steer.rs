//! What only some configurations want to know of a request: names that stand for others, ties to the
//! deployment that served before, lines of the head that stand for tags.

use serde_json::{Map, Value};
use shardgate_io::http1::server::Request;

use super::body::Fields;
use super::call::Call;
use crate::error::{ErrorClass, GatewayError};
use crate::router::affinity::{Tie, tie};
use crate::router::{Facts, Ties};

/// `model_alias_map`: the name that the client used, where it stands for another one.
pub(super) fn renamed(call: &Call, model: &mut String) -> Option<String> {
    let target = call.snapshot.settings.model_alias_map.get(model)?;
    Some(std::mem::replace(model, target.clone()))
}

/// Adds to the facts what the configuration asks for. Called only where it asks for anything.
pub(super) fn steer(
    call: &Call,
    request: &Request,
    fields: &Fields<'_>,
    end_user: Option<&str>,
    facts: &mut Facts,
) {
    let router = &call.snapshot.router;
    if router.settings().ties.any() {
        facts.wishes.ties = Some(ties(call, request, fields, end_user));
    }
    if router.has_tag_patterns() {
        facts.wishes.head_lines = head_lines(request);
    }
    for name in &call.snapshot.settings.tag_headers {
        if let Some(value) = request.header(name) {
            let value = String::from_utf8_lossy(value);
            facts.wishes.spend_tags.push(format!("{name}: {value}"));
        }
    }
}

/// `banned_keywords_list`: a prompt that holds one of them is refused, whatever the letters' case.
///
/// # Errors
/// 400 that names the word.
pub(super) fn banned(call: &Call, fields: &Fields<'_>) -> Result<(), GatewayError> {
    let words = &call.snapshot.settings.banned_keywords;
    if words.is_empty() {
        return Ok(());
    }
    let prompt = ["messages", "input", "prompt", "contents"];
    for raw in prompt.iter().filter_map(|name| fields.raw(name)) {
        // What is escaped is read as it is meant.
        let value: Value = serde_json::from_slice(raw).unwrap_or_default();
        let text = value.to_string().to_lowercase();
        if let Some(word) = words.iter().find(|word| text.contains(word.as_str())) {
            return Err(GatewayError::refused(
                ErrorClass::BadRequest,
                format!("Keyword banned. Keyword={word} (litellm_settings.banned_keywords_list)"),
            ));
        }
    }
    Ok(())
}

fn ties(call: &Call, request: &Request, fields: &Fields<'_>, end_user: Option<&str>) -> Ties {
    let checks = call.snapshot.router.settings().ties;
    let caller = || match &call.account {
        Some(account) => Some(account.caller.token.clone()),
        None => end_user.map(str::to_owned),
    };
    let fingerprint = |wanted: bool, kind, name: &dyn Fn() -> Option<String>| {
        let name = wanted.then(name).flatten()?;
        Some(tie(kind, name.as_bytes()))
    };
    let answer = || fields.text("previous_response_id").ok().flatten();
    Ties {
        answer: fingerprint(checks.answer, Tie::Answer, &answer),
        session: fingerprint(checks.session, Tie::Session, &|| session(request, fields)),
        caller: fingerprint(checks.caller, Tie::Caller, &caller),
    }
}

/// The session that a header, the body or its metadata names.
fn session(request: &Request, fields: &Fields<'_>) -> Option<String> {
    let header = request.header("x-litellm-session-id");
    let header = header.map(|value| String::from_utf8_lossy(value).into_owned());
    header.or_else(|| session_of(fields))
}

/// The session that the body or its metadata names.
pub(super) fn session_of(fields: &Fields<'_>) -> Option<String> {
    let body = || fields.text("litellm_session_id").ok().flatten();
    let metadata = || {
        let metadata: Map<String, Value> = fields.json("metadata").ok()??;
        Some(metadata.get("session_id")?.as_str()?.to_owned())
    };
    body().or_else(metadata)
}

/// `Name: value` of the headers that are no secret, at most so many.
fn head_lines(request: &Request) -> Vec<String> {
    const LINES_MAX: usize = 64;
    const SECRET: &[&str] = &["authorization", "cookie", "x-api-key", "api-key"];
    let shown = |(name, value): (&[u8], &[u8])| {
        let name = String::from_utf8_lossy(name);
        let secret = SECRET.contains(&name.to_ascii_lowercase().as_str());
        (!secret).then(|| format!("{}: {}", titled(&name), String::from_utf8_lossy(value)))
    };
    let all = request.head.each(&request.bytes).filter_map(shown);
    all.take(LINES_MAX).collect()
}

/// A header's name as it is usually written: `User-Agent`, whatever the client sent.
fn titled(name: &str) -> String {
    let part = |part: &str| {
        let mut letters = part.chars();
        let first = letters.next().map(|c| c.to_ascii_uppercase());
        let rest = letters.map(|c| c.to_ascii_lowercase());
        first.into_iter().chain(rest).collect::<String>()
    };
    name.split('-').map(part).collect::<Vec<_>>().join("-")
}
