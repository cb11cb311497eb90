//! What is made from the rows is committed and up to date, and every example loads.

#![expect(clippy::panic, reason = "a test says what went wrong by failing")]

use std::fs;
use std::path::{Path, PathBuf};

use shardgate_config::reference::{every_parameter, json_schema, parameters, tables};
use shardgate_config::{Loaded, Options, load};

/// Values for the variables that examples refer to.
fn environment(name: &str) -> Option<String> {
    let value = match name {
        "DATABASE_URL" => "postgresql://user:secret@db.example:5432/shardgate",
        "REDIS_URL" => "rediss://:secret@redis.example:6380/0",
        "REDIS_HOST" => "redis.example",
        "REDIS_PORT" => "6379",
        "LITELLM_MASTER_KEY" => "sk-from-the-environment",
        "JWT_PUBLIC_KEY_URL" | "JWT_AUDIENCE" | "PROXY_MASTER_KEY" => return None,
        name if name.starts_with("LITELLM_") => return None,
        name if name.starts_with("SMTP_") && name != "SMTP_PASSWORD" => return None,
        name if name.ends_with("_URL") => "https://hooks.example/secret",
        _ => "sk-from-the-environment",
    };
    Some(value.to_owned())
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn loaded(path: &Path, strict: bool) -> Loaded {
    match load(
        path,
        &environment,
        Options {
            strict,
            ..Options::default()
        },
    ) {
        Ok(loaded) => loaded,
        Err(errors) => panic!(
            "{}",
            errors.iter().map(|e| format!("{e}\n")).collect::<String>()
        ),
    }
}

#[test]
fn generated_files_are_up_to_date() {
    let files = [
        ("PARAMETERS.md", parameters()),
        ("schema.json", json_schema()),
        ("examples/every-parameter.yaml", every_parameter()),
    ];
    for (name, expected) in files {
        let committed = fs::read_to_string(root().join(name)).unwrap_or_default();
        assert!(
            committed == expected,
            "{name} differs from the rows: run `cargo run -p shardgate-config --example generate`"
        );
    }
}

#[test]
fn every_example_loads_strictly() {
    let mut names = Vec::new();
    for entry in fs::read_dir(root().join("examples")).expect("the examples") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|ending| ending == "yaml") {
            loaded(&path, true);
            names.push(
                path.file_stem()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
            );
        }
    }
    for number in 1..=10 {
        assert!(names.contains(&format!("router-{number:02}")));
    }
    for name in ["quickstart", "production", "every-parameter"] {
        assert!(names.contains(&String::from(name)));
    }
}

#[test]
fn the_examples_for_users_draw_no_warning() {
    for name in ["quickstart.yaml", "production.yaml"] {
        let warnings = loaded(&root().join("examples").join(name), true).warnings;
        assert_eq!(warnings, [], "{name}");
    }
}

/// The example that sets everything sets each row of each table, and only deprecated ones draw a
/// warning.
#[test]
fn every_parameter_is_in_the_example() {
    let path = root().join("examples/every-parameter.yaml");
    let text = fs::read_to_string(&path).expect("the example");
    for (path, table) in tables() {
        for row in table.rows {
            let written = [format!(" {}:", row.name), format!("\n{}:", row.name)];
            let inline = format!("{}:", row.name);
            let found = written.iter().any(|name| text.contains(name.as_str()))
                || text.contains(&format!("{{{inline}"));
            assert!(found || path.ends_with(".NAME"), "{path}.{}", row.name);
        }
    }
    for warning in loaded(&path, true).warnings {
        assert!(warning.message.starts_with("deprecated"), "{warning}");
    }
}

#[test]
fn rows_are_complete_and_unique() {
    for (path, table) in tables() {
        let mut names: Vec<&str> = table.rows.iter().map(|row| row.name).collect();
        names.sort_unstable();
        let before = names.len();
        names.dedup();
        assert_eq!(names.len(), before, "a name twice in {path}");
        for row in table.rows {
            assert!(
                row.doc.ends_with('.') || row.doc.ends_with("..."),
                "{path}.{}",
                row.name
            );
        }
    }
}
