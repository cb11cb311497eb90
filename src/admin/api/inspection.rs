//! `/utils/*` and `/spend/calculate`: what a request would be upstream, how many tokens it is, what it costs. Nothing is
//! sent anywhere.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::admin::routes::Routes;
use crate::coordinator::Control;
use crate::dialect::foreign::Observer;
use crate::dialect::openai_chat::params::Param;
use crate::dialect::scan::scan;
use crate::error::{ErrorClass, GatewayError};
use crate::provider::{Incoming, Operation, RequestOptions, Target};
use crate::snapshot::{Deployment, Snapshot};
use crate::spend::meter::{Meter, Priced};
use crate::spend::price::{self, Kind};
use crate::spend::usage::Quantities;

/// The routes.
pub fn routes() -> Routes<Arc<Control>> {
    Routes::new()
        .post(
            "/utils/token_counter",
            token_counter,
            "How many tokens a prompt is.",
        )
        .fields(&["model", "messages", "prompt", "contents"])
        .needs(&["model"])
        .get(
            "/utils/supported_openai_params",
            supported,
            "The parameters of a chat that a model takes.",
        )
        .query(&["model"])
        .needs(&["model"])
        .post(
            "/utils/transform_request",
            transform,
            "A request as the provider would get it. Nothing is sent.",
        )
        .fields(&["call_type", "request_body"])
        .needs(&["call_type", "request_body"])
        .post(
            "/spend/calculate",
            calculate,
            "What a request or an answer costs.",
        )
        .fields(&["model", "messages", "completion_response"])
        .post(
            "/cost/estimate",
            estimate,
            "What so many calls of so many tokens will cost, a day and a month.",
        )
        .fields(&[
            "model",
            "input_tokens",
            "output_tokens",
            "num_requests_per_day",
            "num_requests_per_month",
        ])
        .needs(&["model"])
}

fn refusal(error: &GatewayError) -> Response {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST);
    let body = error.body_openai();
    (status, [("content-type", "application/json")], body).into_response()
}

fn missing(text: &str) -> Response {
    refusal(&GatewayError::refused(ErrorClass::BadRequest, text))
}

/// The first deployment of a group that can be called.
fn of_group<'a>(snapshot: &'a Snapshot, model: &str) -> Option<&'a Deployment> {
    let mut all = snapshot.deployments.iter();
    all.find(|deployment| deployment.group == model && deployment.unusable.is_none())
}

async fn token_counter(State(control): State<Arc<Control>>, Json(asked): Json<Value>) -> Response {
    let Some(model) = asked["model"].as_str() else {
        return missing("`model` is missing");
    };
    let names = ["messages", "prompt", "input", "contents"];
    if names.iter().all(|name| asked[*name].is_null()) {
        return missing("one of `messages`, `prompt` and `contents` is needed");
    }
    let snapshot = control.snapshot();
    let used = of_group(&snapshot, model).map_or(model, |deployment| &deployment.target.model);
    let (used, body) = (used.to_owned(), asked.to_string());
    let model_used = used.clone();
    // A long prompt would hold up everything else here.
    let counts = snapshot.settings.counts_prompts;
    let counted = tokio::task::spawn_blocking(move || match counts {
        true => crate::tokens::count(&used, body.as_bytes()),
        false => 0,
    });
    match counted.await {
        Ok(tokens) => Json(json!({"total_tokens": tokens, "request_model": model,
            "model_used": model_used, "tokenizer_type": "openai_tokenizer"}))
        .into_response(),
        Err(_) => missing("the prompt could not be counted"),
    }
}

#[derive(Deserialize)]
struct Named {
    model: Option<String>,
}

async fn supported(State(control): State<Arc<Control>>, Query(named): Query<Named>) -> Response {
    let Some(model) = named.model else {
        return missing("`model` is missing from the query");
    };
    let snapshot = control.snapshot();
    if let Some(deployment) = of_group(&snapshot, &model) {
        let params = supported_params(&deployment.target);
        return Json(json!({ "supported_openai_params": params })).into_response();
    }
    match stand_in(&model) {
        Ok(target) => {
            Json(json!({ "supported_openai_params": supported_params(&target) })).into_response()
        }
        Err(why) => missing(&format!("Could not map model={model}: {why}")),
    }
}

/// A model of no deployment, which is never called.
fn stand_in(model: &str) -> Result<Target, String> {
    let params = json!({"model": model, "api_base": "http://127.0.0.1:9", "api_key": "none",
        "vertex_project": "none", "project_id": "none"});
    let params = params.as_object().cloned().unwrap_or_default();
    Target::from_params(&params, &|_| None)
}

