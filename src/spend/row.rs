//! A call's record as a row of `LiteLLM_SpendLogs`, as LiteLLM itself would have written it. The
//! columns are made one by one when a store asks for them; no row of names and values is built.

use std::borrow::Cow;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};

use super::record::{CacheUse, CallRecord, Outcome};

/// Writes microseconds since 1970 as the database wants them.
pub type Time = fn(i64) -> String;

/// The row of a record.
#[derive(Clone, Copy, Debug)]
pub struct SpendRow<'a> {
    /// What it is about.
    pub record: &'a CallRecord<'a>,
    /// How its times are written.
    pub time: Time,
    /// Its name: the answer's id, or the call's own where an upstream gave that id to another call
    /// as well.
    pub request_id: &'a str,
}

/// What a row holds in a column. As JSON it is what Postgres makes its own types of.
#[derive(Debug)]
pub enum Cell<'a> {
    /// Nothing.
    Null,
    /// A text.
    Text(Cow<'a, str>),
    /// A whole number.
    Whole(i64),
    /// A number with a fraction.
    Real(f64),
    /// The object of a call's particulars.
    Metadata(Metadata<'a>),
    /// A list of the tags.
    Tags(&'a CallRecord<'a>),
    /// `{}`.
    Empty,
}

impl<'a> SpendRow<'a> {
    /// The row under the name that the answer has.
    #[must_use]
    pub fn of(record: &'a CallRecord<'a>, time: Time) -> SpendRow<'a> {
        SpendRow {
            record,
            time,
            request_id: record.request_id,
        }
    }
}

/// Makes what a row holds in one column.
pub type Make = for<'a> fn(&SpendRow<'a>) -> Cell<'a>;

/// How the column of that name is made; nothing where a call has no say and the column's default
/// counts.
#[must_use]
pub fn column(name: &str) -> Option<Make> {
    let found = COLUMNS.iter().find(|(column, _)| *column == name);
    found.map(|(_, make)| *make)
}

const COLUMNS: [(&str, Make); 31] = [
    ("request_id", |row| text(row.request_id)),
    ("call_type", |row| text(row.record.call_type)),
    ("api_key", |row| text(row.record.api_key)),
    ("spend", |row| Cell::Real(row.record.cost.dollars())),
    ("total_tokens", |row| whole(row.record.total_tokens)),
    ("prompt_tokens", |row| whole(row.record.prompt_tokens)),
    ("completion_tokens", |row| {
        whole(row.record.completion_tokens)
    }),
    ("startTime", |row| after(row, 0)),
    ("endTime", |row| after(row, row.record.duration_us)),
    ("completionStartTime", |row| {
        match row.record.first_token_us {
            0 => after(row, row.record.duration_us),
            us => after(row, us),
        }
    }),
    ("request_duration_ms", |row| whole(duration_ms(row.record))),
    ("model", |row| text(row.record.model)),
    ("model_id", |row| text(row.record.deployment)),
    ("model_group", |row| text(row.record.group)),
    ("custom_llm_provider", |row| text(row.record.provider)),
    ("api_base", |row| text(row.record.api_base)),
    ("user", |row| text(row.record.user)),
    ("metadata", |row| Cell::Metadata(Metadata(row.record))),
    ("cache_hit", |row| text(cache_hit(row.record))),
    ("cache_key", |row| match row.record.cache_key {
        "" => text("Cache OFF"),
        key => text(key),
    }),
    ("request_tags", |row| Cell::Tags(row.record)),
    ("team_id", |row| optional(row.record.team)),
    ("organization_id", |row| optional(row.record.organization)),
    ("end_user", |row| text(row.record.end_user)),
    ("requester_ip_address", |row| text(row.record.requester_ip)),
    ("session_id", |row| optional(row.record.session)),
    ("litellm_call_id", |row| optional(row.record.call_id)),
    ("status", |row| text(status(row.record))),
    ("messages", |_| Cell::Empty),
    ("response", |_| Cell::Empty),
    ("proxy_server_request", |_| Cell::Empty),
];

