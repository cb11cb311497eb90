//! Budgets of providers and deployments: their periods, and what the database says was spent there,
//! so that a restart forgets nothing and other instances' calls count.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Control;
use crate::auth::calendar;
use crate::limit::nano;
use crate::log;
use crate::snapshot::{SpendLimit, Spender};
use crate::store::{Command, StoreError, now_us, query};

/// Between two looks at the clock.
const LOOK: Duration = Duration::from_secs(1);
/// Between two questions to the database within a period.
const ASK: Duration = Duration::from_secs(30);

/// Keeps periods and flags as long as the process lives.
pub(super) async fn keep(control: Arc<Control>) {
    let mut asked: Option<Instant> = None;
    loop {
        let snapshot = control.snapshot();
        let due = asked.is_none_or(|asked| asked.elapsed() >= ASK);
        let mut is_any = false;
        for (made, deployment) in snapshot
            .deployments
            .iter()
            .zip(snapshot.router.deployments())
        {
            for limit in &made.spend_limits {
                is_any = true;
                refresh(&control, limit, due).await;
            }
            if !made.spend_limits.is_empty() {
                let is_spent = || made.spend_limits.iter().any(SpendLimit::is_spent);
                deployment.live.set_budget_spent(is_spent());
                // A call that ended between the look and the word has said so itself.
                if is_spent() {
                    deployment.live.set_budget_spent(true);
                }
            }
        }
        if due && is_any {
            asked = Some(Instant::now());
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn refresh(control: &Control, limit: &SpendLimit, due: bool) {
    let now = now_us();
    let ends = limit.meter.period();
    if ends > now && !due {
        return;
    }
    // Spans that the calendar knows end where it says; others run on from where they began.
    let next = if ends > now {
        ends
    } else {
        limit.span.next_reset(now, &control.desk().rules().zone)
    };
    let began = 2 * next - limit.span.after(next);
    match spent(control, &limit.spender, began).await {
        Ok(dollars) => limit.meter.adopt(nano(dollars), next),
        Err(error) if ends <= now => {
            limit.meter.adopt(0, next);
            log!(
                control.log,
                Warn,
                "budgets",
                what = "what a provider or deployment has cost is counted from now",
                why = error
            );
        }
        // What is counted here goes on.
        Err(_) => {}
    }
}

async fn spent(control: &Control, spender: &Spender, began: i64) -> Result<f64, StoreError> {
    let (question, name) = match spender {
        Spender::Provider(name) => (&query::SPENT_AT_PROVIDER, name),
        Spender::Deployment(id) => (&query::SPENT_AT_DEPLOYMENT, id),
    };
    let parameters = vec![Some(calendar::text(began)), Some(name.clone())];
    let rows = control
        .desk()
        .directory
        .store
        .rows(Command::Ask(question, parameters))
        .await?;
    let dollars = rows.first().and_then(|row| row.get("spend")?.as_f64());
    Ok(dollars.unwrap_or(0.0))
}
