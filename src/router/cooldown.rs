//! When a failing deployment is taken out of rotation, and for how long.
//!
//! Where `allowed_fails` or its policy is written it is obeyed to the letter. Otherwise the
//! defaults hold and the last deployment of a group that can still serve is never taken out.

use super::failure::FailureClass;
use super::failures::Kind;
use super::spec::RouterSettings;
use super::{DeploymentIx, Router};
use crate::limit::Micros;
use std::time::Duration;

/// Failures a minute that are let pass where neither setting is written.
const ALLOWED_DEFAULT: u32 = 1;
/// An upstream's Retry-After is not believed beyond this.
const RETRY_AFTER_LONGEST: Duration = Duration::from_secs(600);

/// Counts a failure against its deployment and benches it when it had too many. Answers whether
/// it did.
pub(super) fn note_failure(
    router: &Router,
    failed: DeploymentIx,
    class: FailureClass,
    retry_after: Option<Duration>,
    now: Micros,
) -> bool {
    let settings = router.settings();
    let deployment = router.deployment(failed);
    let Some(allowed) = allowed(settings, class) else {
        return false;
    };
    if settings.disable_cooldowns || router.group(deployment.group).pattern.is_some() {
        return false;
    }
    let failures = deployment.live.failures.add(Kind::of(class), now);
    let asked = retry_after
        .filter(|wait| !wait.is_zero())
        .map(|w| w.min(RETRY_AFTER_LONGEST));
    if failures <= allowed {
        if !is_written(settings)
            && let Some(wait) = asked
        {
            deployment.live.rest_until(now.plus(wait));
        }
        return false;
    }
    if !is_written(settings) && is_last(router, failed, now) {
        return false;
    }
    let time = asked
        .or(deployment.spec.cooldown)
        .unwrap_or(settings.cooldown_time);
    deployment.live.cool_until(now.plus(time));
    true
}

fn is_written(settings: &RouterSettings) -> bool {
    settings.allowed_fails.is_some() || settings.allowed_fails_policy.is_some()
}

/// Failures of this class that a minute may have; `None` where the client is at fault and no
/// policy says otherwise.
fn allowed(settings: &RouterSettings, class: FailureClass) -> Option<u32> {
    let kind = Kind::of(class);
    let written = settings
        .allowed_fails_policy
        .as_ref()
        .and_then(|policy| policy.of(kind));
    if written.is_some() {
        return written;
    }
    let default = match kind {
        Kind::BadRequest | Kind::ContentPolicy => return None,
        Kind::Authentication => 10,
        Kind::Timeout => 12,
        Kind::RateLimit => 10_000,
        Kind::InternalServer => 20,
        Kind::Rest => ALLOWED_DEFAULT,
    };
    match class {
        FailureClass::PermissionDenied => None,
        FailureClass::Other(status) if status < 500 => None,
        _ => Some(settings.allowed_fails.unwrap_or(default)),
    }
}

