//! Our rules as tests: who may import whom, how long a file or a function may be, which words may
//! not stand in the repository. It reads files and nothing else: no process, no network, none of
//! the crates it judges. Every failure names the file, the line and the remedy.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod documents;
mod imports;
mod shape;
mod source;
mod tables;
mod words;

/// Fails with every finding at once, one a line, so that one run shows all that is to be mended.
fn report(rule: &str, remedy: &str, findings: &[String]) {
    assert!(
        findings.is_empty(),
        "\n{rule}: {} finding(s)\n  {}\nremedy: {remedy}\n",
        findings.len(),
        findings.join("\n  ")
    );
}
