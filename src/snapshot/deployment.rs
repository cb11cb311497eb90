//! One deployment as a shard sees it: everything that does not depend on the request is made here.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use shardgate_config::ModelEntry;
use shardgate_io::http1::encode::{header, request_line};
use shardgate_io::pool::Origin;

use super::contracts::Contracts;
use super::{Credential, SpendLimit};
use crate::coordinator::Lasting;
use crate::provider::{NO_INLINE_IMAGES, Operation, Target};
use crate::spend::cost::Terms;
use crate::spend::meter::{Meter, Priced};
use crate::spend::price::{PriceTable, Prices, Query};

/// A `model_list` entry, ready to be called.
pub struct Deployment {
    /// `model_info.id`, or a stable hash of the entry.
    pub id: String,
    /// Its `model_name`.
    pub group: String,
    /// What is called and how.
    pub target: Target,
    /// Where.
    pub origin: Arc<Origin>,
    /// What has to be fetched before it can be called.
    pub credential: Option<Arc<Credential>>,
    /// `model_info`.
    pub model_info: Map<String, Value>,
    /// `litellm_params` without secrets.
    pub public_params: Map<String, Value>,
    /// Provider and model, as rows of spend name it: `openai/gpt-4o`.
    pub full_model: String,
    /// Its base URL without a query.
    pub api_base: String,
    /// What its answers cost.
    pub meter: Meter,
    /// What may be spent there, alone and with its provider's others.
    pub spend_limits: Vec<SpendLimit>,
    /// Nobody wrote its entry (`pass_through_all_models`): it is in no list.
    pub implied: bool,
    /// A canned answer: no upstream is called.
    pub mock: Option<Value>,
    /// Response headers that are the same for each of its answers.
    pub answer_headers: Vec<u8>,
    /// Why it cannot be called, when it cannot: said at start and to whoever asks for it.
    pub unusable: Option<String>,
    /// Its credentials, to keep them out of what an upstream says.
    secrets: Vec<String>,
    /// The entry, and whether certificates are checked: for clients with credentials of their own.
    source: (Arc<ModelEntry>, bool),
    heads: Vec<Heads>,
}

/// Credentials that a client brings for its own call.
#[derive(Clone)]
pub struct Own {
    /// `api_key`
    pub api_key: Option<String>,
    /// `api_base`
    pub api_base: Option<String>,
}

/// The upstream heads of one operation, up to what depends on the request.
struct Heads {
    operation: Operation,
    plain: Option<Vec<u8>>,
    stream: Option<Vec<u8>>,
}

