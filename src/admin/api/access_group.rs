//! `/access_group/*`: groups of models that keys and teams may be given by one name. Groups of stored models
//! are changed here; those of the file are in its `model_info.access_groups`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::model::{may_store, publish};
use crate::admin::desk::{Answer, Asker, Fields, Refusal, required, texts_of};
use crate::admin::routes::Routes;
use crate::coordinator::Control;
use crate::directory::text;
use crate::store::{Command, Row, Table};

type Shared = State<Arc<Control>>;

/// The routes.
pub fn routes() -> Routes<Arc<Control>> {
    Routes::new()
        .post("/access_group/new", new, "Puts stored models into a group.")
        .fields(&["access_group", "model_names"])
        .needs(&["access_group", "model_names"])
        .get("/access_group/list", list, "All groups of models.")
        .get(
            "/access_group/{access_group}/info",
            info,
            "A group's models.",
        )
        .put(
            "/access_group/{access_group}/update",
            update,
            "Sets the stored models of a group.",
        )
        .fields(&["model_names"])
        .needs(&["model_names"])
        .delete(
            "/access_group/{access_group}/delete",
            delete,
            "Takes all stored models out of a group.",
        )
}

fn told(control: &Control, group: &str) -> Option<Value> {
    let snapshot = control.snapshot();
    let models = snapshot.access_groups.get(group)?;
    let of = |deployment: &&crate::snapshot::Deployment| models.contains(&deployment.group);
    let deployments = snapshot.deployments.iter().filter(of).count();
    Some(json!({"access_group": group, "model_names": models, "deployment_count": deployments}))
}

fn sees_all(asker: &Asker) -> Result<(), Refusal> {
    match asker.sees_all() {
        true => Ok(()),
        false => asker.must_be_admin("/access_group"),
    }
}

async fn list(State(control): Shared, Extension(asker): Extension<Asker>) -> Answer {
    sees_all(&asker)?;
    let snapshot = control.snapshot();
    let mut names: Vec<&String> = snapshot.access_groups.keys().collect();
    names.sort();
    let groups: Vec<Value> = names
        .into_iter()
        .filter_map(|name| told(&control, name))
        .collect();
    Ok(Json(json!({ "access_groups": groups })))
}

fn unknown(group: &str) -> Refusal {
    Refusal::not_found(format!("Access group '{group}' not found")).at("access_group")
}

async fn info(
    State(control): Shared,
    Extension(asker): Extension<Asker>,
    Path(group): Path<String>,
) -> Answer {
    sees_all(&asker)?;
    told(&control, &group)
        .map(Json)
        .ok_or_else(|| unknown(&group))
}

/// Sets which stored models are in the group; answers how many rows were changed.
async fn put_into(control: &Control, group: &str, models: &[String]) -> Result<usize, Refusal> {
    let store = &control.desk().directory.store;
    let list = Command::List {
        table: Table::MODELS,
        filter: Row::new(),
        newest: false,
        limit: 100_000,
        offset: 0,
    };
    let rows = store.rows(list).await?;
    let stored = |name: &String| {
        rows.iter()
            .any(|row| text(row, "model_name").as_ref() == Some(name))
    };
    if let Some(missing) = models.iter().find(|name| !stored(name)) {
        return Err(Refusal::bad(format!(
            "{missing} is no stored model; groups of the file's models stand in its model_info.access_groups"
        ))
        .at("model_names"));
    }
    let mut updates = Vec::new();
    for row in &rows {
        let info = row.get("model_info").and_then(Value::as_object);
        let mut info = info.cloned().unwrap_or_default();
        let mut groups = texts_of(&info, "access_groups");
        let wanted = text(row, "model_name").is_some_and(|name| models.contains(&name));
        if wanted == groups.iter().any(|have| have == group) {
            continue;
        }
        match wanted {
            true => groups.push(group.to_owned()),
            false => groups.retain(|have| have != group),
        }
        info.insert("access_groups".to_owned(), json!(groups));
        let changes = Row::from_iter([("model_info".to_owned(), Value::Object(info))]);
        let id = text(row, "model_id").unwrap_or_default();
        updates.push(Command::Update(Table::MODELS, vec![id], changes));
    }
    let count = updates.len();
    store.transact(updates).await?;
    publish(control).await?;
    Ok(count)
}

async fn new(
    State(control): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    may_store(&control, &asker, "/access_group/new")?;
    let group = required(&fields, "access_group")?;
    if told(&control, &group).is_some() {
        return Err(
            Refusal::exists(format!("Access group '{group}' already exists")).at("access_group"),
        );
    }
    filled(&control, &group, &fields).await
}

/// Puts the models of a body into a group, and no others.
async fn filled(control: &Control, group: &str, fields: &Row) -> Answer {
    let models = texts_of(fields, "model_names");
    if models.is_empty() {
        return Err(Refusal::bad("model_names must list at least one model").at("model_names"));
    }
    let count = put_into(control, group, &models).await?;
    Ok(Json(
        json!({"access_group": group, "model_names": models, "models_updated": count}),
    ))
}

async fn update(
    State(control): Shared,
    Extension(asker): Extension<Asker>,
    Path(group): Path<String>,
    Fields(fields): Fields,
) -> Answer {
    may_store(&control, &asker, "/access_group/update")?;
    told(&control, &group).ok_or_else(|| unknown(&group))?;
    filled(&control, &group, &fields).await
}

async fn delete(
    State(control): Shared,
    Extension(asker): Extension<Asker>,
    Path(group): Path<String>,
) -> Answer {
    may_store(&control, &asker, "/access_group/delete")?;
    told(&control, &group).ok_or_else(|| unknown(&group))?;
    let count = put_into(&control, &group, &[]).await?;
    Ok(Json(json!({"access_group": group, "models_updated": count,
        "message": format!("Access group '{group}' deleted successfully")})))
}
