//! `/team/*`: teams, their members and their models.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::team_member;
use crate::admin::desk::{
    Answer, Asker, Desk, Fields, Refusal, budget_fields, fold_metadata, page, pages, pick, put,
    required, reset_at, shown, shown_all, texts_of, with_budget,
};
use crate::admin::routes::Routes;
use crate::directory::{Change, text};
use crate::store::secret::uuid;
use crate::store::{Command, Row, Table};

pub(super) use team_member::{join, leave};

type Shared = State<Arc<Desk>>;

/// Fields of a body that are no columns.
const FIELDS: &[&str] = &[
    "team_id",
    "tags",
    "guardrails",
    "model_aliases",
    "team_member_budget",
    "team_member_budget_duration",
    "team_member_rpm_limit",
    "team_member_tpm_limit",
    "team_member_key_duration",
    "model_rpm_limit",
    "model_tpm_limit",
];

/// The routes.
pub fn routes() -> Routes<Arc<Desk>> {
    Routes::new()
        .post("/team/new", new, "Makes a team.")
        .row(Table::TEAMS)
        .fields(FIELDS)
        .post(
            "/team/update",
            update,
            "Changes a team: the fields that are named.",
        )
        .row(Table::TEAMS)
        .fields(FIELDS)
        .needs(&["team_id"])
        .patch(
            "/team/{team_id}",
            update_named,
            "Changes the team in the path.",
        )
        .row(Table::TEAMS)
        .fields(FIELDS)
        .post(
            "/team/delete",
            delete,
            "Deletes teams with their keys and memberships.",
        )
        .fields(&["team_ids"])
        .needs(&["team_ids"])
        .get("/team/info", info, "A team with its keys and members.")
        .query(&["team_id"])
        .get(
            "/team/list",
            list,
            "Teams that the caller may see, with keys and members.",
        )
        .query(&["user_id", "organization_id", "team_alias", "team_id"])
        .get("/v2/team/list", list_paged, "Teams by page.")
        .query(&[
            "page",
            "page_size",
            "user_id",
            "organization_id",
            "team_alias",
            "team_id",
        ])
        .get(
            "/team/available",
            available,
            "Teams that the caller may join by itself.",
        )
        .get("/team/filter/ui", list, "As /team/list.")
        .query(&["team_id", "team_alias"])
        .post("/team/block", block, "Blocks all keys of a team.")
        .fields(&["team_id"])
        .needs(&["team_id"])
        .post(
            "/team/unblock",
            unblock,
            "Lets the keys of a blocked team work again.",
        )
        .fields(&["team_id"])
        .needs(&["team_id"])
        .post(
            "/team/model/add",
            add_models,
            "Adds models to those of a team.",
        )
        .fields(&["team_id", "models"])
        .needs(&["team_id", "models"])
        .post(
            "/team/model/delete",
            delete_models,
            "Takes models away from a team.",
        )
        .fields(&["team_id", "models"])
        .needs(&["team_id", "models"])
        .get(
            "/team/permissions_list",
            permissions,
            "What plain members of a team may do with keys.",
        )
        .query(&["team_id"])
        .needs(&["team_id"])
        .post(
            "/team/permissions_update",
            set_permissions,
            "Sets what plain members of a team may do with keys.",
        )
        .fields(&["team_id", "team_member_permissions"])
        .needs(&["team_id"])
        .merge(team_member::routes())
}

/// A team's row.
pub(super) async fn row(desk: &Desk, id: &str) -> Result<Row, Refusal> {
    let found = desk.directory.store.get(Table::TEAMS, &[id]).await?;
    found.ok_or_else(|| {
        Refusal::not_found(format!("Team not found, passed team id: {id}")).at("team_id")
    })
}

/// Changes a team's columns and tells the shards.
pub(super) async fn write(desk: &Desk, id: &str, changes: Row) -> Result<Row, Refusal> {
    let update = Command::Update(Table::TEAMS, vec![id.to_owned()], changes);
    let stored = desk.directory.store.row(update).await?.unwrap_or_default();
    desk.directory.changed(Change::Team(id.to_owned())).await;
    Ok(stored)
}

