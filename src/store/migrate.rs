//! Statements that create what a database lacks: tables and columns of the schema's facts, in both
//! dialects. Only ever additions; what exists is never changed.

use std::collections::{BTreeMap, BTreeSet};

use super::schema::{Column, Kind, SCHEMA, Shape};
use super::table::Table;

/// How far each writer of spend has come; ours, beside LiteLLM's tables.
pub(super) const LEDGER: &str = "Shardgate_Ledger";
/// Creates [`LEDGER`]; the same in both dialects.
pub(super) const CREATE_LEDGER: &str = "CREATE TABLE IF NOT EXISTS \"Shardgate_Ledger\" \
    (\"writer\" TEXT PRIMARY KEY, \"position\" BIGINT NOT NULL)";

/// What a database has: its tables and their columns.
pub(super) type Present = BTreeMap<String, BTreeSet<String>>;

/// The dialect of a statement.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Postgres,
    Sqlite,
}

/// Tables and columns that the gateway itself needs and that are not there.
pub(super) fn missing(present: &Present) -> Vec<String> {
    let mut missing = Vec::new();
    for table in Table::ALL {
        let Some(have) = present.get(table.name()) else {
            missing.push(table.name().to_owned());
            continue;
        };
        let lacks = table
            .shape()
            .known()
            .filter(|column| !have.contains(&column.name));
        missing.extend(lacks.map(|column| format!("{}.{}", table.name(), column.name)));
    }
    if !present.contains_key(LEDGER) {
        missing.push(LEDGER.to_owned());
    }
    missing
}

/// One step of a migration.
pub(super) struct Step {
    /// `"table"` or `"table.column"`; empty for indexes and constraints.
    pub what: String,
    /// The statement.
    pub statement: String,
}

/// Everything to do, in order.
pub(super) fn steps(present: &Present, dialect: Dialect) -> Vec<Step> {
    let mut steps = Vec::new();
    let new: Vec<&Shape> = SCHEMA
        .values()
        .filter(|shape| !present.contains_key(&shape.name))
        .collect();
    if dialect == Dialect::Postgres && new.iter().any(|s| s.name == "LiteLLM_CronJob") {
        steps.push(Step {
            what: String::new(),
            statement: JOB_STATUS.to_owned(),
        });
    }
    for shape in &new {
        if dialect == Dialect::Postgres {
            let serials = shape.columns.iter().filter(|column| column.is_serial());
            steps.extend(serials.map(|column| quiet(sequence(shape, column))));
        }
        steps.push(Step {
            what: shape.name.clone(),
            statement: create(shape, dialect),
        });
    }
    for shape in SCHEMA.values() {
        let Some(have) = present.get(&shape.name) else {
            continue;
        };
        for column in shape
            .columns
            .iter()
            .filter(|column| !have.contains(&column.name))
        {
            steps.push(Step {
                what: format!("{}.{}", shape.name, column.name),
                statement: add_column(shape, column, dialect),
            });
        }
    }
    for shape in &new {
        steps.extend(
            shape
                .indexes
                .iter()
                .filter_map(|(name, definition, unique)| {
                    index(shape, name, definition, *unique, dialect).map(quiet)
                }),
        );
        if dialect == Dialect::Postgres {
            steps.extend(shape.foreign_keys.iter().map(|(name, definition)| {
                quiet(format!(
                    "ALTER TABLE \"{}\" ADD CONSTRAINT \"{name}\" {definition}",
                    shape.name
                ))
            }));
        }
    }
    if !present.contains_key(LEDGER) {
        steps.push(Step {
            what: LEDGER.to_owned(),
            statement: CREATE_LEDGER.to_owned(),
        });
    }
    steps
}

const JOB_STATUS: &str = "DO $$ BEGIN \
    CREATE TYPE \"JobStatus\" AS ENUM ('ACTIVE', 'INACTIVE'); \
    EXCEPTION WHEN duplicate_object THEN NULL; END $$";

fn quiet(statement: String) -> Step {
    Step {
        what: String::new(),
        statement,
    }
}

fn sequence(shape: &Shape, column: &Column) -> String {
    format!(
        "CREATE SEQUENCE IF NOT EXISTS \"{}_{}_seq\"",
        shape.name, column.name
    )
}

