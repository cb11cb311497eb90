//! Requests that wait a moment for a lease: limits that instances share, of which this one has used
//! up its part. The coordinator asks for more at once and wakes them all; a client that leaves and a
//! deadline wake them as well.

use std::cell::RefCell;
use std::task::{Poll, Waker};
use std::time::Instant;

use shardgate_io::http1::server::{Connection, Party, Woke};

use super::Shard;
use crate::message::FromShard;

/// Those who wait, and how often they were woken.
#[derive(Default)]
pub(super) struct Waiting {
    inner: RefCell<Inner>,
}

#[derive(Default)]
struct Inner {
    rounds: u64,
    wakers: Vec<Waker>,
}

impl Waiting {
    /// Something was leased, or will not be.
    pub(super) fn wake(&self) {
        let wakers = {
            let mut inner = self.inner.borrow_mut();
            inner.rounds += 1;
            std::mem::take(&mut inner.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// What a wait came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waited {
    /// It is worth looking again.
    Look,
    /// The client left.
    Gone,
}

/// Waits for the next round of leases.
pub(super) async fn wait(shard: &Shard, connection: &mut Connection, until: Instant) -> Waited {
    let is_first = shard.leases.inner.borrow().wakers.is_empty();
    if is_first {
        // A full mailbox: the coordinator's own ticks come soon enough.
        let _ = shard.mailbox.send(FromShard::LeaseWanted);
    }
    let round = shard.leases.inner.borrow().rounds;
    let woken = std::future::poll_fn(|cx| {
        let mut inner = shard.leases.inner.borrow_mut();
        if inner.rounds != round {
            return Poll::Ready(());
        }
        inner.wakers.push(cx.waker().clone());
        Poll::Pending
    });
    match connection.wait_for(woken, until).await {
        Err(Woke::Gone) => Waited::Gone,
        _ => Waited::Look,
    }
}
