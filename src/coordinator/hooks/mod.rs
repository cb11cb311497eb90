//! Python functions that the configuration names (`custom_auth`, `custom_key_generate`,
//! `custom_validate`): a child process loads them and is asked over a socket, a JSON object a line.
//!
//! The child is supervised: one that ends is started again, and until then whoever asks is refused. No
//! shard waits for it; verdicts are remembered like keys. It must not know what a verdict means.

mod host;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use shardgate_config::Config;
use tokio::sync::{mpsc, oneshot};

use crate::auth::caller::Denied;
use crate::observe::log::Log;

/// How long a function may take: less than shards wait for a verdict.
const PATIENCE: Duration = Duration::from_secs(8);
/// Calls that may wait for the child, at most.
const CALLS_MAX: usize = 1024;

/// Which functions there are, and where modules are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Functions {
    named: BTreeMap<&'static str, String>,
    paths: Vec<PathBuf>,
}

impl Functions {
    /// Those of a configuration, whose file lies in `folder`; none where it names none.
    pub fn of(config: &Config, folder: Option<&Path>) -> Option<Functions> {
        let general = &config.general;
        let jwt = general.litellm_jwtauth.as_ref();
        let all = [
            ("custom_auth", general.custom_auth.clone()),
            ("custom_key_generate", general.custom_key_generate.clone()),
            (
                "custom_validate",
                jwt.and_then(|jwt| jwt.custom_validate.clone()),
            ),
        ];
        let named: BTreeMap<&str, String> = all
            .into_iter()
            .filter_map(|(call, path)| Some((call, path?)))
            .collect();
        let here = std::env::current_dir().ok();
        let folder = folder.and_then(|folder| folder.canonicalize().ok());
        (!named.is_empty()).then(|| Functions {
            named,
            paths: folder.into_iter().chain(here).collect(),
        })
    }

    /// What the child is told.
    fn told(&self) -> String {
        let paths: Vec<String> = self
            .paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        json!({"functions": self.named, "paths": paths}).to_string()
    }
}

/// One call that waits for the child.
struct Call {
    line: String,
    id: u64,
    answer: oneshot::Sender<Value>,
}

/// The functions as they run. Dropped, the child ends.
pub struct Hooks {
    functions: Functions,
    calls: mpsc::Sender<Call>,
    ids: AtomicU64,
}

impl Hooks {
    /// Starts the child and waits until it has loaded the functions.
    ///
    /// # Errors
    /// What is missing: an interpreter, a module, a function.
    pub async fn start(functions: Functions, log: Log) -> Result<Arc<Hooks>, String> {
        let child = host::Child::start(&functions).await?;
        let (calls, waiting) = mpsc::channel(CALLS_MAX);
        tokio::spawn(host::keep(child, functions.clone(), waiting, log));
        Ok(Arc::new(Hooks {
            functions,
            calls,
            ids: AtomicU64::new(1),
        }))
    }

    /// These functions run already.
    pub fn are(&self, functions: &Functions) -> bool {
        self.functions == *functions
    }

    /// Asks one function.
    ///
    /// # Errors
    /// What it raised, 401 where that names no status; 503 where it cannot be asked.
    pub async fn call(&self, name: &'static str, with: Value) -> Result<Value, Denied> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let line = format!("{}\n", json!({"id": id, "call": name, "with": with}));
        let (answer, told) = oneshot::channel();
        let call = Call { line, id, answer };
        if self.calls.try_send(call).is_err() {
            return Err(away(name, "too many calls wait for it"));
        }
        match tokio::time::timeout(PATIENCE, told).await {
            Err(_) => Err(away(name, "it did not answer within 8 s")),
            Ok(Err(_)) => Err(away(name, "its process has ended and is started again")),
            Ok(Ok(mut told)) => match told.get_mut("error") {
                Some(error) => Err(raised(error)),
                None => Ok(told["ok"].take()),
            },
        }
    }
}

fn away(name: &str, why: &str) -> Denied {
    Denied {
        status: 503,
        kind: "service_unavailable_error",
        param: None,
        text: format!("Service Unavailable, {name} could not be asked: {why}"),
    }
}

fn raised(error: &Value) -> Denied {
    let status = error["status"].as_u64().and_then(|n| u16::try_from(n).ok());
    let status = status.filter(|status| (400..600).contains(status));
    let text = error["message"].as_str().unwrap_or("refused");
    Denied {
        status: status.unwrap_or(401),
        kind: "auth_error",
        param: None,
        text: format!("Authentication Error, {text}"),
    }
}
