//! Rows to an account: a key with its user, team, membership, organization and budgets.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::account::{Account, Limit};
use super::counters::Counters;
use super::{Policy, model_budgets, payers, priority};
use crate::auth::calendar;
use crate::auth::caller::{Caller, Role};
use crate::limit::Meter;
use crate::store::{Command, Row, Store, StoreError, Table};

/// A text of a row; `None` where it is absent, null or empty.
pub fn text(row: &Row, name: &str) -> Option<String> {
    let value = row
        .get(name)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty());
    value.map(str::to_owned)
}

pub(super) fn number(row: &Row, name: &str) -> Option<u64> {
    let value = row.get(name)?;
    value
        .as_u64()
        .or_else(|| value.as_f64().map(|number| number as u64))
}

pub(super) fn money(row: &Row, name: &str) -> Option<f64> {
    row.get(name).and_then(Value::as_f64)
}

pub(super) fn texts(row: &Row, name: &str) -> Vec<String> {
    let list = row.get(name).and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

pub(super) fn object(row: &Row, name: &str) -> Map<String, Value> {
    row.get(name)
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default()
}

fn names(row: &Row, name: &str) -> BTreeMap<String, String> {
    let pairs = object(row, name).into_iter();
    pairs
        .filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())))
        .collect()
}

/// Everything that a key's account is made of.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) key: Row,
    pub(super) user: Row,
    pub(super) team: Row,
    pub(super) member: Row,
    pub(super) organization: Row,
    pub(super) organization_member: Row,
    pub(super) organization_member_budget: Row,
    /// The key's shared budget, its membership's, its organization's.
    pub(super) budgets: [Row; 3],
    aliases: Row,
}

/// The account of the key with this token; `None` when there is no such key.
pub(super) async fn account(
    store: &dyn Store,
    (counters, policy): (&Counters, &Policy),
    token: &str,
) -> Result<Option<Account>, StoreError> {
    let key = match store.get(Table::KEYS, &[token]).await? {
        Some(key) => key,
        None => match replaced(store, token).await? {
            Some(key) => key,
            None => return Ok(None),
        },
    };
    let token = text(&key, "token").unwrap_or_default();
    let mut rows = read(store, key).await?;
    if object(&rows.key, "metadata").contains_key("service_account_id") {
        let over = policy.service_account.clone();
        rows.key.extend(over);
    }
    let spend = counters.meter(format!("key:{token}"));
    let mut account = assemble(&rows, counters, spend);
    let by_model =
        model_budgets::of_key(store, &rows, &account.caller, (counters, &policy.zone)).await?;
    account.budgets.extend(by_model);
    account.shares = priority::of_caller(&account.caller, &policy.shares);
    Ok(Some(account))
}

/// The row of the key that took the place of this one, which works on until its grace ends.
async fn replaced(store: &dyn Store, token: &str) -> Result<Option<Row>, StoreError> {
    let mut found = store.find(Table::OLD_KEYS, "token", token).await?;
    let Some(old) = found.pop() else {
        return Ok(None);
    };
    let time = |row: &Row, name: &str| text(row, name).and_then(|text| calendar::parse(&text));
    let ends = time(&old, "revoke_at").unwrap_or(0);
    if ends <= crate::store::now_us() {
        return Ok(None);
    }
    let active = text(&old, "active_token_id").unwrap_or_default();
    let key = store.get(Table::KEYS, &[&active]).await?;
    Ok(key.map(|mut key| {
        if time(&key, "expires").is_none_or(|expires| expires > ends) {
            key.insert("expires".to_owned(), Value::from(calendar::text(ends)));
        }
        key
    }))
}

/// Somebody without a key of its own, whom an identity provider vouches for.
#[derive(Clone, Debug, Default)]
pub struct Vouched {
    /// What a key's row would say: one for each team that may pay, the first that may use the model does.
    pub rows: Vec<Row>,
    /// The role, over that of the user's row.
    pub role: Option<Role>,
    /// The end user of all requests.
    pub end_user_id: Option<String>,
    /// It has a budget of its own, which outlives the account.
    pub spends: bool,
    /// Models and budgets do not bind it.
    pub unbound: bool,
}

/// The account of somebody without a key; the further ones hang on it.
pub(super) async fn vouched(
    store: &dyn Store,
    (counters, policy): (&Counters, &Policy),
    vouched: &Vouched,
) -> Result<Arc<Account>, StoreError> {
    let own = vouched.rows.first().filter(|_| vouched.spends);
    let own = own.and_then(|row| text(row, "token"));
    let spend = match own {
        Some(token) => counters.meter(format!("key:{token}")),
        None => Arc::default(),
    };
    // A list linked from the first to the last.
    let mut next: Option<Arc<Account>> = None;
    for row in vouched.rows.iter().rev() {
        let rows = read(store, row.clone()).await?;
        let mut account = assemble(&rows, counters, spend.clone());
        let by_model =
            model_budgets::of_key(store, &rows, &account.caller, (counters, &policy.zone)).await?;
        account.budgets.extend(by_model);
        if let Some(role) = vouched.role {
            account.caller.role = role;
        }
        account.shares = priority::of_caller(&account.caller, &policy.shares);
        account.caller.is_vouched = true;
        if vouched.unbound {
            unbind(&mut account);
        }
        account.caller.end_user_id = vouched.end_user_id.clone();
        account.next = next.take();
        next = Some(Arc::new(account));
    }
    Ok(next.unwrap_or_default())
}

