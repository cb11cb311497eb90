//! Who may serve a request now: the deployments of its group, less those that cool down, are
//! full, or cannot do what it asks; then the best of what is left goes to the strategy.

use super::decision::{Decision, Why};
use super::failure::Cause;
use super::{
    Candidate, Deployment, DeploymentIx, Facts, GroupIx, Live, Needs, Rng, Router, affinity,
    strategy,
};
use crate::limit::{Micros, Mode, Reservation};
use std::time::Duration;

/// A deployment hangs when nothing came from it for so many times the time within which 95 of 100
/// answers begin,
const SILENCE_TIMES: u32 = 4;
/// and for this long at least.
const SILENCE_LEAST: Duration = Duration::from_micros(SILENCE_LEAST_US);
const SILENCE_LEAST_US: u64 = 250_000;

/// When a call that found no slot among those leased looks again.
const LEASE_LOOK: Duration = Duration::from_millis(10);

/// What a choice is made for.
pub(super) struct Search<'a> {
    pub(super) router: &'a Router,
    pub(super) live: &'a Live,
    pub(super) facts: &'a Facts,
    pub(super) group: GroupIx,
    /// The one deployment that the client named.
    pub(super) named: Option<DeploymentIx>,
    /// Those that failed this request in this group already.
    pub(super) tried: &'a [DeploymentIx],
    pub(super) now: Micros,
}

/// The right to make one call on a deployment; to be given back by `release`.
#[derive(Debug)]
pub(super) struct Permit {
    pub(super) deployment: DeploymentIx,
    requests: Option<Reservation>,
    tokens: Option<Reservation>,
    /// Tokens expected of the call.
    pub(super) expected: u64,
    parallel: bool,
    /// Whether an answer has begun.
    heard: bool,
    /// It tries whether a deployment that hung lives: an answer must begin within this time.
    pub(super) answer_within: Option<Duration>,
}

/// Why nobody was chosen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    pub(super) cause: Cause,
    /// When a limit or a cooldown ends, at the soonest.
    pub(super) opens: Option<Micros>,
}

/// Shortcomings of a candidate; whoever has none of the higher ones goes first.
mod flaw {
    pub(super) const TRIED: u8 = 16;
    pub(super) const UNHEALTHY: u8 = 8;
    pub(super) const SILENT: u8 = 4;
    pub(super) const RESTING: u8 = 2;
    pub(super) const UNABLE: u8 = 1;
}

/// Why deployments were left out.
#[derive(Default)]
struct Tally {
    cooling: u16,
    full: u16,
    no_slot: bool,
    limited: bool,
    too_long: bool,
    tags: bool,
    region: bool,
    budget: bool,
    unable: bool,
    opens: Option<Micros>,
}

impl Tally {
    fn opens(&mut self, at: Micros) {
        self.opens = Some(self.opens.map_or(at, |other| other.min(at)));
    }

    fn refusal(&self) -> Refusal {
        let cause = if self.no_slot {
            Cause::NoSlot
        } else if self.limited {
            Cause::LimitReached
        } else if self.cooling > 0 {
            Cause::Cooling
        } else if self.too_long {
            Cause::PromptTooLong
        } else if self.budget {
            Cause::BudgetSpent
        } else if self.tags {
            Cause::TagsDenied
        } else if self.region {
            Cause::RegionDenied
        } else if self.unable {
            Cause::Unsupported
        } else {
            Cause::Empty
        };
        Refusal {
            cause,
            opens: self.opens.filter(|at| *at < Micros::NEVER),
        }
    }
}

