//! A caller: what a virtual key, its user, team and organization may do, as plain data, and the
//! verdicts on it. Texts, types and statuses are LiteLLM's, since clients match on them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::route;

/// Why a caller is refused, in the fields of an OpenAI error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The HTTP status; also `error.code`.
    pub status: u16,
    /// `error.type`.
    pub kind: &'static str,
    /// `error.param`.
    pub param: Option<&'static str>,
    /// `error.message`.
    pub text: String,
}

impl Denied {
    /// 401, `auth_error`.
    pub fn unauthorized(text: impl Into<String>) -> Denied {
        Denied {
            status: 401,
            kind: "auth_error",
            param: None,
            text: text.into(),
        }
    }

    /// 403, `auth_error`.
    pub fn forbidden(text: impl Into<String>) -> Denied {
        Denied {
            status: 403,
            kind: "auth_error",
            param: None,
            text: text.into(),
        }
    }

    /// The key is not known; the text has the key's hash, never the key.
    pub fn unknown(token: &str) -> Denied {
        Denied {
            status: 401,
            kind: "token_not_found_in_db",
            param: Some("key"),
            text: format!(
                "Authentication Error, Invalid proxy server token passed. Received API Key's \
                 hash = {token}. Unable to find token in cache or `LiteLLM_VerificationToken`"
            ),
        }
    }

    /// The database is away and the key was never seen.
    pub fn no_database() -> Denied {
        Denied {
            status: 503,
            kind: "no_db_connection",
            param: None,
            text: "Service Unavailable, the database is not available and this key is not known \
                   here yet. Come back in a moment."
                .to_owned(),
        }
    }
}

/// What a user may do on the management API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    ProxyAdmin,
    /// Reads everything, calls no model.
    ProxyAdminViewer,
    /// Manages its organizations.
    OrgAdmin,
    /// Has keys of its own.
    InternalUser,
    /// Reads its own spend.
    InternalUserViewer,
    /// A key without a user, or a role we do not know.
    #[default]
    Plain,
}

impl Role {
    /// Reads LiteLLM's name of a role.
    pub fn named(name: &str) -> Role {
        match name {
            "proxy_admin" => Role::ProxyAdmin,
            "proxy_admin_viewer" | "proxy_admin_view_only" => Role::ProxyAdminViewer,
            "org_admin" => Role::OrgAdmin,
            "internal_user" => Role::InternalUser,
            "internal_user_viewer" | "internal_user_view_only" => Role::InternalUserViewer,
            _ => Role::Plain,
        }
    }

    /// LiteLLM's name.
    pub fn name(self) -> &'static str {
        match self {
            Role::ProxyAdmin => "proxy_admin",
            Role::ProxyAdminViewer => "proxy_admin_viewer",
            Role::OrgAdmin => "org_admin",
            Role::InternalUser => "internal_user",
            Role::InternalUserViewer => "internal_user_viewer",
            Role::Plain => "",
        }
    }
}

/// What is known of a key and of those it belongs to.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// The SHA-256 of the key in hexadecimal digits: the name of its row.
    pub token: String,
    /// `sk-...` and the last four letters.
    pub key_name: String,
    /// The key's own name.
    pub key_alias: Option<String>,
    /// Its user.
    pub user_id: Option<String>,
    /// The user's address.
    pub user_email: Option<String>,
    /// The user's role.
    pub role: Role,
    /// Its team.
    pub team_id: Option<String>,
    /// The team's name.
    pub team_alias: Option<String>,
    /// Its organization, or its team's.
    pub organization_id: Option<String>,
    /// Models of the key; empty for all.
    pub models: Vec<String>,
    /// Models of the team.
    pub team_models: Vec<String>,
    /// Models of the user, which bind keys without a team.
    pub user_models: Vec<String>,
    /// Models of the organization.
    pub organization_models: Vec<String>,
    /// Names that the key replaces.
    pub aliases: BTreeMap<String, String>,
    /// Names that the team replaces.
    pub team_aliases: BTreeMap<String, String>,
    /// The only routes of the key; empty for all.
    pub allowed_routes: Vec<String>,
    /// The key is blocked.
    pub blocked: bool,
    /// The team is blocked.
    pub team_blocked: bool,
    /// When the key ends, in microseconds since 1970.
    pub expires_us: Option<i64>,
    /// The key's metadata.
    pub metadata: Map<String, Value>,
    /// The team's metadata.
    pub team_metadata: Map<String, Value>,
    /// `max_budget` of the key in dollars, for `x-litellm-key-max-budget`.
    pub max_budget: Option<f64>,
    /// Tokens a minute of the key.
    pub tpm_limit: Option<u64>,
    /// Requests a minute of the key.
    pub rpm_limit: Option<u64>,
    /// It has no key of its own: an identity provider vouches for it.
    pub is_vouched: bool,
    /// The end user of all its requests, where a token names one.
    pub end_user_id: Option<String>,
}

