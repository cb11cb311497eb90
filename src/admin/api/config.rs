//! `/config/*`: reloading the file, and settings of the database that stand above it
//! (`store_model_in_db`). A change that the file would not be allowed either is refused and changes nothing.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use shardgate_config::row::Row as Parameter;
use shardgate_config::rows::GENERAL_SETTINGS;

use super::model::may_store;
use crate::admin::admin_only;
use crate::admin::desk::{Answer, Asker, Fields, Refusal, put, required};
use crate::admin::routes::Routes;
use crate::coordinator::{Control, SECTIONS};
use crate::directory::{Change, text};
use crate::message::AdminCaller;
use crate::store::{Command, Row, Table, now_text};

type Shared = State<Arc<Control>>;
type Asked = Query<HashMap<String, String>>;

const GENERAL: &str = "general_settings";
const LITELLM: &str = "litellm_settings";

/// The routes.
pub fn routes() -> Routes<Arc<Control>> {
    Routes::new()
        .post(
            "/config/update",
            update,
            "Stores parameters of sections; they stand above the file's at once.",
        )
        .fields(&SECTIONS)
        .post(
            "/config/field/update",
            update_field,
            "Stores one parameter of general_settings.",
        )
        .fields(&["config_type", "field_name", "field_value"])
        .needs(&["field_name", "field_value"])
        .post(
            "/config/field/delete",
            delete_field,
            "Takes a stored parameter of general_settings away; the file's counts again.",
        )
        .fields(&["config_type", "field_name"])
        .needs(&["field_name"])
        .get(
            "/config/field/info",
            field_info,
            "A stored parameter of general_settings.",
        )
        .query(&["field_name"])
        .needs(&["field_name"])
        .get(
            "/config/list",
            list,
            "All parameters of general_settings with what they are set to.",
        )
        .query(&["config_type"])
        .get(
            "/config/yaml",
            yaml,
            "The configuration in force as a file, without its secrets.",
        )
        .get(
            "/get/config/callbacks",
            callbacks,
            "The callbacks and the router's settings.",
        )
        .post(
            "/config/callback/delete",
            delete_callback,
            "Takes a stored callback away.",
        )
        .fields(&["callback_name"])
        .needs(&["callback_name"])
        .merge(settings())
        .merge(pass_through())
}

/// Single settings that have routes of their own.
fn settings() -> Routes<Arc<Control>> {
    let pairs = SETTINGS.iter().fold(Routes::new(), |routes, setting| {
        routes
            .get(
                setting.shown_at,
                move |state: Shared, asker| show(state, asker, setting),
                setting.says,
            )
            .patch(
                setting.set_at,
                move |state: Shared, asker, fields| set(state, asker, fields, setting),
                setting.does,
            )
    });
    pairs
        .get(
            "/get/allowed_ips",
            allowed_ips,
            "The addresses that may call.",
        )
        .post("/add/allowed_ip", add_ip, "Lets an address call.")
        .fields(&["ip"])
        .needs(&["ip"])
        .post(
            "/delete/allowed_ip",
            delete_ip,
            "Takes an address off the list.",
        )
        .fields(&["ip"])
        .needs(&["ip"])
}

/// Stored routes that are passed on.
fn pass_through() -> Routes<Arc<Control>> {
    Routes::new()
        .get(
            "/config/pass_through_endpoint",
            passages,
            "Stored routes that are passed on.",
        )
        .query(&["endpoint_id"])
        .post(
            "/config/pass_through_endpoint",
            add_passage,
            "Stores a route that is passed on.",
        )
        .fields(&[
            "path",
            "target",
            "headers",
            "include_subpath",
            "cost_per_request",
            "auth",
        ])
        .needs(&["path", "target"])
        .post(
            "/config/pass_through_endpoint/{endpoint_id}",
            change_passage,
            "Changes a stored route that is passed on.",
        )
        .fields(&[
            "path",
            "target",
            "headers",
            "include_subpath",
            "cost_per_request",
            "auth",
        ])
        .delete(
            "/config/pass_through_endpoint",
            delete_passage,
            "Deletes a stored route that is passed on.",
        )
        .query(&["endpoint_id"])
        .needs(&["endpoint_id"])
}

