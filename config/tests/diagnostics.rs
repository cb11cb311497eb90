//! What a broken file is told: every mistake, in order, with its place, and no secret.

#![expect(
    clippy::panic,
    clippy::expect_used,
    reason = "a test says what went wrong by failing"
)]

use std::fs;
use std::path::PathBuf;

use shardgate_config::{Diagnostic, Loaded, Options, load, parse};

fn environment(name: &str) -> Option<String> {
    match name {
        "SECRET" => Some(String::from("sk-this-must-not-be-printed")),
        "NUMBER" => Some(String::from("7")),
        "WORDS" => Some(String::from("one, two")),
        "PROCESS" => Some(String::from("process")),
        _ => None,
    }
}

fn read(text: &str, strict: bool) -> Result<Loaded, Vec<String>> {
    parse(
        text,
        "c.yaml",
        &environment,
        Options {
            strict,
            ..Options::default()
        },
    )
    .map_err(|errors| errors.iter().map(Diagnostic::to_string).collect())
}

/// One error per expected text, in this order.
fn errors(text: &str, expected: &[&str]) {
    let found = read(text, false).err().unwrap_or_default();
    assert_eq!(found.len(), expected.len(), "{text}\n{}", found.join("\n"));
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.contains(expected), "{expected}\nis not in\n{found}");
        assert!(!found.contains("must-not-be-printed"), "{found}");
    }
}

/// One warning per expected text besides those about the open gateway and the empty model list.
fn warnings(text: &str, expected: &[&str]) {
    let loaded = read(text, false).unwrap_or_else(|errors| panic!("{text}\n{}", errors.join("\n")));
    let found: Vec<String> = loaded
        .warnings
        .iter()
        .filter(|found| !["general_settings.master_key", "model_list"].contains(&&*found.path))
        .map(Diagnostic::to_string)
        .collect();
    assert_eq!(found.len(), expected.len(), "{text}\n{}", found.join("\n"));
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.contains(expected), "{expected}\nis not in\n{found}");
    }
}

#[test]
fn ten_mistakes_are_ten_diagnostics() {
    let text = include_str!("mistakes.yaml");
    let found = parse(text, "mistakes.yaml", &environment, Options::default())
        .map_err(|errors| errors.iter().map(Diagnostic::to_string).collect::<Vec<_>>());
    let found = found.err().unwrap_or_default();
    let expected: Vec<&str> = include_str!("mistakes.txt").lines().collect();
    assert_eq!(found, expected, "\n{}\n", found.join("\n"));
    assert_eq!(found.len(), 10);
    assert!(!found.concat().contains("must-not-be-printed"));
}

#[test]
fn a_wrong_value_says_what_was_expected() {
    errors(
        "general_settings:\n  master_key: yes\n  store_model_in_db: maybe\n  alerting_threshold: 3 weeks\n",
        &[
            "c.yaml:2:15: general_settings.master_key: a string is expected; got a boolean (***)",
            "c.yaml:3:22: general_settings.store_model_in_db: a boolean (true or false) is expected; got `maybe`",
            "c.yaml:4:23: general_settings.alerting_threshold: seconds",
        ],
    );
    errors(
        "router_settings: [1]\n",
        &["c.yaml:1:18: router_settings: a map is expected; got a list"],
    );
    errors("[1, 2]\n", &["a map of sections is expected; got a list"]);
    errors("hello\n", &["a map of sections is expected; got a string"]);
    errors(
        "router_settings: {num_retries: 1.5}\n",
        &["an integer from 0 to 100 is expected; got `1.5`"],
    );
    errors(
        "general_settings: {allowed_routes: x}\n",
        &["write a single value as a list"],
    );
    errors(
        "general_settings: {custom_auth: nodots}\n",
        &["module.name"],
    );
    errors(
        "litellm_settings: {budget_duration: 30}\n",
        &["a span such as 30s"],
    );
    errors("litellm_settings: {request_timeout: .inf}\n", &["seconds"]);
    errors(
        "litellm_settings: {max_budget: .nan}\n",
        &["a number of 0 or more"],
    );
}

