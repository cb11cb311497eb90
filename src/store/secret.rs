//! Secrets at rest and new random names.
//!
//! LiteLLM's format: base64 of a 24-byte nonce and NaCl's secretbox (XSalsa20-Poly1305), its key
//! the SHA-256 of the salt. Reading accepts both base64 alphabets.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use crypto_secretbox::aead::{Aead, KeyInit};
use crypto_secretbox::{Nonce, XSalsa20Poly1305};
use serde_json::Value;
use sha2::{Digest, Sha256};

const NONCE_BYTES: usize = 24;

/// Seals and opens secrets with one salt.
pub struct SecretBox {
    cipher: XSalsa20Poly1305,
}

/// A stored secret was sealed with another salt, or is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CannotOpen;

impl std::fmt::Display for CannotOpen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "a stored secret cannot be opened: LITELLM_SALT_KEY (or the master key, where no salt \
             is set) is not the one it was sealed with",
        )
    }
}

impl SecretBox {
    /// A box for `LITELLM_SALT_KEY`, or the master key where that is not set.
    pub fn new(salt: &str) -> SecretBox {
        SecretBox {
            cipher: XSalsa20Poly1305::new(&Sha256::digest(salt.as_bytes())),
        }
    }

    /// Seals a text; `None` when the system has no random bytes.
    pub fn seal(&self, text: &str) -> Option<String> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).ok()?;
        let sealed = self
            .cipher
            .encrypt(Nonce::from_slice(&nonce), text.as_bytes())
            .ok()?;
        Some(STANDARD.encode([&nonce[..], &sealed].concat()))
    }

    /// Opens what [`SecretBox::seal`] or LiteLLM sealed.
    ///
    /// # Errors
    /// [`CannotOpen`]
    pub fn open(&self, sealed: &str) -> Result<String, CannotOpen> {
        let bytes = STANDARD.decode(sealed).or_else(|_| URL_SAFE.decode(sealed));
        let bytes = bytes.map_err(|_| CannotOpen)?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_BYTES).ok_or(CannotOpen)?;
        let text = self
            .cipher
            .decrypt(Nonce::from_slice(nonce), sealed)
            .map_err(|_| CannotOpen)?;
        String::from_utf8(text).map_err(|_| CannotOpen)
    }

    /// Seals every text of a map of parameters, as LiteLLM does with `litellm_params`.
    pub fn seal_all(&self, value: &Value) -> Option<Value> {
        Some(match value {
            Value::String(text) => Value::from(self.seal(text)?),
            Value::Object(map) => {
                let sealed = map
                    .iter()
                    .map(|(name, value)| Some((name.clone(), self.seal_one(value)?)));
                Value::Object(sealed.collect::<Option<_>>()?)
            }
            other => other.clone(),
        })
    }

    fn seal_one(&self, value: &Value) -> Option<Value> {
        match value {
            Value::String(text) => Some(Value::from(self.seal(text)?)),
            other => Some(other.clone()),
        }
    }

    /// Opens every text of a map of parameters.
    ///
    /// # Errors
    /// The first name that cannot be opened.
    pub fn open_all(&self, value: &Value) -> Result<Value, String> {
        let Value::Object(map) = value else {
            return Ok(value.clone());
        };
        let opened = map.iter().map(|(name, value)| {
            let value = match value {
                Value::String(sealed) => {
                    let text = self
                        .open(sealed)
                        .map_err(|error| format!("{name}: {error}"))?;
                    Value::from(text)
                }
                other => other.clone(),
            };
            Ok((name.clone(), value))
        });
        Ok(Value::Object(opened.collect::<Result<_, String>>()?))
    }
}

/// A new virtual key: `sk-` and 22 characters from 16 random bytes.
///
/// # Errors
/// When the system has no random bytes.
pub fn new_key() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(format!("sk-{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// A random id, as LiteLLM gives to teams, users and budgets (a UUID of version 4).
pub fn uuid() -> String {
    let mut bytes = [0; 16];
    if getrandom::fill(&mut bytes).is_err() {
        // No random bytes so late in a process' life: fall back to the clock, ids must only differ.
        bytes = (super::now_us() as u128 * 0x9e37_79b9_7f4a_7c15).to_be_bytes();
    }
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

/// The name of a key's row: the SHA-256 of the whole key in hexadecimal digits.
pub fn token(key: &str) -> String {
    Sha256::digest(key.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_sealed_opens_with_the_same_salt_only() {
        let sealed = SecretBox::new("salt").seal("sk-secret").unwrap();
        assert_eq!(SecretBox::new("salt").open(&sealed).unwrap(), "sk-secret");
        assert_eq!(SecretBox::new("pepper").open(&sealed), Err(CannotOpen));
        assert_eq!(SecretBox::new("salt").open("plain"), Err(CannotOpen));
    }

    /// Made by PyNaCl's `SecretBox(sha256("sk-1234")).encrypt(b"sk-upstream", nonce=bytes(range(24)))`.
    #[test]
    fn what_nacl_sealed_opens() {
        let sealed = include_str!("testdata/secretbox.txt").trim();
        assert_eq!(
            SecretBox::new("sk-1234").open(sealed).unwrap(),
            "sk-upstream"
        );
    }

    #[test]
    fn parameters_keep_their_numbers() {
        let secrets = SecretBox::new("salt");
        let params = json!({"api_key": "sk-1", "rpm": 3});
        let sealed = secrets.seal_all(&params).unwrap();
        assert_ne!(sealed["api_key"], "sk-1");
        assert_eq!(sealed["rpm"], 3);
        assert_eq!(secrets.open_all(&sealed).unwrap(), params);
        assert!(
            SecretBox::new("x")
                .open_all(&sealed)
                .unwrap_err()
                .contains("api_key")
        );
    }

    #[test]
    fn new_names_look_like_litellm_s() {
        let key = new_key().unwrap();
        assert_eq!((key.len(), &key[..3]), (25, "sk-"));
        assert_eq!(uuid().len(), 36);
        assert_eq!(&uuid()[14..15], "4");
        assert_eq!(token("sk-1234").len(), 64);
    }
}
