//! The mesh: one bounded pair of mailboxes between each shard and the coordinator.
//!
//! Messages are rare on purpose (a reload, a resolved name, an admin request): a woken message costs
//! as much CPU as a whole request. A full mailbox gives the message back; nobody waits, nothing grows.

use std::io;
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_queue::ArrayQueue;

use crate::driver::Socket;

/// Messages one way, and whether the other end was already told of them.
struct Lane<T> {
    queue: ArrayQueue<T>,
    rung: AtomicBool,
}

impl<T> Lane<T> {
    fn new(capacity: usize) -> Arc<Lane<T>> {
        Arc::new(Lane {
            queue: ArrayQueue::new(capacity.max(1)),
            rung: AtomicBool::new(false),
        })
    }
}

/// The shard's end, before it has moved to its thread.
pub struct ShardEnd<Up, Down> {
    up: Arc<Lane<Up>>,
    down: Arc<Lane<Down>>,
    bell: UnixStream,
}

/// The coordinator's end.
pub struct HubEnd<Up, Down> {
    up: Arc<Lane<Up>>,
    down: Arc<Lane<Down>>,
    bell: UnixStream,
}

/// Two connected ends with room for `capacity` messages each way.
///
/// # Errors
/// When no descriptor is free.
pub fn pair<Up, Down>(capacity: usize) -> io::Result<(ShardEnd<Up, Down>, HubEnd<Up, Down>)> {
    let (near, far) = UnixStream::pair()?;
    near.set_nonblocking(true)?;
    far.set_nonblocking(true)?;
    let (up, down) = (Lane::new(capacity), Lane::new(capacity));
    let shard = ShardEnd {
        up: up.clone(),
        down: down.clone(),
        bell: near,
    };
    Ok((
        shard,
        HubEnd {
            up,
            down,
            bell: far,
        },
    ))
}

impl<Up, Down> HubEnd<Up, Down> {
    /// Sends to the shard and wakes it; gives the message back when its mailbox is full.
    ///
    /// # Errors
    /// The message itself.
    pub fn send(&self, message: Down) -> Result<(), Down> {
        self.down.queue.push(message)?;
        self.ring();
        Ok(())
    }

    /// Wakes the shard. False when it has not yet heard the bell that was rung before: it takes nothing from its driver
    /// any more, or has been busy all the time since.
    pub fn ring(&self) -> bool {
        use std::io::Write;
        let heard = !self.down.rung.swap(true, Ordering::AcqRel);
        if heard {
            // A full pipe is a bell that already rings.
            let _ = (&self.bell).write(&[1]);
        }
        heard
    }

    /// A copy of the descriptor that becomes readable when the shard has sent something.
    ///
    /// # Errors
    /// When no descriptor is free.
    pub fn bell(&self) -> io::Result<UnixStream> {
        self.bell.try_clone()
    }

    /// Says that the bell was heard (its bytes were read); then take all with [`HubEnd::pop`].
    pub fn heard(&self) {
        self.up.rung.store(false, Ordering::Release);
    }

    /// The next message of the shard.
    pub fn pop(&self) -> Option<Up> {
        self.up.queue.pop()
    }
}

impl<Up, Down> ShardEnd<Up, Down> {
    /// Registers the bell with this shard's driver.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn attach(self) -> io::Result<Mailbox<Up, Down>> {
        Ok(Mailbox {
            up: self.up,
            down: self.down,
            bell: Socket::from_owned(self.bell.into())?,
        })
    }
}

/// The shard's end on its thread.
pub struct Mailbox<Up, Down> {
    up: Arc<Lane<Up>>,
    down: Arc<Lane<Down>>,
    bell: Socket,
}

impl<Up, Down> Mailbox<Up, Down> {
    /// Sends to the coordinator and wakes it; gives the message back when its mailbox is full.
    ///
    /// # Errors
    /// The message itself.
    pub fn send(&self, message: Up) -> Result<(), Up> {
        self.up.queue.push(message)?;
        if !self.up.rung.swap(true, Ordering::AcqRel) {
            let _ = self.bell.try_send(&[1]);
        }
        Ok(())
    }

    /// The next message of the coordinator; `None` when it is gone. One task of the shard calls it.
    pub async fn next(&self) -> Option<Down> {
        loop {
            if let Some(message) = self.down.queue.pop() {
                return Some(message);
            }
            self.bell.readable().await.ok()?;
            let mut bytes = [MaybeUninit::uninit(); 64];
            match self.bell.try_recv(&mut bytes) {
                Ok(0) => return None,
                Ok(_) => self.down.rung.store(false, Ordering::Release),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{Driver, DriverChoice};

    fn check(choice: DriverChoice) {
        let (shard, hub) = pair::<u32, u32>(4).unwrap();
        let thread = std::thread::spawn(move || {
            let mut driver = Driver::build(choice).unwrap();
            driver.block_on(async {
                let mailbox = shard.attach().unwrap();
                let mut sum = 0;
                while let Some(number) = mailbox.next().await {
                    sum += number;
                    let _ = mailbox.send(number);
                }
                sum
            })
        });
        let mut sent = 0;
        while sent < 1_000 {
            match hub.send(1) {
                Ok(()) => sent += 1,
                Err(_full) => std::thread::yield_now(),
            }
            while hub.pop().is_some() {}
            hub.heard();
        }
        drop(hub);
        assert_eq!(thread.join().unwrap(), 1_000);
    }

    #[test]
    fn a_bell_that_nobody_hears_is_noticed_and_loses_no_message() {
        let (shard, hub) = pair::<u32, u32>(4).unwrap();
        assert!(hub.ring());
        assert!(!hub.ring());
        hub.send(7).unwrap();
        let mut driver = Driver::build(DriverChoice::Auto).unwrap();
        driver.block_on(async {
            let mailbox = shard.attach().unwrap();
            assert_eq!(mailbox.next().await, Some(7));
            hub.send(8).unwrap();
            assert_eq!(mailbox.next().await, Some(8));
        });
    }

    #[test]
    fn every_message_arrives_once_on_both_drivers() {
        check(DriverChoice::Auto);
        check(DriverChoice::Epoll);
    }
}
