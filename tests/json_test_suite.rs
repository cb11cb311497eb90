//! JSONTestSuite, an outside judge of what is JSON: every file is accepted or refused rightly by the scanner, as a body and
//! as a value in one.

use std::path::PathBuf;

use shardgate::dialect::scan::{ScanErrorKind, scan};

fn refused(body: &[u8]) -> Option<ScanErrorKind> {
    scan(body).err().map(|error| error.kind)
}

/// The corpora stand beside the repository, or where `SHARDGATE_CORPORA` says; without them the test says so.
fn corpus() -> PathBuf {
    let root = std::env::var_os("SHARDGATE_CORPORA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/corpora"),
        PathBuf::from,
    );
    root.join("json_test_suite")
}

#[test]
fn the_json_test_suite_is_judged_rightly() {
    let folder = corpus();
    if !folder.is_dir() {
        println!("skipped: {} is not there", folder.display());
        return;
    }
    let mut files = vec![folder];
    let mut judged = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(
                std::fs::read_dir(path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !name.ends_with(".json") || !(name.starts_with("y_") || name.starts_with("n_")) {
            continue;
        }
        let text = std::fs::read(&path).unwrap();
        let valid = name.starts_with("y_");
        let whole = matches!(
            refused(&text),
            None | Some(ScanErrorKind::NotAnObject | ScanErrorKind::DuplicateField)
        );
        assert_eq!(whole, valid, "{name} as a body");
        let field = [b"{\"field\": ".as_slice(), &text, b", \"next\": 1}"].concat();
        assert_eq!(refused(&field).is_none(), valid, "{name} as a value");
        judged += 1;
    }
    assert!(judged > 250, "only {judged} files");
}