/// Reloading is there with and without a database.
pub fn reloading() -> Routes<Arc<Control>> {
    Routes::new().post(
        "/config/reload",
        reload,
        "Reads the config file again; a bad one changes nothing.",
    )
}

/// Reads the config file again; a bad one changes nothing and the answer says why.
async fn reload(
    State(control): State<Arc<Control>>,
    Extension(caller): Extension<AdminCaller>,
) -> Response {
    if let Some(refusal) = admin_only(caller) {
        return refusal;
    }
    match control.reload().await {
        Ok(report) => Json(json!({"status": "reloaded", "models": report.models,
            "version": report.version, "warnings": report.warnings}))
        .into_response(),
        Err(errors) => {
            let message = format!("the configuration in force stays: {}", errors.join("; "));
            let error = json!({"error": {"message": message, "type": "invalid_request_error",
                "param": null, "code": "400"}, "diagnostics": errors});
            (StatusCode::BAD_REQUEST, Json(error)).into_response()
        }
    }
}

/// A section as it is stored; the values of variables are opened.
async fn stored(control: &Control, section: &str) -> Result<Map<String, Value>, Refusal> {
    let mut sections = control.stored_sections().await?;
    match sections.remove(section) {
        Some(Value::Object(section)) => Ok(section),
        _ => Ok(Map::new()),
    }
}

/// Stores sections and reads everything again; what is refused is not stored.
async fn store(
    control: &Control,
    sections: Vec<(&str, Map<String, Value>)>,
) -> Result<(), Refusal> {
    let directory = &control.desk().directory;
    let (mut puts, mut undo) = (Vec::new(), Vec::new());
    for (name, section) in sections {
        let mut value = Value::Object(section);
        if name == "environment_variables" {
            let sealed = directory.secrets.seal_all(&value);
            value = sealed.ok_or_else(|| Refusal::internal("no random bytes to seal with"))?;
        }
        let key = vec![name.to_owned()];
        undo.push(match directory.store.get(Table::CONFIG, &[name]).await? {
            Some(before) => Command::Put(Table::CONFIG, before),
            None => Command::Delete(Table::CONFIG, key),
        });
        let mut row = Row::new();
        put(&mut row, "param_name", name);
        put(&mut row, "param_value", value);
        puts.push(Command::Put(Table::CONFIG, row));
    }
    directory.store.transact(puts).await?;
    if let Err(errors) = control.reload().await {
        directory.store.transact(undo).await?;
        return Err(Refusal::bad(format!(
            "nothing was changed: {}",
            errors.join("; ")
        )));
    }
    directory.changed(Change::Models).await;
    Ok(())
}

async fn update(
    State(control): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    may_store(&control, &asker, "/config/update")?;
    let mut sections = Vec::new();
    for name in SECTIONS {
        let Some(given) = fields.get(name).filter(|given| !given.is_null()) else {
            continue;
        };
        let wrong = || Refusal::bad(format!("{name} must be a map")).at(name);
        let given = given.as_object().ok_or_else(wrong)?;
        let mut section = stored(&control, name).await?;
        section.extend(given.clone());
        sections.push((name, section));
    }
    if sections.is_empty() {
        return Err(Refusal::bad(format!(
            "name at least one of {}",
            SECTIONS.join(", ")
        )));
    }
    store(&control, sections).await?;
    Ok(Json(json!({"message": "Config updated successfully"})))
}

/// The parameter of general_settings that a request names.
fn parameter(name: &str, kind: Option<&str>) -> Result<&'static Parameter, Refusal> {
    if kind.is_some_and(|kind| kind != GENERAL) {
        return Err(Refusal::bad("config_type must be general_settings").at("config_type"));
    }
    GENERAL_SETTINGS
        .find(name)
        .ok_or_else(|| Refusal::bad(format!("Invalid field={name} passed in.")).at("field_name"))
}

