//! What the management API's handlers share: the directory, the rules of the configuration, who
//! asks, and the forms of answers and refusals.

mod answer;
mod asker;
mod fields;
mod identify;
mod rows;
mod rules;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

pub use answer::{Answer, Fields, Refusal, shown, shown_all};
pub use asker::{Asker, Who};
pub use fields::{
    budget_fields, expiry, fold_metadata, page, pages, pick, put, required, reset_at, texts_of,
};
pub use identify::{askers_only, identify};
pub use rows::{counted, everything, found, paged, with_budget};
pub use rules::Rules;

use crate::coordinator::{Escrow, Hooks};
use crate::directory::Directory;

/// The management API's state.
pub struct Desk {
    /// Rows and accounts.
    pub directory: Arc<Directory>,
    rules: RwLock<Arc<Rules>>,
    hooks: RwLock<Option<Arc<Hooks>>>,
    escrow: RwLock<Option<Arc<Escrow>>>,
    /// Whether changes are written down.
    audit: Arc<AtomicBool>,
}

impl Desk {
    /// A desk over a directory; `audit` switches the writing down of changes.
    pub fn new(directory: Arc<Directory>, rules: Rules, audit: Arc<AtomicBool>) -> Desk {
        audit.store(rules.audit, Ordering::Relaxed);
        Desk {
            directory,
            audit,
            rules: RwLock::new(Arc::new(rules)),
            hooks: RwLock::default(),
            escrow: RwLock::default(),
        }
    }

    /// The rules in force.
    pub fn rules(&self) -> Arc<Rules> {
        self.rules
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Python functions that have a say, if there are any.
    pub fn hooks(&self) -> Option<Arc<Hooks>> {
        let hooks = self.hooks.read().unwrap_or_else(PoisonError::into_inner);
        hooks.clone()
    }

    /// Other functions, after a reload; those of before end.
    pub fn set_hooks(&self, hooks: Option<Arc<Hooks>>) {
        *self.hooks.write().unwrap_or_else(PoisonError::into_inner) = hooks;
    }

    /// Where virtual keys are kept besides the database, if anywhere.
    pub fn escrow(&self) -> Option<Arc<Escrow>> {
        let escrow = self.escrow.read().unwrap_or_else(PoisonError::into_inner);
        escrow.clone()
    }

    /// Another place, after a reload.
    pub fn set_escrow(&self, escrow: Option<Arc<Escrow>>) {
        *self.escrow.write().unwrap_or_else(PoisonError::into_inner) = escrow;
    }

    /// New rules, after a reload.
    pub fn set_rules(&self, rules: Rules) {
        self.audit.store(rules.audit, Ordering::Relaxed);
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }
}
