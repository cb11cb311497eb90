//! A caller with the counters it shares with others: what a shard admits a request by.
//!
//! All limits and budgets of a request are taken together or not at all. The counters are shared by
//! all shards; nothing here waits.

use std::sync::Arc;
use std::time::Duration;

use super::priority::Shares;
use crate::auth::calendar::{self, Span, Zone};
use crate::auth::caller::{Caller, Denied};
use crate::limit::{Full, Meter, Micros, Mode, Nano, Reservation, Semaphore, Window, dollars};

/// LiteLLM's window of requests and tokens per minute.
pub const WINDOW: Duration = Duration::from_secs(60);

/// A caller and its counters.
#[derive(Debug, Default)]
pub struct Account {
    /// What it may do.
    pub caller: Caller,
    /// Its limits, narrowest first.
    pub limits: Vec<Limit>,
    /// Its budgets, narrowest first.
    pub budgets: Vec<Budget>,
    /// What its priority has of models (`priority_reservation`).
    pub shares: Option<Arc<Shares>>,
    /// What the key spent.
    pub spend: Arc<Meter>,
    /// The same bearer in another of its teams, for models that this one may not use.
    pub next: Option<Arc<Account>>,
}

/// Limits of one scope.
#[derive(Debug)]
pub struct Limit {
    /// LiteLLM's name of the scope: `api_key`, `user`, `team`, `model_per_key`, ...
    pub scope: &'static str,
    /// Whose limit it is, as errors name it.
    pub value: String,
    /// Only for calls of this model.
    pub model: Option<String>,
    /// Requests a minute.
    pub requests: Option<Arc<Window>>,
    /// Tokens a minute.
    pub tokens: Option<Arc<Window>>,
    /// Calls at once, with their number for messages.
    pub parallel: Option<(Arc<Semaphore>, u32)>,
}

/// A budget of one payer.
#[derive(Debug)]
pub struct Budget {
    /// Who pays.
    pub payer: Payer,
    /// What it spent.
    pub meter: Arc<Meter>,
    /// What it may spend.
    pub max: Nano,
    /// Only calls of this model count.
    pub model: Option<String>,
    /// How long its periods are and where days begin, if it begins anew by itself; others begin when the
    /// database says so.
    pub period: Option<(Span, Zone)>,
}

/// Whose budget it is, with the name that the error says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payer {
    /// A key: its alias or `key`, and its short name.
    Key(String),
    /// A team.
    Team(String),
    /// A user within a team.
    Member(String, String),
    /// A user within an organization.
    OrganizationMember(String, String),
    /// A user with personal keys.
    User(String),
    /// An end user.
    EndUser(String),
    /// An organization.
    Organization(String),
    /// A tag.
    Tag(String),
    /// Everybody together.
    Global,
}

/// Why a request is refused, and when it may come again.
#[derive(Debug)]
pub struct Refused {
    /// The answer.
    pub denied: Denied,
    /// When there is room again.
    pub retry_after: Option<Duration>,
    /// `requests`, `tokens` or `max_parallel_requests`, for the `rate_limit_type` header.
    pub limit_type: Option<&'static str>,
    /// More is being asked of the other instances: it is worth trying again in a moment.
    pub soon: bool,
}

/// What a request is expected to take.
#[derive(Clone, Copy, Debug)]
pub struct Demand<'a> {
    /// The model's public name, after aliases.
    pub model: &'a str,
    /// Prompt and answer, estimated.
    pub tokens: u64,
    /// The most it can cost; `None` where no price is known. A free model is `Some(0)`.
    pub worst: Option<Nano>,
}

/// When a request is looked at, on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The clock that never goes back.
    pub now: Micros,
    /// Microseconds since 1970, for messages.
    pub wall_us: i64,
}

/// What a request holds while it runs. Give it back with [`Permit::settle`].
#[derive(Debug, Default)]
pub struct Permit {
    held: Vec<Held>,
}

#[derive(Debug)]
enum Held {
    Requests(Arc<Window>, Reservation),
    Tokens(Arc<Window>, Reservation),
    Parallel(Arc<Semaphore>),
    Money(Arc<Meter>, Nano),
}

