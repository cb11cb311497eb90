//! `/organization/*`: organizations, above teams.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::budget;
use crate::admin::desk::{
    Answer, Asker, Desk, Fields, Refusal, budget_fields, fold_metadata, pick, put, required, shown,
    shown_all, texts_of, with_budget,
};
use crate::admin::routes::Routes;
use crate::directory::{Change, text};
use crate::store::secret::uuid;
use crate::store::{Command, Row, Table};

type Shared = State<Arc<Desk>>;

/// Fields of a body that are no columns.
const FIELDS: &[&str] = &[
    "organization_id",
    "budget_id",
    "max_budget",
    "soft_budget",
    "tpm_limit",
    "rpm_limit",
    "max_parallel_requests",
    "budget_duration",
    "model_rpm_limit",
    "model_tpm_limit",
];

/// The routes.
pub fn routes() -> Routes<Arc<Desk>> {
    Routes::new()
        .post(
            "/organization/new",
            new,
            "Makes an organization with a budget.",
        )
        .row(Table::ORGANIZATIONS)
        .fields(FIELDS)
        .needs(&["organization_alias"])
        .patch("/organization/update", update, "Changes an organization.")
        .row(Table::ORGANIZATIONS)
        .fields(FIELDS)
        .needs(&["organization_id"])
        .patch(
            "/v2/organization/{organization_id}",
            update_named,
            "Changes the organization in the path.",
        )
        .row(Table::ORGANIZATIONS)
        .fields(FIELDS)
        .delete("/organization/delete", remove, "Deletes organizations.")
        .fields(&["organization_ids"])
        .needs(&["organization_ids"])
        .get(
            "/organization/list",
            list,
            "Organizations that the caller belongs to, or all for admins.",
        )
        .get(
            "/organization/info",
            info,
            "An organization with its budget, members and teams.",
        )
        .query(&["organization_id"])
        .needs(&["organization_id"])
        .post("/organization/info", info_many, "Several organizations.")
        .fields(&["organizations"])
        .needs(&["organizations"])
        .post(
            "/organization/member_add",
            member_add,
            "Adds members to an organization.",
        )
        .fields(&["organization_id", "member", "max_budget_in_organization"])
        .needs(&["organization_id", "member"])
        .patch(
            "/organization/member_update",
            member_update,
            "Changes a member's role and budget in an organization.",
        )
        .fields(&[
            "organization_id",
            "user_id",
            "user_email",
            "role",
            "max_budget_in_organization",
        ])
        .needs(&["organization_id"])
        .delete(
            "/organization/member_delete",
            member_delete,
            "Takes a member out of an organization.",
        )
        .fields(&["organization_id", "user_id", "user_email"])
        .needs(&["organization_id"])
}

async fn row(desk: &Desk, id: &str) -> Result<Row, Refusal> {
    let found = desk
        .directory
        .store
        .get(Table::ORGANIZATIONS, &[id])
        .await?;
    found.ok_or_else(|| {
        Refusal::not_found(format!(
            "Organization not found, passed organization_id={id}"
        ))
        .at("organization_id")
    })
}

async fn must_manage(desk: &Desk, asker: &Asker, id: &str) -> Result<(), Refusal> {
    if asker.manages_organization(desk, id).await? {
        return Ok(());
    }
    Err(Refusal::forbidden(format!(
        "you do not manage organization_id={id}"
    )))
}

async fn new(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    asker.must_be_admin("/organization/new")?;
    required(&fields, "organization_alias")?;
    budget_fields(&fields)?;
    let id = text(&fields, "organization_id").unwrap_or_else(uuid);
    let budget = match text(&fields, "budget_id") {
        Some(budget) => budget,
        None => budget::insert(&desk, &asker, &fields).await?,
    };
    let mut row = pick(Table::ORGANIZATIONS, &fields);
    put(&mut row, "organization_id", id.clone());
    put(&mut row, "budget_id", budget);
    put(&mut row, "created_by", asker.user_id().unwrap_or(""));
    put(&mut row, "updated_by", asker.user_id().unwrap_or(""));
    if let Some(metadata) = fold_metadata(&fields, None) {
        put(&mut row, "metadata", metadata);
    }
    let stored = desk
        .directory
        .store
        .row(Command::Insert(Table::ORGANIZATIONS, row))
        .await?;
    let stored = stored.ok_or_else(|| Refusal::exists(format!("organization {id} exists")))?;
    Ok(Json(Value::Object(told(&desk, stored).await?)))
}

