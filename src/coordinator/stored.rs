//! Settings and credentials of the database beside those of the file (`store_model_in_db`): what
//! `/config/update` and `/credentials` wrote.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use shardgate_config::{Config, ModelEntry};

use super::Control;
use crate::directory::text;
use crate::log;
use crate::store::{Command, Row, StoreError, Table};

/// The sections that may be changed while the gateway runs.
pub const SECTIONS: [&str; 5] = [
    "environment_variables",
    "general_settings",
    "litellm_settings",
    "router_settings",
    "callback_settings",
];

/// Provider parameters by the credential's name.
type Credentials = BTreeMap<String, Map<String, Value>>;

/// Gives every model the parameters of the credential that it names with `litellm_credential_name`; its own win.
pub(super) fn lend(models: &mut [ModelEntry], credentials: &Credentials) {
    for model in models {
        let name = model
            .litellm_params
            .get("litellm_credential_name")
            .and_then(Value::as_str);
        let Some(values) = name.and_then(|name| credentials.get(name)).cloned() else {
            continue;
        };
        for (name, value) in values {
            model.litellm_params.entry(name).or_insert(value);
        }
    }
}

/// `credential_list` of the file.
pub(super) fn written(config: &Config) -> Credentials {
    let list = config.sections.get("credential_list");
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|entry| {
        let name = entry.get("credential_name")?.as_str()?;
        let values = entry.get("credential_values")?.as_object()?;
        Some((name.to_owned(), values.clone()))
    })
    .collect()
}

/// A JSON column, which a client of another kind may have stored as a text.
fn json(row: &Row, name: &str) -> Value {
    match row.get(name) {
        Some(Value::String(inner)) => serde_json::from_str(inner).unwrap_or_default(),
        Some(value) => value.clone(),
        None => Value::Null,
    }
}

fn all(table: Table) -> Command {
    Command::List {
        table,
        filter: Row::new(),
        newest: false,
        limit: 10_000,
        offset: 0,
    }
}

impl Control {
    /// The sections of the database as one map; variables are opened.
    ///
    /// # Errors
    /// The store's.
    pub async fn stored_sections(&self) -> Result<Map<String, Value>, StoreError> {
        let directory = &self.desk.directory;
        let rows = directory.store.rows(all(Table::CONFIG)).await?;
        let mut sections = Map::new();
        for row in rows {
            let name = text(&row, "param_name").unwrap_or_default();
            if !SECTIONS.contains(&name.as_str()) {
                continue;
            }
            let mut value = json(&row, "param_value");
            if name == "environment_variables" {
                match directory.secrets.open_all(&value) {
                    Ok(opened) => value = opened,
                    Err(why) => {
                        log!(
                            self.log,
                            Error,
                            "stored_settings_left_out",
                            section = name,
                            why = why
                        );
                        continue;
                    }
                }
            }
            sections.insert(name, value);
        }
        Ok(sections)
    }

    /// The same as the text that a configuration is read with; `None` without any.
    pub(super) async fn stored_over(&self) -> Option<String> {
        match self.stored_sections().await {
            Ok(sections) if sections.is_empty() => None,
            Ok(sections) => Some(Value::Object(sections).to_string()),
            Err(error) => {
                log!(
                    self.log,
                    Error,
                    "store",
                    what = "settings cannot be read",
                    why = error
                );
                None
            }
        }
    }

    /// The database's credentials; one that cannot be opened is left out, and the log says why.
    pub(super) async fn stored_credentials(&self) -> Credentials {
        let directory = &self.desk.directory;
        let rows = match directory.store.rows(all(Table::CREDENTIALS)).await {
            Ok(rows) => rows,
            Err(error) => {
                log!(
                    self.log,
                    Error,
                    "store",
                    what = "credentials cannot be read",
                    why = error
                );
                return Credentials::new();
            }
        };
        let mut credentials = Credentials::new();
        for row in rows {
            let name = text(&row, "credential_name").unwrap_or_default();
            let values = json(&row, "credential_values");
            match directory.secrets.open_all(&values) {
                Ok(Value::Object(values)) => {
                    credentials.insert(name, values);
                }
                Ok(_) => {}
                Err(why) => {
                    log!(
                        self.log,
                        Error,
                        "stored_credential_left_out",
                        credential = name,
                        why = why
                    );
                }
            }
        }
        credentials
    }

    /// What the configuration says as it is written, database included, without its secrets.
    ///
    /// # Errors
    /// The store's.
    pub async fn written(&self) -> Result<Value, StoreError> {
        let over = match self.desk.rules().store_models {
            true => Value::Object(self.stored_sections().await?).to_string(),
            false => "{}".to_owned(),
        };
        Ok(self.source.written(&over))
    }
}
