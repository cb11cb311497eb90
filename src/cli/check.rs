//! `shardgate check FILE`: every mistake of a config file, and nothing started.

use std::path::Path;
use std::process::ExitCode;

use super::{complain, say};
use crate::coordinator::{Lasting, Secrets, Source};

/// Reports all mistakes of `file`; exit code 0 (good, warnings may be printed) or 2.
pub(super) fn run(file: &Path, strict: bool) -> ExitCode {
    let source = Source::File {
        path: file.to_owned(),
        strict,
        secrets: Secrets::Assumed,
    };
    match source.build(&Lasting::new(1), 1) {
        Ok((snapshot, read)) => {
            read.warnings
                .iter()
                .for_each(|warning| complain(&format!("warning: {warning}")));
            if !read.not_in_force.is_empty() {
                let names = read.not_in_force.join(", ");
                complain(&format!("warning: accepted, not in force yet: {names}"));
            }
            let (file, models) = (file.display(), snapshot.deployments.len());
            say(&format!(
                "{file}: good, {models} deployments in {} groups",
                snapshot.groups()
            ));
            ExitCode::SUCCESS
        }
        Err(errors) => {
            errors
                .iter()
                .for_each(|error| complain(&format!("error: {error}")));
            let plural = if errors.len() == 1 { "" } else { "s" };
            complain(&format!(
                "{}: {} error{plural}",
                file.display(),
                errors.len()
            ));
            ExitCode::from(2)
        }
    }
}
