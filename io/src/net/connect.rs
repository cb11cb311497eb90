//! Dialling: IPv6 first with a fast fallback to IPv4 (RFC 8305), never a name.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use crate::driver::{Socket, Timer, spawn};

/// How long an address may take before the next one is tried beside it.
const STAGGER: Duration = Duration::from_millis(250);

/// How to dial.
#[derive(Clone, Copy, Debug)]
pub struct Connect {
    /// Give up after this long.
    pub timeout: Duration,
    /// Only IPv4 addresses are dialled.
    pub force_ipv4: bool,
}

impl Default for Connect {
    fn default() -> Connect {
        Connect {
            timeout: Duration::from_secs(10),
            force_ipv4: false,
        }
    }
}

/// Connects to the first of `addresses` that answers: the families alternate, IPv6 first, and each
/// gets a head start of 250 ms over the next.
///
/// # Errors
/// The last refusal, `TimedOut`, or `AddrNotAvailable` where no address of the wanted family is left.
pub async fn dial(addresses: &[SocketAddr], how: Connect) -> io::Result<Socket> {
    let order = order(addresses, how.force_ipv4);
    let deadline = Instant::now() + how.timeout;
    match order.len() {
        0 => Err(io::Error::new(
            io::ErrorKind::AddrNotAvailable,
            "the name has no address of the wanted family (see force_ipv4)",
        )),
        1 => within(Socket::connect(order[0]), deadline).await,
        _ => race(order, deadline).await,
    }
}

/// Addresses in dialling order: IPv6 and IPv4 in turn, each family in the resolver's order.
fn order(addresses: &[SocketAddr], force_ipv4: bool) -> VecDeque<SocketAddr> {
    let (v4, v6): (Vec<_>, Vec<_>) = addresses.iter().copied().partition(SocketAddr::is_ipv4);
    if force_ipv4 {
        return v4.into();
    }
    let mut order = VecDeque::with_capacity(addresses.len());
    let (mut v4, mut v6) = (v4.into_iter(), v6.into_iter());
    loop {
        let (first, second) = (v6.next(), v4.next());
        if first.is_none() && second.is_none() {
            return order;
        }
        order.extend(first.into_iter().chain(second));
    }
}

async fn within(
    connect: impl Future<Output = io::Result<Socket>>,
    deadline: Instant,
) -> io::Result<Socket> {
    let mut connect = std::pin::pin!(connect);
    let mut timer = Timer::default();
    std::future::poll_fn(|cx| {
        if let Poll::Ready(result) = connect.as_mut().poll(cx) {
            return Poll::Ready(result);
        }
        timer
            .poll(cx, deadline)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    })
    .await
}

#[derive(Default)]
struct Race {
    won: Option<Socket>,
    failed: Option<io::Error>,
    running: usize,
    waker: Option<Waker>,
}

async fn race(mut left: VecDeque<SocketAddr>, deadline: Instant) -> io::Result<Socket> {
    let race = Rc::new(RefCell::new(Race::default()));
    let mut timer = Timer::default();
    while let Some(address) = left.pop_front() {
        start(&race, address, deadline);
        let until = if left.is_empty() {
            deadline
        } else {
            deadline.min(Instant::now() + STAGGER)
        };
        let settled = std::future::poll_fn(|cx| {
            let mut race = race.borrow_mut();
            race.waker = Some(cx.waker().clone());
            if race.won.is_some() || race.running == 0 {
                return Poll::Ready(());
            }
            timer.poll(cx, until)
        });
        settled.await;
        if let Some(socket) = race.borrow_mut().won.take() {
            return Ok(socket);
        }
    }
    Err(race
        .borrow_mut()
        .failed
        .take()
        .unwrap_or_else(|| io::ErrorKind::TimedOut.into()))
}

fn start(race: &Rc<RefCell<Race>>, address: SocketAddr, deadline: Instant) {
    race.borrow_mut().running += 1;
    let race = race.clone();
    spawn("dial", async move {
        let result = within(Socket::connect(address), deadline).await;
        let mut race = race.borrow_mut();
        race.running -= 1;
        match result {
            Ok(socket) => race.won = race.won.take().or(Some(socket)),
            Err(error) => race.failed = Some(error),
        }
        if let Some(waker) = race.waker.take() {
            waker.wake();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_alternate_and_ipv6_leads() {
        let all = addresses(&["1.1.1.1:1", "2.2.2.2:1", "[::1]:1", "[::2]:1", "[::3]:1"]);
        let expected = addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]);
        assert_eq!(Vec::from(order(&all, false)), expected);
        assert_eq!(
            Vec::from(order(&all, true)),
            addresses(&["1.1.1.1:1", "2.2.2.2:1"])
        );
    }
}
