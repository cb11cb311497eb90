//! Who gets in: networks, keys, and how many at once. All from the shard's own snapshot.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use shardgate_io::http1::server::Request;

use super::call::Call;
use super::{Shared, Stats, fault, google};
use crate::auth::key::{NoKey, presented};
use crate::error::GatewayError;
use crate::message::{AdminCaller, PROBE_HEADER, Presented, Proof};
use crate::snapshot::Settings;

/// `allowed_ips`: others are refused before their body is read.
pub(super) fn network(call: &Call) -> Result<(), GatewayError> {
    let Some(allowed) = &call.snapshot.settings.allowed_ips else {
        return Ok(());
    };
    if allowed.iter().any(|network| network.holds(call.client)) {
        return Ok(());
    }
    Err(fault::forbidden(format!(
        "Access forbidden: IP address not allowed: {}",
        call.client
    )))
}

/// The master key's holder, anybody where none is set, or somebody with another key.
pub(super) fn key(
    shared: &Shared,
    call: &Call,
    request: &Request,
) -> Result<AdminCaller, GatewayError> {
    let settings = &call.snapshot.settings;
    let Some(master) = &settings.master_key else {
        return Ok(match settings.custom_auth {
            true if is_probe(shared, request) => AdminCaller::Admin,
            true => AdminCaller::Unknown,
            false => AdminCaller::Open,
        });
    };
    if is_probe(shared, request) {
        return Ok(AdminCaller::Admin);
    }
    match carried(call, request) {
        Ok(key) if master.matches(&key) => Ok(AdminCaller::Admin),
        _ if settings.custom_auth => Ok(AdminCaller::Unknown),
        Ok(key) if key.starts_with(b"sk-") || settings.takes_tokens => Ok(AdminCaller::Unknown),
        Ok(_) => Err(fault::unauthorized(
            "Authentication Error, LiteLLM Virtual Key expected: a key starts with 'sk-'.",
        )),
        Err(NoKey::Missing) => Err(fault::unauthorized(
            "Authentication Error, No api key passed in.".to_owned(),
        )),
        Err(NoKey::NoScheme) => Err(fault::unauthorized(
            "Authentication Error, Malformed API Key passed in. Ensure Key has `Bearer ` prefix."
                .to_owned(),
        )),
    }
}

/// The key that a request carries: in a header, or in the query where its API has it there.
pub(super) fn carried<'a>(call: &Call, request: &'a Request) -> Result<Cow<'a, [u8]>, NoKey> {
    let custom = call.snapshot.settings.key_header.as_deref();
    let in_header = presented(|name| request.header(name), custom);
    match in_header {
        Err(NoKey::Missing) if call.key_in_query => {
            let key = google::in_query(request, "key").ok_or(NoKey::Missing);
            key.map(Cow::Borrowed)
        }
        Ok(key) if call.key_in_basic && !key.starts_with(b"sk-") => {
            let pair = STANDARD.decode(key).unwrap_or_default();
            let colon = pair.iter().position(|byte| *byte == b':');
            let password = colon.map_or(pair.len(), |at| at + 1);
            Ok(Cow::Owned(pair[password..].to_vec()))
        }
        found => found.map(Cow::Borrowed),
    }
}

/// The request as `custom_auth` is asked about it.
pub(super) fn shown(call: &Call, request: &Request) -> Proof {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let head = &request.head;
    let target = text(head.target.of(&request.bytes));
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let headers = head.each(&request.bytes);
    Proof::Presented(Box::new(Presented {
        key: carried(call, request).map_or_else(|_| String::new(), |key| text(&key)),
        method: text(head.method_span.of(&request.bytes)),
        path: call.path.clone(),
        query: query.to_owned(),
        headers: headers
            .map(|(name, value)| (text(name).to_ascii_lowercase(), text(value)))
            .collect(),
        client: call.client.to_string(),
    }))
}

/// Whom a trusted OAuth2 proxy names in its headers. Others' headers mean nothing.
pub(super) fn named(settings: &Settings, peer: IpAddr, request: &Request) -> Option<Proof> {
    let fields = settings.proxy_names.as_ref()?;
    let trusted = settings.trusted_proxies.as_ref()?;
    if !trusted.iter().any(|network| network.holds(peer)) {
        return None;
    }
    let value = |name: &str| std::str::from_utf8(request.header(name)?).ok();
    let fields: Vec<(String, String)> = fields
        .iter()
        .filter_map(|(field, name)| Some((field.clone(), value(name)?.trim().to_owned())))
        .filter(|(_, value)| !value.is_empty())
        .collect();
    (!fields.is_empty()).then_some(Proof::Named(fields))
}

/// The coordinator's own health call, which proves it by a token that only this process knows.
pub(super) fn is_probe(shared: &Shared, request: &Request) -> bool {
    use subtle::ConstantTimeEq;
    let token = request.header(PROBE_HEADER);
    token.is_some_and(|token| token.ct_eq(shared.probe_token.as_bytes()).into())
}

/// A place among `global_max_parallel_requests`; given back when dropped.
pub(super) struct Place<'a> {
    stats: &'a Stats,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.stats.running.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Takes a place, or refuses at once with 429.
pub(super) fn place<'a>(
    stats: &'a Stats,
    parallel_max: Option<u64>,
) -> Result<Option<Place<'a>>, GatewayError> {
    let Some(parallel_max) = parallel_max else {
        return Ok(None);
    };
    if stats.running.fetch_add(1, Ordering::AcqRel) < parallel_max {
        return Ok(Some(Place { stats }));
    }
    stats.running.fetch_sub(1, Ordering::AcqRel);
    Err(fault::too_many(format!(
        "Max parallel requests reached: general_settings.global_max_parallel_requests is \
         {parallel_max}"
    )))
}
