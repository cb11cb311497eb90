//! One call: what is known of a request from its head to its end.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shardgate_io::http1::server::{Connection, Request};

use super::{Held, Shard};
use crate::directory::{Account, Permit};
use crate::endpoint::Verb;
use crate::id::RequestId;
use crate::limit::Nano;
use crate::provider::Operation;
use crate::snapshot::SpendLimit;
use crate::spend::cost::Cost;
use crate::spend::usage::Quantities;

/// A request being served. Its snapshot stays the one it began with.
pub(super) struct Call {
    pub id: RequestId,
    /// The client's own `x-litellm-call-id`, where it sent one.
    pub client_id: Option<String>,
    /// The request's method and path, for errors and the log.
    pub method: String,
    pub path: String,
    pub snapshot: Held,
    pub began: Instant,
    /// The client's address, behind trusted proxies.
    pub client: IpAddr,
    pub keep_alive: bool,
    pub http11: bool,
    pub to_head: bool,
    /// The request had an Origin: the answer carries the CORS headers.
    pub cors: bool,
    /// What an LLM call asks for; its client's dialect goes with it.
    pub operation: Option<Operation>,
    /// What Google's API asks for; its model stands in the path, its key may stand in the query.
    pub verb: Option<Verb>,
    /// The key may stand in the query as `key`.
    pub key_in_query: bool,
    /// The key may be the password of HTTP's basic authentication.
    pub key_in_basic: bool,
    /// What a request that is passed on as it is goes to; records name it.
    pub passed: Option<Box<Passed>>,
    /// What the answer and the log say of the routing.
    pub route: Route,
    /// The answer's status, once it is known; 499 for a client that left.
    pub status: u16,
    /// Whose virtual key the request carries; none for the master key.
    pub account: Option<Arc<Account>>,
    /// What the request holds of limits and budgets until it ends.
    pub permits: Vec<Permit>,
    /// Tokens that the answer's usage names, once it is known.
    pub used: Option<u64>,
    /// Headers of the refusal: which limit, and until when.
    pub refusal_headers: Vec<(&'static str, String)>,
    /// What the call cost, in billionths of a dollar.
    pub cost: Nano,
    /// What an attempt beside it cost that was not waited for; its own record says so.
    pub cost_beside: Nano,
    /// Its record's room and what it needs of the request, until it is published.
    pub note: Option<Box<super::ledger::Note>>,
    /// The same part by part, with what was used.
    pub bill: Bill,
    /// What was asked and answered, where that is stored.
    pub texts: Option<Box<super::texts::Texts>>,
}

/// Where a request goes that is passed on as it is.
pub(super) struct Passed {
    pub provider: String,
    /// The model that it names; empty for none.
    pub model: String,
    pub api_base: String,
}

/// What a call used and costs.
#[derive(Default)]
pub(super) struct Bill {
    /// What was used and what it costs, once that is known: large, and a stream stays for long without.
    pub charge: Option<Box<Charge>>,
    /// From the call's begin to the first token of a stream.
    pub first_token: Duration,
    /// The answer's own id, by which its row is named.
    pub answer_id: Option<String>,
    /// The answer's key in the response cache; empty where nothing is cached.
    pub cache_key: String,
    /// The answer came from there.
    pub from_cache: bool,
    /// The class of the error that was answered; empty for none.
    pub error_class: &'static str,
}

/// What a call used, and its price part by part.
#[derive(Default)]
pub(super) struct Charge {
    pub used: Quantities,
    pub cost: Cost,
}

impl Bill {
    /// The charge, to be added to.
    pub(super) fn charge(&mut self) -> &mut Charge {
        self.charge.get_or_insert_default()
    }

