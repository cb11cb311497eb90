//! YAML text to a located tree, as PyYAML's `safe_load` would read it, within bounds.
//!
//! Events come from the parser crate; anchors, merge keys, duplicate keys and the limits are dealt
//! with here. All of it is one loop with its own stack: nothing recurses on what a file nests.

pub(crate) mod scalar;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use granit_parser::{Event, Parser, ScalarStyle, Span, Tag};

use crate::diagnostic::Findings;
use crate::tree::{Entry, Node, Origin, Position, Value};

/// Bytes of one file.
pub(crate) const FILE_BYTES_MAX: usize = 16 << 20;
/// Levels of maps and lists inside each other.
pub(crate) const NESTING_MAX: usize = 64;
/// Values of one file after its aliases are expanded.
pub(crate) const NODES_MAX: usize = 1 << 20;

/// Reads `text`, file number `file`. `None` when the syntax is broken; then `findings` says why.
pub(crate) fn read(text: &str, file: u16, findings: &mut Findings) -> Option<Node> {
    let start = Position {
        file,
        line: 1,
        column: 1,
    };
    if text.len() > FILE_BYTES_MAX {
        let message = format!(
            "a file of at most {FILE_BYTES_MAX} bytes is expected; got {}",
            text.len()
        );
        findings.error(start, "", message);
        return None;
    }
    let options = granit_parser::options! {
        emit_comments: false,
        block_scalar_eof_without_line_feed: true,
        flow_nesting_limit: NESTING_MAX,
        block_nesting_limit: NESTING_MAX,
    };
    let mut reader = Reader::new(file, findings);
    for next in Parser::new_from_str_with_options(text, options) {
        let outcome = match next {
            Ok((event, span)) => reader.event(event, span),
            Err(error) => {
                let mark = error.marker();
                Err((
                    reader.position(mark.line(), mark.col()),
                    explain(&error.info()),
                ))
            }
        };
        if let Err((at, message)) = outcome {
            reader.findings.error(at, "", message);
            return None;
        }
    }
    Some(reader.root.unwrap_or_else(|| Node::new(start, Value::Null)))
}

/// The parser's message, with the remedy for what people most often run into.
fn explain(info: &str) -> String {
    let lower = info.to_ascii_lowercase();
    if lower.contains("tab") {
        return format!("YAML syntax: {info}; indent with spaces, not tabs");
    }
    format!("YAML syntax: {info}")
}

type Failure = (Position, String);

/// A map or list that is not closed yet.
struct Open {
    at: Position,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map(Building),
}

/// A map under construction: its entries, what `<<` brought, and the key that waits for a value.
#[derive(Default)]
struct Building {
    entries: Vec<Entry>,
    names: HashMap<String, Position>,
    merged: Vec<Entry>,
    key: Option<Key>,
}

enum Key {
    Name(String, Position),
    Merge(Position),
}

struct Reader<'a> {
    file: u16,
    findings: &'a mut Findings,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    /// Anchors whose node is not complete yet.
    unfinished: HashSet<usize>,
    nodes: usize,
    documents: usize,
    root: Option<Node>,
}

