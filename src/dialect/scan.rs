//! One pass over a JSON body: is it valid (RFC 8259), and where do the fields of its outermost object stand. Nothing is
//! decoded, no tree is built, nothing recurses. Everything that reads or edits a body starts from these spans. It does
//! not know what any field means.

use std::borrow::Cow;
use std::fmt;

use shardgate_io::quoted::find_special;

/// The deepest nesting that is accepted, counting the outermost object as one.
pub const NESTING_MAX: u32 = 128;

/// The most fields an outermost object may have.
pub const FIELDS_MAX: usize = 512;

/// Fields that need no allocation.
const FIELDS_INLINE: usize = 24;

/// A range of bytes of a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// A span over the bytes of `range`; bodies stay below 4 GiB (`scan` refuses more).
    pub const fn new(start: usize, end: usize) -> Self {
        Self {
            start: start as u32,
            end: end as u32,
        }
    }

    /// The bytes of `body` under this span; empty when it does not fit.
    pub fn of(self, body: &[u8]) -> &[u8] {
        body.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }
}

/// One member of an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Field {
    /// The name as it stands in the body, quotes included.
    pub key: Span,
    /// The value.
    pub value: Span,
}

/// Where the fields of a body's outermost object stand.
#[derive(Clone, Debug)]
pub struct Scan {
    inline: [Field; FIELDS_INLINE],
    more: Vec<Field>,
    count: usize,
    /// Names that were written with escapes: index of the field, decoded name.
    decoded: Vec<(usize, Box<[u8]>)>,
    /// The outermost object with its braces.
    pub object: Span,
    /// Whether a value anywhere below is null.
    pub has_null: bool,
}

/// Why a body was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanErrorKind {
    /// No byte of a value.
    Empty,
    /// Ended within a value.
    Truncated,
    /// Not JSON at that byte.
    Syntax,
    /// Not UTF-8 at that byte.
    Utf8,
    /// Nested deeper than [`NESTING_MAX`].
    Nesting,
    /// The same name twice in the outermost object.
    DuplicateField,
    /// More than [`FIELDS_MAX`] fields.
    TooManyFields,
    /// Valid JSON, but no object.
    NotAnObject,
    /// 4 GiB or more.
    TooLarge,
}

/// Why and where a body was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanError {
    /// Why.
    pub kind: ScanErrorKind,
    /// The byte at which it showed, from 0.
    pub at: usize,
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at;
        match self.kind {
            ScanErrorKind::Empty => write!(f, "Malformed JSON: the body is empty"),
            ScanErrorKind::Truncated => write!(
                f,
                "Malformed JSON: the body ends within a value, at byte {at}"
            ),
            ScanErrorKind::Syntax => write!(f, "Malformed JSON at byte {at}"),
            ScanErrorKind::Utf8 => write!(f, "Malformed JSON: not UTF-8 at byte {at}"),
            ScanErrorKind::Nesting => write!(
                f,
                "JSON is nested deeper than {NESTING_MAX} levels, at byte {at}"
            ),
            ScanErrorKind::DuplicateField => {
                write!(f, "the same field name twice, the second at byte {at}")
            }
            ScanErrorKind::TooManyFields => {
                write!(f, "more than {FIELDS_MAX} fields, at byte {at}")
            }
            ScanErrorKind::NotAnObject => write!(f, "the body must be a JSON object"),
            ScanErrorKind::TooLarge => write!(f, "the body is larger than 4 GiB"),
        }
    }
}

impl std::error::Error for ScanError {}

impl ScanError {
    /// A value where an object has to be.
    pub(super) const fn not_an_object() -> Self {
        Self {
            kind: ScanErrorKind::NotAnObject,
            at: 0,
        }
    }
}

