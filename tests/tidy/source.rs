//! The repository as text: which files there are, and a Rust file with its comments and literals
//! blanked out, so that the rules look at code only. It knows no rule.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders (and the file .git of a worktree) that hold nothing we wrote.
const FOLDERS_SKIPPED: [&str; 8] = [
    "target",
    ".git",
    "node_modules",
    "__pycache__",
    ".pytest_cache",
    ".venv",
    "corpus",
    "artifacts",
];

/// One Rust file.
pub(crate) struct Source {
    /// Relative to the repository's root, with forward slashes.
    pub(crate) path: String,
    /// As it stands in the file.
    pub(crate) text: String,
    /// The same number of lines, comments and literals replaced by blanks.
    pub(crate) code: String,
}

impl Source {
    /// The top folder's crate: `io`, `config`, `bench`, or `shardgate` for everything else.
    pub(crate) fn krate(&self) -> &str {
        match self.path.split('/').next() {
            Some(top @ ("io" | "config" | "bench")) => top,
            _ => "shardgate",
        }
    }

    /// The first folder or file below `src/` of the gateway's own crate: `router`, `cli`, `main`.
    pub(crate) fn module(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        let first = inside.split('/').next()?;
        Some(first.strip_suffix(".rs").unwrap_or(first))
    }

    /// The lines of the code, numbered from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(n, line)| (n + 1, line))
    }
}

/// The folder that holds the workspace's Cargo.toml.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of the repository, relative to its root, sorted.
pub(crate) fn files() -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of ours is readable") {
            let path = entry.expect("an entry of ours is readable").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_symlink() || name == ".git" {
                continue;
            }
            if path.is_dir() {
                if !FOLDERS_SKIPPED.contains(&name.as_ref()) {
                    folders.push(path);
                }
            } else {
                found.push(relative(&path));
            }
        }
    }
    found.sort();
    found
}

fn relative(path: &Path) -> String {
    let inside = path.strip_prefix(root()).expect("walked from the root");
    inside.to_string_lossy().replace('\\', "/")
}

/// A file's text; `None` when it is not UTF-8, as pictures and fuzz inputs are.
pub(crate) fn read(path: &str) -> Option<String> {
    fs::read_to_string(root().join(path)).ok()
}

/// Every Rust file of the repository.
pub(crate) fn rust() -> Vec<Source> {
    files()
        .into_iter()
        .filter(|path| path.ends_with(".rs"))
        .filter_map(|path| {
            let text = read(&path)?;
            let code = blank(&text);
            Some(Source { path, text, code })
        })
        .collect()
}

/// Where the blanking of comments and literals stands.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Code,
    LineComment,
    BlockComment { depth: usize },
    Text,
    RawText { hashes: usize },
}

/// Replaces comments, string and character literals by blanks; line ends stay where they are.
fn blank(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut place = Place::Code;
    let mut at = 0;
    while at < letters.len() {
        let (next, taken) = step(place, &letters, at);
        let keep = place == Place::Code && next == Place::Code && taken == 1;
        for &letter in &letters[at..at + taken] {
            out.push(if letter == '\n' || keep { letter } else { ' ' });
        }
        place = next;
        at += taken;
    }
    out
}

/// From `at`: the place after it, and how many characters that takes.
fn step(place: Place, letters: &[char], at: usize) -> (Place, usize) {
    let next = letters.get(at + 1).copied();
    match (place, letters[at]) {
        (Place::Code, '/') if next == Some('/') => (Place::LineComment, 2),
        (Place::Code, '/') if next == Some('*') => (Place::BlockComment { depth: 1 }, 2),
        (Place::Code, '"') => (Place::Text, 1),
        (Place::Code, 'r') if !in_word(letters, at) => raw_start(letters, at),
        (Place::Code, '\'') => (Place::Code, character(letters, at)),
        (Place::LineComment, '\n') | (Place::Text, '"') => (Place::Code, 1),
        (Place::BlockComment { depth }, '/') if next == Some('*') => {
            (Place::BlockComment { depth: depth + 1 }, 2)
        }
        (Place::BlockComment { depth: 1 }, '*') if next == Some('/') => (Place::Code, 2),
        (Place::BlockComment { depth }, '*') if next == Some('/') => {
            (Place::BlockComment { depth: depth - 1 }, 2)
        }
        (Place::Text, '\\') => (Place::Text, 2.min(letters.len() - at)),
        (Place::RawText { hashes }, '"') if closes(letters, at, hashes) => {
            (Place::Code, 1 + hashes)
        }
        (stays, _) => (stays, 1),
    }
}

fn in_word(letters: &[char], at: usize) -> bool {
    // `br"..."` and `cr"..."` are literals too, so one leading b or c does not count as a word.
    let before = |back: usize| at.checked_sub(back).map(|i| letters[i]);
    let wordy = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    match before(1) {
        Some('b' | 'c') => wordy(before(2)),
        other => wordy(other),
    }
}

fn raw_start(letters: &[char], at: usize) -> (Place, usize) {
    let hashes = letters[at + 1..].iter().take_while(|c| **c == '#').count();
    match letters.get(at + 1 + hashes) {
        Some('"') => (Place::RawText { hashes }, 2 + hashes),
        _ => (Place::Code, 1),
    }
}

fn closes(letters: &[char], at: usize, hashes: usize) -> bool {
    letters[at + 1..]
        .iter()
        .take(hashes)
        .filter(|c| **c == '#')
        .count()
        == hashes
}

/// The length of a character literal at `at`, or 1 for a lifetime's quote.
fn character(letters: &[char], at: usize) -> usize {
    match letters.get(at + 1) {
        Some('\\') => letters[at + 3..]
            .iter()
            .position(|c| *c == '\'')
            .map_or(1, |n| n + 4),
        Some(_) if letters.get(at + 2) == Some(&'\'') => 3,
        _ => 1,
    }
}

#[test]
fn blanking_keeps_code_and_lines() {
    let text =
        "let a = \"x // y\"; // unsafe\nlet b = '\"'; /* { /* { */ */ fn f<'a>() {}\nr#\"{\"#;";
    let code = blank(text);
    assert_eq!(code.lines().count(), 3);
    assert!(!code.contains("unsafe") && !code.contains("x //"));
    assert_eq!(code.matches('{').count(), 1, "{code}");
    assert!(code.contains("fn f<'a>() {}"));
}
