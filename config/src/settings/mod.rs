//! A configuration as plain typed fields: what the rest of the house reads.
//!
//! By the time these exist everything is checked, defaulted and resolved. Their fields are the
//! rows' names; a test compares the two.

mod callback;
mod effective;
mod general;
mod litellm;
mod model;
mod router;
mod value;

pub use callback::{CallbackSettings, Otel};
pub use general::{
    AlertingArgs, GeneralSettings, JwtAuth, KeyManagement, PassThrough, ProviderBudget,
    ServiceAccount,
};
pub use litellm::{
    CacheParams, KeyGeneration, KeyParams, LitellmSettings, Node, PersonalKeys, RedisMore, TeamKeys,
};
pub use model::ModelEntry;
pub use router::{
    AllowedFailsPolicy, Assistants, RetryPolicy, RouterGeneral, RouterSettings, StrategyArgs,
};
pub use value::{
    Alias, CacheBackend, CacheMode, DebugLevel, Fallback, Kept, Quantization, ResponseModel,
    RoutingStrategy, Secret, TokenRateLimit,
};

/// A whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// `environment_variables`, in the order of the file. They win over the process's own.
    pub environment: Vec<(String, Secret)>,
    /// `model_list`, in the order of the file.
    pub models: Vec<ModelEntry>,
    /// `litellm_settings`.
    pub litellm: LitellmSettings,
    /// `callback_settings`.
    pub callbacks: CallbackSettings,
    /// `general_settings`.
    pub general: GeneralSettings,
    /// `router_settings`.
    pub router: RouterSettings,
    /// Sections that are read and have no types yet (`guardrails`, `credential_list`, ...).
    pub sections: Kept,
    /// Top-level names without a row, as they were written.
    pub unknown: Kept,
}

#[cfg(test)]
mod tests {
    use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
    use serde::forward_to_deserialize_any;

    use super::*;
    use crate::reference::tables;

    /// Notes the field names a type asks for, and fails.
    struct Fields<'a>(&'a mut Vec<&'static str>);

    impl<'de> Deserializer<'de> for Fields<'_> {
        type Error = serde_json::Error;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(Self::Error::custom("names only"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Self::Error> {
            self.0.extend(fields);
            self.deserialize_any(visitor)
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
            option unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier
            ignored_any
        }
    }

    fn same<T: for<'de> Deserialize<'de>>(path: &str) {
        let mut fields = Vec::new();
        assert!(T::deserialize(Fields(&mut fields)).is_err());
        fields.retain(|field| *field != "unknown");
        fields.sort_unstable();
        let table = tables().into_iter().find(|(known, _)| known == path);
        let table = table.unwrap_or_else(|| panic!("no table {path}")).1;
        let mut names: Vec<&str> = table.rows.iter().map(|row| row.name).collect();
        names.sort_unstable();
        assert_eq!(fields, names, "fields and rows of {path} differ");
    }

    #[test]
    fn every_row_is_a_field_and_every_field_a_row() {
        same::<GeneralSettings>("general_settings");
        same::<JwtAuth>("general_settings.litellm_jwtauth");
        same::<AlertingArgs>("general_settings.alerting_args");
        same::<ProviderBudget>("general_settings.provider_budget_config.NAME");
        same::<LitellmSettings>("litellm_settings");
        same::<CacheParams>("litellm_settings.cache_params");
        same::<Node>("litellm_settings.cache_params.redis_startup_nodes[]");
        same::<KeyGeneration>("litellm_settings.key_generation_settings");
        same::<TeamKeys>("litellm_settings.key_generation_settings.team_key_generation");
        same::<PersonalKeys>("litellm_settings.key_generation_settings.personal_key_generation");
        same::<CallbackSettings>("callback_settings");
        same::<Otel>("callback_settings.otel");
        same::<RouterSettings>("router_settings");
        same::<Assistants>("router_settings.assistants_config");
        same::<RetryPolicy>("router_settings.retry_policy");
        same::<AllowedFailsPolicy>("router_settings.allowed_fails_policy");
        same::<RouterGeneral>("router_settings.router_general_settings");
    }
}
