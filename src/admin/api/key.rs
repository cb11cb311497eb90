//! `/key/*`: virtual keys. A key is shown once, when it is made; rows keep its SHA-256.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::key_renewal;
use super::key_rules::{self, Grant};
use crate::admin::desk::{
    Answer, Asker, Desk, Fields, Refusal, budget_fields, expiry, fold_metadata, page, pages, pick,
    put, required, reset_at, shown, texts_of, with_budget,
};
use crate::admin::routes::Routes;
use crate::directory::{Change, text};
use crate::store::secret::{new_key, token as token_of, uuid};
use crate::store::{Command, Row, Table, now_text};

type Shared = State<Arc<Desk>>;

/// Fields of a body that are no columns.
const FIELDS: &[&str] = &[
    "duration",
    "key",
    "team_id",
    "user_id",
    "soft_budget",
    "tags",
    "guardrails",
    "enforced_params",
    "model_rpm_limit",
    "model_tpm_limit",
    "temp_budget_increase",
    "temp_budget_expiry",
    "key_type",
];

/// The routes.
pub fn routes() -> Routes<Arc<Desk>> {
    Routes::new()
        .post(
            "/key/generate",
            generate,
            "Makes a virtual key. The answer is the only time that the key itself is shown.",
        )
        .row(Table::KEYS)
        .fields(FIELDS)
        .post(
            "/key/service-account/generate",
            generate_service_account,
            "Makes a key of a team that belongs to no user.",
        )
        .row(Table::KEYS)
        .fields(FIELDS)
        .needs(&["team_id"])
        .get(
            "/key/info",
            info,
            "A key with its budget: the one named, or the caller's own.",
        )
        .query(&["key"])
        .post(
            "/v2/key/info",
            info_many,
            "Several keys with their budgets.",
        )
        .fields(&["keys"])
        .post(
            "/key/update",
            update,
            "Changes a key: the fields that are named.",
        )
        .row(Table::KEYS)
        .fields(FIELDS)
        .needs(&["key"])
        .post(
            "/key/bulk_update",
            bulk_update,
            "Changes several keys; each succeeds or fails by itself.",
        )
        .fields(&["keys"])
        .needs(&["keys"])
        .post(
            "/key/delete",
            delete,
            "Deletes keys, named by themselves, their hashes or their aliases.",
        )
        .fields(&["keys", "key_aliases"])
        .post(
            "/key/regenerate",
            key_renewal::regenerate_named,
            "A new key in place of an old one; everything else stays.",
        )
        .row(Table::KEYS)
        .fields(FIELDS)
        .fields(key_renewal::FIELDS)
        .needs(&["key"])
        .post(
            "/key/{key}/regenerate",
            key_renewal::regenerate,
            "A new key in place of the one in the path.",
        )
        .row(Table::KEYS)
        .fields(FIELDS)
        .fields(key_renewal::FIELDS)
        .post(
            "/key/{key}/reset_spend",
            reset_spend,
            "Sets what a key has spent.",
        )
        .fields(&["reset_to"])
        .post("/key/block", block, "Blocks a key at once.")
        .fields(&["key"])
        .needs(&["key"])
        .post("/key/unblock", unblock, "Lets a blocked key work again.")
        .fields(&["key"])
        .needs(&["key"])
        .get("/key/list", list, "Keys that the caller may see, by page.")
        .query(&[
            "page",
            "size",
            "user_id",
            "team_id",
            "organization_id",
            "key_alias",
            "key_hash",
            "return_full_object",
        ])
        .get("/key/aliases", aliases, "The aliases of keys, by page.")
        .query(&["page", "size", "search", "user_id", "team_id"])
        .post(
            "/key/health",
            health,
            "Says that the caller's key works, and which callbacks it has.",
        )
}

/// The row's name of a key that is given as itself or as its hash.
pub(super) fn token(key: &str) -> String {
    if key.starts_with("sk-") {
        token_of(key)
    } else {
        key.to_owned()
    }
}

