//! The time that policies are told: microseconds on one clock that never goes back.

use std::time::Duration;

/// A moment, in microseconds since some start that all shards of the process share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub u64);

impl Micros {
    /// Later than every other moment: what never comes.
    pub const NEVER: Micros = Micros(u64::MAX);

    /// The moment `wait` later.
    #[must_use]
    pub fn plus(self, wait: Duration) -> Micros {
        let micros = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        Micros(self.0.saturating_add(micros))
    }

    /// How long ago `earlier` was; zero when it is still to come.
    #[must_use]
    pub fn since(self, earlier: Micros) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// How long until `later`; zero when it has passed.
    #[must_use]
    pub fn until(self, later: Micros) -> Duration {
        later.since(self)
    }
}
