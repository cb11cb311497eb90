//! Panics: one log line with the place, never the payload (it may quote what a client sent).

use crate::log;
use crate::observe::log::Log;

/// Sends every panic's place to the log instead of printing its payload.
pub fn report_to(log: &Log) {
    let log = log.clone();
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic
            .location()
            .map_or_else(|| "unknown".to_owned(), ToString::to_string);
        let thread = std::thread::current()
            .name()
            .unwrap_or("unnamed")
            .to_owned();
        log!(log, Error, "panic", place = place, thread = thread);
    }));
}
