//! What the coordinator knows of callers: rows of the store turned into accounts, and their
//! counters, which outlive every change of a row.
//!
//! Shards ask it for keys they have not seen and are told of every change. It knows neither
//! sockets nor HTTP; the management API changes rows and says here what it changed.

mod account;
mod build;
mod counters;
mod index;
mod model_budgets;
mod payers;
mod policy;
mod priority;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub use account::{Account, Budget, Demand, Limit, Moment, Payer, Permit, Refused, WINDOW};
pub use build::{Vouched, text};
use counters::Counters;
pub use payers::EVERYBODY;
pub use policy::Policy;
pub use priority::{Priorities, Shares};

use tokio::sync::mpsc;

use crate::limit::{Nano, Roll};
use crate::store::secret::SecretBox;
use crate::store::{Command, Store, StoreError, now_us, query};

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
    /// A tag.
    Tag(String),
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
            "tag" => Change::Tag(id),
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
            Change::Tag(name) => write!(f, "tag:{name}"),
            Change::Models => f.write_str("models"),
            Change::All => f.write_str("*"),
        }
    }
}

/// Tells every shard what a key (by its token) or a payer (by its name) is now; `None` for what is
/// no more. The number is the [`Directory::turn`] from before it was read.
pub type Push = Box<dyn Fn(&str, Option<Arc<Account>>, u64) + Send + Sync>;

/// Identities of tokens that are remembered, at most.
const VOUCHED_MAX: usize = 50_000;

/// The coordinator's knowledge of callers.
pub struct Directory {
    /// Rows.
    pub store: Arc<dyn Store>,
    /// Secrets at rest.
    pub secrets: SecretBox,
    known: Mutex<HashMap<String, Arc<Account>>>,
    /// Those without a key, by the hash of their proof.
    vouched: Mutex<HashMap<String, Arc<Vouched>>>,
    policy: Mutex<Arc<Policy>>,
    counters: Counters,
    index: index::Index,
    push: Push,
    turns: AtomicU64,
    /// Who tells other instances of changes, beside the store.
    crier: Option<mpsc::Sender<String>>,
}

impl Directory {
    /// A directory over `store`; `salt` seals secrets; `shards` share the counters, and with a `roll`
    /// other instances do.
    pub fn new(
        store: Arc<dyn Store>,
        salt: &str,
        shards: usize,
        push: Push,
        roll: Option<Arc<Roll>>,
    ) -> Directory {
        Directory {
            store,
            secrets: SecretBox::new(salt),
            known: Mutex::default(),
            vouched: Mutex::default(),
            policy: Mutex::default(),
            counters: Counters::new(shards, roll),
            index: index::Index::default(),
            push,
            turns: AtomicU64::new(1),
            crier: None,
        }
    }

    /// Changes are told to other instances by `crier` as well.
    pub fn cry_to(&mut self, crier: mpsc::Sender<String>) {
        self.crier = Some(crier);
    }

    /// A number to draw before somebody's rows are read: of two answers the one with the higher number
    /// is as new as the other or newer, whichever comes last.
    pub fn turn(&self) -> u64 {
        self.turns.fetch_add(1, Ordering::Relaxed)
    }

