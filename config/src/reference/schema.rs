//! `schema.json`: a JSON schema for editors.
//!
//! It is as strict as `--strict`: a name without a row is marked. Wherever a value may be written,
//! a reference to the environment may be written instead.

use serde_json::{Map, Value as Json, json};

use crate::row::{Default, Kind, Row, Table};
use crate::rows::ROOT;

/// The schema, indented, with a newline at its end.
pub fn json_schema() -> String {
    let mut schema = table(&ROOT);
    let head = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Shardgate config.yaml",
        "$defs": {
            "environment": {
                "type": "string",
                "pattern": "^os\\.environ/.+",
                "description": "The environment variable of that name."
            },
            "boolean": { "anyOf": [{ "type": ["boolean", "null"] }, environment()] },
            "text": { "type": ["string", "number", "null"] },
            "texts": { "anyOf": [
                { "type": ["array", "null"], "items": { "$ref": "#/$defs/text" } },
                environment()
            ] },
            "fallbacks": fallbacks(),
            "aliases": aliases()
        }
    });
    if let (Json::Object(schema), Json::Object(head)) = (&mut schema, head) {
        let body = std::mem::take(schema);
        schema.extend(head);
        schema.extend(body);
    }
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

fn table(of: &Table) -> Json {
    let properties: Map<String, Json> = of
        .rows
        .iter()
        .map(|row| (row.name.to_owned(), property(row)))
        .collect();
    let required: Vec<&str> = of
        .rows
        .iter()
        .filter(|row| matches!(row.default, Default::Required))
        .map(|row| row.name)
        .collect();
    let mut schema = json!({
        "type": ["object", "null"],
        "description": of.doc,
        "properties": properties,
        "additionalProperties": of.open,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn property(row: &Row) -> Json {
    let mut schema = kind(&row.kind);
    schema["description"] = json!(row.doc);
    if let Some(default) = row.default_json() {
        schema["default"] = default;
    }
    if !row.instead.is_empty() {
        schema["deprecated"] = json!(true);
    }
    schema
}

fn kind(of: &Kind) -> Json {
    let scalar = |schema: Json| json!({ "anyOf": [schema, environment(), { "type": "null" }] });
    let defined = |name: &str| json!({ "$ref": format!("#/$defs/{name}") });
    match of {
        Kind::Bool => defined("boolean"),
        Kind::Integer(min, max) => {
            let mut schema = json!({ "type": "integer" });
            if *min > i64::MIN {
                schema["minimum"] = json!(min);
            }
            if *max < i64::MAX {
                schema["maximum"] = json!(max);
            }
            scalar(schema)
        }
        Kind::Number(min, max) => scalar(number(*min, *max)),
        Kind::Seconds(min, max) => {
            let text = json!({ "type": "string", "pattern": "^[0-9.]+\\s*(ms|s|m|h|d)?$" });
            json!({ "anyOf": [number(*min, *max), text, environment(), { "type": "null" }] })
        }
        Kind::Period => scalar(json!({ "type": "string", "pattern": "^[1-9][0-9]*(mo|[smhdw])$" })),
        Kind::Choice(words) => scalar(json!({ "enum": words })),
        Kind::Known(words) => json!({ "type": ["string", "null"], "examples": words }),
        Kind::Text
        | Kind::Name
        | Kind::Secret
        | Kind::Url(_)
        | Kind::SecretUrl(_)
        | Kind::Python
        | Kind::Network => defined("text"),
        Kind::List(Kind::Text) => defined("texts"),
        Kind::List(inner) => {
            let list = json!({ "type": "array", "items": kind(inner) });
            json!({ "anyOf": [list, environment(), { "type": "null" }] })
        }
        Kind::Many(inner) => {
            let list = json!({ "type": "array", "items": kind(inner) });
            json!({ "anyOf": [list, kind(inner)] })
        }
        Kind::Map(inner) => {
            let map = json!({ "type": "object", "additionalProperties": kind(inner) });
            json!({ "anyOf": [map, environment(), { "type": "null" }] })
        }
        Kind::Table(inner) => table(inner),
        Kind::Fallbacks => defined("fallbacks"),
        Kind::Aliases => defined("aliases"),
        Kind::Addresses => json!({
            "type": "array",
            "items": { "type": "array", "minItems": 2, "maxItems": 2 }
        }),
        Kind::Either(kinds) => json!({ "anyOf": kinds.iter().map(kind).collect::<Vec<_>>() }),
        Kind::Any => json!({}),
    }
}

fn number(min: f64, max: f64) -> Json {
    let mut schema = json!({ "type": "number" });
    if min > f64::MIN {
        schema["minimum"] = json!(min);
    }
    if max < f64::MAX {
        schema["maximum"] = json!(max);
    }
    schema
}

fn environment() -> Json {
    json!({ "$ref": "#/$defs/environment" })
}

fn fallbacks() -> Json {
    let models = json!({ "anyOf": [
        { "type": "array", "items": { "type": "string" } },
        { "type": "string" }
    ] });
    let rule = json!({ "type": "object", "additionalProperties": models });
    json!({ "anyOf": [
        { "type": "array", "items": { "anyOf": [rule.clone(), { "type": "string" }] } },
        rule,
        { "type": "null" }
    ] })
}

fn aliases() -> Json {
    let long = json!({
        "type": "object",
        "properties": { "model": { "type": "string" }, "hidden": { "type": "boolean" } },
        "required": ["model"]
    });
    json!({
        "type": ["object", "null"],
        "additionalProperties": { "anyOf": [{ "type": "string" }, long] }
    })
}
