//! Who somebody is that brings no virtual key: the bearer of a token that an identity provider signed
//! or knows, or whom a trusted proxy names.
//!
//! Shards ask once per token and keep the answer until it ends, under the hash of the whole token.
//! Verification happens here and not on a shard: keys are fetched, users and teams looked up, and a
//! flood of bad tokens costs this thread and not those that serve.

mod function;
mod jwt;
mod oauth;

use std::sync::Arc;

use serde_json::Value;
use shardgate_config::Config;

use super::Control;
use super::web::Web;
use crate::admin::desk::{Desk, Rules, reset_at};
use crate::auth::calendar::Zone;
use crate::auth::caller::Denied;
use crate::auth::jwt::{Identity, Standing, looks_like_one};
use crate::auth::key::KeyHash;
use crate::directory::{Change, Vouched, text};
use crate::log;
use crate::message::{Found, Presented, Proof, ToShard};
use crate::store::{Command, Row, StoreError, Table};

use function::Verdict;

/// What the configuration says about proofs.
#[derive(Default)]
pub(super) struct Proofs {
    jwt: Option<jwt::Issuers>,
    oauth: Option<oauth::Server>,
    web: Option<Web>,
    upsert_users: bool,
    upsert_teams: bool,
}

/// Who somebody is.
enum Known {
    Bearer(Box<Identity>),
    /// A key stands for the bearer (`/jwt/key/mapping/*`).
    Key(KeyHash),
}

/// Why somebody is not let in.
enum No {
    Denied(Denied),
    Store(StoreError),
}

impl From<Denied> for No {
    fn from(denied: Denied) -> No {
        No::Denied(denied)
    }
}

impl From<StoreError> for No {
    fn from(error: StoreError) -> No {
        No::Store(error)
    }
}

impl Proofs {
    /// Reads them from a checked configuration.
    ///
    /// # Errors
    /// What the config's own checks leave open.
    pub(super) fn from_config(config: &Config) -> Result<Proofs, String> {
        let general = &config.general;
        let jwt = jwt::Issuers::from_config(config)?;
        let oauth = oauth::Server::from_config(config)?;
        let calls_out = oauth.is_some() || jwt.as_ref().is_some_and(jwt::Issuers::fetches);
        let rules = general.litellm_jwtauth.as_ref();
        Ok(Proofs {
            jwt,
            oauth,
            web: if calls_out { Some(Web::new()?) } else { None },
            upsert_users: rules.is_some_and(|rules| rules.user_id_upsert),
            upsert_teams: rules.is_some_and(|rules| rules.team_id_upsert),
        })
    }

    async fn identify(&self, proof: &Proof, desk: &Desk) -> Result<Known, No> {
        let hooks = desk.hooks();
        match (proof, &self.jwt, &self.oauth) {
            (Proof::Named(fields), ..) => Ok(Known::Bearer(Box::new(oauth::named(fields)?))),
            (Proof::Bearer(token), Some(jwt), _) if looks_like_one(token.as_bytes()) => {
                let web = self.web.as_ref();
                let claims = jwt.claims(token, web, hooks.as_deref()).await?;
                if let Some((name, value, issuer)) = jwt.key_claim(&claims)
                    && let Some(key) = key_of(desk, name, &value, &issuer).await?
                {
                    return Ok(Known::Key(key));
                }
                Ok(Known::Bearer(Box::new(jwt.identify(&claims)?)))
            }
            (Proof::Bearer(token), _, Some(oauth)) => {
                let identity = oauth.identify(token, self.web.as_ref()).await?;
                Ok(Known::Bearer(Box::new(identity)))
            }
            (Proof::Bearer(_) | Proof::Presented(_), ..) => Err(No::Denied(Denied::unauthorized(
                "Authentication Error, LiteLLM Virtual Key expected: a key starts with 'sk-'.",
            ))),
        }
    }

