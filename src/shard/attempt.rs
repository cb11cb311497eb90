//! Attempts: the router says where, this goes there, until something can be answered.
//!
//! Until the first usable byte of an answer nothing has gone to the client, so any failure may be
//! retried, go to the next deployment or to a fallback.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};

use shardgate_io::buffer::Buf;
use shardgate_io::driver::{Socket, sleep_until};
use shardgate_io::http1::encode::header;
use shardgate_io::http1::head::RequestHead;
use shardgate_io::http1::server::{After, Connection, Nobody, Party, Request, Woke};

use super::body::{Asked, Content};
use super::call::Call;
use super::exchange;
use super::midstream::Sent;
use super::request::gone;
use super::{Shard, answer, cache, dress, explain, fault, hedge, respond};
use crate::dialect::scan::Scan;
use crate::error::{ErrorClass, Fault, GatewayError};
use crate::router::affinity;
use crate::router::{
    Attempt, Cause, Facts, Failure, FailureClass, Journey, Micros, Outcome, Step, Success,
};

/// Everything an attempt works with, on behalf of a client (or of nobody: a second attempt beside
/// the first).
pub(super) struct Work<'a, P = Connection> {
    pub shard: &'a Shard,
    pub call: &'a mut Call,
    pub connection: &'a mut P,
    pub asked: &'a Asked,
    /// The body as it was read, for further attempts; gone with `bytes`.
    pub content: Option<Rc<Content>>,
    /// The client's head; its spans point into `bytes`.
    head: RequestHead,
    /// Head and body, kept for retries until something goes to the client.
    pub bytes: Rc<Buf>,
    body: Range<usize>,
    /// The body that a fallback of the client's own asks for, in place of `bytes`.
    replaced: Option<Box<(Vec<u8>, Scan)>>,
    pub now_unix_s: u64,
    pub fresh_id: &'a str,
    /// Tokens of the prompt, as estimated.
    pub prompt_tokens: u64,
    /// What a Responses answer is kept with, where the gateway keeps it.
    pub turn: Option<Box<super::turns::Turn>>,
    /// What the client has of a stream that may go on elsewhere (`mid_stream_fallback`).
    pub sent: Option<Box<Sent>>,
    /// What the request asks of the cache of answers, where there is one.
    pub caching: Option<Box<cache::Terms>>,
    /// The upstream connection in use, where another attempt may end this one.
    pub closable: Option<Rc<RefCell<Option<Socket>>>>,
}

/// Runs attempts until the client has its answer, whatever it is.
pub(super) async fn until_answered(
    shard: &Shard,
    call: &mut Call,
    connection: &mut Connection,
    request: Box<Request>,
    mut asked: Box<Asked>,
) -> After {
    let snapshot = call.snapshot.clone();
    let router = &snapshot.router;
    call.route.group.clone_from(&asked.model);
    let resolution = router.resolve(&asked.model);
    if let Some(model) = router.counts_tokens_by(&resolution, asked.facts.input_tokens)
        && matches!(asked.content.as_deref(), Some(Content::Json(_)))
        && !Box::pin(count_prompt(
            shard,
            connection,
            model,
            request.body(),
            &mut asked.facts,
        ))
        .await
    {
        return gone(call);
    }
    let mut caching = None;
    if snapshot.settings.cache_responses {
        caching = cache::terms(call, &asked, request.body(), &resolution);
        let found = caching.as_ref().and_then(|terms| shard.answers.find(terms));
        if let (Some(terms), Some(found)) = (&caching, found) {
            return Box::pin(cache::answer(
                shard,
                call,
                connection,
                &asked,
                (terms, &found),
            ))
            .await;
        }
    }
    let facts = asked.facts.clone();
    let journey = Journey::new(router, &asked.model, resolution, facts, shard.now());
    let Some(mut journey) = journey.map(Box::new) else {
        let error = unknown(router.has_patterns(), &call.path, &asked.model);
        return answer::error(shard, call, connection, &error, false).await;
    };
    let fresh_id = call.id.hex();
    let content = asked.content.take();
    let request = unboxed(request);
    let mut work = Box::new(Work::new(
        shard, call, connection, request, &asked, content, &fresh_id,
    ));
    work.prompt_tokens = journey.facts().input_tokens;
    work.caching = caching;
    work.travel(&mut journey).await
}

