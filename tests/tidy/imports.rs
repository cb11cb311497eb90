//! Who may import whom. The arrows are those of ARCHITECTURE.md ("Who may import whom"); a file
//! that needs another arrow is in the wrong folder, or the arrow has to be argued for there first.

use crate::report;
use crate::source::{self, Source};

/// Plain functions of bytes, snapshot, `now` and a random generator that are passed in.
const POLICIES: [&str; 6] = ["dialect", "provider", "router", "auth", "limit", "spend"];

/// The arrows among policies.
const ARROWS: [(&str, &str); 3] = [
    ("provider", "dialect"),
    ("spend", "dialect"),
    ("router", "limit"),
];

/// What a policy may not name: input and output, clocks, threads, random sources.
const IMPURE: [&str; 22] = [
    "std::fs",
    "std::process",
    "std::thread",
    "std::env",
    "std::sync::Mutex",
    "std::sync::RwLock",
    "std::os",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "Instant::now",
    "SystemTime",
    "tokio",
    "axum",
    "socket2",
    "libc::",
    "getrandom",
    "rand::",
    "fastrand",
    "thread_local!",
    "static mut",
];

/// Modules of the gateway that a policy may not see.
const NOT_FOR_POLICIES: [&str; 13] = [
    "shard",
    "coordinator",
    "snapshot",
    "endpoint",
    "admin",
    "cli",
    "observe",
    "message",
    "store",
    "cache",
    "callback",
    "hooks",
    "lib",
];

/// Where config types may be named: from the file to the snapshot, and not a step further.
const MAY_SEE_CONFIG: [&str; 6] = ["snapshot", "cli", "coordinator", "admin", "main", "lib"];

/// Every `crate::x` a file names, with its line: plain paths and the first level of `use` groups.
fn siblings(source: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in source.code.match_indices("crate::") {
        let line = source.code[..at].matches('\n').count() + 1;
        let rest = &source.code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => {
                let names = first_level(group);
                found.extend(names.into_iter().map(|name| (line, name)));
            }
            None => found.push((line, word(rest))),
        }
    }
    found
}

