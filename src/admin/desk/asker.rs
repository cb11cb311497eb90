//! Who asks the management API: the master key's holder, or a virtual key's with its user's role.

use std::sync::Arc;

use serde_json::Value;

use super::{Desk, Refusal};
use crate::auth::caller::{Caller, Role};
use crate::auth::route;
use crate::store::{Row, Table};

/// The proof that a request brought.
#[derive(Clone, Debug)]
pub enum Who {
    /// The master key.
    Master,
    /// A virtual key that is known and usable.
    Key(Arc<crate::directory::Account>),
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Asker {
    who: Who,
}

impl Asker {
    /// An asker with this proof.
    pub fn new(who: Who) -> Asker {
        Asker { who }
    }

    /// The master key's holder.
    pub fn master() -> Asker {
        Asker { who: Who::Master }
    }

    /// The virtual key's caller; `None` for the master key.
    pub fn caller(&self) -> Option<&Caller> {
        match &self.who {
            Who::Master => None,
            Who::Key(account) => Some(&account.caller),
        }
    }

    /// Its role.
    pub fn role(&self) -> Role {
        self.caller().map_or(Role::ProxyAdmin, |caller| caller.role)
    }

    /// May do everything.
    pub fn is_admin(&self) -> bool {
        self.role() == Role::ProxyAdmin
    }

    /// May see everything.
    pub fn sees_all(&self) -> bool {
        matches!(self.role(), Role::ProxyAdmin | Role::ProxyAdminViewer)
    }

    /// Its user; LiteLLM's name for the master key's.
    pub fn user_id(&self) -> Option<&str> {
        match self.caller() {
            None => Some("default_user_id"),
            Some(caller) => caller.user_id.as_deref(),
        }
    }

    /// The token of its key as rows keep it.
    pub fn token(&self, desk: &Desk) -> String {
        let rules = desk.rules();
        match self.caller() {
            Some(caller) => caller.token.clone(),
            None if rules.hide_master_token => "litellm_proxy_master_key".to_owned(),
            None => rules.master_token.clone().unwrap_or_default(),
        }
    }

    /// The caller's role opens the route at all.
    ///
    /// # Errors
    /// 401, or 403 for those who may only look.
    pub fn may_call(&self, path: &str, reads: bool) -> Result<(), Refusal> {
        if let Some(caller) = self.caller() {
            caller.may_use_route(path)?;
        }
        if route::role_may(self.role(), route::kind(path), reads) {
            return Ok(());
        }
        Err(self.refused(path))
    }

    /// Refuses all but admins.
    ///
    /// # Errors
    /// 401, or 403 for those who may only look.
    pub fn must_be_admin(&self, path: &str) -> Result<(), Refusal> {
        if self.is_admin() {
            Ok(())
        } else {
            Err(self.refused(path))
        }
    }

    fn refused(&self, path: &str) -> Refusal {
        let role = self.role();
        if role == Role::ProxyAdminViewer {
            return Refusal::forbidden(format!(
                "user not allowed to access this route, role= {}. Trying to access: {path}",
                role.name()
            ));
        }
        Refusal::unauthorized(format!(
            "Authentication Error, Only proxy admin can be used to generate, delete, update info \
             for new keys/users/teams. Route={path}. Your role={}. Your user_id={}",
            if role.name().is_empty() {
                "unknown"
            } else {
                role.name()
            },
            self.user_id().unwrap_or("unknown"),
        ))
    }

    /// The caller manages this team: a proxy admin, an admin of the team, or of its organization.
    ///
    /// # Errors
    /// 403, or the store's.
    pub async fn must_manage_team(&self, desk: &Desk, team: &Row) -> Result<(), Refusal> {
        if self.is_admin() || self.member_role(team) == Some("admin") {
            return Ok(());
        }
        let organization = team.get("organization_id").and_then(Value::as_str);
        if let Some(organization) = organization
            && self.manages_organization(desk, organization).await?
        {
            return Ok(());
        }
        Err(Refusal::forbidden(format!(
            "Call not allowed. User not proxy admin, team admin or organization admin. \
             team_id={}, user_id={}",
            team.get("team_id").and_then(Value::as_str).unwrap_or(""),
            self.user_id().unwrap_or("unknown")
        )))
    }

    /// The caller's role in a team, `admin` or `user`; `None` when it is no member.
    pub fn member_role<'a>(&self, team: &'a Row) -> Option<&'a str> {
        let user = self.caller()?.user_id.as_deref()?;
        let members = team.get("members_with_roles").and_then(Value::as_array)?;
        let of = |member: &'a Value, name: &str| member.get(name).and_then(Value::as_str);
        let found = members
            .iter()
            .find(|member| of(member, "user_id") == Some(user))?;
        of(found, "role").or(Some("user"))
    }

    /// The caller is an admin of this organization.
    ///
    /// # Errors
    /// The store's.
    pub async fn manages_organization(&self, desk: &Desk, id: &str) -> Result<bool, Refusal> {
        if self.is_admin() {
            return Ok(true);
        }
        let Some(user) = self.user_id() else {
            return Ok(false);
        };
        let store = &desk.directory.store;
        let member = store.get(Table::ORGANIZATION_MEMBERS, &[user, id]).await?;
        let role = member
            .as_ref()
            .and_then(|row| row.get("user_role"))
            .and_then(Value::as_str);
        Ok(role == Some("org_admin"))
    }
}
