//! simple-shuffle: at random, in proportion to weight, else rpm, else tpm, else all alike.

use super::{Choice, Rng, Strategy};
use crate::router::DeploymentSpec;

pub(super) struct SimpleShuffle;

impl Strategy for SimpleShuffle {
    fn name(&self) -> &'static str {
        "simple-shuffle"
    }

    fn choose(&self, choice: &Choice<'_>, rng: &mut Rng) -> usize {
        let share = |position: usize| {
            choice
                .candidates
                .get(position)
                .map_or(0.0, |c| choice.deployment(c).share)
        };
        let count = choice.candidates.len();
        let total: f64 = (0..count).map(share).sum();
        if total <= 0.0 {
            return rng.below(count);
        }
        let mut point = rng.unit() * total;
        let mut last = 0;
        for position in 0..count {
            if share(position) > 0.0 {
                last = position;
                if point < share(position) {
                    return position;
                }
                point -= share(position);
            }
        }
        last
    }
}

/// The share of each deployment of one group: its weight (1 where others have one and it has
/// none), else its rpm, else its tpm (the others' mean where it has none), else the same for all.
pub(in crate::router) fn shares(group: &[&DeploymentSpec]) -> Vec<f64> {
    let known = |value: fn(&DeploymentSpec) -> Option<f64>| -> Vec<f64> {
        group
            .iter()
            .filter_map(|deployment| value(deployment))
            .collect()
    };
    let of = |value: fn(&DeploymentSpec) -> Option<f64>, missing: f64| -> Vec<f64> {
        group
            .iter()
            .map(|d| value(d).filter(|v| *v >= 0.0).unwrap_or(missing))
            .collect()
    };
    if !known(|d| d.weight).is_empty() {
        return of(|d| d.weight, 1.0);
    }
    for value in [
        (|d: &DeploymentSpec| d.rpm.map(|n| n as f64)) as fn(&DeploymentSpec) -> Option<f64>,
        |d| d.tpm.map(|n| n as f64),
    ] {
        let values = known(value);
        if !values.is_empty() {
            return of(value, values.iter().sum::<f64>() / values.len() as f64);
        }
    }
    vec![1.0; group.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::testing::{chosen, deployment};
    use crate::router::{RouterSettings, RouterSpec};

    fn spec(fill: impl Fn(usize, &mut DeploymentSpec)) -> RouterSpec {
        let mut deployments = vec![
            deployment("a", "g"),
            deployment("b", "g"),
            deployment("c", "g"),
        ];
        deployments
            .iter_mut()
            .enumerate()
            .for_each(|(i, d)| fill(i, d));
        RouterSpec {
            deployments,
            settings: RouterSettings::default(),
            aliases: Vec::new(),
        }
    }

    fn check(spec: RouterSpec, expected: [f64; 3]) {
        let counts = chosen(spec, 10_000);
        for (count, expected) in counts.iter().zip(expected) {
            assert!(
                (*count as f64 / 10_000.0 - expected).abs() < 0.02,
                "{counts:?}"
            );
        }
    }

    #[test]
    fn weighted() {
        check(
            spec(|i, d| d.weight = [Some(7.0), Some(3.0), Some(0.0)][i]),
            [0.7, 0.3, 0.0],
        );
        check(
            spec(|i, d| d.weight = [Some(2.0), None, None][i]),
            [0.5, 0.25, 0.25],
        );
    }

    #[test]
    fn else_by_rpm_else_by_tpm_else_alike() {
        check(
            spec(|i, d| d.rpm = Some([100_000, 300_000, 0][i])),
            [0.25, 0.75, 0.0],
        );
        let tpm = [3_000_000_000, 1_000_000_000, 1_000_000_000];
        check(spec(|i, d| d.tpm = Some(tpm[i])), [0.6, 0.2, 0.2]);
        let third = 1.0 / 3.0;
        check(spec(|_, _| ()), [third, third, third]);
    }

    #[test]
    fn shares_of_those_without_a_number() {
        let mut a = deployment("a", "g");
        let b = deployment("b", "g");
        a.rpm = Some(50);
        assert_eq!(shares(&[&a, &b]), [50.0, 50.0]);
        a.weight = Some(4.0);
        assert_eq!(shares(&[&a, &b]), [4.0, 1.0]);
    }
}
