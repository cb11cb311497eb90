//! `environment_variables` and `os.environ/NAME`.
//!
//! The section's entries win over the process's environment, everywhere. A name that is nowhere is
//! an error at the place that asked for it. No value ever gets into a message.

use std::collections::HashMap;

use crate::diagnostic::Findings;
use crate::tree::{Entry, Node, Origin, Value};

/// What a value that stands for a variable begins with.
pub(crate) const PREFIX: &str = "os.environ/";

/// The names a configuration sees.
pub(crate) struct Environment<'a> {
    /// `environment_variables`, in the order of the file.
    pub(crate) section: Vec<(String, String)>,
    by_name: HashMap<String, String>,
    process: &'a dyn Fn(&str) -> Option<String>,
}

impl<'a> Environment<'a> {
    /// Reads the section; its own values may refer to the process's environment.
    pub(crate) fn read(
        section: Option<&Node>,
        process: &'a dyn Fn(&str) -> Option<String>,
        findings: &mut Findings,
    ) -> Environment<'a> {
        let mut environment = Environment {
            section: Vec::new(),
            by_name: HashMap::new(),
            process,
        };
        for entry in section.map(Node::entries).unwrap_or_default() {
            if let Some(value) = environment.section_value(entry, findings) {
                environment.by_name.insert(entry.key.clone(), value.clone());
                environment.section.push((entry.key.clone(), value));
            }
        }
        environment
    }

    fn section_value(&self, entry: &Entry, findings: &mut Findings) -> Option<String> {
        let path = format!("environment_variables.{}", entry.key);
        let text = match (&entry.value.value, &entry.value.raw) {
            (Value::Text(text), _) => text.clone(),
            (Value::Null, _) => return None,
            (Value::List(_) | Value::Map(_), _) | (_, None) => {
                let got = entry.value.kind_name();
                findings.error(
                    entry.value.at,
                    &path,
                    format!("a string is expected; got {got}"),
                );
                return None;
            }
            (_, Some(raw)) => raw.to_string(),
        };
        let Some(name) = text.strip_prefix(PREFIX) else {
            return Some(text);
        };
        let value = (self.process)(name.trim());
        if value.is_none() {
            findings.error(entry.value.at, &path, missing(name));
        }
        value
    }

    /// The value of a name: the section's, else the process's.
    pub(crate) fn value(&self, name: &str) -> Option<String> {
        self.by_name
            .get(name)
            .cloned()
            .or_else(|| (self.process)(name))
    }

    /// Replaces every `os.environ/NAME` below `node`, at whatever depth.
    pub(crate) fn resolve(&self, node: &mut Node, path: &str, findings: &mut Findings) {
        match &mut node.value {
            Value::Map(entries) => {
                for entry in entries {
                    let inner = join(path, &entry.key);
                    self.resolve(&mut entry.value, &inner, findings);
                }
            }
            Value::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.resolve(item, &format!("{path}[{index}]"), findings);
                }
            }
            Value::Text(text) => {
                let Some(name) = text.strip_prefix(PREFIX).map(|name| name.trim().to_owned())
                else {
                    return;
                };
                node.raw = None;
                match self.value(&name) {
                    Some(value) => {
                        *text = value;
                        node.origin = Origin::Environment(name);
                    }
                    None => {
                        findings.error(node.at, path, missing(&name));
                        node.origin = Origin::Missing;
                    }
                }
            }
            _ => {}
        }
    }
}

fn missing(name: &str) -> String {
    let name = name.trim();
    if name.is_empty() {
        return format!("a name is expected after `{PREFIX}`");
    }
    format!(
        "the environment variable {name} is expected to be set (`{PREFIX}{name}`); it is neither \
         in the process's environment nor under `environment_variables`"
    )
}

/// `path.name`, or `name` at the top.
pub(crate) fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}