/// An organization with its budget, members and teams.
async fn told(desk: &Desk, row: Row) -> Result<Row, Refusal> {
    let store = &desk.directory.store;
    let id = text(&row, "organization_id").unwrap_or_default();
    let members = store
        .find(Table::ORGANIZATION_MEMBERS, "organization_id", &id)
        .await?;
    let teams = store.find(Table::TEAMS, "organization_id", &id).await?;
    let mut answer = with_budget(desk, Table::ORGANIZATIONS, row).await?;
    put(
        &mut answer,
        "members",
        shown_all(Table::ORGANIZATION_MEMBERS, members),
    );
    put(&mut answer, "teams", shown_all(Table::TEAMS, teams));
    Ok(answer)
}

async fn update_named(
    desk: Shared,
    asker: Extension<Asker>,
    Path(id): Path<String>,
    Fields(mut fields): Fields,
) -> Answer {
    put(&mut fields, "organization_id", id);
    update(desk, asker, Fields(fields)).await
}

async fn update(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    let id = required(&fields, "organization_id")?;
    let before = row(&desk, &id).await?;
    must_manage(&desk, &asker, &id).await?;
    budget_fields(&fields)?;
    let limits = budget::columns(&desk, &fields)?;
    if !limits.is_empty() {
        asker.must_be_admin("/organization/update")?;
        let budget = text(&before, "budget_id").unwrap_or_default();
        let update = Command::Update(Table::BUDGETS, vec![budget], limits);
        desk.directory.store.rows(update).await?;
    }
    let mut changes = pick(Table::ORGANIZATIONS, &fields);
    let metadata = before.get("metadata").and_then(Value::as_object);
    if let Some(metadata) = fold_metadata(&fields, metadata) {
        put(&mut changes, "metadata", metadata);
    }
    put(&mut changes, "updated_by", asker.user_id().unwrap_or(""));
    let update = Command::Update(Table::ORGANIZATIONS, vec![id.clone()], changes);
    let stored = desk.directory.store.row(update).await?.unwrap_or_default();
    desk.directory.changed(Change::Organization(id)).await;
    Ok(Json(Value::Object(told(&desk, stored).await?)))
}

async fn remove(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    asker.must_be_admin("/organization/delete")?;
    let store = &desk.directory.store;
    let mut gone = Vec::new();
    for id in texts_of(&fields, "organization_ids") {
        let before = row(&desk, &id).await?;
        gone.push(told(&desk, before).await?);
        let keys = store.find(Table::KEYS, "organization_id", &id).await?;
        super::key::remove(&desk, &asker, keys).await?;
        let mut commands = Vec::new();
        for team in store.find(Table::TEAMS, "organization_id", &id).await? {
            let team = text(&team, "team_id").unwrap_or_default();
            let keys = store.find(Table::KEYS, "team_id", &team).await?;
            super::key::remove(&desk, &asker, keys).await?;
            for member in store.find(Table::TEAM_MEMBERS, "team_id", &team).await? {
                super::team::leave(&desk, &team, &text(&member, "user_id").unwrap_or_default())
                    .await?;
            }
            commands.push(Command::Delete(Table::TEAMS, vec![team]));
        }
        for member in store
            .find(Table::ORGANIZATION_MEMBERS, "organization_id", &id)
            .await?
        {
            let user = text(&member, "user_id").unwrap_or_default();
            commands.push(Command::Delete(
                Table::ORGANIZATION_MEMBERS,
                vec![user, id.clone()],
            ));
        }
        commands.push(Command::Delete(Table::ORGANIZATIONS, vec![id.clone()]));
        store.transact(commands).await?;
        desk.directory.changed(Change::Organization(id)).await;
    }
    Ok(Json(json!(gone)))
}

async fn list(State(desk): Shared, Extension(asker): Extension<Asker>) -> Answer {
    let list = Command::List {
        table: Table::ORGANIZATIONS,
        filter: Row::new(),
        newest: true,
        limit: 10_000,
        offset: 0,
    };
    let rows = desk.directory.store.rows(list).await?;
    let mut answer = Vec::new();
    for row in rows {
        let id = text(&row, "organization_id").unwrap_or_default();
        if asker.sees_all() || is_member(&desk, &asker, &id).await? {
            answer.push(told(&desk, row).await?);
        }
    }
    Ok(Json(json!(answer)))
}

async fn is_member(desk: &Desk, asker: &Asker, id: &str) -> Result<bool, Refusal> {
    let Some(user) = asker.user_id() else {
        return Ok(false);
    };
    Ok(desk
        .directory
        .store
        .get(Table::ORGANIZATION_MEMBERS, &[user, id])
        .await?
        .is_some())
}

