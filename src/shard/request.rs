//! The life of a request, one call per line.

use std::borrow::Cow;
use std::sync::atomic::Ordering;

use shardgate_io::http1::head::Method;
use shardgate_io::http1::server::{After, BodyError, Connection, Request};

use super::call::Call;
use super::{
    Shard, admin, admit, answer, attempt, body, callers, fault, google, ledger, passage, several,
    texts,
};
use crate::endpoint::{self, Endpoint};
use crate::error::GatewayError;
use crate::log;
use crate::message::AdminCaller;
use crate::provider::Operation;

/// Serves one request to its end.
pub(super) async fn serve(
    shard: &Shard,
    connection: &mut Connection,
    request: Box<Request>,
) -> After {
    let mut call = Call::begin(shard, connection, &request);
    let after = answered(shard, &mut call, connection, request).await;
    ledger::finish(shard, &mut call);
    texts::tell(shard, &mut call);
    call.settle();
    logged(shard, &call, connection);
    after
}

async fn answered(
    shard: &Shard,
    call: &mut Call,
    connection: &mut Connection,
    mut request: Box<Request>,
) -> After {
    if request.head.method == Method::Options {
        let asked = request
            .header("access-control-request-headers")
            .map(<[u8]>::to_vec);
        return Box::pin(answer::preflight(shard, call, connection, asked.as_deref())).await;
    }
    if let Err(error) = admit::network(call) {
        return answer::error(shard, call, connection, &error, true).await;
    }
    match endpoint::of(&call.path, &call.snapshot.settings.root_path) {
        // Each kind but an LLM call in a box of its own: a stream, which stays for long, holds no room
        // for the others.
        Endpoint::Alive if only_looks(&request) => {
            let body = b"\"I'm alive!\"";
            Box::pin(answer::json(shard, call, connection, 200, body)).await
        }
        Endpoint::Ready if only_looks(&request) => Box::pin(ready(shard, call, connection)).await,
        Endpoint::Admin if passage::is_here(&call.snapshot, &call.path) => {
            Box::pin(passage::serve(shard, call, connection, request)).await
        }
        Endpoint::Admin => Box::pin(to_coordinator(shard, call, connection, &mut request)).await,
        Endpoint::Google(verb, model) if request.head.method == Method::Post => {
            call.verb = Some(verb);
            call.key_in_query = true;
            let operation = verb.operation();
            llm(shard, call, connection, request, operation, Some(model)).await
        }
        Endpoint::Call(operation, model) if request.head.method == Method::Post => {
            llm(shard, call, connection, request, operation, model).await
        }
        Endpoint::Call(..) | Endpoint::Google(..) | Endpoint::Alive | Endpoint::Ready => {
            let body = br#"{"detail":"Method Not Allowed"}"#;
            Box::pin(answer::json(shard, call, connection, 405, body)).await
        }
    }
}

fn only_looks(request: &Request) -> bool {
    matches!(request.head.method, Method::Get | Method::Head)
}

async fn ready(shard: &Shard, call: &mut Call, connection: &mut Connection) -> After {
    let stalled = shard.shared.stalled.load(Ordering::Relaxed);
    let (status, word) = match (connection.draining(), shard.ready.get()) {
        (true, _) => (503, "draining"),
        (false, false) => (503, "starting"),
        (false, true) if stalled > 0 => (503, "stalled"),
        (false, true) => (200, "healthy"),
    };
    let body = serde_json::json!({"status": word, "db": "Not connected", "cache": null,
        "litellm_version": env!("CARGO_PKG_VERSION"), "success_callbacks": []})
    .to_string();
    answer::json(shard, call, connection, status, body.as_bytes()).await
}

/// Reads the body whole, within the bound, or gives the answer to one that cannot be read.
pub(super) async fn read_body(
    call: &Call,
    connection: &mut Connection,
    request: &mut Request,
) -> Result<(), Option<GatewayError>> {
    let bytes_max = call.snapshot.settings.request_bytes_max;
    match connection.read_body(request, bytes_max).await {
        Ok(()) => Ok(()),
        Err(BodyError::Gone) => Err(None),
        Err(BodyError::TooLarge) => Err(Some(fault::too_large(bytes_max))),
        Err(BodyError::Late) => Err(Some(fault::request_late())),
        Err(BodyError::Refused(refusal)) => Err(Some(fault::malformed(refusal.reason))),
    }
}

