//! `PARAMETERS.md`.

use std::fmt::Write as _;

use super::{table_of, tables};
use crate::row::{Default, Effect, Kind, Row};

const HEAD: &str = "# Parameters

Every parameter of `config.yaml`, made from the rows that the parser itself uses
(`cargo run -p shardgate-config --example generate`).

- `os.environ/NAME` as a value, at any depth, is the environment variable NAME.
- Seconds are a number, or a string with a unit: `2000ms`, `10s`, `5m`, `1h`.
- *Later* under \"in force\" means: read and checked, without an effect yet. The start-up log names
  what is set and not in force.
- *Ours* marks parameters that LiteLLM does not know.
";

/// The reference page.
pub fn parameters() -> String {
    let mut page = String::from(HEAD);
    for (path, table) in tables() {
        let title = if path.is_empty() {
            String::from("The file")
        } else {
            format!("`{path}`")
        };
        let level = if path.contains(['.', '[']) {
            "###"
        } else {
            "##"
        };
        let _ = write!(page, "\n{level} {title}\n\n{}\n\n", table.doc);
        if table.open {
            page.push_str("Other names are kept as they are.\n\n");
        }
        page.push_str("| parameter | takes | default | environment | in force | effect |\n");
        page.push_str("|---|---|---|---|---|---|\n");
        for row in table.rows {
            line(&mut page, row);
        }
    }
    page
}

fn line(page: &mut String, row: &Row) {
    let force = match row.effect {
        _ if !row.instead.is_empty() => "deprecated",
        Effect::InForce => "yes",
        Effect::Later => "later",
    };
    let mut effect = row.doc.to_owned();
    if !row.instead.is_empty() {
        let _ = write!(effect, " Use {} instead.", row.instead);
    }
    if row.ours {
        effect.push_str(" *Ours.*");
    }
    let env = row
        .env
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    let cells = [
        format!("`{}`", row.name),
        takes(&row.kind),
        default(row),
        env,
        force.to_owned(),
        effect,
    ];
    let cells = cells.map(|cell| cell.replace('|', "\\|"));
    let _ = writeln!(page, "| {} |", cells.join(" | "));
}

fn takes(kind: &Kind) -> String {
    if let Some((inner, _)) = table_of(kind) {
        let home = tables()
            .into_iter()
            .find(|(_, known)| std::ptr::eq(*known, inner));
        let home = home.map(|(path, _)| path).unwrap_or_default();
        let what = match kind {
            Kind::Table(_) => "map",
            Kind::Map(_) => "map of maps",
            _ => "list of maps",
        };
        return format!("{what}, see `{home}`");
    }
    kind.expected()
}

fn default(row: &Row) -> String {
    match row.default {
        Default::Required => String::from("required"),
        Default::Means(words) => words.to_owned(),
        Default::Unset | Default::Inner | Default::EmptyMap => String::new(),
        Default::Texts([]) => String::from("`[]`"),
        _ => row
            .default_json()
            .map(|value| format!("`{value}`"))
            .unwrap_or_default(),
    }
}
