//! Secret managers: where `os.environ/NAME` is looked up before the environment is
//! (`key_management_system`). Asked whenever a configuration is read, for the names that it mentions; no
//! request ever waits for one, and what a manager does not have the environment may.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::web::{Ask, Web};
use crate::provider::{Credentials, Secret, SignedRequest, SignedScope, azure_token_url, sign};

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
        let names = Place::of(written).map(|place| place.names);
        let lacking = names
            .unwrap_or_default()
            .into_iter()
            .filter(|name| env(name).is_none());
        return Ok(lacking.map(|name| (name, ASSUMED.to_owned())).collect());
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

enum Manager {
    Aws(Aws),
    Azure(Azure),
    Vault(Vault),
}

struct Aws {
    url: String,
    region: String,
    credentials: Credentials,
}

struct Azure {
    vault: String,
    /// Where the token comes from, and the form that asks for it.
    token_url: String,
    form: String,
}

struct Vault {
    url: String,
    token: String,
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
        ];
        let short = short.iter().find(|(name, _)| general[*name] == true);
        let named = general["key_management_system"].as_str();
        let system = named.or(short.map(|(_, system)| *system))?;
        let settings = match &general["key_management_settings"] {
            Value::Array(list) => list.first().cloned().unwrap_or_default(),
            one => one.clone(),
        };
        if settings["access_mode"] == "write_only" {
            return None;
        }
        let names = match settings["hosted_keys"].as_array() {
            Some(hosted) => hosted
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
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
        let manager = match system {
            "aws_secret_manager" => Manager::Aws(Aws::of(env)?),
            "azure_key_vault" => Manager::Azure(Azure::of(&settings, env)?),
            "hashicorp_vault" => Manager::Vault(Vault::of(&settings, env)?),
            other => {
                return Err(format!(
                    "general_settings.key_management_system: {other} is not built; aws_secret_manager, \
                     azure_key_vault and hashicorp_vault are"
                ));
            }
        };
        let primary = settings["primary_secret_name"].as_str().map(str::to_owned);
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

fn needed(env: &dyn Fn(&str) -> Option<String>, names: &[&str]) -> Result<String, String> {
    let found = names
        .iter()
        .find_map(|name| env(name).filter(|value| !value.is_empty()));
    found.ok_or_else(|| format!("the environment variable {} is needed", names.join(" or ")))
}

impl Aws {
    fn of(env: &dyn Fn(&str) -> Option<String>) -> Result<Aws, String> {
        let region = needed(
            env,
            &["AWS_REGION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION"],
        )?;
        let url = needed(
            env,
            &["AWS_ENDPOINT_URL_SECRETS_MANAGER", "AWS_ENDPOINT_URL"],
        );
        Ok(Aws {
            url: url.unwrap_or_else(|_| format!("https://secretsmanager.{region}.amazonaws.com")),
            region,
            credentials: Credentials {
                access_key: needed(env, &["AWS_ACCESS_KEY_ID"])?,
                secret_key: Secret::new(needed(env, &["AWS_SECRET_ACCESS_KEY"])?),
                session_token: needed(env, &["AWS_SESSION_TOKEN"]).ok().map(Secret::new),
            },
        })
    }
}

impl Azure {
    fn of(settings: &Value, env: &dyn Fn(&str) -> Option<String>) -> Result<Azure, String> {
        let vault = settings["vault_url"].as_str().map(str::to_owned);
        let vault = vault.map_or_else(|| needed(env, &["AZURE_KEY_VAULT_URI"]), Ok)?;
        let tenant = needed(env, &["AZURE_TENANT_ID"])?;
        let authority = needed(env, &["AZURE_AUTHORITY_HOST"]).ok();
        let pairs = [
            ("grant_type", "client_credentials".to_owned()),
            ("scope", "https://vault.azure.net/.default".to_owned()),
            ("client_id", needed(env, &["AZURE_CLIENT_ID"])?),
            ("client_secret", needed(env, &["AZURE_CLIENT_SECRET"])?),
        ];
        let form = pairs.map(|(name, value)| format!("{name}={}", encoded(&value)));
        Ok(Azure {
            vault: vault.trim_end_matches('/').to_owned(),
            token_url: azure_token_url(authority.as_deref(), &tenant),
            form: form.join("&"),
        })
    }
}

impl Vault {
    fn of(settings: &Value, env: &dyn Fn(&str) -> Option<String>) -> Result<Vault, String> {
        let address = settings["vault_url"].as_str().map(str::to_owned);
        let address = address.map_or_else(|| needed(env, &["HCP_VAULT_ADDR", "VAULT_ADDR"]), Ok)?;
        let part = |names: &[&str]| {
            needed(env, names)
                .ok()
                .map(|part| part.trim_matches('/').to_owned())
        };
        let namespace = part(&["HCP_VAULT_NAMESPACE", "VAULT_NAMESPACE"]);
        let mount = part(&["HCP_VAULT_MOUNT_NAME"]).unwrap_or_else(|| "secret".to_owned());
        let parts = [
            Some(address.trim_end_matches('/').to_owned()),
            Some("v1".to_owned()),
            namespace,
            Some(mount),
            Some("data".to_owned()),
            part(&["HCP_VAULT_PATH_PREFIX"]),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        Ok(Vault {
            url: parts.join("/"),
            token: needed(env, &["HCP_VAULT_TOKEN", "VAULT_TOKEN"])?,
        })
    }
}

fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte))
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn unreachable(error: &io::Error) -> String {
    format!("it cannot be reached: {error}")
}

