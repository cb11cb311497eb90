//! What the configuration says of all keys, end users and service accounts, besides their rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::priority::{Priorities, Shares};
use crate::auth::calendar::Zone;
use crate::store::Row;

/// Limits that no row holds.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// `service_account_settings`: `rpm_limit`, `tpm_limit`, `max_parallel_requests` of such keys, over
    /// their own.
    pub service_account: Row,
    /// `max_end_user_budget` (`max_user_budget`): dollars of an end user without a budget.
    pub end_user_budget: Option<f64>,
    /// `max_end_user_budget_id`: the budget of end users who have none.
    pub end_user_budget_id: Option<String>,
    /// `timezone`: where budgets begin anew.
    pub zone: Zone,
    /// `priority_reservation`
    pub priorities: Priorities,
    /// What each priority has, by its name; that of all others by no name.
    pub shares: BTreeMap<String, Arc<Shares>>,
}