impl Account {
    /// Takes everything that a request needs, or nothing. `status` is `budget_exceeded_status_code`.
    ///
    /// # Errors
    /// The first limit or budget without room.
    pub fn admit(
        &self,
        shard: usize,
        moment: Moment,
        demand: Demand,
        status: u16,
    ) -> Result<Permit, Refused> {
        let mut permit = Permit::default();
        self.take_money(&mut permit, moment, demand, status)?;
        for limit in &self.limits {
            if limit
                .model
                .as_deref()
                .is_none_or(|model| model == demand.model)
            {
                limit.take(&mut permit, shard, moment, demand)?;
            }
        }
        self.take_share(&mut permit, shard, moment, demand)?;
        Ok(permit)
    }

    fn take_money(
        &self,
        permit: &mut Permit,
        moment: Moment,
        demand: Demand,
        status: u16,
    ) -> Result<(), Refused> {
        // A free call passes every budget; it costs nobody anything.
        let free = demand.worst == Some(0);
        let worst = demand.worst.unwrap_or(0);
        for budget in &self.budgets {
            if budget
                .model
                .as_deref()
                .is_some_and(|model| model != demand.model)
            {
                continue;
            }
            if let Some((span, zone)) = &budget.period {
                let wall_us = moment.wall_us;
                budget
                    .meter
                    .begin_next(wall_us, || span.next_reset(wall_us, zone));
            }
            let taken = budget
                .meter
                .hold(if free { Nano::MAX } else { budget.max }, worst);
            match taken {
                Ok(()) => permit.held.push(Held::Money(budget.meter.clone(), worst)),
                Err(committed) => {
                    let soon = budget.meter.miss(worst, moment.now);
                    let is_alone = budget.meter.terms.mode() == Mode::Alone;
                    return Err(match is_alone && committed < budget.max {
                        true => Refused {
                            soon,
                            ..alone(&budget.payer)
                        },
                        false => Refused {
                            soon,
                            ..budget.refusal(committed, status)
                        },
                    });
                }
            }
        }
        let counted = self
            .budgets
            .iter()
            .any(|budget| Arc::ptr_eq(&budget.meter, &self.spend));
        if !counted {
            // Without a budget the key's spend is still shown in headers.
            let _ = self.spend.hold(Nano::MAX, worst);
            permit.held.push(Held::Money(self.spend.clone(), worst));
        }
        Ok(())
    }

    /// `x-ratelimit-{scope}-{limit,remaining}-{requests,tokens}`: names and values.
    pub fn headers(&self, model: &str, now: Micros) -> Vec<(String, u64)> {
        let mut headers = Vec::new();
        for limit in &self.limits {
            if limit.model.as_deref().is_some_and(|of| of != model) {
                continue;
            }
            for (unit, window) in [("requests", &limit.requests), ("tokens", &limit.tokens)] {
                let Some(window) = window else { continue };
                let (max, used) = (window.limit(), window.used(now));
                let scope = limit.scope;
                headers.push((format!("x-ratelimit-{scope}-limit-{unit}"), max));
                headers.push((
                    format!("x-ratelimit-{scope}-remaining-{unit}"),
                    max.saturating_sub(used),
                ));
            }
        }
        headers
    }
}

impl Limit {
    /// Takes of another window for the same purpose as this limit's own.
    pub(super) fn take_of(
        &self,
        window: &Arc<Window>,
        permit: &mut Permit,
        shard: usize,
        moment: Moment,
        demand: Demand,
    ) -> Result<(), Refused> {
        match self.requests {
            Some(_) => self.take_request(window, permit, shard, moment),
            None => self.take_tokens(window, permit, shard, moment, demand),
        }
    }

    fn take_request(
        &self,
        window: &Arc<Window>,
        permit: &mut Permit,
        shard: usize,
        moment: Moment,
    ) -> Result<(), Refused> {
        let taken = window.take(shard, 1, moment.now);
        let taken = taken.map_err(|full| self.refusal("requests", window.limit(), full, moment))?;
        permit.held.push(Held::Requests(window.clone(), taken));
        Ok(())
    }

    fn take_tokens(
        &self,
        window: &Arc<Window>,
        permit: &mut Permit,
        shard: usize,
        moment: Moment,
        demand: Demand,
    ) -> Result<(), Refused> {
        // A request that is larger than the whole limit may use up a fresh window alone.
        let amount = demand.tokens.clamp(1, window.limit().max(1));
        let taken = window.take(shard, amount, moment.now);
        let taken = taken.map_err(|full| self.refusal("tokens", window.limit(), full, moment))?;
        permit.held.push(Held::Tokens(window.clone(), taken));
        Ok(())
    }

