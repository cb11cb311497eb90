//! What a batch of finished calls changes in the database: their rows, the totals of everybody who
//! pays, and the days' sums. Worked out here once for both stores, from the rows alone.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde_json::Value;

use super::{Row, Table};
use crate::spend::row::OWN_ID;

/// Finished calls, as rows of `LiteLLM_SpendLogs` (its column names; `organization_id` may be named
/// too).
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The rows.
    pub rows: Arc<Vec<Row>>,
    /// False with `disable_spend_logs`: totals and days only.
    pub keep_rows: bool,
    /// False with `disable_end_user_cost_tracking`: end users get no totals.
    pub end_users: bool,
    /// False with `disable_spend_updates`: rows only.
    pub totals: bool,
    /// Who wrote it and how far it has come, so that a replayed batch counts once. Without it a
    /// call counts once by its row, which needs `keep_rows`.
    pub mark: Option<Mark>,
}

/// How far a writer has come with a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Who.
    pub writer: String,
    /// Where the batch begins. A store that is further has a part of it, from a process that died
    /// while its transaction ended: then nothing is done, and the answer is one row.
    pub from: i64,
    /// Where it ends.
    pub to: i64,
}

/// The answer of a store that is further than a batch's begin.
pub(super) fn ahead() -> Vec<Row> {
    vec![Row::from_iter([("ahead".to_owned(), Value::from(true))])]
}

/// Rows whose `request_id` another call has, since an upstream may use one twice, under their own
/// names. `written` are the names that were free.
pub(super) fn renamed(rows: &[Row], mut written: HashSet<String>) -> Vec<Row> {
    let text = |row: &Row, name: &str| row.get(name).and_then(Value::as_str).map(str::to_owned);
    let mut renamed = Vec::new();
    for row in rows {
        let is_written = text(row, "request_id").is_some_and(|name| written.remove(&name));
        let own = text(row, OWN_ID).filter(|own| !own.is_empty());
        if let (false, Some(own)) = (is_written, own) {
            let mut row = row.clone();
            row.insert("request_id".to_owned(), Value::from(own));
            renamed.push(row);
        }
    }
    renamed
}

/// Additions to the `spend` of one row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Addition {
    pub table: Table,
    pub key: Vec<String>,
    pub spend: f64,
}

/// All that changes beside the rows themselves.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub additions: Vec<Addition>,
    pub days: Vec<(Table, Row)>,
}

/// Sums up what `rows` change.
pub(super) fn effects<'a>(rows: impl Iterator<Item = &'a Row>, end_users: bool) -> Effects {
    // Names are borrowed from the rows: a call would copy some forty of them.
    let mut totals: BTreeMap<(Table, [&str; 2]), f64> = BTreeMap::new();
    let mut days: BTreeMap<(Table, [&str; 7]), Day> = BTreeMap::new();
    for row in rows {
        let call = Call::of(row);
        call.payers(end_users, |table, key| {
            *totals.entry((table, key)).or_default() += call.spend;
        });
        let counted = call.counted();
        call.sheets(end_users, |table, who| {
            let at = call.day_key(who);
            days.entry((table, at)).or_default().add(&counted);
        });
    }
    let additions = totals
        .into_iter()
        .map(|((table, key), spend)| Addition {
            table,
            key: words(key),
            spend,
        })
        .collect();
    let days = days
        .into_iter()
        .map(|((table, at), day)| (table, day.row(table, &at)))
        .collect();
    Effects { additions, days }
}

fn words(key: [&str; 2]) -> Vec<String> {
    let parts = key.into_iter().filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}

/// A row, read.
struct Call<'a> {
    row: &'a Row,
    spend: f64,
    key: &'a str,
    user: &'a str,
    team: &'a str,
    organization: &'a str,
    end_user: &'a str,
    tags: Vec<&'a str>,
    /// Date, model, group, provider, endpoint.
    at: [&'a str; 5],
}

