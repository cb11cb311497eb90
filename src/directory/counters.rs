//! Counters by the name of what they count. They outlive the accounts that use them, so that a
//! changed row starts no new window and forgets no spend.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::account::WINDOW;
use crate::limit::{Meter, Semaphore, Window};

/// All counters of this process.
pub(super) struct Counters {
    shards: usize,
    windows: Mutex<HashMap<String, Arc<Window>>>,
    semaphores: Mutex<HashMap<String, Arc<Semaphore>>>,
    meters: Mutex<HashMap<String, Arc<Meter>>>,
}

fn shared<T>(
    map: &Mutex<HashMap<String, Arc<T>>>,
    name: String,
    make: impl FnOnce() -> T,
) -> Arc<T> {
    let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
    map.entry(name).or_insert_with(|| Arc::new(make())).clone()
}

impl Counters {
    pub(super) fn new(shards: usize) -> Counters {
        Counters {
            shards,
            windows: Mutex::default(),
            semaphores: Mutex::default(),
            meters: Mutex::default(),
        }
    }

    /// The window of that name, its limit set to `limit`.
    pub(super) fn window(&self, name: String, limit: u64) -> Arc<Window> {
        let window = shared(&self.windows, name, || {
            Window::new(limit, WINDOW, self.shards)
        });
        if window.limit() != limit {
            window.set_limit(limit);
        }
        window
    }

    /// The semaphore of that name, its limit set to `limit`.
    pub(super) fn semaphore(&self, name: String, limit: u32) -> Arc<Semaphore> {
        let semaphore = shared(&self.semaphores, name, || Semaphore::new(Some(limit)));
        semaphore.set_limit(Some(limit));
        semaphore
    }

    /// The next meter of that name starts from what the database says.
    pub(super) fn restart(&self, name: &str) {
        self.meters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
    }

    /// The meter of that name.
    pub(super) fn meter(&self, name: String) -> Arc<Meter> {
        shared(&self.meters, name, Meter::default)
    }
}
