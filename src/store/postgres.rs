//! LiteLLM's own Postgres database, read and written as LiteLLM does.
//!
//! Rows travel as JSON: Postgres turns them into its own types (`jsonb_populate_record`,
//! `to_jsonb`), so that columns we do not know stay as they are.

use std::collections::{BTreeMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Config, GenericClient};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::migrate::{self, Dialect, Present};
use super::spend::{AsObject, Batch, CallColumns, ahead, all_renamed, effects, row_of};
use super::{Answers, Command, Doing, Row, Store, StoreError, Table, changed, given, now_text};
use crate::spend::record::CallRecord;

/// How to reach it.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `database_url`.
    pub url: String,
    /// `database_connection_pool_limit`.
    pub connections_max: usize,
    /// `database_connection_timeout`.
    pub timeout: Duration,
}

/// A Postgres database.
pub struct Postgres {
    pool: Arc<Pool>,
    changes: tokio::sync::Mutex<mpsc::UnboundedReceiver<String>>,
    /// Marks our own announcements.
    instance: String,
}

/// The channel of announcements between instances.
const CHANNEL: &str = "shardgate_changes";
/// One migration at a time, over all instances; the number is arbitrary and ours.
const MIGRATION_LOCK: &str = "SELECT pg_advisory_xact_lock(7239180011)";

impl Postgres {
    /// Prepares the connections and begins to listen for other instances' changes; connects when
    /// first needed. Must be called inside the coordinator's runtime.
    ///
    /// # Errors
    /// When the URL cannot be understood.
    pub fn new(options: &PostgresOptions) -> Result<Postgres, StoreError> {
        let (mut config, tls) = parse(&options.url)?;
        config
            .connect_timeout(options.timeout)
            .application_name("shardgate");
        let pool = Arc::new(Pool {
            config,
            tls,
            free: Mutex::default(),
            places: Semaphore::new(options.connections_max.max(1)),
            timeout: options.timeout,
        });
        let instance = super::secret::uuid();
        let (heard, changes) = mpsc::unbounded_channel();
        tokio::spawn(listen(pool.clone(), instance.clone(), heard));
        Ok(Postgres {
            pool,
            changes: tokio::sync::Mutex::new(changes),
            instance,
        })
    }
}

/// Prisma's URLs carry parameters that are no Postgres parameters; `schema` becomes the search path,
/// and what is about TLS is for the connector.
fn parse(url: &str) -> Result<(Config, MakeRustlsConnect), StoreError> {
    const KNOWN: &[&str] = &[
        "application_name",
        "channel_binding",
        "connect_timeout",
        "host",
        "hostaddr",
        "keepalives",
        "keepalives_idle",
        "load_balance_hosts",
        "options",
        "port",
        "sslmode",
        "sslnegotiation",
        "target_session_attrs",
        "tcp_user_timeout",
    ];
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let pairs = || query.split('&').filter_map(|pair| pair.split_once('='));
    let kept: Vec<String> = pairs()
        .filter(|(name, _)| KNOWN.contains(name))
        .map(|(name, value)| match (name, value) {
            ("sslmode", "verify-ca" | "verify-full") => "sslmode=require".to_owned(),
            _ => format!("{name}={value}"),
        })
        .collect();
    let unclear =
        || StoreError::Refused("general_settings.database_url is no Postgres URL".to_owned());
    let mut config: Config = format!("{base}?{}", kept.join("&"))
        .parse()
        .map_err(|_| unclear())?;
    if let Some((_, schema)) = pairs().find(|(name, value)| *name == "schema" && *value != "public")
    {
        let plain = schema
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !plain {
            return Err(unclear());
        }
        config.options(format!("-c search_path={schema}"));
    }
    let parameter = |wanted: &str| {
        let (_, value) = pairs().find(|(name, _)| *name == wanted)?;
        Some(value.replace("%2F", "/").replace("%2f", "/"))
    };
    let tls = super::tls::connector(parameter).map_err(StoreError::Refused)?;
    Ok((config, tls))
}