/// Chooses a deployment and takes its permit, or says why there is none.
pub(super) fn choose(search: &Search<'_>, rng: &mut Rng) -> Result<Permit, Refusal> {
    let mut candidates = search.live.scratch.borrow_mut();
    candidates.clear();
    let mut tally = Tally::default();
    let mut lost: Vec<DeploymentIx> = Vec::new();
    // Most choices are among deployments with which nothing is the matter.
    let mut alike = gather_alike(search, &mut candidates);
    if !alike {
        gather(search, &mut candidates, &mut tally);
        keep_best(&mut candidates);
    }
    loop {
        let (position, why) = match candidates.len() {
            0 => return Err(tally.refusal()),
            1 => (
                0,
                if search.named.is_some() {
                    Why::Named
                } else {
                    Why::Only
                },
            ),
            _ => pick(search, &candidates, alike, rng),
        };
        let chosen = candidates[position.min(candidates.len() - 1)].deployment;
        if let Some(mut permit) = take(search, chosen, &mut tally) {
            if why == Why::Probe {
                permit.answer_within = answer_within(search, search.router.deployment(chosen));
            }
            let group = &search.router.group(search.group).live;
            if let Some(decisions) = group.decisions.get(search.live.shard()) {
                decisions.note(Decision {
                    at: search.now,
                    mark: search.router.deployment(chosen).mark,
                    why,
                    candidates: candidates.len() as u16,
                    cooling: tally.cooling,
                    full: tally.full,
                });
            }
            return Ok(permit);
        }
        // Another shard took the last slot between the look and the take: look again.
        lost.push(chosen);
        alike = false;
        candidates.clear();
        gather(search, &mut candidates, &mut tally);
        candidates.retain(|candidate| !lost.contains(&candidate.deployment));
        keep_best(&mut candidates);
    }
}

/// Whether anyone else of the group could take a call now.
pub(super) fn another_is_healthy(router: &Router, failed: DeploymentIx, now: Micros) -> bool {
    let group = router.group(router.deployment(failed).group);
    group.deployments.iter().any(|other| {
        *other != failed && {
            let live = &router.deployment(*other).live;
            live.cooling_until() <= now && live.is_healthy() && !live.is_budget_spent()
        }
    })
}

fn pick(search: &Search<'_>, candidates: &[Candidate], alike: bool, rng: &mut Rng) -> (usize, Why) {
    if !alike && let Some(position) = candidates.iter().position(|candidate| candidate.probe) {
        return (position, Why::Probe);
    }
    if let Some(position) = by_affinity(search, candidates) {
        return (position, Why::Affinity);
    }
    let choice = strategy::Choice {
        router: search.router,
        candidates,
        facts: search.facts,
        now: search.now,
    };
    let why = if search.facts.wishes.custom_choice.is_some() {
        Why::Custom
    } else {
        Why::Strategy
    };
    if search.router.settings().weighted_failover && !search.tried.is_empty() {
        return (strategy::default().choose(&choice, rng), why);
    }
    (search.router.strategy().choose(&choice, rng), why)
}

/// Who served before what ties the request: the answer it goes on from, its session, its prompt's
/// beginning, its caller, in that order.
fn by_affinity(search: &Search<'_>, candidates: &[Candidate]) -> Option<usize> {
    let (facts, settings) = (search.facts, search.router.settings());
    if facts.prompt.is_none() && facts.wishes.ties.is_none() {
        return None;
    }
    let ties = facts.wishes.ties.unwrap_or_default();
    let prompt = facts.prompt.filter(|_| settings.prompt_caching);
    let affinity = &search.router.group(search.group).live.affinity;
    let lasts = settings.ties_last;
    [
        (ties.answer, lasts),
        (ties.session, lasts),
        (prompt, affinity::PROMPT_LASTS),
        (ties.caller, lasts),
    ]
    .into_iter()
    .find_map(|(what, lasts)| {
        let mark = affinity.recall(what?, lasts, search.now)?;
        let is_it = |c: &Candidate| search.router.deployment(c.deployment).mark == mark;
        candidates.iter().position(is_it)
    })
}

/// Lists the whole group where that needs no look at single deployments: nothing is the matter with
/// any, the request asks for nothing special and has not failed here. False: nothing was listed.
fn gather_alike(search: &Search<'_>, candidates: &mut Vec<Candidate>) -> bool {
    let group = search.router.group(search.group);
    let Some(alike) = &group.alike else {
        return false;
    };
    if search.named.is_some() || !search.tried.is_empty() || !asks_nothing(search) {
        return false;
    }
    let (shard, now) = (search.live.shard(), search.now);
    let calm = group
        .lives
        .iter()
        .all(|live| live.is_calm(now) && !live.cell(shard).is_quiet(SILENCE_LEAST_US, now));
    if calm {
        candidates.extend_from_slice(alike);
    }
    calm
}

