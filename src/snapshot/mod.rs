//! The snapshot: one immutable picture of the configuration, made by the coordinator for the shards.
//!
//! Config types stop here. A request holds the snapshot it began with to its end; a reload gives
//! later requests a new one.

mod budgets;
mod contracts;
mod credential;
mod deployment;
mod implied;
mod passage;
mod routing;
mod settings;

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;
use shardgate_config::{Config, ModelEntry};

pub use budgets::{Meters, SpendLimit, Spender};
pub use credential::{Credential, State as CredentialState};
pub use deployment::{Deployment, Own, head_bytes};
pub use passage::{Passage, Passages, passed_on};
pub use settings::{Settings, UrlRules};

use crate::coordinator::Lasting;
use crate::provider::{NO_INLINE_IMAGES, PREVIEW};
use crate::router::Router;

/// What a shard serves by.
pub struct Snapshot {
    /// Counts snapshots of this process, from 1.
    pub version: u64,
    /// Settings of the data plane.
    pub settings: Settings,
    /// Groups, strategies, fallbacks; its deployments have the indices of `deployments`.
    pub router: Router,
    /// One per `model_list` entry that can be called.
    pub deployments: Vec<Deployment>,
    /// Some setting wants to know more of a request than most do.
    pub steers: bool,
    /// The names that `/models` lists, sorted.
    pub public_models: BTreeSet<String>,
    /// What only shows when the deployments are put together: line and column, what, and why.
    pub warnings: Vec<String>,
    /// Requests that are passed on as they are.
    pub passages: Passages,
    /// Groups of `model_info.access_groups`, and the model groups in them.
    pub access_groups: HashMap<String, BTreeSet<String>>,
}

impl Snapshot {
    /// A model group belongs to an access group.
    pub fn in_access_group(&self, access: &str, model: &str) -> bool {
        self.access_groups
            .get(access)
            .is_some_and(|models| models.contains(model))
    }

    /// How many groups the deployments form.
    pub fn groups(&self) -> usize {
        self.deployments
            .iter()
            .map(|deployment| &deployment.group)
            .collect::<BTreeSet<_>>()
            .len()
    }
}

/// Makes snapshot number `version` of a checked configuration.
///
/// # Errors
/// What only shows when the deployments are put together, a line each.
pub fn build(config: &Config, lasting: &Lasting, version: u64) -> Result<Snapshot, Vec<String>> {
    let overrides: HashMap<&str, &str> = config
        .environment
        .iter()
        .map(|(name, value)| (name.as_str(), value.expose()))
        .collect();
    let env = |name: &str| match overrides.get(name) {
        Some(value) => Some((*value).to_owned()),
        None => std::env::var(name).ok(),
    };
    let settings = Settings::from_config(config)?;
    let (verify, _) = config.upstream_verification();
    let contracts = contracts::Contracts::from_config(config);
    let mut warnings = Vec::new();
    let implied = implied::entries(config, &env);
    let builder = Builder {
        config,
        implied: &implied,
        lasting,
        env: &env,
        contracts: (verify, &contracts),
    };
    let (entries, deployments) = builder.deployments(&mut warnings)?;
    let maker = passage::Maker {
        config,
        lasting,
        env: &env,
        verify,
        contracts: &contracts,
    };
    let passages = maker.make();
    let router = Router::new(
        routing::spec(config, &entries, &deployments),
        &mut lasting.registry(),
    );
    if router.strategy().name() == "custom" {
        warnings.push(
            "0:0: routing_strategy custom: a Python strategy (custom_routing_strategy_path) is not \
             in force yet; simple-shuffle serves"
                .to_owned(),
        );
    }
    let own = entries.iter().zip(&deployments);
    let own = own.filter(|(_, made)| !made.implied);
    let public_models = public_models(config, own.map(|(entry, _)| entry.model_name.clone()));
    Ok(Snapshot {
        version,
        steers: !settings.model_alias_map.is_empty()
            || router.settings().ties.any()
            || !settings.banned_keywords.is_empty()
            || !settings.tag_headers.is_empty()
            || router.has_tag_patterns(),
        settings,
        router,
        deployments,
        public_models,
        warnings,
        passages,
        access_groups: access_groups(&entries),
    })
}

