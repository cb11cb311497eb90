//! `/spend/*`, `/global/spend*`, `/global/activity*` and the daily activities: who spent what.
//! Sums come from the daily tables, never from a scan of all calls.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::spend_sums::{self as sums, Sums};
use crate::admin::desk::{Answer, Asker, Desk, Fields, Refusal, page, pages, shown};
use crate::admin::routes::Routes;
use crate::auth::calendar::{self, SECOND_US};
use crate::directory::text;
use crate::store::{Command, Row, Table, now_us, query};

type Shared = State<Arc<Desk>>;
type Asked = Query<HashMap<String, String>>;

/// A span of days.
const DAYS: &[&str] = &["start_date", "end_date"];

/// What calls are asked for by, page by page.
const CALLS: &[&str] = &[
    "start_date",
    "end_date",
    "api_key",
    "user_id",
    "team_id",
    "end_user",
    "page",
    "page_size",
];

/// The routes.
pub fn routes() -> Routes<Arc<Desk>> {
    Routes::new()
        .get(
            "/spend/keys",
            keys,
            "Keys by their spend, the highest first.",
        )
        .query(&["limit"])
        .get(
            "/spend/users",
            users,
            "Users by their spend, the highest first.",
        )
        .query(&["user_id", "limit"])
        .get("/spend/tags", tags, "Tags by their spend.")
        .query(DAYS)
        .get("/spend/logs", logs, "Calls, the newest first.")
        .query(&[
            "start_date",
            "end_date",
            "api_key",
            "user_id",
            "team_id",
            "end_user",
            "request_id",
            "limit",
        ])
        .get("/spend/logs/ui", logs_paged, "Calls by page.")
        .query(CALLS)
        .get("/spend/logs/v2", logs_paged, "Calls by page.")
        .query(CALLS)
        .get(
            "/spend/logs/ui/{request_id}",
            log_details,
            "Messages and answer of a call, where they are stored.",
        )
        .get("/global/spend", total, "What everybody spent.")
        .query(DAYS)
        .get("/global/spend/logs", by_day, "Spend by day.")
        .query(&["start_date", "end_date", "api_key"])
        .get("/global/spend/keys", by_key, "Spend by key.")
        .query(&["start_date", "end_date", "limit"])
        .get("/global/spend/models", by_model, "Spend by model.")
        .query(&["start_date", "end_date", "limit"])
        .get("/global/spend/provider", by_provider, "Spend by provider.")
        .query(DAYS)
        .get("/global/spend/teams", by_team, "Spend by team and day.")
        .query(DAYS)
        .get("/global/spend/tags", by_tag, "Spend by tag.")
        .query(&["start_date", "end_date", "tags"])
        .get(
            "/global/spend/all_tag_names",
            tag_names,
            "The tags that calls carried.",
        )
        .query(DAYS)
        .post("/global/spend/end_users", by_end_user, "Spend by end user.")
        .fields(&["startTime", "endTime", "api_key"])
        .get(
            "/global/all_end_users",
            end_users,
            "The end users that calls named.",
        )
        .query(DAYS)
        .post(
            "/global/spend/reset",
            reset,
            "Sets the spend of all keys and teams to zero; only the master key may.",
        )
        .post(
            "/global/spend/refresh",
            refresh,
            "Sums are always fresh here; answers so.",
        )
        .get("/global/activity", activity, "Requests and tokens by day.")
        .query(DAYS)
        .get(
            "/global/activity/model",
            activity_by_model,
            "Requests and tokens by day, for each model group.",
        )
        .query(DAYS)
        .get(
            "/user/daily/activity",
            user_days,
            "Days of users with what they are made of.",
        )
        .query(&["start_date", "end_date", "user_id", "api_key"])
        .get("/team/daily/activity", team_days, "Days of teams.")
        .query(&["start_date", "end_date", "team_ids", "api_key"])
        .get("/tag/daily/activity", tag_days, "Days of tags.")
        .query(&["start_date", "end_date", "tags", "api_key"])
        .get(
            "/customer/daily/activity",
            end_user_days,
            "Days of end users.",
        )
        .query(&["start_date", "end_date", "end_user_ids", "api_key"])
        .get(
            "/end_user/daily/activity",
            end_user_days,
            "Days of end users.",
        )
        .query(&["start_date", "end_date", "end_user_ids", "api_key"])
        .get(
            "/organization/daily/activity",
            organization_days,
            "Days of organizations.",
        )
        .query(&["start_date", "end_date", "organization_ids", "api_key"])
}

