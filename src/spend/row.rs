//! A call's record as a row of `LiteLLM_SpendLogs`, as LiteLLM itself would have written it.

use serde_json::{Map, Value, json};

use super::money::Money;
use super::record::{CacheUse, CallRecord, Outcome};

/// The field of a row that holds the gateway's own id of the call: the row's name where an
/// upstream gave its answer's id to another call as well. Empty where `request_id` is it.
pub const OWN_ID: &str = "shardgate_call_id";

/// The row of `record`; `time` writes microseconds since 1970 as the database wants them.
#[must_use]
pub fn row(record: &CallRecord<'_>, time: impl Fn(i64) -> String) -> Map<String, Value> {
    let after = |us: u64| record.started_us.saturating_add_unsigned(us);
    let first_token = match record.first_token_us {
        0 => record.duration_us,
        us => us,
    };
    let (failed, cache_hit) = (record.outcome == Outcome::Failure, cache_hit(record));
    let fields = json!({
        "request_id": record.request_id,
        "call_type": record.call_type,
        "api_key": record.api_key,
        "spend": record.cost.dollars(),
        "total_tokens": column(record.total_tokens),
        "prompt_tokens": column(record.prompt_tokens),
        "completion_tokens": column(record.completion_tokens),
        "startTime": time(record.started_us),
        "endTime": time(after(record.duration_us)),
        "completionStartTime": time(after(first_token)),
        "request_duration_ms": column(record.duration_us / 1000),
        "model": record.model,
        "model_id": record.deployment,
        "model_group": record.group,
        "custom_llm_provider": record.provider,
        "api_base": record.api_base,
        "user": record.user,
        "metadata": metadata(record),
        "cache_hit": cache_hit,
        "cache_key": if record.cache_key.is_empty() { "Cache OFF" } else { record.cache_key },
        "request_tags": record.tags().collect::<Vec<_>>(),
        "team_id": optional(record.team),
        "organization_id": optional(record.organization),
        "end_user": record.end_user,
        "requester_ip_address": record.requester_ip,
        "session_id": optional(record.session),
        "litellm_call_id": optional(record.call_id),
        // No column: the name of a row whose own is taken.
        OWN_ID: record.own_id,
        "status": if failed { "failure" } else { "success" },
        "messages": {},
        "response": {},
        "proxy_server_request": {},
    });
    match fields {
        Value::Object(row) => row,
        _ => Map::new(),
    }
}

fn metadata(record: &CallRecord<'_>) -> Value {
    let more = serde_json::from_str::<Map<String, Value>>(record.metadata);
    let mut metadata = more.unwrap_or_default();
    let mut set = |name: &str, value: Value| metadata.insert(name.into(), value);
    set("user_api_key", json!(record.api_key));
    set("user_api_key_alias", optional(record.key_alias));
    set("user_api_key_user_id", optional(record.user));
    set("user_api_key_team_id", optional(record.team));
    set("user_api_key_team_alias", optional(record.team_alias));
    set("user_api_key_org_id", optional(record.organization));
    set("requester_ip_address", optional(record.requester_ip));
    set(
        "status",
        json!(if record.outcome == Outcome::Failure {
            "failure"
        } else {
            "success"
        }),
    );
    set(
        "additional_usage_values",
        json!({
            "cache_read_input_tokens": record.cached_tokens,
            "cache_creation_input_tokens": record.cache_write_tokens,
            "prompt_tokens_details": {"cached_tokens": record.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": record.reasoning_tokens},
        }),
    );
    set(
        "cost_breakdown",
        json!({
            "input_cost": record.input_cost.dollars(),
            "output_cost": record.output_cost.dollars(),
            "tool_usage_cost": record.tool_cost.dollars(),
            "total_cost": record.cost.dollars(),
        }),
    );
    if record.outcome != Outcome::Success {
        let class = match (record.outcome, record.error_class) {
            (Outcome::Cut, "") => "StreamCut",
            (_, class) => class,
        };
        let error = json!({"error_class": class, "error_code": record.status.to_string()});
        set("error_information", error);
    }
    Value::Object(metadata)
}

/// LiteLLM keeps a text here, Python's.
fn cache_hit(record: &CallRecord<'_>) -> &'static str {
    match record.cache {
        CacheUse::Off => "None",
        CacheUse::Miss => "False",
        CacheUse::Hit => "True",
    }
}

fn optional(text: &str) -> Value {
    if text.is_empty() {
        Value::Null
    } else {
        json!(text)
    }
}

/// The columns are 32-bit integers.
fn column(count: u64) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// What rows cost together, exactly: columns are doubles, and their sum is not.
#[must_use]
pub fn sum<'a>(records: impl IntoIterator<Item = &'a CallRecord<'a>>) -> Money {
    records.into_iter().map(|record| record.cost).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

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
            metadata: r#"{"spend_logs_metadata":{"x":1}}"#,
            ..CallRecord::default()
        };
        let row = row(&record, |us| format!("at {us}"));
        assert_eq!(row["spend"], 0.000125);
        assert_eq!(row["startTime"], "at 1000000");
        assert_eq!(row["completionStartTime"], "at 1500000");
        assert_eq!(row["endTime"], "at 3500000");
        assert_eq!(row["request_duration_ms"], 2500);
        assert_eq!(row["cache_hit"], "None");
        assert_eq!(row["cache_key"], "Cache OFF");
        assert_eq!(row["request_tags"], json!(["a", "b"]));
        assert_eq!(row["organization_id"], Value::Null);
        assert_eq!(row["metadata"]["spend_logs_metadata"]["x"], 1);
        assert_eq!(row["metadata"]["user_api_key_team_id"], "t");
        assert_eq!(row["status"], "success");
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
        let row = row(&record, |_| String::new());
        assert_eq!(row["status"], "failure");
        assert_eq!(row["total_tokens"], i32::MAX);
        assert_eq!(
            row["metadata"]["error_information"],
            json!({"error_class": "RateLimitError", "error_code": "429"})
        );
    }
}