/// The row of a key.
pub(super) async fn row(desk: &Desk, key: &str) -> Result<Row, Refusal> {
    let found = desk
        .directory
        .store
        .get(Table::KEYS, &[&token(key)])
        .await?;
    found.ok_or_else(|| Refusal::not_found("Key not found in database").at("key"))
}

async fn generate(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    make(&desk, &asker, fields).await.map(Json)
}

async fn generate_service_account(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(mut fields): Fields,
) -> Answer {
    required(&fields, "team_id")?;
    let mut metadata = fields
        .get("metadata")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    let alias = fields
        .get("key_alias")
        .cloned()
        .unwrap_or_else(|| Value::from(uuid()));
    metadata.insert("service_account_id".to_owned(), alias);
    put(&mut fields, "metadata", metadata);
    fields.remove("user_id");
    make_for(&desk, &asker, fields, Owner::Nobody)
        .await
        .map(Json)
}

/// Whose key is made when the request names nobody.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Asker,
    Nobody,
}

/// Makes a key as `/key/generate` does.
pub(super) async fn make(desk: &Desk, asker: &Asker, fields: Row) -> Result<Value, Refusal> {
    make_for(desk, asker, fields, Owner::Asker).await
}

async fn make_for(
    desk: &Desk,
    asker: &Asker,
    mut fields: Row,
    owner: Owner,
) -> Result<Value, Refusal> {
    let rules = desk.rules();
    if rules.custom_generate {
        ask_function(desk, &mut fields).await?;
    }
    key_rules::alias_is_well_formed(&rules, &fields)?;
    budget_fields(&fields)?;
    if owner == Owner::Asker
        && text(&fields, "user_id").is_none()
        && let Some(user) = asker.caller().and_then(|caller| caller.user_id.clone())
    {
        put(&mut fields, "user_id", user);
    }
    key_rules::defaults(&rules, &mut fields)?;
    key_rules::may_grant(desk, asker, &fields, Grant::New).await?;
    let key = chosen_key(&fields)?;
    let token = token_of(&key);
    alias_is_free(desk, &fields, &token).await?;
    let mut row = new_row(desk, &fields)?;
    put(&mut row, "token", token.clone());
    put(&mut row, "key_name", short(&key));
    let by = asker.user_id().map(str::to_owned);
    put(&mut row, "created_by", by.clone());
    put(&mut row, "updated_by", by.clone());
    let mut commands = Vec::new();
    if let Some(budget) = soft_budget(&fields, by) {
        put(&mut row, "budget_id", budget["budget_id"].clone());
        commands.push(Command::Insert(Table::BUDGETS, budget));
    }
    commands.push(Command::Insert(Table::KEYS, row));
    let stored = desk
        .directory
        .store
        .transact(commands)
        .await?
        .pop()
        .and_then(|mut r| r.pop());
    let stored = stored.ok_or_else(|| Refusal::bad("Key already exists").at("key"))?;
    desk.directory.changed(Change::Key(token)).await;
    if let Some(escrow) = desk.escrow() {
        escrow.keep(&stored, &key).await;
    }
    Ok(Value::Object(made(stored, &key)))
}

/// `custom_key_generate`: a Python function refuses the key, or says what it is.
async fn ask_function(desk: &Desk, fields: &mut Row) -> Result<(), Refusal> {
    const NAME: &str = "custom_key_generate";
    let hooks = desk.hooks().ok_or_else(|| Refusal::internal(NAME))?;
    let told = hooks.call(NAME, Value::Object(fields.clone())).await?;
    let given = told.as_str().or_else(|| told["key"].as_str());
    if let Some(key) = given {
        put(fields, "key", key);
        return Ok(());
    }
    if told["decision"].as_bool() == Some(true) {
        return Ok(());
    }
    let why = told["message"].as_str();
    Err(Refusal::forbidden(
        why.unwrap_or("Authentication Failed - Custom Auth Rule"),
    ))
}

