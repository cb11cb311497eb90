//! Reloading: a whole new snapshot, or none.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use super::hooks::{Functions, Hooks};
use super::proofs::Proofs;
use super::secrets::{self, Escrow, Secrets};
use super::{Control, Lasting, stored};
use crate::admin::desk::Rules;
use crate::log;
use crate::provider::Secret;
use crate::snapshot::Snapshot;

/// Where configurations come from.
pub enum Source {
    /// A file, read again at every reload.
    File {
        /// Its path.
        path: PathBuf,
        /// Unknown parameters are errors.
        strict: bool,
        /// How secrets are found.
        secrets: Secrets,
    },
    /// A text that is part of the program (the demo) or made from the command line.
    Text(String),
}

type Helpers = (Option<Arc<Hooks>>, Option<Arc<Escrow>>);

/// What a reload did.
pub struct Report {
    /// Deployments now served.
    pub models: usize,
    /// Counts snapshots, from 1.
    pub version: u64,
    /// What is odd in the file.
    pub warnings: Vec<String>,
}

/// A configuration that was read, with what its file's author should know.
pub struct Read {
    /// The configuration.
    pub config: shardgate_config::Config,
    /// What is odd in it.
    pub warnings: Vec<String>,
    /// Parameters that are set and whose effect is not built yet.
    pub not_in_force: Vec<String>,
    /// What encrypts stored secrets, where a secret manager says it.
    pub salt: Option<Secret>,
}

impl Source {
    /// How messages name it.
    fn name(&self) -> String {
        match self {
            Source::File { path, .. } => path.display().to_string(),
            Source::Text(_) => "built-in".to_owned(),
        }
    }

    /// The folder of the file.
    pub(super) fn folder(&self) -> Option<&Path> {
        match self {
            Source::File { path, .. } => path.parent(),
            Source::Text(_) => None,
        }
    }

    /// The file holds nothing now: an editor that writes it anew empties it for a moment.
    fn is_blank(&self) -> bool {
        match self {
            Source::File { path, .. } => {
                std::fs::read_to_string(path).is_ok_and(|text| text.trim().is_empty())
            }
            Source::Text(_) => false,
        }
    }

    /// What it says as it is written, with `over` in place, without its secrets.
    pub(super) fn written(&self, over: &str) -> serde_json::Value {
        match self {
            Source::File { path, .. } => shardgate_config::written(path, Some(over)),
            Source::Text(text) => shardgate_config::written_text(text, Some(over)),
        }
    }

    /// Reads and checks the configuration.
    ///
    /// # Errors
    /// Every mistake of the file, a line each.
    pub fn read(&self) -> Result<Read, Vec<String>> {
        self.read_over(None)
    }

    /// The same, with the parameters of `over` in place of the file's.
    fn read_over(&self, over: Option<&str>) -> Result<Read, Vec<String>> {
        let process = |name: &str| std::env::var(name).ok();
        let written = match self {
            Source::File { path, .. } => shardgate_config::written(path, over),
            Source::Text(text) => shardgate_config::written_text(text, over),
        };
        let how = match self {
            Source::File { secrets, .. } => *secrets,
            Source::Text(_) => Secrets::Asked,
        };
        let kept = secrets::read(&written, &process, how).map_err(|why| vec![why])?;
        let env = |name: &str| kept.get(name).cloned().or_else(|| process(name));
        let loaded = match self {
            Source::File { path, strict, .. } => {
                let options = shardgate_config::Options {
                    strict: *strict,
                    over,
                };
                shardgate_config::load(path, &env, options)
            }
            Source::Text(text) => {
                let options = shardgate_config::Options {
                    strict: false,
                    over,
                };
                shardgate_config::parse(text, "built-in", &env, options)
            }
        };
        match loaded {
            Ok(loaded) => Ok(Read {
                config: with_credentials(loaded.config),
                warnings: loaded.warnings.iter().map(ToString::to_string).collect(),
                not_in_force: loaded.not_in_force,
                salt: secrets::salt(&kept),
            }),
            Err(errors) => Err(errors.iter().map(ToString::to_string).collect()),
        }
    }

    /// Reads the configuration and builds snapshot number `version` from it.
    ///
    /// # Errors
    /// Every mistake, a line each.
    pub fn build(&self, lasting: &Lasting, version: u64) -> Result<(Snapshot, Read), Vec<String>> {
        let mut read = self.read()?;
        let name = self.name();
        let named = |texts: Vec<String>| texts.into_iter().map(|text| format!("{name}:{text}"));
        let snapshot = crate::snapshot::build(&read.config, lasting, version)
            .map_err(|errors| named(errors).collect::<Vec<_>>())?;
        read.warnings.extend(named(snapshot.warnings.clone()));
        Ok((snapshot, read))
    }
}

