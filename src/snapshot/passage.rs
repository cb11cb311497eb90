//! Requests that are passed on in the provider's own dialect: the providers' routes (`/anthropic/...`), the routes of
//! `pass_through_endpoints`, and resources that live at a provider (`/v1/files`). Made with the snapshot, so that a shard
//! finds address, credential and rules by the path alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use shardgate_config::{Config, ModelEntry, PassThrough, Position};

use super::Deployment;
use crate::coordinator::Lasting;
use crate::endpoint::resource::Family;
use crate::provider::Way;
use crate::spend::money::Money;

/// Where a path leads that is passed on.
pub struct Passage {
    /// The path here, without a slash at its end.
    pub prefix: String,
    /// The provider, as records name it.
    pub provider: String,
    /// Where it goes, or what is missing for that.
    pub deployment: Result<Deployment, String>,
    /// Path, credential, query.
    pub way: Way,
    /// What is below the path goes along.
    pub takes_below: bool,
    /// The route needs a key.
    pub needs_key: bool,
    /// The client's own headers go along, but no credential.
    pub forwards_headers: bool,
    /// The client's credential goes along in place of ours (`use_client_credentials_pass_through_routes`).
    pub client_credentials: bool,
    /// The client's query joins the target's own; it takes its place otherwise.
    pub merges_query: bool,
    /// The gateway's key may stand in the query as `key`.
    pub key_in_query: bool,
    /// `/models` and the like stand below `/v1` there.
    pub is_below_v1: bool,
    /// Of each request, whatever it used.
    pub cost: Money,
}

/// All of them.
#[derive(Default)]
pub struct Passages {
    /// The longest path first.
    routes: Vec<Passage>,
    /// Resources by family and provider; a family's first is its default.
    resources: Vec<(Family, Passage)>,
}

impl Passages {
    /// The passage of a path, and what of the path goes along.
    pub fn of<'a>(&self, path: &'a str) -> Option<(&Passage, &'a str)> {
        self.routes.iter().find_map(|passage| {
            let rest = path.strip_prefix(passage.prefix.as_str())?;
            let is_here = rest.is_empty() || passage.takes_below && rest.starts_with('/');
            is_here.then_some((passage, rest))
        })
    }

    /// The passage of a family's resources at `provider`, else at the family's first.
    pub fn resource(&self, family: Family, provider: Option<&str>) -> Option<&Passage> {
        let mut of_family = self.resources.iter().filter(|(own, _)| *own == family);
        let found = match provider {
            Some(provider) => of_family.find(|(_, passage)| passage.provider == provider),
            None => of_family.next(),
        };
        found.map(|(_, passage)| passage)
    }
}

/// A provider whose own API is served below a path of ours.
struct Row {
    path: &'static str,
    provider: &'static str,
    /// Variables with a base URL, and the base without one.
    base_env: &'static str,
    base: &'static str,
    /// The variable that has to be set for it to be of use.
    needs: &'static str,
    is_below_v1: bool,
}

const fn row(
    path: &'static str,
    provider: &'static str,
    base_env: &'static str,
    base: &'static str,
    needs: &'static str,
) -> Row {
    Row {
        path,
        provider,
        base_env,
        base,
        needs,
        is_below_v1: false,
    }
}