    async fn vouch(&self, desk: &Desk, identity: &Identity, token: &str) -> Result<Vouched, No> {
        let teams = self.teams(desk, identity).await?;
        let user = self.user(desk, identity, teams.is_empty()).await?;
        let usual = [None];
        let teams: Vec<Option<String>> = match identity.standing {
            Standing::Admin => usual.to_vec(),
            _ if teams.is_empty() => usual.to_vec(),
            _ => teams.into_iter().map(Some).collect(),
        };
        let row = |team: Option<String>| {
            let fields = [
                ("token", Value::from(token)),
                ("key_name", Value::from("token")),
                ("user_id", Value::from(user.clone())),
                ("team_id", Value::from(team)),
                (
                    "organization_id",
                    Value::from(identity.organization_id.clone()),
                ),
                ("models", Value::from(identity.models.clone())),
                ("allowed_routes", Value::from(identity.routes.clone())),
                (
                    "expires",
                    Value::from(identity.ends_us.map(crate::auth::calendar::text)),
                ),
            ];
            fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect::<Row>()
        };
        Ok(Vouched {
            rows: teams.into_iter().map(row).collect(),
            role: identity.role,
            end_user_id: identity.end_user_id.clone(),
            ..Vouched::default()
        })
    }

    /// The teams that are known here, and those that may be made.
    async fn teams(&self, desk: &Desk, identity: &Identity) -> Result<Vec<String>, No> {
        let store = &desk.directory.store;
        let mut known = Vec::new();
        for id in &identity.teams {
            if store.get(Table::TEAMS, &[id]).await?.is_some() {
                known.push(id.clone());
            } else if self.upsert_teams {
                make_team(desk, id).await?;
                known.push(id.clone());
            } else if identity.teams_are_named {
                return Err(No::Denied(Denied::unauthorized(format!(
                    "Authentication Error, Team doesn't exist in db. Team={id}. Create team via \
                     `/team/new` call, or set litellm_jwtauth.team_id_upsert."
                ))));
            }
        }
        if let Some(alias) = identity.team_alias.as_ref().filter(|_| known.is_empty()) {
            let found = store.find(Table::TEAMS, "team_alias", alias).await?;
            known.extend(found.first().and_then(|row| text(row, "team_id")));
        }
        Ok(known)
    }

    /// The user's id: as the token names it, or of the row with the same address.
    async fn user(
        &self,
        desk: &Desk,
        identity: &Identity,
        alone: bool,
    ) -> Result<Option<String>, No> {
        let store = &desk.directory.store;
        let id = identity
            .user_id
            .clone()
            .or_else(|| identity.user_email.clone());
        let Some(id) = id else { return Ok(None) };
        if store.get(Table::USERS, &[&id]).await?.is_some() {
            return Ok(Some(id));
        }
        if let Some(address) = &identity.user_email {
            let found = store.find(Table::USERS, "user_email", address).await?;
            if let Some(known) = found.first().and_then(|row| text(row, "user_id")) {
                return Ok(Some(known));
            }
        }
        if self.upsert_users {
            make_user(desk, identity, &id).await?;
        } else if identity.user_is_named && alone && identity.standing != Standing::Admin {
            return Err(No::Denied(Denied::unauthorized(format!(
                "Authentication Error, User doesn't exist in db. user_id={id}. Create user via \
                 `/user/new` call, or set litellm_jwtauth.user_id_upsert."
            ))));
        }
        Ok(Some(id))
    }
}

/// The key that stands for bearers whose token has this claim: of that issuer, else of any.
async fn key_of(
    desk: &Desk,
    name: &str,
    value: &str,
    issuer: &str,
) -> Result<Option<KeyHash>, StoreError> {
    let store = &desk.directory.store;
    let rows = store
        .find(Table::JWT_KEYS, "jwt_claim_value", value)
        .await?;
    let of = |issuer: &str| {
        let found = rows.iter().find(|row| {
            let is_active = row.get("is_active").and_then(Value::as_bool) == Some(true);
            let named = text(row, "jwt_claim_name").is_some_and(|claim| claim == name);
            is_active && named && text(row, "jwt_issuer").unwrap_or_default() == issuer
        })?;
        KeyHash::from_hex(&text(found, "token")?)
    };
    Ok(of(issuer).or_else(|| of("")))
}

