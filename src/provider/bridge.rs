//! Clients of another dialect than the provider's chat: their request becomes a chat request, the chat answer becomes
//! theirs. Stands between [`super::Target`] and a provider that does not speak the client's dialect itself.

use crate::dialect::value::{Map, Value};

use super::translated::whole;
use super::{
    Answer, AnswerContext, Incoming, Operation, Outgoing, Provider, Reply, RequestOptions,
    StreamEnd, StreamReader, StreamTranslator, openai,
};
use crate::dialect::anthropic_messages::client as messages;
use crate::dialect::anthropic_messages::client_stream::Writer as MessagesWriter;
use crate::dialect::frames::{Framing, Sse};
use crate::dialect::gemini::client::{self as generate, Writer as GenerateWriter};
use crate::dialect::hub::unreadable;
use crate::dialect::openai_chat::response::ResponseRules;
use crate::dialect::openai_completions::{self as completions, Writer as CompletionsWriter};
use crate::dialect::openai_responses::client as responses;
use crate::dialect::openai_responses::client_stream::Writer as ResponsesWriter;
use crate::dialect::scan::scan;
use crate::dialect::splice::Spliced;
use crate::dialect::stream::{EventAction, StreamTap};
use crate::dialect::usage::Usage;
use crate::error::GatewayError;

/// Whether a client of that operation can be served by a chat provider.
pub(super) const fn has_bridge(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::Messages
            | Operation::Responses
            | Operation::GenerateContent
            | Operation::Completions
    )
}

/// The provider's chat request for the client's request.
pub(super) fn request(
    provider: &dyn Provider,
    operation: Operation,
    incoming: Incoming<'_>,
    options: &RequestOptions<'_>,
) -> Result<Outgoing, GatewayError> {
    let Incoming::Json { body, .. } = incoming else {
        return Err(GatewayError::malformed("the body must be a JSON object"));
    };
    let given = Map::read(body).map_err(GatewayError::malformed)?;
    let chat = match operation {
        Operation::Messages => messages::to_chat(given),
        Operation::Responses => responses::to_chat(given)?,
        Operation::GenerateContent => generate::to_chat(given),
        Operation::Completions => completions::to_chat(given, options.drop_params)?,
        _ => given,
    };
    let chat = chat.to_vec();
    let fields = scan(&chat).map_err(GatewayError::malformed)?;
    let incoming = Incoming::Json {
        body: &chat,
        scan: &fields,
    };
    let mut outgoing = provider.request(Operation::Chat, incoming, options)?;
    outgoing.body = Spliced::Whole(outgoing.body.to_vec(&chat));
    Ok(outgoing)
}

/// The client's answer for the provider's chat answer.
pub(super) fn answer(
    provider: &dyn Provider,
    reply: &Reply<'_>,
    context: &AnswerContext<'_>,
) -> Result<Answer, GatewayError> {
    let reply = Reply {
        operation: Operation::Chat,
        ..*reply
    };
    let mut answer = provider.answer(&reply, &chat_context(context))?;
    let chat = answer.body.to_vec(reply.body);
    let chat = Value::read(&chat).map_err(|error| unreadable("", error))?;
    answer.body = whole(&own(
        context.operation,
        chat,
        (context.fresh_id, context.response_id),
    ));
    answer.content_type = Some("application/json");
    Ok(answer)
}

/// A chat's answer in the client's dialect.
fn own(operation: Operation, chat: Value, (fresh_id, id): (&str, &str)) -> Value {
    match operation {
        Operation::Messages => messages::from_chat(&chat),
        Operation::Responses => responses::from_chat(&chat, fresh_id, id),
        Operation::GenerateContent => generate::from_chat(&chat),
        Operation::Completions => completions::from_chat(&chat),
        _ => chat,
    }
}

/// A canned answer in the client's dialect; `chat` is the same for a client of chats.
pub fn canned_answer(operation: Operation, chat: Value, fresh_id: &str) -> Value {
    own(operation, chat, (fresh_id, ""))
}