/// Counts the prompt's tokens exactly, where somebody counts; else the estimate serves. False: the
/// client left.
pub(super) async fn count_prompt(
    shard: &Shard,
    connection: &mut Connection,
    model: &str,
    prompt: &[u8],
    facts: &mut Rc<Facts>,
) -> bool {
    let counted = super::admin::count(shard, connection, model, prompt.to_vec()).await;
    match (counted, Rc::get_mut(facts)) {
        (Ok(Some(tokens)), Some(facts)) => facts.input_tokens = u64::from(tokens),
        (Ok(None), _) => return false,
        _ => {}
    }
    true
}

/// A request that several calls are made of.
pub(super) struct Kept {
    head: RequestHead,
    bytes: Rc<Buf>,
    body: Range<usize>,
}

impl Kept {
    pub(super) fn new(request: Request) -> Kept {
        Kept {
            head: request.head,
            bytes: Rc::new(request.bytes),
            body: request.body,
        }
    }
}

/// What is in the box; its memory is given back now, where a scope that waits would keep it.
#[expect(clippy::boxed_local, reason = "that the box goes is its purpose")]
pub(super) fn unboxed<T>(boxed: Box<T>) -> T {
    *boxed
}

pub(super) fn note_route(call: &mut Call, journey: &Journey) {
    call.route.attempted_retries = journey.attempted_retries();
    call.route.attempted_fallbacks = journey.attempted_fallbacks();
}

impl<'a> Work<'a> {
    /// What a request is worked on with.
    pub(super) fn new(
        shard: &'a Shard,
        call: &'a mut Call,
        connection: &'a mut Connection,
        request: Request,
        asked: &'a Asked,
        content: Option<Rc<Content>>,
        fresh_id: &'a str,
    ) -> Work<'a> {
        let Request { head, bytes, body } = request;
        Work {
            shard,
            call,
            connection,
            asked,
            content,
            head,
            bytes: Rc::new(bytes),
            body,
            replaced: None,
            now_unix_s: answer::unix_seconds(),
            fresh_id,
            prompt_tokens: 0,
            turn: None,
            sent: None,
            caching: None,
            closable: None,
        }
    }

    /// Where the client's body stands in `bytes`.
    pub(super) fn body_range(&self) -> Range<usize> {
        self.body.clone()
    }

    /// The client's headers.
    pub(super) fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.head.each(&self.bytes)
    }
}

