//! A new key in place of an old one, of which everything else stays: when somebody asks for it, or by
//! itself (`auto_rotate`). The old key may work on for a while.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde_json::Value;

use super::key::{changes, chosen_key, made, row, short, token};
use super::key_rules::{self, Grant};
use crate::admin::desk::{Answer, Asker, Desk, Fields, Refusal, expiry, pick, put, required};
use crate::auth::calendar::{self, Span};
use crate::directory::{Change, text};
use crate::store::secret::{new_key, token as token_of, uuid};
use crate::store::{Command, Row, Table, now_text, now_us};

type Shared = State<Arc<Desk>>;

/// Fields of a body that only a renewal has.
pub(super) const FIELDS: &[&str] = &["new_key", "grace_period"];

pub(super) async fn regenerate_named(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    let key = required(&fields, "key")?;
    renew(&desk, &asker, &key, fields).await
}

pub(super) async fn regenerate(
    State(desk): Shared,
    Extension(asker): Extension<Asker>,
    Path(key): Path<String>,
    Fields(fields): Fields,
) -> Answer {
    renew(&desk, &asker, &key, fields).await
}

/// A new key for an old key's row, where the caller may have it.
async fn renew(desk: &Desk, asker: &Asker, key: &str, fields: Row) -> Answer {
    let before = row(desk, key).await?;
    key_rules::may_change(desk, asker, &before).await?;
    let mut granted = before.clone();
    granted.extend(fields.clone());
    key_rules::may_grant(desk, asker, &granted, Grant::Changed(&fields)).await?;
    let fresh = match text(&fields, "new_key") {
        Some(chosen) => chosen_key(&Row::from_iter([("key".to_owned(), Value::from(chosen))]))?,
        None => new_key().map_err(|error| Refusal::internal(error.to_string()))?,
    };
    let by = asker.user_id().map(str::to_owned);
    let stored = replace(desk, (&token(key), before), &fields, &fresh, by).await?;
    Ok(Json(Value::Object(made(stored, &fresh))))
}

/// Puts `fresh` in the place of the key of that token and row; what the request changes is changed.
async fn replace(
    desk: &Desk,
    (old, before): (&str, Row),
    fields: &Row,
    fresh: &str,
    by: Option<String>,
) -> Result<Row, Refusal> {
    let new = token_of(fresh);
    let mut after = before.clone();
    after.extend(changes(desk, fields, &before)?);
    put(&mut after, "token", new.clone());
    put(&mut after, "key_name", short(fresh));
    put(&mut after, "last_rotation_at", now_text());
    let count = before.get("rotation_count").and_then(Value::as_i64);
    put(&mut after, "rotation_count", count.unwrap_or(0) + 1);
    put(&mut after, "updated_by", by);
    after.remove("updated_at");
    if is_planned(&after) {
        let next = next_rotation(&after)?;
        put(&mut after, "key_rotation_at", next);
    }
    let ends = expiry(fields, "grace_period")?;
    let mut commands = vec![Command::Delete(Table::KEYS, vec![old.to_owned()])];
    if !ends.is_null() {
        let mut kept = Row::new();
        put(&mut kept, "id", uuid());
        put(&mut kept, "token", old);
        put(&mut kept, "active_token_id", new.clone());
        put(&mut kept, "revoke_at", ends);
        commands.push(Command::Insert(Table::OLD_KEYS, kept));
    }
    // Those that work on for this one now do so for the new one.
    let store = &desk.directory.store;
    for mut older in store.find(Table::OLD_KEYS, "active_token_id", old).await? {
        put(&mut older, "active_token_id", new.clone());
        commands.push(Command::Put(Table::OLD_KEYS, older));
    }
    commands.push(Command::Insert(Table::KEYS, after));
    let stored = store.transact(commands).await?.pop();
    let stored = stored.and_then(|mut rows| rows.pop());
    let stored = stored.ok_or_else(|| Refusal::bad("the new key exists already").at("new_key"))?;
    desk.directory.changed(Change::Key(old.to_owned())).await;
    desk.directory.changed(Change::Key(new)).await;
    if let Some(escrow) = desk.escrow() {
        escrow.replace(&before, &stored, fresh).await;
    }
    Ok(stored)
}

fn is_planned(row: &Row) -> bool {
    row.get("auto_rotate").and_then(Value::as_bool) == Some(true)
}

fn next_rotation(row: &Row) -> Result<String, Refusal> {
    let wrong = |why: String| Refusal::bad(why).at("rotation_interval");
    let interval = text(row, "rotation_interval")
        .ok_or_else(|| wrong("auto_rotate needs rotation_interval, such as 30d".to_owned()))?;
    let span: Span = interval
        .parse()
        .map_err(|why| wrong(format!("rotation_interval: {why}")))?;
    Ok(calendar::text(span.after(now_us())))
}

/// Says in `changes` of a key when it is renewed next, where it is or was to be renewed by itself.
pub(super) fn plan(changes: &mut Row, before: &Row) -> Result<(), Refusal> {
    changes.remove("key_rotation_at");
    if !changes.contains_key("auto_rotate") && !changes.contains_key("rotation_interval") {
        return Ok(());
    }
    let mut after = pick(Table::KEYS, before);
    after.extend(changes.clone());
    let next = match is_planned(&after) {
        true => Value::from(next_rotation(&after)?),
        false => Value::Null,
    };
    put(changes, "key_rotation_at", next);
    Ok(())
}

/// Renews the key of that token by itself; the new key and its row. `grace` says how long the old one
/// works on, if at all.
///
/// # Errors
/// The store's, or that the key is gone.
pub async fn rotate(desk: &Desk, old: &str, grace: Option<&str>) -> Result<(String, Row), Refusal> {
    let before = row(desk, old).await?;
    let fresh = new_key().map_err(|error| Refusal::internal(error.to_string()))?;
    let mut fields = Row::new();
    put(&mut fields, "grace_period", grace);
    let by = Some(BY_ITSELF.to_owned());
    let stored = replace(desk, (old, before), &fields, &fresh, by).await?;
    Ok((fresh, stored))
}

/// LiteLLM's name of whoever does what nobody asked for.
pub const BY_ITSELF: &str = "litellm_internal_jobs";
