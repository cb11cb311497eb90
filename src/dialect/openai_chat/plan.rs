//! How one deployment's requests are edited: all that does not depend on the request. Made once, when a configuration is
//! read; [`request`](super::request) uses it.

use serde_json::{Map, Value};

use super::messages::MessageRules;
use super::params::{PARAMS, Param, Rule, is_gateway_setting};
use crate::error::push_json_string;

/// When a stream's usage is asked for upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamUsage {
    /// Always: `stream_options.include_usage` is added.
    Ask,
    /// When the client asks.
    AsClient,
    /// Never: the provider does not take `stream_options`.
    Never,
}

/// What distinguishes a provider's requests; one constant per provider.
#[derive(Clone, Copy, Debug)]
pub struct RequestRules {
    /// Fields with another rule than `Keep`.
    pub params: &'static [(Param, Rule)],
    /// When usage is asked for.
    pub stream_usage: StreamUsage,
    /// Say `"stream": false` where the client said nothing.
    pub stream_false: bool,
    /// What happens to messages.
    pub messages: MessageRules,
    /// Members that every request gets: name and JSON value.
    pub adds: &'static [(&'static str, &'static str)],
    /// Members that a request with the parameter gets: parameter, name and JSON value.
    pub adds_with: &'static [(Param, &'static str, &'static str)],
    /// Members that are left out anywhere in `tools`.
    pub tool_drops: &'static [&'static str],
}

impl RequestRules {
    /// Nothing special: what an unknown OpenAI-compatible host gets.
    pub const PLAIN: Self = Self {
        params: &[],
        stream_usage: StreamUsage::Ask,
        stream_false: false,
        messages: MessageRules::PLAIN,
        adds: &[],
        adds_with: &[],
        tool_drops: &[],
    };
}

/// One default of a deployment.
#[derive(Clone, Debug)]
pub(super) struct Default {
    pub(super) name: String,
    pub(super) param: Option<Param>,
    pub(super) value: Box<[u8]>,
}

/// How one deployment's requests are edited.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) provider: &'static str,
    pub(super) model: String,
    pub(super) model_json: Box<[u8]>,
    pub(super) rules: [Rule; PARAMS],
    pub(super) stream_usage: StreamUsage,
    pub(super) stream_false: bool,
    pub(super) messages: MessageRules,
    pub(super) adds_with: &'static [(Param, &'static str, &'static str)],
    pub(super) tool_drops: &'static [&'static str],
    pub(super) defaults: Vec<Default>,
    /// `additional_drop_params` that are no [`Param`].
    pub(super) dropped: Vec<String>,
    pub(super) drop_params: bool,
    /// No `model` in the body: the URL says it.
    pub(super) without_model: bool,
}

impl Plan {
    /// The plan for a deployment: its provider's rules and its parameters.
    pub fn new(
        provider: &'static str,
        model: &str,
        rules: &RequestRules,
        params: &Map<String, Value>,
    ) -> Self {
        let mut model_json = Vec::with_capacity(model.len() + 2);
        push_json_string(&mut model_json, model);
        let mut plan = Self {
            provider,
            model: model.to_owned(),
            model_json: model_json.into_boxed_slice(),
            rules: [Rule::Keep; PARAMS],
            stream_usage: rules.stream_usage,
            stream_false: rules.stream_false,
            messages: rules.messages,
            adds_with: rules.adds_with,
            tool_drops: rules.tool_drops,
            defaults: Vec::new(),
            dropped: Vec::new(),
            drop_params: params.get("drop_params") == Some(&Value::Bool(true)),
            without_model: false,
        };
        for (param, rule) in rules.params {
            plan.set(*param, *rule);
        }
        for name in strings(params, "allowed_openai_params") {
            if let Some(param) = Param::of(name.as_bytes()) {
                plan.set(param, Rule::Keep);
            }
        }
        for name in strings(params, "additional_drop_params") {
            match Param::of(name.as_bytes()) {
                Some(param) => plan.set(param, Rule::Remove),
                None => plan.dropped.push(name.to_owned()),
            }
        }
        plan.add_defaults(params);
        for (name, value) in rules.adds {
            plan.add_default(name, value.as_bytes());
        }
        plan
    }

    /// Sets a parameter's rule.
    pub fn set(&mut self, param: Param, rule: Rule) {
        self.rules[param as usize] = rule;
    }

    /// Parameters that the model does not take.
    pub fn refuse(&mut self, params: &[Param]) {
        params
            .iter()
            .for_each(|param| self.set(*param, Rule::Refuse));
    }

    /// Sets what happens to messages.
    pub fn set_messages(&mut self, rules: MessageRules) {
        self.messages = rules;
    }

    /// Says nothing about `stream` in requests that are no streams.
    pub fn without_stream_false(&mut self) {
        self.stream_false = false;
    }

    /// Never touches `stream_options`.
    pub fn without_stream_usage(&mut self) {
        self.stream_usage = StreamUsage::AsClient;
    }

    /// Leaves the model out of the body.
    pub fn without_model(&mut self) {
        self.without_model = true;
    }

    /// A member that requests get when they do not have it.
    pub fn add_default(&mut self, name: &str, value: &[u8]) {
        if self.defaults.iter().any(|default| default.name == name) {
            return;
        }
        let param = Param::of(name.as_bytes());
        self.defaults.push(Default {
            name: name.to_owned(),
            param,
            value: value.into(),
        });
    }

    fn add_defaults(&mut self, params: &Map<String, Value>) {
        let extra = params.get("extra_body").and_then(Value::as_object);
        let settings = params
            .iter()
            .filter(|(name, value)| !is_gateway_setting(name) && !value.is_null());
        for (name, value) in extra
            .into_iter()
            .flatten()
            .chain(settings.filter(|(name, _)| *name != "extra_body"))
        {
            let param = Param::of(name.as_bytes());
            if matches!(
                param,
                Some(Param::Model | Param::Messages | Param::Stream | Param::StreamOptions)
            ) {
                continue;
            }
            let name = match param.map(|param| self.rules[param as usize]) {
                Some(Rule::Rename(other)) => other.name(),
                Some(Rule::Remove) => continue,
                _ => name.as_str(),
            };
            self.add_default(name, value.to_string().as_bytes());
        }
    }
}

fn strings<'a>(params: &'a Map<String, Value>, name: &str) -> impl Iterator<Item = &'a str> {
    params
        .get(name)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}
