//! `/tag/*` about who uses what: the users behind the tags of calls, by day, week and month, and what each
//! tag and each user came to. Tags of user agents (`User-Agent: curl/8`) are what dashboards ask for.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::spend::{days, sees_all};
use super::spend_sums::{self as sums, Sums};
use crate::admin::desk::{Answer, Asker, Desk, Refusal, page, pages};
use crate::admin::routes::Routes;
use crate::auth::calendar::{self, SECOND_US};
use crate::directory::text;
use crate::store::{Command, Row, Table, now_us, query};

type Shared = State<Arc<Desk>>;
type Asked = HashMap<String, String>;

/// What chooses tags: a part of their name, or names with commas between them.
const FILTERS: &[&str] = &["tag_filter", "tag_filters"];

/// The routes.
pub fn routes() -> Routes<Arc<Desk>> {
    Routes::new()
        .get(
            "/tag/distinct",
            distinct,
            "The tags of user agents that calls carried.",
        )
        .get(
            "/tag/dau",
            |desk: Shared, asker, asked| active(desk, asker, asked, &DAYS),
            "Users of each tag by day, over the last seven days.",
        )
        .query(FILTERS)
        .get(
            "/tag/wau",
            |desk: Shared, asker, asked| active(desk, asker, asked, &WEEKS),
            "Users of each tag by week, over the last seven weeks.",
        )
        .query(FILTERS)
        .get(
            "/tag/mau",
            |desk: Shared, asker, asked| active(desk, asker, asked, &MONTHS),
            "Users of each tag by thirty days, over the last seven times thirty.",
        )
        .query(FILTERS)
        .get(
            "/tag/summary",
            summary,
            "Users, requests, tokens and spend of each tag.",
        )
        .query(&["start_date", "end_date", "tag_filter", "tag_filters"])
        .needs(&["start_date", "end_date"])
        .get(
            "/tag/user-agent/per-user-analytics",
            per_user,
            "Requests, tokens and spend of each user by user agent, over the last thirty days.",
        )
        .query(&["tag_filter", "tag_filters", "page", "page_size"])
}

const USER_AGENT: &str = "User-Agent: ";
const DAY_US: i64 = 86_400 * SECOND_US;
/// Periods that are told, the running one included.
const PERIODS: i64 = 7;

/// Lines of tags in the days of a question, of the tags that it names.
async fn lines(desk: &Desk, asked: &Asked) -> Result<Vec<Row>, Refusal> {
    let mut rows = days(desk, &query::TAG_DAYS, asked, None).await?;
    let part = asked.get("tag_filter").map_or("", String::as_str);
    let names = asked.get("tag_filters").filter(|names| !names.is_empty());
    let names: Option<Vec<&str>> = names.map(|names| names.split(',').map(str::trim).collect());
    rows.retain(|row| {
        let tag = sums::field(row, "entity");
        match &names {
            Some(names) => names.contains(&tag),
            None => tag.contains(part),
        }
    });
    Ok(rows)
}

/// The users of the keys that made these lines, by the keys' tokens.
async fn users(desk: &Desk, rows: &[Row]) -> Result<HashMap<String, String>, Refusal> {
    const AT_ONCE: usize = 500;
    let keys: BTreeSet<&str> = rows.iter().map(|row| sums::field(row, "api_key")).collect();
    let keys: Vec<&str> = keys.into_iter().filter(|key| !key.is_empty()).collect();
    let mut users = HashMap::new();
    for some in keys.chunks(AT_ONCE) {
        let get = |key: &&str| Command::Get(Table::KEYS, vec![(*key).to_owned()]);
        let found = desk
            .directory
            .store
            .transact(some.iter().map(get).collect())
            .await?;
        for row in found.into_iter().flatten() {
            if let (Some(token), Some(user)) = (text(&row, "token"), text(&row, "user_id")) {
                users.insert(token, user);
            }
        }
    }
    Ok(users)
}

/// The user of a line; a key without one counts as somebody.
fn user_of<'a>(users: &'a HashMap<String, String>, row: &'a Row) -> &'a str {
    let key = sums::field(row, "api_key");
    users.get(key).map_or(key, String::as_str)
}

async fn distinct(State(desk): Shared, Extension(asker): Extension<Asker>) -> Answer {
    sees_all(&asker)?;
    let mut asked = Asked::new();
    asked.insert("start_date".to_owned(), "2020-01-01".to_owned());
    asked.insert("tag_filter".to_owned(), USER_AGENT.to_owned());
    let rows = lines(&desk, &asked).await?;
    let tags = sums::by(&rows, &["entity"]).into_iter();
    let results: Vec<Value> = tags.map(|(tag, _)| json!({"tag": tag[0]})).collect();
    Ok(Json(json!({ "results": results })))
}

/// A period by which users are counted.
struct Period {
    name: &'static str,
    days: i64,
}

static DAYS: Period = Period {
    name: "Day",
    days: 1,
};
static WEEKS: Period = Period {
    name: "Week",
    days: 7,
};
static MONTHS: Period = Period {
    name: "Month",
    days: 30,
};

impl Period {
    /// First and last day of the periods, the oldest first.
    fn spans(&self, now_us: i64) -> Vec<(String, String)> {
        let day = |ago: i64| calendar::day_text(now_us - ago * DAY_US);
        let span = |ago: i64| (day((ago + 1) * self.days - 1), day(ago * self.days));
        (0..PERIODS).rev().map(span).collect()
    }