/// The parameters of a chat that a deployment takes: those that its provider does not refuse.
pub(super) fn supported_params(target: &Target) -> Vec<&'static str> {
    const OURS: [Param; 12] = [
        Param::Model,
        Param::Messages,
        Param::Input,
        Param::Metadata,
        Param::DropParams,
        Param::AllowedParams,
        Param::AdditionalDropParams,
        Param::ExtraBody,
        Param::EncodingFormat,
        Param::Dimensions,
        Param::RandomSeed,
        Param::SafetyIdentifier,
    ];
    let takes = |param: &&Param| !OURS.contains(param) && takes(target, **param);
    Param::ALL
        .iter()
        .filter(takes)
        .map(|param| param.name())
        .collect()
}

fn takes(target: &Target, param: Param) -> bool {
    let function = json!({"name": "f", "parameters": {"type": "object", "properties": {}}});
    let sample = match param {
        Param::Temperature | Param::TopP | Param::N => json!(1),
        Param::MaxTokens | Param::MaxCompletionTokens | Param::Seed | Param::TopLogprobs => {
            json!(1)
        }
        Param::PresencePenalty | Param::FrequencyPenalty => json!(0.5),
        Param::Stream | Param::Logprobs | Param::ParallelToolCalls => json!(true),
        Param::Tools => json!([{"type": "function", "function": function}]),
        Param::Functions => json!([function]),
        Param::ToolChoice | Param::FunctionCall => json!("auto"),
        Param::ResponseFormat => json!({"type": "json_object"}),
        Param::Stop => json!(["x"]),
        Param::ReasoningEffort | Param::Verbosity => json!("low"),
        Param::Thinking => json!({"type": "enabled", "budget_tokens": 1024}),
        Param::Modalities => json!(["text"]),
        Param::LogitBias | Param::ExtraHeaders | Param::Audio | Param::Prediction => json!({}),
        Param::StreamOptions | Param::WebSearchOptions => json!({}),
        _ => json!("x"),
    };
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}],
        param.name(): sample});
    let refused = built(target, Operation::Chat, &body).err();
    refused.is_none_or(|error| error.class != ErrorClass::UnsupportedParams)
}

/// A request as the provider gets it.
struct Built {
    path: String,
    body: Vec<u8>,
    headers: Vec<(String, String)>,
}

fn built(target: &Target, operation: Operation, body: &Value) -> Result<Built, GatewayError> {
    let bytes = body.to_string().into_bytes();
    let fields = scan(&bytes).map_err(GatewayError::malformed)?;
    let incoming = Incoming::Json {
        body: &bytes,
        scan: &fields,
    };
    let outgoing = target.request(operation, incoming, &RequestOptions::default())?;
    let mut route = target.route(operation, outgoing.stream)?;
    route.headers.extend(outgoing.headers.clone());
    let path = outgoing
        .path_and_query
        .clone()
        .unwrap_or(route.path_and_query);
    Ok(Built {
        path,
        body: outgoing.body.to_vec(&bytes),
        headers: route.headers,
    })
}

async fn transform(State(control): State<Arc<Control>>, Json(asked): Json<Value>) -> Response {
    let Some(operation) = operation(asked["call_type"].as_str().unwrap_or_default()) else {
        return missing(
            "`call_type` must be one of completion, text_completion, embedding, responses, anthropic_messages",
        );
    };
    let Some(model) = asked["request_body"]["model"].as_str() else {
        return missing("`request_body.model` is missing");
    };
    let snapshot = control.snapshot();
    let made;
    let target = match of_group(&snapshot, model) {
        Some(deployment) => &deployment.target,
        None => match stand_in(model) {
            Ok(target) => {
                made = target;
                &made
            }
            Err(why) => return missing(&why),
        },
    };
    match built(target, operation, &asked["request_body"]) {
        Ok(Built {
            path,
            body,
            headers,
        }) => Json(json!({
            "raw_request_api_base": format!("{}{path}", origin(target)),
            "raw_request_body": serde_json::from_slice::<Value>(&body).unwrap_or_default(),
            "raw_request_headers": shown(&headers),
            "error": null,
        }))
        .into_response(),
        Err(error) => refusal(&error),
    }
}

fn origin(target: &Target) -> String {
    let scheme = if target.base.tls { "https" } else { "http" };
    format!("{scheme}://{}", target.base.authority())
}

/// Headers without what is secret in them.
fn shown(headers: &[(String, String)]) -> Map<String, Value> {
    const PLAIN: [&str; 4] = [
        "accept",
        "content-type",
        "anthropic-version",
        "anthropic-beta",
    ];
    let value = |(name, value): &(String, String)| {
        let shown = if PLAIN.contains(&name.as_str()) {
            value.as_str()
        } else {
            "*****"
        };
        (name.clone(), shown.into())
    };
    headers.iter().map(value).collect()
}

