//! The one error that becomes an answer: which class it has in LiteLLM's vocabulary, whose fault it is, whether another
//! attempt may help and when, and the JSON that a client of the OpenAI API gets. It knows nothing of HTTP heads, sockets
//! or configuration; other client dialects render the same fields their own way.

use std::borrow::Cow;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use memchr::memmem;

use shardgate_io::quoted::find_special;

/// LiteLLM's classes of errors. Clients match on these names inside the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// The request cannot be served as it is.
    BadRequest,
    /// A parameter that the provider's model does not take.
    UnsupportedParams,
    /// The prompt does not fit the model.
    ContextWindowExceeded,
    /// The provider refused the content.
    ContentPolicyViolation,
    /// A wrong or missing key, ours or the client's.
    Authentication,
    /// A valid key that may not do this.
    PermissionDenied,
    /// Unknown model, deployment or path.
    NotFound,
    /// Nothing came in time.
    Timeout,
    /// Too many requests or tokens.
    RateLimit,
    /// The provider failed.
    InternalServer,
    /// The provider is not there for now.
    ServiceUnavailable,
    /// No usable answer: refused, cut, or not understood.
    ApiConnection,
    /// Any other status of an upstream.
    Api,
    /// A budget is used up.
    BudgetExceeded,
}

impl ErrorClass {
    /// The class name as clients see it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "BadRequestError",
            Self::UnsupportedParams => "UnsupportedParamsError",
            Self::ContextWindowExceeded => "ContextWindowExceededError",
            Self::ContentPolicyViolation => "ContentPolicyViolationError",
            Self::Authentication => "AuthenticationError",
            Self::PermissionDenied => "PermissionDeniedError",
            Self::NotFound => "NotFoundError",
            Self::Timeout => "Timeout",
            Self::RateLimit => "RateLimitError",
            Self::InternalServer => "InternalServerError",
            Self::ServiceUnavailable => "ServiceUnavailableError",
            Self::ApiConnection => "APIConnectionError",
            Self::Api => "APIError",
            Self::BudgetExceeded => "BudgetExceededError",
        }
    }

    /// The status a client gets when nothing says otherwise.
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest
            | Self::UnsupportedParams
            | Self::ContextWindowExceeded
            | Self::ContentPolicyViolation => 400,
            Self::Authentication => 401,
            Self::PermissionDenied => 403,
            Self::NotFound => 404,
            Self::Timeout => 408,
            Self::BudgetExceeded => 422,
            Self::RateLimit => 429,
            Self::InternalServer | Self::ApiConnection | Self::Api => 500,
            Self::ServiceUnavailable => 503,
        }
    }
}

/// Who has to change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The caller's request, key or budget.
    Client,
    /// The provider, or the way to it.
    Upstream,
    /// The gateway or its configuration.
    Gateway,
}

/// What became of the request's model group besides the attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupNote {
    /// The model group the client named.
    pub group: String,
    /// The groups that were tried afterwards and failed too.
    pub fallbacks: Vec<String>,
}

/// An error on its way to a client. The fields stand behind a box, so that results stay small.
#[derive(Clone, PartialEq, Eq)]
pub struct GatewayError(Box<ErrorFields>);

/// What is known of a failed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorFields {
    /// LiteLLM's class.
    pub class: ErrorClass,
    /// The HTTP status for the client.
    pub status: u16,
    /// The status the upstream answered with, when one answered.
    pub upstream_status: Option<u16>,
    /// The text, prefix included, without the note about the group.
    pub message: String,
    /// `error.type`; `None` is JSON null.
    pub kind: Option<Cow<'static, str>>,
    /// `error.param`; `None` is JSON null.
    pub param: Option<String>,
    /// `error.code`; `None` is the status as a string.
    pub code: Option<Cow<'static, str>>,
    /// Who has to change something.
    pub fault: Fault,
    /// Whether the same call may succeed on another attempt or another deployment.
    pub retryable: bool,
    /// How long the upstream, or a limit of ours, wants to be left alone.
    pub retry_after: Option<Duration>,
    /// The upstream's answer headers, for `llm_provider-*`.
    pub upstream_headers: Vec<(String, String)>,
    /// The group that failed, once the router has given up.
    pub note: Option<GroupNote>,
    /// A JSON value for `error.provider_specific_fields`.
    pub vendor_fields: Option<Box<str>>,
    /// The message stands as `{"error": message}` instead of as a string, as LiteLLM does for unknown models.
    pub message_in_object: bool,
}

impl Deref for GatewayError {
    type Target = ErrorFields;
    fn deref(&self) -> &ErrorFields {
        &self.0
    }
}