/// The request's own key, or a new one.
pub(super) fn chosen_key(fields: &Row) -> Result<String, Refusal> {
    const LETTERS_MIN: usize = 16;
    match text(fields, "key") {
        None => new_key().map_err(|error| Refusal::internal(error.to_string())),
        Some(key) if !key.starts_with("sk-") => Err(Refusal::bad(
            "Invalid key format. LiteLLM Virtual Key must start with 'sk-'",
        )
        .at("key")),
        Some(key) if key.len() < LETTERS_MIN => Err(Refusal::bad(format!(
            "Invalid key format. A key has at least {LETTERS_MIN} characters"
        ))
        .at("key")),
        Some(key) => Ok(key),
    }
}

/// `sk-...` and the last four letters.
pub(super) fn short(key: &str) -> String {
    let letters: Vec<char> = key.chars().collect();
    let last: String = letters[letters.len().saturating_sub(4)..].iter().collect();
    format!("sk-...{last}")
}

async fn alias_is_free(desk: &Desk, fields: &Row, token: &str) -> Result<(), Refusal> {
    let Some(alias) = text(fields, "key_alias") else {
        return Ok(());
    };
    let same = desk
        .directory
        .store
        .find(Table::KEYS, "key_alias", &alias)
        .await?;
    if same
        .iter()
        .all(|row| text(row, "token").as_deref() == Some(token))
    {
        return Ok(());
    }
    Err(Refusal::bad(format!(
        "Key with alias '{alias}' already exists. Unique key aliases across all keys are required."
    ))
    .at("key_alias"))
}

/// The columns of a new key, but for its name.
fn new_row(desk: &Desk, fields: &Row) -> Result<Row, Refusal> {
    let mut row = pick(Table::KEYS, fields);
    put(&mut row, "expires", expiry(fields, "duration")?);
    put(
        &mut row,
        "budget_reset_at",
        reset_at(&desk.rules().zone, fields, "budget_duration")?,
    );
    if let Some(metadata) = fold_metadata(fields, None) {
        put(&mut row, "metadata", metadata);
    }
    if let Some(routes) = routes_of_type(fields)? {
        put(&mut row, "allowed_routes", routes);
    }
    key_renewal::plan(&mut row, &Row::new())?;
    Ok(row)
}

/// `key_type` is short for a list of routes.
fn routes_of_type(fields: &Row) -> Result<Option<Vec<&'static str>>, Refusal> {
    if !texts_of(fields, "allowed_routes").is_empty() {
        return Ok(None);
    }
    match fields.get("key_type").and_then(Value::as_str) {
        None | Some("default") => Ok(None),
        Some("llm_api") => Ok(Some(vec!["llm_api_routes"])),
        Some("management") => Ok(Some(vec!["management_routes"])),
        Some("read_only") => Ok(Some(vec!["info_routes"])),
        Some(other) => Err(Refusal::bad(format!(
            "key_type must be default, llm_api, management or read_only; got {other}"
        ))
        .at("key_type")),
    }
}

/// The budget row that holds a key's `soft_budget`.
fn soft_budget(fields: &Row, by: Option<String>) -> Option<Row> {
    let soft = fields
        .get("soft_budget")
        .filter(|value| value.is_number())?;
    let mut budget = Row::new();
    put(&mut budget, "budget_id", uuid());
    put(&mut budget, "soft_budget", soft.clone());
    put(
        &mut budget,
        "max_budget",
        fields.get("max_budget").cloned().unwrap_or_default(),
    );
    put(&mut budget, "created_by", by.clone().unwrap_or_default());
    put(&mut budget, "updated_by", by.unwrap_or_default());
    Some(budget)
}

/// The answer to whoever makes a key: the only time that the key itself is shown.
pub(super) fn made(row: Row, key: &str) -> Row {
    let mut answer = shown(Table::KEYS, row);
    let token = answer.get("token").cloned().unwrap_or_default();
    put(&mut answer, "key", key);
    put(&mut answer, "token_id", token);
    answer.entry("litellm_budget_table").or_insert(Value::Null);
    answer
}

