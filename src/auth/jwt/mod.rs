//! JSON Web Tokens: from a token and the keys that may have signed it to its claims, or the one thing
//! that is wrong with it.
//!
//! The keys, the clock and the rules are passed in; who fetches keys and who caches verdicts is not
//! known here.

mod claims;
mod keys;

pub use claims::{Identity, Rules, ScopeRule, Standing, texts};
pub use keys::{Key, Keys};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::caller::Denied;

/// A token is not looked at beyond this.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// The claims of a token.
pub type Claims = Map<String, Value>;

/// What a token must satisfy.
#[derive(Clone, Debug, Default)]
pub struct Checks {
    /// The only algorithms.
    pub algorithms: Vec<Algorithm>,
    /// What `iss` must be.
    pub issuer: Option<String>,
    /// What `aud` must contain one of; empty for anything.
    pub audience: Vec<String>,
    /// How far clocks may differ, in seconds.
    pub leeway_s: f64,
}

/// A signature algorithm, by its name in a token's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
    /// RSA, PKCS#1 v1.5, SHA-256.
    Rs256,
    /// RSA, PKCS#1 v1.5, SHA-384.
    Rs384,
    /// RSA, PKCS#1 v1.5, SHA-512.
    Rs512,
    /// RSA-PSS with SHA-256.
    Ps256,
    /// RSA-PSS with SHA-384.
    Ps384,
    /// RSA-PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256.
    Es256,
    /// ECDSA on P-384.
    Es384,
    /// ECDSA on P-521.
    Es512,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All with their names. `none` is not among them.
    pub const ALL: [(&'static str, Algorithm); 13] = [
        ("HS256", Algorithm::Hs256),
        ("HS384", Algorithm::Hs384),
        ("HS512", Algorithm::Hs512),
        ("RS256", Algorithm::Rs256),
        ("RS384", Algorithm::Rs384),
        ("RS512", Algorithm::Rs512),
        ("PS256", Algorithm::Ps256),
        ("PS384", Algorithm::Ps384),
        ("PS512", Algorithm::Ps512),
        ("ES256", Algorithm::Es256),
        ("ES384", Algorithm::Es384),
        ("ES512", Algorithm::Es512),
        ("EdDSA", Algorithm::EdDsa),
    ];

    /// Reads a name.
    pub fn named(name: &str) -> Option<Algorithm> {
        let found = Algorithm::ALL.iter().find(|(have, _)| *have == name);
        found.map(|(_, algorithm)| *algorithm)
    }

    /// The same secret signs and verifies.
    pub fn is_symmetric(self) -> bool {
        matches!(self, Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512)
    }
}

/// The text may be a token: three parts, the first of which is a JSON object.
pub fn looks_like_one(text: &[u8]) -> bool {
    text.starts_with(b"eyJ") && text.iter().filter(|byte| **byte == b'.').count() == 2
}

/// A token's head.
#[derive(Debug)]
pub struct Head {
    /// `alg`
    pub algorithm: Algorithm,
    /// `kid`
    pub key_id: Option<String>,
}

/// Reads a token's head and refuses algorithms that are not allowed.
///
/// # Errors
/// 401 that says what is wrong.
pub fn head(token: &str, checks: &Checks) -> Result<Head, Denied> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(refused(&format!(
            "it is longer than {TOKEN_BYTES_MAX} bytes"
        )));
    }
    let part = token.split('.').next().unwrap_or("");
    let head = object(part).ok_or_else(|| refused("its head is no JSON object in base64url"))?;
    let name = head.get("alg").and_then(Value::as_str).unwrap_or("");
    let algorithm = Algorithm::named(name).filter(|found| checks.algorithms.contains(found));
    let algorithm = algorithm.ok_or_else(|| {
        refused(&format!(
            "alg={} is not allowed (litellm_jwtauth.algorithms)",
            shown(name)
        ))
    })?;
    if head.contains_key("crit") {
        return Err(refused(
            "its head has `crit`, which asks for what is not known here",
        ));
    }
    let key_id = head.get("kid").and_then(Value::as_str).map(str::to_owned);
    Ok(Head { algorithm, key_id })
}

