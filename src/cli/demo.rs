//! `shardgate demo`: a model that needs no key and no network.

use std::process::ExitCode;

use super::ServeArgs;
use crate::coordinator::Source;

/// The embedded configuration.
const CONFIG: &str = r#"
model_list:
  - model_name: demo
    litellm_params:
      model: openai/demo
      api_key: none-needed
      mock_response: "Hello from Shardgate. Put your own models into a config.yaml and start me with: shardgate --config config.yaml"
    model_info:
      mode: chat
"#;

/// Serves the demo model until the process is told to end.
pub(super) fn run(args: ServeArgs) -> ExitCode {
    super::serve::run_with(args, Source::Text(CONFIG.to_owned()), Some("demo"))
}