    /// How the period of that number, from 1, is called.
    fn label(&self, number: usize, first: &str, last: &str) -> String {
        match self.days {
            1 => last.to_owned(),
            _ => format!("{} {number} ({first})", self.name),
        }
    }
}

async fn active(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(mut asked): Query<Asked>,
    period: &'static Period,
) -> Answer {
    sees_all(&asker)?;
    let spans = period.spans(now_us());
    if let (Some((first, _)), Some((_, last))) = (spans.first(), spans.last()) {
        asked.insert("start_date".to_owned(), first.clone());
        asked.insert("end_date".to_owned(), last.clone());
    }
    let rows = lines(&desk, &asked).await?;
    let users = users(&desk, &rows).await?;
    let mut results = Vec::new();
    for (number, (first, last)) in spans.iter().enumerate() {
        let mut tags: BTreeMap<&str, HashSet<&str>> = BTreeMap::new();
        let within = |row: &&Row| {
            let date = sums::field(row, "date");
            first.as_str() <= date && date <= last.as_str()
        };
        for row in rows.iter().filter(within) {
            let of_tag = tags.entry(sums::field(row, "entity")).or_default();
            of_tag.insert(user_of(&users, row));
        }
        let date = period.label(number + 1, first, last);
        results.extend(tags.iter().map(|(tag, users)| {
            json!({"tag": tag, "active_users": users.len(), "date": date,
                "period_start": first, "period_end": last})
        }));
    }
    results.reverse();
    Ok(Json(json!({ "results": results })))
}

async fn summary(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Query<Asked>,
) -> Answer {
    sees_all(&asker)?;
    for name in ["start_date", "end_date"] {
        if !asked.contains_key(name) {
            return Err(Refusal::bad(format!("{name} must be given")).at(name));
        }
    }
    let rows = lines(&desk, &asked).await?;
    let users = users(&desk, &rows).await?;
    let one = |(tag, sums): (Vec<String>, Sums)| {
        let mine = rows
            .iter()
            .filter(|row| sums::field(row, "entity") == tag[0]);
        let users: HashSet<&str> = mine.map(|row| user_of(&users, row)).collect();
        json!({"tag": tag[0], "unique_users": users.len(), "total_requests": sums.requests,
            "successful_requests": sums.succeeded, "failed_requests": sums.failed,
            "total_tokens": sums.prompt + sums.completion, "total_spend": sums.spend})
    };
    let results = sums::highest(sums::by(&rows, &["entity"]))
        .into_iter()
        .map(one);
    Ok(Json(json!({"results": results.collect::<Vec<Value>>()})))
}

async fn per_user(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(mut asked): Query<Asked>,
) -> Answer {
    sees_all(&asker)?;
    let (page, size) = page(&asked, "page_size", 50, 1000);
    if !asked.contains_key("tag_filters") {
        asked
            .entry("tag_filter".to_owned())
            .or_insert_with(|| USER_AGENT.to_owned());
    }
    let mut rows = lines(&desk, &asked).await?;
    let users = users(&desk, &rows).await?;
    for row in &mut rows {
        let user = user_of(&users, row).to_owned();
        row.insert("user".to_owned(), Value::from(user));
    }
    let all = sums::highest(sums::by(&rows, &["user", "entity"]));
    let total = all.len() as u64;
    let from = usize::try_from((page - 1).saturating_mul(size)).unwrap_or(usize::MAX);
    let mut results = Vec::new();
    for (at, sums) in all
        .into_iter()
        .skip(from)
        .take(usize::try_from(size).unwrap_or(0))
    {
        let row = desk.directory.store.get(Table::USERS, &[&at[0]]).await?;
        let agent = at[1].strip_prefix(USER_AGENT).unwrap_or(&at[1]);
        results.push(json!({
            "user_id": at[0], "user_email": row.and_then(|row| text(&row, "user_email")),
            "user_agent": agent.split('/').next(), "successful_requests": sums.succeeded,
            "failed_requests": sums.failed, "total_requests": sums.requests,
            "total_tokens": sums.prompt + sums.completion, "spend": sums.spend,
        }));
    }
    Ok(Json(
        json!({"results": results, "total_count": total, "page": page,
        "page_size": size, "total_pages": pages(total, size)}),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_follow_each_other_up_to_today() {
        let now = calendar::parse("2026-11-25T10:00:00").unwrap();
        let days = DAYS.spans(now);
        assert_eq!(
            (days.len(), days[6].0.as_str(), days[0].0.as_str()),
            (7, "2026-11-25", "2026-11-19")
        );
        let weeks = WEEKS.spans(now);
        assert_eq!(weeks[6], ("2026-11-19".to_owned(), "2026-11-25".to_owned()));
        assert_eq!(weeks[5].1, "2026-11-18");
        assert_eq!(MONTHS.spans(now)[6].0, "2026-10-27");
        assert_eq!(
            WEEKS.label(7, "2026-11-19", "2026-11-25"),
            "Week 7 (2026-11-19)"
        );
        assert_eq!(DAYS.label(7, "2026-11-25", "2026-11-25"), "2026-11-25");
    }
}
