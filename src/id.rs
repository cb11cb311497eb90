//! Request ids: unique without a lock, with the shard in their top bits.

use std::fmt;

/// The id of one call, printed as a UUID (version 8: our own layout).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestId {
    high: u64,
    low: u64,
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl RequestId {
    /// The id's 32 hexadecimal digits, without hyphens.
    pub fn hex(self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let number = u128::from(self.high) << 64 | u128::from(self.low);
        let digit = |place: u32| char::from(DIGITS[(number >> (124 - 4 * place) & 15) as usize]);
        (0..32).map(digit).collect()
    }

    /// The id as a UUID is written.
    pub fn text(self) -> String {
        let hex = self.hex();
        let mut text = String::with_capacity(36);
        for (place, digit) in hex.chars().enumerate() {
            if matches!(place, 8 | 12 | 16 | 20) {
                text.push('-');
            }
            text.push(digit);
        }
        text
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}

/// Makes the ids of one shard: the shard (10 bits), then a random start per process that is counted up.
pub struct RequestIds {
    shard: u64,
    next: u64,
    salt: u64,
}

impl RequestIds {
    /// Ids for `shard`; `seed` is random per process and shard.
    pub fn new(shard: usize, seed: u64) -> RequestIds {
        RequestIds {
            shard: shard as u64 & 0x3ff,
            next: seed >> 8,
            salt: seed,
        }
    }

    /// The next id.
    pub fn take(&mut self) -> RequestId {
        self.next = self.next.wrapping_add(1);
        let mixed = mix(self.next ^ self.salt.rotate_left(32));
        // Bits 48..51 are the version (8), the two top bits of the low half the variant.
        let high = self.shard << 54 | (self.next & 0x3f_ffff_ffff) << 16 | 0x8000 | mixed >> 52;
        let low = mixed << 2 >> 2 & 0x3fff_ffff_ffff_ffff | 0x8000_0000_0000_0000;
        RequestId { high, low }
    }
}

/// The finaliser of SplitMix64 (public domain, Sebastiano Vigna).
pub fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_unique_and_look_like_uuids() {
        let mut seen = HashSet::new();
        for shard in 0..4 {
            let mut ids = RequestIds::new(shard, 0x1234_5678_9abc_def0 + shard as u64);
            for _ in 0..10_000 {
                let text = ids.take().to_string();
                assert_eq!(text.len(), 36);
                assert_eq!(text.as_bytes()[14], b'8');
                assert!(b"89ab".contains(&text.as_bytes()[19]));
                assert!(seen.insert(text));
            }
        }
    }
}
