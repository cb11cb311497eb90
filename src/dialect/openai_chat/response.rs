//! The edits that make a provider's answer one for the client: the model the client asked for, and the shape that clients
//! of LiteLLM know: vendor fields of a choice or a message under `provider_specific_fields`, reasoning under
//! `reasoning_content`. Everything else stays as the provider wrote it.

use memchr::memmem;

use crate::dialect::scan::{Field, Scan, Span, decode_string};
use crate::dialect::splice::{Edits, Members};
use crate::dialect::tape::Tape;
use crate::dialect::usage::Usage;
use crate::dialect::walk;

/// What distinguishes a provider's answers.
#[derive(Clone, Copy, Debug)]
pub struct ResponseRules {
    /// Vendor fields of choices and messages move under `provider_specific_fields`, which every choice gets. Else they
    /// stay, and nulls of a choice go.
    pub vendor_fields: bool,
    /// `service_tier` values that OpenAI does not know become `auto`.
    pub plain_service_tier: bool,
    /// Members of stream chunks that are left out.
    pub stream_drops: &'static [&'static str],
    /// The `content_filter_results` of a choice's last chunk are left out.
    pub drop_last_filter: bool,
}

impl ResponseRules {
    /// What most providers get.
    pub const PLAIN: Self = Self {
        vendor_fields: true,
        plain_service_tier: false,
        stream_drops: &[],
        drop_last_filter: false,
    };
}

/// What was read of an answer on the way.
#[derive(Clone, Debug, Default)]
pub struct Read {
    /// Tokens.
    pub usage: Option<Usage>,
    /// Why the first choice ended.
    pub finish_reason: Option<String>,
}

/// Writes the edits for a chat answer that `scan` and `tape` were read from. `model` is the JSON string for the client, if it is replaced.
pub fn edit(
    body: &[u8],
    (scan, tape): (&Scan, &Tape),
    rules: &ResponseRules,
    model: Option<&[u8]>,
    edits: &mut Edits,
) -> Read {
    let mut read = Read::default();
    let mut members = Members::new();
    for (index, field) in scan.fields().iter().enumerate() {
        match scan.name(body, index) {
            b"model" => {
                if let Some(model) = model {
                    edits.replace(field.value, model);
                }
            }
            b"choices" => {
                for (choice, fields) in tape.objects(body, field.value) {
                    let choice = (choice, fields.as_slice());
                    edit_choice(body, tape, choice, rules, edits, &mut read);
                }
            }
            b"usage" => {
                read.usage = edit_usage(body, tape, field.value, edits);
            }
            b"service_tier" if rules.plain_service_tier && !is_known_tier(field.value.of(body)) => {
                edits.replace(field.value, b"\"auto\"");
            }
            b"id" | b"object" | b"created" | b"system_fingerprint" | b"service_tier" => {}
            _ if walk::is_null(body, field.value) => members.remove(index),
            _ => {}
        }
    }
    members.apply(scan.object, scan.fields(), edits);
    read
}

fn is_known_tier(value: &[u8]) -> bool {
    matches!(
        value,
        b"\"auto\"" | b"\"default\"" | b"\"flex\"" | b"\"scale\"" | b"\"priority\"" | b"null"
    )
}

fn edit_choice(
    body: &[u8],
    tape: &Tape,
    (choice, fields): (Span, &[Field]),
    rules: &ResponseRules,
    edits: &mut Edits,
    read: &mut Read,
) {
    let mut members = Members::new();
    let mut moved = Vec::new();
    let mut has_vendor_fields = false;
    for (index, field) in fields.iter().enumerate() {
        match walk::name_of(body, *field) {
            b"message" => edit_message(body, tape, field.value, rules, edits),
            b"finish_reason" => {
                if read.finish_reason.is_none() {
                    read.finish_reason = decode_string(field.value.of(body))
                        .map(|reason| finish_reason(&reason).unwrap_or(&reason).to_owned());
                }
                edit_finish_reason(body, field.value, edits);
            }
            _ if !rules.vendor_fields => {
                if walk::is_null(body, field.value) {
                    members.remove(index);
                }
            }
            b"index" | b"logprobs" | b"text" => {}
            b"provider_specific_fields" => has_vendor_fields = true,
            _ => moved.push(index),
        }
    }
    if !has_vendor_fields && rules.vendor_fields {
        move_members(body, fields, &moved, &mut members);
    }
    members.apply(choice, fields, edits);
}