/// First and last day of a question: those it names, or the last 30.
pub(super) fn range(asked: &HashMap<String, String>) -> Result<(String, String), Refusal> {
    const DAYS: i64 = 30;
    let day = |name: &str, usual: i64| match asked.get(name).filter(|text| !text.is_empty()) {
        None => Ok(calendar::day_text(usual)),
        Some(text) => calendar::parse(text)
            .map(calendar::day_text)
            .ok_or_else(|| {
                Refusal::bad(format!(
                    "{name} must be a date such as 2026-01-31; got {text}"
                ))
                .at(name)
            }),
    };
    let now = now_us();
    Ok((
        day("start_date", now - DAYS * 86_400 * SECOND_US)?,
        day("end_date", now)?,
    ))
}

/// Everybody's spend is for those who see all.
pub(super) fn sees_all(asker: &Asker) -> Result<(), Refusal> {
    if asker.sees_all() {
        Ok(())
    } else {
        asker.must_be_admin("/global/spend")
    }
}

/// Lines of a daily table, of the days and the key that the question names, and of one entity if that is said.
pub(super) async fn days(
    desk: &Desk,
    query: &'static query::Query,
    asked: &HashMap<String, String>,
    entity: Option<String>,
) -> Result<Vec<Row>, Refusal> {
    let (from, to) = range(asked)?;
    let key = asked.get("api_key").map(|key| super::key::token(key));
    let parameters = vec![Some(from), Some(to), key, entity];
    Ok(desk
        .directory
        .store
        .rows(Command::Ask(query, parameters))
        .await?)
}

fn limit(asked: &HashMap<String, String>, usual: usize) -> usize {
    asked
        .get("limit")
        .and_then(|text| text.parse().ok())
        .unwrap_or(usual)
}

async fn keys(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    let user = if asker.sees_all() {
        None
    } else {
        Some(own(&asker)?)
    };
    let many = limit(&asked, 100).to_string();
    let ask = Command::Ask(&query::KEYS_BY_SPEND, vec![Some(many), user]);
    let rows = desk.directory.store.rows(ask).await?;
    Ok(Json(
        rows.into_iter()
            .map(|row| Value::Object(shown(Table::KEYS, row)))
            .collect(),
    ))
}

/// The user whose own spend is asked about.
pub(super) fn own(asker: &Asker) -> Result<String, Refusal> {
    let own = asker.user_id().map(str::to_owned);
    own.ok_or_else(|| Refusal::forbidden("your key has no user whose spend could be shown"))
}

async fn users(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    let named = match asker.sees_all() {
        true => asked.get("user_id").cloned(),
        false => Some(own(&asker)?),
    };
    let store = &desk.directory.store;
    let mut rows = match named {
        Some(id) => store.get(Table::USERS, &[&id]).await?.into_iter().collect(),
        None => {
            let many = limit(&asked, 100).to_string();
            store
                .rows(Command::Ask(&query::USERS_BY_SPEND, vec![Some(many)]))
                .await?
        }
    };
    rows.iter_mut().for_each(|row| {
        row.remove("password");
    });
    Ok(Json(
        rows.into_iter()
            .map(|row| Value::Object(shown(Table::USERS, row)))
            .collect(),
    ))
}

async fn tags(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    sees_all(&asker)?;
    let rows = days(&desk, &query::TAG_DAYS, &asked, None).await?;
    let by = sums::highest(sums::by(&rows, &["entity"]));
    let one = |(tag, sums): (Vec<String>, Sums)| json!({"individual_request_tag": tag[0], "log_count": sums.requests, "total_spend": sums.spend});
    Ok(Json(by.into_iter().map(one).collect()))
}

/// The parameters of a question about single calls.
fn calls(asker: &Asker, asked: &HashMap<String, String>) -> Result<Vec<Option<String>>, Refusal> {
    const DAY: i64 = 86_400 * SECOND_US;
    let time = |name: &str, usual: i64, past: i64| match asked.get(name).filter(|t| !t.is_empty()) {
        None => Ok::<String, Refusal>(calendar::text(usual)),
        Some(text) => {
            let at = calendar::parse(text)
                .ok_or_else(|| Refusal::bad(format!("{name} is no date: {text}")).at(name))?;
            // A date without a time means the whole day.
            Ok(calendar::text(if text.len() == 10 {
                at + past
            } else {
                at
            }))
        }
    };
    let named = |name: &str| asked.get(name).filter(|text| !text.is_empty()).cloned();
    let user = match asker.sees_all() {
        true => named("user_id"),
        false => Some(own(asker)?),
    };
    Ok(vec![
        Some(time("start_date", 0, 0)?),
        Some(time("end_date", now_us() + DAY, DAY)?),
        named("api_key").map(|key| super::key::token(&key)),
        user,
        named("team_id"),
        named("end_user"),
    ])
}

