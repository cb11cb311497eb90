//! From a path or a text to a `Config`: the steps in their order, and the files that `include:`
//! brings in.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

use crate::check::Check;
use crate::diagnostic::{Diagnostic, Findings};
use crate::environment::Environment;
use crate::rows::ROOT;
use crate::semantics;
use crate::settings::{Config, Kept, ModelEntry, Secret};
use crate::tree::{Entry, Node, Origin, Position, Value};
use crate::yaml;

/// Files that one configuration may consist of.
const FILES_MAX: usize = 256;

/// How a configuration is to be read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// Unknown names are errors, not warnings.
    pub strict: bool,
    /// Sections as JSON, each of whose parameters stands in place of the file's: settings that were
    /// made while the gateway ran.
    pub over: Option<&'a str>,
}

/// A configuration that may be served, and what is to be said about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is odd but no reason to refuse it, in the order of the file.
    pub warnings: Vec<Diagnostic>,
    /// Parameters that are set and have no effect yet, as `general_settings.alerting` or
    /// `model_list[].litellm_params.rpm`, each once.
    pub not_in_force: Vec<String>,
}

/// Reads the file at `path` and the files it includes.
///
/// # Errors
/// Every mistake of the files, in their order; never a part of a configuration.
pub fn load(
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    options: Options<'_>,
) -> Result<Loaded, Vec<Diagnostic>> {
    let mut findings = Findings {
        strict: options.strict,
        ..Findings::default()
    };
    let mut sources = Sources { paths: Vec::new() };
    let name = path.display().to_string();
    let mut tree = sources.read(path, name, None, &mut findings);
    put_over(&mut tree, options.over, &mut findings);
    finish(tree, env, findings)
}

/// Reads a text as the content of a file called `file_name`. It can include no files.
///
/// # Errors
/// Every mistake of the text, in its order; never a part of a configuration.
pub fn parse(
    text: &str,
    file_name: &str,
    env: &dyn Fn(&str) -> Option<String>,
    options: Options<'_>,
) -> Result<Loaded, Vec<Diagnostic>> {
    let mut findings = Findings {
        strict: options.strict,
        ..Findings::default()
    };
    findings.files.push(file_name.to_owned());
    let mut tree = yaml::read(text, 0, &mut findings);
    put_over(&mut tree, options.over, &mut findings);
    if let Some(include) = tree.as_ref().and_then(|tree| tree.entry("include"))
        && !include.value.items().is_empty()
    {
        findings.error(
            include.at,
            "include",
            "only a configuration that is a file can include others",
        );
    }
    finish(tree, env, findings)
}

/// What a file says as it is written, with `over` in place: nothing is resolved, checked or completed,
/// and no secret is in it. Null for what cannot be read.
pub fn written(path: &Path, over: Option<&str>) -> Json {
    let mut findings = Findings::default();
    let mut sources = Sources { paths: Vec::new() };
    let name = path.display().to_string();
    let mut tree = sources.read(path, name, None, &mut findings);
    put_over(&mut tree, over, &mut findings);
    tree.map_or(Json::Null, |tree| {
        crate::written::without_secrets(tree.to_json())
    })
}

/// The same of a text.
pub fn written_text(text: &str, over: Option<&str>) -> Json {
    let mut findings = Findings::default();
    let mut tree = yaml::read(text, 0, &mut findings);
    put_over(&mut tree, over, &mut findings);
    tree.map_or(Json::Null, |tree| {
        crate::written::without_secrets(tree.to_json())
    })
}

/// Puts the parameters of `over` in place of the tree's.
fn put_over(tree: &mut Option<Node>, over: Option<&str>, findings: &mut Findings) {
    let Some((tree, text)) = tree.as_mut().zip(over) else {
        return;
    };
    let file = u16::try_from(findings.files.len()).unwrap_or(u16::MAX);
    findings.files.push("database".to_owned());
    let Some(part) = yaml::read(text, file, findings) else {
        return;
    };
    if tree.is_null() {
        tree.value = Value::Map(Vec::new());
    }
    let Value::Map(sections) = &mut tree.value else {
        return;
    };
    let Value::Map(over) = part.value else {
        return;
    };
    for section in over {
        match sections.iter_mut().find(|have| have.key == section.key) {
            Some(have) if matches!(have.value.value, Value::Map(_)) => {
                replace(&mut have.value, section.value);
            }
            Some(have) => have.value = section.value,
            None => sections.push(section),
        }
    }
}

