//! `/team/member_*`: who is in a team, as what, and with which budget there.
//!
//! LiteLLM keeps membership in three places: the team's `members_with_roles`, the user's `teams`,
//! and a row of its own with the spend. They are changed together.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::team;
use crate::admin::desk::{
    Answer, Asker, Desk, Fields, Refusal, put, required, reset_at, shown, shown_all, texts_of,
};
use crate::admin::routes::Routes;
use crate::directory::{Change, text};
use crate::store::secret::uuid;
use crate::store::{Command, Row, Table};

type Shared = State<Arc<Desk>>;

pub(super) fn routes() -> Routes<Arc<Desk>> {
    Routes::new()
        .post("/team/member_add", add, "Adds members to a team.")
        .fields(&["team_id", "member", "max_budget_in_team"])
        .needs(&["team_id", "member"])
        .post(
            "/team/bulk_member_add",
            add_many,
            "Adds several members to a team.",
        )
        .fields(&["team_id", "members", "max_budget_in_team"])
        .needs(&["team_id", "members"])
        .post(
            "/team/member_update",
            update,
            "Changes a member's role and limits in a team.",
        )
        .fields(&[
            "team_id",
            "user_id",
            "user_email",
            "role",
            "max_budget_in_team",
            "tpm_limit",
            "rpm_limit",
            "budget_duration",
        ])
        .needs(&["team_id"])
        .post(
            "/team/member_delete",
            delete,
            "Takes a member out of a team, with its keys there.",
        )
        .fields(&["team_id", "user_id", "user_email"])
        .needs(&["team_id"])
}

fn members(team: &Row) -> Vec<Value> {
    team.get("members_with_roles")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default()
}

fn is_user(member: &Value, user: &str) -> bool {
    member.get("user_id").and_then(Value::as_str) == Some(user)
}

/// The user is in the team.
pub(super) fn is_member(team: &Row, user: &str) -> bool {
    members(team).iter().any(|member| is_user(member, user))
}

/// The user's role in the team, `admin` or `user`; `None` when it is no member.
pub(super) fn role(team: &Row, user: &str) -> Option<String> {
    let members = members(team);
    let member = members.iter().find(|member| is_user(member, user))?;
    let role = member.get("role").and_then(Value::as_str);
    Some(role.unwrap_or("user").to_owned())
}

/// Puts a user into a team; `budget` is the row that limits it there.
pub(super) async fn join(
    desk: &Desk,
    team_id: &str,
    user: &Row,
    role: &str,
    budget: Option<String>,
) -> Result<Row, Refusal> {
    let team = team::row(desk, team_id).await?;
    let id = text(user, "user_id").unwrap_or_default();
    let mut list = members(&team);
    list.retain(|member| !is_user(member, &id));
    list.push(json!({"user_id": id, "user_email": user.get("user_email"), "role": role}));
    let mut teams = texts_of(user, "teams");
    if !teams.iter().any(|have| have == team_id) {
        teams.push(team_id.to_owned());
    }
    let field = |name: &str, value: Value| Row::from_iter([(name.to_owned(), value)]);
    let mut member = field("budget_id", budget.map_or(Value::Null, Value::from));
    put(&mut member, "user_id", id.clone());
    put(&mut member, "team_id", team_id);
    let (by_team, by_user) = (vec![team_id.to_owned()], vec![id.clone()]);
    desk.directory
        .store
        .transact(vec![
            Command::Update(
                Table::TEAMS,
                by_team,
                field("members_with_roles", list.into()),
            ),
            Command::Update(Table::USERS, by_user, field("teams", teams.into())),
            Command::Insert(Table::TEAM_MEMBERS, member),
        ])
        .await?;
    desk.directory.changed(Change::User(id)).await;
    team::row(desk, team_id).await
}

/// Takes a user out of a team.
pub(super) async fn leave(desk: &Desk, team_id: &str, user_id: &str) -> Result<(), Refusal> {
    let store = &desk.directory.store;
    let mut commands = vec![Command::Delete(
        Table::TEAM_MEMBERS,
        vec![user_id.to_owned(), team_id.to_owned()],
    )];
    if let Some(team) = store.get(Table::TEAMS, &[team_id]).await? {
        let mut list = members(&team);
        list.retain(|member| !is_user(member, user_id));
        let changes = Row::from_iter([("members_with_roles".to_owned(), Value::from(list))]);
        commands.push(Command::Update(
            Table::TEAMS,
            vec![team_id.to_owned()],
            changes,
        ));
    }
    if let Some(user) = store.get(Table::USERS, &[user_id]).await? {
        let mut teams = texts_of(&user, "teams");
        teams.retain(|have| have != team_id);
        let changes = Row::from_iter([("teams".to_owned(), Value::from(teams))]);
        commands.push(Command::Update(
            Table::USERS,
            vec![user_id.to_owned()],
            changes,
        ));
    }
    store.transact(commands).await?;
    desk.directory
        .changed(Change::User(user_id.to_owned()))
        .await;
    Ok(())
}