async fn make_team(desk: &Desk, id: &str) -> Result<(), StoreError> {
    let mut row = with_reset(&desk.rules().zone, desk.rules().team_defaults.clone());
    row.insert("team_id".to_owned(), Value::from(id));
    row.insert("team_alias".to_owned(), Value::from(id));
    desk.directory
        .store
        .row(Command::Insert(Table::TEAMS, row))
        .await?;
    desk.directory.changed(Change::Team(id.to_owned())).await;
    Ok(())
}

async fn make_user(desk: &Desk, identity: &Identity, id: &str) -> Result<(), StoreError> {
    let rules: Arc<Rules> = desk.rules();
    let mut row = with_reset(&rules.zone, rules.user_defaults.clone());
    row.insert("user_id".to_owned(), Value::from(id));
    row.insert(
        "user_email".to_owned(),
        Value::from(identity.user_email.clone()),
    );
    let role = identity
        .role
        .map_or("internal_user", crate::auth::caller::Role::name);
    row.entry("user_role").or_insert(Value::from(role));
    desk.directory
        .store
        .row(Command::Insert(Table::USERS, row))
        .await?;
    desk.directory.changed(Change::User(id.to_owned())).await;
    Ok(())
}

/// The defaults of a new row, with the time of its budget's first reset.
fn with_reset(zone: &Zone, mut row: Row) -> Row {
    if let Ok(at) = reset_at(zone, &row, "budget_duration") {
        row.insert("budget_reset_at".to_owned(), at);
    }
    row
}

impl Control {
    /// Whose proof this is.
    ///
    /// # Errors
    /// The refusal; `Ok(Found::Away)` when the store cannot be asked.
    pub async fn prove(&self, hash: KeyHash, proof: &Proof) -> Result<Found, Denied> {
        let token = hash.hex();
        let vouched = match proof {
            Proof::Presented(presented) => match self.judged(presented).await? {
                Verdict::Key(key) => return Ok(Found::Instead(key)),
                Verdict::Vouched(vouched) => Ok(*vouched),
            },
            _ => {
                let proofs = self.proofs();
                match proofs.identify(proof, &self.desk).await {
                    Ok(Known::Key(key)) => return Ok(Found::Instead(key)),
                    Ok(Known::Bearer(who)) => proofs.vouch(&self.desk, &who, &token).await,
                    Err(no) => Err(no),
                }
            }
        };
        let account = match vouched {
            Ok(vouched) => self.desk.directory.introduce(&token, vouched).await,
            Err(No::Store(error)) => Err(error),
            Err(No::Denied(denied)) => return Err(denied),
        };
        match account {
            Ok(account) => Ok(Found::Account(account)),
            Err(error) => {
                log!(
                    self.log,
                    Error,
                    "store",
                    what = "a token's bearer could not be looked up",
                    why = error
                );
                Ok(Found::Away)
            }
        }
    }

    /// What `custom_auth` says of a request.
    async fn judged(&self, presented: &Presented) -> Result<Verdict, Denied> {
        const NAME: &str = "custom_auth";
        let hooks = self.desk.hooks().ok_or_else(Denied::no_database)?;
        let told = hooks.call(NAME, function::question(presented)).await?;
        function::verdict(told, &presented.key, self.desk.rules().custom_checks)
    }
}

/// Tells one shard whose proof it was.
pub(super) async fn answer(control: Arc<Control>, shard: usize, hash: KeyHash, proof: Proof) {
    let turn = control.desk.directory.turn();
    let found = match control.prove(hash, &proof).await {
        Ok(found) => found,
        Err(denied) => Found::Refused(Arc::new(denied)),
    };
    let _ = control.hubs[shard].send(ToShard::Account { hash, found, turn });
}

/// Fetches the keys of identity providers again before anybody needs them.
pub(super) async fn keep_keys(control: Arc<Control>) {
    const LOOK: std::time::Duration = std::time::Duration::from_secs(1);
    loop {
        let proofs = control.proofs();
        if let (Some(jwt), Some(web)) = (&proofs.jwt, &proofs.web)
            && let Err(error) = jwt.renew(web).await
        {
            log!(
                control.log,
                Error,
                "jwt_keys",
                what = "the keys could not be fetched",
                why = error
            );
        }
        tokio::time::sleep(LOOK).await;
    }
}
