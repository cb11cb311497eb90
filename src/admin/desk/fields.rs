//! Fields of requests: read, checked and put where the tables keep them.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::Refusal;
use crate::auth::calendar::{self, Span, Zone};
use crate::store::{Row, Table, now_us};

/// A text that must be there.
///
/// # Errors
/// 400 that names it.
pub fn required(fields: &Row, name: &str) -> Result<String, Refusal> {
    let text = fields
        .get(name)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty());
    text.map(str::to_owned)
        .ok_or_else(|| Refusal::bad(format!("{name} must be given")).at(name))
}

/// A list of texts; a single text counts as a list of one.
pub fn texts_of(fields: &Row, name: &str) -> Vec<String> {
    match fields.get(name) {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(many)) => many
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    }
}

/// The fields that are columns of `table`, but for its key and what only we write.
pub fn pick(table: Table, fields: &Row) -> Row {
    const OURS: [&str; 6] = [
        "created_at",
        "created_by",
        "updated_at",
        "updated_by",
        "expires",
        "budget_reset_at",
    ];
    let columns = table.shape().known().filter(|column| !column.key);
    let named = columns.filter(|column| !OURS.contains(&column.name.as_str()));
    named
        .filter_map(|column| Some((column.name.clone(), fields.get(&column.name)?.clone())))
        .collect()
}

/// Sets one column.
pub fn put(row: &mut Row, name: &str, value: impl Into<Value>) {
    row.insert(name.to_owned(), value.into());
}

/// When something of this duration ends, as rows keep it; null for none.
///
/// # Errors
/// 400 for a duration that is none.
pub fn expiry(fields: &Row, name: &str) -> Result<Value, Refusal> {
    Ok(match span(fields, name)? {
        Some(span) => Value::from(calendar::text(span.after(now_us()))),
        None => Value::Null,
    })
}

/// When a budget of this duration starts anew in that zone; null for none.
///
/// # Errors
/// 400 for a duration that is none.
pub fn reset_at(zone: &Zone, fields: &Row, name: &str) -> Result<Value, Refusal> {
    Ok(match span(fields, name)? {
        Some(span) => Value::from(calendar::text(span.next_reset(now_us(), zone))),
        None => Value::Null,
    })
}

fn span(fields: &Row, name: &str) -> Result<Option<Span>, Refusal> {
    let Some(text) = fields.get(name).and_then(Value::as_str) else {
        return Ok(None);
    };
    let wrong = |error: String| Refusal::bad(format!("{name}: {error}")).at(name);
    text.parse().map(Some).map_err(wrong)
}

/// Numbers that limit must be numbers, and not below zero.
///
/// # Errors
/// 400 that names the first wrong one.
pub fn budget_fields(fields: &Row) -> Result<(), Refusal> {
    const NUMBERS: [&str; 6] = [
        "max_budget",
        "soft_budget",
        "tpm_limit",
        "rpm_limit",
        "max_parallel_requests",
        "spend",
    ];
    for name in NUMBERS {
        let Some(value) = fields.get(name).filter(|value| !value.is_null()) else {
            continue;
        };
        if value.as_f64().is_none_or(|number| number < 0.0) {
            let text = format!("{name} must be a number of 0 or more; got {value}");
            return Err(Refusal::bad(text).at(name));
        }
    }
    Ok(())
}

/// Fields that LiteLLM keeps in `metadata`. A metadata that the request names is the base, else
/// what there is; nothing at all when neither is named.
pub fn fold_metadata(
    fields: &Row,
    before: Option<&Map<String, Value>>,
) -> Option<Map<String, Value>> {
    const FOLDED: [&str; 11] = [
        "model_rpm_limit",
        "model_tpm_limit",
        "guardrails",
        "tags",
        "enforced_params",
        "temp_budget_increase",
        "temp_budget_expiry",
        "prompts",
        "logging",
        "secret_manager_settings",
        "rpm_limit_type",
    ];
    let given = fields.get("metadata").and_then(Value::as_object);
    let folded: Vec<&str> = FOLDED
        .into_iter()
        .filter(|name| fields.get(*name).is_some_and(|v| !v.is_null()))
        .collect();
    if given.is_none() && folded.is_empty() {
        return None;
    }
    let mut metadata = given.or(before).cloned().unwrap_or_default();
    for name in folded {
        metadata.insert(name.to_owned(), fields[name].clone());
    }
    Some(metadata)
}

/// The page that a query asks for: its number from 1, and its size up to `most`.
pub fn page(query: &HashMap<String, String>, size: &str, usual: u64, most: u64) -> (u64, u64) {
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<u64>().ok());
    (
        number("page").unwrap_or(1).max(1),
        number(size).unwrap_or(usual).clamp(1, most),
    )
}

/// How many pages `total` rows make.
pub fn pages(total: u64, size: u64) -> u64 {
    total.div_ceil(size)
}
