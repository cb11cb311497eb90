//! One's own membership of a team, and changes of many memberships at once.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::{team, team_member};
use crate::admin::desk::{
    Answer, Asker, Desk, Fields, Refusal, everything, put, required, texts_of, with_budget,
};
use crate::admin::routes::Routes;
use crate::directory::{Change, text};
use crate::store::{Command, Row, Table};

type Shared = State<Arc<Desk>>;

/// Members that one request may change.
const MEMBERS_MAX: usize = 500;

/// The routes.
pub fn routes() -> Routes<Arc<Desk>> {
    Routes::new()
        .get(
            "/team/{team_id}/members/me",
            me,
            "The caller's membership of a team, with its budget.",
        )
        .post(
            "/team/{team_id}/member/{user_id}/reset_spend",
            reset_spend,
            "Sets what a member has spent in a team.",
        )
        .fields(&["reset_to"])
        .post(
            "/team/{team_id}/member/{user_id}/reset_budget",
            reset_budget,
            "Takes a member's own budget in a team away.",
        )
        .post(
            "/teams/{team_id}/members/bulk_delete",
            bulk_delete,
            "Takes several members out of a team; each by itself.",
        )
        .fields(&["user_ids"])
        .needs(&["user_ids"])
        .post(
            "/teams/{team_id}/members/bulk_update",
            bulk_update,
            "Changes several members of a team; each by itself.",
        )
        .fields(&["members"])
        .needs(&["members"])
        .post(
            "/team/permissions_bulk_update",
            permit_all,
            "Gives plain members of several teams, or of all, more permissions.",
        )
        .fields(&["permissions", "team_ids", "apply_to_all_teams"])
        .needs(&["permissions"])
        .post(
            "/team/key/bulk_update",
            change_keys,
            "Changes several keys of a team, or all; each by itself.",
        )
        .fields(&["team_id", "key_ids", "all_keys_in_team", "update_fields"])
        .needs(&["team_id", "update_fields"])
}

/// A membership with its budget.
async fn told(desk: &Desk, team: &Row, user: &str) -> Answer {
    let id = text(team, "team_id").unwrap_or_default();
    let row = desk
        .directory
        .store
        .get(Table::TEAM_MEMBERS, &[user, &id])
        .await?;
    let member = team_member::role(team, user);
    if row.is_none() && member.is_none() {
        let text = format!("User={user} is not in team={id}");
        return Err(Refusal::not_found(text).at("user_id"));
    }
    let mut answer = with_budget(desk, Table::TEAM_MEMBERS, row.unwrap_or_default()).await?;
    put(&mut answer, "team_id", id);
    put(&mut answer, "user_id", user);
    put(
        &mut answer,
        "role",
        member.unwrap_or_else(|| "user".to_owned()),
    );
    put(&mut answer, "team_alias", text(team, "team_alias"));
    Ok(Json(Value::Object(answer)))
}

async fn me(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Path(id): Path<String>,
) -> Answer {
    let team = team::row(&desk, &id).await?;
    let user = asker.user_id().unwrap_or_default().to_owned();
    told(&desk, &team, &user).await
}

/// Changes a member's row; the team's manager may.
async fn change(desk: &Desk, asker: &Asker, at: (&str, &str), changes: Row) -> Answer {
    let (id, user) = at;
    let team = team::row(desk, id).await?;
    asker.must_manage_team(desk, &team).await?;
    let key = vec![user.to_owned(), id.to_owned()];
    let update = Command::Update(Table::TEAM_MEMBERS, key, changes);
    desk.directory.store.rows(update).await?;
    desk.directory.restart(&format!("member:{user}:{id}"));
    desk.directory.changed(Change::User(user.to_owned())).await;
    told(desk, &team, user).await
}

async fn reset_spend(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Path((id, user)): Path<(String, String)>,
    Fields(fields): Fields,
) -> Answer {
    let spend = match fields.get("reset_to") {
        None | Some(Value::Null) => 0.0,
        Some(value) => value
            .as_f64()
            .filter(|spend| *spend >= 0.0)
            .ok_or_else(|| {
                Refusal::bad(format!(
                    "reset_to must be a number of 0 or more; got {value}"
                ))
                .at("reset_to")
            })?,
    };
    let changes = Row::from_iter([("spend".to_owned(), Value::from(spend))]);
    change(&desk, &asker, (&id, &user), changes).await
}

async fn reset_budget(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Path((id, user)): Path<(String, String)>,
) -> Answer {
    let changes = Row::from_iter([("budget_id".to_owned(), Value::Null)]);
    change(&desk, &asker, (&id, &user), changes).await
}