async fn info(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    let id = query.get("organization_id").cloned().unwrap_or_default();
    let row = row(&desk, &id).await?;
    if !asker.sees_all() && !is_member(&desk, &asker, &id).await? {
        return Err(Refusal::forbidden(format!(
            "you are no member of organization_id={id}"
        )));
    }
    Ok(Json(Value::Object(told(&desk, row).await?)))
}

async fn info_many(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    asker.must_be_admin("/organization/info")?;
    let mut answer = Vec::new();
    for id in texts_of(&fields, "organizations") {
        answer.push(told(&desk, row(&desk, &id).await?).await?);
    }
    Ok(Json(json!(answer)))
}

async fn member_add(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    let id = required(&fields, "organization_id")?;
    row(&desk, &id).await?;
    must_manage(&desk, &asker, &id).await?;
    let wanted = match fields.get("member") {
        Some(Value::Array(many)) => many.clone(),
        Some(one @ Value::Object(_)) => vec![one.clone()],
        _ => return Err(Refusal::bad("member must be given").at("member")),
    };
    let (mut users, mut memberships) = (Vec::new(), Vec::new());
    for member in wanted {
        let member = member.as_object().cloned().unwrap_or_default();
        let user = required(&member, "user_id")?;
        let mut new_user = Row::new();
        put(&mut new_user, "user_id", user.clone());
        put(
            &mut new_user,
            "user_email",
            member.get("user_email").cloned().unwrap_or_default(),
        );
        put(&mut new_user, "user_role", "internal_user");
        let mut row = Row::new();
        put(&mut row, "user_id", user.clone());
        put(&mut row, "organization_id", id.clone());
        put(
            &mut row,
            "user_role",
            text(&member, "role").unwrap_or("internal_user".to_owned()),
        );
        if let Some(max) = fields
            .get("max_budget_in_organization")
            .filter(|max| !max.is_null())
        {
            let limits = Row::from_iter([("max_budget".to_owned(), max.clone())]);
            let budget = budget::insert(&desk, &asker, &limits).await?;
            put(&mut row, "budget_id", budget);
        }
        let store = &desk.directory.store;
        store
            .transact(vec![
                Command::Insert(Table::USERS, new_user),
                Command::Put(Table::ORGANIZATION_MEMBERS, row),
            ])
            .await?;
        desk.directory.changed(Change::User(user.clone())).await;
        users.extend(store.get(Table::USERS, &[&user]).await?);
        memberships.extend(
            store
                .get(Table::ORGANIZATION_MEMBERS, &[&user, &id])
                .await?,
        );
    }
    Ok(Json(json!({
        "organization_id": id,
        "updated_users": shown_all(Table::USERS, users),
        "updated_organization_memberships": shown_all(Table::ORGANIZATION_MEMBERS, memberships),
    })))
}

async fn member_update(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    let (id, user) = (
        required(&fields, "organization_id")?,
        required(&fields, "user_id")?,
    );
    must_manage(&desk, &asker, &id).await?;
    let mut changes = Row::new();
    if let Some(role) = text(&fields, "role") {
        put(&mut changes, "user_role", role);
    }
    if fields.contains_key("max_budget_in_organization") {
        let mut limits = Row::new();
        put(
            &mut limits,
            "max_budget",
            fields["max_budget_in_organization"].clone(),
        );
        put(
            &mut changes,
            "budget_id",
            budget::insert(&desk, &asker, &limits).await?,
        );
    }
    let key = vec![user.clone(), id];
    let update = Command::Update(Table::ORGANIZATION_MEMBERS, key, changes);
    let stored = desk.directory.store.row(update).await?;
    let stored = stored.ok_or_else(|| Refusal::not_found("no such member"))?;
    desk.directory.changed(Change::User(user)).await;
    Ok(Json(Value::Object(shown(
        Table::ORGANIZATION_MEMBERS,
        stored,
    ))))
}

async fn member_delete(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    let (id, user) = (
        required(&fields, "organization_id")?,
        required(&fields, "user_id")?,
    );
    must_manage(&desk, &asker, &id).await?;
    let delete = Command::Delete(Table::ORGANIZATION_MEMBERS, vec![user, id]);
    let gone = desk.directory.store.row(delete).await?;
    let gone = gone.ok_or_else(|| Refusal::not_found("no such member"))?;
    Ok(Json(Value::Object(shown(
        Table::ORGANIZATION_MEMBERS,
        gone,
    ))))
}
