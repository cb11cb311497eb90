//! Retries: how many, after which wait, and where.

use super::*;

#[test]
fn num_retries() {
    let settings = RouterSettings {
        num_retries: Some(2),
        ..RouterSettings::default()
    };
    let check = |class, asked, calls| {
        let facts = wishing(Wishes {
            num_retries: asked,
            ..Wishes::default()
        });
        let run = lone(settings.clone()).run("g", facts, class, &[]);
        assert_eq!(run.calls.len(), calls, "{class:?}");
        assert_eq!(run.retries as usize, calls - 1);
        assert_eq!(
            run.failure.map(|f| (f.class, f.cause)),
            Some((class, Cause::Upstream))
        );
    };
    check(FailureClass::InternalServer, None, 3);
    check(FailureClass::RateLimit, None, 3);
    check(FailureClass::BadRequest, None, 1);
    check(FailureClass::NotFound, None, 1);
    check(FailureClass::InternalServer, Some(1), 2);
    check(FailureClass::InternalServer, Some(0), 1);
}

#[test]
fn there_is_no_sleep_after_the_last_failure() {
    let settings = RouterSettings {
        num_retries: Some(2),
        ..RouterSettings::default()
    };
    let run = lone(settings).run("g", Facts::default(), FailureClass::InternalServer, &[]);
    assert!(run.took >= Duration::from_millis(1125) && run.took <= Duration::from_millis(1500));
}

#[test]
fn retry_after_of_the_upstream_is_waited_for() {
    let mut bench = lone(RouterSettings {
        num_retries: Some(1),
        ..RouterSettings::default()
    });
    let mut journey = bench.start("g", Facts::default());
    bench.attempt(&mut journey);
    let outcome = Outcome::Failure {
        class: FailureClass::RateLimit,
        status: Some(429),
        retry_after: Some(secs(7)),
        committed: false,
    };
    bench.finish(&mut journey, outcome);
    assert_eq!(bench.step(&mut journey), Step::Sleep(secs(7)));
    bench.now = bench.now.plus(secs(7));
    bench.attempt(&mut journey);
    bench.finish(&mut journey, outcome);
    let Step::Fail(failure) = bench.step(&mut journey) else {
        panic!("the end")
    };
    assert_eq!((failure.status, failure.retry_after_s), (429, Some(7)));
}

#[test]
fn a_retry_goes_to_another_deployment_at_once() {
    let pair = vec![deployment("a", "g"), deployment("b", "g")];
    for _ in 0..20 {
        let mut bench = bench(pair.clone(), RouterSettings::default());
        let run = bench.run("g", Facts::default(), FailureClass::InternalServer, &["b"]);
        assert_eq!(run.served.as_deref(), Some("b"));
        assert!(run.calls.len() <= 2);
        assert_eq!(run.took, Duration::ZERO);
    }
}

#[test]
fn not_found_is_retried_only_elsewhere() {
    let pair = vec![deployment("a", "g"), deployment("b", "g")];
    let mut bench = bench(pair, RouterSettings::default());
    let run = bench.run("g", Facts::default(), FailureClass::NotFound, &[]);
    assert_eq!(run.calls.len(), 2);
}

#[test]
fn model_group_retry_policy() {
    let timeouts = ClassPolicy {
        timeout: Some(1),
        ..ClassPolicy::default()
    };
    let settings = RouterSettings {
        group_retry_policy: [(String::from("g"), timeouts)].into(),
        ..RouterSettings::default()
    };
    let run = lone(settings).run("g", Facts::default(), FailureClass::Timeout, &[]);
    assert_eq!(run.calls.len(), 2);
}

#[test]
fn each_fallback_has_its_own_retries() {
    let fallbacks = table(&[("a", &["b"])]);
    let settings = RouterSettings {
        fallbacks,
        num_retries: Some(1),
        ..RouterSettings::default()
    };
    let run = chain(settings).run(
        "group-a",
        Facts::default(),
        FailureClass::InternalServer,
        &[],
    );
    assert_eq!(run.calls, ["a", "a", "b", "b"]);
}
