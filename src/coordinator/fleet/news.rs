//! News between instances over Redis: changes of rows, and deployments that cool down.
//!
//! Whoever misses some loses nothing for good: when the connection comes back everything may have
//! changed, and is read again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use redis::AsyncCommands;
use tokio::sync::mpsc;

use super::super::{Control, keys};
use super::link::Address;

/// The channel of all instances.
const CHANNEL: &str = "shardgate:news";
/// Between two tries to listen or to speak.
const RETRY: Duration = Duration::from_millis(500);
/// Between two looks for cooldowns that have begun.
const LOOK: Duration = Duration::from_millis(100);
/// What a cooldown's news begin with.
const COOL: &str = "cool:";

/// Passes on what other instances say.
pub(super) async fn hear(control: Arc<Control>, address: Address, instance: String) {
    loop {
        if let Ok(mut listener) = address.listen().await
            && listener.subscribe(CHANNEL).await.is_ok()
        {
            // What was said before now was not heard.
            keys::heard(&control, "*").await;
            let mut news = listener.into_on_message();
            while let Some(message) = next(&mut news).await {
                let Ok(text) = message.get_payload::<String>() else {
                    continue;
                };
                match text.split_once('|') {
                    Some((by, what)) if by != instance => take(&control, what).await,
                    _ => {}
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn next<S: futures_core::Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    std::future::poll_fn(|cx| std::pin::Pin::new(&mut *stream).poll_next(cx)).await
}

async fn take(control: &Control, what: &str) {
    let Some(cooling) = what.strip_prefix(COOL) else {
        return keys::heard(control, what).await;
    };
    let Some((ms, id)) = cooling.split_once(':') else {
        return;
    };
    let snapshot = control.snapshot();
    let found = snapshot
        .router
        .deployments()
        .iter()
        .find(|deployment| deployment.spec.id == id);
    if let (Some(deployment), Ok(ms)) = (found, ms.parse()) {
        let until = control.now().plus(Duration::from_millis(ms));
        deployment.live.cool_until(until);
    }
}

/// Says what others should hear.
pub(super) async fn cry(address: Address, instance: String, mut news: mpsc::Receiver<String>) {
    let mut link = None;
    while let Some(what) = news.recv().await {
        // Once more over a new connection; then it is lost, as rows that grow old are read again.
        for _ in 0..2 {
            if link.is_none() {
                link = address.connect().await.ok();
            }
            let Some(open) = &mut link else { break };
            let said = open.publish::<_, _, ()>(CHANNEL, format!("{instance}|{what}"));
            if said.await.is_ok() {
                break;
            }
            link = None;
        }
    }
}

/// Tells of deployments that begin to cool down.
pub(super) async fn cooldowns(control: Arc<Control>, cry: mpsc::Sender<String>) {
    /// Two ends that differ by less are the same.
    const SLACK_US: u64 = 200_000;
    let mut told: HashMap<String, u64> = HashMap::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let (now, snapshot) = (control.now(), control.snapshot());
        for deployment in snapshot.router.deployments() {
            let until = deployment.live.cooling_until();
            let before = told.get(&deployment.spec.id).copied().unwrap_or(0);
            if until <= now || until.0 <= before + SLACK_US {
                continue;
            }
            told.insert(deployment.spec.id.clone(), until.0);
            let ms = now.until(until).as_millis();
            // A full queue: the others find out for themselves.
            let _ = cry.try_send(format!("{COOL}{ms}:{}", deployment.spec.id));
        }
    }
}
