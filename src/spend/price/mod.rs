//! What models cost and can do: the built-in table, a replacement, and a deployment's own prices.
//!
//! Looked up when a snapshot is made, not per request; only an answer that names another model
//! than the deployment's is looked up again. Order, first hit wins:
//!
//! | step | name tried | for |
//! |---|---|---|
//! | 1 | `base_model`, in each way of steps 2 to 7 | Azure deployments, aliases |
//! | 2 | `provider/region/model` | regional prices of Bedrock |
//! | 3 | `provider/model` | the usual case |
//! | 4 | `model` | entries without a prefix (OpenAI, Anthropic, Bedrock) |
//! | 5 | 3 and 4 after taking off routes, regions, `arn:`, `#transform`, version suffixes | `converse/`, `us.`, `text-completion-openai/` |
//! | 6 | 3 to 5 without regard to case | |
//! | 7 | the vendor's price for a model of that many parameters | Fireworks, Together AI |
//!
//! The prices of `litellm_params`, then those of `model_info`, replace what was found field by
//! field. Nothing found and nothing set: the call costs 0.

mod litellm;
mod names;
pub mod rate;
mod text;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

pub use rate::{Kind, Rate, RateKey};

use super::money::Money;
use super::usage::Tier;

/// The table that is built in.
const BUILT_IN: &str = include_str!("../../../data/prices.txt");

/// Sorted by key.
type Rates = Arc<[Rate]>;
/// Sorted by name.
type Flags = Arc<[(Arc<str>, bool)]>;

/// What one model costs and can do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prices {
    /// `litellm_provider`, empty when not said.
    pub provider: Arc<str>,
    /// `mode`: `chat`, `embedding`, `image_generation` ...; empty when not said.
    pub mode: Arc<str>,
    /// Tokens of the context window, as older entries say it.
    pub max_tokens: Option<u64>,
    /// Tokens of input at most.
    pub max_input_tokens: Option<u64>,
    /// Tokens of output at most.
    pub max_output_tokens: Option<u64>,
    /// Numbers in an embedding.
    pub output_vector_size: Option<u64>,
    flags: Flags,
    rates: Rates,
}

/// A place in a price table, and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceError {
    place: String,
    why: String,
}

impl PriceError {
    fn new(place: &str, why: impl fmt::Display) -> PriceError {
        PriceError {
            place: place.into(),
            why: why.to_string(),
        }
    }

    /// Puts the place in front: `gpt-4o.input_cost_per_token`.
    fn of(mut self, outer: &str) -> PriceError {
        let joint = if self.place.is_empty() { "" } else { "." };
        self.place = format!("{outer}{joint}{}", self.place);
        self
    }
}

impl fmt::Display for PriceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joint = if self.place.is_empty() { "" } else { ": " };
        write!(f, "{}{joint}{}", self.place, self.why)
    }
}

impl std::error::Error for PriceError {}

impl Prices {
    /// Reads the fields that a `model_info` or `litellm_params` map sets, as JSON. Fields that say
    /// nothing about prices, limits and abilities are skipped.
    pub fn from_fields(json: &str) -> Result<Prices, PriceError> {
        litellm::entry(json)
    }

