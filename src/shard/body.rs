//! What a call asks for, read from its body's top level, its path and its headers.

use std::rc::Rc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use shardgate_io::http1::server::Request;

use super::call::Call;
use super::estimate::BYTES_PER_TOKEN;
use super::{dress, google, own, steer};
use crate::dialect::multipart::Multipart;
use crate::dialect::scan::{Scan, scan};
use crate::error::{ErrorClass, GatewayError};
use crate::provider::Operation;
use crate::router::{Facts, FallbackTable, MockTesting, Needs, Wishes};
use crate::snapshot::Own;

/// The body, as far as we read it.
#[expect(clippy::large_enum_variant, reason = "most are JSON")]
pub(super) enum Content {
    /// A JSON object's top level.
    Json(Scan),
    /// The parts of a form.
    Form(Multipart),
}

/// A call, understood.
pub(super) struct Asked {
    pub operation: Operation,
    /// The model as the client named it, or the default of its kind.
    pub model: String,
    /// The caller's own name for it, where that is an alias of its key or team.
    pub alias: Option<String>,
    /// The end user that the body or a header names.
    pub end_user: Option<String>,
    pub stream: bool,
    /// The stream is one JSON array.
    pub array: bool,
    /// The answer names the model as its upstream does: one of a list's.
    pub keeps_model: bool,
    /// The client asked for the usage event itself.
    pub include_usage: bool,
    /// Taken by the attempts, which let it go once an answer has begun.
    pub content: Option<Rc<Content>>,
    /// What the router needs to know.
    pub facts: Rc<Facts>,
    /// The request's own `mock_response`.
    pub mock: Option<Box<Value>>,
    /// Credentials that the request brings for its call.
    pub own: Option<Box<Own>>,
}

/// Reads a call.
///
/// # Errors
/// A 400 that names what is wrong, or a 401 for what a caller may not set.
pub(super) fn read(
    call: &Call,
    operation: Operation,
    path_model: Option<String>,
    request: &Request,
) -> Result<Box<Asked>, GatewayError> {
    if operation.is_multipart() {
        return read_form(call, operation, path_model, request);
    }
    let body = request.body();
    let scan = scan(body).map_err(GatewayError::malformed)?;
    let fields = Fields { scan: &scan, body };
    let named = fields.text("model")?;
    let mut model = model(call, operation, path_model, named)?;
    required(operation, &fields)?;
    own::reserved(call, &fields, &model)?;
    own::enforced(call, &fields)?;
    let mut facts = facts(call, request, &fields, operation)?;
    own::own_tags(call, &facts.wishes.tags)?;
    if call.snapshot.router.settings().prompt_caching {
        facts.prompt = fields
            .raw("messages")
            .and_then(crate::router::affinity::fingerprint);
    }
    let mock = fields.json("mock_response")?;
    let end_user = own::end_user(call, request, fields.text("user").ok().flatten());
    let mut alias = None;
    if call.snapshot.steers {
        steer::banned(call, &fields)?;
        alias = steer::renamed(call, &mut model);
        steer::steer(call, request, &fields, end_user.as_deref(), &mut facts);
    }
    let own = dress::brought(&fields)?;
    let usage: Option<StreamOptions> = fields.json("stream_options")?;
    Ok(Box::new(Asked {
        operation,
        model,
        alias,
        end_user,
        stream: facts.stream,
        array: google::wants_array(call.verb, request),
        keeps_model: false,
        include_usage: usage.is_some_and(|options| options.include_usage == Some(true)),
        facts: Rc::new(facts),
        mock: mock.map(Box::new),
        own,
        content: Some(Rc::new(Content::Json(scan))),
    }))
}

#[derive(serde::Deserialize, Default)]
struct StreamOptions {
    include_usage: Option<bool>,
}