#[test]
fn ports_urls_and_networks_are_checked() {
    errors(
        "litellm_settings: {cache_params: {type: redis, host: h, port: 70000}}\n",
        &["from 1 to 65535 is expected; got `70000`"],
    );
    errors(
        "general_settings: {allowed_ips: [10.0.0.1, fe80::/129, nonsense]}\n",
        &["allowed_ips[1]", "allowed_ips[2]"],
    );
    errors(
        "general_settings: {database_url: \"mysql://u:must-not-be-printed@h/d\"}\n",
        &["postgresql://"],
    );
    errors(
        "general_settings: {alert_to_webhook_url: {errors: must-not-be-printed}}\n",
        &["a URL"],
    );
    for base in [
        "localhost:8000",
        "http://",
        "http://host:0",
        "http://host:99999",
        "http://ho st",
        "ws://h",
    ] {
        let text = format!(
            "model_list: [{{model_name: a, litellm_params: {{model: b, api_base: \"{base}\"}}}}]\n"
        );
        errors(
            &text,
            &["api_base: a URL (http://, https://) with a host is expected"],
        );
    }
    for base in [
        "http://localhost:8000/v1",
        "https://h",
        "http://[::1]:80/x",
        "http://10.0.0.1",
    ] {
        let text = format!(
            "model_list: [{{model_name: a, litellm_params: {{model: b, api_base: \"{base}\"}}}}]\n"
        );
        errors(&text, &[]);
    }
    warnings(
        "model_list: [{model_name: a, litellm_params: {model: b, api_base: YOUR_API_BASE}}]\n",
        &["looks like a placeholder"],
    );
}

#[test]
fn an_unknown_name_is_a_warning_with_the_nearest_and_an_error_when_strict() {
    let text = "general_settings:\n  master_keys: sk-this-must-not-be-printed\nrooter_settings: {}\nxyzzy: 1\n";
    warnings(
        text,
        &[
            "c.yaml:2:3: general_settings.master_keys: unknown parameter; did you mean `master_key`?",
            "c.yaml:3:1: rooter_settings: unknown parameter; did you mean `router_settings`?",
            "c.yaml:4:1: xyzzy: unknown parameter; it has no effect",
        ],
    );
    let strict = read(text, true).err().unwrap_or_default();
    assert_eq!(strict.len(), 3, "{strict:?}");
    let loaded = read(text, false).expect("a warning only");
    assert_eq!(loaded.config.unknown["xyzzy"], 1);
    assert!(loaded.config.general.unknown.contains_key("master_keys"));
}

#[test]
fn names_of_the_provider_are_no_mistakes_but_slips_are_noticed() {
    let entry = |params: &str| {
        format!("model_list: [{{model_name: a, litellm_params: {{model: b, {params}}}}}]\n")
    };
    warnings(
        &entry("top_k: 4, my_vendor_field: x, reasoning_effort: low"),
        &[],
    );
    warnings(
        &entry("api_bas: \"http://h\""),
        &["did you mean `api_base`?"],
    );
    errors(
        "model_list: [{model_name: a, litellm_params: {modle: b}}]\n",
        &["is it meant by `modle`?"],
    );
}

