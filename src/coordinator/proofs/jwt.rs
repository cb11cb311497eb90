//! Tokens of an identity provider: the rules of `litellm_jwtauth`, and keys that are fetched by URL,
//! renewed before they grow old and fetched at once when a token names one that is not known.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use shardgate_config::{Config, JwtAuth};

use crate::auth::caller::Denied;
use crate::auth::jwt::{self, Algorithm, Checks, Claims, Identity, Keys, Rules, ScopeRule};
use crate::coordinator::Hooks;
use crate::coordinator::web::{Ask, Web};
use crate::store::now_us;

/// Between two fetches that tokens with unknown keys cause.
const AGAIN: Duration = Duration::from_secs(5);
/// `public_key_ttl` of a configuration without `litellm_jwtauth`.
const USUAL_TTL: Duration = Duration::from_secs(600);

/// Whose tokens are accepted, and what they mean.
pub(super) struct Issuers {
    checks: Checks,
    rules: Rules,
    /// `virtual_key_claim_field`
    key_field: Option<String>,
    /// `custom_validate`: a Python function has the last word.
    custom_validate: bool,
    fixed: Keys,
    urls: Vec<String>,
    ttl: Duration,
    fetched: Mutex<Arc<Keys>>,
    /// When keys were last asked for; one fetch at a time.
    asked: tokio::sync::Mutex<Option<Instant>>,
}

impl Issuers {
    /// None where `enable_jwt_auth` is off.
    pub(super) fn from_config(config: &Config) -> Result<Option<Issuers>, String> {
        if !config.general.enable_jwt_auth {
            return Ok(None);
        }
        let auth = config.general.litellm_jwtauth.as_ref();
        let given = auth.and_then(|auth| auth.public_key_url.clone());
        let outside = || {
            super::oauth::variable(config, "JWT_PUBLIC_KEY_URL")
                .into_iter()
                .collect()
        };
        let urls: Vec<String> = given.unwrap_or_else(outside);
        let urls = urls
            .iter()
            .flat_map(|urls| urls.split(','))
            .map(|url| url.trim().to_owned());
        let urls: Vec<String> = urls.filter(|url| !url.is_empty()).collect();
        let fixed = match auth.and_then(|auth| auth.secret.as_ref()) {
            Some(secret) => Keys::from_secret(secret.expose())
                .map_err(|error| format!("general_settings.litellm_jwtauth.secret: {error}"))?,
            None => Keys::default(),
        };
        let audience = || {
            super::oauth::variable(config, "JWT_AUDIENCE")
                .into_iter()
                .collect()
        };
        Ok(Some(Issuers {
            checks: Checks {
                algorithms: algorithms(auth, &fixed, !urls.is_empty())?,
                issuer: auth.and_then(|auth| auth.issuer.clone()),
                audience: auth
                    .and_then(|auth| auth.audience.clone())
                    .unwrap_or_else(audience),
                leeway_s: auth.map_or(0.0, |auth| auth.leeway.as_secs_f64()),
            },
            rules: auth.map_or_else(usual_rules, rules),
            key_field: auth.and_then(|auth| auth.virtual_key_claim_field.clone()),
            custom_validate: auth.is_some_and(|auth| auth.custom_validate.is_some()),
            fixed,
            urls,
            ttl: auth.map_or(USUAL_TTL, |auth| auth.public_key_ttl),
            fetched: Mutex::default(),
            asked: tokio::sync::Mutex::default(),
        }))
    }

    /// Keys come from elsewhere.
    pub(super) fn fetches(&self) -> bool {
        !self.urls.is_empty()
    }

    /// What a token says, which is signed and in force.
    pub(super) async fn claims(
        &self,
        token: &str,
        web: Option<&Web>,
        hooks: Option<&Hooks>,
    ) -> Result<Claims, Denied> {
        let head = jwt::head(token, &self.checks)?;
        let mut keys = self.keys();
        if !keys.has(&head)
            && let Some(web) = web.filter(|_| self.fetches())
        {
            // What went wrong shows as a key that is not known, and in the log of the renewal.
            let _ = self.fetch(web, AGAIN).await;
            keys = self.keys();
        }
        let claims = jwt::verify(token, &keys, &self.checks, now_us())?;
        if self.custom_validate {
            let hooks = hooks.ok_or_else(Denied::no_database)?;
            let claims = serde_json::Value::Object(claims.clone());
            if hooks.call("custom_validate", claims).await? != serde_json::Value::Bool(true) {
                return Err(Denied::unauthorized(
                    "Authentication Error, litellm_jwtauth.custom_validate refuses the token",
                ));
            }
        }
        Ok(claims)
    }

    /// Whose token says that.
    pub(super) fn identify(&self, claims: &Claims) -> Result<Identity, Denied> {
        let mut identity = self.rules.identify(claims)?;
        identity.ends_us = jwt::ends_us(claims, &self.checks);
        Ok(identity)
    }

    /// The claim that may stand for a key, by its name and value, and who issued it.
    pub(super) fn key_claim(&self, claims: &Claims) -> Option<(&str, String, String)> {
        let field = self.key_field.as_deref()?;
        let one = |field: &str| jwt::texts(claims, field).into_iter().next();
        Some((field, one(field)?, one("iss").unwrap_or_default()))
    }