impl<'a> Reader<'a> {
    fn new(file: u16, findings: &'a mut Findings) -> Reader<'a> {
        Reader {
            file,
            findings,
            open: Vec::new(),
            anchors: HashMap::new(),
            unfinished: HashSet::new(),
            nodes: 0,
            documents: 0,
            root: None,
        }
    }

    fn position(&self, line: usize, column: usize) -> Position {
        let narrow = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        Position {
            file: self.file,
            line: narrow(line),
            column: narrow(column.saturating_add(1)),
        }
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Failure> {
        let at = self.position(span.start.line(), span.start.col());
        match event {
            Event::DocumentStart(..) => self.document(at),
            Event::Scalar(text, style, anchor, tag) => {
                let node = scalar_node(text, style, tag.as_deref(), at)?;
                self.remember(anchor, &node);
                self.count(1, at)?;
                self.place(node, style == ScalarStyle::Plain)
            }
            Event::SequenceStart(_, anchor, _) => self.start(at, anchor, Content::List(Vec::new())),
            Event::MappingStart(_, anchor, tag) => {
                collection_tag(tag.as_deref(), at)?;
                self.start(at, anchor, Content::Map(Building::default()))
            }
            Event::SequenceEnd | Event::MappingEnd => self.finish(),
            Event::Alias(id) => self.alias(id, at),
            _ => Ok(()),
        }
    }

    fn document(&mut self, at: Position) -> Result<(), Failure> {
        self.documents += 1;
        if self.documents > 1 {
            let message = "one YAML document is expected; got a second one (`---`): join them, or \
                           put the other into a file of its own and name it under `include:`";
            return Err((at, String::from(message)));
        }
        Ok(())
    }

    fn count(&mut self, nodes: usize, at: Position) -> Result<(), Failure> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > NODES_MAX {
            let message =
                format!("at most {NODES_MAX} values are expected once aliases are expanded");
            return Err((at, message));
        }
        Ok(())
    }

    fn remember(&mut self, anchor: usize, node: &Node) {
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
    }

    fn start(&mut self, at: Position, anchor: usize, content: Content) -> Result<(), Failure> {
        self.count(1, at)?;
        if self.open.len() >= NESTING_MAX {
            return Err((at, too_deep()));
        }
        if anchor > 0 {
            self.unfinished.insert(anchor);
        }
        self.open.push(Open {
            at,
            anchor,
            content,
        });
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Failure> {
        let Some(Open {
            at,
            anchor,
            content,
        }) = self.open.pop()
        else {
            return Ok(());
        };
        let value = match content {
            Content::List(items) => Value::List(items),
            Content::Map(building) => Value::Map(building.merge()),
        };
        let node = Node::new(at, value);
        self.unfinished.remove(&anchor);
        self.remember(anchor, &node);
        self.place(node, false)
    }

    fn alias(&mut self, id: usize, at: Position) -> Result<(), Failure> {
        if self.unfinished.contains(&id) {
            return Err((
                at,
                String::from(
                    "an alias to a finished value is expected; this one is part of itself",
                ),
            ));
        }
        let Some(target) = self.anchors.get(&id) else {
            return Err((
                at,
                String::from("an alias to an anchor above it is expected"),
            ));
        };
        let (nodes, height) = (target.node_count(), target.height());
        self.count(nodes, at)?;
        if self.open.len() + height > NESTING_MAX {
            return Err((at, too_deep()));
        }
        let node = self
            .anchors
            .get(&id)
            .cloned()
            .unwrap_or_else(|| Node::new(at, Value::Null));
        self.place(node, false)
    }

    /// Puts a finished node where the innermost open map or list wants it.
    fn place(&mut self, node: Node, plain: bool) -> Result<(), Failure> {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.content {
            Content::List(items) => {
                items.push(node);
                Ok(())
            }
            Content::Map(building) => match building.key.take() {
                None => building.begin_key(node, plain),
                Some(Key::Merge(at)) => building.add_merged(node, at),
                Some(Key::Name(name, at)) => {
                    if let Some(message) = building.add(name, at, node, &self.findings.files) {
                        self.findings.error(at, "", message);
                    }
                    Ok(())
                }
            },
        }
    }
}

fn too_deep() -> String {
    format!("at most {NESTING_MAX} levels of nesting are expected")
}

impl Building {
    fn begin_key(&mut self, node: Node, plain: bool) -> Result<(), Failure> {
        let at = node.at;
        let name = match (node.value, node.raw) {
            (Value::Text(text), _) if plain && text == "<<" => {
                self.key = Some(Key::Merge(at));
                return Ok(());
            }
            (Value::Text(text), _) => text,
            (Value::List(_) | Value::Map(_), _) => {
                return Err((
                    at,
                    String::from("a name is expected as key; got a list or a map"),
                ));
            }
            (_, Some(raw)) => raw.into(),
            (value, None) => Node::new(at, value).to_json().to_string(),
        };
        self.key = Some(Key::Name(name, at));
        Ok(())
    }

    /// Adds an entry; the answer is the complaint about a name that was there already.
    fn add(&mut self, name: String, at: Position, value: Node, files: &[String]) -> Option<String> {
        if let Some(first) = self.names.get(&name) {
            let file = files
                .get(usize::from(first.file))
                .map_or("", String::as_str);
            let (line, column) = (first.line, first.column);
            return Some(format!(
                "`{name}` is expected once; it is already set at {file}:{line}:{column}"
            ));
        }
        self.names.insert(name.clone(), at);
        self.entries.push(Entry {
            key: name,
            at,
            value,
        });
        None
    }

    fn add_merged(&mut self, node: Node, at: Position) -> Result<(), Failure> {
        match node.value {
            Value::Map(entries) => self.merged.extend(entries),
            Value::List(items) => {
                for item in items {
                    let Value::Map(entries) = item.value else {
                        return Err((at, String::from("`<<` expects a map or a list of maps")));
                    };
                    self.merged.extend(entries);
                }
            }
            _ => return Err((at, String::from("`<<` expects a map or a list of maps"))),
        }
        Ok(())
    }

    /// The map: what `<<` brought comes first, the earlier of two merged maps wins, and the map's
    /// own entries win over all.
    fn merge(self) -> Vec<Entry> {
        if self.merged.is_empty() {
            return self.entries;
        }
        let mut taken: HashSet<String> = self.names.into_keys().collect();
        let mut entries: Vec<Entry> = self
            .merged
            .into_iter()
            .filter(|entry| taken.insert(entry.key.clone()))
            .collect();
        entries.extend(self.entries);
        entries
    }
}

fn unknown_tag(tag: &Tag, at: Position) -> Failure {
    (
        at,
        format!(
            "a plain value is expected; got the tag `{}`",
            tag.original()
        ),
    )
}

/// A map or list may carry the tag that says so, and no other.
fn collection_tag(tag: Option<&Tag>, at: Position) -> Result<(), Failure> {
    match tag {
        Some(tag) if !matches!(tag.core_suffix(), Some("map" | "seq")) && tag.original() != "!" => {
            Err(unknown_tag(tag, at))
        }
        _ => Ok(()),
    }
}

fn scalar_node(
    text: Cow<'_, str>,
    style: ScalarStyle,
    tag: Option<&Tag>,
    at: Position,
) -> Result<Node, Failure> {
    let core = match tag {
        None => None,
        Some(tag) if tag.original() == "!" => Some("str"),
        Some(tag) => Some(tag.core_suffix().ok_or_else(|| unknown_tag(tag, at))?),
    };
    let value = match (core, style) {
        (Some("str"), _) => Value::Text(text.into_owned()),
        (Some(_), _) | (None, ScalarStyle::Plain) => {
            let value = match (core, scalar::resolve_plain(&text)) {
                (Some("float"), Value::Integer(value)) => Value::Float(value as f64),
                (_, value) => value,
            };
            return Ok(Node {
                at,
                value,
                raw: Some(Box::from(&*text)),
                origin: Origin::File,
            });
        }
        (None, _) => Value::Text(text.into_owned()),
    };
    Ok(Node::new(at, value))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use serde_json::Value as Json;

    use super::*;

    fn read_all(text: &str) -> Result<Node, Vec<String>> {
        let mut findings = Findings {
            files: vec![String::from("f")],
            ..Findings::default()
        };
        let tree = read(text, 0, &mut findings);
        let errors = findings.take_errors();
        match tree {
            Some(tree) if errors.is_empty() => Ok(tree),
            _ => Err(errors.iter().map(ToString::to_string).collect()),
        }
    }

    fn refused(text: &str, expected: &str) {
        let errors = read_all(text).expect_err(text);
        assert!(errors[0].contains(expected), "{text:?}: {errors:?}");
    }

    fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = fs::read_dir(folder)
            .expect("the folder")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.to_string_lossy().ends_with(ending))
            .collect();
        paths.sort();
        paths
    }

