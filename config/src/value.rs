//! Single values: what a scalar means where a row of a certain kind wants one.
//!
//! Strictness follows LiteLLM's habits, not YAML's: text that reads as a number is a number where
//! one is wanted (the environment holds nothing but text), and a number is text where text is
//! wanted, exactly as it was written.

use std::net::IpAddr;

use serde_json::{Value as Json, json};

use crate::row::Kind;
use crate::tree::{Node, Origin, Value};
use crate::yaml::scalar;

/// Why a value does not fit.
pub(crate) enum Misfit {
    /// It is something else.
    Wrong,
    /// It is what examples say where a value belongs: `YOUR_API_BASE`.
    Placeholder,
}

/// A scalar in the plain form of its kind.
pub(crate) fn scalar(kind: &Kind, node: &Node) -> Result<Json, Misfit> {
    let fitting = match kind {
        Kind::Bool => boolean(node).map(Json::Bool),
        Kind::Integer(min, max) => whole(node)
            .filter(|value| (*min..=*max).contains(value))
            .map(|value| json!(value)),
        Kind::Number(min, max) => number(node)
            .filter(|value| (*min..=*max).contains(value))
            .map(|value| json!(value)),
        Kind::Seconds(min, max) => seconds(node)
            .filter(|value| (*min..=*max).contains(value))
            .map(|value| json!(value)),
        Kind::Period => text(node).filter(|text| is_period(text)).map(Json::String),
        Kind::Text | Kind::Secret => text(node).map(Json::String),
        Kind::Name => text(node)
            .filter(|text| !text.trim().is_empty())
            .map(Json::String),
        Kind::Url(schemes) | Kind::SecretUrl(schemes) => return url(schemes, node),
        Kind::Choice(words) => text(node)
            .filter(|text| words.contains(&text.as_str()))
            .map(Json::String),
        Kind::Python => text(node).filter(|text| is_python(text)).map(Json::String),
        Kind::Network => text(node).filter(|text| is_network(text)).map(Json::String),
        Kind::Any => Some(node.to_json()),
        _ => None,
    };
    fitting.ok_or(Misfit::Wrong)
}

/// Text as it was written; a number counts, a boolean does not.
pub(crate) fn text(node: &Node) -> Option<String> {
    match (&node.value, &node.raw) {
        (Value::Text(text), _) => Some(text.clone()),
        (Value::Integer(_) | Value::Float(_), Some(raw)) => Some(raw.to_string()),
        _ => None,
    }
}

fn boolean(node: &Node) -> Option<bool> {
    match &node.value {
        Value::Bool(value) => Some(*value),
        Value::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some(true),
            "false" | "no" | "off" | "0" => Some(false),
            // `LITELLM_VERBOSE=2`: any number but zero is yes, in the environment.
            other => match (&node.origin, other.parse::<u64>()) {
                (Origin::Environment(_), Ok(number)) => Some(number > 0),
                _ => None,
            },
        },
        _ => None,
    }
}

/// A whole number, also as `10.0` or as text.
pub(crate) fn whole(node: &Node) -> Option<i64> {
    match &node.value {
        Value::Integer(value) => Some(*value),
        Value::Float(value) => exact(*value),
        Value::Text(text) => match scalar::integer(text.trim()) {
            Some(Value::Integer(value)) => Some(value),
            _ => exact(text.trim().parse().ok()?),
        },
        _ => None,
    }
}

fn exact(value: f64) -> Option<i64> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    (value.fract() == 0.0 && value.abs() <= EXACT_MAX).then_some(value as i64)
}

/// A finite number, also as text.
fn number(node: &Node) -> Option<f64> {
    let value = match &node.value {
        Value::Integer(value) => *value as f64,
        Value::Float(value) => *value,
        Value::Text(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    value.is_finite().then_some(value)
}

/// Seconds as a number, or as text with a unit.
fn seconds(node: &Node) -> Option<f64> {
    if let Some(value) = number(node) {
        return Some(value);
    }
    let Value::Text(text) = &node.value else {
        return None;
    };
    const UNITS: [(&str, f64); 5] = [
        ("ms", 0.001),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
        ("d", 86_400.0),
    ];
    let text = text.trim();
    let (digits, factor) = UNITS
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    let value: f64 = digits.trim().parse().ok()?;
    (value.is_finite()
        && digits
            .trim()
            .starts_with(|c: char| c.is_ascii_digit() || c == '.'))
    .then_some(value * factor)
}

/// `30s`, `1mo`: LiteLLM's spans.
fn is_period(text: &str) -> bool {
    let units = ["mo", "s", "m", "h", "d", "w"];
    units.iter().any(|unit| {
        text.strip_suffix(unit)
            .is_some_and(|digits| digits.parse::<u32>().is_ok_and(|n| n > 0))
    })
}

fn is_python(text: &str) -> bool {
    let word = |part: &str| {
        part.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_alphanumeric() || c == '_')
    };
    text.contains('.') && text.split('.').all(word)
}

/// An address, or a range in CIDR notation.
pub(crate) fn is_network(text: &str) -> bool {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return false;
    };
    let bits_max = if address.is_ipv4() { 32 } else { 128 };
    prefix.is_none_or(|prefix| {
        prefix.bytes().all(|b| b.is_ascii_digit())
            && prefix.parse::<u32>().is_ok_and(|bits| bits <= bits_max)
    })
}

fn url(schemes: &[&str], node: &Node) -> Result<Json, Misfit> {
    let text = text(node).ok_or(Misfit::Wrong)?;
    if is_url(&text, schemes) {
        return Ok(Json::String(text));
    }
    let capital = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || "_-<>{}".contains(c);
    if !text.is_empty() && text.chars().all(capital) {
        return Err(Misfit::Placeholder);
    }
    Err(Misfit::Wrong)
}

/// A scheme of the list, a host, and a port that exists.
fn is_url(text: &str, schemes: &[&str]) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    if !schemes
        .iter()
        .any(|known| known.eq_ignore_ascii_case(scheme))
    {
        return false;
    }
    if ["sqlite", "unix"].contains(&scheme) {
        return !rest.is_empty();
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host_port = authority
        .rsplit_once('@')
        .map_or(authority, |(_, after)| after);
    let (host, port) = match host_port.strip_prefix('[') {
        Some(v6) => match v6.split_once(']') {
            Some((host, after)) => (host, after.strip_prefix(':')),
            None => return false,
        },
        None => match host_port.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (host_port, None),
        },
    };
    let host_fits = !host.is_empty()
        && !host
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || "\"<>\\^`|".contains(c));
    host_fits && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// Whether two names are a slip of the finger apart: one changed, missing or added letter, or two
/// that swapped places.
pub(crate) fn one_slip_apart(left: &str, right: &str) -> bool {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let same_start = left.iter().zip(&right).take_while(|(l, r)| l == r).count();
    let (left, right) = (&left[same_start..], &right[same_start..]);
    let same_end = left
        .iter()
        .rev()
        .zip(right.iter().rev())
        .take_while(|(l, r)| l == r)
        .count();
    let (left, right) = (
        &left[..left.len() - same_end],
        &right[..right.len() - same_end],
    );
    match (left, right) {
        ([a, b], [c, d]) => a == d && b == c,
        (left, right) => left.len() <= 1 && right.len() <= 1,
    }
}
