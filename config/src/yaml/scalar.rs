//! Plain scalars as YAML 1.1 and PyYAML's `SafeLoader` understand them.
//!
//! `yes` and `off` are booleans, `0o17` is text but `017` is fifteen, `1:30` is ninety, `1e3` is
//! text (a number needs the dot and the signed exponent). Two departures, both on purpose: a date
//! stays the text it is, because LiteLLM's users write `api_version: 2024-10-21`, and a lone `=`
//! is text where PyYAML fails.

use crate::tree::Value;

/// The value of an unquoted, untagged scalar.
pub(super) fn resolve_plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Value::Bool(true);
        }
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Value::Bool(false);
        }
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.')) {
        return Value::Text(text.to_owned());
    }
    integer(text)
        .or_else(|| float(text))
        .unwrap_or_else(|| Value::Text(text.to_owned()))
}

/// An integer in YAML 1.1's notations. One beyond 64 bits becomes a float.
pub(crate) fn integer(text: &str) -> Option<Value> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let magnitude = if let Some(binary) = digits.strip_prefix("0b") {
        radix(binary, 2)?
    } else if let Some(hex) = digits.strip_prefix("0x") {
        radix(hex, 16)?
    } else if digits.len() > 1 && digits.starts_with('0') {
        radix(digits, 8)?
    } else if digits.contains(':') {
        sexagesimal(digits)?
    } else {
        if !digits.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        radix(digits, 10)?
    };
    Some(magnitude.signed(negative))
}

/// A number that is being read digit by digit: exact while it fits, and always as a float.
#[derive(Clone, Copy)]
struct Magnitude {
    exact: Option<i128>,
    near: f64,
}

impl Magnitude {
    const ZERO: Magnitude = Magnitude {
        exact: Some(0),
        near: 0.0,
    };

    fn push(self, base: u32, digit: u32) -> Magnitude {
        let exact = self
            .exact
            .and_then(|value| value.checked_mul(i128::from(base)));
        Magnitude {
            exact: exact.and_then(|value| value.checked_add(i128::from(digit))),
            near: self.near * f64::from(base) + f64::from(digit),
        }
    }

    fn signed(self, negative: bool) -> Value {
        let exact = self
            .exact
            .map(|value| if negative { -value } else { value });
        match exact.and_then(|value| i64::try_from(value).ok()) {
            Some(integer) => Value::Integer(integer),
            None => Value::Float(if negative { -self.near } else { self.near }),
        }
    }
}

/// Digits of `radix` with underscores between them; at least one digit.
fn radix(digits: &str, radix: u32) -> Option<Magnitude> {
    let mut value = Magnitude::ZERO;
    let mut any = false;
    for character in digits.chars().filter(|c| *c != '_') {
        value = value.push(radix, character.to_digit(radix)?);
        any = true;
    }
    any.then_some(value)
}

/// `1:30:00`: the first part free, each further one below 60.
fn sexagesimal(digits: &str) -> Option<Magnitude> {
    let mut parts = digits.split(':');
    let first = parts.next()?;
    if !first.starts_with(|c: char| ('1'..='9').contains(&c)) {
        return None;
    }
    let mut value = radix(first, 10)?;
    for part in parts {
        value = value.push(60, below_sixty(part)?);
    }
    Some(value)
}

fn below_sixty(part: &str) -> Option<u32> {
    let digits = !part.is_empty() && part.len() <= 2 && part.bytes().all(|b| b.is_ascii_digit());
    digits
        .then(|| part.parse().ok())
        .flatten()
        .filter(|value| *value < 60)
}

/// A float in YAML 1.1's notations: it needs the dot, and a sign in its exponent.
fn float(text: &str) -> Option<Value> {
    let (sign, body) = match text.as_bytes().first()? {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    match body {
        ".inf" | ".Inf" | ".INF" => return Some(Value::Float(sign * f64::INFINITY)),
        ".nan" | ".NaN" | ".NAN" if body.len() == text.len() => {
            return Some(Value::Float(f64::NAN));
        }
        _ => {}
    }
    if body.contains(':') {
        return sexagesimal_float(body).map(|value| Value::Float(sign * value));
    }
    let (mantissa, exponent) = match body.find(['e', 'E']) {
        Some(at) => (&body[..at], Some(&body[at + 1..])),
        None => (body, None),
    };
    let dot = mantissa.find('.')?;
    let (whole, fraction) = (&mantissa[..dot], &mantissa[dot + 1..]);
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    let starts = |part: &str| part.starts_with(|c: char| c.is_ascii_digit());
    let shape = digits(whole)
        && digits(fraction)
        && if whole.is_empty() {
            starts(fraction) && body.len() == text.len()
        } else {
            starts(whole)
        };
    let exponent_shape = exponent.is_none_or(|exponent| {
        exponent.len() > 1
            && exponent.starts_with(['-', '+'])
            && exponent[1..].bytes().all(|b| b.is_ascii_digit())
    });
    if !shape || !exponent_shape {
        return None;
    }
    body.replace('_', "")
        .parse::<f64>()
        .ok()
        .map(|value| Value::Float(sign * value))
}

/// `1:30.5`: base 60, the last part with a fraction.
fn sexagesimal_float(body: &str) -> Option<f64> {
    let dot = body.find('.')?;
    let fraction = body[dot + 1..].replace('_', "");
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut parts = body[..dot].split(':');
    let first = parts.next()?;
    if !first.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let mut value = radix(first, 10)?.near;
    for part in parts {
        value = value * 60.0 + f64::from(below_sixty(part)?);
    }
    Some(value + format!("0.{fraction}0").parse::<f64>().ok()?)
}