async fn update_field(
    State(control): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    may_store(&control, &asker, "/config/field/update")?;
    let name = required(&fields, "field_name")?;
    let row = parameter(&name, text(&fields, "config_type").as_deref())?;
    let value = fields.get("field_value").filter(|value| !value.is_null());
    let value = value.ok_or_else(|| Refusal::bad("field_value must be given").at("field_value"))?;
    let mut section = stored(&control, GENERAL).await?;
    section.insert(row.name.to_owned(), value.clone());
    store(&control, vec![(GENERAL, section)]).await?;
    general(&control).await
}

/// The stored general_settings as an answer shows them.
async fn general(control: &Control) -> Answer {
    let shown: Map<String, Value> = stored(control, GENERAL)
        .await?
        .into_iter()
        .map(|(name, value)| {
            let shown = hidden(&name, value);
            (name, shown)
        })
        .collect();
    Ok(Json(json!({"param_name": GENERAL, "param_value": shown})))
}

/// A value, or stars for a secret.
fn hidden(name: &str, value: Value) -> Value {
    let row = GENERAL_SETTINGS.find(name);
    match row.is_some_and(|row| row.kind.is_secret()) && value.is_string() {
        true => Value::from("*****"),
        false => value,
    }
}

async fn delete_field(
    State(control): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    may_store(&control, &asker, "/config/field/delete")?;
    let name = required(&fields, "field_name")?;
    parameter(&name, text(&fields, "config_type").as_deref())?;
    let mut section = stored(&control, GENERAL).await?;
    section
        .remove(&name)
        .ok_or_else(|| Refusal::bad(format!("Field name={name} not in DB")).at("field_name"))?;
    store(&control, vec![(GENERAL, section)]).await?;
    general(&control).await
}

async fn field_info(
    State(control): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    sees_all(&asker, "/config/field/info")?;
    let name = asked.get("field_name").map_or("", String::as_str);
    parameter(name, None)?;
    let mut section = stored(&control, GENERAL).await?;
    let value = section
        .remove(name)
        .ok_or_else(|| Refusal::bad(format!("Field name={name} not in DB")).at("field_name"))?;
    Ok(Json(
        json!({"field_name": name, "field_value": hidden(name, value)}),
    ))
}

fn sees_all(asker: &Asker, path: &str) -> Result<(), Refusal> {
    match asker.sees_all() {
        true => Ok(()),
        false => asker.must_be_admin(path),
    }
}

async fn list(
    State(control): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    sees_all(&asker, "/config/list")?;
    if asked.get("config_type").is_some_and(|kind| kind != GENERAL) {
        return Err(Refusal::bad("config_type must be general_settings").at("config_type"));
    }
    let stored = stored(&control, GENERAL).await?;
    let written = control.written().await?;
    let one = |row: &Parameter| {
        let value = &written[GENERAL][row.name];
        let is_stored = stored.contains_key(row.name);
        json!({
            "field_name": row.name, "field_type": row.kind.expected(),
            "field_description": row.doc, "field_value": value,
            "field_default_value": row.default_json(), "premium_field": false,
            "nested_fields": null,
            // As LiteLLM: null where it is set nowhere.
            "stored_in_db": if is_stored || !value.is_null() { json!(is_stored) } else { Value::Null },
        })
    };
    Ok(Json(GENERAL_SETTINGS.rows.iter().map(one).collect()))
}

async fn yaml(
    State(control): Shared,
    Extension(asker): Extension<Asker>,
) -> Result<Response, Refusal> {
    sees_all(&asker, "/config/yaml")?;
    // Any JSON is YAML.
    let text = format!("{:#}\n", control.written().await?);
    Ok(([(CONTENT_TYPE, "application/yaml")], text).into_response())
}

/// The texts of a list, or of a single text.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(one) => vec![one.clone()],
        Value::Array(many) => many
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    }
}

async fn callbacks(State(control): Shared, Extension(asker): Extension<Asker>) -> Answer {
    sees_all(&asker, "/get/config/callbacks")?;
    let written = control.written().await?;
    let kinds = [
        ("success_callback", "success"),
        ("failure_callback", "failure"),
        ("callbacks", "success_and_failure"),
    ];
    let mut found = Vec::new();
    for (list, kind) in kinds {
        let names = texts(&written[LITELLM][list]);
        found.extend(
            names
                .iter()
                .map(|name| json!({"name": name, "variables": {}, "type": kind})),
        );
    }
    let alerts = texts(&written[GENERAL]["alerting"]);
    let alerts: Vec<Value> = alerts.iter().map(|name| json!({"name": name})).collect();
    Ok(Json(
        json!({"status": "success", "callbacks": found, "alerts": alerts,
        "router_settings": written["router_settings"]}),
    ))
}

