//! `/management/v1/*`: lists for dashboards, by page, with filters in the query (`filter[max_budget][gte]`).

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::Uri;
use axum::{Extension, Json};
use serde_json::{Value, json};

use crate::admin::desk::{Answer, Asker, Desk, Refusal, page, pages, shown};
use crate::admin::routes::Routes;
use crate::auth::calendar;
use crate::directory::text;
use crate::store::{Command, Query as Question, Row, Table, query};

type Shared = State<Arc<Desk>>;
type Asked = HashMap<String, String>;

/// The window of calls that is looked at, what values contain, and the page.
const FACET: &[&str] = &[
    "filter[startTime][gte]",
    "filter[startTime][lte]",
    "q",
    "page",
    "page_size",
];

/// The routes.
pub fn routes() -> Routes<Arc<Desk>> {
    Routes::new()
        .get(
            "/management/v1/budgets",
            budgets,
            "Budgets by page, sorted and filtered.",
        )
        .query(&[
            "sort",
            "q",
            "page",
            "page_size",
            "filter[budget_duration][in]",
            "filter[budget_duration][is_null]",
            "filter[max_budget][gte]",
            "filter[max_budget][lte]",
            "filter[max_budget][is_null]",
            "filter[created_at][gte]",
            "filter[created_at][lte]",
        ])
        .get(
            "/management/v1/spend_logs/end_users",
            |desk: Shared, asker, asked, uri| {
                facet(desk, asker, asked, uri, &query::END_USERS_SEEN)
            },
            "End users of the calls in a window of time.",
        )
        .query(FACET)
        .needs(&["filter[startTime][gte]", "filter[startTime][lte]"])
        .get(
            "/management/v1/spend_logs/users",
            |desk: Shared, asker, asked, uri| facet(desk, asker, asked, uri, &query::USERS_SEEN),
            "Users of the calls in a window of time.",
        )
        .query(FACET)
        .needs(&["filter[startTime][gte]", "filter[startTime][lte]"])
}

/// Refuses what nobody would look at.
fn only(asked: &Asked, known: &[&str]) -> Result<(), Refusal> {
    match asked.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => Err(Refusal::bad(format!("the query has no parameter {name}")).at(name)),
    }
}

/// Addresses of this page and those beside it.
fn links(uri: &Uri, page: u64, more: bool) -> Value {
    let rest = uri.query().unwrap_or("").split('&');
    let rest: Vec<&str> = rest
        .filter(|pair| !pair.is_empty() && !pair.starts_with("page="))
        .collect();
    let at = |page: u64| {
        let last = format!("page={page}");
        let pairs: Vec<&str> = rest.iter().copied().chain([last.as_str()]).collect();
        format!("{}?{}", uri.path(), pairs.join("&"))
    };
    json!({"self": at(page), "next": more.then(|| at(page + 1)),
        "prev": (page > 1).then(|| at(page - 1))})
}

const BUDGET: [&str; 9] = [
    "budget_id",
    "max_budget",
    "soft_budget",
    "tpm_limit",
    "rpm_limit",
    "budget_duration",
    "budget_reset_at",
    "created_at",
    "updated_at",
];
const SORTABLE: [&str; 5] = [
    "budget_id",
    "max_budget",
    "tpm_limit",
    "rpm_limit",
    "created_at",
];

