//! Who changed what (`store_audit_logs`): a store in front of the store that writes a row of
//! `LiteLLM_AuditLog` in the same transaction as the change itself. Only what a caller of the
//! management API changes is written down; it knows no route and no handler.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use super::desk::put;
use crate::store::secret::uuid;
use crate::store::{Answers, Command, Doing, Row, Store, Table, now_text};

/// Who asks, as its rows say it.
#[derive(Clone, Debug, Default)]
pub struct Who {
    /// Its user, or whom the header `litellm-changed-by` names.
    pub user: String,
    /// The token of its key.
    pub token: String,
}

tokio::task_local! {
    static WHO: Who;
}

/// Does `work` in the name of `who`.
pub async fn in_name_of<T>(who: Who, work: impl Future<Output = T>) -> T {
    WHO.scope(who, work).await
}

/// Tables whose changes are written down.
const TABLES: [Table; 9] = [
    Table::KEYS,
    Table::TEAMS,
    Table::USERS,
    Table::ORGANIZATIONS,
    Table::BUDGETS,
    Table::END_USERS,
    Table::TAGS,
    Table::MODELS,
    Table::CREDENTIALS,
];

/// A store that writes down who changes what.
pub struct Audited {
    inner: Arc<dyn Store>,
    on: Arc<AtomicBool>,
}

impl Audited {
    /// In front of `inner`, as long as `on` is set.
    pub fn new(inner: Arc<dyn Store>, on: Arc<AtomicBool>) -> Audited {
        Audited { inner, on }
    }
}

/// A change of one row.
struct Change {
    table: Table,
    key: Vec<String>,
    action: &'static str,
    values: Row,
}

impl Change {
    fn of(command: &Command) -> Option<Change> {
        let (table, key, action, values) = match command {
            Command::Insert(table, row) => (*table, key(*table, row), "created", row.clone()),
            Command::Put(table, row) => (*table, key(*table, row), "updated", row.clone()),
            Command::Update(table, key, row) => (*table, key.clone(), changed(row), row.clone()),
            Command::Delete(table, key) => (*table, key.clone(), "deleted", Row::new()),
            _ => return None,
        };
        TABLES.contains(&table).then_some(Change {
            table,
            key,
            action,
            values,
        })
    }

    /// What is written down, if the change will happen: `before` is the row until now.
    fn row(self, who: &Who, before: Option<Row>) -> Option<Row> {
        if before.is_some() == (self.action == "created") {
            return None;
        }
        let mut row = Row::new();
        put(&mut row, "id", uuid());
        put(&mut row, "updated_at", now_text());
        put(&mut row, "changed_by", who.user.clone());
        put(&mut row, "changed_by_api_key", who.token.clone());
        put(&mut row, "action", self.action);
        put(&mut row, "table_name", self.table.name());
        put(&mut row, "object_id", self.key.join(":"));
        put(&mut row, "before_value", shown(before.unwrap_or_default()));
        put(&mut row, "updated_values", shown(self.values));
        Some(row)
    }
}

/// The parts of a row's primary key.
fn key(table: Table, row: &Row) -> Vec<String> {
    let parts = table.shape().key().map(|column| row.get(&column.name));
    parts
        .map(|part| part.and_then(Value::as_str).unwrap_or("").to_owned())
        .collect()
}

/// Blocking alone has a word of its own.
fn changed(row: &Row) -> &'static str {
    let names = row.keys().filter(|name| !name.starts_with("updated_"));
    match (row.get("blocked"), names.count()) {
        (Some(Value::Bool(true)), 1) => "blocked",
        (Some(Value::Bool(false)), 1) => "unblocked",
        _ => "updated",
    }
}

/// Values without the hash of a password. (Credentials are sealed before they come here.)
fn shown(mut row: Row) -> Row {
    row.remove("password");
    row
}

impl Store for Audited {
    fn transact(&self, mut commands: Vec<Command>) -> Doing<'_, Answers> {
        let who = WHO.try_with(Who::clone);
        let Ok(who) = who.map_err(drop).and_then(|who| {
            let on = self.on.load(Ordering::Relaxed);
            on.then_some(who).ok_or(())
        }) else {
            return self.inner.transact(commands);
        };
        Box::pin(async move {
            let changes: Vec<Change> = commands.iter().filter_map(Change::of).collect();
            let look = |change: &Change| Command::Get(change.table, change.key.clone());
            let before = match changes.is_empty() {
                true => Vec::new(),
                false => {
                    self.inner
                        .transact(changes.iter().map(look).collect())
                        .await?
                }
            };
            let count = commands.len();
            let rows = changes.into_iter().zip(before);
            let rows = rows.filter_map(|(change, mut found)| change.row(&who, found.pop()));
            commands.extend(rows.map(|row| Command::Insert(Table::AUDIT, row)));
            let mut answers = self.inner.transact(commands).await?;
            answers.truncate(count);
            Ok(answers)
        })
    }

    fn missing(&self) -> Doing<'_, Vec<String>> {
        self.inner.missing()
    }

    fn migrate(&self) -> Doing<'_, Vec<String>> {
        self.inner.migrate()
    }

    fn next_change(&self) -> Pin<Box<dyn Future<Output = Option<String>> + Send + '_>> {
        self.inner.next_change()
    }

    fn announce(&self, change: String) -> Doing<'_, ()> {
        self.inner.announce(change)
    }

    fn name(&self) -> &'static str {
        self.inner.name()
    }
}
