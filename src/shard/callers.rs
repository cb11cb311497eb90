//! Callers on a shard: who carries which virtual key, what it may call, and what it takes of its
//! limits and budgets.
//!
//! Keys are known from the shard's own table. A key that was never seen is asked for once, the
//! requests that carry it wait together; "no" is remembered for a moment. An old entry goes on
//! serving while it is asked for again, so that no request waits for a database that is away.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use shardgate_io::http1::encode::{header, header_u64};
use shardgate_io::http1::server::{Connection, Party, Request, Woke};

use super::body::Asked;
use super::call::Call;
use super::leases::{self, Waited};
use super::{Shard, admit, fault};
use crate::auth::caller::{Denied, Role};
use crate::auth::key::KeyHash;
use crate::auth::route;
use crate::directory::{Account, Demand, Moment, Refused};
use crate::error::{ErrorClass, Fault, GatewayError};
use crate::limit::{Nano, dollars};
use crate::message::{AdminCaller, Found, FromShard, Proof};

/// Callers that a shard knows before it forgets those without a key of their own.
const KNOWN_MAX: usize = 100_000;
/// Keys that a shard remembers as unknown, at most; then it forgets them all.
const NOBODIES_MAX: usize = 100_000;
/// How long "no" is remembered.
const NOBODY_LASTS: Duration = Duration::from_secs(5);
/// How long a request waits for a lease: usually some milliseconds; a coordinator that is late is no
/// reason to refuse what nobody has counted.
const LEASE_PATIENCE: Duration = Duration::from_secs(2);
/// How long a request waits to hear who its key belongs to.
const PATIENCE: Duration = Duration::from_secs(10);

/// The keys that a shard has heard of.
#[derive(Default)]
pub(super) struct Table {
    known: RefCell<HashMap<KeyHash, Known>>,
    nobodies: RefCell<HashMap<KeyHash, No>>,
    asked: RefCell<HashMap<KeyHash, Rc<RefCell<Question>>>>,
}

/// "No", until it is asked for again.
struct No {
    said: Instant,
    /// Why, where it is not just that nobody is known by that name.
    why: Option<Arc<Denied>>,
    turn: u64,
}

struct Known {
    account: Arc<Account>,
    /// When it was last asked for.
    asked: Instant,
    turn: u64,
}

#[derive(Default)]
struct Question {
    found: Option<Found>,
    wakers: Vec<Waker>,
}

impl Table {
    /// What the coordinator says of a key, asked or not. What was read before the last thing that
    /// was heard is not true any more.
    pub(super) fn heard(&self, hash: KeyHash, found: Found, turn: u64) {
        let (found, turn) = self.newer(hash, turn).unwrap_or((found, turn));
        match &found {
            Found::Account(account) => {
                let known = Known {
                    account: account.clone(),
                    asked: Instant::now(),
                    turn,
                };
                let mut all = self.known.borrow_mut();
                if account.caller.is_vouched && all.len() >= KNOWN_MAX {
                    all.retain(|_, known| !known.account.caller.is_vouched);
                }
                all.insert(hash, known);
                self.nobodies.borrow_mut().remove(&hash);
            }
            Found::Nobody => self.deny(hash, None, turn),
            Found::Refused(why) => self.deny(hash, Some(why.clone()), turn),
            // Whom we know goes on.
            Found::Away | Found::Instead(_) => {}
        }
        if let Some(question) = self.asked.borrow_mut().remove(&hash) {
            let mut question = question.borrow_mut();
            question.found = Some(found);
            question.wakers.drain(..).for_each(Waker::wake);
        }
    }

    /// What is known of a key from a later turn.
    fn newer(&self, hash: KeyHash, turn: u64) -> Option<(Found, u64)> {
        if let Some(known) = self.known.borrow().get(&hash) {
            let account = || Found::Account(known.account.clone());
            return (known.turn > turn).then(|| (account(), known.turn));
        }
        let nobodies = self.nobodies.borrow();
        let no = nobodies.get(&hash).filter(|no| no.turn > turn)?;
        let found = no.why.clone().map_or(Found::Nobody, Found::Refused);
        Some((found, no.turn))
    }

    fn deny(&self, hash: KeyHash, why: Option<Arc<Denied>>, turn: u64) {
        self.known.borrow_mut().remove(&hash);
        let mut nobodies = self.nobodies.borrow_mut();
        if nobodies.len() >= NOBODIES_MAX {
            nobodies.clear();
        }
        let said = Instant::now();
        nobodies.insert(hash, No { said, why, turn });
    }

