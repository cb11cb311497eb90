//! `model_max_budget` of keys, teams and users: what calls of one model may cost in a period. What was
//! spent in the running period is read from the rows of calls once; then it is counted here.

use serde_json::Value;

use super::account::{Budget, Payer};
use super::build::{Rows, money, object};
use super::counters::{Counters, Record};
use crate::auth::calendar::{self, Span, Zone};
use crate::auth::caller::Caller;
use crate::limit::nano;
use crate::store::{Command, Query, Row, Store, StoreError, now_us, query};

/// A budget as a row says it: `{model: {budget_limit | max_budget, time_period | budget_duration}}`, or a bare
/// number.
struct Given {
    model: String,
    max: f64,
    span: Option<Span>,
}

fn given(row: &Row) -> impl Iterator<Item = Given> {
    let one = |(model, limit): (String, Value)| {
        let number = |name: &str| limit.get(name).and_then(Value::as_f64);
        let max = limit
            .as_f64()
            .or_else(|| number("max_budget"))
            .or_else(|| number("budget_limit"))?;
        let period = ["budget_duration", "time_period"];
        let period = period.iter().find_map(|name| limit.get(*name)?.as_str());
        let span = period.and_then(|text| text.parse().ok());
        Some(Given { model, max, span })
    };
    object(row, "model_max_budget").into_iter().filter_map(one)
}

/// Whose it is: its row, its name in meters, who pays, and how its calls are found.
type Owner<'a> = (&'a Row, String, Payer, &'static Query, &'a str);

/// Those of a key, of its team, and of its user where no team pays.
pub(super) async fn of_key(
    store: &dyn Store,
    rows: &Rows,
    caller: &Caller,
    (counters, zone): (&Counters, &Zone),
) -> Result<Vec<Budget>, StoreError> {
    let key = Payer::Key(caller.key_name.clone());
    let token = caller.token.as_str();
    let mut owners: Vec<Owner<'_>> = vec![(
        &rows.key,
        format!("key:{token}"),
        key,
        &query::SPENT_BY_KEY,
        token,
    )];
    match (&caller.team_id, &caller.user_id) {
        (Some(id), _) => {
            let payer = Payer::Team(id.clone());
            owners.push((
                &rows.team,
                format!("team:{id}"),
                payer,
                &query::SPENT_BY_TEAM,
                id,
            ));
        }
        (None, Some(id)) => {
            let payer = Payer::User(id.clone());
            owners.push((
                &rows.user,
                format!("user:{id}"),
                payer,
                &query::SPENT_BY_USER,
                id,
            ));
        }
        (None, None) => {}
    }
    let mut budgets = Vec::new();
    for owner in owners {
        for given in given(owner.0) {
            budgets.push(budget(store, &owner, given, (counters, zone)).await?);
        }
    }
    Ok(budgets)
}

async fn budget(
    store: &dyn Store,
    (row, name, payer, spent, id): &Owner<'_>,
    given: Given,
    (counters, zone): (&Counters, &Zone),
) -> Result<Budget, StoreError> {
    let Given { model, max, span } = given;
    let name = format!("{name}:{model}");
    let meter = counters.meter(name.clone());
    match span {
        Some(span) if meter.period() == 0 => {
            let next = span.next_reset(now_us(), zone);
            let began = 2 * next - span.after(next);
            let parameters = [calendar::text(began), (*id).to_owned(), model.clone()];
            let ask = Command::Ask(spent, parameters.map(Some).to_vec());
            let found = store.row(ask).await?;
            let dollars = found.and_then(|row| money(&row, "spend")).unwrap_or(0.0);
            meter.adopt(nano(dollars), next);
        }
        Some(_) => {}
        None => {
            let spent = money(&object(row, "model_spend"), &model).unwrap_or(0.0);
            meter.adopt(nano(spent), 0);
        }
    }
    let record = span.map(|span| Record::Calls(spent, [(*id).to_owned(), model.clone()], span));
    counters.budget(&name, &meter, nano(max), record);
    Ok(Budget {
        payer: of_model(payer, &model),
        meter,
        max: nano(max),
        model: Some(model),
        period: span.map(|span| (span, zone.clone())),
    })
}

/// Who pays, with the model in the name that the error says.
fn of_model(payer: &Payer, model: &str) -> Payer {
    let named = |name: &str| format!("{name} for model={model}");
    match payer {
        Payer::Team(id) => Payer::Team(named(id)),
        Payer::User(id) => Payer::User(named(id)),
        Payer::Key(name) => Payer::Key(named(name)),
        other => other.clone(),
    }
}
