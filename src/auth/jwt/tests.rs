//! Tokens that are signed here, with every algorithm, and what their claims make of their bearer.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand as entropy;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::*;
use crate::auth::caller::Role;

const NOW_US: i64 = 1_700_000_000_000_000;

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn signed(head: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let signed = format!("{}.{}", part(head), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn hs256(secret: &str, claims: &Value) -> String {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
    signed(&json!({"alg": "HS256", "typ": "JWT"}), claims, |bytes| {
        aws_lc_rs::hmac::sign(&key, bytes).as_ref().to_vec()
    })
}

fn checks(names: &[&str]) -> Checks {
    Checks {
        algorithms: names
            .iter()
            .filter_map(|name| Algorithm::named(name))
            .collect(),
        ..Checks::default()
    }
}

fn why(token: &str, keys: &Keys, checks: &Checks) -> String {
    verify(token, keys, checks, NOW_US).unwrap_err().text
}

#[test]
fn a_shared_secret_verifies_its_tokens() {
    let keys = Keys::from_secret("a shared secret").unwrap();
    let checks = checks(&["HS256"]);
    let token = hs256("a shared secret", &json!({"sub": "u"}));
    assert_eq!(verify(&token, &keys, &checks, NOW_US).unwrap()["sub"], "u");
    assert!(looks_like_one(token.as_bytes()) && !looks_like_one(b"sk-1.2.3"));
    let other = hs256("another", &json!({"sub": "u"}));
    assert!(why(&other, &keys, &checks).contains("signature is wrong"));
    // Any changed byte of the signed part is noticed.
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let forged = format!(
        "{}.{}.{signature}",
        signed.split('.').next().unwrap(),
        part(&json!({"sub": "v"}))
    );
    assert!(why(&forged, &keys, &checks).contains("signature is wrong"));
}

#[test]
fn none_and_algorithms_outside_the_list_are_refused() {
    let keys = Keys::from_secret("a shared secret").unwrap();
    for name in ["none", "None", "HS512", "RS256", ""] {
        let token = signed(&json!({"alg": name}), &json!({}), |_| Vec::new());
        let why = why(&token, &keys, &checks(&["HS256"]));
        assert!(why.contains("alg="), "{why}");
    }
    // A public key is never a shared secret.
    let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
    let keys = Keys::from_secret(pem).unwrap();
    let token = hs256(pem, &json!({}));
    assert!(why(&token, &keys, &checks(&["HS256", "EdDSA"])).contains("no key fits"));
    assert!(!keys.usual_algorithms().contains(&Algorithm::Hs256));
}

#[test]
fn every_public_algorithm_by_pem_and_by_set() {
    let random = entropy::SystemRandom::new();
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let public = rsa.public_key();
    // PKCS#1: two heads and a zero before the modulus, the head of the exponent behind it.
    let (n, e) = (&public.as_ref()[9..265], &public.as_ref()[267..]);
    let set = json!({"kty": "RSA", "kid": "r",
        "n": URL_SAFE_NO_PAD.encode(n), "e": URL_SAFE_NO_PAD.encode(e)});
    for (name, padding) in [
        (
            "RS256",
            &signature::RSA_PKCS1_SHA256 as &dyn signature::RsaEncoding,
        ),
        ("RS384", &signature::RSA_PKCS1_SHA384),
        ("RS512", &signature::RSA_PKCS1_SHA512),
        ("PS256", &signature::RSA_PSS_SHA256),
        ("PS384", &signature::RSA_PSS_SHA384),
        ("PS512", &signature::RSA_PSS_SHA512),
    ] {
        both(
            name,
            "r",
            public.as_der().unwrap().as_ref(),
            &set,
            |bytes| {
                let mut signature = vec![0; rsa.public_modulus_len()];
                rsa.sign(padding, &random, bytes, &mut signature).unwrap();
                signature
            },
        );
    }
    for (name, curve, algorithm, size) in [
        (
            "ES256",
            "P-256",
            &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            32,
        ),
        (
            "ES384",
            "P-384",
            &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
            48,
        ),
        (
            "ES512",
            "P-521",
            &signature::ECDSA_P521_SHA512_FIXED_SIGNING,
            66,
        ),
    ] {
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        let point = pair.public_key().as_ref();
        let set = json!({"kty": "EC", "crv": curve, "kid": "e", "use": "sig", "alg": name,
            "x": URL_SAFE_NO_PAD.encode(&point[1..=size]), "y": URL_SAFE_NO_PAD.encode(&point[1 + size..])});
        let der = pair.public_key().as_der().unwrap();
        both(name, "e", der.as_ref(), &set, |bytes| {
            pair.sign(&random, bytes).unwrap().as_ref().to_vec()
        });
    }
    let pair = Ed25519KeyPair::generate().unwrap();
    let set = json!({"kty": "OKP", "crv": "Ed25519", "kid": "o",
        "x": URL_SAFE_NO_PAD.encode(pair.public_key().as_ref())});
    let der = pair.public_key().as_der().unwrap();
    both("EdDSA", "o", der.as_ref(), &set, |bytes| {
        pair.sign(bytes).as_ref().to_vec()
    });
}

/// The same token by both forms of its key; not by a set without it.
fn both(name: &str, id: &str, der: &[u8], jwk: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) {
    let checks = checks(&[name]);
    let token = signed(&json!({"alg": name, "kid": id}), &json!({"sub": "u"}), sign);
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----",
        STANDARD.encode(der)
    );
    let by_pem = Keys::from_secret(&pem).unwrap();
    assert!(
        verify(&token, &by_pem, &checks, NOW_US).is_ok(),
        "{name} by PEM"
    );
    let by_set = Keys::from_set(&json!({"keys": [jwk]})).unwrap();
    assert!(
        verify(&token, &by_set, &checks, NOW_US).is_ok(),
        "{name} by set"
    );
    let mut renamed = jwk.clone();
    renamed["kid"] = json!("other");
    let other = Keys::from_set(&json!({"keys": [renamed]})).unwrap();
    assert!(
        why(&token, &other, &checks).contains("no key has kid"),
        "{name}"
    );
    let mut encrypts = jwk.clone();
    encrypts["use"] = json!("enc");
    assert!(
        Keys::from_set(&json!({"keys": [encrypts]}))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn times_issuer_and_audience() {
    let keys = Keys::from_secret("a shared secret").unwrap();
    let mut checks = checks(&["HS256"]);
    let now = NOW_US / 1_000_000;
    let check = |claims: Value, checks: &Checks, expected: &str| {
        let outcome = verify(&hs256("a shared secret", &claims), &keys, checks, NOW_US);
        let said = outcome.map_or_else(|denied| denied.text, |_| "fine".to_owned());
        assert!(said.contains(expected), "{claims}: {said}");
    };
    check(json!({"exp": now + 1}), &checks, "fine");
    check(json!({"exp": now}), &checks, "expired");
    check(json!({"exp": "soon"}), &checks, "no number");
    check(json!({"nbf": now + 5}), &checks, "not valid yet");
    checks.leeway_s = 10.0;
    check(json!({"exp": now - 5, "nbf": now + 5}), &checks, "fine");
    check(json!({"exp": now - 11}), &checks, "expired");
    assert_eq!(
        ends_us(json!({"exp": now}).as_object().unwrap(), &checks),
        Some(NOW_US + 10_000_000)
    );
    checks.issuer = Some("https://idp".to_owned());
    check(json!({"iss": "https://idp"}), &checks, "fine");
    check(json!({"iss": "https://idq"}), &checks, "iss is https://idq");
    check(json!({}), &checks, "iss is missing");
    checks.issuer = None;
    checks.audience = vec!["a".to_owned(), "b".to_owned()];
    check(json!({"aud": "a"}), &checks, "fine");
    check(json!({"aud": ["x", "b"]}), &checks, "fine");
    check(json!({"aud": ["x"]}), &checks, "aud is not one");
    check(json!({}), &checks, "aud is not one");
}

#[test]
fn garbage_is_refused_and_never_panics() {
    let keys = Keys::from_secret("s").unwrap();
    let checks = checks(&["HS256"]);
    let good = hs256("s", &json!({"a": 1}));
    for cut in 0..good.len() {
        assert!(verify(&good[..cut], &keys, &checks, NOW_US).is_err());
    }
    for text in [
        "",
        ".",
        "..",
        "...",
        "eyJ..",
        "e30.e30.",
        "eyJhbGciOiJIUzI1NiJ9.e30.e30.e30",
    ] {
        assert!(verify(text, &keys, &checks, NOW_US).is_err(), "{text}");
    }
    assert!(why(&"a".repeat(20_000), &keys, &checks).contains("longer"));
}

fn rules() -> Rules {
    Rules {
        admin_scope: "litellm_proxy_admin".to_owned(),
        ..Rules::default()
    }
}

fn whose(rules: &Rules, claims: Value) -> Result<Identity, String> {
    let identity = rules.identify(claims.as_object().unwrap());
    identity.map_err(|denied| denied.text)
}

#[test]
fn claims_name_users_teams_and_admins() {
    let admin = whose(
        &rules(),
        json!({"sub": "a", "scope": "x litellm_proxy_admin"}),
    )
    .unwrap();
    assert_eq!(
        (admin.standing, admin.role),
        (Standing::Admin, Some(Role::ProxyAdmin))
    );
    let rules = Rules {
        team_field: Some("client.team".to_owned()),
        user_field: Some("oid".to_owned()),
        email_field: Some("email".to_owned()),
        organization_field: Some("org".to_owned()),
        end_user_field: Some("https://x.y/customer".to_owned()),
        ..rules()
    };
    let identity = whose(
        &rules,
        json!({"client": {"team": "t"}, "oid": 17, "email": "a@b.c", "org": "o",
        "https://x.y/customer": "c"}),
    )
    .unwrap();
    assert_eq!(identity.teams, ["t"]);
    assert_eq!(identity.user_id.as_deref(), Some("17"));
    assert_eq!(identity.user_email.as_deref(), Some("a@b.c"));
    assert_eq!(identity.organization_id.as_deref(), Some("o"));
    assert_eq!(identity.end_user_id.as_deref(), Some("c"));
    assert_eq!(identity.routes, ["openai_routes", "info_routes"]);
}

#[test]
fn roles_domains_and_scopes_bind() {
    let mut rules = Rules {
        email_field: Some("email".to_owned()),
        email_domain: Some("b.c".to_owned()),
        ..rules()
    };
    assert!(whose(&rules, json!({"email": "a@b.c"})).is_ok());
    assert!(whose(&rules, json!({"email": "a@evil-b.c"})).is_err());
    assert!(whose(&rules, json!({"email": "a@b.c.evil"})).is_err());
    assert!(whose(&rules, json!({})).is_err());
    rules = Rules {
        roles_bind: true,
        roles_field: Some("realm.roles".to_owned()),
        role_mappings: vec![
            ("boss".to_owned(), "proxy_admin".to_owned()),
            ("app".to_owned(), "team".to_owned()),
        ],
        object_field: Some("oid".to_owned()),
        ..self::rules()
    };
    let boss = whose(&rules, json!({"realm": {"roles": ["boss"]}})).unwrap();
    assert_eq!(boss.standing, Standing::Admin);
    let app = whose(&rules, json!({"realm": {"roles": ["app"]}, "oid": "t1"})).unwrap();
    assert_eq!(app.teams, ["t1"]);
    assert!(whose(&rules, json!({"realm": {"roles": ["x"]}, "oid": "t1"})).is_err());
    rules = Rules {
        scopes_bind: true,
        scopes: vec![ScopeRule {
            scope: "chat".to_owned(),
            models: vec!["m".to_owned()],
            routes: Vec::new(),
        }],
        ..self::rules()
    };
    assert_eq!(
        whose(&rules, json!({"scope": ["chat"]})).unwrap().models,
        ["m"]
    );
    assert!(whose(&rules, json!({"scope": "other"})).is_err());
}