async fn info(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    let own = asker.caller().map(|caller| caller.token.clone());
    let asked = query.get("key").cloned().or(own);
    let key = asked.ok_or_else(|| Refusal::bad("key must be given").at("key"))?;
    let row = row(&desk, &key).await?;
    key_rules::may_see(&desk, &asker, &row).await?;
    Ok(Json(json!({"key": key, "info": told(&desk, row).await?})))
}

/// A key's row for `/key/info`: without its name, with its budget.
async fn told(desk: &Desk, row: Row) -> Result<Row, Refusal> {
    let mut row = with_budget(desk, Table::KEYS, row).await?;
    row.remove("token");
    Ok(row)
}

async fn info_many(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    let keys = texts_of(&fields, "keys");
    let mut told_all = Vec::with_capacity(keys.len());
    for key in &keys {
        let row = row(&desk, key).await?;
        key_rules::may_see(&desk, &asker, &row).await?;
        told_all.push(told(&desk, row).await?);
    }
    Ok(Json(json!({"key": keys, "info": told_all})))
}

async fn update(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    change(&desk, &asker, fields).await.map(Json)
}

/// Changes a key as `/key/update` does.
pub(super) async fn change(desk: &Desk, asker: &Asker, fields: Row) -> Result<Value, Refusal> {
    let key = required(&fields, "key")?;
    let before = row(desk, &key).await?;
    key_rules::may_change(desk, asker, &before).await?;
    let changes = changes(desk, &fields, &before)?;
    key_rules::within_bounds(&desk.rules(), &fields)?;
    let mut after = before.clone();
    after.extend(fields.clone());
    key_rules::may_grant(desk, asker, &after, Grant::Changed(&fields)).await?;
    let token = token(&key);
    alias_is_free(desk, &fields, &token).await?;
    let mut changes = changes;
    put(
        &mut changes,
        "updated_by",
        asker.user_id().map(str::to_owned),
    );
    let mut commands = Vec::new();
    if let Some(soft) = fields.get("soft_budget").filter(|value| value.is_number()) {
        match text(&before, "budget_id") {
            Some(id) => {
                let soft = Row::from_iter([("soft_budget".to_owned(), soft.clone())]);
                commands.push(Command::Update(Table::BUDGETS, vec![id], soft));
            }
            None => {
                let by = asker.user_id().map(str::to_owned);
                if let Some(budget) = soft_budget(&fields, by) {
                    put(&mut changes, "budget_id", budget["budget_id"].clone());
                    commands.push(Command::Insert(Table::BUDGETS, budget));
                }
            }
        }
    }
    commands.push(Command::Update(Table::KEYS, vec![token.clone()], changes));
    let stored = desk.directory.store.transact(commands).await?.pop();
    let stored = stored.and_then(|mut rows| rows.pop());
    let stored = stored.ok_or_else(|| Refusal::not_found("Key not found in database"))?;
    if fields.contains_key("spend") {
        desk.directory.restart(&format!("key:{token}"));
    }
    desk.directory.changed(Change::Key(token)).await;
    if let Some(escrow) = desk.escrow() {
        escrow.rename(&before, &stored).await;
    }
    let mut answer = shown(Table::KEYS, stored);
    put(&mut answer, "key", key);
    Ok(Value::Object(answer))
}

/// The columns that a request changes.
pub(super) fn changes(desk: &Desk, fields: &Row, before: &Row) -> Result<Row, Refusal> {
    budget_fields(fields)?;
    let mut changes = pick(Table::KEYS, fields);
    if fields.contains_key("duration") {
        put(&mut changes, "expires", expiry(fields, "duration")?);
    }
    if fields.contains_key("budget_duration") {
        put(
            &mut changes,
            "budget_reset_at",
            reset_at(&desk.rules().zone, fields, "budget_duration")?,
        );
    }
    if let Some(routes) = routes_of_type(fields)? {
        put(&mut changes, "allowed_routes", routes);
    }
    let metadata = before.get("metadata").and_then(Value::as_object);
    if let Some(metadata) = fold_metadata(fields, metadata) {
        put(&mut changes, "metadata", metadata);
    }
    key_renewal::plan(&mut changes, before)?;
    Ok(changes)
}

