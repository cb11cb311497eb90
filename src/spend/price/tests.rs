//! The built-in table, what LiteLLM's format says, and the order of the look-up.

use super::*;

fn money(text: &str) -> Option<Money> {
    Some(Money::parse(text).unwrap())
}

fn check_found(provider: &str, model: &str, base_model: Option<&str>, expected: Option<&str>) {
    let table = PriceTable::built_in().unwrap();
    let query = Query {
        provider,
        model,
        base_model,
        region: None,
    };
    let found = table.find(query);
    let expected = expected.map(|name| table.exact(name).expect(name));
    assert_eq!(found, expected, "of {provider} {model} {base_model:?}");
}

#[test]
fn the_order_of_the_look_up() {
    check_found("openai", "gpt-4o", None, Some("gpt-4o"));
    check_found("openai", "openai/gpt-4o", None, Some("gpt-4o"));
    check_found("azure", "my-deployment", None, None);
    check_found(
        "azure",
        "my-deployment",
        Some("azure/gpt-4o"),
        Some("azure/gpt-4o"),
    );
    check_found(
        "azure",
        "my-deployment",
        Some("gpt-4o"),
        Some("azure/gpt-4o"),
    );
    check_found(
        "azure",
        "gpt-4o",
        Some("no-such-model"),
        Some("azure/gpt-4o"),
    );
    check_found(
        "azure_ai",
        "cohere-embed-v3-english",
        None,
        Some("azure_ai/Cohere-embed-v3-english"),
    );
    check_found("github", "gpt-4o", None, Some("gpt-4o"));
    check_found("hosted_vllm", "gpt-4o", None, None);
    check_found(
        "gemini",
        "gemini-2.5-flash",
        None,
        Some("gemini/gemini-2.5-flash"),
    );
    check_found(
        "vertex_ai",
        "gemini-2.5-flash",
        None,
        Some("gemini-2.5-flash"),
    );
    check_found(
        "bedrock",
        "converse/anthropic.claude-3-5-sonnet-20241022-v2:0",
        None,
        Some("anthropic.claude-3-5-sonnet-20241022-v2:0"),
    );
    check_found(
        "together_ai",
        "togethercomputer/m2-bert-80M-8k-retrieval",
        None,
        Some("together-ai-embedding-up-to-150m"),
    );
    check_found("custom_openai", "my-model", None, None);
}

#[test]
fn a_region_has_its_own_prices() {
    let json = br#"{"bedrock/eu-west-1/m":{"input_cost_per_token":2},
                    "bedrock/m":{"input_cost_per_token":1}}"#;
    let table = PriceTable::from_litellm_json(json).unwrap();
    let price = |region| {
        let query = Query {
            provider: "bedrock",
            model: "m",
            base_model: None,
            region,
        };
        table.find(query).unwrap().usual(Kind::Input)
    };
    assert_eq!(price(Some("eu-west-1")), money("2"));
    assert_eq!(price(Some("eu-west-3")), money("1"));
    assert_eq!(price(None), money("1"));
}

#[test]
fn images_by_size_and_quality() {
    let table = PriceTable::built_in().unwrap();
    let query = Query {
        provider: "azure",
        model: "azure/dall-e-3",
        ..Query::default()
    };
    let found = table.find_image(query, "1024x1024", "hd");
    assert_eq!(found, table.exact("azure/hd/1024-x-1024/dall-e-3"));
    assert!(found.is_some());
}

#[test]
fn thresholds_and_tiers() {
    let prices = Prices::from_fields(
        r#"{"input_cost_per_token":1,"input_cost_per_token_priority":2,
            "input_cost_per_token_above_200k_tokens":3,
            "input_cost_per_token_above_272k_tokens":4,
            "input_cost_per_token_above_272k_tokens_priority":8}"#,
    )
    .unwrap();
    let rate = |tier, prompt| prices.rate(Kind::Input, tier, prompt);
    assert_eq!(rate(Tier::Standard, 200_000), money("1"));
    assert_eq!(rate(Tier::Standard, 200_001), money("3"));
    assert_eq!(rate(Tier::Standard, 300_000), money("4"));
    assert_eq!(rate(Tier::Priority, 100), money("2"));
    assert_eq!(rate(Tier::Priority, 200_001), money("3"));
    assert_eq!(rate(Tier::Priority, 300_000), money("8"));
    assert_eq!(rate(Tier::Flex, 300_000), money("4"));
    assert_eq!(prices.rate(Kind::Output, Tier::Standard, 1), None);
}

#[test]
fn tiered_pricing_is_a_threshold() {
    let prices = Prices::from_fields(
        r#"{"tiered_pricing":[{"range":[0,256e3],"input_cost_per_token":5e-08},
                              {"range":[256e3,1e6],"input_cost_per_token":2.5e-07}]}"#,
    )
    .unwrap();
    assert_eq!(
        prices.rate(Kind::Input, Tier::Standard, 256_000),
        money("5e-08")
    );
    assert_eq!(
        prices.rate(Kind::Input, Tier::Standard, 256_001),
        money("2.5e-07")
    );
}

#[test]
fn own_prices_replace_a_whole_side() {
    let table = Prices::from_fields(
        r#"{"mode":"chat","max_input_tokens":10,"supports_vision":true,"input_cost_per_token":1,
            "cache_read_input_token_cost":0.1,"input_cost_per_token_above_200k_tokens":2,
            "output_cost_per_token":5,"output_cost_per_token_priority":9}"#,
    )
    .unwrap();
    let own = r#"{"input_cost_per_token":"0.5","max_input_tokens":20,"id":"x"}"#;
    let both = table.with(&Prices::from_fields(own).unwrap());
    assert_eq!(
        both.rate(Kind::Input, Tier::Standard, 1_000_000),
        money("0.5")
    );
    assert_eq!(both.usual(Kind::CacheRead), None);
    assert_eq!(both.rate(Kind::Output, Tier::Priority, 1), money("9"));
    assert_eq!(both.max_input_tokens, Some(20));
    assert_eq!(both.supports("supports_vision"), Some(true));
    assert_eq!(&*both.mode, "chat");
}

#[test]
fn a_wrong_price_names_its_place() {
    let error = PriceTable::from_litellm_json(br#"{"m":{"input_cost_per_token":"free"}}"#);
    assert_eq!(
        error.unwrap_err().to_string(),
        "m.input_cost_per_token: must be a decimal number of US dollars"
    );
    let error = PriceTable::from_litellm_json(b"{}]").unwrap_err();
    assert!(error.to_string().contains("line 1"), "{error}");
}

#[test]
fn the_compact_text_gives_everything_back() {
    let json = br#"{"a":{"litellm_provider":"p","mode":"chat","input_cost_per_token":2.5e-06,
                         "supports_vision":false,"supports_x":true,"max_tokens":7},
                    "b":{"output_cost_per_token_above_272k_tokens_flex":3.2857142857142855E-8},
                    "c":{}}"#;
    let text = compact(json).unwrap();
    let (first, second) = (litellm::entries(json).unwrap(), text::read(&text).unwrap());
    assert_eq!(first, second);
    assert!(PriceTable::from_text("Z 1").is_err());
    assert!(PriceTable::from_text("a|0|0|0|0").is_err());
}
