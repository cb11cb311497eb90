//! `GET /router/state`: where requests go, and why.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::{Value, json};

use crate::admin::admin_only;
use crate::admin::routes::Routes;
use crate::coordinator::Control;
use crate::message::AdminCaller;
use crate::router::state::{self, DeploymentState};
use crate::router::{Micros, Router};

/// The routes.
pub fn routes() -> Routes<Arc<Control>> {
    Routes::new().get(
        "/router/state",
        router_state,
        "What the router knows of every deployment, and its last decisions.",
    )
}

/// Each deployment with its live numbers, who waits, and the last hundred choices.
async fn router_state(
    State(control): State<Arc<Control>>,
    Extension(caller): Extension<AdminCaller>,
) -> Response {
    if let Some(refusal) = admin_only(caller) {
        return refusal;
    }
    let snapshot = control.snapshot();
    let (router, now) = (&snapshot.router, control.now());
    let deployments = state::deployments(router, now);
    let groups = router.groups().iter().map(|group| {
        json!({"model_group": &*group.name, "deployments": group.deployments.len(),
            "waiting": group.live.queue.waiting()})
    });
    Json(json!({
        "routing_strategy": router.strategy().name(),
        "groups": groups.collect::<Vec<_>>(),
        "deployments": deployments.iter().map(|d| deployment(router, d, now)).collect::<Vec<_>>(),
        "decisions": decisions(router, now),
    }))
    .into_response()
}

fn deployment(router: &Router, state: &DeploymentState, now: Micros) -> Value {
    let entry = router.deployment(state.deployment);
    let milliseconds = |micros: Option<f64>| micros.map(|micros| micros / 1e3);
    let cooldown = state
        .cooling_until
        .map(|until| now.until(until).as_secs_f64());
    json!({
        "id": entry.spec.id,
        "model_group": entry.spec.group,
        "model": entry.spec.model,
        "state": state.words(),
        "cooldown_ends_in_s": cooldown,
        "in_flight": state.in_flight,
        "max_parallel_requests": entry.spec.max_parallel,
        "rpm": entry.spec.rpm,
        "rpm_used": state.rpm_used,
        "tpm": entry.spec.tpm,
        "tpm_used": state.tpm_used,
        "requests_last_minute": state.requests_per_minute.round(),
        "tokens_last_minute": state.tokens_per_minute.round(),
        "first_token_ms": milliseconds(state.first_token_us),
        "per_output_token_ms": milliseconds(state.per_token_us),
        "succeeded": state.succeeded,
        "failed": state.failed,
    })
}

fn decisions(router: &Router, now: Micros) -> Vec<Value> {
    let last = state::decisions(router);
    let one = |(group, decision): (crate::router::GroupIx, crate::router::Decision)| {
        let group = router.group(group);
        let chosen = router.deployment_of_mark(group, decision.mark);
        json!({
            "seconds_ago": now.since(decision.at).as_secs_f64(),
            "model_group": &*group.name,
            "deployment": chosen.map(|chosen| &chosen.spec.id),
            "why": decision.why.words(),
            "candidates": decision.candidates,
            "cooling_down": decision.cooling,
            "full": decision.full,
        })
    };
    last.into_iter().map(one).collect()
}
