//! `/global/activity/*`, `/model/metrics*`, `/provider/budgets`: how calls went, by day, upstream and
//! model. These read the rows of calls, between two days.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::spend::range;
use super::spend_sums::field;
use crate::admin::desk::{Answer, Asker, Desk, Refusal, page, paged};
use crate::admin::routes::Routes;
use crate::auth::calendar;
use crate::coordinator::Control;
use crate::limit::dollars;
use crate::snapshot::Spender;
use crate::store::{Command, Row, Table, query};

type Shared = State<Arc<Desk>>;
type Asked = Query<HashMap<String, String>>;

/// From how many milliseconds on a call is slow where nobody says: `alerting_threshold`'s default.
const SLOW_MS: f64 = 300_000.0;

/// The routes.
pub fn routes() -> Routes<Arc<Desk>> {
    Routes::new()
        .get(
            "/global/activity/cache_hits",
            cache_hits,
            "Calls by key and model, with those that a cache answered.",
        )
        .query(&["start_date", "end_date"])
        .get(
            "/global/activity/exceptions",
            limited,
            "Rate limits that upstreams set, by day.",
        )
        .query(&["model_group", "start_date", "end_date"])
        .get(
            "/global/activity/exceptions/deployment",
            limited_by_upstream,
            "The same for each upstream of a group.",
        )
        .query(&["model_group", "start_date", "end_date"])
        .get(
            "/model/metrics",
            latency,
            "Seconds a token by day and upstream.",
        )
        .query(MODEL)
        .get(
            "/model/streaming_metrics",
            first_token,
            "Seconds to the first token by day and upstream.",
        )
        .query(MODEL)
        .get(
            "/model/metrics/slow_responses",
            slow,
            "How many calls of each upstream were slow.",
        )
        .query(MODEL)
        .get(
            "/model/metrics/exceptions",
            exceptions,
            "Failures of each upstream by their kind.",
        )
        .query(MODEL)
        .get(
            "/spend/logs/session/ui",
            session,
            "The calls of a session, by page.",
        )
        .query(&["session_id", "page", "page_size"])
        .needs(&["session_id"])
}

const MODEL: &[&str] = &[
    "_selected_model_group",
    "startTime",
    "endTime",
    "api_key",
    "slow_ms",
];

/// Those that look at what is in force.
pub fn of_providers() -> Routes<Arc<Control>> {
    Routes::new().get(
        "/provider/budgets",
        provider_budgets,
        "What may be spent at providers, and what was.",
    )
}

fn sees_all(asker: &Asker, path: &str) -> Result<(), Refusal> {
    match asker.sees_all() {
        true => Ok(()),
        false => asker.must_be_admin(path),
    }
}

/// Sums of the calls that a question is about.
async fn sums(desk: &Desk, asked: &HashMap<String, String>) -> Result<Vec<Row>, Refusal> {
    let mut days = asked.clone();
    for (name, day) in [("startTime", "start_date"), ("endTime", "end_date")] {
        if let Some(time) = asked.get(name) {
            days.insert(day.to_owned(), time.clone());
        }
    }
    let (from, to) = range(&days)?;
    let of = |name: &str| asked.get(name).filter(|text| !text.is_empty()).cloned();
    let group = of("_selected_model_group").or_else(|| of("model_group"));
    let slow = match of("slow_ms") {
        None => SLOW_MS,
        Some(text) => text.parse().map_err(|_| {
            Refusal::bad(format!("slow_ms must be a number; got {text}")).at("slow_ms")
        })?,
    };
    let key = of("api_key").map(|key| super::key::token(&key));
    let parameters = vec![Some(from), Some(to), group, key, Some(slow.to_string())];
    let ask = Command::Ask(&query::CALL_SUMS, parameters);
    Ok(desk.directory.store.rows(ask).await?)
}

fn number(row: &Row, name: &str) -> f64 {
    row.get(name).and_then(Value::as_f64).unwrap_or(0.0)
}

/// Where a call went: the upstream, or the model's name where the row says none.
fn upstream(row: &Row) -> String {
    match field(row, "api_base") {
        "" => field(row, "model").to_owned(),
        base => base.to_owned(),
    }
}

async fn cache_hits(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    sees_all(&asker, "/global/activity/cache_hits")?;
    let (from, to) = range(&asked)?;
    let ask = Command::Ask(&query::CACHE_HITS, vec![Some(from), Some(to)]);
    let rows = desk.directory.store.rows(ask).await?;
    Ok(Json(rows.into_iter().map(Value::Object).collect()))
}

/// Days with how often an upstream said 429, and their sum.
fn limits_by_day<'a>(rows: impl Iterator<Item = &'a Row>) -> Value {
    let mut days: BTreeMap<String, f64> = BTreeMap::new();
    for row in rows.filter(|row| field(row, "error_code") == "429") {
        *days.entry(field(row, "date").to_owned()).or_default() += number(row, "count");
    }
    let sum: f64 = days.values().sum();
    let daily: Vec<Value> = days
        .into_iter()
        .map(|(date, count)| json!({"date": date, "num_rate_limit_exceptions": count as u64}))
        .collect();
    json!({"daily_data": daily, "sum_num_rate_limit_exceptions": sum as u64})
}

async fn limited(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    sees_all(&asker, "/global/activity/exceptions")?;
    let rows = sums(&desk, &asked).await?;
    Ok(Json(limits_by_day(rows.iter())))
}

