//! What is wrong with a file, said so that the reader can mend it without another look at the
//! documentation: the place, the parameter, what was expected, what was found, the nearest name.
//!
//! A secret never gets in here: values are shown through [`shown`], which hides what is named
//! like one.

use std::fmt;

use crate::tree::{Node, Origin, Position, Value};

/// One finding about a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file as it was named; `environment` where a variable is at fault.
    pub file: String,
    /// Line, from 1; 0 when the finding belongs to the file as a whole or to the environment.
    pub line: u32,
    /// Column in characters, from 1; 0 with line 0.
    pub column: u32,
    /// The parameter, as `model_list[2].litellm_params.rpm`; empty for syntax errors.
    pub path: String,
    /// One sentence: what was expected; what was got; the nearest name.
    pub message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for Diagnostic {}

/// The findings while one configuration is read.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Names of the files, by [`Position::file`].
    pub(crate) files: Vec<String>,
    pub(crate) errors: Vec<(Position, Diagnostic)>,
    pub(crate) warnings: Vec<(Position, Diagnostic)>,
    /// Parameters that were set and have no effect yet.
    pub(crate) not_in_force: Vec<String>,
    /// An unknown name is an error.
    pub(crate) strict: bool,
}

impl Findings {
    pub(crate) fn error(&mut self, at: Position, path: &str, message: impl Into<String>) {
        let found = self.locate(at, path, message.into());
        self.errors.push((at, found));
    }

    pub(crate) fn warn(&mut self, at: Position, path: &str, message: impl Into<String>) {
        let found = self.locate(at, path, message.into());
        self.warnings.push((at, found));
    }

    /// A name nobody knows: a warning, or an error where the caller asked to be strict.
    pub(crate) fn unknown(&mut self, at: Position, path: &str, message: impl Into<String>) {
        if self.strict {
            self.error(at, path, message);
        } else {
            self.warn(at, path, message);
        }
    }

    fn locate(&self, at: Position, path: &str, message: String) -> Diagnostic {
        let file = match self.files.get(usize::from(at.file)) {
            Some(file) => file.clone(),
            None => String::from("environment"),
        };
        Diagnostic {
            file,
            line: at.line,
            column: at.column,
            path: path.to_owned(),
            message,
        }
    }

    /// Errors in the order of the files and lines.
    pub(crate) fn take_errors(&mut self) -> Vec<Diagnostic> {
        sorted(std::mem::take(&mut self.errors))
    }

    /// Warnings in the order of the files and lines.
    pub(crate) fn take_warnings(&mut self) -> Vec<Diagnostic> {
        sorted(std::mem::take(&mut self.warnings))
    }
}

fn sorted(mut found: Vec<(Position, Diagnostic)>) -> Vec<Diagnostic> {
    found.sort_by_key(|(at, _)| *at);
    let mut diagnostics: Vec<Diagnostic> = found.into_iter().map(|(_, found)| found).collect();
    diagnostics.dedup();
    diagnostics
}

/// A value as a message may show it: short, on one line, and never a secret.
pub(crate) fn shown(path: &str, node: &Node) -> String {
    if let Origin::Environment(name) = &node.origin {
        return format!("the value of os.environ/{name}");
    }
    let name = path.rsplit('.').next().unwrap_or(path);
    match &node.value {
        Value::Null | Value::List(_) | Value::Map(_) => node.kind_name().to_owned(),
        _ if names_secret(name) => format!("{} (***)", node.kind_name()),
        Value::Text(text) if node.raw.is_none() => quoted(text),
        Value::Text(text) => format!("`{}`", shortened(text)),
        _ => match &node.raw {
            Some(raw) => format!("`{}`", shortened(raw)),
            None => format!("`{}`", node.to_json()),
        },
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", shortened(text))
}

fn shortened(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 60;
    if has_credentials(text) || looks_like_key(text) {
        return String::from("***");
    }
    let mut short: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    short
        .escape_debug()
        .to_string()
        .replace("\\'", "'")
        .replace("\\\"", "\"")
}

/// Whether a parameter of this name holds a secret.
pub fn names_secret(name: &str) -> bool {
    const HARMLESS: [&str; 6] = [
        "per_token",
        "token_cost",
        "public_key",
        "cache_key",
        "_tokens",
        "_token_id",
    ];
    const PARTS: [&str; 6] = [
        "password",
        "secret",
        "credential",
        "authorization",
        "webhook_url",
        "private_key",
    ];
    const LAST_WORDS: [&str; 5] = ["key", "keys", "token", "apikey", "dsn"];
    let name = name.split('[').next().unwrap_or(name).to_ascii_lowercase();
    if HARMLESS.iter().any(|ending| name.ends_with(ending)) {
        return false;
    }
    let last = name.rsplit(['_', '-']).next().unwrap_or(&name);
    // A slip of the finger does not make a secret public: `master_keyy`.
    let nearly_key = last.starts_with("key") && last.len() <= 5;
    PARTS.iter().any(|part| name.contains(part))
        || LAST_WORDS.contains(&last)
        || nearly_key
        || ["database_url", "redis_url"].contains(&name.as_str())
        || name.ends_with("_access_key_id")
}

/// Whether a text is a URL that carries a user or a password.
pub fn has_credentials(text: &str) -> bool {
    let Some((_, rest)) = text.split_once("://") else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    authority.contains('@')
}

/// Whether a text has the shape of a provider's key, whatever its parameter is called.
pub(crate) fn looks_like_key(text: &str) -> bool {
    text.len() >= 8
        && ["sk-", "sk_", "gsk_", "AKIA", "AIza", "xai-"]
            .iter()
            .any(|p| text.starts_with(p))
}

/// The known name that `name` was probably meant to be.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (name.chars().count() / 3).clamp(1, 4);
    let folded = fold(name);
    known
        .map(|candidate| (distance(&folded, &fold(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `; did you mean x?`, or nothing.
pub(crate) fn suggestion<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    match nearest(name, known) {
        Some(candidate) => format!("; did you mean `{candidate}`?"),
        None => String::new(),
    }
}

fn fold(name: &str) -> Vec<char> {
    name.chars()
        .map(|c| {
            if c == '-' {
                '_'
            } else {
                c.to_ascii_lowercase()
            }
        })
        .collect()
}

/// Edits (insert, delete, replace, swap of neighbours) that turn one name into the other.
fn distance(left: &[char], right: &[char]) -> usize {
    let width = right.len() + 1;
    let mut before_last: Vec<usize> = vec![0; width];
    let mut last: Vec<usize> = (0..width).collect();
    for (row, &from) in left.iter().enumerate() {
        let mut current = vec![row + 1; width];
        for (column, &to) in right.iter().enumerate() {
            let replaced = last[column] + usize::from(from != to);
            let mut best = replaced.min(last[column + 1] + 1).min(current[column] + 1);
            let swapped = row > 0 && column > 0 && from == right[column - 1] && left[row - 1] == to;
            if swapped {
                best = best.min(before_last[column - 1] + 1);
            }
            current[column + 1] = best;
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[width - 1]
}
