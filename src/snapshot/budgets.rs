//! Budgets of providers and of deployments: what calls there may cost in a period. Whoever has spent
//! his is passed over until the period ends; the coordinator begins the next one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use shardgate_config::{Config, ModelEntry, ProviderBudget};

use super::Deployment;
use crate::auth::calendar::Span;
use crate::coordinator::Lasting;
use crate::limit::{Meter, Nano, nano};

/// Whose budget it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spender {
    /// All deployments of a provider.
    Provider(String),
    /// One deployment, by its id.
    Deployment(String),
}

/// A budget that calls to a deployment count against.
#[derive(Clone, Debug)]
pub struct SpendLimit {
    /// Whose.
    pub spender: Spender,
    /// What was spent in the period.
    pub meter: Arc<Meter>,
    /// What may be spent.
    pub max: Nano,
    /// The period.
    pub span: Span,
    /// The same as it was written.
    pub period: String,
}

/// Meters by name, over reloads.
#[derive(Debug, Default)]
pub struct Meters(Mutex<HashMap<String, Arc<Meter>>>);

impl Meters {
    fn of(&self, name: String) -> Arc<Meter> {
        let mut meters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        meters.entry(name).or_default().clone()
    }
}

impl SpendLimit {
    fn new(spender: Spender, max: f64, period: &str, meters: &Meters) -> Option<SpendLimit> {
        let span: Span = period.parse().ok()?;
        let name = match &spender {
            Spender::Provider(name) => format!("provider:{name}:{period}"),
            Spender::Deployment(id) => format!("deployment:{id}:{period}"),
        };
        Some(SpendLimit {
            spender,
            meter: meters.of(name),
            max: nano(max),
            span,
            period: period.to_owned(),
        })
    }

    /// Nothing more may be spent.
    pub fn is_spent(&self) -> bool {
        self.meter.spent() >= self.max
    }
}

/// Everything that binds one deployment.
pub(super) fn of_deployment(
    config: &Config,
    entry: &ModelEntry,
    deployment: &Deployment,
    lasting: &Lasting,
) -> Vec<SpendLimit> {
    const PERIOD: &str = "30d";
    let (provider, id) = (deployment.target.entry.name, &deployment.id);
    let meters = &lasting.spenders;
    let mut limits = Vec::new();
    if let Some(max) = entry.number("max_budget") {
        let period = entry.text("budget_duration").unwrap_or(PERIOD);
        let spender = Spender::Deployment(id.to_owned());
        limits.extend(SpendLimit::new(spender, max, period, meters));
    }
    if let Some(budget) = config.provider_budgets().get(provider) {
        for (max, period) in periods(budget) {
            let spender = Spender::Provider(provider.to_owned());
            limits.extend(SpendLimit::new(spender, max, period, meters));
        }
    }
    limits
}

fn periods(budget: &ProviderBudget) -> Vec<(f64, &str)> {
    let period = budget
        .budget_duration
        .as_deref()
        .or(budget.time_period.as_deref());
    let own = budget.max_budget.or(budget.budget_limit);
    [
        own.map(|max| (max, period.unwrap_or("1d"))),
        budget.daily_budget.map(|max| (max, "1d")),
        budget.monthly_budget.map(|max| (max, "1mo")),
    ]
    .into_iter()
    .flatten()
    .collect()
}
