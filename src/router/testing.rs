//! Small routers for the unit tests of this module.

use super::*;

pub(super) fn deployment(id: &str, group: &str) -> DeploymentSpec {
    DeploymentSpec {
        id: id.to_owned(),
        group: group.to_owned(),
        model: format!("openai/{id}"),
        provider: String::from("openai"),
        ..DeploymentSpec::default()
    }
}

pub(super) fn router(spec: RouterSpec) -> Router {
    Router::new(spec, &mut Registry::new(2))
}

/// How often each deployment is chosen in so many requests to group `g`, each ended at once, in
/// turn on two shards.
pub(super) fn chosen(spec: RouterSpec, requests: usize) -> Vec<u32> {
    let router = router(spec);
    let lives = [Live::new(0), Live::new(1)];
    let mut rng = Rng::new(11);
    let mut counts = vec![0; router.deployments().len()];
    for request in 0..requests {
        let live = &lives[request % 2];
        let now = Micros(request as u64);
        let resolution = router.resolve("g");
        let mut journey =
            Journey::new(&router, "g", resolution, Facts::default(), now).expect("a group");
        match journey.step(&router, live, now, &mut rng) {
            Step::Attempt(attempt) => counts[attempt.deployment.0 as usize] += 1,
            other => panic!("{other:?}"),
        }
        let success = Outcome::Success(Success::default());
        journey.finished(success, &router, live, now, &mut rng);
    }
    counts
}
