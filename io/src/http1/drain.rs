//! Draining: how a shard's connections learn that the process ends.
//!
//! Idle connections are closed when the drain begins; those at work go on until it is over. Both are
//! woken by ending the reading side of their sockets, so that nobody has to hold a timer for it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::driver::Socket;

/// The state of one shard's drain and the connections it concerns.
#[derive(Default)]
pub struct Drain {
    draining: Cell<bool>,
    over: Cell<bool>,
    entries: RefCell<Entries>,
}

#[derive(Default)]
struct Entries {
    slots: Vec<Option<Entry>>,
    free: Vec<usize>,
}

struct Entry {
    socket: Socket,
    idle: bool,
}

/// A connection's place in the register; it leaves when this is dropped.
pub struct Registered {
    drain: Rc<Drain>,
    index: usize,
}

impl Drain {
    /// Counts a connection in.
    pub fn register(self: &Rc<Drain>, socket: Socket) -> Registered {
        let entry = Some(Entry {
            socket,
            idle: false,
        });
        let mut entries = self.entries.borrow_mut();
        let index = match entries.free.pop() {
            Some(index) => {
                entries.slots[index] = entry;
                index
            }
            None => {
                entries.slots.push(entry);
                entries.slots.len() - 1
            }
        };
        Registered {
            drain: self.clone(),
            index,
        }
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        let entries = self.entries.borrow();
        entries.slots.len() - entries.free.len()
    }

    /// Begins: idle connections close, answers from now on say `connection: close`.
    pub fn begin(&self) {
        self.draining.set(true);
        self.wake(|entry| entry.idle);
    }

    /// The deadline has passed: whatever still runs is told to end.
    pub fn finish(&self) {
        self.draining.set(true);
        self.over.set(true);
        self.wake(|_| true);
    }

    fn wake(&self, which: impl Fn(&Entry) -> bool) {
        for entry in self
            .entries
            .borrow()
            .slots
            .iter()
            .flatten()
            .filter(|entry| which(entry))
        {
            let _ = socket2::SockRef::from(&entry.socket).shutdown(std::net::Shutdown::Read);
        }
    }
}

impl Registered {
    pub(super) fn set_idle(&self, idle: bool) {
        if let Some(entry) = &mut self.drain.entries.borrow_mut().slots[self.index] {
            entry.idle = idle;
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.drain.draining.get()
    }

    pub(super) fn is_over(&self) -> bool {
        self.drain.over.get()
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut entries = self.drain.entries.borrow_mut();
        entries.slots[self.index] = None;
        entries.free.push(self.index);
    }
}
