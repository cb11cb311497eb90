//! `priority_reservation`: what a priority keeps of a model's requests and tokens a minute. While the model
//! is used up to `saturation_threshold` only, a priority may take more than its share; from there on its
//! share is all that it gets. Keys say theirs in `metadata.priority`; all others share `default_priority`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;

use super::account::{Account, Demand, Limit, Moment, Permit, Refused};
use super::counters::Counters;
use crate::auth::caller::Caller;
use crate::limit::Window;

/// What the configuration says of priorities, and what models have.
#[derive(Clone, Debug, Default)]
pub struct Priorities {
    /// Shares by priority, up to 1.
    pub weights: BTreeMap<String, f64>,
    /// The share of all who have no such priority.
    pub default: f64,
    /// Up to this share of a model's limit nobody is kept to his own.
    pub threshold: f64,
    /// Model groups with their requests and tokens a minute, over all deployments.
    pub models: Vec<(String, Option<u64>, Option<u64>)>,
}

/// What one priority has of each model.
#[derive(Debug)]
pub struct Shares {
    by_model: HashMap<String, [Option<Share>; 2]>,
    threshold: f64,
}

/// A share of one limit.
#[derive(Debug)]
struct Share {
    /// The model's limit, of which all take.
    whole: Arc<Window>,
    /// The priority's own part.
    own: Limit,
}

impl Priorities {
    /// Without any that is configured, nobody has shares.
    pub(super) fn shares(&self, counters: &Counters) -> BTreeMap<String, Arc<Shares>> {
        let total: f64 = self.weights.values().sum();
        let scale = if total > 1.0 { total } else { 1.0 };
        let named = self.weights.iter();
        let mut all: BTreeMap<String, Arc<Shares>> = named
            .map(|(name, weight)| (name.clone(), self.of(name, weight / scale, counters)))
            .collect();
        if !all.is_empty() {
            let rest = self.of(DEFAULT, self.default, counters);
            all.insert(String::new(), rest);
        }
        all
    }

    fn of(&self, name: &str, weight: f64, counters: &Counters) -> Arc<Shares> {
        let share = |model: &str, unit: &str, limit: Option<u64>| {
            let whole = limit?;
            // Who has a share at all can make one call.
            let own = ((whole as f64 * weight) as u64).max(1);
            let own = counters.window(format!("priority:{name}:{model}:{unit}"), own);
            let (requests, tokens) = match unit {
                "rpm" => (Some(own), None),
                _ => (None, Some(own)),
            };
            Some(Share {
                whole: counters.window(format!("model_capacity:{model}:{unit}"), whole),
                own: Limit {
                    scope: "priority_model",
                    value: format!("{name}:{model}"),
                    model: None,
                    requests,
                    tokens,
                    parallel: None,
                },
            })
        };
        let each = self.models.iter().map(|(model, rpm, tpm)| {
            let shares = [share(model, "rpm", *rpm), share(model, "tpm", *tpm)];
            (model.clone(), shares)
        });
        Arc::new(Shares {
            by_model: each.collect(),
            threshold: self.threshold,
        })
    }
}

/// How those without a priority are called in errors.
const DEFAULT: &str = "default";

/// The shares of a caller: of its key's priority, or else its team's.
pub(super) fn of_caller(
    caller: &Caller,
    shares: &BTreeMap<String, Arc<Shares>>,
) -> Option<Arc<Shares>> {
    let named = |metadata: &serde_json::Map<String, Value>| {
        let name = metadata.get("priority").and_then(Value::as_str)?;
        shares.get(name)
    };
    let own = named(&caller.metadata).or_else(|| named(&caller.team_metadata));
    own.or_else(|| shares.get("")).cloned()
}

impl Shares {
    /// Takes what a request needs of its model's limits.
    ///
    /// # Errors
    /// The priority's share is used up and the model is used beyond the threshold, or used up whole.
    pub(super) fn take(
        &self,
        permit: &mut Permit,
        shard: usize,
        moment: Moment,
        demand: Demand<'_>,
    ) -> Result<(), Refused> {
        let Some(shares) = self.by_model.get(demand.model) else {
            return Ok(());
        };
        for share in shares.iter().flatten() {
            let taken = share.own.take(permit, shard, moment, demand);
            let used = share.whole.used(moment.now) as f64;
            let is_calm = used < self.threshold * share.whole.limit() as f64;
            match taken {
                Err(refused) if !is_calm => return Err(refused),
                _ => share
                    .own
                    .take_of(&share.whole, permit, shard, moment, demand)?,
            }
        }
        Ok(())
    }
}

impl Account {
    /// Takes what the account's priority needs to.
    pub(super) fn take_share(
        &self,
        permit: &mut Permit,
        shard: usize,
        moment: Moment,
        demand: Demand<'_>,
    ) -> Result<(), Refused> {
        match &self.shares {
            None => Ok(()),
            Some(shares) => shares.take(permit, shard, moment, demand),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::Micros;

    fn priorities(weights: &[(&str, f64)]) -> Priorities {
        Priorities {
            weights: weights.iter().map(|(n, w)| ((*n).to_owned(), *w)).collect(),
            default: 0.1,
            threshold: 0.5,
            models: vec![("m".to_owned(), Some(10), None)],
        }
    }

    fn admitted(shares: &Arc<Shares>, model: &str) -> bool {
        let moment = Moment {
            now: Micros(1_000_000),
            wall_us: 1_700_000_000_000_000,
        };
        let demand = Demand {
            model,
            tokens: 1,
            worst: None,
        };
        let mut permit = Permit::default();
        let taken = shares.take(&mut permit, 0, moment, demand).is_ok();
        if taken {
            permit.settle(1, 0);
        }
        taken
    }

    #[test]
    fn a_share_is_kept_once_the_model_is_busy() {
        let counters = Counters::new(1, None);
        let shares = priorities(&[("prod", 0.8), ("dev", 0.2)]).shares(&counters);
        let (prod, dev) = (&shares["prod"], &shares["dev"]);
        let of_dev = (0..10).filter(|_| admitted(dev, "m")).count();
        assert_eq!(
            of_dev, 5,
            "it takes more than its share of 2 up to the threshold of 5"
        );
        let of_prod = (0..10).filter(|_| admitted(prod, "m")).count();
        assert_eq!(of_prod, 5, "what is left is kept for the other");
        assert!(admitted(dev, "a model without limits"));
    }

    #[test]
    fn who_has_no_priority_shares_the_default() {
        let counters = Counters::new(1, None);
        assert!(priorities(&[]).shares(&counters).is_empty());
        let shares = priorities(&[("prod", 3.0), ("dev", 1.0)]).shares(&counters);
        let caller = |name: &str| {
            let mut caller = Caller::default();
            caller.metadata.insert("priority".to_owned(), name.into());
            of_caller(&caller, &shares)
        };
        assert!(Arc::ptr_eq(&caller("nobody's").unwrap(), &shares[""]));
        assert!(Arc::ptr_eq(&caller("dev").unwrap(), &shares["dev"]));
        // Weights beyond 1 are parts of their sum: 7 of 10.
        let prod = (0..10).filter(|_| admitted(&shares["prod"], "m")).count();
        assert_eq!(prod, 7);
    }
}