    /// Other rules may hold for tokens now: they are asked for again.
    pub(super) fn forget_vouched(&self) {
        let mut known = self.known.borrow_mut();
        known.retain(|_, known| !known.account.caller.is_vouched);
        self.nobodies.borrow_mut().retain(|_, no| no.why.is_none());
    }
}

impl Shard {
    /// What is known of a key, without asking; an old entry is asked for beside.
    fn recalled(
        &self,
        hash: KeyHash,
        ttl: Duration,
        nobody_lasts: Duration,
        question: impl FnOnce() -> FromShard,
    ) -> Option<Found> {
        if let Some(known) = self.callers.known.borrow_mut().get_mut(&hash) {
            if known.asked.elapsed() >= ttl {
                known.asked = Instant::now();
                // A full mailbox: it is asked for again after the next ttl.
                let _ = self.mailbox.send(question());
            }
            return Some(Found::Account(known.account.clone()));
        }
        let nobodies = self.callers.nobodies.borrow();
        let no = nobodies.get(&hash)?;
        (no.said.elapsed() < nobody_lasts).then(|| match &no.why {
            Some(why) => Found::Refused(why.clone()),
            None => Found::Nobody,
        })
    }

    /// Asks who has a key; all who ask meanwhile share the answer. `None`: the client left.
    async fn look_up(
        &self,
        connection: &mut Connection,
        hash: KeyHash,
        message: FromShard,
    ) -> Result<Option<Found>, GatewayError> {
        let open = self.callers.asked.borrow().get(&hash).cloned();
        let question = match open {
            Some(question) => question,
            None => {
                if self.mailbox.send(message).is_err() {
                    return Err(fault::overloaded(
                        "too many unknown keys are being looked up",
                    ));
                }
                let question = Rc::new(RefCell::new(Question::default()));
                self.callers
                    .asked
                    .borrow_mut()
                    .insert(hash, question.clone());
                question
            }
        };
        let answer = std::future::poll_fn(|cx| {
            let mut question = question.borrow_mut();
            match &question.found {
                Some(found) => Poll::Ready(found.clone()),
                None => {
                    question.wakers.push(cx.waker().clone());
                    Poll::Pending
                }
            }
        });
        match connection.wait_for(answer, Instant::now() + PATIENCE).await {
            Ok(found) => Ok(Some(found)),
            Err(Woke::Gone) => Ok(None),
            Err(_) => {
                self.callers.asked.borrow_mut().remove(&hash);
                Ok(Some(Found::Away))
            }
        }
    }
}

/// Finds out who calls. `None`: the client left meanwhile.
pub(super) async fn authenticate(
    shard: &Shard,
    call: &mut Call,
    connection: &mut Connection,
    request: &Request,
) -> Result<Option<()>, GatewayError> {
    let snapshot = call.snapshot.clone();
    let settings = &snapshot.settings;
    if settings.proxy_names.is_some()
        && let Some(proof) = admit::named(settings, connection.peer().ip(), request)
    {
        return Box::pin(prove(shard, call, connection, proof)).await;
    }
    match admit::key(&shard.shared, call, request)? {
        AdminCaller::Admin | AdminCaller::Open => return global_routes(call, true).map(Some),
        AdminCaller::Unknown => {}
    }
    if settings.custom_auth {
        let proof = admit::shown(call, request);
        return Box::pin(prove(shard, call, connection, proof)).await;
    }
    let key = admit::carried(call, request);
    // The caller is unknown because it brought a key that is not the master's.
    let Ok(key) = key else {
        return Err(fault::unauthorized("No api key passed in."));
    };
    if settings.takes_tokens && !key.starts_with(b"sk-") {
        let token = String::from_utf8_lossy(&key).into_owned();
        let proof = Proof::Bearer(token);
        return Box::pin(prove(shard, call, connection, proof)).await;
    }
    known_key(shard, call, connection, KeyHash::of(&key)).await
}

/// Finds out who has the key with this hash. `None`: the client left meanwhile.
async fn known_key(
    shard: &Shard,
    call: &mut Call,
    connection: &mut Connection,
    hash: KeyHash,
) -> Result<Option<()>, GatewayError> {
    let ttl = call.snapshot.settings.key_ttl;
    let found = match shard.recalled(hash, ttl, NOBODY_LASTS, || FromShard::LookUp { hash }) {
        Some(found) => found,
        None => {
            match Box::pin(shard.look_up(connection, hash, FromShard::LookUp { hash })).await? {
                Some(found) => found,
                None => return Ok(None),
            }
        }
    };
    accept(call, hash, found)
}

