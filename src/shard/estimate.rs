//! What a call used where its upstream did not say: by the length of what was sent and of what came.
//! An upstream that does not count, breaks off or is left before it has counted is paid all the same.

use shardgate_io::http1::server::Party;

use super::attempt::Work;
use super::relay::Relay;
use crate::dialect::scan::Span;
use crate::dialect::usage::Usage;
use crate::dialect::walk;
use crate::provider::{Answer, Operation};

/// Bytes of text that go as one token where nobody counts.
pub(super) const BYTES_PER_TOKEN: u64 = 4;

/// What a stream used, as far as its operation is paid by tokens. `is_cut`: it did not come to its end.
pub(super) fn of_stream<P: Party>(
    work: &Work<'_, P>,
    relay: &Relay,
    is_cut: bool,
) -> Option<Usage> {
    let counted = relay.usage();
    if !is_text(work.asked.operation) || (counted.is_some() && !is_cut) {
        return counted;
    }
    let completion_tokens = tokens(relay.text_bytes());
    let mut used = counted.unwrap_or_else(|| of(work.prompt_tokens, 0));
    // A count that came at the stream's begin (Anthropic's) is of the prompt.
    used.completion_tokens = used.completion_tokens.max(completion_tokens);
    used.total_tokens = used.prompt_tokens + used.completion_tokens;
    Some(used)
}

/// What a whole answer used that came without its usage, by the text that the client gets.
#[cold]
pub(super) fn of_whole<P>(work: &Work<'_, P>, answer: &Answer, body: &[u8]) -> Option<Usage> {
    let bytes = match work.asked.operation {
        Operation::Embeddings => 0,
        operation if is_text(operation) => text_bytes(&answer.body.to_vec(body)),
        _ => return None,
    };
    Some(of(work.prompt_tokens, tokens(bytes)))
}

/// What a call used that was sent and not waited for: its prompt is paid, where it is paid by tokens.
pub(super) fn of_sent(operation: Operation, prompt_tokens: u64) -> Option<Usage> {
    let by_tokens = is_text(operation) || operation == Operation::Embeddings;
    by_tokens.then(|| of(prompt_tokens, 0))
}

fn is_text(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::Chat
            | Operation::Completions
            | Operation::Messages
            | Operation::Responses
            | Operation::GenerateContent
    )
}

fn of(prompt_tokens: u64, completion_tokens: u64) -> Usage {
    Usage {
        prompt_tokens,
        completion_tokens,
        total_tokens: prompt_tokens + completion_tokens,
        ..Usage::default()
    }
}

fn tokens(bytes: u64) -> u64 {
    bytes.div_ceil(BYTES_PER_TOKEN)
}

/// Bytes of text in an answer: of a chat or text completion, of Anthropic's messages, of a Responses
/// answer, of Gemini's candidates.
fn text_bytes(body: &[u8]) -> u64 {
    let whole = Span::new(0, body.len());
    let of_message = |message| texts(body, message, &["content", "reasoning_content"]);
    let of_parts = |parts| each(body, parts, |part| texts(body, part, &["text", "thinking"]));
    let lists: [(&str, &dyn Fn(Span) -> u64); 4] = [
        ("choices", &|choice| {
            let message = walk::member(body, choice, "message");
            texts(body, choice, &["text"]) + message.map_or(0, of_message)
        }),
        ("content", &|part| texts(body, part, &["text", "thinking"])),
        ("output", &|item| {
            walk::member(body, item, "content").map_or(0, of_parts)
        }),
        ("candidates", &|candidate| {
            walk::path(body, candidate, &["content", "parts"]).map_or(0, of_parts)
        }),
    ];
    let found = lists
        .iter()
        .filter_map(|(name, of)| Some(each(body, walk::member(body, whole, name)?, of)));
    found.sum()
}

fn each(body: &[u8], list: Span, of: impl Fn(Span) -> u64) -> u64 {
    walk::elements(body, list).map(of).sum()
}

/// Bytes of the texts among these members.
fn texts(body: &[u8], object: Span, names: &[&str]) -> u64 {
    let found = names
        .iter()
        .filter_map(|name| walk::member(body, object, name));
    let texts = found.filter(|span| span.of(body).first() == Some(&b'"'));
    texts
        .map(|span| u64::from(span.end - span.start).saturating_sub(2))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_counted_wherever_it_stands() {
        let chat = br#"{"choices":[{"message":{"content":"12345678","reasoning_content":"1234"}},
            {"message":{"content":null}}]}"#;
        assert_eq!(text_bytes(chat), 12);
        assert_eq!(
            text_bytes(br#"{"choices":[{"text":"123"},{"text":"45"}]}"#),
            5
        );
        assert_eq!(text_bytes(br#"{"object":"list"}"#), 0);
        let message =
            br#"{"content":[{"type":"text","text":"1234"},{"type":"tool_use","input":{}}]}"#;
        assert_eq!(text_bytes(message), 4);
        let response =
            br#"{"output":[{"type":"message","content":[{"text":"12"},{"text":"345"}]},{}]}"#;
        assert_eq!(text_bytes(response), 5);
        let gemini = br#"{"candidates":[{"content":{"parts":[{"text":"1"},{"text":"23"}]}}]}"#;
        assert_eq!(text_bytes(gemini), 3);
        assert_eq!((tokens(0), tokens(1), tokens(8)), (0, 1, 2));
    }
}
