//! One file per family of routes.

pub mod access_group;
pub mod activity;
pub mod audit;
pub mod budget;
pub mod config;
pub mod credentials;
pub mod customer;
pub mod document;
pub mod health;
pub mod inspection;
pub mod invitation;
pub mod jwt_mapping;
pub mod key;
pub mod key_renewal;
mod key_rules;
pub mod management_v1;
pub mod membership;
pub mod model;
pub mod models;
pub mod organization;
pub mod router;
pub mod settings;
pub mod spend;
pub mod spend_report;
mod spend_sums;
pub mod tag;
pub mod tag_analytics;
pub mod team;
pub mod team_logging;
mod team_member;
pub mod unified_access_group;
pub mod user;

use std::sync::Arc;

use super::desk::Desk;
use super::routes::Routes;
use crate::coordinator::Control;

/// The routes that work on the configuration in force.
pub fn served() -> Routes<Arc<Control>> {
    Routes::new()
        .merge(document::routes())
        .merge(models::routes())
        .merge(health::routes())
        .merge(config::reloading())
        .merge(router::routes())
        .merge(inspection::routes())
}

/// The routes that change the configuration in force, which need somebody who asks.
pub fn governed() -> Routes<Arc<Control>> {
    Routes::new()
        .merge(model::routes())
        .merge(config::routes())
        .merge(credentials::routes())
        .merge(activity::of_providers())
        .merge(access_group::routes())
        .merge(settings::routes())
}

/// The routes that work on the store.
pub fn management() -> Routes<Arc<Desk>> {
    Routes::new()
        .merge(key::routes())
        .merge(user::routes())
        .merge(team::routes())
        .merge(organization::routes())
        .merge(customer::routes())
        .merge(budget::routes())
        .merge(tag::routes())
        .merge(spend::routes())
        .merge(spend_report::routes())
        .merge(tag_analytics::routes())
        .merge(management_v1::routes())
        .merge(activity::routes())
        .merge(invitation::routes())
        .merge(audit::routes())
        .merge(team_logging::routes())
        .merge(membership::routes())
        .merge(unified_access_group::routes())
        .merge(jwt_mapping::routes())
}
