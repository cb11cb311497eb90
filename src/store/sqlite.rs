//! The embedded store: LiteLLM's tables in one SQLite file, on a thread of its own.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::mpsc;

use rusqlite::types::{ToSql, ToSqlOutput, Value as Sql, ValueRef};
use rusqlite::{Connection, Statement, params_from_iter};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::migrate::{self, Dialect, Present};
use super::schema::{Column, Kind};
use super::spend::{Addition, Batch, CallColumns, Content, Mark, ahead, effects, renamed, row_of};
use super::{Answers, Command, Doing, Row, Store, StoreError, Table, changed, completed, now_text};
use crate::spend::record::CallRecord;
use crate::spend::row::{Cell, SpendRow};

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The embedded store.
pub struct Sqlite {
    jobs: mpsc::Sender<Job>,
}

impl Sqlite {
    /// Opens or creates the file at `path`; `None` keeps everything in memory.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: Option<&Path>) -> Result<Sqlite, StoreError> {
        let path: Option<PathBuf> = path.map(Path::to_owned);
        let (jobs, inbox) = mpsc::channel::<Job>();
        let mut connection = connect(path.as_deref()).map_err(refused)?;
        let thread = std::thread::Builder::new().name("store".to_owned());
        thread
            .spawn(move || {
                shardgate_io::shard::give_way_to_shards();
                while let Ok(job) = inbox.recv() {
                    job(&mut connection);
                }
            })
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Ok(Sqlite { jobs })
    }

    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Doing<'_, T> {
        let (done, answer) = oneshot::channel();
        let sent = self.jobs.send(Box::new(move |connection| {
            let _ = done.send(work(connection));
        }));
        Box::pin(async move {
            let gone = || StoreError::Unavailable("the store's thread has ended".to_owned());
            sent.map_err(|_| gone())?;
            answer.await.map_err(|_| gone())?.map_err(refused)
        })
    }
}

fn connect(path: Option<&Path>) -> rusqlite::Result<Connection> {
    const STATEMENTS_MAX: usize = 256;
    let connection = match path {
        Some(path) => Connection::open(path)?,
        None => Connection::open_in_memory()?,
    };
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // The names of calls are spread over their whole index: 8 MiB of pages are kept, and a page that
    // many calls touch is copied from the log once in 16 MiB.
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON; \
         PRAGMA busy_timeout = 5000; PRAGMA cache_size = -8192; PRAGMA wal_autocheckpoint = 4096;",
    )?;
    Ok(connection)
}

fn refused(error: rusqlite::Error) -> StoreError {
    match &error {
        rusqlite::Error::SqliteFailure(code, _)
            if matches!(
                code.code,
                rusqlite::ErrorCode::DatabaseBusy
                    | rusqlite::ErrorCode::DiskFull
                    | rusqlite::ErrorCode::CannotOpen
                    | rusqlite::ErrorCode::SystemIoFailure
            ) =>
        {
            StoreError::Unavailable(error.to_string())
        }
        _ => StoreError::Refused(error.to_string()),
    }
}

impl Store for Sqlite {
    fn transact(&self, commands: Vec<Command>) -> Doing<'_, Answers> {
        self.run(move |connection| {
            let transaction = connection.transaction()?;
            let now = now_text();
            let answers = commands
                .into_iter()
                .map(|command| execute(&transaction, command, &now))
                .collect::<rusqlite::Result<Answers>>()?;
            transaction.commit()?;
            Ok(answers)
        })
    }

    fn missing(&self) -> Doing<'_, Vec<String>> {
        self.run(|connection| Ok(migrate::missing(&present(connection)?)))
    }

    fn migrate(&self) -> Doing<'_, Vec<String>> {
        self.run(|connection| {
            let transaction = connection.transaction()?;
            let steps = migrate::steps(&present(&transaction)?, Dialect::Sqlite);
            for step in &steps {
                transaction.execute(&step.statement, [])?;
            }
            transaction.commit()?;
            Ok(steps
                .into_iter()
                .map(|step| step.what)
                .filter(|what| !what.is_empty())
                .collect())
        })
    }

    fn next_change(&self) -> Pin<Box<dyn Future<Output = Option<String>> + Send + '_>> {
        Box::pin(async { None })
    }

    fn announce(&self, _: String) -> Doing<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn name(&self) -> &'static str {
        "sqlite"
    }
}

