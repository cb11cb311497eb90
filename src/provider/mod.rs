//! Where a call goes, how it is signed, what its bodies look like there and what its errors mean: one entry per provider
//! in one sorted table, each with a builder that turns a deployment's parameters into a [`Provider`] of its own. Pure: no
//! I/O, no clock, no configuration types. Bytes, time and ids are passed in.

mod anthropic;
mod azure;
mod base;
mod bedrock;
mod bridge;
mod cohere;
mod compatible;
pub mod errors;
mod gemini;
mod hosted;
mod ollama;
mod openai;
mod passage;
mod replicate;
mod sigv4;
mod table;
mod target;
mod token;
mod translated;
mod vertex;
mod watsonx;

use std::fmt;

use crate::dialect::multipart::Multipart;
use crate::dialect::scan::Scan;
use crate::dialect::splice::Spliced;
use crate::dialect::stream::StreamTap;
use crate::dialect::usage::Usage;
use crate::error::GatewayError;

pub use base::Base;
pub use bridge::{as_array, canned_answer, canned_stream};
pub use errors::{Reply, message_of, retry_after};
pub use openai::{NO_INLINE_IMAGES, PREVIEW};
pub use passage::Way;
pub use sigv4::{Credentials, Request as SignedRequest, Scope as SignedScope, sign};
pub use table::{PROVIDERS, find};
pub use target::{Setup, Target};
pub use token::{AwsSource, Grant, TokenSource, Variables, azure_token_url, google_account};

/// What is asked of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `/chat/completions`
    Chat,
    /// `/completions`
    Completions,
    /// `/embeddings`
    Embeddings,
    /// `/images/generations`
    ImageGeneration,
    /// `/images/edits`, multipart
    ImageEdit,
    /// `/images/variations`, multipart
    ImageVariation,
    /// `/audio/transcriptions`, multipart
    Transcription,
    /// `/audio/translations`, multipart
    Translation,
    /// `/audio/speech`, answers with audio
    Speech,
    /// `/moderations`
    Moderation,
    /// `/rerank`
    Rerank,
    /// `/responses`
    Responses,
    /// Anthropic's `/v1/messages`
    Messages,
    /// Google's `:generateContent` and `:streamGenerateContent`
    GenerateContent,
    /// Anthropic's `/v1/messages/count_tokens`
    MessagesCount,
    /// Google's `:countTokens`
    GenerateCount,
    /// Something of the provider's own API that is passed on as it is.
    PassThrough,
}

impl Operation {
    /// The path below an OpenAI-style base.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Chat => "/chat/completions",
            Self::Completions => "/completions",
            Self::Embeddings => "/embeddings",
            Self::ImageGeneration => "/images/generations",
            Self::ImageEdit => "/images/edits",
            Self::ImageVariation => "/images/variations",
            Self::Transcription => "/audio/transcriptions",
            Self::Translation => "/audio/translations",
            Self::Speech => "/audio/speech",
            Self::Moderation => "/moderations",
            Self::Rerank => "/rerank",
            Self::Responses => "/responses",
            Self::Messages => "/messages",
            Self::MessagesCount => "/messages/count_tokens",
            Self::GenerateContent | Self::GenerateCount => "/models",
            Self::PassThrough => "",
        }
    }

    /// Whether only the tokens of a prompt are asked for.
    pub const fn is_count(self) -> bool {
        matches!(self, Self::MessagesCount | Self::GenerateCount)
    }

    /// Whether requests are multipart forms instead of JSON.
    pub const fn is_multipart(self) -> bool {
        matches!(
            self,
            Self::ImageEdit | Self::ImageVariation | Self::Transcription | Self::Translation
        )
    }
}

/// Where a request goes below its origin: all that does not depend on the request. Values of headers do not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Route {
    /// `POST` almost always.
    pub method: &'static str,
    /// Path with the base's prefix, and query.
    pub path_and_query: String,
    /// Headers besides Host, Content-Length and Connection; names in lower case. `content-type` is in it unless the
    /// client's own has to be kept (multipart).
    pub headers: Vec<(String, String)>,
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        write!(f, "{} {} {names:?}", self.method, self.path_and_query)
    }
}

/// A client's request body, looked through once.
#[derive(Clone, Copy, Debug)]
pub enum Incoming<'a> {
    /// A JSON object.
    Json {
        /// The bytes.
        body: &'a [u8],
        /// Their fields.
        scan: &'a Scan,
    },
    /// A multipart form.
    Multipart {
        /// The bytes.
        body: &'a [u8],
        /// Their parts.
        parts: &'a Multipart,
    },
}

