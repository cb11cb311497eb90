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
        let mut text = [0; 32];
        text[..16].copy_from_slice(&hex_digits(self.high));
        text[16..].copy_from_slice(&hex_digits(self.low));
        ascii(&text)
    }

    /// The id as a UUID is written.
    pub fn text(self) -> String {
        ascii(&self.bytes())
    }

    /// The same as bytes, without an allocation.
    pub fn bytes(self) -> [u8; 36] {
        let (high, low) = (hex_digits(self.high), hex_digits(self.low));
        let mut text = [b'-'; 36];
        text[..8].copy_from_slice(&high[..8]);
        text[9..13].copy_from_slice(&high[8..12]);
        text[14..18].copy_from_slice(&high[12..]);
        text[19..23].copy_from_slice(&low[..4]);
        text[24..].copy_from_slice(&low[4..]);
        text
    }
}

fn ascii(text: &[u8]) -> String {
    std::str::from_utf8(text).unwrap_or_default().to_owned()
}

/// The 16 hexadecimal digits of a number, in lower case: its half-bytes are spread over the bytes of
/// a 128-bit number, then all are made digits at once.
fn hex_digits(number: u64) -> [u8; 16] {
    const BYTES: u128 = u128::from_ne_bytes([1; 16]);
    let mut spread = u128::from(number);
    for (shift, mask) in [
        (32, 0x0000_0000_ffff_ffff_0000_0000_ffff_ffff),
        (16, 0x0000_ffff_0000_ffff_0000_ffff_0000_ffff),
        (8, 0x00ff_00ff_00ff_00ff_00ff_00ff_00ff_00ff),
        (4, 0x0f0f_0f0f_0f0f_0f0f_0f0f_0f0f_0f0f_0f0f),
    ] {
        spread = (spread | spread << shift) & mask;
    }
    // One in each byte that holds ten or more: their digits start at `a`.
    let letters = (spread + 6 * BYTES) >> 4 & BYTES;
    (spread + u128::from(b'0') * BYTES + u128::from(b'a' - b'0' - 10) * letters).to_be_bytes()
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
    fn digits_are_those_of_the_formatter() {
        for number in [
            0,
            1,
            0xabcdef,
            u64::MAX,
            0x0123_4567_89ab_cdef,
            0xa0b0_c0d0_e0f0_9a8b,
        ] {
            assert_eq!(hex_digits(number), format!("{number:016x}").as_bytes());
        }
        let id = RequestId {
            high: 0x0123_4567_89ab_8def,
            low: 0x8edc_ba98_7654_3210,
        };
        assert_eq!(id.text(), "01234567-89ab-8def-8edc-ba9876543210");
        assert_eq!(id.hex(), id.text().replace('-', ""));
    }

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
