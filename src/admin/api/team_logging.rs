//! `/team/{team_id}/callback`: where a team's calls are told of. The secrets of its callbacks are sealed at
//! rest and never shown again.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde_json::{Map, Value, json};

use super::team;
use crate::admin::desk::{Answer, Asker, Desk, Fields, Refusal, required, shown};
use crate::admin::routes::Routes;
use crate::directory::text;
use crate::store::{Row, Table};

type Shared = State<Arc<Desk>>;

const KINDS: [&str; 3] = ["success", "failure", "success_and_failure"];

/// The routes.
pub fn routes() -> Routes<Arc<Desk>> {
    Routes::new()
        .post(
            "/team/{team_id}/callback",
            add,
            "Adds a callback for the calls of a team.",
        )
        .fields(&["callback_name", "callback_type", "callback_vars"])
        .needs(&["callback_name"])
        .get("/team/{team_id}/callback", list, "The callbacks of a team.")
        .delete(
            "/team/{team_id}/callback/{callback_name}",
            remove,
            "Takes a callback of a team away.",
        )
        .post(
            "/team/{team_id}/disable_logging",
            disable,
            "Takes all callbacks of a team away.",
        )
}

/// The team, for somebody who manages it.
async fn managed(desk: &Desk, asker: &Asker, id: &str) -> Result<Row, Refusal> {
    let team = team::row(desk, id).await?;
    asker.must_manage_team(desk, &team).await?;
    Ok(team)
}

fn metadata(team: &Row) -> Map<String, Value> {
    let metadata = team.get("metadata").and_then(Value::as_object);
    metadata.cloned().unwrap_or_default()
}

fn callbacks(team: &Row) -> Vec<Value> {
    let logging = metadata(team).remove("logging");
    match logging {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

async fn write(desk: &Desk, id: &str, team: &Row, list: Vec<Value>) -> Result<Row, Refusal> {
    let mut metadata = metadata(team);
    metadata.insert("logging".to_owned(), Value::Array(list));
    let changes = Row::from_iter([("metadata".to_owned(), Value::Object(metadata))]);
    Ok(shown(Table::TEAMS, team::write(desk, id, changes).await?))
}

async fn add(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Path(id): Path<String>,
    Fields(fields): Fields,
) -> Answer {
    let team = managed(&desk, &asker, &id).await?;
    let name = required(&fields, "callback_name")?;
    let kind = text(&fields, "callback_type").unwrap_or_else(|| KINDS[2].to_owned());
    if !KINDS.contains(&kind.as_str()) {
        let text = format!("callback_type must be one of {KINDS:?}; got {kind}");
        return Err(Refusal::bad(text).at("callback_type"));
    }
    let mut list = callbacks(&team);
    let same = |have: &Value| have["callback_name"] == *name && have["callback_type"] == *kind;
    if list.iter().any(same) {
        return Err(Refusal::bad(format!(
            "callback_name = {name} already exists in team {id} for {kind}"
        ))
        .at("callback_name"));
    }
    let vars = fields.get("callback_vars").cloned().unwrap_or(json!({}));
    let sealed = desk.directory.secrets.seal_all(&vars);
    let sealed = sealed.ok_or_else(|| Refusal::internal("no random bytes to seal with"))?;
    list.push(json!({"callback_name": name, "callback_type": kind, "callback_vars": sealed}));
    let row = write(&desk, &id, &team, list).await?;
    Ok(Json(json!({"status": "success", "data": row})))
}

async fn list(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Path(id): Path<String>,
) -> Answer {
    let team = team::row(&desk, &id).await?;
    if !asker.sees_all() {
        asker.must_manage_team(&desk, &team).await?;
    }
    let list = callbacks(&team);
    let of = |kind: &str| -> Vec<&Value> {
        let kinds = [kind, KINDS[2]];
        let is_of = |have: &&Value| kinds.contains(&have["callback_type"].as_str().unwrap_or(""));
        list.iter()
            .filter(is_of)
            .map(|have| &have["callback_name"])
            .collect()
    };
    let vars = list
        .iter()
        .filter_map(|have| have["callback_vars"].as_object());
    let vars: Map<String, Value> = vars
        .flat_map(Map::keys)
        .map(|name| (name.clone(), Value::from("*****")))
        .collect();
    Ok(Json(json!({"status": "success", "data": {"team_id": id,
        "success_callbacks": of("success"), "failure_callbacks": of("failure"),
        "callback_vars": vars}})))
}

async fn remove(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Path((id, name)): Path<(String, String)>,
) -> Answer {
    let team = managed(&desk, &asker, &id).await?;
    let mut list = callbacks(&team);
    let before = list.len();
    list.retain(|have| have["callback_name"] != *name);
    if list.len() == before {
        return Err(Refusal::not_found(format!(
            "callback {name} not found in team {id}"
        )));
    }
    let row = write(&desk, &id, &team, list).await?;
    Ok(Json(json!({"status": "success", "data": row})))
}

async fn disable(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Path(id): Path<String>,
) -> Answer {
    let team = managed(&desk, &asker, &id).await?;
    write(&desk, &id, &team, Vec::new()).await?;
    Ok(Json(
        json!({"status": "success", "message": format!("Logging disabled for team {id}"),
        "data": {"team_id": id, "success_callbacks": [], "failure_callbacks": []}}),
    ))
}
