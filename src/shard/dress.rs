//! A deployment in the client's own credentials: where a request may bring its `api_key` or `api_base`,
//! that call goes there with that key, and with none of ours.
//!
//! The coordinator makes it (names are resolved and certificates loaded there); a shard remembers the
//! last ones it used.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use shardgate_io::http1::server::Party;

use super::body::Fields;
use super::{Shard, admin, fault};
use crate::auth::key::KeyHash;
use crate::error::{ErrorClass, GatewayError};
use crate::message::{Dress, FromShard};
use crate::snapshot::{Deployment, Own};

/// Deployments in others' credentials that a shard remembers, at most; then it forgets them all.
const DRESSED_MAX: usize = 256;

/// Those that a shard remembers.
pub(super) type Dressed = HashMap<KeyHash, Arc<Deployment>>;

/// The credentials that a request brings; whether it may was asked before.
pub(super) fn brought(fields: &Fields<'_>) -> Result<Option<Box<Own>>, GatewayError> {
    const NAMES: [&str; 3] = ["api_key", "api_base", "base_url"];
    if !fields.any(|name| NAMES.iter().any(|have| have.as_bytes() == name)) {
        return Ok(None);
    }
    let text = |name: &str| -> Result<Option<String>, GatewayError> {
        Ok(fields.text(name)?.filter(|text| !text.is_empty()))
    };
    let own = Own {
        api_key: text("api_key")?,
        api_base: text("api_base")?.or(text("base_url")?),
    };
    if own.api_base.is_some() && own.api_key.is_none() {
        let mut error = GatewayError::refused(
            ErrorClass::BadRequest,
            "a request with its own api_base needs its own api_key: the gateway's keys go nowhere else",
        );
        error.param = Some("api_key".to_owned());
        return Err(error);
    }
    Ok(own.api_key.is_some().then(|| Box::new(own)))
}

/// The deployment in these credentials; `None` when the client left first.
pub(super) async fn deployment(
    shard: &Shard,
    connection: &mut impl Party,
    plain: &Deployment,
    own: &Own,
) -> Result<Option<Arc<Deployment>>, GatewayError> {
    let text = serde_json::json!([plain.id, own.api_key, own.api_base]).to_string();
    let name = KeyHash::of(text.as_bytes());
    if let Some(made) = shard.dressed.borrow().get(&name) {
        return Ok(Some(made.clone()));
    }
    let slot = Arc::new(Mutex::new(None));
    let dress = Box::new(Dress {
        deployment: plain.id.clone(),
        own: own.clone(),
        made: slot.clone(),
    });
    let question = |id| FromShard::Dress { id, dress };
    if admin::put(shard, connection, question).await?.is_none() {
        return Ok(None);
    }
    let made = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    let made = match made {
        Some(Ok(made)) => made,
        Some(Err(why)) => return Err(GatewayError::refused(ErrorClass::BadRequest, why)),
        None => {
            return Err(fault::overloaded(
                "the client's credentials could not be used",
            ));
        }
    };
    let mut all = shard.dressed.borrow_mut();
    if all.len() >= DRESSED_MAX {
        all.clear();
    }
    all.insert(name, made.clone());
    Ok(Some(made))
}

/// What went wrong at the client's own address, or with its own key, says nothing of the deployment:
/// it is counted as the client's mistake.
pub(super) fn excused(error: &GatewayError, own: &Own) -> bool {
    own.api_base.is_some()
        || matches!(
            error.class,
            ErrorClass::Authentication | ErrorClass::PermissionDenied | ErrorClass::RateLimit
        )
}
