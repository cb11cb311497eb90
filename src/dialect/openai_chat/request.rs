//! The edits that make a client's request one for the provider: the model's name there, the deployment's defaults, fields
//! that the provider names otherwise, does not take, or that are for the gateway. A [`Plan`] says how.

use std::borrow::Cow;

use super::messages;
use super::params::{Change, PARAMS, Param, Rule, is_gateway_field};
use super::plan::{Plan, StreamUsage};
use crate::dialect::scan::{Scan, Span};
use crate::dialect::splice::{Edits, Members, Spliced};
use crate::dialect::walk;
use crate::error::{ErrorClass, GatewayError, push_json_string};

/// The edits of one request, and what they found out.
#[derive(Clone, Debug)]
pub struct Edited {
    /// The body.
    pub body: Spliced,
    /// The client wants a stream.
    pub stream: bool,
    /// The client asked for the stream's usage.
    pub usage_asked: bool,
    /// The client's `extra_headers`.
    pub headers: Vec<(String, String)>,
}

/// What of a request is not the deployment's.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlanOptions<'a> {
    /// Another model than the plan's.
    pub model: Option<&'a str>,
    /// Drop unsupported parameters although the deployment does not say so.
    pub drop_params: bool,
    /// `Some(false)`: never ask for usage by ourselves.
    pub stream_usage: Option<bool>,
}

impl Plan {
    /// Edits one request.
    pub fn apply(
        &self,
        body: &[u8],
        scan: &Scan,
        options: &PlanOptions<'_>,
    ) -> Result<Edited, GatewayError> {
        let mut pass = Pass {
            plan: self,
            body,
            scan,
            options,
            members: Members::new(),
            edits: Edits::new(),
            present: 0,
            refused: Vec::new(),
            params: [None; 24],
            extra: Vec::new(),
        };
        pass.note_present();
        for index in 0..scan.len() {
            pass.field(index)?;
        }
        pass.refuse()?;
        let stream = scan.is_true(body, "stream");
        let usage_asked = pass.stream_fields(stream);
        pass.take_extra_body();
        pass.add_missing();
        let headers = pass.extra_headers();
        pass.members
            .apply(scan.object, scan.fields(), &mut pass.edits);
        Ok(Edited {
            body: Spliced::Edits(pass.edits),
            stream,
            usage_asked,
            headers,
        })
    }
}

/// One request being edited.
struct Pass<'a> {
    plan: &'a Plan,
    body: &'a [u8],
    scan: &'a Scan,
    options: &'a PlanOptions<'a>,
    members: Members,
    edits: Edits,
    /// A bit per [`Param`] that the provider will see.
    present: u64,
    refused: Vec<Param>,
    /// What the first fields are; most requests have fewer.
    params: [Option<Param>; 24],
    /// Names that came out of `extra_body`, as they stand there.
    extra: Vec<Span>,
}

const _: () = assert!(PARAMS <= 64, "`present` has a bit per parameter");

