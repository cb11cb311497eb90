//! `/health`: does every model answer?

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::routes::Routes;
use crate::coordinator::Control;

/// The routes.
pub fn routes() -> Routes<Arc<Control>> {
    Routes::new()
        .get("/health", health, "Does every model answer?")
        .query(&["model"])
        .get("/", root, "Who answers here.")
        .get(
            "/test",
            || async { Json(json!({"route": "/test"})) },
            "Says that the gateway is reached.",
        )
}

#[derive(Deserialize)]
struct Which {
    model: Option<String>,
}

/// What the background checks found of every deployment (or of those of one group), else what a call
/// with the smallest request of its mode finds now.
async fn health(State(control): State<Arc<Control>>, Query(which): Query<Which>) -> Response {
    let results = control.health(which.model.as_deref()).await;
    let (healthy, unhealthy): (Vec<_>, Vec<_>) = results
        .into_iter()
        .partition(|result| result.error.is_none());
    let describe = |results: Vec<crate::coordinator::Probed>| -> Vec<Value> {
        results
            .into_iter()
            .map(|result| result.into_json())
            .collect()
    };
    let (healthy_count, unhealthy_count) = (healthy.len(), unhealthy.len());
    if !control.snapshot().settings.health.details {
        let counts = json!({"healthy_count": healthy_count, "unhealthy_count": unhealthy_count});
        return Json(counts).into_response();
    }
    Json(json!({
        "healthy_endpoints": describe(healthy),
        "unhealthy_endpoints": describe(unhealthy),
        "healthy_count": healthy_count,
        "unhealthy_count": unhealthy_count,
    }))
    .into_response()
}

async fn root() -> Response {
    Json(
        json!({"message": "Shardgate is running; the API is LiteLLM Proxy's",
        "version": env!("CARGO_PKG_VERSION")}),
    )
    .into_response()
}
