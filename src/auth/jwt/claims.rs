//! What a token's claims mean here: whose it is, and what they may do.

use serde_json::Value;

use super::Claims;
use crate::auth::caller::{Denied, Role};

/// Routes of an administrator's token where nobody says which, as LiteLLM has them.
const ADMIN_ROUTES: [&str; 4] = [
    "management_routes",
    "spend_tracking_routes",
    "global_spend_tracking_routes",
    "info_routes",
];
/// Routes of a team's token where nobody says which.
const TEAM_ROUTES: [&str; 2] = ["openai_routes", "info_routes"];
/// Teams of one token, at most.
const TEAMS_MAX: usize = 64;

/// `litellm_jwtauth` where it is about claims. Fields name claims, nested ones with dots.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// `admin_jwt_scope`
    pub admin_scope: String,
    /// `admin_allowed_routes`
    pub admin_routes: Option<Vec<String>>,
    /// `team_id_jwt_field`
    pub team_field: Option<String>,
    /// `team_ids_jwt_field`
    pub teams_field: Option<String>,
    /// `team_id_default`
    pub team_default: Option<String>,
    /// `team_allowed_routes`
    pub team_routes: Option<Vec<String>>,
    /// `user_id_jwt_field`
    pub user_field: Option<String>,
    /// `user_email_jwt_field`
    pub email_field: Option<String>,
    /// `user_allowed_email_domain`
    pub email_domain: Option<String>,
    /// `user_roles_jwt_field`
    pub user_roles_field: Option<String>,
    /// `user_allowed_roles`
    pub user_roles: Option<Vec<String>>,
    /// `end_user_id_jwt_field`
    pub end_user_field: Option<String>,
    /// `org_id_jwt_field`
    pub organization_field: Option<String>,
    /// `roles_jwt_field`
    pub roles_field: Option<String>,
    /// `role_mappings`: a role of the token, and LiteLLM's.
    pub role_mappings: Vec<(String, String)>,
    /// `object_id_jwt_field`
    pub object_field: Option<String>,
    /// `scope_mappings`
    pub scopes: Vec<ScopeRule>,
    /// `enforce_scope_based_access`
    pub scopes_bind: bool,
    /// `enforce_rbac`
    pub roles_bind: bool,
    /// `enforce_team_based_model_access`
    pub team_needed: bool,
}

/// What a scope allows.
#[derive(Clone, Debug, Default)]
pub struct ScopeRule {
    /// The scope.
    pub scope: String,
    /// Its models.
    pub models: Vec<String>,
    /// Its routes; empty for all.
    pub routes: Vec<String>,
}

/// What a token makes of its bearer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// An administrator.
    Admin,
    /// Somebody of a team.
    Team,
    /// A user.
    #[default]
    User,
}

/// Whose a token is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identity {
    /// What it is here.
    pub standing: Standing,
    /// Its user.
    pub user_id: Option<String>,
    /// A setting names the claim of the user: it must be known.
    pub user_is_named: bool,
    /// The user's address.
    pub user_email: Option<String>,
    /// The role that the token gives, over that of the user's row.
    pub role: Option<Role>,
    /// Its teams; the first one that may use the model pays.
    pub teams: Vec<String>,
    /// The teams must be known, or be made.
    pub teams_are_named: bool,
    /// A name for the team, where the token has one.
    pub team_alias: Option<String>,
    /// Its organization.
    pub organization_id: Option<String>,
    /// The end user of all its requests.
    pub end_user_id: Option<String>,
    /// The only models; empty for all.
    pub models: Vec<String>,
    /// The only routes; empty for all.
    pub routes: Vec<String>,
    /// When it ends, in microseconds since 1970.
    pub ends_us: Option<i64>,
}

