//! Where a request goes: groups, deployments, names, and the journey of one request through
//! attempts, retries and fallbacks to its one end.
//!
//! Everything here is pure: the time and the random numbers are handed in, and nothing knows of
//! sockets, bodies or configuration files. A `Router` is an immutable part of the snapshot; what
//! changes while requests run is in `live`, shared by the shards and kept over reloads.

pub mod affinity;
mod cooldown;
mod decision;
mod facts;
mod failure;
mod failures;
pub mod fallback;
mod filter;
mod journey;
mod live;
mod mean;
mod pattern;
mod queue;
mod retry;
mod rng;
mod spec;
pub mod state;
pub mod strategy;
#[cfg(test)]
mod testing;

pub use crate::limit::Micros;
pub use affinity::{TieChecks, Ties};
pub use decision::{Decision, Decisions, Why};
pub use facts::{Facts, MockTesting, Wishes};
pub use failure::{Cause, Failure, FailureClass};
pub use journey::{Attempt, Journey, Outcome, Side, Step, Success, Wait};
pub use live::{Cell, DeploymentLive, GroupLive, Live, Registry};
pub use queue::WaitId;
pub use rng::Rng;
pub use spec::{
    AliasSpec, ClassPolicy, DeploymentSpec, FallbackTable, LatencyArgs, Needs,
    REQUEST_TIMEOUT_DEFAULT, RouterSettings, RouterSpec,
};

use pattern::Pattern;
use regex::Regex;
use std::collections::HashMap;
use std::sync::Arc;
use strategy::Strategy;

/// A deployment's place in the router's table; the `model_list` entry of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeploymentIx(pub u32);

/// A group's place in the router's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupIx(pub u32);

/// One deployment: its entry, and its live numbers.
#[derive(Debug)]
pub struct Deployment {
    /// Its `model_list` entry.
    pub spec: DeploymentSpec,
    /// Its group.
    pub group: GroupIx,
    /// Its live numbers.
    pub live: Arc<DeploymentLive>,
    /// Its share of the group under simple-shuffle.
    share: f64,
    mark: u32,
    is_default: bool,
    /// `order`; without one it comes last.
    order: i64,
    /// Whether it has any limit.
    limited: bool,
    /// Whether rpm and tpm are limits.
    rpm_binds: bool,
    tpm_binds: bool,
    /// `tag_regex`
    tag_patterns: Vec<Regex>,
}

/// One group: the deployments of one name.
#[derive(Debug)]
pub struct Group {
    /// `model_name`.
    pub name: Box<str>,
    /// What the group is called inside (metrics, `model_group_retry_policy`): its name, unless
    /// `model_group_alias` renames it.
    pub label: Box<str>,
    /// Its deployments, in the order of the list.
    pub deployments: Vec<DeploymentIx>,
    /// What shards know of it together.
    pub live: Arc<GroupLive>,
    pattern: Option<Pattern>,
    /// Its pattern stands for names without a slash only.
    bare: bool,
    has_default: bool,
    /// Its deployments as candidates without a flaw, where all have the same order and no limit:
    /// what a choice begins with when nothing is the matter with any of them.
    alike: Option<Vec<Candidate>>,
    /// Their live numbers side by side.
    lives: Vec<Arc<DeploymentLive>>,
}

impl Group {
    /// Whether its name has a star.
    #[must_use]
    pub fn is_pattern(&self) -> bool {
        self.pattern.is_some()
    }
}

/// What a model name leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// A group, by its name or an alias.
    Group(GroupIx),
    /// One deployment, by its id, or by an upstream model that only one has.
    Deployment(DeploymentIx),
    /// A group whose name is a pattern, and what its stars stand for.
    Pattern(GroupIx, Vec<Box<str>>),
    /// Nothing.
    Unknown,
}

/// The tables. Immutable; made anew by each reload.
pub struct Router {
    deployments: Vec<Deployment>,
    groups: Vec<Group>,
    names: HashMap<Box<str>, Resolution>,
    hidden: Vec<Box<str>>,
    aliases: Vec<(Box<str>, GroupIx)>,
    /// The most specific first.
    patterns: Vec<GroupIx>,
    settings: RouterSettings,
    strategy: &'static dyn Strategy,
    goes_by_speed: bool,
}