/// The claims of a token whose signature and times are right.
///
/// # Errors
/// 401 that says what is wrong.
pub fn verify(token: &str, keys: &Keys, checks: &Checks, now_us: i64) -> Result<Claims, Denied> {
    let head = head(token, checks)?;
    let Some((signed, signature)) = token.rsplit_once('.') else {
        return Err(refused("it has not three parts"));
    };
    let Some((_, payload)) = signed
        .split_once('.')
        .filter(|(_, rest)| !rest.contains('.'))
    else {
        return Err(refused("it has not three parts"));
    };
    let signature = URL_SAFE_NO_PAD
        .decode(signature)
        .map_err(|_| refused("its signature is not base64url"))?;
    let mut fitting = keys.fitting(&head).peekable();
    if fitting.peek().is_none() {
        return Err(refused(&match &head.key_id {
            Some(id) => format!("no key has kid={}", shown(id)),
            None => "no key fits its algorithm".to_owned(),
        }));
    }
    if !fitting.any(|key| key.verifies(head.algorithm, signed.as_bytes(), &signature)) {
        return Err(refused("its signature is wrong"));
    }
    let claims = object(payload).ok_or_else(|| refused("its claims are no JSON object"))?;
    times(&claims, checks, now_us)?;
    issuer(&claims, checks)?;
    audience(&claims, checks)?;
    Ok(claims)
}

/// When the token ends with the leeway, in microseconds since 1970.
pub fn ends_us(claims: &Claims, checks: &Checks) -> Option<i64> {
    let seconds = claims.get("exp").and_then(Value::as_f64)?;
    Some(((seconds + checks.leeway_s) * 1e6) as i64)
}

fn times(claims: &Claims, checks: &Checks, now_us: i64) -> Result<(), Denied> {
    let now_s = now_us as f64 / 1e6;
    let number = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => match value.as_f64() {
            Some(seconds) => Ok(Some(seconds)),
            None => Err(refused(&format!("{name} is no number"))),
        },
    };
    if let Some(end) = number("exp")?
        && end + checks.leeway_s <= now_s
    {
        return Err(Denied {
            kind: "expired_key",
            ..refused("it has expired (exp)")
        });
    }
    for name in ["nbf", "iat"] {
        if let Some(begin) = number(name)?
            && begin - checks.leeway_s > now_s
        {
            return Err(refused(&format!("it is not valid yet ({name})")));
        }
    }
    Ok(())
}

fn issuer(claims: &Claims, checks: &Checks) -> Result<(), Denied> {
    let Some(wanted) = &checks.issuer else {
        return Ok(());
    };
    let found = claims.get("iss").and_then(Value::as_str);
    if found == Some(wanted) {
        return Ok(());
    }
    Err(refused(&format!(
        "iss is {}; it must be {wanted} (litellm_jwtauth.issuer)",
        found.map_or("missing".to_owned(), shown)
    )))
}

fn audience(claims: &Claims, checks: &Checks) -> Result<(), Denied> {
    if checks.audience.is_empty() {
        return Ok(());
    }
    let wanted = |value: &Value| {
        value
            .as_str()
            .is_some_and(|text| checks.audience.iter().any(|a| a == text))
    };
    let fits = match claims.get("aud") {
        Some(Value::Array(list)) => list.iter().any(wanted),
        Some(one) => wanted(one),
        None => false,
    };
    if fits {
        return Ok(());
    }
    Err(refused(
        "aud is not one that is accepted (litellm_jwtauth.audience)",
    ))
}

/// A part of a token as a JSON object.
fn object(part: &str) -> Option<Claims> {
    let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
    // The parser has its own bound on nesting.
    serde_json::from_slice(&bytes).ok()
}

/// A text of a token that is safe to say again.
fn shown(text: &str) -> String {
    const SHOWN_MAX: usize = 80;
    let plain = text.chars().filter(|letter| !letter.is_control());
    plain.take(SHOWN_MAX).collect()
}

/// 401: what is wrong with a token.
fn refused(what: &str) -> Denied {
    Denied::unauthorized(format!("Authentication Error, the JWT is refused: {what}"))
}

#[cfg(test)]
mod tests;
