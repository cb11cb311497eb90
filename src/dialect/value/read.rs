//! From bytes to values, in the pass of [`scan`](crate::dialect::scan) that checks them.

use super::{Map, Number, Text, Value};
use crate::dialect::scan::{ScanError, Sink, Span, checked, unescaped, values_into};

/// Containers in containers that most bodies have.
const DEPTH: usize = 6;

impl Value {
    /// Reads one JSON value. Of two members with the same name the second counts.
    ///
    /// # Errors
    /// What [`scan`](crate::dialect::scan::scan) refuses, except that any value will do.
    pub fn read(body: &[u8]) -> Result<Self, ScanError> {
        let body = checked(body)?;
        let mut builder = Builder {
            body,
            start: 0,
            name: Text::default(),
            open: Vec::with_capacity(DEPTH),
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
    body: &'b str,
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

    /// The string that stands there with its quotes.
    fn text(&self, start: usize, end: usize, escaped: bool) -> Text {
        let inner = self.body.get(start + 1..end - 1).unwrap_or_default();
        if escaped {
            unescaped(inner.as_bytes()).into()
        } else {
            inner.into()
        }
    }
}

impl Sink for Builder<'_> {
    #[inline]
    fn key(&mut self, key: Span, escaped: bool) {
        self.name = self.text(key.start as usize, key.end as usize, escaped);
    }

    #[inline]
    fn begin(&mut self, at: usize) {
        self.start = at;
    }

    fn end(&mut self, at: usize, escaped: bool) {
        let raw = self.body.get(self.start..at).unwrap_or_default();
        let value = match raw.as_bytes().first() {
            Some(b'"') => Value::String(self.text(self.start, at, escaped)),
            Some(b't') => Value::Bool(true),
            Some(b'f') => Value::Bool(false),
            Some(b'n') | None => Value::Null,
            Some(_) => Value::Number(number(raw)),
        };
        let name = std::mem::take(&mut self.name);
        self.add(name, value);
    }

    fn enter(&mut self) {
        let container = match self.body.as_bytes().get(self.start) {
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

fn number(digits: &str) -> Number {
    match digits.parse() {
        Ok(number) => Number::Unsigned(number),
        Err(_) => Number::Written(digits.into()),
    }
}