fn text(text: &str) -> Cell<'_> {
    Cell::Text(Cow::Borrowed(text))
}

fn optional(text: &str) -> Cell<'_> {
    match text {
        "" => Cell::Null,
        text => Cell::Text(Cow::Borrowed(text)),
    }
}

/// The columns are 32-bit integers.
fn whole<'a>(count: u64) -> Cell<'a> {
    Cell::Whole(count.min(i32::MAX as u64) as i64)
}

/// The time so many microseconds after a call came in.
fn after<'a>(row: &SpendRow<'_>, us: u64) -> Cell<'a> {
    let at_us = row.record.started_us.saturating_add_unsigned(us);
    Cell::Text(Cow::Owned((row.time)(at_us)))
}

/// How long a call took, as its row and the days' sums count it.
#[must_use]
pub fn duration_ms(record: &CallRecord<'_>) -> u64 {
    record.duration_us / 1000
}

/// LiteLLM keeps a text here, Python's.
fn cache_hit(record: &CallRecord<'_>) -> &'static str {
    match record.cache {
        CacheUse::Off => "None",
        CacheUse::Miss => "False",
        CacheUse::Hit => "True",
    }
}

fn status(record: &CallRecord<'_>) -> &'static str {
    match record.outcome {
        Outcome::Failure => "failure",
        Outcome::Success | Outcome::Cut => "success",
    }
}

impl Serialize for Cell<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Cell::Null => serializer.serialize_unit(),
            Cell::Text(text) => serializer.serialize_str(text),
            Cell::Whole(number) => serializer.serialize_i64(*number),
            Cell::Real(number) => serializer.serialize_f64(*number),
            Cell::Metadata(metadata) => metadata.serialize(serializer),
            Cell::Tags(record) => serializer.collect_seq(record.tags()),
            Cell::Empty => serializer.serialize_map(Some(0))?.end(),
        }
    }
}

/// What the `metadata` column says of a call: what the client gave along, and LiteLLM's own names.
#[derive(Clone, Copy, Debug)]
pub struct Metadata<'a>(&'a CallRecord<'a>);

/// The names that no client may set.
const OWN_NAMES: [&str; 11] = [
    "user_api_key",
    "user_api_key_alias",
    "user_api_key_user_id",
    "user_api_key_team_id",
    "user_api_key_team_alias",
    "user_api_key_org_id",
    "requester_ip_address",
    "status",
    "additional_usage_values",
    "cost_breakdown",
    "error_information",
];

impl Serialize for Metadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Metadata(record) = self;
        let mut map = serializer.serialize_map(None)?;
        if !record.metadata.is_empty() {
            let given: Map<String, Value> =
                serde_json::from_str(record.metadata).unwrap_or_default();
            for (name, value) in given {
                if !OWN_NAMES.contains(&name.as_str()) {
                    map.serialize_entry(&name, &value)?;
                }
            }
        }
        let given = |text| Some(text).filter(|text: &&str| !text.is_empty());
        map.serialize_entry("user_api_key", record.api_key)?;
        map.serialize_entry("user_api_key_alias", &given(record.key_alias))?;
        map.serialize_entry("user_api_key_user_id", &given(record.user))?;
        map.serialize_entry("user_api_key_team_id", &given(record.team))?;
        map.serialize_entry("user_api_key_team_alias", &given(record.team_alias))?;
        map.serialize_entry("user_api_key_org_id", &given(record.organization))?;
        map.serialize_entry("requester_ip_address", &given(record.requester_ip))?;
        map.serialize_entry("status", status(record))?;
        map.serialize_entry("additional_usage_values", &Usage::of(record))?;
        map.serialize_entry("cost_breakdown", &Breakdown::of(record))?;
        if record.outcome != Outcome::Success {
            let error_class = match (record.outcome, record.error_class) {
                (Outcome::Cut, "") => "StreamCut",
                (_, class) => class,
            };
            let error_code = record.status.to_string();
            map.serialize_entry(
                "error_information",
                &ErrorInformation {
                    error_class,
                    error_code,
                },
            )?;
        }
        map.end()
    }
}

