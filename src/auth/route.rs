//! Routes by name: the groups that `allowed_routes` may name, and which routes a role may call.

use super::caller::Role;

/// What a route is about, for the question who may call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Calls a model, or lists them.
    Llm,
    /// Tells a caller about itself; handlers filter.
    Info,
    /// Keys of one's own.
    Keys,
    /// Spend of one's own, or of all.
    Spend,
    /// Handlers decide themselves: team and organization admins.
    Delegated,
    /// Changes what others may do.
    Admin,
}

const INFO: &[&str] = &[
    "/key/info",
    "/v2/key/info",
    "/key/list",
    "/key/aliases",
    "/key/health",
    "/team/info",
    "/team/list",
    "/v2/team/list",
    "/team/available",
    "/team/permissions_list",
    "/user/info",
    "/v2/user/info",
    "/user/available_roles",
    "/model/info",
    "/v1/model/info",
    "/v2/model/info",
    "/model_group/info",
    "/health",
    "/health/services",
    "/organization/info",
    "/organization/list",
    "/models",
    "/v1/models",
    "/health/readiness",
    "/health/liveliness",
    "/health/liveness",
    "/utils/token_counter",
    "/routes",
];
const KEYS: &[&str] = &[
    "/key/generate",
    "/key/update",
    "/key/delete",
    "/key/regenerate",
    "/key/block",
    "/key/unblock",
    "/key/service-account/generate",
];
const SPEND: &[&str] = &[
    "/spend",
    "/global/spend",
    "/global/activity",
    "/user/daily/activity",
    "/key/spend/report",
    "/user/spend/report",
    "/management/v1/spend_logs",
];
/// Heads of paths; one without a slash at its end is a whole path.
const DELEGATED: &[&str] = &[
    "/team/",
    "/teams/",
    "/organization/member_add",
    "/organization/member_update",
    "/organization/member_delete",
    "/organization/update",
    "/organization/daily/activity",
    "/organization/spend/report",
    "/v2/organization/",
    "/user/update",
];
const MANAGEMENT: &[&str] = &[
    "/key/",
    "/user/",
    "/organization/",
    "/customer/",
    "/end_user/",
    "/budget/",
    "/tag/",
    "/model/",
    "/credentials",
    "/config",
    "/spend",
    "/global/",
    "/audit",
    "/access_group/",
    "/settings",
    "/active/",
    "/router/",
    "/cache/",
    "/invitation/",
    "/get/",
    "/add/",
    "/update/",
    "/delete/",
    "/alerting/",
    "/v2/key/",
    "/v2/user/",
    "/v2/team/",
    "/provider/budgets",
    "/health/",
    "/reload/",
    "/guardrails/",
    "/management/",
    "/cost/",
    "/callbacks/",
];

/// What `path` is about. A path that nobody names calls a model.
pub fn kind(path: &str) -> Kind {
    let below = |list: &[&str]| list.iter().any(|head| under(head, path));
    if INFO.contains(&path) {
        Kind::Info
    } else if KEYS.contains(&path) || path.starts_with("/key/") && path.ends_with("/regenerate") {
        Kind::Keys
    } else if below(SPEND) {
        Kind::Spend
    } else if DELEGATED
        .iter()
        .any(|head| *head == path || head.ends_with('/') && path.starts_with(head))
    {
        Kind::Delegated
    } else if MANAGEMENT.iter().any(|head| path.starts_with(head)) {
        Kind::Admin
    } else {
        Kind::Llm
    }
}

fn under(head: &str, path: &str) -> bool {
    path.strip_prefix(head)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A list of paths, `/prefix/*` and group names holds `path`.
pub fn listed(list: &[String], path: &str) -> bool {
    list.iter().any(|entry| match entry.as_str() {
        "openai_routes" | "llm_api_routes" | "anthropic_routes" => kind(path) == Kind::Llm,
        "info_routes" => kind(path) == Kind::Info,
        "management_routes" => {
            matches!(
                kind(path),
                Kind::Keys | Kind::Delegated | Kind::Admin | Kind::Info
            )
        }
        "spend_tracking_routes" => under("/spend", path),
        "global_spend_tracking_routes" => under("/global/spend", path),
        exact if exact == path => true,
        pattern => pattern
            .strip_suffix("/*")
            .is_some_and(|head| under(head, path)),
    })
}

/// The role may call a route of this kind, read-only or not. What it then sees or changes the
/// handler decides.
pub fn role_may(role: Role, kind: Kind, reads: bool) -> bool {
    match (role, kind) {
        (Role::ProxyAdmin, _) => true,
        (Role::ProxyAdminViewer, Kind::Llm) => false,
        (Role::ProxyAdminViewer, _) => reads,
        (_, Kind::Llm | Kind::Info | Kind::Delegated) => true,
        (Role::OrgAdmin | Role::InternalUser, Kind::Keys | Kind::Spend) => true,
        (Role::InternalUserViewer, Kind::Spend) => reads,
        // A team's key may be made by a plain member where the team permits it.
        (Role::Plain | Role::InternalUserViewer, Kind::Keys) => false,
        (Role::Plain, Kind::Spend) => false,
        (_, Kind::Admin) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_have_kinds() {
        assert_eq!(kind("/v1/chat/completions"), Kind::Llm);
        assert_eq!(kind("/key/generate"), Kind::Keys);
        assert_eq!(kind("/key/sk-1/regenerate"), Kind::Keys);
        assert_eq!(kind("/key/info"), Kind::Info);
        assert_eq!(kind("/user/new"), Kind::Admin);
        assert_eq!(kind("/spend/logs"), Kind::Spend);
        assert_eq!(kind("/team/member_add"), Kind::Delegated);
        assert_eq!(kind("/team/t-1/callback"), Kind::Delegated);
        assert_eq!(kind("/user/updated"), Kind::Admin);
    }

    #[test]
    fn lists_hold_paths_prefixes_and_groups() {
        let check = |entry: &str, path: &str| listed(&[entry.to_owned()], path);
        assert!(check("/v1/chat/completions", "/v1/chat/completions"));
        assert!(!check("/v1/chat/completions", "/chat/completions"));
        assert!(check("/v1/*", "/v1/models") && !check("/v1/*", "/v10"));
        assert!(check("openai_routes", "/embeddings") && !check("openai_routes", "/key/info"));
        assert!(check("info_routes", "/key/info") && !check("info_routes", "/key/delete"));
    }

    #[test]
    fn roles_open_routes() {
        assert!(role_may(Role::ProxyAdmin, Kind::Admin, false));
        assert!(role_may(Role::ProxyAdminViewer, Kind::Admin, true));
        assert!(!role_may(Role::ProxyAdminViewer, Kind::Admin, false));
        assert!(!role_may(Role::InternalUser, Kind::Admin, true));
        assert!(role_may(Role::InternalUser, Kind::Keys, false));
        assert!(!role_may(Role::Plain, Kind::Keys, false));
        assert!(role_may(Role::Plain, Kind::Info, true));
    }
}