/// What became of each.
fn results(results: Vec<Value>) -> Answer {
    let failed = results.iter().filter(|one| one["success"] == false).count();
    Ok(Json(
        json!({"total_requested": results.len(), "successful": results.len() - failed,
        "failed": failed, "results": results}),
    ))
}

fn bounded<T>(list: Vec<T>, name: &str) -> Result<Vec<T>, Refusal> {
    match list.len() {
        1..=MEMBERS_MAX => Ok(list),
        _ => Err(Refusal::bad(format!("{name} must list 1 to {MEMBERS_MAX} members")).at(name)),
    }
}

fn outcome(user: &str, done: Result<(), Refusal>) -> Value {
    let error = done.as_ref().err().map(Refusal::text);
    json!({"user_id": user, "success": done.is_ok(), "error": error})
}

async fn bulk_delete(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Path(id): Path<String>,
    Fields(fields): Fields,
) -> Answer {
    let team = team::row(&desk, &id).await?;
    asker.must_manage_team(&desk, &team).await?;
    let mut done = Vec::new();
    for user in bounded(texts_of(&fields, "user_ids"), "user_ids")? {
        let fields = Row::from_iter([("user_id".to_owned(), Value::from(user.as_str()))]);
        let one = team_member::dismiss(&desk, &asker, &id, &fields).await;
        done.push(outcome(&user, one));
    }
    results(done)
}

async fn bulk_update(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Path(id): Path<String>,
    Fields(fields): Fields,
) -> Answer {
    let team = team::row(&desk, &id).await?;
    asker.must_manage_team(&desk, &team).await?;
    let members = fields.get("members").and_then(Value::as_array).cloned();
    let mut done = Vec::new();
    for member in bounded(members.unwrap_or_default(), "members")? {
        let fields = member.as_object().cloned().unwrap_or_default();
        let user = text(&fields, "user_id").unwrap_or_default();
        let one = team_member::change(&desk, &asker, &id, &fields).await;
        done.push(outcome(&user, one.map(drop)));
    }
    results(done)
}

async fn permit_all(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    asker.must_be_admin("/team/permissions_bulk_update")?;
    let more = texts_of(&fields, "permissions");
    team::are_permissions(&more)?;
    let ids = match fields.get("apply_to_all_teams").and_then(Value::as_bool) {
        Some(true) => {
            let teams = everything(&desk, Table::TEAMS, false).await?;
            teams
                .iter()
                .filter_map(|team| text(team, "team_id"))
                .collect()
        }
        _ => texts_of(&fields, "team_ids"),
    };
    if ids.is_empty() || more.is_empty() {
        return Err(Refusal::bad(
            "permissions, and team_ids or apply_to_all_teams, must be given",
        ));
    }
    for id in &ids {
        let team = team::row(&desk, id).await?;
        let mut permitted = texts_of(&team, "team_member_permissions");
        for name in &more {
            if !permitted.contains(name) {
                permitted.push(name.clone());
            }
        }
        let changes = Row::from_iter([("team_member_permissions".to_owned(), json!(permitted))]);
        team::write(&desk, id, changes).await?;
    }
    Ok(Json(
        json!({"message": "Team permissions updated successfully",
        "teams_updated": ids.len(), "permissions_appended": more}),
    ))
}

async fn change_keys(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    let id = required(&fields, "team_id")?;
    let team = team::row(&desk, &id).await?;
    asker.must_manage_team(&desk, &team).await?;
    let wrong = || Refusal::bad("update_fields must be a map").at("update_fields");
    let changes = fields
        .get("update_fields")
        .and_then(Value::as_object)
        .ok_or_else(wrong)?;
    let rows = desk
        .directory
        .store
        .find(Table::KEYS, "team_id", &id)
        .await?;
    let all = fields.get("all_keys_in_team").and_then(Value::as_bool) == Some(true);
    let named: Vec<String> = texts_of(&fields, "key_ids")
        .iter()
        .map(|key| super::key::token(key))
        .collect();
    let tokens = rows.iter().filter_map(|row| text(row, "token"));
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for token in tokens.filter(|token| all || named.contains(token)) {
        let mut one = changes.clone();
        put(&mut one, "key", token.clone());
        match super::key::change(&desk, &asker, one).await {
            Ok(info) => done.push(json!({"key": token, "key_info": info})),
            Err(refusal) => failed.push(json!({"key": token, "failed_reason": refusal.text()})),
        }
    }
    Ok(Json(
        json!({"team_id": id, "total_requested": done.len() + failed.len(),
        "successful_updates": done, "failed_updates": failed}),
    ))
}
