//! A configuration file as a tree in which every node knows where it was written.
//!
//! Everything after the YAML reader works on this tree, so that an error found in the last check
//! still points at a line. It knows nothing of parameters.

use serde_json::{Map, Number, Value as Json};

/// Where something was written: the index of the file among those loaded, line and column from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Index of the file: 0 is the one that was asked for, the others were included.
    pub file: u16,
    /// Line, from 1; 0 when the value did not come from a file (a default, the environment).
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

/// Where a value came from, if not from the file itself. Its text is never shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Written in the file.
    #[default]
    File,
    /// The environment variable of that name.
    Environment(String),
    /// A variable that is not set; that was already said, so nobody need look at the value.
    Missing,
}

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) at: Position,
    pub(crate) value: Value,
    /// What an unquoted scalar looked like in the file (`0123`, `yes`, `1e3`); `None` for all else.
    pub(crate) raw: Option<Box<str>>,
    pub(crate) origin: Origin,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One `key: value` of a map, in the order of the file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) at: Position,
    pub(crate) value: Node,
}

impl Node {
    pub(crate) fn new(at: Position, value: Value) -> Node {
        Node {
            at,
            value,
            raw: None,
            origin: Origin::File,
        }
    }

    /// The value under `key`, if this is a map that has it.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    pub(crate) fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// This subtree as JSON. Numbers that JSON cannot hold (`.inf`, `.nan`) become null.
    pub(crate) fn to_json(&self) -> Json {
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Integer(value) => Json::Number(Number::from(*value)),
            Value::Float(value) => Number::from_f64(*value).map_or(Json::Null, Json::Number),
            Value::Text(text) => Json::String(text.clone()),
            Value::List(items) => Json::Array(items.iter().map(Node::to_json).collect()),
            Value::Map(entries) => {
                let pairs = entries.iter().map(|e| (e.key.clone(), e.value.to_json()));
                Json::Object(pairs.collect::<Map<_, _>>())
            }
        }
    }

    /// Number of nodes of this subtree, itself included.
    pub(crate) fn node_count(&self) -> usize {
        match &self.value {
            Value::List(items) => 1 + items.iter().map(Node::node_count).sum::<usize>(),
            Value::Map(entries) => {
                1 + entries
                    .iter()
                    .map(|entry| entry.value.node_count())
                    .sum::<usize>()
            }
            _ => 1,
        }
    }

    /// Levels of this subtree: 1 for a scalar.
    pub(crate) fn height(&self) -> usize {
        let below = match &self.value {
            Value::List(items) => items.iter().map(Node::height).max(),
            Value::Map(entries) => entries.iter().map(|entry| entry.value.height()).max(),
            _ => None,
        };
        1 + below.unwrap_or(0)
    }

    /// What this value is called in a message: `a string`, `a list`, ...
    pub(crate) fn kind_name(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a number",
            Value::Text(_) => "a string",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}
