//! `/user/*`: the people who own keys.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::key;
use crate::admin::desk::{
    Answer, Asker, Desk, Fields, Refusal, budget_fields, everything, fold_metadata, page, pages,
    pick, put, reset_at, shown, shown_all, texts_of,
};
use crate::admin::routes::Routes;
use crate::auth::caller::Role;
use crate::directory::{Change, text};
use crate::store::secret::uuid;
use crate::store::{Command, Row, Table};

type Shared = State<Arc<Desk>>;

/// The routes.
pub fn routes() -> Routes<Arc<Desk>> {
    Routes::new()
        .post(
            "/user/new",
            new,
            "Makes a user, and a key of its own unless auto_create_key is false.",
        )
        .row(Table::USERS)
        .fields(&[
            "user_id",
            "auto_create_key",
            "key_alias",
            "duration",
            "send_invite_email",
        ])
        .get(
            "/user/info",
            info,
            "A user with its keys and teams: the one named, or the caller.",
        )
        .query(&["user_id"])
        .get("/v2/user/info", info_v2, "A user's row alone.")
        .query(&["user_id"])
        .post(
            "/user/update",
            update,
            "Changes a user; one that is not there is made.",
        )
        .row(Table::USERS)
        .fields(&["user_id"])
        .post(
            "/user/bulk_update",
            bulk_update,
            "Changes several users, or all; each by itself.",
        )
        .fields(&["users", "all_users", "user_updates"])
        .post(
            "/user/delete",
            delete,
            "Deletes users with their keys and memberships.",
        )
        .fields(&["user_ids"])
        .needs(&["user_ids"])
        .get("/user/list", list, "Users by page.")
        .query(&[
            "page",
            "page_size",
            "role",
            "user_email",
            "team",
            "user_ids",
        ])
        .get("/user/get_users", list, "As /user/list.")
        .query(&[
            "page",
            "page_size",
            "role",
            "user_email",
            "team",
            "user_ids",
        ])
        .get(
            "/user/available_roles",
            roles,
            "The roles that a user may have.",
        )
        .get(
            "/user/filter/ui",
            filter,
            "Users whose id or address holds a text.",
        )
        .query(&["user_id", "user_email"])
}

fn role_is_known(fields: &Row) -> Result<(), Refusal> {
    let Some(role) = text(fields, "user_role") else {
        return Ok(());
    };
    let others = ["team", "customer"];
    if Role::named(&role) != Role::Plain || others.contains(&role.as_str()) {
        return Ok(());
    }
    Err(Refusal::bad(format!(
        "user_role={role} is no role; see /user/available_roles"
    ))
    .at("user_role"))
}

async fn new(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(mut fields): Fields,
) -> Answer {
    asker.must_be_admin("/user/new")?;
    let rules = desk.rules();
    for (name, value) in &rules.user_defaults {
        if fields.get(name).is_none_or(Value::is_null) {
            fields.insert(name.clone(), value.clone());
        }
    }
    role_is_known(&fields)?;
    let id = text(&fields, "user_id").unwrap_or_else(uuid);
    address_is_free(&desk, &fields, &id).await?;
    put(&mut fields, "user_id", id.clone());
    let stored = insert(&desk, &fields, &id).await?;
    for team in team_ids(&fields) {
        super::team::join(&desk, &team, &stored, "user", None).await?;
    }
    let wants_key = fields
        .get("auto_create_key")
        .and_then(Value::as_bool)
        .unwrap_or(true);
    let made = if wants_key {
        first_key(&desk, &asker, &fields).await?
    } else {
        Row::new()
    };
    let mut answer = shown(Table::USERS, stored);
    for name in [
        "key",
        "token",
        "token_id",
        "key_name",
        "key_alias",
        "expires",
    ] {
        put(
            &mut answer,
            name,
            made.get(name).cloned().unwrap_or_default(),
        );
    }
    put(&mut answer, "teams", team_ids(&fields));
    Ok(Json(Value::Object(answer)))
}