impl Router {
    /// Builds the tables, with the live numbers that `registry` keeps. A strategy that is not in
    /// the table counts as simple-shuffle: the configuration has been checked before.
    #[must_use]
    pub fn new(spec: RouterSpec, registry: &mut Registry) -> Router {
        let strategy = strategy::by_name(&spec.settings.strategy).unwrap_or(strategy::default());
        let mut router = Router {
            deployments: Vec::with_capacity(spec.deployments.len()),
            groups: Vec::new(),
            names: HashMap::new(),
            hidden: Vec::new(),
            aliases: Vec::new(),
            patterns: Vec::new(),
            settings: spec.settings,
            strategy,
            goes_by_speed: strategy.goes_by_speed(),
        };
        for deployment in spec.deployments {
            router.add_deployment(deployment, registry);
        }
        router.add_shares();
        router.add_alike();
        router.add_aliases(&spec.aliases);
        router.add_deployment_names();
        let groups = &router.groups;
        router
            .patterns
            .sort_by_key(|ix| groups[ix.0 as usize].pattern.as_ref().map(Pattern::rank));
        router
    }

    fn add_deployment(&mut self, spec: DeploymentSpec, registry: &mut Registry) {
        let group = match self.names.get(spec.group.as_str()) {
            Some(Resolution::Group(group)) => *group,
            _ => self.add_group(&spec.group, spec.bare, registry),
        };
        let ix = DeploymentIx(self.deployments.len() as u32);
        let is_default = spec.tags.iter().any(|tag| tag == "default");
        let entry = &mut self.groups[group.0 as usize];
        entry.deployments.push(ix);
        entry.has_default |= is_default;
        let live = registry.deployment(&spec);
        if self.goes_by_speed {
            // Another strategy may have been in force: what is known is published now.
            live.publish_speed(u64::MAX, Micros(0));
        }
        let mark = affinity::mark(&spec.id);
        let enforced = self.settings.enforce_limits || self.strategy.enforces_limits();
        let (rpm_binds, tpm_binds) = (
            enforced && spec.rpm.is_some(),
            enforced && spec.tpm.is_some(),
        );
        let patterns = spec.tag_patterns.iter();
        self.deployments.push(Deployment {
            rpm_binds,
            tpm_binds,
            tag_patterns: patterns.filter_map(|text| Regex::new(text).ok()).collect(),
            group,
            live,
            share: 1.0,
            mark,
            is_default,
            order: spec.order.unwrap_or(i64::MAX),
            limited: rpm_binds || tpm_binds || spec.max_parallel.is_some(),
            spec,
        });
    }

    fn add_group(&mut self, name: &str, bare: bool, registry: &mut Registry) -> GroupIx {
        let ix = GroupIx(self.groups.len() as u32);
        let pattern = Pattern::parse(name);
        if pattern.is_some() {
            self.patterns.push(ix);
        }
        self.names.insert(name.into(), Resolution::Group(ix));
        self.groups.push(Group {
            name: name.into(),
            label: name.into(),
            deployments: Vec::new(),
            live: registry.group(name),
            pattern,
            bare,
            has_default: false,
            alike: None,
            lives: Vec::new(),
        });
        ix
    }

    fn add_shares(&mut self) {
        for group in &self.groups {
            let specs: Vec<&DeploymentSpec> = group
                .deployments
                .iter()
                .map(|ix| &self.deployments[ix.0 as usize].spec)
                .collect();
            let shares = strategy::shares(&specs);
            for (ix, share) in group.deployments.iter().zip(shares) {
                self.deployments[ix.0 as usize].share = share;
            }
        }
    }

    fn add_alike(&mut self) {
        let deployments = &self.deployments;
        for group in &mut self.groups {
            let members = || {
                group
                    .deployments
                    .iter()
                    .map(|ix| &deployments[ix.0 as usize])
            };
            group.lives = members().map(|member| Arc::clone(&member.live)).collect();
            let order = members().next().map(|first| first.order);
            let alike = members().all(|member| !member.limited && Some(member.order) == order);
            let candidate = |(ix, member): (&DeploymentIx, &Deployment)| Candidate {
                deployment: *ix,
                order: member.order,
                flaws: 0,
                probe: false,
            };
            let both = group.deployments.iter().zip(members());
            group.alike = alike.then(|| both.map(candidate).collect());
        }
    }

    /// An alias of a known group leads to it; one that names a group itself renames it inside.
    fn add_aliases(&mut self, aliases: &[AliasSpec]) {
        for alias in aliases {
            match (
                self.names.get(alias.group.as_str()),
                self.names.get(alias.alias.as_str()),
            ) {
                (Some(Resolution::Group(target)), _) => {
                    let target = *target;
                    self.names
                        .insert(alias.alias.as_str().into(), Resolution::Group(target));
                    self.aliases.push((alias.alias.as_str().into(), target));
                }
                (None, Some(Resolution::Group(renamed))) => {
                    self.groups[renamed.0 as usize].label = alias.group.as_str().into();
                }
                _ => {}
            }
            if alias.hidden {
                self.hidden.push(alias.alias.as_str().into());
            }
        }
    }

