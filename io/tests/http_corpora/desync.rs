//! http-desync-guardian: Ambiguous and Severe requests are refused, Compliant and Acceptable ones are served,
//! save those that are refused on purpose (listed with their reason).

use serde::Deserialize;
use shardgate_io::http1::head::{Limits, Parse, RequestHead, parse_request};

#[derive(Deserialize)]
struct Case {
    name: String,
    uri: String,
    method: String,
    version: String,
    headers: Option<Vec<Field>>,
    expected: Expected,
}

#[derive(Deserialize)]
struct Field {
    name: Option<String>,
    value: Option<String>,
}

#[derive(Deserialize)]
struct Expected {
    tier: String,
    reason: String,
}

/// Served by the guardian, refused here: a part of the case's name, and why.
const REFUSED_ON_PURPOSE: &[(&str, &str)] = &[
    (
        "some others are non-compliant",
        "a blank before the colon is refused in every header",
    ),
    ("with a non-printable character", "header names are tokens"),
    (
        "Some-Header",
        "header names are tokens, values hold no control bytes",
    ),
    ("HTTP/0.9", "505: HTTP/1.0 and 1.1 only"),
    ("HTTP/1.2", "505: HTTP/1.0 and 1.1 only"),
    ("Extra spaces in version", "the request line has two blanks"),
    ("[space] in URI", "the request line has two blanks"),
    ("%09 in URI", "no encoded control bytes in a path"),
    ("%0D in URI", "no encoded control bytes in a path"),
    ("%0A in URI", "no encoded control bytes in a path"),
    (
        "Different Transfer-Encoding",
        "no transfer coding but chunked",
    ),
    (
        "Transfer-Encoding with a param",
        "no transfer coding but chunked",
    ),
    ("Correct TE", "no transfer coding but chunked"),
    ("identity and chunked", "no transfer coding but chunked"),
    (
        "Multiple transfer encoding",
        "no transfer coding but chunked",
    ),
    (
        "TE with custom parameters",
        "no transfer coding but chunked",
    ),
    (
        "Compliant URL",
        "a fragment does not travel; the case has # and a backslash",
    ),
    (
        "International in URI",
        "bytes above 127 must be percent-encoded",
    ),
    ("Empty URI", "a target has at least one byte"),
];

#[test]
fn tiers() {
    let Some(corpora) = crate::corpora() else {
        return;
    };
    let mut wrong = Vec::new();
    let mut counts = [0; 2];
    for entry in std::fs::read_dir(corpora.join("http_desync")).expect("corpus") {
        let path = entry.expect("entry").path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("readable");
        let cases: Vec<Case> = serde_saphyr::from_str(&text).expect("cases");
        for case in cases {
            let refusal = verdict(&case);
            let served = matches!(case.expected.tier.as_str(), "Compliant" | "Acceptable");
            counts[usize::from(served)] += 1;
            let on_purpose = REFUSED_ON_PURPOSE
                .iter()
                .any(|(name, _)| case.name.contains(name));
            let excused = served && on_purpose;
            if served == refusal.is_some() && !excused {
                let file = path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                wrong.push(format!(
                    "{file}: {} [{} {}]: {refusal:?}",
                    case.name, case.expected.tier, case.expected.reason
                ));
            }
        }
    }
    println!("desync: {} to refuse, {} to serve", counts[0], counts[1]);
    assert!(
        wrong.is_empty(),
        "{} disagree:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// The refusal's reason, or `None` when the request is served.
fn verdict(case: &Case) -> Option<String> {
    let mut bytes = Vec::new();
    let mut line = format!("{} {}", case.method, case.uri);
    if !case.version.is_empty() {
        line.push(' ');
        line.push_str(&case.version);
    }
    push_latin1(&mut bytes, &line);
    bytes.extend_from_slice(b"\r\n");
    let headers = case.headers.as_deref().unwrap_or_default();
    let has_host = headers.iter().any(|h| {
        h.name
            .as_deref()
            .is_some_and(|name| name.eq_ignore_ascii_case("host"))
    });
    if !has_host {
        bytes.extend_from_slice(b"Host: example.org\r\n");
    }
    for header in headers {
        push_latin1(&mut bytes, header.name.as_deref().unwrap_or_default());
        bytes.extend_from_slice(b": ");
        push_latin1(&mut bytes, header.value.as_deref().unwrap_or_default());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    match parse_request(&bytes, &mut RequestHead::default(), &Limits::default()) {
        Ok(Parse::Complete) => None,
        Ok(Parse::Partial) => Some("partial".to_owned()),
        Err(refusal) => Some(refusal.reason.to_owned()),
    }
}

/// The corpus writes bytes above 127 as code points.
fn push_latin1(bytes: &mut Vec<u8>, text: &str) {
    for c in text.chars() {
        match u8::try_from(u32::from(c)) {
            Ok(byte) => bytes.push(byte),
            Err(_) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}
