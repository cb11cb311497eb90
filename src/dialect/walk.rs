//! Walking through values of a body that `scan` has accepted: the members of an object, the elements of an array, one
//! level at a time and without decoding. On bytes that are no valid JSON the walks end early; they never panic.

use shardgate_io::quoted::find_special;

use super::scan::{Field, Span};

/// The members of the object under `span`; none when it is no object.
pub fn members(body: &[u8], span: Span) -> Members<'_> {
    Members {
        body,
        at: inside(body, span, b'{'),
        end: span.end as usize,
    }
}

/// The elements of the array under `span`; none when it is no array.
pub fn elements(body: &[u8], span: Span) -> Elements<'_> {
    Elements {
        body,
        at: inside(body, span, b'['),
        end: span.end as usize,
    }
}

/// The value of the member `name` of the object under `span`. Names written with escapes are not found.
pub fn member(body: &[u8], span: Span, name: &str) -> Option<Span> {
    members(body, span)
        .find(|field| name_of(body, *field) == name.as_bytes())
        .map(|field| field.value)
}

/// The value at the end of a path of member names.
pub fn path(body: &[u8], span: Span, names: &[&str]) -> Option<Span> {
    names
        .iter()
        .try_fold(span, |span, name| member(body, span, name))
}

/// The name of a member between its quotes, escapes as they stand.
pub fn name_of(body: &[u8], field: Field) -> &[u8] {
    Span {
        start: field.key.start + 1,
        end: field.key.end.saturating_sub(1),
    }
    .of(body)
}

/// The number under `span`, when it is a non-negative integer (`12`, also `12.0`).
pub fn unsigned(body: &[u8], span: Span) -> Option<u64> {
    let text = span.of(body);
    let digits = text.strip_suffix(b".0").unwrap_or(text);
    let add = |sum: u64, digit: &u8| match digit {
        b'0'..=b'9' => sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    };
    digits.first()?;
    digits.iter().try_fold(0, add)
}

/// Whether the value is `null`.
pub fn is_null(body: &[u8], span: Span) -> bool {
    span.of(body) == b"null"
}

fn inside(body: &[u8], span: Span, open: u8) -> usize {
    let start = span.start as usize;
    if body.get(start) == Some(&open) {
        start + 1
    } else {
        span.end as usize
    }
}

/// The members of an object, noted without an allocation when it is small.
#[derive(Debug, Default)]
pub struct FieldList {
    inline: [Field; 12],
    more: Vec<Field>,
    count: usize,
}

impl FieldList {
    /// The members of the object under `span`; none when it is no object.
    pub fn of(body: &[u8], span: Span) -> Self {
        let mut list = Self::default();
        members(body, span).for_each(|field| list.push(field));
        list
    }

    /// The members in order.
    pub fn as_slice(&self) -> &[Field] {
        if self.count <= self.inline.len() {
            &self.inline[..self.count]
        } else {
            &self.more
        }
    }

    /// Adds a member behind the others.
    pub(super) fn push(&mut self, field: Field) {
        if self.count < self.inline.len() {
            self.inline[self.count] = field;
        } else {
            if self.count == self.inline.len() {
                self.more.extend_from_slice(&self.inline);
            }
            self.more.push(field);
        }
        self.count += 1;
    }
}

impl FromIterator<Field> for FieldList {
    fn from_iter<I: IntoIterator<Item = Field>>(fields: I) -> Self {
        let mut list = Self::default();
        fields.into_iter().for_each(|field| list.push(field));
        list
    }
}

/// The objects of the array under `span` with their members, each gone through once only. Ends at what is no object.
pub fn objects(body: &[u8], span: Span) -> Objects<'_> {
    Objects {
        body,
        at: inside(body, span, b'['),
        end: span.end as usize,
    }
}

/// See [`objects`].
#[derive(Clone, Debug)]
pub struct Objects<'b> {
    body: &'b [u8],
    at: usize,
    end: usize,
}

impl Iterator for Objects<'_> {
    type Item = (Span, FieldList);

    fn next(&mut self) -> Option<Self::Item> {
        let start = skip_to(self.body, self.at, self.end)?;
        let mut walk = members(self.body, Span::new(start, self.end));
        if self.body.get(start) != Some(&b'{') {
            return None;
        }
        let mut list = FieldList::default();
        walk.by_ref().for_each(|field| list.push(field));
        let close = skip_to(self.body, walk.at, self.end)?;
        if self.body.get(close) != Some(&b'}') {
            return None;
        }
        self.at = close + 1;
        Some((Span::new(start, close + 1), list))
    }
}

