//! `/models`, `/model/info`, `/model_group/info`: what is served, without a secret.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::{Map, Value, json};

use crate::admin::desk::Asker;
use crate::admin::routes::Routes;
use crate::coordinator::Control;
use crate::snapshot::{Deployment, Snapshot};
use crate::spend::price::Prices;
use crate::spend::price::rate::FIELDS;

/// LiteLLM's constant for `created`.
const CREATED: u64 = 1_677_610_602;

/// The routes.
pub fn routes() -> Routes<Arc<Control>> {
    Routes::new()
        .get("/v1/models", list, "Models that the caller may use.")
        .get("/models", list, "Models that the caller may use.")
        .get("/v1/models/{*id}", one, "A model by its name.")
        .get("/models/{*id}", one, "A model by its name.")
        .get("/model/info", info, "All deployments, without a secret.")
        .query(&["litellm_model_id"])
        .get("/v1/model/info", info, "All deployments, without a secret.")
        .query(&["litellm_model_id"])
        .get("/v2/model/info", info, "All deployments, without a secret.")
        .query(&["model"])
        .get(
            "/model_group/info",
            groups,
            "Model groups with what their deployments can do together.",
        )
        .query(&["model_group"])
        .get(
            "/get/litellm_model_cost_map",
            cost_map,
            "What models cost and can do, as far as that is built in.",
        )
        .get(
            "/public/litellm_model_cost_map",
            cost_map,
            "The same for everybody.",
        )
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
    let written = snapshot.deployments.iter().filter(|made| !made.implied);
    let data: Vec<Value> = written.map(described).collect();
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
    info.extend(facts(deployment));
    for (key, value) in &deployment.model_info {
        info.insert(key.clone(), value.clone());
    }
    json!({"model_name": deployment.group, "litellm_params": deployment.public_params,
        "model_info": info})
}

/// What the price table says of the model, with the deployment's own prices on top.
fn facts(deployment: &Deployment) -> Map<String, Value> {
    let mut facts = of_prices(deployment.meter.prices());
    let params = super::inspection::supported_params(&deployment.target);
    facts.insert("supported_openai_params".into(), params.into());
    facts
}

/// What a price table's entry says.
fn of_prices(prices: &Prices) -> Map<String, Value> {
    let mut facts = Map::new();
    let mode = Some(&*prices.mode).filter(|mode| !mode.is_empty());
    facts.insert("mode".into(), mode.into());
    for (name, tokens) in [
        ("max_tokens", prices.max_tokens),
        ("max_input_tokens", prices.max_input_tokens),
        ("max_output_tokens", prices.max_output_tokens),
        ("output_vector_size", prices.output_vector_size),
    ] {
        facts.insert(name.into(), tokens.into());
    }
    for (kind, name) in FIELDS {
        if let Some(price) = prices.usual(kind) {
            facts.insert(name.into(), price.dollars().into());
        }
    }
    for (flag, on) in prices.flags() {
        facts.insert(flag.into(), on.into());
    }
    facts
}

/// The price table, in the form of LiteLLM's `model_prices_and_context_window.json`.
async fn cost_map(State(control): State<Arc<Control>>) -> Response {
    let entries = control.prices().iter().map(|(name, prices)| {
        let mut facts = of_prices(prices);
        facts.retain(|_, value| !value.is_null());
        if !prices.provider.is_empty() {
            facts.insert("litellm_provider".into(), (&*prices.provider).into());
        }
        (name.to_owned(), Value::Object(facts))
    });
    // Sorted, so that two answers are the same.
    let entries: BTreeMap<String, Value> = entries.collect();
    Json(entries).into_response()
}

async fn groups(State(control): State<Arc<Control>>) -> Response {
    let snapshot = control.snapshot();
    let names: BTreeSet<&str> = snapshot
        .deployments
        .iter()
        .filter(|deployment| !deployment.implied)
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
    let known: Vec<Map<String, Value>> = members
        .iter()
        .map(|deployment| {
            let mut known = facts(deployment);
            known.extend(deployment.model_info.clone());
            known
        })
        .collect();
    let largest = |key: &str| {
        known
            .iter()
            .filter_map(|known| known.get(key)?.as_f64())
            .reduce(f64::max)
    };
    let total = |key: &str| {
        members
            .iter()
            .filter_map(|d| d.public_params.get(key)?.as_u64())
            .reduce(|a, b| a + b)
    };
    let any = |key: &str| {
        known
            .iter()
            .any(|known| known.get(key).and_then(Value::as_bool).unwrap_or(false))
    };
    let mode = known.iter().find_map(|known| known.get("mode"));
    let mode = mode.filter(|mode| !mode.is_null()).cloned();
    let supported = known
        .first()
        .and_then(|known| known.get("supported_openai_params"));
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
        "supports_reasoning": any("supports_reasoning"),
        "supports_web_search": any("supports_web_search"),
        "supported_openai_params": supported,
        "configurable_clientside_auth_params": null,
    })
}
