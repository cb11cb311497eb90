//! The scanner of bodies beside serde_json: they agree on what JSON is, and on the bytes of every outermost value.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scan::{NESTING_MAX, ScanErrorKind, decode_string, scan};
use serde_json::value::RawValue;

// From its file: the gateway's dependencies need not be built for this.
#[path = "../../../src/dialect/scan.rs"]
mod scan;

fuzz_target!(|body: &[u8]| {
    let is_json = std::str::from_utf8(body)
        .is_ok_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok());
    match scan(body) {
        Ok(found) => {
            assert!(is_json);
            same_fields(body, &found);
        }
        Err(error) => {
            assert!(error.at <= body.len());
            match error.kind {
                ScanErrorKind::Empty
                | ScanErrorKind::Truncated
                | ScanErrorKind::Syntax
                | ScanErrorKind::Utf8 => assert!(!is_json, "{error}"),
                ScanErrorKind::NotAnObject => assert!(is_json),
                ScanErrorKind::Nesting => assert!(openings(body) > NESTING_MAX as usize),
                ScanErrorKind::DuplicateField | ScanErrorKind::TooManyFields => {}
                ScanErrorKind::TooLarge => unreachable!("inputs are small"),
            }
        }
    }
});

fn openings(body: &[u8]) -> usize {
    body.iter().filter(|b| matches!(b, b'[' | b'{')).count()
}

fn same_fields(body: &[u8], found: &scan::Scan) {
    assert_eq!(found.object.of(body), body.trim_ascii());
    // serde_json refuses names with lone surrogates, which we keep apart.
    let Ok(fields) = serde_json::from_slice::<Vec<Pair>>(&as_array(body, found)) else {
        return;
    };
    assert_eq!(fields.len(), found.len());
    for (index, ((name, value), field)) in fields.iter().zip(found.fields()).enumerate() {
        assert_eq!(name.as_bytes(), found.name(body, index));
        assert_eq!(value.get().as_bytes(), field.value.of(body));
        assert_eq!(found.find(body, name), Some(index));
        let text: Option<String> = serde_json::from_str(value.get()).ok();
        if let Some(text) = text {
            assert_eq!(
                decode_string(field.value.of(body)).as_deref(),
                Some(text.as_str())
            );
        }
    }
}

type Pair = (String, Box<RawValue>);

/// The fields as pairs, in their order: a map would sort them.
fn as_array(body: &[u8], found: &scan::Scan) -> Vec<u8> {
    let mut out = vec![b'['];
    for (index, field) in found.fields().iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"[" } else { b",[" });
        out.extend_from_slice(field.key.of(body));
        out.push(b',');
        out.extend_from_slice(field.value.of(body));
        out.push(b']');
    }
    out.push(b']');
    out
}
