//! Requests that the coordinator answers: handed over the mesh, the answer relayed.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use shardgate_io::http1::server::{Connection, Party, Request};

use super::{Shard, fault};
use crate::error::GatewayError;
use crate::message::{AdminAnswer, AdminCaller, AdminRequest, FromShard, Proof};

/// How long the coordinator may take; `/health` calls every model.
const PATIENCE: Duration = Duration::from_secs(300);

/// Questions that are out, by id.
#[derive(Default)]
pub(super) struct Asked {
    next: u64,
    open: HashMap<u64, Rc<RefCell<Question>>>,
}

#[derive(Default)]
struct Question {
    answer: Option<AdminAnswer>,
    waker: Option<Waker>,
}

impl Asked {
    fn ask(&mut self) -> (u64, Rc<RefCell<Question>>) {
        self.next += 1;
        let question = Rc::new(RefCell::new(Question::default()));
        self.open.insert(self.next, question.clone());
        (self.next, question)
    }

    /// Delivers an answer; nobody may be waiting any more.
    pub(super) fn answered(&mut self, id: u64, answer: AdminAnswer) {
        let Some(question) = self.open.remove(&id) else {
            return;
        };
        let mut question = question.borrow_mut();
        question.answer = Some(answer);
        if let Some(waker) = question.waker.take() {
            waker.wake();
        }
    }
}

/// Asks the coordinator; `None` when the client left first.
pub(super) async fn ask(
    shard: &Shard,
    connection: &mut Connection,
    request: &Request,
    caller: AdminCaller,
    proof: Option<Proof>,
) -> Result<Option<AdminAnswer>, GatewayError> {
    let request = Box::new(convert(connection, request, caller, proof));
    put(shard, connection, |id| FromShard::Admin { id, request }).await
}

/// Has the tokens of a prompt counted as `model` counts them; `None` when the client left first.
pub(super) async fn count(
    shard: &Shard,
    connection: &mut impl Party,
    model: &str,
    prompt: Vec<u8>,
) -> Result<Option<u32>, GatewayError> {
    let model = model.to_owned();
    let question = |id| FromShard::Count { id, model, prompt };
    let answer = put(shard, connection, question).await?;
    Ok(answer.map(|answer| {
        let digits = String::from_utf8_lossy(&answer.body);
        digits.parse().unwrap_or(u32::MAX)
    }))
}

pub(super) async fn put(
    shard: &Shard,
    connection: &mut impl Party,
    message: impl FnOnce(u64) -> FromShard,
) -> Result<Option<AdminAnswer>, GatewayError> {
    let (id, question) = shard.asked.borrow_mut().ask();
    let message = message(id);
    if shard.mailbox.send(message).is_err() {
        shard.asked.borrow_mut().open.remove(&id);
        return Err(fault::overloaded(
            "the admin API has too many requests waiting",
        ));
    }
    let answer = std::future::poll_fn(|cx| {
        let mut question = question.borrow_mut();
        match question.answer.take() {
            Some(answer) => Poll::Ready(answer),
            None => {
                question.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    });
    let waited = connection.wait_for(answer, Instant::now() + PATIENCE).await;
    shard.asked.borrow_mut().open.remove(&id);
    match waited {
        Ok(answer) => Ok(Some(answer)),
        Err(shardgate_io::http1::server::Woke::Gone) => Ok(None),
        Err(_) => Err(fault::overloaded("the admin API did not answer in time")),
    }
}

fn convert(
    connection: &Connection,
    request: &Request,
    caller: AdminCaller,
    proof: Option<Proof>,
) -> AdminRequest {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let head = &request.head;
    AdminRequest {
        method: text(head.method_span.of(&request.bytes)),
        target: text(head.target.of(&request.bytes)),
        headers: head
            .each(&request.bytes)
            .map(|(name, value)| (text(name), value.to_vec()))
            .collect(),
        body: request.body().to_vec(),
        peer: connection.peer().ip(),
        caller,
        proof,
    }
}
