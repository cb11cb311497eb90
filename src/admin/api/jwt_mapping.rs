//! `/jwt/key/mapping/*`: which key stands for the bearers of tokens with a certain claim
//! (`litellm_jwtauth.virtual_key_claim_field`).

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::{Extension, Json};
use serde_json::{Value, json};

use crate::admin::desk::{
    Answer, Asker, Desk, Fields, Refusal, counted, page, pages, put, required, shown,
};
use crate::admin::routes::Routes;
use crate::auth::key::KeyHash;
use crate::directory::text;
use crate::store::secret::{token, uuid};
use crate::store::{Command, Row, Table};

type Shared = State<Arc<Desk>>;

/// Fields of a body beside the key's.
const TEXTS: [&str; 4] = [
    "jwt_claim_name",
    "jwt_claim_value",
    "jwt_issuer",
    "description",
];

/// The routes.
pub fn routes() -> Routes<Arc<Desk>> {
    Routes::new()
        .post(
            "/jwt/key/mapping/new",
            new,
            "Lets a key stand for tokens with a claim.",
        )
        .fields(&["key", "token"])
        .fields(&TEXTS)
        .needs(&["jwt_claim_name", "jwt_claim_value"])
        .post(
            "/jwt/key/mapping/update",
            update,
            "Changes which key stands for a claim.",
        )
        .fields(&["id", "key", "token", "is_active"])
        .fields(&TEXTS)
        .needs(&["id"])
        .post(
            "/jwt/key/mapping/delete",
            delete,
            "Lets no key stand for a claim any more.",
        )
        .fields(&["id"])
        .needs(&["id"])
        .get("/jwt/key/mapping/list", list, "Claims that keys stand for.")
        .query(&["page", "size"])
        .get(
            "/jwt/key/mapping/info",
            info,
            "A claim that a key stands for.",
        )
        .query(&["id"])
        .needs(&["id"])
}

fn may_change(asker: &Asker, what: &str) -> Result<(), Refusal> {
    match asker.is_admin() {
        true => Ok(()),
        false => Err(Refusal::forbidden(format!(
            "Only proxy admins can {what} JWT key mappings"
        ))),
    }
}

fn may_look(asker: &Asker) -> Result<(), Refusal> {
    match asker.sees_all() {
        true => Ok(()),
        false => may_change(asker, "list"),
    }
}

/// A row without the key's hash; an issuer that is empty is none.
fn told(row: Row) -> Value {
    let mut answer = shown(Table::JWT_KEYS, row);
    answer.remove("token");
    if text(&answer, "jwt_issuer").is_none_or(|issuer| issuer.is_empty()) {
        put(&mut answer, "jwt_issuer", Value::Null);
    }
    Value::Object(answer)
}

async fn found(desk: &Desk, id: &str) -> Result<Row, Refusal> {
    let row = desk.directory.store.get(Table::JWT_KEYS, &[id]).await?;
    row.ok_or_else(|| Refusal::not_found("Mapping not found").at("id"))
}

/// The hash of the key that a body names as it is (`key`) or by its hash (`token`).
async fn named_key(desk: &Desk, fields: &Row) -> Result<Option<String>, Refusal> {
    let hash = match (text(fields, "key"), text(fields, "token")) {
        (Some(_), Some(_)) => {
            return Err(Refusal::bad("give key or token (its SHA-256), not both").at("key"));
        }
        (Some(key), None) => token(&key),
        (None, Some(hash)) if KeyHash::from_hex(&hash).is_some() => hash,
        (None, Some(_)) => {
            let text =
                "token must be a key's SHA-256 in 64 hexadecimal digits; the key itself is `key`";
            return Err(Refusal::bad(text).at("token"));
        }
        (None, None) => return Ok(None),
    };
    match desk.directory.store.get(Table::KEYS, &[&hash]).await? {
        Some(_) => Ok(Some(hash)),
        None => Err(Refusal::bad(
            "The provided key does not match an existing virtual key.",
        )),
    }
}

