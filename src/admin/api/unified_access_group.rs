//! `/v1/access_group`: groups that keys and teams are given by their ids (`access_group_ids`), with the
//! models that they add to those of a key or team. The same as `/v1/unified_access_group`.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde_json::{Value, json};

use crate::admin::desk::{
    Answer, Asker, Desk, Fields, Refusal, everything, put, required, shown, texts_of,
};
use crate::admin::routes::Routes;
use crate::directory::Change;
use crate::store::secret::uuid;
use crate::store::{Command, Row, Table};

type Shared = State<Arc<Desk>>;

/// Fields of a body that are lists.
const LISTS: [&str; 5] = [
    "access_model_names",
    "access_mcp_server_ids",
    "access_agent_ids",
    "assigned_team_ids",
    "assigned_key_ids",
];
/// All of them.
const FIELDS: &[&str] = &[
    "access_group_name",
    "description",
    "access_model_names",
    "access_mcp_server_ids",
    "access_agent_ids",
    "assigned_team_ids",
    "assigned_key_ids",
];

/// The routes.
pub fn routes() -> Routes<Arc<Desk>> {
    let mut routes = Routes::new();
    for base in ["/v1/access_group", "/v1/unified_access_group"] {
        let one = format!("{base}/{{access_group_id}}");
        routes = routes
            .post(base, new, "Makes a group for keys and teams.")
            .fields(FIELDS)
            .needs(&["access_group_name"])
            .get(base, list, "All groups for keys and teams.")
            .get(&one, info, "A group for keys and teams.")
            .put(&one, update, "Changes a group for keys and teams.")
            .fields(FIELDS)
            .delete(&one, delete, "Deletes a group for keys and teams.");
    }
    routes
}

fn may_look(asker: &Asker) -> Result<(), Refusal> {
    match asker.sees_all() {
        true => Ok(()),
        false => asker.must_be_admin("/v1/access_group"),
    }
}

async fn found(desk: &Desk, id: &str) -> Result<Row, Refusal> {
    let row = desk
        .directory
        .store
        .get(Table::ACCESS_GROUPS, &[id])
        .await?;
    row.ok_or_else(|| Refusal::not_found(format!("Access group '{id}' not found")))
}

/// The columns that a body sets; a list that is null is an empty one.
fn columns(fields: &Row) -> Result<Row, Refusal> {
    let mut row = Row::new();
    for name in FIELDS {
        let Some(value) = fields.get(*name) else {
            continue;
        };
        let value = match (LISTS.contains(name), value) {
            (true, Value::Null) => json!([]),
            (true, Value::Array(list)) if list.iter().all(Value::is_string) => value.clone(),
            (true, _) => {
                return Err(Refusal::bad(format!("{name} must be a list of texts")).at(name));
            }
            (false, Value::String(_) | Value::Null) => value.clone(),
            (false, _) => return Err(Refusal::bad(format!("{name} must be a text")).at(name)),
        };
        put(&mut row, name, value);
    }
    Ok(row)
}

/// The name is nobody else's, and the teams are there.
async fn check(desk: &Desk, row: &Row, id: &str) -> Result<(), Refusal> {
    let store = &desk.directory.store;
    if row.contains_key("access_group_name") {
        let name = required(row, "access_group_name")?;
        let same = store.find(Table::ACCESS_GROUPS, "access_group_name", &name);
        let is_other = |row: &Row| row.get("access_group_id").and_then(Value::as_str) != Some(id);
        if same.await?.iter().any(is_other) {
            let text = format!("Access group '{name}' already exists");
            return Err(Refusal::exists(text).at("access_group_name"));
        }
    }
    for team in texts_of(row, "assigned_team_ids") {
        if store.get(Table::TEAMS, &[&team]).await?.is_none() {
            let text = format!("Unknown team ids: {team}");
            return Err(Refusal::bad(text).at("assigned_team_ids"));
        }
    }
    Ok(())
}