#[test]
fn the_environment_is_resolved_everywhere() {
    let text = "
environment_variables:
  OWN: own
  PROCESS: section
  COPY: os.environ/NUMBER
  PORT: 0123
model_list:
  - model_name: os.environ/OWN
    litellm_params:
      model: os.environ/PROCESS
      api_key: os.environ/SECRET
      rpm: os.environ/NUMBER
      deep: {deeper: [os.environ/COPY]}
litellm_settings: {success_callback: os.environ/WORDS}
";
    let loaded = read(text, false).expect("a configuration");
    let model = &loaded.config.models[0];
    assert_eq!(model.model_name, "own");
    assert_eq!(model.model(), "section");
    assert_eq!(model.api_key(), Some("sk-this-must-not-be-printed"));
    assert_eq!(model.rpm(), Some(7));
    assert_eq!(model.litellm_params["deep"]["deeper"][0], "7");
    assert_eq!(loaded.config.litellm.success_callback, ["one", "two"]);
    let names: Vec<&str> = loaded
        .config
        .environment
        .iter()
        .map(|(name, _)| &**name)
        .collect();
    assert_eq!(names, ["OWN", "PROCESS", "COPY", "PORT"]);
    assert_eq!(loaded.config.environment[3].1.expose(), "0123");
    assert!(!format!("{loaded:?}").contains("must-not-be-printed"));
}

#[test]
fn a_missing_variable_is_one_error_and_a_wrong_one_is_not_shown() {
    errors(
        "general_settings:\n  master_key: os.environ/NOWHERE\n  max_request_size_mb: os.environ/SECRET\n",
        &[
            "c.yaml:2:15: general_settings.master_key: the environment variable NOWHERE",
            "c.yaml:3:24: general_settings.max_request_size_mb: a number from 0 to 1048576 is expected; got the value of os.environ/SECRET",
        ],
    );
    errors(
        "model_list: [{model_name: a, litellm_params: {model: b, x: [{y: os.environ/}]}}]\n",
        &["litellm_params.x[0].y: a name is expected after"],
    );
}

#[test]
fn variables_stand_in_for_parameters() {
    let env = |name: &str| {
        let value = match name {
            "PROXY_MASTER_KEY" => "sk-from-the-environment",
            "LITELLM_VERBOSE" => "2",
            "REDIS_PORT" => "tcp://10.0.0.1:6379",
            "LITELLM_JSON_LOGS" => "yes",
            "DATABASE_URL" => "postgres://h/d",
            "LITELLM_CALLBACKS" => "langfuse,otel",
            _ => return None,
        };
        Some(value.to_owned())
    };
    let config = parse("", "c.yaml", &env, Options::default())
        .expect("an empty file")
        .config;
    assert_eq!(
        config.general.master_key.expect("a key").expose(),
        "sk-from-the-environment"
    );
    assert!(config.litellm.set_verbose && config.litellm.json_logs);
    assert_eq!(config.litellm.callbacks, ["langfuse", "otel"]);
    assert_eq!(
        config.general.database_url.expect("a URL").expose(),
        "postgres://h/d"
    );
    let wrong = |name: &str| (name == "LITELLM_JSON_LOGS").then(|| String::from("perhaps"));
    let errors = parse("", "c.yaml", &wrong, Options::default()).expect_err("a wrong variable");
    assert_eq!(
        errors[0].to_string(),
        "environment: litellm_settings.json_logs: a boolean (true or false) is expected; got the value of os.environ/LITELLM_JSON_LOGS"
    );
}

