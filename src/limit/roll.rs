//! The counters that instances share, by name.

use super::{Bell, Meter, Semaphore, Window};
use std::sync::{Arc, Mutex, PoisonError};

/// A counter of any kind.
#[derive(Clone, Debug)]
pub enum Counter {
    /// Requests or tokens a window.
    Window(Arc<Window>),
    /// Calls at once.
    Semaphore(Arc<Semaphore>),
    /// Money.
    Meter(Arc<Meter>),
}

/// Collects counters as they are made, for whoever leases.
#[derive(Debug, Default)]
pub struct Roll {
    /// Counters ring it when they have too little.
    pub bell: Arc<Bell>,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    count: u32,
    new: Vec<(u32, String, Counter)>,
    /// So many instances share a limit; 0 as long as nobody knows.
    members: u64,
    /// They can be asked.
    is_up: bool,
}

impl Roll {
    /// Enters a counter; every instance knows it by the same name.
    pub fn enter(&self, name: &str, counter: Counter) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let number = entries.count;
        entries.count += 1;
        let members = entries.members.max(1);
        let (bell, is_up) = (Arc::clone(&self.bell), entries.is_up);
        let alone = |share: u64| (!is_up).then_some(share);
        match &counter {
            Counter::Window(window) => {
                let share = (window.limit() / members).max(1);
                window.terms.register(bell, number, alone(share));
            }
            Counter::Semaphore(semaphore) => {
                let share = share_at_once(semaphore.configured(), members);
                semaphore
                    .terms
                    .register(bell, number, alone(u64::from(share)));
                semaphore.set_leased(if is_up { 0 } else { share });
            }
            Counter::Meter(meter) => {
                if !is_up {
                    meter.go_alone(None, entries.members);
                }
                meter.terms.register(bell, number, alone(entries.members));
            }
        }
        entries.new.push((number, name.to_owned(), counter));
    }

    /// Those that were entered since the last call; `members` instances share their limits, and can
    /// be asked while `is_up`.
    pub fn take_new(&self, members: u64, is_up: bool) -> Vec<(u32, String, Counter)> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        (entries.members, entries.is_up) = (members, is_up);
        std::mem::take(&mut entries.new)
    }
}

/// One instance's share of calls at once: at least one, since nobody shall be locked out.
#[must_use]
pub fn share_at_once(limit: u32, members: u64) -> u32 {
    let share = u64::from(limit) / members.max(1);
    u32::try_from(share)
        .unwrap_or(u32::MAX)
        .clamp(u32::from(limit > 0), limit)
}
