//! Spend by day and by who spent it: everybody's for those who see all (`/global/spend/report`), and that of
//! one's own key, user, team or organization.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::spend::{days, own, sees_all};
use super::spend_sums as sums;
use crate::admin::desk::{Answer, Asker, Desk, Refusal};
use crate::admin::routes::Routes;
use crate::directory::text;
use crate::store::{Row, Table, query};

type Shared = State<Arc<Desk>>;
type Asked = Query<HashMap<String, String>>;

/// The routes.
pub fn routes() -> Routes<Arc<Desk>> {
    Routes::new()
        .get(
            "/global/spend/report",
            global,
            "Spend by day and team, customer, key or user.",
        )
        .query(&["start_date", "end_date", "group_by", "api_key"])
        .get(
            "/key/spend/report",
            of_keys,
            "Spend by day of the caller's key; of any or all keys for admins.",
        )
        .query(&["start_date", "end_date", "api_key"])
        .get(
            "/user/spend/report",
            of_users,
            "Spend by day of the caller's user; of any or all users for admins.",
        )
        .query(&["start_date", "end_date", "user_id"])
        .get(
            "/team/spend/report",
            of_teams,
            "Spend by day of a team that the caller manages; of all teams for admins.",
        )
        .query(&["start_date", "end_date", "team_id"])
        .get(
            "/team/spend/by_user",
            team_by_user,
            "What each user spent with keys of a team that the caller manages.",
        )
        .query(&["start_date", "end_date", "team_id"])
        .needs(&["team_id"])
        .get(
            "/organization/spend/report",
            of_organizations,
            "Spend by day of an organization that the caller manages; of all for admins.",
        )
        .query(&["start_date", "end_date", "organization_id"])
}

/// What a report is about.
struct Group {
    days: &'static query::Query,
    /// The list of a day's entries, and what each is called in it.
    list: &'static str,
    name: &'static str,
    /// The column that says whose line it is.
    field: &'static str,
}

static TEAMS: Group = Group {
    days: &query::TEAM_DAYS,
    list: "teams",
    name: "team_name",
    field: "entity",
};
static CUSTOMERS: Group = Group {
    days: &query::END_USER_DAYS,
    list: "customers",
    name: "customer",
    field: "entity",
};
static KEYS: Group = Group {
    days: &query::USER_DAYS,
    list: "api_keys",
    name: "api_key",
    field: "api_key",
};
static USERS: Group = Group {
    days: &query::USER_DAYS,
    list: "users",
    name: "user_id",
    field: "entity",
};
static ORGANIZATIONS: Group = Group {
    days: &query::ORGANIZATION_DAYS,
    list: "organizations",
    name: "organization_id",
    field: "entity",
};

impl Group {
    /// Days with their entries, each with what it is made of.
    fn report(&self, rows: &[Row]) -> Value {
        let mut by_day: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        let totals = sums::by(rows, &["date", self.field]);
        // In the order of the totals, so that each entry's parts stand together.
        let parts = sums::by(rows, &["date", self.field, "model", "api_key"]);
        let parts = parts.chunk_by(|(one, _), (next, _)| one[..2] == next[..2]);
        for ((at, total), parts) in totals.into_iter().zip(parts) {
            let models: Vec<Value> = parts
                .iter()
                .map(|(at, sums)| {
                    json!({"model": at[2], "api_key": at[3], "spend": sums.spend,
                    "total_tokens": sums.prompt + sums.completion})
                })
                .collect();
            let entry = json!({self.name: at[1], "total_spend": total.spend, "metadata": models});
            by_day.entry(at[0].clone()).or_default().push(entry);
        }
        let days = by_day
            .into_iter()
            .map(|(day, entries)| json!({"group_by_day": day, self.list: entries}));
        days.collect()
    }
}

