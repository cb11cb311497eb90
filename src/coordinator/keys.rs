//! The coordinator's part in keys: the store is opened, shards are answered, changes are passed on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde_json::Value;
use shardgate_config::Config;

use super::fleet::Fleet;
use super::{Control, Hub};
use crate::admin::audit::Audited;
use crate::admin::desk::{Desk, Rules};
use crate::auth::calendar::{self, Span, Zone};
use crate::auth::key::KeyHash;
use crate::directory::{Account, Change, Directory, EVERYBODY, Policy, Priorities, Push, text};
use crate::log;
use crate::message::{AdminAnswer, Dress, Found, ToShard};
use crate::observe::log::Log;
use crate::provider::Secret;
use crate::store::{
    Command, Postgres, PostgresOptions, Row, Sqlite, Store, StoreError, Table, now_us,
};

/// The embedded store's file, in the working folder; `SHARDGATE_DATABASE_FILE` names another.
const FILE: &str = "shardgate.db";

/// Opens the store that the configuration names and prepares its tables.
///
/// # Errors
/// When it cannot be used as it is.
pub(super) async fn open(
    log: &Log,
    config: &Config,
    hubs: &Arc<Vec<Hub>>,
    fleet: Option<&Fleet>,
    salt: Option<Secret>,
) -> std::io::Result<Arc<Desk>> {
    let store = choose(log, config).map_err(std::io::Error::other)?;
    prepare(log, config, store.as_ref()).await?;
    if let Err(error) = everybody(config, store.as_ref()).await {
        log!(
            log,
            Error,
            "store",
            what = "litellm_settings.max_budget waits for it",
            why = error
        );
    }
    if let Err(error) = tags(config, store.as_ref()).await {
        log!(
            log,
            Error,
            "store",
            what = "litellm_settings.tag_budget_config waits for it",
            why = error
        );
    }
    let general = &config.general;
    let master = general.master_key.as_ref().map_or("", |key| key.expose());
    let salt = salt
        .map(|salt| salt.reveal().to_owned())
        .or_else(|| std::env::var("LITELLM_SALT_KEY").ok())
        .unwrap_or_else(|| master.to_owned());
    let push = push(log.clone(), hubs.clone());
    let roll = fleet.map(|fleet| fleet.roll.clone());
    let audit = Arc::default();
    let store: Arc<dyn Store> = Arc::new(Audited::new(store, Arc::clone(&audit)));
    let mut directory = Directory::new(store, &salt, hubs.len(), push, roll);
    if let Some(fleet) = fleet {
        directory.cry_to(fleet.cry.clone());
    }
    let directory = Arc::new(directory);
    directory.set_policy(policy(config));
    let rules = Rules::from_config(config);
    Ok(Arc::new(Desk::new(directory, rules, audit)))
}

/// What the configuration says of callers, besides their rows.
pub(super) fn policy(config: &Config) -> Policy {
    const NAMES: [(&str, &str); 5] = [
        ("rpm", "rpm_limit"),
        ("tpm", "tpm_limit"),
        ("rpm_limit", "rpm_limit"),
        ("tpm_limit", "tpm_limit"),
        ("max_parallel_requests", "max_parallel_requests"),
    ];
    let mut service_account = Row::new();
    for settings in config.general.service_account_settings.iter().flatten() {
        for (name, column) in NAMES {
            if let Some(value) = settings
                .settings
                .get(name)
                .filter(|value| value.is_number())
            {
                service_account.insert(column.to_owned(), value.clone());
            }
        }
    }
    let litellm = &config.litellm;
    Policy {
        service_account,
        end_user_budget: litellm.max_end_user_budget.or(litellm.max_user_budget),
        end_user_budget_id: litellm.max_end_user_budget_id.clone(),
        zone: Zone::named(&litellm.timezone),
        priorities: priorities(config),
        ..Policy::default()
    }
}

/// `priority_reservation`, and what it is a share of: the limits of all deployments of a model together.
fn priorities(config: &Config) -> Priorities {
    const DEFAULT: f64 = 0.25;
    const THRESHOLD: f64 = 0.5;
    let litellm = &config.litellm;
    let Some(weights) = litellm.priority_reservation.clone() else {
        return Priorities::default();
    };
    let settings = litellm.priority_reservation_settings.as_ref();
    let setting = |name: &str| settings.and_then(|settings| settings.get(name)).copied();
    let mut models: BTreeMap<&str, [Option<u64>; 2]> = BTreeMap::new();
    for entry in &config.models {
        let limits = models.entry(&entry.model_name).or_default();
        for (limit, name) in limits.iter_mut().zip(["rpm", "tpm"]) {
            if let Some(more) = entry.number(name) {
                *limit = Some(limit.unwrap_or(0) + more as u64);
            }
        }
    }
    let models = models.into_iter();
    Priorities {
        weights,
        default: setting("default_priority").unwrap_or(DEFAULT),
        threshold: setting("saturation_threshold").unwrap_or(THRESHOLD),
        models: models
            .map(|(name, [rpm, tpm])| (name.to_owned(), rpm, tpm))
            .collect(),
    }
}