impl DerefMut for GatewayError {
    fn deref_mut(&mut self) -> &mut ErrorFields {
        &mut self.0
    }
}

impl fmt::Debug for GatewayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, self.class.name(), self.message)
    }
}

impl fmt::Display for GatewayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for GatewayError {}

impl GatewayError {
    /// An error of `class` with the text exactly as given and the class's own status, type and fault.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        let status = class.status();
        let fault = match class {
            ErrorClass::BadRequest
            | ErrorClass::UnsupportedParams
            | ErrorClass::ContextWindowExceeded
            | ErrorClass::ContentPolicyViolation
            | ErrorClass::PermissionDenied
            | ErrorClass::NotFound
            | ErrorClass::BudgetExceeded => Fault::Client,
            _ => Fault::Upstream,
        };
        Self(Box::new(ErrorFields {
            class,
            status,
            upstream_status: None,
            message: message.into(),
            kind: Some(Cow::Borrowed(kind_of(status, class))),
            param: None,
            code: None,
            fault,
            retryable: is_retryable(class),
            retry_after: None,
            upstream_headers: Vec::new(),
            note: None,
            vendor_fields: None,
            message_in_object: false,
        }))
    }

    /// A refusal of a request of which nothing was sent anywhere: `litellm.<Class>: <text>`.
    pub fn refused(class: ErrorClass, text: impl fmt::Display) -> Self {
        let mut error = Self::new(class, format!("litellm.{}: {text}", class.name()));
        error.fault = Fault::Client;
        error.retryable = false;
        error
    }

    /// A body that is not the JSON object it has to be.
    pub fn malformed(text: impl fmt::Display) -> Self {
        Self::refused(ErrorClass::BadRequest, text)
    }

    /// The model group does not exist. LiteLLM answers with an object where the message stands.
    pub fn unknown_model(path: &str, model: &str) -> Self {
        let text = format!(
            "{path}: Invalid model name passed in model={model}. Call `/v1/models` to view available models for your key."
        );
        let mut error = Self::new(ErrorClass::BadRequest, text);
        error.message_in_object = true;
        error.kind = Some(Cow::Borrowed("invalid_request_error"));
        error
    }

    /// The same error with another status; the type follows the status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self.kind = Some(Cow::Borrowed(kind_of(status, self.class)));
        self
    }

    /// The same error with another `error.type`.
    #[must_use]
    pub fn with_kind(mut self, kind: impl Into<Cow<'static, str>>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// Notes which group failed and what was tried instead; said once, when the router has given up.
    pub fn in_group(&mut self, group: &str, fallbacks: &[&str]) {
        self.note = Some(GroupNote {
            group: group.to_owned(),
            fallbacks: fallbacks.iter().map(|name| (*name).to_owned()).collect(),
        });
    }

    /// The whole text a client reads: message, hint for the two special classes, note about the group.
    pub fn text(&self) -> String {
        let mut text = mask_secrets(&self.message).into_owned();
        let Some(note) = &self.note else { return text };
        // Only where the text names the class: some providers' refusals keep the plainer wording.
        let hint = match self.class {
            class if !text.contains(class.name()) => "",
            ErrorClass::ContextWindowExceeded => "context_window_fallback",
            ErrorClass::ContentPolicyViolation => "content_policy_fallback",
            _ => "",
        };
        if !hint.is_empty() {
            let listed = if hint == "context_window_fallback" {
                "context_window_fallbacks"
            } else {
                hint
            };
            text.push_str(&format!(
                "\nmodel={}. {listed}=None. fallbacks=None.\n\nSet '{hint}' - https://docs.litellm.ai/docs/routing#fallbacks",
                note.group
            ));
        }
        text.push_str(&format!(
            "\n\nLiteLLM: model group '{}' failed with the error above. ",
            note.group
        ));
        if note.fallbacks.is_empty() {
            text.push_str("No fallback was attempted.");
        } else {
            text.push_str(&format!(
                "Fallbacks attempted: {}.",
                note.fallbacks.join(", ")
            ));
        }
        text
    }

    /// `{"error": {...}}` as a client of the OpenAI API gets it.
    pub fn body_openai(&self) -> Vec<u8> {
        let text = self.text();
        let mut out = Vec::with_capacity(text.len() + 128);
        out.extend_from_slice(br#"{"error":{"message":"#);
        if self.message_in_object {
            out.extend_from_slice(br#"{"error":"#);
            push_json_string(&mut out, &text);
            out.push(b'}');
        } else {
            push_json_string(&mut out, &text);
        }
        out.extend_from_slice(br#","type":"#);
        push_optional(&mut out, self.kind.as_deref());
        out.extend_from_slice(br#","param":"#);
        push_optional(&mut out, self.param.as_deref());
        out.extend_from_slice(br#","code":"#);
        match &self.code {
            Some(code) => push_json_string(&mut out, code),
            None => push_json_string(&mut out, &self.status.to_string()),
        }
        if let Some(fields) = &self.vendor_fields {
            out.extend_from_slice(br#","provider_specific_fields":"#);
            out.extend_from_slice(fields.as_bytes());
        }
        out.extend_from_slice(b"}}");
        out
    }

    /// The frame that ends a broken stream: the error as one event, without the `[DONE]` that follows it.
    pub fn stream_frame(&self) -> Vec<u8> {
        let mut out = b"data: ".to_vec();
        out.extend_from_slice(&self.body_openai());
        out.extend_from_slice(b"\n\n");
        out
    }
}

const fn is_retryable(class: ErrorClass) -> bool {
    matches!(
        class,
        ErrorClass::Authentication
            | ErrorClass::Timeout
            | ErrorClass::RateLimit
            | ErrorClass::InternalServer
            | ErrorClass::ServiceUnavailable
            | ErrorClass::ApiConnection
            | ErrorClass::Api
    )
}

/// LiteLLM's `error.type` for a status.
pub const fn kind_of(status: u16, class: ErrorClass) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "throttling_error",
        500.. => "internal_server_error",
        _ if matches!(class, ErrorClass::BudgetExceeded) => "budget_exceeded",
        _ => "invalid_request_error",
    }
}

fn push_optional(out: &mut Vec<u8>, value: Option<&str>) {
    match value {
        Some(value) => push_json_string(out, value),
        None => out.extend_from_slice(b"null"),
    }
}

/// Appends `text` as a JSON string with its quotes.
pub fn push_json_string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut done = 0;
    loop {
        let at = find_special(bytes, done);
        out.extend_from_slice(&bytes[done..at]);
        let Some(&byte) = bytes.get(at) else { break };
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..=0x1f => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
            _ => out.extend_from_slice(&[b'\\', byte]),
        }
        done = at + 1;
    }
    out.push(b'"');
}

/// Shortens everything that looks like a key (`sk-` and at least 20 more letters) to its last four letters.
pub fn mask_secrets(text: &str) -> Cow<'_, str> {
    const LETTERS_MIN: usize = 20;
    let bytes = text.as_bytes();
    let mut out: Option<String> = None;
    let mut done = 0;
    let mut from = 0;
    while let Some(found) = memmem::find(&bytes[from..], b"sk-") {
        let start = from + found;
        let letters = bytes[start + 3..]
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            .count();
        let end = start + 3 + letters;
        if letters >= LETTERS_MIN {
            let out = out.get_or_insert_with(String::new);
            out.push_str(&text[done..start]);
            out.push_str("sk-...");
            out.push_str(&text[end - 4..end]);
            done = end;
        }
        from = end;
    }
    match out {
        Some(mut out) => {
            out.push_str(&text[done..]);
            Cow::Owned(out)
        }
        None => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(error: &GatewayError) -> serde_json::Value {
        serde_json::from_slice(&error.body_openai()).unwrap()
    }

    #[test]
    fn an_upstream_error_reads_as_litellm_writes_it() {
        let mut error = GatewayError::new(
            ErrorClass::RateLimit,
            "litellm.RateLimitError: RateLimitError: OpenAIException - slow \"down\"",
        );
        error.in_group("m", &[]);
        assert_eq!(
            body(&error),
            serde_json::json!({"error": {
                "message": "litellm.RateLimitError: RateLimitError: OpenAIException - slow \"down\"\n\nLiteLLM: model \
                            group 'm' failed with the error above. No fallback was attempted.",
                "type": "throttling_error", "param": null, "code": "429"}})
        );
    }

    #[test]
    fn an_unknown_model_has_an_object_for_a_message() {
        let error = GatewayError::unknown_model("/chat/completions", "nope");
        let text = body(&error)["error"]["message"]["error"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(
            text.starts_with("/chat/completions: Invalid model name passed in model=nope."),
            "{text}"
        );
    }

    #[test]
    fn keys_are_masked_when_they_look_like_keys() {
        assert_eq!(mask_secrets("key sk-short stays"), "key sk-short stays");
        assert_eq!(
            mask_secrets("bad sk-proj-abcdefghijklmnopqrstuvwxyz1234!"),
            "bad sk-...1234!"
        );
    }

    #[test]
    fn control_characters_are_escaped() {
        let mut out = Vec::new();
        push_json_string(&mut out, "a\u{1}\n\"\\é");
        assert_eq!(String::from_utf8(out).unwrap(), "\"a\\u0001\\n\\\"\\\\é\"");
    }
}
