//! Words that may not stand in the repository: paths of one machine, hosts of package registries.
//! A clone must build and test anywhere, and say nothing about where it was written.

use crate::report;
use crate::source;

/// Files that tools write, or that hold recorded data.
const EXEMPT: [&str; 4] = [
    "Cargo.lock",
    "tests/golden/",
    "LICENSE",
    "tests/tidy/words.rs",
];

/// What may not stand in a file.
const FORBIDDEN: [&str; 8] = [
    "/work/",
    "/root/",
    "/opt/wheels",
    "registry.npmjs",
    "pypi.org",
    "files.pythonhosted",
    "static.crates",
    "deb.debian",
];

#[test]
fn no_machine_paths_or_registry_hosts() {
    let mut findings = Vec::new();
    for path in source::files() {
        if EXEMPT
            .iter()
            .any(|exempt| path.starts_with(exempt) || path.ends_with("/Cargo.lock"))
        {
            continue;
        }
        let Some(text) = source::read(&path) else {
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            let words = FORBIDDEN.iter().filter(|word| line.contains(**word));
            findings.extend(words.map(|word| format!("{path}:{} holds {word}", number + 1)));
        }
    }
    report(
        "no machine paths, no registry hosts",
        "use a path relative to the repository, a temporary folder, or the client's own settings",
        &findings,
    );
}