fn read_form(
    call: &Call,
    operation: Operation,
    path_model: Option<String>,
    request: &Request,
) -> Result<Box<Asked>, GatewayError> {
    let kind = request.header("content-type").unwrap_or_default();
    let kind = String::from_utf8_lossy(kind);
    let form = Multipart::parse(&kind, request.body()).map_err(GatewayError::malformed)?;
    if form
        .parts
        .iter()
        .filter(|part| part.name == "model")
        .count()
        > 1
    {
        return Err(GatewayError::malformed(
            "the form has more than one `model`",
        ));
    }
    own::reserved_parts(form.parts.iter().map(|part| part.name.as_ref()))?;
    let named = form.text(request.body(), "model").map(str::to_owned);
    let model = model(call, operation, path_model, named)?;
    let stream = form
        .text(request.body(), "stream")
        .is_some_and(|text| text == "true");
    let facts = Facts {
        stream,
        ..header_facts(request)
    };
    Ok(Box::new(Asked {
        operation,
        model,
        alias: None,
        end_user: own::end_user(
            call,
            request,
            form.text(request.body(), "user").map(str::to_owned),
        ),
        stream,
        array: false,
        keeps_model: false,
        include_usage: false,
        facts: Rc::new(facts),
        mock: None,
        own: None,
        content: Some(Rc::new(Content::Form(form))),
    }))
}

/// The model that serves: the image setting over all, then the path, the body, the default.
fn model(
    call: &Call,
    operation: Operation,
    path: Option<String>,
    body: Option<String>,
) -> Result<String, GatewayError> {
    let settings = &call.snapshot.settings;
    let (forced, default) = match operation {
        Operation::ImageGeneration | Operation::ImageEdit | Operation::ImageVariation => {
            (&settings.image_generation_model, &None)
        }
        Operation::Embeddings => (&None, &settings.embedding_model),
        Operation::Moderation => (&None, &settings.moderation_model),
        Operation::Chat | Operation::Completions | Operation::Responses => {
            (&None, &settings.completion_model)
        }
        _ => (&None, &None),
    };
    let named = path.or(body).filter(|model| !model.is_empty());
    let chosen = forced
        .clone()
        .or_else(|| own::inferred_model(call))
        .or(named)
        .or_else(|| default.clone());
    match chosen {
        Some(model) => Ok(model),
        // The endpoint's own default, as OpenAI has it.
        None if operation == Operation::Moderation => Ok("omni-moderation-latest".to_owned()),
        None => Err(missing("model")),
    }
}

fn missing(name: &str) -> GatewayError {
    let mut error = GatewayError::refused(
        ErrorClass::BadRequest,
        format!("the request has no `{name}`; add it to the body"),
    );
    error.param = Some(name.to_owned());
    error
}

/// What an operation cannot do without.
fn required(operation: Operation, fields: &Fields<'_>) -> Result<(), GatewayError> {
    let name = match operation {
        Operation::Chat | Operation::Messages | Operation::MessagesCount => "messages",
        Operation::Embeddings | Operation::Moderation | Operation::Speech => "input",
        Operation::Rerank => "query",
        Operation::ImageGeneration => "prompt",
        _ => return Ok(()),
    };
    match (operation, fields.raw(name)) {
        (_, None) => Err(missing(name)),
        (Operation::Chat, Some(raw)) if !raw.starts_with(b"[") => Err(GatewayError::refused(
            ErrorClass::BadRequest,
            "`messages` must be an array of messages",
        )),
        _ => Ok(()),
    }
}

/// Values of the top level.
pub(super) struct Fields<'a> {
    scan: &'a Scan,
    body: &'a [u8],
}

