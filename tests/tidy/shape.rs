//! How long files and functions may be, that each module says what it is for, and which attributes
//! and module names we do not use.

use crate::report;
use crate::source::{self, Source};

/// Lines of one file.
const FILE_LINES_MAX: usize = 1000;
/// Lines of one function, its signature and closing brace included.
const FUNCTION_LINES_MAX: usize = 70;
/// Functions that are longer, each with its reason beside it.
const LONG_FUNCTIONS: &str = "tests/tidy/long_functions.txt";
/// Module names that say nothing about their subject.
const EMPTY_NAMES: [&str; 9] = [
    "utils", "util", "common", "helpers", "helper", "prelude", "misc", "shared", "types",
];

#[test]
fn no_file_passes_a_thousand_lines() {
    let findings: Vec<String> = source::rust()
        .iter()
        .map(|source| (source, source.text.lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES_MAX)
        .map(|(source, lines)| format!("{} has {lines} lines", source.path))
        .collect();
    report(
        "a file has at most 1,000 lines",
        "cut it where the interface is thin, one subject a file",
        &findings,
    );
}

#[test]
fn no_function_passes_a_screen() {
    let listed = source::read(LONG_FUNCTIONS).unwrap_or_default();
    let listed: Vec<&str> = listed
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let mut findings = Vec::new();
    let mut seen = Vec::new();
    for source in source::rust() {
        for (name, line, lines) in functions(&source) {
            let id = format!("{}:{name}", source.path);
            if lines > FUNCTION_LINES_MAX {
                if !listed.contains(&id.as_str()) {
                    findings.push(format!("{}:{line} {name} has {lines} lines", source.path));
                }
                seen.push(id);
            }
        }
    }
    let gone = listed.iter().filter(|id| !seen.iter().any(|s| s == *id));
    gone.for_each(|id| println!("{LONG_FUNCTIONS} lists {id}, which is short or gone"));
    report(
        "a function has at most 70 lines",
        "let the parent decide and the leaves compute; else list it in \
         tests/tidy/long_functions.txt with its reason",
        &findings,
    );
}

/// Name, first line and number of lines of every function with a body.
fn functions(source: &Source) -> Vec<(String, usize, usize)> {
    let code = &source.code;
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + 3..];
        let name: String = rest
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        let Some(body) = rest
            .find(['{', ';'])
            .filter(|i| rest[*i..].starts_with('{'))
        else {
            continue;
        };
        let Some(length) = block(&rest[body..]).filter(|_| !name.is_empty()) else {
            continue;
        };
        let first = code[..at].matches('\n').count() + 1;
        let lines = rest[..body + length].matches('\n').count() + 1;
        found.push((name, first, lines));
    }
    found
}

/// Length of the braced block that `text` begins with.
fn block(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, letter) in text.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 1 => return Some(at + 1),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

#[test]
fn every_module_says_what_it_is_for() {
    let findings: Vec<String> = source::rust()
        .iter()
        .filter(|source| {
            let first = source.text.lines().find(|line| !line.trim().is_empty());
            !first.is_some_and(|line| line.starts_with("//!"))
        })
        .map(|source| format!("{}:1", source.path))
        .collect();
    report(
        "a module opens with a paragraph",
        "begin the file with //! what it is for, what it must not know",
        &findings,
    );
}

#[test]
fn no_allow_attribute() {
    let mut findings = Vec::new();
    for source in source::rust() {
        let bare = |line: &str| line.contains("#[allow(") || line.contains("#![allow(");
        let lines = source.lines().filter(|(_, line)| bare(line));
        findings.extend(lines.map(|(number, _)| format!("{}:{number}", source.path)));
    }
    report(
        "no #[allow]",
        "#[expect(lint, reason = \"...\")], which fails when it is no longer needed",
        &findings,
    );
}

#[test]
fn no_module_is_called_utils() {
    let empty = |path: &&String| {
        let names = path
            .split('/')
            .map(|part| part.strip_suffix(".rs").unwrap_or(part));
        path.ends_with(".rs") && names.into_iter().any(|name| EMPTY_NAMES.contains(&name))
    };
    let files = source::files();
    let findings: Vec<String> = files.iter().filter(empty).cloned().collect();
    report(
        "no module is called utils, common, helpers or prelude",
        "name it after the noun of the field that it is about, or put it beside its one caller",
        &findings,
    );
}
