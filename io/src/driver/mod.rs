//! The driver: the only place that names the runtime.
//!
//! What the rest of the crate sees is a [`Socket`] that takes owned buffers and gives them back, a
//! [`Timer`], [`spawn`] and [`Driver::block_on`]. A ring of our own or a simulated network would
//! implement the same few items. It must not know HTTP, TLS or pools.
//!
//! The runtime has traps; each is designed around here: nothing drops a receive or an accept (only
//! polls for readiness are ever dropped); a deadline on a send shuts the socket down and then awaits
//! the send; every task is wrapped against panics; names are never resolved here.

mod ladder;
mod socket;
mod timer;

pub use ladder::{Driver, DriverChoice, DriverKind};
pub use socket::{Accepting, Peek, Pieces, Readable, Socket};
pub use timer::{Timer, sleep_until};

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Runs `task` on this shard until it ends. A panic in it aborts the process with a message: what
/// may panic without harm (a connection's task) catches it itself with [`CatchUnwind`].
pub fn spawn(name: &'static str, task: impl Future<Output = ()> + 'static) {
    // In its box before the task is made, which would keep room for what it was made of.
    let task = CatchUnwind(Box::pin(task));
    // The handle is dropped on purpose: the task goes on by itself.
    drop(monoio::spawn(async move {
        if task.await.is_err() {
            abort(name);
        }
    }));
}

/// Ends the process after a panic in a place where going on would lose work silently.
pub(crate) fn abort(place: &str) -> ! {
    use std::io::Write;
    let _ = writeln!(
        std::io::stderr(),
        "error: shardgate stops: a panic in {place} left this shard in an unknown state; \
         the message above names the line, please report it"
    );
    std::process::abort()
}

/// Polls a future and turns a panic in it into `Err(())`.
pub struct CatchUnwind<F>(pub Pin<Box<F>>);

impl<F: Future> Future for CatchUnwind<F> {
    type Output = Result<F::Output, ()>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let inner = self.0.as_mut();
        match catch_unwind(AssertUnwindSafe(move || inner.poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(_) => Poll::Ready(Err(())),
        }
    }
}
