//! Models of the database beside those of the file (`store_model_in_db`).

use serde_json::{Value, json};
use shardgate_config::ModelEntry;

use super::Control;
use crate::directory::text;
use crate::log;
use crate::store::{Command, Row, Table};

/// Checks a model as if it stood in the file, and reads it.
///
/// # Errors
/// Every mistake, a line each.
pub fn check_model(name: &str, params: &Value, info: &Value) -> Result<ModelEntry, Vec<String>> {
    let entry = json!({"model_name": name, "litellm_params": params, "model_info": info});
    let file = json!({"model_list": [entry]}).to_string();
    let env = |name: &str| std::env::var(name).ok();
    let options = shardgate_config::Options::default();
    match shardgate_config::parse(&file, "database", &env, options) {
        Ok(loaded) => loaded
            .config
            .models
            .into_iter()
            .next()
            .ok_or_else(|| vec!["the model cannot be read".to_owned()]),
        Err(errors) => Err(errors.iter().map(ToString::to_string).collect()),
    }
}

impl Control {
    /// The database's models; one that cannot be opened or read is left out, and the log says why.
    pub(super) async fn stored_models(&self) -> Vec<ModelEntry> {
        let directory = &self.desk.directory;
        let list = Command::List {
            table: Table::MODELS,
            filter: Row::new(),
            newest: false,
            limit: 100_000,
            offset: 0,
        };
        let rows = match directory.store.rows(list).await {
            Ok(rows) => rows,
            Err(error) => {
                log!(
                    self.log,
                    Error,
                    "store",
                    what = "models cannot be read",
                    why = error
                );
                return Vec::new();
            }
        };
        let mut entries = Vec::with_capacity(rows.len());
        let blocked = |row: &Row| row.get("blocked").and_then(Value::as_bool) == Some(true);
        for row in rows.into_iter().filter(|row| !blocked(row)) {
            let name = text(&row, "model_name").unwrap_or_default();
            match self.stored_model(&row, &name) {
                Ok(entry) => entries.push(entry),
                Err(why) => {
                    log!(
                        self.log,
                        Error,
                        "stored_model_left_out",
                        model = name,
                        why = why
                    );
                }
            }
        }
        entries
    }

    fn stored_model(&self, row: &Row, name: &str) -> Result<ModelEntry, String> {
        let sealed = match row.get("litellm_params") {
            // A client of another kind may have stored the JSON as a text.
            Some(Value::String(inner)) => serde_json::from_str(inner).unwrap_or_default(),
            Some(value) => value.clone(),
            None => Value::Null,
        };
        let params = self.desk.directory.secrets.open_all(&sealed)?;
        let mut info = row.get("model_info").cloned().unwrap_or_default();
        if info.get("id").is_none() {
            info = json!({"id": row.get("model_id"), "db_model": true});
        }
        check_model(name, &params, &info).map_err(|errors| errors.join("; "))
    }
}
