//! Virtual keys in the secret manager (`store_virtual_keys`): each is kept there under its alias as long as
//! it lives, so that programs read their key from where their other secrets are.
//!
//! A manager that is away stops nobody from making or deleting a key: what it missed is told in the log.

use std::collections::BTreeSet;

use shardgate_config::Config;

use super::manager::{Manager, Places};
use crate::coordinator::web::Web;
use crate::directory::text;
use crate::log;
use crate::observe::log::Log;
use crate::store::Row;

/// What the name of a key without an alias begins with, before its hash.
const UNNAMED: &str = "virtual-key-";

/// Where virtual keys are kept besides the database.
pub struct Escrow {
    manager: Manager,
    web: Web,
    /// Ends with a slash.
    prefix: String,
    log: Log,
}

impl Escrow {
    /// The configuration's; none where keys are not stored.
    ///
    /// # Errors
    /// What is missing to ask the manager.
    pub fn of(
        config: &Config,
        env: &dyn Fn(&str) -> Option<String>,
        log: &Log,
    ) -> Result<Option<Escrow>, String> {
        let general = &config.general;
        let settings = general.key_management_settings.first();
        let Some(settings) = settings.filter(|settings| settings.store_virtual_keys) else {
            return Ok(None);
        };
        let told = |why: String| format!("key_management_settings.store_virtual_keys: {why}");
        let short = [
            (general.use_aws_secret_manager, "aws_secret_manager"),
            (general.use_azure_key_vault, "azure_key_vault"),
            (general.use_google_kms, "google_kms"),
        ];
        let short = short.iter().find(|(is_set, _)| *is_set);
        let system = general.key_management_system.as_deref();
        let system = system
            .or(short.map(|(_, system)| *system))
            .ok_or_else(|| told("key_management_system must say where".to_owned()))?;
        let prefix = settings
            .prefix_for_stored_virtual_keys
            .trim_end_matches('/');
        if prefix.is_empty() {
            let text = "prefix_for_stored_virtual_keys must not be empty: an alias could name any other secret";
            return Err(told(text.to_owned()));
        }
        let places = Places::read(settings);
        let manager = Manager::of(system, &places, &BTreeSet::new(), env).map_err(told)?;
        if !manager.keeps_secrets() {
            let text = format!(
                "{system} keeps no secrets; a secret manager does (google_secret_manager, ...)"
            );
            return Err(told(text));
        }
        Ok(Some(Escrow {
            manager,
            web: Web::new().map_err(told)?,
            prefix: format!("{prefix}/"),
            log: log.clone(),
        }))
    }

    /// Keeps a new key.
    pub async fn keep(&self, row: &Row, key: &str) {
        self.tell(row, self.put(&self.name(row), key).await);
    }

    /// Keeps a key in the place of another one.
    pub async fn replace(&self, before: &Row, after: &Row, key: &str) {
        let (old, new) = (self.name(before), self.name(after));
        let mut done = self.put(&new, key).await;
        if done.is_ok() && old != new {
            done = self.delete(&old).await;
        }
        self.tell(after, done);
    }

    /// Follows a key whose alias changes.
    pub async fn rename(&self, before: &Row, after: &Row) {
        let (old, new) = (self.name(before), self.name(after));
        if old != new {
            self.tell(after, self.rename_to(&old, &new).await);
        }
    }

    /// Lets deleted keys go, until one cannot be: whoever deletes many waits for a manager that is away once.
    pub async fn release(&self, rows: &[Row]) {
        for row in rows {
            let done = self.delete(&self.name(row)).await;
            if done.is_err() {
                return self.tell(row, done);
            }
        }
    }

    /// A key's name there: its alias, where that is a name in our own folder. Names of keys without one are
    /// nobody's alias.
    fn name(&self, row: &Row) -> String {
        let alias = text(row, "key_alias").filter(|alias| is_name(alias));
        let token = text(row, "token").unwrap_or_default();
        let name = alias.unwrap_or_else(|| format!("{UNNAMED}{token}"));
        format!("{}{name}", self.prefix)
    }

    async fn put(&self, name: &str, key: &str) -> Result<(), String> {
        let token = self.manager.enter(&self.web).await?;
        self.manager.put(&self.web, &token, name, key).await
    }

    async fn delete(&self, name: &str) -> Result<(), String> {
        let token = self.manager.enter(&self.web).await?;
        self.manager.delete(&self.web, &token, name).await
    }

    async fn rename_to(&self, old: &str, new: &str) -> Result<(), String> {
        let token = self.manager.enter(&self.web).await?;
        let Some(key) = self.manager.get(&self.web, &token, old).await? else {
            return Ok(());
        };
        self.manager.put(&self.web, &token, new, &key).await?;
        self.manager.delete(&self.web, &token, old).await
    }

    fn tell(&self, row: &Row, done: Result<(), String>) {
        let Err(why) = done else { return };
        log!(
            self.log,
            Warn,
            "secret_manager",
            what = "the secret of a virtual key is not up to date",
            token = text(row, "token").unwrap_or_default(),
            why = why
        );
    }
}

/// Whether an alias leads nowhere but to its own place.
fn is_name(alias: &str) -> bool {
    let leads_away = |part: &str| part.is_empty() || part == "." || part == "..";
    !alias.split('/').any(leads_away)
        && !alias.starts_with(UNNAMED)
        && !alias.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_leads_to_its_own_place_only() {
        for alias in ["a", "team/app", "a.b", "..a"] {
            assert!(is_name(alias), "{alias}");
        }
        for alias in [
            "",
            "..",
            "../OPENAI_API_KEY",
            "a//b",
            "/a",
            "a/./b",
            "virtual-key-1",
            "a\nb",
        ] {
            assert!(!is_name(alias), "{alias}");
        }
    }
}