async fn bulk_update(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    let keys = fields
        .get("keys")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for entry in &keys {
        let Some(one) = entry.as_object() else {
            continue;
        };
        let key = one.get("key").cloned().unwrap_or_default();
        match change(&desk, &asker, one.clone()).await {
            Ok(info) => done.push(json!({"key": key, "key_info": info})),
            Err(refusal) => failed.push(json!({"key": key, "failed_reason": refusal.text()})),
        }
    }
    Ok(Json(json!({
        "total_requested": keys.len(), "successful_updates": done, "failed_updates": failed,
    })))
}

async fn delete(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    let mut keys = texts_of(&fields, "keys");
    for alias in texts_of(&fields, "key_aliases") {
        let rows = desk
            .directory
            .store
            .find(Table::KEYS, "key_alias", &alias)
            .await?;
        keys.extend(rows.iter().filter_map(|row| text(row, "token")));
    }
    if keys.is_empty() {
        return Err(Refusal::bad("keys or key_aliases must be given").at("keys"));
    }
    let mut rows = Vec::with_capacity(keys.len());
    for key in &keys {
        let row = row(&desk, key).await?;
        key_rules::may_change(&desk, &asker, &row).await?;
        rows.push(row);
    }
    remove(&desk, &asker, rows).await?;
    Ok(Json(json!({"deleted_keys": keys})))
}

/// Deletes keys and keeps them in the archive.
pub(super) async fn remove(desk: &Desk, asker: &Asker, rows: Vec<Row>) -> Result<(), Refusal> {
    let tokens: Vec<String> = rows.iter().filter_map(|row| text(row, "token")).collect();
    let mut commands = Vec::new();
    let gone = rows.clone();
    for mut row in rows {
        let name = text(&row, "token").unwrap_or_default();
        put(&mut row, "id", uuid());
        put(&mut row, "deleted_at", now_text());
        put(&mut row, "deleted_by", asker.user_id().map(str::to_owned));
        put(&mut row, "deleted_by_api_key", asker.token(desk));
        commands.push(Command::Insert(Table::DELETED_KEYS, row));
        commands.push(Command::Delete(Table::KEYS, vec![name]));
    }
    desk.directory.store.transact(commands).await?;
    for token in tokens {
        desk.directory.changed(Change::Key(token)).await;
    }
    if let Some(escrow) = desk.escrow() {
        escrow.release(&gone).await;
    }
    Ok(())
}

async fn reset_spend(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Path(key): Path<String>,
    Fields(fields): Fields,
) -> Answer {
    asker.must_be_admin("/key/{key}/reset_spend")?;
    let before = row(&desk, &key).await?;
    let spend = fields
        .get("reset_to")
        .and_then(Value::as_f64)
        .unwrap_or(0.0);
    let changes = Row::from_iter([("spend".to_owned(), Value::from(spend))]);
    let token = token(&key);
    desk.directory.restart(&format!("key:{token}"));
    desk.directory
        .store
        .row(Command::Update(Table::KEYS, vec![token.clone()], changes))
        .await?;
    desk.directory.changed(Change::Key(token)).await;
    Ok(Json(
        json!({"key_hash": text(&before, "token"), "spend": spend,
        "previous_spend": before.get("spend"), "max_budget": before.get("max_budget")}),
    ))
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
    let key = required(&fields, "key")?;
    let before = row(&desk, &key).await?;
    key_rules::may_manage(&desk, &asker, &before).await?;
    let changes = Row::from_iter([("blocked".to_owned(), Value::from(blocked))]);
    let token = token(&key);
    let update = Command::Update(Table::KEYS, vec![token.clone()], changes);
    let stored = desk.directory.store.row(update).await?.unwrap_or_default();
    desk.directory.changed(Change::Key(token)).await;
    Ok(Json(Value::Object(shown(Table::KEYS, stored))))
}

