//! A configuration as types: what was written, what was defaulted, what was resolved.

#![expect(clippy::panic, reason = "a test says what went wrong by failing")]

use std::time::Duration;

use shardgate_config::{Loaded, Options, ResponseModel, RoutingStrategy, parse};

fn environment(name: &str) -> Option<String> {
    match name {
        "OPENAI_API_KEY" => Some(String::from("sk-from-the-environment")),
        "LITELLM_MASTER_KEY" => Some(String::from("sk-master")),
        _ => None,
    }
}

fn loaded(text: &str) -> Loaded {
    match parse(text, "config.yaml", &environment, Options::default()) {
        Ok(loaded) => loaded,
        Err(errors) => panic!(
            "{}",
            errors.iter().map(|e| format!("{e}\n")).collect::<String>()
        ),
    }
}

#[test]
fn the_quickstart_is_typed_and_defaulted() {
    let Loaded {
        config, warnings, ..
    } = loaded(include_str!("../examples/quickstart.yaml"));
    assert_eq!(warnings, []);
    let [model] = &config.models[..] else {
        panic!("one model")
    };
    assert_eq!(model.model_name, "gpt-4o");
    assert_eq!(model.model(), "openai/gpt-4o");
    assert_eq!(model.api_key(), Some("sk-from-the-environment"));
    assert_eq!((model.at.line, model.at.column), (5, 5));
    let key = config.general.master_key.as_ref().expect("a master key");
    assert_eq!(key.expose(), "sk-master");
    assert_eq!(config.general.max_request_size_mb, 10.0);
    assert_eq!(config.general.response_model, ResponseModel::Requested);
    assert_eq!(config.general.keepalive_timeout, Duration::from_secs(75));
    assert_eq!(
        config.router.routing_strategy,
        RoutingStrategy::SimpleShuffle
    );
    assert_eq!(config.router.timeout, Duration::from_secs(600));
    assert_eq!(config.router.num_retries, None);
    assert_eq!(config.litellm.request_timeout, None);
    let shown = format!("{config:?}");
    assert!(!shown.contains("sk-"), "a secret in Debug: {shown}");
}

#[test]
fn no_secret_is_shown_by_debug() {
    let text = "
model_list:
  - model_name: a
    litellm_params:
      model: x
      api_key: sk-hidden
      aws_secret_access_key: hidden
      api_base: http://user:hidden@host/v1
      extra_headers: {authorization: hidden, x-team: shown-team}
      vertex_credentials: {private_key: hidden}
    model_info: {input_cost_per_token: 0.25, note: shown-note}
environment_variables: {LANGFUSE_SECRET_KEY: hidden}
litellm_settings: {cache_params: {type: redis, host: h, password: hidden}}
general_settings:
  master_key: sk-hidden
  database_url: postgres://u:hidden@h/d
  pass_through_endpoints: [{path: /a, target: \"http://t\", headers: {authorization: hidden}}]
  master_keyy: sk-hidden
router_settings: {assistants_config: {litellm_params: {api_key: hidden}}}
credential_list: [{credential_name: c, credential_values: {api_key: hidden}}]
";
    let loaded = loaded(text);
    let shown = format!("{loaded:?}");
    assert!(!shown.contains("hidden"), "{shown}");
    for visible in ["shown-team", "shown-note", "0.25"] {
        assert!(shown.contains(visible), "{visible} in {shown}");
    }
    let (params, info) = loaded.config.models[0].redacted();
    assert_eq!(params["api_key"], "***");
    assert_eq!(params["api_base"], "***");
    assert_eq!(info["input_cost_per_token"], 0.25);
}

#[test]
fn keys_that_are_not_ours_are_defaults_of_the_request() {
    let text = "model_list: [{model_name: a, litellm_params: {model: x, api_key: k, rpm: 5, \
                temperature: 0.5, top_p: 0.9, vendor: {deep: [1]}, tags: [t]}}]";
    let loaded = loaded(text);
    let names: Vec<&str> = loaded.config.models[0]
        .request_defaults()
        .map(|(n, _)| n)
        .collect();
    assert_eq!(names, ["temperature", "top_p", "vendor"]);
}

#[test]
fn the_router_wins_over_the_other_sections() {
    let text = "
litellm_settings: {num_retries: 1, fallbacks: [{a: [b]}], default_fallbacks: [c], ssl_verify: false}
general_settings: {num_retries: 2, retry_after: 4, model_group_alias: {x: a, y: a}, trusted_proxy_ranges: [10.0.0.0/8]}
router_settings: {num_retries: 3, fallbacks: [{a: [c]}], model_group_alias: {x: {model: b, hidden: true}}}
";
    let config = loaded(text).config;
    assert_eq!(config.num_retries(), Some(3));
    assert_eq!(config.retry_after(), Duration::from_secs(4));
    assert_eq!(config.fallbacks()[0].to, ["c"]);
    assert_eq!(config.default_fallbacks()[0].to, ["c"]);
    let aliases = config.model_group_alias();
    assert_eq!(
        (aliases["x"].model.as_str(), aliases["x"].hidden),
        ("b", true)
    );
    assert_eq!(aliases["y"].model, "a");
    assert_eq!(config.trusted_proxies().map(<[String]>::len), Some(1));
    assert_eq!(config.upstream_verification(), (false, None));
}