/// The columns that a body sets.
fn columns(fields: &Row) -> Result<Row, Refusal> {
    let mut row = Row::new();
    for name in TEXTS {
        match (name, fields.get(name)) {
            (_, None) => {}
            ("jwt_issuer", Some(Value::Null)) => put(&mut row, name, ""),
            ("description", Some(Value::Null)) => put(&mut row, name, Value::Null),
            (_, Some(Value::String(text))) => put(&mut row, name, text.clone()),
            (_, Some(_)) => return Err(Refusal::bad(format!("{name} must be a text")).at(name)),
        }
    }
    match fields.get("is_active") {
        None => {}
        Some(Value::Bool(is_active)) => put(&mut row, "is_active", *is_active),
        Some(_) => return Err(Refusal::bad("is_active must be true or false").at("is_active")),
    }
    Ok(row)
}

/// No other row has the same claim of the same issuer.
async fn check(desk: &Desk, row: &Row, id: &str) -> Result<(), Refusal> {
    let value = text(row, "jwt_claim_value").unwrap_or_default();
    let store = &desk.directory.store;
    let same = store
        .find(Table::JWT_KEYS, "jwt_claim_value", &value)
        .await?;
    let of = |row: &Row| {
        let issuer = text(row, "jwt_issuer").unwrap_or_default();
        (text(row, "jwt_claim_name"), issuer)
    };
    let is_other = |other: &Row| text(other, "id").as_deref() != Some(id) && of(other) == of(row);
    if same.iter().any(is_other) {
        let name = text(row, "jwt_claim_name").unwrap_or_default();
        return Err(Refusal::exists(format!(
            "A mapping for claim '{name}' = '{value}' already exists for this issuer"
        )));
    }
    Ok(())
}

async fn new(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    may_change(&asker, "create")?;
    required(&fields, "jwt_claim_name")?;
    required(&fields, "jwt_claim_value")?;
    let mut row = columns(&fields)?;
    let key = named_key(&desk, &fields).await?;
    let key =
        key.ok_or_else(|| Refusal::bad("key, or token (its SHA-256), must be given").at("key"))?;
    let id = uuid();
    check(&desk, &row, &id).await?;
    put(&mut row, "id", id);
    put(&mut row, "token", key);
    put(&mut row, "created_by", asker.user_id());
    put(&mut row, "updated_by", asker.user_id());
    let insert = Command::Insert(Table::JWT_KEYS, row);
    let stored = desk.directory.store.row(insert).await?;
    Ok(Json(told(stored.unwrap_or_default())))
}

async fn update(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    may_change(&asker, "update")?;
    let id = required(&fields, "id")?;
    let mut row = found(&desk, &id).await?;
    let mut changes = columns(&fields)?;
    if let Some(key) = named_key(&desk, &fields).await? {
        put(&mut changes, "token", key);
    }
    row.extend(changes.clone());
    check(&desk, &row, &id).await?;
    put(&mut changes, "updated_by", asker.user_id());
    let update = Command::Update(Table::JWT_KEYS, vec![id], changes);
    let stored = desk.directory.store.row(update).await?;
    let stored = stored.ok_or_else(|| Refusal::not_found("Mapping not found").at("id"))?;
    Ok(Json(told(stored)))
}

async fn delete(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    may_change(&asker, "delete")?;
    let id = required(&fields, "id")?;
    let gone = Command::Delete(Table::JWT_KEYS, vec![id]);
    let gone = desk.directory.store.row(gone).await?;
    gone.ok_or_else(|| Refusal::not_found("Mapping not found").at("id"))?;
    Ok(Json(json!({"status": "success"})))
}

async fn list(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    may_look(&asker)?;
    let (number, size) = page(&query, "size", 50, 100);
    let list = Command::List {
        table: Table::JWT_KEYS,
        filter: Row::new(),
        newest: true,
        limit: size,
        offset: (number - 1).saturating_mul(size),
    };
    let count = Command::Count(Table::JWT_KEYS, Row::new());
    let (rows, total) = counted(&desk, (count, list)).await?;
    let mappings: Vec<Value> = rows.into_iter().map(told).collect();
    Ok(Json(
        json!({"mappings": mappings, "total_count": total, "current_page": number,
        "total_pages": pages(total, size)}),
    ))
}

async fn info(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    may_look(&asker)?;
    let id = query.get("id").map(String::as_str).unwrap_or_default();
    found(&desk, id).await.map(told).map(Json)
}