/// By `group_by`: team, customer, api_key or internal_user.
async fn global(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    sees_all(&asker)?;
    let group = match asked.get("group_by").map_or("team", String::as_str) {
        "team" => &TEAMS,
        "customer" => &CUSTOMERS,
        "api_key" => &KEYS,
        "internal_user" => &USERS,
        other => {
            let text =
                format!("group_by must be team, customer, api_key or internal_user; got {other}");
            return Err(Refusal::bad(text).at("group_by"));
        }
    };
    let rows = days(&desk, group.days, &asked, None).await?;
    Ok(Json(group.report(&rows)))
}

async fn of_keys(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(mut asked): Asked,
) -> Answer {
    if !asker.sees_all() {
        let token = asker.token(&desk);
        let named = asked.get("api_key").map(|key| super::key::token(key));
        if named.is_some_and(|named| named != token) {
            return Err(
                Refusal::forbidden("you may see the spend of your own key only").at("api_key"),
            );
        }
        asked.insert("api_key".to_owned(), token);
    }
    let rows = days(&desk, KEYS.days, &asked, None).await?;
    Ok(Json(KEYS.report(&rows)))
}

async fn of_users(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    let named = asked.get("user_id").cloned();
    let user = match asker.sees_all() {
        true => named,
        false => {
            let own = own(&asker)?;
            if named.is_some_and(|named| named != own) {
                return Err(Refusal::forbidden("you may see your own spend only").at("user_id"));
            }
            Some(own)
        }
    };
    let rows = days(&desk, USERS.days, &asked, user).await?;
    Ok(Json(USERS.report(&rows)))
}

/// The team that is asked about, which the caller must manage; none for all of them.
async fn team(
    desk: &Desk,
    asker: &Asker,
    asked: &HashMap<String, String>,
) -> Result<Option<String>, Refusal> {
    let Some(id) = asked.get("team_id").filter(|id| !id.is_empty()) else {
        return match asker.sees_all() {
            true => Ok(None),
            false => Err(Refusal::bad("team_id must be given").at("team_id")),
        };
    };
    let row = super::team::row(desk, id).await?;
    if !asker.sees_all() {
        asker.must_manage_team(desk, &row).await?;
    }
    Ok(Some(id.clone()))
}

async fn of_teams(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    let team = team(&desk, &asker, &asked).await?;
    let rows = days(&desk, TEAMS.days, &asked, team).await?;
    Ok(Json(TEAMS.report(&rows)))
}

async fn team_by_user(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    let team = team(&desk, &asker, &asked).await?;
    let id = team.ok_or_else(|| Refusal::bad("team_id must be given").at("team_id"))?;
    let keys = desk
        .directory
        .store
        .find(Table::KEYS, "team_id", &id)
        .await?;
    let keys: HashSet<String> = keys.iter().filter_map(|row| text(row, "token")).collect();
    let mut rows = days(&desk, &query::USER_DAYS, &asked, None).await?;
    rows.retain(|row| keys.contains(sums::field(row, "api_key")));
    let users = sums::highest(sums::by(&rows, &["entity"]));
    let one = |(user, sums): (Vec<String>, sums::Sums)| {
        json!({"user_id": user[0], "spend": sums.spend, "api_requests": sums.requests,
            "total_tokens": sums.prompt + sums.completion})
    };
    let results: Vec<Value> = users.into_iter().map(one).collect();
    Ok(Json(json!({"team_id": id, "results": results})))
}

async fn of_organizations(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    let id = asked
        .get("organization_id")
        .filter(|id| !id.is_empty())
        .cloned();
    if !asker.sees_all() {
        let id = id.clone().unwrap_or_default();
        if !asker.manages_organization(&desk, &id).await? {
            let text = format!("you do not manage organization_id={id}");
            return Err(Refusal::forbidden(text).at("organization_id"));
        }
    }
    let rows = days(&desk, ORGANIZATIONS.days, &asked, id).await?;
    Ok(Json(ORGANIZATIONS.report(&rows)))
}