/// What deployments are made of.
struct Builder<'a> {
    config: &'a Config,
    /// Entries that nobody wrote, behind the others.
    implied: &'a [ModelEntry],
    lasting: &'a Lasting,
    env: &'a dyn Fn(&str) -> Option<String>,
    contracts: (bool, &'a contracts::Contracts),
}

/// Entries, and the deployments made of them, in one order.
type Made<'a> = (Vec<&'a ModelEntry>, Vec<Deployment>);

impl<'a> Builder<'a> {
    /// What entries have where they say nothing else.
    fn defaults(&self) -> serde_json::Map<String, serde_json::Value> {
        let mut defaults = (*self.config.router.default_litellm_params).clone();
        if self.config.litellm.disable_add_transform_inline_image_block {
            defaults.insert(NO_INLINE_IMAGES.to_owned(), true.into());
        }
        match self.config.litellm.enable_preview_features {
            true => defaults.insert(PREVIEW.to_owned(), true.into()),
            false => defaults.remove(PREVIEW),
        };
        defaults
    }

    /// Makes them, but those that are not for this environment or, where that is wanted, cannot work.
    fn deployments(&self, warnings: &mut Vec<String>) -> Result<Made<'a>, Vec<String>> {
        let mut errors = Vec::new();
        let mut deployments = Vec::with_capacity(self.config.models.len());
        let mut entries = Vec::with_capacity(self.config.models.len());
        let environment = (self.env)("LITELLM_ENVIRONMENT");
        let defaults = self.defaults();
        let written = self.config.models.len();
        for (at, entry) in self.config.models.iter().chain(self.implied).enumerate() {
            let place = format!(
                "{}:{}: model_list[{at}] ({})",
                entry.at.line, entry.at.column, entry.model_name
            );
            if let Some(why) = elsewhere(entry, environment.as_deref()) {
                warnings.push(format!("{place}: {why}; it is left out"));
                continue;
            }
            errors.extend(routing::bad_tag_pattern(entry).map(|why| format!("{place}: {why}")));
            let defaults = &defaults;
            match Deployment::build(entry, defaults, self.lasting, self.env, self.contracts) {
                Ok(made) if at >= written && made.unusable.is_some() => {}
                Ok(mut deployment) => {
                    deployment.implied = at >= written;
                    deployment.spend_limits =
                        budgets::of_deployment(self.config, entry, &deployment, self.lasting);
                    if let Some(why) = &deployment.unusable {
                        if self.config.router.ignore_invalid_deployments {
                            warnings.push(format!("{place}: {why}; it is left out"));
                            continue;
                        }
                        warnings.push(format!("{place}: {why}; calls to it get an error"));
                    }
                    deployments.push(deployment);
                    entries.push(entry);
                }
                Err(error) if self.config.router.ignore_invalid_deployments => {
                    warnings.push(format!("{place}: {error}; it is left out"));
                }
                Err(error) => errors.push(format!("{place}: {error}")),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok((entries, deployments))
    }
}

/// Why an entry is not for this environment (`supported_environments`), if it is not.
fn elsewhere(entry: &ModelEntry, environment: Option<&str>) -> Option<String> {
    let supported = entry.model_info.get("supported_environments")?.as_array()?;
    if environment.is_some_and(|here| supported.iter().any(|name| name == here)) {
        return None;
    }
    let here = environment.unwrap_or("not set");
    Some(format!(
        "LITELLM_ENVIRONMENT is {here}, which is not among its supported_environments"
    ))
}

fn access_groups(entries: &[&ModelEntry]) -> HashMap<String, BTreeSet<String>> {
    let mut groups: HashMap<String, BTreeSet<String>> = HashMap::new();
    for entry in entries {
        let named = entry
            .model_info
            .get("access_groups")
            .and_then(Value::as_array);
        for name in named.into_iter().flatten().filter_map(Value::as_str) {
            groups
                .entry(name.to_owned())
                .or_default()
                .insert(entry.model_name.clone());
        }
    }
    groups
}

/// Group names and visible aliases; a bare `*` is no name.
fn public_models(config: &Config, groups: impl Iterator<Item = String>) -> BTreeSet<String> {
    let aliases = config.model_group_alias().into_iter();
    let shown = aliases
        .filter(|(_, alias)| !alias.hidden)
        .map(|(name, _)| name);
    groups.chain(shown).filter(|name| name != "*").collect()
}