    pub(super) fn take(
        &self,
        permit: &mut Permit,
        shard: usize,
        moment: Moment,
        demand: Demand,
    ) -> Result<(), Refused> {
        if let Some((parallel, max)) = &self.parallel {
            if !parallel.try_acquire() {
                let full = Full {
                    until: moment.now.plus(Duration::from_secs(1)),
                    soon: parallel.miss(moment.now),
                };
                return Err(self.refusal("max_parallel_requests", u64::from(*max), full, moment));
            }
            permit.held.push(Held::Parallel(parallel.clone()));
        }
        if let Some(requests) = &self.requests {
            self.take_request(requests, permit, shard, moment)?;
        }
        if let Some(tokens) = &self.tokens {
            self.take_tokens(tokens, permit, shard, moment, demand)?;
        }
        Ok(())
    }

    fn refusal(&self, kind: &'static str, max: u64, full: Full, moment: Moment) -> Refused {
        let until = if full.until == Micros::NEVER {
            moment.now.plus(WINDOW)
        } else {
            full.until
        };
        let wait = moment.now.until(until);
        let wait_us = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
        let reset = calendar::text(moment.wall_us.saturating_add(wait_us));
        let (day, time) = (&reset[..10], &reset[11..19]);
        let text = format!(
            "Rate limit exceeded for {}: {}. Limit type: {kind}. Current limit: {max}, \
             Remaining: 0. Limit resets at: {day} {time} UTC",
            self.scope, self.value
        );
        let denied = Denied {
            status: 429,
            kind: "throttling_error",
            param: None,
            text,
        };
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Refused {
            denied,
            // A window's start is rounded up to its clock's tick.
            retry_after: Some(Duration::from_secs(seconds.clamp(1, WINDOW.as_secs()))),
            limit_type: Some(kind),
            soon: full.soon,
        }
    }
}

/// What is left of a budget could be spent by another instance at the same time, and that one cannot be asked.
fn alone(payer: &Payer) -> Refused {
    let whose = match payer {
        Payer::Key(_) => "key",
        Payer::Team(_) => "team",
        Payer::Member(..) | Payer::OrganizationMember(..) => "member",
        Payer::User(_) => "user",
        Payer::EndUser(_) => "end user",
        Payer::Organization(_) => "organization",
        Payer::Tag(_) => "tag",
        Payer::Global => "gateway",
    };
    let text = format!(
        "the budget of the {whose} is nearly spent, and the rest of it cannot be agreed with the other \
         instances while Redis is away: try again in a moment"
    );
    Refused {
        denied: Denied {
            status: 503,
            kind: "service_unavailable_error",
            param: None,
            text,
        },
        retry_after: Some(Duration::from_secs(1)),
        limit_type: None,
        soon: false,
    }
}

impl Budget {
    fn refusal(&self, committed: Nano, status: u16) -> Refused {
        let (cost, max) = (dollars(committed), dollars(self.max));
        let exceeded = |who: String| {
            format!("Budget has been exceeded! {who} Current cost: {cost:?}, Max budget: {max:?}")
        };
        let over = |who: String| {
            format!("ExceededBudget: {who} over budget. Spend={cost:?}, Budget={max:?}")
        };
        let text = match &self.payer {
            Payer::Key(name) => exceeded(format!("Key={name}")),
            Payer::Team(id) => exceeded(format!("Team={id}")),
            Payer::Member(user, team) => exceeded(format!("User={user} in Team={team}")),
            Payer::OrganizationMember(user, id) => {
                exceeded(format!("User={user} in Organization={id}"))
            }
            Payer::Organization(id) => exceeded(format!("Organization={id}")),
            Payer::Tag(name) => exceeded(format!("Tag={name}")),
            Payer::Global => exceeded("Proxy".to_owned()),
            Payer::User(id) => over(format!("User={id}")),
            Payer::EndUser(id) => over(format!("End User={id}")),
        };
        let denied = Denied {
            status,
            kind: "budget_exceeded",
            param: None,
            text,
        };
        Refused {
            denied,
            retry_after: None,
            limit_type: None,
            soon: false,
        }
    }
}

impl Permit {
    /// The call is over: it used so many tokens and cost so much.
    pub fn settle(mut self, tokens: u64, cost: Nano) {
        for held in self.held.drain(..) {
            held.settle(Some(tokens), cost);
        }
    }
}

