//! Limits that every shard obeys together: requests and tokens per window, and calls at once.
//!
//! A limit is plain data made of atomics; time comes in as an argument. This module must not know
//! what it limits (a deployment, a key, a team), nor who waits when there is no room.

mod budget;
mod lease;
mod padded;
mod roll;
mod semaphore;
mod time;
mod window;

pub use budget::{Meter, Nano, dollars, nano};
pub use lease::{Bell, Miss, Mode, Terms, Wanted};
pub use padded::Padded;
pub use roll::{Counter, Roll, share_at_once};
pub use semaphore::Semaphore;
pub use time::Micros;
pub use window::{Full, Reservation, Window};