fn operation(call_type: &str) -> Option<Operation> {
    Some(match call_type.strip_prefix('a').unwrap_or(call_type) {
        "completion" => Operation::Chat,
        "text_completion" => Operation::Completions,
        "embedding" => Operation::Embeddings,
        "responses" => Operation::Responses,
        "nthropic_messages" | "anthropic_messages" => Operation::Messages,
        "image_generation" => Operation::ImageGeneration,
        "rerank" => Operation::Rerank,
        "moderation" => Operation::Moderation,
        _ => return None,
    })
}

async fn calculate(State(control): State<Arc<Control>>, Json(asked): Json<Value>) -> Response {
    let answer = &asked["completion_response"];
    let named = asked["model"].as_str().or_else(|| answer["model"].as_str());
    let Some(model) = named else {
        return missing("`model` is missing");
    };
    let used = if answer.is_object() {
        let mut observer = Observer::default();
        observer.whole(answer.to_string().as_bytes());
        observer.usage().map(|usage| Quantities::from(&usage))
    } else if asked["messages"].is_array() {
        let (model, body) = (model.to_owned(), asked.to_string());
        let counted =
            tokio::task::spawn_blocking(move || crate::tokens::count(&model, body.as_bytes()))
                .await;
        let usage = counted.map(|tokens| crate::dialect::usage::Usage {
            prompt_tokens: u64::from(tokens),
            total_tokens: u64::from(tokens),
            ..Default::default()
        });
        usage.ok().map(|usage| Quantities::from(&usage))
    } else {
        None
    };
    let Some(used) = used else {
        return missing("`completion_response` with a usage, or `messages`, is needed");
    };
    let Some(meter) = meter(&control, model) else {
        return missing(&format!("no price is known for model={model}"));
    };
    let cost = meter.cost(&used);
    Json(json!({ "cost": cost.total.dollars() })).into_response()
}

/// The prices of a model group, or of a model that the price table knows.
fn meter(control: &Control, model: &str) -> Option<Meter> {
    if let Some(deployment) = of_group(&control.snapshot(), model) {
        return Some(deployment.meter.clone());
    }
    let (provider, name) = model.split_once('/').unwrap_or(("", model));
    let query = price::Query {
        provider,
        model: name,
        ..price::Query::default()
    };
    let priced = Priced {
        query,
        ..Priced::default()
    };
    let meter = Meter::new(control.prices(), &priced);
    meter.prices().has_rates().then_some(meter)
}

async fn estimate(State(control): State<Arc<Control>>, Json(asked): Json<Value>) -> Response {
    let Some(model) = asked["model"].as_str() else {
        return missing("`model` is missing");
    };
    let Some(meter) = meter(&control, model) else {
        return missing(&format!("no price is known for model={model}"));
    };
    let count = |name: &str| match &asked[name] {
        Value::Null => Ok(None),
        value => value.as_u64().map(Some).ok_or(name.to_owned()),
    };
    let counts = [
        "input_tokens",
        "output_tokens",
        "num_requests_per_day",
        "num_requests_per_month",
    ]
    .map(count);
    let [Ok(input), Ok(output), Ok(daily), Ok(monthly)] = counts else {
        return missing("tokens and numbers of requests are whole numbers of 0 or more");
    };
    let used = Quantities {
        prompt: input.unwrap_or(0),
        completion: output.unwrap_or(0),
        ..Quantities::default()
    };
    let cost = meter.cost(&used);
    let times = |part: f64, requests: Option<u64>| requests.map(|requests| part * requests as f64);
    let (total, of_input, of_output) = (
        cost.total.dollars(),
        cost.input.dollars(),
        cost.output.dollars(),
    );
    let of_margin = cost.margin.dollars();
    let price = |kind: Kind| meter.prices().usual(kind).map(|price| price.dollars());
    Json(json!({
        "model": model, "input_tokens": used.prompt, "output_tokens": used.completion,
        "num_requests_per_day": daily, "num_requests_per_month": monthly,
        "cost_per_request": total, "input_cost_per_request": of_input,
        "output_cost_per_request": of_output, "margin_cost_per_request": of_margin,
        "daily_cost": times(total, daily), "daily_input_cost": times(of_input, daily),
        "daily_output_cost": times(of_output, daily), "daily_margin_cost": times(of_margin, daily),
        "monthly_cost": times(total, monthly), "monthly_input_cost": times(of_input, monthly),
        "monthly_output_cost": times(of_output, monthly), "monthly_margin_cost": times(of_margin, monthly),
        "input_cost_per_token": price(Kind::Input), "output_cost_per_token": price(Kind::Output),
        "provider": &*meter.prices().provider,
    }))
    .into_response()
}
