//! A list is a table, an entry is a file: every file of a table's folder must be in that table, so
//! that nobody writes a provider, a strategy or a parameter that is never reached.

use crate::report;
use crate::source;

/// A folder of entries.
struct Table {
    folder: &'static str,
    /// The files that hold the table.
    held_in: &'static [&'static str],
    /// Files that are no entry: entries share them, or reach them themselves.
    shared: &'static [&'static str],
}

const fn table(folder: &'static str, held_in: &'static [&'static str]) -> Table {
    Table {
        folder,
        held_in,
        shared: &[],
    }
}

const TABLES: [Table; 8] = [
    Table {
        folder: "src/provider",
        held_in: &["src/provider/table.rs"],
        shared: &[
            "mod",
            "base",
            "bridge",
            "compatible",
            "errors",
            "passage",
            "sigv4",
            "target",
            "token",
            "translated",
        ],
    },
    Table {
        folder: "src/endpoint",
        held_in: &["src/endpoint/mod.rs"],
        shared: &["mod", "documented", "resource"],
    },
    table("src/router/strategy", &["src/router/strategy/mod.rs"]),
    table("src/callback", &["src/callback/mod.rs"]),
    table("src/cache", &["src/cache/mod.rs"]),
    Table {
        folder: "src/admin/api",
        held_in: &["src/admin/mod.rs", "src/admin/api/mod.rs"],
        shared: &["key_renewal", "key_rules", "spend_sums", "team_member"],
    },
    table("bench/scenarios", &["bench/scenarios/mod.rs"]),
    Table {
        folder: "config/src/rows",
        held_in: &["config/src/rows/mod.rs"],
        shared: &["general_maps", "litellm_maps"],
    },
];

#[test]
fn every_entry_is_in_its_table() {
    let files = source::files();
    let findings: Vec<String> = TABLES
        .iter()
        .flat_map(|table| missing(table, &files))
        .collect();
    report(
        "every file of a table's folder is in the table",
        "add the entry to the table, or name the file in tests/tidy/tables.rs as one that entries \
         share",
        &findings,
    );
}

/// Files of the folder that its table does not name.
fn missing(table: &Table, files: &[String]) -> Vec<String> {
    let text: String = table
        .held_in
        .iter()
        .filter_map(|path| source::read(path))
        .collect();
    if text.is_empty() {
        return Vec::new();
    }
    let folder = format!("{}/", table.folder);
    let entries = files
        .iter()
        .filter(|path| path.ends_with(".rs") && !table.held_in.contains(&path.as_str()))
        .filter_map(|path| Some((path, path.strip_prefix(&folder)?)));
    entries
        .filter(|(_, inside)| {
            let entry = inside.split('/').next().unwrap_or(inside);
            let entry = entry.strip_suffix(".rs").unwrap_or(entry);
            !table.shared.contains(&entry) && !text.contains(&format!("{entry}::"))
        })
        .map(|(path, _)| format!("{path} is not used by {}", table.held_in.join(" or ")))
        .collect()
}
