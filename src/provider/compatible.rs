//! The rules of each provider on the OpenAI wire: what it calls otherwise, does not take, or wants besides. A provider
//! that is not named here gets the plain ones.

use std::borrow::Cow;

use memchr::memmem;

use super::errors::ErrorStyle;
use super::openai::Rules;
use crate::dialect::openai_chat::messages::{Flatten, MessageRules};
use crate::dialect::openai_chat::params::{Change, Param, Rule, python_repr};
use crate::dialect::openai_chat::plan::{Plan, RequestRules, StreamUsage};
use crate::dialect::openai_chat::response::ResponseRules;
use crate::dialect::scan::Span;
use crate::dialect::splice::Edits;
use crate::dialect::walk;

/// The rules of the provider of that name.
pub(super) fn rules(name: &str) -> &'static Rules {
    match name {
        "ai21" | "ai21_chat" => &AI21,
        "openai" | "text-completion-openai" => &OPENAI,
        "azure" => &AZURE,
        "azure_ai" => &AZURE_AI,
        "cerebras" => &CEREBRAS,
        "custom_openai" | "lm_studio" => &CUSTOM,
        "databricks" => &DATABRICKS,
        "deepinfra" => &DEEPINFRA,
        "deepseek" => &DEEPSEEK,
        "fireworks_ai" => &FIREWORKS,
        "groq" => &GROQ,
        "hosted_vllm" => &HOSTED_VLLM,
        "jina_ai" => &JINA,
        "mistral" | "codestral" => &MISTRAL,
        "nvidia_nim" => &NVIDIA,
        "openrouter" => &OPENROUTER,
        "perplexity" => &PERPLEXITY,
        "sambanova" => &SAMBANOVA,
        "together_ai" => &TOGETHER,
        "voyage" => &VOYAGE,
        "xai" => &XAI,
        _ => &Rules::PLAIN,
    }
}

const FLAT: MessageRules = MessageRules {
    flatten: Flatten::All,
    ..MessageRules::PLAIN
};
const FLAT_TEXTS: MessageRules = MessageRules {
    flatten: Flatten::Texts,
    ..MessageRules::PLAIN
};

/// OpenAI's own models know the role.
const OWN_ROLES: MessageRules = MessageRules {
    plain_developer: false,
    ..MessageRules::PLAIN
};

/// The old name of the limit.
const OLD_LIMIT: (Param, Rule) = (Param::MaxCompletionTokens, Rule::Rename(Param::MaxTokens));

static AI21: Rules = Rules {
    request: RequestRules {
        params: &[
            OLD_LIMIT,
            (Param::TopP, Rule::Refuse),
            (Param::PresencePenalty, Rule::Refuse),
            (Param::FrequencyPenalty, Rule::Refuse),
            (Param::LogitBias, Rule::Refuse),
            (Param::Logprobs, Rule::Refuse),
            (Param::ParallelToolCalls, Rule::Refuse),
            (Param::ReasoningEffort, Rule::Refuse),
        ],
        stream_usage: StreamUsage::Never,
        ..RequestRules::PLAIN
    },
    ..Rules::PLAIN
};

static OPENAI: Rules = Rules {
    request: RequestRules {
        messages: OWN_ROLES,
        ..RequestRules::PLAIN
    },
    ..Rules::PLAIN
};

static AZURE: Rules = Rules {
    request: RequestRules {
        stream_false: true,
        messages: OWN_ROLES,
        ..RequestRules::PLAIN
    },
    response: ResponseRules {
        drop_last_filter: true,
        stream_drops: &["prompt_filter_results"],
        ..ResponseRules::PLAIN
    },
    errors: ErrorStyle::Azure,
    ..Rules::PLAIN
};

