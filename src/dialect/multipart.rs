//! Multipart forms (RFC 7578): where the parts stand, so that a small text field like `model` can be read and replaced
//! without touching the files beside it.

use std::fmt;

use memchr::memmem;

use super::scan::Span;

/// The most parts a form may have.
pub const PARTS_MAX: usize = 64;

/// The longest head of a part, bytes.
const PART_HEAD_MAX: usize = 4096;

/// One part of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// The file's name, for files.
    pub file: Option<String>,
    /// From the first byte of its boundary line to the first byte of the next one's.
    pub whole: Span,
    /// Its content.
    pub content: Span,
}

/// Where the parts of a form stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multipart {
    /// The boundary, without the dashes in front.
    pub boundary: String,
    /// The parts in order.
    pub parts: Vec<Part>,
    /// Where a further part would be inserted: before the closing boundary.
    pub end: u32,
}

/// Why a form was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MultipartError {
    /// What is wrong.
    pub reason: &'static str,
    /// The byte at which it showed.
    pub at: usize,
}

impl fmt::Display for MultipartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Malformed multipart form: {} at byte {}",
            self.reason, self.at
        )
    }
}

impl std::error::Error for MultipartError {}

impl Multipart {
    /// Finds the parts of `body`. `content_type` is the request's header with the boundary.
    pub fn parse(content_type: &str, body: &[u8]) -> Result<Self, MultipartError> {
        let wrong = |reason, at| Err(MultipartError { reason, at });
        let Some(boundary) = boundary_of(content_type) else {
            return wrong("no usable boundary", 0);
        };
        let delimiter = format!("\r\n--{boundary}");
        let finder = memmem::Finder::new(delimiter.as_bytes());
        // The first boundary stands at the start or, after a preamble that is ignored, on a line of its own.
        let mut line = if body.starts_with(&delimiter.as_bytes()[2..]) {
            0
        } else {
            match finder.find(body) {
                Some(at) => at + 2,
                None => return wrong("the boundary is not there", 0),
            }
        };
        let mut form = Self {
            boundary,
            parts: Vec::new(),
            end: 0,
        };
        loop {
            let after = line + delimiter.len() - 2;
            if body[after..].starts_with(b"--") {
                form.end = line as u32;
                return Ok(form);
            }
            let padding = body[after..]
                .iter()
                .take_while(|byte| matches!(byte, b' ' | b'\t'))
                .count();
            if !body[after + padding..].starts_with(b"\r\n") {
                return wrong("a boundary line does not end", after);
            }
            let head = after + padding + 2;
            let window = &body[head..body.len().min(head + PART_HEAD_MAX)];
            let Some((head_end, content)) = end_of_head(window) else {
                return wrong("a part has no head", head);
            };
            let content = head + content;
            // An empty content shares its line end with the head.
            let from = content - 2;
            let Some(found) = finder.find(&body[from..]) else {
                return wrong("a part does not end", content);
            };
            let end = (from + found).max(content);
            let next = from + found + 2;
            let (name, file) = match disposition(&body[head..head + head_end]) {
                Some(names) => names,
                None => return wrong("a part has no name", head),
            };
            if form.parts.len() == PARTS_MAX {
                return wrong("more than 64 parts", line);
            }
            form.parts.push(Part {
                name,
                file,
                whole: Span::new(line, next),
                content: Span::new(content, end),
            });
            line = next;
        }
    }

    /// The first part of that name that is no file.
    pub fn field(&self, name: &str) -> Option<&Part> {
        self.parts
            .iter()
            .find(|part| part.name == name && part.file.is_none())
    }

    /// The text of the field of that name.
    pub fn text<'b>(&self, body: &'b [u8], name: &str) -> Option<&'b str> {
        std::str::from_utf8(self.field(name)?.content.of(body)).ok()
    }

    /// A further text field as it stands before the closing boundary.
    pub fn render(&self, name: &str, value: &str) -> String {
        format!(
            "--{}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n",
            self.boundary
        )
    }
}

