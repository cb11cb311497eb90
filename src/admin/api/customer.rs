//! `/customer/*` and `/end_user/*`: the people behind a request's `user`.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::budget;
use crate::admin::desk::{
    Answer, Asker, Desk, Fields, Refusal, everything, pick, put, required, shown_all, texts_of,
    with_budget,
};
use crate::admin::routes::Routes;
use crate::directory::{Change, text};
use crate::store::{Command, Row, Table};

type Shared = State<Arc<Desk>>;

/// The routes, under both names.
pub fn routes() -> Routes<Arc<Desk>> {
    const LIMITS: &[&str] = &[
        "user_id",
        "max_budget",
        "budget_duration",
        "tpm_limit",
        "rpm_limit",
    ];
    ["/customer", "/end_user"]
        .into_iter()
        .fold(Routes::new(), |routes, name| {
            let at = |what: &str| format!("{name}/{what}");
            routes
                .post(
                    &at("new"),
                    new,
                    "Makes an end user, with a budget where limits are named.",
                )
                .row(Table::END_USERS)
                .fields(LIMITS)
                .needs(&["user_id"])
                .post(&at("update"), update, "Changes an end user.")
                .row(Table::END_USERS)
                .fields(LIMITS)
                .needs(&["user_id"])
                .post(&at("delete"), delete, "Deletes end users.")
                .fields(&["user_ids"])
                .needs(&["user_ids"])
                .get(&at("info"), info, "An end user with its budget.")
                .query(&["end_user_id"])
                .needs(&["end_user_id"])
                .get(&at("list"), list, "All end users.")
                .post(
                    &at("block"),
                    block,
                    "Blocks end users; those that are not there are made.",
                )
                .fields(&["user_ids"])
                .needs(&["user_ids"])
                .post(
                    &at("unblock"),
                    unblock,
                    "Lets blocked end users call again.",
                )
                .fields(&["user_ids"])
                .needs(&["user_ids"])
        })
}

/// Limits of a request become a budget of its own.
async fn own_budget(desk: &Desk, asker: &Asker, fields: &Row) -> Result<Option<String>, Refusal> {
    let limits = budget::columns(desk, fields)?;
    if limits.is_empty() {
        return Ok(None);
    }
    if text(fields, "budget_id").is_some() {
        return Err(Refusal::bad("give either budget_id or limits, not both").at("budget_id"));
    }
    budget::insert(desk, asker, fields).await.map(Some)
}

async fn new(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    asker.must_be_admin("/customer/new")?;
    let id = required(&fields, "user_id")?;
    let mut row = pick(Table::END_USERS, &fields);
    put(&mut row, "user_id", id.clone());
    if let Some(budget) = own_budget(&desk, &asker, &fields).await? {
        put(&mut row, "budget_id", budget);
    }
    let stored = desk
        .directory
        .store
        .row(Command::Insert(Table::END_USERS, row))
        .await?;
    let stored = stored.ok_or_else(|| {
        Refusal::bad(format!(
            "Customer already exists, passed user_id={id}. Please pass a new user_id."
        ))
    })?;
    desk.directory.changed(Change::EndUser(id)).await;
    Ok(Json(Value::Object(
        with_budget(&desk, Table::END_USERS, stored).await?,
    )))
}

async fn update(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    asker.must_be_admin("/customer/update")?;
    let id = required(&fields, "user_id")?;
    let mut changes = pick(Table::END_USERS, &fields);
    if let Some(budget) = own_budget(&desk, &asker, &fields).await? {
        put(&mut changes, "budget_id", budget);
    }
    let update = Command::Update(Table::END_USERS, vec![id.clone()], changes);
    let stored = desk.directory.store.row(update).await?;
    let stored = stored
        .ok_or_else(|| Refusal::not_found(format!("End User Id={id} does not exist in db")))?;
    desk.directory.changed(Change::EndUser(id)).await;
    Ok(Json(Value::Object(
        with_budget(&desk, Table::END_USERS, stored).await?,
    )))
}

async fn delete(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    asker.must_be_admin("/customer/delete")?;
    let ids = texts_of(&fields, "user_ids");
    if ids.is_empty() {
        return Err(Refusal::bad("user_ids must be given").at("user_ids"));
    }
    let commands = ids
        .iter()
        .map(|id| Command::Delete(Table::END_USERS, vec![id.clone()]));
    let answers = desk.directory.store.transact(commands.collect()).await?;
    let count = answers.iter().filter(|rows| !rows.is_empty()).count();
    for id in &ids {
        desk.directory.changed(Change::EndUser(id.clone())).await;
    }
    Ok(Json(json!({
        "deleted_customers": count,
        "message": format!("Successfully deleted customers with ids: {ids:?}"),
    })))
}

async fn info(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    if !asker.sees_all() {
        asker.must_be_admin("/customer/info")?;
    }
    let id = query.get("end_user_id").cloned().unwrap_or_default();
    let row = desk.directory.store.get(Table::END_USERS, &[&id]).await?;
    let row =
        row.ok_or_else(|| Refusal::not_found(format!("End User Id={id} does not exist in db")))?;
    Ok(Json(Value::Object(
        with_budget(&desk, Table::END_USERS, row).await?,
    )))
}

async fn list(State(desk): Shared, Extension(asker): Extension<Asker>) -> Answer {
    if !asker.sees_all() {
        asker.must_be_admin("/customer/list")?;
    }
    Ok(Json(shown_all(
        Table::END_USERS,
        everything(&desk, Table::END_USERS, false).await?,
    )))
}

async fn block(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    asker.must_be_admin("/customer/block")?;
    let rows = set_blocked(&desk, &fields, true).await?;
    Ok(Json(
        json!({"blocked_users": shown_all(Table::END_USERS, rows)}),
    ))
}

async fn unblock(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    asker.must_be_admin("/customer/unblock")?;
    let rows = set_blocked(&desk, &fields, false).await?;
    let ids: Vec<Value> = rows
        .iter()
        .filter_map(|row| row.get("user_id").cloned())
        .collect();
    Ok(Json(json!({"blocked_users": [], "unblocked_users": ids})))
}

/// Blocks or unblocks; an end user that was never seen is made, so that it stays blocked.
async fn set_blocked(desk: &Desk, fields: &Row, blocked: bool) -> Result<Vec<Row>, Refusal> {
    let ids = texts_of(fields, "user_ids");
    if ids.is_empty() {
        return Err(Refusal::bad("user_ids must be given").at("user_ids"));
    }
    let mut rows = Vec::new();
    for id in ids {
        let mut changes = Row::new();
        put(&mut changes, "blocked", blocked);
        let update = Command::Update(Table::END_USERS, vec![id.clone()], changes.clone());
        let stored = match desk.directory.store.row(update).await? {
            Some(stored) => Some(stored),
            None => {
                put(&mut changes, "user_id", id.clone());
                desk.directory
                    .store
                    .row(Command::Insert(Table::END_USERS, changes))
                    .await?
            }
        };
        rows.extend(stored);
        desk.directory.changed(Change::EndUser(id)).await;
    }
    Ok(rows)
}
