//! `shardgate keys ...`: virtual keys of a running gateway.

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::remote::{Column, Gateway, Request, Show, escaped, run};

/// What to do with keys.
#[derive(clap::Subcommand, Debug)]
pub(super) enum Action {
    /// List keys.
    List {
        /// Of this user.
        #[arg(long)]
        user: Option<String>,
        /// Of this team.
        #[arg(long)]
        team: Option<String>,
        /// The page, from 1.
        #[arg(long, default_value_t = 1)]
        page: u32,
    },
    /// Make a key and print it; it is shown this once.
    Create(Fields),
    /// Show a key.
    Info {
        /// The key or its hash.
        key: String,
    },
    /// Change a key.
    Update {
        /// The key or its hash.
        key: String,
        #[command(flatten)]
        fields: Fields,
    },
    /// Put a new key in an old one's place.
    Rotate {
        /// The key or its hash.
        key: String,
        /// How long the old one works on: 1h, 1d. Not at all without it.
        #[arg(long, value_name = "PERIOD")]
        grace_period: Option<String>,
    },
    /// Block a key at once.
    Block {
        /// The key or its hash.
        key: String,
    },
    /// Let a blocked key work again.
    Unblock {
        /// The key or its hash.
        key: String,
    },
    /// Delete keys.
    Delete {
        /// The keys or their hashes.
        #[arg(required = true)]
        keys: Vec<String>,
    },
}

/// What a key or a team may have.
#[derive(clap::Args, Debug)]
pub(super) struct Fields {
    /// Its name.
    #[arg(long)]
    alias: Option<String>,
    /// The models that it may call, with commas between.
    #[arg(long, value_delimiter = ',')]
    models: Option<Vec<String>>,
    /// USD that may be spent.
    #[arg(long, value_name = "USD")]
    max_budget: Option<f64>,
    /// USD above which a warning is given.
    #[arg(long, value_name = "USD")]
    soft_budget: Option<f64>,
    /// When the budget starts anew: 1d, 7d, 30d, 1mo.
    #[arg(long, value_name = "PERIOD")]
    budget_duration: Option<String>,
    /// How long the key lives.
    #[arg(long, value_name = "PERIOD")]
    duration: Option<String>,
    /// Requests a minute.
    #[arg(long)]
    rpm: Option<u64>,
    /// Tokens a minute.
    #[arg(long)]
    tpm: Option<u64>,
    /// Calls at once.
    #[arg(long, value_name = "CALLS")]
    max_parallel: Option<u64>,
    /// Its user.
    #[arg(long)]
    user: Option<String>,
    /// Its team.
    #[arg(long)]
    team: Option<String>,
}

impl Fields {
    /// As a body; `alias` is the name that the alias has there.
    pub(super) fn body(&self, alias: &'static str) -> Map<String, Value> {
        let fields = [
            (alias, json!(self.alias)),
            ("models", json!(self.models)),
            ("max_budget", json!(self.max_budget)),
            ("soft_budget", json!(self.soft_budget)),
            ("budget_duration", json!(self.budget_duration)),
            ("duration", json!(self.duration)),
            ("rpm_limit", json!(self.rpm)),
            ("tpm_limit", json!(self.tpm)),
            ("max_parallel_requests", json!(self.max_parallel)),
            ("user_id", json!(self.user)),
            ("team_id", json!(self.team)),
        ];
        let set = fields.into_iter().filter(|(_, value)| !value.is_null());
        set.map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

const ROWS: &[Column] = &[
    ("KEY", "key_name"),
    ("ALIAS", "key_alias"),
    ("USER", "user_id"),
    ("TEAM", "team_id"),
    ("SPEND", "spend"),
    ("BUDGET", "max_budget"),
    ("MODELS", "models"),
    ("EXPIRES", "expires"),
    ("BLOCKED", "blocked"),
];
const MADE: &[Column] = &[
    ("key", "key"),
    ("alias", "key_alias"),
    ("user", "user_id"),
    ("team", "team_id"),
    ("models", "models"),
    ("budget", "max_budget"),
    ("expires", "expires"),
];
const INFO: &[Column] = &[
    ("key", "info.key_name"),
    ("alias", "info.key_alias"),
    ("user", "info.user_id"),
    ("team", "info.team_id"),
    ("spend", "info.spend"),
    ("budget", "info.max_budget"),
    ("budget starts anew", "info.budget_reset_at"),
    ("models", "info.models"),
    ("requests a minute", "info.rpm_limit"),
    ("tokens a minute", "info.tpm_limit"),
    ("calls at once", "info.max_parallel_requests"),
    ("expires", "info.expires"),
    ("blocked", "info.blocked"),
    ("made", "info.created_at"),
];

fn only(name: &str, value: impl Into<Value>) -> Map<String, Value> {
    Map::from_iter([(name.to_owned(), value.into())])
}

/// Does it.
pub(super) fn act(gateway: &Gateway, action: &Action) -> ExitCode {
    let (request, show) = match action {
        Action::List { user, team, page } => (
            Request::get("/key/list")
                .with("return_full_object", Some("true"))
                .with("size", Some("100"))
                .with("page", Some(&page.to_string()))
                .with("user_id", user.as_deref())
                .with("team_id", team.as_deref()),
            Show::List("keys", ROWS),
        ),
        Action::Create(fields) => (
            Request::post("/key/generate", fields.body("key_alias")),
            Show::One(MADE),
        ),
        Action::Info { key } => (
            Request::get("/key/info").with("key", Some(key)),
            Show::One(INFO),
        ),
        Action::Update { key, fields } => {
            let mut body = fields.body("key_alias");
            body.insert("key".to_owned(), Value::from(key.as_str()));
            (Request::post("/key/update", body), Show::One(MADE))
        }
        Action::Rotate { key, grace_period } => {
            let mut body = Map::new();
            if let Some(period) = grace_period {
                body = only("grace_period", period.as_str());
            }
            let path = format!("/key/{}/regenerate", escaped(key));
            (Request::post(path, body), Show::One(MADE))
        }
        Action::Block { key } => (
            Request::post("/key/block", only("key", key.as_str())),
            Show::Done("blocked".to_owned()),
        ),
        Action::Unblock { key } => (
            Request::post("/key/unblock", only("key", key.as_str())),
            Show::Done("unblocked".to_owned()),
        ),
        Action::Delete { keys } => (
            Request::post("/key/delete", only("keys", keys.clone())),
            Show::Done(format!("deleted {}", keys.len())),
        ),
    };
    run(gateway, &request, &show)
}
