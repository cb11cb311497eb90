//! Fallbacks: which groups, in which order, how many.

use super::*;

#[test]
fn fallbacks() {
    let fallbacks = table(&[("a", &["b", "c"])]);
    let mut bench = chain(RouterSettings {
        fallbacks,
        ..no_retries()
    });
    let run = bench.run(
        "group-a",
        Facts::default(),
        FailureClass::InternalServer,
        &["c"],
    );
    assert_eq!(run.calls, ["a", "b", "c"]);
    assert_eq!((run.fallbacks, run.retries), (2, 0));
    let failed = bench.run(
        "group-a",
        Facts::default(),
        FailureClass::InternalServer,
        &[],
    );
    assert_eq!(failed.calls, ["a", "b", "c"]);
    let failure = failed.failure.expect("a failure");
    assert_eq!(
        bench.router.group(failure.group).name.as_ref(),
        "group-c",
        "the last error"
    );
}

#[test]
fn default_fallbacks() {
    let settings = || RouterSettings {
        fallbacks: table(&[("a", &["b"])]),
        default_fallbacks: vec![String::from("group-x")],
        ..no_retries()
    };
    let check = |asked: &str, class, calls: &[&str]| {
        assert_eq!(
            chain(settings())
                .run(asked, Facts::default(), class, &[])
                .calls,
            calls
        );
    };
    check("group-a", FailureClass::InternalServer, &["a", "b", "x"]);
    check("group-c", FailureClass::InternalServer, &["c", "x"]);
    check("group-x", FailureClass::InternalServer, &["x"]);
    check("group-c", FailureClass::ContextWindow, &["c"]);
    check("group-c", FailureClass::ContentPolicy, &["c"]);
}

#[test]
fn context_window_fallbacks() {
    let context_window_fallbacks = table(&[("a", &["b"]), ("*", &["c"])]);
    let settings = RouterSettings {
        context_window_fallbacks,
        ..RouterSettings::default()
    };
    let mut bench = chain(settings);
    let class = FailureClass::ContextWindow;
    assert_eq!(
        bench.run("group-a", Facts::default(), class, &["b"]).calls,
        ["a", "b"]
    );
    assert_eq!(
        bench.run("group-d", Facts::default(), class, &["c"]).calls,
        ["d", "c"]
    );
}

#[test]
fn content_policy_fallbacks() {
    let content_policy_fallbacks = table(&[("a", &["b"])]);
    let settings = RouterSettings {
        content_policy_fallbacks,
        ..RouterSettings::default()
    };
    let mut bench = chain(settings);
    let class = FailureClass::ContentPolicy;
    assert_eq!(
        bench.run("group-a", Facts::default(), class, &["b"]).calls,
        ["a", "b"]
    );
    let has = |asked| {
        let group = bench
            .router
            .group_of(&bench.router.resolve(asked))
            .expect("a group");
        fallback::content_policy_has_fallback(&bench.router, &Facts::default(), asked, group)
    };
    assert!(has("group-a"));
    assert!(!has("group-b"));
}

#[test]
fn max_fallbacks() {
    let fallbacks = table(&[("a", &["b", "c", "d", "e", "f", "x"])]);
    let mut bench = chain(RouterSettings {
        fallbacks,
        ..no_retries()
    });
    let class = FailureClass::InternalServer;
    let run = bench.run("group-a", Facts::default(), class, &[]);
    assert_eq!((run.calls.len(), run.fallbacks), (6, 5));
    let facts = wishing(Wishes {
        max_fallbacks: Some(1),
        ..Wishes::default()
    });
    assert_eq!(bench.run("group-a", facts, class, &[]).calls, ["a", "b"]);
}

#[test]
fn fallbacks_that_name_each_other_end() {
    let fallbacks = table(&[("a", &["b"]), ("b", &["a"])]);
    let mut bench = chain(RouterSettings {
        fallbacks,
        ..no_retries()
    });
    let run = bench.run(
        "group-a",
        Facts::default(),
        FailureClass::InternalServer,
        &[],
    );
    assert_eq!(run.calls, ["a", "b"]);
}

