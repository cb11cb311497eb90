//! OAuth2: tokens that a server is asked about (introspection), and identities that a trusted proxy
//! in front of us names in headers.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use shardgate_config::Config;

use crate::auth::caller::{Denied, Role};
use crate::auth::jwt::{Identity, Standing};
use crate::coordinator::web::{Ask, Web};
use crate::store::now_us;

/// How long an answer without `exp` is believed, in microseconds.
const BELIEVED_US: i64 = 60_000_000;

/// `enable_oauth2_auth`: the server that knows tokens.
pub(super) struct Server {
    url: String,
    /// `Basic ...` of OAUTH_CLIENT_ID and OAUTH_CLIENT_SECRET: RFC 7662; without them the token itself
    /// is the proof and the endpoint tells its owner's information.
    client: Option<String>,
    user_field: String,
    role_field: String,
    team_field: String,
}

/// A variable as integrations see it: of the section, else of the process; `None` when empty.
pub(super) fn variable(config: &Config, name: &str) -> Option<String> {
    let section = config.environment.iter().find(|(have, _)| have == name);
    let value = section.map(|(_, value)| value.expose().to_owned());
    let value = value.or_else(|| std::env::var(name).ok());
    value.filter(|value| !value.is_empty())
}

impl Server {
    /// None where `enable_oauth2_auth` is off.
    pub(super) fn from_config(config: &Config) -> Result<Option<Server>, String> {
        if !config.general.enable_oauth2_auth {
            return Ok(None);
        }
        let url = variable(config, "OAUTH_TOKEN_INFO_ENDPOINT").ok_or(
            "general_settings.enable_oauth2_auth needs the environment variable \
             OAUTH_TOKEN_INFO_ENDPOINT (the URL that tells whose a token is)",
        )?;
        let id = variable(config, "OAUTH_CLIENT_ID");
        let secret = variable(config, "OAUTH_CLIENT_SECRET");
        let client = id
            .zip(secret)
            .map(|(id, secret)| format!("Basic {}", STANDARD.encode(format!("{id}:{secret}"))));
        let field =
            |name: &str, usual: &str| variable(config, name).unwrap_or_else(|| usual.to_owned());
        Ok(Some(Server {
            url,
            client,
            user_field: field("OAUTH_USER_ID_FIELD_NAME", "sub"),
            role_field: field("OAUTH_USER_ROLE_FIELD_NAME", "role"),
            team_field: field("OAUTH_USER_TEAM_ID_FIELD_NAME", "team_id"),
        }))
    }

    /// Whose token it is.
    pub(super) async fn identify(
        &self,
        token: &str,
        web: Option<&Web>,
    ) -> Result<Identity, Denied> {
        let Some(web) = web else {
            return Err(away("it cannot be called"));
        };
        let told = self.ask(token, web).await?;
        let one = |name: &str| match told.get(name) {
            Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        let role = one(&self.role_field)
            .map(|name| Role::named(&name))
            .filter(|role| *role != Role::Plain);
        let teams: Vec<String> = one(&self.team_field).into_iter().collect();
        let ends = told
            .get("exp")
            .and_then(Value::as_f64)
            .map(|seconds| (seconds * 1e6) as i64);
        if ends.is_some_and(|ends| ends <= now_us()) {
            return Err(Denied::unauthorized(
                "Authentication Error, the OAuth2 token has expired",
            ));
        }
        Ok(Identity {
            standing: standing(role, &teams),
            user_id: one(&self.user_field),
            role,
            teams,
            ends_us: Some(ends.unwrap_or_else(|| now_us() + BELIEVED_US)),
            ..Identity::default()
        })
    }

    async fn ask(&self, token: &str, web: &Web) -> Result<Map<String, Value>, Denied> {
        let bearer = format!("Bearer {token}");
        let form = ("content-type", "application/x-www-form-urlencoded");
        let body = format!("token={}", encoded(token));
        let reply = match &self.client {
            Some(client) => {
                let headers = [("authorization", client.as_str()), form];
                let ask = Ask {
                    method: "POST",
                    url: &self.url,
                    headers: &headers,
                    body: body.as_bytes(),
                };
                web.call(&ask).await
            }
            None => {
                let headers = [("authorization", bearer.as_str())];
                let ask = Ask {
                    method: "GET",
                    url: &self.url,
                    headers: &headers,
                    body: b"",
                };
                web.call(&ask).await
            }
        };
        let reply = reply.map_err(|error| away(&error.to_string()))?;
        match reply.status {
            200 => {}
            400..=499 => {
                return Err(Denied::unauthorized(
                    "Authentication Error, the OAuth2 server refuses the token",
                ));
            }
            status => return Err(away(&format!("it answered with status {status}"))),
        }
        let told = serde_json::from_slice::<Map<String, Value>>(&reply.body);
        let told = told.map_err(|_| away("its answer is no JSON object"))?;
        let active = told
            .get("active")
            .map(|active| active == &Value::Bool(true));
        // RFC 7662 always says it; an endpoint of user information never does.
        if active == Some(false) || self.client.is_some() && active.is_none() {
            return Err(Denied::unauthorized(
                "Authentication Error, the OAuth2 token is not active",
            ));
        }
        Ok(told)
    }
}

fn standing(role: Option<Role>, teams: &[String]) -> Standing {
    match (role, teams.is_empty()) {
        (Some(Role::ProxyAdmin), _) => Standing::Admin,
        (_, false) => Standing::Team,
        (_, true) => Standing::User,
    }
}

fn away(why: &str) -> Denied {
    Denied {
        status: 503,
        kind: "auth_error",
        param: None,
        text: format!(
            "Authentication Error, the OAuth2 server (OAUTH_TOKEN_INFO_ENDPOINT) cannot tell whose \
             token this is: {why}"
        ),
    }
}

/// A value in a form.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(byte.into())
            }
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// Whom a trusted proxy names, by the fields of `oauth2_config_mappings`.
pub(super) fn named(fields: &[(String, String)]) -> Result<Identity, Denied> {
    let one = |name: &str| {
        let found = fields
            .iter()
            .find(|(have, value)| have == name && !value.is_empty());
        found.map(|(_, value)| value.clone())
    };
    let many = |name: &str| -> Vec<String> {
        let values = one(name).unwrap_or_default();
        let values = values
            .split(',')
            .map(str::trim)
            .filter(|value| !value.is_empty());
        values.map(str::to_owned).collect()
    };
    let mut teams = many("team_id");
    let teams_are_named = !teams.is_empty();
    teams.extend(many("groups"));
    // A role comes from the user's row: a header grants none.
    let identity = Identity {
        standing: standing(None, &teams),
        user_id: one("user_id"),
        user_email: one("user_email"),
        teams,
        teams_are_named,
        team_alias: one("team_alias"),
        organization_id: one("org_id"),
        end_user_id: one("end_user_id"),
        models: many("models"),
        ..Identity::default()
    };
    if identity.user_id.is_none() && identity.user_email.is_none() && identity.teams.is_empty() {
        return Err(Denied::unauthorized(
            "Authentication Error, the OAuth2 proxy names nobody (oauth2_config_mappings)",
        ));
    }
    Ok(identity)
}
