//! A deadline that is cheap to move: one timer per connection that re-arms itself lazily.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

/// A timer whose deadline may move at every poll. Moving it later costs nothing: the runtime's timer
/// fires at the old time, sees that it is early and is set again. So a stream pays no timer per event.
#[derive(Default)]
pub struct Timer {
    sleep: Option<Pin<Box<monoio::time::Sleep>>>,
}

impl Timer {
    /// Ready once `deadline` has passed; otherwise this task is woken about then.
    pub fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(monoio::time::sleep_until(deadline.into())));
        if sleep.deadline() > monoio::time::Instant::from_std(deadline) {
            sleep.as_mut().reset(deadline.into());
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                self.sleep = None;
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline.into());
        }
        Poll::Pending
    }
}

/// Waits until `deadline`.
pub async fn sleep_until(deadline: Instant) {
    monoio::time::sleep_until(deadline.into()).await;
}