fn choose(log: &Log, config: &Config) -> Result<Arc<dyn Store>, String> {
    let general = &config.general;
    if let Some(url) = &general.database_url {
        let options = PostgresOptions {
            url: url.expose().to_owned(),
            connections_max: usize::try_from(general.database_connection_pool_limit).unwrap_or(100),
            timeout: general.database_connection_timeout,
        };
        let postgres = Postgres::new(&options).map_err(|error| error.to_string())?;
        return Ok(Arc::new(postgres));
    }
    let named = std::env::var_os("SHARDGATE_DATABASE_FILE").map(PathBuf::from);
    // Without a master key nobody can make keys: nothing would be in the file.
    let path = named.or_else(|| general.master_key.as_ref().map(|_| PathBuf::from(FILE)));
    let opened = Sqlite::open(path.as_deref()).or_else(|error| {
        log!(
            log,
            Warn,
            "store",
            what = "keys are kept in memory only",
            why = error
        );
        Sqlite::open(None)
    });
    Ok(Arc::new(opened.map_err(|error| error.to_string())?))
}

/// Creates what the schema lacks, or says what that is. A database that is away is no reason not
/// to start: it is tried again while we run.
async fn prepare(log: &Log, config: &Config, store: &dyn Store) -> std::io::Result<()> {
    if config.general.disable_prisma_schema_update {
        return match store.missing().await {
            Ok(missing) if missing.is_empty() => Ok(()),
            Ok(missing) => Err(std::io::Error::other(format!(
                "the database lacks {}; general_settings.disable_prisma_schema_update forbids to \
                 add it (shardgate db migrate)",
                missing.join(", ")
            ))),
            Err(error) => {
                log!(
                    log,
                    Error,
                    "store",
                    what = "the schema could not be checked",
                    why = error
                );
                Ok(())
            }
        };
    }
    match store.migrate().await {
        Ok(made) => {
            log!(log, Info, "store", kind = store.name(), made = made.len());
            Ok(())
        }
        Err(error) => {
            log!(
                log,
                Error,
                "store",
                what = "the schema could not be prepared",
                why = error
            );
            Ok(())
        }
    }
}

/// `litellm_settings.max_budget` is the budget of a user that LiteLLM keeps for it.
async fn everybody(config: &Config, store: &dyn Store) -> Result<(), StoreError> {
    let Some(max) = config.litellm.max_budget else {
        return Ok(());
    };
    let zone = Zone::named(&config.litellm.timezone);
    let before = store.get(Table::USERS, &[EVERYBODY]).await?;
    let duration = config.litellm.budget_duration.clone();
    let mut row = Row::new();
    row.insert("max_budget".to_owned(), Value::from(max));
    if before.as_ref().and_then(|row| text(row, "budget_duration")) != duration || before.is_none()
    {
        let span: Option<Span> = duration.as_ref().and_then(|text| text.parse().ok());
        let next = span.map(|span| calendar::text(span.next_reset(now_us(), &zone)));
        row.insert("budget_duration".to_owned(), Value::from(duration));
        row.insert("budget_reset_at".to_owned(), Value::from(next));
    }
    let key = vec![EVERYBODY.to_owned()];
    if before.is_some() {
        store.rows(Command::Update(Table::USERS, key, row)).await?;
    } else {
        row.insert("user_id".to_owned(), Value::from(EVERYBODY));
        store.rows(Command::Insert(Table::USERS, row)).await?;
    }
    Ok(())
}

/// `litellm_settings.tag_budget_config`: each tag has a row and a budget of its own.
async fn tags(config: &Config, store: &dyn Store) -> Result<(), StoreError> {
    let Some(budgets) = &config.litellm.tag_budget_config else {
        return Ok(());
    };
    let zone = Zone::named(&config.litellm.timezone);
    for (tag, limits) in budgets.iter() {
        let id = format!("tag_budget_config:{tag}");
        let before = store.get(Table::BUDGETS, &[&id]).await?;
        let period = limits
            .get("budget_duration")
            .or_else(|| limits.get("time_period"));
        let period = period.and_then(Value::as_str).map(str::to_owned);
        let max = limits
            .get("max_budget")
            .or_else(|| limits.get("budget_limit"));
        let mut row = Row::new();
        row.insert("max_budget".to_owned(), max.cloned().unwrap_or(Value::Null));
        if before.is_none()
            || before.as_ref().and_then(|row| text(row, "budget_duration")) != period
        {
            let span: Option<Span> = period.as_ref().and_then(|text| text.parse().ok());
            let next = span.map(|span| calendar::text(span.next_reset(now_us(), &zone)));
            row.insert("budget_duration".to_owned(), Value::from(period));
            row.insert("budget_reset_at".to_owned(), Value::from(next));
        }
        if before.is_some() {
            store
                .rows(Command::Update(Table::BUDGETS, vec![id.clone()], row))
                .await?;
        } else {
            row.insert("budget_id".to_owned(), Value::from(id.as_str()));
            row.insert("created_by".to_owned(), Value::from("config"));
            row.insert("updated_by".to_owned(), Value::from("config"));
            store.rows(Command::Insert(Table::BUDGETS, row)).await?;
        }
        let budget = Row::from_iter([("budget_id".to_owned(), Value::from(id.as_str()))]);
        if store.get(Table::TAGS, &[tag]).await?.is_some() {
            store
                .rows(Command::Update(Table::TAGS, vec![tag.clone()], budget))
                .await?;
        } else {
            let mut row = budget;
            row.insert("tag_name".to_owned(), Value::from(tag.as_str()));
            store.rows(Command::Insert(Table::TAGS, row)).await?;
        }
    }
    Ok(())
}

