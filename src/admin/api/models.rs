//! `/models`, `/model/info`, `/model_group/info`: what is served, without a secret.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use serde_json::{Map, Value, json};

use crate::admin::desk::Asker;
use crate::coordinator::Control;
use crate::snapshot::{Deployment, Snapshot};

/// LiteLLM's constant for `created`.
const CREATED: u64 = 1_677_610_602;

/// The routes.
pub fn routes() -> Router<Arc<Control>> {
    Router::new()
        .route("/v1/models", get(list))
        .route("/models", get(list))
        .route("/v1/models/{*id}", get(one))
        .route("/models/{*id}", get(one))
        .route("/model/info", get(info))
        .route("/v1/model/info", get(info))
        .route("/v2/model/info", get(info))
        .route("/model_group/info", get(groups))
}

fn entry(name: &str) -> Value {
    json!({"id": name, "object": "model", "created": CREATED, "owned_by": "openai"})
}

async fn list(State(control): State<Arc<Control>>, asker: Option<Extension<Asker>>) -> Response {
    let snapshot = control.snapshot();
    let in_group = |group: &str, model: &str| snapshot.in_access_group(group, model);
    // Whoever has a key sees what it may call.
    let may_call = |name: &&String| {
        let caller = asker.as_ref().and_then(|Extension(asker)| asker.caller());
        caller.is_none_or(|caller| caller.may_use_model(name, &in_group).is_ok())
    };
    let data: Vec<Value> = snapshot
        .public_models
        .iter()
        .filter(may_call)
        .map(|name| entry(name))
        .collect();
    Json(json!({"data": data, "object": "list"})).into_response()
}

async fn one(State(control): State<Arc<Control>>, Path(id): Path<String>) -> Response {
    let snapshot = control.snapshot();
    if snapshot.public_models.contains(&id) {
        return Json(entry(&id)).into_response();
    }
    let message = format!("The model `{id}` does not exist");
    let error = json!({"error": {"message": message, "type": "invalid_request_error",
        "param": "model", "code": "404"}});
    (StatusCode::NOT_FOUND, Json(error)).into_response()
}

async fn info(State(control): State<Arc<Control>>) -> Response {
    let snapshot = control.snapshot();
    let data: Vec<Value> = snapshot.deployments.iter().map(described).collect();
    Json(json!({ "data": data })).into_response()
}

fn described(deployment: &Deployment) -> Value {
    let mut info = Map::new();
    info.insert("id".into(), deployment.id.as_str().into());
    info.insert("db_model".into(), false.into());
    info.insert("key".into(), deployment.target.model.as_str().into());
    info.insert(
        "litellm_provider".into(),
        deployment.target.entry.name.into(),
    );
    info.insert("mode".into(), Value::Null);
    for (key, value) in &deployment.model_info {
        info.insert(key.clone(), value.clone());
    }
    json!({"model_name": deployment.group, "litellm_params": deployment.public_params,
        "model_info": info})
}

async fn groups(State(control): State<Arc<Control>>) -> Response {
    let snapshot = control.snapshot();
    let names: BTreeSet<&str> = snapshot
        .deployments
        .iter()
        .map(|deployment| deployment.group.as_str())
        .collect();
    let data: Vec<Value> = names
        .into_iter()
        .map(|name| group(&snapshot, name))
        .collect();
    Json(json!({ "data": data })).into_response()
}

fn group(snapshot: &Snapshot, name: &str) -> Value {
    let members: Vec<&Deployment> = snapshot
        .deployments
        .iter()
        .filter(|deployment| deployment.group == name)
        .collect();
    let providers: BTreeSet<&str> = members
        .iter()
        .map(|deployment| deployment.target.entry.name)
        .collect();
    let largest = |key: &str| {
        members
            .iter()
            .filter_map(|d| d.model_info.get(key)?.as_f64())
            .reduce(f64::max)
    };
    let total = |key: &str| {
        members
            .iter()
            .filter_map(|d| d.public_params.get(key)?.as_u64())
            .reduce(|a, b| a + b)
    };
    let any = |key: &str| {
        members.iter().any(|d| {
            d.model_info
                .get(key)
                .and_then(Value::as_bool)
                .unwrap_or(false)
        })
    };
    let mode = members
        .iter()
        .find_map(|d| d.model_info.get("mode"))
        .cloned();
    json!({
        "model_group": name,
        "providers": providers,
        "max_input_tokens": largest("max_input_tokens"),
        "max_output_tokens": largest("max_output_tokens"),
        "input_cost_per_token": largest("input_cost_per_token"),
        "output_cost_per_token": largest("output_cost_per_token"),
        "mode": mode.unwrap_or_else(|| "chat".into()),
        "tpm": total("tpm"),
        "rpm": total("rpm"),
        "supports_parallel_function_calling": any("supports_parallel_function_calling"),
        "supports_vision": any("supports_vision"),
        "supports_function_calling": any("supports_function_calling"),
        "supported_openai_params": null,
        "configurable_clientside_auth_params": null,
    })
}
