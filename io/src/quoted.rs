//! Where quoted text stops being plain: at its quote, an escape, a control character. Sixteen bytes at a time, since
//! most texts are shorter than that; long ones 64 at a time. It must not know what the text says.

use lanes::{first_special, plain_bytes};

/// Bytes that are looked at together.
const BLOCK: usize = 16;

/// The next quote, backslash or control character from `at` on, or the end.
#[inline]
pub fn find_special(bytes: &[u8], at: usize) -> usize {
    match block_at(bytes, at).and_then(first_special) {
        Some(found) => at + found,
        None => find_further(bytes, at),
    }
}

/// The same for what is long, or near the end.
#[inline(never)]
fn find_further(bytes: &[u8], mut at: usize) -> usize {
    at += bytes.get(at..).map_or(0, plain_bytes);
    while let Some(block) = block_at(bytes, at) {
        if let Some(found) = first_special(block) {
            return at + found;
        }
        at += BLOCK;
    }
    find_in_tail(bytes, at)
}

/// The same where less than a block is left.
fn find_in_tail(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    let mut block = [b' '; BLOCK];
    // The last block of all, with what was looked at taken out: cheaper than a copy of unknown length.
    if let Some(last) = bytes
        .len()
        .checked_sub(BLOCK)
        .and_then(|at| block_at(bytes, at))
    {
        let seen = 8 * (BLOCK - rest.len()) as u32;
        let word = u128::from_le_bytes(*last).checked_shr(seen).unwrap_or(0);
        let spaces = u128::from_le_bytes(block)
            .checked_shl(128 - seen)
            .unwrap_or(0);
        block = (word | spaces).to_le_bytes();
    } else {
        block[..rest.len()].copy_from_slice(rest);
    }
    first_special(&block).map_or(bytes.len(), |found| at + found)
}

#[inline]
fn block_at(bytes: &[u8], at: usize) -> Option<&[u8; BLOCK]> {
    bytes.get(at..)?.first_chunk()
}

/// SSE2 is part of every x86-64 processor.
#[cfg(target_arch = "x86_64")]
mod lanes {
    use super::BLOCK;
    use std::arch::x86_64::{
        __m128i, __m256i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8,
        _mm_or_si128, _mm_set1_epi8, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_min_epu8,
        _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8,
    };

    /// All ones in the lanes whose byte is special.
    #[inline]
    #[expect(unsafe_code, reason = "sixteen compares at once")]
    fn special(block: &[u8; BLOCK]) -> __m128i {
        // SAFETY: SSE2 is there, and the block has the sixteen bytes that are loaded.
        unsafe {
            let bytes = _mm_loadu_si128(block.as_ptr().cast());
            let quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"' as i8));
            let escape = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8));
            let control = _mm_cmpeq_epi8(bytes, _mm_min_epu8(bytes, _mm_set1_epi8(0x1f)));
            _mm_or_si128(_mm_or_si128(quote, escape), control)
        }
    }

    #[inline]
    #[expect(unsafe_code, reason = "one bit of each lane")]
    fn bits(lanes: __m128i) -> i32 {
        // SAFETY: SSE2 is there.
        unsafe { _mm_movemask_epi8(lanes) }
    }

    #[inline]
    pub(super) fn first_special(block: &[u8; BLOCK]) -> Option<usize> {
        let found = bits(special(block));
        (found != 0).then(|| found.trailing_zeros() as usize)
    }

    /// How many whole groups of 64 bytes come before the one with something special, in bytes.
    pub(super) fn plain_bytes(bytes: &[u8]) -> usize {
        if is_x86_feature_detected!("avx2") {
            #[expect(unsafe_code, reason = "thirty-two compares at once")]
            // SAFETY: AVX2 is there.
            return unsafe { plain_bytes_avx2(bytes) };
        }
        let (groups, _) = bytes.as_chunks::<{ 4 * BLOCK }>();
        let plain = groups.iter().take_while(|four| !has_special(four));
        plain.count() * 4 * BLOCK
    }

    #[inline]
    #[expect(unsafe_code, reason = "four blocks in one answer")]
    fn has_special(four: &[u8; 4 * BLOCK]) -> bool {
        let (blocks, _) = four.as_chunks::<BLOCK>();
        let [a, b, c, d] = [0, 1, 2, 3].map(|at| special(&blocks[at]));
        // SAFETY: SSE2 is there.
        bits(unsafe { _mm_or_si128(_mm_or_si128(a, b), _mm_or_si128(c, d)) }) != 0
    }

    #[target_feature(enable = "avx2")]
    fn plain_bytes_avx2(bytes: &[u8]) -> usize {
        let (groups, _) = bytes.as_chunks::<{ 4 * BLOCK }>();
        let mut plain = 0;
        // No adapters: what they call would not be compiled in line here.
        for group in groups {
            let (halves, _) = group.as_chunks::<{ 2 * BLOCK }>();
            let found = _mm256_or_si256(special_avx2(&halves[0]), special_avx2(&halves[1]));
            if _mm256_movemask_epi8(found) != 0 {
                break;
            }
            plain += group.len();
        }
        plain
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    #[expect(unsafe_code, reason = "thirty-two bytes at once")]
    fn special_avx2(half: &[u8; 2 * BLOCK]) -> __m256i {
        // SAFETY: the half has the thirty-two bytes that are loaded.
        let bytes = unsafe { _mm256_loadu_si256(half.as_ptr().cast()) };
        let quote = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(b'"' as i8));
        let escape = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(b'\\' as i8));
        let control = _mm256_cmpeq_epi8(bytes, _mm256_min_epu8(bytes, _mm256_set1_epi8(0x1f)));
        _mm256_or_si256(_mm256_or_si256(quote, escape), control)
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod lanes {
    use super::BLOCK;

    fn is_special(byte: u8) -> bool {
        matches!(byte, b'"' | b'\\' | 0..=0x1f)
    }

    pub(super) fn first_special(block: &[u8; BLOCK]) -> Option<usize> {
        block.iter().position(|&byte| is_special(byte))
    }

    /// How many whole groups of 64 bytes come before the one with something special, in bytes.
    pub(super) fn plain_bytes(bytes: &[u8]) -> usize {
        let (groups, _) = bytes.as_chunks::<{ 4 * BLOCK }>();
        // A group without an early end, so that the compiler makes vectors of it.
        let has_special = |group: &[u8; 4 * BLOCK]| {
            group
                .iter()
                .fold(false, |found, &byte| found | is_special(byte))
        };
        groups
            .iter()
            .take_while(|group| !has_special(group))
            .count()
            * 4
            * BLOCK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_special_byte_is_found_wherever_it_stands() {
        for length in [
            0, 1, 7, 8, 15, 16, 17, 31, 32, 63, 64, 65, 79, 80, 81, 150, 200,
        ] {
            let mut bytes = vec![b'a'; length];
            for byte in 0..=255 {
                let special = matches!(byte, b'"' | b'\\' | 0..=0x1f);
                for at in 0..length {
                    bytes[at] = byte;
                    let found = if special { at } else { length };
                    assert_eq!(find_special(&bytes, 0), found, "{byte} at {at} of {length}");
                    assert_eq!(find_special(&bytes, at), found);
                    assert_eq!(find_special(&bytes, at + 1), length);
                    bytes[at] = b'a';
                }
            }
            assert_eq!(find_special(&bytes, length), length);
        }
    }
}