    /// Ids, then upstream models, lead to their deployment where no group has the name.
    fn add_deployment_names(&mut self) {
        for (index, deployment) in self.deployments.iter().enumerate() {
            let found = Resolution::Deployment(DeploymentIx(index as u32));
            self.names
                .entry(deployment.spec.id.as_str().into())
                .or_insert(found);
        }
        for (index, deployment) in self.deployments.iter().enumerate() {
            if deployment.spec.model.contains('*') {
                continue;
            }
            let group = &self.groups[deployment.group.0 as usize];
            let same = |ix: &&DeploymentIx| {
                self.deployments[ix.0 as usize].spec.model == deployment.spec.model
            };
            let alone = group.deployments.iter().filter(same).count() == 1;
            let found = match alone {
                true => Resolution::Deployment(DeploymentIx(index as u32)),
                false => Resolution::Group(deployment.group),
            };
            self.names
                .entry(deployment.spec.model.as_str().into())
                .or_insert(found);
        }
    }

    /// What a name leads to: a group or alias, a deployment's id, an upstream model's name, else
    /// the most specific pattern.
    #[must_use]
    pub fn resolve(&self, name: &str) -> Resolution {
        if let Some(found) = self.names.get(name) {
            return found.clone();
        }
        let has_provider = name.contains('/');
        for ix in &self.patterns {
            let group = self.group(*ix);
            let pattern = group.pattern.as_ref();
            let pattern = pattern.filter(|_| !(group.bare && has_provider));
            let captures = pattern.and_then(|pattern| pattern.captures(name));
            if let Some(captures) = captures {
                return Resolution::Pattern(*ix, captures);
            }
        }
        Resolution::Unknown
    }

    /// The group that a name leads to.
    #[must_use]
    pub fn group_of(&self, resolution: &Resolution) -> Option<GroupIx> {
        match resolution {
            Resolution::Group(group) | Resolution::Pattern(group, _) => Some(*group),
            Resolution::Deployment(deployment) => Some(self.deployment(*deployment).group),
            Resolution::Unknown => None,
        }
    }

    /// The name under which a group's answers are cached: that of its caching group's first member,
    /// where it is in one.
    #[must_use]
    pub fn caching_name(&self, ix: GroupIx) -> &str {
        let name = &*self.group(ix).name;
        let mut groups = self.settings.caching_groups.iter();
        let own = groups.find(|members| members.iter().any(|member| member == name));
        own.and_then(|members| members.first())
            .map_or(name, |first| first)
    }

    /// A deployment of this router.
    #[must_use]
    pub fn deployment(&self, ix: DeploymentIx) -> &Deployment {
        &self.deployments[ix.0 as usize]
    }

    /// The deployment of a group that has this mark.
    #[must_use]
    pub fn deployment_of_mark(&self, group: &Group, mark: u32) -> Option<&Deployment> {
        let members = group.deployments.iter().map(|ix| self.deployment(*ix));
        members
            .into_iter()
            .find(|deployment| deployment.mark == mark)
    }

    /// All deployments, in the order of `model_list`.
    #[must_use]
    pub fn deployments(&self) -> &[Deployment] {
        &self.deployments
    }

    /// A group of this router.
    #[must_use]
    pub fn group(&self, ix: GroupIx) -> &Group {
        &self.groups[ix.0 as usize]
    }

    /// All groups, in the order of their first deployment.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The aliases that lead to groups, hidden ones left out, with those groups.
    pub fn visible_aliases(&self) -> impl Iterator<Item = (&str, GroupIx)> {
        let visible = self
            .aliases
            .iter()
            .filter(|(alias, _)| !self.hidden.contains(alias));
        visible.map(|(alias, group)| (&**alias, *group))
    }