#[derive(serde::Serialize)]
struct Usage {
    cache_read_input_tokens: u64,
    cache_creation_input_tokens: u64,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(serde::Serialize)]
struct PromptDetails {
    cached_tokens: u64,
}

#[derive(serde::Serialize)]
struct CompletionDetails {
    reasoning_tokens: u64,
}

impl Usage {
    fn of(record: &CallRecord<'_>) -> Usage {
        Usage {
            cache_read_input_tokens: record.cached_tokens,
            cache_creation_input_tokens: record.cache_write_tokens,
            prompt_tokens_details: PromptDetails {
                cached_tokens: record.cached_tokens,
            },
            completion_tokens_details: CompletionDetails {
                reasoning_tokens: record.reasoning_tokens,
            },
        }
    }
}

#[derive(serde::Serialize)]
struct Breakdown {
    input_cost: f64,
    output_cost: f64,
    tool_usage_cost: f64,
    total_cost: f64,
}

impl Breakdown {
    fn of(record: &CallRecord<'_>) -> Breakdown {
        Breakdown {
            input_cost: record.input_cost.dollars(),
            output_cost: record.output_cost.dollars(),
            tool_usage_cost: record.tool_cost.dollars(),
            total_cost: record.cost.dollars(),
        }
    }
}

#[derive(serde::Serialize)]
struct ErrorInformation<'a> {
    error_class: &'a str,
    error_code: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::spend::money::Money;

    fn value(record: &CallRecord<'_>, name: &str) -> Value {
        let make = column(name).unwrap();
        serde_json::to_value(make(&SpendRow::of(record, |us| format!("at {us}")))).unwrap()
    }

    #[test]
    fn a_row_as_litellm_writes_it() {
        let record = CallRecord {
            request_id: "chatcmpl-1",
            status: 200,
            started_us: 1_000_000,
            duration_us: 2_500_000,
            first_token_us: 500_000,
            prompt_tokens: 14,
            completion_tokens: 9,
            total_tokens: 23,
            cost: Money::parse("0.000125").unwrap(),
            api_key: "hash",
            team: "t",
            tags: "a\nb",
            metadata: r#"{"spend_logs_metadata":{"x":1},"status":"forged"}"#,
            ..CallRecord::default()
        };
        let value = |column| value(&record, column);
        assert_eq!(value("request_id"), "chatcmpl-1");
        assert_eq!(value("spend"), 0.000125);
        assert_eq!(value("startTime"), "at 1000000");
        assert_eq!(value("completionStartTime"), "at 1500000");
        assert_eq!(value("endTime"), "at 3500000");
        assert_eq!(value("request_duration_ms"), 2500);
        assert_eq!(value("cache_hit"), "None");
        assert_eq!(value("cache_key"), "Cache OFF");
        assert_eq!(value("request_tags"), json!(["a", "b"]));
        assert_eq!(value("organization_id"), Value::Null);
        assert_eq!(value("messages"), json!({}));
        let metadata = value("metadata");
        assert_eq!(metadata["spend_logs_metadata"]["x"], 1);
        assert_eq!(metadata["user_api_key_team_id"], "t");
        assert_eq!(metadata["user_api_key_alias"], Value::Null);
        assert_eq!(metadata["status"], "success");
        assert_eq!(metadata["cost_breakdown"]["total_cost"], 0.000125);
        assert!(column("created_at").is_none());
    }

    #[test]
    fn a_failure_says_why() {
        let record = CallRecord {
            outcome: Outcome::Failure,
            status: 429,
            error_class: "RateLimitError",
            total_tokens: u64::MAX,
            ..CallRecord::default()
        };
        assert_eq!(value(&record, "status"), "failure");
        assert_eq!(value(&record, "total_tokens"), i32::MAX);
        let metadata = value(&record, "metadata");
        assert_eq!(
            metadata["error_information"],
            json!({"error_class": "RateLimitError", "error_code": "429"})
        );
        let own: Vec<&String> = metadata.as_object().unwrap().keys().collect();
        assert_eq!(own, OWN_NAMES.iter().collect::<Vec<_>>());
    }
}
