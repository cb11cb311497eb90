//! What `scan` accepts and refuses.

use super::*;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

fn kind(body: &[u8]) -> Option<ScanErrorKind> {
    scan(body).err().map(|error| error.kind)
}

#[test]
fn the_fields_of_the_outermost_object_are_found() {
    let body = br#" { "model" : "gpt-4o" ,"n":1,"a\u0062c":[{"model":2}], "s":"x\"}" } "#;
    let scan = scan(body).unwrap();
    assert_eq!(scan.len(), 4);
    assert_eq!(scan.value(body, "model"), Some(&b"\"gpt-4o\""[..]));
    assert_eq!(scan.value(body, "abc"), Some(&br#"[{"model":2}]"#[..]));
    assert_eq!(scan.string(body, "s").as_deref(), Some("x\"}"));
    assert_eq!(scan.value(body, "absent"), None);
    assert_eq!(scan.object.of(body), body.trim_ascii());
}

#[test]
fn what_is_refused_says_why() {
    let check = |body: &[u8], expected| {
        assert_eq!(
            kind(body),
            Some(expected),
            "{}",
            String::from_utf8_lossy(body)
        )
    };
    check(b"", ScanErrorKind::Empty);
    check(b"  ", ScanErrorKind::Empty);
    check(b"{", ScanErrorKind::Truncated);
    check(br#"{"a"#, ScanErrorKind::Truncated);
    check(br#"{"a":1"#, ScanErrorKind::Truncated);
    check(br#"{"a":1,}"#, ScanErrorKind::Syntax);
    check(br#"{"a":1}x"#, ScanErrorKind::Syntax);
    check(br#"{"a":1,"b":2,"a":3}"#, ScanErrorKind::DuplicateField);
    check(br#"{"a":1,"\u0061":3}"#, ScanErrorKind::DuplicateField);
    check(b"{\"a\":\"\xff\"}", ScanErrorKind::Utf8);
    check(b"[1,2]", ScanErrorKind::NotAnObject);
    check(b"\"text\"", ScanErrorKind::NotAnObject);
    check(b"[1,2", ScanErrorKind::Truncated);
    check(b"{\"a\":[1,2}", ScanErrorKind::Syntax);
    check(b"{\"a\":{\"b\":1]}", ScanErrorKind::Syntax);
    let many: String = (0..=FIELDS_MAX)
        .map(|index| format!("\"f{index}\":0,"))
        .collect();
    check(
        format!("{{{}\"z\":0}}", many).as_bytes(),
        ScanErrorKind::TooManyFields,
    );
}

#[test]
fn nesting_is_bounded_without_recursion() {
    let nested = |levels: usize| {
        format!(
            "{{\"a\":{}{}}}",
            "[".repeat(levels - 1),
            "]".repeat(levels - 1)
        )
    };
    assert_eq!(kind(nested(128).as_bytes()), None);
    assert_eq!(kind(nested(129).as_bytes()), Some(ScanErrorKind::Nesting));
    assert_eq!(
        kind(nested(5_000_000).as_bytes()),
        Some(ScanErrorKind::Nesting)
    );
    assert_eq!(
        kind("[".repeat(5_000_000).as_bytes()),
        Some(ScanErrorKind::Nesting)
    );
}

#[test]
fn more_fields_than_fit_inline_are_found_too() {
    let body: String = (0..60)
        .map(|index| format!("\"field{index}\":{index},"))
        .collect();
    let body = format!("{{{}\"z\":0}}", body);
    let scan = scan(body.as_bytes()).unwrap();
    assert_eq!(scan.len(), 61);
    for index in 0..60 {
        let value = scan.value(body.as_bytes(), &format!("field{index}"));
        assert_eq!(value, Some(index.to_string().as_bytes()));
    }
}

#[test]
fn lone_surrogates_are_tolerated_and_stay_different() {
    let body = br#"{"\ud800":"\udc00","\ud801":"\ud83d\ude00"}"#;
    let scan = scan(body).unwrap();
    assert_eq!(
        decode_string(scan.fields()[0].value.of(body)).as_deref(),
        Some("\u{fffd}\u{fffd}\u{fffd}")
    );
    assert_eq!(
        decode_string(scan.fields()[1].value.of(body)).as_deref(),
        Some("\u{1f600}")
    );
}

/// A small generator (xorshift) of JSON-like text, mostly valid.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len() as u64) as usize]
    }

    fn space(&mut self, out: &mut String) {
        out.push_str(self.pick(&["", "", "", " ", "\n", " \t"]));
    }

    fn text(&mut self, out: &mut String) {
        out.push('"');
        for _ in 0..self.below(12) {
            out.push_str(self.pick(&[
                "a",
                "model",
                "\\n",
                "\\\"",
                "é",
                "\\u00e9",
                "\\ud83d\\ude00",
                "日本",
                "{",
                "]",
                " ",
            ]));
        }
        out.push('"');
    }

    fn value(&mut self, depth: u64, out: &mut String) {
        match self.below(if depth > 4 { 4 } else { 6 }) {
            0 => out
                .push_str(self.pick(&["0", "-1", "3.25", "1e5", "12E-2", "true", "false", "null"])),
            1..=3 => self.text(out),
            kind => {
                let object = kind == 4;
                out.push(if object { '{' } else { '[' });
                for index in 0..self.below(5) {
                    if index > 0 {
                        out.push(',');
                    }
                    self.space(out);
                    if object {
                        out.push_str(&format!("\"k{index}\""));
                        self.space(out);
                        out.push(':');
                    }
                    self.value(depth + 1, out);
                    self.space(out);
                }
                out.push(if object { '}' } else { ']' });
            }
        }
    }
}

#[test]
fn serde_json_agrees_on_generated_and_damaged_bodies() {
    for seed in 1..4000u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut body = String::from("{");
        for index in 0..random.below(30) {
            body.push_str(if index > 0 { "," } else { "" });
            random.space(&mut body);
            body.push_str(&format!("\"field{index}\""));
            random.space(&mut body);
            body.push(':');
            random.space(&mut body);
            random.value(0, &mut body);
            random.space(&mut body);
        }
        body.push('}');
        let mut body = body.into_bytes();
        if seed % 2 == 0 {
            let at = random.below(body.len() as u64) as usize;
            match random.below(3) {
                0 => drop(body.remove(at)),
                1 => body.truncate(at),
                _ => body[at] = b"{}[],:\"\\0atn-.eE \x01\xc3"[random.below(19) as usize],
            }
        }
        let expected: Result<BTreeMap<String, Box<RawValue>>, _> = serde_json::from_slice(&body);
        let context = format!("seed {seed}: {}", String::from_utf8_lossy(&body));
        match (scan(&body), expected) {
            (Ok(scan), Ok(expected)) => {
                assert_eq!(scan.len(), expected.len(), "{context}");
                for (name, value) in expected {
                    assert_eq!(
                        scan.value(&body, &name),
                        Some(value.get().as_bytes()),
                        "{context}"
                    );
                }
            }
            (Err(error), Ok(_)) => {
                assert_eq!(error.kind, ScanErrorKind::DuplicateField, "{context}")
            }
            (Ok(_), Err(error)) => panic!("{context}: {error}"),
            (Err(_), Err(_)) => {}
        }
    }
}