struct Pool {
    config: Config,
    tls: MakeRustlsConnect,
    free: Mutex<Vec<Client>>,
    places: Semaphore,
    timeout: Duration,
}

/// A connection; goes back when dropped, unless it was closed.
struct Lease<'a> {
    client: Option<Client>,
    pool: &'a Pool,
    _place: SemaphorePermit<'a>,
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(client) = self.client.take().filter(|client| !client.is_closed()) {
            self.pool
                .free
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(client);
        }
    }
}

impl Pool {
    async fn lease(&self) -> Result<Lease<'_>, StoreError> {
        let busy = || {
            StoreError::Unavailable(
                "all connections are in use (general_settings.database_connection_pool_limit, \
                 database_connection_timeout)"
                    .to_owned(),
            )
        };
        let place = tokio::time::timeout(self.timeout, self.places.acquire());
        let place = place.await.map_err(|_| busy())?.map_err(|_| busy())?;
        let idle = || {
            self.free
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop()
        };
        while let Some(client) = idle() {
            if !client.is_closed() {
                return Ok(Lease {
                    client: Some(client),
                    pool: self,
                    _place: place,
                });
            }
        }
        let connecting = self.config.connect(self.tls.clone());
        let late = || StoreError::Unavailable("connecting took too long".to_owned());
        let connected = tokio::time::timeout(self.timeout, connecting)
            .await
            .map_err(|_| late())?;
        let (client, connection) = connected.map_err(failed)?;
        // The connection's task ends when its client is dropped.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Lease {
            client: Some(client),
            pool: self,
            _place: place,
        })
    }
}

fn failed(error: tokio_postgres::Error) -> StoreError {
    let Some(said) = error.as_db_error() else {
        // The driver's own words name neither password nor URL.
        let why = std::error::Error::source(&error).map(|why| format!(": {why}"));
        return StoreError::Unavailable(format!("{error}{}", why.unwrap_or_default()));
    };
    let text = format!("{}: {}", said.code().code(), said.message());
    // Classes: connection, authorization, resources, operator's intervention.
    match &said.code().code()[..2] {
        "08" | "28" | "53" | "57" => StoreError::Unavailable(text),
        _ => StoreError::Refused(text),
    }
}

impl Store for Postgres {
    fn transact(&self, commands: Vec<Command>) -> Doing<'_, Answers> {
        Box::pin(async move {
            let mut lease = self.pool.lease().await?;
            let Some(client) = lease.client.as_mut() else {
                return Ok(Vec::new());
            };
            let now = now_text();
            let reads_one = commands.len() == 1 && !matches!(commands[0], Command::Spend(_));
            if reads_one {
                let mut answers = Vec::new();
                for command in commands {
                    answers.push(execute(client, command, &now).await.map_err(failed)?);
                }
                return Ok(answers);
            }
            let transaction = client.transaction().await.map_err(failed)?;
            let mut answers = Vec::with_capacity(commands.len());
            for command in commands {
                answers.push(execute(&transaction, command, &now).await.map_err(failed)?);
            }
            transaction.commit().await.map_err(failed)?;
            Ok(answers)
        })
    }

    fn missing(&self) -> Doing<'_, Vec<String>> {
        Box::pin(async move {
            let lease = self.pool.lease().await?;
            let Some(client) = lease.client.as_ref() else {
                return Ok(Vec::new());
            };
            Ok(migrate::missing(&present(client).await.map_err(failed)?))
        })
    }

    fn migrate(&self) -> Doing<'_, Vec<String>> {
        Box::pin(async move {
            let mut lease = self.pool.lease().await?;
            let Some(client) = lease.client.as_mut() else {
                return Ok(Vec::new());
            };
            let transaction = client.transaction().await.map_err(failed)?;
            transaction
                .batch_execute(MIGRATION_LOCK)
                .await
                .map_err(failed)?;
            let found = present(&transaction).await.map_err(failed)?;
            let steps = migrate::steps(&found, Dialect::Postgres);
            for step in &steps {
                transaction
                    .batch_execute(&step.statement)
                    .await
                    .map_err(failed)?;
            }
            transaction.commit().await.map_err(failed)?;
            Ok(steps
                .into_iter()
                .map(|step| step.what)
                .filter(|what| !what.is_empty())
                .collect())
        })
    }

    fn next_change(&self) -> Pin<Box<dyn Future<Output = Option<String>> + Send + '_>> {
        Box::pin(async move { self.changes.lock().await.recv().await })
    }

    fn announce(&self, change: String) -> Doing<'_, ()> {
        Box::pin(async move {
            let lease = self.pool.lease().await?;
            let Some(client) = lease.client.as_ref() else {
                return Ok(());
            };
            let payload = format!("{}|{change}", self.instance);
            let parameters: [&(dyn ToSql + Sync); 2] = [&CHANNEL, &payload];
            client
                .query("SELECT pg_notify($1, $2)", &parameters)
                .await
                .map_err(failed)?;
            Ok(())
        })
    }

    fn name(&self) -> &'static str {
        "postgres"
    }
}

