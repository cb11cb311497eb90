//! Tools as the declarations that OpenAI's models see them as. The form is not published; it was found by others from the
//! token counts that the API answers with.

use serde_json::Value;

/// The text that stands in the prompt for `tools`.
pub(super) fn declared(tools: &[Value]) -> String {
    let mut lines = vec!["namespace functions {".to_owned(), String::new()];
    for tool in tools {
        // Anthropic's tools have no `function` around them and another name for the schema.
        let function = if tool["function"].is_object() {
            &tool["function"]
        } else {
            tool
        };
        let Some(name) = function["name"].as_str() else {
            continue;
        };
        if let Some(description) = function["description"].as_str() {
            lines.push(format!("// {description}"));
        }
        let schema = match &function["parameters"] {
            Value::Null => &function["input_schema"],
            schema => schema,
        };
        let has_members = schema["properties"]
            .as_object()
            .is_some_and(|members| !members.is_empty());
        if has_members {
            lines.push(format!("type {name} = (_: {{"));
            lines.push(members(schema, 0));
            lines.push("}) => any;".to_owned());
        } else {
            lines.push(format!("type {name} = () => any;"));
        }
        lines.push(String::new());
    }
    lines.push("} // namespace functions".to_owned());
    lines.join("\n")
}

/// The members of an object, one a line.
fn members(schema: &Value, indent: usize) -> String {
    let required = |name: &str| {
        let names = schema["required"].as_array().into_iter().flatten();
        names.into_iter().any(|one| one == name)
    };
    let mut lines = Vec::new();
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(description) = member["description"].as_str() {
            lines.push(format!("// {description}"));
        }
        let mark = if required(name) { "" } else { "?" };
        lines.push(format!("{name}{mark}: {},", kind(member, indent)));
    }
    let margin = " ".repeat(indent);
    let lines: Vec<String> = lines
        .into_iter()
        .map(|line| format!("{margin}{line}"))
        .collect();
    lines.join("\n")
}

fn kind(schema: &Value, indent: usize) -> String {
    let choices = |names: &Vec<Value>| {
        let names: Vec<String> = names
            .iter()
            .map(|name| match name {
                Value::String(text) => format!("\"{text}\""),
                other => other.to_string(),
            })
            .collect();
        names.join(" | ")
    };
    match schema["type"].as_str() {
        Some("string" | "integer" | "number") if schema["enum"].is_array() => {
            schema["enum"].as_array().map(choices).unwrap_or_default()
        }
        Some("integer" | "number") => "number".to_owned(),
        Some("array") => match &schema["items"] {
            Value::Null => "any[]".to_owned(),
            items => format!("{}[]", kind(items, indent)),
        },
        Some("object") => format!("{{\n{}\n}}", members(schema, indent + 2)),
        Some(other @ ("string" | "boolean" | "null")) => other.to_owned(),
        _ => "any".to_owned(),
    }
}