async fn new(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(mut fields): Fields,
) -> Answer {
    let organization = text(&fields, "organization_id");
    may_make(&desk, &asker, organization.as_deref()).await?;
    for (name, value) in &desk.rules().team_defaults {
        if fields.get(name).is_none_or(Value::is_null) {
            fields.insert(name.clone(), value.clone());
        }
    }
    budget_fields(&fields)?;
    if let Some(id) = &organization {
        within_organization(&desk, id, &fields).await?;
    }
    let id = text(&fields, "team_id").unwrap_or_else(uuid);
    let mut row = pick(Table::TEAMS, &fields);
    put(&mut row, "team_id", id.clone());
    put(
        &mut row,
        "budget_reset_at",
        reset_at(&desk.rules().zone, &fields, "budget_duration")?,
    );
    put(&mut row, "members_with_roles", json!([]));
    put(&mut row, "members", json!([]));
    if let Some(metadata) = metadata(&fields, None) {
        put(&mut row, "metadata", metadata);
    }
    if let Some(model) = aliases(&desk, &asker, &fields).await? {
        put(&mut row, "model_id", model);
    }
    let stored = desk
        .directory
        .store
        .row(Command::Insert(Table::TEAMS, row))
        .await?;
    let stored = stored.ok_or_else(|| {
        Refusal::bad(format!(
            "Team id = {id} already exists. Please use a different team id."
        ))
    })?;
    let mut members = fields
        .get("members_with_roles")
        .and_then(Value::as_array)
        .cloned();
    if members.is_none() && asker.caller().is_some() {
        members = asker
            .user_id()
            .map(|user| vec![json!({"user_id": user, "role": "admin"})]);
    }
    let budget = fields.get("team_member_budget").cloned();
    let members = members.unwrap_or_default();
    let stored = match members.is_empty() {
        true => stored,
        false => {
            team_member::add_all(&desk, &asker, &stored, &members, budget)
                .await?
                .0
        }
    };
    Ok(Json(Value::Object(shown(Table::TEAMS, stored))))
}

/// Proxy admins make teams, and admins of an organization within it.
async fn may_make(desk: &Desk, asker: &Asker, organization: Option<&str>) -> Result<(), Refusal> {
    if let Some(id) = organization
        && asker.manages_organization(desk, id).await?
    {
        return Ok(());
    }
    asker.must_be_admin("/team/new")
}

/// A team has no more than its organization.
async fn within_organization(desk: &Desk, id: &str, fields: &Row) -> Result<(), Refusal> {
    let found = desk
        .directory
        .store
        .get(Table::ORGANIZATIONS, &[id])
        .await?;
    let organization = found.ok_or_else(|| {
        Refusal::bad(format!("Organization not found for organization_id={id}"))
            .at("organization_id")
    })?;
    let have = texts_of(&organization, "models");
    let all = have.is_empty() || have.iter().any(|name| name == "all-proxy-models");
    let wanted = texts_of(fields, "models");
    if let Some(model) = wanted.iter().find(|name| !all && !have.contains(name)) {
        return Err(Refusal::forbidden(format!(
            "Cannot create team with model={model}, as organization does not have access to it"
        ))
        .at("models"));
    }
    Ok(())
}

fn metadata(fields: &Row, before: Option<&Row>) -> Option<serde_json::Map<String, Value>> {
    let before = before
        .and_then(|row| row.get("metadata"))
        .and_then(Value::as_object);
    fold_metadata(fields, before)
}

/// `model_aliases` have a row of their own; its number.
async fn aliases(desk: &Desk, asker: &Asker, fields: &Row) -> Result<Option<Value>, Refusal> {
    let Some(map) = fields.get("model_aliases").filter(|map| map.is_object()) else {
        return Ok(None);
    };
    let mut row = Row::new();
    put(&mut row, "aliases", map.clone());
    put(&mut row, "created_by", asker.user_id().unwrap_or(""));
    put(&mut row, "updated_by", asker.user_id().unwrap_or(""));
    let stored = desk
        .directory
        .store
        .row(Command::Insert(Table::TEAM_MODELS, row))
        .await?;
    Ok(stored.and_then(|row| row.get("id").cloned()))
}

async fn update_named(
    desk: Shared,
    asker: Extension<Asker>,
    Path(id): Path<String>,
    Fields(mut fields): Fields,
) -> Answer {
    put(&mut fields, "team_id", id);
    update(desk, asker, Fields(fields)).await
}

async fn update(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    let id = required(&fields, "team_id")?;
    let before = row(&desk, &id).await?;
    asker.must_manage_team(&desk, &before).await?;
    budget_fields(&fields)?;
    only_admins_raise(&asker, &fields)?;
    if let Some(organization) = text(&fields, "organization_id") {
        within_organization(&desk, &organization, &fields).await?;
    }
    let mut changes = pick(Table::TEAMS, &fields);
    for ours in ["members", "admins", "members_with_roles"] {
        changes.remove(ours);
    }
    if fields.contains_key("budget_duration") {
        put(
            &mut changes,
            "budget_reset_at",
            reset_at(&desk.rules().zone, &fields, "budget_duration")?,
        );
    }
    if let Some(metadata) = metadata(&fields, Some(&before)) {
        put(&mut changes, "metadata", metadata);
    }
    if let Some(model) = aliases(&desk, &asker, &fields).await? {
        put(&mut changes, "model_id", model);
    }
    if fields.contains_key("spend") {
        desk.directory.restart(&format!("team:{id}"));
    }
    let stored = write(&desk, &id, changes).await?;
    Ok(Json(
        json!({"team_id": id, "data": shown(Table::TEAMS, stored)}),
    ))
}

