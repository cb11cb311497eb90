//! What is set and what may be: callbacks in force, the settings of alerting, of models and of the router.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use serde_json::{Value, json};
use shardgate_config::row::{Kind, Row as Parameter, Table as Parameters};
use shardgate_config::rows::{GENERAL_SETTINGS, LITELLM_PARAMS, ROUTER_SETTINGS};

use crate::admin::desk::{Answer, Asker, Refusal};
use crate::admin::routes::Routes;
use crate::coordinator::Control;
use crate::provider;

type Shared = State<Arc<Control>>;

/// The routes.
pub fn routes() -> Routes<Arc<Control>> {
    Routes::new()
        .get("/settings", active, "The callbacks in force.")
        .get("/active/callbacks", active, "The callbacks in force.")
        .get(
            "/alerting/settings",
            alerting,
            "What alerting may be set to, and what it is.",
        )
        .get(
            "/model/settings",
            models,
            "What a model of each provider may be set to.",
        )
        .get(
            "/router/settings",
            router,
            "What the router may be set to, and what it is.",
        )
        .get(
            "/router/fields",
            router_fields,
            "What the router may be set to.",
        )
        .get(
            "/config/pass_through_endpoints/settings",
            pass_through,
            "What a route that is passed on may be set to.",
        )
        .get(
            "/callbacks/list",
            callbacks,
            "The callbacks by what they hear of.",
        )
}

fn sees_all(asker: &Asker, path: &str) -> Result<(), Refusal> {
    match asker.sees_all() {
        true => Ok(()),
        false => asker.must_be_admin(path),
    }
}

/// A list, or the single value that stands for a list of one.
fn listed(value: &Value) -> Value {
    match value {
        Value::Null => json!([]),
        Value::String(one) => json!([one]),
        other => other.clone(),
    }
}

async fn active(State(control): Shared, Extension(asker): Extension<Asker>) -> Answer {
    sees_all(&asker, "/active/callbacks")?;
    let written = control.written().await?;
    let litellm = &written["litellm_settings"];
    let list = |name: &str| listed(&litellm[name]);
    let (general, callbacks) = (&written["general_settings"], list("callbacks"));
    let count = callbacks.as_array().map_or(0, Vec::len);
    Ok(Json(json!({
        "alerting": general["alerting"], "litellm.callbacks": callbacks,
        "litellm.success_callback": list("success_callback"),
        "litellm.failure_callback": list("failure_callback"),
        "num_callbacks": count, "num_alerting": general["alerting"].as_array().map_or(0, Vec::len),
        "litellm.request_timeout": litellm["request_timeout"],
    })))
}

/// A parameter with its sentence and its value.
fn field(row: &Parameter, value: &Value) -> Value {
    json!({"field_name": row.name, "field_type": row.kind.expected(), "field_description": row.doc,
        "field_value": value, "field_default_value": row.default_json(),
        "stored_in_db": null, "premium_field": false})
}

fn fields(table: &Parameters, values: &Value) -> Value {
    let rows = table.rows.iter();
    rows.map(|row| field(row, &values[row.name])).collect()
}

async fn alerting(State(control): Shared, Extension(asker): Extension<Asker>) -> Answer {
    sees_all(&asker, "/alerting/settings")?;
    let written = control.written().await?;
    let args = GENERAL_SETTINGS.find("alerting_args");
    let Some(Kind::Table(table)) = args.map(|row| &row.kind) else {
        return Ok(Json(json!([])));
    };
    Ok(Json(fields(
        table,
        &written["general_settings"]["alerting_args"],
    )))
}

async fn models(Extension(asker): Extension<Asker>) -> Answer {
    sees_all(&asker, "/model/settings")?;
    let none = json!({});
    let shown = fields(&LITELLM_PARAMS, &none);
    let one = |name: &str| json!({"name": name, "fields": shown});
    Ok(Json(
        provider::PROVIDERS
            .iter()
            .map(|entry| one(entry.name))
            .collect(),
    ))
}

async fn router_fields(Extension(asker): Extension<Asker>) -> Answer {
    sees_all(&asker, "/router/fields")?;
    let none = json!({});
    Ok(Json(json!({"fields": fields(&ROUTER_SETTINGS, &none)})))
}

async fn pass_through(Extension(asker): Extension<Asker>) -> Answer {
    sees_all(&asker, "/config/pass_through_endpoints/settings")?;
    let row = GENERAL_SETTINGS.find("pass_through_endpoints");
    let Some(Kind::List(Kind::Table(table))) = row.map(|row| &row.kind) else {
        return Ok(Json(json!([])));
    };
    Ok(Json(fields(table, &json!({}))))
}

async fn callbacks(State(control): Shared, Extension(asker): Extension<Asker>) -> Answer {
    sees_all(&asker, "/callbacks/list")?;
    let written = control.written().await?;
    let list = |name: &str| listed(&written["litellm_settings"][name]);
    Ok(Json(
        json!({"success": list("success_callback"), "failure": list("failure_callback"),
        "success_and_failure": list("callbacks")}),
    ))
}

async fn router(State(control): Shared, Extension(asker): Extension<Asker>) -> Answer {
    sees_all(&asker, "/router/settings")?;
    let written = control.written().await?;
    let values = &written["router_settings"];
    Ok(Json(
        json!({"fields": fields(&ROUTER_SETTINGS, values), "current_values": values}),
    ))
}
