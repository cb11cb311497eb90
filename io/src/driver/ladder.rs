//! Which driver a shard runs on: io_uring where the kernel lets us, else epoll.
//!
//! The ladder is tried from the top on every shard: a ring with COOP_TASKRUN and SINGLE_ISSUER, one
//! without flags (kernels before 6.0 refuse them), a small one (little locked memory), then epoll
//! with one note that says why and what to do. DEFER_TASKRUN is never used: with this runtime a task
//! that stays ready would starve every socket of its shard.

use std::future::Future;
use std::io;

use monoio::time::TimeDriver;
use monoio::{IoUringDriver, LegacyDriver, Runtime, RuntimeBuilder};

const ENTRIES: u32 = 1024;
const ENTRIES_SMALL: u32 = 256;
/// Completions that may wait to be read before the kernel falls back to its slow overflow list.
const COMPLETIONS: u32 = 4096;

/// What `--io-driver` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DriverChoice {
    /// io_uring where the kernel lets us, else epoll.
    #[default]
    Auto,
    /// io_uring or an error that says why not.
    Uring,
    /// epoll.
    Epoll,
}

impl std::str::FromStr for DriverChoice {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(DriverChoice::Auto),
            "uring" => Ok(DriverChoice::Uring),
            "epoll" => Ok(DriverChoice::Epoll),
            other => Err(format!(
                "--io-driver must be auto, uring or epoll; got {other}"
            )),
        }
    }
}

/// What a shard runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverKind {
    /// io_uring.
    Uring,
    /// epoll.
    Epoll,
}

impl DriverKind {
    /// The name used on the command line, in the start-up line and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            DriverKind::Uring => "uring",
            DriverKind::Epoll => "epoll",
        }
    }
}

enum Inner {
    Uring(Box<Runtime<TimeDriver<IoUringDriver>>>),
    Epoll(Box<Runtime<TimeDriver<LegacyDriver>>>),
}

/// The event loop of one shard; it belongs to the thread that built it.
pub struct Driver {
    inner: Inner,
    /// Why this step of the ladder was taken, where it is not the first one.
    pub note: Option<String>,
}

impl Driver {
    /// Builds the best driver that `choice` and the kernel allow, on the calling thread.
    ///
    /// # Errors
    /// A message that names the cause and the remedy, when io_uring was demanded and cannot be had
    /// or when not even epoll can be set up.
    pub fn build(choice: DriverChoice) -> Result<Driver, String> {
        if choice == DriverChoice::Epoll {
            return Driver::epoll(None);
        }
        match Driver::uring() {
            Ok(driver) => Ok(driver),
            Err(cause) if choice == DriverChoice::Auto => Driver::epoll(Some(format!(
                "io_uring is not available, serving with epoll: {}",
                remedy(&cause)
            ))),
            Err(cause) => Err(format!("--io-driver uring: {}", remedy(&cause))),
        }
    }

    fn uring() -> io::Result<Driver> {
        let mut flags = io_uring::IoUring::builder();
        flags
            .setup_coop_taskrun()
            .setup_single_issuer()
            .setup_cqsize(COMPLETIONS);
        let first = match Driver::ring(flags, ENTRIES) {
            Ok(driver) => return Ok(driver),
            Err(error) => error,
        };
        for entries in [ENTRIES, ENTRIES_SMALL] {
            if let Ok(mut driver) = Driver::ring(io_uring::IoUring::builder(), entries) {
                driver.note = Some(format!(
                    "io_uring with {entries} entries and no flags: {first}"
                ));
                return Ok(driver);
            }
        }
        Err(first)
    }

    fn ring(builder: io_uring::Builder, entries: u32) -> io::Result<Driver> {
        let runtime = RuntimeBuilder::<IoUringDriver>::new()
            .with_entries(entries)
            .uring_builder(builder)
            .enable_timer()
            .build()?;
        Ok(Driver {
            inner: Inner::Uring(Box::new(runtime)),
            note: None,
        })
    }

    fn epoll(note: Option<String>) -> Result<Driver, String> {
        let runtime = RuntimeBuilder::<LegacyDriver>::new()
            .enable_timer()
            .build()
            .map_err(|error| format!("epoll cannot be set up: {error}"))?;
        Ok(Driver {
            inner: Inner::Epoll(Box::new(runtime)),
            note,
        })
    }

    /// Which of the two it is.
    pub fn kind(&self) -> DriverKind {
        match self.inner {
            Inner::Uring(_) => DriverKind::Uring,
            Inner::Epoll(_) => DriverKind::Epoll,
        }
    }

    /// Runs `future` and all tasks spawned on this thread until `future` ends.
    pub fn block_on<F: Future>(&mut self, future: F) -> F::Output {
        match &mut self.inner {
            Inner::Uring(runtime) => runtime.block_on(future),
            Inner::Epoll(runtime) => runtime.block_on(future),
        }
    }
}

fn remedy(error: &io::Error) -> String {
    let what = match error.raw_os_error() {
        Some(libc::EPERM) => {
            "forbidden here (a container's seccomp profile, or sysctl kernel.io_uring_disabled); \
             allow io_uring_setup, io_uring_enter and io_uring_register, or set \
             kernel.io_uring_disabled=0"
        }
        Some(libc::ENOSYS) => "this kernel has none; use Linux 5.10 or later",
        Some(libc::ENOMEM) => {
            "not enough locked memory (ulimit -l); set LimitMEMLOCK=infinity in the service unit, \
             or --ulimit memlock=-1 for a container"
        }
        Some(libc::EMFILE | libc::ENFILE) => "no file descriptor is free; raise ulimit -n",
        _ => "the ring cannot be made",
    };
    format!("{what} ({error})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epoll_can_be_forced_and_a_choice_is_named() {
        let driver = Driver::build(DriverChoice::Epoll).unwrap();
        assert_eq!(driver.kind(), DriverKind::Epoll);
        assert!(
            "iocp"
                .parse::<DriverChoice>()
                .unwrap_err()
                .contains("auto, uring or epoll")
        );
    }

    #[test]
    fn causes_come_with_their_remedy() {
        let text = |code| remedy(&io::Error::from_raw_os_error(code));
        assert!(text(libc::EPERM).contains("seccomp"));
        assert!(text(libc::ENOMEM).contains("LimitMEMLOCK"));
        assert!(text(libc::ENOSYS).contains("5.10"));
    }
}