impl Caller {
    /// The key may be used now at all. `team_required` is `default_team_disabled`.
    ///
    /// # Errors
    /// Blocked, expired, or without a team.
    pub fn usable(&self, now_us: i64, team_required: bool) -> Result<(), Denied> {
        if self.blocked {
            return Err(Denied::unauthorized(
                "Authentication Error, Key is blocked. Update via `/key/unblock` if you're admin.",
            ));
        }
        if self.team_blocked {
            let team = self.team_id.as_deref().unwrap_or("");
            return Err(Denied::unauthorized(format!(
                "Authentication Error, Team={team} is blocked. Update via `/team/unblock` if \
                 you're an admin."
            )));
        }
        if let Some(expires_us) = self.expires_us.filter(|expires_us| *expires_us <= now_us) {
            return Err(Denied {
                status: 401,
                kind: "expired_key",
                param: Some(""),
                text: format!(
                    "Authentication Error, Authentication Error - Expired Key. Key Expiry time {} \
                     and current time {}",
                    super::calendar::text(expires_us),
                    super::calendar::text(now_us)
                ),
            });
        }
        if team_required && self.team_id.is_none() {
            return Err(Denied::forbidden(
                "Authentication Error, keys without a team are refused \
                 (general_settings.default_team_disabled)",
            ));
        }
        Ok(())
    }

    /// The key's own `allowed_routes` hold `path`. An empty list allows all.
    ///
    /// # Errors
    /// 403
    pub fn may_use_route(&self, path: &str) -> Result<(), Denied> {
        if self.allowed_routes.is_empty() || route::listed(&self.allowed_routes, path) {
            return Ok(());
        }
        Err(Denied::forbidden(format!(
            "Virtual key is not allowed to call this route. Only allowed to call routes: {}. \
             Tried to call route: {path}",
            list(&self.allowed_routes)
        )))
    }

    /// The model that a name stands for, by the key's aliases and then its team's.
    pub fn resolve<'a>(&'a self, model: &'a str) -> &'a str {
        let team = self.team_aliases.get(model).map_or(model, String::as_str);
        self.aliases.get(team).map_or(team, String::as_str)
    }

    /// The caller may use `model`, the name after aliases. `in_group` says whether a model belongs
    /// to an access group.
    ///
    /// # Errors
    /// 403 that says whose list lacks it.
    pub fn may_use_model(
        &self,
        model: &str,
        in_group: &dyn Fn(&str, &str) -> bool,
    ) -> Result<(), Denied> {
        let denied = |kind, who: &str| Denied {
            status: 403,
            kind,
            param: Some("model"),
            text: format!(
                "{who} not allowed to access model. Tried to access {model}: it is not available \
                 for this {who}, or is no valid model."
            ),
        };
        let holds = |models: &[String]| allows(models, model, in_group);
        let defers = self.models.iter().any(|name| name == "all-team-models");
        let has_team = self.team_id.is_some();
        if !(holds(&self.models) || defers && has_team) {
            return Err(denied("key_model_access_denied", "key"));
        }
        if has_team && !holds(&self.team_models) {
            return Err(denied("team_model_access_denied", "team"));
        }
        if !has_team && !holds(&self.user_models) {
            return Err(denied("user_model_access_denied", "user"));
        }
        if !holds(&self.organization_models) {
            return Err(denied("org_model_access_denied", "organization"));
        }
        Ok(())
    }

    /// The key belongs to a program and not to a person (/key/service-account/generate).
    pub fn is_service_account(&self) -> bool {
        self.metadata.contains_key("service_account_id")
    }

    /// `metadata.tags` of key and team: what is added to each request's tags.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        let both = [self.metadata.get("tags"), self.team_metadata.get("tags")];
        both.into_iter()
            .flatten()
            .filter_map(Value::as_array)
            .flatten()
            .filter_map(Value::as_str)
    }
}