async fn logs(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    let store = &desk.directory.store;
    if let Some(id) = asked.get("request_id") {
        let row = store
            .get(Table::SPEND_LOGS, &[id])
            .await?
            .filter(|row| may_see(&asker, row));
        let rows = row
            .into_iter()
            .map(|row| Value::Object(shown(Table::SPEND_LOGS, row)));
        return Ok(Json(rows.collect()));
    }
    let mut parameters = calls(&asker, &asked)?;
    parameters.extend([Some(limit(&asked, 1_000).to_string()), Some("0".to_owned())]);
    let rows = store.rows(Command::Ask(&query::CALLS, parameters)).await?;
    Ok(Json(
        rows.into_iter()
            .map(|row| Value::Object(shown(Table::SPEND_LOGS, row)))
            .collect(),
    ))
}

fn may_see(asker: &Asker, row: &Row) -> bool {
    asker.sees_all() || asker.user_id().is_some() && text(row, "user").as_deref() == asker.user_id()
}

async fn logs_paged(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    let (page, size) = page(&asked, "page_size", 50, 100);
    let parameters = calls(&asker, &asked)?;
    let mut listed = parameters.clone();
    listed.extend([
        Some(size.to_string()),
        Some(((page - 1) * size).to_string()),
    ]);
    let count = Command::Ask(&query::CALLS_COUNT, parameters);
    let store = &desk.directory.store;
    let mut answers = store
        .transact(vec![count, Command::Ask(&query::CALLS, listed)])
        .await?;
    let rows = answers.pop().unwrap_or_default();
    let count = answers
        .pop()
        .and_then(|mut rows| rows.pop())
        .unwrap_or_default();
    let total = count.get("count").and_then(Value::as_u64).unwrap_or(0);
    let data: Value = rows
        .into_iter()
        .map(|row| Value::Object(shown(Table::SPEND_LOGS, row)))
        .collect();
    Ok(Json(json!({
        "data": data, "total": total, "page": page, "page_size": size,
        "total_pages": pages(total, size),
    })))
}

async fn log_details(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Path(id): Path<String>,
) -> Answer {
    let row = desk.directory.store.get(Table::SPEND_LOGS, &[&id]).await?;
    let row = row.filter(|row| may_see(&asker, row));
    let row = row.ok_or_else(|| Refusal::not_found(format!("no call with request_id={id}")))?;
    let field = |name: &str| row.get(name).cloned().unwrap_or_default();
    Ok(Json(json!({
        "messages": field("messages"), "response": field("response"),
        "proxy_server_request": field("proxy_server_request"),
    })))
}

async fn total(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    sees_all(&asker)?;
    let rows = days(&desk, &query::USER_DAYS, &asked, None).await?;
    let everybody = desk
        .directory
        .store
        .get(Table::USERS, &[crate::directory::EVERYBODY])
        .await?;
    let budget = everybody.and_then(|row| row.get("max_budget").and_then(Value::as_f64));
    Ok(Json(
        json!({"spend": sums::all(&rows).spend, "max_budget": budget.unwrap_or(0.0)}),
    ))
}

async fn by_day(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    let own = if asker.sees_all() {
        None
    } else {
        Some(own(&asker)?)
    };
    let rows = days(&desk, &query::USER_DAYS, &asked, own).await?;
    let by = sums::by(&rows, &["date"]);
    let one = |(date, sums): (Vec<String>, Sums)| json!({"date": date[0], "spend": sums.spend});
    Ok(Json(by.into_iter().map(one).collect()))
}