/// The user that a member names, by id or address; made when there is none yet.
async fn user_of(desk: &Desk, member: &Value) -> Result<Row, Refusal> {
    let named = |name: &str| member.get(name).and_then(Value::as_str);
    let store = &desk.directory.store;
    let mut row = Row::new();
    match (named("user_id"), named("user_email")) {
        (Some(id), address) => {
            if let Some(user) = store.get(Table::USERS, &[id]).await? {
                return Ok(user);
            }
            put(&mut row, "user_id", id);
            put(&mut row, "user_email", address);
        }
        (None, Some(address)) => {
            if let Some(user) = store.find(Table::USERS, "user_email", address).await?.pop() {
                return Ok(user);
            }
            put(&mut row, "user_id", uuid());
            put(&mut row, "user_email", address);
        }
        (None, None) => return Err(Refusal::bad("a member needs user_id or user_email")),
    }
    put(&mut row, "user_role", "internal_user");
    Ok(store
        .row(Command::Insert(Table::USERS, row))
        .await?
        .unwrap_or_default())
}

/// A budget row for members of a team.
async fn member_budget(
    desk: &Desk,
    asker: &Asker,
    fields: &Row,
) -> Result<Option<String>, Refusal> {
    let mut row = Row::new();
    let named = [
        ("max_budget_in_team", "max_budget"),
        ("tpm_limit", "tpm_limit"),
        ("rpm_limit", "rpm_limit"),
        ("budget_duration", "budget_duration"),
    ];
    for (name, column) in named {
        if let Some(value) = fields.get(name).filter(|value| !value.is_null()) {
            put(&mut row, column, value.clone());
        }
    }
    if row.is_empty() {
        return Ok(None);
    }
    let id = uuid();
    put(&mut row, "budget_id", id.clone());
    put(
        &mut row,
        "budget_reset_at",
        reset_at(&desk.rules().zone, fields, "budget_duration")?,
    );
    put(&mut row, "created_by", asker.user_id().unwrap_or(""));
    put(&mut row, "updated_by", asker.user_id().unwrap_or(""));
    desk.directory
        .store
        .rows(Command::Insert(Table::BUDGETS, row))
        .await?;
    Ok(Some(id))
}

/// Adds members; answers the team, the users and the memberships.
pub(super) async fn add_all(
    desk: &Desk,
    asker: &Asker,
    team: &Row,
    wanted: &[Value],
    budget: Option<Value>,
) -> Result<(Row, Vec<Row>, Vec<Row>), Refusal> {
    let id = text(team, "team_id").unwrap_or_default();
    let mut current = team.clone();
    let (mut users, mut memberships) = (Vec::new(), Vec::new());
    for member in wanted {
        let role = member.get("role").and_then(Value::as_str).unwrap_or("user");
        if !matches!(role, "admin" | "user") {
            return Err(Refusal::bad(format!("role must be admin or user; got {role}")).at("role"));
        }
        let user = user_of(desk, member).await?;
        let user_id = text(&user, "user_id").unwrap_or_default();
        let fields = Row::from_iter([(
            "max_budget_in_team".to_owned(),
            budget.clone().unwrap_or(Value::Null),
        )]);
        let budget = member_budget(desk, asker, &fields).await?;
        current = join(desk, &id, &user, role, budget).await?;
        let store = &desk.directory.store;
        users.extend(store.get(Table::USERS, &[&user_id]).await?);
        memberships.extend(store.get(Table::TEAM_MEMBERS, &[&user_id, &id]).await?);
    }
    Ok((current, users, memberships))
}

