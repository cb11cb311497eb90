//! `shardgate db check|migrate`: what a database lacks, and adding it. Nothing is ever changed or
//! dropped.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use super::{complain, say};
use crate::coordinator::{Secrets, Source};
use crate::store::{Postgres, PostgresOptions, Sqlite, Store, StoreError};

/// What to do.
#[derive(clap::Subcommand, Debug)]
pub(super) enum Action {
    /// Report the tables and columns that are missing (exit 0 when none is, else 1).
    Check(Where),
    /// Create what is missing, under a lock that other instances respect.
    Migrate(Where),
}

/// Which database.
#[derive(clap::Args, Debug)]
pub(super) struct Where {
    /// A Postgres URL; else that of the config, else the embedded file.
    #[arg(long = "database-url", env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// The config.yaml whose general_settings.database_url is meant.
    #[arg(short, long, env = "CONFIG_FILE_PATH", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The embedded store's file.
    #[arg(long, env = "SHARDGATE_DATABASE_FILE", default_value = "shardgate.db")]
    file: PathBuf,
}

/// Does it; exit code 0 (done, or nothing missing), 1 (missing, or not reachable) or 2 (wrong input).
pub(super) fn run(action: &Action) -> ExitCode {
    let (place, migrate) = match action {
        Action::Check(place) => (place, false),
        Action::Migrate(place) => (place, true),
    };
    let url = match url(place) {
        Ok(url) => url,
        Err(errors) => {
            errors
                .iter()
                .for_each(|error| complain(&format!("error: {error}")));
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(work(place, url, migrate)),
        Err(error) => Err(StoreError::Unavailable(error.to_string())),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            complain(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn url(place: &Where) -> Result<Option<String>, Vec<String>> {
    if place.database_url.is_some() {
        return Ok(place.database_url.clone());
    }
    let Some(path) = place.config.clone() else {
        return Ok(None);
    };
    let read = Source::File {
        path,
        strict: false,
        secrets: Secrets::Asked,
    }
    .read()?;
    Ok(read
        .config
        .general
        .database_url
        .map(|url| url.expose().to_owned()))
}

async fn work(place: &Where, url: Option<String>, migrate: bool) -> Result<bool, StoreError> {
    const TIMEOUT: Duration = Duration::from_secs(15);
    let store: Arc<dyn Store> = match url {
        Some(url) => {
            let options = PostgresOptions {
                url,
                connections_max: 2,
                timeout: TIMEOUT,
            };
            Arc::new(Postgres::new(&options)?)
        }
        None => Arc::new(Sqlite::open(Some(&place.file))?),
    };
    if migrate {
        let made = store.migrate().await?;
        made.iter().for_each(|what| say(&format!("created {what}")));
        say(&format!("{}: {} additions", store.name(), made.len()));
        return Ok(true);
    }
    let missing = store.missing().await?;
    missing
        .iter()
        .for_each(|what| say(&format!("missing {what}")));
    say(&format!("{}: {} missing", store.name(), missing.len()));
    Ok(missing.is_empty())
}
