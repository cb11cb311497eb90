//! Answers of the OpenAI wire besides chat: text completions, embeddings, images, moderations, responses, rerank.

use super::openai_chat::response::finish_reason as plain_reason;
use super::scan::{Scan, Span, decode_string};
use super::splice::{Edits, Members};
use super::usage::Usage;
use super::walk::{self, FieldList};
use crate::error::push_json_string;

/// What an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text completions: usage gets its empty details.
    Completions,
    /// Embeddings: usage gets completion tokens and empty details.
    Embeddings,
    /// The model's name stays the provider's.
    KeepModel,
    /// Nothing but the model's name.
    Plain,
}

/// Writes the edits of an answer and reads its usage. `model` is the JSON string for the client, if it is replaced.
pub fn edit(
    body: &[u8],
    scan: &Scan,
    kind: Kind,
    model: Option<&[u8]>,
    edits: &mut Edits,
) -> Option<Usage> {
    let mut usage = None;
    for (index, field) in scan.fields().iter().enumerate() {
        match scan.name(body, index) {
            b"model" => {
                if let Some(model) = model
                    && kind != Kind::KeepModel
                {
                    edits.replace(field.value, model);
                }
            }
            b"usage" => {
                usage = Usage::read(body, field.value);
                complete_usage(body, field.value, kind, usage.as_ref(), edits);
            }
            _ => {}
        }
    }
    usage
}

fn complete_usage(body: &[u8], span: Span, kind: Kind, usage: Option<&Usage>, edits: &mut Edits) {
    let Some(usage) = usage.filter(|_| matches!(kind, Kind::Completions | Kind::Embeddings)) else {
        return;
    };
    let list = FieldList::of(body, span);
    let fields = list.as_slice();
    let has = |name: &str| {
        fields
            .iter()
            .any(|field| walk::name_of(body, *field) == name.as_bytes())
    };
    let mut members = Members::new();
    if kind == Kind::Embeddings {
        if !has("completion_tokens") {
            members.add("completion_tokens", b"0");
        }
        if !has("prompt_tokens") {
            members.add("prompt_tokens", usage.total_tokens.to_string().as_bytes());
        }
    }
    for name in ["completion_tokens_details", "prompt_tokens_details"] {
        if !has(name) {
            members.add(name, b"null");
        }
    }
    members.apply(span, fields, edits);
}

/// Why the first choice of a text completion ended.
pub fn finish_reason(body: &[u8], scan: &Scan) -> Option<String> {
    let choices = scan.fields().get(scan.find(body, "choices")?)?.value;
    let choice = walk::elements(body, choices).next()?;
    let reason = decode_string(walk::member(body, choice, "finish_reason")?.of(body))?;
    Some(plain_reason(&reason).unwrap_or(&reason).to_owned())
}

/// A rerank answer in Cohere's shape, which clients of rerank get: `id`, `results`, `meta`.
pub fn rerank(body: &[u8], scan: &Scan, fresh_id: &str) -> (Vec<u8>, Option<Usage>) {
    let value = |name| {
        scan.find(body, name)
            .map(|index| scan.fields()[index].value)
    };
    let usage = value("usage").and_then(|span| Usage::read(body, span));
    let mut out = Vec::with_capacity(body.len() + 64);
    out.extend_from_slice(b"{\"id\":");
    match value("id").filter(|id| !walk::is_null(body, *id)) {
        Some(id) => out.extend_from_slice(id.of(body)),
        None => push_json_string(&mut out, fresh_id),
    }
    out.extend_from_slice(b",\"results\":[");
    let results = value("results").or_else(|| value("data"));
    for (count, result) in results
        .into_iter()
        .flat_map(|list| walk::elements(body, list))
        .enumerate()
    {
        if count > 0 {
            out.push(b',');
        }
        push_result(body, result, &mut out);
    }
    out.extend_from_slice(b"],\"meta\":");
    match (value("meta"), usage) {
        (Some(meta), _) => out.extend_from_slice(meta.of(body)),
        (None, Some(usage)) => {
            let total = usage.total_tokens;
            out.extend_from_slice(
                format!("{{\"billed_units\":{{\"total_tokens\":{total}}},\"tokens\":{{").as_bytes(),
            );
            if usage.prompt_tokens == 0 {
                out.extend_from_slice(format!("\"input_tokens\":{total}").as_bytes());
                if value("results").is_none() {
                    out.extend_from_slice(b",\"output_tokens\":0");
                }
            }
            out.extend_from_slice(b"}}");
        }
        (None, None) => out.extend_from_slice(b"{}"),
    }
    out.push(b'}');
    (out, usage)
}

/// One result; a document that is a bare text becomes `{"text": ...}`.
fn push_result(body: &[u8], result: Span, out: &mut Vec<u8>) {
    let mut edits = Edits::new();
    if let Some(document) = walk::member(body, result, "document")
        && body.get(document.start as usize) == Some(&b'"')
    {
        edits.replace(
            Span {
                start: document.start,
                end: document.start,
            },
            b"{\"text\":",
        );
        edits.replace(
            Span {
                start: document.end,
                end: document.end,
            },
            b"}",
        );
    }
    let whole = &body[..result.end as usize];
    let start = out.len();
    edits.copy_into(whole, out);
    out.drain(start..start + result.start as usize);
}
