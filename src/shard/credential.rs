//! A call whose deployment needs a fetched credential: it goes on at once while there is one, asks the coordinator when
//! there is none, and waits a bounded time. What is fetched is the coordinator's business.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shardgate_io::driver::sleep_until;
use shardgate_io::http1::server::{Party, Woke};

use super::attempt::Work;
use super::{answer, fault, relay};
use crate::error::{ErrorClass, GatewayError};
use crate::message::FromShard;
use crate::snapshot::{Credential, CredentialState, Deployment};

/// How long a call waits for a credential, within its own deadline.
const WAIT_MAX: Duration = Duration::from_secs(15);
/// How often it looks. The coordinator writes a cell and wakes nobody: only the first calls after a start ever wait.
const STEP: Duration = Duration::from_millis(5);

/// Waits until `credential` is there. `Err(None)`: the client has left.
pub(super) async fn ready(
    work: &mut Work<'_, impl Party>,
    deployment: &Deployment,
    credential: &Arc<Credential>,
    deadline: Instant,
) -> Result<(), Option<GatewayError>> {
    credential.note_use();
    let until = deadline.min(Instant::now() + WAIT_MAX);
    let label = deployment.target.entry.label;
    loop {
        let now_unix_s = answer::unix_seconds();
        if let Some(state) = &*credential.look() {
            if state.grant(now_unix_s).is_some() {
                return Ok(());
            }
            if let Some(error) = failed(state, label, now_unix_s) {
                return Err(Some(error));
            }
        }
        if credential.take_turn() {
            let asked = FromShard::Fetch(credential.clone());
            if work.shard.mailbox.send(asked).is_err() {
                credential.let_go();
                let text = "the coordinator is busy and cannot fetch this deployment's credential";
                return Err(Some(fault::overloaded(text)));
            }
        }
        let now = Instant::now();
        if now >= until {
            return Err(Some(relay::late()));
        }
        let step = sleep_until(until.min(now + STEP));
        match work.connection.wait_for(step, until + STEP).await {
            Ok(()) | Err(Woke::Late | Woke::Ready) => {}
            Err(Woke::Gone) => return Err(None),
            Err(Woke::Drained) => return Err(Some(fault::draining())),
        }
    }
}

/// The error while nobody asks again.
fn failed(state: &CredentialState, label: &str, now_unix_s: u64) -> Option<GatewayError> {
    let CredentialState::Failed {
        why,
        denied,
        rest_until_unix_s,
    } = state
    else {
        return None;
    };
    if now_unix_s >= *rest_until_unix_s {
        return None;
    }
    let class = match denied {
        true => ErrorClass::Authentication,
        false => ErrorClass::ServiceUnavailable,
    };
    let text = format!("litellm.{}: {label}Exception - {why}", class.name());
    Some(GatewayError::new(class, text))
}