fn present(connection: &Connection) -> rusqlite::Result<Present> {
    let mut statement = connection.prepare(
        "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c \
         WHERE m.type = 'table'",
    )?;
    let mut found: Present = BTreeMap::new();
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        found.entry(row.get(0)?).or_default().insert(row.get(1)?);
    }
    Ok(found)
}

fn execute(connection: &Connection, command: Command, now: &str) -> rusqlite::Result<Vec<Row>> {
    match command {
        Command::Get(table, key) => rows(connection, table, &table.sqlite().get, texts(key)),
        Command::List {
            table,
            filter,
            newest,
            limit,
            offset,
        } => {
            let statements = table.sqlite();
            let statement = if newest {
                &statements.list_newest
            } else {
                &statements.list
            };
            let bounds = [integer(limit), integer(offset)];
            let values = std::iter::once(Sql::from(Value::Object(filter).to_string()));
            rows(connection, table, statement, values.chain(bounds).collect())
        }
        Command::Count(table, filter) => {
            let mut statement = connection.prepare_cached(&table.sqlite().count)?;
            let count: i64 =
                statement.query_row([Value::Object(filter).to_string()], |row| row.get(0))?;
            Ok(vec![Row::from_iter([("count".to_owned(), json!(count))])])
        }
        Command::Insert(table, row) => write(connection, table, &table.sqlite().insert, row, now),
        Command::Put(table, row) => write(connection, table, &table.sqlite().put, row, now),
        Command::Update(table, key, changes) => update(connection, table, key, changes, now),
        Command::Delete(table, key) => rows(connection, table, &table.sqlite().delete, texts(key)),
        Command::Ask(query, parameters) => {
            let mut statement = connection.prepare_cached(query.sqlite)?;
            let mut rows = statement.query(params_from_iter(parameters))?;
            let mut answers = Vec::new();
            while let Some(row) = rows.next()? {
                let text: String = row.get(0)?;
                answers.extend(parse_object(&text));
            }
            Ok(answers)
        }
        Command::Spend(batch) => record(connection, batch, now),
    }
}

fn parse_object(text: &str) -> Option<Row> {
    serde_json::from_str(text).ok()
}

fn texts(parts: Vec<String>) -> Vec<Sql> {
    parts.into_iter().map(Sql::from).collect()
}

fn integer(number: u64) -> Sql {
    Sql::from(i64::try_from(number).unwrap_or(i64::MAX))
}

fn rows(
    connection: &Connection,
    table: Table,
    statement: &str,
    values: Vec<Sql>,
) -> rusqlite::Result<Vec<Row>> {
    let mut statement = connection.prepare_cached(statement)?;
    read(&mut statement, table, values)
}

fn read(statement: &mut Statement, table: Table, values: Vec<Sql>) -> rusqlite::Result<Vec<Row>> {
    let mut rows = statement.query(params_from_iter(values))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let columns = table.shape().known().enumerate();
        let one: rusqlite::Result<Row> = columns
            .map(|(at, column)| Ok((column.name.clone(), to_json(column, row.get_ref(at)?))))
            .collect();
        found.push(one?);
    }
    Ok(found)
}

