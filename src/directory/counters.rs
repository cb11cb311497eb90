//! Counters by the name of what they count. They outlive the accounts that use them, so that a
//! changed row starts no new window and forgets no spend.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::account::WINDOW;
use crate::auth::calendar::Span;
use crate::limit::{Counter, Meter, Nano, Roll, Semaphore, Window, dollars};
use crate::store::{Query, Table};

/// Where the store has what was spent of a budget.
#[derive(Clone, Debug)]
pub(super) enum Record {
    /// `spend` of this row.
    Row(Table, Vec<String>),
    /// The rows of calls that this question finds of an id and a model, in a period of this length.
    Calls(&'static Query, [String; 2], Span),
}

/// All counters of this process.
pub(super) struct Counters {
    shards: usize,
    windows: Mutex<HashMap<String, Arc<Window>>>,
    semaphores: Mutex<HashMap<String, Arc<Semaphore>>>,
    meters: Mutex<HashMap<String, Arc<Meter>>>,
    /// Where the store has what was spent of budgets that instances share.
    records: Mutex<HashMap<String, Record>>,
    /// Where other instances share them.
    roll: Option<Arc<Roll>>,
}

fn shared<T>(
    map: &Mutex<HashMap<String, Arc<T>>>,
    name: String,
    make: impl FnOnce(&str) -> Arc<T>,
) -> Arc<T> {
    let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = map.get(&name) {
        return known.clone();
    }
    let made = make(&name);
    map.insert(name, made.clone());
    made
}

impl Counters {
    pub(super) fn new(shards: usize, roll: Option<Arc<Roll>>) -> Counters {
        Counters {
            shards,
            windows: Mutex::default(),
            semaphores: Mutex::default(),
            meters: Mutex::default(),
            records: Mutex::default(),
            roll,
        }
    }

    fn enter(&self, name: &str, counter: Counter) {
        if let Some(roll) = &self.roll {
            roll.enter(name, counter);
        }
    }

    /// The window of that name, its limit set to `limit`.
    pub(super) fn window(&self, name: String, limit: u64) -> Arc<Window> {
        let window = shared(&self.windows, name, |name| {
            let made = Arc::new(Window::new(limit, WINDOW, self.shards));
            self.enter(name, Counter::Window(made.clone()));
            made
        });
        if window.limit() != limit {
            window.set_limit(limit);
        }
        window
    }

    /// The semaphore of that name, its limit set to `limit`.
    pub(super) fn semaphore(&self, name: String, limit: u32) -> Arc<Semaphore> {
        let semaphore = shared(&self.semaphores, name, |name| {
            let made = Arc::new(Semaphore::new(Some(limit)));
            self.enter(name, Counter::Semaphore(made.clone()));
            made
        });
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
        shared(&self.meters, name, |_| Arc::default())
    }

    /// Those whose warning is due: name, spent and bound in dollars.
    pub(super) fn soft_passed(&self) -> Vec<(String, f64, f64)> {
        let meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        let due = meters.iter().filter_map(|(name, meter)| {
            let (spent, soft) = meter.soft_passed()?;
            Some((name.clone(), dollars(spent), dollars(soft)))
        });
        due.collect()
    }

    /// The record of a budget, and its meter.
    pub(super) fn record(&self, name: &str) -> Option<(Record, Arc<Meter>)> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let record = records.get(name)?.clone();
        let meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        Some((record, meters.get(name)?.clone()))
    }

    /// A budget's meter, which is shared from now on. It has adopted what the database says.
    pub(super) fn budget(&self, name: &str, meter: &Arc<Meter>, max: Nano, record: Option<Record>) {
        let before = meter.max();
        meter.set_max(max);
        if before == 0 && max > 0 {
            if let Some(record) = record.filter(|_| self.roll.is_some()) {
                let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
                records.insert(name.to_owned(), record);
            }
            self.enter(name, Counter::Meter(meter.clone()));
        }
    }
}
