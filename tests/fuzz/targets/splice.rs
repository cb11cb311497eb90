//! Edits of a body: whatever members go, are replaced or are added, the result is JSON again and has exactly the
//! members that a plain list would have, the untouched ones byte for byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scan::{Span, scan};
use splice::{Edits, Members, Spliced};

// From their files: the gateway's dependencies need not be built for this.
#[path = "../../../src/dialect/scan.rs"]
mod scan;
#[path = "../../../src/dialect/splice.rs"]
mod splice;

fuzz_target!(|input: &[u8]| {
    let [gone, replaced, inserted, added, body @ ..] = input else {
        return;
    };
    let Ok(found) = scan(body) else { return };
    let bit = |mask: u8, index: usize| mask >> (index % 8) & 1 == 1;
    let (mut members, mut edits, mut expected) = (Members::new(), Edits::new(), Vec::new());
    for (index, field) in found.fields().iter().enumerate() {
        let name = found.name(body, index).to_vec();
        if bit(*gone, index) {
            members.remove(index);
        } else if bit(*replaced, index) {
            edits.replace(field.value, b"[\"new\"]");
            expected.push((name, b"[\"new\"]".to_vec()));
        } else if bit(*inserted, index) && field.value.of(body).starts_with(b"[") {
            let start = field.value.start + 1;
            edits.replace(Span { start, end: start }, b" ");
            let mut value = field.value.of(body).to_vec();
            value.insert(1, b' ');
            expected.push((name, value));
        } else {
            expected.push((name, field.value.of(body).to_vec()));
        }
    }
    for number in 0..added % 3 {
        let name = format!("added {number}");
        if found.find(body, &name).is_some() {
            return;
        }
        members.add(&name, b"{\"a\":1}");
        expected.push((name.into_bytes(), b"{\"a\":1}".to_vec()));
    }
    members.apply(found.object, found.fields(), &mut edits);
    check(body, edits, &expected);
});

fn check(body: &[u8], edits: Edits, expected: &[(Vec<u8>, Vec<u8>)]) {
    let unchanged = edits.is_empty();
    let spliced = Spliced::Edits(edits);
    let out = spliced.to_vec(body);
    assert_eq!(out.len(), spliced.len(body));
    assert_eq!(spliced.pieces(body).collect::<Vec<_>>().concat(), out);
    assert!(!unchanged || out == body);
    if expected.len() > scan::FIELDS_MAX {
        return;
    }
    let again = scan(&out).expect("still an object");
    let members: Vec<_> = (0..again.len())
        .map(|index| {
            (
                again.name(&out, index).to_vec(),
                again.fields()[index].value.of(&out).to_vec(),
            )
        })
        .collect();
    assert_eq!(members, expected);
}