    /// Whether any group's name is a pattern.
    #[must_use]
    pub fn has_patterns(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// Whether any entry has a `tag_regex`.
    #[must_use]
    pub fn has_tag_patterns(&self) -> bool {
        self.settings.tag_filtering
            && self
                .deployments
                .iter()
                .any(|made| !made.tag_patterns.is_empty())
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> &RouterSettings {
        &self.settings
    }

    /// The strategy in force.
    #[must_use]
    pub fn strategy(&self) -> &'static dyn Strategy {
        self.strategy
    }

    /// The model by which to count a prompt's tokens before a choice: where an estimate of them (four
    /// bytes each) cannot say whether the prompt fits a deployment's context window. A token is one
    /// byte at least, and the longest runs that are one token are some ten times what is usual.
    #[must_use]
    pub fn counts_tokens_by(&self, resolution: &Resolution, estimate: u64) -> Option<&str> {
        const BYTES_PER_TOKEN: u64 = 4;
        const HOPELESS_TIMES: u64 = 10;
        if !self.settings.pre_call_checks {
            return None;
        }
        let group = self.group(self.group_of(resolution)?);
        let near = |ix: &&DeploymentIx| {
            let window = self.deployment(**ix).spec.context_window;
            window.is_some_and(|window| {
                estimate * BYTES_PER_TOKEN > window && estimate < window * HOPELESS_TIMES
            })
        };
        let ix = group.deployments.iter().find(near)?;
        Some(&self.deployment(*ix).spec.model)
    }

    /// Publishes what is known of a deployment's speed, where the strategy goes by it.
    fn publish_speed(&self, ix: DeploymentIx, now: Micros) {
        if self.goes_by_speed {
            let ttl = self.settings.latency.ttl.as_micros();
            let ttl_us = u64::try_from(ttl).unwrap_or(u64::MAX);
            self.deployment(ix).live.publish_speed(ttl_us, now);
        }
    }

    /// `model_group_retry_policy` of a group: by the name asked for, its own, or its label.
    fn group_retry_policy(&self, asked: &str, group: GroupIx) -> Option<&ClassPolicy> {
        let policies = &self.settings.group_retry_policy;
        if policies.is_empty() {
            return None;
        }
        let names = [asked, &*self.group(group).name, &*self.group(group).label];
        names.iter().find_map(|name| policies.get(*name))
    }
}

/// One deployment that may be chosen, while a choice is made.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    deployment: DeploymentIx,
    order: i64,
    /// Shortcomings, the worst in the highest bit: who has fewer goes first.
    flaws: u8,
    /// It hung; this request may try whether it lives.
    probe: bool,
}

#[cfg(test)]
mod tests {
    use super::testing::{deployment, router};
    use super::*;

    fn spec(entries: &[(&str, &str, &str)], aliases: &[(&str, &str)]) -> RouterSpec {
        let deployments = entries.iter().map(|(id, group, model)| DeploymentSpec {
            model: (*model).to_owned(),
            ..deployment(id, group)
        });
        let aliases = aliases.iter().map(|(alias, group)| AliasSpec {
            alias: (*alias).to_owned(),
            group: (*group).to_owned(),
            hidden: false,
        });
        RouterSpec {
            deployments: deployments.collect(),
            aliases: aliases.collect(),
            settings: RouterSettings::default(),
        }
    }

    #[test]
    fn names_lead_where_they_should() {
        let router = router(spec(
            &[
                ("1", "gpt", "openai/gpt-a"),
                ("2", "gpt", "openai/gpt-b"),
                ("3", "openai/*", "openai/*"),
                ("4", "*", "azure/*"),
                ("5", "openai/mini-*", "openai/fixed"),
            ],
            &[("fast", "gpt"), ("gpt", "inside")],
        ));
        let check = |name: &str, expected| assert_eq!(router.resolve(name), expected, "{name}");
        let captured = |text: &str| vec![Box::from(text)];
        check("gpt", Resolution::Group(GroupIx(0)));
        check("fast", Resolution::Group(GroupIx(0)));
        check("2", Resolution::Deployment(DeploymentIx(1)));
        check("openai/gpt-a", Resolution::Deployment(DeploymentIx(0)));
        check("openai/x", Resolution::Pattern(GroupIx(1), captured("x")));
        check(
            "openai/mini-4",
            Resolution::Pattern(GroupIx(3), captured("4")),
        );
        check("other", Resolution::Pattern(GroupIx(2), captured("other")));
        assert_eq!(&*router.group(GroupIx(0)).label, "inside");
        assert_eq!(
            router.visible_aliases().collect::<Vec<_>>(),
            [("fast", GroupIx(0))]
        );
    }

    #[test]
    fn a_name_that_matches_nothing_is_unknown() {
        let router = router(spec(&[("1", "gpt", "openai/gpt")], &[("alias", "nowhere")]));
        assert_eq!(router.resolve("nope"), Resolution::Unknown);
        assert_eq!(router.resolve("alias"), Resolution::Unknown);
        assert!(!router.has_patterns());
    }

    #[test]
    fn a_group_goes_before_an_id_of_the_same_name() {
        let router = router(spec(
            &[("gpt", "x", "openai/a"), ("2", "gpt", "openai/b")],
            &[],
        ));
        assert_eq!(router.resolve("gpt"), Resolution::Group(GroupIx(1)));
    }
}
