//! What the coordinator knows of callers: rows of the store turned into accounts, and their
//! counters, which outlive every change of a row.
//!
//! Shards ask it for keys they have not seen and are told of every change. It knows neither
//! sockets nor HTTP; the management API changes rows and says here what it changed.

mod account;
mod build;
mod counters;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

pub use account::{Account, Budget, Demand, Limit, Moment, Payer, Permit, Refused, WINDOW};
pub use build::text;
use counters::Counters;

use crate::store::secret::SecretBox;
use crate::store::{Store, StoreError};

/// What was changed; other instances hear it in this form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A key, by its token.
    Key(String),
    /// A team.
    Team(String),
    /// A user.
    User(String),
    /// An organization.
    Organization(String),
    /// A budget that others refer to.
    Budget(String),
    /// An end user.
    EndUser(String),
    /// Models or settings in the database.
    Models,
    /// Anything: announcements may have been missed.
    All,
}

impl Change {
    fn parse(text: &str) -> Change {
        let (kind, id) = text.split_once(':').unwrap_or((text, ""));
        let id = id.to_owned();
        match kind {
            "key" => Change::Key(id),
            "team" => Change::Team(id),
            "user" => Change::User(id),
            "organization" => Change::Organization(id),
            "budget" => Change::Budget(id),
            "end_user" => Change::EndUser(id),
            "models" => Change::Models,
            _ => Change::All,
        }
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Change::Key(id) => write!(f, "key:{id}"),
            Change::Team(id) => write!(f, "team:{id}"),
            Change::User(id) => write!(f, "user:{id}"),
            Change::Organization(id) => write!(f, "organization:{id}"),
            Change::Budget(id) => write!(f, "budget:{id}"),
            Change::EndUser(id) => write!(f, "end_user:{id}"),
            Change::Models => f.write_str("models"),
            Change::All => f.write_str("*"),
        }
    }
}

/// Tells every shard what a key is now; `None` for a key that is no more.
pub type Push = Box<dyn Fn(&str, Option<Arc<Account>>) + Send + Sync>;

/// The coordinator's knowledge of callers.
pub struct Directory {
    /// Rows.
    pub store: Arc<dyn Store>,
    /// Secrets at rest.
    pub secrets: SecretBox,
    known: Mutex<HashMap<String, Arc<Account>>>,
    counters: Counters,
    push: Push,
}

impl Directory {
    /// A directory over `store`; `salt` seals secrets; `shards` share the counters.
    pub fn new(store: Arc<dyn Store>, salt: &str, shards: usize, push: Push) -> Directory {
        Directory {
            store,
            secrets: SecretBox::new(salt),
            known: Mutex::default(),
            counters: Counters::new(shards),
            push,
        }
    }

    /// The account of a key, by the SHA-256 of the key in hexadecimal digits; read anew.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn look_up(&self, token: &str) -> Result<Option<Arc<Account>>, StoreError> {
        let account = build::account(self.store.as_ref(), &self.counters, token).await?;
        let account = account.map(Arc::new);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match &account {
            Some(account) => known.insert(token.to_owned(), account.clone()),
            None => known.remove(token),
        };
        Ok(account)
    }

    /// A row was changed here: shards learn it now, other instances right after.
    pub async fn changed(&self, change: Change) {
        self.apply(&change).await;
        // An instance that hears nothing reads the row again when its entry grows old.
        let _ = self.store.announce(change.to_string()).await;
    }

    /// Another instance changed a row.
    pub async fn heard(&self, text: &str) -> Change {
        let change = Change::parse(text);
        self.apply(&change).await;
        change
    }

    /// Waits for the next change of another instance; `None` where there are none.
    pub async fn next_change(&self) -> Option<String> {
        self.store.next_change().await
    }

    async fn apply(&self, change: &Change) {
        for token in self.touched(change) {
            match self.look_up(&token).await {
                Ok(account) => (self.push)(&token, account),
                // The store went away: a key that may be revoked is asked for again by the shards.
                Err(_) => (self.push)(&token, None),
            }
        }
    }

    fn touched(&self, change: &Change) -> Vec<String> {
        if let Change::Key(token) = change {
            return vec![token.clone()];
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let touched = known.values().filter(|account| {
            let caller = &account.caller;
            match change {
                Change::Team(id) => caller.team_id.as_ref() == Some(id),
                Change::User(id) => caller.user_id.as_ref() == Some(id),
                Change::Organization(id) => caller.organization_id.as_ref() == Some(id),
                Change::Budget(_) | Change::All => true,
                Change::Key(_) | Change::EndUser(_) | Change::Models => false,
            }
        });
        touched
            .map(|account| account.caller.token.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests;
