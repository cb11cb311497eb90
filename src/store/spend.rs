//! What a batch of finished calls changes in the database: their rows, the totals of everybody who
//! pays, and the days' sums. Worked out here once for both stores, from the records alone.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use super::schema::Column;
use super::{Row, Table};
use crate::auth::calendar;
use crate::spend::calls::Calls;
use crate::spend::money::Money;
use crate::spend::record::{CallRecord, Outcome};
use crate::spend::row::{self, Cell, Make, SpendRow, duration_ms};

/// Finished calls.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Their records.
    pub calls: Arc<Calls>,
    /// False with `disable_spend_logs`: totals and days only.
    pub keep_rows: bool,
    /// False with `disable_end_user_cost_tracking`: end users get no totals.
    pub end_users: bool,
    /// False with `disable_spend_updates`: rows only.
    pub totals: bool,
    /// Who wrote it and how far it has come, so that a replayed batch counts once.
    pub mark: Mark,
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

/// The row of a call, its times as rows hold them.
pub fn row_of<'a>(record: &'a CallRecord<'a>) -> SpendRow<'a> {
    SpendRow::of(record, calendar::text)
}

/// The same call under its own name, where another call has the name that the answer gave it, since
/// an upstream may use one twice.
pub(super) fn renamed<'a>(record: &'a CallRecord<'a>) -> Option<SpendRow<'a>> {
    let request_id = Some(record.own_id).filter(|own| !own.is_empty())?;
    Some(SpendRow {
        request_id,
        ..row_of(record)
    })
}

/// The renamed rows of the calls whose name was not free: `written` are the names that were.
pub(super) fn all_renamed<'a>(
    records: &'a [CallRecord<'a>],
    mut written: HashSet<String>,
) -> Vec<SpendRow<'a>> {
    let taken = records
        .iter()
        .filter(|record| !written.remove(record.request_id));
    taken.filter_map(renamed).collect()
}

/// The columns of `LiteLLM_SpendLogs` that are written, in their order: how each is made, and what
/// it holds where a call has no say.
pub(super) struct CallColumns(Vec<(&'static Column, Option<Make>, Value)>);

impl CallColumns {
    /// For rows that are written at `now`.
    pub(super) fn new(now: &str) -> CallColumns {
        let known = Table::SPEND_LOGS.shape().known();
        let written = known.filter(|column| !column.is_serial());
        let made = written.map(|column| {
            let default = super::given(column, &Row::new(), now).into_owned();
            (column, row::column(&column.name), default)
        });
        CallColumns(made.collect())
    }

    /// What `row` holds in each.
    pub(super) fn cells<'a>(
        &'a self,
        row: SpendRow<'a>,
    ) -> impl Iterator<Item = (&'static str, Content<'a>)> {
        self.0.iter().map(move |(column, make, default)| {
            let content = match make.map(|make| make(&row)) {
                None => Content::Default(default),
                Some(Cell::Null) if !column.nullable => Content::Default(default),
                Some(cell) => Content::Said(cell),
            };
            (column.name.as_str(), content)
        })
    }
}

/// What is written into a column of a call's row.
pub(super) enum Content<'a> {
    /// The call says it.
    Said(Cell<'a>),
    /// The column's default.
    Default(&'a Value),
}

impl Serialize for Content<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Content::Said(cell) => cell.serialize(serializer),
            Content::Default(value) => value.serialize(serializer),
        }
    }
}

/// A row as a JSON object.
pub(super) struct AsObject<'a>(pub &'a CallColumns, pub SpendRow<'a>);

impl Serialize for AsObject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, content) in self.0.cells(self.1) {
            map.serialize_entry(name, &content)?;
        }
        map.end()
    }
}

/// A row as people may read it.
pub fn row_text(row: &SpendRow<'_>) -> String {
    serde_json::to_string(&AsObject(&CallColumns::new(&super::now_text()), *row))
        .unwrap_or_default()
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

/// Sums up what calls change.
pub(super) fn effects<'a>(
    records: impl Iterator<Item = &'a CallRecord<'a>>,
    end_users: bool,
) -> Effects {
    // Names are borrowed from the records: a call would copy some forty of them.
    let mut totals: BTreeMap<(Table, [&str; 2]), Money> = BTreeMap::new();
    let mut days: BTreeMap<(Table, DayKey), Day> = BTreeMap::new();
    for record in records {
        payers(record, end_users, |table, key| {
            let total = totals.entry((table, key)).or_default();
            *total = total.plus(record.cost);
        });
        let counted = Day::of(record);
        sheets(record, end_users, |table, who| {
            let key = day_key(record, who);
            days.entry((table, key)).or_default().add(&counted);
        });
    }
    let additions = totals.into_iter().map(|((table, key), spend)| Addition {
        table,
        key: words(key),
        spend: spend.dollars(),
    });
    let days = days
        .into_iter()
        .map(|((table, key), day)| (table, day.row(table, &key)));
    Effects {
        additions: additions.collect(),
        days: days.collect(),
    }
}

fn words(key: [&str; 2]) -> Vec<String> {
    let parts = key.into_iter().filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}

