//! Credentials that have to be fetched: one cell per source, one keeper at a time per cell.
//!
//! A cell is asked for by the first call that needs it and kept fresh from then on, as long as calls use it. What came
//! is put into the cell, where every shard sees it; nothing is reloaded. How a source is asked is in the files beside.

mod aws;
mod google;
mod oauth;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use shardgate_io::tls::ClientTls;
use tokio::sync::Semaphore;
use tokio_rustls::rustls::ClientConfig;

use super::Control;
use super::outbound::{self, Ask, Said};
use crate::error::mask_secrets;
use crate::log;
use crate::provider::{Grant, TokenSource};
use crate::snapshot::{Credential, CredentialState};

/// Fetches that run at the same time; others wait their turn.
const FETCHES_MAX: usize = 16;
/// One fetch, however many calls it takes.
const FETCH_TIMEOUT: Duration = Duration::from_secs(12);
/// One call to a token service.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// One call to a host that is either a few metres away or not there.
const NEAR_TIMEOUT: Duration = Duration::from_secs(2);
/// How long before its end a credential is renewed, at most: short ones at four fifths of their life.
const AHEAD_MAX_S: u64 = 300;
/// The pause after a failed renewal, doubled each time up to the other.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// How long after a failure calls get the failure instead of asking again.
const REST_S: u64 = 2;
/// What a service without an expiry is believed to mean.
const LIFE_S: u64 = 3600;

type Known = HashMap<(TokenSource, bool), Weak<Credential>>;

/// All credentials of the snapshots in force.
pub struct Credentials {
    known: Mutex<Known>,
    turns: Semaphore,
}

impl Default for Credentials {
    fn default() -> Self {
        Self {
            known: Mutex::default(),
            turns: Semaphore::new(FETCHES_MAX),
        }
    }
}

impl Credentials {
    /// The cell of a source; the same one at every call, over reloads.
    pub fn intern(&self, source: TokenSource, verify: bool) -> Arc<Credential> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, cell| cell.strong_count() > 0);
        let key = (source, verify);
        if let Some(cell) = known.get(&key).and_then(Weak::upgrade) {
            return cell;
        }
        let cell = Credential::new(key.0.clone(), verify);
        known.insert(key, Arc::downgrade(&cell));
        cell
    }
}

/// What was fetched, and for how long it is good.
struct Fetched {
    grant: Grant,
    expires_unix_s: u64,
}

/// Why nothing was fetched.
struct Refused {
    why: String,
    /// The service said no, as against not having been reached.
    denied: bool,
}

impl Refused {
    fn denied(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            denied: true,
        }
    }
}

impl From<String> for Refused {
    fn from(why: String) -> Self {
        Self { why, denied: false }
    }
}

/// What fetching needs besides the source.
struct Fetcher {
    tls: Option<Arc<ClientConfig>>,
}

impl Fetcher {
    async fn call(&self, ask: Ask) -> Result<Said, String> {
        outbound::ask(self.tls.clone(), ask).await
    }

    async fn get(
        &self,
        url: String,
        headers: Vec<(String, String)>,
        timeout: Duration,
    ) -> Result<Said, String> {
        let ask = Ask {
            method: "GET",
            url,
            headers,
            body: Vec::new(),
            timeout,
        };
        self.call(ask).await
    }

    async fn fetch(&self, source: &TokenSource) -> Result<Fetched, Refused> {
        match source {
            TokenSource::Form { url, fields, .. } => self.form(url.clone(), fields).await,
            TokenSource::AzureIdentity { scope, env } => self.azure_identity(scope, env).await,
            TokenSource::Google {
                account,
                scope,
                env,
            } => self.google(account.as_ref(), scope, env).await,
            TokenSource::Aws(source) => self.aws(source).await,
        }
    }
}

/// Fetches a credential and renews it before it expires, until nobody uses it or it cannot be had. The shard that asked
/// has taken the turn.
pub(super) async fn keep(control: Arc<Control>, credential: Arc<Credential>) {
    let mut first = true;
    loop {
        let held = match fetch(&control, &credential).await {
            Ok(fetched) => fetched,
            Err(refused) if first => {
                fail(&control, &credential, &refused);
                break;
            }
            Err(refused) => match retry(&control, &credential, refused).await {
                Some(fetched) => fetched,
                None => break,
            },
        };
        first = false;
        let expires_unix_s = held.expires_unix_s;
        credential.put(CredentialState::Held {
            grant: held.grant,
            expires_unix_s,
        });
        tokio::time::sleep(until_renewal(now_unix_s(), expires_unix_s)).await;
        // The map holds no cell, snapshots do: one that only its keeper holds serves nobody.
        if Arc::strong_count(&credential) == 1 || !credential.was_used() {
            break;
        }
    }
    credential.let_go();
}