/// Models with the parameters of the credentials that they name.
fn with_credentials(mut config: shardgate_config::Config) -> shardgate_config::Config {
    let credentials = stored::written(&config);
    stored::lend(&mut config.models, &credentials);
    config
}

impl Control {
    /// The file's configuration, and with `store_model_in_db` the database's settings, models and
    /// credentials on top.
    async fn read_all(&self) -> Result<Read, Vec<String>> {
        let file = self.source.read();
        // A file may refer to variables that only the database has.
        let stores = match &file {
            Ok(file) => file.config.general.store_model_in_db,
            Err(_) => self.desk.rules().store_models,
        };
        if !stores {
            return file;
        }
        let mut read = match self.stored_over().await {
            Some(over) => self.source.read_over(Some(&over))?,
            None => file?,
        };
        let objects = &read.config.general.supported_db_objects;
        let reads = |name: &str| {
            let named = |objects: &Vec<String>| objects.iter().any(|object| object == name);
            objects.as_ref().is_none_or(named)
        };
        let (models, credentials) = (reads("models"), reads("credentials"));
        if models {
            read.config.models.extend(self.stored_models().await);
        }
        if credentials {
            let credentials = self.stored_credentials().await;
            stored::lend(&mut read.config.models, &credentials);
        }
        Ok(read)
    }

    /// The Python functions of a configuration: those that run already, where they are the same.
    async fn functions(
        &self,
        config: &shardgate_config::Config,
    ) -> Result<Option<Arc<Hooks>>, String> {
        let Some(functions) = Functions::of(config, self.source.folder()) else {
            return Ok(None);
        };
        match self.desk.hooks().filter(|hooks| hooks.are(&functions)) {
            Some(same) => Ok(Some(same)),
            None => Hooks::start(functions, self.log.clone()).await.map(Some),
        }
    }

    /// Whoever the management API asks beside the database.
    async fn helpers(&self, config: &shardgate_config::Config) -> Result<Helpers, String> {
        let env = |name: &str| std::env::var(name).ok();
        let escrow = Escrow::of(config, &env, &self.log)?;
        Ok((self.functions(config).await?, escrow.map(Arc::new)))
    }

    /// Reads the configuration again and gives it to every shard; a bad one changes nothing.
    ///
    /// # Errors
    /// Every mistake, a line each; they are logged too.
    pub async fn reload(&self) -> Result<Report, Vec<String>> {
        let _turn = self.reloading.lock().await;
        let version = self.snapshot().version + 1;
        let read = match self.source.is_blank() {
            true => Err(vec![format!(
                "{}: the file is empty; what was in force stays (write `model_list: []` to serve no model)",
                self.source.name()
            )]),
            false => self.read_all().await,
        };
        let built = match read {
            Ok(read) => crate::snapshot::build(&read.config, &self.lasting, version)
                .map(|snapshot| (snapshot, read)),
            Err(errors) => Err(errors),
        };
        let built = built.and_then(|(snapshot, read)| {
            let proofs = Proofs::from_config(&read.config).map_err(|error| vec![error])?;
            Ok((snapshot, read, proofs))
        });
        let built = match built {
            Ok((snapshot, read, proofs)) => match self.helpers(&read.config).await {
                Ok(helpers) => Ok((snapshot, read, proofs, helpers)),
                Err(error) => Err(vec![error]),
            },
            Err(errors) => Err(errors),
        };
        let (snapshot, read, proofs, (hooks, escrow)) = match built {
            Ok(built) => built,
            Err(errors) => {
                for error in &errors {
                    log!(self.log, Error, "reload_refused", why = error);
                }
                return Err(errors);
            }
        };
        self.lasting.origins.resolve(true).await;
        self.desk.set_rules(Rules::from_config(&read.config));
        self.desk.set_hooks(hooks);
        self.desk.set_escrow(escrow);
        self.desk
            .directory
            .set_policy(super::keys::policy(&read.config));
        *self.proofs.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(proofs);
        let report = Report {
            models: snapshot.deployments.len(),
            version,
            warnings: read.warnings.clone(),
        };
        snapshot.settings.configure(&self.log);
        self.publish(Arc::new(snapshot));
        for warning in &report.warnings {
            log!(self.log, Warn, "config", what = warning);
        }
        log!(
            self.log,
            Info,
            "reloaded",
            version = version,
            models = report.models
        );
        Ok(report)
    }
}