static AZURE_AI: Rules = Rules {
    request: RequestRules {
        params: &[(Param::User, Rule::Remove)],
        stream_usage: StreamUsage::AsClient,
        stream_false: true,
        messages: FLAT_TEXTS,
        ..RequestRules::PLAIN
    },
    errors: ErrorStyle::Raw,
    rerank: "/v1/rerank",
    ..Rules::PLAIN
};

static CEREBRAS: Rules = Rules {
    request: RequestRules {
        params: &[
            OLD_LIMIT,
            (Param::PresencePenalty, Rule::Refuse),
            (Param::FrequencyPenalty, Rule::Refuse),
            (Param::LogitBias, Rule::Refuse),
            (Param::ParallelToolCalls, Rule::Refuse),
        ],
        stream_usage: StreamUsage::AsClient,
        ..RequestRules::PLAIN
    },
    ..Rules::PLAIN
};

static CUSTOM: Rules = Rules {
    request: RequestRules {
        params: &[
            OLD_LIMIT,
            (Param::User, Rule::Remove),
            (Param::ReasoningEffort, Rule::Refuse),
        ],
        ..RequestRules::PLAIN
    },
    key: Some("fake-api-key"),
    ..Rules::PLAIN
};

static DATABRICKS: Rules = Rules {
    request: RequestRules {
        params: &[
            OLD_LIMIT,
            (Param::Seed, Rule::Refuse),
            (Param::User, Rule::Remove),
        ],
        stream_usage: StreamUsage::Never,
        stream_false: true,
        ..RequestRules::PLAIN
    },
    response: ResponseRules {
        vendor_fields: false,
        ..ResponseRules::PLAIN
    },
    errors: ErrorStyle::Databricks,
    ..Rules::PLAIN
};

static DEEPINFRA: Rules = Rules {
    request: RequestRules {
        params: &[
            (Param::Seed, Rule::Refuse),
            (Param::User, Rule::Remove),
            (Param::ReasoningEffort, Rule::Refuse),
            (Param::ToolChoice, Rule::Value(deepinfra_tool_choice)),
        ],
        stream_usage: StreamUsage::Never,
        ..RequestRules::PLAIN
    },
    ..Rules::PLAIN
};

fn deepinfra_tool_choice(value: &[u8]) -> Change {
    match value {
        b"\"auto\"" => Change::Remove,
        b"\"none\"" | b"null" => Change::Keep,
        _ => Change::Refuse(format!(
            "Deepinfra doesn't support tool_choice={}. To drop unsupported openai params from the call, set \
             `litellm.drop_params = True`",
            python_repr(value).trim_matches('\'')
        )),
    }
}

