//! The journey, one behaviour a test. Rows of router_settings are named after their parameter.

use super::testing::deployment;
use super::*;
use std::time::Duration;

/// A router with one request at a time on its way, on a clock of its own.
struct Bench {
    router: Router,
    live: Live,
    rng: Rng,
    now: Micros,
}

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn bench(deployments: Vec<DeploymentSpec>, settings: RouterSettings) -> Bench {
    let spec = RouterSpec {
        deployments,
        settings,
        aliases: Vec::new(),
    };
    Bench {
        router: super::testing::router(spec),
        live: Live::new(0),
        rng: Rng::new(5),
        now: Micros(1_000_000),
    }
}

fn failure(class: FailureClass) -> Outcome {
    Outcome::Failure {
        class,
        status: None,
        retry_after: None,
        committed: false,
    }
}

impl Bench {
    fn start(&self, name: &str, facts: Facts) -> Journey {
        let resolution = self.router.resolve(name);
        Journey::new(&self.router, name, resolution, facts, self.now).expect("a known name")
    }

    fn step(&mut self, journey: &mut Journey) -> Step {
        journey.step(&self.router, &self.live, self.now, &mut self.rng)
    }

    fn finish(&mut self, journey: &mut Journey, outcome: Outcome) {
        journey.finished(outcome, &self.router, &self.live, self.now, &mut self.rng);
    }

    /// The deployment of the next attempt; sleeps as told.
    fn attempt(&mut self, journey: &mut Journey) -> Option<String> {
        loop {
            match self.step(journey) {
                Step::Attempt(attempt) => {
                    return Some(self.router.deployment(attempt.deployment).spec.id.clone());
                }
                Step::Sleep(wait) => self.now = self.now.plus(wait),
                Step::Wait(wait) => panic!("{wait:?}"),
                Step::Fail(_) => return None,
            }
        }
    }

    /// Runs a request to its end: `ok` says which deployments serve, the others fail so.
    fn run(&mut self, name: &str, facts: Facts, class: FailureClass, ok: &[&str]) -> Run {
        let mut journey = self.start(name, facts);
        let began = self.now;
        let mut calls = Vec::new();
        let served = loop {
            let Some(id) = self.attempt(&mut journey) else {
                break None;
            };
            calls.push(id.clone());
            if ok.contains(&id.as_str()) {
                self.finish(&mut journey, Outcome::Success(Success::default()));
                break Some(id);
            }
            self.finish(&mut journey, failure(class));
        };
        let failure = match served {
            Some(_) => None,
            None => journey.failure_for_tests(),
        };
        Run {
            calls,
            served,
            failure,
            took: self.now.since(began),
            retries: journey.attempted_retries(),
            fallbacks: journey.attempted_fallbacks(),
        }
    }
}

struct Run {
    calls: Vec<String>,
    served: Option<String>,
    failure: Option<Failure>,
    took: Duration,
    retries: u32,
    fallbacks: u32,
}

impl Journey {
    fn failure_for_tests(&mut self) -> Option<Failure> {
        assert!(self.is_over());
        Some(self.last_failure())
    }
}

fn lone(settings: RouterSettings) -> Bench {
    bench(vec![deployment("a", "g")], settings)
}

fn chain(settings: RouterSettings) -> Bench {
    let groups = ["a", "b", "c", "d", "e", "f", "x"];
    bench(
        groups
            .iter()
            .map(|g| deployment(g, &format!("group-{g}")))
            .collect(),
        settings,
    )
}

fn table(entries: &[(&str, &[&str])]) -> FallbackTable {
    let owned = |names: &[&str]| names.iter().map(|name| format!("group-{name}")).collect();
    let name = |group: &str| match group {
        "*" => String::from("*"),
        group => format!("group-{group}"),
    };
    entries
        .iter()
        .map(|(group, names)| (name(group), owned(names)))
        .collect()
}

fn no_retries() -> RouterSettings {
    RouterSettings {
        num_retries: Some(0),
        ..RouterSettings::default()
    }
}