async fn insert(desk: &Desk, fields: &Row, id: &str) -> Result<Row, Refusal> {
    budget_fields(fields)?;
    let mut row = pick(Table::USERS, fields);
    put(&mut row, "user_id", id);
    put(&mut row, "teams", team_ids(fields));
    put(
        &mut row,
        "budget_reset_at",
        reset_at(&desk.rules().zone, fields, "budget_duration")?,
    );
    if let Some(metadata) = fold_metadata(fields, None) {
        put(&mut row, "metadata", metadata);
    }
    let stored = desk
        .directory
        .store
        .row(Command::Insert(Table::USERS, row))
        .await?;
    stored.ok_or_else(|| Refusal::exists(format!("User with id {id} already exists")).at("user_id"))
}

async fn address_is_free(desk: &Desk, fields: &Row, id: &str) -> Result<(), Refusal> {
    let Some(address) = text(fields, "user_email") else {
        return Ok(());
    };
    let same = desk
        .directory
        .store
        .find(Table::USERS, "user_email", &address)
        .await?;
    if same
        .iter()
        .all(|row| text(row, "user_id").as_deref() == Some(id))
    {
        return Ok(());
    }
    Err(Refusal::exists(format!("User with email {address} already exists")).at("user_email"))
}

/// Teams of a request: ids, or objects with `team_id`.
fn team_ids(fields: &Row) -> Vec<String> {
    let teams = fields.get("teams").and_then(Value::as_array);
    let ids = teams.into_iter().flatten();
    ids.filter_map(|team| team.as_str().or_else(|| team.get("team_id")?.as_str()))
        .map(str::to_owned)
        .collect()
}

/// The key that a new user gets; its personal limits stay with the user.
async fn first_key(desk: &Desk, asker: &Asker, fields: &Row) -> Result<Row, Refusal> {
    const COPIED: [&str; 7] = [
        "user_id",
        "key_alias",
        "duration",
        "models",
        "aliases",
        "config",
        "permissions",
    ];
    let copied = COPIED
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), fields.get(*name)?.clone())));
    match key::make(desk, asker, copied.collect()).await? {
        Value::Object(made) => Ok(made),
        _ => Ok(Row::new()),
    }
}

/// The user that a request is about: the one it names, or the caller's own.
fn named(asker: &Asker, query: &HashMap<String, String>) -> Result<String, Refusal> {
    let own = asker.user_id();
    let id = query.get("user_id").map(String::as_str).or(own);
    let id = id.ok_or_else(|| Refusal::bad("user_id must be given").at("user_id"))?;
    if asker.sees_all() || Some(id) == own {
        return Ok(id.to_owned());
    }
    Err(Refusal::forbidden(format!(
        "You are not allowed to see user_id={id}; your own is {}",
        own.unwrap_or("none")
    )))
}

async fn info(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    let id = named(&asker, &query)?;
    let store = &desk.directory.store;
    let user = store.get(Table::USERS, &[&id]).await?;
    if user.is_none() && query.contains_key("user_id") {
        return Err(Refusal::not_found(format!("User {id} not found")).at("user_id"));
    }
    let mut keys = store.find(Table::KEYS, "user_id", &id).await?;
    let rules = desk.rules();
    if let Some(master) = rules
        .master_token
        .as_deref()
        .filter(|_| rules.hide_master_key)
    {
        keys.retain(|row| text(row, "token").as_deref() != Some(master));
    }
    for row in &mut keys {
        row.remove("config");
    }
    let mut teams = Vec::new();
    for team in user.iter().flat_map(|user| texts_of(user, "teams")) {
        teams.extend(store.get(Table::TEAMS, &[&team]).await?);
    }
    Ok(Json(json!({
        "user_id": id,
        "user_info": user.map(|user| hidden(shown(Table::USERS, user))),
        "keys": shown_all(Table::KEYS, keys),
        "teams": shown_all(Table::TEAMS, teams),
    })))
}

/// A user without the hash of the password.
fn hidden(mut user: Row) -> Row {
    user.remove("password");
    user
}

async fn info_v2(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    let id = named(&asker, &query)?;
    let user = desk.directory.store.get(Table::USERS, &[&id]).await?;
    let user = user.ok_or_else(|| Refusal::not_found(format!("User {id} not found")))?;
    Ok(Json(Value::Object(hidden(shown(Table::USERS, user)))))
}

