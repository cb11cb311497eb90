//! The secret managers: how each is entered, and how a secret is read, written and deleted there. What a
//! secret is for it must not know.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use serde_json::{Value, json};
use shardgate_config::KeyManagement;

use super::aws::{Aws, Kms};
use super::google::{Keeper, Opener};
use crate::coordinator::web::{Ask, Web};
use crate::provider::azure_token_url;

pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A manager and what it takes to ask it.
pub(super) enum Manager {
    Aws(Aws),
    /// AWS's KMS.
    AwsKms(Kms),
    Azure(Azure),
    Google(Keeper),
    /// Google's KMS.
    Opener(Opener),
    Vault(Vault),
}

/// Where a manager is, as `key_management_settings` says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Places<'a> {
    pub(super) vault_url: Option<&'a str>,
    pub(super) project_id: Option<&'a str>,
    pub(super) location_id: Option<&'a str>,
    pub(super) key_ring_id: Option<&'a str>,
    pub(super) key_id: Option<&'a str>,
}

impl<'a> Places<'a> {
    /// As the settings are written.
    pub(super) fn written(settings: &'a Value) -> Places<'a> {
        Places {
            vault_url: settings["vault_url"].as_str(),
            project_id: settings["project_id"].as_str(),
            location_id: settings["location_id"].as_str(),
            key_ring_id: settings["key_ring_id"].as_str(),
            key_id: settings["key_id"].as_str(),
        }
    }

    /// As they were read.
    pub(super) fn read(settings: &'a KeyManagement) -> Places<'a> {
        Places {
            vault_url: settings.vault_url.as_deref(),
            project_id: settings.project_id.as_deref(),
            location_id: settings.location_id.as_deref(),
            key_ring_id: settings.key_ring_id.as_deref(),
            key_id: settings.key_id.as_deref(),
        }
    }
}

pub(super) struct Azure {
    vault: String,
    /// Where the token comes from, and the form that asks for it.
    token_url: String,
    form: String,
}

pub(super) struct Vault {
    url: String,
    token: String,
}

pub(super) fn needed(env: Env<'_>, names: &[&str]) -> Result<String, String> {
    let found = names
        .iter()
        .find_map(|name| env(name).filter(|value| !value.is_empty()));
    found.ok_or_else(|| format!("the environment variable {} is needed", names.join(" or ")))
}

impl Azure {
    fn of(vault_url: Option<&str>, env: Env<'_>) -> Result<Azure, String> {
        let vault = vault_url.map(str::to_owned);
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

    fn question(&self, method: &'static str, token: &str, path: &str) -> Question {
        Question {
            method,
            url: format!("{}/{path}?api-version=7.4", self.vault),
            headers: vec![owned("authorization", token)],
            body: String::new(),
        }
    }

    /// Sets a secret. One that was deleted keeps its name and has to come back first, which takes seconds.
    async fn put(&self, web: &Web, token: &str, name: &str, value: &str) -> Result<(), String> {
        const CONFLICT: u16 = 409;
        const TRIES: u32 = 10;
        const PAUSE: Duration = Duration::from_millis(500);
        let name = azure_name(name);
        let mut set = self.question("PUT", token, &format!("secrets/{name}"));
        set.headers.push(owned("content-type", "application/json"));
        set.body = json!({ "value": value }).to_string();
        let mut told = set.ask(web).await?;
        if told.status == CONFLICT {
            let path = format!("deletedsecrets/{name}/recover");
            self.question("POST", token, &path).ask(web).await?;
        }
        for _ in 0..TRIES {
            if told.status != CONFLICT {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            told = set.ask(web).await?;
        }
        told.accepted(&name)
    }
}

impl Vault {
    fn of(vault_url: Option<&str>, env: Env<'_>) -> Result<Vault, String> {
        let address = vault_url.map(str::to_owned);
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

    fn question(&self, method: &'static str, name: &str) -> Question {
        let path: Vec<String> = name.split('/').map(encoded).collect();
        Question {
            method,
            url: format!("{}/{}", self.url, path.join("/")),
            headers: vec![owned("x-vault-token", &self.token)],
            body: String::new(),
        }
    }
}

impl Manager {
    /// The manager that `key_management_system` names; `names` are those that it will be asked for.
    ///
    /// # Errors
    /// What is missing to ask it.
    pub(super) fn of(
        system: &str,
        places: &Places<'_>,
        names: &BTreeSet<String>,
        env: Env<'_>,
    ) -> Result<Manager, String> {
        Ok(match system {
            "aws_kms" => Manager::AwsKms(Kms::of(places.key_id, names, env)?),
            "aws_secret_manager" => Manager::Aws(Aws::secrets_manager(env)?),
            "azure_key_vault" | "azure_kms" => Manager::Azure(Azure::of(places.vault_url, env)?),
            "google_secret_manager" => Manager::Google(Keeper::of(places, env)?),
            "google_kms" => Manager::Opener(Opener::of(places, names, env)?),
            "hashicorp_vault" => Manager::Vault(Vault::of(places.vault_url, env)?),
            other => {
                return Err(format!(
                    "general_settings.key_management_system: {other} is none of aws_kms, aws_secret_manager, \
                     azure_key_vault, google_kms, google_secret_manager, hashicorp_vault and local"
                ));
            }
        })
    }

    /// Whether it keeps secrets, as against opening what others keep.
    pub(super) fn keeps_secrets(&self) -> bool {
        !matches!(self, Manager::Opener(_) | Manager::AwsKms(_))
    }

    /// What proves who asks, where that has to be fetched first.
    pub(super) async fn enter(&self, web: &Web) -> Result<String, String> {
        let azure = match self {
            Manager::Azure(azure) => azure,
            Manager::Google(keeper) => return keeper.enter().await,
            Manager::Opener(opener) => return opener.enter().await,
            Manager::Aws(_) | Manager::AwsKms(_) | Manager::Vault(_) => return Ok(String::new()),
        };
        let ask = Question {
            method: "POST",
            url: azure.token_url.clone(),
            headers: vec![owned("content-type", "application/x-www-form-urlencoded")],
            body: azure.form.clone(),
        };
        let told = ask.ask(web).await?;
        let token = told.body["access_token"]
            .as_str()
            .map(|token| format!("Bearer {token}"));
        token.ok_or_else(|| format!("Azure gave no token (status {})", told.status))
    }

    /// One secret; none where there is none of that name.
    pub(super) async fn get(
        &self,
        web: &Web,
        token: &str,
        name: &str,
    ) -> Result<Option<String>, String> {
        let question = match self {
            Manager::Aws(aws) => aws.question("GetSecretValue", &json!({ "SecretId": name })),
            Manager::Azure(azure) => {
                azure.question("GET", token, &format!("secrets/{}", azure_name(name)))
            }
            Manager::Google(keeper) => keeper.reading(token, name),
            Manager::Opener(opener) => return opener.open(web, token, name).await,
            Manager::AwsKms(kms) => return kms.open(web, name).await,
            Manager::Vault(vault) => vault.question("GET", name),
        };
        let told = question.ask(web).await?;
        if told.is_missing() {
            return Ok(None);
        }
        told.accepted(name)?;
        let value = match self {
            Manager::Aws(_) => told.body["SecretString"].as_str(),
            Manager::Azure(_) => told.body["value"].as_str(),
            Manager::Vault(_) => told.body["data"]["data"]["key"].as_str(),
            Manager::Google(_) | Manager::Opener(_) | Manager::AwsKms(_) => {
                return Keeper::read(&told);
            }
        };
        Ok(value.map(str::to_owned))
    }

    /// Writes one secret, in place of what had its name.
    pub(super) async fn put(
        &self,
        web: &Web,
        token: &str,
        name: &str,
        value: &str,
    ) -> Result<(), String> {
        match self {
            Manager::Aws(aws) => aws.put(web, name, value).await,
            Manager::Azure(azure) => azure.put(web, token, name, value).await,
            Manager::Google(keeper) => keeper.put(web, token, name, value).await,
            Manager::Opener(_) | Manager::AwsKms(_) => Err(KEEPS_NONE.to_owned()),
            Manager::Vault(vault) => {
                let mut write = vault.question("POST", name);
                write
                    .headers
                    .push(owned("content-type", "application/json"));
                write.body = json!({"data": {"key": value}}).to_string();
                write.ask(web).await?.accepted(name)
            }
        }
    }

    /// Deletes one secret, as far as its manager lets deleted ones go; one that is not there is deleted.
    pub(super) async fn delete(&self, web: &Web, token: &str, name: &str) -> Result<(), String> {
        /// Within which AWS gives a deleted secret back, as LiteLLM asks for.
        const RECOVERY_DAYS: u32 = 7;
        let question = match self {
            Manager::Aws(aws) => {
                let body = json!({"SecretId": name, "RecoveryWindowInDays": RECOVERY_DAYS});
                aws.question("DeleteSecret", &body)
            }
            Manager::Azure(azure) => {
                azure.question("DELETE", token, &format!("secrets/{}", azure_name(name)))
            }
            Manager::Google(keeper) => keeper.deleting(token, name),
            Manager::Opener(_) | Manager::AwsKms(_) => return Err(KEEPS_NONE.to_owned()),
            Manager::Vault(vault) => vault.question("DELETE", name),
        };
        let told = question.ask(web).await?;
        if told.is_missing() {
            return Ok(());
        }
        told.accepted(name)
    }
}

const KEEPS_NONE: &str = "a KMS keeps no secrets";

/// Names there are letters, digits and hyphens.
fn azure_name(name: &str) -> String {
    name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-")
}

/// A call to a manager.
pub(super) struct Question {
    pub(super) method: &'static str,
    pub(super) url: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

/// What it answered.
pub(super) struct Told {
    pub(super) status: u16,
    pub(super) body: Value,
}

impl Question {
    pub(super) async fn ask(&self, web: &Web) -> Result<Told, String> {
        let headers: Vec<(&str, &str)> = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let ask = Ask {
            method: self.method,
            url: &self.url,
            headers: &headers,
            body: self.body.as_bytes(),
        };
        let reply = web.call(&ask).await.map_err(|error| unreachable(&error))?;
        Ok(Told {
            status: reply.status,
            body: serde_json::from_slice(&reply.body).unwrap_or_default(),
        })
    }
}

impl Told {
    /// The class of AWS's error without its namespace, or of Google's.
    pub(super) fn kind(&self) -> &str {
        let kind = self.body["__type"].as_str();
        let kind = kind.or_else(|| self.body["error"]["status"].as_str());
        kind.unwrap_or_default()
            .rsplit('#')
            .next()
            .unwrap_or_default()
    }

    /// There is no secret of that name; AWS says so with a 400.
    fn is_missing(&self) -> bool {
        self.status == 404 || self.kind() == "ResourceNotFoundException"
    }

    pub(super) fn accepted(&self, name: &str) -> Result<(), String> {
        match self.status {
            200..=299 => Ok(()),
            _ => Err(self.refusal(name)),
        }
    }

    pub(super) fn refusal(&self, name: &str) -> String {
        match self.kind() {
            "" => format!("it answered {} for {name}", self.status),
            kind => format!("it answered {} ({kind}) for {name}", self.status),
        }
    }
}

pub(super) fn owned(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
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