impl Rules {
    /// Whose token has these claims, and what they may do.
    ///
    /// # Errors
    /// 403 that names the rule.
    pub fn identify(&self, claims: &Claims) -> Result<Identity, Denied> {
        let scopes = words(claims.get("scope"));
        let mapped = self.mapped_role(claims);
        if scopes.contains(&self.admin_scope) || mapped == Some("proxy_admin") {
            return Ok(self.admin(claims));
        }
        let mut identity = self.plain(claims);
        self.object(claims, mapped, &mut identity)?;
        self.email(&identity)?;
        self.roles(claims, mapped, &identity)?;
        if self.scopes_bind && !self.scopes.is_empty() {
            self.by_scopes(&scopes, &mut identity)?;
        }
        if self.team_needed && identity.teams.is_empty() {
            return Err(Denied::forbidden(
                "the JWT names no team (litellm_jwtauth.enforce_team_based_model_access)",
            ));
        }
        Ok(identity)
    }

    fn admin(&self, claims: &Claims) -> Identity {
        let routes = self.admin_routes.clone();
        Identity {
            standing: Standing::Admin,
            role: Some(Role::ProxyAdmin),
            routes: routes.unwrap_or_else(|| ADMIN_ROUTES.map(str::to_owned).to_vec()),
            teams: Vec::new(),
            user_is_named: false,
            ..self.plain(claims)
        }
    }

    fn plain(&self, claims: &Claims) -> Identity {
        let one =
            |field: &Option<String>| words(find(claims, field.as_deref()?)).into_iter().next();
        let mut teams: Vec<String> = one(&self.team_field).into_iter().collect();
        if let Some(field) = &self.teams_field {
            let more = words(find(claims, field));
            teams.extend(more.into_iter().filter(|id| !id.is_empty()).take(TEAMS_MAX));
        }
        if teams.is_empty() {
            teams.extend(self.team_default.clone());
        }
        let mut seen = std::collections::HashSet::new();
        teams.retain(|id| seen.insert(id.clone()));
        let standing = if teams.is_empty() {
            Standing::User
        } else {
            Standing::Team
        };
        let routes = match standing {
            Standing::Team => {
                let routes = self.team_routes.clone();
                routes.unwrap_or_else(|| TEAM_ROUTES.map(str::to_owned).to_vec())
            }
            _ => Vec::new(),
        };
        let usual = Some("sub".to_owned());
        let field = if self.user_field.is_some() {
            &self.user_field
        } else {
            &usual
        };
        Identity {
            standing,
            user_id: one(field),
            user_is_named: self.user_field.is_some(),
            user_email: one(&self.email_field),
            teams,
            // Groups of an identity provider need not all be teams here.
            teams_are_named: self.teams_field.is_none(),
            organization_id: one(&self.organization_field),
            end_user_id: one(&self.end_user_field),
            routes,
            ..Identity::default()
        }
    }

    /// LiteLLM's role for the token's, the mightiest of several.
    fn mapped_role(&self, claims: &Claims) -> Option<&str> {
        let roles = words(find(claims, self.roles_field.as_deref()?));
        let fitting = |internal: &str| {
            let pairs = self.role_mappings.iter();
            let mut pairs = pairs.filter(|(_, have)| have == internal);
            pairs.any(|(role, _)| roles.contains(role))
        };
        ["proxy_admin", "team", "internal_user"]
            .into_iter()
            .find(|internal| fitting(internal))
    }

    /// `object_id_jwt_field`: a team's id or a user's, by the mapped role.
    fn object(
        &self,
        claims: &Claims,
        mapped: Option<&str>,
        identity: &mut Identity,
    ) -> Result<(), Denied> {
        let Some(field) = &self.object_field else {
            return Ok(());
        };
        let Some(id) = words(find(claims, field)).into_iter().next() else {
            return Err(Denied::forbidden(format!(
                "the JWT has no claim {field} (litellm_jwtauth.object_id_jwt_field)"
            )));
        };
        match mapped {
            Some("team") => {
                identity.standing = Standing::Team;
                identity.teams = vec![id];
                identity.teams_are_named = true;
                let routes = self.team_routes.clone();
                identity.routes = routes.unwrap_or_else(|| TEAM_ROUTES.map(str::to_owned).to_vec());
            }
            Some(_) => {
                identity.user_id = Some(id);
                identity.user_is_named = true;
            }
            None => {}
        }
        Ok(())
    }