/// Finds out who brings a proof that only the coordinator can judge. `None`: the client left.
async fn prove(
    shard: &Shard,
    call: &mut Call,
    connection: &mut Connection,
    proof: Proof,
) -> Result<Option<()>, GatewayError> {
    let hash = proof.hash();
    let ttl = call.snapshot.settings.key_ttl;
    let ask = || FromShard::Prove {
        hash,
        proof: proof.clone(),
    };
    let found = match shard.recalled(hash, ttl, NOBODY_LASTS, ask) {
        Some(found) => found,
        None => match Box::pin(shard.look_up(connection, hash, ask())).await? {
            Some(found) => found,
            None => return Ok(None),
        },
    };
    match found {
        Found::Instead(key) if call.snapshot.settings.master_key == Some(key) => {
            global_routes(call, true).map(Some)
        }
        Found::Instead(key) => known_key(shard, call, connection, key).await,
        found => accept(call, hash, found),
    }
}

/// The caller is known and may come in.
fn accept(call: &mut Call, hash: KeyHash, found: Found) -> Result<Option<()>, GatewayError> {
    let settings = &call.snapshot.settings;
    match found {
        Found::Account(account) => {
            let now_us = wall_us();
            let caller = &account.caller;
            caller
                .usable(now_us, settings.team_required)
                .map_err(denied)?;
            caller.may_use_route(&call.path).map_err(denied)?;
            global_routes(call, caller.role == Role::ProxyAdmin)?;
            call.account = Some(account);
            Ok(Some(()))
        }
        Found::Nobody | Found::Instead(_) => Err(denied(Denied::unknown(&hash.hex()))),
        Found::Refused(why) => Err(denied(Denied::clone(&why))),
        Found::Away if settings.pass_without_database => Ok(Some(())),
        Found::Away => Err(denied(Denied::no_database())),
    }
}

/// `allowed_routes` and `admin_only_routes` of the configuration.
fn global_routes(call: &Call, admin: bool) -> Result<(), GatewayError> {
    let settings = &call.snapshot.settings;
    let path = &call.path;
    if let Some(allowed) = &settings.allowed_routes
        && !admin
        && !route::listed(allowed, path)
    {
        return Err(fault::forbidden(format!(
            "Access forbidden: Route {path} not allowed"
        )));
    }
    if !admin
        && settings
            .admin_only_routes
            .iter()
            .any(|head| path.starts_with(head))
    {
        return Err(fault::forbidden(format!(
            "user not allowed to access this route. Route={path} is an admin only route"
        )));
    }
    Ok(())
}

/// Whom the call is for: the token's end user where it names one, one at all where that is enforced,
/// and nobody who is blocked.
fn end_user(call: &Call, asked: &mut Asked) -> Result<(), GatewayError> {
    let settings = &call.snapshot.settings;
    if let Some(account) = &call.account
        && let Some(id) = &account.caller.end_user_id
    {
        asked.end_user = Some(id.clone());
    }
    if settings.user_required && asked.end_user.is_none() {
        return Err(user_missing());
    }
    if let Some(id) = &asked.end_user
        && settings.blocked_users.contains(id)
    {
        let text = format!("User blocked from making LLM API Calls. User={id}");
        return Err(GatewayError::refused(ErrorClass::BadRequest, text));
    }
    Ok(())
}

