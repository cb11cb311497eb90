//! Budgets: whose money a call spends, and how much of it there is. Besides those that a key belongs
//! to, a request names payers of its own: its end user, its tags, and everybody together.

use std::sync::Arc;

use serde_json::Value;

use super::account::{Account, Budget, Payer};
use super::build::{Rows, limit, money, object, text, texts};
use super::counters::{Counters, Record};
use super::policy::Policy;
use crate::auth::calendar;
use crate::auth::caller::Caller;
use crate::limit::{Meter, Nano, nano};
use crate::store::{Command, Row, Store, StoreError, Table};

/// The user whose row holds what everybody together spent, as LiteLLM has it.
pub const EVERYBODY: &str = "litellm-proxy-budget";

/// `spend` of one row, within the period of another.
fn adopt(meter: &Meter, row: &Row, period: &Row) {
    let ends = text(period, "budget_reset_at").and_then(|text| calendar::parse(&text));
    meter.adopt(nano(money(row, "spend").unwrap_or(0.0)), ends.unwrap_or(0));
}

/// The budget that `limits` gives to who spent what `row` says; none without `max_budget`. Its meter
/// is known by `name`.
fn budget(
    counters: &Counters,
    name: &str,
    payer: Payer,
    meter: Arc<Meter>,
    limits: &Row,
    max: Option<f64>,
    row: &Row,
) -> Option<Budget> {
    let soft = money(limits, "soft_budget").map_or(0, nano);
    meter.set_soft(soft);
    // Who is only warned has no end.
    let max = match max {
        Some(max) => nano(max),
        None if soft > 0 => Nano::MAX,
        None => return None,
    };
    adopt(&meter, row, limits);
    if max < Nano::MAX {
        counters.budget(name, &meter, max, record(&payer, name));
    }
    Some(Budget {
        payer,
        meter,
        max,
        model: None,
        period: None,
    })
}

/// The row that has what `payer` spent.
fn record(payer: &Payer, name: &str) -> Option<Record> {
    let (table, key) = match payer {
        Payer::Key(_) => (Table::KEYS, vec![name.strip_prefix("key:")?]),
        Payer::Team(id) => (Table::TEAMS, vec![id.as_str()]),
        Payer::Member(user, team) => (Table::TEAM_MEMBERS, vec![user.as_str(), team]),
        Payer::OrganizationMember(user, id) => {
            (Table::ORGANIZATION_MEMBERS, vec![user.as_str(), id])
        }
        Payer::User(id) => (Table::USERS, vec![id.as_str()]),
        Payer::EndUser(id) => (Table::END_USERS, vec![id.as_str()]),
        Payer::Organization(id) => (Table::ORGANIZATIONS, vec![id.as_str()]),
        Payer::Tag(name) => (Table::TAGS, vec![name.as_str()]),
        Payer::Global => (Table::USERS, vec![EVERYBODY]),
    };
    let key = key.into_iter().map(str::to_owned).collect();
    Some(Record::Row(table, key))
}

/// What the store has that was spent of a budget that instances share; `None` where it cannot say.
pub(super) async fn recorded(
    store: &dyn Store,
    counters: &Counters,
    name: &str,
) -> Result<Option<Nano>, StoreError> {
    let Some((record, meter)) = counters.record(name) else {
        return Ok(None);
    };
    let row = match record {
        Record::Row(table, key) => {
            let key: Vec<&str> = key.iter().map(String::as_str).collect();
            store.get(table, &key).await?
        }
        Record::Calls(question, [id, model], span) => {
            let began = 2 * meter.period() - span.after(meter.period());
            let parameters = [calendar::text(began), id, model];
            let ask = Command::Ask(question, parameters.map(Some).to_vec());
            store.row(ask).await?
        }
    };
    // Nobody has written a row before the first call.
    let spent = row.and_then(|row| money(&row, "spend")).unwrap_or(0.0);
    Ok(Some(nano(spent)))
}

