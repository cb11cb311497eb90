//! Usage objects of every vendor, as recorded.

use super::*;

fn check(raw: &str, expected: Quantities) {
    assert_eq!(from_openai(raw.as_bytes()), Some(expected), "of {raw}");
}

#[test]
fn openai_chat() {
    check(
        r#"{"prompt_tokens":1566,"completion_tokens":20,"total_tokens":1586,
            "prompt_tokens_details":{"cached_tokens":1408,"audio_tokens":3},
            "completion_tokens_details":{"reasoning_tokens":7,"audio_tokens":null}}"#,
        Quantities {
            prompt: 1566,
            completion: 20,
            total: 1586,
            cached: 1408,
            audio_in: 3,
            reasoning: 7,
            ..Quantities::default()
        },
    );
}

#[test]
fn anthropic_counts_the_cache_apart_and_openai_shape_does_not() {
    let expected = Quantities {
        prompt: 4530,
        completion: 10,
        total: 4540,
        cached: 3000,
        cache_write: 500,
        cache_write_1h: 1000,
        ..Quantities::default()
    };
    check(
        r#"{"input_tokens":30,"cache_creation_input_tokens":1500,"cache_read_input_tokens":3000,
            "cache_creation":{"ephemeral_5m_input_tokens":500,"ephemeral_1h_input_tokens":1000},
            "output_tokens":10,"service_tier":"standard"}"#,
        expected,
    );
    check(
        r#"{"prompt_tokens":4530,"completion_tokens":10,"total_tokens":4540,
            "prompt_tokens_details":{"cached_tokens":3000,"cache_creation_tokens":1500,
            "cache_creation_token_details":{"ephemeral_5m_input_tokens":500,
            "ephemeral_1h_input_tokens":1000}},"cache_creation_input_tokens":1500,
            "cache_read_input_tokens":3000}"#,
        expected,
    );
}

#[test]
fn responses_include_the_cache_in_input_tokens() {
    check(
        r#"{"input_tokens":100,"input_tokens_details":{"cached_tokens":40},
            "output_tokens":9,"output_tokens_details":{"reasoning_tokens":5},
            "total_tokens":109,"cost":null}"#,
        Quantities {
            prompt: 100,
            completion: 9,
            total: 109,
            cached: 40,
            reasoning: 5,
            ..Quantities::default()
        },
    );
}

#[test]
fn reasoning_counted_beside_the_completion_is_added() {
    check(
        r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":115,
            "completion_tokens_details":{"reasoning_tokens":100}}"#,
        Quantities {
            prompt: 10,
            completion: 105,
            total: 115,
            reasoning: 100,
            ..Quantities::default()
        },
    );
}

#[test]
fn vendors_additions() {
    check(
        r#"{"prompt_tokens":1,"completion_tokens":2,"cost":0.0012,"service_tier":"flex",
            "server_tool_use":{"web_search_requests":2},"search_context_size":"high",
            "citation_tokens":4,"seconds":1.5}"#,
        Quantities {
            prompt: 1,
            completion: 2,
            total: 3,
            stated: Money::parse("0.0012").ok(),
            tier: Tier::Flex,
            web_searches: 2,
            search_size: SearchSize::High,
            citation: 4,
            input_us: 1_500_000,
            ..Quantities::default()
        },
    );
}

#[test]
fn nonsense_counts_are_nothing_and_never_an_error() {
    check(
        r#"{"prompt_tokens":-4,"completion_tokens":"many","total_tokens":{},
            "prompt_tokens_details":[1,2],"completion_tokens_details":"x"}"#,
        Quantities::default(),
    );
    assert_eq!(from_openai(b"null"), None);
    assert_eq!(from_openai(b"[1"), None);
}

/// Both readers, where both read.
#[test]
fn the_tap_sees_the_same() {
    for raw in [
        r#"{"prompt_tokens":1566,"completion_tokens":20,"total_tokens":1586,
            "prompt_tokens_details":{"cached_tokens":1408,"audio_tokens":3}}"#,
        r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":115,
            "completion_tokens_details":{"reasoning_tokens":100}}"#,
        r#"{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,"cost":0.0012,
            "service_tier":"flex","server_tool_use":{"web_search_requests":2},
            "search_context_size":"high","citation_tokens":4,"seconds":1.5}"#,
        r#"{"prompt_tokens":4530,"completion_tokens":10,"total_tokens":4540,
            "prompt_tokens_details":{"cached_tokens":3000,"cache_creation_tokens":1500,
            "cache_creation_token_details":{"ephemeral_1h_input_tokens":1000}}}"#,
    ] {
        let span = crate::dialect::scan::Span::new(0, raw.len());
        let usage = Usage::read(raw.as_bytes(), span).unwrap();
        assert_eq!(
            Some(Quantities::from(&usage)),
            from_openai(raw.as_bytes()),
            "of {raw}"
        );
    }
}

#[test]
fn gemini_counts_thoughts_apart() {
    let raw = r#"{"promptTokenCount":40,"candidatesTokenCount":2,"thoughtsTokenCount":120,
        "totalTokenCount":162,"cachedContentTokenCount":10,
        "promptTokensDetails":[{"modality":"TEXT","tokenCount":8},
                               {"modality":"AUDIO","tokenCount":32}]}"#;
    let expected = Quantities {
        prompt: 40,
        completion: 122,
        total: 162,
        cached: 10,
        audio_in: 32,
        reasoning: 120,
        ..Quantities::default()
    };
    assert_eq!(from_gemini(raw.as_bytes()), Some(expected));
}

#[test]
fn rerank_meta() {
    let read = |raw: &str| from_rerank_meta(raw.as_bytes()).unwrap();
    let units = read(r#"{"api_version":{"version":"1"},"billed_units":{"search_units":1}}"#);
    assert_eq!((units.queries, units.prompt), (1, 0));
    let tokens = read(r#"{"billed_units":{"total_tokens":815},"tokens":{}}"#);
    assert_eq!((tokens.queries, tokens.prompt, tokens.total), (0, 815, 815));
}
