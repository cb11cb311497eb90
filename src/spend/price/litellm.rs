//! Reads LiteLLM's price table (`model_prices_and_context_window.json`) and the price fields of
//! `model_info` and `litellm_params`, from JSON text to exact decimals.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::rate::{Kind, Rate, RateKey};
use super::{PriceError, Prices};
use crate::spend::money::Money;
use crate::spend::usage::Tier;

/// The members of one entry, values as their text.
type Fields<'a> = BTreeMap<String, &'a RawValue>;

/// An entry while it is read.
#[derive(Default)]
struct Draft {
    prices: Prices,
    flags: Vec<(Arc<str>, bool)>,
    rates: Vec<Rate>,
}

/// Every entry of the file that has prices or limits, in the order of the names.
pub(super) fn entries(json: &[u8]) -> Result<Vec<(String, Prices)>, PriceError> {
    let text = std::str::from_utf8(json).map_err(|error| PriceError::new("", error))?;
    let entries: BTreeMap<String, &RawValue> =
        serde_json::from_str(text).map_err(|error| PriceError::new("", error))?;
    let mut out = Vec::with_capacity(entries.len());
    for (name, raw) in entries {
        // Not models: the documentation's sample, and rules about names.
        if name == "sample_spec" || name == "fallback_generalizations" {
            continue;
        }
        let prices = entry(raw.get()).map_err(|error| error.of(&name))?;
        out.push((name, prices));
    }
    Ok(out)
}

/// One entry: a JSON object of the table, or a `model_info` that sets its own prices.
pub(super) fn entry(json: &str) -> Result<Prices, PriceError> {
    let fields: Fields<'_> =
        serde_json::from_str(json).map_err(|error| PriceError::new("", error))?;
    let mut draft = Draft::default();
    for (field, raw) in &fields {
        draft
            .read_field(field, raw.get())
            .map_err(|error| error.of(field))?;
    }
    if let Some(tiers) = fields.get("tiered_pricing") {
        draft
            .read_tiers(tiers.get())
            .map_err(|error| error.of("tiered_pricing"))?;
    }
    draft.rates.sort_by_key(|rate| rate.key);
    draft.flags.sort();
    Ok(Prices {
        flags: draft.flags.into(),
        rates: draft.rates.into(),
        ..draft.prices
    })
}

impl Draft {
    fn read_field(&mut self, field: &str, raw: &str) -> Result<(), PriceError> {
        match field {
            "litellm_provider" => self.prices.provider = text(raw)?,
            "mode" => self.prices.mode = text(raw)?,
            "max_tokens" => self.prices.max_tokens = count(raw),
            "max_input_tokens" => self.prices.max_input_tokens = count(raw),
            "max_output_tokens" => self.prices.max_output_tokens = count(raw),
            "output_vector_size" => self.prices.output_vector_size = count(raw),
            "search_context_cost_per_query" => self.read_group(raw, &[])?,
            "provider_specific_entry" => {
                self.read_group(
                    raw,
                    &[("us", Kind::UpliftGeoUs), ("fast", Kind::UpliftFast)],
                )?;
            }
            // Older entries name the cached price by this field; the newer field comes first here.
            "input_cost_per_token_cache_hit" if self.has(Kind::CacheRead) => {}
            _ if raw == "true" || raw == "false" => self.flags.push((field.into(), raw == "true")),
            _ => {
                if let Some(key) = RateKey::parse(field)
                    && raw != "null"
                {
                    self.push(key, money(raw)?);
                }
            }
        }
        Ok(())
    }

    /// Prices one level down, under their own field names or the ones given.
    fn read_group(&mut self, raw: &str, names: &[(&str, Kind)]) -> Result<(), PriceError> {
        let Ok(fields) = serde_json::from_str::<Fields<'_>>(raw) else {
            return Ok(());
        };
        for (field, raw) in fields {
            let named = names.iter().find(|(name, _)| *name == field);
            let key = match named {
                Some((_, kind)) => Some(RateKey::usual(*kind)),
                None if names.is_empty() => RateKey::parse(&field),
                None => None,
            };
            if let Some(key) = key {
                self.push(key, money(raw.get()).map_err(|error| error.of(&field))?);
            }
        }
        Ok(())
    }

    /// `tiered_pricing: [{range: [from, to], input_cost_per_token: ...}]`: the whole request is billed
    /// at the tier that its input tokens fall into, so a tier is a threshold.
    fn read_tiers(&mut self, raw: &str) -> Result<(), PriceError> {
        let tiers: Vec<Fields<'_>> =
            serde_json::from_str(raw).map_err(|error| PriceError::new("", error))?;
        for tier in tiers {
            let range = tier.get("range").map_or("[]", |raw| raw.get());
            let range: Vec<f64> = serde_json::from_str(range).unwrap_or_default();
            let above = range.first().map_or(0, |from| *from as u32);
            for (field, raw) in &tier {
                if let Some(key) = RateKey::parse(field)
                    && key.tier == Tier::Standard
                    && key.above == 0
                {
                    let price = money(raw.get()).map_err(|error| error.of(field))?;
                    self.push(RateKey { above, ..key }, price);
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, key: RateKey, price: Money) {
        self.rates.retain(|rate| rate.key != key);
        self.rates.push(Rate { key, price });
    }

    fn has(&self, kind: Kind) -> bool {
        self.rates
            .iter()
            .any(|rate| rate.key == RateKey::usual(kind))
    }
}

/// A price: a number, or a number in quotes as YAML users write it.
fn money(raw: &str) -> Result<Money, PriceError> {
    Money::parse(raw.trim_matches('"')).map_err(|error| PriceError::new("", error))
}

fn text(raw: &str) -> Result<Arc<str>, PriceError> {
    if raw == "null" {
        return Ok(Arc::default());
    }
    serde_json::from_str::<String>(raw)
        .map(Arc::from)
        .map_err(|error| PriceError::new("", error))
}

/// A count of tokens; what is no number says nothing.
fn count(raw: &str) -> Option<u64> {
    let raw = raw.trim_matches('"');
    raw.parse()
        .ok()
        .or_else(|| raw.parse::<f64>().ok().map(|count| count as u64))
}