/// Lists who could serve, and keeps the best of them.
fn gather(search: &Search<'_>, candidates: &mut Vec<Candidate>, tally: &mut Tally) {
    let group = search.router.group(search.group);
    let named = search.named.as_ref().map(std::slice::from_ref);
    let asks_nothing = asks_nothing(search);
    let (shard, now) = (search.live.shard(), search.now);
    for ix in named.unwrap_or(&group.deployments) {
        let deployment = search.router.deployment(*ix);
        let live = &deployment.live;
        let calm = live.is_calm(now) && !live.cell(shard).is_quiet(SILENCE_LEAST_US, now);
        let simple = calm && asks_nothing && !deployment.limited;
        let found = if simple {
            Some((0, false))
        } else {
            examine(search, deployment, tally)
        };
        let Some((mut flaws, probe)) = found else {
            continue;
        };
        if search.tried.contains(ix) {
            flaws |= flaw::TRIED;
        }
        candidates.push(Candidate {
            deployment: *ix,
            order: deployment.order,
            flaws,
            probe,
        });
    }
}

/// Whether the request and the settings ask for nothing that one deployment may lack.
fn asks_nothing(search: &Search<'_>) -> bool {
    let (settings, facts) = (search.router.settings(), search.facts);
    !settings.tag_filtering
        && !settings.pre_call_checks
        && facts.wishes.region.is_none()
        && facts.needs == Needs::NONE
}

