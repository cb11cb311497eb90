//! A fetched credential as shards and coordinator share it: one cell per source, written by the coordinator, read
//! without a lock. Renewing it costs no new snapshot. It knows neither how a credential is fetched nor who waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwapOption, Guard};

use crate::provider::{Grant, TokenSource};

/// One source's credential.
pub struct Credential {
    /// Where it comes from.
    pub source: TokenSource,
    /// Certificates of its hosts must be good (`ssl_verify`).
    pub verify: bool,
    state: ArcSwapOption<State>,
    /// Somebody at the coordinator keeps it.
    kept: AtomicBool,
    /// It was asked for since it was last fetched.
    used: AtomicBool,
}

/// What is known of a credential.
pub enum State {
    /// It is there.
    Held {
        /// The credential itself.
        grant: Grant,
        /// From when it is worth nothing, unix time.
        expires_unix_s: u64,
    },
    /// It could not be fetched.
    Failed {
        /// Why, and what to change. Holds no secret.
        why: String,
        /// Its service refused it, as against not having been reached.
        denied: bool,
        /// Until when nobody asks again, unix time.
        rest_until_unix_s: u64,
    },
}

impl State {
    /// The credential, while it is good.
    pub fn grant(&self, now_unix_s: u64) -> Option<&Grant> {
        match self {
            Self::Held {
                grant,
                expires_unix_s,
            } => (now_unix_s < *expires_unix_s).then_some(grant),
            Self::Failed { .. } => None,
        }
    }
}

impl Credential {
    /// A credential that nobody has asked for yet.
    pub fn new(source: TokenSource, verify: bool) -> Arc<Self> {
        Arc::new(Self {
            source,
            verify,
            state: ArcSwapOption::empty(),
            kept: AtomicBool::new(false),
            used: AtomicBool::new(false),
        })
    }

    /// What is known now.
    pub fn look(&self) -> Guard<Option<Arc<State>>> {
        self.state.load()
    }

    /// Puts what was fetched, or why it was not.
    pub fn put(&self, state: State) {
        self.used.store(false, Ordering::Relaxed);
        self.state.store(Some(Arc::new(state)));
    }

    /// Notes that a call goes out with it.
    pub fn note_use(&self) {
        // Looked at first: most calls find it noted and leave the line to the other shards.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a call went out with it since it was put.
    pub fn was_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes the turn to keep it: `true` for one at a time, until [`Credential::let_go`].
    pub fn take_turn(&self) -> bool {
        !self.kept.swap(true, Ordering::AcqRel)
    }

    /// Whether somebody keeps it.
    pub fn is_kept(&self) -> bool {
        self.kept.load(Ordering::Acquire)
    }

    /// Nobody keeps it any more.
    pub fn let_go(&self) {
        self.kept.store(false, Ordering::Release);
    }
}
