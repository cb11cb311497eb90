//! A deployment's prices, ready to turn what a call used into what it costs.
//!
//! Made with the snapshot: the look-up in the price table has happened, the deployment's own prices
//! are on top. Only an answer that names another model than the deployment's costs a look-up.

use std::sync::Arc;

use super::cost::{self, Cost, Residency, Terms};
use super::money::{Money, Repr};
use super::price::{Kind, PriceTable, Prices, Query};
use super::usage::{Quantities, Tier};

/// What a [`Meter`] is made from; texts as the deployment's configuration has them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Priced<'a> {
    /// Provider, model, `base_model` and region.
    pub query: Query<'a>,
    /// Prices in `litellm_params`, as [`Prices::from_fields`] reads them.
    pub params: Option<&'a Prices>,
    /// Prices, limits and abilities in `model_info`.
    pub model_info: Option<&'a Prices>,
    /// What the contract says.
    pub terms: Terms,
}

/// What a deployment costs.
#[derive(Clone, Debug)]
pub struct Meter {
    prices: Arc<Prices>,
    terms: Terms,
    answered: Option<Answered>,
    is_timed: bool,
}

/// How to price an answer by the model it names.
#[derive(Clone, Debug)]
struct Answered {
    table: Arc<PriceTable>,
    provider: Box<str>,
    /// The deployment's model as the provider knows it.
    model: Box<str>,
}

impl Meter {
    /// Looks the deployment's prices up.
    #[must_use]
    pub fn new(table: &Arc<PriceTable>, deployment: &Priced<'_>) -> Meter {
        let query = deployment.query;
        let found = table.find(query).cloned().unwrap_or_default();
        let with = |prices: Prices, own: Option<&Prices>| match own {
            Some(own) => prices.with(own),
            None => prices,
        };
        let prices = with(with(found, deployment.params), deployment.model_info);
        let sets = |own: Option<&Prices>| own.is_some_and(Prices::has_rates);
        let own = sets(deployment.params) || sets(deployment.model_info);
        let mut terms = deployment.terms;
        // OpenRouter bills what the model behind it costs at that moment, and says so.
        terms.trust_stated |= query.provider == "openrouter" && !own;
        if query.provider.starts_with("vertex_ai")
            && query
                .region
                .is_some_and(|region| !region.is_empty() && region != "global")
        {
            terms.residency = Residency::Regional;
        }
        let fixed = own || query.base_model.is_some_and(|base| !base.is_empty());
        let answered = (!fixed).then(|| Answered {
            table: Arc::clone(table),
            provider: query.provider.into(),
            model: bare(query.provider, query.model).into(),
        });
        let timed = [Kind::SecondWall, Kind::SecondIn, Kind::SecondOut];
        let is_timed = timed.iter().any(|kind| prices.usual(*kind).is_some());
        Meter {
            is_timed,
            prices: Arc::new(prices),
            terms,
            answered,
        }
    }

    /// The deployment's prices, limits and abilities.
    #[must_use]
    pub fn prices(&self) -> &Prices {
        &self.prices
    }

    /// Its prices ask for the time that a call takes.
    #[must_use]
    pub fn is_timed(&self) -> bool {
        self.is_timed
    }

    /// What a call costs at the deployment's prices.
    #[must_use]
    pub fn cost(&self, used: &Quantities) -> Cost {
        cost::cost(&self.prices, used, &self.terms)
    }

    /// What a call costs whose answer names `model`: at that model's prices when the table knows
    /// it, as LiteLLM does, so that a router model or an alias is billed as what served it. Own
    /// prices and `base_model` win over that.
    #[must_use]
    pub fn cost_answered(&self, used: &Quantities, model: &str) -> Cost {
        let other = self
            .answered
            .as_ref()
            .filter(|own| !model.is_empty() && *own.model != *model);
        let found = other.and_then(|own| {
            own.table.find(Query {
                provider: &own.provider,
                model,
                ..Query::default()
            })
        });
        cost::cost(found.unwrap_or(&self.prices), used, &self.terms)
    }

    /// The most that a call of text may cost, for reserving budget before it: every input token
    /// written to a cache if that is dearer than reading it, `output_max` tokens of reasoning if
    /// that is dearer than plain ones. Tokens of audio and images, and tools, are settled after.
    #[must_use]
    pub fn worst_case(&self, prompt: u64, output_max: u64) -> Money {
        let dearest = |kinds: &[Kind]| {
            let prices = kinds
                .iter()
                .filter_map(|kind| self.prices.rate(*kind, Tier::Standard, prompt));
            prices.max().unwrap_or_default()
        };
        let input = dearest(&[Kind::Input, Kind::CacheWrite, Kind::CacheWrite1h]).times(prompt);
        let output = dearest(&[Kind::Output, Kind::Reasoning]).times(output_max);
        let request = self.prices.usual(Kind::Request).unwrap_or_default();
        input.plus(output).plus(request)
    }
}

/// The value of `x-litellm-response-cost`.
#[must_use]
pub fn header(cost: &Cost) -> Repr {
    cost.total.repr()
}

fn bare<'a>(provider: &str, model: &'a str) -> &'a str {
    model
        .strip_prefix(provider)
        .and_then(|rest| rest.strip_prefix('/'))
        .unwrap_or(model)
}
