//! A tree against the rows: every value checked, brought into its plain form and completed with
//! defaults; every complaint noted, none of them the last.
//!
//! It knows rows and kinds, not what any single parameter means: what two parameters say about
//! each other is in `semantics`.

use serde_json::{Map, Value as Json, json};

use crate::diagnostic::{Findings, nearest, shown, suggestion};
use crate::environment::{Environment, join};
use crate::row::{Default, Effect, Kind, Row, Table};
use crate::tree::{Entry, Node, Origin, Position, Value};
use crate::value;
use crate::yaml;

/// Under this name a checked map carries the entries that have no row.
const UNKNOWN: &str = "unknown";

/// One pass over a configuration.
pub(crate) struct Check<'a> {
    pub(crate) environment: &'a Environment<'a>,
    pub(crate) findings: &'a mut Findings,
}

impl Check<'_> {
    /// A map against its table. What it lacks is taken from the environment or the defaults.
    pub(crate) fn table(&mut self, table: &Table, node: &Node, path: &str) -> Map<String, Json> {
        let mut checked = Map::new();
        if !matches!(node.value, Value::Map(_) | Value::Null) {
            self.mismatch(&Kind::Map(&Kind::Any), node, path);
            return checked;
        }
        let mut unknown = Map::new();
        for entry in node.entries() {
            match table.find(&entry.key) {
                Some(row) => self.entry(row, entry, path, &mut checked),
                None if table.open => {
                    self.near_miss(table, entry, path);
                    checked.insert(entry.key.clone(), entry.value.to_json());
                }
                None => {
                    self.unknown_name(table, entry, path);
                    unknown.insert(entry.key.clone(), entry.value.to_json());
                }
            }
        }
        for row in table.rows {
            self.complete(row, node, path, &mut checked);
        }
        if !table.open && !unknown.is_empty() {
            checked.insert(String::from(UNKNOWN), Json::Object(unknown));
        }
        checked
    }

    fn entry(&mut self, row: &Row, entry: &Entry, path: &str, checked: &mut Map<String, Json>) {
        if entry.value.is_null() {
            return;
        }
        let path = join(path, row.name);
        let later = row.instead.is_empty() && row.effect == Effect::Later;
        if !row.instead.is_empty() {
            let message = format!("deprecated; use {}", row.instead);
            self.findings.warn(entry.at, &path, message);
        }
        if later {
            self.not_in_force(&path);
        }
        let named = self.findings.not_in_force.len();
        if let Some(value) = self.value(&row.kind, &entry.value, &path) {
            checked.insert(entry.key.clone(), value);
        }
        if later {
            // What is inside a map without effect has none either; naming the map is enough.
            self.findings.not_in_force.truncate(named);
        }
    }

    fn not_in_force(&mut self, path: &str) {
        let mut plain = String::with_capacity(path.len());
        let mut inside = false;
        for character in path.chars() {
            inside = (inside || character == '[') && character != ']';
            if !inside || character == '[' {
                plain.push(character);
            }
        }
        if !self.findings.not_in_force.contains(&plain) {
            self.findings.not_in_force.push(plain);
        }
    }

    /// Fills in a row that the file does not set: from the environment, else with its default.
    fn complete(&mut self, row: &Row, node: &Node, path: &str, checked: &mut Map<String, Json>) {
        if checked.contains_key(row.name) {
            return;
        }
        let written = node
            .entry(row.name)
            .is_some_and(|entry| !entry.value.is_null());
        let path = join(path, row.name);
        if !written && let Some(value) = self.stand_in(row, &path) {
            checked.insert(row.name.to_owned(), value);
            return;
        }
        let default = match (&row.kind, row.default) {
            (Kind::Table(table), Default::Inner | Default::EmptyMap) => {
                let empty = Node::new(node.at, Value::Null);
                Some(Json::Object(self.table(table, &empty, &path)))
            }
            _ => row.default_json(),
        };
        if let Some(value) = default {
            checked.insert(row.name.to_owned(), value);
        } else if matches!(row.default, Default::Required) && !written {
            let hint = match nearest(row.name, node.entries().iter().map(|e| e.key.as_str())) {
                Some(name) => format!("; is it meant by `{name}`?"),
                None => String::new(),
            };
            let message = format!("required; {} is expected{hint}", row.kind.expected());
            self.findings.error(node.at, &path, message);
        }
    }

    /// The value of the first variable that stands in for a row.
    fn stand_in(&mut self, row: &Row, path: &str) -> Option<Json> {
        // A cluster's service links set REDIS_PORT to an address, whatever we call our own.
        let meant = |value: &String| !value.is_empty() && !value.starts_with("tcp://");
        let value = |name: &&'static str| {
            self.environment
                .value(name)
                .filter(meant)
                .map(|text| (*name, text))
        };
        let (name, text) = row.env.iter().find_map(value)?;
        let node = Node {
            at: Position {
                file: u16::MAX,
                line: 0,
                column: 0,
            },
            value: Value::Text(text),
            raw: None,
            origin: Origin::Environment(name.to_owned()),
        };
        let value = self.value(&row.kind, &node, path)?;
        if row.effect == Effect::Later {
            self.not_in_force(path);
        }
        Some(value)
    }

    fn unknown_name(&mut self, table: &Table, entry: &Entry, path: &str) {
        let near = suggestion(&entry.key, table.rows.iter().map(|row| row.name));
        let message = if near.is_empty() {
            String::from("unknown parameter; it has no effect")
        } else {
            format!("unknown parameter{near}")
        };
        self.findings
            .unknown(entry.at, &join(path, &entry.key), message);
    }

    /// In an open map an unknown name is legal; one letter off a known one it is a mistake.
    fn near_miss(&mut self, table: &Table, entry: &Entry, path: &str) {
        const NAME_CHARS_MIN: usize = 6;
        if entry.key.len() < NAME_CHARS_MIN {
            return;
        }
        let close = table.rows.iter().map(|row| row.name).filter(|name| {
            name.len().abs_diff(entry.key.len()) <= 1 && name.len() >= NAME_CHARS_MIN - 1
        });
        let slip =
            nearest(&entry.key, close).filter(|name| value::one_slip_apart(&entry.key, name));
        if let Some(name) = slip {
            let message = format!("passed on as it is; did you mean `{name}`?");
            self.findings
                .warn(entry.at, &join(path, &entry.key), message);
        }
    }

    fn mismatch(&mut self, kind: &Kind, node: &Node, path: &str) {
        let message = format!(
            "{} is expected; got {}",
            kind.expected(),
            got(kind, node, path)
        );
        self.findings.error(node.at, path, message);
    }

    /// A value in its plain form; `None` after a complaint.
    fn value(&mut self, kind: &Kind, node: &Node, path: &str) -> Option<Json> {
        if node.origin == Origin::Missing {
            return Some(node.to_json());
        }
        match kind {
            Kind::List(inner) => self.list(kind, inner, node, path, false),
            Kind::Many(inner) => self.list(kind, inner, node, path, true),
            Kind::Map(inner) => self.map(kind, inner, node, path),
            Kind::Table(table) => match structure(node) {
                Some(parsed) => Some(Json::Object(self.table(table, &parsed, path))),
                None if matches!(node.value, Value::Map(_) | Value::Null) => {
                    Some(Json::Object(self.table(table, node, path)))
                }
                None => {
                    self.mismatch(kind, node, path);
                    None
                }
            },
            Kind::Fallbacks => self.fallbacks(node, path),
            Kind::Aliases => self.aliases(node, path),
            Kind::Addresses => self.addresses(node, path),
            Kind::Either(kinds) => {
                let fitting = kinds.iter().find(|kind| self.fits(kind, node, path));
                match fitting {
                    Some(kind) => self.value(kind, node, path),
                    None => {
                        self.mismatch(kind, node, path);
                        None
                    }
                }
            }
            Kind::Known(words) => {
                let text = value::text(node);
                if let Some(text) = &text {
                    self.known(words, text, node, path);
                } else {
                    self.mismatch(&Kind::Text, node, path);
                }
                text.map(Json::String)
            }
            _ => self.scalar(kind, node, path),
        }
    }

    fn known(&mut self, words: &[&str], text: &str, node: &Node, path: &str) {
        if words.contains(&text) || text.contains('.') {
            return;
        }
        let near = suggestion(text, words.iter().copied());
        let message = format!("unknown name {}{near}", shown(path, node));
        self.findings.unknown(node.at, path, message);
    }

    fn scalar(&mut self, kind: &Kind, node: &Node, path: &str) -> Option<Json> {
        match value::scalar(kind, node) {
            Ok(value) => Some(value),
            Err(value::Misfit::Placeholder) => {
                let message = format!(
                    "{} is expected; {} looks like a placeholder",
                    kind.expected(),
                    got(kind, node, path)
                );
                self.findings.warn(node.at, path, message);
                value::text(node).map(Json::String)
            }
            Err(value::Misfit::Wrong) => {
                let mut message = format!(
                    "{} is expected; got {}",
                    kind.expected(),
                    got(kind, node, path)
                );
                if let (Kind::Choice(words), Some(text)) = (kind, value::text(node))
                    && node.origin == Origin::File
                {
                    message.push_str(&suggestion(&text, words.iter().copied()));
                }
                self.findings.error(node.at, path, message);
                None
            }
        }
    }

    fn fits(&mut self, kind: &Kind, node: &Node, path: &str) -> bool {
        let mut aside = Findings {
            files: self.findings.files.clone(),
            ..Findings::default()
        };
        let mut check = Check {
            environment: self.environment,
            findings: &mut aside,
        };
        check.value(kind, node, path).is_some() && aside.errors.is_empty()
    }

    fn list(
        &mut self,
        kind: &Kind,
        inner: &Kind,
        node: &Node,
        path: &str,
        single: bool,
    ) -> Option<Json> {
        if let Some(parsed) = structure(node) {
            return self.list(kind, inner, &parsed, path, single);
        }
        if let (Value::Text(text), Origin::Environment(_)) = (&node.value, &node.origin) {
            let parts = text
                .split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty());
            let items = parts.filter_map(|part| {
                let part = Node {
                    value: Value::Text(part.to_owned()),
                    ..node.clone()
                };
                self.value(inner, &part, path)
            });
            return Some(Json::Array(items.collect()));
        }
        match &node.value {
            Value::List(items) => {
                let checked = items.iter().enumerate().filter_map(|(index, item)| {
                    self.item(inner, item, &format!("{path}[{index}]"))
                });
                Some(Json::Array(checked.collect()))
            }
            _ if single => self.value(inner, node, path).map(|value| json!([value])),
            _ => {
                let mut message = format!(
                    "{} is expected; got {}",
                    kind.expected(),
                    got(kind, node, path)
                );
                if !matches!(node.value, Value::Map(_)) {
                    message.push_str("; write a single value as a list, [value]");
                }
                self.findings.error(node.at, path, message);
                None
            }
        }
    }

    fn item(&mut self, inner: &Kind, item: &Node, path: &str) -> Option<Json> {
        if item.is_null() && !matches!(inner, Kind::Any | Kind::Table(_)) {
            self.mismatch(inner, item, path);
            return None;
        }
        self.value(inner, item, path)
    }

    fn map(&mut self, kind: &Kind, inner: &Kind, node: &Node, path: &str) -> Option<Json> {
        if let Some(parsed) = structure(node) {
            return self.map(kind, inner, &parsed, path);
        }
        let Value::Map(entries) = &node.value else {
            self.mismatch(kind, node, path);
            return None;
        };
        let mut checked = Map::new();
        for entry in entries {
            if let Some(value) = self.item(inner, &entry.value, &join(path, &entry.key)) {
                checked.insert(entry.key.clone(), value);
            }
        }
        Some(Json::Object(checked))
    }

    /// Both forms become `[{model, to}]`; a flat list is the fallback of every model, `*`.
    fn fallbacks(&mut self, node: &Node, path: &str) -> Option<Json> {
        let mut rules = Vec::new();
        let mut flat = Vec::new();
        let items = match &node.value {
            Value::Map(_) => std::slice::from_ref(node),
            Value::List(items) => items,
            _ => {
                self.mismatch(&Kind::Fallbacks, node, path);
                return None;
            }
        };
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}[{index}]");
            match &item.value {
                Value::Map(entries) => {
                    for entry in entries {
                        let path = join(&path, &entry.key);
                        let to = self.value(&Kind::Many(&Kind::Text), &entry.value, &path)?;
                        rules.push(json!({ "model": entry.key, "to": to }));
                    }
                }
                _ => match value::text(item) {
                    Some(text) => flat.push(text),
                    None => self.mismatch(&Kind::Fallbacks, item, &path),
                },
            }
        }
        if !flat.is_empty() {
            rules.push(json!({ "model": "*", "to": flat }));
        }
        Some(Json::Array(rules))
    }

    fn aliases(&mut self, node: &Node, path: &str) -> Option<Json> {
        let Value::Map(entries) = &node.value else {
            self.mismatch(&Kind::Aliases, node, path);
            return None;
        };
        let mut checked = Map::new();
        for entry in entries {
            let path = join(path, &entry.key);
            let long = entry
                .value
                .entry("model")
                .and_then(|model| value::text(&model.value));
            let (model, hidden) = match (&entry.value.value, long) {
                (Value::Map(_), Some(model)) => {
                    let hidden = entry.value.entry("hidden");
                    let hidden = hidden.map(|entry| self.value(&Kind::Bool, &entry.value, &path));
                    (model, hidden.flatten() == Some(Json::Bool(true)))
                }
                _ => match value::text(&entry.value) {
                    Some(model) => (model, false),
                    None => {
                        self.mismatch(&Kind::Aliases, &entry.value, &path);
                        continue;
                    }
                },
            };
            checked.insert(
                entry.key.clone(),
                json!({ "model": model, "hidden": hidden }),
            );
        }
        Some(Json::Object(checked))
    }

    fn addresses(&mut self, node: &Node, path: &str) -> Option<Json> {
        let parsed = structure(node);
        let node = parsed.as_ref().unwrap_or(node);
        let Value::List(items) = &node.value else {
            self.mismatch(&Kind::Addresses, node, path);
            return None;
        };
        let mut checked = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let pair = match item.items() {
                [host, port] => value::text(host).zip(value::whole(port)),
                _ => None,
            };
            match pair {
                Some((host, port)) if (1..=65_535).contains(&port) => {
                    checked.push(json!([host, port]))
                }
                _ => self.mismatch(&Kind::Addresses, item, &format!("{path}[{index}]")),
            }
        }
        Some(Json::Array(checked))
    }
}

