//! Counts by the reference tokenizer, and the counts that OpenAI's API answered with.

use serde_json::json;

use super::*;

fn check(model: &str, text: &str, expected: u64) {
    assert_eq!(
        Encoding::of(model).count(text),
        expected,
        "{model}: {text:?}"
    );
}

#[test]
fn which_encoding() {
    for model in [
        "gpt-4o",
        "azure/gpt-4o-mini",
        "openai/o1",
        "o3-mini",
        "ft:gpt-4o-2024-08-06:acme",
        "gpt-5.2",
        "gpt-4.1-nano",
    ] {
        assert_eq!(Encoding::of(model), Encoding::O200k, "{model}");
    }
    for model in [
        "gpt-4",
        "gpt-4-turbo",
        "gpt-3.5-turbo",
        "claude-3-opus",
        "o100",
        "gemini/gemini-2.5-pro",
        "oracle",
    ] {
        assert_eq!(Encoding::of(model), Encoding::Cl100k, "{model}");
    }
}

#[test]
fn texts_as_the_reference_splits_them() {
    check("gpt-4", "", 0);
    check("gpt-4", "hello world", 2);
    check("gpt-4", "tiktoken is great!", 6);
    check("gpt-4", "antidisestablishmentarianism", 6);
    check("gpt-4", "2 + 2 = 4", 7);
    check("gpt-4", "お誕生日おめでとう", 9);
    check("gpt-4o", "お誕生日おめでとう", 8);
    check("gpt-4o", "antidisestablishmentarianism", 6);
}

#[test]
fn a_long_run_of_one_letter_takes_no_longer_than_other_text() {
    let text = "a".repeat(1 << 20);
    let began = std::time::Instant::now();
    assert!(Encoding::Cl100k.count(&text) > 0);
    assert!(began.elapsed().as_secs() < 20);
}

#[test]
fn a_chat_as_the_api_counts_it() {
    // The example of OpenAI's cookbook: the API answered 129 for gpt-4 and gpt-3.5-turbo, 124 for gpt-4o.
    let messages = json!([
        {"role": "system", "content": "You are a helpful, pattern-following assistant that translates corporate jargon into plain English."},
        {"role": "system", "name": "example_user", "content": "New synergies will help drive top-line growth."},
        {"role": "system", "name": "example_assistant", "content": "Things working well together will increase revenue."},
        {"role": "system", "name": "example_user", "content": "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage."},
        {"role": "system", "name": "example_assistant", "content": "Let's talk later when we're less busy about how to do better."},
        {"role": "user", "content": "This late pivot means we don't have time to boil the ocean for the client deliverable."},
    ]);
    let body = json!({"model": "m", "messages": messages}).to_string();
    assert_eq!(count("gpt-4", body.as_bytes()), 129);
    assert_eq!(count("gpt-4o", body.as_bytes()), 124);
}

#[test]
fn tools_as_the_api_counts_them() {
    // The API answered 49 prompt tokens for this request.
    let tool = json!({"type": "function", "function": {"name": "bing_bong", "description": "Do a bing bong",
        "parameters": {"type": "object", "properties": {"foo": {"type": "string"}}}}});
    let body =
        json!({"messages": [{"role": "user", "content": "hello"}], "tools": [tool]}).to_string();
    assert_eq!(count("gpt-3.5-turbo", body.as_bytes()), 49);
}

#[test]
fn other_prompts() {
    let of = |body: Value| count("gpt-4", body.to_string().as_bytes());
    assert_eq!(of(json!({"input": ["hello world", "hello world"]})), 4);
    assert_eq!(of(json!({"input": [1, 2, 3]})), 3);
    assert_eq!(
        of(json!({"contents": [{"role": "user", "parts": [{"text": "hello world"}]}]})),
        2
    );
    assert_eq!(count("gpt-4", b"hello world"), 2);
}
