//! Request, as its caller describes it, with its names for metrics and messages.
//!
//! Specification: <https://kubernetes.io/docs/reference/using-api/api-concepts/>.

use std::time::Duration;

use ureq::http::Method;

/// Operation on objects, as Kubernetes names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    Create,
    Get,
    List,
    Patch,
    Watch,
}

impl Verb {
    /// The name in RBAC rules, metrics and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Get => "get",
            Self::List => "list",
            Self::Patch => "patch",
            Self::Watch => "watch",
        }
    }

    pub(super) fn method(self) -> Method {
        match self {
            Self::Create => Method::POST,
            Self::Get | Self::List | Self::Watch => Method::GET,
            Self::Patch => Method::PATCH,
        }
    }

    pub(super) fn is_write(self) -> bool {
        matches!(self, Self::Create | Self::Patch)
    }

    /// The media type of a body: a whole object, or a JSON merge patch (RFC 7396).
    pub(super) fn media_type(self) -> &'static str {
        if self == Self::Patch { "application/merge-patch+json" } else { "application/json" }
    }
}

/// Request, as its caller describes it.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) verb: Verb,
    /// The resource, for metrics: `nodes`, `pods/eviction`.
    pub(crate) resource: &'static str,
    /// The object or objects, for messages: `node worker-3`.
    pub(crate) object: String,
    /// Path and query, from `/api` or `/apis` on.
    pub(crate) path: String,
    /// The server is to send a `PartialObjectMetadata`, not the whole object.
    pub(crate) metadata_only: bool,
}

impl Call {
    pub(super) fn accept(&self) -> &'static str {
        if self.metadata_only { "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1" } else { "application/json" }
    }

    /// Verb and object, for messages: "get node worker-3".
    pub(crate) fn operation(&self) -> String {
        format!("{} {}", self.verb.name(), self.object)
    }
}

/// Attempt of a request, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// The operation.
    pub verb: Verb,
    /// The resource.
    pub resource: &'static str,
    /// The HTTP status code; none when no answer came.
    pub code: Option<u16>,
    /// Time from before the connection to the head of the answer.
    pub duration: Duration,
}
