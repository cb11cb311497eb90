//! What the mock upstream has seen: a bounded log of requests and the counters, shared by its
//! threads. Knows nothing of sockets.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Write as _;

use crate::script::{self, Scenario};
use crate::wire::{self, RequestHead};

/// Bytes of bodies that the log holds; beyond it the oldest entries go.
const LOG_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Names counted apart; beyond it new ones are not.
const NAMES_MAX: usize = 10_000;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Open,
    Answered,
    /// The client left before the end.
    Cancelled,
    /// The scenario broke it off.
    Faulted,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Answered => "answered",
            Self::Cancelled => "cancelled",
            Self::Faulted => "faulted",
        }
    }
}

struct Entry {
    at_ns: u64,
    connection: u64,
    head: RequestHead,
    body: Vec<u8>,
    model: String,
    status: u16,
    outcome: Outcome,
    /// Content events sent.
    events: u32,
    ended_ns: u64,
}

/// What is known of a request when it has been read.
pub(crate) struct Received<'a> {
    pub(crate) at_ns: u64,
    pub(crate) connection: u64,
    pub(crate) head: &'a RequestHead,
    pub(crate) body: &'a [u8],
    pub(crate) model: &'a str,
    pub(crate) status: u16,
}

/// The log and the counters.
pub(crate) struct Journal {
    entries: VecDeque<Entry>,
    /// Number of the entry at the front.
    first: u64,
    bytes: usize,
    entries_max: usize,
    /// Words applied after the flags' scenario, set by `POST /_mock/scenario`.
    pub(crate) scenario: Scenario,
    pub(crate) base: Scenario,
    requests: u64,
    ended: [u64; 4],
    events: u64,
    pub(crate) connections_open: u64,
    connections_peak: u64,
    connections_accepted: u64,
    by_model: BTreeMap<String, u64>,
    by_path: BTreeMap<String, u64>,
    failures: HashMap<String, u32>,
}

