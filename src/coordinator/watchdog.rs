//! Notices a shard that does not go on: the runtime swallows what its driver fails with, and such a shard would hold its
//! connections for ever. Said in the log and by `/health/readiness`, so that whoever balances the load looks elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Control;
use crate::log;

/// Between two looks. A process that is stopped as a whole does not look either, so that its pauses count for nothing.
const LOOK: Duration = Duration::from_secs(1);
/// Looks at a bell that was not heard until a shard counts as stalled.
const LOOKS_MAX: u32 = 5;

/// Rings every shard's bell each second as long as the process lives.
pub(super) async fn keep(control: Arc<Control>, count: Arc<AtomicU64>) {
    let mut unheard = vec![0; control.hubs.len()];
    loop {
        tokio::time::sleep(LOOK).await;
        let mut stalled = 0;
        for (shard, hub) in control.hubs.iter().enumerate() {
            let before = unheard[shard];
            unheard[shard] = if hub.ring() { 0 } else { before + 1 };
            if unheard[shard] == LOOKS_MAX {
                log!(
                    control.log,
                    Error,
                    "shard_stalled",
                    shard = shard,
                    seconds = LOOKS_MAX,
                    remedy =
                        "restart the process; with a kernel of before 6.1, try --io-driver epoll"
                );
            } else if before >= LOOKS_MAX && unheard[shard] == 0 {
                log!(
                    control.log,
                    Warn,
                    "shard_goes_on",
                    shard = shard,
                    seconds = before
                );
            }
            stalled += u64::from(unheard[shard] >= LOOKS_MAX);
        }
        count.store(stalled, Ordering::Relaxed);
    }
}