fn create(shape: &Shape, dialect: Dialect) -> String {
    let mut parts: Vec<String> = shape
        .columns
        .iter()
        .map(|column| define(column, dialect))
        .collect();
    let serial = shape
        .columns
        .iter()
        .any(|column| column.is_serial() && column.key);
    let key: Vec<String> = shape
        .key()
        .map(|column| format!("\"{}\"", column.name))
        .collect();
    if !key.is_empty() && (!serial || dialect != Dialect::Sqlite) {
        let name = match dialect {
            Dialect::Postgres => format!("CONSTRAINT \"{}_pkey\" ", shape.name),
            Dialect::Sqlite => String::new(),
        };
        parts.push(format!("{name}PRIMARY KEY ({})", key.join(", ")));
    }
    if dialect == Dialect::Sqlite {
        parts.extend(
            shape
                .foreign_keys
                .iter()
                .map(|(_, definition)| definition.clone()),
        );
    }
    format!(
        "CREATE TABLE IF NOT EXISTS \"{}\" ({})",
        shape.name,
        parts.join(", ")
    )
}

fn define(column: &Column, dialect: Dialect) -> String {
    let name = &column.name;
    let required = if column.nullable { "" } else { " NOT NULL" };
    match dialect {
        Dialect::Postgres => {
            let default = match column.default.as_str() {
                "" => String::new(),
                text => format!(" DEFAULT {text}"),
            };
            format!("\"{name}\" {}{required}{default}", postgres_type(column))
        }
        Dialect::Sqlite if column.is_serial() && column.key => {
            format!("\"{name}\" INTEGER PRIMARY KEY")
        }
        Dialect::Sqlite => format!("\"{name}\" {}{required}", sqlite_type(column.kind)),
    }
}

fn postgres_type(column: &Column) -> &str {
    match column.kind {
        Kind::List => "text[]",
        // Prisma's precision; `timestamp` alone would keep microseconds.
        Kind::Time => "timestamp(3) without time zone",
        Kind::Other => "\"JobStatus\"",
        _ => &column.type_name,
    }
}

fn sqlite_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Float => "REAL",
        Kind::Integer | Kind::Big | Kind::Bool => "INTEGER",
        Kind::Bytes => "BLOB",
        _ => "TEXT",
    }
}

/// A new column of a table that has rows: it must be allowed to be absent where it has no default.
fn add_column(shape: &Shape, column: &Column, dialect: Dialect) -> String {
    let exists = if dialect == Dialect::Postgres {
        "IF NOT EXISTS "
    } else {
        ""
    };
    let definition = match dialect {
        Dialect::Postgres if column.default.is_empty() => {
            format!("\"{}\" {}", column.name, postgres_type(column))
        }
        Dialect::Postgres => define(column, dialect),
        Dialect::Sqlite => format!("\"{}\" {}", column.name, sqlite_type(column.kind)),
    };
    format!(
        "ALTER TABLE \"{}\" ADD COLUMN {exists}{definition}",
        shape.name
    )
}

fn index(
    shape: &Shape,
    name: &str,
    definition: &str,
    unique: bool,
    dialect: Dialect,
) -> Option<String> {
    let table = &shape.name;
    let unique = if unique { "UNIQUE " } else { "" };
    match dialect {
        Dialect::Postgres => Some(format!(
            "CREATE {unique}INDEX IF NOT EXISTS \"{name}\" ON \"{table}\" USING {definition}"
        )),
        Dialect::Sqlite => {
            let columns = definition.strip_prefix("btree ")?;
            let plain = !columns.contains("::") && !columns.contains("NULLS");
            // One that only begins another would be written for every row and never needed.
            let begins = format!("{}, ", definition.trim_end_matches(')'));
            let spare = unique.is_empty()
                && shape
                    .indexes
                    .iter()
                    .any(|(_, other, _)| other.starts_with(&begins));
            (plain && !spare).then(|| {
                format!("CREATE {unique}INDEX IF NOT EXISTS \"{name}\" ON \"{table}\" {columns}")
            })
        }
    }
}
