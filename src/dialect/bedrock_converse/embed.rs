//! Embeddings by invoke (Titan, Cohere), and rerank.

use crate::dialect::value::{Map, Value, json};

use crate::dialect::hub::Call;
use crate::dialect::usage::Usage;
use crate::error::GatewayError;

/// An embeddings request.
pub fn request(mut call: Call) -> Result<Value, GatewayError> {
    let texts = match call.take("input") {
        Some(Value::Array(texts)) => texts,
        Some(one) => vec![one],
        None => Vec::new(),
    };
    call.take("encoding_format");
    call.take("user");
    let mut body = if call.model.contains("cohere") {
        let kind = call
            .take("input_type")
            .unwrap_or_else(|| json!("search_document"));
        json!({"texts": texts, "input_type": kind})
    } else {
        let [text] = texts.as_slice() else {
            return Err(GatewayError::malformed(
                "BedrockException - this model embeds one text per request; send input as one string",
            ));
        };
        let mut body = json!({"inputText": text});
        if let Some(dimensions) = call.take("dimensions") {
            body["dimensions"] = dimensions;
        }
        body
    };
    for (name, value) in call.fields {
        body[name.as_str()] = value;
    }
    Ok(body)
}

/// The hub's answer. Cohere does not count: one token per text is said there.
pub fn answer(reply: &Value, model: &str) -> (Map, Usage) {
    let vectors: Vec<&Value> = match (&reply["embeddings"], &reply["embedding"]) {
        (Value::Array(vectors), _) => vectors.iter().collect(),
        (Value::Object(kinds), _) => kinds["float"].as_array().into_iter().flatten().collect(),
        (_, one) => vec![one],
    };
    let tokens = reply["inputTextTokenCount"]
        .as_u64()
        .unwrap_or(vectors.len() as u64);
    let mut body = Map::new();
    body.insert("object", json!("list"));
    body.insert("model", json!(model));
    let data = vectors
        .into_iter()
        .enumerate()
        .map(|(index, vector)| json!({"object": "embedding", "index": index, "embedding": vector}));
    body.insert("data", data.collect());
    body.insert(
        "usage".to_owned(),
        json!({
            "completion_tokens": 0, "prompt_tokens": tokens, "total_tokens": tokens,
            "completion_tokens_details": null, "prompt_tokens_details": null,
        }),
    );
    let counted = Usage {
        prompt_tokens: tokens,
        total_tokens: tokens,
        ..Usage::default()
    };
    (body, counted)
}

/// A rerank request; `arn` names the model.
pub fn rerank(mut call: Call, arn: &str) -> Value {
    let query = call.take("query").unwrap_or_default();
    let documents = match call.take("documents") {
        Some(Value::Array(documents)) => documents,
        _ => Vec::new(),
    };
    let count = call.take("top_n").unwrap_or_else(|| json!(documents.len()));
    let sources = documents.into_iter().map(|document| {
        let source = match document {
            Value::String(text) => json!({"type": "TEXT", "textDocument": {"text": text}}),
            other => json!({"type": "JSON", "jsonDocument": other}),
        };
        json!({"type": "INLINE", "inlineDocumentSource": source})
    });
    json!({
        "queries": [{"type": "TEXT", "textQuery": {"text": query}}],
        "sources": sources.collect::<Vec<_>>(),
        "rerankingConfiguration": {
            "type": "BEDROCK_RERANKING_MODEL",
            "bedrockRerankingConfiguration": {
                "modelConfiguration": {"modelArn": arn}, "numberOfResults": count,
            },
        },
    })
}

/// The hub's answer to a rerank.
pub fn reranked(reply: &Value, fresh: &str) -> (Map, Usage) {
    let results = reply["results"].as_array().into_iter().flatten();
    let results = results.map(
        |result| json!({"index": result["index"], "relevance_score": result["relevanceScore"]}),
    );
    let mut body = Map::new();
    body.insert("id", json!(fresh));
    body.insert("results", results.collect());
    body.insert(
        "meta".to_owned(),
        json!({"billed_units": {"search_units": 1}, "tokens": {}}),
    );
    let counted = Usage {
        search_units: 1,
        ..Usage::default()
    };
    (body, counted)
}