/// See [`members`].
#[derive(Clone, Debug)]
pub struct Members<'b> {
    body: &'b [u8],
    at: usize,
    end: usize,
}

impl Iterator for Members<'_> {
    type Item = Field;

    fn next(&mut self) -> Option<Field> {
        let start = skip_to(self.body, self.at, self.end)?;
        if self.body.get(start) != Some(&b'"') {
            return None;
        }
        let key_end = end_of_string(self.body, start)?;
        let colon = skip_to(self.body, key_end, self.end)?;
        let value = skip_to(self.body, colon + 1, self.end)?;
        let end = end_of_value(self.body, value)?;
        self.at = end;
        Some(Field {
            key: Span::new(start, key_end),
            value: Span::new(value, end),
        })
    }
}

/// See [`elements`].
#[derive(Clone, Debug)]
pub struct Elements<'b> {
    body: &'b [u8],
    at: usize,
    end: usize,
}

impl Iterator for Elements<'_> {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        let start = skip_to(self.body, self.at, self.end)?;
        if self.body.get(start) == Some(&b']') {
            return None;
        }
        let end = end_of_value(self.body, start)?;
        self.at = end;
        Some(Span::new(start, end))
    }
}

/// The next byte from `at` on that is neither space nor a comma, before `end`.
fn skip_to(body: &[u8], at: usize, end: usize) -> Option<usize> {
    let rest = body.get(at..end)?;
    rest.iter()
        .position(|byte| !matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | b','))
        .map(|skipped| at + skipped)
}

/// One past the string that starts at `start`.
fn end_of_string(body: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        at = find_special(body, at);
        match body.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// One past the value that starts at `start`.
fn end_of_value(body: &[u8], start: usize) -> Option<usize> {
    match body.get(start)? {
        b'"' => end_of_string(body, start),
        b'{' | b'[' => end_of_container(body, start),
        _ => {
            let rest = body.get(start..)?;
            let length = rest
                .iter()
                .position(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t'))
                .unwrap_or(rest.len());
            if length == 0 {
                None
            } else {
                Some(start + length)
            }
        }
    }
}

fn end_of_container(body: &[u8], start: usize) -> Option<usize> {
    let mut depth = 0usize;
    let mut at = start;
    loop {
        match body.get(at)? {
            b'"' => {
                at = end_of_string(body, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(body: &[u8]) -> Span {
        Span::new(0, body.len())
    }

    #[test]
    fn members_and_elements_are_walked() {
        let body = br#"{ "a" : [1, "x]\"", {"b":null}], "c":{"d": 12 },"e":true}"#;
        let list_body = br#"[ {"a":[{"x":1}],"b":"}"} , {} ]"#;
        let names: Vec<_> = members(body, whole(body))
            .map(|field| name_of(body, field))
            .collect();
        assert_eq!(names, [b"a", b"c", b"e"]);
        let list = member(body, whole(body), "a").unwrap();
        let values: Vec<_> = elements(body, list).map(|span| span.of(body)).collect();
        assert_eq!(values, [&b"1"[..], br#""x]\"""#, br#"{"b":null}"#]);
        let number = path(body, whole(body), &["c", "d"]).unwrap();
        assert_eq!(unsigned(body, number), Some(12));
        assert_eq!(member(body, whole(body), "x"), None);
        let objects: Vec<_> = objects(list_body, whole(list_body)).collect();
        assert_eq!(objects.len(), 2);
        assert_eq!(objects[0].0.of(list_body), br#"{"a":[{"x":1}],"b":"}"}"#);
        assert_eq!(objects[1].1.as_slice().len(), 0);
        assert_eq!(elements(b"[]", whole(b"[]")).count(), 0);
        assert_eq!(members(b"{ }", whole(b"{ }")).count(), 0);
        assert_eq!(members(b"12", whole(b"12")).count(), 0);
    }

    #[test]
    fn damaged_bytes_end_a_walk() {
        let body = br#"{"a":[1,{"b":"c"}],"d":"e"}"#;
        for cut in 0..body.len() {
            let part = &body[..cut];
            for field in members(part, whole(part)) {
                elements(part, field.value).count();
            }
        }
    }
}
