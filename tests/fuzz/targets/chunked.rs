//! Chunked bodies: fed whole and in pieces they say the same, and what they say, encoded again, says it once more.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shardgate_io::http1::body::{Chunk, ChunkDecoder};
use shardgate_io::http1::encode::{CHUNK_SUFFIX, LAST_CHUNK, chunk_prefix};

fuzz_target!(|data: &[u8]| {
    let Some((&flags, data)) = data.split_first() else {
        return;
    };
    let tolerate = flags & 1 == 1;
    let whole = decode(data, data.len().max(1), tolerate);
    let pieces = decode(data, usize::from(flags >> 1).max(1), tolerate);
    assert_eq!(whole, pieces);
    let Ok((body, Some(end))) = whole else { return };
    assert!(end <= data.len());
    let mut encoded = Vec::new();
    if !body.is_empty() {
        let (prefix, used) = chunk_prefix(body.len());
        encoded.extend_from_slice(&prefix[..used]);
        encoded.extend_from_slice(&body);
        encoded.extend_from_slice(CHUNK_SUFFIX);
    }
    encoded.extend_from_slice(LAST_CHUNK);
    let length = encoded.len();
    assert_eq!(decode(&encoded, 3, false), Ok((body, Some(length))));
});

type Decoded = (Vec<u8>, Option<usize>);

/// The body so far and where it ended, or the refusal.
fn decode(data: &[u8], piece: usize, tolerate: bool) -> Result<Decoded, &'static str> {
    let mut decoder = ChunkDecoder::new(tolerate);
    let (mut body, mut at, mut given) = (Vec::new(), 0, 0);
    loop {
        given = given.max((at + piece).min(data.len()));
        let (consumed, over) = match decoder
            .next(&data[at..given])
            .map_err(|refusal| refusal.reason)?
        {
            Chunk::Data {
                start,
                end,
                consumed,
            } => {
                assert!(start < end && end <= consumed && at + consumed <= given);
                body.extend_from_slice(&data[at + start..at + end]);
                (consumed, false)
            }
            Chunk::NeedMore { consumed } => {
                assert_eq!(at + consumed, given);
                (consumed, false)
            }
            Chunk::End { consumed } => (consumed, true),
        };
        at += consumed;
        assert_eq!(over, decoder.is_done());
        if over {
            return Ok((body, Some(at)));
        }
        if at == data.len() {
            return Ok((body, None));
        }
    }
}
