//! Edits on the bytes of a body: replace a range, insert beside it, take members out of an object together with their
//! commas. The untouched parts stay the original bytes, so unknown fields survive and nothing is serialised again. An
//! edited body is a list of slices, for one vectored write or one copy.

use super::scan::{Field, Span};

/// One replaced range. `from..to` is the new text in the arena.
#[derive(Clone, Copy, Debug)]
struct Edit {
    start: u32,
    end: u32,
    from: u32,
    to: u32,
}

/// A list of edits of one body. It holds the new text, not the body.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    list: Vec<Edit>,
    arena: Vec<u8>,
}

impl Edits {
    /// No edits yet.
    pub const fn new() -> Self {
        Self {
            list: Vec::new(),
            arena: Vec::new(),
        }
    }

    /// Whether the body stays as it is.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Forgets all edits and keeps the memory.
    pub fn clear(&mut self) {
        self.list.clear();
        self.arena.clear();
    }

    /// Puts `text` in the place of `span`. Ranges must not overlap; an empty span inserts.
    pub fn replace(&mut self, span: Span, text: &[u8]) {
        self.replace_with(span, |arena| arena.extend_from_slice(text));
    }

    /// Puts what `write` appends in the place of `span`.
    pub fn replace_with(&mut self, span: Span, write: impl FnOnce(&mut Vec<u8>)) {
        if self.list.capacity() == 0 {
            self.list.reserve(8);
            self.arena.reserve(256);
        }
        let from = self.arena.len() as u32;
        write(&mut self.arena);
        let edit = Edit {
            start: span.start,
            end: span.end,
            from,
            to: self.arena.len() as u32,
        };
        let place = self
            .list
            .iter()
            .rposition(|other| other.start <= edit.start)
            .map_or(0, |index| index + 1);
        self.list.insert(place, edit);
    }

    /// Takes `span` out.
    pub fn remove(&mut self, span: Span) {
        self.replace(span, b"");
    }

    /// The length of the edited body in bytes.
    pub fn len(&self, original: &[u8]) -> usize {
        self.pieces(original).map(<[u8]>::len).sum()
    }

    /// The edited body as slices of `original` and of the new text, in order, none empty.
    pub fn pieces<'a>(&'a self, original: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let mut done = 0u32;
        let edited = self.list.iter().flat_map(move |edit| {
            let kept = Span {
                start: done,
                end: edit.start.max(done),
            }
            .of(original);
            done = edit.end.max(done);
            [kept, &self.arena[edit.from as usize..edit.to as usize]]
        });
        let rest = self.list.iter().map(|edit| edit.end).max().unwrap_or(0);
        let tail = original.get(rest as usize..).unwrap_or_default();
        edited.chain([tail]).filter(|piece| !piece.is_empty())
    }

    /// Where the byte at `position`, which must not lie in an edited range, stands in the edited body.
    pub fn moved(&self, position: u32) -> usize {
        let before = self.list.iter().take_while(|edit| edit.start <= position);
        before.fold(position as usize, |at, edit| {
            at + (edit.to - edit.from) as usize - (edit.end - edit.start) as usize
        })
    }

    /// Appends the edited body to `out`.
    pub fn copy_into(&self, original: &[u8], out: &mut Vec<u8>) {
        for piece in self.pieces(original) {
            out.extend_from_slice(piece);
        }
    }
}

/// A body on its way out: the original with edits, or one of its own.
#[derive(Clone, Debug)]
pub enum Spliced {
    /// The original bytes with edits.
    Edits(Edits),
    /// A translated body that has nothing of the original.
    Whole(Vec<u8>),
}

impl Spliced {
    /// The original, unchanged.
    pub const fn unchanged() -> Self {
        Self::Edits(Edits::new())
    }

    /// The length in bytes; `original` is the body that the edits were made for.
    pub fn len(&self, original: &[u8]) -> usize {
        match self {
            Self::Edits(edits) => edits.len(original),
            Self::Whole(bytes) => bytes.len(),
        }
    }

    /// Whether nothing is left of the body.
    pub fn is_empty(&self, original: &[u8]) -> bool {
        self.len(original) == 0
    }

    /// The slices of the body, in order.
    pub fn pieces<'a>(&'a self, original: &'a [u8]) -> Box<dyn Iterator<Item = &'a [u8]> + 'a> {
        match self {
            Self::Edits(edits) => Box::new(edits.pieces(original)),
            Self::Whole(bytes) => Box::new(std::iter::once(bytes.as_slice())),
        }
    }

    /// Appends the body to `out`.
    pub fn copy_into(&self, original: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Edits(edits) => edits.copy_into(original, out),
            Self::Whole(bytes) => out.extend_from_slice(bytes),
        }
    }

    /// The body in a buffer of its own.
    pub fn to_vec(&self, original: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len(original));
        self.copy_into(original, &mut out);
        out
    }
}

/// Changes to the members of one object: which go, what is added at its end. Applied once, so that the commas are right
/// whichever members go.
#[derive(Debug, Default)]
pub struct Members {
    gone: Vec<usize>,
    /// Members to add, each without a comma, joined by commas.
    added: Vec<u8>,
}

