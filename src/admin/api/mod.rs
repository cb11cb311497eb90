//! One file per family of routes.

pub mod config;
pub mod health;
pub mod models;