async fn by_key(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    sees_all(&asker)?;
    let rows = days(&desk, &query::USER_DAYS, &asked, None).await?;
    let mut answer = Vec::new();
    for (key, sums) in sums::highest(sums::by(&rows, &["api_key"]))
        .into_iter()
        .take(limit(&asked, 10))
    {
        let row = desk
            .directory
            .store
            .get(Table::KEYS, &[&key[0]])
            .await?
            .unwrap_or_default();
        answer.push(json!({
            "api_key": key[0], "key_alias": row.get("key_alias"), "key_name": row.get("key_name"),
            "total_spend": sums.spend,
        }));
    }
    Ok(Json(Value::Array(answer)))
}

async fn by_model(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    sees_all(&asker)?;
    let rows = days(&desk, &query::USER_DAYS, &asked, None).await?;
    let by = sums::highest(sums::by(&rows, &["model"]))
        .into_iter()
        .take(limit(&asked, 10));
    Ok(Json(
        by.map(|(model, sums)| json!({"model": model[0], "total_spend": sums.spend}))
            .collect(),
    ))
}

async fn by_provider(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    sees_all(&asker)?;
    let rows = days(&desk, &query::USER_DAYS, &asked, None).await?;
    let by = sums::highest(sums::by(&rows, &["provider"])).into_iter();
    Ok(Json(
        by.map(|(provider, sums)| json!({"provider": provider[0], "spend": sums.spend}))
            .collect(),
    ))
}

async fn by_team(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    sees_all(&asker)?;
    let rows = days(&desk, &query::TEAM_DAYS, &asked, None).await?;
    let mut daily: BTreeMap<String, Row> = BTreeMap::new();
    for (at, sums) in sums::by(&rows, &["date", "entity"]) {
        let day = daily.entry(at[0].clone()).or_default();
        day.insert("date".to_owned(), at[0].clone().into());
        day.insert(at[1].clone(), sums.spend.into());
    }
    let totals = sums::highest(sums::by(&rows, &["entity"]));
    let teams: Vec<&String> = totals.iter().map(|(team, _)| &team[0]).collect();
    let per_team: Vec<Value> = totals
        .iter()
        .map(|(team, sums)| json!({"team_id": team[0], "total_spend": sums.spend}))
        .collect();
    Ok(Json(json!({
        "daily_spend": daily.into_values().collect::<Vec<Row>>(), "teams": teams,
        "total_spend_per_team": per_team,
    })))
}

async fn by_tag(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    sees_all(&asker)?;
    let rows = days(&desk, &query::TAG_DAYS, &asked, None).await?;
    let wanted: Vec<&str> = asked
        .get("tags")
        .map_or(Vec::new(), |tags| tags.split(',').collect());
    let by = sums::highest(sums::by(&rows, &["entity"])).into_iter();
    let by = by.filter(|(tag, _)| wanted.is_empty() || wanted.contains(&tag[0].as_str()));
    let list: Vec<Value> = by
        .map(|(tag, sums)| json!({"name": tag[0], "spend": sums.spend, "log_count": sums.requests}))
        .collect();
    Ok(Json(json!({"spend_per_tag": list})))
}

async fn tag_names(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    sees_all(&asker)?;
    let rows = days(&desk, &query::TAG_DAYS, &asked, None).await?;
    let names: Vec<String> = sums::by(&rows, &["entity"])
        .into_iter()
        .map(|(mut tag, _)| tag.swap_remove(0))
        .collect();
    Ok(Json(json!({"tag_names": names})))
}

async fn by_end_user(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    sees_all(&asker)?;
    let mut asked = HashMap::new();
    for (name, field) in [
        ("start_date", "startTime"),
        ("end_date", "endTime"),
        ("api_key", "api_key"),
    ] {
        asked.extend(text(&fields, field).map(|value| (name.to_owned(), value)));
    }
    let rows = days(&desk, &query::END_USER_DAYS, &asked, None).await?;
    let by = sums::highest(sums::by(&rows, &["entity"])).into_iter();
    let one = |(user, sums): (Vec<String>, Sums)| json!({"end_user": user[0], "total_count": sums.requests, "total_spend": sums.spend});
    Ok(Json(by.map(one).collect()))
}

async fn end_users(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    sees_all(&asker)?;
    let rows = days(&desk, &query::END_USER_DAYS, &asked, None).await?;
    let names: Vec<String> = sums::by(&rows, &["entity"])
        .into_iter()
        .map(|(mut user, _)| user.swap_remove(0))
        .collect();
    Ok(Json(json!({"end_users": names})))
}

