//! `/audit`: who changed what, as `store_audit_logs` writes it down.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use serde_json::Value;

use crate::admin::desk::{Answer, Asker, Desk, Refusal, page, paged, shown};
use crate::admin::routes::Routes;
use crate::auth::calendar;
use crate::store::{Command, Table, query};

/// The routes.
pub fn routes() -> Routes<Arc<Desk>> {
    Routes::new()
        .get(
            "/audit",
            list,
            "Changes that callers of this API made, the newest first, by page.",
        )
        .query(&[
            "page",
            "page_size",
            "changed_by",
            "changed_by_api_key",
            "action",
            "table_name",
            "object_id",
            "start_date",
            "end_date",
        ])
        .get("/audit/{id}", one, "A change.")
}

fn sees_all(asker: &Asker) -> Result<(), Refusal> {
    match asker.sees_all() {
        true => Ok(()),
        false => asker.must_be_admin("/audit"),
    }
}

async fn list(
    State(desk): State<Arc<Desk>>,
    Extension(asker): Extension<Asker>,
    Query(asked): Query<HashMap<String, String>>,
) -> Answer {
    sees_all(&asker)?;
    let of = |name: &str| asked.get(name).filter(|text| !text.is_empty()).cloned();
    let day = |name: &str| match of(name) {
        None => Ok(None),
        Some(text) => match calendar::parse(&text) {
            Some(at) => Ok(Some(calendar::day_text(at))),
            None => Err(Refusal::bad(format!("{name} is no date: {text}")).at(name)),
        },
    };
    let (page, size) = page(&asked, "page_size", 10, 100);
    let mut parameters = vec![day("start_date")?, day("end_date")?];
    let names = [
        "changed_by",
        "changed_by_api_key",
        "action",
        "table_name",
        "object_id",
    ];
    parameters.extend(names.map(of));
    let count = Command::Ask(&query::AUDIT_COUNT, parameters.clone());
    parameters.extend([
        Some(size.to_string()),
        Some(((page - 1) * size).to_string()),
    ]);
    let list = Command::Ask(&query::AUDIT_LOGS, parameters);
    let (what, table) = ((count, list), Table::AUDIT);
    paged(&desk, table, "audit_logs", what, (page, size)).await
}

async fn one(
    State(desk): State<Arc<Desk>>,
    Extension(asker): Extension<Asker>,
    Path(id): Path<String>,
) -> Answer {
    sees_all(&asker)?;
    let row = desk.directory.store.get(Table::AUDIT, &[&id]).await?;
    let row = row
        .ok_or_else(|| Refusal::not_found(format!("Audit log with ID {id} not found")).at("id"))?;
    Ok(Json(Value::Object(shown(Table::AUDIT, row))))
}