    /// The same from a map that is read already.
    ///
    /// # Errors
    /// A price that is no number of dollars, with its name.
    pub fn from_map(
        fields: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<Prices, PriceError> {
        // A number's text is the shortest one that gives it back: the decimal that was written.
        let json = serde_json::to_string(fields).map_err(|error| PriceError::new("", error))?;
        Prices::from_fields(&json)
    }

    /// The usual price of `kind`.
    #[must_use]
    pub fn usual(&self, kind: Kind) -> Option<Money> {
        let key = RateKey::usual(kind);
        let at = self
            .rates
            .binary_search_by_key(&key, |rate| rate.key)
            .ok()?;
        self.rates.get(at).map(|rate| rate.price)
    }

    /// The price of `kind` for a request of `prompt` input tokens that was served in `tier`: the
    /// highest threshold that `prompt` exceeds, and there the tier's own price if it has one.
    #[must_use]
    pub fn rate(&self, kind: Kind, tier: Tier, prompt: u64) -> Option<Money> {
        let start = self.rates.partition_point(|rate| rate.key.kind < kind);
        let of_kind = self.rates[start..]
            .iter()
            .take_while(|rate| rate.key.kind == kind);
        of_kind
            .filter(|rate| rate.key.tier == tier || rate.key.tier == Tier::Standard)
            .filter(|rate| rate.key.above == 0 || prompt > u64::from(rate.key.above))
            .max_by_key(|rate| (rate.key.above, rate.key.tier == tier))
            .map(|rate| rate.price)
    }

    /// Whether the model can do what `flag` names (`supports_vision`); `None` when nobody says.
    #[must_use]
    pub fn supports(&self, flag: &str) -> Option<bool> {
        let at = self
            .flags
            .binary_search_by(|(name, _)| (**name).cmp(flag))
            .ok()?;
        self.flags.get(at).map(|(_, on)| *on)
    }

    /// Every flag with what it says, sorted by name.
    pub fn flags(&self) -> impl Iterator<Item = (&str, bool)> {
        self.flags.iter().map(|(name, on)| (&**name, *on))
    }

    /// Every price, sorted by key.
    #[must_use]
    pub fn rates(&self) -> &[Rate] {
        &self.rates
    }

    /// Tokens of input that fit, if known.
    #[must_use]
    pub fn input_window(&self) -> Option<u64> {
        self.max_input_tokens.or(self.max_tokens)
    }

    /// Whether it names a price, be it 0.
    #[must_use]
    pub fn has_rates(&self) -> bool {
        !self.rates.is_empty()
    }

    /// Only what it costs: limits and flags of a map that means other things by them are dropped.
    #[must_use]
    pub fn only_rates(self) -> Prices {
        Prices {
            rates: self.rates,
            ..Prices::default()
        }
    }

    /// These prices with `own` on top. A price that `own` sets also takes away what the table says
    /// for the same side in other tiers, above thresholds and for cached, audio or reasoning
    /// tokens: who sets 0 per input token does not want the table's price for cached ones.
    #[must_use]
    pub fn with(&self, own: &Prices) -> Prices {
        let sets = |kinds: &[Kind]| own.rates.iter().any(|rate| kinds.contains(&rate.key.kind));
        let timed = sets(&[Kind::SecondIn, Kind::SecondOut, Kind::SecondWall]);
        let (input, output) = (
            timed || sets(&[Kind::Input]),
            timed || sets(&[Kind::Output]),
        );
        let gone = |rate: &Rate| {
            let kind = rate.key.kind;
            (input && kind.is_input_token()) || (output && kind.is_output_token()) || sets(&[kind])
        };
        let kept = self.rates.iter().filter(|rate| !gone(rate));
        let mut rates: Vec<Rate> = kept.chain(own.rates.iter()).copied().collect();
        rates.sort_by_key(|rate| rate.key);
        let theirs = self
            .flags
            .iter()
            .filter(|(name, _)| own.supports(name).is_none());
        let mut flags: Vec<_> = theirs.chain(own.flags.iter()).cloned().collect();
        flags.sort();
        let text =
            |own: &Arc<str>, ours: &Arc<str>| Arc::clone(if own.is_empty() { ours } else { own });
        Prices {
            provider: text(&own.provider, &self.provider),
            mode: text(&own.mode, &self.mode),
            max_tokens: own.max_tokens.or(self.max_tokens),
            max_input_tokens: own.max_input_tokens.or(self.max_input_tokens),
            max_output_tokens: own.max_output_tokens.or(self.max_output_tokens),
            output_vector_size: own.output_vector_size.or(self.output_vector_size),
            flags: flags.into(),
            rates: rates.into(),
        }
    }
}

/// Whose prices are looked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query<'a> {
    /// Provider prefix: `openai`, `bedrock`; empty when unknown.
    pub provider: &'a str,
    /// Model, with or without the provider's prefix.
    pub model: &'a str,
    /// `base_model` of the deployment.
    pub base_model: Option<&'a str>,
    /// Region that serves it.
    pub region: Option<&'a str>,
}

/// Prices of models by name.
#[derive(Debug, Default)]
pub struct PriceTable {
    models: Vec<Prices>,
    numbers: HashMap<Box<str>, u32>,
    /// Names in lower case, where that is not how they are written.
    lower: HashMap<Box<str>, u32>,
}

impl PriceTable {
    /// The table that was built in.
    pub fn built_in() -> Result<PriceTable, PriceError> {
        PriceTable::from_text(BUILT_IN)
    }

