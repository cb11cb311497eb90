//! Hedging: the second exchange beside one that is late. The first usable answer is sent, the other
//! exchange is closed at once; a failure of one leaves the other alone.
//!
//! Only the first watches the client: it is the one that works with the client's connection. The
//! second runs on behalf of nobody, on a copy of what it needs to know of the call.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use shardgate_io::driver::{Socket, Timer};
use shardgate_io::http1::server::{Nobody, Party};

use super::attempt::{Work, class};
use super::call::Call;
use super::exchange::{self, Answered, Failed, woken};
use super::{Shard, estimate, ledger, relay, respond};
use crate::error::GatewayError;
use crate::router::{Attempt, Journey, Router, Side};

/// What two attempts came to.
pub(super) struct Found {
    pub found: Result<Answered, Failed>,
    /// When the attempt began that came to it, and when it must be over.
    pub began: Instant,
    pub deadline: Instant,
}

/// A place where an exchange notes its socket, so that another may end it.
type Closable = Rc<RefCell<Option<Socket>>>;

/// What a running attempt comes to.
type Running<'a> = Pin<Box<dyn Future<Output = Result<Answered, Failed>> + 'a>>;

/// How the race of two attempts went on.
enum Race<'a, 'b> {
    Won(Side, Box<Answered>),
    /// The client left.
    Gone,
    /// One failed; the other runs on.
    FirstFailed(GatewayError, Running<'b>),
    SecondFailed(GatewayError, Running<'a>),
}

/// Makes `first`, and beside it a second attempt when it has no answer `after` its begin.
pub(super) async fn run(
    work: &mut Work<'_>,
    journey: &mut Journey,
    first: &Attempt,
    after: Duration,
) -> Found {
    let (shard, snapshot) = (work.shard, work.call.snapshot.clone());
    let (router, live) = (&snapshot.router, &shard.live);
    let time = Time::of(first);
    let mut copy = work.call.hedge(shard.next_id());
    let mut nobody = Nobody::default();
    let sockets = [Closable::default(), Closable::default()];
    let mut beside = work.beside(&mut copy, &mut nobody, sockets[1].clone());
    work.closable = Some(sockets[0].clone());
    let model = |journey: &Journey, of: &Attempt| {
        let model = journey.upstream_model(router, of.deployment);
        model.into_owned()
    };
    let deployment = |of: &Attempt| &snapshot.deployments[of.deployment.0 as usize];
    let own_model = model(journey, first);
    let mut running: Running<'_> = Box::pin(exchange::run(
        work,
        deployment(first),
        &own_model,
        time.heard_by,
    ));
    if let Some(found) = within(&mut running, time.began + after).await {
        return time.came_to(found);
    }
    // What cannot be written down is not begun.
    let second = ledger::reserve(shard, beside.call, beside.asked)
        .ok()
        .and_then(|()| {
            let mut rng = shard.rng.borrow_mut();
            journey.hedge(router, live, shard.now(), &mut rng)
        });
    let Some(second) = second else {
        let found = running.await;
        ledger::cancel(shard, &mut copy);
        return time.came_to(found);
    };
    beside.call.route.deployment = Some(second.deployment.0 as usize);
    ledger::begin(shard, beside.call);
    let (other_model, other_time) = (model(journey, &second), Time::of(&second));
    let other: Running<'_> = Box::pin(exchange::run(
        &mut beside,
        deployment(&second),
        &other_model,
        other_time.heard_by,
    ));
    // What comes of the first must be settled before the client's connection is free again.
    let raced = race(running, other).await;
    let (found, time, lost) = match settle(shard, router, journey, &sockets, raced).await {
        (Next::First(found), lost) => (found, time, lost),
        (Next::Second(found), lost) => (found, other_time, lost),
        (Next::Alone(other), lost) => {
            let waited = work.connection.wait_for(other, other_time.deadline).await;
            let found = waited.unwrap_or_else(|woke| {
                close(&sockets[1]);
                Err(woken(woke))
            });
            (found, other_time, lost)
        }
    };
    record(work, &mut copy, [first, &second], lost);
    time.came_to(found)
}