    /// Every file under `tests/golden` is read as PyYAML read it when `generate.py` ran.
    #[test]
    fn the_golden_files_are_read_as_pyyaml_reads_them() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let paths = files(&folder, ".yaml");
        assert!(paths.len() >= 12);
        for path in paths {
            let text = fs::read_to_string(&path).expect("a golden file");
            let tree = read_all(&text).unwrap_or_else(|errors| panic!("{path:?}: {errors:?}"));
            let expected = fs::read_to_string(path.with_extension("json")).expect("its JSON");
            let expected: Json = serde_json::from_str(&expected).expect("JSON");
            compare(&tree.to_json(), &expected, &path.display().to_string());
        }
    }

    fn compare(ours: &Json, theirs: &Json, path: &str) {
        match (ours, theirs) {
            (Json::Object(ours), Json::Object(theirs)) => {
                let keys = |map: &serde_json::Map<String, Json>| {
                    let mut keys: Vec<String> = map.keys().cloned().collect();
                    keys.sort();
                    keys
                };
                assert_eq!(keys(ours), keys(theirs), "{path}");
                ours.iter().for_each(|(key, value)| {
                    compare(value, &theirs[key], &format!("{path}.{key}"))
                });
            }
            (Json::Array(ours), Json::Array(theirs)) => {
                assert_eq!(ours.len(), theirs.len(), "{path}");
                let pairs = ours.iter().zip(theirs).enumerate();
                pairs.for_each(|(index, (o, t))| compare(o, t, &format!("{path}[{index}]")));
            }
            _ => assert_eq!(ours, theirs, "{path}"),
        }
    }

    /// The same value, but for what YAML 1.1 reads another way: an exponent without a dot or a sign
    /// makes a text (it counts as a number where one is wanted), and an integer has no negative zero.
    fn same(ours: &Json, json: &Json) -> bool {
        match (ours, json) {
            (Json::String(text), Json::Number(number)) => text.parse().ok() == number.as_f64(),
            (Json::Number(ours), Json::Number(number)) => ours.as_f64() == number.as_f64(),
            (Json::Array(ours), Json::Array(theirs)) => {
                ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(o, t)| same(o, t))
            }
            (Json::Object(ours), Json::Object(theirs)) => {
                let found = |(key, value)| theirs.get(key).is_some_and(|json| same(value, json));
                ours.len() == theirs.len() && ours.iter().all(found)
            }
            _ => ours == json,
        }
    }

    /// JSON is YAML: what JSONTestSuite says must be accepted is accepted, with the same value.
    #[test]
    fn valid_json_is_read_as_json() {
        // A name twice is a mistake in a configuration; the others are characters that YAML forbids.
        const REFUSED: &[&str] = &[
            "y_object_duplicated_key.json",
            "y_object_duplicated_key_and_value.json",
            "y_string_nonCharacterInUTF-8_U+FFFF.json",
            "y_string_unescaped_char_delete.json",
            "y_string_with_del_character.json",
        ];
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let corpora = std::env::var_os("SHARDGATE_CORPORA")
            .map_or_else(|| root.join("../shared/corpora"), PathBuf::from);
        let folder = corpora.join("json_test_suite");
        if !folder.is_dir() {
            println!("skipped: {} is not there", folder.display());
            return;
        }
        let mut differing = Vec::new();
        for path in files(&folder, ".json") {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if !name.starts_with("y_") {
                continue;
            }
            let text = fs::read_to_string(&path).expect("UTF-8");
            let expected: Json = serde_json::from_str(&text).expect("JSON");
            match read_all(&text) {
                Ok(tree) if same(&tree.to_json(), &expected) => {}
                Err(_) if REFUSED.contains(&name.as_str()) => {}
                other => differing.push(format!("{name}: {other:?} for {text:?}")),
            }
        }
        assert!(differing.is_empty(), "{}", differing.join("\n"));
    }

    #[test]
    fn what_no_configuration_may_contain_is_refused_with_its_place() {
        refused(
            "a: 1\nb: 2\na: 3\n",
            "f:3:1: `a` is expected once; it is already set at f:1:1",
        );
        refused("a: 1\n---\nb: 2\n", "f:2:1: one YAML document is expected");
        refused("a:\n\tb: 1\n", "indent with spaces, not tabs");
        refused("a: [1, 2\nb: 3\n", "f:");
        refused("a: *nothing\n", "f:1:4: ");
        refused("a: &a [*a]\n", "part of itself");
        refused("[1]: 2\n", "a name is expected as key");
        refused("<<: 1\n", "`<<` expects a map");
        refused("a: !!binary aGk=\n", "binary");
        refused("a: !!set {b, c}\n", "set");
        refused("a: !Own {b: c}\n", "!Own");
        refused("a: 'not closed\n", "f:");
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = format!("a: {}{}", "[".repeat(NESTING_MAX), "]".repeat(NESTING_MAX));
        refused(&deep, "f:1:");
        let legal = format!(
            "a: {}{}",
            "[".repeat(NESTING_MAX - 1),
            "]".repeat(NESTING_MAX - 1)
        );
        assert!(read_all(&legal).is_ok());
        refused(&"[".repeat(5_000_000), "f:1:");
        let block: String = (0..100)
            .map(|level| format!("{}a:\n", " ".repeat(level)))
            .collect();
        refused(&block, "f:");
        let chain: String = (0..100)
            .map(|n| format!("k{}: &a{} [*a{n}]\n", n + 1, n + 1))
            .collect();
        refused(&format!("k0: &a0 x\n{chain}"), "levels of nesting");
    }

    #[test]
    fn aliases_cannot_blow_up() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..10 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        refused(&text, "once aliases are expanded");
    }

    #[test]
    fn a_file_is_bounded() {
        refused(&"#".repeat(FILE_BYTES_MAX + 1), "a file of at most");
    }
}
