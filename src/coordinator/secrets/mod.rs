//! Secret managers: where `os.environ/NAME` is looked up before the environment is
//! (`key_management_system`). Asked whenever a configuration is read, for the names that it mentions; no
//! request ever waits for one, and what a manager does not have the environment may. A KMS opens what the
//! environment has as ciphertexts.

mod aws;
mod ciphertext;
mod escrow;
mod google;
mod manager;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

pub use escrow::Escrow;
use manager::{Manager, Places};

use super::web::Web;
use crate::provider::Secret;

/// Names that a configuration may look up, at most.
const NAMES_MAX: usize = 1_000;

/// What was found, by name.
pub(super) type Found = BTreeMap<String, String>;

/// How a configuration's secrets are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// Its secret manager is asked.
    Asked,
    /// Nobody is asked: what the environment lacks is taken to be there (`shardgate check`).
    Assumed,
}

/// Whether a system keeps nothing itself but opens the environment's ciphertexts.
fn is_kms(system: &str) -> bool {
    matches!(system, "google_kms" | "aws_kms")
}

/// What encrypts stored secrets.
const SALT: &str = "LITELLM_SALT_KEY";

/// What stands for a secret that nobody was asked for.
const ASSUMED: &str = "held-by-the-secret-manager";

/// Reads what a configuration, as it is written, looks up in its secret manager; nothing where it has none.
///
/// # Errors
/// What is missing to ask it, or why it did not answer: never a secret.
pub(super) fn read(
    written: &Value,
    env: &(dyn Fn(&str) -> Option<String> + Sync),
    how: Secrets,
) -> Result<Found, String> {
    if how == Secrets::Assumed {
        let Some(place) = Place::of(written) else {
            return Ok(Found::new());
        };
        let is_there = |name: &String| match is_kms(place.system) {
            true => env(name).is_some_and(|value| ciphertext::is_ciphertext(&value)),
            false => env(name).is_none(),
        };
        let there = place.names.iter().filter(|name| is_there(name));
        return Ok(there
            .map(|name| (name.clone(), ASSUMED.to_owned()))
            .collect());
    }
    let Some(wanted) = Wanted::of(written, env)? else {
        return Ok(Found::new());
    };
    // A reload comes from the coordinator's runtime, where nothing may block; the start from none at all.
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| error.to_string())?;
            runtime.block_on(wanted.fetch())
        });
        asking
            .join()
            .unwrap_or_else(|_| Err("it could not be asked".to_owned()))
    })
    .map_err(|why| format!("general_settings.key_management_system: {why}"))
}

/// A manager and what it is asked for.
struct Wanted {
    manager: Manager,
    names: BTreeSet<String>,
    /// `primary_secret_name`: one secret that holds all others as JSON.
    primary: Option<String>,
}

/// Which manager a configuration names, and for what.
struct Place<'a> {
    system: &'a str,
    settings: Value,
    names: BTreeSet<String>,
}

impl Place<'_> {
    fn of(written: &Value) -> Option<Place<'_>> {
        let general = &written["general_settings"];
        let short = [
            ("use_aws_secret_manager", "aws_secret_manager"),
            ("use_azure_key_vault", "azure_key_vault"),
            ("use_google_kms", "google_kms"),
        ];
        let short = short.iter().find(|(name, _)| general[*name] == true);
        let named = general["key_management_system"].as_str();
        let system = named.or(short.map(|(_, system)| *system))?;
        let settings = match &general["key_management_settings"] {
            Value::Array(list) => list.first().cloned().unwrap_or_default(),
            one => one.clone(),
        };
        if settings["access_mode"] == "write_only" || system == "local" {
            return None;
        }
        let names = match settings["hosted_keys"].as_array() {
            Some(hosted) => hosted
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            // What is stored is encrypted with a key that only the KMS can open.
            None if is_kms(system) => {
                let mut names = mentioned(written);
                names.insert(SALT.to_owned());
                names
            }
            None => mentioned(written),
        };
        Some(Place {
            system,
            settings,
            names,
        })
    }
}

impl Wanted {
    fn of(written: &Value, env: &dyn Fn(&str) -> Option<String>) -> Result<Option<Wanted>, String> {
        let Some(place) = Place::of(written) else {
            return Ok(None);
        };
        let Place {
            system,
            settings,
            names,
        } = place;
        let primary = settings["primary_secret_name"].as_str().map(str::to_owned);
        let mut asked = names.clone();
        asked.extend(primary.clone());
        let manager = Manager::of(system, &Places::written(&settings), &asked, env)?;
        Ok(Some(Wanted {
            manager,
            names,
            primary,
        }))
    }