/// One list of models holds `model`: by name, access group or wildcard. An empty list holds all.
pub fn allows(models: &[String], model: &str, in_group: &dyn Fn(&str, &str) -> bool) -> bool {
    if models.is_empty() {
        return true;
    }
    models.iter().any(|name| match name.as_str() {
        "all-proxy-models" | "*" => true,
        "no-default-models" | "all-team-models" => false,
        name if name == model => true,
        name if name.contains('*') => matches(name, model),
        name => in_group(name, model),
    })
}

/// `pattern` with `*` for any letters fits `text` from end to end. Takes time linear in both for
/// one star, and never more than their product.
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

/// A list as Python prints it.
fn list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| format!("'{item}'")).collect();
    format!("[{}]", items.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn lists_wildcards_and_groups_decide() {
        let group = |group: &str, model: &str| group == "beta" && model == "gpt-5";
        let check = |list: &[&str], model: &str| allows(&names(list), model, &group);
        assert!(check(&[], "any"));
        assert!(check(&["gpt-4"], "gpt-4"));
        assert!(!check(&["gpt-4"], "gpt-4o"));
        assert!(check(&["openai/*"], "openai/gpt-4"));
        assert!(!check(&["openai/*"], "gpt-4"));
        assert!(check(&["*"], "x") && check(&["all-proxy-models"], "x"));
        assert!(check(&["beta"], "gpt-5") && !check(&["beta"], "gpt-4"));
        assert!(!check(&["no-default-models"], "x"));
        assert!(matches("a*b*c", "a-b-b-c") && !matches("a*b*c", "a-c") && !matches("a*a", "a"));
    }

    #[test]
    fn the_key_s_list_then_the_team_s() {
        let none = |_: &str, _: &str| false;
        let mut caller = Caller {
            models: names(&["a", "b"]),
            ..Caller::default()
        };
        assert_eq!(caller.may_use_model("a", &none), Ok(()));
        let denied = caller.may_use_model("c", &none).unwrap_err();
        assert_eq!(
            (denied.status, denied.kind),
            (403, "key_model_access_denied")
        );
        assert!(!denied.text.contains("'a'"), "{}", denied.text);
        caller.team_id = Some("t".to_owned());
        caller.team_models = names(&["a"]);
        let denied = caller.may_use_model("b", &none).unwrap_err();
        assert_eq!(denied.kind, "team_model_access_denied");
        caller.models = names(&["all-team-models"]);
        assert_eq!(caller.may_use_model("a", &none), Ok(()));
    }

    #[test]
    fn a_user_s_list_binds_personal_keys_only() {
        let none = |_: &str, _: &str| false;
        let mut caller = Caller {
            user_models: names(&["a"]),
            ..Caller::default()
        };
        assert_eq!(
            caller.may_use_model("b", &none).unwrap_err().kind,
            "user_model_access_denied"
        );
        caller.team_id = Some("t".to_owned());
        assert_eq!(caller.may_use_model("b", &none), Ok(()));
    }

    #[test]
    fn blocked_and_expired_keys_are_refused() {
        let check = |caller: &Caller| caller.usable(100, false).map_err(|denied| denied.kind);
        assert_eq!(check(&Caller::default()), Ok(()));
        assert_eq!(
            check(&Caller {
                blocked: true,
                ..Caller::default()
            }),
            Err("auth_error")
        );
        assert_eq!(
            check(&Caller {
                team_blocked: true,
                ..Caller::default()
            }),
            Err("auth_error")
        );
        let expired = Caller {
            expires_us: Some(100),
            ..Caller::default()
        };
        assert_eq!(check(&expired), Err("expired_key"));
        let later = Caller {
            expires_us: Some(101),
            ..Caller::default()
        };
        assert_eq!(check(&later), Ok(()));
        assert_eq!(Caller::default().usable(0, true).unwrap_err().status, 403);
    }

    #[test]
    fn aliases_lead_to_targets() {
        let mut caller = Caller::default();
        caller.aliases.insert("fast".to_owned(), "gpt".to_owned());
        caller
            .team_aliases
            .insert("quick".to_owned(), "fast".to_owned());
        assert_eq!(caller.resolve("quick"), "gpt");
        assert_eq!(caller.resolve("other"), "other");
    }
}
