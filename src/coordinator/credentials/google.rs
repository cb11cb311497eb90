//! Google's access tokens: from a service account's own signature, a person's refresh token, another cloud's identity,
//! or the machine's metadata host.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::oauth::{encode, post_form, token};
use super::{
    CALL_TIMEOUT, Fetched, Fetcher, LIFE_S, NEAR_TIMEOUT, Refused, aws, host, now_unix_s,
    read_file, refusal,
};
use crate::auth::calendar;
use crate::coordinator::outbound::Ask;
use crate::provider::{Grant, Secret, Variables};

/// Where service accounts and people get tokens, unless their JSON says so.
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
/// Where another cloud's identity is exchanged, unless the account's JSON says so.
const EXCHANGE_URL: &str = "https://sts.googleapis.com/v1/token";
const METADATA_HOST: &str = "metadata.google.internal";
/// How many accounts may stand behind each other.
const DEPTH_MAX: usize = 3;

impl Fetcher {
    /// The account that is given, else the one in its well-known place, else the machine's.
    pub(super) async fn google(
        &self,
        account: Option<&Secret>,
        scope: &str,
        env: &Variables,
    ) -> Result<Fetched, Refused> {
        let text = match account.map(Secret::reveal) {
            Some(text) if text.trim_start().starts_with('{') => Some(text.to_owned()),
            Some(path) => Some(read_file(path).await?),
            None => well_known(env).await,
        };
        let Some(text) = text else {
            return self.metadata(scope, env).await;
        };
        let account: Value = serde_json::from_str(&text)
            .map_err(|error| Refused::denied(format!("the Google account is no JSON: {error}")))?;
        self.google_account(&account, scope, env, 0).await
    }

    async fn google_account(
        &self,
        account: &Value,
        scope: &str,
        env: &Variables,
        depth: usize,
    ) -> Result<Fetched, Refused> {
        if depth > DEPTH_MAX {
            return Err(Refused::denied("source_credentials stand in each other"));
        }
        match account["type"].as_str().unwrap_or("service_account") {
            "service_account" => self.service_account(account, scope).await,
            "authorized_user" => self.authorized_user(account).await,
            "external_account" => self.external_account(account, scope, env).await,
            "impersonated_service_account" => {
                let source = &account["source_credentials"];
                let inner = Box::pin(self.google_account(source, scope, env, depth + 1)).await?;
                self.impersonate(account, inner, scope).await
            }
            kind => Err(Refused::denied(format!(
                "the Google account's type {kind:?} is not known: service_account, authorized_user, external_account \
                 and impersonated_service_account are"
            ))),
        }
    }

