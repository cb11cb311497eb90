//! One entry of `model_list`.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value as Json};

use super::value::redacted;
use crate::rows::LITELLM_PARAMS;
use crate::tree::Position;

/// A deployment: a public name, what is called, and facts about it.
///
/// Both maps are kept whole, because every key that is not ours belongs to the provider. The
/// values of known keys are checked and in their plain form: spans are seconds, numbers numbers.
#[derive(Clone, PartialEq)]
pub struct ModelEntry {
    /// The group's public name, or a pattern with `*`.
    pub model_name: String,
    /// What is called and how, in the order of the file, `os.environ/` resolved.
    pub litellm_params: Map<String, Json>,
    /// Facts about the deployment.
    pub model_info: Map<String, Json>,
    /// Where the entry begins.
    pub at: Position,
}

impl fmt::Debug for ModelEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelEntry")
            .field("model_name", &self.model_name)
            .field("litellm_params", &redacted(&self.litellm_params))
            .field("model_info", &redacted(&self.model_info))
            .field("at", &self.at)
            .finish()
    }
}

impl ModelEntry {
    /// `provider/model`, or a model's name whose provider is inferred.
    pub fn model(&self) -> &str {
        self.text("model").unwrap_or_default()
    }

    /// The upstream credential.
    pub fn api_key(&self) -> Option<&str> {
        self.text("api_key")
    }

    /// Where the provider is.
    pub fn api_base(&self) -> Option<&str> {
        self.text("api_base").or_else(|| self.text("base_url"))
    }

    /// The version of the provider's API.
    pub fn api_version(&self) -> Option<&str> {
        self.text("api_version")
    }

    /// The provider, where it is said apart from the model.
    pub fn custom_llm_provider(&self) -> Option<&str> {
        self.text("custom_llm_provider")
    }

    /// Requests per minute.
    pub fn rpm(&self) -> Option<u64> {
        self.whole("rpm")
    }

    /// Tokens per minute.
    pub fn tpm(&self) -> Option<u64> {
        self.whole("tpm")
    }

    /// Share of the group's traffic, where one was given.
    pub fn weight(&self) -> Option<f64> {
        self.number("weight")
    }

    /// Concurrent calls.
    pub fn max_parallel_requests(&self) -> Option<u64> {
        self.whole("max_parallel_requests")
    }

    /// One call.
    pub fn timeout(&self) -> Option<Duration> {
        self.seconds("timeout")
            .or_else(|| self.seconds("request_timeout"))
    }

    /// One streamed call.
    pub fn stream_timeout(&self) -> Option<Duration> {
        self.seconds("stream_timeout")
    }

    /// Calls after the first one failed.
    pub fn max_retries(&self) -> Option<u64> {
        self.whole("max_retries")
            .or_else(|| self.whole("num_retries"))
    }

    /// How long it cools down.
    pub fn cooldown_time(&self) -> Option<Duration> {
        self.seconds("cooldown_time")
    }

    /// Tags that requests may ask for.
    pub fn tags(&self) -> Vec<&str> {
        let tags = self.litellm_params.get("tags").and_then(Json::as_array);
        tags.map(|tags| tags.iter().filter_map(Json::as_str).collect())
            .unwrap_or_default()
    }

    /// Deployments of a lower order are used first.
    pub fn order(&self) -> Option<u64> {
        self.whole("order")
    }

    /// The deployment's region.
    pub fn region_name(&self) -> Option<&str> {
        self.text("region_name")
    }

    /// A canned answer: a text, or a whole answer as a map.
    pub fn mock_response(&self) -> Option<&Json> {
        self.litellm_params.get("mock_response")
    }

    /// The deployment's id, where one was given.
    pub fn id(&self) -> Option<&str> {
        self.model_info.get("id").and_then(Json::as_str)
    }

    /// What the deployment does, where it was said.
    pub fn mode(&self) -> Option<&str> {
        self.model_info.get("mode").and_then(Json::as_str)
    }

    /// The model to look up costs and windows by.
    pub fn base_model(&self) -> Option<&str> {
        let info = self.model_info.get("base_model").and_then(Json::as_str);
        info.or_else(|| self.text("base_model"))
    }

    /// USD per prompt token; the entry's own, or `model_info`'s.
    pub fn input_cost_per_token(&self) -> Option<f64> {
        self.fact("input_cost_per_token")
    }

    /// USD per answered token; the entry's own, or `model_info`'s.
    pub fn output_cost_per_token(&self) -> Option<f64> {
        self.fact("output_cost_per_token")
    }

    /// Defaults of the request's body: every key of `litellm_params` that is not a parameter of
    /// ours, and those of ours that are meant for the body.
    pub fn request_defaults(&self) -> impl Iterator<Item = (&str, &Json)> {
        const FOR_THE_BODY: [&str; 2] = ["temperature", "max_tokens"];
        self.litellm_params
            .iter()
            .map(|(name, value)| (name.as_str(), value))
            .filter(|(name, _)| FOR_THE_BODY.contains(name) || LITELLM_PARAMS.find(name).is_none())
    }

    /// Both maps without their secrets.
    pub fn redacted(&self) -> (Map<String, Json>, Map<String, Json>) {
        (redacted(&self.litellm_params), redacted(&self.model_info))
    }

    /// A text of `litellm_params`.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.litellm_params.get(name).and_then(Json::as_str)
    }

    /// A whole number of `litellm_params`.
    pub fn whole(&self, name: &str) -> Option<u64> {
        self.litellm_params.get(name).and_then(Json::as_u64)
    }

    /// A number of `litellm_params`.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.litellm_params.get(name).and_then(Json::as_f64)
    }

    /// A switch of `litellm_params`.
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.litellm_params.get(name).and_then(Json::as_bool)
    }

    fn seconds(&self, name: &str) -> Option<Duration> {
        self.number(name)
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    }

    fn fact(&self, name: &str) -> Option<f64> {
        self.number(name)
            .or_else(|| self.model_info.get(name).and_then(Json::as_f64))
    }
}
