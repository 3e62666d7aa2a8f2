//! What keeps a decision from being made, and what the client is told of it.

use thiserror::Error;

use crate::fleetlock::{Kind, Reply};
use crate::kube::ApiError;
pub(super) use crate::kube::error_chain as told;
use crate::lock::Unreadable;

/// No decision could be made. Nothing is approved.
#[derive(Debug, Error)]
pub(super) enum Trouble {
    /// Kubernetes did not do what it was asked.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Too many changes of others in between.
    #[error("too much changed at once, or Kubernetes is too slow, to come to a decision; ask again")]
    Contended,
    /// The Lease does not make sense.
    #[error(transparent)]
    Lock(#[from] Unreadable),
}

impl From<Trouble> for Reply {
    fn from(trouble: Trouble) -> Self {
        let kind = match &trouble {
            Trouble::Api(ApiError::Refused { .. } | ApiError::NotFound { .. }) | Trouble::Lock(_) => Kind::KubernetesRefused,
            Trouble::Api(_) => Kind::KubernetesUnavailable,
            Trouble::Contended => Kind::Contended,
        };
        let message = told(&trouble);
        log::warn!("{}: {message}", kind.name());
        Self::refusal(kind, message)
    }
}