async fn delete_callback(
    State(control): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    may_store(&control, &asker, "/config/callback/delete")?;
    let name = required(&fields, "callback_name")?.to_ascii_lowercase();
    let mut section = stored(&control, LITELLM).await?;
    let mut left = texts(&section.get("success_callback").cloned().unwrap_or_default());
    let before = left.len();
    left.retain(|callback| callback.to_ascii_lowercase() != name);
    if left.len() == before {
        return Err(Refusal::not_found(format!(
            "Callback '{name}' not found in active callbacks"
        )));
    }
    section.insert("success_callback".to_owned(), json!(left));
    store(&control, vec![(LITELLM, section)]).await?;
    Ok(Json(
        json!({"message": format!("Successfully deleted callback: {name}"),
        "removed_callback": name, "remaining_callbacks": left, "deleted_at": now_text()}),
    ))
}

/// A parameter of litellm_settings with two routes of its own, and what is said of each.
struct Setting {
    name: &'static str,
    shown_at: &'static str,
    says: &'static str,
    set_at: &'static str,
    does: &'static str,
}

#[rustfmt::skip] // A setting is read as a whole.
static SETTINGS: [Setting; 4] = [
    Setting { name: "cost_discount_config",
        shown_at: "/config/cost_discount_config", says: "Discounts by provider.",
        set_at: "/config/cost_discount_config", does: "Sets discounts by provider: 0.05 is five per cent." },
    Setting { name: "cost_margin_config",
        shown_at: "/config/cost_margin_config", says: "Margins by provider.",
        set_at: "/config/cost_margin_config", does: "Sets margins by provider." },
    Setting { name: "default_internal_user_params",
        shown_at: "/get/internal_user_settings", says: "What new users get.",
        set_at: "/update/internal_user_settings", does: "Sets what new users get." },
    Setting { name: "default_team_params",
        shown_at: "/get/default_team_settings", says: "What new teams get.",
        set_at: "/update/default_team_settings", does: "Sets what new teams get." },
];

async fn show(
    State(control): Shared,
    Extension(asker): Extension<Asker>,
    setting: &'static Setting,
) -> Answer {
    sees_all(&asker, setting.shown_at)?;
    let written = control.written().await?;
    let values = &written[LITELLM][setting.name];
    let values = if values.is_null() {
        json!({})
    } else {
        values.clone()
    };
    Ok(Json(json!({"values": values})))
}

async fn set(
    State(control): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
    setting: &'static Setting,
) -> Answer {
    may_store(&control, &asker, setting.set_at)?;
    let mut section = stored(&control, LITELLM).await?;
    section.insert(setting.name.to_owned(), Value::Object(fields.clone()));
    store(&control, vec![(LITELLM, section)]).await?;
    Ok(Json(json!({"status": "success", "values": fields,
        "message": format!("{} updated", setting.name)})))
}

/// `allowed_ips` as it is in force.
async fn addresses(control: &Control) -> Result<Vec<String>, Refusal> {
    Ok(texts(&control.written().await?[GENERAL]["allowed_ips"]))
}

async fn allowed_ips(State(control): Shared, Extension(asker): Extension<Asker>) -> Answer {
    sees_all(&asker, "/get/allowed_ips")?;
    Ok(Json(json!({"data": addresses(&control).await?})))
}

async fn change_ips(
    control: &Control,
    change: impl FnOnce(&mut Vec<String>),
) -> Result<(), Refusal> {
    let mut list = addresses(control).await?;
    change(&mut list);
    let mut section = stored(control, GENERAL).await?;
    section.insert("allowed_ips".to_owned(), json!(list));
    store(control, vec![(GENERAL, section)]).await
}