async fn add(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    let id = required(&fields, "team_id")?;
    let team = team::row(&desk, &id).await?;
    asker.must_manage_team(&desk, &team).await?;
    let wanted = match fields.get("member").or_else(|| fields.get("members")) {
        Some(Value::Array(many)) => many.clone(),
        Some(one @ Value::Object(_)) => vec![one.clone()],
        _ => return Err(Refusal::bad("member must be given").at("member")),
    };
    let named = |member: &Value| {
        member
            .get("user_id")
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    if let Some(user) = wanted
        .iter()
        .filter_map(named)
        .find(|user| is_member(&team, user))
    {
        return Err(Refusal::bad(format!(
            "User={user} already in team. Member: user_id={user}"
        ))
        .at("user_id"));
    }
    let budget = fields.get("max_budget_in_team").cloned();
    let (team, users, memberships) = add_all(&desk, &asker, &team, &wanted, budget).await?;
    let mut answer = shown(Table::TEAMS, team);
    put(&mut answer, "updated_users", shown_all(Table::USERS, users));
    put(
        &mut answer,
        "updated_team_memberships",
        shown_all(Table::TEAM_MEMBERS, memberships),
    );
    Ok(Json(Value::Object(answer)))
}

/// Adds each member by itself; one that cannot be added does not stop the others.
async fn add_many(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    const MEMBERS_MAX: usize = 500;
    let id = required(&fields, "team_id")?;
    let mut team = team::row(&desk, &id).await?;
    asker.must_manage_team(&desk, &team).await?;
    let wanted = match fields.get("members") {
        Some(Value::Array(many)) if (1..=MEMBERS_MAX).contains(&many.len()) => many.clone(),
        _ => {
            let text = format!("members must be a list of 1 to {MEMBERS_MAX} members");
            return Err(Refusal::bad(text).at("members"));
        }
    };
    let budget = fields.get("max_budget_in_team").cloned();
    let (mut results, mut added) = (Vec::new(), 0);
    for member in &wanted {
        let known = member.get("user_id").and_then(Value::as_str);
        let one = match known.is_some_and(|user| is_member(&team, user)) {
            true => Err(Refusal::bad("already in team")),
            false => {
                let one = std::slice::from_ref(member);
                add_all(&desk, &asker, &team, one, budget.clone()).await
            }
        };
        let mut result = json!({"user_id": member.get("user_id"),
            "user_email": member.get("user_email"), "success": one.is_ok()});
        match one {
            Ok((after, users, memberships)) => {
                added += 1;
                team = after;
                result["updated_user"] = shown_all(Table::USERS, users)[0].take();
                result["updated_team_membership"] =
                    shown_all(Table::TEAM_MEMBERS, memberships)[0].take();
            }
            Err(refusal) => result["error"] = Value::from(refusal.text()),
        }
        results.push(result);
    }
    Ok(Json(json!({
        "team_id": id, "results": results, "total_requested": wanted.len(),
        "successful_additions": added, "failed_additions": wanted.len() - added,
        "updated_team": shown(Table::TEAMS, team),
    })))
}

/// The member that a request names by id or address.
fn found(team: &Row, fields: &Row) -> Result<String, Refusal> {
    let (id, address) = (text(fields, "user_id"), text(fields, "user_email"));
    let list = members(team);
    let member = list.iter().find(|member| {
        let of = |name: &str| member.get(name).and_then(Value::as_str).map(str::to_owned);
        id.is_some() && of("user_id") == id || address.is_some() && of("user_email") == address
    });
    let user = member
        .and_then(|member| member.get("user_id"))
        .and_then(Value::as_str);
    user.map(str::to_owned)
        .ok_or_else(|| Refusal::bad("User not found in team").at("user_id"))
}

async fn update(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    let id = required(&fields, "team_id")?;
    change(&desk, &asker, &id, &fields).await.map(Json)
}

/// Changes a member's role and limits, as `/team/member_update` does.
pub(super) async fn change(
    desk: &Desk,
    asker: &Asker,
    id: &str,
    fields: &Row,
) -> Result<Value, Refusal> {
    let team = team::row(desk, id).await?;
    asker.must_manage_team(desk, &team).await?;
    let user = found(&team, fields)?;
    if let Some(role) = fields.get("role").and_then(Value::as_str) {
        let mut list = members(&team);
        for member in list.iter_mut().filter(|member| is_user(member, &user)) {
            member["role"] = Value::from(role);
        }
        let changes = Row::from_iter([("members_with_roles".to_owned(), Value::from(list))]);
        team::write(desk, id, changes).await?;
    }
    if let Some(budget) = member_budget(desk, asker, fields).await? {
        let changes = Row::from_iter([("budget_id".to_owned(), Value::from(budget))]);
        let key = vec![user.clone(), id.to_owned()];
        let update = Command::Update(Table::TEAM_MEMBERS, key, changes.clone());
        if desk.directory.store.row(update).await?.is_none() {
            let mut row = changes;
            put(&mut row, "user_id", user.clone());
            put(&mut row, "team_id", id);
            desk.directory
                .store
                .rows(Command::Insert(Table::TEAM_MEMBERS, row))
                .await?;
        }
    }
    desk.directory.changed(Change::User(user.clone())).await;
    Ok(json!({
        "team_id": id, "user_id": user, "user_email": fields.get("user_email"),
        "max_budget_in_team": fields.get("max_budget_in_team"),
        "tpm_limit": fields.get("tpm_limit"), "rpm_limit": fields.get("rpm_limit"),
    }))
}

async fn delete(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    let id = required(&fields, "team_id")?;
    let before = team::row(&desk, &id).await?;
    asker.must_manage_team(&desk, &before).await?;
    dismiss(&desk, &asker, &id, &fields).await?;
    Ok(Json(Value::Object(shown(
        Table::TEAMS,
        team::row(&desk, &id).await?,
    ))))
}

/// Takes a member out of a team, with its keys there.
pub(super) async fn dismiss(
    desk: &Desk,
    asker: &Asker,
    id: &str,
    fields: &Row,
) -> Result<(), Refusal> {
    let user = found(&team::row(desk, id).await?, fields)?;
    leave(desk, id, &user).await?;
    let keys = desk
        .directory
        .store
        .find(Table::KEYS, "team_id", id)
        .await?;
    let own = keys
        .into_iter()
        .filter(|key| text(key, "user_id").as_deref() == Some(&user));
    super::key::remove(desk, asker, own.collect()).await
}
