//! `/invitation/*`: links by which people that an admin has made users claim their account.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::{Extension, Json};
use serde_json::Value;

use crate::admin::desk::{Answer, Asker, Desk, Fields, Refusal, put, required, shown};
use crate::admin::routes::Routes;
use crate::auth::calendar::{self, SECOND_US};
use crate::store::secret::uuid;
use crate::store::{Command, Row, Table, now_text, now_us};

type Shared = State<Arc<Desk>>;

/// How long an invitation holds, as LiteLLM's.
const DAYS: i64 = 7;

/// The routes.
pub fn routes() -> Routes<Arc<Desk>> {
    Routes::new()
        .post("/invitation/new", new, "Invites a user, for seven days.")
        .fields(&["user_id"])
        .needs(&["user_id"])
        .get("/invitation/info", info, "An invitation.")
        .query(&["invitation_id"])
        .needs(&["invitation_id"])
        .post(
            "/invitation/update",
            update,
            "Says whether an invitation was accepted.",
        )
        .fields(&["invitation_id", "is_accepted"])
        .needs(&["invitation_id", "is_accepted"])
        .post("/invitation/delete", delete, "Takes an invitation back.")
        .fields(&["invitation_id"])
        .needs(&["invitation_id"])
}

fn told(found: Option<Row>) -> Answer {
    let row = found.ok_or_else(|| {
        Refusal::bad("Invitation id does not exist in the database.").at("invitation_id")
    })?;
    Ok(Json(Value::Object(shown(Table::INVITATIONS, row))))
}

async fn new(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    asker.must_be_admin("/invitation/new")?;
    let user = required(&fields, "user_id")?;
    let store = &desk.directory.store;
    if store.get(Table::USERS, &[&user]).await?.is_none() {
        let text = format!("User id does not exist in the database: {user}");
        return Err(Refusal::bad(text).at("user_id"));
    }
    let (now, by) = (now_text(), asker.user_id().unwrap_or(""));
    let ends = calendar::text(now_us() + DAYS * 86_400 * SECOND_US);
    let mut row = Row::new();
    put(&mut row, "id", uuid());
    put(&mut row, "user_id", user);
    put(&mut row, "expires_at", ends);
    for (time, who) in [("created_at", "created_by"), ("updated_at", "updated_by")] {
        put(&mut row, time, now.clone());
        put(&mut row, who, by);
    }
    let mut commands = Vec::new();
    if asker.caller().is_none() {
        // The master key's user has no row of its own before somebody refers to it.
        let mut master = Row::new();
        put(&mut master, "user_id", by);
        put(&mut master, "user_role", "proxy_admin");
        commands.push(Command::Insert(Table::USERS, master));
    }
    commands.push(Command::Insert(Table::INVITATIONS, row));
    let stored = store.transact(commands).await?.pop();
    told(stored.and_then(|mut rows| rows.pop()))
}

async fn info(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    if !asker.sees_all() {
        asker.must_be_admin("/invitation/info")?;
    }
    let id = query.get("invitation_id").map_or("", String::as_str);
    told(desk.directory.store.get(Table::INVITATIONS, &[id]).await?)
}

async fn update(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    asker.must_be_admin("/invitation/update")?;
    let id = required(&fields, "invitation_id")?;
    let accepted = fields.get("is_accepted").and_then(Value::as_bool);
    let accepted = accepted
        .ok_or_else(|| Refusal::bad("is_accepted must be true or false").at("is_accepted"))?;
    let mut changes = Row::new();
    put(&mut changes, "is_accepted", accepted);
    let at = if accepted {
        Value::from(now_text())
    } else {
        Value::Null
    };
    put(&mut changes, "accepted_at", at);
    put(&mut changes, "updated_by", asker.user_id().unwrap_or(""));
    let update = Command::Update(Table::INVITATIONS, vec![id], changes);
    told(desk.directory.store.row(update).await?)
}

async fn delete(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    asker.must_be_admin("/invitation/delete")?;
    let id = required(&fields, "invitation_id")?;
    let delete = Command::Delete(Table::INVITATIONS, vec![id]);
    told(desk.directory.store.row(delete).await?)
}