    fn email(&self, identity: &Identity) -> Result<(), Denied> {
        let Some(domain) = &self.email_domain else {
            return Ok(());
        };
        let address = identity.user_email.as_deref().unwrap_or("");
        let of = address.rsplit_once('@').map_or("", |(_, of)| of);
        if of.eq_ignore_ascii_case(domain.trim_start_matches('@')) {
            return Ok(());
        }
        Err(Denied::forbidden(format!(
            "users of the domain {domain} only (litellm_jwtauth.user_allowed_email_domain)"
        )))
    }

    fn roles(
        &self,
        claims: &Claims,
        mapped: Option<&str>,
        identity: &Identity,
    ) -> Result<(), Denied> {
        let known = self.user_roles.as_ref().map(|allowed| {
            let field = self.user_roles_field.as_deref().unwrap_or("roles");
            let have = words(find(claims, field));
            have.iter().any(|role| allowed.contains(role))
        });
        let standing = identity.standing == Standing::Team || mapped.is_some();
        if known == Some(false) && !standing {
            return Err(Denied::forbidden(
                "the JWT has none of the roles that are allowed (litellm_jwtauth.user_allowed_roles)",
            ));
        }
        if !self.roles_bind || known == Some(true) || standing {
            return Ok(());
        }
        let by_claims = self.role_mappings.is_empty() && self.user_roles.is_none();
        if by_claims && identity.user_is_named && identity.user_id.is_some() {
            return Ok(());
        }
        Err(Denied::forbidden(
            "Unmatched token passed in. enforce_rbac is set to True. Token must belong to a proxy \
             admin, team, or user.",
        ))
    }

    /// `scope_mappings` with `enforce_scope_based_access`.
    fn by_scopes(&self, scopes: &[String], identity: &mut Identity) -> Result<(), Denied> {
        let mine: Vec<&ScopeRule> = self
            .scopes
            .iter()
            .filter(|rule| scopes.contains(&rule.scope))
            .collect();
        if mine.is_empty() {
            return Err(Denied::forbidden(
                "the JWT has no scope that allows anything (litellm_jwtauth.scope_mappings)",
            ));
        }
        let models = mine.iter().flat_map(|rule| rule.models.iter().cloned());
        identity.models = models.collect();
        if identity.models.is_empty() {
            identity.models = vec!["no-default-models".to_owned()];
        }
        if mine.iter().all(|rule| !rule.routes.is_empty()) {
            let routes = mine.iter().flat_map(|rule| rule.routes.iter().cloned());
            identity.routes = routes.collect();
        }
        Ok(())
    }
}

/// A claim by name: `a.b` is `b` in `a`, unless there is one called `a.b`.
pub(super) fn find<'a>(claims: &'a Claims, path: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    let dots = path.match_indices('.').map(|(at, _)| at);
    dots.rev().find_map(|dot| {
        let below = claims.get(&path[..dot])?.as_object()?;
        find(below, &path[dot + 1..])
    })
}

/// The texts of the claim at that path.
pub fn texts(claims: &Claims, path: &str) -> Vec<String> {
    words(find(claims, path))
}

/// The texts of a claim: a list, words with blanks between, or a number.
fn words(claim: Option<&Value>) -> Vec<String> {
    match claim {
        Some(Value::String(text)) => text.split_whitespace().map(str::to_owned).collect(),
        Some(Value::Number(number)) => vec![number.to_string()],
        Some(Value::Array(list)) => {
            let texts = list.iter().filter_map(|item| match item {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            });
            texts.collect()
        }
        _ => Vec::new(),
    }
}
