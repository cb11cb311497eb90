//! Google's two managers: Secret Manager, which keeps secrets, and KMS, which keeps none but opens those that
//! the environment has as ciphertexts.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::ciphertext::{Ciphertexts, opened};
use super::manager::{Env, Places, Question, Told, needed, owned};
use crate::coordinator::credentials;
use crate::coordinator::web::Web;
use crate::provider::{TokenSource, google_account};

/// What tokens are asked for.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// A project's Secret Manager.
pub(super) struct Keeper {
    url: String,
    account: TokenSource,
}

/// A key of KMS, and what it is to open.
pub(super) struct Opener {
    url: String,
    account: TokenSource,
    ciphertexts: Ciphertexts,
}

fn account(env: Env<'_>) -> TokenSource {
    let given = needed(env, &["GOOGLE_APPLICATION_CREDENTIALS"]).ok();
    google_account(given, SCOPE, env)
}

/// Where a service is, as Google's own tools are told.
fn service(name: &str, env: Env<'_>) -> String {
    let variable = format!(
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_{}",
        name.to_ascii_uppercase()
    );
    let url =
        needed(env, &[&variable]).unwrap_or_else(|_| format!("https://{name}.googleapis.com"));
    format!("{}/v1", url.trim_end_matches('/'))
}

fn question(method: &'static str, url: String, token: &str, body: &Value) -> Question {
    let mut headers = vec![owned("authorization", token)];
    let body = match body {
        Value::Null => String::new(),
        body => {
            headers.push(owned("content-type", "application/json"));
            body.to_string()
        }
    };
    Question {
        method,
        url,
        headers,
        body,
    }
}

impl Keeper {
    pub(super) fn of(places: &Places<'_>, env: Env<'_>) -> Result<Keeper, String> {
        let project = places.project_id.map(str::to_owned);
        let project = project.map_or_else(
            || {
                needed(env, &["GOOGLE_SECRET_MANAGER_PROJECT_ID"])
                    .map_err(|why| format!("key_management_settings.project_id or {why}"))
            },
            Ok,
        )?;
        Ok(Keeper {
            url: format!(
                "{}/projects/{project}/secrets",
                service("secretmanager", env)
            ),
            account: account(env),
        })
    }

    pub(super) async fn enter(&self) -> Result<String, String> {
        credentials::bearer(&self.account).await
    }

    /// Ids there are letters, digits, hyphens and underscores.
    fn id(name: &str) -> String {
        let kept = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        name.replace(|letter: char| !kept(letter), "-")
    }

    fn place(&self, name: &str) -> String {
        format!("{}/{}", self.url, Keeper::id(name))
    }

    pub(super) fn reading(&self, token: &str, name: &str) -> Question {
        let url = format!("{}/versions/latest:access", self.place(name));
        question("GET", url, token, &Value::Null)
    }

    pub(super) fn read(told: &Told) -> Result<Option<String>, String> {
        opened(told.body["payload"]["data"].as_str())
    }

    /// Makes the secret where there is none, and gives it a version.
    pub(super) async fn put(
        &self,
        web: &Web,
        token: &str,
        name: &str,
        value: &str,
    ) -> Result<(), String> {
        const EXISTS: u16 = 409;
        let url = format!("{}?secretId={}", self.url, Keeper::id(name));
        let secret = json!({"replication": {"automatic": {}}});
        let told = question("POST", url, token, &secret).ask(web).await?;
        if told.status != EXISTS {
            told.accepted(name)?;
        }
        let version = json!({"payload": {"data": STANDARD.encode(value)}});
        let url = format!("{}:addVersion", self.place(name));
        let told = question("POST", url, token, &version).ask(web).await?;
        told.accepted(name)
    }

    pub(super) fn deleting(&self, token: &str, name: &str) -> Question {
        question("DELETE", self.place(name), token, &Value::Null)
    }
}

impl Opener {
    /// `names` are those that the environment may have as ciphertexts.
    pub(super) fn of(
        places: &Places<'_>,
        names: &BTreeSet<String>,
        env: Env<'_>,
    ) -> Result<Opener, String> {
        Ok(Opener {
            url: format!("{}/{}", service("cloudkms", env), resource(places, env)?),
            account: account(env),
            ciphertexts: Ciphertexts::of(names, env),
        })
    }

    pub(super) async fn enter(&self) -> Result<String, String> {
        if self.ciphertexts.is_empty() {
            return Ok(String::new());
        }
        credentials::bearer(&self.account).await
    }

    /// One of the environment's ciphertexts, opened; none where the environment has it plain or not at all.
    pub(super) async fn open(
        &self,
        web: &Web,
        token: &str,
        name: &str,
    ) -> Result<Option<String>, String> {
        const NOT_ITS_OWN: u16 = 400;
        let Some(ciphertext) = self.ciphertexts.get(name) else {
            return Ok(None);
        };
        let url = format!("{}:decrypt", self.url);
        let body = json!({ "ciphertext": ciphertext });
        let told = question("POST", url, token, &body).ask(web).await?;
        if told.status == NOT_ITS_OWN {
            return Err(Ciphertexts::foreign(name));
        }
        told.accepted(name)?;
        opened(told.body["plaintext"].as_str())
    }
}

/// The key's full name.
fn resource(places: &Places<'_>, env: Env<'_>) -> Result<String, String> {
    let parts = [
        ("projects", "project_id", places.project_id),
        ("locations", "location_id", places.location_id),
        ("keyRings", "key_ring_id", places.key_ring_id),
        ("cryptoKeys", "key_id", places.key_id),
    ];
    if parts.iter().all(|(_, _, value)| value.is_none()) {
        return needed(env, &["GOOGLE_KMS_RESOURCE_NAME"]).map_err(|why| {
            format!(
                "key_management_settings (project_id, location_id, key_ring_id, key_id) or {why}"
            )
        });
    }
    let mut name = Vec::with_capacity(parts.len());
    for (kind, setting, value) in parts {
        let value = value.ok_or_else(|| format!("key_management_settings.{setting} is needed"))?;
        name.push(format!("{kind}/{value}"));
    }
    Ok(name.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_by_all_its_parts() {
        let none = |_: &str| None;
        let mut places = Places {
            project_id: Some("p"),
            location_id: Some("global"),
            key_ring_id: Some("r"),
            ..Places::default()
        };
        assert!(resource(&places, &none).unwrap_err().contains("key_id"));
        places.key_id = Some("k");
        let name = "projects/p/locations/global/keyRings/r/cryptoKeys/k";
        assert_eq!(resource(&places, &none).unwrap(), name);
        let told = resource(&Places::default(), &none).unwrap_err();
        assert!(told.contains("GOOGLE_KMS_RESOURCE_NAME"));
        let env = |name: &str| (name == "GOOGLE_KMS_RESOURCE_NAME").then(|| "x/y".to_owned());
        assert_eq!(resource(&Places::default(), &env).unwrap(), "x/y");
    }

    #[test]
    fn a_name_becomes_an_id() {
        assert_eq!(Keeper::id("litellm/a_b.c"), "litellm-a_b-c");
    }
}