/// Whose `spend` grows. A team's call is the team's, and its member's within the team, never its
/// owner's personal spend.
fn payers<'a>(
    record: &'a CallRecord<'a>,
    end_users: bool,
    mut each: impl FnMut(Table, [&'a str; 2]),
) {
    let mut pays = |table: Table, key: &[&'a str]| {
        if record.cost != Money::ZERO && key.iter().all(|part| !part.is_empty()) {
            each(table, [key[0], key.get(1).copied().unwrap_or("")]);
        }
    };
    pays(Table::KEYS, &[record.api_key]);
    pays(Table::TEAMS, &[record.team]);
    pays(Table::TEAM_MEMBERS, &[record.user, record.team]);
    if record.team.is_empty() {
        pays(Table::USERS, &[record.user]);
    }
    // The row is there where `litellm_settings.max_budget` is set.
    pays(Table::USERS, &[crate::directory::EVERYBODY]);
    pays(Table::ORGANIZATIONS, &[record.organization]);
    pays(
        Table::ORGANIZATION_MEMBERS,
        &[record.user, record.organization],
    );
    if end_users {
        pays(Table::END_USERS, &[record.end_user]);
    }
    for tag in record.tags() {
        pays(Table::TAGS, &[tag]);
    }
}

/// The daily tables that a call counts in, and the entity there; none for the global one.
fn sheets<'a>(
    record: &'a CallRecord<'a>,
    end_users: bool,
    mut each: impl FnMut(Table, Option<&'a str>),
) {
    each(Table::DAILY_GLOBAL, None);
    each(Table::DAILY_USERS, Some(record.user));
    let mut counts = |table: Table, who: &'a str| {
        if !who.is_empty() {
            each(table, Some(who));
        }
    };
    counts(Table::DAILY_TEAMS, record.team);
    counts(Table::DAILY_ORGANIZATIONS, record.organization);
    if end_users {
        counts(Table::DAILY_END_USERS, record.end_user);
    }
    for tag in record.tags() {
        counts(Table::DAILY_TAGS, tag);
    }
}

/// A line of a daily table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct DayKey<'a> {
    who: &'a str,
    /// Since 1970, UTC.
    day: i64,
    key: &'a str,
    model: &'a str,
    group: &'a str,
    provider: &'a str,
    endpoint: &'static str,
}

fn day_key<'a>(record: &'a CallRecord<'a>, who: Option<&'a str>) -> DayKey<'a> {
    DayKey {
        who: who.unwrap_or(""),
        day: calendar::day(record.started_us),
        key: if who.is_some() { record.api_key } else { "" },
        model: record.model,
        group: record.group,
        provider: record.provider,
        endpoint: endpoint(record.call_type),
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
    spend: Money,
    prompt: u64,
    completion: u64,
    cache_read: u64,
    cache_creation: u64,
    succeeded: u64,
    failed: u64,
    duration_ms: u64,
}

impl Day {
    /// What one call adds.
    fn of(record: &CallRecord<'_>) -> Day {
        let is_failure = record.outcome == Outcome::Failure;
        Day {
            spend: record.cost,
            prompt: record.prompt_tokens,
            completion: record.completion_tokens,
            cache_read: record.cached_tokens,
            cache_creation: record.cache_write_tokens,
            succeeded: u64::from(!is_failure),
            failed: u64::from(is_failure),
            duration_ms: duration_ms(record),
        }
    }

    fn add(&mut self, other: &Day) {
        self.spend = self.spend.plus(other.spend);
        for (sum, more) in [
            (&mut self.prompt, other.prompt),
            (&mut self.completion, other.completion),
            (&mut self.cache_read, other.cache_read),
            (&mut self.cache_creation, other.cache_creation),
            (&mut self.succeeded, other.succeeded),
            (&mut self.failed, other.failed),
            (&mut self.duration_ms, other.duration_ms),
        ] {
            *sum = sum.saturating_add(more);
        }
    }

    fn row(&self, table: Table, at: &DayKey<'_>) -> Row {
        let mut row = Row::new();
        let mut put = |name: &str, value: Value| row.insert(name.to_owned(), value);
        if let Some(column) = entity(table) {
            put(column, Value::from(at.who));
            put("api_key", Value::from(at.key));
        }
        put("id", Value::from(super::secret::uuid()));
        put("date", Value::from(calendar::text_of_day(at.day)));
        put("model", Value::from(at.model));
        put("model_group", Value::from(at.group));
        put("custom_llm_provider", Value::from(at.provider));
        put("mcp_namespaced_tool_name", Value::from(""));
        put("endpoint", Value::from(at.endpoint));
        put("spend", Value::from(self.spend.dollars()));
        let mut count = |name: &str, count: u64| {
            // The columns are signed.
            put(name, Value::from(i64::try_from(count).unwrap_or(i64::MAX)));
        };
        count("prompt_tokens", self.prompt);
        count("completion_tokens", self.completion);
        count("cache_read_input_tokens", self.cache_read);
        count("cache_creation_input_tokens", self.cache_creation);
        count("api_requests", self.succeeded.saturating_add(self.failed));
        count("successful_requests", self.succeeded);
        count("failed_requests", self.failed);
        count("total_response_time_ms", self.duration_ms);
        count("timed_requests", self.succeeded.saturating_add(self.failed));
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

    #[test]
    fn everybody_who_pays_is_charged_once() {
        let call = CallRecord {
            request_id: "a",
            call_type: "acompletion",
            api_key: "k",
            user: "u",
            team: "t",
            organization: "o",
            end_user: "e",
            tags: "x",
            cost: Money::parse("0.5").unwrap(),
            prompt_tokens: 3,
            completion_tokens: 4,
            started_us: calendar::parse("2026-11-25T16:31:54").unwrap(),
            ..CallRecord::default()
        };
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
