//! The OpenAPI document, made from the tables of routes: those of the admin API with their fields,
//! and those that shards serve themselves. It knows no state; `docs/openapi.json` is a copy of it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::routes::Told;
use crate::endpoint;
use crate::store::schema::Kind;

/// The whole document.
pub fn document() -> Value {
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for told in super::told() {
        let path = told.path.replace("{*", "{");
        let method = told.method.to_ascii_lowercase();
        paths.entry(path).or_default().insert(method, admin(&told));
    }
    for served in endpoint::documented() {
        for method in served.methods {
            let operation = json!({
                "summary": served.says, "tags": ["models"],
                "parameters": in_path(&served.path),
                "responses": {"200": {"description": "As the client's API has it."}},
            });
            let at = paths.entry(served.path.clone()).or_default();
            at.entry(method.to_ascii_lowercase()).or_insert(operation);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Shardgate", "version": env!("CARGO_PKG_VERSION"),
            "description": "An LLM gateway with LiteLLM Proxy's API."},
        "paths": paths,
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer",
            "description": "The master key or a virtual key."}}},
        "security": [{"key": []}],
    })
}

/// The family that a path belongs to, which groups the document.
fn family(path: &str) -> &str {
    let mut words = path.split('/').filter(|word| !word.is_empty());
    let first = words.next().unwrap_or("gateway");
    match first {
        "v1" | "v2" => words.next().unwrap_or(first),
        first => first,
    }
}

fn admin(told: &Told) -> Value {
    let mut parameters = in_path(&told.path);
    let query = told.query.iter().map(|name| {
        json!({"name": name, "in": "query", "required": told.needs.contains(name),
            "schema": {"type": "string"}})
    });
    parameters.extend(query);
    let mut operation = json!({
        "summary": told.says,
        "tags": [family(&told.path)],
        "operationId": operation_id(told),
        "parameters": parameters,
        "responses": {"200": {"description": "Done.", "content": {"application/json": {}}}},
    });
    if told.method != "GET" && (told.row.is_some() || !told.fields.is_empty()) {
        operation["requestBody"] = json!({"content": {"application/json": {"schema": body(told)}}});
    }
    operation
}

fn operation_id(told: &Told) -> String {
    let words = |text: &str| text.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    let path = words(told.path.trim_matches('/'));
    format!("{path}_{}", told.method.to_ascii_lowercase())
}

/// The parts of a path that are parameters.
fn in_path(path: &str) -> Vec<Value> {
    let names = path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.split('}').next());
    names
        .map(|name| {
            json!({"name": name.trim_start_matches('*'), "in": "path", "required": true,
            "schema": {"type": "string"}})
        })
        .collect()
}

fn body(told: &Told) -> Value {
    const OURS: [&str; 6] = [
        "created_at",
        "created_by",
        "updated_at",
        "updated_by",
        "budget_reset_at",
        "token",
    ];
    let mut properties = Map::new();
    let columns = told.row.into_iter().flat_map(|row| row.shape().known());
    for column in columns.filter(|column| !OURS.contains(&column.name.as_str())) {
        properties.insert(column.name.clone(), typed(column.kind));
    }
    for name in &told.fields {
        properties.entry(*name).or_insert_with(|| json!({}));
    }
    let needed: Vec<&str> = told.needs.to_vec();
    json!({"type": "object", "properties": properties, "required": needed})
}

fn typed(kind: Kind) -> Value {
    match kind {
        Kind::Text => json!({"type": ["string", "null"]}),
        Kind::Float => json!({"type": ["number", "null"]}),
        Kind::Integer | Kind::Big => json!({"type": ["integer", "null"]}),
        Kind::Bool => json!({"type": ["boolean", "null"]}),
        Kind::Time => json!({"type": ["string", "null"], "format": "date-time"}),
        Kind::List => json!({"type": ["array", "null"], "items": {"type": "string"}}),
        Kind::Json | Kind::Bytes | Kind::Other => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_document_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
        let made = format!("{:#}\n", document());
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            made == committed,
            "docs/openapi.json is not what the routes say; type: \
             cargo run -- openapi > docs/openapi.json"
        );
    }

    #[test]
    fn every_route_says_what_it_is() {
        for told in super::super::told() {
            assert!(told.says.ends_with(['.', '?']), "{}", told.path);
            let named: Vec<&str> = told.fields.iter().chain(told.query).copied().collect();
            for need in told.needs {
                let column = told
                    .row
                    .is_some_and(|row| row.shape().known().any(|column| column.name == *need));
                assert!(column || named.contains(need), "{} needs {need}", told.path);
            }
        }
    }

    #[test]
    fn paths_have_their_parameters() {
        let document = document();
        let operation = &document["paths"]["/key/{key}/regenerate"]["post"];
        assert_eq!(operation["parameters"][0]["name"], "key");
        assert!(document["paths"]["/v1/chat/completions"]["post"].is_object());
    }
}