/// A team's own admin does not raise what the proxy's admin gave the team.
fn only_admins_raise(asker: &Asker, fields: &Row) -> Result<(), Refusal> {
    const GIVEN: [&str; 8] = [
        "max_budget",
        "budget_duration",
        "tpm_limit",
        "rpm_limit",
        "max_parallel_requests",
        "organization_id",
        "spend",
        "blocked",
    ];
    if asker.is_admin() {
        return Ok(());
    }
    match GIVEN.iter().find(|name| fields.contains_key(**name)) {
        None => Ok(()),
        Some(name) => {
            Err(Refusal::forbidden(format!("only a proxy admin may change {name}")).at(name))
        }
    }
}

async fn delete(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    let ids = texts_of(&fields, "team_ids");
    if ids.is_empty() {
        return Err(Refusal::bad("team_ids must be given").at("team_ids"));
    }
    for id in &ids {
        asker
            .must_manage_team(&desk, &row(&desk, id).await?)
            .await?;
    }
    let store = &desk.directory.store;
    for id in &ids {
        let keys = store.find(Table::KEYS, "team_id", id).await?;
        super::key::remove(&desk, &asker, keys).await?;
        for member in store.find(Table::TEAM_MEMBERS, "team_id", id).await? {
            leave(&desk, id, &text(&member, "user_id").unwrap_or_default()).await?;
        }
        store
            .rows(Command::Delete(Table::TEAMS, vec![id.clone()]))
            .await?;
        desk.directory.changed(Change::Team(id.clone())).await;
    }
    Ok(Json(json!({"deleted_teams": ids})))
}

/// The caller may look at the team: it belongs to it, manages it or sees all.
async fn may_see(desk: &Desk, asker: &Asker, team: &Row) -> Result<(), Refusal> {
    let own = asker.caller().and_then(|caller| caller.team_id.clone());
    let member = own.is_some() && own == text(team, "team_id") || asker.member_role(team).is_some();
    if member || asker.sees_all() {
        return Ok(());
    }
    asker.must_manage_team(desk, team).await
}

async fn info(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    let own = asker.caller().and_then(|caller| caller.team_id.clone());
    let id = query.get("team_id").cloned().or(own);
    let id = id.ok_or_else(|| Refusal::bad("team_id must be given").at("team_id"))?;
    let team = row(&desk, &id).await?;
    may_see(&desk, &asker, &team).await?;
    let store = &desk.directory.store;
    let mut keys = store.find(Table::KEYS, "team_id", &id).await?;
    if asker.must_manage_team(&desk, &team).await.is_err() && !asker.sees_all() {
        keys.retain(|key| text(key, "user_id").as_deref() == asker.user_id());
    }
    let mut memberships = Vec::new();
    for member in store.find(Table::TEAM_MEMBERS, "team_id", &id).await? {
        memberships.push(with_budget(&desk, Table::TEAM_MEMBERS, member).await?);
    }
    Ok(Json(json!({
        "team_id": id,
        "team_info": shown(Table::TEAMS, team),
        "keys": shown_all(Table::KEYS, keys),
        "team_memberships": memberships,
    })))
}

async fn visible(
    desk: &Desk,
    asker: &Asker,
    query: &HashMap<String, String>,
) -> Result<Vec<Row>, Refusal> {
    let mut filter = Row::new();
    for name in ["organization_id", "team_alias", "team_id"] {
        if let Some(value) = query.get(name).filter(|value| !value.is_empty()) {
            put(&mut filter, name, value.as_str());
        }
    }
    let list = Command::List {
        table: Table::TEAMS,
        filter,
        newest: true,
        limit: 10_000,
        offset: 0,
    };
    let mut teams = desk.directory.store.rows(list).await?;
    let user = match asker.sees_all() {
        true => query.get("user_id").cloned(),
        false => Some(asker.user_id().unwrap_or_default().to_owned()),
    };
    if let Some(user) = user {
        teams.retain(|team| team_member::is_member(team, &user));
    }
    Ok(teams)
}

