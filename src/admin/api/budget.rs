//! `/budget/*`: budgets that keys, members, end users, tags and organizations share.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::{Extension, Json};
use serde_json::{Value, json};

use crate::admin::desk::{
    Answer, Asker, Desk, Fields, Refusal, budget_fields, everything, found, pick, put, required,
    reset_at, shown, shown_all, texts_of,
};
use crate::admin::routes::Routes;
use crate::directory::{Change, text};
use crate::store::secret::uuid;
use crate::store::{Command, Row, Table};

type Shared = State<Arc<Desk>>;

/// The routes.
pub fn routes() -> Routes<Arc<Desk>> {
    Routes::new()
        .post(
            "/budget/new",
            new,
            "Makes a budget that keys, members, end users, tags and organizations may share.",
        )
        .row(Table::BUDGETS)
        .fields(&["budget_id"])
        .post("/budget/update", update, "Changes a budget.")
        .row(Table::BUDGETS)
        .fields(&["budget_id"])
        .needs(&["budget_id"])
        .post("/budget/info", info, "Budgets by their ids.")
        .fields(&["budgets"])
        .needs(&["budgets"])
        .get("/budget/list", list, "All budgets.")
        .get(
            "/budget/settings",
            settings,
            "What a budget may set, with the values of one.",
        )
        .query(&["budget_id"])
        .post("/budget/delete", delete, "Deletes a budget.")
        .fields(&["id"])
        .needs(&["id"])
}

/// The columns of a budget that a request names.
pub(super) fn columns(desk: &Desk, fields: &Row) -> Result<Row, Refusal> {
    budget_fields(fields)?;
    let mut row = pick(Table::BUDGETS, fields);
    if fields.contains_key("budget_duration") {
        put(
            &mut row,
            "budget_reset_at",
            reset_at(&desk.rules().zone, fields, "budget_duration")?,
        );
    }
    Ok(row)
}

/// Makes a budget of the request's limits; its id.
pub(super) async fn insert(desk: &Desk, asker: &Asker, fields: &Row) -> Result<String, Refusal> {
    let id = uuid();
    let mut row = columns(desk, fields)?;
    put(&mut row, "budget_id", id.clone());
    put(&mut row, "created_by", asker.user_id().unwrap_or(""));
    put(&mut row, "updated_by", asker.user_id().unwrap_or(""));
    desk.directory
        .store
        .rows(Command::Insert(Table::BUDGETS, row))
        .await?;
    Ok(id)
}

async fn new(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    asker.must_be_admin("/budget/new")?;
    let mut row = columns(&desk, &fields)?;
    let id = text(&fields, "budget_id").unwrap_or_else(uuid);
    put(&mut row, "budget_id", id.clone());
    put(&mut row, "created_by", asker.user_id().unwrap_or(""));
    put(&mut row, "updated_by", asker.user_id().unwrap_or(""));
    let stored = desk
        .directory
        .store
        .row(Command::Insert(Table::BUDGETS, row))
        .await?;
    let stored = stored.ok_or_else(|| Refusal::bad(format!("budget_id={id} already exists")))?;
    Ok(Json(Value::Object(shown(Table::BUDGETS, stored))))
}

async fn update(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    asker.must_be_admin("/budget/update")?;
    let id = required(&fields, "budget_id")?;
    let mut changes = columns(&desk, &fields)?;
    put(&mut changes, "updated_by", asker.user_id().unwrap_or(""));
    let update = Command::Update(Table::BUDGETS, vec![id.clone()], changes);
    let stored = desk.directory.store.row(update).await?;
    let stored = stored.ok_or_else(|| Refusal::not_found(format!("budget_id={id} not found")))?;
    desk.directory.changed(Change::Budget(id)).await;
    Ok(Json(Value::Object(shown(Table::BUDGETS, stored))))
}

async fn info(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    if !asker.sees_all() {
        asker.must_be_admin("/budget/info")?;
    }
    let ids = texts_of(&fields, "budgets");
    if ids.is_empty() {
        return Err(Refusal::bad("budgets must list at least one budget_id").at("budgets"));
    }
    let mut rows = Vec::new();
    for id in ids {
        rows.extend(desk.directory.store.get(Table::BUDGETS, &[&id]).await?);
    }
    Ok(Json(shown_all(Table::BUDGETS, rows)))
}

async fn list(State(desk): Shared, Extension(asker): Extension<Asker>) -> Answer {
    if !asker.sees_all() {
        asker.must_be_admin("/budget/list")?;
    }
    Ok(Json(shown_all(
        Table::BUDGETS,
        everything(&desk, Table::BUDGETS, true).await?,
    )))
}

async fn settings(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    asker.must_be_admin("/budget/settings")?;
    let row = match query.get("budget_id") {
        None => Row::new(),
        Some(id) => {
            let missing = || format!("budget_id={id} not found");
            found(&desk, Table::BUDGETS, id, missing).await?
        }
    };
    let field = |name: &str, kind: &str, description: &str| {
        json!({"field_name": name, "field_type": kind, "field_description": description,
            "field_value": row.get(name), "stored_in_db": true, "field_default_value": null})
    };
    Ok(Json(json!([
        field("max_parallel_requests", "Integer", "Calls at once."),
        field("tpm_limit", "Integer", "Tokens a minute."),
        field("rpm_limit", "Integer", "Requests a minute."),
        field(
            "budget_duration",
            "String",
            "When the budget starts anew: 1d, 7d, 30d, 1mo."
        ),
        field("max_budget", "Float", "USD that may be spent."),
        field("soft_budget", "Float", "USD above which an alert is sent."),
    ])))
}

async fn delete(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    asker.must_be_admin("/budget/delete")?;
    let id = required(&fields, "id")?;
    let gone = desk
        .directory
        .store
        .row(Command::Delete(Table::BUDGETS, vec![id.clone()]))
        .await?;
    let gone = gone.ok_or_else(|| Refusal::not_found(format!("budget_id={id} not found")))?;
    desk.directory.changed(Change::Budget(id)).await;
    Ok(Json(Value::Object(shown(Table::BUDGETS, gone))))
}
