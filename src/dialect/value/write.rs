//! From values to bytes.

use super::{Map, Number, Value};
use crate::error::push_json_string;

/// Room that is made for a body at once, in bytes: most need no more.
const BODY_BYTES: usize = 4096;

impl Value {
    /// As JSON, without spaces.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(BODY_BYTES);
        self.write(&mut out);
        out
    }

    /// Appends it as JSON, without spaces.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(true) => out.extend_from_slice(b"true"),
            Self::Bool(false) => out.extend_from_slice(b"false"),
            Self::Number(number) => number.write(out),
            Self::String(text) => push_json_string(out, text),
            Self::Array(items) => {
                out.push(b'[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Self::Object(members) => members.write(out),
        }
    }
}

impl Map {
    /// As JSON, without spaces.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(BODY_BYTES);
        self.write(&mut out);
        out
    }

    /// Appends it as JSON, without spaces.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        for (index, (name, value)) in self.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            push_json_string(out, name);
            out.push(b':');
            value.write(out);
        }
        out.push(b'}');
    }
}

impl Number {
    /// Appends its digits.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Unsigned(number) => push_decimal(out, *number),
            Self::Written(digits) => out.extend_from_slice(digits.as_bytes()),
        }
    }
}

fn push_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}
