//! Two attempts side by side.

use super::*;

fn pair(hedging: bool) -> Bench {
    let deployments = vec![deployment("a", "g"), deployment("b", "g")];
    let settings = RouterSettings {
        hedging,
        ..RouterSettings::default()
    };
    bench(deployments, settings)
}

/// A request whose first attempt is on `a`, whose answers usually begin within about 100 ms.
fn late_on_a(bench: &mut Bench) -> (Journey, Attempt) {
    for ix in [0, 1] {
        let cell = bench.router.deployment(DeploymentIx(ix)).live.cell(0);
        (0..1_000).for_each(|_| cell.note_first_byte(Duration::from_millis(100)));
    }
    loop {
        let mut journey = bench.start("g", Facts::default());
        match bench.step(&mut journey) {
            Step::Attempt(attempt) if attempt.deployment.0 == 0 => return (journey, attempt),
            _ => bench.finish(&mut journey, Outcome::ClientGone),
        }
    }
}

fn in_flight(bench: &Bench) -> [u32; 2] {
    [0, 1].map(|ix| bench.router.deployment(DeploymentIx(ix)).live.in_flight())
}

impl Bench {
    fn hedge(&mut self, journey: &mut Journey) -> Option<Attempt> {
        journey.hedge(&self.router, &self.live, self.now, &mut self.rng)
    }
}

#[test]
fn hedging_is_off_by_default() {
    let mut bench = pair(false);
    let (mut journey, attempt) = late_on_a(&mut bench);
    assert_eq!(attempt.hedge_after, None);
    bench.finish(&mut journey, Outcome::ClientGone);
}

#[test]
fn the_second_attempt_goes_elsewhere_and_the_winner_stays() {
    let mut bench = pair(true);
    let (mut journey, attempt) = late_on_a(&mut bench);
    let after = attempt.hedge_after.expect("a time");
    assert!((90..110).contains(&after.as_millis()), "{after:?}");
    bench.now = bench.now.plus(after);
    let second = bench.hedge(&mut journey).expect("a second attempt");
    assert_eq!(second.deployment, DeploymentIx(1));
    assert_eq!(in_flight(&bench), [1, 1]);
    assert_eq!(bench.hedge(&mut journey), None, "never a third");
    journey.hedge_won(Side::Second, &bench.router, &bench.live, bench.now);
    assert_eq!(in_flight(&bench), [0, 1]);
    bench.finish(&mut journey, Outcome::Success(Success::default()));
    assert_eq!(in_flight(&bench), [0, 0]);
    assert!(journey.is_over());
}

#[test]
fn a_failure_leaves_the_other_alone_and_counts() {
    for side in [Side::First, Side::Second] {
        let mut bench = pair(true);
        let (mut journey, attempt) = late_on_a(&mut bench);
        bench.now = bench.now.plus(attempt.hedge_after.expect("a time"));
        bench.hedge(&mut journey).expect("a second attempt");
        let class = FailureClass::InternalServer;
        journey.hedge_failed(side, class, None, &bench.router, &bench.live, bench.now);
        let failed = usize::from(side == Side::Second);
        let mut expected = [1, 1];
        expected[failed] = 0;
        assert_eq!(in_flight(&bench), expected);
        let totals = bench.router.deployments()[failed].live.totals();
        assert_eq!(totals.1, 1, "a failure of the one that failed");
        bench.finish(&mut journey, Outcome::Success(Success::default()));
        assert_eq!(in_flight(&bench), [0, 0]);
    }
}

#[test]
fn a_client_that_leaves_ends_both() {
    let mut bench = pair(true);
    let (mut journey, attempt) = late_on_a(&mut bench);
    bench.now = bench.now.plus(attempt.hedge_after.expect("a time"));
    bench.hedge(&mut journey).expect("a second attempt");
    bench.finish(&mut journey, Outcome::ClientGone);
    assert_eq!(in_flight(&bench), [0, 0]);
}

#[test]
fn hedging_stays_within_the_retry_budget_and_limits() {
    let mut bench = pair(true);
    let (_, attempt) = late_on_a(&mut bench);
    bench.now = bench.now.plus(attempt.hedge_after.expect("a time"));
    let mut made = 0;
    for _ in 0..40 {
        let mut journey = bench.start("g", Facts::default());
        assert!(matches!(bench.step(&mut journey), Step::Attempt(_)));
        made += usize::from(bench.hedge(&mut journey).is_some());
        journey.abandon(&bench.router, &bench.live);
    }
    assert!(
        (10..=12).contains(&made),
        "ten a second, or a fifth: {made}"
    );
    assert_eq!(in_flight(&bench)[1], 0);
}
