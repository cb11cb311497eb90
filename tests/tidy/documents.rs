//! The documents tell the truth: make targets, files and flags that they name exist.

use crate::report;
use crate::source;

/// Pages that people read.
fn pages() -> Vec<(String, String)> {
    let page = |path: &String| {
        let top = !path.contains('/') && path != "CHANGELOG.md";
        path.ends_with(".md") && (top || path.starts_with("docs/"))
    };
    source::files()
        .into_iter()
        .filter(page)
        .filter_map(|path| source::read(&path).map(|text| (path, text)))
        .collect()
}

/// Every text between single backticks, and every line of a fenced block, with its line number.
fn quoted(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced {
            found.push((number + 1, line));
        } else {
            found.extend(
                line.split('`')
                    .skip(1)
                    .step_by(2)
                    .map(|code| (number + 1, code)),
            );
        }
    }
    found
}

#[test]
fn make_targets_exist() {
    let makefile = source::read("Makefile").unwrap_or_default();
    let mut findings = Vec::new();
    for (path, text) in pages() {
        for (line, code) in quoted(&text) {
            let Some(rest) = code.trim().strip_prefix("make ") else {
                continue;
            };
            let target = rest.split_whitespace().next().unwrap_or_default();
            let exists = makefile
                .lines()
                .any(|l| l.starts_with(&format!("{target}:")));
            if !exists {
                findings.push(format!("{path}:{line} make {target}"));
            }
        }
    }
    report(
        "documents name make targets that exist",
        "mend the page or the Makefile",
        &findings,
    );
}

#[test]
fn files_exist() {
    let files = source::files();
    let starts = [
        "bench/", "config/", "docs/", "io/", "src/", "tests/", "tuning/",
    ];
    let exists = |name: &str| {
        let name = name.trim_end_matches('/');
        files
            .iter()
            .any(|file| file == name || file.starts_with(&format!("{name}/")))
    };
    let mut findings = Vec::new();
    for (path, text) in pages() {
        for (line, code) in quoted(&text) {
            for word in code.split_whitespace() {
                let word = word
                    .trim_start_matches("./")
                    .trim_end_matches([',', ';', ')']);
                let ours = starts.iter().any(|start| word.starts_with(start));
                let pattern = word.contains(['*', '<', '{', '$', ':']);
                if ours && !pattern && !exists(word) {
                    findings.push(format!("{path}:{line} {word}"));
                }
            }
        }
    }
    report(
        "documents name files that exist",
        "mend the page, or add the file",
        &findings,
    );
}

#[test]
fn flags_and_commands_exist() {
    let cli: String = source::rust()
        .into_iter()
        .filter(|s| s.path.starts_with("src/cli"))
        .map(|s| s.text)
        .collect();
    if cli.is_empty() {
        return;
    }
    let known = |flag: &str| {
        let name = flag.trim_start_matches('-');
        let quoted = format!("\"{name}\"");
        let field = format!("{}:", name.replace('-', "_"));
        cli.contains(&quoted) || cli.contains(&field)
    };
    let mut findings = Vec::new();
    for (path, text) in pages() {
        for (line, code) in quoted(&text) {
            let words: Vec<&str> = code.split_whitespace().collect();
            let Some(at) = words
                .iter()
                .position(|w| *w == "shardgate" || w.ends_with("/shardgate"))
            else {
                continue;
            };
            for flag in words[at..]
                .iter()
                .filter(|w| w.starts_with("--") && w.len() > 2)
            {
                let flag = flag.split('=').next().unwrap_or(flag);
                if !["--version", "--help"].contains(&flag) && !known(flag) {
                    findings.push(format!("{path}:{line} shardgate {flag}"));
                }
            }
        }
    }
    report(
        "documents name flags that exist",
        "mend the page, or add the flag in src/cli",
        &findings,
    );
}
