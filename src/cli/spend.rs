//! `shardgate spend ...`: who spent what, asked of a running gateway.

use std::process::ExitCode;

use super::remote::{Column, Gateway, Request, Show, run};

/// By what spend is shown.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
pub(super) enum By {
    /// All of it.
    Total,
    /// By day.
    Days,
    /// By key.
    Keys,
    /// By user.
    Users,
    /// By team.
    Teams,
    /// By model.
    Models,
    /// By provider.
    Providers,
    /// By tag.
    Tags,
    /// Single calls, the newest first.
    Calls,
}

/// Which days.
#[derive(clap::Args, Debug)]
pub(super) struct Days {
    /// By what.
    #[arg(value_enum, default_value = "total")]
    by: By,
    /// The first day: 2026-01-31. Thirty days ago without it.
    #[arg(long, value_name = "DAY")]
    from: Option<String>,
    /// The last day; today without it.
    #[arg(long, value_name = "DAY")]
    to: Option<String>,
    /// At most so many lines.
    #[arg(long, default_value_t = 50)]
    limit: u32,
}

const TOTAL: &[Column] = &[("spend", "spend"), ("budget of all", "max_budget")];
const CALLS: &[Column] = &[
    ("BEGAN", "startTime"),
    ("MODEL", "model"),
    ("KEY", "metadata.user_api_key_alias"),
    ("USER", "user"),
    ("TEAM", "team_id"),
    ("TOKENS", "total_tokens"),
    ("SPEND", "spend"),
    ("STATUS", "status"),
];

/// Does it.
pub(super) fn act(gateway: &Gateway, days: &Days) -> ExitCode {
    let (path, show) = match days.by {
        By::Total => ("/global/spend", Show::One(TOTAL)),
        By::Days => (
            "/global/spend/logs",
            Show::List("", &[("DAY", "date"), ("SPEND", "spend")]),
        ),
        By::Keys => (
            "/global/spend/keys",
            Show::List(
                "",
                &[
                    ("KEY", "key_name"),
                    ("ALIAS", "key_alias"),
                    ("SPEND", "total_spend"),
                ],
            ),
        ),
        By::Users => (
            "/spend/users",
            Show::List(
                "",
                &[
                    ("USER", "user_id"),
                    ("SPEND", "spend"),
                    ("BUDGET", "max_budget"),
                ],
            ),
        ),
        By::Teams => (
            "/global/spend/teams",
            Show::List(
                "total_spend_per_team",
                &[("TEAM", "team_id"), ("SPEND", "total_spend")],
            ),
        ),
        By::Models => (
            "/global/spend/models",
            Show::List("", &[("MODEL", "model"), ("SPEND", "total_spend")]),
        ),
        By::Providers => (
            "/global/spend/provider",
            Show::List("", &[("PROVIDER", "provider"), ("SPEND", "spend")]),
        ),
        By::Tags => (
            "/global/spend/tags",
            Show::List(
                "spend_per_tag",
                &[("TAG", "name"), ("CALLS", "log_count"), ("SPEND", "spend")],
            ),
        ),
        By::Calls => ("/spend/logs", Show::List("", CALLS)),
    };
    let request = Request::get(path)
        .with("start_date", days.from.as_deref())
        .with("end_date", days.to.as_deref())
        .with("limit", Some(&days.limit.to_string()));
    run(gateway, &request, &show)
}
