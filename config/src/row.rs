//! What a parameter is: the shape of the rows that the parser, the defaults, the reference page
//! and the JSON schema are all made from.
//!
//! A row says everything there is to say about one parameter. Adding a parameter is adding a row
//! under `rows/` and a field of the same name in `settings/`; a test fails while one is missing.

use serde_json::{Value as Json, json};

/// Whether setting a parameter changes anything yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It does what its sentence says.
    InForce,
    /// It is read and checked; its effect is still to be built. The start-up log says so.
    Later,
}

/// What a parameter takes.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A boolean, in any of YAML 1.1's words.
    Bool,
    /// A whole number between the two, both included.
    Integer(i64, i64),
    /// A number between the two, both included.
    Number(f64, f64),
    /// Seconds as a number, or a string with a unit (`2000ms`, `10s`, `5m`, `1h`, `1d`), not
    /// below the first and not above the second.
    Seconds(f64, f64),
    /// A span as LiteLLM writes them: `30s`, `5m`, `1h`, `7d`, `2w`, `1mo`.
    Period,
    /// Any text.
    Text,
    /// Any text but an empty one.
    Name,
    /// Text that no log, error or answer may show.
    Secret,
    /// A URL with one of these schemes and a host.
    Url(&'static [&'static str]),
    /// The same, as secret as what it carries.
    SecretUrl(&'static [&'static str]),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// One of these words, or a name beyond them that only draws a warning.
    Known(&'static [&'static str]),
    /// `module.name`, something in the user's own Python.
    Python,
    /// An IP address or a CIDR range, v4 or v6.
    Network,
    /// A list.
    List(&'static Kind),
    /// A list, or a single value that stands for a list of one.
    Many(&'static Kind),
    /// A map from free names.
    Map(&'static Kind),
    /// A map with rows of its own.
    Table(&'static Table),
    /// `[{model: [models]}]`, `{model: [models]}`, or a flat list that holds for every model.
    Fallbacks,
    /// `alias: group`, or `alias: {model: group, hidden: true}`.
    Aliases,
    /// `[[host, port], ...]`, as Sentinel's nodes are written.
    Addresses,
    /// The first of these that fits.
    Either(&'static [Kind]),
    /// Anything.
    Any,
}

/// What holds while a parameter is not set.
#[derive(Clone, Copy, Debug)]
pub enum Default {
    /// Nothing: the field is `None`.
    Unset,
    /// Nothing, and what that means is said in words.
    Means(&'static str),
    /// The file is wrong without it.
    Required,
    /// This boolean.
    Bool(bool),
    /// This whole number.
    Integer(i64),
    /// This number.
    Number(f64),
    /// This text.
    Text(&'static str),
    /// This list of texts.
    Texts(&'static [&'static str]),
    /// An empty map.
    EmptyMap,
    /// The defaults of the table's own rows.
    Inner,
}

/// One parameter.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name in the file.
    pub name: &'static str,
    /// Whether its effect is built.
    pub effect: Effect,
    /// What it takes.
    pub kind: Kind,
    /// What holds without it.
    pub default: Default,
    /// The reference page's sentences.
    pub doc: &'static str,
    /// Environment variables that stand in for it, the first that is set.
    pub env: &'static [&'static str],
    /// What to use instead, where it is deprecated.
    pub instead: &'static str,
    /// A value for the examples, as YAML on one line; empty where the kind suggests one.
    pub example: &'static str,
    /// It is Shardgate's own; LiteLLM does not know it.
    pub ours: bool,
}

/// A map's parameters.
#[derive(Debug)]
pub struct Table {
    /// Its rows, in the order of the reference page.
    pub rows: &'static [Row],
    /// Names without a row are meant to be there (they are passed on), not mistakes.
    pub open: bool,
    /// The reference page's sentences about the map as a whole.
    pub doc: &'static str,
}

/// A row; the rest of it is added with [`Row::env`], [`Row::example`], [`Row::instead`],
/// [`Row::ours`].
pub const fn row(
    effect: Effect,
    name: &'static str,
    kind: Kind,
    default: Default,
    doc: &'static str,
) -> Row {
    Row {
        name,
        effect,
        kind,
        default,
        doc,
        env: &[],
        instead: "",
        example: "",
        ours: false,
    }
}

impl Row {
    /// Environment variables that stand in for the parameter.
    pub const fn env(mut self, names: &'static [&'static str]) -> Row {
        self.env = names;
        self
    }

    /// A value for the examples, as YAML on one line.
    pub const fn example(mut self, yaml: &'static str) -> Row {
        self.example = yaml;
        self
    }

    /// Deprecated: what to use instead.
    pub const fn instead(mut self, remedy: &'static str) -> Row {
        self.instead = remedy;
        self
    }

    /// Shardgate's own parameter.
    pub const fn ours(mut self) -> Row {
        self.ours = true;
        self
    }

    /// The default as JSON, `None` where nothing takes the parameter's place.
    pub fn default_json(&self) -> Option<Json> {
        match self.default {
            Default::Unset | Default::Means(_) | Default::Required | Default::Inner => None,
            Default::Bool(value) => Some(json!(value)),
            Default::Integer(value) => Some(json!(value)),
            Default::Number(value) => Some(json!(value)),
            Default::Text(value) => Some(json!(value)),
            Default::Texts(values) => Some(json!(values)),
            Default::EmptyMap => Some(json!({})),
        }
    }
}

impl Table {
    /// The row of that name.
    pub fn find(&self, name: &str) -> Option<&'static Row> {
        self.rows.iter().find(|row| row.name == name)
    }
}

impl Kind {
    /// Whether its values are never shown.
    pub fn is_secret(&self) -> bool {
        match self {
            Kind::Secret | Kind::SecretUrl(_) => true,
            Kind::List(inner) | Kind::Many(inner) | Kind::Map(inner) => inner.is_secret(),
            Kind::Either(kinds) => kinds.iter().any(Kind::is_secret),
            _ => false,
        }
    }

    /// What it takes, as a message or the reference page says it.
    pub fn expected(&self) -> String {
        match self {
            Kind::Bool => String::from("a boolean (true or false)"),
            Kind::Integer(min, max) => range(
                "an integer",
                &min.to_string(),
                &max.to_string(),
                *max == i64::MAX,
                *min == i64::MIN,
            ),
            Kind::Number(min, max) => range(
                "a number",
                &min.to_string(),
                &max.to_string(),
                *max == f64::MAX,
                *min == f64::MIN,
            ),
            Kind::Seconds(min, max) => range(
                "seconds",
                &min.to_string(),
                &max.to_string(),
                *max >= SECONDS_MAX,
                false,
            ),
            Kind::Period => String::from("a span such as 30s, 5m, 1h, 7d, 2w or 1mo"),
            Kind::Text | Kind::Secret => String::from("a string"),
            Kind::Name => String::from("a non-empty string"),
            Kind::Url(schemes) | Kind::SecretUrl(schemes) => format!(
                "a URL ({}) with a host",
                schemes
                    .iter()
                    .map(|s| format!("{s}://"))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
            Kind::Choice(words) | Kind::Known(words) => format!("one of {}", words.join(", ")),
            Kind::Python => String::from("module.name of a Python module beside the file"),
            Kind::Network => String::from("an IP address or a CIDR range"),
            Kind::List(inner) => format!("a list, each {}", inner.expected()),
            Kind::Many(inner) => format!("a list (or a single value), each {}", inner.expected()),
            Kind::Map(inner) => format!("a map, each value {}", inner.expected()),
            Kind::Table(_) => String::from("a map"),
            Kind::Fallbacks => String::from("a list of {model: [models]}, or a list of models"),
            Kind::Aliases => {
                String::from("a map of alias: model group, or alias: {model: group, hidden: true}")
            }
            Kind::Addresses => String::from("a list of [host, port]"),
            Kind::Either(kinds) => kinds
                .iter()
                .map(Kind::expected)
                .collect::<Vec<_>>()
                .join(", or "),
            Kind::Any => String::from("any value"),
        }
    }
}

/// The longest span in seconds that is accepted anywhere: a hundred years.
pub const SECONDS_MAX: f64 = 3_155_760_000.0;

fn range(what: &str, min: &str, max: &str, no_max: bool, no_min: bool) -> String {
    match (no_min, no_max) {
        (true, true) => what.to_owned(),
        (false, true) => format!("{what} of {min} or more"),
        (true, false) => format!("{what} of at most {max}"),
        (false, false) => format!("{what} from {min} to {max}"),
    }
}