impl Manager {
    /// What proves who asks, where that has to be fetched first.
    async fn enter(&self, web: &Web) -> Result<String, String> {
        let Manager::Azure(azure) = self else {
            return Ok(String::new());
        };
        let form = ("content-type", "application/x-www-form-urlencoded");
        let ask = Ask {
            method: "POST",
            url: &azure.token_url,
            headers: &[form],
            body: azure.form.as_bytes(),
        };
        let reply = web.call(&ask).await.map_err(|error| unreachable(&error))?;
        let told: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let token = told["access_token"]
            .as_str()
            .map(|token| format!("Bearer {token}"));
        token.ok_or_else(|| format!("Azure gave no token (status {})", reply.status))
    }

    /// One secret; none where there is none of that name.
    async fn get(&self, web: &Web, token: &str, name: &str) -> Result<Option<String>, String> {
        let (url, headers, body) = self.ask(token, name)?;
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        let method = if body.is_empty() { "GET" } else { "POST" };
        let ask = Ask {
            method,
            url: &url,
            headers: &headers,
            body: body.as_bytes(),
        };
        let reply = web.call(&ask).await.map_err(|error| unreachable(&error))?;
        let told: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        if reply.status == 404 || is_missing(&told) {
            return Ok(None);
        }
        if reply.status != 200 {
            return Err(format!("it answered {} for {name}", reply.status));
        }
        let value = match self {
            Manager::Aws(_) => told["SecretString"].as_str(),
            Manager::Azure(_) => told["value"].as_str(),
            Manager::Vault(_) => told["data"]["data"]["key"].as_str(),
        };
        Ok(value.map(str::to_owned))
    }

    /// The call that asks for one secret: address, headers, and a body where there is one.
    fn ask(&self, token: &str, name: &str) -> Result<Question, String> {
        let owned = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        match self {
            Manager::Vault(vault) => {
                let headers = vec![owned("x-vault-token", &vault.token)];
                Ok((
                    format!("{}/{}", vault.url, encoded(name)),
                    headers,
                    String::new(),
                ))
            }
            Manager::Azure(azure) => {
                // Names there have no underscores.
                let name = encoded(&name.replace('_', "-"));
                let url = format!("{}/secrets/{name}?api-version=7.4", azure.vault);
                Ok((url, vec![owned("authorization", token)], String::new()))
            }
            Manager::Aws(aws) => {
                let kind = "application/x-amz-json-1.1";
                let body = json!({"SecretId": name}).to_string();
                let host = aws.url.split_once("://").map_or("", |(_, rest)| rest);
                let host = host.split('/').next().unwrap_or_default();
                let now = SystemTime::now().duration_since(UNIX_EPOCH);
                let signed = sign(
                    &SignedRequest {
                        method: "POST",
                        host,
                        path_and_query: "/",
                        content_type: Some(kind),
                        body: body.as_bytes(),
                    },
                    &aws.credentials,
                    &SignedScope {
                        region: &aws.region,
                        service: "secretsmanager",
                        now_unix_s: now.map_or(0, |since| since.as_secs()),
                    },
                );
                let mut headers = vec![
                    owned("content-type", kind),
                    owned("x-amz-target", "secretsmanager.GetSecretValue"),
                ];
                headers.extend(signed);
                Ok((format!("{}/", aws.url.trim_end_matches('/')), headers, body))
            }
        }
    }
}

/// An address, headers, and a body where there is one.
type Question = (String, Vec<(String, String)>, String);

/// AWS says so with a 400.
fn is_missing(told: &Value) -> bool {
    let kind = told["__type"].as_str().unwrap_or_default();
    kind.ends_with("ResourceNotFoundException")
}

#[cfg(test)]
mod tests {
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
        let (url, headers, body) = asks.manager.ask("", "KEY").unwrap();
        assert_eq!(url, "http://vault/v1/ns/secret/data/KEY");
        assert!(headers[0].0 == "x-vault-token" && body.is_empty());
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
        assert!(
            missing(json!({"key_management_system": "google_kms"}))
                .contains("google_kms is not built")
        );
    }
}
