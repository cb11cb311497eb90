//! From a deployment's parameters to something that can be called: which provider it is, the upstream's model name, where
//! it lives, and the provider's own state.

use serde_json::{Map, Value};

use super::{
    Answer, AnswerContext, Base, Entry, Incoming, Moment, Operation, Outgoing, Provider, Reply,
    RequestOptions, Route, Secret, StreamReader, TokenSource, bridge, table,
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
    key: Option<Secret>,
    /// The deployment's own `drop_params`.
    drop_params: bool,
    /// Files that requests name by address may have to be sent as bytes.
    pub takes_bytes_only: bool,
    /// Its chats come whole only; a stream is made of them.
    pub answers_whole: bool,
    /// See [`Provider::takes_beta`].
    pub takes_beta: bool,
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
        let drop_params = setup.flag("drop_params");
        let provider = (entry.build)(setup)?;
        Ok(Self {
            entry,
            model: model.to_owned(),
            base,
            key,
            drop_params,
            takes_bytes_only: provider.takes_bytes_only(),
            answers_whole: provider.answers_whole(),
            takes_beta: provider.takes_beta(),
            provider,
        })
    }

    /// Method, path, query and headers of an operation; the same for all requests of this deployment.
    pub fn route(&self, operation: Operation, stream: bool) -> Result<Route, GatewayError> {
        let operation = if self.is_bridged(operation) {
            Operation::Chat
        } else {
            operation
        };
        self.provider.route(operation, stream)
    }

    /// The body for the provider.
    pub fn request(
        &self,
        operation: Operation,
        incoming: Incoming<'_>,
        options: &RequestOptions<'_>,
    ) -> Result<Outgoing, GatewayError> {
        if self.is_bridged(operation) {
            let options = RequestOptions {
                drop_params: options.drop_params || self.drop_params,
                ..*options
            };
            return bridge::request(&*self.provider, operation, incoming, &options);
        }
        self.provider.request(operation, incoming, options)
    }

    /// Whether the provider speaks the dialect of an operation itself.
    pub fn speaks(&self, operation: Operation) -> bool {
        self.provider.speaks(operation)
    }

    /// Whether a file that a request names by address has to be sent as bytes.
    pub fn wants_inline(&self, operation: Operation, url: &str, format: Option<&str>) -> bool {
        self.provider.wants_inline(operation, url, format)
    }

    /// Whether the provider counts a prompt's tokens itself.
    pub fn counts(&self, operation: Operation) -> bool {
        self.provider.counts(operation)
    }

    /// Whether an operation is served through the provider's chat.
    pub fn is_bridged(&self, operation: Operation) -> bool {
        bridge::has_bridge(operation) && !self.provider.speaks(operation)
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

    /// Where to look next when an answer is a promise that is not kept yet.
    pub fn follow(&self, reply: &Reply<'_>) -> Result<Option<String>, GatewayError> {
        self.provider.follow(reply)
    }

    /// Where to say that nobody waits for a promise any more.
    pub fn break_off(&self, path: &str) -> Option<String> {
        self.provider.break_off(path)
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
        } else if self.is_bridged(context.operation) {
            bridge::answer(&*self.provider, reply, context)
        } else {
            self.provider.answer(reply, context)
        }
    }

    /// The reader for a streamed answer.
    pub fn stream(&self, context: &AnswerContext<'_>) -> StreamReader {
        if self.is_bridged(context.operation) {
            return bridge::stream(&*self.provider, context);
        }
        self.provider.stream(context)
    }

    /// What an answer with a status of 400 or more means.
    pub fn error(&self, reply: &Reply<'_>) -> GatewayError {
        let mut error = self.provider.error(reply);
        if let Some(key) = &self.key {
            hide(&mut error, key.reveal());
        }
        error
    }
}