fn is_last(router: &Router, failed: DeploymentIx, now: Micros) -> bool {
    let group = router.group(router.deployment(failed).group);
    let others = group.deployments.iter().filter(|other| **other != failed);
    !others.into_iter().any(|other| {
        let live = &router.deployment(*other).live;
        live.cooling_until() <= now && live.is_healthy()
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{deployment, router};
    use super::super::{AliasSpec, ClassPolicy, RouterSpec};
    use super::*;

    fn pair(settings: RouterSettings) -> Router {
        let deployments = vec![deployment("a", "g"), deployment("b", "g")];
        router(RouterSpec {
            deployments,
            settings,
            ..RouterSpec::default()
        })
    }

    fn fail(router: &Router, class: FailureClass, at_s: u64) -> bool {
        note_failure(
            router,
            DeploymentIx(0),
            class,
            None,
            Micros(at_s * 1_000_000),
        )
    }

    fn cools_after(settings: RouterSettings, class: FailureClass) -> Option<usize> {
        let router = pair(settings);
        (1..=50).find(|_| fail(&router, class, 1))
    }

    #[test]
    fn allowed_fails() {
        let settings = RouterSettings {
            allowed_fails: Some(2),
            ..RouterSettings::default()
        };
        let check = |class, expected| assert_eq!(cools_after(settings.clone(), class), expected);
        check(FailureClass::InternalServer, Some(3));
        check(FailureClass::RateLimit, Some(3));
        check(FailureClass::ApiConnection, Some(3));
        check(FailureClass::BadRequest, None);
        check(FailureClass::PermissionDenied, None);
    }

    #[test]
    fn allowed_fails_counts_a_rolling_minute() {
        let settings = RouterSettings {
            allowed_fails: Some(1),
            ..RouterSettings::default()
        };
        let router = pair(settings);
        assert!(!fail(&router, FailureClass::Timeout, 0));
        assert!(!fail(&router, FailureClass::Timeout, 61));
        assert!(fail(&router, FailureClass::Timeout, 70));
    }

    #[test]
    fn allowed_fails_policy() {
        let policy = ClassPolicy {
            timeout: Some(0),
            bad_request: Some(1),
            ..Default::default()
        };
        let settings = RouterSettings {
            allowed_fails: Some(3),
            allowed_fails_policy: Some(policy),
            ..RouterSettings::default()
        };
        assert_eq!(
            cools_after(settings.clone(), FailureClass::Timeout),
            Some(1)
        );
        assert_eq!(
            cools_after(settings.clone(), FailureClass::BadRequest),
            Some(2)
        );
        assert_eq!(cools_after(settings, FailureClass::InternalServer), Some(4));
    }

    #[test]
    fn defaults_by_class() {
        let check = |class, expected| {
            assert_eq!(
                cools_after(RouterSettings::default(), class),
                expected,
                "{class:?}"
            );
        };
        check(FailureClass::ApiConnection, Some(2));
        check(FailureClass::Authentication, Some(11));
        check(FailureClass::Timeout, Some(13));
        check(FailureClass::InternalServer, Some(21));
        check(FailureClass::RateLimit, None);
        check(FailureClass::ContentPolicy, None);
    }

    #[test]
    fn disable_cooldowns() {
        let settings = RouterSettings {
            allowed_fails: Some(0),
            disable_cooldowns: true,
            ..RouterSettings::default()
        };
        assert_eq!(cools_after(settings, FailureClass::InternalServer), None);
    }

    #[test]
    fn the_last_one_is_benched_only_where_that_is_written() {
        let lone = |settings| {
            let spec = RouterSpec {
                deployments: vec![deployment("a", "g")],
                settings,
                aliases: Vec::<AliasSpec>::new(),
            };
            let router = router(spec);
            (1..=50).find(|_| fail(&router, FailureClass::ApiConnection, 1))
        };
        assert_eq!(lone(RouterSettings::default()), None);
        let written = RouterSettings {
            allowed_fails: Some(2),
            ..RouterSettings::default()
        };
        assert_eq!(lone(written), Some(3));
    }

    #[test]
    fn cooldown_time() {
        let settings = RouterSettings {
            allowed_fails: Some(0),
            cooldown_time: Duration::from_secs(60),
            ..RouterSettings::default()
        };
        let router = pair(settings);
        assert!(fail(&router, FailureClass::InternalServer, 1));
        assert_eq!(
            router.deployment(DeploymentIx(0)).live.cooling_until(),
            Micros(61_000_000)
        );
        let asked = Some(Duration::from_secs(7));
        note_failure(
            &router,
            DeploymentIx(1),
            FailureClass::RateLimit,
            asked,
            Micros(0),
        );
        assert_eq!(
            router.deployment(DeploymentIx(1)).live.cooling_until(),
            Micros(7_000_000)
        );
    }
}
