//! Who may serve: tags, order, regions, abilities, health.

use super::*;

#[test]
fn enable_pre_call_checks() {
    let mut small = deployment("a", "g");
    small.context_window = Some(12);
    let large = DeploymentSpec {
        context_window: Some(100),
        ..deployment("b", "big")
    };
    let settings = RouterSettings {
        pre_call_checks: true,
        context_window_fallbacks: [(String::from("g"), vec![String::from("big")])].into(),
        ..no_retries()
    };
    let mut bench = bench(vec![small, large], settings);
    let mut run = |tokens, name: &str| {
        let facts = Facts {
            input_tokens: tokens,
            ..Facts::default()
        };
        bench.run(name, facts, FailureClass::InternalServer, &["a", "b"])
    };
    assert_eq!(run(12, "g").calls, ["a"]);
    assert_eq!(run(13, "g").calls, ["b"]);
    let end = run(101, "big").failure.expect("too long");
    assert_eq!((end.status, end.cause), (400, Cause::PromptTooLong));
    assert_eq!(end.class, FailureClass::ContextWindow);
}

#[test]
fn enable_tag_filtering() {
    let tagged = |id: &str, tags: &[&str]| DeploymentSpec {
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..deployment(id, "g")
    };
    let settings = || RouterSettings {
        tag_filtering: true,
        ..no_retries()
    };
    let check = |deployments: Vec<DeploymentSpec>, tags: &[&str], expected: &[&str]| {
        let mut bench = bench(deployments, settings());
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..64 {
            let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
            let facts = wishing(Wishes {
                tags,
                ..Wishes::default()
            });
            let run = bench.run("g", facts, FailureClass::InternalServer, &["a", "b", "c"]);
            match run.served {
                Some(id) => drop(seen.insert(id)),
                None => assert_eq!(run.failure.map(|f| f.status), Some(401)),
            }
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), expected);
    };
    let with_default = || vec![tagged("a", &["free"]), tagged("b", &["paid", "default"])];
    check(with_default(), &[], &["b"]);
    check(with_default(), &["free"], &["a", "b"]);
    check(with_default(), &["other"], &["b"]);
    let without = || vec![tagged("a", &["free"]), tagged("c", &["paid"])];
    check(without(), &[], &["a", "c"]);
    check(without(), &["paid"], &["c"]);
    check(without(), &["other"], &[]);
}

#[test]
fn order_goes_before_the_strategy() {
    let ordered = |id: &str, order| DeploymentSpec {
        order,
        ..deployment(id, "g")
    };
    let all = vec![
        ordered("a", Some(2)),
        ordered("b", Some(1)),
        ordered("c", None),
    ];
    let mut bench = bench(all, RouterSettings::default());
    for _ in 0..20 {
        let run = bench.run(
            "g",
            Facts::default(),
            FailureClass::RateLimit,
            &["a", "b", "c"],
        );
        assert_eq!(run.served.as_deref(), Some("b"));
    }
    let run = bench.run("g", Facts::default(), FailureClass::InternalServer, &["c"]);
    assert_eq!(run.calls, ["b", "a", "c"]);
}

#[test]
fn a_region_is_kept_to() {
    let in_region = |id: &str, region: Option<&str>| DeploymentSpec {
        region: region.map(str::to_owned),
        ..deployment(id, "g")
    };
    let all = vec![
        in_region("a", Some("us-east-1")),
        in_region("b", Some("eu-west-3")),
        in_region("c", None),
    ];
    let mut bench = bench(all, no_retries());
    let mut run = |region: &str| {
        let facts = wishing(Wishes {
            region: Some(region.to_owned()),
            ..Wishes::default()
        });
        bench.run("g", facts, FailureClass::InternalServer, &["a", "b", "c"])
    };
    assert_eq!(run("eu").served.as_deref(), Some("b"));
    assert_eq!(run("us-east-1").served.as_deref(), Some("a"));
    assert_eq!(
        run("asia").failure.map(|f| f.cause),
        Some(Cause::RegionDenied)
    );
}

#[test]
fn one_that_can_goes_before_one_that_cannot() {
    let blind = DeploymentSpec {
        lacks: Needs::VISION,
        ..deployment("a", "g")
    };
    let facts = || Facts {
        needs: Needs::VISION.and(Needs::TOOLS),
        ..Facts::default()
    };
    let mut bench = bench(vec![blind, deployment("b", "g")], no_retries());
    for _ in 0..20 {
        let run = bench.run("g", facts(), FailureClass::InternalServer, &["a", "b"]);
        assert_eq!(run.served.as_deref(), Some("b"));
    }
}

#[test]
fn an_unhealthy_one_serves_only_when_no_other_can() {
    let mut bench = bench(
        vec![deployment("a", "g"), deployment("b", "g")],
        no_retries(),
    );
    bench
        .router
        .deployment(DeploymentIx(0))
        .live
        .set_healthy(false);
    for _ in 0..20 {
        let run = bench.run(
            "g",
            Facts::default(),
            FailureClass::InternalServer,
            &["a", "b"],
        );
        assert_eq!(run.served.as_deref(), Some("b"));
    }
    bench
        .router
        .deployment(DeploymentIx(1))
        .live
        .cool_until(Micros::NEVER);
    let run = bench.run(
        "g",
        Facts::default(),
        FailureClass::InternalServer,
        &["a", "b"],
    );
    assert_eq!(run.served.as_deref(), Some("a"));
}

#[test]
fn a_call_by_id_goes_through_the_same_checks() {
    let mut spec = deployment("a", "g");
    spec.rpm = Some(1);
    let mut bench = bench(vec![spec, deployment("b", "g")], RouterSettings::default());
    assert_eq!(
        bench
            .run("a", Facts::default(), FailureClass::Timeout, &["a"])
            .calls,
        ["a"]
    );
    let run = bench.run("a", Facts::default(), FailureClass::Timeout, &["a", "b"]);
    assert_eq!(run.failure.map(|f| f.cause), Some(Cause::LimitReached));
}

#[test]
fn optional_pre_call_checks_prompt_caching() {
    let caching = |id: &str| DeploymentSpec {
        caches_prompts: true,
        ..deployment(id, "g")
    };
    let settings = RouterSettings {
        prompt_caching: true,
        ..no_retries()
    };
    let mut bench = bench(vec![caching("a"), caching("b"), caching("c")], settings);
    let facts = || Facts {
        prompt: Some(99),
        ..Facts::default()
    };
    let all = ["a", "b", "c"];
    let first = bench.run("g", facts(), FailureClass::Timeout, &all).served;
    for _ in 0..20 {
        assert_eq!(
            bench.run("g", facts(), FailureClass::Timeout, &all).served,
            first
        );
    }
}

#[test]
fn a_patterns_stars_are_filled() {
    let mut spec = deployment("a", "openai/*");
    spec.model = String::from("openai/*");
    let mut bench = bench(vec![spec], RouterSettings::default());
    let mut journey = bench.start("openai/gpt-x", Facts::default());
    let Step::Attempt(attempt) = bench.step(&mut journey) else {
        panic!("an attempt")
    };
    assert_eq!(
        journey.upstream_model(&bench.router, attempt.deployment),
        "openai/gpt-x"
    );
}
