//! A deadline that is cheap to hold and cheap to move: all those of a shard stand in one queue, in order, and
//! one task waits for the first of them with the runtime's own timer, which is large.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use monoio::time::Sleep;

/// A timer whose deadline may move at every poll. Moving it later costs nothing: it fires at the old
/// time, sees that it is early and is set again. So a stream pays no timer per event.
#[derive(Default)]
pub struct Timer {
    /// Its place in the shard's queue, once it is set.
    place: Option<u32>,
}

impl Timer {
    /// Ready once `deadline` has passed; otherwise this task is woken about then.
    pub fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        QUEUE.with_borrow_mut(|queue| {
            let Some(place) = self.place else {
                self.place = Some(queue.set(cx.waker(), deadline));
                return Poll::Pending;
            };
            let Some(set) = queue.places.get_mut(place as usize) else {
                return Poll::Pending;
            };
            if !set.waker.will_wake(cx.waker()) {
                set.waker.clone_from(cx.waker());
            }
            let (at, fired) = (set.at, set.fired);
            if fired && Instant::now() >= deadline {
                queue.free(place);
                self.place = None;
                return Poll::Ready(());
            }
            if fired || deadline < at {
                queue.move_to(place, deadline);
            }
            Poll::Pending
        })
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            // A thread that ends has lost its queue already. The waker goes when the queue is no longer
            // in use: a task may end with it, and its own timers.
            let waker = QUEUE.try_with(|queue| queue.borrow_mut().free(place));
            drop(waker);
        }
    }
}

thread_local! {
    static QUEUE: RefCell<Queue> = RefCell::default();
}

/// The deadlines of one shard.
#[derive(Default)]
struct Queue {
    places: Vec<Set>,
    free: Vec<u32>,
    /// Those that have not fired, soonest first.
    order: BTreeSet<(Instant, u32)>,
    /// Wakes the task that waits for the first one; none before that task runs.
    keeper: Option<Waker>,
    is_kept: bool,
}

/// One timer that is set.
struct Set {
    at: Instant,
    fired: bool,
    waker: Waker,
}

impl Queue {
    fn set(&mut self, waker: &Waker, at: Instant) -> u32 {
        let set = Set {
            at,
            fired: false,
            waker: waker.clone(),
        };
        let place = match self.free.pop() {
            Some(place) => {
                self.places[place as usize] = set;
                place
            }
            None => {
                self.places.push(set);
                (self.places.len() - 1) as u32
            }
        };
        self.insert(at, place);
        if !self.is_kept {
            self.is_kept = true;
            super::spawn("the deadlines", Keeper { sleep: None });
        }
        place
    }

    fn move_to(&mut self, place: u32, at: Instant) {
        let set = &mut self.places[place as usize];
        self.order.remove(&(set.at, place));
        (set.at, set.fired) = (at, false);
        self.insert(at, place);
    }

    fn insert(&mut self, at: Instant, place: u32) {
        let was_first = self.order.first().copied();
        self.order.insert((at, place));
        if was_first.is_none_or(|first| at < first.0)
            && let Some(keeper) = self.keeper.take()
        {
            keeper.wake();
        }
    }

    /// Gives a place back, and the waker that stood there.
    fn free(&mut self, place: u32) -> Waker {
        let set = &mut self.places[place as usize];
        self.order.remove(&(set.at, place));
        self.free.push(place);
        std::mem::replace(&mut set.waker, Waker::noop().clone())
    }

    /// Wakes those whose time has come; the soonest of the others.
    fn fire(&mut self, now: Instant) -> Option<Instant> {
        while let Some(&(at, place)) = self.order.first() {
            if at > now {
                return Some(at);
            }
            self.order.pop_first();
            let set = &mut self.places[place as usize];
            set.fired = true;
            set.waker.wake_by_ref();
        }
        None
    }
}

/// The task that fires the deadlines of its shard.
struct Keeper {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Future for Keeper {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let next = QUEUE.with_borrow_mut(|queue| {
                let next = queue.fire(Instant::now());
                queue.keeper = Some(cx.waker().clone());
                next
            });
            let Some(next) = next else {
                self.sleep = None;
                return Poll::Pending;
            };
            let next = monoio::time::Instant::from_std(next);
            let sleep = self
                .sleep
                .get_or_insert_with(|| Box::pin(monoio::time::sleep_until(next)));
            if sleep.deadline() != next {
                sleep.as_mut().reset(next);
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.sleep = None;
        }
    }
}

/// Waits until `deadline`.
pub async fn sleep_until(deadline: Instant) {
    let mut timer = Timer::default();
    std::future::poll_fn(|cx| timer.poll(cx, deadline)).await;
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::rc::Rc;
    use std::time::Duration;

    use super::*;
    use crate::driver::{Driver, DriverChoice, spawn};

    fn on_a_shard(work: impl Future<Output = ()>) {
        Driver::build(DriverChoice::Epoll).unwrap().block_on(work);
    }

    fn waiting() -> usize {
        QUEUE.with_borrow(|queue| queue.order.len())
    }

    #[test]
    fn deadlines_fire_in_order_and_a_dropped_one_leaves_nothing() {
        on_a_shard(async {
            let began = Instant::now();
            let fired = Rc::new(RefCell::new(Vec::new()));
            for ms in [30, 10, 20] {
                let fired = fired.clone();
                spawn("a test's timer", async move {
                    sleep_until(began + Duration::from_millis(ms)).await;
                    assert!(began.elapsed() >= Duration::from_millis(ms));
                    fired.borrow_mut().push(ms);
                });
            }
            let mut dropped = Timer::default();
            poll_fn(|cx| {
                assert!(
                    dropped
                        .poll(cx, began + Duration::from_secs(90))
                        .is_pending()
                );
                Poll::Ready(())
            })
            .await;
            drop(dropped);
            sleep_until(began + Duration::from_millis(45)).await;
            assert_eq!(*fired.borrow(), [10, 20, 30]);
            assert_eq!(waiting(), 0);
            assert!(QUEUE.with_borrow(|queue| queue.places.len()) <= 5);
        });
    }

    #[test]
    fn a_deadline_may_move_either_way() {
        on_a_shard(async {
            let began = Instant::now();
            let polls = Rc::new(Cell::new(0));
            let mut timer = Timer::default();
            let (seen, ms) = (polls.clone(), Duration::from_millis);
            poll_fn(move |cx| {
                seen.set(seen.get() + 1);
                match seen.get() {
                    // Far away, then near: woken for the near one, which has moved on by then.
                    1 => {
                        assert!(timer.poll(cx, began + ms(5_000)).is_pending());
                        timer.poll(cx, began + ms(10))
                    }
                    _ => timer.poll(cx, began + ms(40)),
                }
            })
            .await;
            assert!(began.elapsed() >= ms(40) && began.elapsed() < ms(1_000));
            assert!(polls.get() >= 3);
            assert_eq!(waiting(), 0);
        });
    }
}
