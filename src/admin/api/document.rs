//! What there is: `/openapi.json`, a page made of it, and LiteLLM's list of routes.

use std::fmt::Write;
use std::sync::{Arc, LazyLock};

use axum::Json;
use axum::response::{Html, IntoResponse, Response};
use serde_json::{Value, json};

use crate::admin::openapi;
use crate::admin::routes::Routes;
use crate::coordinator::Control;

/// The routes.
pub fn routes() -> Routes<Arc<Control>> {
    Routes::new()
        .get("/openapi.json", document, "This document.")
        .get("/docs", page, "This document as a page.")
        .get("/routes", list, "All routes with their methods.")
}

static DOCUMENT: LazyLock<Value> = LazyLock::new(openapi::document);

async fn document() -> Response {
    Json(&*DOCUMENT).into_response()
}

/// Each path with its operations.
fn operations() -> impl Iterator<Item = (&'static str, &'static str, &'static Value)> {
    let paths = DOCUMENT["paths"].as_object().into_iter().flatten();
    paths.flat_map(|(path, methods)| {
        let methods = methods.as_object().into_iter().flatten();
        methods.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    })
}

async fn list() -> Response {
    let one = |(path, method, operation): (&str, &str, &Value)| {
        json!({"path": path, "methods": [method.to_ascii_uppercase()],
            "name": operation["operationId"], "summary": operation["summary"]})
    };
    Json(json!({"routes": operations().map(one).collect::<Vec<Value>>()})).into_response()
}

/// The page needs nothing from elsewhere.
async fn page() -> Html<String> {
    let mut page = String::from(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Shardgate API</title><style>\
         body{font:15px/1.5 system-ui;max-width:70em;margin:2em auto;padding:0 1em}\
         td{padding:.2em .6em;vertical-align:top}code{white-space:nowrap}small{color:#666}</style>\
         <h1>Shardgate API</h1><p>As JSON: <a href=openapi.json>openapi.json</a></p><table>",
    );
    for (path, method, operation) in operations() {
        let says = operation["summary"].as_str().unwrap_or_default();
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        let fields = schema["properties"].as_object().into_iter().flatten();
        let fields = fields.map(|(name, _)| name.as_str());
        let query = operation["parameters"].as_array().into_iter().flatten();
        let query = query.filter_map(|parameter| parameter["name"].as_str());
        let names: Vec<&str> = query.chain(fields).collect();
        // Everything here is our own text.
        let _ = write!(
            page,
            "<tr><td><b>{}</b><td><code>{path}</code><td>{says}<br><small>{}</small>",
            method.to_ascii_uppercase(),
            names.join(", ")
        );
    }
    page.push_str("</table></html>");
    Html(page)
}
