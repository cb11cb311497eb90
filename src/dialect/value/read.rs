//! From bytes to values, in the pass of [`scan`](crate::dialect::scan) that checks them.

use super::{Map, Number, Text, Value};
use crate::dialect::scan::{ScanError, Sink, Span, decode_string, values_into};

impl Value {
    /// Reads one JSON value. Of two members with the same name the second counts.
    ///
    /// # Errors
    /// What [`scan`](crate::dialect::scan::scan) refuses, except that any value will do.
    pub fn read(body: &[u8]) -> Result<Self, ScanError> {
        let mut builder = Builder {
            body,
            start: 0,
            name: Text::default(),
            open: Vec::new(),
            whole: Self::Null,
        };
        values_into(body, &mut builder)?;
        Ok(builder.whole)
    }
}

impl Map {
    /// Reads one JSON object.
    ///
    /// # Errors
    /// What [`scan`](crate::dialect::scan::scan) refuses.
    pub fn read(body: &[u8]) -> Result<Self, ScanError> {
        match Value::read(body)? {
            Value::Object(members) => Ok(members),
            _ => Err(ScanError::not_an_object()),
        }
    }
}

/// Puts values where they belong as the pass meets them.
struct Builder<'b> {
    body: &'b [u8],
    /// Where the value that began last starts.
    start: usize,
    /// The name of the next member.
    name: Text,
    /// The open containers from the outside in, each with its name in the one around it.
    open: Vec<(Text, Value)>,
    whole: Value,
}

impl Builder<'_> {
    fn add(&mut self, name: Text, value: Value) {
        match self.open.last_mut() {
            Some((_, Value::Object(members))) => drop(members.insert(name, value)),
            Some((_, Value::Array(items))) => items.push(value),
            _ => self.whole = value,
        }
    }
}

impl Sink for Builder<'_> {
    fn key(&mut self, key: Span) {
        self.name = text(key.of(self.body));
    }

    fn begin(&mut self, at: usize) {
        self.start = at;
    }

    fn end(&mut self, at: usize) {
        let value = leaf(self.body.get(self.start..at).unwrap_or_default());
        let name = std::mem::take(&mut self.name);
        self.add(name, value);
    }

    fn enter(&mut self) {
        let container = match self.body.get(self.start) {
            Some(b'{') => Value::Object(Map::new()),
            _ => Value::Array(Vec::new()),
        };
        self.open.push((std::mem::take(&mut self.name), container));
    }

    fn leave(&mut self, _: usize) {
        if let Some((name, value)) = self.open.pop() {
            self.add(name, value);
        }
    }
}

/// A value that is no container.
fn leaf(raw: &[u8]) -> Value {
    match raw.first() {
        Some(b'"') => Value::String(text(raw)),
        Some(b't') => Value::Bool(true),
        Some(b'f') => Value::Bool(false),
        Some(b'n') | None => Value::Null,
        Some(_) => Value::Number(number(raw)),
    }
}

fn text(raw: &[u8]) -> Text {
    decode_string(raw).map_or_else(Text::default, Text::from)
}

fn number(raw: &[u8]) -> Number {
    let digits = std::str::from_utf8(raw).unwrap_or_default();
    match digits.parse() {
        Ok(number) => Number::Unsigned(number),
        Err(_) => Number::Written(digits.into()),
    }
}