impl<'a> Call<'a> {
    fn of(row: &'a Row) -> Call<'a> {
        let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or("");
        let metadata = |name: &str| {
            row.get("metadata")
                .and_then(|m| m.get(name))
                .and_then(Value::as_str)
                .unwrap_or("")
        };
        let organization = match text("organization_id") {
            "" => metadata("user_api_key_org_id"),
            named => named,
        };
        let tags = row.get("request_tags").and_then(Value::as_array);
        Call {
            row,
            spend: row.get("spend").and_then(Value::as_f64).unwrap_or(0.0),
            key: text("api_key"),
            user: text("user"),
            team: text("team_id"),
            organization,
            end_user: text("end_user"),
            at: [
                // Times are in UTC, and a day is how they begin.
                text("startTime").get(..10).unwrap_or(""),
                text("model"),
                text("model_group"),
                text("custom_llm_provider"),
                endpoint(text("call_type")),
            ],
            tags: tags
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect(),
        }
    }

    /// Whose `spend` grows. A team's call is the team's, and its member's within the team, never
    /// its owner's personal spend.
    fn payers(&self, end_users: bool, mut each: impl FnMut(Table, [&'a str; 2])) {
        let mut pays = |table: Table, key: &[&'a str]| {
            if self.spend != 0.0 && key.iter().all(|part| !part.is_empty()) {
                each(table, [key[0], key.get(1).copied().unwrap_or("")]);
            }
        };
        pays(Table::KEYS, &[self.key]);
        pays(Table::TEAMS, &[self.team]);
        pays(Table::TEAM_MEMBERS, &[self.user, self.team]);
        if self.team.is_empty() {
            pays(Table::USERS, &[self.user]);
        }
        // The row is there where `litellm_settings.max_budget` is set.
        pays(Table::USERS, &[crate::directory::EVERYBODY]);
        pays(Table::ORGANIZATIONS, &[self.organization]);
        pays(Table::ORGANIZATION_MEMBERS, &[self.user, self.organization]);
        if end_users {
            pays(Table::END_USERS, &[self.end_user]);
        }
        for tag in &self.tags {
            pays(Table::TAGS, &[tag]);
        }
    }

    /// The daily tables that it counts in, and the entity there; none for the global one.
    fn sheets(&self, end_users: bool, mut each: impl FnMut(Table, Option<&'a str>)) {
        each(Table::DAILY_GLOBAL, None);
        each(Table::DAILY_USERS, Some(self.user));
        let mut counts = |table: Table, who: &'a str| {
            if !who.is_empty() {
                each(table, Some(who));
            }
        };
        counts(Table::DAILY_TEAMS, self.team);
        counts(Table::DAILY_ORGANIZATIONS, self.organization);
        if end_users {
            counts(Table::DAILY_END_USERS, self.end_user);
        }
        for tag in &self.tags {
            counts(Table::DAILY_TAGS, tag);
        }
    }

    fn text(&self, name: &str) -> &'a str {
        self.row.get(name).and_then(Value::as_str).unwrap_or("")
    }

    fn number(&self, name: &str) -> i64 {
        self.row.get(name).and_then(Value::as_i64).unwrap_or(0)
    }

    /// Entity, date, key, model, group, provider, endpoint.
    fn day_key(&self, who: Option<&'a str>) -> [&'a str; 7] {
        let [date, model, group, provider, endpoint] = self.at;
        let key = if who.is_some() { self.key } else { "" };
        [
            who.unwrap_or(""),
            date,
            key,
            model,
            group,
            provider,
            endpoint,
        ]
    }

    /// What it adds to a day's sums.
    fn counted(&self) -> Day {
        let duration_ms = self.row.get("request_duration_ms").and_then(Value::as_i64);
        let is_failure = self.text("status") == "failure";
        Day {
            spend: self.spend,
            prompt: self.number("prompt_tokens"),
            completion: self.number("completion_tokens"),
            cache_read: self.usage("cache_read_input_tokens"),
            cache_creation: self.usage("cache_creation_input_tokens"),
            succeeded: i64::from(!is_failure),
            failed: i64::from(is_failure),
            duration_ms: duration_ms.unwrap_or(0),
            timed: i64::from(duration_ms.is_some()),
        }
    }

    fn usage(&self, name: &str) -> i64 {
        let metadata = self.row.get("metadata");
        let usage = metadata.and_then(|metadata| metadata.get("additional_usage_values"));
        usage
            .and_then(|usage| usage.get(name))
            .and_then(Value::as_i64)
            .unwrap_or(0)
    }
}

fn endpoint(call_type: &str) -> &'static str {
    match call_type.trim_start_matches('a') {
        "completion" => "/chat/completions",
        "text_completion" | "text_completions" | "ttext_completion" => "/completions",
        "embedding" => "/embeddings",
        "responses" | "esponses" => "/responses",
        "nthropic_messages" => "/messages",
        "image_generation" => "/images/generations",
        "transcription" => "/audio/transcriptions",
        "speech" => "/audio/speech",
        "moderation" => "/moderations",
        "rerank" => "/rerank",
        _ => "",
    }
}

/// Sums of one line of a daily table.
#[derive(Default)]
struct Day {
    spend: f64,
    prompt: i64,
    completion: i64,
    cache_read: i64,
    cache_creation: i64,
    succeeded: i64,
    failed: i64,
    duration_ms: i64,
    timed: i64,
}

impl Day {
    fn add(&mut self, other: &Day) {
        self.spend += other.spend;
        self.prompt += other.prompt;
        self.completion += other.completion;
        self.cache_read += other.cache_read;
        self.cache_creation += other.cache_creation;
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.duration_ms += other.duration_ms;
        self.timed += other.timed;
    }

