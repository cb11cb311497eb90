//! `cost_cases.json`: what was used, at which prices, the sum spelled out, and its result. The
//! figures were worked out apart from this program; here the spelled-out sum and the program must
//! both give them, to the last digit.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use serde_json::Value;
use shardgate::spend::cost::{self, Cost, Residency, Terms};
use shardgate::spend::money::Money;
use shardgate::spend::price::Prices;
use shardgate::spend::usage::{self, Quantities};

const CASES: &str = include_str!("cost_cases.json");
/// Fewer than this were lost by accident.
const CASES_MIN: usize = 200;

fn money(text: &str) -> Money {
    Money::parse(text).unwrap()
}

/// `14 * 0.0000025 + 9 * 0.00001`; a count may have up to six decimals.
fn sum(arithmetic: &str) -> Money {
    let product = |term: &str| {
        let (count, price) = term.split_once(" * ").unwrap();
        let millionths = money(count).times(1_000_000).to_string().parse().unwrap();
        money(price).times_millionths(millionths)
    };
    arithmetic.split(" + ").map(product).sum()
}

fn quantities(fields: &Value) -> Quantities {
    let mut used = Quantities::default();
    for (name, count) in fields.as_object().unwrap() {
        let field = match name.as_str() {
            "prompt" => &mut used.prompt,
            "completion" => &mut used.completion,
            "input_us" => &mut used.input_us,
            "output_us" => &mut used.output_us,
            "wall_us" => &mut used.wall_us,
            "characters_in" => &mut used.characters_in,
            "images_in" => &mut used.images_in,
            "images_out" => &mut used.images_out,
            "pixels_out" => &mut used.pixels_out,
            "queries" => &mut used.queries,
            "pages" => &mut used.pages,
            "code_sessions" => &mut used.code_sessions,
            other => panic!("unknown quantity {other}"),
        };
        *field = count.as_u64().unwrap();
    }
    used
}

fn used(case: &Value) -> Quantities {
    let raw = |kind: &str| case.get(kind).map(|usage| usage.to_string().into_bytes());
    let openai = raw("usage").map(|raw| usage::from_openai(&raw).unwrap());
    let gemini = raw("gemini").map(|raw| usage::from_gemini(&raw).unwrap());
    let rerank = raw("rerank").map(|raw| usage::from_rerank_meta(&raw).unwrap());
    let plain = case.get("quantities").map(quantities);
    openai
        .or(gemini)
        .or(rerank)
        .or(plain)
        .expect("a case says what was used")
}

fn part(cost: &Cost, name: &str) -> Money {
    match name {
        "input" => cost.input,
        "output" => cost.output,
        "cache_read" => cost.cache_read,
        "cache_creation" => cost.cache_creation,
        "reasoning" => cost.reasoning,
        "audio" => cost.audio,
        "tool_usage" => cost.tool_usage,
        other => panic!("unknown part {other}"),
    }
}

/// What is wrong with a case, if anything.
fn check(raw_prices: &str, case: &Value) -> Result<(), String> {
    let prices = Prices::from_fields(raw_prices).map_err(|error| error.to_string())?;
    let residency = match case["residency"].as_str() {
        None => Residency::Global,
        Some("regional") => Residency::Regional,
        Some("eu") => Residency::Eu,
        Some("us") => Residency::Us,
        Some(other) => return Err(format!("unknown residency {other}")),
    };
    let terms = Terms {
        residency,
        ..Terms::default()
    };
    let cost = cost::cost(&prices, &used(case), &terms);
    let expected = money(case["total"].as_str().unwrap());
    let spelled = sum(case["arithmetic"].as_str().unwrap());
    if spelled != expected {
        return Err(format!(
            "the sum spelled out is {spelled}, the case says {expected}"
        ));
    }
    if cost.total != expected {
        return Err(format!("costs {}, expected {expected}", cost.total));
    }
    if cost.total.repr().as_str() != case["header"].as_str().unwrap() {
        return Err(format!("shown as {}", cost.total.repr().as_str()));
    }
    for (name, expected) in case["parts"].as_object().into_iter().flatten() {
        let (ours, expected) = (part(&cost, name), money(expected.as_str().unwrap()));
        if ours != expected {
            return Err(format!("{name} costs {ours}, expected {expected}"));
        }
    }
    Ok(())
}

#[test]
fn hand_computed_costs() {
    #[derive(serde::Deserialize)]
    struct Case<'a> {
        // Prices keep their text: a double would already have rounded them.
        #[serde(borrow)]
        prices: &'a serde_json::value::RawValue,
    }
    let prices: Vec<Case<'_>> = serde_json::from_str(CASES).unwrap();
    let cases: Vec<Value> = serde_json::from_str(CASES).unwrap();
    assert!(cases.len() >= CASES_MIN, "{} cases", cases.len());
    let findings: Vec<String> = prices
        .iter()
        .zip(&cases)
        .filter_map(|(prices, case)| {
            let error = check(prices.prices.get(), case).err()?;
            Some(format!("{}: {error}", case["name"]))
        })
        .collect();
    println!("{} cases", cases.len());
    assert!(
        findings.is_empty(),
        "{} of them:\n{}",
        findings.len(),
        findings.join("\n")
    );
}