async fn to_coordinator(
    shard: &Shard,
    call: &mut Call,
    connection: &mut Connection,
    request: &mut Request,
) -> After {
    if let Err(error) = read_body(call, connection, request).await {
        return unread(shard, call, connection, error).await;
    }
    let caller = admit::key(&shard.shared, call, request).unwrap_or(AdminCaller::Unknown);
    let settings = &call.snapshot.settings;
    let proof = match settings.custom_auth && caller == AdminCaller::Unknown {
        true => Some(admit::shown(call, request)),
        false => admit::named(settings, connection.peer().ip(), request),
    };
    match admin::ask(shard, connection, request, caller, proof).await {
        Ok(Some(reply)) => answer::admin(shard, call, connection, reply).await,
        Ok(None) => gone(call),
        Err(error) => answer::error(shard, call, connection, &error, false).await,
    }
}

/// The body could not be read: say why, where somebody is there to hear it, and close.
pub(super) async fn unread(
    shard: &Shard,
    call: &mut Call,
    connection: &mut Connection,
    error: Option<GatewayError>,
) -> After {
    match error {
        Some(error) => answer::error(shard, call, connection, &error, true).await,
        None => gone(call),
    }
}

/// The client left: 499 in the log, as nginx has it.
pub(super) fn gone(call: &mut Call) -> After {
    call.status = 499;
    After::Abort
}

async fn llm(
    shard: &Shard,
    call: &mut Call,
    connection: &mut Connection,
    mut request: Box<Request>,
    operation: Operation,
    model: Option<String>,
) -> After {
    call.operation = Some(operation);
    match callers::authenticate(shard, call, connection, &request).await {
        Ok(Some(())) => {}
        Ok(None) => return gone(call),
        Err(error) => return answer::error(shard, call, connection, &error, true).await,
    }
    if let Err(error) = read_body(call, connection, &mut request).await {
        return unread(shard, call, connection, error).await;
    }
    if let Some(verb) = call.verb {
        google::complete(verb, &mut request);
    }
    let parallel_max = call.snapshot.settings.parallel_max;
    let _place = match admit::place(&shard.shared.stats, parallel_max) {
        Ok(place) => place,
        Err(error) => return answer::error(shard, call, connection, &error, false).await,
    };
    let asked = match body::read(call, operation, model, &request) {
        Ok(asked) if several::is_list(call, &asked) => {
            return Box::pin(several::serve(shard, call, connection, request, asked)).await;
        }
        Ok(asked) => callers::admit(shard, call, connection, asked).await,
        Err(error) => Err(error),
    };
    let reserved = asked.and_then(|asked| match asked {
        Some(asked) => ledger::reserve(shard, call, &asked).map(|()| Some(asked)),
        None => Ok(None),
    });
    match reserved {
        Ok(Some(asked)) => {
            texts::keep(call, &request);
            attempt::until_answered(shard, call, connection, request, asked).await
        }
        Ok(None) => gone(call),
        Err(error) => {
            ledger::refused(shard, call);
            answer::error(shard, call, connection, &error, false).await
        }
    }
}

/// One line per request.
fn logged(shard: &Shard, call: &Call, connection: &Connection) {
    if !call.snapshot.settings.access_log {
        return;
    }
    let deployment = call
        .route
        .deployment
        .map(|at| &call.snapshot.deployments[at]);
    let model: Cow<str> = deployment.map_or("-".into(), |at| at.id.as_str().into());
    log!(
        shard.shared.log,
        Info,
        "request",
        id = call.shown_id(),
        client = connection.peer(),
        method = call.method,
        path = call.path,
        status = call.status,
        group = call.route.group,
        deployment = model,
        retries = call.route.attempted_retries,
        fallbacks = call.route.attempted_fallbacks,
        ms = call.began.elapsed().as_secs_f64() * 1e3,
        running = shard.shared.stats.running.load(Ordering::Relaxed),
    );
}