    fn row(&self, table: Table, at: &[&str; 7]) -> Row {
        let mut row = Row::new();
        let mut put = |name: &str, value: Value| row.insert(name.to_owned(), value);
        let [who, date, key, model, group, provider, endpoint] = *at;
        if let Some(column) = entity(table) {
            put(column, Value::from(who));
            put("api_key", Value::from(key));
        }
        put("id", Value::from(super::secret::uuid()));
        put("date", Value::from(date));
        put("model", Value::from(model));
        put("model_group", Value::from(group));
        put("custom_llm_provider", Value::from(provider));
        put("mcp_namespaced_tool_name", Value::from(""));
        put("endpoint", Value::from(endpoint));
        put("spend", Value::from(self.spend));
        put("prompt_tokens", Value::from(self.prompt));
        put("completion_tokens", Value::from(self.completion));
        put("cache_read_input_tokens", Value::from(self.cache_read));
        put(
            "cache_creation_input_tokens",
            Value::from(self.cache_creation),
        );
        put("api_requests", Value::from(self.succeeded + self.failed));
        put("successful_requests", Value::from(self.succeeded));
        put("failed_requests", Value::from(self.failed));
        put("total_response_time_ms", Value::from(self.duration_ms));
        put("timed_requests", Value::from(self.timed));
        row
    }
}

/// The column that says whose day it is.
fn entity(table: Table) -> Option<&'static str> {
    match table {
        Table::DAILY_USERS => Some("user_id"),
        Table::DAILY_TEAMS => Some("team_id"),
        Table::DAILY_TAGS => Some("tag"),
        Table::DAILY_ORGANIZATIONS => Some("organization_id"),
        Table::DAILY_END_USERS => Some("end_user_id"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(value: Value) -> Row {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn everybody_who_pays_is_charged_once() {
        let call = row(json!({
            "request_id": "a", "call_type": "acompletion", "api_key": "k", "user": "u",
            "team_id": "t", "end_user": "e", "spend": 0.5, "prompt_tokens": 3,
            "completion_tokens": 4, "startTime": "2026-11-25T16:31:54", "request_tags": ["x"],
            "metadata": {"user_api_key_org_id": "o"},
        }));
        let effects = effects([&call, &call].into_iter(), true);
        let charged = |table: Table| {
            effects
                .additions
                .iter()
                .find(|a| a.table == table)
                .map(|a| a.spend)
        };
        for table in [
            Table::KEYS,
            Table::TEAMS,
            Table::TEAM_MEMBERS,
            Table::ORGANIZATIONS,
        ] {
            assert_eq!(charged(table), Some(1.0), "{table:?}");
        }
        assert_eq!(charged(Table::END_USERS), Some(1.0));
        assert_eq!(charged(Table::TAGS), Some(1.0));
        let users = effects.additions.iter().filter(|a| a.table == Table::USERS);
        let users: Vec<&str> = users.map(|a| a.key[0].as_str()).collect();
        assert_eq!(
            users,
            [crate::directory::EVERYBODY],
            "a team's call is not its owner's"
        );
        let team = effects
            .days
            .iter()
            .find(|(table, _)| *table == Table::DAILY_TEAMS)
            .unwrap();
        assert_eq!(team.1["api_requests"], 2);
        assert_eq!(team.1["prompt_tokens"], 6);
        assert_eq!(team.1["date"], "2026-11-25");
        assert_eq!(team.1["endpoint"], "/chat/completions");
    }
}