/// One condition of a query, on a budget.
fn holds(row: &Row, name: &str, value: &str) -> Result<bool, Refusal> {
    let wrong =
        |what: &str| Refusal::bad(format!("{name}: {what} is expected; got {value}")).at(name);
    let number = |column: &str| row.get(column).and_then(Value::as_f64);
    let bound = || value.parse::<f64>().map_err(|_| wrong("a number"));
    let is_null = |column: &str| match value {
        "true" => Ok(row.get(column).is_none_or(Value::is_null)),
        "false" => Ok(row.get(column).is_some_and(|value| !value.is_null())),
        _ => Err(wrong("true or false")),
    };
    let made = text(row, "created_at").and_then(|text| calendar::parse(&text));
    let time = || calendar::parse(value).ok_or_else(|| wrong("a time"));
    Ok(match name {
        "q" => text(row, "budget_id")
            .unwrap_or_default()
            .to_lowercase()
            .contains(&value.to_lowercase()),
        "filter[budget_duration][in]" => {
            let duration = text(row, "budget_duration");
            duration.is_some_and(|duration| value.split(',').any(|one| one.trim() == duration))
        }
        "filter[budget_duration][is_null]" => is_null("budget_duration")?,
        "filter[max_budget][is_null]" => is_null("max_budget")?,
        "filter[max_budget][gte]" => {
            bound().map(|least| number("max_budget").is_some_and(|n| n >= least))?
        }
        "filter[max_budget][lte]" => {
            bound().map(|most| number("max_budget").is_some_and(|n| n <= most))?
        }
        "filter[created_at][gte]" => time().map(|first| made.is_some_and(|at| at >= first))?,
        "filter[created_at][lte]" => time().map(|last| made.is_some_and(|at| at <= last))?,
        "sort" | "page" | "page_size" => true,
        _ => return Err(Refusal::bad(format!("the query has no parameter {name}")).at(name)),
    })
}