/// Passes on what other instances announce; before a connection listens anything may have changed.
async fn listen(pool: Arc<Pool>, instance: String, heard: mpsc::UnboundedSender<String>) {
    const PAUSE: Duration = Duration::from_secs(1);
    while !heard.is_closed() {
        if let Ok((client, mut connection)) = pool.config.connect(pool.tls.clone()).await {
            let missed = heard.clone();
            let subscribe = async move {
                if client
                    .batch_execute("LISTEN shardgate_changes")
                    .await
                    .is_err()
                {
                    return;
                }
                // What was announced before now was not heard.
                let _ = missed.send("*".to_owned());
                // The client must live as long as the connection.
                std::future::pending::<()>().await;
            };
            let pass_on = async {
                let mut next =
                    std::pin::pin!(std::future::poll_fn(move |cx| connection.poll_message(cx)));
                while let Some(Ok(message)) = next.as_mut().await {
                    let AsyncMessage::Notification(note) = message else {
                        continue;
                    };
                    match note.payload().split_once('|') {
                        Some((by, change)) if by != instance => {
                            let _ = heard.send(change.to_owned());
                        }
                        _ => {}
                    }
                }
            };
            tokio::select! {
                () = subscribe => {}
                () = pass_on => {}
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn present(client: &impl GenericClient) -> Result<Present, tokio_postgres::Error> {
    let rows = client
        .query(
            "SELECT table_name::text, column_name::text FROM information_schema.columns \
             WHERE table_schema = current_schema()",
            &[],
        )
        .await?;
    let mut found: Present = BTreeMap::new();
    for row in rows {
        found.entry(row.get(0)).or_default().insert(row.get(1));
    }
    Ok(found)
}

async fn execute(
    client: &impl GenericClient,
    command: Command,
    now: &str,
) -> Result<Vec<Row>, tokio_postgres::Error> {
    match command {
        Command::Get(table, key) => ask(client, &table.postgres().get, &key).await,
        Command::List {
            table,
            filter,
            newest,
            limit,
            offset,
        } => {
            let statements = table.postgres();
            let statement = if newest {
                &statements.list_newest
            } else {
                &statements.list
            };
            let filter = Value::Object(filter).to_string();
            ask(
                client,
                statement,
                &[filter, limit.to_string(), offset.to_string()],
            )
            .await
        }
        Command::Count(table, filter) => {
            let filter = Value::Object(filter).to_string();
            let row = client
                .query_one(&table.postgres().count, &[&filter])
                .await?;
            let count: i64 = row.get::<_, String>(0).parse().unwrap_or(0);
            Ok(vec![Row::from_iter([("count".to_owned(), json!(count))])])
        }
        Command::Insert(table, row) => {
            ask(
                client,
                &table.postgres().insert,
                &[records(table, std::iter::once(&row), now)],
            )
            .await
        }
        Command::Put(table, row) => {
            ask(
                client,
                &table.postgres().put,
                &[records(table, std::iter::once(&row), now)],
            )
            .await
        }
        Command::Update(table, key, changes) => {
            let changes = Value::Object(changed(table, changes, now)).to_string();
            let values: Vec<String> = std::iter::once(changes).chain(key).collect();
            ask(client, &table.postgres().update, &values).await
        }
        Command::Delete(table, key) => ask(client, &table.postgres().delete, &key).await,
        Command::Ask(query, parameters) => ask(client, query.postgres, &parameters).await,
        Command::Spend(batch) => record(client, batch, now).await,
    }
}

/// Rows of one JSON text each.
async fn ask<T: ToSql + Sync>(
    client: &impl GenericClient,
    statement: &str,
    values: &[T],
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let parameters: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as _).collect();
    let rows = client.query(statement, &parameters).await?;
    Ok(rows
        .iter()
        .filter_map(|row| serde_json::from_str(row.get(0)).ok())
        .collect())
}

/// Rows as JSON, completed as they are written: nothing is copied before.
fn records<'a>(table: Table, rows: impl Iterator<Item = &'a Row>, now: &str) -> String {
    struct Completed<'a>(Table, &'a Row, &'a str);
    impl serde::Serialize for Completed<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let Completed(table, row, now) = self;
            let columns = table.shape().known().filter(|column| !column.is_serial());
            serializer.collect_map(columns.map(|column| (&column.name, given(column, row, now))))
        }
    }
    list(rows.map(|row| Completed(table, row, now)))
}