    /// The price part by part, nothing before it is known.
    pub(super) fn cost(&self) -> Cost {
        self.charge
            .as_ref()
            .map(|charge| charge.cost)
            .unwrap_or_default()
    }
}

/// Which deployment served, and how it came to it.
#[derive(Default)]
pub(super) struct Route {
    /// The group that was asked for, as the client named it.
    pub group: String,
    /// Index into the snapshot's deployments.
    pub deployment: Option<usize>,
    pub attempted_retries: u32,
    pub attempted_fallbacks: u32,
    /// The first answer of several calls that ran beside each other.
    pub raced: bool,
    /// Time spent waiting for upstreams.
    pub upstream: Duration,
    /// The attempt that runs has gone to its upstream: it is paid, whatever comes of it.
    pub sent: bool,
}

impl Call {
    pub(super) fn begin(shard: &Shard, connection: &Connection, request: &Request) -> Call {
        let snapshot = shard.snapshot();
        let settings = &snapshot.settings;
        let client = crate::auth::network::client_address(
            connection.peer().ip(),
            request.header("x-forwarded-for"),
            settings.use_x_forwarded_for,
            settings.trusted_proxies.as_deref(),
        );
        let client_id = request.header("x-litellm-call-id").and_then(printable);
        Call {
            id: shard.next_id(),
            client_id,
            method: text(request.head.method_span.of(&request.bytes)),
            path: text(request.head.path.of(&request.bytes)),
            began: Instant::now(),
            client,
            keep_alive: request.head.keep_alive,
            http11: request.head.http11,
            to_head: request.head.method == shardgate_io::http1::head::Method::Head,
            cors: request.header("origin").is_some(),
            operation: None,
            verb: None,
            key_in_query: false,
            key_in_basic: false,
            passed: None,
            route: Route::default(),
            status: 0,
            account: None,
            permits: Vec::new(),
            used: None,
            cost: 0,
            cost_beside: 0,
            note: None,
            bill: Bill::default(),
            texts: None,
            refusal_headers: Vec::new(),
            snapshot,
        }
    }

    /// What a second attempt beside the first needs to know of the call. It holds nothing of limits
    /// or budgets.
    pub(super) fn beside(&self) -> Call {
        Call {
            id: self.id,
            client_id: self.client_id.clone(),
            method: String::new(),
            path: self.path.clone(),
            snapshot: self.snapshot.clone(),
            began: self.began,
            client: self.client,
            keep_alive: self.keep_alive,
            http11: self.http11,
            to_head: self.to_head,
            cors: self.cors,
            operation: self.operation,
            verb: self.verb,
            key_in_query: self.key_in_query,
            key_in_basic: self.key_in_basic,
            passed: None,
            route: Route::default(),
            status: 0,
            account: None,
            permits: Vec::new(),
            used: None,
            refusal_headers: Vec::new(),
            cost: 0,
            cost_beside: 0,
            note: None,
            bill: Bill::default(),
            texts: None,
        }
    }

    /// A second attempt beside the first, with a record of its own: the same payer, none of its limits.
    pub(super) fn hedge(&self, id: RequestId) -> Call {
        Call {
            client_id: Some(self.shown_id()),
            ..self.one_of_several(id, &self.route.group)
        }
    }

    /// One of several calls that a request asks for: a call of its own, of the same caller.
    pub(super) fn one_of_several(&self, id: RequestId, model: &str) -> Call {
        Call {
            id,
            method: self.method.clone(),
            account: self.account.clone(),
            route: Route {
                group: model.to_owned(),
                ..Route::default()
            },
            ..self.beside()
        }
    }

    /// Gives back what the request held: always, exactly once, whatever became of it.
    pub(super) fn settle(&mut self) {
        for permit in self.permits.drain(..) {
            let cost = self.cost.saturating_add(self.cost_beside);
            permit.settle(self.used.unwrap_or(0), cost);
        }
        if let Some(at) = self.route.deployment {
            self.charge(at);
        }
    }

    /// Counts the cost against the budgets of the deployment and its provider.
    fn charge(&self, at: usize) {
        let made = &self.snapshot.deployments[at];
        if made.spend_limits.is_empty() || self.cost == 0 {
            return;
        }
        for limit in &made.spend_limits {
            limit.meter.settle(0, self.cost);
        }
        if made.spend_limits.iter().any(SpendLimit::is_spent) {
            // Others of the provider are told within a second.
            let deployment = &self.snapshot.router.deployments()[at];
            deployment.live.set_budget_spent(true);
        }
    }

    /// The id that the client sees: its own where it sent one.
    pub(super) fn shown_id(&self) -> String {
        self.client_id.clone().unwrap_or_else(|| self.id.text())
    }
}

fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// A header's value that is safe to say again, at most 256 bytes of it.
pub(super) fn printable(value: &[u8]) -> Option<String> {
    const SHOWN_MAX: usize = 256;
    let text = std::str::from_utf8(value).ok()?;
    let fits = !text.is_empty() && text.len() <= SHOWN_MAX;
    (fits && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| text.to_owned())
}
