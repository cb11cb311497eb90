//! Background health checks: each deployment is called from time to time, and the router is told.
//!
//! A limit or a cooldown of our own is no news about a deployment; neither is a kind of deployment
//! for which there is no small call. What was found last is what `/health` answers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::Control;
use super::probe::Probed;
use crate::log;
use crate::snapshot::Snapshot;

/// What was found of deployments, by their ids.
#[derive(Default)]
pub(super) struct Health {
    /// A round in the background has been made: from then on `/health` answers what those find.
    ran: AtomicBool,
    checked: Mutex<HashMap<String, Checked>>,
}

/// One check.
#[derive(Clone)]
struct Checked {
    at: Instant,
    took: Duration,
    error: Option<String>,
}

impl Health {
    fn note(&self, id: &str, probed: &Probed) {
        let checked = Checked {
            at: Instant::now(),
            took: probed.took,
            error: probed.error.clone(),
        };
        let mut all = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(id.to_owned(), checked);
    }

    fn of(&self, id: &str) -> Option<Checked> {
        let all = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(id).cloned()
    }

    fn keep_only(&self, snapshot: &Snapshot) {
        let mut all = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|id, _| snapshot.deployments.iter().any(|made| made.id == *id));
    }
}

/// Checks all deployments every `health_check_interval`, the first time after one.
pub(super) async fn keep(control: Arc<Control>) {
    /// How soon a changed interval is noticed.
    const STEP: Duration = Duration::from_millis(500);
    let mut last = Instant::now();
    let mut steers = false;
    loop {
        tokio::time::sleep(STEP).await;
        let snapshot = control.snapshot();
        let settings = &snapshot.settings.health;
        if steers && !(settings.background && settings.steers) {
            // Nobody looks any more, so nobody would find that it is well again.
            tell_router(&snapshot, |_| Some(true));
            steers = false;
        }
        if !settings.background || last.elapsed() < settings.interval {
            continue;
        }
        check(&control).await;
        steers = settings.steers;
        last = Instant::now();
    }
}

async fn check(control: &Control) {
    let found = control.probe_all(None).await;
    let snapshot = control.snapshot();
    control.health.keep_only(&snapshot);
    control.health.ran.store(true, Ordering::Relaxed);
    for probed in &found {
        let before = control
            .health
            .of(&probed.id)
            .and_then(|checked| checked.error);
        if let (Some(why), None) = (&probed.error, before) {
            log!(
                control.log,
                Warn,
                "unhealthy",
                deployment = probed.id,
                why = why
            );
        }
        control.health.note(&probed.id, probed);
    }
    if snapshot.settings.health.steers {
        let verdict = |id: &str| {
            let probed = found.iter().find(|probed| probed.id == id)?;
            probed.verdict()
        };
        tell_router(&snapshot, verdict);
    }
}

/// Tells what is known of each deployment; `None` leaves it as it is.
fn tell_router(snapshot: &Snapshot, verdict: impl Fn(&str) -> Option<bool>) {
    for deployment in snapshot.router.deployments() {
        if let Some(healthy) = verdict(&deployment.spec.id) {
            deployment.live.set_healthy(healthy);
        }
    }
}

impl Control {
    /// The state of every deployment, or of those of group `only`: as the last check found it, else
    /// by a call now.
    pub async fn health(&self, only: Option<&str>) -> Vec<Probed> {
        let snapshot = self.snapshot();
        let known = |id: &str| self.health.of(id);
        let wanted: Vec<_> = snapshot
            .deployments
            .iter()
            .filter(|made| only.is_none_or(|group| made.group == group))
            .collect();
        let probed = wanted.iter().filter(|made| made.can_be_probed());
        if !snapshot.settings.health.background
            || !self.health.ran.load(Ordering::Relaxed)
            || probed.clone().any(|made| known(&made.id).is_none())
        {
            let found = self.probe_all(only).await;
            found
                .iter()
                .for_each(|probed| self.health.note(&probed.id, probed));
        }
        let shown = wanted.into_iter().filter_map(|made| {
            let checked = known(&made.id)?;
            let mut params = made.public_params.clone();
            params.insert("model_id".into(), made.id.as_str().into());
            self.describe(&snapshot, &made.id, &checked, &mut params);
            Some(Probed {
                id: made.id.clone(),
                params: Value::Object(params),
                error: checked.error,
                took: checked.took,
                status: 0,
            })
        });
        shown.collect()
    }

    /// How it stands with the router, when it was checked, and what is left of its limits.
    fn describe(
        &self,
        snapshot: &Snapshot,
        id: &str,
        checked: &Checked,
        out: &mut Map<String, Value>,
    ) {
        let now = self.now();
        let states = crate::router::state::deployments(&snapshot.router, now);
        let routed = snapshot.router.deployments().iter().zip(states);
        let Some((routed, state)) = routed.into_iter().find(|(routed, _)| routed.spec.id == id)
        else {
            return;
        };
        out.insert("state".into(), state.words().into());
        out.insert(
            "latency_ms".into(),
            (checked.took.as_secs_f64() * 1e3).into(),
        );
        let age = checked.at.elapsed().as_secs_f64();
        out.insert("checked_seconds_ago".into(), age.into());
        for (name, limit, used) in [
            ("remaining_rpm", routed.spec.rpm, state.rpm_used),
            ("remaining_tpm", routed.spec.tpm, state.tpm_used),
        ] {
            if let Some(limit) = limit {
                out.insert(name.into(), limit.saturating_sub(used.unwrap_or(0)).into());
            }
        }
    }
}