#[test]
fn the_requests_own_fallbacks_win() {
    let fallbacks = table(&[("a", &["b"])]);
    let mut bench = chain(RouterSettings {
        fallbacks,
        ..no_retries()
    });
    let own = vec![String::from("nowhere"), String::from("group-d")];
    let facts = wishing(Wishes {
        fallbacks: Some(own),
        ..Wishes::default()
    });
    let mut journey = bench.start("group-a", facts);
    bench.attempt(&mut journey);
    bench.finish(&mut journey, failure(FailureClass::ContextWindow));
    let Step::Attempt(attempt) = bench.step(&mut journey) else {
        panic!("an attempt")
    };
    assert_eq!(bench.router.deployment(attempt.deployment).spec.id, "d");
    assert_eq!(attempt.client_fallback, Some(1));
    bench.finish(&mut journey, failure(FailureClass::InternalServer));
    assert!(matches!(bench.step(&mut journey), Step::Fail(_)));
}

#[test]
fn disable_fallbacks() {
    let fallbacks = table(&[("a", &["b"])]);
    let mut bench = chain(RouterSettings {
        fallbacks,
        ..no_retries()
    });
    let facts = wishing(Wishes {
        disable_fallbacks: true,
        ..Wishes::default()
    });
    let run = bench.run("group-a", facts, FailureClass::InternalServer, &["b"]);
    assert_eq!(run.calls, ["a"]);
}

#[test]
fn mock_testing_switches() {
    let settings = RouterSettings {
        fallbacks: table(&[("a", &["b"])]),
        context_window_fallbacks: table(&[("a", &["c"])]),
        content_policy_fallbacks: table(&[("a", &["d"])]),
        ..RouterSettings::default()
    };
    let mut bench = chain(settings);
    for (mock, served) in [
        (MockTesting::Fallbacks, "b"),
        (MockTesting::ContextFallbacks, "c"),
        (MockTesting::ContentPolicyFallbacks, "d"),
        (MockTesting::RateLimitError, "b"),
    ] {
        let facts = wishing(Wishes {
            mock: Some(mock),
            ..Wishes::default()
        });
        let run = bench.run("group-a", facts, FailureClass::InternalServer, &[served]);
        assert_eq!((run.calls, run.fallbacks), (vec![served.to_owned()], 1));
    }
}

#[test]
fn fallbacks_of_an_alias_are_its_groups() {
    let mut spec = RouterSpec {
        deployments: vec![deployment("a", "group-a"), deployment("b", "group-b")],
        aliases: vec![AliasSpec {
            alias: String::from("alias"),
            group: String::from("group-a"),
            hidden: false,
        }],
        settings: no_retries(),
    };
    spec.settings.fallbacks = table(&[("a", &["b"])]);
    let router = testing::router(spec);
    let mut bench = Bench {
        router,
        live: Live::new(0),
        rng: Rng::new(1),
        now: Micros(0),
    };
    let run = bench.run(
        "alias",
        Facts::default(),
        FailureClass::InternalServer,
        &["b"],
    );
    assert_eq!(run.calls, ["a", "b"]);
}

#[test]
fn a_group_that_the_caller_may_not_use_is_skipped() {
    let fallbacks = table(&[("a", &["b", "c"])]);
    let mut bench = chain(RouterSettings {
        fallbacks,
        ..no_retries()
    });
    let mut journey = bench.start("group-a", Facts::default());
    bench.attempt(&mut journey);
    bench.finish(&mut journey, failure(FailureClass::InternalServer));
    assert_eq!(bench.attempt(&mut journey).as_deref(), Some("b"));
    journey.skip(FailureClass::PermissionDenied, &bench.router, &bench.live);
    assert_eq!(bench.attempt(&mut journey).as_deref(), Some("c"));
    bench.finish(&mut journey, Outcome::Success(Success::default()));
    let idle = |d: &Deployment| d.live.in_flight() == 0 && d.live.cooling_until() == Micros(0);
    assert!(bench.router.deployments().iter().all(idle));
}
