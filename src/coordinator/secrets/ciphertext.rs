//! Values that the environment has as ciphertexts in base64, which a key management service opens.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::manager::Env;

/// No authenticated ciphertext that names its key is shorter, in bytes; shorter values are plain.
const CIPHERTEXT_BYTES_MIN: usize = 32;

/// The environment's ciphertexts, by name.
pub(super) struct Ciphertexts(BTreeMap<String, String>);

impl Ciphertexts {
    /// Those of `names` that the environment has, and not plain.
    pub(super) fn of(names: &BTreeSet<String>, env: Env<'_>) -> Ciphertexts {
        let ciphertext = |name: &String| {
            let value = env(name).filter(|value| is_ciphertext(value))?;
            Some((name.clone(), value))
        };
        Ciphertexts(names.iter().filter_map(ciphertext).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// What is told of one that its key does not open.
    pub(super) fn foreign(name: &str) -> String {
        format!(
            "the environment variable {name} is no ciphertext of this key; encrypt it, or name those that are \
             encrypted in key_management_settings.hosted_keys"
        )
    }
}

/// A value that may be a ciphertext.
pub(super) fn is_ciphertext(value: &str) -> bool {
    let bytes = STANDARD.decode(value);
    bytes.is_ok_and(|bytes| bytes.len() >= CIPHERTEXT_BYTES_MIN)
}

/// Text in base64, as the services answer it.
pub(super) fn opened(text: Option<&str>) -> Result<Option<String>, String> {
    let Some(text) = text else { return Ok(None) };
    let bytes = STANDARD.decode(text).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let text = text.ok_or_else(|| "it answered something that is no text".to_owned())?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_values_are_no_ciphertexts() {
        for plain in ["", "sk-1234", "true", "eu-central-1", "abcd"] {
            assert!(!is_ciphertext(plain), "{plain}");
        }
        assert!(is_ciphertext(&STANDARD.encode([7; CIPHERTEXT_BYTES_MIN])));
    }
}