async fn update(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    change(&desk, &asker, fields).await.map(Json)
}

/// Changes each user by itself: `users`, or all of them by `user_updates`.
async fn bulk_update(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    const USERS_MAX: usize = 500;
    asker.must_be_admin("/user/bulk_update")?;
    let all = fields.get("all_users").and_then(Value::as_bool) == Some(true);
    let updates = fields.get("user_updates").and_then(Value::as_object);
    let wanted: Vec<Row> = match (all, updates, fields.get("users").and_then(Value::as_array)) {
        (true, Some(updates), _) => {
            let users = everything(&desk, Table::USERS, false).await?;
            let ids = users.iter().filter_map(|user| user.get("user_id").cloned());
            let one = |id: Value| {
                let mut one = updates.clone();
                put(&mut one, "user_id", id);
                one
            };
            ids.map(one).collect()
        }
        (_, _, Some(users)) if (1..=USERS_MAX).contains(&users.len()) => {
            users.iter().filter_map(Value::as_object).cloned().collect()
        }
        _ => {
            let text =
                format!("users must list 1 to {USERS_MAX} users, or all_users with user_updates");
            return Err(Refusal::bad(text).at("users"));
        }
    };
    let mut results = Vec::with_capacity(wanted.len());
    for one in wanted {
        let (id, address) = (one.get("user_id").cloned(), one.get("user_email").cloned());
        let done = change(&desk, &asker, one).await;
        results.push(
            json!({"user_id": id, "user_email": address, "success": done.is_ok(),
            "error": done.as_ref().err().map(Refusal::text), "updated_user": done.ok()}),
        );
    }
    let failed = results.iter().filter(|one| one["success"] == false).count();
    Ok(Json(
        json!({"total_requested": results.len(), "successful_updates": results.len() - failed,
        "failed_updates": failed, "results": results}),
    ))
}

async fn change(desk: &Desk, asker: &Asker, fields: Row) -> Result<Value, Refusal> {
    let id = match (text(&fields, "user_id"), text(&fields, "user_email")) {
        (Some(id), _) => id,
        (None, Some(address)) => {
            let found = desk
                .directory
                .store
                .find(Table::USERS, "user_email", &address)
                .await?;
            let id = found.first().and_then(|row| text(row, "user_id"));
            id.ok_or_else(|| Refusal::not_found(format!("User {address} not found")))?
        }
        (None, None) => return Err(Refusal::bad("user_id or user_email must be given")),
    };
    own_contact_only(asker, &fields, &id)?;
    role_is_known(&fields)?;
    budget_fields(&fields)?;
    address_is_free(desk, &fields, &id).await?;
    let Some(before) = desk.directory.store.get(Table::USERS, &[&id]).await? else {
        asker.must_be_admin("/user/update")?;
        let stored = insert(desk, &fields, &id).await?;
        return Ok(json!({"user_id": id, "data": hidden(shown(Table::USERS, stored))}));
    };
    let mut changes = pick(Table::USERS, &fields);
    changes.remove("password");
    if fields.contains_key("budget_duration") {
        put(
            &mut changes,
            "budget_reset_at",
            reset_at(&desk.rules().zone, &fields, "budget_duration")?,
        );
    }
    let metadata = before.get("metadata").and_then(Value::as_object);
    if let Some(metadata) = fold_metadata(&fields, metadata) {
        put(&mut changes, "metadata", metadata);
    }
    let update = Command::Update(Table::USERS, vec![id.clone()], changes);
    let stored = desk.directory.store.row(update).await?.unwrap_or_default();
    if fields.contains_key("spend") {
        desk.directory.restart(&format!("user:{id}"));
    }
    desk.directory.changed(Change::User(id.clone())).await;
    Ok(json!({"user_id": id, "data": hidden(shown(Table::USERS, stored))}))
}

/// Who is no admin may change its own address and name, and nothing else.
fn own_contact_only(asker: &Asker, fields: &Row, id: &str) -> Result<(), Refusal> {
    const OWN: [&str; 3] = ["user_id", "user_email", "user_alias"];
    if asker.is_admin() {
        return Ok(());
    }
    let contact = fields.keys().all(|name| OWN.contains(&name.as_str()));
    if asker.user_id() == Some(id) && contact {
        return Ok(());
    }
    asker.must_be_admin("/user/update")
}

