//! The router's debug lines (`router_settings.debug_level: DEBUG`): each choice with its reason, each
//! failure with what it is taken for. Called only where they are wanted.

use super::attempt::{Work, class};
use crate::error::GatewayError;
use crate::router::{Attempt, Journey};

/// A deployment was chosen.
#[cold]
pub(super) fn chosen<P>(work: &Work<'_, P>, journey: &Journey, attempt: &Attempt) {
    let router = &work.call.snapshot.router;
    let group = router.group(attempt.group);
    let shard = work.shard.live.shard();
    let decision = group.live.decisions.get(shard).and_then(|ring| ring.last());
    let fields = vec![
        ("id", work.call.shown_id().into()),
        ("group", group.name.to_string().into()),
        (
            "deployment",
            router.deployment(attempt.deployment).spec.id.clone().into(),
        ),
        ("strategy", router.strategy().name().into()),
        (
            "why",
            decision.map_or("", |decision| decision.why.words()).into(),
        ),
        (
            "candidates",
            decision
                .map_or(0, |decision| decision.candidates)
                .to_string()
                .into(),
        ),
        (
            "cooling_down",
            decision
                .map_or(0, |decision| decision.cooling)
                .to_string()
                .into(),
        ),
        (
            "full",
            decision
                .map_or(0, |decision| decision.full)
                .to_string()
                .into(),
        ),
        ("attempt", attempt.number.to_string().into()),
        ("retries", journey.attempted_retries().to_string().into()),
        (
            "fallbacks",
            journey.attempted_fallbacks().to_string().into(),
        ),
    ];
    work.shard.shared.log.router_line("router_choice", fields);
}

/// An attempt failed.
#[cold]
pub(super) fn failed<P>(work: &Work<'_, P>, attempt: &Attempt, error: &GatewayError) {
    let router = &work.call.snapshot.router;
    let deployment = router.deployment(attempt.deployment);
    let (live, now) = (&deployment.live, work.shard.now());
    let cooling = now.until(live.cooling_until()).as_secs_f64();
    let fields = vec![
        ("id", work.call.shown_id().into()),
        ("deployment", deployment.spec.id.clone().into()),
        ("class", format!("{:?}", class(error)).into()),
        ("status", error.status.to_string().into()),
        ("attempt", attempt.number.to_string().into()),
        ("cooling_down_s", format!("{cooling:.3}").into()),
    ];
    work.shard.shared.log.router_line("router_failure", fields);
}
