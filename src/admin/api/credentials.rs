//! `/credentials`: provider credentials by name, sealed at rest, never shown whole again.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde_json::{Value, json};

use crate::admin::desk::{Answer, Asker, Desk, Fields, Refusal, put, required};
use crate::admin::routes::Routes;
use crate::coordinator::Control;
use crate::directory::{Change, text};
use crate::store::secret::uuid;
use crate::store::{Command, Row, Table};

type Shared = State<Arc<Control>>;

/// The routes.
pub fn routes() -> Routes<Arc<Control>> {
    Routes::new()
        .get(
            "/credentials",
            list,
            "Stored credentials, their values masked.",
        )
        .post("/credentials", new, "Stores a credential, sealed.")
        .fields(&["credential_name", "credential_values", "credential_info"])
        .needs(&["credential_name", "credential_values"])
        .get(
            "/credentials/by_name/{name}",
            by_name,
            "A credential by its name, masked.",
        )
        .get(
            "/credentials/by_model/{model_id}",
            by_model,
            "The credential of a stored model, masked.",
        )
        .delete("/credentials/{name}", remove, "Deletes a credential.")
        .patch("/credentials/{name}", update, "Changes a credential.")
        .fields(&["credential_values", "credential_info"])
}

async fn found(desk: &Desk, name: &str) -> Result<Row, Refusal> {
    let mut rows = desk
        .directory
        .store
        .find(Table::CREDENTIALS, "credential_name", name)
        .await?;
    rows.pop()
        .ok_or_else(|| Refusal::not_found(format!("Credential not found: {name}")))
}

/// A credential with its values masked.
fn masked(desk: &Desk, row: &Row) -> Result<Value, Refusal> {
    let sealed = row.get("credential_values").cloned().unwrap_or_default();
    let opened = desk
        .directory
        .secrets
        .open_all(&sealed)
        .map_err(Refusal::internal)?;
    let values: Row = opened
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| {
            let hidden = value
                .as_str()
                .map_or_else(|| value.clone(), |text| Value::from(mask(text)));
            (name.clone(), hidden)
        })
        .collect();
    Ok(json!({
        "credential_name": row.get("credential_name"),
        "credential_values": values,
        "credential_info": row.get("credential_info"),
    }))
}

/// The first two and last two letters of a long text; nothing of a short one.
fn mask(text: &str) -> String {
    const SHOWN_FROM: usize = 12;
    let letters: Vec<char> = text.chars().collect();
    if letters.len() < SHOWN_FROM {
        return "****".to_owned();
    }
    let ends: (String, String) = (
        letters[..2].iter().collect(),
        letters[letters.len() - 2..].iter().collect(),
    );
    format!("{}****{}", ends.0, ends.1)
}

fn sealed(desk: &Desk, fields: &Row) -> Result<Option<Value>, Refusal> {
    let Some(values) = fields
        .get("credential_values")
        .filter(|values| values.is_object())
    else {
        return Ok(None);
    };
    let sealed = desk.directory.secrets.seal_all(values);
    sealed
        .map(Some)
        .ok_or_else(|| Refusal::internal("no random bytes to seal with"))
}

async fn new(
    State(control): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    let desk = control.desk();
    asker.must_be_admin("/credentials")?;
    let name = required(&fields, "credential_name")?;
    let values = sealed(desk, &fields)?
        .ok_or_else(|| Refusal::bad("credential_values must be given").at("credential_values"))?;
    let mut row = Row::new();
    put(&mut row, "credential_id", uuid());
    put(&mut row, "credential_name", name.clone());
    put(&mut row, "credential_values", values);
    put(
        &mut row,
        "credential_info",
        fields.get("credential_info").cloned().unwrap_or(json!({})),
    );
    put(&mut row, "created_by", asker.user_id().unwrap_or(""));
    put(&mut row, "updated_by", asker.user_id().unwrap_or(""));
    let stored = desk
        .directory
        .store
        .row(Command::Insert(Table::CREDENTIALS, row))
        .await?;
    stored.ok_or_else(|| Refusal::bad(format!("credential {name} already exists")))?;
    lend(&control).await?;
    Ok(Json(
        json!({"success": true, "message": "Credential created successfully"}),
    ))
}

