//! `router_settings.cache_responses`: whole answers that a shard gives again to the same request. It is the
//! cache in front of any other: in memory, of one shard, for all callers who may use the model.
//!
//! What "the same" means: endpoint, model (or the group of `caching_groups` that it is in), namespace and
//! every field that reaches the model, in any order. An answer of a fallback is never kept.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use shardgate_io::buffer::Buf;
use shardgate_io::http1::encode::header;
use shardgate_io::http1::server::{After, Connection};

use super::body::{Asked, Content};
use super::call::Call;
use super::{Shard, answer, callers, fault, ledger};
use crate::auth::key::KeyHash;
use crate::dialect::scan::{Scan, Span};
use crate::dialect::walk;
use crate::error::push_json_string;
use crate::provider::Operation;
use crate::router::Resolution;
use crate::spend::record::Outcome;
use crate::spend::usage::Quantities;

/// Answers that a shard keeps; then the one that was not used for longest makes room.
const ANSWERS_MAX: usize = 200;
/// Their bytes.
const BYTES_MAX: usize = 32 * 1024 * 1024;
/// A larger answer is not kept.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// How long an answer is kept where the request does not say.
const LASTS: Duration = Duration::from_secs(600);

/// Fields that do not reach the model, or say the same as something else in the key.
const NOT_IN_KEY: [&[u8]; 11] = [
    b"model",
    b"metadata",
    b"cache",
    b"caching",
    b"priority",
    b"stream",
    b"num_retries",
    b"max_retries",
    b"timeout",
    b"stream_timeout",
    b"request_timeout",
];

/// One shard's answers.
#[derive(Default)]
pub(super) struct Answers {
    kept: RefCell<HashMap<KeyHash, Kept>>,
}

struct Kept {
    answer: Rc<Answer>,
    made: Instant,
    until: Instant,
    last_used: Instant,
}

/// An answer as the client got it.
pub(super) struct Answer {
    body: Vec<u8>,
    content_type: Vec<u8>,
    /// The deployment that gave it, and what it used then.
    deployment: Option<usize>,
    used: Quantities,
}

/// What a request asks of the cache.
pub(super) struct Terms {
    key: KeyHash,
    reads: bool,
    writes: bool,
    lasts: Duration,
    age_max: Option<Duration>,
}

/// `cache` of a request.
#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct Wishes {
    #[serde(rename = "no-cache")]
    no_cache: bool,
    #[serde(rename = "no-store")]
    no_store: bool,
    ttl: Option<f64>,
    #[serde(rename = "s-maxage", alias = "s-max-age")]
    age_max: Option<f64>,
    namespace: Option<String>,
}

/// What a request asks of the cache; nothing for one that cannot be served by it: a stream, a form, a
/// canned answer, a call with credentials of its own.
pub(super) fn terms(
    call: &Call,
    asked: &Asked,
    body: &[u8],
    resolution: &Resolution,
) -> Option<Box<Terms>> {
    let is_kind = matches!(
        asked.operation,
        Operation::Chat | Operation::Completions | Operation::Embeddings
    );
    let Some(Content::Json(scan)) = asked.content.as_deref() else {
        return None;
    };
    let is_plain = !asked.stream && asked.mock.is_none() && asked.own.is_none();
    if !is_kind || !is_plain || scan.value(body, "caching") == Some(b"false") {
        return None;
    }
    let wishes = scan.value(body, "cache");
    let wishes: Wishes = match wishes {
        // One that cannot be understood is not cached.
        Some(raw) => serde_json::from_slice(raw).ok()?,
        None => Wishes::default(),
    };
    let seconds = |wish: Option<f64>| wish.and_then(|s| Duration::try_from_secs_f64(s).ok());
    let router = &call.snapshot.router;
    let model = match resolution {
        Resolution::Group(group) => router.caching_name(*group),
        _ => &asked.model,
    };
    Some(Box::new(Terms {
        key: key(asked, scan, body, model, wishes.namespace.as_deref()),
        reads: !wishes.no_cache,
        writes: !wishes.no_store,
        lasts: seconds(wishes.ttl).unwrap_or(LASTS),
        age_max: seconds(wishes.age_max),
    }))
}

