//! `/model/new`, `/model/update`, `/model/delete`: models that are kept in the database, their
//! parameters sealed. A model is checked like one of the file before it is kept.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde_json::{Value, json};

use crate::admin::desk::{Answer, Asker, Fields, Refusal, put, required};
use crate::admin::routes::Routes;
use crate::coordinator::{Control, check_model};
use crate::directory::{Change, text};
use crate::store::secret::uuid;
use crate::store::{Command, Row, Table};

type Shared = State<Arc<Control>>;

/// The routes.
pub fn routes() -> Routes<Arc<Control>> {
    Routes::new()
        .post(
            "/model/new",
            new,
            "Stores a model (store_model_in_db); every shard and instance serves it at once.",
        )
        .fields(&["model_name", "litellm_params", "model_info"])
        .needs(&["model_name", "litellm_params"])
        .post("/model/update", update, "Changes a stored model.")
        .fields(&["model_name", "litellm_params", "model_info"])
        .needs(&["model_info"])
        .patch(
            "/model/{id}/update",
            update_named,
            "Changes the stored model in the path.",
        )
        .fields(&["model_name", "litellm_params", "model_info"])
        .post(
            "/model/block",
            block,
            "Serves a stored model no longer, until it is unblocked.",
        )
        .fields(&["model_id"])
        .needs(&["model_id"])
        .post("/model/unblock", unblock, "Serves a blocked model again.")
        .fields(&["model_id"])
        .needs(&["model_id"])
        .post("/model/delete", delete, "Deletes a stored model.")
        .fields(&["id"])
        .needs(&["id"])
}

/// Refuses all but admins, and everybody without `store_model_in_db`.
pub(super) fn may_store(control: &Control, asker: &Asker, path: &str) -> Result<(), Refusal> {
    asker.must_be_admin(path)?;
    if !control.desk().rules().store_models {
        return Err(Refusal::bad(
            "models are kept in the database only with general_settings.store_model_in_db: true",
        ));
    }
    Ok(())
}

/// Refuses what the file would refuse.
fn checked(name: &str, params: &Value, info: &Value) -> Result<(), Refusal> {
    check_model(name, params, info)
        .map(|_| ())
        .map_err(|errors| Refusal::bad(errors.join("; ")).at("litellm_params"))
}

/// Tells every shard and every other instance.
pub(super) async fn publish(control: &Control) -> Result<(), Refusal> {
    control
        .reload()
        .await
        .map_err(|errors| Refusal::bad(errors.join("; ")))?;
    control.desk().directory.changed(Change::Models).await;
    Ok(())
}

async fn new(
    State(control): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    may_store(&control, &asker, "/model")?;
    let name = required(&fields, "model_name")?;
    let params = fields
        .get("litellm_params")
        .filter(|params| params.is_object())
        .cloned();
    let params =
        params.ok_or_else(|| Refusal::bad("litellm_params must be given").at("litellm_params"))?;
    let mut info = fields
        .get("model_info")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    let id = text(&info, "id").unwrap_or_else(uuid);
    put(&mut info, "id", id.clone());
    put(&mut info, "db_model", true);
    let info = Value::Object(info);
    checked(&name, &params, &info)?;
    let directory = &control.desk().directory;
    let sealed = directory.secrets.seal_all(&params);
    let sealed = sealed.ok_or_else(|| Refusal::internal("no random bytes to seal with"))?;
    let mut row = Row::new();
    put(&mut row, "model_id", id.clone());
    put(&mut row, "model_name", name.clone());
    put(&mut row, "litellm_params", sealed);
    put(&mut row, "model_info", info);
    put(&mut row, "created_by", asker.user_id().unwrap_or(""));
    put(&mut row, "updated_by", asker.user_id().unwrap_or(""));
    let stored = directory
        .store
        .row(Command::Insert(Table::MODELS, row))
        .await?;
    let stored = stored.ok_or_else(|| Refusal::bad(format!("model id {id} already exists")))?;
    if let Err(refusal) = publish(&control).await {
        directory
            .store
            .rows(Command::Delete(Table::MODELS, vec![id]))
            .await?;
        return Err(refusal);
    }
    Ok(Json(Value::Object(stored)))
}

async fn update_named(
    state: Shared,
    Extension(asker): Extension<Asker>,
    Path(id): Path<String>,
    Fields(mut fields): Fields,
) -> Answer {
    let mut info = fields
        .get("model_info")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    put(&mut info, "id", id);
    put(&mut fields, "model_info", info);
    update(state, Extension(asker), Fields(fields)).await
}

async fn update(
    State(control): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    may_store(&control, &asker, "/model")?;
    let given = fields
        .get("model_info")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    let id = text(&given, "id")
        .ok_or_else(|| Refusal::bad("model_info.id must be given").at("model_info"))?;
    let directory = &control.desk().directory;
    let before = directory.store.get(Table::MODELS, &[&id]).await?;
    let before =
        before.ok_or_else(|| Refusal::not_found(format!("Model with id={id} not found in db")))?;
    let opened = directory
        .secrets
        .open_all(&before["litellm_params"])
        .map_err(Refusal::internal)?;
    let mut params = opened.as_object().cloned().unwrap_or_default();
    if let Some(new) = fields.get("litellm_params").and_then(Value::as_object) {
        params.extend(new.clone());
    }
    let mut info = before
        .get("model_info")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    info.extend(given);
    let name = text(&fields, "model_name").or_else(|| text(&before, "model_name"));
    let name = name.unwrap_or_default();
    let (params, info) = (Value::Object(params), Value::Object(info));
    checked(&name, &params, &info)?;
    let sealed = directory.secrets.seal_all(&params);
    let sealed = sealed.ok_or_else(|| Refusal::internal("no random bytes to seal with"))?;
    let mut changes = Row::new();
    put(&mut changes, "model_name", name);
    put(&mut changes, "litellm_params", sealed);
    put(&mut changes, "model_info", info);
    put(&mut changes, "updated_by", asker.user_id().unwrap_or(""));
    let update = Command::Update(Table::MODELS, vec![id], changes);
    let stored = directory.store.row(update).await?.unwrap_or_default();
    publish(&control).await?;
    Ok(Json(Value::Object(stored)))
}

async fn block(control: Shared, asker: Extension<Asker>, fields: Fields) -> Answer {
    set_blocked(control, asker, fields, true).await
}

async fn unblock(control: Shared, asker: Extension<Asker>, fields: Fields) -> Answer {
    set_blocked(control, asker, fields, false).await
}

async fn set_blocked(
    State(control): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
    blocked: bool,
) -> Answer {
    may_store(&control, &asker, "/model/block")?;
    let id = required(&fields, "model_id")?;
    let changes = Row::from_iter([("blocked".to_owned(), Value::from(blocked))]);
    let update = Command::Update(Table::MODELS, vec![id.clone()], changes);
    let stored = control.desk().directory.store.row(update).await?;
    let stored =
        stored.ok_or_else(|| Refusal::not_found(format!("Model with id={id} not found in db")))?;
    publish(&control).await?;
    Ok(Json(Value::Object(stored)))
}

async fn delete(
    State(control): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    may_store(&control, &asker, "/model/delete")?;
    let id = required(&fields, "id")?;
    let store = &control.desk().directory.store;
    let gone = store
        .row(Command::Delete(Table::MODELS, vec![id.clone()]))
        .await?;
    gone.ok_or_else(|| Refusal::bad(format!("Model with id={id} not found in db")))?;
    publish(&control).await?;
    Ok(Json(
        json!({"message": format!("Model: {id} deleted successfully")}),
    ))
}
