//! The store: LiteLLM's own tables in Postgres, or the same tables in an embedded SQLite file.
//!
//! One interface for both: a list of [`Command`]s that take effect together or not at all. Rows are
//! JSON objects with LiteLLM's column names. Nothing here knows what a row means, who may see it or
//! what a shard is. Statements are made from the schema's facts; values are always bound.

mod migrate;
mod postgres;
pub mod query;
pub mod schema;
pub mod secret;
pub mod spend;
mod sqlite;
mod table;
mod tls;

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use serde_json::{Map, Value};

pub use postgres::{Postgres, PostgresOptions};
pub use query::{LEDGER_POSITION, Query};
pub use sqlite::Sqlite;
pub use table::Table;

/// One row: column names and their values.
pub type Row = Map<String, Value>;

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Command {
    /// The row with this primary key; no row or one.
    Get(Table, Vec<String>),
    /// Rows whose columns equal the filter's values (a list must hold the value).
    List {
        /// Where.
        table: Table,
        /// Column names and texts; null looks for rows without a value.
        filter: Row,
        /// The newest first, else by key.
        newest: bool,
        /// At most so many rows.
        limit: u64,
        /// Leave out so many.
        offset: u64,
    },
    /// How many rows [`Command::List`] would find without its limit: one row, `{"count": n}`.
    Count(Table, Row),
    /// A new row, absent columns at their defaults; answers it as stored, or nothing where its key exists.
    Insert(Table, Row),
    /// The same, but in place of the row with that key.
    Put(Table, Row),
    /// New values for some columns of the row with this key; answers the row, or nothing.
    Update(Table, Vec<String>, Row),
    /// Removes the row with this key; answers it, or nothing.
    Delete(Table, Vec<String>),
    /// One of our own questions, with its parameters.
    Ask(&'static Query, Vec<Option<String>>),
    /// Spend of calls: rows, totals and days; what was recorded before is left out.
    Spend(spend::Batch),
}

/// The rows that each command answered.
pub type Answers = Vec<Vec<Row>>;

/// Why a store could not do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The database cannot be reached, or has no connection to spare.
    Unavailable(String),
    /// The database said no: a constraint, a missing table.
    Refused(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Unavailable(why) => write!(f, "the database is not available: {why}"),
            StoreError::Refused(why) => write!(f, "the database refused: {why}"),
        }
    }
}

/// A future that a store answers with.
pub type Doing<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A store of keys, teams, budgets and spend.
pub trait Store: Send + Sync {
    /// Does all of it in one transaction.
    fn transact(&self, commands: Vec<Command>) -> Doing<'_, Answers>;

    /// What the schema lacks: tables and columns as `"table.column"`; empty when all is there.
    fn missing(&self) -> Doing<'_, Vec<String>>;

    /// Creates what is missing; never changes or drops anything. Answers what it made.
    fn migrate(&self) -> Doing<'_, Vec<String>>;

    /// Waits for a change that another instance announced; `None` where there are no others.
    fn next_change(&self) -> Pin<Box<dyn Future<Output = Option<String>> + Send + '_>>;

    /// Tells the other instances of a change.
    fn announce(&self, change: String) -> Doing<'_, ()>;

    /// `"postgres"` or `"sqlite"`.
    fn name(&self) -> &'static str;
}

impl dyn Store + '_ {
    /// One command's rows.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn rows(&self, command: Command) -> Result<Vec<Row>, StoreError> {
        Ok(self
            .transact(vec![command])
            .await?
            .pop()
            .unwrap_or_default())
    }

    /// One command's first row.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn row(&self, command: Command) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(command).await?.into_iter().next())
    }

    /// The row of `table` with this key.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn get(&self, table: Table, key: &[&str]) -> Result<Option<Row>, StoreError> {
        let key = key.iter().map(|part| (*part).to_owned()).collect();
        self.row(Command::Get(table, key)).await
    }

    /// Rows of `table` by one column, at most 10,000.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn find(&self, table: Table, by: &str, value: &str) -> Result<Vec<Row>, StoreError> {
        let filter = Row::from_iter([(by.to_owned(), Value::from(value))]);
        self.rows(Command::List {
            table,
            filter,
            newest: false,
            limit: 10_000,
            offset: 0,
        })
        .await
    }
}

/// A row with the defaults of the columns it does not name, and nothing that is no column.
fn completed(table: Table, row: Row, now: &str) -> Row {
    let columns = table.shape().known().filter(|column| !column.is_serial());
    columns
        .map(|column| (column.name.clone(), given(column, &row, now).into_owned()))
        .collect()
}

/// What a row that may leave columns out holds in one of them.
fn given<'a>(column: &schema::Column, row: &'a Row, now: &str) -> Cow<'a, Value> {
    match row.get(&column.name) {
        Some(Value::Null) if !column.nullable => Cow::Owned(column.default_value(now)),
        Some(value) => Cow::Borrowed(value),
        None if column.name == "updated_at" => Cow::Owned(Value::from(now)),
        None => Cow::Owned(column.default_value(now)),
    }
}

/// The columns of `changes` that the table has, with the time of the change.
fn changed(table: Table, changes: Row, now: &str) -> Row {
    let mut known: Row = changes
        .into_iter()
        .filter(|(name, _)| table.shape().known().any(|column| column.name == *name))
        .collect();
    if table
        .shape()
        .known()
        .any(|column| column.name == "updated_at")
    {
        known
            .entry("updated_at")
            .or_insert_with(|| Value::from(now));
    }
    known
}

/// The time now, as rows hold it.
pub fn now_text() -> String {
    crate::auth::calendar::text(now_us())
}

/// Microseconds since 1970.
pub fn now_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    })
}

#[cfg(test)]
mod battery;
