//! `/tag/*`: tags, which group requests across keys and may have a budget and models.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::budget;
use crate::admin::desk::{
    Answer, Asker, Desk, Fields, Refusal, everything, pick, put, required, texts_of, with_budget,
};
use crate::admin::routes::Routes;
use crate::directory::Change;
use crate::store::{Command, Row, Table};

type Shared = State<Arc<Desk>>;

/// The routes.
pub fn routes() -> Routes<Arc<Desk>> {
    Routes::new()
        .post("/tag/new", new, "Makes a tag, with models and a budget.")
        .row(Table::TAGS)
        .fields(&["name", "max_budget", "soft_budget", "budget_duration"])
        .needs(&["name"])
        .post("/tag/update", update, "Changes a tag.")
        .row(Table::TAGS)
        .fields(&["name", "max_budget", "soft_budget", "budget_duration"])
        .needs(&["name"])
        .post("/tag/info", info, "Tags by their names.")
        .fields(&["names"])
        .needs(&["names"])
        .get("/tag/list", list, "All tags.")
        .post("/tag/delete", delete, "Deletes a tag.")
        .fields(&["name"])
        .needs(&["name"])
}

async fn told(desk: &Desk, row: Row) -> Result<Row, Refusal> {
    let mut answer = with_budget(desk, Table::TAGS, row).await?;
    let name = answer.remove("tag_name").unwrap_or_default();
    put(&mut answer, "name", name);
    Ok(answer)
}

async fn new(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    asker.must_be_admin("/tag/new")?;
    let name = required(&fields, "name")?;
    let mut row = pick(Table::TAGS, &fields);
    put(&mut row, "tag_name", name.clone());
    put(&mut row, "created_by", asker.user_id().map(str::to_owned));
    if !budget::columns(&desk, &fields)?.is_empty() {
        put(
            &mut row,
            "budget_id",
            budget::insert(&desk, &asker, &fields).await?,
        );
    }
    let stored = desk
        .directory
        .store
        .row(Command::Insert(Table::TAGS, row))
        .await?;
    let stored = stored.ok_or_else(|| Refusal::bad(format!("Tag {name} already exists")))?;
    desk.directory.changed(Change::Tag(name.clone())).await;
    let tag = told(&desk, stored).await?;
    Ok(Json(
        json!({"message": format!("Tag {name} created successfully"), "tag": tag}),
    ))
}

async fn update(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    asker.must_be_admin("/tag/update")?;
    let name = required(&fields, "name")?;
    let mut changes = pick(Table::TAGS, &fields);
    if !budget::columns(&desk, &fields)?.is_empty() {
        put(
            &mut changes,
            "budget_id",
            budget::insert(&desk, &asker, &fields).await?,
        );
    }
    let update = Command::Update(Table::TAGS, vec![name.clone()], changes);
    let stored = desk.directory.store.row(update).await?;
    let stored = stored.ok_or_else(|| Refusal::not_found(format!("Tag {name} not found")))?;
    desk.directory.changed(Change::Tag(name.clone())).await;
    let tag = told(&desk, stored).await?;
    Ok(Json(
        json!({"message": format!("Tag {name} updated successfully"), "tag": tag}),
    ))
}

async fn info(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    if !asker.sees_all() {
        asker.must_be_admin("/tag/info")?;
    }
    let mut answer = Row::new();
    for name in texts_of(&fields, "names") {
        let found = desk.directory.store.get(Table::TAGS, &[&name]).await?;
        let row = found.ok_or_else(|| Refusal::not_found(format!("No tags found: {name}")))?;
        answer.insert(name, Value::Object(told(&desk, row).await?));
    }
    Ok(Json(Value::Object(answer)))
}

async fn list(State(desk): Shared, Extension(asker): Extension<Asker>) -> Answer {
    if !asker.sees_all() {
        asker.must_be_admin("/tag/list")?;
    }
    let mut answer = Vec::new();
    for row in everything(&desk, Table::TAGS, false).await? {
        answer.push(told(&desk, row).await?);
    }
    Ok(Json(json!(answer)))
}

async fn delete(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    asker.must_be_admin("/tag/delete")?;
    let name = required(&fields, "name")?;
    let gone = desk
        .directory
        .store
        .row(Command::Delete(Table::TAGS, vec![name.clone()]))
        .await?;
    gone.ok_or_else(|| Refusal::not_found(format!("Tag {name} not found")))?;
    desk.directory.changed(Change::Tag(name.clone())).await;
    Ok(Json(
        json!({"message": format!("Tag {name} deleted successfully")}),
    ))
}