/// Hears of every value that the pass meets, in the order of the body.
pub(super) trait Sink {
    /// The name of the member whose value is next, and whether it has escapes.
    fn key(&mut self, key: Span, escaped: bool);
    /// A value starts at this byte.
    fn begin(&mut self, at: usize);
    /// The value that began last is no container and ends before this byte; whether it is a string with escapes.
    fn end(&mut self, at: usize, escaped: bool);
    /// The value that began last is a container; what begins now stands in it.
    fn enter(&mut self);
    /// The innermost open container ends before this byte.
    fn leave(&mut self, at: usize);
}

/// Nobody listens.
impl Sink for () {
    #[inline]
    fn key(&mut self, _: Span, _: bool) {}
    #[inline]
    fn begin(&mut self, _: usize) {}
    #[inline]
    fn end(&mut self, _: usize, _: bool) {}
    #[inline]
    fn enter(&mut self) {}
    #[inline]
    fn leave(&mut self, _: usize) {}
}

/// Checks `body` and notes the fields of its outermost object.
pub fn scan(body: &[u8]) -> Result<Scan, ScanError> {
    scan_into(body, &mut ())
}

/// The same, and `sink` hears of everything below.
pub(super) fn scan_into(body: &[u8], sink: &mut impl Sink) -> Result<Scan, ScanError> {
    let mut reader = Reader::new(checked(body)?);
    match reader.peek() {
        None => Err(reader.error(ScanErrorKind::Empty)),
        Some(b'{') => {
            let scan = reader.outermost(sink)?;
            reader.nothing_more()?;
            Ok(scan)
        }
        Some(_) => {
            reader.value(0, &mut ())?;
            reader.nothing_more()?;
            Err(ScanError::not_an_object())
        }
    }
}

/// The bytes as text, if they are and spans can say where in it something stands.
pub(super) fn checked(body: &[u8]) -> Result<&str, ScanError> {
    let error = |kind, at| ScanError { kind, at };
    if u32::try_from(body.len()).is_err() {
        return Err(error(ScanErrorKind::TooLarge, 0));
    }
    simdutf8::compat::from_utf8(body)
        .map_err(|found| error(ScanErrorKind::Utf8, found.valid_up_to()))
}

/// Checks that `body` is one JSON value of any kind; `sink` hears of it and of everything below.
pub(super) fn values_into(body: &str, sink: &mut impl Sink) -> Result<(), ScanError> {
    let mut reader = Reader::new(body);
    if reader.peek().is_none() {
        return Err(reader.error(ScanErrorKind::Empty));
    }
    reader.value(0, sink)?;
    reader.nothing_more()
}

impl Scan {
    fn new() -> Self {
        Self {
            inline: [Field::default(); FIELDS_INLINE],
            more: Vec::new(),
            count: 0,
            decoded: Vec::new(),
            object: Span::default(),
            has_null: false,
        }
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether the object has no fields.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The fields in the order of the body.
    pub fn fields(&self) -> &[Field] {
        if self.count <= FIELDS_INLINE {
            &self.inline[..self.count]
        } else {
            &self.more
        }
    }

    /// The decoded name of the field with that index.
    pub fn name<'a>(&'a self, body: &'a [u8], index: usize) -> &'a [u8] {
        if !self.decoded.is_empty()
            && let Some((_, name)) = self.decoded.iter().find(|(field, _)| *field == index)
        {
            return name;
        }
        let Some(field) = self.fields().get(index) else {
            return b"";
        };
        body.get(field.key.start as usize + 1..(field.key.end as usize).saturating_sub(1))
            .unwrap_or_default()
    }

    /// The index of the field called `name`.
    pub fn find(&self, body: &[u8], name: &str) -> Option<usize> {
        let quoted = name.len() as u32 + 2;
        if self.decoded.is_empty() {
            let fields = self.fields();
            return fields.iter().enumerate().position(|(index, field)| {
                field.key.end - field.key.start == quoted
                    && self.name(body, index) == name.as_bytes()
            });
        }
        (0..self.count).find(|&index| self.name(body, index) == name.as_bytes())
    }

    /// The bytes of the value called `name`.
    pub fn value<'b>(&self, body: &'b [u8], name: &str) -> Option<&'b [u8]> {
        let index = self.find(body, name)?;
        Some(self.fields().get(index)?.value.of(body))
    }

    /// The decoded string called `name`; `None` when it is missing or no string.
    pub fn string<'b>(&self, body: &'b [u8], name: &str) -> Option<Cow<'b, str>> {
        decode_string(self.value(body, name)?)
    }

    /// Whether the field called `name` is `true`.
    pub fn is_true(&self, body: &[u8], name: &str) -> bool {
        self.value(body, name) == Some(b"true")
    }

    fn push(&mut self, field: Field) {
        if self.count < FIELDS_INLINE {
            self.inline[self.count] = field;
        } else {
            if self.count == FIELDS_INLINE {
                self.more.extend_from_slice(&self.inline);
            }
            self.more.push(field);
        }
        self.count += 1;
    }
}

