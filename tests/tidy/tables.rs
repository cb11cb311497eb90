//! A list is a table, an entry is a file: every file of a table's folder must be in that table, so
//! that nobody writes a provider, a strategy or a parameter that is never reached.

use crate::report;
use crate::source;

/// Folder, the file in it that holds the table, and files that are no entries, each for a reason.
const TABLES: [(&str, &str, &[&str]); 8] = [
    ("src/provider", "mod.rs", &[]),
    ("src/endpoint", "mod.rs", &[]),
    ("src/router/strategy", "mod.rs", &[]),
    ("src/callback", "mod.rs", &[]),
    ("src/cache", "mod.rs", &[]),
    ("src/admin/api", "mod.rs", &[]),
    ("bench/scenarios", "mod.rs", &[]),
    // The maps are reached through the section that holds them.
    (
        "config/src/rows",
        "mod.rs",
        &["general_maps", "litellm_maps"],
    ),
];

#[test]
fn every_entry_is_in_its_table() {
    let files = source::files();
    let mut findings = Vec::new();
    for (folder, table, exempt) in TABLES {
        let Some(text) = source::read(&format!("{folder}/{table}")) else {
            continue;
        };
        for path in files.iter().filter(|path| path.ends_with(".rs")) {
            let Some(inside) = path.strip_prefix(&format!("{folder}/")) else {
                continue;
            };
            let entry = inside.split('/').next().unwrap_or(inside);
            let entry = entry.strip_suffix(".rs").unwrap_or(entry);
            let is_table = entry == table.trim_end_matches(".rs");
            let listed = text.contains(&format!("{entry}::"));
            if !is_table && !listed && !exempt.contains(&entry) {
                findings.push(format!("{path} is not used by {folder}/{table}"));
            }
        }
    }
    report(
        "every file of a table's folder is in the table",
        "add the entry to the table, or name the file in tests/tidy/tables.rs with the reason why \
         it is none",
        &findings,
    );
}