impl Members {
    /// No changes yet.
    pub const fn new() -> Self {
        Self {
            gone: Vec::new(),
            added: Vec::new(),
        }
    }

    /// Takes out the member with that index.
    pub fn remove(&mut self, index: usize) {
        if let Err(place) = self.gone.binary_search(&index) {
            self.gone.insert(place, index);
        }
    }

    /// Adds a member at the end of the object. `name` needs no escapes.
    pub fn add(&mut self, name: &str, value: &[u8]) {
        self.add_with(name, |out| out.extend_from_slice(value));
    }

    /// Adds a member whose value `write` appends.
    pub fn add_with(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        if self.added.capacity() == 0 {
            self.added.reserve(96);
        }
        if !self.added.is_empty() {
            self.added.push(b',');
        }
        self.added.push(b'"');
        self.added.extend_from_slice(name.as_bytes());
        self.added.extend_from_slice(b"\":");
        write(&mut self.added);
    }

    /// Whether that member goes.
    pub fn is_gone(&self, index: usize) -> bool {
        self.gone.binary_search(&index).is_ok()
    }

    /// Writes the changes as edits. `object` spans the braces, `fields` are all its members in order. Edits within
    /// members that stay may be made before or after.
    pub fn apply(&self, object: Span, fields: &[Field], edits: &mut Edits) {
        if self.gone.is_empty() && self.added.is_empty() {
            return;
        }
        let last_kept = (0..fields.len()).rev().find(|&index| !self.is_gone(index));
        for &index in &self.gone {
            if last_kept.is_some_and(|last| index < last) {
                let next = fields[index + 1].key.start;
                edits.remove(Span {
                    start: fields[index].key.start,
                    end: next,
                });
            }
        }
        // Everything behind the last member that stays goes at once, and what is added takes its place.
        let inside = object.end.saturating_sub(1);
        let (start, comma) = match last_kept {
            Some(last) => (fields[last].value.end, true),
            None => (object.start + 1, false),
        };
        let end = if last_kept.is_some_and(|last| last + 1 == fields.len()) {
            start
        } else {
            inside
        };
        if self.added.is_empty() && start == end {
            return;
        }
        edits.replace_with(Span { start, end }, |arena| {
            if comma && !self.added.is_empty() {
                arena.push(b',');
            }
            arena.extend_from_slice(&self.added);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::scan::scan;
    use super::*;

    fn edited(body: &str, change: impl FnOnce(&mut Members)) -> String {
        let scan = scan(body.as_bytes()).unwrap();
        let mut members = Members::new();
        change(&mut members);
        let mut edits = Edits::new();
        members.apply(scan.object, scan.fields(), &mut edits);
        let mut out = Vec::new();
        edits.copy_into(body.as_bytes(), &mut out);
        assert_eq!(out.len(), edits.len(body.as_bytes()));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn members_go_with_their_commas() {
        let check = |gone: &[usize], expected: &str| {
            let out = edited(r#"{ "a": 1, "b": [2], "c": 3 }"#, |members| {
                gone.iter().for_each(|&index| members.remove(index));
            });
            assert_eq!(out, expected, "{gone:?}");
        };
        check(&[0], r#"{ "b": [2], "c": 3 }"#);
        check(&[1], r#"{ "a": 1, "c": 3 }"#);
        check(&[2], r#"{ "a": 1, "b": [2]}"#);
        check(&[0, 1], r#"{ "c": 3 }"#);
        check(&[1, 2], r#"{ "a": 1}"#);
        check(&[0, 2], r#"{ "b": [2]}"#);
        check(&[0, 1, 2], "{}");
        check(&[], r#"{ "a": 1, "b": [2], "c": 3 }"#);
    }

    #[test]
    fn members_are_added_at_the_end() {
        assert_eq!(edited("{}", |members| members.add("x", b"1")), r#"{"x":1}"#);
        assert_eq!(
            edited("{ }", |members| members.add("x", b"1")),
            r#"{"x":1}"#
        );
        let two = |members: &mut Members| {
            members.add("x", b"1");
            members.add("y", b"[]");
        };
        assert_eq!(edited(r#"{"a":0 }"#, two), r#"{"a":0,"x":1,"y":[] }"#);
        assert_eq!(
            edited(r#"{"a":0}"#, |members| {
                members.remove(0);
                members.add("x", b"1");
            }),
            r#"{"x":1}"#
        );
    }

    #[test]
    fn edits_come_out_in_the_order_of_the_body() {
        let body = b"0123456789";
        let mut edits = Edits::new();
        edits.replace(Span::new(6, 8), b"six");
        edits.replace(Span::new(2, 2), b"<");
        edits.replace(Span::new(2, 3), b"");
        edits.replace(Span::new(9, 10), b"end");
        let mut out = Vec::new();
        edits.copy_into(body, &mut out);
        assert_eq!(out, b"01<345six8end");
    }
}