impl Deployment {
    /// Makes a deployment of a checked entry; `defaults` (`default_litellm_params`) fill what it
    /// leaves open. One whose provider cannot be called is made all the same, and says why when it
    /// is asked for.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub(super) fn build(
        entry: &ModelEntry,
        defaults: &Map<String, Value>,
        lasting: &Lasting,
        env: &dyn Fn(&str) -> Option<String>,
        (verify, contracts): (bool, &Contracts),
    ) -> Result<Deployment, String> {
        let mut params = entry.litellm_params.clone();
        for (name, value) in defaults {
            params.entry(name.clone()).or_insert_with(|| value.clone());
        }
        see(&mut params, &entry.model_info, &lasting.prices);
        let (target, unusable) = match Target::from_params(&params, env) {
            Ok(target) => (target, None),
            Err(why) => (nowhere(&params)?, Some(why)),
        };
        let base = &target.base;
        let origin = lasting
            .origins
            .intern(base.tls, verify, &base.host, base.port)?;
        let credential = target
            .token_source()
            .map(|source| lasting.credentials.intern(source, verify));
        let id = entry.id().map_or_else(|| stable_id(entry), str::to_owned);
        let (mut public_params, model_info) = entry.redacted();
        let hidden = public_params.iter().filter(|(_, value)| *value == "***");
        let secrets = hidden
            .filter_map(|(name, _)| entry.text(name).map(str::to_owned))
            .collect();
        public_params.retain(|_, value| value != "***");
        let heads = OPERATIONS
            .iter()
            .map(|operation| heads(&target, *operation))
            .collect();
        let answer_headers = answer_headers(&id, &target);
        let terms = contracts.terms(target.entry.name)?;
        let meter = meter(&target, &params, &entry.model_info, &lasting.prices, terms)?;
        Ok(Deployment {
            id,
            group: entry.model_name.clone(),
            origin,
            credential,
            model_info,
            public_params,
            full_model: format!("{}/{}", target.entry.name, target.model),
            api_base: public_base(&target),
            meter,
            spend_limits: Vec::new(),
            implied: false,
            mock: entry.mock_response().cloned(),
            answer_headers,
            unusable,
            secrets,
            source: (Arc::new(entry.clone()), verify),
            heads,
            target,
        })
    }

    /// Whether there is a small call that tells whether the deployment is well: its mode has one,
    /// and a pattern names the model to call (`health_check_model`).
    pub fn can_be_probed(&self) -> bool {
        const WITHOUT: &[&str] = &["audio_transcription", "realtime", "batch", "image_edit"];
        let mode = self.model_info.get("mode").and_then(Value::as_str);
        let named = self.model_info.contains_key("health_check_model");
        !mode.is_some_and(|mode| WITHOUT.contains(&mode))
            && (named || !self.target.model.contains('*'))
    }

    /// `health_check_timeout`
    pub fn probe_timeout(&self) -> Option<Duration> {
        let seconds = self.model_info.get("health_check_timeout")?.as_f64()?;
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// `configurable_clientside_auth_params` lets a client bring this value of `name`: by its name, or
    /// by a pattern that the whole value must fit (`*` for any letters, and the regular expressions
    /// `.*` and `\\.` that LiteLLM's files have).
    pub fn may_bring(&self, name: &str, value: &str) -> bool {
        let list = self
            .source
            .0
            .litellm_params
            .get("configurable_clientside_auth_params");
        let list = list.and_then(Value::as_array);
        list.into_iter().flatten().any(|entry| match entry {
            Value::String(have) => have == name,
            Value::Object(map) => map
                .get(name)
                .and_then(Value::as_str)
                .is_some_and(|pattern| {
                    let pattern = pattern.trim_start_matches('^').trim_end_matches('$');
                    let plain = pattern.replace(".*", "*").replace("\\.", ".");
                    crate::auth::caller::matches(&plain, value)
                }),
            _ => false,
        })
    }

    /// The same deployment with a client's credentials. With an address of the client's own nothing of
    /// ours goes along: no key, no header, no variable of the environment.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn dressed(&self, own: &Own, lasting: &Lasting) -> Result<Deployment, String> {
        const HARMLESS: [&str; 4] = ["model", "custom_llm_provider", "api_version", "drop_params"];
        let (entry, verify) = &self.source;
        let mut entry = ModelEntry::clone(entry);
        let params = &mut entry.litellm_params;
        if own.api_base.is_some() {
            params.retain(|name, _| HARMLESS.contains(&name.as_str()));
        }
        let given = [("api_key", &own.api_key), ("api_base", &own.api_base)];
        for (name, value) in given {
            let Some(value) = value else { continue };
            if value.starts_with("os.environ/") || value.bytes().any(|byte| byte.is_ascii_control())
            {
                return Err(format!("{name} of a request must be a plain value"));
            }
            params.remove(if name == "api_base" {
                "base_url"
            } else {
                "azure_ad_token"
            });
            params.insert(name.to_owned(), Value::from(value.as_str()));
        }
        let nothing = |_: &str| None;
        let made = Deployment::build(
            &entry,
            &Map::new(),
            lasting,
            &nothing,
            (*verify, &Contracts::default()),
        )?;
        match &made.unusable {
            Some(why) => Err(why.clone()),
            None => Ok(Deployment {
                id: self.id.clone(),
                meter: self.meter.clone(),
                ..made
            }),
        }
    }

    /// Takes the deployment's own credentials out of a text of its upstream.
    pub fn redact(&self, text: &mut String) {
        const SECRET_BYTES_MIN: usize = 6;
        for secret in self
            .secrets
            .iter()
            .filter(|secret| secret.len() >= SECRET_BYTES_MIN)
        {
            if text.contains(secret.as_str()) {
                *text = text.replace(secret.as_str(), "***");
            }
        }
    }

    /// The start of the upstream head: request line, host, credentials, content type. `None` when
    /// the provider has no such operation, or when its head depends on the request.
    pub fn head(&self, operation: Operation, stream: bool) -> Option<&[u8]> {
        let heads = self
            .heads
            .iter()
            .find(|heads| heads.operation == operation)?;
        if stream {
            heads.stream.as_deref()
        } else {
            heads.plain.as_deref()
        }
    }
}

/// Fireworks' models that see get their images as they are.
fn see(params: &mut Map<String, Value>, model_info: &Map<String, Value>, prices: &PriceTable) {
    let name = params.get("model").and_then(Value::as_str);
    let Some(model) = name.and_then(|name| name.strip_prefix("fireworks_ai/")) else {
        return;
    };
    let query = Query {
        provider: "fireworks_ai",
        model,
        base_model: None,
        region: None,
    };
    let known = prices
        .find(query)
        .and_then(|known| known.supports("supports_vision"));
    let said = model_info.get("supports_vision").and_then(Value::as_bool);
    if said.or(known) == Some(true) {
        params.insert(NO_INLINE_IMAGES.to_owned(), true.into());
    }
}