/// Renews as long as the old credential is good; `None` when it is over, which is noted.
async fn retry(
    control: &Arc<Control>,
    credential: &Arc<Credential>,
    mut refused: Refused,
) -> Option<Fetched> {
    let mut pause = PAUSE;
    loop {
        let good_until = match credential.look().as_deref() {
            Some(CredentialState::Held { expires_unix_s, .. }) => *expires_unix_s,
            _ => 0,
        };
        if now_unix_s() >= good_until {
            fail(control, credential, &refused);
            return None;
        }
        warn(control, credential, &refused);
        let left = Duration::from_secs(good_until - now_unix_s());
        tokio::time::sleep(pause.min(left)).await;
        pause = (pause * 2).min(PAUSE_MAX);
        match fetch(control, credential).await {
            Ok(fetched) => return Some(fetched),
            Err(error) => refused = error,
        }
    }
}

async fn fetch(control: &Control, credential: &Credential) -> Result<Fetched, Refused> {
    let lasting = &control.lasting;
    let _turn = lasting.credentials.turns.acquire().await;
    let tls = lasting.origins.client_tls(credential.verify)?;
    let fetcher = Fetcher {
        tls: Some(tls.config()),
    };
    let mut found =
        match tokio::time::timeout(FETCH_TIMEOUT, fetcher.fetch(&credential.source)).await {
            Ok(found) => found,
            Err(_) => Err(Refused::from(format!(
                "it took longer than {} s",
                FETCH_TIMEOUT.as_secs()
            ))),
        };
    if let Err(refused) = &mut found {
        let settings = credential.source.settings();
        let why = mask_secrets(&refused.why);
        refused.why = format!(
            "the credential of this deployment could not be fetched: {why} (check {settings})"
        );
    }
    found
}

/// A token of `source` as a header says it, for whoever asks once and keeps none.
///
/// # Errors
/// Why there is none.
pub(super) async fn bearer(source: &TokenSource) -> Result<String, String> {
    let tls = ClientTls::new(true)?;
    let fetcher = Fetcher {
        tls: Some(tls.config()),
    };
    let told = |why: &str| format!("no token could be fetched: {}", mask_secrets(why));
    let fetched = tokio::time::timeout(FETCH_TIMEOUT, fetcher.fetch(source)).await;
    let fetched = fetched.map_err(|_| told("it took too long"))?;
    match fetched.map_err(|refused| told(&refused.why))?.grant {
        Grant::Bearer(token) => Ok(format!("Bearer {}", token.reveal())),
        Grant::Aws(_) => Err(told("its account is none of Google's")),
    }
}

fn fail(control: &Control, credential: &Credential, refused: &Refused) {
    warn(control, credential, refused);
    credential.put(CredentialState::Failed {
        why: refused.why.clone(),
        denied: refused.denied,
        rest_until_unix_s: now_unix_s() + REST_S,
    });
}

fn warn(control: &Control, _credential: &Credential, refused: &Refused) {
    log!(control.log, Warn, "credential", what = refused.why);
}

/// How long a credential rests before it is renewed.
fn until_renewal(now_unix_s: u64, expires_unix_s: u64) -> Duration {
    let life = expires_unix_s.saturating_sub(now_unix_s);
    let ahead = (life / 5).min(AHEAD_MAX_S);
    // Never a busy loop, whatever a service says.
    Duration::from_secs(life - ahead).max(PAUSE)
}

fn now_unix_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// A file that somebody else renews.
async fn read_file(path: &str) -> Result<String, Refused> {
    const FILE_BYTES_MAX: u64 = 1024 * 1024;
    let told = path.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let size = std::fs::metadata(&told)?.len();
        if size > FILE_BYTES_MAX {
            return Err(std::io::Error::other("it is larger than a megabyte"));
        }
        std::fs::read_to_string(&told)
    });
    match read.await {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(error)) => Err(Refused::denied(format!("{path} cannot be read: {error}"))),
        Err(_) => Err(Refused::denied(format!("{path} cannot be read"))),
    }
}

/// What a service's refusal says, without what was sent.
fn refusal(who: &str, said: &Said) -> Refused {
    const SHOWN_MAX: usize = 300;
    let text = oauth::complaint(&said.body);
    let text: String = text
        .chars()
        .filter(|letter| !letter.is_control())
        .take(SHOWN_MAX)
        .collect();
    Refused {
        why: format!("{who} answered {}: {text}", said.status),
        denied: (400..500).contains(&said.status) && said.status != 429,
    }
}

/// A URL's host, for messages.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_renewed_before_its_end() {
        let check = |life: u64, expected: u64| {
            assert_eq!(
                until_renewal(1000, 1000 + life),
                Duration::from_secs(expected)
            );
        };
        check(3600, 3300);
        check(100, 80);
        check(0, 1);
    }

    #[test]
    fn equal_sources_share_a_cell() {
        let source = |word: &str| TokenSource::Form {
            url: word.to_owned(),
            fields: Vec::new(),
            settings: "",
        };
        let all = Credentials::default();
        let (one, same, other) = (
            all.intern(source("a"), true),
            all.intern(source("a"), true),
            all.intern(source("b"), true),
        );
        assert!(Arc::ptr_eq(&one, &same));
        assert!(!Arc::ptr_eq(&one, &other));
        drop((one, same));
        all.intern(source("c"), true);
        assert_eq!(all.known.lock().unwrap().len(), 2);
    }
}