/// Takes away what would keep a caller from a model or from spending.
fn unbind(account: &mut Account) {
    account.budgets.clear();
    let caller = &mut account.caller;
    for models in [
        &mut caller.models,
        &mut caller.team_models,
        &mut caller.user_models,
        &mut caller.organization_models,
    ] {
        models.clear();
    }
}

async fn read(store: &dyn Store, key: Row) -> Result<Rows, StoreError> {
    let get = |table, parts: Vec<Option<String>>| {
        let parts: Option<Vec<String>> = parts.into_iter().collect();
        // A row that cannot be meant is asked for by a name that no row has.
        Command::Get(
            table,
            parts.unwrap_or_else(|| vec![String::new(); table.shape().key().count()]),
        )
    };
    let (user, team) = (text(&key, "user_id"), text(&key, "team_id"));
    let user_id = user.clone();
    let mut found = store
        .transact(vec![
            get(Table::USERS, vec![user.clone()]),
            get(Table::TEAMS, vec![team.clone()]),
            get(Table::TEAM_MEMBERS, vec![user.clone(), team]),
            get(Table::BUDGETS, vec![text(&key, "budget_id")]),
        ])
        .await?
        .into_iter()
        .map(|rows| rows.into_iter().next().unwrap_or_default());
    let mut next = || found.next().unwrap_or_default();
    let (user, team, member, key_budget) = (next(), next(), next(), next());
    let organization = text(&key, "organization_id").or_else(|| text(&team, "organization_id"));
    let mut more = vec![
        get(Table::ORGANIZATIONS, vec![organization.clone()]),
        get(Table::BUDGETS, vec![text(&member, "budget_id")]),
        get(Table::ORGANIZATION_MEMBERS, vec![user_id, organization]),
    ];
    if let Some(id) = number(&team, "model_id") {
        more.push(Command::Get(Table::TEAM_MODELS, vec![id.to_string()]));
    }
    let mut found = store.transact(more).await?.into_iter();
    let mut next = || {
        found
            .next()
            .and_then(|rows| rows.into_iter().next())
            .unwrap_or_default()
    };
    let (organization, member_budget) = (next(), next());
    let (organization_member, aliases) = (next(), next());
    let organization_member_budget = match text(&organization_member, "budget_id") {
        Some(id) => store.get(Table::BUDGETS, &[&id]).await?.unwrap_or_default(),
        None => Row::new(),
    };
    let organization_budget = match text(&organization, "budget_id") {
        Some(id) => store.get(Table::BUDGETS, &[&id]).await?.unwrap_or_default(),
        None => Row::new(),
    };
    let budgets = [key_budget, member_budget, organization_budget];
    let (mut key, mut team) = (key, team);
    add_group_models(store, &mut key).await?;
    add_group_models(store, &mut team).await?;
    Ok(Rows {
        key,
        user,
        team,
        member,
        organization,
        organization_member,
        organization_member_budget,
        budgets,
        aliases,
    })
}

/// Adds the models of the groups that a key or team has to its own; one without a list has all models.
async fn add_group_models(store: &dyn Store, row: &mut Row) -> Result<(), StoreError> {
    let mut models = texts(row, "models");
    if models.is_empty() {
        return Ok(());
    }
    for id in texts(row, "access_group_ids") {
        let group = store.get(Table::ACCESS_GROUPS, &[&id]).await?;
        models.extend(
            group
                .iter()
                .flat_map(|group| texts(group, "access_model_names")),
        );
    }
    row.insert("models".to_owned(), Value::from(models));
    Ok(())
}

fn assemble(rows: &Rows, counters: &Counters, spend: Arc<Meter>) -> Account {
    let caller = caller(rows);
    let limits = limits(rows, &caller, counters);
    let budgets = payers::of_key(rows, &caller, counters, &spend);
    Account {
        caller,
        limits,
        budgets,
        spend,
        shares: None,
        next: None,
    }
}

