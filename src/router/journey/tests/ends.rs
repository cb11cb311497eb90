//! Timeouts, cooldowns, and how a request ends.

use super::*;

#[test]
fn timeout() {
    let settings = RouterSettings {
        timeout: secs(20),
        ..RouterSettings::default()
    };
    let mut bench = lone(settings);
    let mut journey = bench.start("g", Facts::default());
    let Step::Attempt(attempt) = bench.step(&mut journey) else {
        panic!("an attempt")
    };
    assert_eq!(attempt.timeout, secs(20));
    bench.now = bench.now.plus(secs(19));
    bench.finish(&mut journey, failure(FailureClass::InternalServer));
    let Step::Sleep(wait) = bench.step(&mut journey) else {
        panic!("a retry")
    };
    bench.now = bench.now.plus(wait);
    let Step::Attempt(attempt) = bench.step(&mut journey) else {
        panic!("an attempt")
    };
    assert!(attempt.timeout < secs(1), "what is left of the whole");
    bench.now = bench.now.plus(secs(1));
    bench.finish(&mut journey, failure(FailureClass::Timeout));
    let Step::Fail(end) = bench.step(&mut journey) else {
        panic!("the end")
    };
    assert_eq!((end.class, end.status), (FailureClass::Timeout, 408));
}

#[test]
fn which_timeout_holds_for_a_call() {
    let base = || RouterSettings {
        timeout: secs(100),
        ..RouterSettings::default()
    };
    let check = |settings, fill: &dyn Fn(&mut DeploymentSpec), facts: Facts, expected| {
        let mut spec = deployment("a", "g");
        fill(&mut spec);
        let mut bench = bench(vec![spec], settings);
        let mut journey = bench.start("g", facts);
        let Step::Attempt(attempt) = bench.step(&mut journey) else {
            panic!("an attempt")
        };
        assert_eq!(attempt.timeout, secs(expected));
    };
    let plain = Facts::default;
    let stream = || Facts {
        stream: true,
        ..Facts::default()
    };
    let own = |timeout| {
        wishing(Wishes {
            timeout: Some(secs(timeout)),
            ..Wishes::default()
        })
    };
    check(base(), &|_| (), plain(), 100);
    check(
        RouterSettings {
            timeout: secs(900),
            ..base()
        },
        &|_| (),
        plain(),
        600,
    );
    check(
        RouterSettings {
            request_timeout: Some(secs(7)),
            ..base()
        },
        &|_| (),
        plain(),
        7,
    );
    check(
        RouterSettings {
            stream_timeout: Some(secs(1200)),
            ..base()
        },
        &|_| (),
        stream(),
        1200,
    );
    check(
        RouterSettings {
            stream_timeout: Some(secs(1200)),
            ..base()
        },
        &|_| (),
        plain(),
        100,
    );
    check(base(), &|d| d.timeout = Some(secs(300)), plain(), 300);
    check(base(), &|d| d.timeout = Some(secs(3)), plain(), 3);
    check(base(), &|d| d.stream_timeout = Some(secs(4)), stream(), 4);
    check(base(), &|d| d.stream_timeout = Some(secs(4)), plain(), 100);
    check(base(), &|d| d.timeout = Some(secs(300)), own(5), 5);
    check(base(), &|_| (), own(200), 200);
}

#[test]
fn a_lone_deployment_without_allowed_fails_is_never_benched() {
    let mut bench = lone(no_retries());
    for _ in 0..30 {
        let run = bench.run("g", Facts::default(), FailureClass::InternalServer, &[]);
        assert_eq!(run.calls, ["a"]);
    }
}