impl Work<'_> {
    /// Does what the journey says until it is over.
    async fn travel(&mut self, journey: &mut Journey) -> After {
        let snapshot = self.call.snapshot.clone();
        let (router, shard) = (&snapshot.router, self.shard);
        let mut last: Option<GatewayError> = None;
        loop {
            let step = {
                let mut rng = shard.rng.borrow_mut();
                journey.step(router, &shard.live, shard.now(), &mut rng)
            };
            let waited = match step {
                Step::Attempt(attempt) => match self.attempt(journey, &attempt).await {
                    Ok(after) => return after,
                    Err(error) => {
                        last = Some(error);
                        Ok(())
                    }
                },
                Step::Sleep(rest) => Box::pin(self.rest(rest)).await,
                Step::Wait(wait) => Box::pin(self.queue(wait.id, wait.until)).await,
                Step::Fail(failure) => {
                    note_route(self.call, journey);
                    let error = final_error(&failure, last, journey, router, &self.asked.model);
                    if self.is_continuing() {
                        return Box::pin(respond::break_off(self, &error)).await;
                    }
                    return answer::error(shard, self.call, self.connection, &error, false).await;
                }
            };
            if let Err(after) = waited {
                journey.abandon(router, &shard.live);
                return after;
            }
        }
    }

    /// Lets go of the request: the answer has begun, nothing will be sent again.
    pub(super) fn forget_request(&mut self) {
        self.bytes = Rc::new(Buf::none());
        self.body = 0..0;
        self.content = None;
        self.replaced = None;
        self.head = RequestHead::default();
    }

    /// The same on behalf of nobody, for a second attempt beside the first.
    pub(super) fn beside<'b>(
        &self,
        call: &'b mut Call,
        nobody: &'b mut Nobody,
        closable: Rc<RefCell<Option<Socket>>>,
    ) -> Work<'b, Nobody>
    where
        Self: 'b,
    {
        Work {
            shard: self.shard,
            call,
            connection: nobody,
            asked: self.asked,
            content: self.content.clone(),
            head: self.head.clone(),
            bytes: self.bytes.clone(),
            body: self.body.clone(),
            replaced: None,
            now_unix_s: self.now_unix_s,
            fresh_id: self.fresh_id,
            prompt_tokens: self.prompt_tokens,
            turn: None,
            sent: None,
            caching: None,
            closable: Some(closable),
        }
    }

    /// One attempt. `Ok`: the client has been answered, or has left. `Err`: it failed and nothing
    /// has gone to the client.
    async fn attempt(
        &mut self,
        journey: &mut Journey,
        attempt: &Attempt,
    ) -> Result<After, GatewayError> {
        let snapshot = self.call.snapshot.clone();
        let router = &snapshot.router;
        let index = attempt.deployment.0 as usize;
        self.call.route.deployment = Some(index);
        note_route(self.call, journey);
        if self.shard.shared.log.is_router_verbose() {
            explain::chosen(self, journey, attempt);
        }
        if journey.attempted_fallbacks() > 0
            && let Err(error) = super::callers::may_fall_back(self.call, index)
        {
            journey.skip(class(&error), router, &self.shard.live);
            self.shard.wake_waiters();
            return Err(error);
        }
        self.replaced = None;
        let own = attempt.client_fallback;
        self.replaced = own.and_then(|index| super::body::with_fallback(self.body(), index));
        if let Some(sent) = self.sent.as_ref().filter(|sent| sent.continuing) {
            self.replaced = sent.body(self.body());
        }
        let began = Instant::now();
        let deadline = began + attempt.timeout;
        let model = journey
            .upstream_model(router, attempt.deployment)
            .into_owned();
        // In boxes of their own: a stream that runs for long keeps only what relaying needs.
        let mut deployment = &snapshot.deployments[index];
        let dressed;
        if let Some(own) = &self.asked.own {
            let made = dress::deployment(self.shard, self.connection, deployment, own);
            match Box::pin(made).await {
                Ok(Some(made)) => dressed = made,
                Ok(None) => {
                    journey.abandon(router, &self.shard.live);
                    return Ok(gone(self.call));
                }
                Err(error) => {
                    journey.skip(class(&error), router, &self.shard.live);
                    self.shard.wake_waiters();
                    return Err(error);
                }
            }
            deployment = &dressed;
        }
        super::ledger::begin(self.shard, self.call);
        let heard_by = attempt
            .answer_within
            .map_or(deadline, |w| deadline.min(began + w));
        let (mut began, mut deadline) = (began, deadline);
        let found = match attempt.hedge_after {
            Some(after) if self.replaced.is_none() && self.asked.own.is_none() => {
                let hedged = Box::pin(hedge::run(self, journey, attempt, after)).await;
                self.closable = None;
                (began, deadline) = (hedged.began, hedged.deadline);
                hedged.found
            }
            _ => Box::pin(exchange::run(self, deployment, &model, heard_by)).await,
        };
        let outcome;
        let result = match found {
            Ok(answered) => {
                let first_byte = began.elapsed();
                self.call.route.upstream += first_byte;
                journey.first_byte(router, &self.shard.live, self.shard.now());
                self.keep_stream();
                let served = respond::send(self, answered, deadline).await;
                let earlier = self.sent.as_ref().map_or(0, |sent| sent.tokens());
                self.call.used = served.usage.map(|usage| {
                    let used = (usage.prompt_tokens, usage.completion_tokens);
                    super::callers::counted(self.call, used.0, used.1 + earlier)
                });
                outcome = match served.failed {
                    None if served.client_left => Outcome::ClientGone,
                    None => Outcome::Success(Success {
                        first_byte,
                        total: began.elapsed(),
                        input_tokens: served.usage.map(|usage| usage.prompt_tokens),
                        output_tokens: served.usage.map(|usage| usage.completion_tokens),
                        answer: self.tie(router),
                    }),
                    Some(ref error) => failed(error, !served.goes_on),
                };
                match served.failed.filter(|_| served.goes_on) {
                    Some(error) => Err(error),
                    None => Ok(served.after),
                }
            }
            Err(None) => {
                outcome = Outcome::ClientGone;
                respond::bill_sent(self);
                Ok(gone(self.call))
            }
            Err(Some(error)) => {
                self.call.route.upstream += began.elapsed();
                self.call.route.sent = false;
                outcome = match &self.asked.own {
                    Some(own) if dress::excused(&error, own) => Outcome::Failure {
                        class: FailureClass::BadRequest,
                        status: Some(400),
                        retry_after: None,
                        committed: false,
                    },
                    _ => failed(&error, false),
                };
                Err(error)
            }
        };
        let mut rng = self.shard.rng.borrow_mut();
        journey.finished(
            outcome,
            router,
            &self.shard.live,
            self.shard.now(),
            &mut rng,
        );
        drop(rng);
        self.shard.wake_waiters();
        note_route(self.call, journey);
        if let Err(error) = &result
            && self.shard.shared.log.is_router_verbose()
        {
            explain::failed(self, attempt, error);
        }
        result
    }

    /// What ties later requests to this answer, where the settings ask for that.
    fn tie(&self, router: &crate::router::Router) -> Option<u64> {
        if !router.settings().ties.answer {
            return None;
        }
        let id = self.call.bill.answer_id.as_deref()?;
        Some(affinity::tie(affinity::Tie::Answer, id.as_bytes()))
    }

    /// Waits before a retry.
    async fn rest(&mut self, rest: Duration) -> Result<(), After> {
        let until = Instant::now() + rest;
        let far = until + Duration::from_secs(1);
        match self.connection.wait_for(sleep_until(until), far).await {
            Ok(()) => Ok(()),
            Err(woke) => Err(self.interrupted(woke).await),
        }
    }

    /// Waits for a free slot.
    async fn queue(&mut self, id: crate::router::WaitId, until: Micros) -> Result<(), After> {
        let until = self.shard.instant(until);
        let interval = self.call.snapshot.router.settings().polling_interval;
        let woken = self.shard.woken(id, interval);
        match self.connection.wait_for(woken, until).await {
            Ok(()) | Err(Woke::Late) => Ok(()),
            Err(woke) => Err(self.interrupted(woke).await),
        }
    }

    async fn interrupted(&mut self, woke: Woke) -> After {
        match woke {
            Woke::Drained => {
                let error = fault::draining();
                if self.is_continuing() {
                    return Box::pin(respond::break_off(self, &error)).await;
                }
                answer::error(self.shard, self.call, self.connection, &error, true).await
            }
            _ => gone(self.call),
        }
    }
}

