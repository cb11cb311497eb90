//! What contracts take off list prices and add to them: `cost_discount_config`, `cost_margin_config`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use shardgate_config::Config;

use crate::spend::cost::Terms;
use crate::spend::money::Money;

/// Millionths of one.
const WHOLE: f64 = 1e6;

/// Discounts and margins by provider.
#[derive(Clone, Debug, Default)]
pub(super) struct Contracts {
    discounts: BTreeMap<String, f64>,
    margins: Map<String, Value>,
}

impl Contracts {
    pub(super) fn from_config(config: &Config) -> Contracts {
        let litellm = &config.litellm;
        Contracts {
            discounts: litellm.cost_discount_config.clone().unwrap_or_default(),
            margins: litellm
                .cost_margin_config
                .as_deref()
                .cloned()
                .unwrap_or_default(),
        }
    }

    /// The terms of one provider; its own margin wins over that of `global`.
    ///
    /// # Errors
    /// A margin that is none.
    pub(super) fn terms(&self, provider: &str) -> Result<Terms, String> {
        let mut terms = Terms::default();
        if let Some(share) = self.discounts.get(provider) {
            terms.discount_millionths = millionths(*share);
        }
        let name = if self.margins.contains_key(provider) {
            provider
        } else {
            "global"
        };
        let Some(margin) = self.margins.get(name) else {
            return Ok(terms);
        };
        let wrong = || {
            format!(
                "litellm_settings.cost_margin_config.{name} must be a share such as 0.05, or \
                 {{percentage, fixed_amount}}; got {margin}"
            )
        };
        let (share, fixed) = match margin {
            Value::Object(map) => (map.get("percentage"), map.get("fixed_amount")),
            share => (Some(share), None),
        };
        if let Some(share) = share {
            let share = share
                .as_f64()
                .filter(|share| *share >= 0.0)
                .ok_or_else(wrong)?;
            terms.margin_millionths = millionths(share);
        }
        if let Some(fixed) = fixed {
            terms.margin_fixed = Money::parse(&fixed.to_string()).map_err(|_| wrong())?;
        }
        Ok(terms)
    }
}

fn millionths(share: f64) -> u32 {
    (share * WHOLE).round() as u32
}