/// What may differ from one request to the next.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestOptions<'a> {
    /// The upstream's model name, where it depends on the request (wildcard deployments).
    pub model: Option<&'a str>,
    /// Take out unsupported parameters instead of refusing the request (the global setting; the deployment's own and the
    /// request's are looked at besides).
    pub drop_params: bool,
    /// `litellm_settings.modify_params`: mend conversations that the provider would refuse.
    pub modify_params: bool,
    /// `general_settings.always_include_stream_usage`: `Some(false)` never asks for usage by itself.
    pub stream_usage: Option<bool>,
    /// The second of now, unix time, for bodies that need it.
    pub now_unix_s: u64,
    /// The client's `anthropic-beta`, where the provider takes it ([`Provider::takes_beta`]).
    pub beta: Option<&'a str>,
}

/// A request as it goes to the provider.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The body, as edits of the client's or as one of its own.
    pub body: Spliced,
    /// In place of the route's path and query, when the request decides.
    pub path_and_query: Option<String>,
    /// Headers in addition to the route's.
    pub headers: Vec<(String, String)>,
    /// Whether the client wants a stream.
    pub stream: bool,
    /// Whether the client asked for the usage of its stream.
    pub usage_asked: bool,
    /// The answer is a promise: [`Provider::follow`] says where to look until it is kept.
    pub is_promise: bool,
    /// Tools that go under another name: as sent, and as the client named them.
    pub renamed: Vec<(String, String)>,
    /// The id that a translated Responses answer gets; empty for one of our own making.
    pub response_id: String,
}

impl Outgoing {
    /// A request with that body and nothing else of its own.
    pub const fn new(body: Spliced) -> Self {
        Self {
            body,
            path_and_query: None,
            headers: Vec::new(),
            stream: false,
            usage_asked: false,
            is_promise: false,
            renamed: Vec::new(),
            response_id: String::new(),
        }
    }
}

/// What signing a request needs besides the request.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// Now, seconds of unix time.
    pub now_unix_s: u64,
    /// What the coordinator fetched for this deployment, when it has a [`TokenSource`].
    pub grant: Option<&'a Grant>,
}

/// What an answer needs to know of the call.
#[derive(Clone, Copy, Debug)]
pub struct AnswerContext<'a> {
    /// What was asked.
    pub operation: Operation,
    /// The model as the client named it.
    pub requested_model: &'a str,
    /// Leave the upstream's model name in the answer.
    pub keep_upstream_model: bool,
    /// The client asked for the usage of its stream.
    pub usage_asked: bool,
    /// Now, seconds of unix time, for answers that need a `created`.
    pub now_unix_s: u64,
    /// A fresh id (letters and digits) for answers whose provider gives none.
    pub fresh_id: &'a str,
    /// The id of a translated Responses answer; empty for one of our own making.
    pub response_id: &'a str,
    /// Tools that went under another name: [`Outgoing::renamed`].
    pub renamed: &'a [(String, String)],
}

/// A provider's answer as the client gets it.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The body, as edits of the provider's or as one of its own.
    pub body: Spliced,
    /// In place of the provider's content type.
    pub content_type: Option<&'static str>,
    /// Tokens, when the provider said.
    pub usage: Option<Usage>,
    /// Why the first choice ended.
    pub finish_reason: Option<String>,
    /// The model that the provider names.
    pub upstream_model: Option<String>,
    /// The answer's id.
    pub id: Option<String>,
}

impl Answer {
    /// An answer of which only the body is known.
    pub const fn new(body: Spliced) -> Self {
        Self {
            body,
            content_type: None,
            usage: None,
            finish_reason: None,
            upstream_model: None,
            id: None,
        }
    }
}

/// How a streamed answer is read.
pub enum StreamReader {
    /// The provider streams server-sent events of the client's dialect: the relay hands each event to the tap.
    Tap(Box<StreamTap>),
    /// Anything else (another dialect, NDJSON, AWS event streams): bytes in, events of the client's dialect out.
    Translate(Box<dyn StreamTranslator>),
}

/// Turns a provider's byte stream into the client's events.
pub trait StreamTranslator: Send {
    /// Takes bytes as they came, cut anywhere, and appends complete events (`data: ...` with the empty line) to `out`. An
    /// error ends the stream; what `out` holds by then still counts.
    fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), GatewayError>;
    /// The provider closed the stream: appends what is missing, the end mark included, and says whether it was whole.
    fn end(&mut self, out: &mut Vec<u8>) -> StreamEnd;
    /// The whole answer at its end, where clients may ask for it again.
    fn response(&mut self) -> Option<Vec<u8>> {
        None
    }
    /// Bytes of the answer's text, reasoning and tool arguments that have come out.
    fn text_bytes(&self) -> u64;
    /// Whether the end mark has been written and nothing more will come.
    fn is_done(&self) -> bool;
    /// Tokens, as far as the provider said.
    fn usage(&self) -> Option<Usage>;
    /// Why the first choice ended.
    fn finish_reason(&self) -> Option<&str>;
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// With everything a complete answer has.
    Complete,
    /// In the middle.
    Cut,
}

