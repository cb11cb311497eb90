//! How a byte stream falls into events: server-sent events, JSON lines. Bytes come in pieces of any size; what has no end
//! yet is kept. Knows nothing of what stands in an event.

use memchr::memchr;

use crate::error::{ErrorClass, GatewayError};

/// The largest event that is put together, in bytes.
pub const EVENT_BYTES_MAX: usize = 32 << 20;

/// What takes events: name (may be empty) and data.
pub type Sink<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), GatewayError> + 'a;

/// A way to cut a byte stream into events.
pub trait Framing: Default + Send {
    /// Takes bytes as they came and hands out the events that are complete.
    fn feed(&mut self, bytes: &[u8], sink: &mut Sink<'_>) -> Result<(), GatewayError>;

    /// The stream is over: hands out what only its end completes.
    fn flush(&mut self, _sink: &mut Sink<'_>) -> Result<(), GatewayError> {
        Ok(())
    }
}

/// An event that is larger than what we put together.
pub fn too_large() -> GatewayError {
    GatewayError::new(
        ErrorClass::ApiConnection,
        format!(
            "litellm.APIConnectionError: a stream event is larger than {EVENT_BYTES_MAX} bytes"
        ),
    )
}

/// Lines, without their ends. A line that came whole is not copied.
#[derive(Debug, Default)]
struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    fn feed(
        &mut self,
        mut bytes: &[u8],
        sink: &mut dyn FnMut(&[u8]) -> Result<(), GatewayError>,
    ) -> Result<(), GatewayError> {
        while let Some(at) = memchr(b'\n', bytes) {
            let (line, rest) = (&bytes[..at], &bytes[at + 1..]);
            bytes = rest;
            if self.partial.is_empty() {
                sink(line.strip_suffix(b"\r").unwrap_or(line))?;
                continue;
            }
            self.partial.extend_from_slice(line);
            let whole = std::mem::take(&mut self.partial);
            sink(whole.strip_suffix(b"\r").unwrap_or(&whole))?;
        }
        if self.partial.len() + bytes.len() > EVENT_BYTES_MAX {
            return Err(too_large());
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }
}

/// Server-sent events. Comments, ids and retry times are skipped.
#[derive(Debug, Default)]
pub struct Sse {
    lines: Lines,
    event: SseEvent,
}

#[derive(Debug, Default)]
struct SseEvent {
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
}

impl SseEvent {
    fn line(&mut self, line: &[u8], sink: &mut Sink<'_>) -> Result<(), GatewayError> {
        if line.is_empty() {
            let result = if self.has_data {
                sink(&self.name, &self.data)
            } else {
                Ok(())
            };
            self.name.clear();
            self.data.clear();
            self.has_data = false;
            return result;
        }
        let value = |rest: &'_ [u8]| rest.strip_prefix(b" ").map_or(rest.len(), <[u8]>::len);
        if let Some(rest) = line.strip_prefix(b"data:") {
            if self.data.len() + rest.len() > EVENT_BYTES_MAX {
                return Err(too_large());
            }
            if self.has_data {
                self.data.push(b'\n');
            }
            self.has_data = true;
            self.data
                .extend_from_slice(&rest[rest.len() - value(rest)..]);
        } else if let Some(rest) = line.strip_prefix(b"event:") {
            self.name.clear();
            self.name
                .extend_from_slice(&rest[rest.len() - value(rest)..]);
        }
        Ok(())
    }
}

impl Framing for Sse {
    fn feed(&mut self, bytes: &[u8], sink: &mut Sink<'_>) -> Result<(), GatewayError> {
        let event = &mut self.event;
        self.lines.feed(bytes, &mut |line| event.line(line, sink))
    }
}

/// One JSON value a line; also the `data:` lines of providers that frame their lines as events without an empty line
/// between them.
#[derive(Debug, Default)]
pub struct JsonLines {
    lines: Lines,
}

/// What of a line is JSON.
fn payload(line: &[u8]) -> Option<&[u8]> {
    let line = line.trim_ascii();
    let line = line.strip_prefix(b"data:").map_or(line, <[u8]>::trim_ascii);
    let skipped = line.is_empty() || line.starts_with(b":") || line.starts_with(b"event:");
    (!skipped).then_some(line)
}

impl Framing for JsonLines {
    fn feed(&mut self, bytes: &[u8], sink: &mut Sink<'_>) -> Result<(), GatewayError> {
        self.lines.feed(bytes, &mut |line| match payload(line) {
            Some(line) => sink(b"", line),
            None => Ok(()),
        })
    }

    fn flush(&mut self, sink: &mut Sink<'_>) -> Result<(), GatewayError> {
        let line = std::mem::take(&mut self.lines.partial);
        match payload(&line) {
            Some(line) => sink(b"", line),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<F: Framing>(pieces: &[&[u8]]) -> Vec<(String, String)> {
        let mut events = Vec::new();
        let mut framing = F::default();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut sink = |name: &[u8], data: &[u8]| {
            events.push((text(name), text(data)));
            Ok(())
        };
        for piece in pieces {
            framing.feed(piece, &mut sink).unwrap();
        }
        framing.flush(&mut sink).unwrap();
        events
    }

    #[test]
    fn events_are_found_however_they_are_cut() {
        let bytes = b": hi\r\nevent: a\ndata: 1\r\ndata:2\n\nid: 3\n\ndata: {}\n\ndata: cut";
        let whole = read::<Sse>(&[bytes]);
        let expected = [("a", "1\n2"), ("", "{}")];
        assert_eq!(whole.len(), expected.len());
        for (event, (name, data)) in whole.iter().zip(expected) {
            assert_eq!((event.0.as_str(), event.1.as_str()), (name, data));
        }
        for at in 0..bytes.len() {
            assert_eq!(read::<Sse>(&[&bytes[..at], &bytes[at..]]), whole);
        }
    }

    #[test]
    fn the_last_line_needs_no_end() {
        let lines = read::<JsonLines>(&[b"{\"a\":1}\n\nevent: x\ndata: {\"b\"", b":2}"]);
        let lines: Vec<_> = lines.iter().map(|(_, line)| line.as_str()).collect();
        assert_eq!(lines, [r#"{"a":1}"#, r#"{"b":2}"#]);
    }
}
