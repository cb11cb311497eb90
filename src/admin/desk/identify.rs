//! From a request's headers to who asks: virtual keys on the management API, which may be those of
//! admins.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::{Asker, Refusal, Who};
use crate::auth::caller::Denied;
use crate::auth::key::{KeyHash, NoKey, presented};
use crate::coordinator::Control;
use crate::directory::Account;
use crate::message::{Found, Proof};
use crate::snapshot::Settings;
use crate::store::now_us;

/// Who asks, by the virtual key in the headers.
///
/// # Errors
/// 401 for no key, an unknown, blocked or expired one; 503 when the database is away.
pub async fn identify(
    control: &Control,
    headers: &HeaderMap,
    named: Option<&Proof>,
    path: &str,
) -> Result<Asker, Refusal> {
    let snapshot = control.snapshot();
    let settings = &snapshot.settings;
    let header = |name: &str| headers.get(name).map(axum::http::HeaderValue::as_bytes);
    if let Some(proof) = named {
        return prove(control, proof, path).await;
    }
    let key = presented(header, settings.key_header.as_deref()).map_err(|none| {
        Refusal::unauthorized(match none {
            NoKey::Missing => "Authentication Error, No api key passed in.",
            NoKey::NoScheme => {
                "Authentication Error, Malformed API Key passed in. Ensure Key has `Bearer ` prefix."
            }
        })
    })?;
    if settings.takes_tokens && !key.starts_with(b"sk-") {
        let token = String::from_utf8_lossy(key).into_owned();
        return prove(control, &Proof::Bearer(token), path).await;
    }
    if !key.starts_with(b"sk-") {
        return Err(Refusal::unauthorized(
            "Authentication Error, LiteLLM Virtual Key expected: a key starts with 'sk-'.",
        ));
    }
    known(control, KeyHash::of(key), path).await
}

/// Who has the key with this hash.
async fn known(control: &Control, hash: KeyHash, path: &str) -> Result<Asker, Refusal> {
    let token = hash.hex();
    let account = control.desk().directory.look_up(&token).await?;
    let account = account.ok_or_else(|| Denied::unknown(&token))?;
    admitted(account, &control.snapshot().settings, path)
}

/// Who proves to be somebody without a key.
async fn prove(control: &Control, proof: &Proof, path: &str) -> Result<Asker, Refusal> {
    let settings = &control.snapshot().settings;
    match control.prove(proof.hash(), proof).await? {
        Found::Account(account) => admitted(account, settings, path),
        Found::Instead(hash) if settings.master_key == Some(hash) => Ok(Asker::master()),
        Found::Instead(hash) => known(control, hash, path).await,
        _ => Err(Denied::no_database().into()),
    }
}

fn admitted(account: Arc<Account>, settings: &Settings, path: &str) -> Result<Asker, Refusal> {
    account.caller.usable(now_us(), settings.team_required)?;
    if settings
        .admin_only_routes
        .iter()
        .any(|head| path.starts_with(head))
    {
        Asker::new(Who::Key(account.clone())).must_be_admin(path)?;
    }
    Ok(Asker::new(Who::Key(account)))
}

/// The management API needs to know who asks, which an open gateway does not.
pub async fn askers_only(request: Request, next: Next) -> Response {
    if request.extensions().get::<Asker>().is_none() {
        let text = "Authentication Error, admin routes need general_settings.master_key to be set";
        return Refusal::unauthorized(text).into_response();
    }
    next.run(request).await
}