/// A value as a message may show it; one of a secret kind only by its type.
fn got(kind: &Kind, node: &Node, path: &str) -> String {
    let scalar = !matches!(node.value, Value::Null | Value::List(_) | Value::Map(_));
    if kind.is_secret() && scalar && node.origin == Origin::File {
        return format!("{} (***)", node.kind_name());
    }
    shown(path, node)
}

/// A list or map that came as JSON in an environment variable.
fn structure(node: &Node) -> Option<Node> {
    let (Value::Text(text), Origin::Environment(_)) = (&node.value, &node.origin) else {
        return None;
    };
    if !text.trim_start().starts_with(['[', '{']) {
        return None;
    }
    let mut aside = Findings::default();
    let mut parsed = yaml::read(text, node.at.file, &mut aside)?;
    adopt(&mut parsed, node);
    Some(parsed)
}

/// The parts of a value from the environment are from the environment.
fn adopt(part: &mut Node, whole: &Node) {
    part.at = whole.at;
    part.origin = whole.origin.clone();
    match &mut part.value {
        Value::List(items) => items.iter_mut().for_each(|item| adopt(item, whole)),
        Value::Map(entries) => {
            for entry in entries {
                entry.at = whole.at;
                adopt(&mut entry.value, whole);
            }
        }
        _ => {}
    }
}