async fn limited_by_upstream(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    sees_all(&asker, "/global/activity/exceptions/deployment")?;
    let rows = sums(&desk, &asked).await?;
    let upstreams: BTreeSet<String> = rows.iter().map(upstream).collect();
    let one = |name: String| {
        let mut entry = limits_by_day(rows.iter().filter(|row| upstream(row) == name));
        entry["api_base"] = Value::from(name);
        entry
    };
    Ok(Json(upstreams.into_iter().map(one).collect()))
}

/// LiteLLM's table of days and upstreams: `of` is a row's part of a mean.
fn table(rows: &[Row], of: impl Fn(&Row) -> (f64, f64)) -> Value {
    let mut cells: BTreeMap<String, BTreeMap<String, (f64, f64)>> = BTreeMap::new();
    let succeeded = rows
        .iter()
        .filter(|row| field(row, "error_class").is_empty());
    for row in succeeded {
        let day = cells.entry(field(row, "date").to_owned()).or_default();
        let cell = day.entry(upstream(row)).or_default();
        let (sum, weight) = of(row);
        (cell.0, cell.1) = (cell.0 + sum, cell.1 + weight);
    }
    let names: BTreeSet<&String> = cells.values().flat_map(BTreeMap::keys).collect();
    let day = |(date, day): (&String, &BTreeMap<String, (f64, f64)>)| {
        let mut entry = json!({"date": date});
        for (name, (sum, weight)) in day {
            entry[name] = json!(if *weight > 0.0 { sum / weight } else { 0.0 });
        }
        entry
    };
    json!({"data": cells.iter().map(day).collect::<Vec<Value>>(), "all_api_bases": names})
}

async fn latency(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    sees_all(&asker, "/model/metrics")?;
    let rows = sums(&desk, &asked).await?;
    let per_token = |row: &Row| {
        (
            number(row, "duration_ms") / 1e3,
            number(row, "completion_tokens"),
        )
    };
    Ok(Json(table(&rows, per_token)))
}

async fn first_token(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    sees_all(&asker, "/model/streaming_metrics")?;
    let rows = sums(&desk, &asked).await?;
    let per_call = |row: &Row| (number(row, "first_token_ms") / 1e3, number(row, "count"));
    Ok(Json(table(&rows, per_call)))
}

async fn slow(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    sees_all(&asker, "/model/metrics/slow_responses")?;
    let mut by: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for row in sums(&desk, &asked).await? {
        let entry = by.entry(upstream(&row)).or_default();
        entry.0 += number(&row, "count") as u64;
        entry.1 += number(&row, "slow") as u64;
    }
    let one = |(name, (total, slow)): (String, (u64, u64))| json!({"api_base": name, "total_count": total, "slow_count": slow});
    Ok(Json(by.into_iter().map(one).collect()))
}

async fn exceptions(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    sees_all(&asker, "/model/metrics/exceptions")?;
    let mut by: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for row in sums(&desk, &asked).await? {
        let class = field(&row, "error_class");
        if !class.is_empty() {
            let kinds = by.entry(upstream(&row)).or_default();
            *kinds.entry(class.to_owned()).or_default() += number(&row, "count") as u64;
        }
    }
    let kinds: BTreeSet<&String> = by.values().flat_map(BTreeMap::keys).collect();
    let one = |(name, kinds): (&String, &BTreeMap<String, u64>)| {
        let mut entry = json!({"model": name});
        for (kind, count) in kinds {
            entry[kind] = json!(count);
        }
        entry
    };
    let data: Vec<Value> = by.iter().map(one).collect();
    Ok(Json(json!({"data": data, "exception_types": kinds})))
}

async fn session(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    let id = asked.get("session_id").filter(|id| !id.is_empty());
    let id = id.ok_or_else(|| Refusal::bad("session_id must be given").at("session_id"))?;
    let mut filter = Row::from_iter([("session_id".to_owned(), Value::from(id.as_str()))]);
    if !asker.sees_all() {
        let own = asker.user_id().unwrap_or_default();
        filter.insert("user".to_owned(), Value::from(own));
    }
    let (page, size) = page(&asked, "page_size", 50, 100);
    let list = Command::List {
        table: Table::SPEND_LOGS,
        filter: filter.clone(),
        newest: true,
        limit: size,
        offset: (page - 1) * size,
    };
    let count = Command::Count(Table::SPEND_LOGS, filter);
    let (what, table) = ((count, list), Table::SPEND_LOGS);
    paged(&desk, table, "data", what, (page, size)).await
}

async fn provider_budgets(
    State(control): State<Arc<Control>>,
    Extension(asker): Extension<Asker>,
) -> Answer {
    sees_all(&asker, "/provider/budgets")?;
    let snapshot = control.snapshot();
    let mut providers = serde_json::Map::new();
    let limits = snapshot
        .deployments
        .iter()
        .flat_map(|made| &made.spend_limits);
    for limit in limits {
        let Spender::Provider(name) = &limit.spender else {
            continue;
        };
        let resets = Some(limit.meter.period()).filter(|ends| *ends > 0);
        let resets = resets.map(|ends| calendar::text(ends) + "Z");
        providers.entry(name.clone()).or_insert_with(|| {
            json!({"budget_limit": dollars(limit.max), "time_period": limit.period,
                "spend": dollars(limit.meter.spent()), "budget_reset_at": resets})
        });
    }
    Ok(Json(json!({"providers": providers})))
}