/// What stands in for a target that cannot be made; it is never called.
fn nowhere(params: &Map<String, Value>) -> Result<Target, String> {
    let model = params
        .get("model")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let mut stand_in = Map::new();
    stand_in.insert("model".into(), model.into());
    stand_in.insert("custom_llm_provider".into(), "openai".into());
    stand_in.insert("api_base".into(), "http://127.0.0.1:9".into());
    Target::from_params(&stand_in, &|_| None)
}

/// Operations whose heads are made beforehand.
const OPERATIONS: &[Operation] = &[
    Operation::Chat,
    Operation::Completions,
    Operation::Embeddings,
    Operation::ImageGeneration,
    Operation::ImageEdit,
    Operation::ImageVariation,
    Operation::Transcription,
    Operation::Translation,
    Operation::Speech,
    Operation::Moderation,
    Operation::Rerank,
    Operation::Responses,
    Operation::Messages,
    Operation::GenerateContent,
    Operation::MessagesCount,
    Operation::GenerateCount,
];

/// The table's prices for the model that is called, with the entry's own on top.
fn meter(
    target: &Target,
    params: &Map<String, Value>,
    model_info: &Map<String, Value>,
    table: &Arc<PriceTable>,
    terms: Terms,
) -> Result<Meter, String> {
    let text = |name: &str| {
        let named = model_info.get(name).or_else(|| params.get(name));
        named.and_then(Value::as_str)
    };
    let own = |place: &str, fields: &Map<String, Value>| {
        Prices::from_map(fields).map_err(|error| format!("{place}.{error}"))
    };
    // `max_tokens` and the like are defaults of requests there.
    let in_params = own("litellm_params", params)?.only_rates();
    let in_info = own("model_info", model_info)?;
    let region = [
        "vertex_location",
        "vertex_ai_location",
        "aws_region_name",
        "region_name",
    ];
    let query = Query {
        provider: target.entry.name,
        model: &target.model,
        base_model: text("base_model"),
        region: region.iter().find_map(|name| text(name)),
    };
    let priced = Priced {
        query,
        params: Some(&in_params),
        model_info: Some(&in_info),
        terms,
    };
    Ok(Meter::new(table, &priced))
}

fn heads(target: &Target, operation: Operation) -> Heads {
    let head = |stream| {
        target
            .route(operation, stream)
            .ok()
            .map(|route| head_bytes(target, &route))
    };
    Heads {
        operation,
        plain: head(false),
        stream: head(true),
    }
}

/// The head of a request to `route`, without its framing and its end.
pub fn head_bytes(target: &Target, route: &crate::provider::Route) -> Vec<u8> {
    let mut head = Vec::with_capacity(512);
    request_line(&mut head, route.method, &route.path_and_query);
    header(&mut head, "host", host(target).as_bytes());
    for (name, value) in &route.headers {
        header(&mut head, name, value.as_bytes());
    }
    head
}

fn host(target: &Target) -> String {
    let base = &target.base;
    let host = if base.host.contains(':') && !base.host.starts_with('[') {
        format!("[{}]", base.host)
    } else {
        base.host.to_string()
    };
    match (base.tls, base.port) {
        (true, 443) | (false, 80) => host,
        (_, port) => format!("{host}:{port}"),
    }
}

/// The base URL as answers may say it: without a query.
fn public_base(target: &Target) -> String {
    let scheme = if target.base.tls { "https" } else { "http" };
    format!("{scheme}://{}{}", host(target), target.base.prefix)
}

fn answer_headers(id: &str, target: &Target) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    header(&mut out, "x-litellm-model-id", id.as_bytes());
    header(
        &mut out,
        "x-litellm-model-api-base",
        public_base(target).as_bytes(),
    );
    header(
        &mut out,
        "x-litellm-upstream-model",
        target.model.as_bytes(),
    );
    header(
        &mut out,
        "x-litellm-version",
        env!("CARGO_PKG_VERSION").as_bytes(),
    );
    out
}

/// LiteLLM's id of an entry without one: the SHA-256 of the group's name and of every parameter's
/// name and value in the order of the file, as Python prints them.
fn stable_id(entry: &ModelEntry) -> String {
    let mut text = entry.model_name.clone();
    for (name, value) in &entry.litellm_params {
        text.push_str(name);
        match value {
            Value::String(value) => text.push_str(value),
            Value::Bool(true) => text.push_str("True"),
            Value::Bool(false) => text.push_str("False"),
            Value::Null => text.push_str("None"),
            other => text.push_str(&other.to_string()),
        }
    }
    let mut id = String::with_capacity(64);
    for byte in Sha256::digest(text.as_bytes()) {
        let _ = write!(id, "{byte:02x}");
    }
    id
}
