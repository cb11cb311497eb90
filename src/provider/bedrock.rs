//! Amazon Bedrock: Converse for most models, invoke where a model has a dialect of its own, embeddings, rerank. Calls are
//! signed, or carry an API key.

use crate::dialect::value::{Value, json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::anthropic::{self, claude_answer};
use super::sigv4::{self, Credentials};
use super::translated::{
    Common, Translator, answer, json as reply_json, segment, upstream_error, whole,
};
use super::{
    Answer, AnswerContext, Grant, Incoming, Moment, Operation, Outgoing, Provider, Reply,
    RequestOptions, Route, Setup, StreamReader, TokenSource, openai, token,
};
use crate::dialect::anthropic_messages::{self, stream::Events as ClaudeEvents};
use crate::dialect::aws_events::{AwsEvents, EXCEPTION};
use crate::dialect::bedrock_converse::invoke::{self, TextFamily};
use crate::dialect::bedrock_converse::stream::Events;
use crate::dialect::bedrock_converse::{embed, error, request, response};
use crate::dialect::events::{EventReader, Progress};
use crate::dialect::hub::{Call, unreadable};
use crate::dialect::openai_chat::params::Param;
use crate::error::{ErrorClass, GatewayError};

/// The version of Anthropic's API on Bedrock, in the body.
const CLAUDE_VERSION: &str = "bedrock-2023-05-31";
/// Features of Claude that Bedrock knows, from Amazon's documentation of Claude's request; any other refuses the whole
/// request ("invalid beta flag"), and clients such as Claude Code name more than these.
const BETAS: [&str; 13] = [
    "claude-code-20250219",
    "computer-use-2024-10-22",
    "computer-use-2025-01-24",
    "computer-use-2025-11-24",
    "context-1m-2025-08-07",
    "context-management-2025-06-27",
    "dev-full-thinking-2025-05-14",
    "effort-2025-11-24",
    "interleaved-thinking-2025-05-14",
    "output-128k-2025-02-19",
    "token-efficient-tools-2025-02-19",
    "tool-examples-2025-10-29",
    "tool-search-tool-2025-10-19",
];
/// Where calls go when no region is given.
const REGION: &str = "us-west-2";

/// How the model is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Converse,
    InvokeClaude,
    InvokeText(TextFamily),
}

struct Bedrock {
    common: Common,
    /// The model's id or ARN, as in the path.
    id: String,
    way: Way,
    region: String,
    /// Keys that need not be fetched.
    credentials: Option<Credentials>,
    source: Option<TokenSource>,
    refused: Vec<Param>,
}

/// The base URL where none is given: the region's.
pub(super) fn base(lookup: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let endpoint =
        lookup("aws_bedrock_runtime_endpoint").or_else(|| lookup("AWS_BEDROCK_RUNTIME_ENDPOINT"));
    Some(endpoint.unwrap_or_else(|| {
        let model = lookup("model").unwrap_or_default();
        format!(
            "https://bedrock-runtime.{}.amazonaws.com",
            region(&model, lookup)
        )
    }))
}

fn region(model: &str, lookup: &dyn Fn(&str) -> Option<String>) -> String {
    let in_path = model.split('/').find(|part| is_region(part));
    let in_arn = model
        .contains("arn:")
        .then(|| model.split(':').nth(3))
        .flatten();
    in_path
        .map(str::to_owned)
        .or_else(|| lookup("aws_region_name"))
        .or_else(|| in_arn.filter(|part| is_region(part)).map(str::to_owned))
        .or_else(|| lookup("AWS_REGION_NAME"))
        .or_else(|| lookup("AWS_REGION"))
        .or_else(|| lookup("AWS_DEFAULT_REGION"))
        .unwrap_or_else(|| REGION.to_owned())
}

/// `us-west-2`, `us-gov-east-1`.
fn is_region(part: &str) -> bool {
    let mut pieces = part.split('-');
    let first = pieces.next().is_some_and(|piece| piece.len() == 2);
    let last = part.rsplit('-').next().unwrap_or_default();
    first && part.matches('-').count() >= 2 && last.len() == 1 && last.parse::<u8>().is_ok()
}

/// The id without the prefixes that say how and where to ask.
fn model_id(model: &str) -> (&str, Option<&str>) {
    let mut way = None;
    let mut rest = model;
    while let Some((prefix, after)) = rest.split_once('/') {
        match prefix {
            "converse" | "invoke" | "converse_like" => way = Some(prefix),
            prefix if is_region(prefix) => {}
            _ => break,
        }
        rest = after;
    }
    (rest, way)
}

fn way(id: &str, said: Option<&str>) -> Way {
    let invokes = said == Some("invoke");
    if id.contains("titan-text") || id.contains("titan-tg1") {
        Way::InvokeText(TextFamily::Titan)
    } else if invokes && id.contains("claude") {
        Way::InvokeClaude
    } else if invokes && id.contains("llama") {
        Way::InvokeText(TextFamily::Llama)
    } else {
        Way::Converse
    }
}