#[test]
fn when_all_cool_down_the_answer_says_when_to_come_back() {
    let settings = RouterSettings {
        allowed_fails: Some(0),
        cooldown_time: secs(30),
        ..no_retries()
    };
    let mut bench = lone(settings);
    bench.run("g", Facts::default(), FailureClass::InternalServer, &[]);
    bench.now = bench.now.plus(secs(10));
    let run = bench.run("g", Facts::default(), FailureClass::InternalServer, &["a"]);
    let end = run.failure.expect("a failure");
    assert_eq!(
        (end.status, end.cause, end.retry_after_s),
        (429, Cause::Cooling, Some(20))
    );
    assert!(run.calls.is_empty());
    bench.now = bench.now.plus(secs(20));
    let run = bench.run("g", Facts::default(), FailureClass::InternalServer, &["a"]);
    assert_eq!(run.served.as_deref(), Some("a"));
}

#[test]
fn a_stream_that_broke_after_its_first_byte_moves_only_where_it_can_be_continued() {
    let check = |committed, expected: bool| {
        let mut bench = bench(
            vec![deployment("a", "g"), deployment("b", "g")],
            RouterSettings::default(),
        );
        let mut journey = bench.start(
            "g",
            Facts {
                stream: true,
                ..Facts::default()
            },
        );
        bench.attempt(&mut journey);
        let broken = Outcome::Failure {
            class: FailureClass::ApiConnection,
            status: None,
            retry_after: None,
            committed,
        };
        bench.finish(&mut journey, broken);
        assert_eq!(
            matches!(bench.step(&mut journey), Step::Attempt(_)),
            expected
        );
    };
    check(true, false);
    check(false, true);
}

#[test]
fn a_client_that_left_is_nobodys_failure() {
    let mut bench = bench(
        vec![deployment("a", "g"), deployment("b", "g")],
        RouterSettings {
            allowed_fails: Some(0),
            ..RouterSettings::default()
        },
    );
    let mut journey = bench.start("g", Facts::default());
    bench.attempt(&mut journey);
    bench.finish(&mut journey, Outcome::ClientGone);
    assert!(journey.is_over());
    let live = |ix| &bench.router.deployment(DeploymentIx(ix)).live;
    assert!((0..2).all(|ix| live(ix).in_flight() == 0 && live(ix).cooling_until() == Micros(0)));
}

#[test]
fn abandoning_gives_everything_back() {
    let mut spec = deployment("a", "g");
    spec.max_parallel = Some(1);
    let mut bench = bench(vec![spec], RouterSettings::default());
    let mut first = bench.start("g", Facts::default());
    bench.attempt(&mut first);
    let mut second = bench.start("g", Facts::default());
    assert!(matches!(bench.step(&mut second), Step::Wait(_)));
    second.abandon(&bench.router, &bench.live);
    first.abandon(&bench.router, &bench.live);
    first.abandon(&bench.router, &bench.live);
    let live = &bench.router.deployment(DeploymentIx(0)).live;
    assert_eq!((live.in_flight(), live.parallel.in_use()), (0, 0));
    assert!(!bench.live.anybody_waits());
}

#[test]
fn a_deployments_own_timeout_does_not_add_up_over_retries() {
    let spec = DeploymentSpec {
        timeout: Some(secs(8)),
        ..deployment("a", "g")
    };
    let settings = RouterSettings {
        timeout: secs(10),
        ..RouterSettings::default()
    };
    let mut bench = bench(vec![spec], settings);
    let mut journey = bench.start("g", Facts::default());
    let Step::Attempt(attempt) = bench.step(&mut journey) else {
        panic!("an attempt")
    };
    assert_eq!(attempt.timeout, secs(8));
    bench.now = bench.now.plus(secs(7));
    bench.finish(&mut journey, failure(FailureClass::InternalServer));
    let Step::Sleep(wait) = bench.step(&mut journey) else {
        panic!("a retry")
    };
    bench.now = bench.now.plus(wait);
    let Step::Attempt(attempt) = bench.step(&mut journey) else {
        panic!("an attempt")
    };
    assert_eq!(attempt.timeout, secs(3) - wait);
}
