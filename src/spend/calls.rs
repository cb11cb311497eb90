//! Finished calls on their way from the journal to the store, as the bytes that the shards wrote:
//! one allocation for hundreds of them, and nothing is made of a call before the store binds it.

use super::record::{self, CallRecord};

/// Records of finished calls, one behind the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Calls {
    /// Adds a record as [`CallRecord::encode`] wrote it; whether this version can read it.
    pub fn push(&mut self, bytes: &[u8]) -> bool {
        let is_known = record::is_known(bytes);
        if is_known {
            self.bytes.extend_from_slice(bytes);
            self.ends.push(self.bytes.len());
        }
        is_known
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The records, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = CallRecord<'_>> + Clone {
        self.payloads().filter_map(record::decode)
    }

    /// Each of them for itself.
    pub fn singly(&self) -> impl Iterator<Item = Calls> {
        self.payloads().map(|bytes| Calls {
            bytes: bytes.to_vec(),
            ends: vec![bytes.len()],
        })
    }

    fn payloads(&self) -> impl Iterator<Item = &[u8]> + Clone {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins
            .zip(&self.ends)
            .filter_map(|(begin, &end)| self.bytes.get(begin..end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_come_back_in_their_order() {
        let (mut calls, mut bytes) = (Calls::default(), Vec::new());
        for request_id in ["a", "longer", ""] {
            let record = CallRecord {
                request_id,
                ..CallRecord::default()
            };
            record.encode(&mut bytes);
            assert!(calls.push(&bytes));
        }
        assert!(!calls.push(b"of another version"));
        assert_eq!(calls.len(), 3);
        let ids: Vec<&str> = calls.iter().map(|record| record.request_id).collect();
        assert_eq!(ids, ["a", "longer", ""]);
        let alone: Vec<Calls> = calls.singly().collect();
        assert_eq!(alone.len(), 3);
        assert_eq!(alone[1].len(), 1);
        assert_eq!(alone[1].iter().next().unwrap().request_id, "longer");
    }
}