const ROWS: &[Row] = &[
    row(
        "/anthropic",
        "anthropic",
        "ANTHROPIC_API_BASE",
        "https://api.anthropic.com",
        "ANTHROPIC_API_KEY",
    ),
    row("/azure", "azure", "AZURE_API_BASE", "", "AZURE_API_BASE"),
    row(
        "/azure_ai",
        "azure_ai",
        "AZURE_AI_API_BASE",
        "",
        "AZURE_AI_API_BASE",
    ),
    row(
        "/bedrock",
        "bedrock",
        "AWS_BEDROCK_RUNTIME_ENDPOINT",
        "",
        "AWS_ACCESS_KEY_ID",
    ),
    row(
        "/cohere",
        "cohere",
        "COHERE_API_BASE",
        "https://api.cohere.com",
        "COHERE_API_KEY",
    ),
    row(
        "/gemini",
        "gemini",
        "GEMINI_API_BASE",
        "https://generativelanguage.googleapis.com",
        "GEMINI_API_KEY",
    ),
    row(
        "/mistral",
        "mistral",
        "MISTRAL_API_BASE",
        "https://api.mistral.ai",
        "MISTRAL_API_KEY",
    ),
    Row {
        is_below_v1: true,
        ..row(
            "/openai",
            "openai",
            "OPENAI_API_BASE",
            "https://api.openai.com",
            "OPENAI_API_KEY",
        )
    },
    Row {
        is_below_v1: true,
        ..row(
            "/openai_passthrough",
            "openai",
            "OPENAI_API_BASE",
            "https://api.openai.com",
            "OPENAI_API_KEY",
        )
    },
    row(
        "/openrouter",
        "openrouter",
        "OPENROUTER_API_BASE",
        "https://openrouter.ai/api",
        "OPENROUTER_API_KEY",
    ),
    row(
        "/vertex-ai",
        "vertex_ai",
        "VERTEXAI_API_BASE",
        "",
        "VERTEXAI_PROJECT",
    ),
    row(
        "/vertex_ai",
        "vertex_ai",
        "VERTEXAI_API_BASE",
        "",
        "VERTEXAI_PROJECT",
    ),
    row(
        "/vllm",
        "hosted_vllm",
        "HOSTED_VLLM_API_BASE",
        "",
        "HOSTED_VLLM_API_BASE",
    ),
];

/// Services that are no model providers: path, base URL, its variable, variables of the credential.
const SERVICES: &[(&str, &str, &str, &[&str])] = &[
    (
        "/assemblyai",
        "https://api.assemblyai.com",
        "ASSEMBLYAI_API_BASE",
        &["ASSEMBLYAI_API_KEY"],
    ),
    (
        "/eu.assemblyai",
        "https://api.eu.assemblyai.com",
        "ASSEMBLYAI_EU_API_BASE",
        &["ASSEMBLYAI_API_KEY"],
    ),
    (
        "/langfuse",
        "https://cloud.langfuse.com",
        "LANGFUSE_HOST",
        &["LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY"],
    ),
];

/// The paths below which providers' own APIs are served.
pub fn passed_on() -> impl Iterator<Item = &'static str> {
    let rows = ROWS.iter().map(|row| row.path);
    rows.chain(SERVICES.iter().map(|(path, ..)| *path))
}

/// What making passages needs.
pub(super) struct Maker<'a> {
    pub config: &'a Config,
    pub lasting: &'a Lasting,
    pub env: &'a dyn Fn(&str) -> Option<String>,
    pub verify: bool,
    /// What contracts take off prices and add to them.
    pub(super) contracts: &'a super::contracts::Contracts,
}