/// The reader for a canned stream, which is one of chats; that of text completions is one of those.
pub fn canned_stream(context: &AnswerContext<'_>) -> StreamReader {
    const LABEL: &str = "OpenAI";
    match context.operation {
        Operation::Messages | Operation::Responses | Operation::GenerateContent => {
            let tap = openai::tap(LABEL, &ResponseRules::PLAIN, &chat_context(context));
            bridged(Inner::Tap(Box::new(tap), Sse::default()), context)
        }
        _ => StreamReader::Tap(Box::new(openai::tap(LABEL, &ResponseRules::PLAIN, context))),
    }
}

const fn chat_context<'a>(context: &AnswerContext<'a>) -> AnswerContext<'a> {
    AnswerContext {
        operation: Operation::Chat,
        usage_asked: true,
        ..*context
    }
}

/// The reader that turns the provider's chat stream into the client's events.
pub(super) fn stream(provider: &dyn Provider, context: &AnswerContext<'_>) -> StreamReader {
    let inner = match provider.stream(&chat_context(context)) {
        StreamReader::Tap(tap) => Inner::Tap(tap, Sse::default()),
        StreamReader::Translate(translator) => Inner::Translate(translator),
    };
    bridged(inner, context)
}

fn bridged(inner: Inner, context: &AnswerContext<'_>) -> StreamReader {
    StreamReader::Translate(Box::new(Bridged {
        inner,
        chunks: Sse::default(),
        writer: Writer::new(context),
        is_done: false,
    }))
}

/// The same stream as one JSON array, an element for an event: how Google streams without `alt=sse`.
pub fn as_array(reader: StreamReader) -> StreamReader {
    match reader {
        StreamReader::Translate(inner) => StreamReader::Translate(Box::new(Array {
            inner,
            events: Sse::default(),
            has_begun: false,
            is_closed: false,
        })),
        tap @ StreamReader::Tap(_) => tap,
    }
}

struct Array {
    inner: Box<dyn StreamTranslator>,
    events: Sse,
    has_begun: bool,
    is_closed: bool,
}

impl Array {
    fn write(&mut self, events: &[u8], out: &mut Vec<u8>) -> Result<(), GatewayError> {
        let has_begun = &mut self.has_begun;
        self.events.feed(events, &mut |_, data| {
            let before: &[u8] = if std::mem::replace(has_begun, true) {
                b",\r\n"
            } else {
                b"["
            };
            out.extend_from_slice(before);
            out.extend_from_slice(data);
            Ok(())
        })
    }
}

impl StreamTranslator for Array {
    fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), GatewayError> {
        let mut events = Vec::new();
        let fed = self.inner.feed(bytes, &mut events);
        self.write(&events, out)?;
        fed
    }

    fn end(&mut self, out: &mut Vec<u8>) -> StreamEnd {
        let mut events = Vec::new();
        let end = self.inner.end(&mut events);
        if self.write(&events, out).is_err() || end == StreamEnd::Cut {
            return StreamEnd::Cut;
        }
        if !std::mem::replace(&mut self.is_closed, true) {
            out.extend_from_slice(if self.has_begun { b"]" } else { b"[]" });
        }
        StreamEnd::Complete
    }

    fn text_bytes(&self) -> u64 {
        self.inner.text_bytes()
    }

    fn is_done(&self) -> bool {
        self.is_closed
    }

    fn usage(&self) -> Option<Usage> {
        self.inner.usage()
    }

    fn finish_reason(&self) -> Option<&str> {
        self.inner.finish_reason()
    }
}

/// Writes the client's events.
enum Writer {
    Messages(MessagesWriter),
    Responses(ResponsesWriter),
    Generate(GenerateWriter),
    Completions(CompletionsWriter),
}

impl Writer {
    fn new(context: &AnswerContext<'_>) -> Self {
        let (model, fresh) = (context.requested_model, context.fresh_id);
        match context.operation {
            Operation::Responses => {
                let writer = ResponsesWriter::new(model, fresh, context.now_unix_s);
                Self::Responses(writer.named(context.response_id))
            }
            Operation::GenerateContent => Self::Generate(GenerateWriter::default()),
            Operation::Completions => {
                Self::Completions(CompletionsWriter::new(context.usage_asked))
            }
            _ => Self::Messages(MessagesWriter::new(model, fresh)),
        }
    }