/// Takes the members at `moved` out and puts them under `provider_specific_fields`.
fn move_members(body: &[u8], fields: &[Field], moved: &[usize], members: &mut Members) {
    members.add_with("provider_specific_fields", |out| {
        out.push(b'{');
        for (count, &index) in moved.iter().enumerate() {
            if count > 0 {
                out.push(b',');
            }
            out.extend_from_slice(fields[index].key.of(body));
            out.push(b':');
            out.extend_from_slice(fields[index].value.of(body));
        }
        out.push(b'}');
    });
    moved.iter().for_each(|&index| members.remove(index));
}

fn edit_message(body: &[u8], tape: &Tape, message: Span, rules: &ResponseRules, edits: &mut Edits) {
    let list = tape.fields(message);
    let fields = list.as_slice();
    let mut members = Members::new();
    let mut moved = Vec::new();
    let mut reasoning = None;
    let mut content = None;
    let mut has_vendor_fields = false;
    for (index, field) in fields.iter().enumerate() {
        match walk::name_of(body, *field) {
            b"content" => content = Some(field.value),
            b"reasoning_content" | b"thinking_blocks" if walk::is_null(body, field.value) => {
                members.remove(index)
            }
            b"reasoning_content" => reasoning = Some(None),
            _ if !rules.vendor_fields => {}
            b"reasoning" => {
                if reasoning.is_none() && !walk::is_null(body, field.value) {
                    reasoning = Some(Some(field.value));
                }
                moved.push(index);
            }
            b"role" | b"tool_calls" | b"function_call" | b"refusal" | b"annotations" | b"audio"
            | b"thinking_blocks" | b"images" | b"name" => {}
            b"provider_specific_fields" => has_vendor_fields = true,
            _ => moved.push(index),
        }
    }
    match (reasoning, content) {
        (Some(Some(reasoning)), _) => members.add("reasoning_content", reasoning.of(body)),
        (None, Some(content)) => split_content(body, content, &mut members, edits),
        _ => {}
    }
    if !has_vendor_fields && !moved.is_empty() {
        move_members(body, fields, &moved, &mut members);
    }
    members.apply(message, fields, edits);
}

/// Reasoning that stands in the content gets a field of its own: `<think>...</think>` at its start, or a list of parts.
fn split_content(body: &[u8], content: Span, members: &mut Members, edits: &mut Edits) {
    let raw = content.of(body);
    if raw.first() == Some(&b'[') {
        return split_parts(body, content, members, edits);
    }
    const OPEN: &[u8] = b"\"<think>";
    const CLOSE: &[u8] = b"</think>";
    if !raw.starts_with(OPEN) {
        return;
    }
    let Some(end) = memmem::find(raw, CLOSE) else {
        return;
    };
    members.add_with("reasoning_content", |out| {
        out.push(b'"');
        out.extend_from_slice(&raw[OPEN.len()..end]);
        out.push(b'"');
    });
    edits.replace_with(content, |out| {
        out.push(b'"');
        out.extend_from_slice(&raw[end + CLOSE.len()..]);
    });
}