async fn delete(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    asker.must_be_admin("/user/delete")?;
    let ids = texts_of(&fields, "user_ids");
    let store = &desk.directory.store;
    for id in &ids {
        if store.get(Table::USERS, &[id]).await?.is_none() {
            return Err(Refusal::not_found(format!(
                "User not found, passed user_id={id}"
            )));
        }
    }
    for id in &ids {
        let keys = store.find(Table::KEYS, "user_id", id).await?;
        key::remove(&desk, &asker, keys).await?;
        let teams = store.find(Table::TEAM_MEMBERS, "user_id", id).await?;
        for member in teams {
            let team = text(&member, "team_id").unwrap_or_default();
            super::team::leave(&desk, &team, id).await?;
        }
        let organizations = store
            .find(Table::ORGANIZATION_MEMBERS, "user_id", id)
            .await?;
        let mut commands: Vec<Command> = organizations
            .iter()
            .filter_map(|row| Some(vec![id.clone(), text(row, "organization_id")?]))
            .map(|key| Command::Delete(Table::ORGANIZATION_MEMBERS, key))
            .collect();
        commands.push(Command::Delete(Table::USERS, vec![id.clone()]));
        store.transact(commands).await?;
        desk.directory.changed(Change::User(id.clone())).await;
    }
    Ok(Json(json!(ids.len())))
}

async fn list(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    if !asker.sees_all() {
        asker.must_be_admin("/user/list")?;
    }
    let mut filter = Row::new();
    let names = [
        ("role", "user_role"),
        ("user_email", "user_email"),
        ("team", "teams"),
    ];
    for (asked, column) in names.into_iter().chain([("user_ids", "user_id")]) {
        if let Some(value) = query.get(asked).filter(|value| !value.is_empty()) {
            put(&mut filter, column, value.as_str());
        }
    }
    let (page, size) = page(&query, "page_size", 25, 100);
    let list = Command::List {
        table: Table::USERS,
        filter: filter.clone(),
        newest: true,
        limit: size,
        offset: (page - 1) * size,
    };
    let store = &desk.directory.store;
    let mut answers = store
        .transact(vec![Command::Count(Table::USERS, filter), list])
        .await?;
    let users = answers.pop().unwrap_or_default();
    let count = answers
        .pop()
        .and_then(|mut rows| rows.pop())
        .unwrap_or_default();
    let total = count.get("count").and_then(Value::as_u64).unwrap_or(0);
    let users: Vec<Row> = users.into_iter().map(hidden).collect();
    Ok(Json(json!({
        "users": shown_all(Table::USERS, users), "total": total, "page": page,
        "page_size": size, "total_pages": pages(total, size),
    })))
}

async fn filter(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    if !asker.sees_all() {
        asker.must_be_admin("/user/filter/ui")?;
    }
    let list = Command::List {
        table: Table::USERS,
        filter: Row::new(),
        newest: true,
        limit: 1_000,
        offset: 0,
    };
    let rows = desk.directory.store.rows(list).await?;
    let holds = |row: &Row, name: &str| {
        query
            .get(name)
            .is_none_or(|part| text(row, name).is_some_and(|text| text.contains(part)))
    };
    let found = rows
        .into_iter()
        .filter(|row| holds(row, "user_id") && holds(row, "user_email"));
    Ok(Json(shown_all(Table::USERS, found.map(hidden).collect())))
}

async fn roles() -> Answer {
    let role =
        |name: &str, description: &str| json!({"ui_label": name, "description": description});
    Ok(Json(json!({
        "proxy_admin": role("Admin (All Permissions)", "everything: keys, teams, users, models"),
        "proxy_admin_viewer": role("Admin (View Only)", "sees everything, changes nothing"),
        "internal_user": role("Internal User (Create/Delete/View)", "has keys of its own"),
        "internal_user_viewer": role("Internal User (View Only)", "sees its own keys and spend"),
        "org_admin": role("Organization Admin", "manages its organizations"),
    })))
}