async fn list(State(control): Shared, Extension(asker): Extension<Asker>) -> Answer {
    let desk = control.desk();
    asker.must_be_admin("/credentials")?;
    let list = Command::List {
        table: Table::CREDENTIALS,
        filter: Row::new(),
        newest: false,
        limit: 10_000,
        offset: 0,
    };
    let rows = desk.directory.store.rows(list).await?;
    let shown: Result<Vec<Value>, Refusal> = rows.iter().map(|row| masked(desk, row)).collect();
    Ok(Json(json!({"success": true, "credentials": shown?})))
}

async fn by_name(
    State(control): Shared,
    Extension(asker): Extension<Asker>,
    Path(name): Path<String>,
) -> Answer {
    let desk = control.desk();
    asker.must_be_admin("/credentials")?;
    Ok(Json(masked(desk, &found(desk, &name).await?)?))
}

async fn update(
    State(control): Shared,
    Extension(asker): Extension<Asker>,
    Path(name): Path<String>,
    Fields(fields): Fields,
) -> Answer {
    let desk = control.desk();
    asker.must_be_admin("/credentials")?;
    let before = found(desk, &name).await?;
    let mut changes = Row::new();
    if let Some(Value::Object(new)) = sealed(desk, &fields)? {
        let old = before.get("credential_values").and_then(Value::as_object);
        let mut values = old.cloned().unwrap_or_default();
        values.extend(new);
        put(&mut changes, "credential_values", values);
    }
    if let Some(info) = fields.get("credential_info") {
        put(&mut changes, "credential_info", info.clone());
    }
    put(&mut changes, "updated_by", asker.user_id().unwrap_or(""));
    let id = text(&before, "credential_id").unwrap_or_default();
    desk.directory
        .store
        .rows(Command::Update(Table::CREDENTIALS, vec![id], changes))
        .await?;
    lend(&control).await?;
    Ok(Json(
        json!({"success": true, "message": "Credential updated successfully"}),
    ))
}

async fn remove(
    State(control): Shared,
    Extension(asker): Extension<Asker>,
    Path(name): Path<String>,
) -> Answer {
    let desk = control.desk();
    asker.must_be_admin("/credentials")?;
    let id = text(&found(desk, &name).await?, "credential_id").unwrap_or_default();
    desk.directory
        .store
        .rows(Command::Delete(Table::CREDENTIALS, vec![id]))
        .await?;
    lend(&control).await?;
    Ok(Json(
        json!({"success": true, "message": "Credential deleted successfully"}),
    ))
}

/// Models that name the credential use it from now on, here and on the other instances.
async fn lend(control: &Control) -> Result<(), Refusal> {
    if control.desk().rules().store_models {
        control
            .reload()
            .await
            .map_err(|errors| Refusal::bad(errors.join("; ")))?;
    }
    control.desk().directory.changed(Change::Models).await;
    Ok(())
}

/// Parameters of a model that belong to a credential.
const LENT: [&str; 11] = [
    "api_key",
    "api_base",
    "api_version",
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_region_name",
    "vertex_project",
    "vertex_location",
    "vertex_credentials",
    "watsonx_region_name",
    "region_name",
];

async fn by_model(
    State(control): Shared,
    Extension(asker): Extension<Asker>,
    Path(id): Path<String>,
) -> Answer {
    let desk = control.desk();
    asker.must_be_admin("/credentials")?;
    let row = desk.directory.store.get(Table::MODELS, &[&id]).await?;
    let row =
        row.ok_or_else(|| Refusal::not_found(format!("Model with id={id} not found in db")))?;
    let mut params = row
        .get("litellm_params")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    params.retain(|name, _| LENT.contains(&name.as_str()));
    let name = text(&row, "model_name").unwrap_or_default();
    let row = Row::from_iter([
        (
            "credential_name".to_owned(),
            json!(format!("{name}-credential-{id}")),
        ),
        ("credential_values".to_owned(), Value::Object(params)),
        ("credential_info".to_owned(), json!({})),
    ]);
    masked(desk, &row).map(Json)
}
