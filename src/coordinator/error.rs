//! Errors that prevent a decision, and the answer of each.

use thiserror::Error;

use crate::fleetlock::{Kind, Reply};
use crate::kube::ApiError;
pub(super) use crate::kube::error_chain;
use crate::lock::Unreadable;

/// Reason why no decision was made. Nothing is approved.
#[derive(Debug, Error)]
pub(super) enum Error {
    /// A call to Kubernetes failed.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Other writers changed the objects too often.
    #[error("no decision yet: too much changed at once, or Kubernetes is too slow; ask again")]
    Contended,
    /// The lock in the Lease cannot be read.
    #[error(transparent)]
    Lock(#[from] Unreadable),
}

impl Error {
    /// Returns the kind of the answer.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Api(ApiError::Refused { .. } | ApiError::NotFound { .. }) | Self::Lock(_) => Kind::KubernetesRefused,
            Self::Api(_) => Kind::KubernetesUnavailable,
            Self::Contended => Kind::Contended,
        }
    }
}

impl From<Error> for Reply {
    fn from(error: Error) -> Self {
        Self::refusal(error.kind(), error_chain(&error))
    }
}
