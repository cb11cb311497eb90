//! Lines of the daily tables, summed by any of their fields.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::store::Row;

/// Sums of lines.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    pub spend: f64,
    pub prompt: i64,
    pub completion: i64,
    pub cache_read: i64,
    pub cache_creation: i64,
    pub requests: i64,
    pub succeeded: i64,
    pub failed: i64,
}

impl Sums {
    fn add(&mut self, row: &Row) {
        let number = |name: &str| match row.get(name) {
            Some(Value::Number(number)) => number.as_i64().unwrap_or_else(|| {
                // Postgres sums bigints to numerics, which JSON may show with a fraction.
                number.as_f64().map_or(0, |float| float as i64)
            }),
            _ => 0,
        };
        self.spend += row.get("spend").and_then(Value::as_f64).unwrap_or(0.0);
        self.prompt += number("prompt_tokens");
        self.completion += number("completion_tokens");
        self.cache_read += number("cache_read_input_tokens");
        self.cache_creation += number("cache_creation_input_tokens");
        self.requests += number("api_requests");
        self.succeeded += number("successful_requests");
        self.failed += number("failed_requests");
    }

    fn metrics(&self) -> Value {
        json!({
            "spend": self.spend, "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "cache_read_input_tokens": self.cache_read,
            "cache_creation_input_tokens": self.cache_creation,
            "total_tokens": self.prompt + self.completion,
            "successful_requests": self.succeeded, "failed_requests": self.failed,
            "api_requests": self.requests,
        })
    }
}

/// A field's text; empty where there is none.
pub(super) fn field<'a>(row: &'a Row, name: &str) -> &'a str {
    row.get(name).and_then(Value::as_str).unwrap_or("")
}

/// Sums by some fields, in their order.
pub(super) fn by(rows: &[Row], fields: &[&str]) -> Vec<(Vec<String>, Sums)> {
    let mut sums: BTreeMap<Vec<String>, Sums> = BTreeMap::new();
    for row in rows {
        let at = fields
            .iter()
            .map(|name| field(row, name).to_owned())
            .collect();
        sums.entry(at).or_default().add(row);
    }
    sums.into_iter().collect()
}

/// The highest spend first.
pub(super) fn highest(mut sums: Vec<(Vec<String>, Sums)>) -> Vec<(Vec<String>, Sums)> {
    sums.sort_by(|(_, a), (_, b)| b.spend.total_cmp(&a.spend));
    sums
}

/// All of it.
pub(super) fn all(rows: &[Row]) -> Sums {
    let mut sums = Sums::default();
    rows.iter().for_each(|row| sums.add(row));
    sums
}

/// LiteLLM's daily activity: days with their metrics, and what they are made of.
pub(super) fn report(rows: &[Row]) -> Value {
    let breakdown = |rows: &[Row], name: &str| -> Value {
        let parts = by(rows, &[name]).into_iter();
        let parts = parts.map(|(at, sums)| {
            (
                at[0].clone(),
                json!({"metrics": sums.metrics(), "metadata": {}}),
            )
        });
        Value::Object(parts.collect())
    };
    let mut days: Vec<Value> = by(rows, &["date"])
        .into_iter()
        .map(|(date, sums)| {
            let of = |row: &&Row| field(row, "date") == date[0];
            let mine: Vec<Row> = rows.iter().filter(of).cloned().collect();
            json!({
                "date": date[0], "metrics": sums.metrics(),
                "breakdown": {
                    "models": breakdown(&mine, "model"),
                    "model_groups": breakdown(&mine, "model_group"),
                    "providers": breakdown(&mine, "provider"),
                    "api_keys": breakdown(&mine, "api_key"),
                    "entities": breakdown(&mine, "entity"),
                },
            })
        })
        .collect();
    days.reverse();
    let all = all(rows);
    json!({
        "results": days,
        "metadata": {
            "total_spend": all.spend, "total_prompt_tokens": all.prompt,
            "total_completion_tokens": all.completion,
            "total_tokens": all.prompt + all.completion,
            "total_api_requests": all.requests, "total_successful_requests": all.succeeded,
            "total_failed_requests": all.failed, "total_cache_read_input_tokens": all.cache_read,
            "total_cache_creation_input_tokens": all.cache_creation,
            "page": 1, "total_pages": 1, "has_more": false,
        },
    })
}
