//! The rules of billing that the cases in `tests/cost_cases.json` do not spell out.

use super::*;

fn prices(json: &str) -> Prices {
    Prices::from_fields(json).unwrap()
}

fn dollars(text: &str) -> Money {
    Money::parse(text).unwrap()
}

#[test]
fn parts_add_up_and_no_token_is_billed_twice() {
    let prices = prices(
        r#"{"input_cost_per_token":1,"cache_read_input_token_cost":0.1,
            "input_cost_per_audio_token":5,"output_cost_per_token":10}"#,
    );
    // Details that exceed the total: the total is what is billed.
    let used = Quantities {
        prompt: 10,
        cached: 8,
        audio_in: 30,
        completion: 3,
        reasoning: 9,
        ..Quantities::default()
    };
    let cost = cost(&prices, &used, &Terms::default());
    assert_eq!(cost.cache_read, dollars("0.8"));
    assert_eq!(cost.audio, dollars("10"));
    assert_eq!(cost.input, dollars("10.8"));
    assert_eq!(cost.reasoning, dollars("30"));
    assert_eq!(cost.output, dollars("30"));
    assert_eq!(cost.total, dollars("40.8"));
}

#[test]
fn what_has_no_price_of_its_kind_is_billed_as_plain_tokens() {
    let prices = prices(r#"{"input_cost_per_token":1,"output_cost_per_token":10}"#);
    let used = Quantities {
        prompt: 10,
        cached: 4,
        cache_write: 1,
        cache_write_1h: 1,
        audio_in: 1,
        completion: 3,
        reasoning: 2,
        ..Quantities::default()
    };
    assert_eq!(cost(&prices, &used, &Terms::default()).total, dollars("40"));
}

#[test]
fn discount_and_margin() {
    let prices = prices(r#"{"input_cost_per_token":1}"#);
    let used = Quantities {
        prompt: 100,
        ..Quantities::default()
    };
    let terms = Terms {
        discount_millionths: 50_000,
        margin_millionths: 100_000,
        margin_fixed: dollars("0.25"),
        ..Terms::default()
    };
    let billed = cost(&prices, &used, &terms);
    assert_eq!(billed.original, dollars("100"));
    assert_eq!(billed.discount, dollars("5"));
    assert_eq!(billed.margin, dollars("9.75"));
    assert_eq!(billed.total, dollars("104.75"));
    // A call that costs nothing has no margin.
    assert_eq!(
        cost(&prices, &Quantities::default(), &terms).total,
        Money::ZERO
    );
}

#[test]
fn the_vendor_s_own_figure_wins_only_when_trusted() {
    let prices = prices(r#"{"input_cost_per_token":1}"#);
    let used = Quantities {
        prompt: 1,
        stated: Some(dollars("0.0012")),
        ..Quantities::default()
    };
    assert_eq!(cost(&prices, &used, &Terms::default()).total, dollars("1"));
    let trusting = Terms {
        trust_stated: true,
        ..Terms::default()
    };
    assert_eq!(cost(&prices, &used, &trusting).total, dollars("0.0012"));
}

#[test]
fn sums_do_not_overflow() {
    let prices = prices(r#"{"input_cost_per_token":100000000000000}"#);
    let used = Quantities {
        prompt: u64::MAX,
        completion: u64::MAX,
        ..Quantities::default()
    };
    let total = cost(&prices, &used, &Terms::default()).total;
    assert_eq!(total.units(), u128::MAX);
}
