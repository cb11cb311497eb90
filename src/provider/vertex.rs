//! Vertex AI: Gemini and embeddings, Claude, and the partners' models on the OpenAI wire. Calls carry an access token that
//! the coordinator fetches.

use crate::dialect::value::{Map, Value, json};

use super::anthropic::{self, claude_answer, claude_stream, native_request};
use super::gemini::{self, gemini_answer, gemini_stream, google_error, with_sse};
use super::openai::{OpenAiWire, Rules, unsupported};
use super::translated::{Common, segment, whole};
use super::{
    Answer, AnswerContext, Incoming, Moment, Operation, Outgoing, Provider, Reply, RequestOptions,
    Route, Setup, StreamReader, TokenSource, token,
};
use crate::dialect::anthropic_messages;
use crate::dialect::gemini::embed;
use crate::dialect::openai_chat::plan::RequestRules;
use crate::dialect::openai_chat::response::ResponseRules;
use crate::dialect::splice::Spliced;
use crate::error::GatewayError;

/// The scope of access tokens.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// The version of Anthropic's API on Vertex AI, in the body.
const CLAUDE_VERSION: &str = "vertex-2023-10-16";
/// Where calls go when no location is given.
const LOCATION: &str = "us-central1";

static PARTNER: Rules = Rules {
    request: RequestRules {
        stream_false: true,
        ..RequestRules::PLAIN
    },
    response: ResponseRules {
        vendor_fields: false,
        ..ResponseRules::PLAIN
    },
    ..Rules::PLAIN
};

/// Whose model it is.
enum Family {
    Gemini,
    Claude,
    /// On the OpenAI wire.
    Partner(Box<OpenAiWire>),
}

struct Vertex {
    common: Common,
    family: Family,
    /// `/v1/projects/P/locations/L`.
    project: String,
    source: Option<TokenSource>,
}

/// The base URL where none is given: the location's.
pub(super) fn base(lookup: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let location = location(lookup);
    Some(if location == "global" {
        "https://aiplatform.googleapis.com".to_owned()
    } else {
        format!("https://{location}-aiplatform.googleapis.com")
    })
}

fn location(lookup: &dyn Fn(&str) -> Option<String>) -> String {
    lookup("vertex_location")
        .or_else(|| lookup("vertex_ai_location"))
        .or_else(|| lookup("VERTEXAI_LOCATION"))
        .unwrap_or_else(|| LOCATION.to_owned())
}

/// Builds a deployment.
pub(super) fn build(setup: Setup<'_>) -> Result<Box<dyn Provider>, String> {
    let lookup = |name: &str| setup.text(name).or_else(|| (setup.env)(name));
    let credentials = credentials(&setup);
    let in_credentials = || {
        let account = Value::read(credentials.as_deref()?.as_bytes()).ok()?;
        let project = account["quota_project_id"]
            .as_str()
            .or_else(|| account["project_id"].as_str());
        project.map(str::to_owned)
    };
    let project = lookup("vertex_project")
        .or_else(|| lookup("vertex_ai_project"))
        .or_else(|| setup.text("project_id"))
        .or_else(|| lookup("VERTEXAI_PROJECT"))
        .or_else(in_credentials)
        .ok_or("litellm_params.vertex_project is missing")?;
    let project = format!(
        "/v1/projects/{}/locations/{}",
        segment(&project),
        segment(&location(&lookup))
    );
    let mut common = Common::new(&setup);
    let family = family(&setup);
    if matches!(family, Family::Claude) {
        common.header("anthropic-version", "2023-06-01")?;
    }
    if let Some(key) = setup.key {
        common.header("x-goog-api-key", key.reveal())?;
    }
    Ok(Box::new(Vertex {
        common,
        family,
        project,
        source: setup
            .key
            .is_none()
            .then(|| token::google(&setup, credentials, SCOPE)),
    }))
}

/// A service account's JSON, or the path of a file with one.
fn credentials(setup: &Setup<'_>) -> Option<String> {
    if let Some(given) = setup
        .params
        .get("vertex_credentials")
        .filter(|given| given.is_object())
    {
        return Some(given.to_string());
    }
    setup
        .text("vertex_credentials")
        .or_else(|| setup.text("vertex_ai_credentials"))
        .or_else(|| (setup.env)("GOOGLE_APPLICATION_CREDENTIALS"))
}

