//! Chunks of one stream mostly differ in one short string: the text, or a tool call's arguments. A template remembers an
//! event and what became of it, with holes where those strings stand; the next event that fits is rewritten without being
//! looked through. Everything outside the holes must be equal byte by byte, so what fits has the same meaning.

use super::scan::{Span, string_end};

/// Strings of one event that may differ.
const HOLES_MAX: usize = 4;

/// Misses in a row after which a stream is taken to have no pattern.
const MISSES_MAX: u8 = 16;

/// One string that may differ, without its quotes: in the remembered event and in what became of it.
#[derive(Clone, Copy, Debug, Default)]
struct Hole {
    input: Span,
    output: Span,
    /// Part of the answer, and not padding.
    is_text: bool,
}

/// A remembered event. See the module.
#[derive(Debug, Default)]
pub struct Template {
    input: Vec<u8>,
    output: Vec<u8>,
    holes: [Hole; HOLES_MAX],
    count: usize,
    misses: u8,
}

impl Template {
    /// Appends to `out` what becomes of `data`, if it fits, and counts the bytes of the answer's text in it.
    pub fn apply(&mut self, data: &[u8], out: &mut Vec<u8>) -> Option<usize> {
        if self.count == 0 {
            return None;
        }
        let start = out.len();
        let filled = self.fill(data, out);
        if filled.is_some() {
            self.misses = 0;
        } else {
            out.truncate(start);
            self.misses = self.misses.saturating_add(1);
        }
        filled
    }

    fn fill(&self, data: &[u8], out: &mut Vec<u8>) -> Option<usize> {
        let (mut at, mut input, mut output) = (0, 0, 0);
        let mut bytes = 0;
        for hole in &self.holes[..self.count] {
            let fixed = self.input.get(input..hole.input.start as usize)?;
            at += data.get(at..)?.starts_with(fixed).then_some(fixed.len())?;
            let end = string_end(data, at)?;
            let text = data.get(at..end)?;
            simdutf8::basic::from_utf8(text).ok()?;
            out.extend_from_slice(self.output.get(output..hole.output.start as usize)?);
            out.extend_from_slice(text);
            bytes += if hole.is_text { text.len() } else { 0 };
            at = end;
            (input, output) = (hole.input.end as usize, hole.output.end as usize);
        }
        if data.get(at..)? != self.input.get(input..)? {
            return None;
        }
        out.extend_from_slice(self.output.get(output..)?);
        Some(bytes)
    }

    /// Remembers an event. `strings` are its strings that may differ, quotes included, each with where it stands in
    /// `output` and whether it is text of the answer.
    pub fn remember(
        &mut self,
        data: &[u8],
        output: &[u8],
        strings: impl Iterator<Item = (Span, usize, bool)>,
    ) {
        self.count = 0;
        if self.misses >= MISSES_MAX {
            return;
        }
        for (span, moved, is_text) in strings {
            let length = span.end.saturating_sub(span.start) as usize;
            if self.count == HOLES_MAX || length < 2 || data.get(span.start as usize) != Some(&b'"')
            {
                self.count = 0;
                return;
            }
            self.holes[self.count] = Hole {
                input: Span {
                    start: span.start + 1,
                    end: span.end - 1,
                },
                output: Span::new(moved + 1, moved + length - 1),
                is_text,
            };
            self.count += 1;
        }
        self.holes[..self.count].sort_unstable_by_key(|hole| hole.input.start);
        self.input.clear();
        self.input.extend_from_slice(data);
        self.output.clear();
        self.output.extend_from_slice(output);
    }

    /// Whether an event is remembered.
    pub fn is_set(&self) -> bool {
        self.count > 0
    }

    /// Forgets the event.
    pub fn forget(&mut self) {
        self.count = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_filled_in_and_nothing_else_fits() {
        let data = br#"{"m":"up","c":"one","o":"xx"}"#;
        let output = br#"data: {"m":"alias","c":"one","o":"xx"}"#;
        let mut template = Template::default();
        template.remember(
            data,
            output,
            [
                (Span::new(14, 19), 23, true),
                (Span::new(24, 28), 33, false),
            ]
            .into_iter(),
        );
        let mut check = |event: &str, expected: Option<&str>| {
            let mut out = Vec::new();
            let filled = template.apply(event.as_bytes(), &mut out);
            assert!(
                filled.is_none_or(|bytes| bytes == 5 || bytes == 2),
                "the first string's alone"
            );
            assert_eq!(
                filled.map(|_| String::from_utf8(out).unwrap()).as_deref(),
                expected,
                "{event}"
            );
        };
        check(
            r#"{"m":"up","c":"two\n","o":""}"#,
            Some(r#"data: {"m":"alias","c":"two\n","o":""}"#),
        );
        check(
            r#"{"m":"up","c":"é","o":"abc"}"#,
            Some(r#"data: {"m":"alias","c":"é","o":"abc"}"#),
        );
        check(r#"{"m":"other","c":"two","o":""}"#, None);
        check(r#"{"m":"up","c":"two","x":1,"o":""}"#, None);
        check(r#"{"m":"up","c":"bad \x","o":""}"#, None);
        check(r#"{"m":"up","c":"two","o":""},"#, None);
        check(r#"{"m":"up","c":"two","o":"#, None);
        check(r#"{"m":"up","c":null,"o":""}"#, None);
        check("{\"m\":\"up\",\"c\":\"\n\",\"o\":\"\"}", None);
    }
}