/// The filter of a list, cut to what the caller may see.
async fn visible(
    desk: &Desk,
    asker: &Asker,
    query: &HashMap<String, String>,
) -> Result<Row, Refusal> {
    let mut filter = Row::new();
    for name in ["user_id", "team_id", "organization_id", "key_alias"] {
        if let Some(value) = query.get(name).filter(|value| !value.is_empty()) {
            put(&mut filter, name, value.as_str());
        }
    }
    if let Some(key) = query.get("key_hash") {
        put(&mut filter, "token", token(key));
    }
    if asker.sees_all() {
        return Ok(filter);
    }
    if let Some(team) = query.get("team_id") {
        let team = desk
            .directory
            .store
            .get(Table::TEAMS, &[team])
            .await?
            .unwrap_or_default();
        if asker.must_manage_team(desk, &team).await.is_ok() {
            return Ok(filter);
        }
    }
    let own = asker.user_id().ok_or_else(|| {
        Refusal::forbidden("a key without a user may not list keys; ask with user_id's key")
    })?;
    if query.get("user_id").is_some_and(|user| user != own) {
        return Err(Refusal::forbidden("you may list your own keys only"));
    }
    put(&mut filter, "user_id", own);
    Ok(filter)
}

async fn list(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    let filter = visible(&desk, &asker, &query).await?;
    let (page, size) = page(&query, "size", 10, 100);
    let full = query
        .get("return_full_object")
        .is_some_and(|text| text == "true");
    let mut answers = desk
        .directory
        .store
        .transact(vec![
            Command::Count(Table::KEYS, filter.clone()),
            Command::List {
                table: Table::KEYS,
                filter,
                newest: true,
                limit: size,
                offset: (page - 1) * size,
            },
        ])
        .await?;
    let rows = answers.pop().unwrap_or_default();
    let total = answers.pop().and_then(|mut rows| rows.pop());
    let total = total
        .and_then(|row| row.get("count").and_then(Value::as_u64))
        .unwrap_or(0);
    let keys: Vec<Value> = rows
        .into_iter()
        .map(|row| match full {
            true => Value::Object(shown(Table::KEYS, row)),
            false => row.get("token").cloned().unwrap_or_default(),
        })
        .collect();
    Ok(Json(json!({
        "keys": keys, "total_count": total, "current_page": page,
        "total_pages": pages(total, size),
    })))
}

async fn aliases(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    let filter = visible(&desk, &asker, &query).await?;
    let (page, size) = page(&query, "size", 50, 100);
    let list = Command::List {
        table: Table::KEYS,
        filter,
        newest: false,
        limit: 100_000,
        offset: 0,
    };
    let rows = desk.directory.store.rows(list).await?;
    let wanted = query.get("search").map_or("", String::as_str);
    let mut aliases: Vec<String> = rows
        .iter()
        .filter_map(|row| text(row, "key_alias"))
        .filter(|alias| alias.contains(wanted))
        .collect();
    aliases.sort();
    let total = aliases.len() as u64;
    let from = usize::try_from((page - 1) * size).unwrap_or(usize::MAX);
    let shown: Vec<&String> = aliases
        .iter()
        .skip(from)
        .take(usize::try_from(size).unwrap_or(usize::MAX))
        .collect();
    Ok(Json(json!({
        "aliases": shown, "total_count": total, "current_page": page,
        "total_pages": pages(total, size), "size": size,
    })))
}

/// The caller's key works, or it would not have come here.
async fn health() -> Answer {
    Ok(Json(json!({"key": "healthy", "logging_callbacks": null})))
}
