//! `shardgate teams ...`: teams of a running gateway and their members.

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::keys::Fields;
use super::remote::{Column, Gateway, Request, Show, run};

/// What to do with teams.
#[derive(clap::Subcommand, Debug)]
pub(super) enum Action {
    /// List teams.
    List,
    /// Make a team.
    Create(Fields),
    /// Show a team.
    Info {
        /// Its id.
        id: String,
    },
    /// Change a team.
    Update {
        /// Its id.
        id: String,
        #[command(flatten)]
        fields: Fields,
    },
    /// Block all keys of a team.
    Block {
        /// Its id.
        id: String,
    },
    /// Let the keys of a blocked team work again.
    Unblock {
        /// Its id.
        id: String,
    },
    /// Add a member to a team.
    AddMember {
        /// The team's id.
        id: String,
        /// The user's id.
        user: String,
        /// admin or user.
        #[arg(long, default_value = "user")]
        role: String,
        /// USD that the member may spend in the team.
        #[arg(long, value_name = "USD")]
        max_budget: Option<f64>,
    },
    /// Take a member out of a team.
    RemoveMember {
        /// The team's id.
        id: String,
        /// The user's id.
        user: String,
    },
    /// Delete teams with their keys.
    Delete {
        /// Their ids.
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

const ROWS: &[Column] = &[
    ("TEAM", "team_id"),
    ("ALIAS", "team_alias"),
    ("SPEND", "spend"),
    ("BUDGET", "max_budget"),
    ("MODELS", "models"),
    ("BLOCKED", "blocked"),
];
const MADE: &[Column] = &[
    ("team", "team_id"),
    ("alias", "team_alias"),
    ("budget", "max_budget"),
    ("models", "models"),
];
const INFO: &[Column] = &[
    ("team", "team_info.team_id"),
    ("alias", "team_info.team_alias"),
    ("organization", "team_info.organization_id"),
    ("spend", "team_info.spend"),
    ("budget", "team_info.max_budget"),
    ("budget starts anew", "team_info.budget_reset_at"),
    ("models", "team_info.models"),
    ("requests a minute", "team_info.rpm_limit"),
    ("tokens a minute", "team_info.tpm_limit"),
    ("blocked", "team_info.blocked"),
    ("members", "team_info.members_with_roles"),
];
const CHANGED: &[Column] = &[
    ("team", "data.team_id"),
    ("alias", "data.team_alias"),
    ("budget", "data.max_budget"),
    ("models", "data.models"),
];

fn named(id: &str) -> Map<String, Value> {
    Map::from_iter([("team_id".to_owned(), Value::from(id))])
}

/// Does it.
pub(super) fn act(gateway: &Gateway, action: &Action) -> ExitCode {
    let (request, show) = match action {
        Action::List => (Request::get("/team/list"), Show::List("", ROWS)),
        Action::Create(fields) => (
            Request::post("/team/new", fields.body("team_alias")),
            Show::One(MADE),
        ),
        Action::Info { id } => (
            Request::get("/team/info").with("team_id", Some(id)),
            Show::One(INFO),
        ),
        Action::Update { id, fields } => {
            let mut body = fields.body("team_alias");
            body.extend(named(id));
            (Request::post("/team/update", body), Show::One(CHANGED))
        }
        Action::Block { id } => (
            Request::post("/team/block", named(id)),
            Show::Done("blocked".to_owned()),
        ),
        Action::Unblock { id } => (
            Request::post("/team/unblock", named(id)),
            Show::Done("unblocked".to_owned()),
        ),
        Action::AddMember {
            id,
            user,
            role,
            max_budget,
        } => {
            let mut body = named(id);
            body.insert("member".to_owned(), json!({"user_id": user, "role": role}));
            body.insert("max_budget_in_team".to_owned(), json!(max_budget));
            let done = format!("{user} is in {id}");
            (Request::post("/team/member_add", body), Show::Done(done))
        }
        Action::RemoveMember { id, user } => {
            let mut body = named(id);
            body.insert("user_id".to_owned(), Value::from(user.as_str()));
            let done = format!("{user} is no longer in {id}");
            (Request::post("/team/member_delete", body), Show::Done(done))
        }
        Action::Delete { ids } => {
            let body = Map::from_iter([("team_ids".to_owned(), Value::from(ids.clone()))]);
            let done = format!("deleted {}", ids.len());
            (Request::post("/team/delete", body), Show::Done(done))
        }
    };
    run(gateway, &request, &show)
}