/// A JSON array.
fn list<T: serde::Serialize>(items: impl Iterator<Item = T>) -> String {
    let mut text = Vec::new();
    let mut serializer = serde_json::Serializer::new(&mut text);
    match serde::Serializer::collect_seq(&mut serializer, items) {
        Ok(()) => String::from_utf8(text).unwrap_or_default(),
        Err(_) => String::new(),
    }
}

async fn record(
    client: &impl GenericClient,
    batch: Batch,
    now: &str,
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let mark = &batch.mark;
    let position: [&(dyn ToSql + Sync); 3] = [&mark.writer, &mark.to, &mark.from];
    if client.execute(ADVANCE, &position).await? == 0 {
        return Ok(ahead());
    }
    let calls: Vec<CallRecord<'_>> = batch.calls.iter().collect();
    if batch.keep_rows {
        let columns = CallColumns::new(now);
        let text = list(calls.iter().map(|call| AsObject(&columns, row_of(call))));
        let rows = client.query(INSERT_CALLS.as_str(), &[&text]).await?;
        let new: HashSet<String> = rows.iter().map(|row| row.get(0)).collect();
        if new.len() < calls.len() {
            let rest = all_renamed(&calls, new).into_iter();
            let text = list(rest.map(|row| AsObject(&columns, row)));
            client.query(INSERT_CALLS.as_str(), &[&text]).await?;
        }
    }
    if !batch.totals {
        return Ok(Vec::new());
    }
    let effects = effects(calls.iter(), batch.end_users);
    let mut additions: BTreeMap<Table, Vec<Value>> = BTreeMap::new();
    for addition in effects.additions {
        let second = addition.key.get(1).cloned();
        let entry = json!({"a": addition.key.first(), "b": second, "spend": addition.spend});
        additions.entry(addition.table).or_default().push(entry);
    }
    for (table, entries) in additions {
        if let Some(statement) = increment(table) {
            client
                .execute(statement, &[&Value::Array(entries).to_string()])
                .await?;
        }
    }
    let mut days: BTreeMap<Table, Vec<Row>> = BTreeMap::new();
    for (table, row) in effects.days {
        days.entry(table).or_default().push(row);
    }
    for (table, rows) in days {
        client
            .execute(&table.postgres().add, &[&records(table, rows.iter(), now)])
            .await?;
    }
    Ok(Vec::new())
}