impl Pass<'_> {
    fn note_present(&mut self) {
        for index in 0..self.scan.len() {
            let param = Param::of(self.scan.name(self.body, index));
            if let Some(param) = param {
                self.present |= 1 << param as u64;
            }
            if let Some(place) = self.params.get_mut(index) {
                *place = param;
            }
        }
    }

    fn value(&self, index: usize) -> Span {
        self.scan.fields()[index].value
    }

    fn remove(&mut self, index: usize, param: Param) {
        self.members.remove(index);
        self.present &= !(1 << param as u64);
    }

    fn field(&mut self, index: usize) -> Result<(), GatewayError> {
        let name = self.scan.name(self.body, index);
        let param = self
            .params
            .get(index)
            .copied()
            .unwrap_or_else(|| Param::of(name));
        let Some(param) = param else {
            let dropped = !self.plan.dropped.is_empty()
                && self
                    .plan
                    .dropped
                    .iter()
                    .any(|other| other.as_bytes() == name);
            if dropped || is_gateway_field(name) {
                self.members.remove(index);
            }
            return Ok(());
        };
        match param {
            Param::Model => self.model(index),
            Param::Messages => messages::edit(
                self.body,
                self.value(index),
                self.scan.has_null,
                &self.plan.messages,
                &mut self.edits,
            ),
            Param::DropParams | Param::AllowedParams | Param::AdditionalDropParams => {
                self.remove(index, param)
            }
            Param::ExtraBody | Param::ExtraHeaders => self.remove(index, param),
            Param::Metadata if !matches!(self.plan.rules[param as usize], Rule::Value(_)) => {
                self.remove(index, param)
            }
            Param::Stream | Param::StreamOptions => {}
            _ => self.param(index, param)?,
        }
        Ok(())
    }

    fn model(&mut self, index: usize) {
        if self.plan.without_model {
            return self.remove(index, Param::Model);
        }
        let span = self.value(index);
        match self.options.model {
            Some(model) => self
                .edits
                .replace_with(span, |out| push_json_string(out, model)),
            None => self.edits.replace(span, &self.plan.model_json),
        }
    }

    fn param(&mut self, index: usize, param: Param) -> Result<(), GatewayError> {
        if param == Param::Tools && !self.plan.tool_drops.is_empty() {
            messages::edit_tools(
                self.body,
                self.value(index),
                self.plan.tool_drops,
                &mut self.edits,
            );
        }
        if let Some(names) = self
            .scan
            .value(self.body, Param::AdditionalDropParams.name())
            && lists(names, param.name())
        {
            self.remove(index, param);
            return Ok(());
        }
        match self.plan.rules[param as usize] {
            Rule::Keep => {}
            Rule::Remove => self.remove(index, param),
            Rule::Refuse if is_harmless(param, self.value(index).of(self.body)) => {
                self.remove(index, param)
            }
            Rule::Refuse => {
                if !self.is_allowed(param) {
                    self.refused.push(param);
                    self.remove(index, param);
                }
            }
            Rule::Rename(other) => {
                if self.present & 1 << other as u64 == 0 {
                    self.edits
                        .replace_with(self.scan.fields()[index].key, |out| {
                            push_json_string(out, other.name())
                        });
                    self.present = self.present & !(1 << param as u64) | 1 << other as u64;
                } else {
                    self.remove(index, param);
                }
            }
            Rule::Value(rule) => match rule(self.value(index).of(self.body)) {
                Change::Keep => {}
                Change::Remove => self.remove(index, param),
                Change::Replace(value) => self.edits.replace(self.value(index), &value),
                Change::Refuse(_) if self.may_drop() => self.remove(index, param),
                Change::Refuse(text) => {
                    return Err(GatewayError::refused(ErrorClass::UnsupportedParams, text));
                }
            },
        }
        Ok(())
    }

    /// Whether the request names the parameter in `allowed_openai_params`.
    fn is_allowed(&self, param: Param) -> bool {
        let names = self.scan.value(self.body, Param::AllowedParams.name());
        names.is_some_and(|names| lists(names, param.name()))
    }

    fn may_drop(&self) -> bool {
        self.plan.drop_params
            || self.options.drop_params
            || self.scan.is_true(self.body, Param::DropParams.name())
    }

    /// The error for all parameters that the provider does not take, unless they may be dropped.
    fn refuse(&mut self) -> Result<(), GatewayError> {
        if self.refused.is_empty() || self.may_drop() {
            return Ok(());
        }
        self.refused.sort_unstable();
        let names: Vec<_> = self
            .refused
            .iter()
            .map(|param| format!("'{}'", param.name()))
            .collect();
        let names = names.join(", ");
        let (provider, model) = (
            self.plan.provider,
            self.options.model.unwrap_or(&self.plan.model),
        );
        Err(GatewayError::refused(
            ErrorClass::UnsupportedParams,
            format_args!(
                "{provider} does not support parameters: [{names}], for model={model}. To drop these, set \
                 `litellm.drop_params=True` or for proxy:\n\n`litellm_settings:\n drop_params: true`\n. \n If you want to \
                 use these params dynamically send allowed_openai_params=[{names}] in your request."
            ),
        ))
    }

    /// `stream` and `stream_options`; returns whether the client asked for usage.
    fn stream_fields(&mut self, stream: bool) -> bool {
        let index = self.scan.find(self.body, Param::StreamOptions.name());
        let asked = index.is_some_and(|index| {
            walk::member(self.body, self.value(index), "include_usage")
                .is_some_and(|value| value.of(self.body) == b"true")
        });
        if !stream
            && self.plan.stream_false
            && self.scan.find(self.body, Param::Stream.name()).is_none()
        {
            self.members.add(Param::Stream.name(), b"false");
        }
        match (self.plan.stream_usage, index) {
            (StreamUsage::Never, Some(index)) => self.remove(index, Param::StreamOptions),
            (StreamUsage::Ask, index)
                if stream && !asked && self.options.stream_usage != Some(false) =>
            {
                self.ask_for_usage(index);
            }
            _ => {}
        }
        asked
    }

    fn ask_for_usage(&mut self, options: Option<usize>) {
        let Some(index) = options else {
            return self
                .members
                .add(Param::StreamOptions.name(), br#"{"include_usage":true}"#);
        };
        let span = self.value(index);
        if let Some(value) = walk::member(self.body, span, "include_usage") {
            self.edits.replace(value, b"true");
        } else if walk::members(self.body, span).next().is_some() {
            self.edits.replace(
                Span {
                    start: span.start + 1,
                    end: span.start + 1,
                },
                br#""include_usage":true,"#,
            );
        } else {
            self.edits.replace(span, br#"{"include_usage":true}"#);
        }
    }

    /// Whether the provider will see a field of that name.
    fn has(&self, name: &[u8]) -> bool {
        match Param::of(name) {
            Some(param) => self.present & 1 << param as u64 != 0,
            None => {
                let named = std::str::from_utf8(name)
                    .is_ok_and(|name| self.scan.find(self.body, name).is_some());
                named || self.extra.iter().any(|other| other.of(self.body) == name)
            }
        }
    }

    /// The members of the client's `extra_body` join the body, except those that are there or decide where it goes.
    fn take_extra_body(&mut self) {
        let Some(index) = self.scan.find(self.body, Param::ExtraBody.name()) else {
            return;
        };
        for field in walk::members(self.body, self.value(index)) {
            let name = walk::name_of(self.body, field);
            let param = Param::of(name);
            let kept = matches!(
                param,
                Some(Param::Model | Param::Messages | Param::Stream | Param::StreamOptions)
            );
            if kept || name.contains(&b'\\') || is_gateway_field(name) || self.has(name) {
                continue;
            }
            self.members
                .add(&String::from_utf8_lossy(name), field.value.of(self.body));
            match param {
                Some(param) => self.present |= 1 << param as u64,
                None => self.extra.push(Span {
                    start: field.key.start + 1,
                    end: field.key.end - 1,
                }),
            }
        }
    }

    /// What the deployment and the provider's rules add to a request that does not have it.
    fn add_missing(&mut self) {
        for default in &self.plan.defaults {
            let there = match default.param {
                Some(param) => self.present & 1 << param as u64 != 0,
                None => self.has(default.name.as_bytes()),
            };
            if !there {
                self.members.add_with(&escaped(&default.name), |out| {
                    out.extend_from_slice(&default.value)
                });
            }
        }
        for (param, name, value) in self.plan.adds_with {
            let defaulted = self
                .plan
                .defaults
                .iter()
                .any(|default| default.name == *name);
            if self.present & 1 << *param as u64 != 0 && !self.has(name.as_bytes()) && !defaulted {
                self.members.add(name, value.as_bytes());
            }
        }
        if !self.plan.without_model && self.scan.find(self.body, Param::Model.name()).is_none() {
            match self.options.model {
                Some(model) => self
                    .members
                    .add_with(Param::Model.name(), |out| push_json_string(out, model)),
                None => self.members.add(Param::Model.name(), &self.plan.model_json),
            }
        }
    }

    /// The client's `extra_headers`, as far as a client may set them.
    fn extra_headers(&self) -> Vec<(String, String)> {
        let Some(index) = self.scan.find(self.body, Param::ExtraHeaders.name()) else {
            return Vec::new();
        };
        walk::members(self.body, self.value(index))
            .filter_map(|field| {
                let name =
                    String::from_utf8_lossy(walk::name_of(self.body, field)).to_ascii_lowercase();
                let value =
                    crate::dialect::scan::decode_string(field.value.of(self.body))?.into_owned();
                is_free_header(&name, &value).then_some((name, value))
            })
            .collect()
    }
}

/// Whether an unsupported parameter can go without a word: clients send `n: 1` and nulls for defaults.
fn is_harmless(param: Param, value: &[u8]) -> bool {
    value == b"null" || param == Param::N && value == b"1" || param == Param::User
}

/// Whether a client may set that header upstream: nothing of framing, connection or credentials.
fn is_free_header(name: &str, value: &str) -> bool {
    const TAKEN: &[&str] = &[
        "api-key",
        "authorization",
        "connection",
        "content-length",
        "content-type",
        "cookie",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-api-key",
        "x-goog-api-key",
    ];
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        && value.bytes().all(|byte| (0x20..0x7f).contains(&byte))
        && TAKEN.binary_search(&name).is_err()
}

/// A name with the escapes that JSON needs, for names from a configuration.
fn escaped(name: &str) -> Cow<'_, str> {
    if name
        .bytes()
        .all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\')
    {
        return Cow::Borrowed(name);
    }
    let mut out = Vec::new();
    push_json_string(&mut out, name);
    Cow::Owned(String::from_utf8_lossy(&out[1..out.len() - 1]).into_owned())
}

