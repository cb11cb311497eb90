//! What several families of routes do with rows alike: find one, list all, show one with its budget.

use axum::Json;
use serde_json::json;

use super::{Answer, Desk, Refusal, pages, put, shown, shown_all};
use crate::directory::text;
use crate::store::{Command, Row, StoreError, Table};

/// The row with this key.
///
/// # Errors
/// 404 that says `missing`.
pub async fn found(
    desk: &Desk,
    table: Table,
    key: &str,
    missing: impl FnOnce() -> String,
) -> Result<Row, Refusal> {
    let row = desk.directory.store.get(table, &[key]).await?;
    row.ok_or_else(|| Refusal::not_found(missing()))
}

/// All rows, at most 10,000; the newest first, or by key.
///
/// # Errors
/// The store's.
pub async fn everything(desk: &Desk, table: Table, newest: bool) -> Result<Vec<Row>, StoreError> {
    let list = Command::List {
        table,
        filter: Row::new(),
        newest,
        limit: 10_000,
        offset: 0,
    };
    desk.directory.store.rows(list).await
}

/// A row as an answer shows it, with the budget that it refers to in `litellm_budget_table`.
///
/// # Errors
/// The store's.
pub async fn with_budget(desk: &Desk, table: Table, row: Row) -> Result<Row, StoreError> {
    let budget = match text(&row, "budget_id") {
        Some(id) => desk.directory.store.get(Table::BUDGETS, &[&id]).await?,
        None => None,
    };
    let mut answer = shown(table, row);
    let budget = budget.map(|row| shown(Table::BUDGETS, row));
    put(&mut answer, "litellm_budget_table", budget);
    Ok(answer)
}

/// A page of rows, and how many there are in all.
///
/// # Errors
/// The store's.
pub async fn counted(
    desk: &Desk,
    (count, list): (Command, Command),
) -> Result<(Vec<Row>, u64), StoreError> {
    let mut answers = desk.directory.store.transact(vec![count, list]).await?;
    let rows = answers.pop().unwrap_or_default();
    let count = answers.pop().and_then(|mut rows| rows.pop());
    let total = count.and_then(|row| row.get("count")?.as_u64());
    Ok((rows, total.unwrap_or(0)))
}

/// A page of rows under `name`, as answers with pages show them: `list` finds the page, `count` how many
/// there are in all.
///
/// # Errors
/// The store's.
pub async fn paged(
    desk: &Desk,
    table: Table,
    name: &str,
    what: (Command, Command),
    (page, size): (u64, u64),
) -> Answer {
    let (rows, total) = counted(desk, what).await?;
    Ok(Json(
        json!({(name): shown_all(table, rows), "total": total, "page": page, "page_size": size,
        "total_pages": pages(total, size)}),
    ))
}