/// The attempt that was not waited for has a record of its own, with the cost of its prompt: it went to
/// its upstream, which is paid. The call's own record is the other's.
fn record(work: &mut Work<'_>, copy: &mut Call, attempts: [&Attempt; 2], lost: Lost) {
    let index =
        |side: Side| Some(attempts[usize::from(side == Side::Second)].deployment.0 as usize);
    let (shard, served) = (work.shard, lost.served);
    work.call.route.deployment = index(served);
    let other = match served {
        Side::First => Side::Second,
        Side::Second => Side::First,
    };
    if served == Side::Second {
        std::mem::swap(&mut work.call.route.sent, &mut copy.route.sent);
    }
    if !lost.ran || !copy.route.sent {
        ledger::cancel(shard, copy);
        return;
    }
    copy.route.deployment = index(other);
    copy.status = 499;
    copy.bill.error_class = ledger::CANCELLED;
    let sent = estimate::of_sent(work.asked.operation, work.prompt_tokens);
    respond::bill(copy, sent.as_ref(), None);
    ledger::finish(shard, copy);
    copy.settle();
    work.call.cost_beside = copy.cost;
}

/// How two attempts ended: whose answer or failure is the call's, and whether the other still ran then.
struct Lost {
    served: Side,
    ran: bool,
}

/// Tells the journey how the race went, closes the one that lost, and goes on with a first attempt
/// that is alone.
async fn settle<'b>(
    shard: &Shard,
    router: &Router,
    journey: &mut Journey,
    sockets: &[Closable; 2],
    raced: Race<'_, 'b>,
) -> (Next<'b>, Lost) {
    let failed = |journey: &mut Journey, side, error: &GatewayError| {
        let wait = error.retry_after;
        let (live, now) = (&shard.live, shard.now());
        journey.hedge_failed(side, class(error), wait, router, live, now);
        shard.wake_waiters();
    };
    let lost = |served, ran| Lost { served, ran };
    match raced {
        Race::Gone => {
            close(&sockets[1]);
            (Next::First(Err(None)), lost(Side::First, true))
        }
        Race::Won(side, answered) => {
            journey.hedge_won(side, router, &shard.live, shard.now());
            shard.wake_waiters();
            close(&sockets[usize::from(side == Side::First)]);
            let next = match side {
                Side::First => Next::First(Ok(*answered)),
                Side::Second => Next::Second(Ok(*answered)),
            };
            (next, lost(side, true))
        }
        Race::SecondFailed(error, running) => {
            failed(journey, Side::Second, &error);
            (Next::First(running.await), lost(Side::First, false))
        }
        Race::FirstFailed(error, other) => {
            failed(journey, Side::First, &error);
            (Next::Alone(other), lost(Side::Second, false))
        }
    }
}

/// What is left of two attempts.
enum Next<'b> {
    First(Result<Answered, Failed>),
    Second(Result<Answered, Failed>),
    /// The second still runs, by itself.
    Alone(Running<'b>),
}

/// When an attempt began, must be over, and must have begun to answer.
struct Time {
    began: Instant,
    deadline: Instant,
    heard_by: Instant,
}

impl Time {
    fn of(attempt: &Attempt) -> Time {
        let began = Instant::now();
        let deadline = began + attempt.timeout;
        let within = attempt.answer_within;
        Time {
            began,
            deadline,
            heard_by: within.map_or(deadline, |within| deadline.min(began + within)),
        }
    }

    fn came_to(&self, found: Result<Answered, Failed>) -> Found {
        Found {
            found,
            began: self.began,
            deadline: self.deadline,
        }
    }
}

/// Ends an exchange that is not wanted any longer, whatever it is at.
fn close(closable: &Closable) {
    if let Some(socket) = closable.take() {
        socket.abort();
    }
}

/// What comes of an attempt until then; `None` when it is still running.
async fn within(running: &mut Running<'_>, until: Instant) -> Option<Result<Answered, Failed>> {
    let mut timer = Timer::default();
    poll_fn(|cx| match running.as_mut().poll(cx) {
        Poll::Ready(found) => Poll::Ready(Some(found)),
        Poll::Pending => timer.poll(cx, until).map(|()| None),
    })
    .await
}

/// Runs both until one has an answer or has failed.
async fn race<'a, 'b>(mut first: Running<'a>, mut second: Running<'b>) -> Race<'a, 'b> {
    let (side, found) = poll_fn(|cx| {
        if let Poll::Ready(found) = first.as_mut().poll(cx) {
            return Poll::Ready((Side::First, found));
        }
        second.as_mut().poll(cx).map(|found| (Side::Second, found))
    })
    .await;
    match (side, found) {
        (side, Ok(answered)) => Race::Won(side, Box::new(answered)),
        (Side::First, Err(Some(error))) => Race::FirstFailed(error, second),
        (Side::First, Err(None)) => Race::Gone,
        (Side::Second, Err(error)) => Race::SecondFailed(error.unwrap_or_else(relay::late), first),
    }
}