/// Decodes a JSON string with its quotes. A lone surrogate becomes U+FFFD. `None` when it is no string.
pub fn decode_string(raw: &[u8]) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if memchr::memchr(b'\\', inner).is_none() {
        return std::str::from_utf8(inner).ok().map(Cow::Borrowed);
    }
    Some(Cow::Owned(unescaped(inner)))
}

/// Decodes the inside of a valid JSON string. A lone surrogate becomes U+FFFD.
pub(super) fn unescaped(inner: &[u8]) -> String {
    String::from_utf8(unescape(inner))
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Decodes the inside of a valid JSON string. Lone surrogates become their three bytes, so that two different ones stay
/// different.
fn unescape(inner: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(inner.len());
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\\', &inner[at..]) {
        out.extend_from_slice(&inner[at..at + found]);
        at += found + 1;
        let Some(&kind) = inner.get(at) else {
            return out;
        };
        at += 1;
        match kind {
            b'n' => out.push(b'\n'),
            b't' => out.push(b'\t'),
            b'r' => out.push(b'\r'),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'u' => at += unescape_unicode(&inner[at..], &mut out),
            other => out.push(other),
        }
    }
    out.extend_from_slice(&inner[at..]);
    out
}

/// Decodes `XXXX` or `XXXX\uXXXX` behind `\u`; returns how many bytes it took.
fn unescape_unicode(rest: &[u8], out: &mut Vec<u8>) -> usize {
    let Some(first) = hex4(rest) else { return 0 };
    let mut taken = 4;
    let mut code = u32::from(first);
    if (0xd800..0xdc00).contains(&first)
        && rest.get(4..6) == Some(b"\\u")
        && let Some(second) = rest.get(6..).and_then(hex4)
        && (0xdc00..0xe000).contains(&second)
    {
        code = 0x10000 + ((u32::from(first) - 0xd800) << 10) + (u32::from(second) - 0xdc00);
        taken = 10;
    }
    match char::from_u32(code) {
        Some(letter) => out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
        None => {
            let low = code & 0x3f;
            out.extend_from_slice(&[
                0xe0 | (code >> 12) as u8,
                0x80 | ((code >> 6) & 0x3f) as u8,
                0x80 | low as u8,
            ]);
        }
    }
    taken
}

fn hex4(bytes: &[u8]) -> Option<u16> {
    let mut value = 0u16;
    for &byte in bytes.get(..4)? {
        value = value << 4 | u16::try_from(char::from(byte).to_digit(16)?).ok()?;
    }
    Some(value)
}

/// Where the string that has its inside at `at` ends: its closing quote. `None` when it is no valid string, UTF-8 apart.
pub(super) fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut reader = Reader {
        bytes,
        at: at.checked_sub(1)?,
        met_null: false,
    };
    reader.string().ok()?;
    Some(reader.at - 1)
}

/// The cursor of the pass. The bytes are valid UTF-8.
struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
    met_null: bool,
}