impl<'a, P> Work<'a, P> {
    /// One of several calls that are made of one request.
    pub(super) fn of_several(
        shard: &'a Shard,
        (call, connection): (&'a mut Call, &'a mut P),
        kept: &Kept,
        asked: &'a Asked,
        fresh_id: &'a str,
        prompt_tokens: u64,
    ) -> Work<'a, P> {
        Work {
            shard,
            call,
            connection,
            asked,
            content: asked.content.clone(),
            head: kept.head.clone(),
            bytes: kept.bytes.clone(),
            body: kept.body.clone(),
            replaced: None,
            now_unix_s: answer::unix_seconds(),
            fresh_id,
            prompt_tokens,
            turn: None,
            sent: None,
            caching: None,
            closable: None,
        }
    }

    /// Takes the body that this entry of the request's own `fallbacks` asks for, if it is one.
    pub(super) fn replace_body(&mut self, own: Option<usize>) {
        self.replaced = None;
        self.replaced = own.and_then(|index| super::body::with_fallback(self.body(), index));
    }
}

impl<P> Work<'_, P> {
    /// The request's body.
    pub(super) fn body(&self) -> &[u8] {
        match &self.replaced {
            Some(replaced) => &replaced.0,
            None => &self.bytes[self.body.clone()],
        }
    }

    /// Puts a body in place of the client's, or its own back; what stood there is given back.
    pub(super) fn put_body(
        &mut self,
        body: Option<Box<(Vec<u8>, Scan)>>,
    ) -> Option<Box<(Vec<u8>, Scan)>> {
        std::mem::replace(&mut self.replaced, body)
    }

    /// The top level of a JSON body that stands in place of the client's.
    pub(super) fn replaced(&self) -> Option<&Scan> {
        self.replaced.as_ref().map(|replaced| &replaced.1)
    }

    /// A header of the client's request, by its lower-case name.
    pub(super) fn header(&self, name: &str) -> Option<&[u8]> {
        self.head.header(&self.bytes, name)
    }

    /// The client's headers that the settings send on.
    pub(super) fn forwarded(&self, provider: &str, out: &mut Vec<u8>) {
        let settings = &self.call.snapshot.settings;
        if settings.forward_openai_org_id
            && provider == "openai"
            && let Some(organization) = self.header("openai-organization")
        {
            header(out, "openai-organization", organization);
        }
        if provider == "anthropic"
            && let Some(beta) = self.header("anthropic-beta")
        {
            header(out, "anthropic-beta", beta);
        }
        if settings.forward_traceparent {
            for name in ["traceparent", "tracestate"] {
                if let Some(value) = self.header(name) {
                    header(out, name, value);
                }
            }
        }
        if settings.forward_client_headers {
            for (name, value) in self.head.each(&self.bytes) {
                if goes_upstream(name) {
                    header(out, name, value);
                }
            }
        }
    }
}