    /// Fetches the keys when they are due.
    pub(super) async fn renew(&self, web: &Web) -> Result<(), String> {
        if !self.fetches() {
            return Ok(());
        }
        // What failed is tried again sooner than what is merely old.
        let missing = self
            .fetched
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty();
        let every = if missing {
            AGAIN
        } else {
            self.ttl.max(Duration::from_secs(1))
        };
        self.fetch(web, every).await
    }

    fn keys(&self) -> Keys {
        let mut keys = self.fixed.clone();
        let fetched = self
            .fetched
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        keys.extend(Keys::clone(&fetched));
        keys
    }

    /// Unless somebody did within `every`. A provider that does not answer leaves the keys it gave
    /// before in force: its outage is not everybody's.
    async fn fetch(&self, web: &Web, every: Duration) -> Result<(), String> {
        let mut asked = self.asked.lock().await;
        if asked.is_some_and(|at| at.elapsed() < every) {
            return Ok(());
        }
        *asked = Some(Instant::now());
        let mut all = Keys::default();
        for url in &self.urls {
            let found = set(web, url).await;
            all.extend(
                found.map_err(|error| format!("litellm_jwtauth.public_key_url {url}: {error}"))?,
            );
        }
        *self.fetched.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(all);
        Ok(())
    }
}

/// A key set by URL, or by the URL of the document that names it (OpenID discovery).
async fn set(web: &Web, url: &str) -> Result<Keys, String> {
    let document = get(web, url).await?;
    match document.get("jwks_uri").and_then(Value::as_str) {
        Some(of) => Keys::from_set(&get(web, of).await?),
        None => Keys::from_set(&document),
    }
}

async fn get(web: &Web, url: &str) -> Result<Value, String> {
    let ask = Ask {
        method: "GET",
        url,
        headers: &[],
        body: b"",
    };
    let reply = web.call(&ask).await.map_err(|error| error.to_string())?;
    if reply.status != 200 {
        return Err(format!("answered with status {}", reply.status));
    }
    serde_json::from_slice(&reply.body).map_err(|_| "the answer is no JSON".to_owned())
}

fn algorithms(
    auth: Option<&JwtAuth>,
    fixed: &Keys,
    fetches: bool,
) -> Result<Vec<Algorithm>, String> {
    if let Some(names) = auth.and_then(|auth| auth.algorithms.as_ref()) {
        let known = |name: &String| {
            Algorithm::named(name).ok_or_else(|| {
                let all: Vec<&str> = Algorithm::ALL.iter().map(|(name, _)| *name).collect();
                format!(
                    "general_settings.litellm_jwtauth.algorithms must be of {}; got {name}",
                    all.join(", ")
                )
            })
        };
        return names.iter().map(known).collect();
    }
    let mut usual = match fixed.is_empty() {
        true => Vec::new(),
        false => fixed.usual_algorithms(),
    };
    if fetches {
        usual.extend(Keys::default().usual_algorithms());
    }
    Ok(usual)
}

fn usual_rules() -> Rules {
    Rules {
        admin_scope: "litellm_proxy_admin".to_owned(),
        ..Rules::default()
    }
}

fn rules(auth: &JwtAuth) -> Rules {
    Rules {
        admin_scope: auth.admin_jwt_scope.clone(),
        admin_routes: auth.admin_allowed_routes.clone(),
        team_field: auth.team_id_jwt_field.clone(),
        teams_field: auth.team_ids_jwt_field.clone(),
        team_default: auth.team_id_default.clone(),
        team_routes: auth.team_allowed_routes.clone(),
        user_field: auth.user_id_jwt_field.clone(),
        email_field: auth.user_email_jwt_field.clone(),
        email_domain: auth.user_allowed_email_domain.clone(),
        user_roles_field: auth.user_roles_jwt_field.clone(),
        user_roles: auth.user_allowed_roles.clone(),
        end_user_field: auth.end_user_id_jwt_field.clone(),
        organization_field: auth.org_id_jwt_field.clone(),
        roles_field: auth.roles_jwt_field.clone(),
        role_mappings: each(auth.role_mappings.as_deref(), |pair| {
            Some((one(pair, "role")?, one(pair, "internal_role")?))
        }),
        object_field: auth.object_id_jwt_field.clone(),
        scopes: each(auth.scope_mappings.as_deref(), |rule| {
            Some(ScopeRule {
                scope: one(rule, "scope")?,
                models: many(rule, "models"),
                routes: many(rule, "routes"),
            })
        }),
        scopes_bind: auth.enforce_scope_based_access,
        roles_bind: auth.enforce_rbac,
        team_needed: auth.enforce_team_based_model_access,
    }
}

fn each<T>(list: Option<&[Value]>, read: impl Fn(&Value) -> Option<T>) -> Vec<T> {
    list.into_iter().flatten().filter_map(read).collect()
}

fn one(value: &Value, name: &str) -> Option<String> {
    value.get(name)?.as_str().map(str::to_owned)
}

fn many(value: &Value, name: &str) -> Vec<String> {
    match value.get(name) {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(list)) => list
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    }
}
