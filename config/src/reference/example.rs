//! `examples/every-parameter.yaml`: each parameter once, with its default or an example, and its
//! sentence above it.

use std::fmt::Write as _;

use super::table_of;
use crate::row::{Kind, Row, Table};
use crate::rows::ROOT;

const HEAD: &str = "# Every parameter once, with its default or an example. Made from the rows by
# `cargo run -p shardgate-config --example generate`; PARAMETERS.md says more about each.
";

/// Columns of a line of the file.
const COLUMNS_MAX: usize = 100;

/// The example that sets everything.
pub fn every_parameter() -> String {
    let mut text = String::from(HEAD);
    for row in ROOT.rows {
        text.push('\n');
        parameter(&mut text, row, 0);
    }
    text
}

fn table(text: &mut String, of: &Table, indent: usize) {
    for row in of.rows {
        parameter(text, row, indent);
    }
}

fn parameter(text: &mut String, row: &Row, indent: usize) {
    comment(text, row.doc, indent);
    let margin = " ".repeat(indent);
    let Some((inner, ending)) = table_of(&row.kind).filter(|_| row.example.is_empty()) else {
        let _ = writeln!(text, "{margin}{}: {}", row.name, value(row));
        return;
    };
    let _ = writeln!(text, "{margin}{}:", row.name);
    if ending.is_empty() {
        table(text, inner, indent + 2);
        return;
    }
    let mut item = String::new();
    table(&mut item, inner, indent + 4);
    let first = " ".repeat(indent + 4);
    let dash = format!("{}- ", " ".repeat(indent + 2));
    text.push_str(&item.replacen(&first, &dash, 1));
}

fn comment(text: &mut String, doc: &str, indent: usize) {
    let margin = format!("{}#", " ".repeat(indent));
    let mut line = margin.clone();
    for word in doc.split_whitespace() {
        if line.len() + 1 + word.len() > COLUMNS_MAX {
            let _ = writeln!(text, "{line}");
            line.clone_from(&margin);
        }
        let _ = write!(line, " {word}");
    }
    let _ = writeln!(text, "{line}");
}

fn value(row: &Row) -> String {
    if !row.example.is_empty() {
        return row.example.to_owned();
    }
    match (row.default_json(), &row.kind) {
        (Some(default), _) => default.to_string(),
        (None, Kind::Bool) => String::from("true"),
        (None, Kind::Integer(min, _)) => min.to_string(),
        (None, Kind::Number(min, _) | Kind::Seconds(min, _)) => min.to_string(),
        (None, _) => String::from("null"),
    }
}
