//! IBM watsonx.ai: chat, whose messages are OpenAI's while model, project and stream stand elsewhere. Calls carry an access
//! token that the coordinator gets for the API key.

use crate::dialect::value::{Map, Value, json};

use super::translated::{
    Common, REFUSED_BY_PROMPT, Translator, answer, json as reply_json, plain_error, whole,
};
use super::{
    Answer, AnswerContext, Incoming, Moment, Operation, Outgoing, Provider, Reply, RequestOptions,
    Route, Secret, Setup, StreamReader, TokenSource, openai, token,
};
use crate::dialect::events::{EventReader, Progress};
use crate::dialect::frames::Sse;
use crate::dialect::hub::{Call, ChunkWriter, Delta, Stamp, ToolDelta, unreadable};
use crate::dialect::openai_chat::params::Param;
use crate::dialect::usage::Usage;
use crate::dialect::watsonx::{self as text, TextEvents};
use crate::error::GatewayError;

/// The version of the API.
const VERSION: &str = "2024-03-13";
/// Where tokens come from.
const IAM_URL: &str = "https://iam.cloud.ibm.com/identity/token";

const REFUSED: &[Param] = &[
    Param::MaxCompletionTokens,
    Param::Modalities,
    Param::Prediction,
    Param::Audio,
    Param::LogitBias,
    Param::ParallelToolCalls,
    Param::ServiceTier,
    Param::Verbosity,
    Param::WebSearchOptions,
];

/// What text generation does not take: it has a word for a frequency penalty.
const REFUSED_BY_TEXT: &[Param] = REFUSED_BY_PROMPT.split_at(1).1;

struct Watsonx {
    common: Common,
    /// `project_id` or `space_id`, and its value.
    place: Option<(&'static str, String)>,
    version: String,
    source: Option<TokenSource>,
    /// `watsonx_text/`: asked by prompt.
    by_prompt: bool,
}

/// Builds a deployment.
pub(super) fn build(setup: Setup<'_>) -> Result<Box<dyn Provider>, String> {
    let mut common = Common::new(&setup);
    let env = |name: &str| (setup.env)(name).filter(|value| !value.is_empty());
    let token = setup.text("token").or_else(|| env("WATSONX_TOKEN"));
    let source = match (&token, setup.key) {
        (Some(token), _) => {
            common.header("authorization", &format!("Bearer {token}"))?;
            None
        }
        (None, Some(key)) => Some(TokenSource::Form {
            url: env("WATSONX_IAM_URL").unwrap_or_else(|| IAM_URL.to_owned()),
            settings: "litellm_params.api_key (WATSONX_API_KEY)",
            fields: vec![
                (
                    "grant_type".to_owned(),
                    Secret::new("urn:ibm:params:oauth:grant-type:apikey"),
                ),
                ("apikey".to_owned(), key.clone()),
            ],
        }),
        (None, None) => None,
    };
    let space = setup.text("space_id").map(|id| ("space_id", id));
    let project = setup
        .text("project_id")
        .or_else(|| env("WATSONX_PROJECT_ID"))
        .map(|id| ("project_id", id));
    Ok(Box::new(Watsonx {
        common,
        place: space.or(project),
        version: setup
            .text("api_version")
            .unwrap_or_else(|| VERSION.to_owned()),
        source,
        by_prompt: setup.entry.name == "watsonx_text",
    }))
}

impl Watsonx {
    /// A request by prompt, or for embeddings.
    fn by_text(&self, is_chat: bool, mut call: Call) -> Outgoing {
        let headers = std::mem::take(&mut call.headers);
        let (stream, usage_asked) = (call.stream, call.usage_asked);
        let mut body = match is_chat {
            true => text::generation(call),
            false => text::embeddings(call),
        };
        if let Some((name, id)) = &self.place {
            body.insert((*name).to_owned(), json!(id));
        }
        Outgoing {
            headers,
            stream,
            usage_asked,
            ..Outgoing::new(whole(&Value::Object(body)))
        }
    }
}

impl Provider for Watsonx {
    fn route(&self, operation: Operation, stream: bool) -> Result<Route, GatewayError> {
        let path = match (operation, stream) {
            (Operation::Embeddings, _) => "/ml/v1/text/embeddings",
            (Operation::Chat, false) if self.by_prompt => "/ml/v1/text/generation",
            (Operation::Chat, true) if self.by_prompt => "/ml/v1/text/generation_stream",
            (Operation::Chat, false) => "/ml/v1/text/chat",
            (Operation::Chat, true) => "/ml/v1/text/chat_stream",
            _ => return Err(openai::unsupported(self.common.label, operation)),
        };
        let path = self.common.base.join(path);
        Ok(self
            .common
            .route(format!("{path}?version={}", self.version)))
    }