async fn list(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    let teams = visible(&desk, &asker, &query).await?;
    let mut answer = Vec::with_capacity(teams.len());
    for team in teams {
        let id = text(&team, "team_id").unwrap_or_default();
        let keys = desk
            .directory
            .store
            .find(Table::KEYS, "team_id", &id)
            .await?;
        let members = desk
            .directory
            .store
            .find(Table::TEAM_MEMBERS, "team_id", &id)
            .await?;
        let mut team = shown(Table::TEAMS, team);
        put(&mut team, "keys", shown_all(Table::KEYS, keys));
        put(
            &mut team,
            "team_memberships",
            shown_all(Table::TEAM_MEMBERS, members),
        );
        answer.push(Value::Object(team));
    }
    Ok(Json(Value::Array(answer)))
}

async fn list_paged(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    let teams = visible(&desk, &asker, &query).await?;
    let (page, size) = page(&query, "page_size", 10, 100);
    let total = teams.len() as u64;
    let from = usize::try_from((page - 1) * size).unwrap_or(usize::MAX);
    let teams: Vec<Row> = teams
        .into_iter()
        .skip(from)
        .take(usize::try_from(size).unwrap_or(100))
        .collect();
    Ok(Json(json!({
        "teams": shown_all(Table::TEAMS, teams), "total": total, "page": page, "page_size": size,
        "total_pages": pages(total, size),
    })))
}

/// Teams that anybody may join; none are configured.
async fn available() -> Answer {
    Ok(Json(json!([])))
}

async fn block(desk: Shared, asker: Extension<Asker>, fields: Fields) -> Answer {
    set_blocked(desk, asker, fields, true).await
}

async fn unblock(desk: Shared, asker: Extension<Asker>, fields: Fields) -> Answer {
    set_blocked(desk, asker, fields, false).await
}

async fn set_blocked(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
    blocked: bool,
) -> Answer {
    let id = required(&fields, "team_id")?;
    asker.must_be_admin(if blocked {
        "/team/block"
    } else {
        "/team/unblock"
    })?;
    row(&desk, &id).await?;
    let changes = Row::from_iter([("blocked".to_owned(), Value::from(blocked))]);
    Ok(Json(Value::Object(shown(
        Table::TEAMS,
        write(&desk, &id, changes).await?,
    ))))
}

async fn change_models(
    desk: &Desk,
    asker: &Asker,
    fields: &Row,
    change: impl Fn(&mut Vec<String>, &str),
) -> Answer {
    let id = required(fields, "team_id")?;
    let team = row(desk, &id).await?;
    asker.must_be_admin("/team/model/add")?;
    let mut models = texts_of(&team, "models");
    for model in texts_of(fields, "models") {
        change(&mut models, &model);
    }
    let changes = Row::from_iter([("models".to_owned(), Value::from(models))]);
    Ok(Json(Value::Object(shown(
        Table::TEAMS,
        write(desk, &id, changes).await?,
    ))))
}

async fn add_models(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    change_models(&desk, &asker, &fields, |models, model| {
        if !models.iter().any(|have| have == model) {
            models.push(model.to_owned());
        }
    })
    .await
}

async fn delete_models(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    change_models(&desk, &asker, &fields, |models, model| {
        models.retain(|have| have != model)
    })
    .await
}

/// What a plain member may be permitted.
const PERMISSIONS: [&str; 9] = [
    "/key/generate",
    "/key/update",
    "/key/delete",
    "/key/info",
    "/key/list",
    "/key/regenerate",
    "/key/block",
    "/key/unblock",
    "/key/service-account/generate",
];

async fn permissions(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    let id = query.get("team_id").cloned().unwrap_or_default();
    let team = row(&desk, &id).await?;
    may_see(&desk, &asker, &team).await?;
    Ok(Json(json!({
        "team_id": id,
        "team_member_permissions": texts_of(&team, "team_member_permissions"),
        "all_available_permissions": PERMISSIONS,
    })))
}

/// Refuses names that are no permissions of members.
pub(super) fn are_permissions(names: &[String]) -> Result<(), Refusal> {
    match names
        .iter()
        .find(|name| !PERMISSIONS.contains(&name.as_str()))
    {
        None => Ok(()),
        Some(wrong) => Err(Refusal::bad(format!(
            "{wrong} is no permission of members: {PERMISSIONS:?}"
        ))),
    }
}

async fn set_permissions(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    let id = required(&fields, "team_id")?;
    let team = row(&desk, &id).await?;
    asker.must_manage_team(&desk, &team).await?;
    let permitted = texts_of(&fields, "team_member_permissions");
    are_permissions(&permitted)?;
    let changes = Row::from_iter([("team_member_permissions".to_owned(), Value::from(permitted))]);
    Ok(Json(Value::Object(shown(
        Table::TEAMS,
        write(&desk, &id, changes).await?,
    ))))
}
