//! A list of models in one request (`model: "a,b"`): a call to each, side by side. Each is a call of its
//! own: admitted, routed, retried, billed and recorded as if it had come alone.
//!
//! With `fastest_response` the first usable answer is sent and the other calls are closed at once; else
//! the client gets an array of all answers, an error in the place of a call that failed.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use shardgate_io::buffer::Buf;
use shardgate_io::driver::{Socket, sleep_until};
use shardgate_io::http1::encode::header;
use shardgate_io::http1::server::{After, Connection, Nobody, Party, Request, Woke};

use super::attempt::{self, Kept, Work, class, final_error, note_route};
use super::body::{Asked, Content};
use super::call::Call;
use super::exchange::{self, Answered, Failed};
use super::request::gone;
use super::{
    Shard, answer, body, callers, dress, estimate, explain, fault, ledger, relay, respond,
};
use crate::dialect::usage::Usage;
use crate::error::{ErrorClass, GatewayError};
use crate::provider::Operation;
use crate::router::{Attempt, FailureClass, Journey, Outcome, Resolution, Step, Success};
use crate::spend::record;

/// Models of one request, at most.
const MODELS_MAX: usize = 16;
/// Each part has a deadline of its own; this one bounds none of them.
const FAR: Duration = Duration::from_secs(7 * 24 * 3600);

/// The request asks for several models at once: for a chat, where no group has the whole name.
pub(super) fn is_list(call: &Call, asked: &Asked) -> bool {
    asked.operation == Operation::Chat
        && asked.model.contains(',')
        && !matches!(
            call.snapshot.router.resolve(&asked.model),
            Resolution::Group(_) | Resolution::Deployment(_)
        )
}

/// Serves a request that names several models.
pub(super) async fn serve(
    shard: &Shard,
    call: &mut Call,
    connection: &mut Connection,
    request: Box<Request>,
    asked: Box<Asked>,
) -> After {
    call.route.group.clone_from(&asked.model);
    let fastest = wants_fastest(&asked, request.body());
    let mut parts = Vec::new();
    let made = match names(&asked, fastest) {
        Ok(names) => parts_of(shard, call, connection, &request, &names, &mut parts).await,
        Err(error) => Err(Some(error)),
    };
    let kept = Kept::new(*request);
    match made {
        Ok(()) if fastest => race(shard, call, connection, &kept, parts).await,
        Ok(()) => all(shard, call, connection, &kept, parts).await,
        Err(failed) => {
            for part in &mut parts {
                ledger::cancel(shard, &mut part.call);
                part.call.settle();
            }
            let Some(error) = failed else {
                return gone(call);
            };
            ledger::refused(shard, call);
            answer::error(shard, call, connection, &error, false).await
        }
    }
}

fn wants_fastest(asked: &Asked, body: &[u8]) -> bool {
    match asked.content.as_deref() {
        Some(Content::Json(scan)) => scan.value(body, "fastest_response") == Some(b"true"),
        Some(Content::Form(_)) | None => false,
    }
}