/// The model that a caller asks for is its to use, and there is room in the limits and budgets of
/// all who pay: the key and those it belongs to, the end user, the tags. `None`: the client left.
pub(super) async fn admit(
    shard: &Shard,
    call: &mut Call,
    connection: &mut Connection,
    mut asked: Box<Asked>,
) -> Result<Option<Box<Asked>>, GatewayError> {
    let settings = &call.snapshot.settings;
    end_user(call, &mut asked)?;
    if settings.master_key.is_none() {
        // Without keys there is nobody to bind.
        return Ok(Some(asked));
    }
    let snapshot = call.snapshot.clone();
    let in_group = |group: &str, model: &str| snapshot.in_access_group(group, model);
    if let Some(account) = call.account.clone() {
        let account = in_its_team(account, &asked.model, &in_group);
        if account.caller.is_vouched {
            call.account = Some(account.clone());
        }
        let resolved = account.caller.resolve(&asked.model).to_owned();
        if resolved != asked.model {
            let named = std::mem::replace(&mut asked.model, resolved);
            asked.alias.get_or_insert(named);
        }
        if !asked.model.is_empty() {
            account
                .caller
                .may_use_model(&asked.model, &in_group)
                .map_err(denied)?;
        }
        if take(shard, call, connection, &account, &asked)
            .await?
            .is_none()
        {
            return Ok(None);
        }
    }
    for name in payers(call, &asked) {
        let account = match payer(shard, call, connection, name).await? {
            Some(Found::Account(account)) => account,
            Some(Found::Nobody | Found::Refused(_) | Found::Away | Found::Instead(_)) => continue,
            None => return Ok(None),
        };
        not_blocked(&account)?;
        if !asked.model.is_empty() {
            account
                .caller
                .may_use_model(&asked.model, &in_group)
                .map_err(denied)?;
        }
        if take(shard, call, connection, &account, &asked)
            .await?
            .is_none()
        {
            return Ok(None);
        }
    }
    Ok(Some(asked))
}

/// Somebody of several teams pays in the first of them that may use the model.
fn in_its_team(
    account: Arc<Account>,
    model: &str,
    in_group: &dyn Fn(&str, &str) -> bool,
) -> Arc<Account> {
    let mut at = Some(&account);
    while let Some(in_team) = at.filter(|_| account.next.is_some()) {
        let caller = &in_team.caller;
        if caller
            .may_use_model(caller.resolve(model), in_group)
            .is_ok()
        {
            return in_team.clone();
        }
        at = in_team.next.as_ref();
    }
    account
}

fn not_blocked(account: &Account) -> Result<(), GatewayError> {
    if !account.caller.blocked {
        return Ok(());
    }
    let name = &account.caller.token;
    let text = format!("Authentication Error, User blocked: {name}");
    Err(denied(Denied::unauthorized(text)))
}

/// Those besides the key who pay for a request.
fn payers(call: &Call, asked: &Asked) -> Vec<String> {
    let tags = asked.facts.wishes.tags.iter().map(String::as_str);
    let own = call.account.as_ref().map(|account| account.caller.tags());
    let mut names: Vec<String> = tags
        .chain(own.into_iter().flatten())
        .map(|tag| format!("tag:{tag}"))
        .collect();
    names.sort_unstable();
    names.dedup();
    if call.snapshot.settings.global_budget {
        names.push("everybody".to_owned());
    }
    names.extend(asked.end_user.as_ref().map(|id| format!("end_user:{id}")));
    names
}

/// What binds a payer; asked for once, like a key. `None`: the client left.
async fn payer(
    shard: &Shard,
    call: &Call,
    connection: &mut Connection,
    name: String,
) -> Result<Option<Found>, GatewayError> {
    let hash = KeyHash::of(name.as_bytes());
    let ttl = call.snapshot.settings.key_ttl;
    match shard.recalled(hash, ttl, ttl, || FromShard::LookUpPayer {
        name: name.clone(),
    }) {
        Some(found) => Ok(Some(found)),
        None => Box::pin(shard.look_up(connection, hash, FromShard::LookUpPayer { name })).await,
    }
}

/// Takes what a request needs of one account. Where instances share limits and this one's lease is
/// used up, it waits a moment for more. `None`: the client left.
async fn take(
    shard: &Shard,
    call: &mut Call,
    connection: &mut Connection,
    account: &Account,
    asked: &Asked,
) -> Result<Option<()>, GatewayError> {
    let settings = &call.snapshot.settings;
    let is_bound = !account.limits.is_empty() || !account.budgets.is_empty();
    if settings.fail_closed && is_bound && shard.shared.fleet_away.load(Ordering::Acquire) {
        return Err(fault::overloaded(
            "limits cannot be agreed with the other instances while Redis is away \
             (general_settings.fail_closed_rate_limit_enforcement)",
        ));
    }
    let demand = Demand {
        model: &asked.model,
        tokens: counted(
            call,
            asked.facts.input_tokens,
            asked.facts.output_tokens_max.unwrap_or(0),
        ),
        worst: worst_case(call, account, asked),
    };
    let status = settings.budget_status;
    let mut give_up = None;
    loop {
        let moment = Moment {
            now: shard.now(),
            wall_us: wall_us(),
        };
        match account.admit(shard.index, moment, demand, status) {
            Ok(permit) => {
                call.permits.push(permit);
                return Ok(Some(()));
            }
            Err(refused) if refused.soon => {
                let now = Instant::now();
                let give_up = *give_up.get_or_insert(now + LEASE_PATIENCE);
                if now >= give_up {
                    return Err(over_limit(call, refused));
                }
                if Box::pin(leases::wait(shard, connection, give_up)).await == Waited::Gone {
                    return Ok(None);
                }
            }
            Err(refused) => return Err(over_limit(call, refused)),
        }
    }
}