fn caller(rows: &Rows) -> Caller {
    let Rows {
        key,
        user,
        team,
        organization,
        ..
    } = rows;
    let token = text(key, "token").unwrap_or_default();
    let role = text(user, "user_role").map(|role| Role::named(&role));
    let with_user = text(key, "user_id").map(|_| Role::InternalUser);
    Caller {
        key_name: text(key, "key_name").unwrap_or_else(|| "sk-...".to_owned()),
        key_alias: text(key, "key_alias"),
        user_id: text(key, "user_id"),
        user_email: text(user, "user_email"),
        role: role.or(with_user).unwrap_or_default(),
        team_id: text(key, "team_id"),
        team_alias: text(team, "team_alias"),
        organization_id: text(organization, "organization_id"),
        models: texts(key, "models"),
        team_models: texts(team, "models"),
        user_models: texts(user, "models"),
        organization_models: texts(organization, "models"),
        aliases: names(key, "aliases"),
        team_aliases: team_aliases(&rows.aliases),
        allowed_routes: texts(key, "allowed_routes"),
        blocked: key.get("blocked").and_then(Value::as_bool).unwrap_or(false),
        team_blocked: team
            .get("blocked")
            .and_then(Value::as_bool)
            .unwrap_or(false),
        expires_us: text(key, "expires").and_then(|text| calendar::parse(&text)),
        metadata: object(key, "metadata"),
        team_metadata: object(team, "metadata"),
        max_budget: money(key, "max_budget"),
        tpm_limit: number(key, "tpm_limit"),
        rpm_limit: number(key, "rpm_limit"),
        is_vouched: false,
        end_user_id: None,
        token,
    }
}

/// LiteLLM's Prisma writes the map as a JSON text; both forms are read.
fn team_aliases(row: &Row) -> BTreeMap<String, String> {
    match row.get("aliases") {
        Some(Value::String(inner)) => serde_json::from_str(inner).unwrap_or_default(),
        _ => names(row, "aliases"),
    }
}

fn limits(rows: &Rows, caller: &Caller, counters: &Counters) -> Vec<Limit> {
    let mut limits = Vec::new();
    let mut add = |scope, value: Option<&str>, row: &Row| {
        let Some(value) = value else { return };
        limits.extend(limit(scope, value, row, counters));
    };
    let [key_budget, member_budget, organization_budget] = &rows.budgets;
    add("api_key", Some(&caller.token), &over(&rows.key, key_budget));
    add("user", caller.user_id.as_deref(), &rows.user);
    let member = caller.user_id.as_ref().zip(caller.team_id.as_ref());
    let member = member.map(|(user, team)| format!("{user}:{team}"));
    add("team_member", member.as_deref(), member_budget);
    add("team", caller.team_id.as_deref(), &rows.team);
    add(
        "organization",
        caller.organization_id.as_deref(),
        organization_budget,
    );
    let per_key = per_model("model_per_key", &caller.token, &caller.metadata, counters);
    limits.extend(per_key);
    if let Some(team) = &caller.team_id {
        limits.extend(per_model(
            "model_per_team",
            team,
            &caller.team_metadata,
            counters,
        ));
    }
    limits
}

/// A key's own values, and those of its shared budget where it has none.
fn over(key: &Row, budget: &Row) -> Row {
    const FIELDS: [&str; 3] = ["rpm_limit", "tpm_limit", "max_parallel_requests"];
    let value = |name: &str| {
        let own = key.get(name).filter(|value| !value.is_null());
        own.or_else(|| budget.get(name))
            .cloned()
            .unwrap_or(Value::Null)
    };
    FIELDS
        .iter()
        .map(|name| ((*name).to_owned(), value(name)))
        .collect()
}

pub(super) fn limit(
    scope: &'static str,
    value: &str,
    row: &Row,
    counters: &Counters,
) -> Option<Limit> {
    let window = |unit: &str| {
        let limit = number(row, &format!("{unit}_limit"))?;
        Some(counters.window(format!("{scope}:{value}:{unit}"), limit))
    };
    let (requests, tokens) = (window("rpm"), window("tpm"));
    let parallel = number(row, "max_parallel_requests").map(|limit| {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        (counters.semaphore(format!("{scope}:{value}"), limit), limit)
    });
    let some = requests.is_some() || tokens.is_some() || parallel.is_some();
    let value = value.to_owned();
    some.then_some(Limit {
        scope,
        value,
        model: None,
        requests,
        tokens,
        parallel,
    })
}

/// `model_rpm_limit` and `model_tpm_limit` of the metadata.
fn per_model(
    scope: &'static str,
    value: &str,
    metadata: &Map<String, Value>,
    counters: &Counters,
) -> Vec<Limit> {
    let of = |name: &str| metadata.get(name).and_then(Value::as_object);
    let (rpm, tpm) = (of("model_rpm_limit"), of("model_tpm_limit"));
    let models = rpm.into_iter().chain(tpm).flat_map(Map::keys);
    let models: std::collections::BTreeSet<&String> = models.collect();
    let window = |map: Option<&Map<String, Value>>, model: &str, unit: &str| {
        let limit = map?.get(model)?.as_u64()?;
        Some(counters.window(format!("{scope}:{value}:{model}:{unit}"), limit))
    };
    let each = models.into_iter().map(|model| Limit {
        scope,
        value: format!("{value}:{model}"),
        model: Some(model.clone()),
        requests: window(rpm, model, "rpm"),
        tokens: window(tpm, model, "tpm"),
        parallel: None,
    });
    each.collect()
}