/// The models of the list, each once.
fn names(asked: &Asked, fastest: bool) -> Result<Vec<String>, GatewayError> {
    let refuse = |text: &str| {
        let mut error = GatewayError::refused(ErrorClass::BadRequest, text);
        error.param = Some("model".to_owned());
        error
    };
    if asked.stream && !fastest {
        return Err(refuse(
            "the answers of several models cannot be one stream: name one model, or add \
             `fastest_response: true` for the first of them",
        ));
    }
    let mut names: Vec<String> = Vec::new();
    for name in asked.model.split(',').map(str::trim) {
        if name.is_empty() {
            return Err(refuse("`model` is a list with an empty name in it"));
        }
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    if names.len() > MODELS_MAX {
        let text = format!("`model` lists {} models; at most {MODELS_MAX}", names.len());
        return Err(refuse(&text));
    }
    Ok(names)
}

/// One of the calls.
struct Part {
    call: Call,
    asked: Box<Asked>,
    journey: Box<Journey>,
    fresh_id: String,
    nobody: Nobody,
    socket: Rc<RefCell<Option<Socket>>>,
}

/// An answer that is there, or has begun.
struct Begun {
    answered: Answered,
    began: Instant,
    deadline: Instant,
}

type Running<'a, T> = Pin<Box<dyn Future<Output = Result<T, GatewayError>> + 'a>>;

/// A call for each name. A list of which one may not be called is refused as a whole, before anything
/// is called; `Err(None)`: the client left.
async fn parts_of(
    shard: &Shard,
    call: &Call,
    connection: &mut Connection,
    request: &Request,
    names: &[String],
    parts: &mut Vec<Part>,
) -> Result<(), Failed> {
    for name in names {
        let mut own = call.one_of_several(shard.next_id(), name);
        let (asked, journey) = match begin(shard, &mut own, connection, request, name).await {
            Ok(both) => both,
            Err(failed) => {
                ledger::cancel(shard, &mut own);
                own.settle();
                return Err(failed);
            }
        };
        parts.push(Part {
            fresh_id: own.id.hex(),
            call: own,
            asked,
            journey,
            nobody: Nobody::default(),
            socket: Rc::default(),
        });
    }
    Ok(())
}

/// Reads and admits one of the calls, as `request::llm` does for a request of one model.
async fn begin(
    shard: &Shard,
    own: &mut Call,
    connection: &mut Connection,
    request: &Request,
    name: &str,
) -> Result<(Box<Asked>, Box<Journey>), Failed> {
    let snapshot = own.snapshot.clone();
    let router = &snapshot.router;
    let asked = body::read(own, Operation::Chat, Some(name.to_owned()), request).map_err(Some)?;
    let admitted = callers::admit(shard, own, connection, asked).await;
    let mut asked = admitted.map_err(Some)?.ok_or(None)?;
    ledger::reserve(shard, own, &asked).map_err(Some)?;
    let resolution = router.resolve(&asked.model);
    if let Some(model) = router.counts_tokens_by(&resolution, asked.facts.input_tokens) {
        let (prompt, facts) = (request.body(), &mut asked.facts);
        if !attempt::count_prompt(shard, connection, model, prompt, facts).await {
            return Err(None);
        }
    }
    let facts = asked.facts.clone();
    match Journey::new(router, &asked.model, resolution, facts, shard.now()) {
        Some(journey) => Ok((asked, Box::new(journey))),
        None => Err(Some(attempt::unknown(
            router.has_patterns(),
            &own.path,
            &asked.model,
        ))),
    }
}

impl Part {
    /// Runs attempts until one has an answer. The journey's last attempt is under way then.
    async fn answered(&mut self, shard: &Shard, kept: &Kept) -> Result<Begun, GatewayError> {
        let snapshot = self.call.snapshot.clone();
        let (router, journey) = (&snapshot.router, &mut self.journey);
        let interval = router.settings().polling_interval;
        let tokens = journey.facts().input_tokens;
        let both = (&mut self.call, &mut self.nobody);
        let mut work = Work::of_several(shard, both, kept, &self.asked, &self.fresh_id, tokens);
        work.closable = Some(self.socket.clone());
        let mut last = None;
        loop {
            let step = {
                let mut rng = shard.rng.borrow_mut();
                journey.step(router, &shard.live, shard.now(), &mut rng)
            };
            match step {
                Step::Attempt(attempt) => match Box::pin(one(&mut work, journey, &attempt)).await {
                    Ok(begun) => return Ok(begun),
                    Err(error) => last = Some(error),
                },
                Step::Sleep(rest) => sleep_until(Instant::now() + rest).await,
                Step::Wait(wait) => {
                    let until = shard.instant(wait.until);
                    let woken = shard.woken(wait.id, interval);
                    // Woken or late: the journey is asked again.
                    let _ = work.connection.wait_for(woken, until).await;
                }
                Step::Fail(failure) => {
                    let model = &self.asked.model;
                    return Err(final_error(&failure, last, journey, router, model));
                }
            }
        }
    }

    /// The same to the end of a whole answer: its body.
    async fn whole(&mut self, shard: &Shard, kept: &Kept) -> Result<Vec<u8>, GatewayError> {
        let Begun {
            answered, began, ..
        } = self.answered(shard, kept).await?;
        let (body, usage, outcome) = match answered {
            Answered::Whole(whole) => {
                let answer = whole.answer.as_ref();
                let usage = answer.and_then(|answer| answer.usage);
                let model = answer.and_then(|answer| answer.upstream_model.as_deref());
                respond::bill(&mut self.call, usage.as_ref(), model);
                self.call.bill.answer_id = answer.and_then(|answer| answer.id.clone());
                self.call.status = whole.status;
                let body = match answer {
                    Some(answer) => answer.body.to_vec(&whole.body),
                    None => whole.body.to_vec(),
                };
                (Ok(body), usage, None)
            }
            Answered::Stream(_) | Answered::Raw(_) => {
                let text = "litellm.APIConnectionError: the upstream sent a stream, which was not asked for";
                let error = GatewayError::new(ErrorClass::ApiConnection, text);
                let failed = attempt::failed(&error, true);
                (Err(error), None, Some(failed))
            }
        };
        let served = Success {
            first_byte: began.elapsed(),
            total: began.elapsed(),
            input_tokens: usage.map(|usage| usage.prompt_tokens),
            output_tokens: usage.map(|usage| usage.completion_tokens),
            answer: None,
        };
        self.finished(shard, outcome.unwrap_or(Outcome::Success(served)));
        self.count(usage.as_ref());
        if body.is_ok() && !ledger::settle(shard, &mut self.call, record::Outcome::Success).await {
            return Err(fault::overloaded("the call could not be written down"));
        }
        body
    }

    fn finished(&mut self, shard: &Shard, outcome: Outcome) {
        let snapshot = self.call.snapshot.clone();
        let mut rng = shard.rng.borrow_mut();
        let now = shard.now();
        self.journey
            .finished(outcome, &snapshot.router, &shard.live, now, &mut rng);
        drop(rng);
        shard.wake_waiters();
    }

    fn count(&mut self, usage: Option<&Usage>) {
        let used = usage.map(|usage| (usage.prompt_tokens, usage.completion_tokens));
        self.call.used = used.map(|(input, output)| callers::counted(&self.call, input, output));
    }

    /// Ends a call without an answer to send: its record, and what it held. `error`: why it failed;
    /// none for one that is not wanted any longer, whose prompt is paid where it was sent.
    fn end(&mut self, shard: &Shard, error: Option<&GatewayError>) {
        if let Some(socket) = self.socket.take() {
            socket.abort();
        }
        let snapshot = self.call.snapshot.clone();
        self.journey.abandon(&snapshot.router, &shard.live);
        shard.wake_waiters();
        self.call.status = error.map_or(499, |error| error.status);
        self.call.bill.error_class = error.map_or("", |error| error.class.name());
        if error.is_none() && self.call.route.sent {
            self.call.bill.error_class = ledger::CANCELLED;
            let tokens = self.journey.facts().input_tokens;
            let sent = estimate::of_sent(self.asked.operation, tokens);
            respond::bill(&mut self.call, sent.as_ref(), None);
        }
        self.close(shard);
    }

    fn close(&mut self, shard: &Shard) {
        ledger::finish(shard, &mut self.call);
        self.call.settle();
    }
}

/// One attempt, up to its first usable byte.
async fn one(
    work: &mut Work<'_, Nobody>,
    journey: &mut Journey,
    attempt: &Attempt,
) -> Result<Begun, GatewayError> {
    let (shard, snapshot) = (work.shard, work.call.snapshot.clone());
    let router = &snapshot.router;
    let index = attempt.deployment.0 as usize;
    work.call.route.deployment = Some(index);
    note_route(work.call, journey);
    let tells = shard.shared.log.is_router_verbose();
    if tells {
        explain::chosen(work, journey, attempt);
    }
    let mut deployment = &snapshot.deployments[index];
    let dressed;
    let mut refused = match journey.attempted_fallbacks() {
        0 => None,
        _ => callers::may_fall_back(work.call, index).err(),
    };
    if let (Some(own), None) = (&work.asked.own, &refused) {
        match dress::deployment(shard, work.connection, deployment, own).await {
            Ok(Some(made)) => {
                dressed = made;
                deployment = &dressed;
            }
            Ok(None) => refused = Some(relay::late()),
            Err(error) => refused = Some(error),
        }
    }
    if let Some(error) = refused {
        journey.skip(class(&error), router, &shard.live);
        shard.wake_waiters();
        return Err(error);
    }
    work.replace_body(attempt.client_fallback);
    let began = Instant::now();
    let deadline = began + attempt.timeout;
    let heard_by = attempt
        .answer_within
        .map_or(deadline, |within| deadline.min(began + within));
    let model = journey.upstream_model(router, attempt.deployment);
    ledger::begin(shard, work.call);
    let found = Box::pin(exchange::run(work, deployment, &model, heard_by)).await;
    work.call.route.upstream += began.elapsed();
    match found {
        Ok(answered) => {
            journey.first_byte(router, &shard.live, shard.now());
            Ok(Begun {
                answered,
                began,
                deadline,
            })
        }
        Err(failed) => {
            let error = failed.unwrap_or_else(relay::late);
            work.call.route.sent = false;
            note_failure(work, journey, &error);
            if tells {
                explain::failed(work, attempt, &error);
            }
            Err(error)
        }
    }
}

/// Tells the journey that its attempt failed.
fn note_failure(work: &Work<'_, Nobody>, journey: &mut Journey, error: &GatewayError) {
    let (shard, router) = (work.shard, &work.call.snapshot.router);
    let mut outcome = attempt::failed(error, false);
    if let Some(own) = &work.asked.own
        && dress::excused(error, own)
        && let Outcome::Failure { class, status, .. } = &mut outcome
    {
        (*class, *status) = (FailureClass::BadRequest, Some(400));
    }
    let mut rng = shard.rng.borrow_mut();
    journey.finished(outcome, router, &shard.live, shard.now(), &mut rng);
    drop(rng);
    shard.wake_waiters();
}

/// Sends the first usable answer; the other calls are closed.
async fn race(
    shard: &Shard,
    call: &mut Call,
    connection: &mut Connection,
    kept: &Kept,
    mut parts: Vec<Part>,
) -> After {
    let raced = {
        let running: Vec<Running<'_, Begun>> = parts
            .iter_mut()
            .map(|part| Box::pin(part.answered(shard, kept)) as Running<'_, Begun>)
            .collect();
        let far = Instant::now() + FAR;
        connection.wait_for(first(running), far).await
    };
    match raced {
        Ok(Ok((winner, begun))) => {
            let mut won = parts.swap_remove(winner);
            parts.iter_mut().for_each(|part| part.end(shard, None));
            std::mem::swap(call, &mut won.call);
            call.route.raced = true;
            won.send(shard, call, connection, kept, begun).await
        }
        Ok(Err(errors)) => {
            for (part, error) in parts.iter_mut().zip(&errors) {
                part.end(shard, Some(error));
            }
            refuse(shard, call, connection, errors).await
        }
        Err(woke) => stopped(shard, call, connection, parts, woke).await,
    }
}

impl Part {
    /// Sends the winner's answer. Its call is the request's now.
    async fn send(
        &mut self,
        shard: &Shard,
        call: &mut Call,
        connection: &mut Connection,
        kept: &Kept,
        begun: Begun,
    ) -> After {
        let snapshot = call.snapshot.clone();
        let tokens = self.journey.facts().input_tokens;
        let both = (&mut *call, connection);
        let mut work = Work::of_several(shard, both, kept, &self.asked, &self.fresh_id, tokens);
        let first_byte = begun.began.elapsed();
        let served = respond::send(&mut work, begun.answered, begun.deadline).await;
        let usage = served.usage;
        call.used =
            usage.map(|usage| callers::counted(call, usage.prompt_tokens, usage.completion_tokens));
        let outcome = match &served.failed {
            None if served.client_left => Outcome::ClientGone,
            None => Outcome::Success(Success {
                first_byte,
                total: begun.began.elapsed(),
                input_tokens: usage.map(|usage| usage.prompt_tokens),
                output_tokens: usage.map(|usage| usage.completion_tokens),
                answer: None,
            }),
            Some(error) => attempt::failed(error, true),
        };
        let mut rng = shard.rng.borrow_mut();
        let (router, now) = (&snapshot.router, shard.now());
        self.journey
            .finished(outcome, router, &shard.live, now, &mut rng);
        drop(rng);
        shard.wake_waiters();
        served.after
    }
}

/// Runs all until one has an answer: its place; or everybody's error.
async fn first<T>(running: Vec<Running<'_, T>>) -> Result<(usize, T), Vec<GatewayError>> {
    let mut running: Vec<Option<Running<'_, T>>> = running.into_iter().map(Some).collect();
    let mut errors: Vec<Option<GatewayError>> = running.iter().map(|_| None).collect();
    poll_fn(|cx| {
        for (at, one) in running.iter_mut().enumerate() {
            let Some(future) = one else { continue };
            match future.as_mut().poll(cx) {
                Poll::Ready(Ok(found)) => return Poll::Ready(Ok((at, found))),
                Poll::Ready(Err(error)) => {
                    *one = None;
                    errors[at] = Some(error);
                }
                Poll::Pending => {}
            }
        }
        if running.iter().any(Option::is_some) {
            return Poll::Pending;
        }
        Poll::Ready(Err(errors.drain(..).flatten().collect()))
    })
    .await
}

/// Runs all to their ends.
async fn each<T>(running: Vec<Running<'_, T>>) -> Vec<Result<T, GatewayError>> {
    let mut running: Vec<Option<Running<'_, T>>> = running.into_iter().map(Some).collect();
    let mut found: Vec<Option<Result<T, GatewayError>>> = running.iter().map(|_| None).collect();
    poll_fn(|cx| {
        for (one, found) in running.iter_mut().zip(&mut found) {
            if let Some(future) = one
                && let Poll::Ready(result) = future.as_mut().poll(cx)
            {
                *one = None;
                *found = Some(result);
            }
        }
        match running.iter().any(Option::is_some) {
            true => Poll::Pending,
            false => Poll::Ready(()),
        }
    })
    .await;
    found.into_iter().flatten().collect()
}

/// Sends all answers as one array.
async fn all(
    shard: &Shard,
    call: &mut Call,
    connection: &mut Connection,
    kept: &Kept,
    mut parts: Vec<Part>,
) -> After {
    let found = {
        let running: Vec<Running<'_, Vec<u8>>> = parts
            .iter_mut()
            .map(|part| {
                part.asked.keeps_model = true;
                Box::pin(part.whole(shard, kept)) as Running<'_, Vec<u8>>
            })
            .collect();
        let far = Instant::now() + FAR;
        connection.wait_for(each(running), far).await
    };
    let found = match found {
        Ok(found) => found,
        Err(woke) => return stopped(shard, call, connection, parts, woke).await,
    };
    for (part, result) in parts.iter_mut().zip(&found) {
        match result {
            Ok(_) => part.close(shard),
            Err(error) => part.end(shard, Some(error)),
        }
    }
    if found.iter().all(Result::is_err) {
        let errors = found.into_iter().filter_map(Result::err).collect();
        return refuse(shard, call, connection, errors).await;
    }
    let items = found
        .into_iter()
        .map(|item| item.unwrap_or_else(|error| error.body_openai()));
    let body = [b"[", &items.collect::<Vec<_>>().join(&b","[..])[..], b"]"].concat();
    call.status = 200;
    let mut out = Buf::for_bytes(body.len() + answer::HEAD_BYTES);
    answer::begin(shard, call, 200, &mut out);
    header(&mut out, "content-type", b"application/json");
    header(&mut out, "x-litellm-call-id", call.shown_id().as_bytes());
    let version = env!("CARGO_PKG_VERSION").as_bytes();
    header(&mut out, "x-litellm-version", version);
    callers::headers(shard, call, &mut out);
    answer::send_whole(call, connection, out, &body).await
}

/// Nobody has an answer: the first one's error is the client's.
async fn refuse(
    shard: &Shard,
    call: &mut Call,
    connection: &mut Connection,
    errors: Vec<GatewayError>,
) -> After {
    match errors.into_iter().next() {
        Some(error) => answer::error(shard, call, connection, &error, false).await,
        None => gone(call),
    }
}

/// The client left, or the process stops: nothing is wanted any longer.
async fn stopped(
    shard: &Shard,
    call: &mut Call,
    connection: &mut Connection,
    mut parts: Vec<Part>,
    woke: Woke,
) -> After {
    parts.iter_mut().for_each(|part| part.end(shard, None));
    match woke {
        Woke::Drained => answer::error(shard, call, connection, &fault::draining(), true).await,
        _ => gone(call),
    }
}
