//! Who may make, see and change which key, and what it may grant: never more than it has.

use serde_json::Value;

use crate::admin::desk::{Asker, Desk, Refusal, Rules, texts_of};
use crate::auth::calendar::Span;
use crate::auth::caller::{Role, allows};
use crate::directory::text;
use crate::store::{Row, Table};

/// `enable_key_alias_format_validation`
pub(super) fn alias_is_well_formed(rules: &Rules, fields: &Row) -> Result<(), Refusal> {
    let Some(alias) = text(fields, "key_alias").filter(|_| rules.check_aliases) else {
        return Ok(());
    };
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "_-/.@".contains(letter);
    let ends = |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_alphanumeric());
    let length = alias.chars().count();
    if (2..=255).contains(&length)
        && alias.chars().all(fits)
        && ends(alias.chars().next())
        && ends(alias.chars().last())
    {
        return Ok(());
    }
    Err(Refusal::bad(
        "key_alias must have 2 to 255 letters, digits and _-/.@, with a letter or digit at both ends \
         (litellm_settings.enable_key_alias_format_validation)",
    )
    .at("key_alias"))
}

/// What is granted.
#[derive(Clone, Copy)]
pub(super) enum Grant<'a> {
    /// A new key.
    New,
    /// New values of these fields of an old one.
    Changed(&'a Row),
}

/// Fills what the request leaves open, and checks the upper bounds.
pub(super) fn defaults(rules: &Rules, fields: &mut Row) -> Result<(), Refusal> {
    let open = |fields: &Row, name: &str| match fields.get(name) {
        None | Some(Value::Null) => true,
        Some(Value::Array(list)) => list.is_empty(),
        Some(_) => false,
    };
    for (name, value) in &rules.key_defaults {
        if open(fields, name) {
            fields.insert(name.clone(), value.clone());
        }
    }
    for (name, value) in &rules.key_bounds {
        if open(fields, name) {
            fields.insert(name.clone(), value.clone());
        }
    }
    within_bounds(rules, fields)
}

/// `upperbound_key_generate_params`: what a key may ask for at most.
pub(super) fn within_bounds(rules: &Rules, fields: &Row) -> Result<(), Refusal> {
    for (name, bound) in &rules.key_bounds {
        let Some(value) = fields.get(name).filter(|value| !value.is_null()) else {
            continue;
        };
        if exceeds(value, bound) {
            return Err(Refusal::bad(format!(
                "{name} is over max limit set in config - user_value={value}; max_value={bound}"
            ))
            .at(name));
        }
    }
    Ok(())
}

fn exceeds(value: &Value, bound: &Value) -> bool {
    if let (Some(value), Some(bound)) = (value.as_f64(), bound.as_f64()) {
        return value > bound;
    }
    let span = |value: &Value| value.as_str().and_then(|text| text.parse::<Span>().ok());
    match (span(value), span(bound)) {
        (Some(value), Some(bound)) => value.after(0) > bound.after(0),
        _ => false,
    }
}

/// The caller may give a key these fields.
pub(super) async fn may_grant(
    desk: &Desk,
    asker: &Asker,
    fields: &Row,
    grant: Grant<'_>,
) -> Result<(), Refusal> {
    let store = &desk.directory.store;
    let team_id = text(fields, "team_id");
    let team = match &team_id {
        Some(id) => store.get(Table::TEAMS, &[id]).await?,
        None => None,
    };
    if let Grant::New = grant {
        may_make(desk, asker, fields, team.as_ref())?;
    }
    if asker.is_admin() {
        return Ok(());
    }
    owns(asker, fields, team_id.as_deref(), team.as_ref(), desk).await?;
    let limits = match &team {
        Some(team) => team.clone(),
        None => match asker.user_id() {
            Some(user) => store.get(Table::USERS, &[user]).await?.unwrap_or_default(),
            None => Row::new(),
        },
    };
    let named = match grant {
        Grant::New => fields,
        Grant::Changed(fields) => fields,
    };
    no_more_than(named, &limits, matches!(grant, Grant::New))?;
    routes_within(asker, named)
}

/// `key_generation_settings`: an admin is free in teams, but not with personal keys.
fn may_make(desk: &Desk, asker: &Asker, fields: &Row, team: Option<&Row>) -> Result<(), Refusal> {
    let rules = desk.rules();
    let in_team = fields.get("team_id").is_some_and(|id| !id.is_null());
    let making = if in_team {
        &rules.team_keys
    } else {
        &rules.personal_keys
    };
    let Some(making) = making else { return Ok(()) };
    if in_team && asker.is_admin() {
        return Ok(());
    }
    if let Some(roles) = &making.roles {
        let role = match team {
            Some(team) => asker.member_role(team).unwrap_or(""),
            None => asker.role().name(),
        };
        if !roles.iter().any(|allowed| allowed == role) {
            return Err(Refusal::bad(format!(
                "Key creation not allowed for role={role}. \
                 litellm_settings.key_generation_settings allows: {roles:?}"
            )));
        }
    }
    for name in &making.required {
        if fields.get(name).is_none_or(Value::is_null) {
            return Err(Refusal::bad(format!(
                "Required param {name} not in request (litellm_settings.key_generation_settings)"
            ))
            .at(name));
        }
    }
    Ok(())
}