/// What counts against limits of tokens (`token_rate_limit_type`).
pub(super) fn counted(call: &Call, input: u64, output: u64) -> u64 {
    let (of_input, of_output) = call.snapshot.settings.counts_tokens;
    u64::from(of_input) * input + u64::from(of_output) * output
}

/// The most that the call may cost on any deployment of its group; zero where all are known to be
/// free, nothing where no price is known or nobody's budget asks.
fn worst_case(call: &Call, account: &Account, asked: &Asked) -> Option<Nano> {
    /// Tokens of an answer whose length the request does not bound.
    const OUTPUT_USUAL: u64 = 4096;
    if account.budgets.is_empty() {
        return None;
    }
    let output = asked.facts.output_tokens_max.unwrap_or(OUTPUT_USUAL);
    let group = call
        .snapshot
        .deployments
        .iter()
        .filter(|made| made.group == asked.model);
    let priced = group.filter(|made| made.meter.prices().has_rates());
    let worst = priced.map(|made| made.meter.worst_case(asked.facts.input_tokens, output));
    worst.max().map(|worst| worst.nanodollars())
}

/// `enforce_user_param`
fn user_missing() -> GatewayError {
    let mut error = GatewayError::refused(
        ErrorClass::BadRequest,
        "the request names no end user: set `user` in the body, or the header X-User-ID \
         (general_settings.enforce_user_param)",
    );
    error.param = Some("user".to_owned());
    error
}

/// A fallback leads to another model: it must be the caller's to use as well.
pub(super) fn may_fall_back(call: &Call, deployment: usize) -> Result<(), GatewayError> {
    let Some(account) = &call.account else {
        return Ok(());
    };
    let snapshot = &call.snapshot;
    let in_group = |group: &str, model: &str| snapshot.in_access_group(group, model);
    let group = &snapshot.deployments[deployment].group;
    account
        .caller
        .may_use_model(group, &in_group)
        .map_err(denied)
}

/// What an answer's head says of the caller.
pub(super) fn headers(shard: &Shard, call: &Call, out: &mut Vec<u8>) {
    let Some(account) = &call.account else { return };
    let caller = &account.caller;
    let spend = dollars(account.spend.spent());
    header(out, "x-litellm-key-spend", format!("{spend:?}").as_bytes());
    if let Some(max) = caller.max_budget {
        header(
            out,
            "x-litellm-key-max-budget",
            format!("{max:?}").as_bytes(),
        );
    }
    if let Some(limit) = caller.tpm_limit {
        header_u64(out, "x-litellm-key-tpm-limit", limit);
    }
    if let Some(limit) = caller.rpm_limit {
        header_u64(out, "x-litellm-key-rpm-limit", limit);
    }
    for (name, value) in account.headers(&call.route.group, shard.now()) {
        header_u64(out, &name, value);
    }
}

fn over_limit(call: &mut Call, refused: Refused) -> GatewayError {
    let mut error = denied(refused.denied);
    error.retry_after = refused.retry_after;
    if let Some(kind) = refused.limit_type {
        call.refusal_headers
            .push(("rate_limit_type", kind.to_owned()));
        if let Some(wait) = refused.retry_after {
            let reset = wall_us() / crate::auth::calendar::SECOND_US;
            let reset = reset + i64::try_from(wait.as_secs()).unwrap_or(0);
            call.refusal_headers.push(("reset_at", reset.to_string()));
        }
    }
    error
}

/// A verdict as the error that becomes an answer.
fn denied(denied: Denied) -> GatewayError {
    let class = match denied.status {
        401 => ErrorClass::Authentication,
        403 => ErrorClass::PermissionDenied,
        429 => ErrorClass::RateLimit,
        503 => ErrorClass::ServiceUnavailable,
        _ => ErrorClass::BudgetExceeded,
    };
    let mut error = GatewayError::new(class, denied.text)
        .with_status(denied.status)
        .with_kind(denied.kind);
    error.param = denied.param.map(str::to_owned);
    error.fault = Fault::Client;
    error.retryable = false;
    error
}

fn wall_us() -> i64 {
    crate::store::now_us()
}
