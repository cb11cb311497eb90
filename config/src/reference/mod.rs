//! What is made from the rows besides the parser: the reference page, the JSON schema and the
//! example that sets every parameter.
//!
//! All three are committed, and a test compares them with what these functions return. After a
//! change of a row: `cargo run -p shardgate-config --example generate`.

mod example;
mod markdown;
mod schema;

pub use example::every_parameter;
pub use markdown::parameters;
pub use schema::json_schema;

use crate::row::{Kind, Row, Table};
use crate::rows::ROOT;

/// Every map with rows, with its path, outer before inner, each once: where two parameters share
/// a map, the first is its home.
pub fn tables() -> Vec<(String, &'static Table)> {
    let mut found: Vec<(String, &'static Table)> = Vec::new();
    let mut waiting: Vec<(String, &'static Table)> = vec![(String::new(), &ROOT)];
    while let Some((path, table)) = waiting.pop() {
        if found.iter().any(|(_, known)| std::ptr::eq(*known, table)) {
            continue;
        }
        let inner: Vec<_> = table
            .rows
            .iter()
            .filter_map(|row| inside(&path, row))
            .collect();
        waiting.extend(inner.into_iter().rev());
        found.push((path, table));
    }
    found
}

fn inside(path: &str, row: &Row) -> Option<(String, &'static Table)> {
    let (table, ending) = table_of(&row.kind)?;
    Some((
        format!("{}{ending}", crate::environment::join(path, row.name)),
        table,
    ))
}

/// The map inside a kind, and how a path goes on to it.
fn table_of(kind: &Kind) -> Option<(&'static Table, &'static str)> {
    match kind {
        Kind::Table(table) => Some((table, "")),
        Kind::List(Kind::Table(table)) | Kind::Many(Kind::Table(table)) => Some((table, "[]")),
        Kind::Map(Kind::Table(table)) => Some((table, ".NAME")),
        _ => None,
    }
}