/// Where the head ends and the content starts.
fn end_of_head(window: &[u8]) -> Option<(usize, usize)> {
    if window.starts_with(b"\r\n") {
        return Some((0, 2));
    }
    memmem::find(window, b"\r\n\r\n").map(|at| (at, at + 4))
}

/// The boundary of a `multipart/form-data` content type: 1 to 70 of the letters that RFC 2046 allows.
fn boundary_of(content_type: &str) -> Option<String> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let value = parameter(parameters, "boundary")?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
    let usable =
        (1..=70).contains(&value.len()) && value.bytes().all(allowed) && !value.ends_with(' ');
    usable.then_some(value)
}

/// Name and file name of a part's head.
fn disposition(head: &[u8]) -> Option<(String, Option<String>)> {
    let head = std::str::from_utf8(head).ok()?;
    for line in head.split("\r\n") {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        if !name.trim().eq_ignore_ascii_case("content-disposition") {
            continue;
        }
        let (kind, parameters) = value.split_once(';')?;
        if !kind.trim().eq_ignore_ascii_case("form-data") {
            return None;
        }
        let file = parameter(parameters, "filename").or_else(|| parameter(parameters, "filename*"));
        return parameter(parameters, "name").map(|name| (name, file));
    }
    None
}

/// The value of a `; name=value` parameter, unquoted.
fn parameter(text: &str, wanted: &str) -> Option<String> {
    let mut rest = text;
    loop {
        let (name, after) = rest.split_once('=')?;
        let name = name.trim_start_matches([';', ' ', '\t']).trim();
        let (value, tail) = parameter_value(after.trim_start())?;
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = tail;
    }
}

fn parameter_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        return Some((text[..end].trim().to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(letters.next()?.1),
            _ => value.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &str = "--xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: \
                        audio/wav\r\n\r\n\0\u{1}--xy\r\nz\r\n--xyz\r\ncontent-disposition: form-data; \
                        name=model\r\n\r\nwhisper-1\r\n--xyz\r\nContent-Disposition: form-data; \
                        name=\"prompt\"\r\n\r\n\r\n--xyz--\r\n";

    #[test]
    fn parts_are_found() {
        let form =
            Multipart::parse("multipart/form-data; boundary=\"xyz\"", FORM.as_bytes()).unwrap();
        let names: Vec<_> = form
            .parts
            .iter()
            .map(|part| (part.name.as_str(), part.file.as_deref()))
            .collect();
        assert_eq!(
            names,
            [("file", Some("a.wav")), ("model", None), ("prompt", None)]
        );
        assert_eq!(form.text(FORM.as_bytes(), "model"), Some("whisper-1"));
        assert_eq!(form.text(FORM.as_bytes(), "prompt"), Some(""));
        assert_eq!(form.text(FORM.as_bytes(), "file"), None);
        assert!(FORM[form.end as usize..].starts_with("--xyz--"));
        assert!(FORM[form.parts[1].whole.start as usize..].starts_with("--xyz\r\ncontent"));
    }

    #[test]
    fn what_is_cut_or_unnamed_is_refused() {
        for cut in 0..FORM.len() - 4 {
            assert!(
                Multipart::parse("multipart/form-data; boundary=xyz", &FORM.as_bytes()[..cut])
                    .is_err(),
                "{cut}"
            );
        }
        let check = |kind: &str, body: &str| {
            assert!(
                Multipart::parse(kind, body.as_bytes()).is_err(),
                "{kind} {body}"
            )
        };
        check("multipart/form-data", FORM);
        check("text/plain; boundary=xyz", FORM);
        check("multipart/form-data; boundary=", FORM);
        check("multipart/form-data; boundary=abc", FORM);
        check(
            "multipart/form-data; boundary=xyz",
            "--xyz\r\nX: y\r\n\r\nv\r\n--xyz--\r\n",
        );
        check("multipart/form-data; boundary=xyz", "--xyzz\r\n");
    }
}