/// Builds a deployment.
pub(super) fn build(setup: Setup<'_>) -> Result<Box<dyn Provider>, String> {
    let lookup = |name: &str| setup.text(name).or_else(|| (setup.env)(name));
    let mut common = Common::new(&setup);
    let (id, said) = model_id(setup.model);
    let region = region(setup.model, &lookup);
    let (credentials, source) = if setup.key.is_some() && setup.text("aws_access_key_id").is_none()
    {
        (None, None)
    } else {
        token::aws(&setup, &region)
    };
    if let (None, None, Some(key)) = (&credentials, &source, setup.key) {
        common.header("authorization", &format!("Bearer {}", key.reveal()))?;
    }
    let mut refused = anthropic::REFUSED.to_vec();
    refused.push(Param::WebSearchOptions);
    if !request::takes_choice(id) {
        refused.push(Param::ToolChoice);
    }
    let bedrock = Bedrock {
        way: way(id, said),
        id: id.to_owned(),
        region,
        common,
        credentials,
        source: source.map(|source| TokenSource::Aws(Box::new(source))),
        refused,
    };
    Ok(Box::new(bedrock))
}

impl Bedrock {
    fn path(&self, operation: Operation, id: &str, stream: bool) -> Result<String, GatewayError> {
        let encoded = segment(id);
        let path = match (operation, self.way) {
            (Operation::Rerank, _) => "/rerank".to_owned(),
            (Operation::Embeddings, _) => format!("/model/{encoded}/invoke"),
            (Operation::Chat, Way::InvokeClaude) if stream => format!(
                "/model/{}/invoke-with-response-stream",
                encoded.replace("%3A", ":")
            ),
            (Operation::Chat, Way::InvokeClaude | Way::InvokeText(_)) if !stream => {
                format!("/model/{}/invoke", encoded.replace("%3A", ":"))
            }
            (Operation::Chat, _) if stream => format!("/model/{encoded}/converse-stream"),
            (Operation::Chat, _) => format!("/model/{encoded}/converse"),
            _ => return Err(openai::unsupported(self.common.label, operation)),
        };
        Ok(self.common.base.join(&path))
    }

    fn body(
        &self,
        operation: Operation,
        incoming: Incoming<'_>,
        options: &RequestOptions<'_>,
    ) -> Result<Outgoing, GatewayError> {
        let refused: &[Param] = match operation {
            Operation::Chat => &self.refused,
            _ => &[],
        };
        let mut call = self.common.call(incoming, options, refused)?;
        call.model = options
            .model
            .map_or(&*self.id, |model| model_id(model).0)
            .to_owned();
        if operation == Operation::Chat && call.model.contains("claude") {
            put_betas(&mut call, options.beta);
        }
        let (stream, usage_asked) = (call.stream, call.usage_asked);
        let mut headers = std::mem::take(&mut call.headers);
        let renamed = match (operation, self.way) {
            (Operation::Chat, Way::Converse) => request::renamed(&call),
            _ => Vec::new(),
        };
        let body = match (operation, self.way) {
            (Operation::Rerank, _) => {
                let arn = self.arn(&call.model);
                embed::rerank(call, &arn)
            }
            (Operation::Embeddings, _) => {
                if call.model.contains("cohere") {
                    headers.push((
                        "request-source".to_owned(),
                        "unspecified:litellm".to_owned(),
                    ));
                }
                embed::request(call)?
            }
            (_, Way::InvokeClaude) => {
                call.stream = false;
                let mut body =
                    anthropic_messages::request::translate(call, self.common.label)?.body;
                body.remove("model");
                body.insert("anthropic_version", json!(CLAUDE_VERSION));
                Value::Object(body)
            }
            (_, Way::InvokeText(family)) if !stream => invoke::request(family, call),
            _ => Value::Object(request::translate(call)?),
        };
        Ok(Outgoing {
            headers,
            stream,
            usage_asked,
            renamed,
            ..Outgoing::new(whole(&body))
        })
    }

    fn arn(&self, id: &str) -> String {
        if id.starts_with("arn:") {
            id.to_owned()
        } else {
            format!("arn:aws:bedrock:{}::foundation-model/{id}", self.region)
        }
    }
}

/// Puts the client's features into the body, where Bedrock looks for them; those that the body names itself stay.
fn put_betas(call: &mut Call, given: Option<&str>) {
    const NAME: &str = "anthropic_beta";
    let known = anthropic::betas(given).filter(|name| BETAS.contains(name));
    let mut names = match call.take(NAME) {
        Some(Value::Array(names)) => names,
        _ => Vec::new(),
    };
    for name in known {
        if !names.iter().any(|have| *have == name) {
            names.push(json!(name));
        }
    }
    if !names.is_empty() {
        call.fields.insert(NAME, Value::Array(names));
    }
}

