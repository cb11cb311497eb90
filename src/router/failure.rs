//! Kinds of failure, as far as the router treats them differently, and the end of a request that
//! failed. How a failure reads on the wire is the dialects' affair.

use super::{DeploymentIx, GroupIx};

/// What went wrong with one attempt. The names are LiteLLM's exception classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// 401.
    Authentication,
    /// 403.
    PermissionDenied,
    /// No answer in time, or 408, 504.
    Timeout,
    /// 429.
    RateLimit,
    /// The provider refuses the content, before or in its answer.
    ContentPolicy,
    /// The prompt does not fit the model.
    ContextWindow,
    /// 500 and unknown 5xx.
    InternalServer,
    /// 503.
    ServiceUnavailable,
    /// 400, 413, 422: the request is wrong wherever it goes.
    BadRequest,
    /// 404.
    NotFound,
    /// No connection, or it broke before an answer.
    ApiConnection,
    /// Any other status.
    Other(u16),
}

impl FailureClass {
    /// The class of an upstream's status, when its text says nothing more precise.
    #[must_use]
    pub fn of_status(status: u16) -> FailureClass {
        match status {
            400 | 413 | 422 => FailureClass::BadRequest,
            401 => FailureClass::Authentication,
            403 => FailureClass::PermissionDenied,
            404 => FailureClass::NotFound,
            408 | 504 | 522 | 524 => FailureClass::Timeout,
            429 => FailureClass::RateLimit,
            503 => FailureClass::ServiceUnavailable,
            500..=599 => FailureClass::InternalServer,
            other => FailureClass::Other(other),
        }
    }

    /// The status that a client sees for this class, where the upstream's own is not known.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            FailureClass::Authentication => 401,
            FailureClass::PermissionDenied => 403,
            FailureClass::Timeout => 408,
            FailureClass::RateLimit => 429,
            FailureClass::ContentPolicy
            | FailureClass::ContextWindow
            | FailureClass::BadRequest => 400,
            FailureClass::InternalServer | FailureClass::ApiConnection => 500,
            FailureClass::ServiceUnavailable => 503,
            FailureClass::NotFound => 404,
            FailureClass::Other(status) => status,
        }
    }
}

/// Why a request ends without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The last attempt's failure: the shard keeps what the upstream said.
    Upstream,
    /// The caller may not use the group: the shard keeps the reason.
    Denied,
    /// A switch of the request (mock_testing_*) asked for this failure.
    Mocked,
    /// Every deployment of the group is cooling down.
    Cooling,
    /// Every deployment of the group has used its rpm or tpm up.
    LimitReached,
    /// Every deployment runs as many calls as it may, and no slot came free in time.
    NoSlot,
    /// As many requests wait for the group as may.
    QueueFull,
    /// The prompt is longer than every deployment's context window.
    PromptTooLong,
    /// No deployment carries the request's tags.
    TagsDenied,
    /// No deployment in the region asked for.
    RegionDenied,
    /// No deployment can do what the request needs.
    Unsupported,
    /// Every deployment's provider (or the deployment) has spent its budget.
    BudgetSpent,
    /// The group has no deployment at all.
    Empty,
    /// The whole request took longer than its timeout.
    Deadline,
}

/// The end of a request that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its kind.
    pub class: FailureClass,
    /// The status to answer.
    pub status: u16,
    /// Why.
    pub cause: Cause,
    /// When to come back, in seconds rounded up, where that is known.
    pub retry_after_s: Option<u32>,
    /// The group it happened in.
    pub group: GroupIx,
    /// The deployment that failed, for `Cause::Upstream`.
    pub deployment: Option<DeploymentIx>,
}