/// A key is for oneself, or for a team whose member one is with leave to make keys.
async fn owns(
    asker: &Asker,
    fields: &Row,
    team_id: Option<&str>,
    team: Option<&Row>,
    desk: &Desk,
) -> Result<(), Refusal> {
    if let Some(id) = team_id {
        let unknown = || Refusal::forbidden(format!("Team={id} is not known, or not yours"));
        let team = team.ok_or_else(unknown)?;
        if asker.must_manage_team(desk, team).await.is_ok() {
            return Ok(());
        }
        let permitted = texts_of(team, "team_member_permissions");
        if asker.member_role(team).is_none() || !permitted.iter().any(|p| p == "/key/generate") {
            return Err(Refusal::forbidden(format!(
                "Team member does not have permissions for /key/generate in team={id}. Allowed: \
                 {permitted:?}"
            )));
        }
    }
    let user = fields.get("user_id").and_then(Value::as_str);
    if user.is_some_and(|user| Some(user) != asker.user_id()) {
        return Err(Refusal::forbidden(format!(
            "User can only create keys for themselves. Got user_id={}, Your ID={}",
            user.unwrap_or(""),
            asker.user_id().unwrap_or("")
        )));
    }
    Ok(())
}

/// Models, budgets and limits stay within those of the team, or the user.
fn no_more_than(fields: &Row, limits: &Row, new: bool) -> Result<(), Refusal> {
    let have = texts_of(limits, "models");
    let wanted = texts_of(fields, "models");
    let special = |name: &String| name == "all-team-models" || name == "no-default-models";
    let none = |_: &str, _: &str| false;
    if let Some(model) = wanted.iter().find(|name| {
        !special(name) && !have.is_empty() && !have.contains(name) && !allows(&have, name, &none)
    }) {
        return Err(Refusal::forbidden(format!("you may not grant model={model}")).at("models"));
    }
    for name in [
        "max_budget",
        "tpm_limit",
        "rpm_limit",
        "max_parallel_requests",
    ] {
        let number = |row: &Row| row.get(name).and_then(Value::as_f64);
        if let (Some(value), Some(most)) = (number(fields), number(limits))
            && value > most
        {
            return Err(Refusal::bad(format!(
                "{name}={value} is more than you have yourself: {most}"
            ))
            .at(name));
        }
    }
    // A key that starts with spend below zero would have more than its budget.
    let spend = fields.get("spend").filter(|value| !value.is_null());
    if !new && spend.is_some() {
        return Err(Refusal::forbidden("only an admin may set spend").at("spend"));
    }
    Ok(())
}

/// A key that is bound to routes cannot make a key that is not.
fn routes_within(asker: &Asker, fields: &Row) -> Result<(), Refusal> {
    let Some(caller) = asker.caller() else {
        return Ok(());
    };
    if caller.allowed_routes.is_empty() {
        return Ok(());
    }
    let wanted = texts_of(fields, "allowed_routes");
    if !wanted.is_empty()
        && wanted
            .iter()
            .all(|route| caller.allowed_routes.contains(route))
    {
        return Ok(());
    }
    Err(
        Refusal::forbidden("allowed_routes must be among those of your own key")
            .at("allowed_routes"),
    )
}

/// The caller may see this key: its own, its user's, or one of a team it manages.
pub(super) async fn may_see(desk: &Desk, asker: &Asker, key: &Row) -> Result<(), Refusal> {
    if asker.sees_all() {
        return Ok(());
    }
    let own = asker.caller().map(|caller| caller.token.clone());
    if own.is_some() && own == text(key, "token") {
        return Ok(());
    }
    may_change(desk, asker, key).await
}

/// The caller may change this key: its user's, or one of a team it manages.
pub(super) async fn may_change(desk: &Desk, asker: &Asker, key: &Row) -> Result<(), Refusal> {
    let user = text(key, "user_id");
    if user.is_some() && user.as_deref() == asker.user_id() && asker.role() != Role::Plain {
        return Ok(());
    }
    may_manage(desk, asker, key).await
}

/// The caller manages this key's team, or everything.
pub(super) async fn may_manage(desk: &Desk, asker: &Asker, key: &Row) -> Result<(), Refusal> {
    if asker.is_admin() {
        return Ok(());
    }
    if let Some(id) = text(key, "team_id")
        && let Some(team) = desk.directory.store.get(Table::TEAMS, &[&id]).await?
        && asker.must_manage_team(desk, &team).await.is_ok()
    {
        return Ok(());
    }
    Err(Refusal::forbidden(
        "You are not authorized to access this key",
    ))
}
