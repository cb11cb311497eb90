//! The names of request fields that some provider treats in its own way, and what a provider may do with one. A name that
//! is not listed goes upstream as it came.

use std::borrow::Cow;

macro_rules! params {
    ($($variant:ident $name:literal,)*) => {
        /// A request field with a meaning of its own. The order is the one in which messages list parameters.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "each variant is the field of that name")]
        pub enum Param { $($variant,)* }

        impl Param {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The field's name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The field of that name, when it is listed.
            pub fn of(name: &[u8]) -> Option<Self> {
                match name {
                    $(names::$variant => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }

        mod names {
            #![expect(non_upper_case_globals, reason = "each constant is the name of that variant")]
            $(pub(super) const $variant: &[u8] = $name.as_bytes();)*
        }
    };
}

params! {
    Functions "functions",
    FunctionCall "function_call",
    Temperature "temperature",
    TopP "top_p",
    N "n",
    Stream "stream",
    StreamOptions "stream_options",
    Stop "stop",
    MaxTokens "max_tokens",
    MaxCompletionTokens "max_completion_tokens",
    Modalities "modalities",
    Prediction "prediction",
    Audio "audio",
    PresencePenalty "presence_penalty",
    FrequencyPenalty "frequency_penalty",
    LogitBias "logit_bias",
    User "user",
    ResponseFormat "response_format",
    Seed "seed",
    Tools "tools",
    ToolChoice "tool_choice",
    Logprobs "logprobs",
    TopLogprobs "top_logprobs",
    ParallelToolCalls "parallel_tool_calls",
    ReasoningEffort "reasoning_effort",
    Verbosity "verbosity",
    Thinking "thinking",
    ServiceTier "service_tier",
    SafetyIdentifier "safety_identifier",
    PromptCacheKey "prompt_cache_key",
    WebSearchOptions "web_search_options",
    EncodingFormat "encoding_format",
    Dimensions "dimensions",
    RandomSeed "random_seed",
    Model "model",
    Messages "messages",
    Metadata "metadata",
    Input "input",
    DropParams "drop_params",
    AllowedParams "allowed_openai_params",
    AdditionalDropParams "additional_drop_params",
    ExtraBody "extra_body",
    ExtraHeaders "extra_headers",
}

/// How many there are.
pub const PARAMS: usize = Param::ALL.len();

/// What happens to a field on its way to the provider.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// It goes as it came.
    Keep,
    /// It is left out without a word.
    Remove,
    /// The provider does not take it: refused, or left out where parameters may be dropped.
    Refuse,
    /// It has another name there; when that one is there too, this one is left out.
    Rename(Param),
    /// The value decides.
    Value(fn(&[u8]) -> Change),
}

/// What a value's rule says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// As it came.
    Keep,
    /// Left out.
    Remove,
    /// Another value.
    Replace(Cow<'static, [u8]>),
    /// Refused with this text, or left out where parameters may be dropped.
    Refuse(String),
}

/// Whether a request field is for the gateway and never goes upstream.
pub fn is_gateway_field(name: &[u8]) -> bool {
    if name.starts_with(b"litellm_") || name.starts_with(b"mock_") {
        return true;
    }
    matches!(
        name,
        b"metadata"
            | b"tags"
            | b"priority"
            | b"cache"
            | b"caching"
            | b"fallbacks"
            | b"context_window_fallbacks"
            | b"content_policy_fallbacks"
            | b"disable_fallbacks"
            | b"num_retries"
            | b"max_retries"
            | b"max_fallbacks"
            | b"timeout"
            | b"stream_timeout"
            | b"request_timeout"
            | b"no-log"
            | b"guardrails"
            | b"guardrail_config"
            | b"user_config"
            | b"api_key"
            | b"api_base"
            | b"base_url"
            | b"api_version"
            | b"organization"
            | b"specific_deployment"
            | b"fastest_response"
            | b"drop_params"
            | b"additional_drop_params"
            | b"allowed_openai_params"
            | b"extra_body"
            | b"extra_headers"
            | b"custom_llm_provider"
            | b"proxy_server_request"
            | b"model_info"
            | b"secret_fields"
    )
}

/// Whether a deployment's parameter is for the gateway. All others are defaults for requests.
pub fn is_gateway_setting(name: &str) -> bool {
    const PREFIXES: &[&str] = &[
        "aws_",
        "vertex_",
        "litellm_",
        "mock_",
        "azure_",
        "watsonx_",
        "s3_",
        "gcs_",
        "langfuse_",
        "client_",
        "tenant_",
    ];
    const NAMES: &[&str] = &[
        "allowed_fails",
        "allowed_fails_policy",
        "allowed_model_region",
        "base_model",
        "budget_duration",
        "complete_response",
        "configurable_clientside_auth_params",
        "cooldown_time",
        "default_api_key_rpm_limit",
        "default_api_key_tpm_limit",
        "disable_add_transform_inline_image_block",
        "enable_preview_features",
        "extra_headers",
        "headers",
        "hf_model_name",
        "initial_prompt_value",
        "max_budget",
        "max_parallel_requests",
        "merge_reasoning_content_in_choices",
        "model",
        "order",
        "project_id",
        "region_name",
        "retry_policy",
        "roles",
        "rpm",
        "rust",
        "space_id",
        "supports_system_message",
        "tag_regex",
        "token",
        "tpm",
        "use_in_pass_through",
        "use_litellm_proxy",
        "weight",
    ];
    is_gateway_field(name.as_bytes()) && name != "extra_body"
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || name.contains("_cost_per_")
        || name.ends_with("_cost")
        || NAMES.binary_search(&name).is_ok()
}

/// A JSON value as Python prints it, for messages that quote values: `{'a': True, 'b': None}`.
pub fn python_repr(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(raw);
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_ref();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string_length(rest),
            _ if first.is_ascii_alphabetic() => {
                rest.bytes().take_while(u8::is_ascii_alphabetic).count()
            }
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        match token {
            "true" => out.push_str("True"),
            "false" => out.push_str("False"),
            "null" => out.push_str("None"),
            "," => out.push_str(", "),
            ":" => out.push_str(": "),
            " " | "\n" | "\r" | "\t" => {}
            _ if first == '"' => out.push_str(&format!("'{}'", token.trim_matches('"'))),
            _ => out.push_str(token),
        }
        rest = after;
    }
    out
}

/// The length of the JSON string at the start of `text`, quotes included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |end| end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_param_is_found_by_its_name() {
        for param in Param::ALL {
            assert_eq!(Param::of(param.name().as_bytes()), Some(*param));
        }
        assert_eq!(Param::of(b"foo"), None);
    }

    #[test]
    fn values_are_quoted_as_python_does() {
        let raw = br#"{"type": "function", "strict": true, "x": [null, 1.5, "a\"true"]}"#;
        assert_eq!(
            python_repr(raw),
            r#"{'type': 'function', 'strict': True, 'x': [None, 1.5, 'a\"true']}"#
        );
    }

    #[test]
    fn settings_are_told_from_defaults() {
        for setting in [
            "api_key",
            "rpm",
            "weight",
            "order",
            "input_cost_per_token",
            "aws_region_name",
            "tags",
            "token",
        ] {
            assert!(is_gateway_setting(setting), "{setting}");
        }
        for default in [
            "temperature",
            "max_tokens",
            "extra_body",
            "top_k",
            "foo",
            "seed",
        ] {
            assert!(!is_gateway_setting(default), "{default}");
        }
    }
}