/// One deployment's way of talking to its provider. Built once from the deployment's parameters; everything static is
/// computed then.
pub trait Provider: Send + Sync {
    /// Method, path, query and headers of an operation.
    fn route(&self, operation: Operation, stream: bool) -> Result<Route, GatewayError>;

    /// The body for the provider.
    fn request(
        &self,
        operation: Operation,
        incoming: Incoming<'_>,
        options: &RequestOptions<'_>,
    ) -> Result<Outgoing, GatewayError>;

    /// Whether the provider itself speaks the dialect of an operation. Clients of the Messages API, the Responses API,
    /// generateContent and text completions are served through its chat otherwise.
    fn speaks(&self, operation: Operation) -> bool {
        !matches!(
            operation,
            Operation::Messages
                | Operation::Responses
                | Operation::GenerateContent
                | Operation::Completions
        )
    }

    /// Whether a file that a request names by address has to be sent as bytes; `format` is the media type that the request
    /// says.
    fn wants_inline(&self, _operation: Operation, _url: &str, _format: Option<&str>) -> bool {
        false
    }

    /// Whether [`Provider::wants_inline`] may ever say yes.
    fn takes_bytes_only(&self) -> bool {
        false
    }

    /// Whether its chats come whole only, never as a stream.
    fn answers_whole(&self) -> bool {
        false
    }

    /// Whether Claude may stand behind it without being Anthropic's own API, and is told of the features that a client's
    /// `anthropic-beta` asks for.
    fn takes_beta(&self) -> bool {
        false
    }

    /// Whether the provider counts a prompt's tokens itself when its dialect's client asks; we count otherwise.
    fn counts(&self, _operation: Operation) -> bool {
        false
    }

    /// Headers that depend on the moment or the body (signatures, tokens); called once per attempt when
    /// [`Provider::is_signed`].
    fn sign(
        &self,
        _route: &Route,
        _body: &[u8],
        _moment: &Moment<'_>,
    ) -> Result<Vec<(String, String)>, GatewayError> {
        Ok(Vec::new())
    }

    /// Whether [`Provider::sign`] has to be called.
    fn is_signed(&self) -> bool {
        false
    }

    /// Where access tokens come from, when they have to be fetched.
    fn token_source(&self) -> Option<TokenSource> {
        None
    }

    /// The path to look at next when an answer is a promise that is not kept yet; an error when it is broken.
    fn follow(&self, _reply: &Reply<'_>) -> Result<Option<String>, GatewayError> {
        Ok(None)
    }

    /// Where to say that nobody waits for a promise any more, of the path where it is looked at.
    fn break_off(&self, _path: &str) -> Option<String> {
        None
    }

    /// A whole answer with a status below 400.
    fn answer(
        &self,
        reply: &Reply<'_>,
        context: &AnswerContext<'_>,
    ) -> Result<Answer, GatewayError>;

    /// The reader for a streamed answer with a status below 400.
    fn stream(&self, context: &AnswerContext<'_>) -> StreamReader;

    /// What an answer with a status of 400 or more means.
    fn error(&self, reply: &Reply<'_>) -> GatewayError;
}

/// Makes a base URL of parameters and environment variables, which it asks for by name.
pub type BaseBy = fn(&dyn Fn(&str) -> Option<String>) -> Option<String>;

/// One row of the table: what is known of a provider before any deployment is.
pub struct Entry {
    /// The prefix of `model`, e.g. `together_ai`.
    pub name: &'static str,
    /// As LiteLLM names it in messages: `OpenAI` for `OpenAIException`.
    pub label: &'static str,
    /// The base URL when neither parameters nor environment name one.
    pub base: Option<&'static str>,
    /// Makes the base URL of what a parameter or an environment variable of that name says, e.g. of a region; asked
    /// before `base_env` and `base`.
    pub base_by: Option<BaseBy>,
    /// Environment variables with a base URL, in order.
    pub base_env: &'static [&'static str],
    /// Environment variables with a key, in order.
    pub key_env: &'static [&'static str],
    /// A piece of `api_base` that gives this provider away when `model` has no prefix.
    pub host: Option<&'static str>,
    /// Makes a deployment's provider.
    pub build: fn(Setup<'_>) -> Result<Box<dyn Provider>, String>,
}

/// A credential. It shows as `***`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` out of logs.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The credential itself, for a header or a signature and nothing else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
