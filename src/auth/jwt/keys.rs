//! Keys that sign tokens: a shared secret, a public key in PEM, or a set fetched by URL (JWKS).

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{
    self, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

use super::{Algorithm, Head};

/// Keys of a set, at most.
const KEYS_MAX: usize = 64;

/// What a signature is checked with.
#[derive(Clone, PartialEq, Eq)]
enum Material {
    /// HS*
    Secret(Vec<u8>),
    /// A public key of any kind, as PEM has it.
    Spki(Vec<u8>),
    /// RSA's modulus and exponent.
    Rsa(Vec<u8>, Vec<u8>),
    /// A point of P-256, P-384 or P-521, uncompressed.
    Point(Algorithm, Vec<u8>),
    /// Ed25519.
    Ed25519(Vec<u8>),
}

/// One key.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    id: Option<String>,
    /// The only algorithm of the key, where its set says so.
    only: Option<Algorithm>,
    material: Material,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.id.as_deref().unwrap_or("-"))
    }
}

/// Keys that may have signed a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys(Vec<Key>);

impl Keys {
    /// `litellm_jwtauth.secret`: a public key in PEM, or a shared secret. A PEM text never serves as a
    /// shared secret: whoever knows the public key could sign with it.
    ///
    /// # Errors
    /// When it begins as PEM and is none.
    pub fn from_secret(secret: &str) -> Result<Keys, String> {
        let material = if secret.trim_start().starts_with("-----BEGIN") {
            Material::Spki(pem(secret)?)
        } else {
            Material::Secret(secret.as_bytes().to_vec())
        };
        Ok(Keys(vec![Key {
            id: None,
            only: None,
            material,
        }]))
    }

    /// A JSON Web Key Set. Keys that are not for signatures, or of kinds that are not known here, are
    /// left out.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_set(set: &Value) -> Result<Keys, String> {
        let list = set.get("keys").and_then(Value::as_array);
        let list = list.ok_or("there is no list `keys` in it")?;
        Ok(Keys(list.iter().filter_map(key).take(KEYS_MAX).collect()))
    }

    /// Adds those of another set.
    pub fn extend(&mut self, other: Keys) {
        self.0.extend(other.0);
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The kinds of algorithms that the keys are for, where nobody says which are allowed.
    pub fn usual_algorithms(&self) -> Vec<Algorithm> {
        let symmetric = self
            .0
            .iter()
            .any(|key| matches!(key.material, Material::Secret(_)));
        let all = Algorithm::ALL.iter().map(|(_, algorithm)| *algorithm);
        all.filter(|algorithm| algorithm.is_symmetric() == symmetric)
            .collect()
    }

    /// A key of this name is there, or the token names none.
    pub fn has(&self, head: &Head) -> bool {
        self.fitting(head).next().is_some()
    }

    pub(super) fn fitting<'a>(&'a self, head: &'a Head) -> impl Iterator<Item = &'a Key> {
        self.0.iter().filter(move |key| {
            let named = match (&key.id, &head.key_id) {
                (Some(have), Some(wanted)) => have == wanted,
                _ => true,
            };
            named && key.only.is_none_or(|only| only == head.algorithm) && key.fits(head.algorithm)
        })
    }
}

impl Key {
    fn fits(&self, algorithm: Algorithm) -> bool {
        match &self.material {
            Material::Secret(_) => algorithm.is_symmetric(),
            Material::Spki(_) => !algorithm.is_symmetric(),
            Material::Rsa(..) => rsa(algorithm).is_some(),
            Material::Point(of, _) => *of == algorithm,
            Material::Ed25519(_) => algorithm == Algorithm::EdDsa,
        }
    }