fn key(asked: &Asked, scan: &Scan, body: &[u8], model: &str, namespace: Option<&str>) -> KeyHash {
    let counted = (0..scan.len()).map(|at| (scan.name(body, at), scan.fields()[at].value.of(body)));
    let mut fields: Vec<(&[u8], &[u8])> = counted
        .filter(|(name, _)| !NOT_IN_KEY.contains(name) && !name.starts_with(b"litellm_"))
        .collect();
    fields.sort_unstable();
    let mut text = Vec::with_capacity(body.len() + 256);
    // Each part with its length in front: none can pass for another.
    let mut push = |part: &[u8]| {
        text.extend_from_slice(&(part.len() as u64).to_le_bytes());
        text.extend_from_slice(part);
    };
    push(format!("{:?}", asked.operation).as_bytes());
    push(model.as_bytes());
    push(namespace.unwrap_or_default().as_bytes());
    push(asked.facts.wishes.tags.join("\n").as_bytes());
    for (name, value) in fields {
        push(name);
        push(value);
    }
    KeyHash::of(&text)
}

impl Answers {
    /// The answer to the same request, where there is one that is not too old.
    pub(super) fn find(&self, terms: &Terms) -> Option<Rc<Answer>> {
        if !terms.reads {
            return None;
        }
        let now = Instant::now();
        let mut kept = self.kept.borrow_mut();
        let found = kept.get_mut(&terms.key)?;
        if found.until <= now {
            kept.remove(&terms.key);
            return None;
        }
        let age = now.saturating_duration_since(found.made);
        if terms.age_max.is_some_and(|most| age > most) {
            return None;
        }
        found.last_used = now;
        Some(found.answer.clone())
    }

    /// Keeps an answer; others make room.
    fn keep(&self, terms: &Terms, answer: Answer) {
        if !terms.writes || answer.body.len() > ANSWER_BYTES_MAX {
            return;
        }
        let (now, mut kept) = (Instant::now(), self.kept.borrow_mut());
        kept.remove(&terms.key);
        let mut bytes: usize = kept.values().map(|old| old.answer.body.len()).sum();
        while kept.len() >= ANSWERS_MAX || bytes + answer.body.len() > BYTES_MAX {
            let oldest = kept.iter().min_by_key(|(_, old)| old.last_used);
            let Some(oldest) = oldest.map(|(key, _)| *key) else {
                break;
            };
            if let Some(gone) = kept.remove(&oldest) {
                bytes -= gone.answer.body.len();
            }
        }
        kept.insert(
            terms.key,
            Kept {
                answer: Rc::new(answer),
                made: now,
                until: now + terms.lasts.min(Duration::from_secs(365 * 24 * 3600)),
                last_used: now,
            },
        );
    }

    /// Forgets everything: the configuration is another one.
    pub(super) fn clear(&self) {
        self.kept.borrow_mut().clear();
    }
}

/// Keeps the answer that is about to be sent.
pub(super) fn keep(
    shard: &Shard,
    call: &mut Call,
    terms: &Terms,
    content_type: &[u8],
    body: &[u8],
) {
    call.bill.cache_key = terms.key.hex();
    if call.route.attempted_fallbacks > 0 {
        return;
    }
    let answer = Answer {
        body: body.to_vec(),
        content_type: content_type.to_vec(),
        deployment: call.route.deployment,
        used: call.bill.charge().used,
    };
    shard.answers.keep(terms, answer);
}