/// Sets the spend of all keys and teams to zero; the rows of calls stay.
async fn reset(State(desk): Shared, Extension(asker): Extension<Asker>) -> Answer {
    if asker.caller().is_some() {
        return Err(Refusal::unauthorized(
            "only the master key may reset all spend",
        ));
    }
    let store = &desk.directory.store;
    for (table, kind) in [(Table::KEYS, "key"), (Table::TEAMS, "team")] {
        let list = Command::List {
            table,
            filter: Row::new(),
            newest: false,
            limit: 1_000_000,
            offset: 0,
        };
        let column = if table == Table::KEYS {
            "token"
        } else {
            "team_id"
        };
        for row in store.rows(list).await? {
            let id = text(&row, column).unwrap_or_default();
            let changes = Row::from_iter([("spend".to_owned(), Value::from(0.0))]);
            store
                .rows(Command::Update(table, vec![id.clone()], changes))
                .await?;
            desk.directory.restart(&format!("{kind}:{id}"));
        }
    }
    desk.directory.changed(crate::directory::Change::All).await;
    Ok(Json(
        json!({"message": "Spend for all API Keys and Teams reset successfully", "status": "success"}),
    ))
}

/// LiteLLM refreshes its views; our sums are always fresh.
async fn refresh(Extension(asker): Extension<Asker>) -> Answer {
    sees_all(&asker)?;
    Ok(Json(
        json!({"message": "Successfully refreshed", "status": "success"}),
    ))
}

fn daily_activity(rows: &[Row]) -> Value {
    let by = sums::by(rows, &["date"]);
    let daily: Vec<Value> = by
        .iter()
        .map(|(date, sums)| {
            json!({"date": date[0], "api_requests": sums.requests,
            "total_tokens": sums.prompt + sums.completion})
        })
        .collect();
    let all = sums::all(rows);
    json!({"daily_data": daily, "sum_api_requests": all.requests,
        "sum_total_tokens": all.prompt + all.completion})
}

async fn activity(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    sees_all(&asker)?;
    Ok(Json(daily_activity(
        &days(&desk, &query::USER_DAYS, &asked, None).await?,
    )))
}

async fn activity_by_model(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    sees_all(&asker)?;
    let rows = days(&desk, &query::USER_DAYS, &asked, None).await?;
    let models = sums::highest(sums::by(&rows, &["model_group"])).into_iter();
    let one = |(model, _): (Vec<String>, Sums)| {
        let of = |row: &&Row| sums::field(row, "model_group") == model[0];
        let mine: Vec<Row> = rows.iter().filter(of).cloned().collect();
        let mut entry = daily_activity(&mine);
        entry["model"] = Value::from(model[0].as_str());
        entry
    };
    Ok(Json(models.map(one).collect()))
}

async fn user_days(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    let user = match asker.sees_all() {
        true => asked.get("user_id").cloned(),
        false => Some(own(&asker)?),
    };
    Ok(Json(sums::report(
        &days(&desk, &query::USER_DAYS, &asked, user).await?,
    )))
}

async fn team_days(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    let team = asked
        .get("team_ids")
        .or_else(|| asked.get("team_id"))
        .cloned();
    if !asker.sees_all() {
        let id = team
            .clone()
            .ok_or_else(|| Refusal::bad("team_ids must be given").at("team_ids"))?;
        asker
            .must_manage_team(&desk, &super::team::row(&desk, &id).await?)
            .await?;
    }
    Ok(Json(sums::report(
        &days(&desk, &query::TEAM_DAYS, &asked, team).await?,
    )))
}

async fn tag_days(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    sees_all(&asker)?;
    let tag = asked.get("tags").cloned();
    Ok(Json(sums::report(
        &days(&desk, &query::TAG_DAYS, &asked, tag).await?,
    )))
}

async fn end_user_days(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    sees_all(&asker)?;
    let user = asked.get("end_user_ids").cloned();
    Ok(Json(sums::report(
        &days(&desk, &query::END_USER_DAYS, &asked, user).await?,
    )))
}

async fn organization_days(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    let organization = asked.get("organization_ids").cloned();
    if !asker.sees_all() {
        let id = organization.clone().unwrap_or_default();
        if !asker.manages_organization(&desk, &id).await? {
            return Err(Refusal::forbidden(format!(
                "you do not manage organization_id={id}"
            )));
        }
    }
    Ok(Json(sums::report(
        &days(&desk, &query::ORGANIZATION_DAYS, &asked, organization).await?,
    )))
}