pub(super) fn failed(error: &GatewayError, committed: bool) -> Outcome {
    Outcome::Failure {
        class: class(error),
        status: error.upstream_status.or(Some(error.status)),
        retry_after: error.retry_after,
        committed,
    }
}

/// The router's view of an error.
pub(super) fn class(error: &GatewayError) -> FailureClass {
    match error.class {
        ErrorClass::BadRequest | ErrorClass::UnsupportedParams | ErrorClass::BudgetExceeded => {
            FailureClass::BadRequest
        }
        ErrorClass::ContextWindowExceeded => FailureClass::ContextWindow,
        ErrorClass::ContentPolicyViolation => FailureClass::ContentPolicy,
        ErrorClass::Authentication => FailureClass::Authentication,
        ErrorClass::PermissionDenied => FailureClass::PermissionDenied,
        ErrorClass::NotFound => FailureClass::NotFound,
        ErrorClass::Timeout => FailureClass::Timeout,
        ErrorClass::RateLimit => FailureClass::RateLimit,
        ErrorClass::InternalServer => FailureClass::InternalServer,
        ErrorClass::ServiceUnavailable => FailureClass::ServiceUnavailable,
        ErrorClass::ApiConnection => FailureClass::ApiConnection,
        ErrorClass::Api => FailureClass::of_status(error.status),
    }
}

/// `x-*` headers of the client, but no credential, none of ours, none of its SDK's.
fn goes_upstream(name: &[u8]) -> bool {
    const KEPT: &[&str] = &["x-litellm-", "x-stainless-", "x-forwarded-", "x-real-ip"];
    const SECRET: &[&str] = &[
        "x-api-key",
        "x-goog-api-key",
        "x-shardgate-probe",
        "x-user-id",
    ];
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    name.starts_with("x-")
        && !KEPT.iter().any(|prefix| name.starts_with(prefix))
        && !SECRET.contains(&name.as_str())
}