impl Fields<'_> {
    /// Any field's name is of that kind.
    pub(super) fn any(&self, is: impl Fn(&[u8]) -> bool) -> bool {
        (0..self.scan.len()).any(|index| is(self.scan.name(self.body, index)))
    }

    /// A field's JSON; null counts as absent.
    pub(super) fn raw(&self, name: &str) -> Option<&[u8]> {
        self.scan
            .value(self.body, name)
            .filter(|raw| *raw != b"null")
    }

    pub(super) fn json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, GatewayError> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        serde_json::from_slice(raw).map(Some).map_err(|error| {
            let mut error =
                GatewayError::refused(ErrorClass::BadRequest, format!("`{name}`: {error}"));
            error.param = Some(name.to_owned());
            error
        })
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<String>, GatewayError> {
        // A string without escapes, as nearly all are, stands there as it reads.
        let plain = self.raw(name).and_then(|raw| match raw {
            [b'"', inner @ .., b'"'] if memchr::memchr(b'\\', inner).is_none() => {
                std::str::from_utf8(inner).ok()
            }
            _ => None,
        });
        match plain {
            Some(text) => Ok(Some(text.to_owned())),
            None => self.json(name),
        }
    }

    fn flag(&self, name: &str) -> Result<bool, GatewayError> {
        Ok(self.json::<bool>(name)?.unwrap_or(false))
    }

    fn seconds(&self, name: &str) -> Result<Option<Duration>, GatewayError> {
        Ok(self
            .json::<f64>(name)?
            .and_then(|s| Duration::try_from_secs_f64(s).ok()))
    }
}

fn facts(
    call: &Call,
    request: &Request,
    fields: &Fields<'_>,
    operation: Operation,
) -> Result<Facts, GatewayError> {
    let mut facts = header_facts(request);
    let prompt = ["messages", "input", "prompt", "contents"]
        .iter()
        .find_map(|name| fields.raw(name));
    facts.stream = fields.flag("stream")?;
    facts.input_tokens = prompt.map_or(0, <[u8]>::len) as u64 / BYTES_PER_TOKEN;
    facts.output_tokens_max = fields
        .json("max_completion_tokens")?
        .or(fields.json("max_tokens")?);
    facts.needs = needs(fields, operation);
    if fields.any(is_extra) {
        extras(call, fields, &mut facts)?;
    }
    Ok(facts)
}

/// Fields that steer us and not the model. Most requests have none, so they are looked for once.
fn is_extra(name: &[u8]) -> bool {
    matches!(
        name,
        b"tags"
            | b"metadata"
            | b"litellm_session_id"
            | b"num_retries"
            | b"priority"
            | b"timeout"
            | b"request_timeout"
            | b"stream_timeout"
            | b"disable_fallbacks"
            | b"max_fallbacks"
    ) || name.ends_with(b"fallbacks")
        || name.starts_with(b"mock_testing_")
}

/// What the body's extras say; a body's word wins over a header's.
fn extras(call: &Call, fields: &Fields<'_>, facts: &mut Facts) -> Result<(), GatewayError> {
    let wishes = &mut *facts.wishes;
    if let Some(tags) = tags(fields)? {
        wishes.tags = tags;
    }
    wishes.session = super::steer::session_of(fields).or(wishes.session.take());
    wishes.num_retries = fields.json("num_retries")?.or(wishes.num_retries);
    wishes.priority = fields.json("priority")?.or(wishes.priority);
    wishes.timeout = fields
        .seconds("timeout")?
        .or(fields.seconds("request_timeout")?)
        .or(wishes.timeout);
    wishes.stream_timeout = fields.seconds("stream_timeout")?.or(wishes.stream_timeout);
    wishes.fallbacks = fields.json::<Vec<Value>>("fallbacks")?.map(names);
    wishes.context_window_fallbacks = table(fields, "context_window_fallbacks")?;
    wishes.content_policy_fallbacks = table(fields, "content_policy_fallbacks")?;
    wishes.disable_fallbacks = fields.flag("disable_fallbacks")?;
    wishes.max_fallbacks = fields.json("max_fallbacks")?;
    wishes.mock = mock_testing(call, fields)?;
    Ok(())
}

/// What the headers say of the routing.
fn header_facts(request: &Request) -> Facts {
    const OURS: &[u8] = b"x-litellm-";
    let ours = |name: &[u8]| {
        name.get(..OURS.len())
            .is_some_and(|n| n.eq_ignore_ascii_case(OURS))
    };
    if !request
        .head
        .each(&request.bytes)
        .any(|(name, _)| ours(name))
    {
        return Facts::default();
    }
    let text = |name: &str| {
        request
            .header(name)
            .and_then(|value| std::str::from_utf8(value).ok())
    };
    let seconds = |name: &str| {
        text(name)
            .and_then(|text| text.parse().ok())
            .and_then(|s| Duration::try_from_secs_f64(s).ok())
    };
    Facts {
        wishes: Wishes {
            timeout: seconds("x-litellm-timeout"),
            stream_timeout: seconds("x-litellm-stream-timeout"),
            num_retries: text("x-litellm-num-retries").and_then(|text| text.parse().ok()),
            session: text("x-litellm-session-id").map(str::to_owned),
            priority: text("x-litellm-priority").and_then(|text| text.parse().ok()),
            tags: text("x-litellm-tags")
                .map(|list| list.split(',').map(|tag| tag.trim().to_owned()).collect())
                .unwrap_or_default(),
            ..Wishes::default()
        }
        .into(),
        ..Facts::default()
    }
}

