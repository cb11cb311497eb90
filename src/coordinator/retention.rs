//! `maximum_spend_logs_retention_period`: rows of calls that are older are removed, now and then.
//! Several instances may do it at once: what one has removed, the other no longer finds.

use std::sync::Arc;
use std::time::Duration;

use super::Control;
use crate::auth::calendar::{self, Span};
use crate::log;
use crate::store::{Command, StoreError, now_us, query};

/// What is removed, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    period: Span,
    every: Duration,
}

/// The configured schedule; none where rows are kept for good.
pub(super) fn schedule(config: &shardgate_config::Config) -> Option<Schedule> {
    const EVERY: Duration = Duration::from_secs(24 * 3600);
    let general = &config.general;
    let span = |text: &Option<String>| text.as_ref()?.parse::<Span>().ok();
    let every = span(&general.maximum_spend_logs_retention_interval);
    Some(Schedule {
        period: span(&general.maximum_spend_logs_retention_period)?,
        every: every.map_or(EVERY, |span| {
            Duration::from_micros(u64::try_from(span.after(0)).unwrap_or(u64::MAX))
        }),
    })
}

/// Removes old rows as long as the process lives.
pub(super) async fn keep(control: Arc<Control>, schedule: Schedule) {
    const FIRST: Duration = Duration::from_secs(60);
    let mut wait = schedule.every.min(FIRST);
    loop {
        tokio::time::sleep(wait).await;
        wait = schedule.every;
        match forget(&control, schedule.period).await {
            Ok(0) => {}
            Ok(count) => log!(
                control.log,
                Info,
                "spend",
                what = "old rows are removed",
                count = count
            ),
            Err(error) => log!(
                control.log,
                Error,
                "spend",
                what = "old rows have to wait",
                why = error
            ),
        }
    }
}

async fn forget(control: &Control, period: Span) -> Result<i64, StoreError> {
    const PAUSE: Duration = Duration::from_millis(50);
    // A span's length before now; months are taken as long as the one that begins now.
    let now = now_us();
    let before = calendar::text(2 * now - period.after(now));
    let mut removed = 0;
    loop {
        let ask = Command::Ask(&query::FORGET_CALLS, vec![Some(before.clone())]);
        let rows = control.desk().directory.store.rows(ask).await?;
        let count: i64 = rows
            .iter()
            .filter_map(|row| row.get("count")?.as_i64())
            .sum();
        if count == 0 {
            return Ok(removed);
        }
        removed += count;
        tokio::time::sleep(PAUSE).await;
    }
}
