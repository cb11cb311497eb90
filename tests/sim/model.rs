//! The judge: it keeps its own account of limits, slots and cooldowns, written apart from the
//! router's, and names what the router did wrong.

use shardgate::router::{FailureClass, Micros, RouterSettings, RouterSpec};
use std::collections::BTreeMap;
use std::time::Duration;

const MINUTE_US: u64 = 60_000_000;
/// The router keeps a window's start to ten milliseconds, rounded up.
const ROUNDING_US: u64 = 10_000;

#[derive(Clone, Debug, Default)]
struct Account {
    window_end: u64,
    requests: u64,
    running: u32,
    cooling_until: u64,
    /// Second and kind of each failure that counts.
    failures: Vec<(u64, &'static str)>,
}

/// The judge of one simulation.
#[derive(Debug)]
pub(crate) struct Model {
    spec: RouterSpec,
    accounts: Vec<Account>,
    /// Waiting requests of a group: priority and place in line, by request.
    lines: BTreeMap<String, Vec<(i32, u64, usize)>>,
    tickets: u64,
}

fn kind(class: FailureClass) -> &'static str {
    match class {
        FailureClass::Authentication => "authentication",
        FailureClass::Timeout => "timeout",
        FailureClass::RateLimit => "rate_limit",
        FailureClass::InternalServer => "internal_server",
        FailureClass::ContentPolicy => "content_policy",
        FailureClass::BadRequest | FailureClass::ContextWindow => "bad_request",
        _ => "rest",
    }
}

/// How many failures of the class a minute may have, from the text of parameters.md.
fn allowed(settings: &RouterSettings, class: FailureClass) -> Option<u32> {
    let policy = settings.allowed_fails_policy.unwrap_or_default();
    let (written, default) = match kind(class) {
        "authentication" => (policy.authentication, Some(10)),
        "timeout" => (policy.timeout, Some(12)),
        "rate_limit" => (policy.rate_limit, Some(10_000)),
        "internal_server" => (policy.internal_server, Some(20)),
        "content_policy" => (policy.content_policy, None),
        "bad_request" => (policy.bad_request, None),
        _ => (None, Some(1)),
    };
    written.or(default.map(|default| settings.allowed_fails.unwrap_or(default)))
}

impl Model {
    pub(crate) fn new(spec: &RouterSpec) -> Model {
        Model {
            spec: spec.clone(),
            accounts: vec![Account::default(); spec.deployments.len()],
            lines: BTreeMap::new(),
            tickets: 0,
        }
    }

    fn members(&self, group: &str) -> impl Iterator<Item = usize> {
        let members = self.spec.deployments.iter().enumerate();
        let group = group.to_owned();
        members
            .filter(move |(_, d)| d.group == group)
            .map(|(index, _)| index)
    }

    /// A request was sent to a deployment.
    pub(crate) fn attempted(
        &mut self,
        deployment: usize,
        request: usize,
        priority: i32,
        now: Micros,
    ) -> Result<(), String> {
        let group = self.spec.deployments[deployment].group.clone();
        self.check_line(&group, request, priority)?;
        self.left(request);
        let spec = &self.spec.deployments[deployment];
        let account = &mut self.accounts[deployment];
        if account.cooling_until > now.0 {
            return Err(format!("{} was called while it cools down", spec.id));
        }
        if now.0 >= account.window_end {
            account.window_end = now.0 + MINUTE_US;
            account.requests = 0;
        }
        account.requests += 1;
        account.running += 1;
        if spec.rpm.is_some_and(|rpm| account.requests > rpm) {
            return Err(format!(
                "{} got {} requests in a window",
                spec.id, account.requests
            ));
        }
        if spec.max_parallel.is_some_and(|most| account.running > most) {
            return Err(format!(
                "{} runs {} calls at once",
                spec.id, account.running
            ));
        }
        Ok(())
    }

    /// Whoever is served must not have jumped the line of its group.
    fn check_line(&mut self, group: &str, request: usize, priority: i32) -> Result<(), String> {
        let line = self.lines.entry(group.to_owned()).or_default();
        let own = line
            .iter()
            .find(|waiter| waiter.2 == request)
            .map(|w| (w.0, w.1));
        let place = own.unwrap_or((priority, u64::MAX));
        line.retain(|waiter| waiter.2 != request);
        // Tokens make requests unequal: a small one may fit where the first in line does not.
        let unequal = self
            .spec
            .deployments
            .iter()
            .any(|d| d.group == group && d.tpm.is_some());
        match line.iter().min() {
            _ if unequal => Ok(()),
            Some((p, ticket, other)) if (*p, *ticket) < place => {
                Err(format!("request {request} went before {other} of {group}"))
            }
            _ => Ok(()),
        }
    }