fn tags(fields: &Fields<'_>) -> Result<Option<Vec<String>>, GatewayError> {
    if let Some(tags) = fields.json("tags")? {
        return Ok(Some(tags));
    }
    let metadata: Option<Map<String, Value>> = fields.json("metadata")?;
    let tags = metadata
        .as_ref()
        .and_then(|metadata| metadata.get("tags")?.as_array());
    let texts = |tags: &Vec<Value>| {
        tags.iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    Ok(tags.map(texts))
}

/// Fallbacks may be names, or objects with a `model`.
fn names(entries: Vec<Value>) -> Vec<String> {
    let name = |entry: &Value| match entry {
        Value::String(name) => Some(name.clone()),
        Value::Object(map) => map.get("model")?.as_str().map(str::to_owned),
        _ => None,
    };
    entries.iter().filter_map(name).collect()
}

/// The body for an entry of the request's own `fallbacks` that is an object: what it holds beside
/// its model replaces the fields of the same names. `None` where it holds nothing else.
pub(super) fn with_fallback(body: &[u8], index: usize) -> Option<Box<(Vec<u8>, Scan)>> {
    let mut fields: Map<String, Value> = serde_json::from_slice(body).ok()?;
    let Value::Array(entries) = fields.remove("fallbacks")? else {
        return None;
    };
    let is_named = |entry: &Value| entry.is_string() || entry["model"].is_string();
    let entry = entries.into_iter().filter(is_named).nth(index)?;
    let Value::Object(own) = entry else {
        return None;
    };
    if own.len() < 2 {
        return None;
    }
    fields.extend(own.into_iter().filter(|(name, _)| name != "model"));
    let bytes = serde_json::to_vec(&fields).ok()?;
    let scan = scan(&bytes).ok()?;
    Some(Box::new((bytes, scan)))
}

fn table(fields: &Fields<'_>, name: &str) -> Result<Option<FallbackTable>, GatewayError> {
    let entries: Option<Vec<FallbackTable>> = fields.json(name)?;
    Ok(entries.map(|entries| entries.into_iter().flatten().collect()))
}

fn mock_testing(call: &Call, fields: &Fields<'_>) -> Result<Option<MockTesting>, GatewayError> {
    const SWITCHES: &[(&str, MockTesting)] = &[
        ("mock_testing_fallbacks", MockTesting::Fallbacks),
        (
            "mock_testing_context_fallbacks",
            MockTesting::ContextFallbacks,
        ),
        (
            "mock_testing_content_policy_fallbacks",
            MockTesting::ContentPolicyFallbacks,
        ),
        ("mock_testing_rate_limit_error", MockTesting::RateLimitError),
    ];
    for (name, switch) in SWITCHES {
        if fields.flag(name)? {
            if !call.snapshot.settings.mock_testing {
                return Err(own::mock_testing_refused(name));
            }
            return Ok(Some(*switch));
        }
    }
    Ok(None)
}

fn needs(fields: &Fields<'_>, operation: Operation) -> Needs {
    let mut needs = Needs::NONE;
    if operation != Operation::Chat {
        return needs;
    }
    if fields.raw("tools").is_some() {
        needs = needs.and(Needs::TOOLS);
    }
    let format = fields.raw("response_format").unwrap_or_default();
    if memchr::memmem::find(format, b"json_schema").is_some() {
        needs = needs.and(Needs::RESPONSE_SCHEMA);
    }
    needs
}