/// Content as a list of reasoning and text parts (Mistral, Claude behind Databricks).
fn split_parts(body: &[u8], content: Span, members: &mut Members, edits: &mut Edits) {
    let mut text = Vec::new();
    let mut thoughts = Vec::new();
    let mut blocks: Vec<u8> = Vec::new();
    for part in walk::elements(body, content) {
        let get = |name| walk::member(body, part, name);
        match get("type").map(|kind| kind.of(body)) {
            Some(b"\"text\"") => text.extend(get("text")),
            Some(b"\"thinking\"") => {
                let inner = get("thinking")
                    .into_iter()
                    .flat_map(|list| walk::elements(body, list));
                thoughts.extend(inner.filter_map(|item| walk::member(body, item, "text")));
            }
            Some(b"\"reasoning\"") => {
                for item in get("summary")
                    .into_iter()
                    .flat_map(|list| walk::elements(body, list))
                {
                    let Some(thought) = walk::member(body, item, "text") else {
                        continue;
                    };
                    thoughts.push(thought);
                    push_block(
                        body,
                        thought,
                        walk::member(body, item, "signature"),
                        &mut blocks,
                    );
                }
            }
            _ => return,
        }
    }
    if thoughts.is_empty() {
        return;
    }
    members.add_with("reasoning_content", |out| join(body, &thoughts, out));
    if !blocks.is_empty() {
        blocks.push(b']');
        members.add("thinking_blocks", &blocks);
    }
    edits.replace_with(content, |out| join(body, &text, out));
}

fn push_block(body: &[u8], thought: Span, signature: Option<Span>, blocks: &mut Vec<u8>) {
    blocks.push(if blocks.is_empty() { b'[' } else { b',' });
    blocks.extend_from_slice(br#"{"type":"thinking","thinking":"#);
    blocks.extend_from_slice(thought.of(body));
    if let Some(signature) = signature {
        blocks.extend_from_slice(br#","signature":"#);
        blocks.extend_from_slice(signature.of(body));
    }
    blocks.push(b'}');
}

/// JSON strings joined to one.
fn join(body: &[u8], strings: &[Span], out: &mut Vec<u8>) {
    out.push(b'"');
    for string in strings {
        let raw = string.of(body);
        out.extend_from_slice(raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default());
    }
    out.push(b'"');
}

/// Nulls go; reasoning tokens that a vendor states beside the details go into them.
fn edit_usage(body: &[u8], tape: &Tape, span: Span, edits: &mut Edits) -> Option<Usage> {
    let list = tape.fields(span);
    let fields = list.as_slice();
    let usage = Usage::of(body, fields);
    let mut members = Members::new();
    let mut reasoning = None;
    let mut has_details = false;
    for (index, field) in fields.iter().enumerate() {
        match walk::name_of(body, *field) {
            b"completion_tokens_details" if !walk::is_null(body, field.value) => has_details = true,
            b"reasoning_tokens" => reasoning = Some(index),
            _ if walk::is_null(body, field.value) => members.remove(index),
            _ => {}
        }
    }
    if let (Some(index), Some(usage), false) = (reasoning, &usage, has_details) {
        members.remove(index);
        let text = usage
            .completion_tokens
            .saturating_sub(usage.reasoning_tokens);
        members.add_with("completion_tokens_details", |out| {
            out.extend_from_slice(
                format!(
                    r#"{{"reasoning_tokens":{},"text_tokens":{text}}}"#,
                    usage.reasoning_tokens
                )
                .as_bytes(),
            );
        });
    }
    members.apply(span, fields, edits);
    usage
}

/// OpenAI's name for a vendor's reason; `None` when it is OpenAI's already, or unknown.
pub fn finish_reason(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "eos" | "eos_token" | "stop_sequence" | "end_turn" | "COMPLETE" | "STOP" => "stop",
        "max_tokens" | "MAX_TOKENS" | "model_length" => "length",
        "tool_use" | "TOOL_CALL" => "tool_calls",
        "SAFETY" | "ERROR_TOXIC" | "guardrail_intervened" | "refusal" => "content_filter",
        _ => return None,
    })
}

/// Puts OpenAI's name in the place of a vendor's.
pub fn edit_finish_reason(body: &[u8], span: Span, edits: &mut Edits) {
    let raw = span.of(body);
    let known = raw
        .get(1..raw.len().saturating_sub(1))
        .and_then(|inner| std::str::from_utf8(inner).ok());
    if let Some(reason) = known.and_then(finish_reason) {
        edits.replace_with(span, |out| {
            out.push(b'"');
            out.extend_from_slice(reason.as_bytes());
            out.push(b'"');
        });
    }
}