fn family(setup: &Setup<'_>) -> Family {
    let model = setup.model;
    if model.starts_with("claude") {
        return Family::Claude;
    }
    let is_partner = model.contains('/') && !model.starts_with("gemini/")
        || ["mistral", "codestral", "jamba", "ministral"]
            .iter()
            .any(|name| model.starts_with(name));
    if !is_partner {
        return Family::Gemini;
    }
    let name = if model.contains('/') {
        model
    } else {
        model.split('@').next().unwrap_or(model)
    };
    let renamed = Setup {
        model: name,
        ..*setup
    };
    Family::Partner(Box::new(OpenAiWire::new(&renamed, &PARTNER)))
}

impl Vertex {
    fn path(
        &self,
        operation: Operation,
        model: &str,
        stream: bool,
    ) -> Result<String, GatewayError> {
        let missing = || unsupported(self.common.label, operation);
        let (publisher, method) = match (&self.family, operation) {
            (Family::Gemini, Operation::Embeddings) => ("google", ":predict"),
            (Family::Gemini, _) => (
                "google",
                gemini::method(operation, stream).ok_or_else(missing)?,
            ),
            (Family::Claude, Operation::Chat | Operation::Messages) if stream => {
                ("anthropic", ":streamRawPredict")
            }
            (Family::Claude, Operation::Chat | Operation::Messages) => ("anthropic", ":rawPredict"),
            (Family::Partner(_), Operation::Chat) if model.contains('/') => {
                return Ok(self.join("/endpoints/openapi/chat/completions"));
            }
            (Family::Partner(_), Operation::Chat | Operation::Completions) => (
                if model.starts_with("jamba") {
                    "ai21"
                } else {
                    "mistralai"
                },
                if stream {
                    ":streamRawPredict"
                } else {
                    ":rawPredict"
                },
            ),
            _ => return Err(missing()),
        };
        let path = self.join(&format!(
            "/publishers/{publisher}/models/{}{method}",
            segment(model)
        ));
        let is_sse = stream && !matches!(self.family, Family::Partner(_));
        Ok(with_sse(path, is_sse))
    }

    /// A base with a path of its own stands for all but the method.
    fn join(&self, rest: &str) -> String {
        let base = &self.common.base;
        if base.prefix.contains("/projects/") {
            return base.join(rest);
        }
        base.join(&format!("{}{rest}", self.project))
    }

    /// Claude's body names no model and says which version of the API it means.
    fn claude(
        &self,
        operation: Operation,
        incoming: Incoming<'_>,
        options: &RequestOptions<'_>,
    ) -> Result<Outgoing, GatewayError> {
        let (mut body, mut outgoing) = if operation == Operation::Messages {
            let outgoing = native_request(operation, &self.common, incoming, options)?;
            let Spliced::Whole(bytes) = &outgoing.body else {
                return Ok(outgoing);
            };
            let body = Map::read(bytes).map_err(GatewayError::malformed)?;
            (body, outgoing)
        } else {
            let mut call = self.common.call(incoming, options, anthropic::REFUSED)?;
            let mut outgoing = Outgoing::new(Spliced::unchanged());
            outgoing.headers = std::mem::take(&mut call.headers);
            (outgoing.stream, outgoing.usage_asked) = (call.stream, call.usage_asked);
            let translated = anthropic_messages::request::translate(call, self.common.label)?;
            let beta = translated.beta.map(str::to_owned);
            outgoing
                .headers
                .extend(beta.map(|beta| ("anthropic-beta".to_owned(), beta)));
            (translated.body, outgoing)
        };
        join_betas(&mut outgoing.headers, options.beta);
        body.remove("model");
        body.insert("anthropic_version", json!(CLAUDE_VERSION));
        outgoing.body = whole(&Value::Object(body));
        Ok(outgoing)
    }
}

/// The client's features and the request's own in one header.
fn join_betas(headers: &mut Vec<(String, String)>, given: Option<&str>) {
    const NAME: &str = "anthropic-beta";
    let own = headers.iter().position(|(name, _)| name == NAME);
    let own = own.map(|at| headers.remove(at).1).unwrap_or_default();
    let mut names: Vec<&str> = anthropic::betas(Some(&own)).collect();
    for name in anthropic::betas(given) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if !names.is_empty() {
        headers.push((NAME.to_owned(), names.join(",")));
    }
}