    async fn service_account(&self, account: &Value, scope: &str) -> Result<Fetched, Refused> {
        let url = account["token_uri"].as_str().unwrap_or(TOKEN_URI);
        let assertion = assertion(account, url, scope, now_unix_s())?;
        let fields = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("assertion", assertion.as_str()),
        ];
        let said = self
            .call(post_form(url.to_owned(), fields.into_iter()))
            .await?;
        token(host(url), &said)
    }

    async fn authorized_user(&self, account: &Value) -> Result<Fetched, Refused> {
        let url = account["token_uri"].as_str().unwrap_or(TOKEN_URI);
        let fields = [
            ("grant_type", "refresh_token"),
            ("client_id", text(account, "client_id")?),
            ("client_secret", text(account, "client_secret")?),
            ("refresh_token", text(account, "refresh_token")?),
        ];
        let said = self
            .call(post_form(url.to_owned(), fields.into_iter()))
            .await?;
        token(host(url), &said)
    }

    /// Workload identity federation: another identity's token is exchanged for one of Google's.
    async fn external_account(
        &self,
        account: &Value,
        scope: &str,
        env: &Variables,
    ) -> Result<Fetched, Refused> {
        let audience = text(account, "audience")?;
        let subject = self.subject(account, audience, env).await?;
        let url = account["token_url"].as_str().unwrap_or(EXCHANGE_URL);
        let project = &account["workforce_pool_user_project"];
        let options = project
            .as_str()
            .map(|project| json!({"userProject": project}).to_string());
        let mut fields = vec![
            (
                "grant_type",
                "urn:ietf:params:oauth:grant-type:token-exchange",
            ),
            ("audience", audience),
            ("scope", scope),
            (
                "requested_token_type",
                "urn:ietf:params:oauth:token-type:access_token",
            ),
            ("subject_token", subject.as_str()),
            ("subject_token_type", text(account, "subject_token_type")?),
        ];
        fields.extend(options.as_deref().map(|options| ("options", options)));
        let mut ask = post_form(url.to_owned(), fields.into_iter());
        if let Some(id) = account["client_id"].as_str() {
            let secret = account["client_secret"].as_str().unwrap_or_default();
            let pair = STANDARD.encode(format!("{id}:{secret}"));
            ask.headers
                .push(("authorization".to_owned(), format!("Basic {pair}")));
        }
        let exchanged = token(host(url), &self.call(ask).await?)?;
        if account["service_account_impersonation_url"].is_string() {
            return self.impersonate(account, exchanged, scope).await;
        }
        Ok(exchanged)
    }

    /// The token that says who we are elsewhere.
    async fn subject(
        &self,
        account: &Value,
        audience: &str,
        env: &Variables,
    ) -> Result<String, Refused> {
        let source = &account["credential_source"];
        let is_aws = source["environment_id"]
            .as_str()
            .is_some_and(|id| id.starts_with("aws"));
        if is_aws {
            return aws::caller_identity(self, source, audience, env).await;
        }
        let found = if let Some(path) = source["file"].as_str() {
            read_file(path).await?
        } else if let Some(url) = source["url"].as_str() {
            let headers = source["headers"].as_object().into_iter().flatten();
            let headers = headers.filter_map(|(name, value)| {
                Some((name.to_ascii_lowercase(), value.as_str()?.to_owned()))
            });
            let said = self
                .get(url.to_owned(), headers.collect(), CALL_TIMEOUT)
                .await?;
            if said.status >= 300 {
                return Err(refusal(host(url), &said));
            }
            String::from_utf8_lossy(&said.body).into_owned()
        } else {
            return Err(Refused::denied(
                "credential_source has no file, url or environment_id of aws (executables are not run)",
            ));
        };
        let format = &source["format"];
        if format["type"] != "json" {
            return Ok(found.trim().to_owned());
        }
        let field = format["subject_token_field_name"]
            .as_str()
            .unwrap_or("access_token");
        let answer: Value = serde_json::from_str(&found).unwrap_or_default();
        answer[field].as_str().map(str::to_owned).ok_or_else(|| {
            Refused::denied(format!("credential_source gives no JSON with {field:?}"))
        })
    }

    /// A service account's token, asked for with another identity's.
    async fn impersonate(
        &self,
        account: &Value,
        as_whom: Fetched,
        scope: &str,
    ) -> Result<Fetched, Refused> {
        let url = text(account, "service_account_impersonation_url")?;
        let Grant::Bearer(bearer) = &as_whom.grant else {
            return Err(Refused::denied("no token to impersonate with"));
        };
        let life = account["service_account_impersonation"]["token_lifetime_seconds"]
            .as_u64()
            .unwrap_or(LIFE_S);
        let mut body = json!({"scope": [scope], "lifetime": format!("{life}s")});
        if account["delegates"].is_array() {
            body["delegates"] = account["delegates"].clone();
        }
        let ask = Ask {
            method: "POST",
            url: url.to_owned(),
            headers: vec![
                (
                    "authorization".to_owned(),
                    format!("Bearer {}", bearer.reveal()),
                ),
                ("content-type".to_owned(), "application/json".to_owned()),
            ],
            body: body.to_string().into_bytes(),
            timeout: CALL_TIMEOUT,
        };
        let said = self.call(ask).await?;
        let answer: Value = serde_json::from_slice(&said.body).unwrap_or_default();
        match answer["accessToken"].as_str() {
            Some(found) if said.status < 300 => Ok(Fetched {
                grant: Grant::Bearer(Secret::new(found)),
                expires_unix_s: moment(&answer["expireTime"]).unwrap_or(now_unix_s() + life),
            }),
            _ => Err(refusal(host(url), &said)),
        }
    }

    /// The machine's own account.
    async fn metadata(&self, scope: &str, env: &Variables) -> Result<Fetched, Refused> {
        let machine = env.get("GCE_METADATA_HOST").unwrap_or(METADATA_HOST);
        let url = format!(
            "http://{machine}/computeMetadata/v1/instance/service-accounts/default/token?scopes={}",
            encode(scope)
        );
        let header = ("metadata-flavor".to_owned(), "Google".to_owned());
        let said = self.get(url, vec![header], NEAR_TIMEOUT).await?;
        token(machine, &said)
    }
}