/// Whether a deployment is left, with which flaws, and whether the request may probe it.
fn examine(search: &Search<'_>, deployment: &Deployment, tally: &mut Tally) -> Option<(u8, bool)> {
    let group = search.router.group(search.group);
    if !is_left(search, deployment, group.has_default, tally) {
        return None;
    }
    let live = &deployment.live;
    let silence = silence(search, deployment);
    let mut flaws = 0;
    for (flawed, flaw) in [
        (!live.is_healthy(), flaw::UNHEALTHY),
        (silence == Silence::Hangs, flaw::SILENT),
        (live.resting_until() > search.now, flaw::RESTING),
        (
            deployment.spec.lacks.meets(search.facts.needs),
            flaw::UNABLE,
        ),
    ] {
        if flawed {
            flaws |= flaw;
        }
    }
    Some((flaws, silence == Silence::Probe))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Silence {
    /// It answers, as far as is known.
    Lives,
    /// It does not answer: others go before it.
    Hangs,
    /// It did not, for a while; this request may try again.
    Probe,
}

/// Whether the deployment hangs: its calls get no answer, not even a bad one. Each shard watches
/// its own calls; what one finds all know.
fn silence(search: &Search<'_>, deployment: &Deployment) -> Silence {
    let (live, now) = (&deployment.live, search.now);
    let cell = live.cell(search.live.shard());
    let silent_for = cell.silent_for(now);
    let known = live.is_silent();
    if !known && silent_for < SILENCE_LEAST || search.router.settings().disable_cooldowns {
        return Silence::Lives;
    }
    let longest = answer_within(search, deployment);
    match (known, live.silent_until() > now) {
        (_, true) => Silence::Hangs,
        (true, false) if live.note_silence(now) => Silence::Probe,
        (true, false) => Silence::Hangs,
        (false, false) if longest.is_some_and(|longest| silent_for > longest) => {
            live.note_silence(now);
            Silence::Hangs
        }
        (false, false) => Silence::Lives,
    }
}

/// How long a sign of life may take; unknown before the first answer.
fn answer_within(search: &Search<'_>, deployment: &Deployment) -> Option<Duration> {
    let p95 = deployment.live.first_byte_p95(search.live.shard());
    (!p95.is_zero()).then(|| (p95 * SILENCE_TIMES).max(SILENCE_LEAST))
}

/// Keeps those with the least flaws, and of those the ones of the lowest order.
fn keep_best(candidates: &mut Vec<Candidate>) {
    let rank = |candidate: &Candidate| (candidate.flaws, candidate.order);
    let Some(first) = candidates.first().map(rank) else {
        return;
    };
    if candidates.iter().any(|candidate| rank(candidate) != first) {
        let best = candidates.iter().map(rank).min().unwrap_or(first);
        candidates.retain(|candidate| rank(candidate) == best);
    }
}

fn is_left(
    search: &Search<'_>,
    deployment: &Deployment,
    has_default: bool,
    tally: &mut Tally,
) -> bool {
    let Search {
        router, facts, now, ..
    } = search;
    let settings = router.settings();
    let (spec, live) = (&deployment.spec, &deployment.live);
    if settings.tag_filtering && !tags_fit(settings.tags_match_any, deployment, facts, has_default)
    {
        tally.tags = true;
        return false;
    }
    if facts
        .wishes
        .region
        .as_deref()
        .is_some_and(|wanted| !region_fits(wanted, spec.region.as_deref()))
    {
        tally.region = true;
        return false;
    }
    if settings.pre_call_checks {
        if spec
            .context_window
            .is_some_and(|window| facts.input_tokens > window)
        {
            tally.too_long = true;
            return false;
        }
        if spec.lacks.meets(facts.needs) {
            tally.unable = true;
            return false;
        }
    }
    if live.is_budget_spent() {
        tally.budget = true;
        return false;
    }
    let cooling = live.cooling_until();
    if cooling > *now {
        tally.cooling += 1;
        tally.opens(returns(search, deployment, cooling));
        return false;
    }
    !deployment.limited || has_room(search, deployment, tally)
}

/// When a deployment can take a call again that cools down: not before its limits have room either. Apart
/// from the usual way, which is one piece with its caller.
#[cold]
#[inline(never)]
fn returns(search: &Search<'_>, deployment: &Deployment, cooling: Micros) -> Micros {
    let (live, now) = (&deployment.live, search.now);
    let mut at = cooling;
    if deployment.rpm_binds && !live.requests.has_room(1, now) {
        at = at.max(live.requests.ends(now));
    }
    if deployment.tpm_binds
        && !live
            .tokens
            .has_room(expected_tokens(search, deployment), now)
    {
        at = at.max(live.tokens.ends(now));
    }
    at
}

fn has_room(search: &Search<'_>, deployment: &Deployment, tally: &mut Tally) -> bool {
    let (spec, live, now) = (&deployment.spec, &deployment.live, search.now);
    let full = |tally: &mut Tally, at: Micros| {
        tally.full += 1;
        tally.limited = true;
        tally.opens(at);
        false
    };
    if deployment.rpm_binds && !live.requests.has_room(1, now) {
        return full(tally, live.requests.ends(now));
    }
    if let Some(tpm) = spec.tpm.filter(|_| deployment.tpm_binds)
        && let tokens = expected_tokens(search, deployment)
        && !live.tokens.has_room(tokens, now)
    {
        return full(
            tally,
            if tokens > tpm {
                Micros::NEVER
            } else {
                live.tokens.ends(now)
            },
        );
    }
    if spec.max_parallel.is_some() && !live.parallel.has_room() {
        tally.full += 1;
        tally.no_slot = true;
        return false;
    }
    true
}

/// Tokens that the call will use, by what is known before: the prompt's, and as many as answers
/// of late had, at most what the client allows.
fn expected_tokens(search: &Search<'_>, deployment: &Deployment) -> u64 {
    let cell = deployment.live.cell(search.live.shard());
    let ttl_us = u64::MAX;
    let output = super::mean::merge([&cell.output_tokens].into_iter(), ttl_us, search.now);
    let expected = if output.weight > 0.0 {
        output.value as u64
    } else {
        0
    };
    let most = search.facts.output_tokens_max.unwrap_or(u64::MAX);
    search.facts.input_tokens + expected.min(most)
}

fn take(search: &Search<'_>, ix: DeploymentIx, tally: &mut Tally) -> Option<Permit> {
    let deployment = search.router.deployment(ix);
    let (spec, live) = (&deployment.spec, &deployment.live);
    let (shard, now) = (search.live.shard(), search.now);
    let expected = expected_tokens(search, deployment);
    if spec.max_parallel.is_some() && !live.parallel.try_acquire() {
        tally.no_slot = true;
        if live.parallel.terms.mode() == Mode::Leased {
            live.parallel.miss(now);
            tally.opens(now.plus(LEASE_LOOK));
        }
        return None;
    }
    let mut permit = Permit {
        deployment: ix,
        requests: None,
        tokens: None,
        expected,
        parallel: spec.max_parallel.is_some(),
        heard: false,
        answer_within: None,
    };
    let requests = deployment
        .rpm_binds
        .then(|| live.requests.take(shard, 1, now))
        .transpose();
    let tokens = match (&requests, deployment.tpm_binds) {
        (Ok(_), true) => live.tokens.take(shard, expected, now).map(Some),
        _ => Ok(None),
    };
    match (requests, tokens) {
        (Ok(requests), Ok(tokens)) => {
            permit.requests = requests;
            permit.tokens = tokens;
            let cell = live.cell(shard);
            cell.begin(now);
            cell.use_up(expected, now);
            Some(permit)
        }
        (requests, tokens) => {
            if let Ok(Some(reservation)) = requests {
                live.requests.settle(reservation, 0);
            }
            if permit.parallel {
                live.parallel.release();
            }
            let full = tokens.err().or(requests.err());
            // More is being asked of the other instances: worth a moment in the queue.
            tally.no_slot |= full.is_some_and(|full| full.soon);
            tally.limited = true;
            tally.opens(full.map_or(now, |full| full.until));
            None
        }
    }
}

/// Gives a permit back whose call was never made.
pub(super) fn give_back(router: &Router, live: &Live, permit: Permit) {
    if let Some(reservation) = permit.requests {
        router
            .deployment(permit.deployment)
            .live
            .requests
            .settle(reservation, 0);
    }
    release(router, live, permit, Some(0), true);
}

/// Notes the first answer to a call, good or bad.
pub(super) fn hear(router: &Router, live: &Live, permit: &mut Permit, now: Micros) {
    if !std::mem::replace(&mut permit.heard, true) {
        let deployment = &router.deployment(permit.deployment).live;
        deployment.cell(live.shard()).answered(now);
        deployment.note_life();
    }
}

/// Gives a permit back. `used` are the call's true tokens where they are known; a call that
/// failed is charged its prompt.
pub(super) fn release(
    router: &Router,
    live: &Live,
    permit: Permit,
    used: Option<u64>,
    succeeded: bool,
) {
    let deployment = router.deployment(permit.deployment);
    let cell = deployment.live.cell(live.shard());
    let used = used.unwrap_or(permit.expected);
    if !permit.heard {
        cell.unheard();
    }
    cell.end(succeeded);
    cell.correct(permit.expected, used);
    if let Some(reservation) = permit.tokens {
        deployment.live.tokens.settle(reservation, used);
    }
    if permit.parallel {
        let queue = &router.group(deployment.group).live.queue;
        // Before and after: whoever takes the slot knows of the release, whoever waits hears of it.
        queue.release();
        deployment.live.parallel.release();
        queue.release();
    }
}

/// A request with tags goes to deployments that have one of them (or all), or the tag `default`;
/// one without goes to those with `default`, where there are any. A pattern that matches a line of
/// the request's head stands for a common tag.
fn tags_fit(any: bool, deployment: &Deployment, facts: &Facts, has_default: bool) -> bool {
    let lines = &facts.wishes.head_lines;
    let matches = |pattern: &regex::Regex| lines.iter().any(|line| pattern.is_match(line));
    if deployment.tag_patterns.iter().any(matches) {
        return true;
    }
    if !deployment.tag_patterns.is_empty() && deployment.spec.tags.is_empty() {
        return false;
    }
    if facts.wishes.tags.is_empty() {
        return deployment.is_default || !has_default;
    }
    let has = |tag: &String| deployment.spec.tags.contains(tag);
    let fits = if any {
        facts.wishes.tags.iter().any(has)
    } else {
        facts.wishes.tags.iter().all(has)
    };
    fits || deployment.is_default
}

/// `eu` and `us` stand for every region of theirs; other names are exact. A deployment whose
/// region is not known is in none.
fn region_fits(wanted: &str, region: Option<&str>) -> bool {
    let Some(region) = region else { return false };
    let region = region.to_ascii_lowercase();
    match wanted.to_ascii_lowercase().as_str() {
        "eu" => [
            "eu",
            "europe",
            "sweden",
            "france",
            "germany",
            "switzerland",
            "northeurope",
            "westeurope",
        ]
        .iter()
        .any(|prefix| region.starts_with(prefix)),
        "us" => region.starts_with("us") || region.contains("us2") || region.ends_with("us"),
        exact => region == exact,
    }
}