#[test]
fn num_retries() {
    let settings = RouterSettings {
        num_retries: Some(2),
        ..RouterSettings::default()
    };
    let check = |class, asked, calls| {
        let facts = Facts {
            num_retries: asked,
            ..Facts::default()
        };
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
    let facts = Facts {
        max_fallbacks: Some(1),
        ..Facts::default()
    };
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
    let facts = Facts {
        fallbacks: Some(own),
        ..Facts::default()
    };
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
    let facts = Facts {
        disable_fallbacks: true,
        ..Facts::default()
    };
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
        let facts = Facts {
            mock: Some(mock),
            ..Facts::default()
        };
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
    let router = super::testing::router(spec);
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
    let own = |timeout| Facts {
        timeout: Some(secs(timeout)),
        ..Facts::default()
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
fn rpm_is_exact_over_shards_and_windows() {
    let mut spec = deployment("a", "g");
    spec.rpm = Some(60);
    let mut bench = bench(vec![spec], RouterSettings::default());
    for window in 0..3u64 {
        bench.now = Micros(1_000_000 + window * 61_000_000);
        let mut served = 0;
        for request in 0..240 {
            bench.live = Live::new(request % 2);
            let run = bench.run("g", Facts::default(), FailureClass::RateLimit, &["a"]);
            served += u32::from(run.served.is_some());
            if let Some(end) = run.failure {
                assert_eq!((end.status, end.cause), (429, Cause::LimitReached));
                assert_eq!(end.retry_after_s, Some(60));
                assert_eq!(served, 60, "none is refused early");
            }
        }
        assert_eq!(served, 60);
    }
}

#[test]
fn tpm_is_reserved_before_and_settled_after() {
    let mut spec = deployment("a", "g");
    spec.tpm = Some(100);
    let mut bench = bench(vec![spec], RouterSettings::default());
    let facts = || Facts {
        input_tokens: 60,
        ..Facts::default()
    };
    let mut first = bench.start("g", facts());
    bench.attempt(&mut first);
    let mut second = bench.start("g", facts());
    assert!(matches!(bench.step(&mut second), Step::Fail(end) if end.status == 429));
    let used = Success {
        input_tokens: Some(20),
        output_tokens: Some(10),
        ..Success::default()
    };
    bench.finish(&mut first, Outcome::Success(used));
    let mut third = bench.start(
        "g",
        Facts {
            input_tokens: 55,
            ..Facts::default()
        },
    );
    assert!(matches!(bench.step(&mut third), Step::Attempt(_)));
}

#[test]
fn a_full_deployment_is_skipped() {
    let mut small = deployment("a", "g");
    small.rpm = Some(1);
    small.order = Some(1);
    let mut bench = bench(vec![small, deployment("b", "g")], RouterSettings::default());
    let served = |bench: &mut Bench| {
        let run = bench.run("g", Facts::default(), FailureClass::RateLimit, &["a", "b"]);
        run.served.expect("served")
    };
    assert_eq!(served(&mut bench), "a");
    assert_eq!(served(&mut bench), "b");
}

#[test]
fn max_parallel_requests_waits_and_is_woken() {
    let mut spec = deployment("a", "g");
    spec.max_parallel = Some(1);
    let mut bench = bench(
        vec![spec],
        RouterSettings {
            timeout: secs(9),
            ..no_retries()
        },
    );
    let mut first = bench.start("g", Facts::default());
    bench.attempt(&mut first);
    let mut waiting: Vec<(WaitId, Journey)> = Vec::new();
    for priority in [5, 0, 5] {
        let mut journey = bench.start(
            "g",
            Facts {
                priority: Some(priority),
                ..Facts::default()
            },
        );
        let Step::Wait(wait) = bench.step(&mut journey) else {
            panic!("a wait")
        };
        waiting.push((wait.id, journey));
    }
    assert_eq!(bench.live.woken(bench.now), None);
    let order = [waiting[1].0, waiting[0].0, waiting[2].0];
    let mut running = first;
    for expected in order {
        bench.finish(&mut running, Outcome::Success(Success::default()));
        assert_eq!(bench.live.woken(bench.now), Some(expected));
        let at = waiting
            .iter()
            .position(|(id, _)| *id == expected)
            .expect("known");
        let (_, mut journey) = waiting.remove(at);
        assert!(bench.attempt(&mut journey).is_some());
        running = journey;
    }
}

#[test]
fn whoever_waits_too_long_gets_429() {
    let mut spec = deployment("a", "g");
    spec.max_parallel = Some(1);
    let settings = RouterSettings {
        timeout: secs(9),
        queue_max: 1,
        ..no_retries()
    };
    let mut bench = bench(vec![spec], settings);
    let mut first = bench.start("g", Facts::default());
    bench.attempt(&mut first);
    let mut second = bench.start("g", Facts::default());
    assert!(matches!(bench.step(&mut second), Step::Wait(_)));
    let mut third = bench.start("g", Facts::default());
    let Step::Fail(end) = bench.step(&mut third) else {
        panic!("a full queue")
    };
    assert_eq!((end.status, end.cause), (429, Cause::QueueFull));
    bench.now = bench.now.plus(secs(9));
    let Step::Fail(end) = bench.step(&mut second) else {
        panic!("too long")
    };
    assert_eq!((end.status, end.cause), (429, Cause::NoSlot));
    assert!(!bench.live.anybody_waits());
}

#[test]
fn default_priority_waits_for_a_window_too() {
    let mut spec = deployment("a", "g");
    spec.rpm = Some(1);
    let settings = RouterSettings {
        default_priority: Some(3),
        ..no_retries()
    };
    let mut bench = bench(vec![spec], settings);
    bench.run("g", Facts::default(), FailureClass::RateLimit, &["a"]);
    let mut journey = bench.start("g", Facts::default());
    let Step::Wait(wait) = bench.step(&mut journey) else {
        panic!("a wait")
    };
    bench.now = bench.now.plus(secs(59));
    assert_eq!(bench.live.woken(bench.now), None);
    bench.now = bench.now.plus(secs(1));
    assert_eq!(bench.live.woken(bench.now), Some(wait.id));
    assert!(matches!(bench.step(&mut journey), Step::Attempt(_)));
}

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
            let facts = Facts {
                tags,
                ..Facts::default()
            };
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
        let facts = Facts {
            region: Some(region.to_owned()),
            ..Facts::default()
        };
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
fn a_stream_that_broke_after_its_first_byte_moves_only_where_that_is_wanted() {
    let check = |mid_stream_fallback, expected: bool| {
        let settings = RouterSettings {
            mid_stream_fallback,
            ..RouterSettings::default()
        };
        let mut bench = bench(vec![deployment("a", "g"), deployment("b", "g")], settings);
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
            committed: true,
        };
        bench.finish(&mut journey, broken);
        assert_eq!(
            matches!(bench.step(&mut journey), Step::Attempt(_)),
            expected
        );
    };
    check(false, false);
    check(true, true);
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
