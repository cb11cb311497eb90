//! One file per family of routes.

pub mod budget;
pub mod config;
pub mod credentials;
pub mod customer;
pub mod health;
pub mod inspection;
pub mod key;
mod key_rules;
pub mod model;
pub mod models;
pub mod organization;
pub mod router;
pub mod spend;
mod spend_sums;
pub mod tag;
pub mod team;
mod team_member;
pub mod user;

use std::sync::Arc;

use axum::Router;

use super::desk::Desk;

/// The routes that work on the store.
pub fn management() -> Router<Arc<Desk>> {
    Router::new()
        .merge(key::routes())
        .merge(user::routes())
        .merge(team::routes())
        .merge(organization::routes())
        .merge(customer::routes())
        .merge(budget::routes())
        .merge(tag::routes())
        .merge(credentials::routes())
        .merge(spend::routes())
}