pub(super) fn unknown(has_patterns: bool, path: &str, model: &str) -> GatewayError {
    if has_patterns {
        let text =
            format!("You passed in model={model}. There is no 'model_name' with this string");
        return GatewayError::refused(ErrorClass::BadRequest, text);
    }
    GatewayError::unknown_model(path, model)
}

/// What the client reads when the router has given up.
pub(super) fn final_error(
    failure: &Failure,
    last: Option<GatewayError>,
    journey: &Journey,
    router: &crate::router::Router,
    asked: &str,
) -> GatewayError {
    let mut error = match (failure.cause, last) {
        (Cause::Upstream | Cause::Denied | Cause::Deadline, Some(last)) => last,
        (_, _) => own_words(failure, asked),
    };
    if let Some(seconds) = failure.retry_after_s {
        error.retry_after = Some(Duration::from_secs(u64::from(seconds)));
    }
    let serving = &*router.group(failure.group).name;
    let tried = if journey.attempted_fallbacks() > 0 {
        vec![serving]
    } else {
        Vec::new()
    };
    error.in_group(asked, &tried);
    error
}

/// The router's own refusals, in LiteLLM's words where clients match on them.
fn own_words(failure: &Failure, asked: &str) -> GatewayError {
    let wait = failure
        .retry_after_s
        .map_or(String::new(), |s| format!(" Try again in {s} seconds."));
    let none = "No deployments available for selected model,";
    let (class, text) = match failure.cause {
        Cause::Cooling => (
            ErrorClass::RateLimit,
            format!("{none}{wait} Passed model={asked}. pre-call-checks=False, cooldown_list=all"),
        ),
        Cause::LimitReached => (
            ErrorClass::RateLimit,
            format!("{none}{wait} Passed model={asked}: rpm or tpm is used up"),
        ),
        Cause::NoSlot | Cause::QueueFull => (
            ErrorClass::RateLimit,
            format!("{none}{wait} Passed model={asked}: max_parallel_requests are running"),
        ),
        Cause::PromptTooLong => (
            ErrorClass::ContextWindowExceeded,
            format!(
                "litellm.ContextWindowExceededError: the prompt is longer than the context \
                window of every deployment of model={asked}"
            ),
        ),
        Cause::TagsDenied => (
            ErrorClass::Authentication,
            format!("Not allowed to access model due to tags configuration. Passed model={asked}"),
        ),
        Cause::BudgetSpent => (
            ErrorClass::RateLimit,
            format!("No deployments available - crossed budget. Passed model={asked}"),
        ),
        Cause::Deadline => (
            ErrorClass::Timeout,
            "litellm.Timeout: the request took longer than its timeout".to_owned(),
        ),
        Cause::RegionDenied | Cause::Unsupported => (
            ErrorClass::BadRequest,
            format!("no deployment of model={asked} can do what the request asks for"),
        ),
        Cause::Mocked => mocked(failure.class),
        Cause::Upstream | Cause::Denied | Cause::Empty => (
            ErrorClass::InternalServer,
            format!("{none} Passed model={asked}"),
        ),
    };
    let mut error = GatewayError::new(class, text);
    error.fault = Fault::Gateway;
    error
}

fn mocked(class: FailureClass) -> (ErrorClass, String) {
    let class = match class {
        FailureClass::RateLimit => ErrorClass::RateLimit,
        FailureClass::ContextWindow => ErrorClass::ContextWindowExceeded,
        FailureClass::ContentPolicy => ErrorClass::ContentPolicyViolation,
        _ => ErrorClass::InternalServer,
    };
    (
        class,
        format!(
            "litellm.{}: this is a mock exception, as the request asked",
            class.name()
        ),
    )
}