    async fn fetch(&self) -> Result<Found, String> {
        let web = Web::new()?;
        let token = self.manager.enter(&web).await?;
        if let Some(primary) = &self.primary {
            let text = self.manager.get(&web, &token, primary).await?;
            let text = text.ok_or_else(|| format!("there is no secret {primary}"))?;
            let all: Map<String, Value> = serde_json::from_str(&text)
                .map_err(|_| format!("the secret {primary} is no JSON object"))?;
            let all = all
                .into_iter()
                .filter(|(name, _)| self.names.contains(name));
            return Ok(all.map(|(name, value)| (name, plain(&value))).collect());
        }
        let mut found = Found::new();
        for name in self.names.iter().take(NAMES_MAX) {
            if let Some(value) = self.manager.get(&web, &token, name).await? {
                found.insert(name.clone(), value);
            }
        }
        Ok(found)
    }
}

/// `LITELLM_SALT_KEY`, where the manager had it.
pub(super) fn salt(found: &Found) -> Option<Secret> {
    found.get(SALT).map(|salt| Secret::new(salt.as_str()))
}

/// The names in every `os.environ/NAME`.
fn mentioned(written: &Value) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut open = vec![written];
    while let Some(value) = open.pop() {
        match value {
            Value::String(text) => {
                names.extend(text.strip_prefix("os.environ/").map(str::to_owned))
            }
            Value::Array(items) => open.extend(items),
            Value::Object(map) => open.extend(map.values()),
            _ => {}
        }
    }
    names
}

/// A value as a variable has it.
fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wanted(general: Value, variables: &[(&str, &str)]) -> Result<Option<Wanted>, String> {
        let env = |name: &str| {
            let found = variables.iter().find(|(have, _)| *have == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let models = json!([{"litellm_params": {"api_key": "os.environ/KEY"}}]);
        Wanted::of(
            &json!({"model_list": models, "general_settings": general}),
            &env,
        )
    }

    #[test]
    fn a_manager_is_asked_for_what_the_file_mentions() {
        let env = [
            ("HCP_VAULT_ADDR", "http://vault/"),
            ("HCP_VAULT_TOKEN", "t"),
            ("HCP_VAULT_NAMESPACE", "ns"),
        ];
        let asks = wanted(json!({"key_management_system": "hashicorp_vault"}), &env)
            .unwrap()
            .unwrap();
        assert_eq!(asks.names.iter().collect::<Vec<_>>(), ["KEY"]);
        let hosted = json!({"key_management_system": "hashicorp_vault", "key_management_settings": {"hosted_keys": ["A"]}});
        assert_eq!(
            wanted(hosted, &env)
                .unwrap()
                .unwrap()
                .names
                .iter()
                .collect::<Vec<_>>(),
            ["A"]
        );
    }

    #[test]
    fn a_check_asks_nobody_and_takes_what_is_not_there_for_found() {
        let written = json!({"general_settings": {"key_management_system": "hashicorp_vault"},
            "model_list": [{"a": "os.environ/HERE", "b": "os.environ/THERE"}]});
        let env = |name: &str| (name == "HERE").then(|| "h".to_owned());
        let found = read(&written, &env, Secrets::Assumed).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["THERE"]);
        let none = read(&json!({}), &env, Secrets::Assumed).unwrap();
        assert!(none.is_empty() && read(&written, &env, Secrets::Asked).is_err());
    }

    #[test]
    fn what_is_missing_is_named() {
        assert!(wanted(json!({}), &[]).unwrap().is_none());
        let missing = |general: Value| wanted(general, &[]).err().unwrap_or_default();
        assert!(missing(json!({"use_azure_key_vault": true})).contains("AZURE_KEY_VAULT_URI"));
        assert!(missing(json!({"use_aws_secret_manager": true})).contains("AWS_REGION_NAME"));
        assert!(missing(json!({"use_google_kms": true})).contains("GOOGLE_KMS_RESOURCE_NAME"));
        let google = json!({"key_management_system": "google_secret_manager"});
        assert!(missing(google).contains("GOOGLE_SECRET_MANAGER_PROJECT_ID"));
        assert!(missing(json!({"key_management_system": "aws_kms"})).contains("AWS_REGION_NAME"));
    }
}
