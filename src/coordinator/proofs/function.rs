//! `custom_auth`: what the function says of a request, as the rows of an account.

use serde_json::{Value, json};

use crate::admin::desk::{pick, put};
use crate::auth::caller::{Denied, Role};
use crate::auth::key::KeyHash;
use crate::directory::{Vouched, text};
use crate::message::Presented;
use crate::store::{Row, Table};

/// The function's verdict.
pub(super) enum Verdict {
    /// Who it is.
    Vouched(Box<Vouched>),
    /// Whoever has the key that it returned.
    Key(KeyHash),
}

/// What the function is called with.
pub(super) fn question(presented: &Presented) -> Value {
    json!({"api_key": presented.key, "request": {
        "method": presented.method, "path": presented.path, "query": presented.query,
        "headers": presented.headers, "client": presented.client,
    }})
}

/// Reads what it returned. Without `checked`, models and budgets that it names bind nobody.
///
/// # Errors
/// 401 for what says nothing about anybody.
pub(super) fn verdict(told: Value, key: &str, checked: bool) -> Result<Verdict, Denied> {
    let told = match told {
        Value::String(instead) => return Ok(Verdict::Key(KeyHash::of(instead.as_bytes()))),
        Value::Object(told) => told,
        _ => {
            return Err(Denied::unauthorized(
                "Authentication Error, general_settings.custom_auth returned neither an identity \
                 (UserAPIKeyAuth) nor a key",
            ));
        }
    };
    let named = text(&told, "api_key").or_else(|| text(&told, "token"));
    let named = named.unwrap_or_else(|| key.to_owned());
    let is_hash = named.len() == 64 && named.bytes().all(|byte| byte.is_ascii_hexdigit());
    let token = match is_hash {
        true => named.clone(),
        false => KeyHash::of(named.as_bytes()).hex(),
    };
    let mut row: Row = pick(Table::KEYS, &told);
    put(&mut row, "token", token);
    if let Some(expires) = told.get("expires") {
        put(&mut row, "expires", expires.clone());
    }
    row.entry("key_name").or_insert(Value::from("custom"));
    let role = text(&told, "user_role").map(|name| Role::named(&name));
    Ok(Verdict::Vouched(Box::new(Vouched {
        rows: vec![row],
        role: role.filter(|role| *role != Role::Plain),
        end_user_id: text(&told, "end_user_id"),
        spends: true,
        unbound: !checked,
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vouched(told: Value, checked: bool) -> Vouched {
        match verdict(told, "anything", checked).unwrap() {
            Verdict::Vouched(vouched) => *vouched,
            Verdict::Key(_) => panic!("an identity was expected"),
        }
    }

    #[test]
    fn an_identity_becomes_a_row() {
        let told = json!({"api_key": "sk-1", "user_id": "u", "models": ["m"], "max_budget": 3.0,
            "user_role": "proxy_admin", "expires": "2030-01-01T00:00:00", "colour": "red"});
        let found = vouched(told, true);
        let row = &found.rows[0];
        assert_eq!(text(row, "token"), Some(KeyHash::of(b"sk-1").hex()));
        assert_eq!(
            (text(row, "user_id"), text(row, "colour")),
            (Some("u".to_owned()), None)
        );
        assert!(row["expires"].is_string() && found.role == Some(Role::ProxyAdmin));
        assert!(!found.unbound && vouched(json!({}), false).unbound);
    }

    #[test]
    fn nothing_is_nobody_and_a_text_is_a_key() {
        for nothing in [Value::Null, json!(true), json!([]), json!(1)] {
            assert_eq!(
                verdict(nothing, "k", true).err().map(|no| no.status),
                Some(401)
            );
        }
        let key = verdict(json!("sk-other"), "k", true);
        assert!(matches!(key, Ok(Verdict::Key(hash)) if hash == KeyHash::of(b"sk-other")));
    }
}
