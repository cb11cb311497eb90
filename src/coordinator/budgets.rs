//! Budgets that start anew: looked for at a random time between the two settings of
//! `proxy_budget_rescheduler_*`. Several instances may do it at once: what one has moved on, the
//! other no longer finds.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::Control;
use crate::auth::calendar::{self, Span};
use crate::directory::{Change, text};
use crate::log;
use crate::store::{Command, Query, Row, StoreError, Table, now_text, now_us, query};

/// When budgets are looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    /// `proxy_budget_rescheduler_min_time`
    pub(super) least: Duration,
    /// `proxy_budget_rescheduler_max_time`
    pub(super) most: Duration,
}

/// The configured schedule; none with `disable_reset_budget`.
pub(super) fn schedule(config: &shardgate_config::Config) -> Option<Schedule> {
    let general = &config.general;
    (!general.disable_reset_budget).then_some(Schedule {
        least: general.proxy_budget_rescheduler_min_time,
        most: general.proxy_budget_rescheduler_max_time,
    })
}

/// Resets budgets as long as the process lives.
pub(super) async fn keep(control: Arc<Control>, schedule: Schedule) {
    loop {
        tokio::time::sleep(between(schedule)).await;
        if let Err(error) = reset(&control).await {
            log!(
                control.log,
                Error,
                "budgets",
                what = "resets have to wait",
                why = error
            );
        }
    }
}

/// Says in the log who has passed a `soft_budget`; nobody is refused for that.
pub(super) async fn warn(control: Arc<Control>) {
    const LOOK: Duration = Duration::from_secs(1);
    loop {
        tokio::time::sleep(LOOK).await;
        for (who, spend, budget) in control.desk().directory.soft_passed() {
            log!(
                control.log,
                Warn,
                "soft_budget_passed",
                who = who,
                spend = spend,
                soft_budget = budget
            );
        }
    }
}

fn between(schedule: Schedule) -> Duration {
    const LEAST: Duration = Duration::from_millis(100);
    let spread = schedule.most.saturating_sub(schedule.least);
    let mut random = [0; 4];
    // Without random bytes all instances look at the same time, which does no harm.
    let _ = getrandom::fill(&mut random);
    let share = f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX);
    (schedule.least + spread.mul_f64(share)).max(LEAST)
}

/// What is due, where its rows are, what it is called, and what its change is.
type Due = (&'static Query, Table, &'static str, fn(String) -> Change);

async fn reset(control: &Control) -> Result<(), StoreError> {
    let directory = &control.desk().directory;
    let own: [Due; 3] = [
        (&query::KEYS_DUE, Table::KEYS, "key", Change::Key),
        (&query::TEAMS_DUE, Table::TEAMS, "team", Change::Team),
        (&query::USERS_DUE, Table::USERS, "user", Change::User),
    ];
    for (due, table, kind, change) in own {
        for (id, next) in ended(control, due).await? {
            let changes = Row::from_iter([
                ("spend".to_owned(), Value::from(0.0)),
                ("budget_reset_at".to_owned(), Value::from(next)),
            ]);
            directory
                .store
                .rows(Command::Update(table, vec![id.clone()], changes))
                .await?;
            log!(control.log, Info, "budget_reset", kind = kind, id = id);
            directory.changed(change(id)).await;
        }
    }
    for (id, next) in ended(control, &query::BUDGETS_DUE).await? {
        shared(control, &id, next).await?;
    }
    Ok(())
}

/// Whose period has ended, and when the next one does.
async fn ended(
    control: &Control,
    due: &'static Query,
) -> Result<Vec<(String, String)>, StoreError> {
    let ask = Command::Ask(due, vec![Some(now_text())]);
    let rows = control.desk().directory.store.rows(ask).await?;
    let rules = control.desk().rules();
    let next = |row: &Row| {
        let span: Span = text(row, "budget_duration")?.parse().ok()?;
        Some((
            text(row, "id")?,
            calendar::text(span.next_reset(now_us(), &rules.zone)),
        ))
    };
    Ok(rows.iter().filter_map(next).collect())
}

/// A budget that several share: all of them start anew together.
async fn shared(control: &Control, id: &str, next: String) -> Result<(), StoreError> {
    let directory = &control.desk().directory;
    let restarts = [
        &query::RESTART_KEYS,
        &query::RESTART_TEAM_MEMBERS,
        &query::RESTART_MEMBERS,
        &query::RESTART_ORGANIZATIONS,
        &query::RESTART_END_USERS,
        &query::RESTART_TAGS,
    ];
    let mut commands: Vec<Command> = restarts
        .iter()
        .map(|restart| Command::Ask(restart, vec![Some(id.to_owned())]))
        .collect();
    let changes = Row::from_iter([("budget_reset_at".to_owned(), Value::from(next))]);
    commands.push(Command::Update(
        Table::BUDGETS,
        vec![id.to_owned()],
        changes,
    ));
    let answers = directory.store.transact(commands).await?;
    log!(control.log, Info, "budget_reset", kind = "budget", id = id);
    let ids = |at: usize| {
        answers
            .get(at)
            .into_iter()
            .flatten()
            .filter_map(|row| text(row, "id"))
    };
    for user in ids(4) {
        directory.changed(Change::EndUser(user)).await;
    }
    for tag in ids(5) {
        directory.changed(Change::Tag(tag)).await;
    }
    directory.changed(Change::Budget(id.to_owned())).await;
    Ok(())
}