impl Provider for Vertex {
    fn route(&self, operation: Operation, stream: bool) -> Result<Route, GatewayError> {
        let path = self.path(operation, &self.common.model, stream)?;
        Ok(self.common.route(path))
    }

    fn request(
        &self,
        operation: Operation,
        incoming: Incoming<'_>,
        options: &RequestOptions<'_>,
    ) -> Result<Outgoing, GatewayError> {
        self.path(operation, &self.common.model, false)?;
        let mut outgoing = match &self.family {
            Family::Claude => self.claude(operation, incoming, options)?,
            Family::Partner(wire) => wire.request(operation, incoming, options)?,
            Family::Gemini if operation == Operation::Embeddings => {
                let call = self.common.call(incoming, options, &[])?;
                Outgoing::new(whole(&embed::predict(call)))
            }
            Family::Gemini if operation == Operation::Chat => {
                let call = self.common.call(incoming, options, gemini::REFUSED)?;
                gemini::outgoing(call, operation, None)
            }
            Family::Gemini
                if matches!(
                    operation,
                    Operation::GenerateContent | Operation::GenerateCount
                ) =>
            {
                gemini::native_request(operation, &self.common, incoming, options)?
            }
            Family::Gemini => return Err(unsupported(self.common.label, operation)),
        };
        if let Some(model) = options.model {
            outgoing.path_and_query = Some(self.path(operation, model, outgoing.stream)?);
        }
        Ok(outgoing)
    }

    fn sign(
        &self,
        _route: &Route,
        _body: &[u8],
        moment: &Moment<'_>,
    ) -> Result<Vec<(String, String)>, GatewayError> {
        token::bearer(moment, self.common.label)
    }

    fn is_signed(&self) -> bool {
        self.source.is_some()
    }

    fn token_source(&self) -> Option<TokenSource> {
        self.source.clone()
    }

    fn speaks(&self, operation: Operation) -> bool {
        match operation {
            Operation::Messages => matches!(self.family, Family::Claude),
            Operation::GenerateContent => matches!(self.family, Family::Gemini),
            Operation::Responses | Operation::Completions => false,
            _ => true,
        }
    }

    fn wants_inline(&self, operation: Operation, url: &str, format: Option<&str>) -> bool {
        match self.family {
            Family::Gemini => {
                operation != Operation::GenerateContent && gemini::google_cannot_fetch(url, format)
            }
            Family::Claude => true,
            Family::Partner(_) => false,
        }
    }

    fn takes_beta(&self) -> bool {
        matches!(self.family, Family::Claude)
    }

    fn takes_bytes_only(&self) -> bool {
        !matches!(self.family, Family::Partner(_))
    }

    fn counts(&self, operation: Operation) -> bool {
        operation == Operation::GenerateCount && matches!(self.family, Family::Gemini)
    }

    fn answer(
        &self,
        reply: &Reply<'_>,
        context: &AnswerContext<'_>,
    ) -> Result<Answer, GatewayError> {
        match &self.family {
            Family::Gemini => gemini_answer(&self.common, reply, context),
            Family::Claude => claude_answer(&self.common, reply, context),
            Family::Partner(wire) => wire.answer(reply, context),
        }
    }

    fn stream(&self, context: &AnswerContext<'_>) -> StreamReader {
        match &self.family {
            Family::Gemini => gemini_stream(&self.common, context),
            Family::Claude => claude_stream(&self.common, context),
            Family::Partner(wire) => wire.stream(context),
        }
    }

    fn error(&self, reply: &Reply<'_>) -> GatewayError {
        google_error(&self.common, reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_of_the_client_and_of_the_request_stand_in_one_header() {
        let joined = |own: &[&str], given| {
            let mut headers = own
                .iter()
                .map(|value| ("anthropic-beta".to_owned(), (*value).to_owned()))
                .collect();
            join_betas(&mut headers, given);
            headers.pop().map(|(_, value)| value)
        };
        assert_eq!(joined(&[], None), None);
        assert_eq!(joined(&[], Some(" ,")), None);
        assert_eq!(joined(&["a"], None).as_deref(), Some("a"));
        assert_eq!(joined(&["a"], Some("b, a")).as_deref(), Some("a,b"));
    }
}
