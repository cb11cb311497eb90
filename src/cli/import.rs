//! `shardgate import litellm`: what a database of LiteLLM's holds, and what of it will work here. The
//! database is used as it is, so nothing is copied and nothing is written.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::remote::table;
use super::{complain, say};
use crate::auth::calendar;
use crate::coordinator::check_model;
use crate::directory::text;
use crate::store::secret::SecretBox;
use crate::store::{
    Command, Postgres, PostgresOptions, Row, Store, StoreError, Table, now_us, query,
};

/// From where.
#[derive(clap::Subcommand, Debug)]
pub(super) enum From {
    /// A database of LiteLLM Proxy's.
    Litellm(Place),
}

/// Which database, and what its secrets were sealed with.
#[derive(clap::Args, Debug)]
pub(super) struct Place {
    /// The Postgres URL.
    #[arg(long = "database-url", env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// What LiteLLM sealed secrets with: its LITELLM_SALT_KEY, or else its master key.
    #[arg(long = "salt-key", env = "LITELLM_SALT_KEY", hide_env_values = true)]
    salt_key: Option<String>,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

/// Things of LiteLLM's database that have rows and that nothing here reads.
const NOT_SERVED: [(&str, &str); 8] = [
    ("LiteLLM_MCPServerTable", "MCP servers"),
    ("LiteLLM_AgentsTable", "agents"),
    ("LiteLLM_GuardrailsTable", "guardrails"),
    ("LiteLLM_PromptTable", "prompts"),
    ("LiteLLM_PolicyTable", "policies"),
    ("LiteLLM_SearchToolsTable", "search tools"),
    ("LiteLLM_ManagedVectorStoresTable", "vector stores"),
    ("LiteLLM_SSOConfig", "single sign-on of the admin UI"),
];

/// One line of the report.
struct Line {
    what: &'static str,
    count: u64,
    /// Nothing needs to be done.
    works: bool,
    says: String,
}

/// Looks; exit code 0 when all of it works, 1 when something does not or the database cannot be read.
pub(super) fn run(from: &From) -> ExitCode {
    let From::Litellm(place) = from;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let looked = match runtime {
        Ok(runtime) => runtime.block_on(look(place)),
        Err(error) => Err(StoreError::Unavailable(error.to_string())),
    };
    let lines = match looked {
        Ok(lines) => lines,
        Err(error) => {
            complain(&format!("error: {error}"));
            return ExitCode::FAILURE;
        }
    };
    show(&lines, place.json);
    match lines.iter().all(|line| line.works) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn show(lines: &[Line], as_json: bool) {
    if as_json {
        let one = |line: &Line| json!({"what": line.what, "count": line.count, "works": line.works, "says": line.says});
        say(&format!("{:#}", lines.iter().map(one).collect::<Value>()));
        return;
    }
    let row = |line: &Line| {
        let mark = if line.works { "works" } else { "LOOK" };
        vec![
            line.what.to_owned(),
            line.count.to_string(),
            mark.to_owned(),
            line.says.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = lines.iter().map(row).collect();
    table(&["WHAT", "ROWS", "", "NOTE"], &rows);
    say("");
    say(
        "Nothing was changed. To serve it, set general_settings.database_url (and LITELLM_SALT_KEY) and start.",
    );
}

async fn look(place: &Place) -> Result<Vec<Line>, StoreError> {
    const TIMEOUT: Duration = Duration::from_secs(60);
    let options = PostgresOptions {
        url: place.database_url.clone(),
        connections_max: 2,
        timeout: TIMEOUT,
    };
    let postgres = Postgres::new(&options)?;
    let store: &dyn Store = &postgres;
    let missing = store.missing().await?;
    let mut lines = vec![Line {
        what: "schema",
        count: missing.len() as u64,
        works: true,
        says: match missing.len() {
            0 => "complete".to_owned(),
            _ => {
                "additions that the first start makes (shardgate db migrate); nothing else changes"
                    .to_owned()
            }
        },
    }];
    // A table that an old database lacks cannot be asked.
    let has = |table: Table| !missing.iter().any(|name| name == table.name());
    let lacks_columns = |table: Table| {
        let head = format!("{}.", table.name());
        missing.iter().any(|name| name.starts_with(&head))
    };
    if has(Table::KEYS) {
        lines.push(keys(&all(store, Table::KEYS).await?));
    }
    let plain = [
        (Table::USERS, "users"),
        (Table::TEAMS, "teams"),
        (Table::TEAM_MEMBERS, "team members"),
        (Table::ORGANIZATIONS, "organizations"),
        (Table::BUDGETS, "budgets"),
        (Table::END_USERS, "end users"),
        (Table::TAGS, "tags"),
        (Table::SPEND_LOGS, "calls"),
    ];
    for (table, what) in plain {
        if has(table) && !lacks_columns(table) {
            let says = String::new();
            let count = count(store, table).await?;
            lines.push(Line {
                what,
                count,
                works: true,
                says,
            });
        }
    }
    let secrets = SecretBox::new(place.salt_key.as_deref().unwrap_or_default());
    if has(Table::MODELS) {
        lines.push(models(&all(store, Table::MODELS).await?, &secrets));
    }
    if has(Table::CREDENTIALS) {
        lines.push(credentials(
            &all(store, Table::CREDENTIALS).await?,
            &secrets,
        ));
    }
    if has(Table::CONFIG) {
        lines.push(settings(&all(store, Table::CONFIG).await?));
    }
    lines.extend(others(store).await?);
    Ok(lines)
}

async fn all(store: &dyn Store, table: Table) -> Result<Vec<Row>, StoreError> {
    const ROWS_MAX: u64 = 1_000_000;
    let list = Command::List {
        table,
        filter: Row::new(),
        newest: false,
        limit: ROWS_MAX,
        offset: 0,
    };
    store.rows(list).await
}

async fn count(store: &dyn Store, table: Table) -> Result<u64, StoreError> {
    let row = store.row(Command::Count(table, Row::new())).await?;
    Ok(row.and_then(|row| row.get("count")?.as_u64()).unwrap_or(0))
}

fn keys(rows: &[Row]) -> Line {
    let now = now_us();
    let expired = |row: &&Row| {
        let ends = text(row, "expires").and_then(|text| calendar::parse(&text));
        ends.is_some_and(|ends| ends <= now)
    };
    let blocked = |row: &&Row| row.get("blocked") == Some(&Value::from(true));
    let (expired, blocked) = (
        rows.iter().filter(expired).count(),
        rows.iter().filter(blocked).count(),
    );
    Line {
        what: "keys",
        count: rows.len() as u64,
        works: true,
        says: format!("{expired} expired, {blocked} blocked; all others work at once"),
    }
}

/// A JSON column, which may be stored as a text.
fn column(row: &Row, name: &str) -> Value {
    match row.get(name) {
        Some(Value::String(inner)) => serde_json::from_str(inner).unwrap_or_default(),
        Some(value) => value.clone(),
        None => Value::Null,
    }
}

/// Reasons with how often and an example.
fn reasons(reasons: BTreeMap<String, (usize, String)>) -> String {
    let one = |(why, (count, name)): (String, (usize, String))| format!("{count} as {name}: {why}");
    reasons.into_iter().map(one).collect::<Vec<_>>().join("; ")
}

fn models(rows: &[Row], secrets: &SecretBox) -> Line {
    let mut wrong: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for row in rows {
        let name = text(row, "model_name").unwrap_or_default();
        let mut info = column(row, "model_info");
        if !info.is_object() {
            info = json!({});
        }
        let checked = secrets
            .open_all(&column(row, "litellm_params"))
            .and_then(|params| {
                check_model(&name, &params, &info).map_err(|errors| errors.join(", "))
            });
        if let Err(why) = checked {
            let entry = wrong.entry(why).or_insert((0, name));
            entry.0 += 1;
        }
    }
    let works = wrong.is_empty();
    let says = match works {
        true if rows.is_empty() => String::new(),
        true => "served with general_settings.store_model_in_db: true".to_owned(),
        false => reasons(wrong),
    };
    Line {
        what: "models",
        count: rows.len() as u64,
        works,
        says,
    }
}

fn credentials(rows: &[Row], secrets: &SecretBox) -> Line {
    let mut wrong: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for row in rows {
        if let Err(why) = secrets.open_all(&column(row, "credential_values")) {
            let name = text(row, "credential_name").unwrap_or_default();
            wrong.entry(why).or_insert((0, name)).0 += 1;
        }
    }
    let works = wrong.is_empty();
    Line {
        what: "credentials",
        count: rows.len() as u64,
        works,
        says: reasons(wrong),
    }
}

/// Stored sections with parameters whose effect is not there.
fn settings(rows: &[Row]) -> Line {
    let sections: serde_json::Map<String, Value> = rows
        .iter()
        .filter_map(|row| Some((text(row, "param_name")?, column(row, "param_value"))))
        .filter(|(name, _)| {
            crate::coordinator::SECTIONS.contains(&name.as_str()) && name != "environment_variables"
        })
        .collect();
    let count = sections.len() as u64;
    let file = Value::Object(sections).to_string();
    let env = |name: &str| std::env::var(name).ok();
    let (works, says) = match shardgate_config::parse(
        &file,
        "database",
        &env,
        shardgate_config::Options::default(),
    ) {
        Ok(loaded) if loaded.not_in_force.is_empty() => (true, String::new()),
        Ok(loaded) => (
            false,
            format!("no effect yet: {}", loaded.not_in_force.join(", ")),
        ),
        Err(errors) => (
            false,
            errors
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; "),
        ),
    };
    Line {
        what: "settings",
        count,
        works,
        says,
    }
}

async fn others(store: &dyn Store) -> Result<Vec<Line>, StoreError> {
    let rows = store
        .rows(Command::Ask(&query::TABLES_IN_USE, Vec::new()))
        .await?;
    let count = |name: &str| {
        let row = rows
            .iter()
            .find(|row| text(row, "table").as_deref() == Some(name));
        row.and_then(|row| row.get("count")?.as_u64()).unwrap_or(0)
    };
    let used = NOT_SERVED.into_iter().filter(|(table, _)| count(table) > 0);
    Ok(used
        .map(|(table, what)| Line {
            what,
            count: count(table),
            works: false,
            says: "stay in the database and are not served".to_owned(),
        })
        .collect())
}