impl Journal {
    pub(crate) fn new(base: Scenario, entries_max: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            first: 1,
            bytes: 0,
            entries_max,
            scenario: base.clone(),
            base,
            requests: 0,
            ended: [0; 4],
            events: 0,
            connections_open: 0,
            connections_peak: 0,
            connections_accepted: 0,
            by_model: BTreeMap::new(),
            by_path: BTreeMap::new(),
            failures: HashMap::new(),
        }
    }

    /// Forgets everything but the open connections, and goes back to the scenario of the flags.
    pub(crate) fn reset(&mut self) {
        let open = self.connections_open;
        let next = self.first + self.entries.len() as u64;
        *self = Self::new(self.base.clone(), self.entries_max);
        self.connections_open = open;
        self.connections_peak = open;
        self.first = next;
    }

    pub(crate) fn connected(&mut self) {
        self.connections_open += 1;
        self.connections_accepted += 1;
        self.connections_peak = self.connections_peak.max(self.connections_open);
    }

    /// Notes a request; the number is for [`Journal::ended`].
    pub(crate) fn received(&mut self, received: &Received<'_>) -> u64 {
        self.requests += 1;
        if self.entries_max == 0 {
            return 0;
        }
        let path = received.head.path.split('?').next().unwrap_or_default();
        bump(&mut self.by_model, received.model);
        bump(&mut self.by_path, path);
        self.bytes += received.body.len();
        self.entries.push_back(Entry {
            at_ns: received.at_ns,
            connection: received.connection,
            head: received.head.clone(),
            body: received.body.to_vec(),
            model: received.model.to_owned(),
            status: received.status,
            outcome: Outcome::Open,
            events: 0,
            ended_ns: 0,
        });
        while self.entries.len() > self.entries_max || self.bytes > LOG_BYTES_MAX {
            let Some(entry) = self.entries.pop_front() else {
                break;
            };
            self.bytes -= entry.body.len();
            self.first += 1;
        }
        self.first + self.entries.len() as u64 - 1
    }

    /// Notes how request `number` ended.
    pub(crate) fn ended(&mut self, number: u64, outcome: Outcome, events: u32, now_ns: u64) {
        self.ended[outcome as usize] += 1;
        self.events += u64::from(events);
        let Some(index) = number.checked_sub(self.first) else {
            return;
        };
        if let Some(entry) = usize::try_from(index)
            .ok()
            .and_then(|at| self.entries.get_mut(at))
        {
            entry.outcome = outcome;
            entry.events = events;
            entry.ended_ns = now_ns;
        }
    }

    /// Whether a request with a bounded number of failures is still to fail.
    pub(crate) fn take_failure(&mut self, model: &str, times: u32) -> bool {
        if self.failures.len() >= NAMES_MAX {
            return false;
        }
        let taken = self.failures.entry(model.to_owned()).or_insert(0);
        *taken += 1;
        *taken <= times
    }

    /// JSON lines, oldest first.
    pub(crate) fn log(&self) -> String {
        let mut out = String::new();
        for (place, entry) in self.entries.iter().enumerate() {
            entry.write(self.first + place as u64, &mut out);
        }
        out
    }

    /// One JSON object.
    pub(crate) fn stats(&self) -> String {
        let finished: u64 = self.ended.iter().sum();
        let mut out = String::new();
        let _ = write!(
            out,
            "{{\"requests\":{},\"in_flight\":{},\"answered\":{},\"cancelled\":{},\"faulted\":{},\
             \"events\":{},\"connections_open\":{},\"connections_peak\":{},\"connections_accepted\":{}",
            self.requests,
            self.requests.saturating_sub(finished),
            self.ended[Outcome::Answered as usize],
            self.ended[Outcome::Cancelled as usize],
            self.ended[Outcome::Faulted as usize],
            self.events,
            self.connections_open,
            self.connections_peak,
            self.connections_accepted
        );
        for (name, map) in [("by_model", &self.by_model), ("by_path", &self.by_path)] {
            let _ = write!(out, ",\"{name}\":{{");
            for (place, (key, count)) in map.iter().enumerate() {
                out.push_str(if place == 0 { "" } else { "," });
                script::quote(key, &mut out);
                let _ = write!(out, ":{count}");
            }
            out.push('}');
        }
        out.push_str("}\n");
        out
    }
}

fn bump(map: &mut BTreeMap<String, u64>, name: &str) {
    if let Some(count) = map.get_mut(name) {
        *count += 1;
    } else if map.len() < NAMES_MAX {
        map.insert(name.to_owned(), 1);
    }
}

impl Entry {
    fn write(&self, number: u64, out: &mut String) {
        let _ = write!(
            out,
            "{{\"n\":{number},\"at_ms\":{:.3},\"connection\":{},\"method\":",
            self.at_ns as f64 / 1e6,
            self.connection
        );
        script::quote(&self.head.method, out);
        out.push_str(",\"path\":");
        script::quote(&self.head.path, out);
        out.push_str(",\"model\":");
        script::quote(&self.model, out);
        let _ = write!(
            out,
            ",\"status\":{},\"outcome\":\"{}\",\"events\":{},\"ended_ms\":",
            self.status,
            self.outcome.name(),
            self.events
        );
        if self.outcome == Outcome::Open {
            out.push_str("null");
        } else {
            let _ = write!(out, "{:.3}", self.ended_ns as f64 / 1e6);
        }
        out.push_str(",\"headers\":[");
        for (place, (name, value)) in self.head.headers.iter().enumerate() {
            out.push_str(if place == 0 { "[" } else { ",[" });
            script::quote(name, out);
            out.push(',');
            script::quote(value, out);
            out.push(']');
        }
        out.push_str("],\"body\":");
        match std::str::from_utf8(&self.body) {
            Ok(text) => script::quote(text, out),
            Err(_) => {
                let _ = write!(out, "null,\"body_base64\":\"{}\"", wire::base64(&self.body));
            }
        }
        out.push_str("}\n");
    }
}