/// Whether the JSON array `list` holds the string `name`.
fn lists(list: &[u8], name: &str) -> bool {
    walk::elements(list, Span::new(0, list.len())).any(|item| {
        item.of(list)
            .strip_prefix(b"\"")
            .and_then(|item| item.strip_suffix(b"\""))
            == Some(name.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::openai_chat::plan::RequestRules;
    use crate::dialect::scan::scan;
    use serde_json::{Value, json};

    const RULES: RequestRules = RequestRules {
        params: &[
            (Param::MaxCompletionTokens, Rule::Rename(Param::MaxTokens)),
            (Param::Seed, Rule::Refuse),
            (Param::LogitBias, Rule::Refuse),
            (Param::User, Rule::Remove),
        ],
        ..RequestRules::PLAIN
    };

    fn edited(
        params: &Value,
        options: &PlanOptions<'_>,
        body: &str,
    ) -> Result<String, GatewayError> {
        let plan = Plan::new("host", "up", &RULES, params.as_object().unwrap());
        let fields = scan(body.as_bytes()).unwrap();
        let edited = plan.apply(body.as_bytes(), &fields, options)?;
        Ok(String::from_utf8(edited.body.to_vec(body.as_bytes())).unwrap())
    }

    fn check(params: Value, body: &str, expected: &str) {
        assert_eq!(
            edited(&params, &PlanOptions::default(), body).unwrap(),
            expected
        );
    }

    #[test]
    fn the_model_and_only_what_must_changes() {
        check(
            json!({"model": "x", "api_key": "k", "rpm": 3}),
            r#"{ "model" : "alias", "foo":{"bar":[1]}, "temperature":0.5 }"#,
            r#"{ "model" : "up", "foo":{"bar":[1]}, "temperature":0.5 }"#,
        );
        check(
            json!({}),
            r#"{"messages":[]}"#,
            r#"{"messages":[],"model":"up"}"#,
        );
    }

    #[test]
    fn the_client_wins_over_the_deployment() {
        let params = json!({"temperature": 0.7, "max_tokens": 9, "top_k": 4, "extra_body": {"vendor": true}});
        check(
            params.clone(),
            r#"{"model":"a","temperature":0}"#,
            r#"{"model":"up","temperature":0,"vendor":true,"max_tokens":9,"top_k":4}"#,
        );
        check(
            params,
            r#"{"model":"a","temperature":1,"max_completion_tokens":5,"top_k":null,"vendor":0}"#,
            r#"{"model":"up","temperature":1,"max_tokens":5,"top_k":null,"vendor":0}"#,
        );
    }

    #[test]
    fn what_is_for_the_gateway_stays_here() {
        check(
            json!({"additional_drop_params": ["top_p", "vendor"]}),
            r#"{"metadata":{"tags":[]},"model":"a","num_retries":2,"top_p":1,"vendor":1,"litellm_x":1,"user":"u"}"#,
            r#"{"model":"up"}"#,
        );
        check(
            json!({}),
            r#"{"model":"a","extra_body":{"top_k":3,"model":"evil","api_key":"k"},"extra_headers":{"X-A":"b","Host":"c"}}"#,
            r#"{"model":"up","top_k":3}"#,
        );
    }

    #[test]
    fn unsupported_parameters_are_refused_dropped_or_allowed() {
        let body = r#"{"model":"a","logit_bias":{},"seed":1}"#;
        let error = edited(&json!({}), &PlanOptions::default(), body).unwrap_err();
        assert_eq!(
            (error.status, error.class),
            (400, ErrorClass::UnsupportedParams)
        );
        assert!(
            error.message.contains(
                "host does not support parameters: ['logit_bias', 'seed'], for model=up."
            ),
            "{error}"
        );
        check(json!({"drop_params": true}), body, r#"{"model":"up"}"#);
        let global = PlanOptions {
            drop_params: true,
            ..PlanOptions::default()
        };
        assert_eq!(
            edited(&json!({}), &global, body).unwrap(),
            r#"{"model":"up"}"#
        );
        check(
            json!({"allowed_openai_params": ["seed", "logit_bias"]}),
            body,
            r#"{"model":"up","logit_bias":{},"seed":1}"#,
        );
        check(
            json!({}),
            r#"{"model":"a","seed":1,"allowed_openai_params":["seed"]}"#,
            r#"{"model":"up","seed":1}"#,
        );
        check(
            json!({}),
            r#"{"model":"a","seed":null}"#,
            r#"{"model":"up"}"#,
        );
        check(
            json!({}),
            r#"{"model":"a","seed":3,"drop_params":true}"#,
            r#"{"model":"up"}"#,
        );
    }

    #[test]
    fn streams_are_asked_for_their_usage() {
        let ask = |options: &str, expected: &str| {
            check(
                json!({}),
                &format!(r#"{{"model":"a","stream":true{options}}}"#),
                &format!(r#"{{"model":"up","stream":true{expected}}}"#),
            );
        };
        ask("", r#","stream_options":{"include_usage":true}"#);
        ask(
            r#","stream_options":{}"#,
            r#","stream_options":{"include_usage":true}"#,
        );
        ask(
            r#","stream_options":null"#,
            r#","stream_options":{"include_usage":true}"#,
        );
        ask(
            r#","stream_options":{"x":1}"#,
            r#","stream_options":{"include_usage":true,"x":1}"#,
        );
        ask(
            r#","stream_options":{"include_usage":false}"#,
            r#","stream_options":{"include_usage":true}"#,
        );
        check(
            json!({}),
            r#"{"model":"a","stream":false}"#,
            r#"{"model":"up","stream":false}"#,
        );
        let never = PlanOptions {
            stream_usage: Some(false),
            ..PlanOptions::default()
        };
        assert_eq!(
            edited(&json!({}), &never, r#"{"model":"a","stream":true}"#).unwrap(),
            r#"{"model":"up","stream":true}"#
        );
    }

    #[test]
    fn a_wildcard_deployment_names_its_model_per_request() {
        let options = PlanOptions {
            model: Some("own \"name\""),
            ..PlanOptions::default()
        };
        assert_eq!(
            edited(&json!({}), &options, r#"{"model":"a"}"#).unwrap(),
            r#"{"model":"own \"name\""}"#
        );
    }
}
