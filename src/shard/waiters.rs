//! Requests that wait for a slot: woken at once by this shard's own ends, and within
//! `polling_interval` by those of other shards.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use shardgate_io::driver::{sleep_until, spawn};

use super::Shard;
use crate::router::WaitId;

/// The requests of one shard that wait.
#[derive(Default)]
pub(super) struct Waiters {
    wakers: RefCell<HashMap<WaitId, Option<Waker>>>,
    ticking: Cell<bool>,
}

impl Shard {
    /// Ready when the router names the request.
    pub(super) async fn woken(&self, id: WaitId, interval: Duration) {
        self.waiters.wakers.borrow_mut().insert(id, None);
        let _leaves = Leaves {
            waiters: &self.waiters,
            id,
        };
        self.tick_waiters(interval);
        self.wake_waiters();
        std::future::poll_fn(|cx| {
            let mut wakers = self.waiters.wakers.borrow_mut();
            match wakers.get_mut(&id) {
                Some(waker) => {
                    *waker = Some(cx.waker().clone());
                    Poll::Pending
                }
                None => Poll::Ready(()),
            }
        })
        .await;
    }

    /// Wakes those whom the router names; called whenever a call has ended.
    pub(super) fn wake_waiters(&self) {
        while !self.waiters.wakers.borrow().is_empty() {
            let Some(id) = self.live.woken(self.now()) else {
                return;
            };
            if let Some(Some(waker)) = self.waiters.wakers.borrow_mut().remove(&id) {
                waker.wake();
            }
        }
    }

    /// While anybody waits, other shards' ends are looked for.
    fn tick_waiters(&self, interval: Duration) {
        let Some(shard) = self.itself.upgrade() else {
            return;
        };
        if self.waiters.ticking.replace(true) {
            return;
        }
        let interval = interval.max(Duration::from_millis(1));
        spawn("the waiters' clock", async move {
            while !shard.waiters.wakers.borrow().is_empty() {
                sleep_until(Instant::now() + interval).await;
                shard.wake_waiters();
            }
            shard.waiters.ticking.set(false);
        });
    }
}

/// A request that stops waiting, for whatever reason, leaves no trace.
struct Leaves<'a> {
    waiters: &'a Waiters,
    id: WaitId,
}

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.waiters.wakers.borrow_mut().remove(&self.id);
    }
}
