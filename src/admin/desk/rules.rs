//! What the configuration says about keys, users and teams.

use serde_json::{Map, Value};
use shardgate_config::Config;

use crate::auth::calendar::Zone;
use crate::store::Row;

/// Settings of the management API.
#[derive(Debug, Default)]
pub struct Rules {
    /// The token of the master key, which rows made by it carry.
    pub master_token: Option<String>,
    /// `disable_adding_master_key_hash_to_db`
    pub hide_master_token: bool,
    /// `disable_master_key_return`: users' keys are told without it.
    pub hide_master_key: bool,
    /// `custom_key_generate`: a Python function decides on each key.
    pub custom_generate: bool,
    /// `custom_auth_run_common_checks`
    pub custom_checks: bool,
    /// `enable_key_alias_format_validation`
    pub check_aliases: bool,
    /// `timezone`
    pub zone: Zone,
    /// `store_audit_logs`
    pub audit: bool,
    /// `store_model_in_db`
    pub store_models: bool,
    /// `default_key_generate_params`
    pub key_defaults: Row,
    /// `upperbound_key_generate_params`
    pub key_bounds: Row,
    /// `key_generation_settings`: roles and required fields.
    pub team_keys: Option<Making>,
    /// The same for personal keys.
    pub personal_keys: Option<Making>,
    /// `default_internal_user_params`, `max_internal_user_budget`, `internal_user_budget_duration`
    pub user_defaults: Row,
    /// `default_team_params`
    pub team_defaults: Row,
}

/// Who may make a key, and what it must bring.
#[derive(Debug, Default)]
pub struct Making {
    /// The only roles.
    pub roles: Option<Vec<String>>,
    /// Fields that the request must name.
    pub required: Vec<String>,
}

impl Rules {
    /// Reads them from a checked configuration.
    pub fn from_config(config: &Config) -> Rules {
        let (general, litellm) = (&config.general, &config.litellm);
        let generation = litellm.key_generation_settings.as_ref();
        let team = generation.and_then(|settings| settings.team_key_generation.as_ref());
        let personal = generation.and_then(|settings| settings.personal_key_generation.as_ref());
        let master = general.master_key.as_ref();
        let mut user_defaults = litellm.default_internal_user_params.as_deref().cloned();
        let mut default = |name: &str, value: Value| {
            if !value.is_null() {
                user_defaults
                    .get_or_insert_with(Map::new)
                    .entry(name)
                    .or_insert(value);
            }
        };
        default("max_budget", Value::from(litellm.max_internal_user_budget));
        default(
            "budget_duration",
            Value::from(litellm.internal_user_budget_duration.clone()),
        );
        Rules {
            master_token: master.map(|key| crate::store::secret::token(key.expose())),
            hide_master_token: general.disable_adding_master_key_hash_to_db,
            hide_master_key: general.disable_master_key_return,
            custom_generate: general.custom_key_generate.is_some(),
            custom_checks: general.custom_auth_run_common_checks,
            check_aliases: litellm.enable_key_alias_format_validation,
            zone: Zone::named(&litellm.timezone),
            audit: litellm.store_audit_logs,
            store_models: general.store_model_in_db,
            key_defaults: params(litellm.default_key_generate_params.as_ref()),
            key_bounds: params(litellm.upperbound_key_generate_params.as_ref()),
            team_keys: team.map(|team| Making {
                roles: team.allowed_team_member_roles.clone(),
                required: team.required_params.clone(),
            }),
            personal_keys: personal.map(|personal| Making {
                roles: personal.allowed_user_roles.clone(),
                required: personal.required_params.clone(),
            }),
            user_defaults: user_defaults.unwrap_or_default(),
            team_defaults: litellm
                .default_team_params
                .as_deref()
                .cloned()
                .unwrap_or_default(),
        }
    }
}

fn params(params: Option<&shardgate_config::KeyParams>) -> Row {
    let Some(params) = params else {
        return Row::new();
    };
    let fields = [
        ("max_budget", Value::from(params.max_budget)),
        (
            "budget_duration",
            Value::from(params.budget_duration.clone()),
        ),
        ("duration", Value::from(params.duration.clone())),
        ("models", Value::from(params.models.clone())),
        ("user_id", Value::from(params.user_id.clone())),
        ("team_id", Value::from(params.team_id.clone())),
        (
            "max_parallel_requests",
            Value::from(params.max_parallel_requests),
        ),
        ("tpm_limit", Value::from(params.tpm_limit)),
        ("rpm_limit", Value::from(params.rpm_limit)),
    ];
    let set = fields.into_iter().filter(|(_, value)| !value.is_null());
    set.map(|(name, value)| (name.to_owned(), value)).collect()
}
