//! Where upstream requests go: one entry per scheme, host and port, kept over reloads, with its
//! addresses kept fresh here so that no shard ever resolves a name.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shardgate_io::pool::Origin;
use shardgate_io::tls::ClientTls;

/// How long a name is believed before it is asked again.
pub(super) const FRESH: Duration = Duration::from_secs(30);
/// How long one look-up may take; the old addresses stay in force meanwhile and after a failure.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

type Key = (bool, bool, Box<str>, u16);

/// All origins this process has ever been configured with.
#[derive(Default)]
pub struct Origins {
    known: Mutex<HashMap<Key, Arc<Origin>>>,
    /// Made when the first https origin is: loading the system's roots takes a while.
    tls: Mutex<[Option<Arc<ClientTls>>; 2]>,
}

impl Origins {
    /// The origin of `host` and `port`; the same one at every call. `verify`: its certificate must be
    /// good (`ssl_verify`).
    ///
    /// # Errors
    /// Why no TLS client can be set up, with what to change.
    pub fn intern(
        &self,
        https: bool,
        verify: bool,
        host: &str,
        port: u16,
    ) -> Result<Arc<Origin>, String> {
        let tls = if https {
            Some(self.client_tls(verify)?)
        } else {
            None
        };
        let key = (https, verify, Box::from(host), port);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let id = known.len();
        let origin = known.entry(key).or_insert_with(|| {
            let addresses = literal(host).map(|ip| SocketAddr::new(ip, port));
            Arc::new(Origin {
                id,
                host: host.into(),
                port,
                tls,
                addresses: arc_swap::ArcSwap::from_pointee(addresses.into_iter().collect()),
            })
        });
        Ok(origin.clone())
    }

    /// No more origins should be made for clients' own addresses.
    pub fn is_full(&self) -> bool {
        const ORIGINS_MAX: usize = 4096;
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
            >= ORIGINS_MAX
    }

    /// The trust that https origins share.
    pub(super) fn client_tls(&self, verify: bool) -> Result<Arc<ClientTls>, String> {
        let mut made = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        let place = &mut made[usize::from(verify)];
        if let Some(tls) = place {
            return Ok(tls.clone());
        }
        let tls = Arc::new(ClientTls::new(verify)?);
        *place = Some(tls.clone());
        Ok(tls)
    }

    fn names(&self, unresolved_only: bool) -> Vec<Arc<Origin>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = |origin: &&Arc<Origin>| {
            literal(&origin.host).is_none()
                && (!unresolved_only || origin.addresses.load().is_empty())
        };
        known.values().filter(wanted).cloned().collect()
    }

    /// Resolves all names, or only those that have no address yet, at the same time.
    pub async fn resolve(&self, unresolved_only: bool) {
        let mut lookups = tokio::task::JoinSet::new();
        for origin in self.names(unresolved_only) {
            lookups.spawn(resolve_one(origin));
        }
        while lookups.join_next().await.is_some() {}
    }
}

async fn resolve_one(origin: Arc<Origin>) {
    let lookup = tokio::net::lookup_host((&*origin.host, origin.port));
    if let Ok(Ok(found)) = tokio::time::timeout(LOOKUP_TIMEOUT, lookup).await {
        let found: Vec<SocketAddr> = found.collect();
        if !found.is_empty() && **origin.addresses.load() != found {
            origin.addresses.store(Arc::new(found));
        }
    }
}

fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_one_over_all_calls() {
        let origins = Origins::default();
        let first = origins.intern(false, true, "127.0.0.1", 80).unwrap();
        let again = origins.intern(false, true, "127.0.0.1", 80).unwrap();
        let other = origins.intern(false, true, "127.0.0.1", 81).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        assert_eq!((first.id, other.id), (0, 1));
        assert_eq!(first.addresses.load().len(), 1);
    }
}
