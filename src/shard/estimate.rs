//! What a call used where its upstream did not say: by the length of what was sent and of what came.
//! An upstream that does not count, breaks off or is left before it has counted is paid all the same.

use shardgate_io::http1::server::Party;

use super::attempt::Work;
use super::exchange::Whole;
use super::relay::Relay;
use crate::dialect::scan::Span;
use crate::dialect::usage::Usage;
use crate::dialect::walk;
use crate::provider::Operation;

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

/// What a whole answer in OpenAI's form used that came without its usage.
pub(super) fn of_whole<P: Party>(work: &Work<'_, P>, whole: &Whole) -> Option<Usage> {
    let bytes = match work.asked.operation {
        _ if whole.status >= 400 => return None,
        Operation::Embeddings => 0,
        Operation::Chat | Operation::Completions => text_bytes(&whole.body),
        _ => return None,
    };
    Some(of(work.prompt_tokens, tokens(bytes)))
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

/// Bytes of text in the choices of a chat or text completion.
fn text_bytes(body: &[u8]) -> u64 {
    let whole = Span::new(0, body.len());
    let Some(choices) = walk::member(body, whole, "choices") else {
        return 0;
    };
    let texts = walk::elements(body, choices).flat_map(|choice| {
        let message = walk::member(body, choice, "message");
        let said = ["content", "reasoning_content"];
        let said = said.map(|name| message.and_then(|span| walk::member(body, span, name)));
        [walk::member(body, choice, "text"), said[0], said[1]]
    });
    let texts = texts.flatten().filter(|span| !walk::is_null(body, *span));
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
        assert_eq!((tokens(0), tokens(1), tokens(8)), (0, 1, 2));
    }
}