impl Maker<'_> {
    /// All passages of the configuration and the environment.
    pub(super) fn make(&self) -> Passages {
        let own = self
            .config
            .general
            .pass_through_endpoints
            .iter()
            .map(|given| self.own(given));
        let rows = ROWS.iter().map(|row| self.row(row));
        let services = SERVICES
            .iter()
            .map(|(path, base, base_env, keys)| self.service(path, base, base_env, keys));
        // Those of the file stand in front of ours with the same path.
        let mut routes: Vec<Passage> = own.chain(rows).chain(services).collect();
        routes.sort_by_key(|passage| std::cmp::Reverse(passage.prefix.len()));
        Passages {
            routes,
            resources: self.resources(),
        }
    }

    fn set(&self, name: &str) -> Option<String> {
        (self.env)(name).filter(|value| !value.is_empty())
    }

    /// A deployment that stands for all of a provider's models.
    fn deployment(&self, provider: &str, params: Map<String, Value>) -> Result<Deployment, String> {
        let mut litellm_params = params;
        litellm_params.insert("model".into(), format!("{provider}/pass-through").into());
        let entry = ModelEntry {
            model_name: provider.to_owned(),
            litellm_params,
            model_info: Map::new(),
            at: Position {
                file: 0,
                line: 0,
                column: 0,
            },
        };
        let made = Deployment::build(
            &entry,
            &Map::new(),
            self.lasting,
            self.env,
            (self.verify, self.contracts),
        )?;
        match &made.unusable {
            Some(why) => Err(why.clone()),
            None => Ok(made),
        }
    }

    fn row(&self, row: &Row) -> Passage {
        // A request that is signed for us is worth nothing elsewhere: Bedrock's stay ours.
        let clients = self
            .config
            .general
            .use_client_credentials_pass_through_routes
            && row.provider != "bedrock";
        let params = match self.parameters(row) {
            Err(_) if clients && !row.base.is_empty() => Ok(Map::new()),
            params => params,
        };
        let params = params.map(|mut params| {
            if clients {
                if let Some(base) = self.set(row.base_env) {
                    params.insert("api_base".into(), base.into());
                }
                params.insert("api_key".into(), "the client's".into());
            }
            params
        });
        let deployment = params.and_then(|params| self.deployment(row.provider, params));
        let way = match &deployment {
            Ok(made) => made.target.way().map_err(|error| error.to_string()),
            Err(_) => Ok(Way::default()),
        };
        let (deployment, mut way) = match way {
            Ok(way) => (deployment, way),
            Err(why) => (Err(why), Way::default()),
        };
        if clients {
            let members = way
                .query
                .split('&')
                .filter(|part| !part.starts_with("key="));
            way.query = members.collect::<Vec<_>>().join("&");
        }
        Passage {
            key_in_query: row.provider == "gemini",
            is_below_v1: row.is_below_v1,
            needs_key: !clients,
            client_credentials: clients,
            ..passage(row.path, row.provider, deployment, way)
        }
    }

    /// The parameters of a provider's row: those of a deployment that lends its credential, else the environment's.
    fn parameters(&self, row: &Row) -> Result<Map<String, Value>, String> {
        let is_of = |provider: &str| {
            provider == row.provider || (row.provider, provider) == ("cohere", "cohere_chat")
        };
        let lends = |entry: &&ModelEntry| {
            let prefix = entry.model().split_once('/').map(|(prefix, _)| prefix);
            entry.flag("use_in_pass_through") == Some(true)
                && (prefix.is_some_and(is_of) || entry.custom_llm_provider().is_some_and(is_of))
        };
        if let Some(lender) = self.config.models.iter().find(lends) {
            return Ok(lender.litellm_params.clone());
        }
        let vertex = self
            .config
            .sections
            .get("default_vertex_config")
            .and_then(Value::as_object);
        if let Some(given) = vertex.filter(|_| row.provider == "vertex_ai") {
            return Ok(given.clone());
        }
        let base = self
            .set(row.base_env)
            .or_else(|| (!row.base.is_empty()).then(|| row.base.to_owned()));
        if self.set(row.needs).is_none() {
            let (name, provider) = (row.needs, row.provider);
            return Err(format!(
                "{}: set the environment variable {name}, or `use_in_pass_through: true` in the litellm_params of a \
                 deployment of {provider}",
                row.path
            ));
        }
        let mut params = Map::new();
        if let Some(base) = base {
            params.insert("api_base".into(), base.into());
        }
        Ok(params)
    }

    /// A host that nothing is known of: no credential but those that are given.
    fn host(
        &self,
        path: &str,
        provider: &str,
        url: &str,
        headers: Vec<(String, String)>,
    ) -> Passage {
        let mut params = Map::new();
        params.insert("api_base".into(), url.into());
        params.insert("api_key".into(), "none".into());
        let deployment = self.deployment("openai", params);
        let mut way = Way {
            headers,
            ..Way::default()
        };
        if let Ok(made) = &deployment {
            way.root.clone_from(&made.target.base.prefix);
            way.query.clone_from(&made.target.base.query);
        }
        passage(path, provider, deployment, way)
    }

    fn service(&self, path: &str, base: &str, base_env: &str, keys: &[&str]) -> Passage {
        let name = path.trim_start_matches('/');
        let values: Option<Vec<String>> = keys.iter().map(|key| self.set(key)).collect();
        let Some(values) = values else {
            let why = format!("{path}: set the environment variables {}", keys.join(", "));
            return passage(path, name, Err(why), Way::default());
        };
        let credential = match values.as_slice() {
            [public, secret] => format!("Basic {}", STANDARD.encode(format!("{public}:{secret}"))),
            _ => values.concat(),
        };
        let url = self.set(base_env).unwrap_or_else(|| base.to_owned());
        self.host(
            path,
            name,
            &url,
            vec![("authorization".to_owned(), credential)],
        )
    }

    fn own(&self, given: &PassThrough) -> Passage {
        let mut headers = Vec::new();
        let mut langfuse = [None, None];
        for (name, value) in given.headers.iter() {
            let Some(value) = value.as_str().map(|value| self.expanded(value)) else {
                continue;
            };
            match name.as_str() {
                "LANGFUSE_PUBLIC_KEY" => langfuse[0] = Some(value),
                "LANGFUSE_SECRET_KEY" => langfuse[1] = Some(value),
                name => headers.push((name.to_ascii_lowercase(), value)),
            }
        }
        if let [Some(public), Some(secret)] = langfuse {
            let pair = STANDARD.encode(format!("{public}:{secret}"));
            headers.push(("authorization".to_owned(), format!("Basic {pair}")));
        }
        let path = format!("/{}", given.path.trim_matches('/'));
        let made = self.host(&path, "pass_through", &given.target, headers);
        Passage {
            takes_below: given.include_subpath,
            needs_key: given.auth,
            forwards_headers: given.forward_headers,
            merges_query: given.merge_query_params,
            cost: Money::parse(&given.cost_per_request.to_string()).unwrap_or_default(),
            ..made
        }
    }

    /// A header's value with `os.environ/NAME` inside it; the whole of it was resolved before.
    fn expanded(&self, value: &str) -> String {
        const MARK: &str = "os.environ/";
        let Some(at) = value.find(MARK) else {
            return value.to_owned();
        };
        let name = &value[at + MARK.len()..];
        let end = name.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let (name, rest) = name.split_at(end.unwrap_or(name.len()));
        format!(
            "{}{}{rest}",
            &value[..at],
            self.set(name).unwrap_or_default()
        )
    }

    fn resources(&self) -> Vec<(Family, Passage)> {
        let mut made = Vec::new();
        for (list, family) in [
            ("files_settings", Family::Files),
            ("finetune_settings", Family::FineTuning),
        ] {
            let entries = self.config.sections.get(list).and_then(Value::as_array);
            for params in entries.into_iter().flatten().filter_map(Value::as_object) {
                let provider = params.get("custom_llm_provider").and_then(Value::as_str);
                made.push((
                    family,
                    self.resource(provider.unwrap_or("openai"), params.clone()),
                ));
            }
        }
        if let Some(assistants) = &self.config.router.assistants_config {
            let params = (*assistants.litellm_params).clone();
            made.push((
                Family::Assistants,
                self.resource(&assistants.custom_llm_provider, params),
            ));
        }
        for family in [
            Family::Files,
            Family::FineTuning,
            Family::Assistants,
            Family::Plain,
        ] {
            for (provider, needs) in [("openai", "OPENAI_API_KEY"), ("azure", "AZURE_API_BASE")] {
                let is_there = |(own, passage): &(Family, Passage)| {
                    *own == family && passage.provider == provider
                };
                if self.set(needs).is_some() && !made.iter().any(is_there) {
                    made.push((family, self.resource(provider, Map::new())));
                }
            }
        }
        for (_, passage) in made
            .iter_mut()
            .filter(|(own, _)| *own == Family::Assistants)
        {
            // OpenAI refuses threads without it; a client's own word wins.
            let beta = ("openai-beta".to_owned(), "assistants=v2".to_owned());
            passage.way.headers.push(beta);
        }
        made
    }

    fn resource(&self, provider: &str, mut params: Map<String, Value>) -> Passage {
        params.remove("custom_llm_provider");
        let deployment =
            self.deployment(provider, params)
                .and_then(|made| match made.target.resources() {
                    Some(_) => Ok(made),
                    None => Err(format!(
                        "{provider} has no OpenAI-style files, jobs or threads"
                    )),
                });
        let way = deployment
            .as_ref()
            .ok()
            .and_then(|made| made.target.resources());
        passage("", provider, deployment, way.unwrap_or_default())
    }
}

/// The usual rules: everything below, with a key, the client's headers and query along.
fn passage(
    path: &str,
    provider: &str,
    deployment: Result<Deployment, String>,
    way: Way,
) -> Passage {
    Passage {
        prefix: path.to_owned(),
        provider: provider.to_owned(),
        deployment,
        way,
        takes_below: true,
        needs_key: true,
        forwards_headers: true,
        client_credentials: false,
        merges_query: true,
        key_in_query: false,
        is_below_v1: false,
        cost: Money::ZERO,
    }
}