impl Held {
    fn settle(self, tokens: Option<u64>, cost: Nano) {
        match self {
            // A request counts whatever became of it.
            Held::Requests(window, taken) => {
                if tokens.is_none() {
                    window.settle(taken, 0);
                }
            }
            Held::Tokens(window, taken) => window.settle(taken, tokens.unwrap_or(0)),
            Held::Parallel(semaphore) => semaphore.release(),
            Held::Money(meter, worst) => meter.settle(worst, cost),
        }
    }
}

/// A request that was refused half-way, or whose end was lost, gives everything back.
impl Drop for Permit {
    fn drop(&mut self) {
        for held in self.held.drain(..) {
            held.settle(None, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::nano;

    fn window(limit: u64) -> Option<Arc<Window>> {
        Some(Arc::new(Window::new(limit, WINDOW, 2)))
    }

    fn account() -> Account {
        let spend = Arc::new(Meter::default());
        Account {
            caller: Caller::default(),
            limits: vec![
                Limit {
                    scope: "api_key",
                    value: "abc".to_owned(),
                    model: None,
                    requests: window(3),
                    tokens: window(100),
                    parallel: Some((Arc::new(Semaphore::new(Some(2))), 2)),
                },
                Limit {
                    scope: "model_per_key",
                    value: "abc:gpt".to_owned(),
                    model: Some("gpt".to_owned()),
                    requests: window(1),
                    tokens: None,
                    parallel: None,
                },
            ],
            budgets: vec![Budget {
                payer: Payer::Key("key (sk-...abcd)".to_owned()),
                meter: spend.clone(),
                max: nano(1.0),
                model: None,
                period: None,
            }],
            spend,
            shares: None,
            next: None,
        }
    }

    const AT: Moment = Moment {
        now: Micros(1_000_000),
        wall_us: 1_700_000_000_000_000,
    };

    fn demand(model: &str) -> Demand<'_> {
        Demand {
            model,
            tokens: 10,
            worst: Some(nano(0.4)),
        }
    }

    #[test]
    fn a_refused_request_takes_nothing() {
        let account = account();
        let first = account.admit(0, AT, demand("gpt"), 422).unwrap();
        let refused = account.admit(0, AT, demand("gpt"), 422).unwrap_err();
        assert_eq!(refused.denied.status, 429);
        assert!(refused.denied.text.starts_with(
            "Rate limit exceeded for model_per_key: abc:gpt. Limit type: requests. Current limit: 1"
        ), "{}", refused.denied.text);
        assert_eq!(refused.retry_after, Some(Duration::from_secs(60)));
        let other = account.admit(0, AT, demand("other"), 422).unwrap();
        let full = account.admit(0, AT, demand("other"), 422).unwrap_err();
        assert_eq!(full.limit_type, Some("max_parallel_requests"));
        drop((first, other));
        assert_eq!(account.spend.committed(), 0);
    }

    #[test]
    fn money_is_held_and_settled() {
        let account = account();
        account
            .admit(0, AT, demand("a"), 422)
            .unwrap()
            .settle(5, nano(1.5));
        let refused = account.admit(0, AT, demand("a"), 422).unwrap_err();
        assert_eq!(
            (refused.denied.status, refused.denied.kind),
            (422, "budget_exceeded")
        );
        assert_eq!(
            refused.denied.text,
            "Budget has been exceeded! Key=key (sk-...abcd) Current cost: 1.5, Max budget: 1.0"
        );
        let free = Demand {
            worst: Some(0),
            ..demand("a")
        };
        assert!(
            account.admit(0, AT, free, 422).is_ok(),
            "a free model is never blocked"
        );
    }

    #[test]
    fn headers_tell_what_is_left() {
        let account = account();
        account
            .admit(0, AT, demand("other"), 422)
            .unwrap()
            .settle(25, 0);
        let headers = account.headers("other", AT.now);
        let value = |name: &str| {
            headers
                .iter()
                .find(|(have, _)| have == name)
                .map(|(_, v)| *v)
        };
        assert_eq!(value("x-ratelimit-api_key-remaining-requests"), Some(2));
        assert_eq!(value("x-ratelimit-api_key-remaining-tokens"), Some(75));
        assert_eq!(value("x-ratelimit-api_key-limit-requests"), Some(3));
        assert_eq!(value("x-ratelimit-model_per_key-limit-requests"), None);
    }
}
