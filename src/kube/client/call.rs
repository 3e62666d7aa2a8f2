//! A request as its caller names it, and how it looks to metrics and messages.
//!
//! Specification: <https://kubernetes.io/docs/reference/using-api/api-concepts/>.

use std::fmt;
use std::time::Duration;

use ureq::http::Method;

use super::retry::Intent;

/// What is done to an object, in Kubernetes' words.
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
    /// The word for it in RBAC rules, metrics and messages.
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

/// How much of an object the server is asked to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Only its metadata: a `PartialObjectMetadata`, or a list of them.
    Metadata,
    /// All of it.
    Whole,
}

/// What the body of a write is.
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
    /// What to do.
    pub verb: Verb,
    /// To what kind of thing, for metrics: `nodes`, `pods/eviction`.
    pub resource: &'static str,
    /// To which, for messages: `node worker-3`.
    pub object: &'a str,
    /// Path and query, from `/api` or `/apis` on.
    pub path: String,
    /// How much of it to send back.
    pub form: Form,
}

impl Call<'_> {
    /// The `Accept` header that asks for this form.
    pub(super) fn accept(&self) -> &'static str {
        match (self.form, self.verb) {
            (Form::Whole, _) => "application/json",
            (Form::Metadata, Verb::List) => "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            (Form::Metadata, _) => "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
        }
    }

    pub(crate) fn asked(&self) -> Asked {
        Asked { verb: self.verb, object: self.object.to_owned() }
    }
}

/// One attempt of a request, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// What was done.
    pub verb: Verb,
    /// To what kind of thing.
    pub resource: &'static str,
    /// The HTTP status code; none when no answer came.
    pub code: Option<u16>,
    /// From before the connection to the head of the answer.
    pub duration: Duration,
}

/// What was asked of the server, for messages: "get node worker-3".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What was to be done.
    pub verb: Verb,
    /// With what, as the caller named it.
    pub object: String,
}

impl fmt::Display for Asked {
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
