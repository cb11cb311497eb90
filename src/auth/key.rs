//! Keys: where a request carries one, and the master key's comparison.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The SHA-256 of a key: what is kept and compared.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// Reads 64 hexadecimal digits, the name of a key's row.
    pub fn from_hex(text: &str) -> Option<KeyHash> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
        }
        Some(KeyHash(bytes))
    }

    /// The name of the key's row: 64 hexadecimal digits.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Hashes a key.
    pub fn of(key: &[u8]) -> KeyHash {
        KeyHash(Sha256::digest(key).into())
    }

    /// The key is the one that was hashed; takes the same time whatever it is.
    pub fn matches(&self, key: &[u8]) -> bool {
        KeyHash::of(key).0.ct_eq(&self.0).into()
    }
}

/// The headers that may carry a key, in the order in which they are looked at. The first is the one
/// that `litellm_key_header_name` names.
const HEADERS: &[&str] = &[
    "x-litellm-api-key",
    "authorization",
    "api-key",
    "x-api-key",
    "x-goog-api-key",
    "ocp-apim-subscription-key",
];

/// Why a request has no usable key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoKey {
    /// No header carries one.
    Missing,
    /// `Authorization` without a scheme.
    NoScheme,
}

/// The key that a request carries, without its scheme. `header` finds a value by lower-case name;
/// `custom` is the lower-case name of `litellm_key_header_name`.
///
/// # Errors
/// See [`NoKey`].
pub fn presented<'a>(
    header: impl Fn(&str) -> Option<&'a [u8]>,
    custom: Option<&str>,
) -> Result<&'a [u8], NoKey> {
    for name in custom.iter().copied().chain(HEADERS.iter().copied()) {
        let Some(value) = header(name) else { continue };
        return match strip_scheme(value) {
            Some(key) => Ok(key),
            None if name == "authorization" => Err(NoKey::NoScheme),
            None => Ok(value),
        };
    }
    Err(NoKey::Missing)
}

fn strip_scheme(value: &[u8]) -> Option<&[u8]> {
    let space = value.iter().position(|byte| *byte == b' ')?;
    let (scheme, key) = value.split_at(space);
    let known = scheme.eq_ignore_ascii_case(b"bearer") || scheme.eq_ignore_ascii_case(b"basic");
    known.then(|| key.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[(&str, &str)], custom: Option<&str>, expected: Result<&str, NoKey>) {
        let find = |name: &str| {
            headers
                .iter()
                .find(|(have, _)| *have == name)
                .map(|(_, value)| value.as_bytes())
        };
        assert_eq!(
            presented(find, custom),
            expected.map(str::as_bytes),
            "{headers:?}"
        );
    }

    #[test]
    fn a_key_is_found_where_clients_put_it() {
        check(&[("authorization", "Bearer sk-1")], None, Ok("sk-1"));
        check(&[("authorization", "bearer sk-1")], None, Ok("sk-1"));
        check(&[("authorization", "Basic sk-1")], None, Ok("sk-1"));
        check(&[("authorization", "sk-1")], None, Err(NoKey::NoScheme));
        check(&[("api-key", "sk-2")], None, Ok("sk-2"));
        check(&[("x-api-key", "sk-3")], None, Ok("sk-3"));
        check(&[("x-goog-api-key", "sk-4")], None, Ok("sk-4"));
        check(&[("x-litellm-api-key", "Bearer sk-5")], None, Ok("sk-5"));
        check(
            &[("x-mine", "Bearer sk-6"), ("api-key", "no")],
            Some("x-mine"),
            Ok("sk-6"),
        );
        check(&[], None, Err(NoKey::Missing));
    }

    #[test]
    fn the_hash_matches_its_key_only() {
        let hash = KeyHash::of(b"sk-1234");
        assert!(hash.matches(b"sk-1234"));
        assert!(!hash.matches(b"sk-1235"));
    }
}
