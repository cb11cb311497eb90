//! `router_general_settings.pass_through_all_models`: a model that is in no group is called as it is named,
//! with the credentials of the environment. An entry for each provider that has any there, as a pattern
//! that a user could have written; none of them is listed anywhere.

use serde_json::{Map, json};
use shardgate_config::{Config, ModelEntry, Position};

use crate::provider::PROVIDERS;

/// Variables by which a provider can be called besides those of its row.
const MORE: &[(&str, &str)] = &[
    ("bedrock", "AWS_ACCESS_KEY_ID"),
    ("vertex_ai", "VERTEXAI_PROJECT"),
];

/// Beginnings of names without a provider, and whose they are.
const BARE: &[(&str, &str)] = &[
    ("claude-*", "anthropic/claude-*"),
    ("command-*", "cohere_chat/command-*"),
    ("gemini-*", "vertex_ai/gemini-*"),
    ("*", "openai/*"),
];

/// The entries; none where the setting is off. A name that the configuration has itself is left to it.
pub(super) fn entries(config: &Config, env: &dyn Fn(&str) -> Option<String>) -> Vec<ModelEntry> {
    if !config
        .router
        .router_general_settings
        .pass_through_all_models
    {
        return Vec::new();
    }
    let has = |variable: &&str| env(variable).is_some_and(|value| !value.is_empty());
    let can = |provider: &str| {
        let own = PROVIDERS.iter().filter(|row| row.name == provider);
        let mut own = own.flat_map(|row| row.key_env.iter().chain(row.base_env));
        let mut more = MORE.iter().filter(|(name, _)| *name == provider);
        own.any(has) || more.any(|(_, variable)| has(variable))
    };
    let whole = PROVIDERS.iter().filter(|row| can(row.name));
    let whole = whole.map(|row| (format!("{}/*", row.name), format!("{}/*", row.name)));
    let bare = BARE
        .iter()
        .filter(|(_, model)| model.split('/').next().is_some_and(can))
        .map(|(name, model)| ((*name).to_owned(), (*model).to_owned()));
    let known = |name: &str| config.models.iter().any(|entry| entry.model_name == name);
    whole
        .chain(bare)
        .filter(|(name, _)| !known(name))
        .map(|(model_name, model)| ModelEntry {
            model_name,
            litellm_params: [("model".to_owned(), json!(model))].into_iter().collect(),
            model_info: Map::new(),
            at: Position::default(),
        })
        .collect()
}
