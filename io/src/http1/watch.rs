//! Is the client still there? Asked while its request is served.
//!
//! The end of the client's side may mean that it has left, or only that it will send no more (a
//! half-close, which HTTP allows). TCP tells the two apart only when something is sent: a client that
//! closed answers with a reset. So where nothing was answered yet, an interim response is sent, which
//! every HTTP/1.1 client skips; in an event stream, a comment. Neither is sent to a client that gets
//! its answer within the first moments.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use crate::driver::{Peek, Timer};
use crate::net::Stream;

/// The interim response that a client skips.
pub(super) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// How long an answer may take to come by itself before the client is probed.
const GRACE: Duration = Duration::from_millis(100);
const PROBE_FIRST: Duration = Duration::from_millis(5);
const PROBE_LAST: Duration = Duration::from_secs(1);

/// What is known of the client's side while a request of its is served.
#[derive(Default)]
pub(super) struct Watch {
    state: State,
    comment: Option<&'static [u8]>,
    timer: Timer,
}

#[derive(Default)]
enum State {
    /// A poll is armed for the end of its side.
    #[default]
    Armed,
    /// More requests are waiting to be read, so its end cannot be seen.
    Blind,
    /// Its side has ended; probe at the given time.
    Ended { probe_at: Instant },
    /// A probe is out; a reset would show by the given time.
    Probed { check_at: Instant, wait: Duration },
}

impl Watch {
    pub(super) fn probe_with(&mut self, comment: &'static [u8]) {
        self.comment = Some(comment);
    }

    /// Ready when the client has left. `speaks`: nothing was answered yet and an interim response
    /// may be sent.
    pub(super) fn poll_gone(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        speaks: bool,
    ) -> Poll<()> {
        loop {
            match self.state {
                State::Blind => return Poll::Pending,
                State::Armed => {
                    let _ = ready!(stream.poll_readable(cx));
                    self.state = match stream.peek() {
                        Peek::Data => State::Blind,
                        Peek::Nothing => State::Armed,
                        Peek::Broken => return Poll::Ready(()),
                        Peek::End => State::Ended {
                            probe_at: Instant::now() + GRACE,
                        },
                    };
                }
                State::Ended { probe_at } => {
                    let Some(probe) = self.probe(speaks) else {
                        return Poll::Ready(());
                    };
                    ready!(self.timer.poll(cx, probe_at));
                    if stream.probe(probe).is_err() {
                        return Poll::Ready(());
                    }
                    let check_at = Instant::now() + PROBE_FIRST;
                    self.state = State::Probed {
                        check_at,
                        wait: PROBE_FIRST,
                    };
                }
                State::Probed { check_at, wait } => {
                    ready!(self.timer.poll(cx, check_at));
                    if broken(stream) {
                        return Poll::Ready(());
                    }
                    let wait = (wait * 2).min(PROBE_LAST);
                    self.state = State::Probed {
                        check_at: Instant::now() + wait,
                        wait,
                    };
                }
            }
        }
    }

    fn probe(&self, speaks: bool) -> Option<&'static [u8]> {
        if speaks { Some(CONTINUE) } else { self.comment }
    }
}

fn broken(stream: &Stream) -> bool {
    let error: io::Result<Option<io::Error>> = socket2::SockRef::from(stream.socket()).take_error();
    !matches!(error, Ok(None))
}