#[test]
fn parameters_that_need_each_other() {
    errors(
        "litellm_settings: {cache: true}\n",
        &["expects `cache_params`"],
    );
    errors(
        "litellm_settings: {cache: true, cache_params: {type: redis}}\n",
        &["Redis needs `host`"],
    );
    errors(
        "litellm_settings: {cache_params: {ttl: 1}}\n",
        &["cache_params.type: required"],
    );
    errors(
        "litellm_settings: {cache_params: {type: s3}}\n",
        &["s3_bucket_name"],
    );
    errors(
        "litellm_settings: {cache_params: {type: qdrant}}\n",
        &[
            "qdrant_api_base",
            "qdrant_collection_name",
            "similarity_threshold",
        ],
    );
    errors(
        "litellm_settings: {cache_params: {type: redis, service_name: m}}\n",
        &["Sentinel needs both", "Redis needs `host`"],
    );
    errors(
        "general_settings: {enable_jwt_auth: true}\n",
        &["litellm_jwtauth"],
    );
    errors(
        "general_settings: {alerting: [email, webhook]}\n",
        &["smtp_host", "from_email", "webhook_url"],
    );
    errors(
        "router_settings: {routing_strategy: custom}\n",
        &["custom_routing_strategy_path"],
    );
    errors(
        "router_settings: {routing_strategy_args: {ttl: 1}}\n",
        &["simple-shuffle does not know this argument; it takes none"],
    );
    errors(
        "router_settings: {routing_strategy: latency-based-routing, routing_strategy_args: {tll: 1}}\n",
        &["did you mean `ttl`?"],
    );
    errors(
        "router_settings: {provider_budget_config: {openai: {budget_limit: 1}}}\n",
        &["go together"],
    );
    errors(
        "general_settings: {proxy_budget_rescheduler_min_time: 700}\n",
        &["got 605 and 700"],
    );
    errors(
        "model_list:\n- {model_name: a, litellm_params: {model: x}, model_info: {id: i}}\n- {model_name: b, litellm_params: {model: x}, model_info: {id: i}}\n",
        &["c.yaml:3:64: model_list[1].model_info.id"],
    );
}

#[test]
fn what_is_odd_is_a_warning() {
    warnings(
        "router_settings: {allowed_fails: 3}\n",
        &["without `cooldown_time`"],
    );
    warnings(
        "router_settings: {allowed_fails: 3, cooldown_time: 9}\n",
        &[],
    );
    warnings(
        "general_settings: {allow_user_auth: true}\n",
        &["deprecated; use keys"],
    );
    warnings("router_settings: {set_verbose: true}\n", &["deprecated"]);
    warnings(
        "general_settings: {use_x_forwarded_for: on}\n",
        &["trusted_proxies"],
    );
    warnings(
        "litellm_settings: {callbacks: [langfus, my.callback]}\n",
        &["did you mean `langfuse`?"],
    );
    warnings(
        "router_settings: {routing_strategy: usage-based-routing-v2}\n",
        &["this instance only"],
    );
    let models = "model_list: [{model_name: a, litellm_params: {model: x}}, {model_name: \"openai/*\", litellm_params: {model: \"openai/*\"}}]\n";
    warnings(
        &format!(
            "{models}router_settings: {{fallbacks: [{{a: [openai/gpt-4o, aa]}}, {{c: [a]}}], default_fallbacks: [a]}}\n"
        ),
        &["\"aa\"; did you mean `a`?", "\"c\""],
    );
    warnings(
        &format!(
            "{models}general_settings: {{completion_model: b, model_group_alias: {{c: a}}}}\n"
        ),
        &["\"b\""],
    );
    let empty = read("general_settings: {master_key: sk-1}\n", false).expect("a configuration");
    assert!(
        empty.warnings[0]
            .message
            .contains("no deployment is listed")
    );
}

#[test]
fn both_forms_of_fallbacks_are_read() {
    let text = "router_settings:\n  fallbacks: [{a: [b, c]}, {d: e}, f]\n  default_fallbacks: [x, y]\n  context_window_fallbacks: {g: [h]}\n";
    let router = read(text, false).expect("a configuration").config.router;
    let plain = |list: &[shardgate_config::Fallback]| {
        list.iter()
            .map(|rule| format!("{}>{}", rule.model, rule.to.join("+")))
            .collect::<Vec<_>>()
    };
    assert_eq!(plain(&router.fallbacks), ["a>b+c", "d>e", "*>f"]);
    assert_eq!(plain(&router.default_fallbacks), ["*>x+y"]);
    assert_eq!(plain(&router.context_window_fallbacks), ["g>h"]);
}