    fn chunk(&mut self, chunk: &Value, out: &mut Vec<u8>) {
        match self {
            Self::Messages(writer) => writer.chunk(chunk, out),
            Self::Responses(writer) => writer.chunk(chunk, out),
            Self::Generate(writer) => writer.chunk(chunk, out),
            Self::Completions(writer) => writer.chunk(chunk, out),
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Messages(writer) => writer.end(out),
            Self::Responses(writer) => writer.end(out),
            Self::Generate(writer) => writer.end(out),
            Self::Completions(writer) => writer.end(out),
        }
    }
}

/// Where chat chunks come from.
enum Inner {
    Tap(Box<StreamTap>, Sse),
    Translate(Box<dyn StreamTranslator>),
}

impl Inner {
    fn feed(&mut self, bytes: &[u8], chat: &mut Vec<u8>) -> Result<(), GatewayError> {
        match self {
            Self::Translate(translator) => translator.feed(bytes, chat),
            Self::Tap(tap, events) => events.feed(bytes, &mut |name, data| {
                let mut part = Vec::new();
                match tap.event(name, data, &mut part) {
                    EventAction::Pass => {
                        chat.extend_from_slice(b"data: ");
                        chat.extend_from_slice(data);
                        chat.extend_from_slice(b"\n\n");
                    }
                    EventAction::Replace | EventAction::Done => chat.append(&mut part),
                    EventAction::Hide => {}
                    EventAction::Error(error) => return Err(error),
                }
                Ok(())
            }),
        }
    }

    fn end(&mut self, chat: &mut Vec<u8>) -> StreamEnd {
        match self {
            Self::Translate(translator) => translator.end(chat),
            Self::Tap(tap, _) => {
                if tap.ended(chat) {
                    StreamEnd::Complete
                } else {
                    StreamEnd::Cut
                }
            }
        }
    }

    fn is_done(&self) -> bool {
        match self {
            Self::Translate(translator) => translator.is_done(),
            Self::Tap(tap, _) => tap.is_done(),
        }
    }
}

struct Bridged {
    inner: Inner,
    chunks: Sse,
    writer: Writer,
    is_done: bool,
}

impl Bridged {
    /// Hands the chunks that came to the client's writer.
    fn write(&mut self, chat: &[u8], out: &mut Vec<u8>) -> Result<(), GatewayError> {
        let writer = &mut self.writer;
        self.chunks.feed(chat, &mut |_, data| {
            if let Ok(chunk) = Value::read(data) {
                writer.chunk(&chunk, out);
            }
            Ok(())
        })
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.is_done, true) {
            self.writer.end(out);
        }
    }
}

impl StreamTranslator for Bridged {
    fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), GatewayError> {
        if self.is_done {
            return Ok(());
        }
        let mut chat = Vec::new();
        let fed = self.inner.feed(bytes, &mut chat);
        self.write(&chat, out)?;
        fed?;
        if self.inner.is_done() {
            self.close(out);
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<u8>) -> StreamEnd {
        if self.is_done {
            return StreamEnd::Complete;
        }
        let mut chat = Vec::new();
        let end = self.inner.end(&mut chat);
        if self.write(&chat, out).is_err() || end == StreamEnd::Cut {
            return StreamEnd::Cut;
        }
        self.close(out);
        StreamEnd::Complete
    }

    fn response(&mut self) -> Option<Vec<u8>> {
        match &mut self.writer {
            Writer::Responses(writer) => writer.take_response(),
            _ => None,
        }
    }

    fn text_bytes(&self) -> u64 {
        match &self.inner {
            Inner::Translate(translator) => translator.text_bytes(),
            Inner::Tap(tap, _) => tap.text_bytes(),
        }
    }

    fn is_done(&self) -> bool {
        self.is_done
    }

    fn usage(&self) -> Option<Usage> {
        match &self.inner {
            Inner::Translate(translator) => translator.usage(),
            Inner::Tap(tap, _) => tap.usage(),
        }
    }

    fn finish_reason(&self) -> Option<&str> {
        match &self.inner {
            Inner::Translate(translator) => translator.finish_reason(),
            Inner::Tap(tap, _) => tap.finish_reason(),
        }
    }
}