impl<'b> Reader<'b> {
    /// A cursor on the first byte that is no space.
    fn new(text: &'b str) -> Self {
        let mut reader = Reader {
            bytes: text.as_bytes(),
            at: 0,
            met_null: false,
        };
        reader.skip_space();
        reader
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn error(&self, kind: ScanErrorKind) -> ScanError {
        ScanError { kind, at: self.at }
    }

    /// Syntax, or truncated at the end of the body.
    fn unexpected(&self) -> ScanError {
        self.error(if self.at >= self.bytes.len() {
            ScanErrorKind::Truncated
        } else {
            ScanErrorKind::Syntax
        })
    }

    #[inline]
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    #[inline]
    fn take(&mut self, byte: u8) -> Result<(), ScanError> {
        if self.peek() != Some(byte) {
            return Err(self.unexpected());
        }
        self.at += 1;
        Ok(())
    }

    fn nothing_more(&mut self) -> Result<(), ScanError> {
        self.skip_space();
        if self.at == self.bytes.len() {
            Ok(())
        } else {
            Err(self.error(ScanErrorKind::Syntax))
        }
    }

    /// The outermost object; the cursor stands on its brace.
    fn outermost(&mut self, sink: &mut impl Sink) -> Result<Scan, ScanError> {
        let mut scan = Scan::new();
        let mut seen = 0u64;
        let open = self.at;
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
        } else {
            loop {
                let key_start = self.at;
                let escaped = self.key()?;
                let key = Span::new(key_start, self.colon()?);
                let value_start = self.at;
                sink.key(key, escaped);
                self.value(1, sink)?;
                let field = Field {
                    key,
                    value: Span::new(value_start, self.at),
                };
                self.note(&mut scan, &mut seen, field, escaped)?;
                self.skip_space();
                match self.peek() {
                    Some(b',') => self.at += 1,
                    Some(b'}') => {
                        self.at += 1;
                        break;
                    }
                    _ => return Err(self.unexpected()),
                }
                self.skip_space();
            }
        }
        scan.object = Span::new(open, self.at);
        scan.has_null = self.met_null;
        Ok(scan)
    }

    /// Keeps a field, unless its name was there before. `seen` has a bit per hash of the names so far.
    fn note(
        &self,
        scan: &mut Scan,
        seen: &mut u64,
        field: Field,
        escaped: bool,
    ) -> Result<(), ScanError> {
        let at = field.key.start as usize;
        if scan.count >= FIELDS_MAX {
            return Err(ScanError {
                kind: ScanErrorKind::TooManyFields,
                at,
            });
        }
        let index = scan.count;
        scan.push(field);
        if escaped {
            let raw = field.key.of(self.bytes);
            scan.decoded
                .push((index, unescape(&raw[1..raw.len() - 1]).into_boxed_slice()));
        }
        let name = scan.name(self.bytes, index);
        let ends = [name.first(), name.last()].map(|byte| byte.copied().map_or(0, u32::from));
        let bit = 1u64
            << ((name.len() as u32)
                .wrapping_mul(7)
                .wrapping_add(ends[0] * 5)
                .wrapping_add(ends[1] * 3)
                & 63);
        if *seen & bit != 0 && (0..index).any(|other| scan.name(self.bytes, other) == name) {
            return Err(ScanError {
                kind: ScanErrorKind::DuplicateField,
                at,
            });
        }
        *seen |= bit;
        Ok(())
    }

    /// A member's name; returns whether it has escapes.
    #[inline]
    fn key(&mut self) -> Result<bool, ScanError> {
        if self.peek() != Some(b'"') {
            return Err(self.unexpected());
        }
        self.string()
    }

    /// A member's name and its colon.
    #[inline]
    fn name(&mut self, sink: &mut impl Sink) -> Result<(), ScanError> {
        let start = self.at;
        let escaped = self.key()?;
        let end = self.colon()?;
        sink.key(Span::new(start, end), escaped);
        Ok(())
    }

    /// The colon after a name and the space around it; returns where the name ended.
    #[inline]
    fn colon(&mut self) -> Result<usize, ScanError> {
        let end = self.at;
        self.skip_space();
        self.take(b':')?;
        self.skip_space();
        Ok(end)
    }

