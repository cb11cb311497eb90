//! From a deployment's parameters to something that can be called: which provider it is, the upstream's model name, where
//! it lives, and the provider's own state.

use serde_json::{Map, Value};

use super::{
    Answer, AnswerContext, Base, Entry, Incoming, Moment, Operation, Outgoing, Provider, Reply,
    RequestOptions, Route, Secret, StreamReader, TokenSource, table,
};
use crate::error::GatewayError;

/// One deployment, ready to be called.
pub struct Target {
    /// The provider's row.
    pub entry: &'static Entry,
    /// The model as the provider knows it.
    pub model: String,
    /// Where connections go.
    pub base: Base,
    provider: Box<dyn Provider>,
}

/// What a provider is built from. Values that named an environment variable are resolved.
#[derive(Clone, Copy)]
pub struct Setup<'a> {
    /// The provider's row.
    pub entry: &'static Entry,
    /// The model as the provider knows it.
    pub model: &'a str,
    /// Where connections go; the builder may still change it through [`Provider`]'s routes only, not the origin.
    pub base: &'a Base,
    /// `api_key`, or the first of the provider's variables that is set.
    pub key: Option<&'a Secret>,
    /// All of `litellm_params`.
    pub params: &'a Map<String, Value>,
    /// The environment.
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

impl Setup<'_> {
    /// A parameter as text, resolved; `None` when it is missing or empty.
    pub fn text(&self, name: &str) -> Option<String> {
        text(self.params, name, self.env)
    }

    /// A parameter that is `true`.
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.params.get(name), Some(Value::Bool(true)))
    }

    /// A parameter that is a list of strings.
    pub fn list(&self, name: &str) -> Vec<String> {
        let items = self
            .params
            .get(name)
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        items
            .iter()
            .filter_map(|item| item.as_str().map(str::to_owned))
            .collect()
    }
}

impl Target {
    /// Reads a deployment's `litellm_params`. The error names the parameter and what to change.
    pub fn from_params(
        params: &Map<String, Value>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let full = text(params, "model", env).ok_or("litellm_params.model is missing")?;
        let api_base = text(params, "api_base", env).or_else(|| text(params, "base_url", env));
        let named = text(params, "custom_llm_provider", env);
        let (entry, model) = infer(&full, api_base.as_deref(), named.as_deref())?;
        let from_env = || {
            entry
                .base_env
                .iter()
                .find_map(|name| env(name).filter(|value| !value.is_empty()))
        };
        let lookup = |name: &str| text(params, name, env).or_else(|| env(name));
        let url = api_base
            .or_else(|| entry.base_by.and_then(|base_by| base_by(&lookup)))
            .or_else(from_env)
            .or_else(|| entry.base.map(str::to_owned));
        let url = url.ok_or_else(|| {
            format!(
                "litellm_params.api_base is missing; {} has no base of its own",
                entry.name
            )
        })?;
        let base = Base::parse(&url)?;
        let key = text(params, "api_key", env)
            .or_else(|| {
                entry
                    .key_env
                    .iter()
                    .find_map(|name| env(name).filter(|value| !value.is_empty()))
            })
            .map(Secret::new);
        let setup = Setup {
            entry,
            model,
            base: &base,
            key: key.as_ref(),
            params,
            env,
        };
        let provider = (entry.build)(setup)?;
        Ok(Self {
            entry,
            model: model.to_owned(),
            base,
            provider,
        })
    }

    /// Method, path, query and headers of an operation; the same for all requests of this deployment.
    pub fn route(&self, operation: Operation, stream: bool) -> Result<Route, GatewayError> {
        self.provider.route(operation, stream)
    }

    /// The body for the provider.
    pub fn request(
        &self,
        operation: Operation,
        incoming: Incoming<'_>,
        options: &RequestOptions<'_>,
    ) -> Result<Outgoing, GatewayError> {
        self.provider.request(operation, incoming, options)
    }

    /// Whether [`Target::sign`] has to be called for each attempt.
    pub fn is_signed(&self) -> bool {
        self.provider.is_signed()
    }

    /// Headers that depend on the moment or the body.
    pub fn sign(
        &self,
        route: &Route,
        body: &[u8],
        moment: &Moment<'_>,
    ) -> Result<Vec<(String, String)>, GatewayError> {
        self.provider.sign(route, body, moment)
    }

    /// Where access tokens come from, when they have to be fetched.
    pub fn token_source(&self) -> Option<TokenSource> {
        self.provider.token_source()
    }

    /// A whole answer: the client's body, or the error it means.
    pub fn answer(
        &self,
        reply: &Reply<'_>,
        context: &AnswerContext<'_>,
    ) -> Result<Answer, GatewayError> {
        if reply.status >= 400 {
            Err(self.error(reply))
        } else {
            self.provider.answer(reply, context)
        }
    }

    /// The reader for a streamed answer.
    pub fn stream(&self, context: &AnswerContext<'_>) -> StreamReader {
        self.provider.stream(context)
    }

    /// What an answer with a status of 400 or more means.
    pub fn error(&self, reply: &Reply<'_>) -> GatewayError {
        self.provider.error(reply)
    }
}

/// A text parameter; `os.environ/NAME` is looked up. Numbers and booleans are given as text.
fn text(
    params: &Map<String, Value>,
    name: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Option<String> {
    let value = match params.get(name)? {
        Value::String(value) => match value.strip_prefix("os.environ/") {
            Some(variable) => env(variable)?,
            None => value.clone(),
        },
        Value::Number(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        _ => return None,
    };
    if value.is_empty() { None } else { Some(value) }
}

/// The provider of a model, and its name there: by `custom_llm_provider`, by prefix, by a known host in `api_base`, by a
/// well-known bare name, else OpenAI.
fn infer<'a>(
    full: &'a str,
    api_base: Option<&str>,
    named: Option<&str>,
) -> Result<(&'static Entry, &'a str), String> {
    if let Some(named) = named {
        let entry = table::find(named)
            .ok_or_else(|| format!("custom_llm_provider {named:?} is not known"))?;
        let model = full
            .strip_prefix(named)
            .and_then(|rest| rest.strip_prefix('/'))
            .unwrap_or(full);
        return Ok((entry, model));
    }
    if let Some((prefix, rest)) = full.split_once('/')
        && let Some(entry) = table::find(prefix)
    {
        return Ok((entry, rest));
    }
    let by_host = api_base.and_then(|base| {
        table::PROVIDERS
            .iter()
            .find(|entry| entry.host.is_some_and(|host| base.contains(host)))
    });
    let by_name = || {
        let name = if full.starts_with("claude-") {
            "anthropic"
        } else if full.starts_with("gemini-") {
            "vertex_ai"
        } else if full.starts_with("command-") {
            "cohere_chat"
        } else {
            "openai"
        };
        table::find(name)
    };
    let entry = by_host
        .copied()
        .or_else(by_name)
        .or_else(|| table::find("openai"));
    entry
        .map(|entry| (entry, full))
        .ok_or_else(|| format!("no provider for model {full:?}"))
}
