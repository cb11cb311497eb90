//! AWS's two managers: Secrets Manager, which keeps secrets, and KMS, which keeps none but opens those that the
//! environment has as ciphertexts.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::ciphertext::{Ciphertexts, opened};
use super::manager::{Env, Question, needed, owned};
use crate::coordinator::web::Web;
use crate::provider::{Credentials, Secret, SignedRequest, SignedScope, sign};
use crate::store::secret::uuid;

/// One of AWS's services.
struct Service {
    /// As it is signed and addressed.
    name: &'static str,
    /// What its actions begin with.
    actions: &'static str,
    /// The variable that names another endpoint.
    endpoint: &'static str,
}

const SECRETS_MANAGER: Service = Service {
    name: "secretsmanager",
    actions: "secretsmanager",
    endpoint: "AWS_ENDPOINT_URL_SECRETS_MANAGER",
};

const KMS: Service = Service {
    name: "kms",
    actions: "TrentService",
    endpoint: "AWS_ENDPOINT_URL_KMS",
};

/// One of them in a region.
pub(super) struct Aws {
    url: String,
    region: String,
    credentials: Credentials,
    service: &'static Service,
}

impl Aws {
    /// Secrets Manager.
    pub(super) fn secrets_manager(env: Env<'_>) -> Result<Aws, String> {
        Aws::of(&SECRETS_MANAGER, env)
    }

    fn of(service: &'static Service, env: Env<'_>) -> Result<Aws, String> {
        let region = needed(
            env,
            &["AWS_REGION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION"],
        )?;
        let url = needed(env, &[service.endpoint, "AWS_ENDPOINT_URL"]);
        Ok(Aws {
            url: url.unwrap_or_else(|_| format!("https://{}.{region}.amazonaws.com", service.name)),
            region,
            service,
            credentials: Credentials {
                access_key: needed(env, &["AWS_ACCESS_KEY_ID"])?,
                secret_key: Secret::new(needed(env, &["AWS_SECRET_ACCESS_KEY"])?),
                session_token: needed(env, &["AWS_SESSION_TOKEN"]).ok().map(Secret::new),
            },
        })
    }

    pub(super) fn question(&self, action: &str, body: &Value) -> Question {
        let kind = "application/x-amz-json-1.1";
        let body = body.to_string();
        let host = self.url.split_once("://").map_or("", |(_, rest)| rest);
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
            &self.credentials,
            &SignedScope {
                region: &self.region,
                service: self.service.name,
                now_unix_s: now.map_or(0, |since| since.as_secs()),
            },
        );
        let mut headers = vec![
            owned("content-type", kind),
            owned(
                "x-amz-target",
                &format!("{}.{action}", self.service.actions),
            ),
        ];
        headers.extend(signed);
        Question {
            method: "POST",
            url: format!("{}/", self.url.trim_end_matches('/')),
            headers,
            body,
        }
    }

    /// Makes a secret, or gives the one of that name a new value; one whose deletion is planned comes back.
    pub(super) async fn put(&self, web: &Web, name: &str, value: &str) -> Result<(), String> {
        let make = json!({"Name": name, "SecretString": value, "ClientRequestToken": uuid()});
        let told = self.question("CreateSecret", &make).ask(web).await?;
        let restore = match told.kind() {
            _ if told.status == 200 => return Ok(()),
            "ResourceExistsException" => false,
            "InvalidRequestException" => true,
            _ => return Err(told.refusal(name)),
        };
        if restore {
            let restored = self.question("RestoreSecret", &json!({"SecretId": name}));
            restored.ask(web).await?.accepted(name)?;
        }
        let change = json!({"SecretId": name, "SecretString": value, "ClientRequestToken": uuid()});
        let told = self.question("PutSecretValue", &change).ask(web).await?;
        told.accepted(name)
    }
}

/// KMS, and what it is to open.
pub(super) struct Kms {
    aws: Aws,
    /// The only key that may open them, where one is named.
    key: Option<String>,
    ciphertexts: Ciphertexts,
}

impl Kms {
    /// `names` are those that the environment may have as ciphertexts.
    pub(super) fn of(
        key: Option<&str>,
        names: &BTreeSet<String>,
        env: Env<'_>,
    ) -> Result<Kms, String> {
        Ok(Kms {
            aws: Aws::of(&KMS, env)?,
            key: key.map(str::to_owned),
            ciphertexts: Ciphertexts::of(names, env),
        })
    }

    /// One of the environment's ciphertexts, opened; none where the environment has it plain or not at all.
    pub(super) async fn open(&self, web: &Web, name: &str) -> Result<Option<String>, String> {
        let Some(ciphertext) = self.ciphertexts.get(name) else {
            return Ok(None);
        };
        let mut body = json!({ "CiphertextBlob": ciphertext });
        if let Some(key) = &self.key {
            body["KeyId"] = key.as_str().into();
        }
        let told = self.aws.question("Decrypt", &body).ask(web).await?;
        if matches!(
            told.kind(),
            "InvalidCiphertextException" | "IncorrectKeyException"
        ) {
            return Err(Ciphertexts::foreign(name));
        }
        told.accepted(name)?;
        opened(told.body["Plaintext"].as_str())
    }
}