    /// One value of any kind. `outer` containers are open around it. Bit `n` of `objects` says whether the `n`-th
    /// container from inside is an object.
    fn value(&mut self, outer: u32, sink: &mut impl Sink) -> Result<(), ScanError> {
        let mut objects = 0u128;
        let mut depth = 0u32;
        loop {
            sink.begin(self.at);
            match self.peek() {
                Some(b'"') => {
                    let escaped = self.string()?;
                    sink.end(self.at, escaped);
                }
                Some(open @ (b'{' | b'[')) => {
                    if depth + outer >= NESTING_MAX {
                        return Err(self.error(ScanErrorKind::Nesting));
                    }
                    depth += 1;
                    objects = objects << 1 | u128::from(open == b'{');
                    sink.enter();
                    if self.enter(open, sink)? {
                        continue;
                    }
                }
                Some(b'-' | b'0'..=b'9') => {
                    self.number()?;
                    sink.end(self.at, false);
                }
                _ => {
                    self.literal()?;
                    sink.end(self.at, false);
                }
            }
            if !self.leave(&mut objects, &mut depth, sink)? {
                return Ok(());
            }
        }
    }

    /// Past an opening bracket, and past the first name in an object; whether a value follows.
    #[inline]
    fn enter(&mut self, open: u8, sink: &mut impl Sink) -> Result<bool, ScanError> {
        self.at += 1;
        self.skip_space();
        // `]` and `}` are two past their opening ones.
        if self.peek() == Some(open + 2) {
            return Ok(false);
        }
        if open == b'{' {
            self.name(sink)?;
        }
        Ok(true)
    }

    /// After a value: closes what ends here and goes to the next value; false when the outermost value has ended.
    #[inline]
    fn leave(
        &mut self,
        objects: &mut u128,
        depth: &mut u32,
        sink: &mut impl Sink,
    ) -> Result<bool, ScanError> {
        // An empty container leaves the cursor on its closing bracket, as any last member does.
        while *depth > 0 {
            self.skip_space();
            let in_object = *objects & 1 == 1;
            match self.peek() {
                Some(b',') => {
                    self.at += 1;
                    self.skip_space();
                    if in_object {
                        self.name(sink)?;
                    }
                    return Ok(true);
                }
                Some(b'}') if in_object => {}
                Some(b']') if !in_object => {}
                _ => return Err(self.unexpected()),
            }
            self.at += 1;
            sink.leave(self.at);
            *depth -= 1;
            *objects >>= 1;
        }
        Ok(false)
    }

    fn literal(&mut self) -> Result<(), ScanError> {
        let word: &[u8] = match self.peek() {
            Some(b't') => b"true",
            Some(b'f') => b"false",
            Some(b'n') => {
                self.met_null = true;
                b"null"
            }
            _ => return Err(self.unexpected()),
        };
        if self.bytes[self.at..].starts_with(word) {
            self.at += word.len();
            return Ok(());
        }
        Err(self.error(ScanErrorKind::Syntax))
    }

    fn number(&mut self) -> Result<(), ScanError> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), ScanError> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start {
            Err(self.unexpected())
        } else {
            Ok(())
        }
    }

    /// A string; the cursor stands on its first quote. Returns whether it has escapes.
    #[inline]
    fn string(&mut self) -> Result<bool, ScanError> {
        self.at = find_special(self.bytes, self.at + 1);
        if self.peek() == Some(b'"') {
            self.at += 1;
            return Ok(false);
        }
        self.string_with_escapes()
    }

    /// The rest of a string; the cursor stands on what is no plain byte and no quote.
    #[inline(never)]
    fn string_with_escapes(&mut self) -> Result<bool, ScanError> {
        while self.peek() == Some(b'\\') {
            self.escape()?;
            self.at = find_special(self.bytes, self.at);
        }
        self.take(b'"')?;
        Ok(true)
    }

    /// An escape; the cursor stands on the backslash.
    fn escape(&mut self) -> Result<(), ScanError> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                        return Err(self.unexpected());
                    }
                    self.at += 1;
                }
            }
            _ => return Err(self.unexpected()),
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