fn push(log: Log, hubs: Arc<Vec<Hub>>) -> Push {
    Box::new(
        move |token: &str, account: Option<Arc<Account>>, turn: u64| {
            let hash = KeyHash::from_hex(token).unwrap_or_else(|| KeyHash::of(token.as_bytes()));
            let found = account.map_or(Found::Nobody, Found::Account);
            for (shard, hub) in hubs.iter().enumerate() {
                let message = ToShard::Account {
                    hash,
                    found: found.clone(),
                    turn,
                };
                if hub.send(message).is_err() {
                    log!(
                        log,
                        Error,
                        "change_not_delivered",
                        shard = shard,
                        key = token
                    );
                }
            }
        },
    )
}

/// Tells one shard who has a key.
pub(super) async fn look_up(control: Arc<Control>, shard: usize, hash: KeyHash) {
    let mut turn = control.desk.directory.turn();
    let found = match control.desk.directory.look_up(&hash.hex()).await {
        Ok(Some(account)) => Found::Account(account),
        Ok(None) => Found::Nobody,
        Err(error) => {
            log!(
                control.log,
                Error,
                "store",
                what = "a key could not be looked up",
                why = error
            );
            // Whom another shard knows goes on here as well; anything that this one was told is newer.
            turn = 0;
            let remembered = control.desk.directory.remembered(&hash.hex());
            remembered.map_or(Found::Away, Found::Account)
        }
    };
    let _ = control.hubs[shard].send(ToShard::Account { hash, found, turn });
}

/// Tells one shard what binds an end user or a tag.
pub(super) async fn look_up_payer(control: Arc<Control>, shard: usize, name: String) {
    let hash = KeyHash::of(name.as_bytes());
    let turn = control.desk.directory.turn();
    let found = match control.desk.directory.look_up_payer(&name).await {
        Ok(Some(account)) => Found::Account(account),
        Ok(None) => Found::Nobody,
        Err(_) => Found::Away,
    };
    let _ = control.hubs[shard].send(ToShard::Account { hash, found, turn });
}

/// Makes a deployment with a client's own credentials; its name is resolved before it is used.
pub(super) async fn dress(control: Arc<Control>, shard: usize, id: u64, dress: Box<Dress>) {
    let snapshot = control.snapshot();
    let plain = snapshot
        .deployments
        .iter()
        .find(|made| made.id == dress.deployment);
    let made = match plain {
        Some(_) if control.lasting.origins.is_full() => {
            Err("too many upstreams are known; api_base cannot be a new one".to_owned())
        }
        Some(plain) => plain.dressed(&dress.own, &control.lasting).map(Arc::new),
        None => Err("the deployment is no more".to_owned()),
    };
    control.lasting.origins.resolve(true).await;
    *dress.made.lock().unwrap_or_else(PoisonError::into_inner) = Some(made);
    let answer = AdminAnswer {
        status: 200,
        headers: Vec::new(),
        body: Vec::new(),
    };
    let _ = control.hubs[shard].send(ToShard::Reply { id, answer });
}

/// Reads which keys exist, as soon as the store can be asked.
pub(super) async fn fill_index(control: Arc<Control>) {
    const AGAIN: Duration = Duration::from_secs(5);
    while control.desk.directory.fill_index().await.is_err() {
        tokio::time::sleep(AGAIN).await;
    }
}

/// Another instance says what it has changed.
pub(super) async fn heard(control: &Control, text: &str) {
    let change = control.desk.directory.heard(text).await;
    let models = matches!(change, Change::Models | Change::All);
    if models && control.desk.rules().store_models {
        // The outcome is in the log.
        let _ = control.reload().await;
    }
}

/// Passes on what other instances change, as long as there are any.
pub(super) async fn hear(control: Arc<Control>) {
    const PAUSE: Duration = Duration::from_millis(1);
    while let Some(text) = control.desk.directory.next_change().await {
        if !control.peers.heard(&text) {
            heard(&control, &text).await;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
