//! Shard threads: named, pinned, one per core that the process may use.
//!
//! A panic anywhere but in a connection's task aborts the process with a message: a shard in an
//! unknown state must not go on serving.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread::JoinHandle;

use crate::driver::{Driver, DriverChoice, DriverKind, abort};

/// The processors that this process may use, lowest first.
pub fn usable_cpus() -> Vec<usize> {
    #[expect(unsafe_code, reason = "std has no call for affinity")]
    // SAFETY: the set is a plain bit field of ours; the call writes at most its size.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) != 0 {
            return vec![0];
        }
        set
    };
    let bits = 0..libc::CPU_SETSIZE as usize;
    #[expect(unsafe_code, reason = "a bit test that libc marks unsafe")]
    // SAFETY: every index is below CPU_SETSIZE.
    let cpus = bits
        .filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) })
        .collect::<Vec<_>>();
    if cpus.is_empty() { vec![0] } else { cpus }
}

fn pin(cpu: usize) {
    #[expect(unsafe_code, reason = "std has no call for affinity")]
    // SAFETY: the set is a local of ours; an unknown processor only makes the call fail, and the
    // thread then runs unpinned.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}

/// What a shard found at its start.
#[derive(Clone, Debug)]
pub struct Started {
    /// The driver it runs on.
    pub kind: DriverKind,
    /// Why it is not the first choice, with the remedy.
    pub note: Option<String>,
}

/// Starts shard `index` on a thread of its own, pinned to `cpu`, and runs `body` on it until that
/// ends. The call returns when the shard's driver is up.
///
/// # Errors
/// Why no driver or no thread could be had, with the remedy.
pub fn start<B, F>(
    index: usize,
    cpu: Option<usize>,
    choice: DriverChoice,
    body: B,
) -> Result<(JoinHandle<()>, Started), String>
where
    B: FnOnce() -> F + Send + 'static,
    F: Future<Output = ()>,
{
    let (report, started) = mpsc::channel();
    let thread = std::thread::Builder::new()
        .name(format!("shard-{index}"))
        .spawn(move || {
            let run = AssertUnwindSafe(move || run(cpu, choice, &report, body));
            if catch_unwind(run).is_err() {
                abort("a shard");
            }
        })
        .map_err(|error| format!("no thread for shard {index}: {error}"))?;
    match started.recv() {
        Ok(Ok(started)) => Ok((thread, started)),
        Ok(Err(message)) => Err(message),
        Err(_) => Err(format!("shard {index} ended before it was up")),
    }
}

/// What a thread beside the shards gives way by: its weight for the scheduler is a third of theirs.
const WAY: i32 = 5;

/// Has the calling thread, which does a shard's work later, give way to shards where both want the
/// same processor. It keeps a fourth of it, so that what it works off does not grow for ever.
pub fn give_way_to_shards() {
    // Without effect where the process may not lower itself: then they are equals, as before.
    // SAFETY: takes numbers; 0 is the calling thread.
    #[expect(unsafe_code, reason = "a thread's own priority")]
    let _ = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, WAY) };
}

fn run<B, F>(
    cpu: Option<usize>,
    choice: DriverChoice,
    report: &mpsc::Sender<Result<Started, String>>,
    body: B,
) where
    B: FnOnce() -> F,
    F: Future<Output = ()>,
{
    if let Some(cpu) = cpu {
        pin(cpu);
    }
    crate::alloc::keep_on_this_thread();
    match Driver::build(choice) {
        Ok(mut driver) => {
            let started = Started {
                kind: driver.kind(),
                note: driver.note.take(),
            };
            let _ = report.send(Ok(started));
            driver.block_on(body());
        }
        Err(message) => {
            let _ = report.send(Err(message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_named_pinned_and_reports_its_driver() {
        let cpu = usable_cpus()[0];
        let (sender, receiver) = mpsc::channel();
        let body = move || async move {
            let name = std::thread::current().name().map(str::to_owned);
            sender.send((name, usable_cpus())).unwrap();
        };
        let (thread, started) = start(7, Some(cpu), DriverChoice::Epoll, body).unwrap();
        assert_eq!(started.kind, DriverKind::Epoll);
        let (name, cpus) = receiver.recv().unwrap();
        assert_eq!(name.as_deref(), Some("shard-7"));
        assert_eq!(cpus, vec![cpu]);
        thread.join().unwrap();
    }
}