/// Sorts by `-max_budget,budget_id`; what has no value comes last.
fn sort(rows: &mut [Row], by: &str) -> Result<(), Refusal> {
    let keys = by.split(',').map(str::trim).chain(["budget_id"]);
    let keys: Vec<(&str, bool)> = keys
        .map(|key| {
            key.strip_prefix('-')
                .map_or((key, false), |key| (key, true))
        })
        .collect();
    if let Some((key, _)) = keys.iter().find(|(key, _)| !SORTABLE.contains(key)) {
        let text = format!(
            "sort: one of {} is expected; got {key}",
            SORTABLE.join(", ")
        );
        return Err(Refusal::bad(text).at("sort"));
    }
    rows.sort_by(|a, b| {
        let one = |(key, falls): &(&str, bool)| {
            let order = match (a.get(*key), b.get(*key)) {
                (Some(Value::String(a)), Some(Value::String(b))) => a.cmp(b),
                (Some(Value::Number(a)), Some(Value::Number(b))) => {
                    let float = |number: &serde_json::Number| number.as_f64().unwrap_or(0.0);
                    float(a).total_cmp(&float(b))
                }
                (a, b) => {
                    return a
                        .is_none_or(Value::is_null)
                        .cmp(&b.is_none_or(Value::is_null));
                }
            };
            if *falls { order.reverse() } else { order }
        };
        let mut orders = keys.iter().map(one);
        orders
            .find(|order| order.is_ne())
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    Ok(())
}

async fn budgets(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Query<Asked>,
    uri: Uri,
) -> Answer {
    const MOST: u64 = 100_000;
    if !asker.sees_all() {
        asker.must_be_admin("/management/v1/budgets")?;
    }
    let list = Command::List {
        table: Table::BUDGETS,
        filter: Row::new(),
        newest: true,
        limit: MOST,
        offset: 0,
    };
    let mut rows = Vec::new();
    // Also where there is no budget, a condition that means nothing is refused.
    let none = Row::new();
    for (name, value) in &asked {
        holds(&none, name, value)?;
    }
    for row in desk.directory.store.rows(list).await? {
        let mut all = asked.iter().map(|(name, value)| holds(&row, name, value));
        if all.all(|holds| matches!(holds, Ok(true))) {
            rows.push(row);
        }
    }
    sort(
        &mut rows,
        asked.get("sort").map_or("-created_at", String::as_str),
    )?;
    let (page, size) = page(&asked, "page_size", 50, 100);
    let total = rows.len() as u64;
    let from = usize::try_from((page - 1).saturating_mul(size)).unwrap_or(usize::MAX);
    let rows = rows
        .into_iter()
        .skip(from)
        .take(usize::try_from(size).unwrap_or(0));
    let one = |row: Row| {
        let row = shown(Table::BUDGETS, row);
        let field = |name: &&str| {
            let value = row.get(*name).cloned().unwrap_or_default();
            ((*name).to_owned(), value)
        };
        Value::Object(BUDGET.iter().map(field).collect())
    };
    let more = page < pages(total, size);
    Ok(Json(json!({
        "data": rows.map(one).collect::<Vec<Value>>(),
        "meta": {"page": page, "page_size": size, "total": total, "total_pages": pages(total, size), "has_more": more},
        "links": links(&uri, page, more),
    })))
}

/// What calls in a window of time name, by page.
async fn facet(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Query<Asked>,
    uri: Uri,
    question: &'static Question,
) -> Answer {
    only(&asked, FACET)?;
    let time = |name: &str| {
        let given = asked.get(name);
        let at = given
            .and_then(|text| calendar::parse(text))
            .map(calendar::text);
        at.ok_or_else(|| {
            Refusal::bad(format!(
                "{name}: a time such as 2026-01-31T00:00:00Z is expected"
            ))
            .at(name)
        })
    };
    let (from, to) = (time(FACET[0])?, time(FACET[1])?);
    let user = match asker.sees_all() {
        true => None,
        false => Some(super::spend::own(&asker)?),
    };
    let (page, size) = page(&asked, "page_size", 50, 100);
    let parameters = vec![
        Some(from),
        Some(to),
        user,
        asked.get("q").map(|part| part.to_lowercase()),
        Some((size + 1).to_string()),
        Some((page - 1).saturating_mul(size).to_string()),
    ];
    let rows = desk
        .directory
        .store
        .rows(Command::Ask(question, parameters))
        .await?;
    let mut data: Vec<String> = rows.iter().filter_map(|row| text(row, "value")).collect();
    let more = data.len() as u64 > size;
    data.truncate(usize::try_from(size).unwrap_or(usize::MAX));
    Ok(Json(json!({"data": data, "links": links(&uri, page, more),
        "meta": {"page": page, "page_size": size, "has_more": more}})))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: Value) -> Row {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn budgets_are_filtered_and_sorted() {
        let mut rows = [
            row(json!({"budget_id": "a", "max_budget": 3.0, "budget_duration": "7d"})),
            row(json!({"budget_id": "b", "max_budget": null})),
            row(json!({"budget_id": "c", "max_budget": 5.0})),
        ];
        let found = |name: &str, value: &str| -> Vec<bool> {
            rows.iter()
                .map(|row| holds(row, name, value).unwrap())
                .collect()
        };
        assert_eq!(found("filter[max_budget][gte]", "4"), [false, false, true]);
        assert_eq!(
            found("filter[max_budget][is_null]", "true"),
            [false, true, false]
        );
        assert_eq!(
            found("filter[budget_duration][in]", "1d, 7d"),
            [true, false, false]
        );
        assert_eq!(found("q", "B"), [false, true, false]);
        assert!(holds(&rows[0], "filter[max_budget][gte]", "much").is_err());
        assert!(holds(&rows[0], "colour", "red").is_err());
        sort(&mut rows, "-max_budget").unwrap();
        let order: Vec<_> = rows
            .iter()
            .filter_map(|row| text(row, "budget_id"))
            .collect();
        assert_eq!(order, ["c", "a", "b"]);
        assert!(sort(&mut rows, "budget_duration").is_err());
    }

    #[test]
    fn pages_lead_to_each_other() {
        let uri: Uri = "/management/v1/budgets?q=a&page=2".parse().unwrap();
        let made = links(&uri, 2, true);
        assert_eq!(made["next"], "/management/v1/budgets?q=a&page=3");
        assert_eq!(made["prev"], "/management/v1/budgets?q=a&page=1");
        assert!(links(&uri, 1, false)["next"].is_null());
    }
}
