//! A request as its caller names it, and how it looks to metrics and messages.
//!
//! Specification: <https://kubernetes.io/docs/reference/using-api/api-concepts/>.

use std::fmt;
use std::time::Duration;

use ureq::http::Method;

use super::retry::Intent;

/// An operation on objects, in Kubernetes' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// POST.
    Create,
    /// GET of one object.
    Get,
    /// GET of many.
    List,
    /// PATCH.
    Patch,
    /// PUT.
    Update,
    /// GET of the changes of many, as they happen.
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
            Self::Update => "update",
            Self::Watch => "watch",
        }
    }

    pub(super) fn method(self) -> Method {
        match self {
            Self::Create => Method::POST,
            Self::Get | Self::List | Self::Watch => Method::GET,
            Self::Patch => Method::PATCH,
            Self::Update => Method::PUT,
        }
    }

    pub(super) fn intent(self) -> Intent {
        if matches!(self, Self::Get | Self::List | Self::Watch) { Intent::Read } else { Intent::Write }
    }
}

/// The part of an object that the server is to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Only its metadata: a `PartialObjectMetadata`, or a list of them.
    Metadata,
    /// The whole object.
    Whole,
}

/// The kind of body of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A whole object.
    Json,
    /// A JSON merge patch, RFC 7396.
    MergePatch,
}

/// One request as its caller names it.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    /// The operation.
    pub verb: Verb,
    /// The resource, for metrics: `nodes`, `pods/eviction`.
    pub resource: &'static str,
    /// The object or objects, for messages: `node worker-3`.
    pub object: &'a str,
    /// Path and query, from `/api` or `/apis` on.
    pub path: String,
    /// The part of the object to send back.
    pub detail: Detail,
}

impl Call<'_> {
    /// The `Accept` header that asks for this detail.
    pub(super) fn accept(&self) -> &'static str {
        match (self.detail, self.verb) {
            (Detail::Whole, _) => "application/json",
            (Detail::Metadata, Verb::List) => "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            (Detail::Metadata, _) => "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
        }
    }

    pub(crate) fn operation(&self) -> Operation {
        Operation { verb: self.verb, object: self.object.to_owned() }
    }
}

/// One attempt of a request, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// The operation.
    pub verb: Verb,
    /// The resource.
    pub resource: &'static str,
    /// The HTTP status code; none when no answer came.
    pub code: Option<u16>,
    /// From before the connection to the head of the answer.
    pub duration: Duration,
}

/// An operation on one object or list, for messages: "get node worker-3".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The kind of operation.
    pub verb: Verb,
    /// The object or objects, as the caller names them.
    pub object: String,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb.name(), self.object)
    }
}

impl Content {
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::MergePatch => "application/merge-patch+json",
        }
    }
}
