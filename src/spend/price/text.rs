//! The price table as the compact text that is built in (`data/prices.txt`).
//!
//! Most models share their prices, limits and abilities with others (regions, aliases), so each
//! distinct set is written once and models name it by its number. Line by line:
//!
//! ```text
//! F supports_vision          a flag; the first is number 0
//! K 0 0 0                    a rate key: kind, tier, tokens to exceed
//! S 0 3 -7                   a set of flags by number, `-` before a false one
//! R 0=2.5 1=10               a set of rates: key=millionths of a dollar
//! P openai                   a provider
//! M chat                     a mode
//! gpt-4o|1|0|7|31|128000||16384     model, provider, mode, flags, rates, windows
//! ```

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use super::rate::{FIELDS, Rate, RateKey};
use super::{Flags, PriceError, Prices, Rates};
use crate::spend::money::Money;
use crate::spend::usage::Tier;

/// Tiers by their number in the text.
const TIERS: [Tier; 7] = [
    Tier::Standard,
    Tier::Priority,
    Tier::Flex,
    Tier::Batches,
    Tier::Balanced,
    Tier::Ultrafast,
    Tier::Decisions,
];

/// Distinct lines with their numbers, in the order of their first use.
#[derive(Default)]
struct Numbered {
    order: Vec<String>,
    numbers: BTreeMap<String, usize>,
}

impl Numbered {
    fn number(&mut self, line: String) -> usize {
        let next = self.order.len();
        let number = *self.numbers.entry(line.clone()).or_insert(next);
        if number == next {
            self.order.push(line);
        }
        number
    }

    fn write(&self, letter: char, out: &mut String) {
        for line in &self.order {
            let _ = writeln!(out, "{letter} {line}");
        }
    }
}

/// Writes entries; [`read`] gives them back.
pub(super) fn write(entries: &[(String, Prices)]) -> String {
    let [
        mut flags,
        mut keys,
        mut flag_sets,
        mut rate_sets,
        mut providers,
        mut modes,
    ] = std::array::from_fn::<_, 6, _>(|_| Numbered::default());
    let mut models = String::new();
    for (name, prices) in entries {
        let mut flag_set = String::new();
        for (flag, on) in prices.flags.iter() {
            let number = flags.number(flag.to_string());
            let _ = write!(flag_set, " {}{number}", if *on { "" } else { "-" });
        }
        let mut rate_set = String::new();
        for Rate { key, price } in prices.rates.iter() {
            let tier = TIERS.iter().position(|tier| *tier == key.tier).unwrap_or(0);
            let number = keys.number(format!("{} {tier} {}", key.kind as u8, key.above));
            let _ = write!(rate_set, " {number}={}", price.times(1_000_000));
        }
        let flag_set = flag_sets.number(flag_set.trim_start().into());
        let rate_set = rate_sets.number(rate_set.trim_start().into());
        let provider = providers.number(prices.provider.to_string());
        let mode = modes.number(prices.mode.to_string());
        let _ = write!(models, "{name}|{provider}|{mode}|{flag_set}|{rate_set}");
        models.push_str(&windows(prices));
        models.push('\n');
    }
    let mut out = String::new();
    flags.write('F', &mut out);
    keys.write('K', &mut out);
    flag_sets.write('S', &mut out);
    rate_sets.write('R', &mut out);
    providers.write('P', &mut out);
    modes.write('M', &mut out);
    out + &models
}

/// `|in|out|all|vector`, without empty ends.
fn windows(prices: &Prices) -> String {
    let mut out = String::new();
    for window in [
        prices.max_input_tokens,
        prices.max_output_tokens,
        prices.max_tokens,
        prices.output_vector_size,
    ] {
        out.push('|');
        if let Some(window) = window {
            let _ = write!(out, "{window}");
        }
    }
    out.truncate(out.trim_end_matches('|').len());
    out
}

/// What the lines read so far have defined.
#[derive(Default)]
struct Tables {
    flags: Vec<Arc<str>>,
    keys: Vec<RateKey>,
    flag_sets: Vec<Flags>,
    rate_sets: Vec<Rates>,
    providers: Vec<Arc<str>>,
    modes: Vec<Arc<str>>,
}

/// Reads what [`write`] wrote.
pub(super) fn read(text: &str) -> Result<Vec<(String, Prices)>, PriceError> {
    let mut tables = Tables::default();
    let mut models = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let bad = || PriceError {
            place: format!("line {}", at + 1),
            why: "malformed".into(),
        };
        // Model lines have bars; no definition has.
        if line.contains('|') {
            models.push(tables.model(line).ok_or_else(bad)?);
        } else {
            tables.define(line).ok_or_else(bad)?;
        }
    }
    Ok(models)
}

impl Tables {
    fn define(&mut self, line: &str) -> Option<()> {
        let (letter, rest) = line.split_once(' ')?;
        match letter {
            "F" => self.flags.push(rest.into()),
            "K" => self.keys.push(rate_key(rest)?),
            "S" => self.flag_sets.push(self.flag_set(rest)?),
            "R" => self.rate_sets.push(self.rate_set(rest)?),
            "P" => self.providers.push(rest.into()),
            "M" => self.modes.push(rest.into()),
            _ => return None,
        }
        Some(())
    }

    fn flag_set(&self, text: &str) -> Option<Flags> {
        let flags = text.split_whitespace().map(|flag| {
            let number = flag.trim_start_matches('-').parse::<usize>().ok()?;
            Some((Arc::clone(self.flags.get(number)?), !flag.starts_with('-')))
        });
        flags.collect()
    }

    fn rate_set(&self, text: &str) -> Option<Rates> {
        let rates = text.split_whitespace().map(|rate| {
            let (number, millionths) = rate.split_once('=')?;
            let key = *self.keys.get(number.parse::<usize>().ok()?)?;
            let price = Money::parse(&format!("{millionths}e-6")).ok()?;
            Some(Rate { key, price })
        });
        rates.collect()
    }

    fn model(&self, line: &str) -> Option<(String, Prices)> {
        let mut parts = line.split('|');
        let name = parts.next()?.to_owned();
        let mut number = || parts.next()?.parse::<usize>().ok();
        let (provider, mode) = (number()?, number()?);
        let (flags, rates) = (number()?, number()?);
        let mut window = || parts.next().and_then(|window| window.parse().ok());
        Some((
            name,
            Prices {
                provider: Arc::clone(self.providers.get(provider)?),
                mode: Arc::clone(self.modes.get(mode)?),
                flags: self.flag_sets.get(flags)?.clone(),
                rates: self.rate_sets.get(rates)?.clone(),
                max_input_tokens: window(),
                max_output_tokens: window(),
                max_tokens: window(),
                output_vector_size: window(),
            },
        ))
    }
}

fn rate_key(text: &str) -> Option<RateKey> {
    let mut numbers = text.split(' ').map(str::parse::<u32>);
    let mut number = || numbers.next()?.ok();
    let kind = FIELDS.get(number()? as usize)?.0;
    let tier = *TIERS.get(number()? as usize)?;
    Some(RateKey {
        kind,
        tier,
        above: number()?,
    })
}
