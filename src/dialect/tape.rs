//! Everything that stands in a body, found by the one pass of [`scan`](super::scan): the members of an object and the
//! objects of a list are looked up, not searched for again. It does not know what any field means.

use super::scan::{Field, Scan, ScanError, Sink, Span, scan_into};
use super::walk::FieldList;

/// Levels below the outermost object that are noted; what stands deeper is part of its container's bytes only.
const LEVELS: usize = 8;

/// One member, or one element that is an object or a list.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// The name with its quotes; empty for an element.
    key: Span,
    value: Span,
    /// The first node behind this one and what stands in it.
    next: u32,
}

/// The values of a body. Elements of lists that are no containers are left out.
#[derive(Debug, Default)]
pub struct Tape {
    nodes: Vec<Node>,
    /// The open containers' nodes, from the outside in.
    open: [u32; LEVELS],
    depth: usize,
    key: Span,
}

impl Tape {
    /// Checks `body` as [`scan`](super::scan::scan) does and notes all that stands in it, in place of what was noted
    /// before.
    ///
    /// # Errors
    /// What `scan` refuses.
    pub fn scan(&mut self, body: &[u8]) -> Result<Scan, ScanError> {
        /// A chat answer has about thirty values.
        const NODES: usize = 48;
        self.nodes.clear();
        self.nodes.reserve(NODES);
        self.depth = 0;
        self.key = Span::default();
        scan_into(body, self)
    }

    /// The members of the object under `span`; none when it is no object.
    pub fn fields(&self, span: Span) -> FieldList {
        self.node(span)
            .map_or_else(FieldList::default, |node| self.fields_of(node))
    }

    /// The objects of the list under `span` with their members.
    pub fn objects<'a>(
        &'a self,
        body: &'a [u8],
        span: Span,
    ) -> impl Iterator<Item = (Span, FieldList)> + 'a {
        let opens = move |value: Span, open: u8| body.get(value.start as usize) == Some(&open);
        let list = self.node(span).filter(|_| opens(span, b'['));
        list.into_iter()
            .flat_map(|list| self.children(list))
            .filter(move |&child| opens(self.nodes[child].value, b'{'))
            .map(|child| (self.nodes[child].value, self.fields_of(child)))
    }

    fn fields_of(&self, node: usize) -> FieldList {
        let field = |child: usize| Field {
            key: self.nodes[child].key,
            value: self.nodes[child].value,
        };
        self.children(node)
            .map(field)
            .filter(|field| field.key.end > 0)
            .collect()
    }

    /// The node of a value; they stand in the order of their first bytes.
    fn node(&self, value: Span) -> Option<usize> {
        let at = self
            .nodes
            .binary_search_by_key(&value.start, |node| node.value.start)
            .ok()?;
        (self.nodes[at].value == value).then_some(at)
    }

    fn children(&self, node: usize) -> impl Iterator<Item = usize> + '_ {
        let end = self.nodes[node].next as usize;
        let mut at = node + 1;
        std::iter::from_fn(move || {
            let child = at;
            let next = self.nodes.get(child).filter(|_| child < end)?.next;
            at = next as usize;
            Some(child)
        })
    }
}

impl Sink for Tape {
    #[inline]
    fn key(&mut self, key: Span, _: bool) {
        if self.depth < LEVELS {
            self.key = key;
        }
    }

    #[inline]
    fn begin(&mut self, at: usize) {
        if self.depth < LEVELS {
            self.nodes.push(Node {
                key: std::mem::take(&mut self.key),
                value: Span::new(at, at),
                next: 0,
            });
        }
    }

    #[inline]
    fn end(&mut self, at: usize, _: bool) {
        if self.depth < LEVELS {
            let next = self.nodes.len() as u32;
            match self.nodes.last_mut() {
                Some(node) if node.key.end > 0 => {
                    node.value.end = at as u32;
                    node.next = next;
                }
                _ => drop(self.nodes.pop()),
            }
        }
    }

    #[inline]
    fn enter(&mut self) {
        if let Some(open) = self.open.get_mut(self.depth) {
            *open = (self.nodes.len() as u32).saturating_sub(1);
        }
        self.depth += 1;
    }

    #[inline]
    fn leave(&mut self, at: usize) {
        self.depth = self.depth.saturating_sub(1);
        let Some(&open) = self.open.get(self.depth) else {
            return;
        };
        let next = self.nodes.len() as u32;
        if let Some(node) = self.nodes.get_mut(open as usize) {
            node.value.end = at as u32;
            node.next = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::walk;
    use super::*;

    /// The tape and the walks say the same of every value of a body.
    fn same(body: &[u8]) -> usize {
        let mut tape = Tape::default();
        let scan = tape.scan(body).unwrap();
        let mut todo: Vec<Span> = scan.fields().iter().map(|field| field.value).collect();
        let mut seen = 0;
        while let Some(span) = todo.pop() {
            seen += 1;
            let walked = walk::FieldList::of(body, span);
            assert_eq!(tape.fields(span).as_slice(), walked.as_slice());
            todo.extend(walked.as_slice().iter().map(|field| field.value));
            let objects: Vec<_> = walk::objects(body, span).collect();
            let noted: Vec<_> = tape.objects(body, span).collect();
            assert_eq!(objects.len(), noted.len());
            for ((span, fields), (noted_span, noted_fields)) in objects.iter().zip(&noted) {
                assert_eq!(
                    (span, fields.as_slice()),
                    (noted_span, noted_fields.as_slice())
                );
                todo.extend(fields.as_slice().iter().map(|field| field.value));
            }
        }
        seen
    }

    #[test]
    fn it_says_what_walking_says() {
        let body = br#" { "a" : [ {"x":1, "y":{} } , {"z":[{"q":"}"}]} ], "b":{"c":"d\"", "e":[], "f":[1,"2",null]}, "g":true } "#;
        assert_eq!(same(body), 10);
        assert_eq!(same(b"{}"), 0);
        assert_eq!(same(br#"{"a":{"b":{"c":{"d":{"e":{"f":1}}}}}}"#), 6);
    }

    #[test]
    fn what_is_deeper_than_its_levels_is_left_out_and_confuses_nothing() {
        let deep = format!(
            r#"{{"a":{}[{{"k":1}}]{},"b":[{{"c":2}}]}}"#,
            "[".repeat(20),
            "]".repeat(20)
        );
        let mut tape = Tape::default();
        let scan = tape.scan(deep.as_bytes()).unwrap();
        let list = scan.fields()[1].value;
        let objects: Vec<_> = tape.objects(deep.as_bytes(), list).collect();
        assert_eq!(objects.len(), 1);
        assert_eq!(objects[0].0.of(deep.as_bytes()), br#"{"c":2}"#);
        assert_eq!(tape.scan(b"{\"x\":{\"y\":1}}").unwrap().len(), 1);
        assert_eq!(tape.fields(Span::new(5, 12)).as_slice().len(), 1);
        assert!(tape.scan(b"{\"x\":").is_err());
    }
}