/// The budgets of a key, narrowest first. A team's key does not count against its owner.
pub(super) fn of_key(
    rows: &Rows,
    caller: &Caller,
    counters: &Counters,
    spend: &Arc<Meter>,
) -> Vec<Budget> {
    let [_, member_budget, organization_budget] = &rows.budgets;
    let mut budgets: Vec<Budget> = own(rows, caller, counters, spend).into_iter().collect();
    let mut add = |payer: Payer, name: String, limits: &Row, row: &Row| {
        let max = money(limits, "max_budget");
        let meter = counters.meter(name.clone());
        budgets.extend(budget(counters, &name, payer, meter, limits, max, row));
    };
    let (user, team) = (caller.user_id.clone(), caller.team_id.clone());
    if let (Some(user), Some(team)) = (&user, &team) {
        let payer = Payer::Member(user.clone(), team.clone());
        add(
            payer,
            format!("member:{user}:{team}"),
            member_budget,
            &rows.member,
        );
    }
    match (team, user) {
        (Some(id), _) => add(
            Payer::Team(id.clone()),
            format!("team:{id}"),
            &rows.team,
            &rows.team,
        ),
        (None, Some(id)) => {
            add(
                Payer::User(id.clone()),
                format!("user:{id}"),
                &rows.user,
                &rows.user,
            );
        }
        (None, None) => {}
    }
    if let (Some(user), Some(id)) = (&caller.user_id, &caller.organization_id) {
        let payer = Payer::OrganizationMember(user.clone(), id.clone());
        let name = format!("organization_member:{user}:{id}");
        let (limits, row) = (&rows.organization_member_budget, &rows.organization_member);
        add(payer, name, limits, row);
    }
    if let Some(id) = &caller.organization_id {
        let payer = Payer::Organization(id.clone());
        add(
            payer,
            format!("organization:{id}"),
            organization_budget,
            &rows.organization,
        );
    }
    budgets
}

/// The key's own budget, or else the one that it refers to.
fn own(rows: &Rows, caller: &Caller, counters: &Counters, spend: &Arc<Meter>) -> Option<Budget> {
    let key_budget = &rows.budgets[0];
    let name = caller.key_alias.as_deref().unwrap_or("key");
    let payer = Payer::Key(format!("{name} ({})", caller.key_name));
    let (limits, max) = match raised(&rows.key) {
        Some(max) => (&rows.key, Some(max)),
        None => (key_budget, money(key_budget, "max_budget")),
    };
    adopt(spend, &rows.key, limits);
    let key = format!("key:{}", caller.token);
    // A key's own warning stands in the budget that it refers to.
    let mut limits = limits.clone();
    if let Some(soft) = key_budget.get("soft_budget") {
        limits.insert("soft_budget".to_owned(), soft.clone());
    }
    let (spend, row) = (spend.clone(), &rows.key);
    budget(counters, &key, payer, spend, &limits, max, row)
}

/// `max_budget`, raised by `temp_budget_increase` until `temp_budget_expiry`.
fn raised(key: &Row) -> Option<f64> {
    let max = money(key, "max_budget")?;
    let metadata = object(key, "metadata");
    let until = text(&metadata, "temp_budget_expiry").and_then(|text| calendar::parse(&text));
    let raised = until.is_some_and(|until| until > crate::store::now_us());
    let more = if raised {
        money(&metadata, "temp_budget_increase")
    } else {
        None
    };
    Some(max + more.unwrap_or(0.0))
}

/// Somebody whom a request names: `end_user:ID`, `tag:NAME` or `everybody`. `None` when nothing
/// binds it.
pub(super) async fn named(
    store: &dyn Store,
    (counters, policy): (&Counters, &Policy),
    name: &str,
) -> Result<Option<Account>, StoreError> {
    let (kind, id) = name.split_once(':').unwrap_or((name, ""));
    let (table, scope, payer) = match kind {
        "end_user" => (Table::END_USERS, "end_user", Payer::EndUser(id.to_owned())),
        "tag" => (Table::TAGS, "tag", Payer::Tag(id.to_owned())),
        _ => (Table::USERS, "proxy", Payer::Global),
    };
    let key = if kind == "everybody" { EVERYBODY } else { id };
    let usual = kind == "end_user"
        && (policy.end_user_budget.is_some() || policy.end_user_budget_id.is_some());
    let row = match store.get(table, &[key]).await? {
        Some(row) => row,
        // Nobody has heard of this end user, whom the usual budget binds all the same.
        None if usual => Row::new(),
        None => return Ok(None),
    };
    let own = text(&row, "budget_id");
    let of_all = || policy.end_user_budget_id.clone().filter(|_| usual);
    let limits = match own.clone().or_else(of_all) {
        Some(budget) => store
            .get(Table::BUDGETS, &[&budget])
            .await?
            .unwrap_or_default(),
        None => row.clone(),
    };
    let meter = counters.meter(name.to_owned());
    let of_all = policy.end_user_budget.filter(|_| usual && own.is_none());
    let max = money(&limits, "max_budget").or(of_all);
    let budgets = budget(counters, name, payer, meter.clone(), &limits, max, &row)
        .into_iter()
        .collect();
    let caller = Caller {
        token: name.to_owned(),
        blocked: row.get("blocked").and_then(Value::as_bool).unwrap_or(false),
        models: if kind == "end_user" {
            texts(&row, "models")
        } else {
            Vec::new()
        },
        ..Caller::default()
    };
    let limits = limit(scope, id, &limits, counters).into_iter().collect();
    Ok(Some(Account {
        caller,
        limits,
        budgets,
        spend: meter,
        shares: None,
        next: None,
    }))
}