#[test]
fn what_has_no_effect_yet_is_named_once() {
    let text = "model_list:\n- {model_name: a, litellm_params: {model: x, deployment_id: d}}\n- {model_name: b, litellm_params: {model: x, deployment_id: d}}\nguardrails: []\n";
    let named = read(text, false).expect("a configuration").not_in_force;
    let count = |name: &str| named.iter().filter(|known| *known == name).count();
    assert_eq!(
        count("model_list[].litellm_params.deployment_id"),
        1,
        "{named:?}"
    );
    assert_eq!(count("guardrails"), 1, "{named:?}");
    let text = "litellm_settings: {cache_params: {type: memory}}";
    let named = read(text, false).expect("a configuration").not_in_force;
    assert_eq!(named, ["litellm_settings.cache_params"]);
}

/// A folder of its own for one test's files, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, files: &[(&str, &[u8])]) -> Folder {
        let path =
            std::env::temp_dir().join(format!("shardgate-config-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        for (name, text) in files {
            fs::write(path.join(name), text).expect("a file");
        }
        Folder(path)
    }

    fn load(&self) -> Result<Loaded, Vec<String>> {
        load(
            &self.0.join("config.yaml"),
            &environment,
            Options::default(),
        )
        .map_err(|errors| errors.iter().map(Diagnostic::to_string).collect())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn included_files_are_merged() {
    let folder = Folder::new(
        "include",
        &[
            ("config.yaml", b"include: [models.yaml, settings.yaml]\nmodel_list: [{model_name: a, litellm_params: {model: x}}]\ngeneral_settings: {master_key: sk-1}\nrouter_settings: {timeout: 1}\n"),
            ("models.yaml", b"model_list: [{model_name: b, litellm_params: {model: y}}]\n"),
            ("settings.yaml", b"general_settings: {store_model_in_db: true}\nrouter_settings: {timeout: 2}\n"),
        ],
    );
    let loaded = folder.load().expect("a configuration");
    let names: Vec<&str> = loaded
        .config
        .models
        .iter()
        .map(|model| &*model.model_name)
        .collect();
    assert_eq!(names, ["a", "b"]);
    assert!(loaded.config.general.store_model_in_db);
    assert_eq!(
        loaded
            .config
            .general
            .master_key
            .as_ref()
            .expect("a key")
            .expose(),
        "sk-1"
    );
    assert_eq!(loaded.config.router.timeout.as_secs(), 2);
    assert!(
        loaded.warnings[0]
            .to_string()
            .contains("settings.yaml:2:28: router_settings.timeout: also set")
    );
}

#[test]
fn mistakes_of_all_included_files_are_reported_together() {
    let folder = Folder::new(
        "include-wrong",
        &[
            ("config.yaml", b"include:\n- a.yaml\n- gone.yaml\n- config.yaml\nrouter_settings: {num_retries: x}\n"),
            ("a.yaml", b"model_list:\n- {model_name: b}\ninclude: [list.yaml]\n"),
            ("list.yaml", b"- 1\n"),
        ],
    );
    let errors = folder.load().expect_err("mistakes");
    let expected = [
        "config.yaml:3:3: include: ",
        "config.yaml:4:3: include: a file is expected once",
        "config.yaml:5:32: router_settings.num_retries",
        "a.yaml:2:3: model_list[0].litellm_params: required",
        "list.yaml:1:1: a map of sections",
    ];
    assert_eq!(errors.len(), expected.len(), "{errors:?}");
    for (error, expected) in errors.iter().zip(expected) {
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn files_that_cannot_be_read_say_why() {
    let missing = load(
        &PathBuf::from("/nowhere/config.yaml"),
        &environment,
        Options::default(),
    );
    let errors = missing.expect_err("no such file");
    assert!(
        errors[0]
            .to_string()
            .starts_with("/nowhere/config.yaml: cannot be read: "),
        "{errors:?}"
    );
    let folder = Folder::new("latin1", &[("config.yaml", b"a: 1\nb: caf\xe9\n")]);
    let errors = folder.load().expect_err("not UTF-8");
    assert!(
        errors[0].ends_with("config.yaml:2:7: UTF-8 is expected; got a byte that is not"),
        "{errors:?}"
    );
}
