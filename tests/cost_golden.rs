//! LiteLLM's own figure for every recorded answer that carries one, against ours.
//!
//! LiteLLM adds doubles, we add whole numbers; where the sum of doubles missed the true one by its
//! last digits ours is the right one and the case counts as equal. Any other difference is listed
//! here with its reason.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use shardgate::spend::meter::{Meter, Priced, header};
use shardgate::spend::price::{PriceTable, Prices, Query};
use shardgate::spend::usage::{self, Quantities};

/// Cases whose figure is another one on purpose: name and reason.
const DIFFERENT: [(&str, &str); 2] = [
    (
        "together_ai/rerank",
        "the table has a price per token for this model and the answer says 18 tokens were billed; \
         LiteLLM bills rerank by search units only, and so at 0",
    ),
    (
        "watsonx/text-generation",
        "the table has the model as watsonx/...; LiteLLM does not look there for watsonx_text, and \
         bills 0",
    ),
];

fn recordings() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let named = std::env::var_os("SHARDGATE_GOLDEN").map(PathBuf::from);
    let places = [root.join("tests/golden"), root.join("../shared/golden")];
    named
        .into_iter()
        .chain(places)
        .find(|place| place.join("openai").is_dir())
}

fn cases(place: &Path) -> Vec<(String, Value)> {
    let mut cases = Vec::new();
    for folder in std::fs::read_dir(place).unwrap().flatten() {
        let Ok(files) = std::fs::read_dir(folder.path()) else {
            continue;
        };
        for file in files.flatten() {
            let path = file.path();
            let case: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            let name = path.strip_prefix(place).unwrap().with_extension("");
            cases.push((name.display().to_string(), case));
        }
    }
    cases.sort_by(|a, b| a.0.cmp(&b.0));
    cases
}

/// What the client's answer says was used.
fn used(case: &Value) -> Option<Quantities> {
    let body = &case["client_response"]["body"];
    let raw = |value: &Value| value.to_string().into_bytes();
    if body["usage"].is_object() {
        usage::from_openai(&raw(&body["usage"]))
    } else if body["usageMetadata"].is_object() {
        usage::from_gemini(&raw(&body["usageMetadata"]))
    } else if body["meta"].is_object() {
        usage::from_rerank_meta(&raw(&body["meta"]))
    } else {
        None
    }
}

fn meter(table: &Arc<PriceTable>, case: &Value) -> Option<Meter> {
    let params = &case["config"]["litellm_params"];
    let (provider, model) = params["model"].as_str()?.split_once('/')?;
    let info = &case["config"]["model_info"];
    let base_model = info["base_model"]
        .as_str()
        .or(params["base_model"].as_str());
    let region = ["vertex_location", "aws_region_name"]
        .iter()
        .find_map(|key| params[*key].as_str());
    let own = |fields: &Value| match fields {
        Value::Null => Prices::default(),
        fields => Prices::from_fields(&fields.to_string()).unwrap(),
    };
    let (params, model_info) = (own(params), own(info));
    let priced = Priced {
        query: Query {
            provider,
            model,
            base_model,
            region,
        },
        params: Some(&params),
        model_info: Some(&model_info),
        ..Priced::default()
    };
    Some(Meter::new(table, &priced))
}

/// The model that the provider's answer names.
fn answered(case: &Value) -> &str {
    let response = match case["upstream_responses"].as_array() {
        Some(responses) => responses.last().unwrap_or(&Value::Null),
        None => &case["upstream_response"],
    };
    response["body"]["model"].as_str().unwrap_or_default()
}

/// Equal, or apart by the dust of a sum of doubles.
fn alike(ours: f64, theirs: f64) -> bool {
    (ours - theirs).abs() <= theirs.abs() * 1e-14
}

#[test]
fn costs_of_recorded_answers() {
    let Some(place) = recordings() else {
        println!("skipped: no recorded answers");
        return;
    };
    let table = Arc::new(PriceTable::built_in().unwrap());
    let (mut equal, mut dust, mut listed, mut findings) = (0, 0, 0, Vec::new());
    for (name, case) in cases(&place) {
        let headers = &case["client_response"]["headers"];
        let Some(theirs) = headers["x-litellm-response-cost"].as_str() else {
            continue;
        };
        let (Some(meter), Some(used)) = (meter(&table, &case), used(&case)) else {
            // An error costs 0 and has no usage.
            assert!(
                theirs == "0" || case.get("config").is_none(),
                "{name} has no usage"
            );
            continue;
        };
        let cost = meter.cost_answered(&used, answered(&case));
        let ours = header(&cost);
        let reason = DIFFERENT.iter().find(|(case, _)| *case == name);
        if ours.as_str() == theirs {
            equal += 1;
        } else if alike(cost.total.dollars(), theirs.parse().unwrap()) {
            dust += 1;
        } else if reason.is_some() {
            listed += 1;
        } else {
            findings.push(format!(
                "{name}: ours {}, LiteLLM's {theirs}",
                ours.as_str()
            ));
        }
    }
    println!("{equal} equal, {dust} apart by the dust of doubles, {listed} listed");
    assert!(
        findings.is_empty(),
        "{} differ:\n{}",
        findings.len(),
        findings.join("\n")
    );
}