impl Provider for Bedrock {
    fn route(&self, operation: Operation, stream: bool) -> Result<Route, GatewayError> {
        Ok(self.common.route(self.path(operation, &self.id, stream)?))
    }

    fn request(
        &self,
        operation: Operation,
        incoming: Incoming<'_>,
        options: &RequestOptions<'_>,
    ) -> Result<Outgoing, GatewayError> {
        self.path(operation, &self.id, false)?;
        let mut outgoing = self.body(operation, incoming, options)?;
        if let Some(model) = options.model {
            let path = self.path(operation, model_id(model).0, outgoing.stream)?;
            outgoing.path_and_query = Some(path);
        }
        Ok(outgoing)
    }

    fn sign(
        &self,
        route: &Route,
        body: &[u8],
        moment: &Moment<'_>,
    ) -> Result<Vec<(String, String)>, GatewayError> {
        let fetched = match moment.grant {
            Some(Grant::Aws(credentials)) => Some(credentials),
            _ => None,
        };
        let Some(credentials) = self.credentials.as_ref().or(fetched) else {
            return Err(GatewayError::new(
                ErrorClass::Authentication,
                "litellm.AuthenticationError: BedrockException - no credentials; set aws_access_key_id and \
                 aws_secret_access_key, or api_key",
            ));
        };
        let request = sigv4::Request {
            method: route.method,
            host: &self.common.base.authority(),
            path_and_query: &route.path_and_query,
            content_type: Some("application/json"),
            body,
        };
        let scope = sigv4::Scope {
            region: &self.region,
            service: "bedrock",
            now_unix_s: moment.now_unix_s,
        };
        Ok(sigv4::sign(&request, credentials, &scope))
    }

    fn is_signed(&self) -> bool {
        self.credentials.is_some() || self.source.is_some()
    }

    fn token_source(&self) -> Option<TokenSource> {
        self.source.clone()
    }

    fn wants_inline(&self, _operation: Operation, _url: &str, _format: Option<&str>) -> bool {
        // Bedrock fetches from S3 only.
        true
    }

    fn takes_beta(&self) -> bool {
        true
    }

    fn takes_bytes_only(&self) -> bool {
        true
    }

    fn answer(
        &self,
        reply: &Reply<'_>,
        context: &AnswerContext<'_>,
    ) -> Result<Answer, GatewayError> {
        let stamp = self.common.stamp(context);
        let said = reply_json(self.common.label, reply)?;
        let (body, usage) = match (context.operation, self.way) {
            (Operation::Rerank, _) => embed::reranked(&said, &stamp.fresh),
            (Operation::Embeddings, _) => embed::answer(&said, &stamp.model),
            (_, Way::InvokeClaude) => return claude_answer(&self.common, reply, context),
            (_, Way::InvokeText(family)) => invoke::answer(family, &said, &stamp),
            (_, Way::Converse) if said["output"]["message"].is_object() => {
                response::translate(&said, &stamp)
            }
            (_, Way::Converse) => return Err(unreadable(self.common.label, "no message")),
        };
        Ok(answer(body, usage))
    }

    fn stream(&self, context: &AnswerContext<'_>) -> StreamReader {
        let stamp = self.common.stamp(context);
        StreamReader::Translate(if self.way == Way::InvokeClaude {
            let in_stream = anthropic_messages::error::in_stream;
            let events = ClaudeEvents::new(self.common.label, &stamp, in_stream);
            Box::new(Translator::<AwsEvents, _>::new(Chunks(events)))
        } else {
            Box::new(Translator::<AwsEvents, _>::new(Events::new(&stamp)))
        })
    }

    fn error(&self, reply: &Reply<'_>) -> GatewayError {
        let text = String::from_utf8_lossy(reply.body);
        let (class, status, message) = error::read(reply.status, &text);
        upstream_error(reply, class, status, message)
    }
}

/// A Claude model's own events, each in a `chunk` of base64.
struct Chunks(ClaudeEvents);

impl EventReader for Chunks {
    fn event(&mut self, name: &[u8], data: &[u8], out: &mut Vec<u8>) -> Result<(), GatewayError> {
        let name = String::from_utf8_lossy(name);
        if let Some(kind) = name.strip_prefix(EXCEPTION) {
            return Err(error::in_stream(kind, data));
        }
        let event = Value::read(data).map_err(|error| unreadable("Bedrock", error))?;
        let Some(bytes) = event["bytes"].as_str() else {
            return Ok(());
        };
        let bytes = STANDARD
            .decode(bytes)
            .map_err(|error| unreadable("Bedrock", error))?;
        self.0.event(b"", &bytes, out)
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.0.finish(out);
    }

    fn progress(&self) -> Progress<'_> {
        self.0.progress()
    }
}