    fn request(
        &self,
        operation: Operation,
        incoming: Incoming<'_>,
        options: &RequestOptions<'_>,
    ) -> Result<Outgoing, GatewayError> {
        let is_chat = operation == Operation::Chat;
        if !is_chat && operation != Operation::Embeddings {
            return Err(openai::unsupported(self.common.label, operation));
        }
        let refused = match (is_chat, self.by_prompt) {
            (false, _) => &[],
            (true, true) => REFUSED_BY_TEXT,
            (true, false) => REFUSED,
        };
        let mut call = self.common.call(incoming, options, refused)?;
        if !is_chat || self.by_prompt {
            return Ok(self.by_text(is_chat, call));
        }
        let mut body = std::mem::take(&mut call.fields);
        body.remove("user");
        tools(&mut body);
        // The names of deployments' own settings that IBM does not want in the body.
        body.retain(|name, _| !name.starts_with("watsonx_"));
        body.insert("model", json!(call.model));
        body.insert("model_id", json!(call.model));
        body.insert("messages", Value::Array(call.messages));
        body.insert("stream", json!(call.stream));
        if let Some((name, id)) = &self.place {
            body.insert((*name).to_owned(), json!(id));
        }
        Ok(Outgoing {
            headers: call.headers,
            stream: call.stream,
            usage_asked: call.usage_asked,
            ..Outgoing::new(whole(&Value::Object(body)))
        })
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

    fn answer(
        &self,
        reply: &Reply<'_>,
        context: &AnswerContext<'_>,
    ) -> Result<Answer, GatewayError> {
        let said = reply_json(self.common.label, reply)?;
        if context.operation == Operation::Embeddings || self.by_prompt {
            let stamp = self.common.stamp(context);
            let read = match context.operation {
                Operation::Embeddings => text::embedded(&said, &stamp.model),
                _ => text::generated(&said, &stamp),
            };
            let (mut body, usage) =
                read.ok_or_else(|| unreadable(self.common.label, "no results"))?;
            if let (Some(created), true) = (created(&said), body.contains_key("created")) {
                body.insert("created", json!(created));
            }
            return Ok(answer(body, usage));
        }
        let Value::Object(mut body) = said else {
            return Err(unreadable(self.common.label, "no object"));
        };
        let usage = count(body.get("usage").unwrap_or(&Value::Null));
        let stamp = self.common.stamp(context);
        body.insert("object", json!("chat.completion"));
        body.insert("model", json!(stamp.model));
        for choice in body
            .get_mut("choices")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            let message = &mut choice["message"];
            if message.is_object() && message.get("content").is_none() {
                message["content"] = Value::Null;
            }
        }
        Ok(answer(body, usage))
    }

    fn stream(&self, context: &AnswerContext<'_>) -> StreamReader {
        let stamp = self.common.stamp(context);
        if self.by_prompt {
            let events = TextEvents::new(&stamp);
            return StreamReader::Translate(Box::new(Translator::<Sse, _>::new(events)));
        }
        let events = Events::new(&stamp);
        StreamReader::Translate(Box::new(Translator::<Sse, _>::new(events)))
    }

    fn error(&self, reply: &Reply<'_>) -> GatewayError {
        plain_error(self.common.label, reply)
    }
}

/// When an answer was made, from its date.
fn created(said: &Value) -> Option<u64> {
    text::unix_seconds(said["created_at"].as_str()?)
}

/// A choice in words has a field of its own; schemas go without `additionalProperties`.
fn tools(body: &mut Map) {
    if let Some(choice) = body.remove("tool_choice") {
        let name = if choice.is_string() {
            "tool_choice_option"
        } else {
            "tool_choice"
        };
        body.insert(name.to_owned(), choice);
    }
    let given = body.get_mut("tools").and_then(Value::as_array_mut);
    for tool in given.into_iter().flatten() {
        let Some(function) = tool.get_mut("function").and_then(Value::as_object_mut) else {
            continue;
        };
        function.remove("strict");
        if let Some(Value::Object(schema)) = function.get_mut("parameters") {
            schema.remove("additionalProperties");
        }
    }
}

fn count(usage: &Value) -> Usage {
    let number = |name: &str| usage[name].as_u64().unwrap_or(0);
    Usage {
        prompt_tokens: number("prompt_tokens"),
        completion_tokens: number("completion_tokens"),
        total_tokens: number("total_tokens"),
        ..Usage::default()
    }
}

/// Chunks that lack what OpenAI's have.
struct Events {
    writer: ChunkWriter,
    usage: Map,
    counted: Option<Usage>,
    reason: Option<String>,
}

impl Events {
    fn new(stamp: &Stamp) -> Self {
        Self {
            writer: ChunkWriter::new(stamp, ""),
            usage: Map::new(),
            counted: None,
            reason: None,
        }
    }
}

impl EventReader for Events {
    fn event(&mut self, _name: &[u8], data: &[u8], out: &mut Vec<u8>) -> Result<(), GatewayError> {
        if data == b"[DONE]" {
            return Ok(());
        }
        let event = Value::read(data).map_err(|error| unreadable("Watsonx", error))?;
        if event["errors"].is_array() {
            return Err(unreadable("Watsonx", &event["errors"]));
        }
        if let Some(usage) = event["usage"].as_object() {
            self.usage = usage.clone();
            self.counted = Some(count(&event["usage"]));
        }
        let choice = &event["choices"][0];
        let delta = &choice["delta"];
        self.writer
            .text(delta["content"].as_str().unwrap_or_default(), out);
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let function = &call["function"];
            let tool = ToolDelta {
                index: call["index"].as_u64().unwrap_or(0) as usize,
                id: call["id"].as_str(),
                name: function["name"].as_str(),
                arguments: function["arguments"].as_str().unwrap_or_default(),
            };
            let delta = Delta {
                content: Some(""),
                tools: &[tool],
                ..Delta::default()
            };
            self.writer.delta(&delta, out);
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            self.reason = Some(reason.to_owned());
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.writer
            .finish(self.reason.as_deref().unwrap_or("stop"), out);
        let usage = Value::Object(std::mem::take(&mut self.usage));
        self.writer.usage(&usage, out);
    }

    fn progress(&self) -> Progress<'_> {
        Progress {
            text_bytes: self.writer.text_bytes(),
            is_whole: self.reason.is_some() && self.counted.is_some(),
            usage: self.counted,
            finish_reason: self.reason.as_deref(),
        }
    }

    /// There is no end mark.
    fn ends_early(&self) -> bool {
        false
    }
}