    /// An attempt ended; `failed` says how when it did.
    pub(crate) fn ended(&mut self, deployment: usize, failed: Option<FailureClass>, now: Micros) {
        self.accounts[deployment].running -= 1;
        let Some(class) = failed else { return };
        let settings = &self.spec.settings;
        let Some(allowed) = allowed(settings, class) else {
            return;
        };
        if matches!(class, FailureClass::PermissionDenied) {
            return;
        }
        let second = now.0 / 1_000_000;
        let account = &mut self.accounts[deployment];
        account.failures.push((second, kind(class)));
        let young = |(at, k): &&(u64, &str)| second - *at < 60 && *k == kind(class);
        let count = account.failures.iter().filter(young).count();
        let written = settings.allowed_fails.is_some() || settings.allowed_fails_policy.is_some();
        let group = &self.spec.deployments[deployment].group;
        let last = self
            .members(group)
            .all(|other| other == deployment || self.accounts[other].cooling_until > now.0);
        if count > allowed as usize && (written || !last) {
            let until = now.plus(settings.cooldown_time).0;
            let account = &mut self.accounts[deployment];
            account.cooling_until = account.cooling_until.max(until);
        }
    }

    /// A request began to wait.
    pub(crate) fn waits(&mut self, group: &str, request: usize, priority: i32) {
        // It waits in one line at a time: a fallback's is another.
        let others = self.lines.iter_mut().filter(|(name, _)| *name != group);
        others.for_each(|(_, line)| line.retain(|waiter| waiter.2 != request));
        self.tickets += 1;
        let ticket = self.tickets;
        let line = self.lines.entry(group.to_owned()).or_default();
        if line.iter().all(|waiter| waiter.2 != request) {
            line.push((priority, ticket, request));
        }
    }

    /// A request stopped waiting without being served.
    pub(crate) fn left(&mut self, request: usize) {
        self.lines
            .values_mut()
            .for_each(|line| line.retain(|waiter| waiter.2 != request));
    }

    fn can_serve(&self, deployment: usize, now: Micros) -> bool {
        let spec = &self.spec.deployments[deployment];
        let account = &self.accounts[deployment];
        let fresh = now.0 >= account.window_end + ROUNDING_US;
        // What tokens an answer will have is the router's own guess, so it is not judged here.
        spec.tpm.is_none()
            && account.cooling_until <= now.0
            && spec.rpm.is_none_or(|rpm| fresh || account.requests < rpm)
            && spec.max_parallel.is_none_or(|most| account.running < most)
    }

    /// A request was refused although no attempt of its failed: that needs a reason.
    pub(crate) fn refused(&self, group: &str, now: Micros) -> Result<(), String> {
        match self.members(group).find(|d| self.can_serve(*d, now)) {
            Some(free) => {
                let id = &self.spec.deployments[free].id;
                Err(format!(
                    "a request to {group} was refused at {} while {id} could serve",
                    now.0
                ))
            }
            None => Ok(()),
        }
    }

    /// Nobody may wait on while a deployment of the group could serve.
    pub(crate) fn check_idle(&self, now: Micros) -> Result<(), String> {
        for (group, line) in &self.lines {
            if let (Some(waiter), Some(free)) = (
                line.first(),
                self.members(group).find(|d| self.can_serve(*d, now)),
            ) {
                let id = &self.spec.deployments[free].id;
                return Err(format!(
                    "request {} waits at {} while {id} is free",
                    waiter.2, now.0
                ));
            }
        }
        Ok(())
    }

    /// Everything that was taken came back.
    pub(crate) fn check_end(&self) -> Result<(), String> {
        let waiting = self.lines.values().any(|line| !line.is_empty());
        let running = self.accounts.iter().any(|account| account.running > 0);
        if waiting || running {
            Err(String::from("something is left over"))
        } else {
            Ok(())
        }
    }

    /// How long a request may take at most, with room for the wakes' ceiling.
    pub(crate) fn longest(&self) -> Duration {
        let own = self.spec.deployments.iter().filter_map(|d| d.timeout).max();
        self.spec.settings.timeout.max(own.unwrap_or_default()) + Duration::from_secs(1)
    }
}