fn to_json(column: &Column, value: ValueRef) -> Value {
    match (column.kind, value) {
        (Kind::Bool, ValueRef::Integer(number)) => Value::from(number != 0),
        (Kind::Float, ValueRef::Integer(number)) => Value::from(number as f64),
        (_, ValueRef::Integer(number)) => Value::from(number),
        (_, ValueRef::Real(number)) => Value::from(number),
        (Kind::Json | Kind::List, ValueRef::Text(text)) => {
            serde_json::from_slice(text).unwrap_or(Value::Null)
        }
        (_, ValueRef::Text(text)) => Value::from(String::from_utf8_lossy(text)),
        _ => Value::Null,
    }
}

fn to_sql(column: &Column, value: Option<Value>) -> Sql {
    match (column.kind, value) {
        (_, None | Some(Value::Null)) => Sql::Null,
        (Kind::Json | Kind::List, Some(value)) => Sql::from(value.to_string()),
        (Kind::Float, Some(value)) => value.as_f64().map_or(Sql::Null, Sql::from),
        (_, Some(Value::Bool(yes))) => Sql::from(yes),
        (_, Some(Value::Number(number))) => match number.as_i64() {
            Some(whole) => Sql::from(whole),
            None => number.as_f64().map_or(Sql::Null, Sql::from),
        },
        (_, Some(Value::String(text))) => Sql::from(text),
        (_, Some(other)) => Sql::from(other.to_string()),
    }
}

/// The values of all written columns, in their order.
fn values(table: Table, mut row: Row) -> Vec<Sql> {
    let written = table.shape().known().filter(|column| !column.is_serial());
    written
        .map(|column| to_sql(column, row.remove(&column.name)))
        .collect()
}

fn write(
    connection: &Connection,
    table: Table,
    statement: &str,
    row: Row,
    now: &str,
) -> rusqlite::Result<Vec<Row>> {
    rows(
        connection,
        table,
        statement,
        values(table, completed(table, row, now)),
    )
}

fn update(
    connection: &Connection,
    table: Table,
    key: Vec<String>,
    changes: Row,
    now: &str,
) -> rusqlite::Result<Vec<Row>> {
    let statements = table.sqlite();
    let Some(mut row) = rows(connection, table, &statements.get, texts(key.clone()))?.pop() else {
        return Ok(Vec::new());
    };
    row.extend(changed(table, changes, now));
    let mut bound = values(table, row);
    bound.extend(texts(key));
    rows(connection, table, &statements.update, bound)
}

fn record(connection: &Connection, batch: Batch, now: &str) -> rusqlite::Result<Vec<Row>> {
    if !advance(connection, &batch.mark)? {
        return Ok(ahead());
    }
    let records: Vec<CallRecord<'_>> = batch.calls.iter().collect();
    if batch.keep_rows {
        let mut insert = connection.prepare_cached(&Table::SPEND_LOGS.sqlite().add_row)?;
        let columns = CallColumns::new(now);
        for record in &records {
            if !add_call(&mut insert, &columns, row_of(record))?
                && let Some(row) = renamed(record)
            {
                add_call(&mut insert, &columns, row)?;
            }
        }
    }
    if !batch.totals {
        return Ok(Vec::new());
    }
    let effects = effects(records.iter(), batch.end_users);
    for addition in &effects.additions {
        add(connection, addition)?;
    }
    for (table, row) in effects.days {
        let row = completed(table, row, now);
        connection
            .prepare_cached(&table.sqlite().add)?
            .execute(params_from_iter(values(table, row)))?;
    }
    Ok(Vec::new())
}

/// Whether the row is new.
fn add_call(
    statement: &mut Statement,
    columns: &CallColumns,
    row: SpendRow<'_>,
) -> rusqlite::Result<bool> {
    for ((_, content), place) in columns.cells(row).zip(1..) {
        statement.raw_bind_parameter(place, content)?;
    }
    Ok(statement.raw_execute()? == 1)
}