/// Answers from the cache: no deployment is called, nothing is paid.
pub(super) async fn answer(
    shard: &Shard,
    call: &mut Call,
    connection: &mut Connection,
    asked: &Asked,
    (terms, found): (&Terms, &Answer),
) -> After {
    let snapshot = call.snapshot.clone();
    let body = match snapshot.settings.requested_model {
        true => renamed(&found.body, asked.alias.as_ref().unwrap_or(&asked.model)),
        false => found.body.clone(),
    };
    call.status = 200;
    call.used = Some(0);
    call.bill.charge().used = found.used;
    call.bill.cache_key = terms.key.hex();
    call.bill.from_cache = true;
    // The row says where the answer came from once.
    call.route.deployment = found.deployment;
    if !ledger::settle(shard, call, Outcome::Success).await {
        let error = fault::overloaded("the call could not be written down");
        return answer::error(shard, call, connection, &error, true).await;
    }
    call.route.deployment = None;
    let mut out = Buf::for_bytes(body.len() + answer::HEAD_BYTES);
    answer::begin(shard, call, 200, &mut out);
    header(&mut out, "content-type", &found.content_type);
    for (name, value) in [
        ("x-litellm-call-id", call.shown_id().as_bytes()),
        ("x-litellm-model-group", call.route.group.as_bytes()),
        ("x-litellm-cache-key", call.bill.cache_key.as_bytes()),
        ("x-litellm-response-cost", b"0"),
        ("x-litellm-version", env!("CARGO_PKG_VERSION").as_bytes()),
    ] {
        header(&mut out, name, value);
    }
    callers::headers(shard, call, &mut out);
    answer::send_whole(call, connection, out, &body).await
}

/// The answer in the name of the model that was asked for.
fn renamed(body: &[u8], model: &str) -> Vec<u8> {
    let Some(span) = walk::member(body, Span::new(0, body.len()), "model") else {
        return body.to_vec();
    };
    let mut out = Vec::with_capacity(body.len() + model.len());
    out.extend_from_slice(&body[..span.start as usize]);
    push_json_string(&mut out, model);
    out.extend_from_slice(&body[span.end as usize..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(name: &str) -> Terms {
        Terms {
            key: KeyHash::of(name.as_bytes()),
            reads: true,
            writes: true,
            lasts: LASTS,
            age_max: None,
        }
    }

    fn answer(bytes: usize) -> Answer {
        Answer {
            body: vec![b'x'; bytes],
            content_type: Vec::new(),
            deployment: None,
            used: Quantities::default(),
        }
    }

    #[test]
    fn the_one_not_used_for_longest_makes_room() {
        let answers = Answers::default();
        for number in 0..ANSWERS_MAX {
            answers.keep(&terms(&number.to_string()), answer(1));
        }
        assert!(answers.find(&terms("0")).is_some());
        answers.keep(&terms("new"), answer(1));
        assert!(answers.find(&terms("0")).is_some() && answers.find(&terms("new")).is_some());
        assert!(answers.find(&terms("1")).is_none());
        assert_eq!(answers.kept.borrow().len(), ANSWERS_MAX);
    }

    #[test]
    fn bytes_are_bounded() {
        let answers = Answers::default();
        for number in 0..60 {
            answers.keep(&terms(&number.to_string()), answer(ANSWER_BYTES_MAX));
        }
        answers.keep(&terms("huge"), answer(ANSWER_BYTES_MAX + 1));
        assert!(answers.find(&terms("huge")).is_none());
        let kept = answers.kept.borrow();
        let bytes: usize = kept.values().map(|kept| kept.answer.body.len()).sum();
        assert!(bytes <= BYTES_MAX && kept.len() == BYTES_MAX / ANSWER_BYTES_MAX);
    }

    #[test]
    fn an_answer_ends() {
        let answers = Answers::default();
        let mut short = terms("a");
        short.lasts = Duration::ZERO;
        answers.keep(&short, answer(1));
        assert!(answers.find(&terms("a")).is_none());
        let mut unread = terms("b");
        answers.keep(&unread, answer(1));
        unread.reads = false;
        assert!(answers.find(&unread).is_none() && answers.find(&terms("b")).is_some());
    }

    #[test]
    fn the_model_is_the_one_asked_for() {
        let body = br#"{"id":"x","model":"gpt-4o","choices":[{"model":"inner"}]}"#;
        let renamed = String::from_utf8(renamed(body, "fa\"st")).unwrap();
        assert_eq!(
            renamed,
            r#"{"id":"x","model":"fa\"st","choices":[{"model":"inner"}]}"#
        );
    }
}