    pub(super) fn verifies(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Secret(secret) => hashed(algorithm).is_some_and(|of| {
                hmac::verify(&hmac::Key::new(of, secret), signed, signature).is_ok()
            }),
            Material::Spki(bytes) | Material::Point(_, bytes) | Material::Ed25519(bytes) => {
                public(algorithm).is_some_and(|of| {
                    let key = UnparsedPublicKey::new(of, bytes);
                    key.verify(signed, signature).is_ok()
                })
            }
            Material::Rsa(n, e) => rsa(algorithm).is_some_and(|of| {
                let key = RsaPublicKeyComponents { n, e };
                key.verify(of, signed, signature).is_ok()
            }),
        }
    }
}

fn hashed(algorithm: Algorithm) -> Option<hmac::Algorithm> {
    match algorithm {
        Algorithm::Hs256 => Some(hmac::HMAC_SHA256),
        Algorithm::Hs384 => Some(hmac::HMAC_SHA384),
        Algorithm::Hs512 => Some(hmac::HMAC_SHA512),
        _ => None,
    }
}

fn rsa(algorithm: Algorithm) -> Option<&'static signature::RsaParameters> {
    match algorithm {
        Algorithm::Rs256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::Rs384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::Rs512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::Ps256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::Ps384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::Ps512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}

fn public(algorithm: Algorithm) -> Option<&'static dyn VerificationAlgorithm> {
    match algorithm {
        Algorithm::Es256 => Some(&signature::ECDSA_P256_SHA256_FIXED),
        Algorithm::Es384 => Some(&signature::ECDSA_P384_SHA384_FIXED),
        Algorithm::Es512 => Some(&signature::ECDSA_P521_SHA512_FIXED),
        Algorithm::EdDsa => Some(&signature::ED25519),
        other => rsa(other).map(|of| of as &dyn VerificationAlgorithm),
    }
}

/// The bytes of a public key in PEM.
fn pem(text: &str) -> Result<Vec<u8>, String> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or("");
    if !first.contains("PUBLIC KEY") {
        return Err(format!(
            "a public key in PEM begins with -----BEGIN PUBLIC KEY-----; got {}",
            first.chars().take(40).collect::<String>()
        ));
    }
    let body: String = lines
        .take_while(|line| !line.starts_with("-----END"))
        .collect();
    STANDARD
        .decode(body)
        .map_err(|_| "the public key's PEM is not base64".to_owned())
}

/// One key of a set; `None` for those that sign no tokens.
fn key(value: &Value) -> Option<Key> {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let bytes = |name: &str| {
        URL_SAFE_NO_PAD
            .decode(text(name)?.trim_end_matches('='))
            .ok()
    };
    if text("use").is_some_and(|usage| usage != "sig") {
        return None;
    }
    let material = match (text("kty")?, text("crv")) {
        ("RSA", _) => Material::Rsa(bytes("n")?, bytes("e")?),
        ("EC", Some("P-256")) => {
            Material::Point(Algorithm::Es256, point(&bytes("x")?, &bytes("y")?, 32)?)
        }
        ("EC", Some("P-384")) => {
            Material::Point(Algorithm::Es384, point(&bytes("x")?, &bytes("y")?, 48)?)
        }
        ("EC", Some("P-521")) => {
            Material::Point(Algorithm::Es512, point(&bytes("x")?, &bytes("y")?, 66)?)
        }
        ("OKP", Some("Ed25519")) => Material::Ed25519(bytes("x")?),
        // A shared secret has no place in a set that is public.
        _ => return None,
    };
    let only = match text("alg") {
        Some(name) => Some(Algorithm::named(name)?),
        None => None,
    };
    Some(Key {
        id: text("kid").map(str::to_owned),
        only,
        material,
    })
}

/// Both coordinates behind the mark of an uncompressed point, filled up to the curve's size.
fn point(x: &[u8], y: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut point = vec![4];
    for coordinate in [x, y] {
        let missing = size.checked_sub(coordinate.len())?;
        point.extend(std::iter::repeat_n(0, missing));
        point.extend(coordinate);
    }
    Some(point)
}
