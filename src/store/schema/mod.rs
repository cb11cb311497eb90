//! LiteLLM's schema as facts: its tables, columns, indexes and foreign keys, read from the tables
//! beside this file. It knows no SQL dialect and no connection.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;

/// What a column holds, and so how its values look in a [`super::Row`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A JSON string.
    Text,
    /// A JSON number with a fraction.
    Float,
    /// A whole number of 32 bits.
    Integer,
    /// A whole number of 64 bits.
    Big,
    /// True or false.
    Bool,
    /// A date and time in UTC, as `2026-11-25T16:31:54.123`.
    Time,
    /// Any JSON.
    Json,
    /// A list of strings.
    List,
    /// Bytes; never read or written by us.
    Bytes,
    /// A Postgres enum; never read or written by us.
    Other,
}

/// One column.
#[derive(Debug)]
pub struct Column {
    /// Its name, in its own case.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
    /// Postgres' name of the type.
    pub type_name: String,
    /// NULL is allowed.
    pub nullable: bool,
    /// The default as Postgres writes it; empty for none.
    pub default: String,
    /// Part of the primary key.
    pub key: bool,
}

impl Column {
    /// Filled by a sequence.
    pub fn is_serial(&self) -> bool {
        self.default.starts_with("nextval")
    }

    /// What a row that does not name this column gets. `now` is the time as a row holds it.
    pub fn default_value(&self, now: &str) -> Value {
        match (self.kind, self.default.as_str()) {
            (Kind::Time, "CURRENT_TIMESTAMP") => Value::from(now),
            (Kind::List, "" | "ARRAY[]::text[]") => Value::Array(Vec::new()),
            (Kind::Json, "'{}'::jsonb") => Value::Object(serde_json::Map::new()),
            (Kind::Json, "'[]'::jsonb") => Value::Array(Vec::new()),
            (Kind::Bool, text @ ("true" | "false")) => Value::from(text == "true"),
            (Kind::Integer | Kind::Big, text) => {
                text.parse::<i64>().map_or(Value::Null, Value::from)
            }
            (Kind::Float, text) => text.parse::<f64>().map_or(Value::Null, Value::from),
            (Kind::Text, text) => match text.strip_suffix("::text") {
                Some(quoted) => Value::from(quoted.trim_matches('\'')),
                None => Value::Null,
            },
            _ => Value::Null,
        }
    }
}

/// One table.
#[derive(Debug)]
pub struct Shape {
    /// Its name, in its own case.
    pub name: String,
    /// Its columns, in their order.
    pub columns: Vec<Column>,
    /// `(name, definition, unique)`, without the primary key's.
    pub indexes: Vec<(String, String, bool)>,
    /// `(name, definition)`.
    pub foreign_keys: Vec<(String, String)>,
}

impl Shape {
    /// The primary key's columns, in the index's order.
    pub fn key(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| column.key)
    }

    /// The columns that we read and write.
    pub fn known(&self) -> impl Iterator<Item = &Column> {
        self.columns
            .iter()
            .filter(|column| !matches!(column.kind, Kind::Bytes | Kind::Other))
    }
}

/// All tables by name.
pub static SCHEMA: LazyLock<BTreeMap<String, Shape>> = LazyLock::new(read);

fn read() -> BTreeMap<String, Shape> {
    let mut tables = BTreeMap::new();
    for fields in records(include_str!("columns.tsv")) {
        let [table, name, type_name, nullable, default, key] = fields.as_slice() else {
            continue;
        };
        let shape = tables.entry(table.clone()).or_insert_with(|| Shape {
            name: table.clone(),
            columns: Vec::new(),
            indexes: Vec::new(),
            foreign_keys: Vec::new(),
        });
        shape.columns.push(Column {
            name: name.clone(),
            kind: kind(type_name),
            type_name: type_name.clone(),
            nullable: nullable == "YES",
            default: default.clone(),
            key: key == "pk",
        });
    }
    for fields in records(include_str!("indexes.tsv")) {
        let [table, name, definition, unique] = fields.as_slice() else {
            continue;
        };
        if let Some(shape) = tables.get_mut(table).filter(|_| !name.ends_with("_pkey")) {
            shape
                .indexes
                .push((name.clone(), definition.clone(), unique == "unique"));
        }
    }
    for fields in records(include_str!("foreign_keys.tsv")) {
        let [table, name, definition] = fields.as_slice() else {
            continue;
        };
        if let Some(shape) = tables.get_mut(table.trim_matches('"')) {
            shape.foreign_keys.push((name.clone(), definition.clone()));
        }
    }
    tables
}

/// The records after the heading; a field may be quoted, with its quotes doubled.
fn records(text: &str) -> impl Iterator<Item = Vec<String>> {
    text.lines()
        .skip(1)
        .map(|line| line.split('\t').map(unquoted).collect())
}

fn unquoted(field: &str) -> String {
    match field
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
    {
        Some(inner) => inner.replace("\"\"", "\""),
        None => field.to_owned(),
    }
}

fn kind(type_name: &str) -> Kind {
    match type_name {
        "text" => Kind::Text,
        "double precision" => Kind::Float,
        "integer" => Kind::Integer,
        "bigint" => Kind::Big,
        "boolean" => Kind::Bool,
        "timestamp without time zone" => Kind::Time,
        "jsonb" => Kind::Json,
        "_text" => Kind::List,
        "bytea" => Kind::Bytes,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_facts_are_read() {
        assert!(SCHEMA.len() > 90, "{}", SCHEMA.len());
        let keys = &SCHEMA["LiteLLM_VerificationToken"];
        assert_eq!(
            keys.key()
                .map(|column| column.name.as_str())
                .collect::<Vec<_>>(),
            ["token"]
        );
        let spend = keys
            .columns
            .iter()
            .find(|column| column.name == "spend")
            .unwrap();
        assert_eq!(spend.default_value(""), Value::from(0.0));
        assert!(
            keys.indexes
                .iter()
                .all(|(name, ..)| !name.ends_with("pkey"))
        );
        assert_eq!(keys.foreign_keys.len(), 4);
        let members = &SCHEMA["LiteLLM_TeamMembership"];
        assert_eq!(members.key().count(), 2);
    }

    #[test]
    fn every_default_is_understood() {
        for shape in super::super::Table::ALL.iter().map(|table| table.shape()) {
            for column in shape
                .known()
                .filter(|column| !column.nullable && !column.is_serial())
            {
                let value = column.default_value("2026-01-01T00:00:00");
                let none = column.default.is_empty() && column.kind != Kind::List;
                let literal = column.default.starts_with("'") && column.kind == Kind::Time;
                assert!(
                    !value.is_null() || none || literal,
                    "{} {column:?}",
                    shape.name
                );
            }
        }
    }
}