/// What `gcloud auth application-default login` leaves.
async fn well_known(env: &Variables) -> Option<String> {
    let folder = match (env.get("CLOUDSDK_CONFIG"), env.get("HOME")) {
        (Some(folder), _) => folder.to_owned(),
        (None, Some(home)) => format!("{home}/.config/gcloud"),
        (None, None) => return None,
    };
    read_file(&format!("{folder}/application_default_credentials.json"))
        .await
        .ok()
}

fn text<'a>(account: &'a Value, name: &str) -> Result<&'a str, Refused> {
    account[name]
        .as_str()
        .filter(|text| !text.is_empty())
        .ok_or_else(|| Refused::denied(format!("the Google account has no {name}")))
}

/// A time as Google and AWS write it, as unix time.
pub(super) fn moment(value: &Value) -> Option<u64> {
    let us = calendar::parse(value.as_str()?)?;
    u64::try_from(us / 1_000_000).ok()
}

/// What a service account says of itself, signed with RS256.
fn assertion(
    account: &Value,
    audience: &str,
    scope: &str,
    now_unix_s: u64,
) -> Result<String, Refused> {
    let mut header = json!({"alg": "RS256", "typ": "JWT"});
    if account["private_key_id"].is_string() {
        header["kid"] = account["private_key_id"].clone();
    }
    let claims = json!({
        "iss": text(account, "client_email")?,
        "scope": scope,
        "aud": audience,
        "iat": now_unix_s,
        "exp": now_unix_s + LIFE_S,
    });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let key = private_key(text(account, "private_key")?)?;
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        signed.as_bytes(),
        &mut signature,
    )
    .map_err(|_| Refused::denied("the Google account's private_key cannot sign"))?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// A key in PEM; line ends that were escaped twice are forgiven.
fn private_key(pem: &str) -> Result<RsaKeyPair, Refused> {
    let wrong = |why: &str| Refused::denied(format!("the Google account's private_key {why}"));
    let pem = pem.replace("\\n", "\n");
    let lines = pem.lines().map(str::trim);
    let body: String = lines.filter(|line| !line.starts_with("-----")).collect();
    let der = STANDARD
        .decode(body.trim())
        .map_err(|_| wrong("is no PEM"))?;
    RsaKeyPair::from_pkcs8(&der)
        .or_else(|_| RsaKeyPair::from_der(&der))
        .map_err(|_| wrong("is no RSA key of 2048 bits or more"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_none_are_told() {
        let why = |pem: &str| private_key(pem).err().unwrap().why;
        assert!(
            why("-----BEGIN PRIVATE KEY-----\n???\n-----END PRIVATE KEY-----").contains("no PEM")
        );
        assert!(
            why("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----")
                .contains("no RSA key")
        );
        let account = json!({"private_key": "x"});
        let refused = assertion(&account, "a", "s", 0).err().unwrap();
        assert!(refused.why.contains("client_email"));
    }

    #[test]
    fn times_are_read() {
        assert_eq!(moment(&json!("1970-01-01T00:01:00Z")), Some(60));
        assert_eq!(moment(&json!("soon")), None);
    }
}
