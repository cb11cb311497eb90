//! A configuration as it is written, for whoever may look at it: secrets are replaced by stars. A
//! reference to a variable (`os.environ/NAME`) is no secret and stays.

use serde_json::Value as Json;

use crate::diagnostic::{has_credentials, looks_like_key, names_secret};
use crate::environment::PREFIX;
use crate::row::{Kind, Row, Table};
use crate::rows::ROOT;

/// What stands for a secret.
const STARS: &str = "*****";

/// Names of secrets, which are none themselves though they are called so.
const OF_SECRETS: [&str; 3] = [
    "hosted_keys",
    "primary_secret_name",
    "prefix_for_stored_virtual_keys",
];

/// The whole of a configuration without its secrets.
pub(crate) fn without_secrets(mut written: Json) -> Json {
    if let Some(variables) = written.get_mut("environment_variables") {
        masked(variables);
    }
    clean(&mut written, Some(&ROOT), "");
    written
}

/// Every text in it.
fn masked(value: &mut Json) {
    match value {
        Json::String(text) if !text.starts_with(PREFIX) => *text = STARS.to_owned(),
        Json::Array(items) => items.iter_mut().for_each(masked),
        Json::Object(map) => map.values_mut().for_each(masked),
        _ => {}
    }
}

fn clean(value: &mut Json, table: Option<&'static Table>, name: &str) {
    match value {
        Json::Object(map) => {
            for (name, value) in map {
                let row = table.and_then(|table| table.find(name));
                if row.is_some_and(|row| row.kind.is_secret()) {
                    masked(value);
                } else {
                    clean(value, row.and_then(within), name);
                }
            }
        }
        Json::Array(items) => items.iter_mut().for_each(|item| clean(item, table, name)),
        Json::String(text) => {
            let named = names_secret(name) && !OF_SECRETS.contains(&name);
            let secret = named || has_credentials(text) || looks_like_key(text);
            if secret && !text.starts_with(PREFIX) {
                *text = STARS.to_owned();
            }
        }
        _ => {}
    }
}

/// The table of a row's values.
fn within(row: &'static Row) -> Option<&'static Table> {
    match &row.kind {
        Kind::Table(table) => Some(table),
        Kind::List(inner) | Kind::Many(inner) | Kind::Map(inner) => match inner {
            Kind::Table(table) => Some(table),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_stars_and_references_stay() {
        let written = json!({
            "environment_variables": {"ANY": "value"},
            "model_list": [{"model_name": "m", "litellm_params": {"model": "openai/x",
                "api_key": "plain", "api_base": "https://u:p@host"}},
                {"model_name": "n", "litellm_params": {"api_key": "os.environ/KEY"}}],
            "general_settings": {"master_key": "sk-1234", "num_retries": 2,
                "database_url": "postgresql://u:p@host/db",
                "key_management_settings": {"hosted_keys": ["OPENAI_API_KEY"], "primary_secret_name": "all"}},
        });
        let shown = without_secrets(written);
        let text = shown.to_string();
        for secret in ["plain", "u:p@", "sk-1234", "\"value\""] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        assert_eq!(
            shown["model_list"][1]["litellm_params"]["api_key"],
            "os.environ/KEY"
        );
        assert_eq!(shown["general_settings"]["num_retries"], 2);
        let settings = &shown["general_settings"]["key_management_settings"];
        assert_eq!(settings["hosted_keys"][0], "OPENAI_API_KEY");
        assert_eq!(settings["primary_secret_name"], "all");
    }
}
