//! Limits, and waiting for a slot.

use super::*;

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
            wishing(Wishes {
                priority: Some(priority),
                ..Wishes::default()
            }),
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