    /// The text of the table that was built in.
    #[must_use]
    pub fn built_in_text() -> &'static str {
        BUILT_IN
    }

    /// Reads a table in LiteLLM's JSON format, as its `model_prices_and_context_window.json`.
    pub fn from_litellm_json(json: &[u8]) -> Result<PriceTable, PriceError> {
        litellm::entries(json).map(PriceTable::new)
    }

    /// Reads the compact text that [`compact`] makes.
    pub fn from_text(text: &str) -> Result<PriceTable, PriceError> {
        text::read(text).map(PriceTable::new)
    }

    fn new(entries: Vec<(String, Prices)>) -> PriceTable {
        let mut table = PriceTable::default();
        for (number, (name, prices)) in (0..).zip(entries) {
            let lower = name.to_ascii_lowercase();
            if lower != name {
                table.lower.entry(lower.into()).or_insert(number);
            }
            table.numbers.insert(name.into(), number);
            table.models.push(prices);
        }
        table
    }

    /// How many models it knows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.models.len()
    }

    /// Whether it knows none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.models.is_empty()
    }

    /// The entry of exactly this name.
    #[must_use]
    pub fn exact(&self, name: &str) -> Option<&Prices> {
        self.models.get(*self.numbers.get(name)? as usize)
    }

    /// Every entry with its name, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Prices)> {
        let model = |number: &u32| self.models.get(*number as usize);
        self.numbers
            .iter()
            .filter_map(move |(name, number)| Some((&**name, model(number)?)))
    }

    /// The prices of a deployment; the order is at the top of this module.
    #[must_use]
    pub fn find(&self, query: Query<'_>) -> Option<&Prices> {
        let base = query.base_model.filter(|base| !base.is_empty());
        base.and_then(|base| self.find_model(query.provider, base, query.region))
            .or_else(|| self.find_model(query.provider, query.model, query.region))
    }

    /// The prices of generated images: entries are named `quality/size/model` (`hd/1024-x-1024/
    /// dall-e-3`), and the size of the request is only known with it. `size` as in the request,
    /// `1024x1024`.
    #[must_use]
    pub fn find_image(&self, query: Query<'_>, size: &str, quality: &str) -> Option<&Prices> {
        let model = query.base_model.unwrap_or(query.model);
        let model = names::bare(query.provider, model);
        let size = size.replacen('x', "-x-", 1);
        let provider = query.provider;
        [
            format!("{provider}/{quality}/{size}/{model}"),
            format!("{quality}/{size}/{model}"),
            format!("{provider}/{size}/{model}"),
            format!("{size}/{model}"),
        ]
        .iter()
        .find_map(|name| self.exact(name))
        .or_else(|| self.find(query))
    }

    fn find_model(&self, provider: &str, model: &str, region: Option<&str>) -> Option<&Prices> {
        let bare = names::bare(provider, model);
        if let Some(region) = region.filter(|region| !region.is_empty())
            && let Some(prices) = self.exact(&format!("{provider}/{region}/{bare}"))
        {
            return Some(prices);
        }
        let forms = names::forms(provider, bare);
        let tried = |name: &str| self.named(provider, name);
        forms
            .iter()
            .find_map(|form| tried(form))
            .or_else(|| {
                forms
                    .iter()
                    .find_map(|form| self.named_in_any_case(provider, form))
            })
            .or_else(|| self.exact(names::size_bucket(provider, bare)?))
    }

    /// `provider/name`, then `name` where that provider may be billed by it.
    fn named(&self, provider: &str, name: &str) -> Option<&Prices> {
        let [own, other] = names::prefixes(provider);
        let mut buffer = [0; names::JOINED_BYTES_MAX];
        let mut prefixed = |prefix: &str| self.exact(names::joined(&mut buffer, prefix, name)?);
        prefixed(own)
            .or_else(|| if own == other { None } else { prefixed(other) })
            .or_else(|| {
                self.exact(name)
                    .filter(|found| names::may_bill(provider, found))
            })
    }

    fn named_in_any_case(&self, provider: &str, name: &str) -> Option<&Prices> {
        let folded = |name: &str| {
            let name = name.to_ascii_lowercase();
            let number = self
                .lower
                .get(name.as_str())
                .or_else(|| self.numbers.get(name.as_str()));
            self.models.get(*number? as usize)
        };
        let prefixes = names::prefixes(provider);
        prefixes
            .iter()
            .find_map(|prefix| folded(&format!("{prefix}/{name}")))
            .or_else(|| folded(name).filter(|found| names::may_bill(provider, found)))
    }
}

/// Turns a table in LiteLLM's JSON format into the compact text that is built in.
pub fn compact(json: &[u8]) -> Result<String, PriceError> {
    litellm::entries(json).map(|entries| text::write(&entries))
}

#[cfg(test)]
mod tests;
