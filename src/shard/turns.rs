//! Stored answers of the Responses API for providers that store none: a request that goes on from one gets the
//! conversation so far as its input, and an answer is handed to the coordinator, which keeps it for a while. Whose they
//! are and how long they stay is decided there.

use serde_json::{Map, Value, json};
use shardgate_io::http1::server::{After, Connection, Party, Request};

use super::attempt::Work;
use super::call::Call;
use super::exchange::Failed;
use super::request::gone;
use super::{Shard, admin, answer, google};
use crate::dialect::openai_responses::id;
use crate::dialect::scan::scan;
use crate::endpoint::resource;
use crate::error::{ErrorClass, GatewayError};
use crate::message::{FromShard, Remembered, StoredAsk, StoredVerb};
use crate::provider::Operation;
use crate::snapshot::{Deployment, Snapshot};

/// What an answer is kept with.
pub(super) struct Turn {
    /// The answer's id for clients.
    pub id: String,
    previous: Option<String>,
    /// What this request said, as a list of items.
    input: Vec<Value>,
    /// The client did not say `store: false`.
    is_kept: bool,
}

/// Makes a Responses request one that the deployment understands: an id of ours becomes the provider's own where it
/// keeps answers, and the conversation so far where it does not.
pub(super) async fn ready(
    work: &mut Work<'_, impl Party>,
    deployment: &Deployment,
) -> Result<(), Failed> {
    let is_translated = deployment.target.is_bridged(Operation::Responses);
    let goes_on = memchr::memmem::find(work.body(), b"previous_response_id").is_some();
    if !is_translated && !goes_on {
        return Ok(());
    }
    let mut request: Map<String, Value> = serde_json::from_slice(work.body())
        .map_err(|error| Some(GatewayError::malformed(error)))?;
    let previous = request.get("previous_response_id").and_then(Value::as_str);
    let previous = previous.map(str::to_owned);
    if !is_translated {
        if let Some(bound) = previous.as_deref().and_then(id::read) {
            request.insert("previous_response_id".to_owned(), bound.own.into());
            put(work, &request)?;
        }
        return Ok(());
    }
    let input = items(request.get("input"));
    let own = format!("resp_{}", work.fresh_id);
    let turn = Turn {
        id: id::bound(deployment.target.entry.name, &deployment.id, &own),
        previous: previous.clone(),
        input: input.clone(),
        is_kept: request.get("store") != Some(&Value::Bool(false)),
    };
    if let Some(previous) = previous {
        let mut whole = history(work, previous).await?;
        whole.extend(input);
        request.remove("previous_response_id");
        request.insert("input".to_owned(), Value::Array(whole));
        put(work, &request)?;
    }
    work.turn = Some(Box::new(turn));
    Ok(())
}

fn put(work: &mut Work<'_, impl Party>, request: &Map<String, Value>) -> Result<(), Failed> {
    let malformed = |error: &dyn std::fmt::Display| Some(GatewayError::malformed(error));
    let bytes = serde_json::to_vec(request).map_err(|error| malformed(&error))?;
    let fields = scan(&bytes).map_err(|error| malformed(&error))?;
    work.put_body(Some(Box::new((bytes, fields))));
    Ok(())
}

/// A text is a user's message.
fn items(input: Option<&Value>) -> Vec<Value> {
    match input {
        Some(Value::Array(items)) => items.clone(),
        Some(Value::String(text)) => vec![json!({"role": "user", "content": text})],
        _ => Vec::new(),
    }
}

/// Who may see a stored answer besides the master key's holder.
fn owner(call: &Call) -> Option<String> {
    let account = call.account.as_ref();
    let account = account.filter(|_| !call.snapshot.settings.shares_responses);
    account.map(|account| account.caller.token.clone())
}

/// What was said up to and in the answer of that id.
async fn history(work: &mut Work<'_, impl Party>, previous: String) -> Result<Vec<Value>, Failed> {
    let ask = Box::new(StoredAsk {
        verb: StoredVerb::History,
        response_id: previous.clone(),
        owner: owner(work.call),
    });
    let told = admin::put(work.shard, work.connection, |id| FromShard::Stored {
        id,
        ask,
    })
    .await;
    let told = told.map_err(Some)?.ok_or(None)?;
    let items = (told.status == 200).then(|| serde_json::from_slice(&told.body).ok());
    items.flatten().ok_or_else(|| {
        let text = format!(
            "previous_response_id: no response {previous} is stored here (this model's provider keeps none, the gateway \
             keeps the latest in memory); send the whole conversation as input"
        );
        let mut error = GatewayError::refused(ErrorClass::BadRequest, text);
        error.param = Some("previous_response_id".to_owned());
        Some(error)
    })
}

/// Hands an answer to the coordinator, where its request may be gone on from.
pub(super) fn keep<P>(work: &mut Work<'_, P>, response: &[u8]) {
    let Some(turn) = work.turn.take().filter(|turn| turn.is_kept) else {
        return;
    };
    let remembered = Box::new(Remembered {
        owner: owner(work.call).unwrap_or_default(),
        previous: turn.previous,
        input: turn.input,
        response: response.to_vec(),
    });
    // A full mailbox forgets the answer, which the next request is told.
    let _ = work.shard.mailbox.send(FromShard::Remember(remembered));
}

/// What is asked of a stored answer that the coordinator keeps.
pub(super) fn stored(
    snapshot: &Snapshot,
    path: &str,
    method: &str,
) -> Option<(StoredVerb, String)> {
    let rest = resource::of(path)?.rest.strip_prefix("/responses/")?;
    let (coded, tail) = rest.split_once('/').unwrap_or((rest, ""));
    let response_id = crate::endpoint::percent_decoded(coded);
    let bound = id::read(&response_id)?;
    let deployment = snapshot
        .deployments
        .iter()
        .find(|made| made.id == bound.deployment);
    if deployment.is_some_and(|made| made.target.speaks(Operation::Responses)) {
        return None;
    }
    let verb = match (method, tail) {
        ("GET", "") => StoredVerb::Whole,
        ("GET", "input_items") => StoredVerb::Items,
        ("DELETE", "") => StoredVerb::Delete,
        ("POST", "cancel") => StoredVerb::Cancel,
        _ => return None,
    };
    Some((verb, response_id))
}

/// Answers with what the coordinator keeps.
pub(super) async fn tell(
    shard: &Shard,
    call: &mut Call,
    connection: &mut Connection,
    request: &Request,
    (verb, response_id): (StoredVerb, String),
) -> After {
    let verb = match verb {
        StoredVerb::Items => StoredVerb::of_query(|name| google::in_query(request, name)),
        other => other,
    };
    let ask = Box::new(StoredAsk {
        verb,
        response_id,
        owner: owner(call),
    });
    match admin::put(shard, connection, |id| FromShard::Stored { id, ask }).await {
        Ok(Some(told)) => answer::admin(shard, call, connection, told).await,
        Ok(None) => gone(call),
        Err(error) => answer::error(shard, call, connection, &error, false).await,
    }
}