/// Those in a list of a group, as it is now and as it was.
fn members(list: &str, before: &Row, after: &Row) -> (BTreeSet<String>, BTreeSet<String>) {
    let of = |row: &Row| texts_of(row, list).into_iter().collect();
    (of(before), of(after))
}

/// Teams and keys that came or went get the group's id, or lose it; all that have it are told.
async fn tell(desk: &Desk, id: &str, before: &Row, after: &Row) -> Result<(), Refusal> {
    let store = &desk.directory.store;
    let kinds = [
        ("assigned_team_ids", Table::TEAMS),
        ("assigned_key_ids", Table::KEYS),
    ];
    for (list, table) in kinds {
        let (was, is) = members(list, before, after);
        for member in was.symmetric_difference(&is) {
            let Some(row) = store.get(table, &[member]).await? else {
                continue;
            };
            let mut groups = texts_of(&row, "access_group_ids");
            groups.retain(|group| group != id);
            if is.contains(member) {
                groups.push(id.to_owned());
            }
            let changes = Row::from_iter([("access_group_ids".to_owned(), json!(groups))]);
            let update = Command::Update(table, vec![member.clone()], changes);
            store.rows(update).await?;
        }
    }
    // Keys and teams may have the group without being in its lists.
    desk.directory.changed(Change::Budget(id.to_owned())).await;
    Ok(())
}

async fn new(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    asker.must_be_admin("/v1/access_group")?;
    required(&fields, "access_group_name")?;
    let mut row = columns(&fields)?;
    let id = uuid();
    check(&desk, &row, &id).await?;
    put(&mut row, "access_group_id", id.clone());
    put(&mut row, "created_by", asker.user_id());
    put(&mut row, "updated_by", asker.user_id());
    let insert = Command::Insert(Table::ACCESS_GROUPS, row);
    let stored = desk.directory.store.row(insert).await?.unwrap_or_default();
    tell(&desk, &id, &Row::new(), &stored).await?;
    let answer = Value::Object(shown(Table::ACCESS_GROUPS, stored));
    Ok((StatusCode::CREATED, Json(answer)))
}

async fn list(State(desk): Shared, Extension(asker): Extension<Asker>) -> Answer {
    may_look(&asker)?;
    let rows = everything(&desk, Table::ACCESS_GROUPS, true).await?;
    let rows = rows.into_iter().map(|row| shown(Table::ACCESS_GROUPS, row));
    Ok(Json(rows.map(Value::Object).collect()))
}

async fn info(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Path(id): Path<String>,
) -> Answer {
    may_look(&asker)?;
    let row = found(&desk, &id).await?;
    Ok(Json(Value::Object(shown(Table::ACCESS_GROUPS, row))))
}

async fn update(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Path(id): Path<String>,
    Fields(fields): Fields,
) -> Answer {
    asker.must_be_admin("/v1/access_group")?;
    let before = found(&desk, &id).await?;
    let mut changes = columns(&fields)?;
    check(&desk, &changes, &id).await?;
    put(&mut changes, "updated_by", asker.user_id());
    let update = Command::Update(Table::ACCESS_GROUPS, vec![id.clone()], changes);
    let stored = desk.directory.store.row(update).await?;
    let stored = stored.ok_or_else(|| Refusal::not_found("the group is no more"))?;
    tell(&desk, &id, &before, &stored).await?;
    Ok(Json(Value::Object(shown(Table::ACCESS_GROUPS, stored))))
}

async fn delete(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    asker.must_be_admin("/v1/access_group")?;
    let before = found(&desk, &id).await?;
    let gone = Command::Delete(Table::ACCESS_GROUPS, vec![id.clone()]);
    desk.directory.store.rows(gone).await?;
    tell(&desk, &id, &before, &Row::new()).await?;
    Ok(StatusCode::NO_CONTENT)
}