/// Takes a key that the upstream repeats out of its error. Short ones could be any word.
fn hide(error: &mut GatewayError, key: &str) {
    const LENGTH_MIN: usize = 16;
    if key.len() < LENGTH_MIN {
        return;
    }
    if error.message.contains(key) {
        error.message = error.message.replace(key, "***");
    }
    if let Some(fields) = error
        .vendor_fields
        .as_deref()
        .filter(|fields| fields.contains(key))
    {
        error.vendor_fields = Some(fields.replace(key, "***").into_boxed_str());
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

/// Providers of LiteLLM that are not in the table. A model with such a prefix is refused: taken for one of OpenAI's, it
/// would send its key there.
const ABSENT: &[&str] = &[
    "aleph_alpha",
    "anthropic",
    "anthropic_text",
    "assemblyai",
    "bedrock",
    "clarifai",
    "cloudflare",
    "cohere",
    "cohere_chat",
    "deepgram",
    "elevenlabs",
    "gemini",
    "huggingface",
    "infinity",
    "maritalk",
    "nlp_cloud",
    "ollama",
    "ollama_chat",
    "oobabooga",
    "palm",
    "petals",
    "predibase",
    "replicate",
    "sagemaker",
    "sagemaker_chat",
    "snowflake",
    "text-completion-codestral",
    "topaz",
    "triton",
    "vertex_ai",
    "vertex_ai_beta",
    "watsonx",
    "watsonx_text",
];

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
    if let Some((prefix, _)) = full.split_once('/')
        && ABSENT.contains(&prefix)
    {
        return Err(absent(prefix));
    }
    let by_host = api_base.and_then(|base| {
        table::PROVIDERS
            .iter()
            .find(|entry| entry.host.is_some_and(|host| base.contains(host)))
    });
    if let Some(entry) = by_host.copied() {
        return Ok((entry, full));
    }
    let name = match full {
        _ if full.starts_with("claude-") => "anthropic",
        _ if full.starts_with("gemini-") => "vertex_ai",
        _ if full.starts_with("command-") => "cohere_chat",
        _ => "openai",
    };
    table::find(name)
        .map(|entry| (entry, full))
        .ok_or_else(|| absent(name))
}

fn absent(name: &str) -> String {
    format!(
        "litellm_params.model: provider {name:?} is not supported; name one that is, or set custom_llm_provider and \
         api_base of a host that speaks the OpenAI API"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn target(params: Value) -> Result<Target, String> {
        let env = |name: &str| {
            (name == "GROQ_API_KEY" || name == "MY_KEY").then(|| format!("from-{name}"))
        };
        Target::from_params(params.as_object().unwrap(), &env)
    }

    fn check(params: Value, provider: &str, model: &str, url: &str) {
        let target = target(params.clone()).unwrap();
        let found = (target.entry.name, target.model.as_str(), target.base.url());
        assert_eq!(found, (provider, model, url.to_owned()), "{params}");
    }

    #[test]
    fn the_provider_is_inferred() {
        check(
            json!({"model": "gpt-4o"}),
            "openai",
            "gpt-4o",
            "https://api.openai.com/v1",
        );
        check(
            json!({"model": "groq/openai/gpt-oss-20b"}),
            "groq",
            "openai/gpt-oss-20b",
            "https://api.groq.com/openai/v1",
        );
        check(
            json!({"model": "x/y", "api_base": "https://api.groq.com/v9"}),
            "groq",
            "x/y",
            "https://api.groq.com/v9",
        );
        check(
            json!({"model": "m", "custom_llm_provider": "hosted_vllm", "api_base": "http://h:1/v1/"}),
            "hosted_vllm",
            "m",
            "http://h:1/v1",
        );
        check(
            json!({"model": "owner/m", "api_base": "http://h"}),
            "openai",
            "owner/m",
            "http://h",
        );
    }

    #[test]
    fn a_key_never_goes_to_another_provider() {
        for model in [
            "anthropic/claude-3",
            "bedrock/x",
            "gemini/x",
            "claude-3",
            "gemini-2.5-flash",
        ] {
            let found = target(json!({"model": model, "api_key": "k"}));
            if let Ok(target) = found {
                assert_ne!(target.entry.name, "openai", "{model}");
            }
        }
    }

    #[test]
    fn credentials_come_from_parameters_or_the_environment_and_do_not_show() {
        let key = |params: Value| {
            let route = target(params)
                .unwrap()
                .route(Operation::Chat, false)
                .unwrap();
            assert!(!format!("{route:?}").contains("Bearer"), "{route:?}");
            route
                .headers
                .into_iter()
                .find(|(name, _)| name == "authorization")
                .map(|(_, value)| value)
        };
        assert_eq!(
            key(json!({"model": "groq/m"})).as_deref(),
            Some("Bearer from-GROQ_API_KEY")
        );
        assert_eq!(
            key(json!({"model": "groq/m", "api_key": "own"})).as_deref(),
            Some("Bearer own")
        );
        assert_eq!(
            key(json!({"model": "gpt-4o", "api_key": "os.environ/MY_KEY"})).as_deref(),
            Some("Bearer from-MY_KEY")
        );
        assert_eq!(key(json!({"model": "gpt-4o"})), None);
    }

    #[test]
    fn a_key_that_the_upstream_repeats_is_hidden() {
        let target =
            target(json!({"model": "groq/m", "api_key": "gsk_0123456789abcdefgh"})).unwrap();
        let body = br#"{"error":{"message":"bad key gsk_0123456789abcdefgh"}}"#;
        let error = target.error(&Reply {
            operation: Operation::Chat,
            status: 401,
            headers: &[],
            body,
        });
        assert!(
            error.message.contains("bad key ***") && !error.text().contains("gsk_"),
            "{error}"
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = |params| target(params).err().unwrap();
        assert!(error(json!({})).contains("litellm_params.model"));
        assert!(error(json!({"model": "hosted_vllm/m"})).contains("api_base"));
        assert!(error(json!({"model": "openai/m", "api_base": "h"})).contains("http"));
        assert!(error(json!({"model": "openai/m", "api_key": "a\nb"})).contains("authorization"));
    }
}