fn replace(section: &mut Node, over: Node) {
    let (Value::Map(entries), Value::Map(over)) = (&mut section.value, over.value) else {
        return;
    };
    for entry in over {
        match entries.iter_mut().find(|have| have.key == entry.key) {
            // Routes that are passed on are added to the file's.
            Some(have) if entry.key == "pass_through_endpoints" => {
                if let (Value::List(items), Value::List(more)) =
                    (&mut have.value.value, entry.value.value)
                {
                    items.extend(more);
                }
            }
            Some(have) => *have = entry,
            None => entries.push(entry),
        }
    }
}

/// The files that were read so far.
struct Sources {
    paths: Vec<PathBuf>,
}

impl Sources {
    /// One file and what it includes, as one tree. `asked` is the place that named it.
    fn read(
        &mut self,
        path: &Path,
        name: String,
        asked: Option<Position>,
        findings: &mut Findings,
    ) -> Option<Node> {
        let file = u16::try_from(self.paths.len()).unwrap_or(u16::MAX);
        let text = read_text(path);
        let text = match text {
            Ok(text) => text,
            Err((message, mark)) => {
                match (asked, mark) {
                    (Some(at), None) => findings.error(at, "include", format!("{name}: {message}")),
                    (_, mark) => {
                        self.paths.push(path.to_owned());
                        findings.files.push(name);
                        let (line, column) = mark.unwrap_or_default();
                        findings.error(Position { file, line, column }, "", message);
                    }
                }
                return None;
            }
        };
        self.paths.push(path.to_owned());
        findings.files.push(name);
        let mut tree = yaml::read(&text, file, findings)?;
        self.include(path, &mut tree, findings);
        Some(tree)
    }

    fn include(&mut self, path: &Path, tree: &mut Node, findings: &mut Findings) {
        let Some(include) = tree.entry("include").cloned() else {
            return;
        };
        for item in include.value.items() {
            let Value::Text(name) = &item.value else {
                continue;
            };
            let target = path.parent().unwrap_or(Path::new("")).join(name);
            if self.paths.contains(&target) {
                let message = format!("a file is expected once; {name} is read already");
                findings.error(item.at, "include", message);
                continue;
            }
            if self.paths.len() >= FILES_MAX {
                let message = format!("at most {FILES_MAX} files are expected");
                findings.error(item.at, "include", message);
                return;
            }
            let shown = target.display().to_string();
            match self.read(&target, shown, Some(item.at), findings) {
                Some(part) if matches!(part.value, Value::Map(_) | Value::Null) => {
                    merge(tree, part, "", findings);
                }
                Some(part) => findings.error(part.at, "", not_a_map(&part)),
                None => {}
            }
        }
    }
}

fn not_a_map(tree: &Node) -> String {
    format!("a map of sections is expected; got {}", tree.kind_name())
}

/// Lists are appended, maps merged; what both set is the included file's, with a warning.
fn merge(into: &mut Node, from: Node, path: &str, findings: &mut Findings) {
    match (&mut into.value, from.value) {
        (Value::Map(entries), Value::Map(included)) => {
            for Entry { key, at, value } in included {
                if path.is_empty() && key == "include" {
                    continue;
                }
                let inner = crate::environment::join(path, &key);
                match entries.iter_mut().find(|entry| entry.key == key) {
                    Some(entry) => merge(&mut entry.value, value, &inner, findings),
                    None => entries.push(Entry { key, at, value }),
                }
            }
        }
        (Value::List(items), Value::List(included)) => items.extend(included),
        (value @ Value::Null, included) => {
            *value = included;
            into.at = from.at;
        }
        (_, Value::Null) => {}
        (value, included) => {
            if *value != included {
                let message = "also set in the including file; this one wins";
                findings.warn(from.at, path, message);
            }
            *value = included;
            into.at = from.at;
            into.raw = from.raw;
            into.origin = Origin::File;
        }
    }
}

type Unreadable = (String, Option<(u32, u32)>);