fn word(text: &str) -> String {
    let text = text.trim_start();
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// The first names of the comma-separated entries of a `use` group, nested groups skipped.
fn first_level(group: &str) -> Vec<String> {
    let mut names = vec![word(group)];
    let mut depth = 0_usize;
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(word(&group[at + 1..])),
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// Lines of `sources` whose code holds `needle` as a path or word of its own.
fn mentions(source: &Source, needle: &str) -> Vec<String> {
    let stands_alone = |line: &str, at: usize| {
        let before = line[..at].chars().next_back();
        let after = line[at + needle.len()..].chars().next();
        let wordy = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !wordy(before) && (needle.ends_with([':', '!']) || !wordy(after))
    };
    source
        .lines()
        .filter(|(_, line)| {
            line.match_indices(needle)
                .any(|(at, _)| stands_alone(line, at))
        })
        .map(|(number, _)| format!("{}:{number} names {needle}", source.path))
        .collect()
}

/// Rust files under a `src/` folder: the code that ships.
fn shipped() -> Vec<Source> {
    let mut sources = source::rust();
    sources.retain(|s| s.path.starts_with("src/") || s.path.contains("/src/"));
    sources.retain(|s| !s.path.starts_with("tests/"));
    sources
}

#[test]
fn io_and_config_import_nothing_of_ours() {
    let mut findings = Vec::new();
    for source in shipped() {
        let foreign: &[&str] = match source.krate() {
            "io" => &["shardgate_config", "shardgate", "shardgate_bench"],
            "config" => &["shardgate_io", "shardgate", "shardgate_bench"],
            _ => continue,
        };
        findings.extend(foreign.iter().flat_map(|name| mentions(&source, name)));
    }
    report(
        "io/ and config/ import nothing of ours",
        "pass what is needed in as a plain value, or move the code to the crate that knows both",
        &findings,
    );
}

#[test]
fn shard_and_coordinator_meet_in_snapshot_and_messages_only() {
    let mut findings = Vec::new();
    for source in shipped() {
        let forbidden = match source.module() {
            Some("shard") => "coordinator",
            Some("coordinator") => "shard",
            _ => continue,
        };
        let seen = siblings(&source)
            .into_iter()
            .filter(|(_, name)| name == forbidden);
        findings.extend(seen.map(|(line, name)| format!("{}:{line} crate::{name}", source.path)));
    }
    report(
        "shard/ and coordinator/ never import each other",
        "send a message (src/message.rs) or publish it in the snapshot (src/snapshot/)",
        &findings,
    );
}

#[test]
fn config_types_stop_at_the_snapshot() {
    let mut findings = Vec::new();
    for source in shipped() {
        if source
            .module()
            .is_some_and(|module| !MAY_SEE_CONFIG.contains(&module))
        {
            findings.extend(mentions(&source, "shardgate_config"));
        }
    }
    report(
        "config types are named from the file to src/snapshot/ only",
        "give the module a plain struct of its own and fill it in src/snapshot/",
        &findings,
    );
}

#[test]
fn policies_are_pure() {
    let mut findings = Vec::new();
    for source in shipped() {
        if source
            .module()
            .is_some_and(|module| POLICIES.contains(&module))
        {
            let code = Source {
                code: without_tests(&source.code),
                ..source
            };
            findings.extend(IMPURE.iter().flat_map(|name| mentions(&code, name)));
        }
    }
    report(
        "policies (dialect, provider, router, auth, limit, spend) do no I/O and read no clock",
        "take `now`, the random generator or the bytes as an argument; the shard does the rest",
        &findings,
    );
}

#[test]
fn policies_import_only_along_their_arrows() {
    let mut findings = Vec::new();
    for source in shipped() {
        let Some(from) = source.module().filter(|module| POLICIES.contains(module)) else {
            continue;
        };
        for (line, to) in siblings(&source) {
            let policy = POLICIES.contains(&to.as_str()) && to != from;
            let allowed = ARROWS.contains(&(from, to.as_str()));
            if (policy && !allowed) || NOT_FOR_POLICIES.contains(&to.as_str()) {
                findings.push(format!("{}:{line} {from} -> {to}", source.path));
            }
        }
    }
    report(
        "among policies only provider -> dialect, spend -> dialect, router -> limit",
        "pass the value in from src/shard/, or move the type to the module that owns the word",
        &findings,
    );
}

#[test]
fn only_the_driver_names_the_runtime() {
    let mut findings = Vec::new();
    for source in source::rust() {
        if !source.path.starts_with("io/src/driver") && !source.path.starts_with("tests/tidy/") {
            findings.extend(mentions(&source, "monoio"));
        }
    }
    let manifests = ["Cargo.toml", "config/Cargo.toml", "bench/Cargo.toml"];
    for path in manifests {
        let text = source::read(path).unwrap_or_default();
        let used = text
            .lines()
            .any(|line| line.starts_with("monoio.workspace"));
        findings.extend(used.then(|| format!("{path} depends on monoio")));
    }
    report(
        "only io/src/driver names monoio",
        "use shardgate_io's types; what is missing there is added to io/src/driver",
        &findings,
    );
}

#[test]
fn unsafe_stands_in_io_only() {
    let mut findings = Vec::new();
    for source in source::rust() {
        if source.krate() != "io" {
            findings.extend(mentions(&source, "unsafe"));
        }
    }
    report(
        "only io/ may hold unsafe",
        "use a safe call of std, libc's wrapper in socket2, or give io/ a safe function",
        &findings,
    );
}

/// The code before its `#[cfg(test)]` module: tests may read files and clocks.
fn without_tests(code: &str) -> String {
    let end = code.find("#[cfg(test)]\nmod ").unwrap_or(code.len());
    code[..end].to_owned()
}

#[test]
fn groups_are_read() {
    let names = first_level("limit::{Bucket, Slice}, router, spend::Cost};");
    assert_eq!(names, ["limit", "router", "spend"]);
}
