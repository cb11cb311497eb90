//! What parameters say about each other: the checks that no single row can make.

use serde_json::{Map, Value as Json};

use crate::diagnostic::Findings;
use crate::environment::Environment;
use crate::tree::Node;

/// Looks at a whole configuration after its rows were checked.
pub(crate) fn check(
    tree: &Node,
    checked: &Map<String, Json>,
    environment: &Environment<'_>,
    findings: &mut Findings,
) {
    let _ = (tree, checked, environment, findings);
}