/// The identities only: the rows themselves may be large.
static INSERT_CALLS: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
    let insert = &Table::SPEND_LOGS.postgres().insert;
    insert.replace("to_jsonb(t)::text", "t.\"request_id\"")
});

const ADVANCE: &str = "INSERT INTO \"Shardgate_Ledger\" AS l (\"writer\", \"position\") \
    VALUES ($1, $2) ON CONFLICT (\"writer\") DO UPDATE SET \"position\" = EXCLUDED.\"position\" \
    WHERE l.\"position\" <= $3 AND l.\"position\" < EXCLUDED.\"position\"";

/// Adds to the spend of many rows: `[{"a": first key column, "b": second, "spend": x}]`.
fn increment(table: Table) -> Option<&'static str> {
    Some(match table {
        Table::KEYS => {
            "UPDATE \"LiteLLM_VerificationToken\" t SET \"spend\" = t.\"spend\" + x.spend, \
             \"total_spend\" = t.\"total_spend\" + x.spend, \
             \"last_active\" = now() AT TIME ZONE 'UTC' \
             FROM jsonb_to_recordset($1::text::jsonb) AS x(a text, spend float8) \
             WHERE t.\"token\" = x.a"
        }
        Table::TEAMS => {
            "UPDATE \"LiteLLM_TeamTable\" t SET \"spend\" = t.\"spend\" + x.spend \
             FROM jsonb_to_recordset($1::text::jsonb) AS x(a text, spend float8) \
             WHERE t.\"team_id\" = x.a"
        }
        Table::TEAM_MEMBERS => {
            "UPDATE \"LiteLLM_TeamMembership\" t SET \"spend\" = t.\"spend\" + x.spend, \
             \"total_spend\" = t.\"total_spend\" + x.spend \
             FROM jsonb_to_recordset($1::text::jsonb) AS x(a text, b text, spend float8) \
             WHERE t.\"user_id\" = x.a AND t.\"team_id\" = x.b"
        }
        Table::USERS => {
            "UPDATE \"LiteLLM_UserTable\" t SET \"spend\" = t.\"spend\" + x.spend \
             FROM jsonb_to_recordset($1::text::jsonb) AS x(a text, spend float8) \
             WHERE t.\"user_id\" = x.a"
        }
        Table::ORGANIZATIONS => {
            "UPDATE \"LiteLLM_OrganizationTable\" t SET \"spend\" = t.\"spend\" + x.spend \
             FROM jsonb_to_recordset($1::text::jsonb) AS x(a text, spend float8) \
             WHERE t.\"organization_id\" = x.a"
        }
        Table::ORGANIZATION_MEMBERS => {
            "UPDATE \"LiteLLM_OrganizationMembership\" t \
             SET \"spend\" = coalesce(t.\"spend\", 0) + x.spend \
             FROM jsonb_to_recordset($1::text::jsonb) AS x(a text, b text, spend float8) \
             WHERE t.\"user_id\" = x.a AND t.\"organization_id\" = x.b"
        }
        Table::END_USERS => {
            "INSERT INTO \"LiteLLM_EndUserTable\" AS t (\"user_id\", \"spend\") \
             SELECT x.a, x.spend FROM jsonb_to_recordset($1::text::jsonb) AS x(a text, spend float8) \
             ON CONFLICT (\"user_id\") DO UPDATE SET \"spend\" = t.\"spend\" + EXCLUDED.\"spend\""
        }
        Table::TAGS => {
            "UPDATE \"LiteLLM_TagTable\" t SET \"spend\" = t.\"spend\" + x.spend \
             FROM jsonb_to_recordset($1::text::jsonb) AS x(a text, spend float8) \
             WHERE t.\"tag_name\" = x.a"
        }
        _ => return None,
    })
}