fn read_text(path: &Path) -> Result<String, Unreadable> {
    let unreadable = |error: std::io::Error| (format!("cannot be read: {error}"), None);
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    let limit = yaml::FILE_BYTES_MAX as u64 + 1;
    file.take(limit)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() > yaml::FILE_BYTES_MAX {
        let message = format!(
            "a file of at most {} bytes is expected",
            yaml::FILE_BYTES_MAX
        );
        return Err((message, None));
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let start = before
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let column = String::from_utf8_lossy(&before[start..]).chars().count() + 1;
        let narrow = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let message = String::from("UTF-8 is expected; got a byte that is not");
        (message, Some((narrow(line), narrow(column))))
    })
}

fn finish(
    tree: Option<Node>,
    env: &dyn Fn(&str) -> Option<String>,
    mut findings: Findings,
) -> Result<Loaded, Vec<Diagnostic>> {
    let config = tree.and_then(|tree| build(tree, env, &mut findings));
    let errors = findings.take_errors();
    match config {
        Some(config) if errors.is_empty() => Ok(Loaded {
            config,
            warnings: findings.take_warnings(),
            not_in_force: findings.not_in_force,
        }),
        _ => Err(errors),
    }
}

fn build(
    mut tree: Node,
    env: &dyn Fn(&str) -> Option<String>,
    findings: &mut Findings,
) -> Option<Config> {
    if !matches!(tree.value, Value::Map(_) | Value::Null) {
        findings.error(tree.at, "", not_a_map(&tree));
        return None;
    }
    let section = tree
        .entry("environment_variables")
        .map(|entry| entry.value.clone());
    let environment = Environment::read(section.as_ref(), env, findings);
    if let Value::Map(entries) = &mut tree.value {
        for entry in entries
            .iter_mut()
            .filter(|entry| entry.key != "environment_variables")
        {
            environment.resolve(&mut entry.value, &entry.key, findings);
        }
    }
    let checked = Check {
        environment: &environment,
        findings,
    }
    .table(&ROOT, &tree, "");
    semantics::check(&tree, &checked, &environment, findings);
    if !findings.errors.is_empty() {
        return None;
    }
    let section = environment.section.iter();
    let section = section
        .map(|(name, value)| (name.clone(), Secret::new(value.clone())))
        .collect();
    typed(checked, section, &tree, findings)
}

/// The checked map as types. It cannot fail but for a row and a field that differ.
fn typed(
    mut checked: Map<String, Json>,
    environment: Vec<(String, Secret)>,
    tree: &Node,
    findings: &mut Findings,
) -> Option<Config> {
    let entries = checked.remove("model_list");
    let entries = entries
        .as_ref()
        .and_then(Json::as_array)
        .cloned()
        .unwrap_or_default();
    let places = tree
        .entry("model_list")
        .map(|entry| entry.value.items())
        .unwrap_or_default();
    let models = entries
        .into_iter()
        .zip(places)
        .map(|(entry, place)| model(entry, place.at));
    let config = Config {
        environment,
        models: models.collect(),
        litellm: section(&mut checked, "litellm_settings", findings)?,
        callbacks: section(&mut checked, "callback_settings", findings)?,
        general: section(&mut checked, "general_settings", findings)?,
        router: section(&mut checked, "router_settings", findings)?,
        unknown: Kept::new(object(checked.remove("unknown"))),
        sections: {
            checked.remove("environment_variables");
            checked.remove("include");
            Kept::new(checked)
        },
    };
    Some(config)
}

fn model(entry: Json, at: Position) -> ModelEntry {
    let mut entry = object(Some(entry));
    let mut litellm_params = object(entry.remove("litellm_params"));
    for limit in ["rpm", "tpm"] {
        if let (Some(value), false) = (entry.remove(limit), litellm_params.contains_key(limit)) {
            litellm_params.insert(limit.to_owned(), value);
        }
    }
    ModelEntry {
        model_name: entry
            .get("model_name")
            .and_then(Json::as_str)
            .unwrap_or_default()
            .to_owned(),
        litellm_params,
        model_info: object(entry.remove("model_info")),
        at,
    }
}

fn object(value: Option<Json>) -> Map<String, Json> {
    match value {
        Some(Json::Object(map)) => map,
        _ => Map::new(),
    }
}

fn section<T: DeserializeOwned>(
    checked: &mut Map<String, Json>,
    name: &str,
    findings: &mut Findings,
) -> Option<T> {
    match serde_json::from_value(Json::Object(object(checked.remove(name)))) {
        Ok(section) => Some(section),
        Err(error) => {
            let message = format!("row and field differ, a defect of shardgate-config: {error}");
            findings.error(Position::default(), name, message);
            None
        }
    }
}
