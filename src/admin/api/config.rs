//! `/config/*`: reloading.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::json;

use crate::admin::admin_only;
use crate::admin::routes::Routes;
use crate::coordinator::Control;
use crate::message::AdminCaller;

/// The routes.
pub fn routes() -> Routes<Arc<Control>> {
    Routes::new().post(
        "/config/reload",
        reload,
        "Reads the config file again; a bad one changes nothing.",
    )
}

/// Reads the config file again; a bad one changes nothing and the answer says why.
async fn reload(
    State(control): State<Arc<Control>>,
    Extension(caller): Extension<AdminCaller>,
) -> Response {
    if let Some(refusal) = admin_only(caller) {
        return refusal;
    }
    match control.reload().await {
        Ok(report) => Json(json!({"status": "reloaded", "models": report.models,
            "version": report.version, "warnings": report.warnings}))
        .into_response(),
        Err(errors) => {
            let message = format!("the configuration in force stays: {}", errors.join("; "));
            let error = json!({"error": {"message": message, "type": "invalid_request_error",
                "param": null, "code": "400"}, "diagnostics": errors});
            (StatusCode::BAD_REQUEST, Json(error)).into_response()
        }
    }
}