async fn add_ip(
    State(control): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    may_store(&control, &asker, "/add/allowed_ip")?;
    let ip = required(&fields, "ip")?;
    change_ips(&control, |list| {
        if !list.contains(&ip) {
            list.push(ip.clone());
        }
    })
    .await?;
    Ok(Json(
        json!({"message": format!("IP {ip} address added successfully"), "status": "success"}),
    ))
}

async fn delete_ip(
    State(control): Shared,
    Extension(asker): Extension<Asker>,
    Fields(fields): Fields,
) -> Answer {
    may_store(&control, &asker, "/delete/allowed_ip")?;
    let ip = required(&fields, "ip")?;
    change_ips(&control, |list| list.retain(|have| *have != ip)).await?;
    Ok(Json(
        json!({"message": format!("IP {ip} deleted successfully"), "status": "success"}),
    ))
}

const PASSAGES: &str = "pass_through_endpoints";

/// The stored routes that are passed on.
async fn stored_passages(control: &Control) -> Result<Vec<Value>, Refusal> {
    let section = stored(control, GENERAL).await?;
    Ok(section
        .get(PASSAGES)
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default())
}

async fn store_passages(control: &Control, list: Vec<Value>) -> Result<(), Refusal> {
    let mut section = stored(control, GENERAL).await?;
    section.insert(PASSAGES.to_owned(), Value::Array(list));
    store(control, vec![(GENERAL, section)]).await
}

/// Routes as answers show them: the values of headers may be credentials.
fn shown_passages(list: &[Value]) -> Value {
    let one = |passage: &Value| {
        let mut shown = passage.clone();
        if let Some(headers) = shown.get_mut("headers").and_then(Value::as_object_mut) {
            headers
                .values_mut()
                .for_each(|value| *value = Value::from("*****"));
        }
        shown
    };
    json!({"endpoints": list.iter().map(one).collect::<Vec<Value>>()})
}

/// Where the route with this id, or this path, stands.
fn at(list: &[Value], id: &str) -> Result<usize, Refusal> {
    list.iter()
        .position(|passage| passage["id"] == id || passage["path"] == id)
        .ok_or_else(|| Refusal::not_found(format!("Endpoint with ID '{id}' not found")))
}

async fn passages(
    State(control): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    sees_all(&asker, "/config/pass_through_endpoint")?;
    let list = stored_passages(&control).await?;
    match asked.get("endpoint_id") {
        None => Ok(Json(shown_passages(&list))),
        Some(id) => {
            let one = at(&list, id)?;
            Ok(Json(shown_passages(&list[one..=one])))
        }
    }
}

async fn add_passage(
    State(control): Shared,
    Extension(asker): Extension<Asker>,
    Fields(mut fields): Fields,
) -> Answer {
    may_store(&control, &asker, "/config/pass_through_endpoint")?;
    required(&fields, "path")?;
    required(&fields, "target")?;
    fields
        .entry("id")
        .or_insert_with(|| crate::store::secret::uuid().into());
    let mut list = stored_passages(&control).await?;
    list.push(Value::Object(fields.clone()));
    store_passages(&control, list).await?;
    Ok(Json(shown_passages(&[Value::Object(fields)])))
}

async fn change_passage(
    State(control): Shared,
    Extension(asker): Extension<Asker>,
    axum::extract::Path(id): axum::extract::Path<String>,
    Fields(fields): Fields,
) -> Answer {
    may_store(&control, &asker, "/config/pass_through_endpoint")?;
    let mut list = stored_passages(&control).await?;
    let one = at(&list, &id)?;
    if let Some(passage) = list[one].as_object_mut() {
        passage.extend(fields);
    }
    let shown = shown_passages(&list[one..=one]);
    store_passages(&control, list).await?;
    Ok(Json(shown))
}

async fn delete_passage(
    State(control): Shared,
    Extension(asker): Extension<Asker>,
    Query(asked): Asked,
) -> Answer {
    may_store(&control, &asker, "/config/pass_through_endpoint")?;
    let id = asked.get("endpoint_id").map_or("", String::as_str);
    let mut list = stored_passages(&control).await?;
    let gone = list.remove(at(&list, id)?);
    store_passages(&control, list).await?;
    Ok(Json(shown_passages(&[gone])))
}