impl ToSql for Content<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let owned = |value| Ok(ToSqlOutput::Owned(value));
        match self {
            Content::Said(Cell::Null) | Content::Default(Value::Null) => owned(Sql::Null),
            Content::Said(Cell::Text(text)) => borrowed(text),
            Content::Default(Value::String(text)) => borrowed(text),
            Content::Said(Cell::Whole(number)) => owned(Sql::from(*number)),
            Content::Said(Cell::Real(number)) => owned(Sql::from(*number)),
            Content::Default(Value::Bool(yes)) => owned(Sql::from(*yes)),
            Content::Default(Value::Number(number)) => owned(match number.as_i64() {
                Some(whole) => Sql::from(whole),
                None => number.as_f64().map_or(Sql::Null, Sql::from),
            }),
            tree => owned(Sql::from(serde_json::to_string(tree).unwrap_or_default())),
        }
    }
}

fn borrowed(text: &str) -> rusqlite::Result<ToSqlOutput<'_>> {
    Ok(ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())))
}

/// Whether all of the batch is new.
fn advance(connection: &Connection, mark: &Mark) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO \"Shardgate_Ledger\" AS l (\"writer\", \"position\") VALUES (?1, ?2) \
         ON CONFLICT (\"writer\") DO UPDATE SET \"position\" = EXCLUDED.\"position\" \
         WHERE l.\"position\" <= ?3 AND l.\"position\" < EXCLUDED.\"position\"",
    )?;
    Ok(statement.execute(rusqlite::params![mark.writer, mark.to, mark.from])? == 1)
}

fn add(connection: &Connection, addition: &Addition) -> rusqlite::Result<()> {
    let Addition { table, key, spend } = addition;
    let Some(statement) = increment(*table) else {
        return Ok(());
    };
    let values = std::iter::once(Sql::from(*spend)).chain(texts(key.clone()));
    connection
        .prepare_cached(statement)?
        .execute(params_from_iter(values))?;
    Ok(())
}

fn increment(table: Table) -> Option<&'static str> {
    Some(match table {
        Table::KEYS => {
            "UPDATE \"LiteLLM_VerificationToken\" SET \"spend\" = \"spend\" + ?1, \
             \"total_spend\" = \"total_spend\" + ?1, \
             \"last_active\" = strftime('%Y-%m-%dT%H:%M:%f', 'now') WHERE \"token\" = ?2"
        }
        Table::TEAMS => {
            "UPDATE \"LiteLLM_TeamTable\" SET \"spend\" = \"spend\" + ?1 WHERE \"team_id\" = ?2"
        }
        Table::TEAM_MEMBERS => {
            "UPDATE \"LiteLLM_TeamMembership\" SET \"spend\" = \"spend\" + ?1, \
             \"total_spend\" = \"total_spend\" + ?1 WHERE \"user_id\" = ?2 AND \"team_id\" = ?3"
        }
        Table::USERS => {
            "UPDATE \"LiteLLM_UserTable\" SET \"spend\" = \"spend\" + ?1 WHERE \"user_id\" = ?2"
        }
        Table::ORGANIZATIONS => {
            "UPDATE \"LiteLLM_OrganizationTable\" SET \"spend\" = \"spend\" + ?1 \
             WHERE \"organization_id\" = ?2"
        }
        Table::ORGANIZATION_MEMBERS => {
            "UPDATE \"LiteLLM_OrganizationMembership\" SET \"spend\" = coalesce(\"spend\", 0) + ?1 \
             WHERE \"user_id\" = ?2 AND \"organization_id\" = ?3"
        }
        Table::END_USERS => {
            "INSERT INTO \"LiteLLM_EndUserTable\" AS t (\"user_id\", \"spend\", \"blocked\", \"models\") \
             VALUES (?2, ?1, 0, '[]') ON CONFLICT (\"user_id\") DO UPDATE SET \"spend\" = t.\"spend\" + ?1"
        }
        Table::TAGS => {
            "UPDATE \"LiteLLM_TagTable\" SET \"spend\" = \"spend\" + ?1 WHERE \"tag_name\" = ?2"
        }
        _ => return None,
    })
}
