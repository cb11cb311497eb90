//! From JSON Schema to the subset that function declarations take: no references, no additional properties, a type that may
//! be null is `nullable`.

use crate::dialect::value::{Map, Value, json};

/// How deep references are followed; a schema that refers to itself ends there.
const DEPTH_MAX: usize = 16;

/// The schema as a function declaration takes it.
pub fn declared(schema: &Value) -> Value {
    let empty = Map::new();
    let definitions = schema
        .get("$defs")
        .or_else(|| schema.get("definitions"))
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    convert(schema, definitions, 0)
}

fn convert(schema: &Value, definitions: &Map, depth: usize) -> Value {
    let Value::Object(given) = schema else {
        return json!({});
    };
    if depth > DEPTH_MAX {
        return json!({"type": "object"});
    }
    if let Some(name) = given.get("$ref").and_then(Value::as_str) {
        let name = name.rsplit('/').next().unwrap_or_default();
        return definitions.get(name).map_or_else(
            || json!({"type": "object"}),
            |schema| convert(schema, definitions, depth + 1),
        );
    }
    let mut out = Map::new();
    for (name, value) in given {
        match name.as_str() {
            "type" => put_type(&mut out, value),
            "properties" => {
                let properties = value.as_object().into_iter().flatten();
                let converted = properties
                    .map(|(name, value)| (name.clone(), convert(value, definitions, depth + 1)))
                    .collect();
                out.insert(name.clone(), Value::Object(converted));
            }
            "items" => {
                out.insert(name.clone(), convert(value, definitions, depth + 1));
            }
            "anyOf" | "oneOf" | "allOf" => put_any(&mut out, value, definitions, depth),
            "const" => {
                out.insert("enum", json!([value]));
            }
            "description" | "enum" | "required" | "format" | "nullable" | "title" | "default"
            | "minimum" | "maximum" | "minItems" | "maxItems" | "minLength" | "maxLength"
            | "minProperties" | "maxProperties" | "pattern" | "example" | "propertyOrdering" => {
                out.insert(name.clone(), value.clone());
            }
            _ => {}
        }
    }
    Value::Object(out)
}

/// `["string", "null"]` is a string that may be null.
fn put_type(out: &mut Map, kind: &Value) {
    let Value::Array(kinds) = kind else {
        out.insert("type", kind.clone());
        return;
    };
    let mut real = kinds.iter().filter(|kind| *kind != "null").cloned();
    if let Some(first) = real.next() {
        let others: Vec<Value> = real.collect();
        if others.is_empty() {
            out.insert("type", first);
        } else {
            let all = std::iter::once(first).chain(others);
            let all = all.map(|kind| json!({"type": kind})).collect();
            out.insert("anyOf", Value::Array(all));
        }
    }
    if kinds.iter().any(|kind| kind == "null") {
        out.insert("nullable", json!(true));
    }
}

fn put_any(out: &mut Map, given: &Value, definitions: &Map, depth: usize) {
    let given = given.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut real: Vec<Value> = given
        .iter()
        .filter(|schema| schema["type"] != "null")
        .map(|schema| convert(schema, definitions, depth + 1))
        .collect();
    if real.len() < given.len() {
        out.insert("nullable", json!(true));
    }
    match (real.len(), real.pop()) {
        (1, Some(Value::Object(only))) => out.extend(only),
        (_, Some(last)) => {
            real.push(last);
            out.insert("anyOf", Value::Array(real));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_and_nulls_are_resolved() {
        let schema = json!({
            "$defs": {"u": {"type": "string"}}, "type": "object", "additionalProperties": false,
            "properties": {
                "a": {"$ref": "#/$defs/u"},
                "b": {"anyOf": [{"type": "number"}, {"type": "null"}]},
                "c": {"type": ["string", "null"]},
            },
        });
        let expected = json!({"type": "object", "properties": {
            "a": {"type": "string"},
            "b": {"type": "number", "nullable": true},
            "c": {"type": "string", "nullable": true},
        }});
        assert_eq!(declared(&schema), expected);
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema = json!({"$defs": {"n": {"type": "object", "properties": {"next": {"$ref": "#/$defs/n"}}}}, "$ref": "#/$defs/n"});
        assert!(declared(&schema).to_string().len() < 4000);
    }
}