    /// The account of a key, by the SHA-256 of the key in hexadecimal digits; read anew.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn look_up(&self, token: &str) -> Result<Option<Arc<Account>>, StoreError> {
        if let Some(vouched) = self.vouched(token) {
            return self.build_vouched(token, &vouched).await.map(Some);
        }
        if !self.index.may_exist(token, now_us()) {
            return Ok(None);
        }
        let account =
            build::account(self.store.as_ref(), (&self.counters, &self.policy()), token).await?;
        let account = account.map(Arc::new);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match &account {
            Some(account) => {
                self.index.add(std::iter::once(token));
                known.insert(token.to_owned(), account.clone())
            }
            None => known.remove(token),
        };
        Ok(account)
    }

    /// The account of a key as it was last read, by any shard: for as long as the store cannot be asked.
    pub fn remembered(&self, token: &str) -> Option<Arc<Account>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(token).cloned()
    }

    /// Accounts that are read from now on follow these rules.
    pub fn set_policy(&self, mut policy: Policy) {
        policy.shares = policy.priorities.shares(&self.counters);
        *self.policy.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
    }

    fn policy(&self) -> Arc<Policy> {
        self.policy
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Somebody whom an identity provider vouches for, from now on known as `token`.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn introduce(
        &self,
        token: &str,
        vouched: Vouched,
    ) -> Result<Arc<Account>, StoreError> {
        let vouched = Arc::new(vouched);
        {
            let mut all = self.vouched.lock().unwrap_or_else(PoisonError::into_inner);
            if all.len() >= VOUCHED_MAX {
                // They are introduced again when shards ask; changes reach them at the latest then.
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                all.drain().for_each(|(token, _)| {
                    known.remove(&token);
                });
            }
            all.insert(token.to_owned(), vouched.clone());
        }
        self.build_vouched(token, &vouched).await
    }

    fn vouched(&self, token: &str) -> Option<Arc<Vouched>> {
        let all = self.vouched.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(token).cloned()
    }

    async fn build_vouched(
        &self,
        token: &str,
        vouched: &Vouched,
    ) -> Result<Arc<Account>, StoreError> {
        let account = build::vouched(
            self.store.as_ref(),
            (&self.counters, &self.policy()),
            vouched,
        )
        .await?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(token.to_owned(), account.clone());
        Ok(account)
    }

    /// Reads which keys exist, so that others need not be asked for.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn fill_index(&self) -> Result<(), StoreError> {
        const PAGE: usize = 50_000;
        let mut after = String::new();
        loop {
            let parameters = vec![Some(after), Some(PAGE.to_string())];
            let rows = self
                .store
                .rows(Command::Ask(&query::TOKENS, parameters))
                .await?;
            let tokens = rows.iter().filter_map(|row| row.get("token")?.as_str());
            self.index.add(tokens);
            match rows.last().and_then(|row| text(row, "token")) {
                Some(last) if rows.len() == PAGE => after = last,
                _ => break,
            }
        }
        self.index.filled();
        Ok(())
    }

    /// Somebody whom a request names: `end_user:ID`, `tag:NAME` or `everybody`.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn look_up_payer(&self, name: &str) -> Result<Option<Arc<Account>>, StoreError> {
        let found =
            payers::named(self.store.as_ref(), (&self.counters, &self.policy()), name).await?;
        Ok(found.map(Arc::new))
    }

    /// What the store has that was spent of a budget, by its meter's name; `None` where it cannot say.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn recorded(&self, name: &str) -> Result<Option<Nano>, StoreError> {
        payers::recorded(self.store.as_ref(), &self.counters, name).await
    }

    /// Those who have passed their `soft_budget` since it was asked last: the name, what was spent, and the
    /// budget, in dollars.
    pub fn soft_passed(&self) -> Vec<(String, f64, f64)> {
        self.counters.soft_passed()
    }

    /// What somebody spent was set by hand: `key:TOKEN`, `team:ID`, `user:ID`, ... starts from it.
    pub fn restart(&self, name: &str) {
        self.counters.restart(name);
    }

    /// A row was changed here: shards learn it now, other instances right after.
    pub async fn changed(&self, change: Change) {
        self.apply(&change).await;
        // An instance that hears nothing reads the row again when its entry grows old.
        if let Some(crier) = &self.crier {
            let _ = crier.try_send(change.to_string());
        }
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
        let payer = match change {
            Change::EndUser(id) => Some(format!("end_user:{id}")),
            Change::Tag(name) => Some(format!("tag:{name}")),
            _ => None,
        };
        let turn = self.turn();
        if let Some(name) = payer
            && let Ok(account) = self.look_up_payer(&name).await
        {
            (self.push)(&name, account, turn);
        }
        for token in self.touched(change) {
            let turn = self.turn();
            // With the store away everybody stays as known; shards ask again when entries grow old.
            if let Ok(account) = self.look_up(&token).await {
                (self.push)(&token, account, turn);
            }
        }
    }

    fn touched(&self, change: &Change) -> Vec<String> {
        let mut own = Vec::new();
        if let Change::Key(token) = change {
            self.index.add(std::iter::once(token.as_str()));
            own.push(token.clone());
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let touched = known.iter().filter(|(name, account)| {
            let caller = &account.caller;
            match change {
                // An old key whose place this one took.
                Change::Key(token) => caller.token == *token && *name != token,
                Change::Team(id) => caller.team_id.as_ref() == Some(id),
                Change::User(id) => caller.user_id.as_ref() == Some(id),
                Change::Organization(id) => caller.organization_id.as_ref() == Some(id),
                Change::Budget(_) | Change::All => true,
                Change::EndUser(_) | Change::Tag(_) | Change::Models => false,
            }
        });
        own.extend(touched.map(|(name, _)| name.clone()));
        own
    }
}

#[cfg(test)]
mod tests;