static DEEPSEEK: Rules = Rules {
    request: RequestRules {
        params: &[(Param::User, Rule::Remove)],
        stream_false: true,
        messages: FLAT,
        adds_with: &[(Param::ReasoningEffort, "thinking", r#"{"type":"enabled"}"#)],
        ..RequestRules::PLAIN
    },
    errors: ErrorStyle::Raw,
    ..Rules::PLAIN
};

static FIREWORKS: Rules = Rules {
    request: RequestRules {
        params: &[
            (Param::ReasoningEffort, Rule::Refuse),
            (Param::ToolChoice, Rule::Value(any_for_required)),
        ],
        stream_false: true,
        ..RequestRules::PLAIN
    },
    response: ResponseRules {
        vendor_fields: false,
        ..ResponseRules::PLAIN
    },
    errors: ErrorStyle::Raw,
    ..Rules::PLAIN
};

fn any_for_required(value: &[u8]) -> Change {
    if value == b"\"required\"" {
        Change::Replace(Cow::Borrowed(b"\"any\""))
    } else {
        Change::Keep
    }
}

static GROQ: Rules = Rules {
    request: RequestRules {
        params: &[(Param::User, Rule::Remove)],
        stream_false: true,
        ..RequestRules::PLAIN
    },
    response: ResponseRules {
        plain_service_tier: true,
        vendor_fields: false,
        ..ResponseRules::PLAIN
    },
    errors: ErrorStyle::Raw,
    ..Rules::PLAIN
};

static HOSTED_VLLM: Rules = Rules {
    request: RequestRules {
        params: &[(Param::User, Rule::Remove)],
        stream_false: true,
        tool_drops: &["additionalProperties", "strict"],
        ..RequestRules::PLAIN
    },
    errors: ErrorStyle::Raw,
    key: Some("fake-api-key"),
    keyless_embeddings: true,
    ..Rules::PLAIN
};

static JINA: Rules = Rules {
    embeddings: &[(Param::Input, Rule::Value(jina_input))],
    errors: ErrorStyle::RawOnce,
    rerank: "/v1/rerank",
    ..Rules::PLAIN
};

/// Images come as data URLs and go as `{"image": base64}`.
fn jina_input(value: &[u8]) -> Change {
    const START: &[u8] = b"\"data:image/";
    if memmem::find(value, START).is_none() {
        return Change::Keep;
    }
    let mut edits = Edits::new();
    for item in walk::elements(value, Span::new(0, value.len())) {
        let text = item.of(value);
        if let Some(comma) = memchr::memchr(b',', text).filter(|_| text.starts_with(START)) {
            edits.replace_with(item, |out| {
                out.extend_from_slice(b"{\"image\":\"");
                out.extend_from_slice(&text[comma + 1..]);
                out.push(b'}');
            });
        }
    }
    let mut out = Vec::with_capacity(value.len() + 16);
    edits.copy_into(value, &mut out);
    Change::Replace(Cow::Owned(out))
}

static MISTRAL: Rules = Rules {
    request: RequestRules {
        params: &[
            OLD_LIMIT,
            (Param::User, Rule::Remove),
            (Param::PresencePenalty, Rule::Refuse),
            (Param::FrequencyPenalty, Rule::Refuse),
            (Param::LogitBias, Rule::Refuse),
            (Param::Seed, Rule::Rename(Param::RandomSeed)),
            (Param::ToolChoice, Rule::Value(any_for_required)),
        ],
        stream_usage: StreamUsage::AsClient,
        ..RequestRules::PLAIN
    },
    errors: ErrorStyle::Raw,
    ..Rules::PLAIN
};

static NVIDIA: Rules = Rules {
    request: RequestRules {
        params: &[
            OLD_LIMIT,
            (Param::User, Rule::Remove),
            (Param::LogitBias, Rule::Refuse),
        ],
        stream_usage: StreamUsage::Never,
        ..RequestRules::PLAIN
    },
    ..Rules::PLAIN
};

static OPENROUTER: Rules = Rules {
    request: RequestRules {
        params: &[(Param::User, Rule::Remove)],
        stream_false: true,
        adds: &[("usage", r#"{"include":true}"#)],
        ..RequestRules::PLAIN
    },
    response: ResponseRules {
        stream_drops: &["provider"],
        ..ResponseRules::PLAIN
    },
    errors: ErrorStyle::OpenRouter,
    headers: &[
        ("http-referer", "https://litellm.ai"),
        ("x-title", "liteLLM"),
    ],
    ..Rules::PLAIN
};

static PERPLEXITY: Rules = Rules {
    request: RequestRules {
        params: &[
            OLD_LIMIT,
            (Param::User, Rule::Remove),
            (Param::Stop, Rule::Refuse),
            (Param::LogitBias, Rule::Refuse),
            (Param::Seed, Rule::Refuse),
            (Param::ParallelToolCalls, Rule::Refuse),
            (Param::N, Rule::Refuse),
        ],
        stream_usage: StreamUsage::Never,
        ..RequestRules::PLAIN
    },
    headers: &[("x-pplx-integration", "litellm")],
    ..Rules::PLAIN
};

static SAMBANOVA: Rules = Rules {
    request: RequestRules {
        params: &[
            OLD_LIMIT,
            (Param::User, Rule::Remove),
            (Param::PresencePenalty, Rule::Refuse),
            (Param::FrequencyPenalty, Rule::Refuse),
            (Param::LogitBias, Rule::Refuse),
            (Param::Seed, Rule::Refuse),
        ],
        stream_usage: StreamUsage::AsClient,
        messages: FLAT,
        ..RequestRules::PLAIN
    },
    ..Rules::PLAIN
};

static TOGETHER: Rules = Rules {
    request: RequestRules {
        params: &[
            (Param::User, Rule::Remove),
            (Param::ReasoningEffort, Rule::Refuse),
        ],
        stream_false: true,
        ..RequestRules::PLAIN
    },
    errors: ErrorStyle::Raw,
    ..Rules::PLAIN
};

static VOYAGE: Rules = Rules {
    embeddings: &[(Param::User, Rule::Refuse)],
    errors: ErrorStyle::RawOnce,
    ..Rules::PLAIN
};

static XAI: Rules = Rules {
    request: RequestRules {
        stream_false: true,
        tool_drops: &["strict"],
        ..RequestRules::PLAIN
    },
    errors: ErrorStyle::Raw,
    ..Rules::PLAIN
};

/// The model's full name where a provider lets its own models be named without their owner.
pub(super) fn upstream_model<'a>(provider: &str, model: &'a str) -> Cow<'a, str> {
    if provider == "fireworks_ai" && !model.contains(['/', '#']) {
        return Cow::Owned(format!("accounts/fireworks/models/{model}"));
    }
    Cow::Borrowed(model)
}

/// Rules that depend on the model. `model` is its last name: without a provider or an owner in front.
pub(super) fn model_rules(provider: &str, model: &str, plan: &mut Plan) {
    match provider {
        "openai" | "azure" | "text-completion-openai" if is_o_series(model) => {
            o_series(model, plan)
        }
        "xai" if model.starts_with("grok-4") || model.contains("mini") => {
            plan.refuse(&[Param::Stop, Param::FrequencyPenalty, Param::PresencePenalty]);
        }
        "xai" => plan.refuse(&[Param::ReasoningEffort]),
        "mistral" if model.contains("magistral") => plan.set(Param::ReasoningEffort, Rule::Remove),
        "mistral" => plan.refuse(&[Param::ReasoningEffort]),
        "perplexity" if !model.contains("reasoning") && !model.contains("research") => {
            plan.refuse(&[Param::ReasoningEffort]);
        }
        _ => {}
    }
}

fn is_o_series(model: &str) -> bool {
    ["o1", "o3", "o4"].iter().any(|name| {
        model
            .strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    })
}

/// Azure's models of that family that give no streams.
pub(super) fn is_o1(model: &str) -> bool {
    is_o_series(model) && model.starts_with("o1")
}

fn o_series(model: &str, plan: &mut Plan) {
    plan.set(Param::MaxTokens, Rule::Rename(Param::MaxCompletionTokens));
    plan.set(Param::Temperature, Rule::Value(o_series_temperature));
    plan.refuse(&[
        Param::TopP,
        Param::PresencePenalty,
        Param::FrequencyPenalty,
        Param::Logprobs,
        Param::TopLogprobs,
        Param::LogitBias,
    ]);
    plan.without_stream_false();
    if ["o1-mini", "o1-preview", "o3-mini"]
        .iter()
        .any(|name| model.starts_with(name))
    {
        plan.set_messages(MessageRules {
            system_role: Some("\"user\""),
            ..MessageRules::PLAIN
        });
        plan.refuse(&[Param::ParallelToolCalls]);
    }
}

fn o_series_temperature(value: &[u8]) -> Change {
    match value {
        b"1" | b"1.0" | b"null" => Change::Keep,
        _ => Change::Refuse(format!(
            "O-series models don't support temperature={}. Only temperature=1 is supported. To drop unsupported openai \
             params from the call, set `litellm.drop_params = True`",
            String::from_utf8_lossy(value)
        )),
    }
}
