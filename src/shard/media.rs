//! Files that a request names by address and its provider takes as bytes only: the coordinator fetches them, the request
//! goes on with what came. What may be fetched is the coordinator's business.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde_json::Value;
use shardgate_io::http1::server::Party;

use super::attempt::Work;
use super::body::Content;
use super::exchange::Failed;
use super::{admin, fault, relay};
use crate::dialect::media;
use crate::dialect::scan::scan;
use crate::error::GatewayError;
use crate::message::{FromShard, Wanted};
use crate::snapshot::Deployment;

/// Puts the bytes of files in the places of their addresses, where the deployment's provider wants them.
pub(super) async fn ready(
    work: &mut Work<'_, impl Party>,
    deployment: &Deployment,
    deadline: Instant,
) -> Result<(), Failed> {
    let is_json = matches!(work.content.as_deref(), Some(Content::Json(_)));
    if !is_json || memchr::memmem::find(work.body(), b"http").is_none() {
        return Ok(());
    }
    let mut request: Value = serde_json::from_slice(work.body())
        .map_err(|error| Some(GatewayError::malformed(error)))?;
    let operation = work.asked.operation;
    let target = &deployment.target;
    let urls = media::addresses(&mut request, &|url, format| {
        target.wants_inline(operation, url, format)
    });
    if urls.is_empty() {
        return Ok(());
    }
    let found = Arc::new(Mutex::new(None));
    let wanted = Box::new(Wanted {
        urls: urls.clone(),
        until: deadline,
        found: found.clone(),
    });
    let asked = admin::put(work.shard, work.connection, |id| FromShard::Media {
        id,
        wanted,
    });
    asked.await.map_err(Some)?.ok_or(None)?;
    if Instant::now() >= deadline {
        return Err(Some(relay::late()));
    }
    let found = found.lock().unwrap_or_else(PoisonError::into_inner).take();
    let files = match found {
        Some(files) => files.map_err(Some)?,
        None => {
            return Err(Some(fault::overloaded(
                "the request's files could not be fetched",
            )));
        }
    };
    let files: HashMap<_, _> = urls.into_iter().zip(files).collect();
    media::put_in(&mut request, &files);
    let bytes =
        serde_json::to_vec(&request).map_err(|error| Some(GatewayError::malformed(error)))?;
    let fields = scan(&bytes).map_err(|error| Some(GatewayError::malformed(error)))?;
    work.put_body(Some(Box::new((bytes, fields))));
    Ok(())
}
