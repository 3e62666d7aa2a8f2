//! What can go wrong with a request: one variant for each thing a caller may do about it.
//!
//! `Display` tells only its own level; what lies below is in `source()`. No text here may hold a credential.
//!
//! Specification: <https://kubernetes.io/docs/reference/using-api/api-concepts/>; of the codes, RFC 9110, section 15.

use std::time::Duration;

use thiserror::Error;

use super::call::Asked;
use super::credential::CredentialError;
use super::retry::Seen;
use super::status::ApiStatus;
use super::tls::TlsError;

/// Why a request did not bring what was asked for.
#[derive(Debug, Error)]
pub enum ApiError {
    /// 429: not now. Try later, and not before `after`.
    #[error("could not {asked} yet: {status}")]
    Busy {
        /// What was asked.
        asked: Asked,
        /// What the server said; a refusal by a disruption budget is among the causes.
        status: Box<ApiStatus>,
        /// How long the server asks to be left alone.
        after: Option<Duration>,
    },
    /// 409: someone else changed it first, or it exists already. Read it again and decide anew.
    #[error("could not {asked}, it was changed meanwhile; it has to be read again: {status}")]
    Conflict {
        /// What was asked.
        asked: Asked,
        /// What the server said.
        status: Box<ApiStatus>,
    },
    /// 5xx and 408: the server could not. For a write this leaves open whether it acted: look.
    #[error("could not {asked}, the API server failed; see its log if this lasts: {status}")]
    Failed {
        /// What was asked.
        asked: Asked,
        /// What the server said.
        status: Box<ApiStatus>,
    },
    /// 410: what was asked for is no longer kept. Start over.
    #[error("could not {asked}, the server no longer keeps that version; it has to be read from the start: {status}")]
    Gone {
        /// What was asked.
        asked: Asked,
        /// What the server said.
        status: Box<ApiStatus>,
    },
    /// 404, and a `Status` with reason `NotFound`: something does not exist. `status.details` says what: the object that was
    /// asked for, or its namespace, or its API group.
    #[error("could not {asked}, the API server answers that something does not exist: {status}")]
    NotFound {
        /// What was asked.
        asked: Asked,
        /// What the server said.
        status: Box<ApiStatus>,
    },
    /// Any other 4xx: it will not change by itself; a person has to see to it.
    #[error("could not {asked}, the API server refuses it{}: {status}", hint(.status.code))]
    Refused {
        /// What was asked.
        asked: Asked,
        /// What the server said.
        status: Box<ApiStatus>,
    },
    /// No answer, or not the whole of it. For a write this leaves open whether the server acted: look.
    #[error("could not {asked}: no answer from the API server")]
    Unreachable {
        /// What was asked.
        asked: Asked,
        /// What became of it.
        source: NoAnswer,
    },
    /// An answer that was not understood. A write was most likely done: look.
    #[error("could not {asked}: the API server's answer was not understood")]
    Unreadable {
        /// What was asked.
        asked: Asked,
        /// What was wrong with it.
        source: NotUnderstood,
    },
}

impl ApiError {
    /// What the server said, where it spoke.
    #[must_use]
    pub fn status(&self) -> Option<&ApiStatus> {
        match self {
            Self::Busy { status, .. }
            | Self::Conflict { status, .. }
            | Self::Failed { status, .. }
            | Self::Gone { status, .. }
            | Self::NotFound { status, .. }
            | Self::Refused { status, .. }
            | Self::Unreadable { source: NotUnderstood::NotKubernetes(status), .. } => Some(status),
            Self::Unreachable { .. } | Self::Unreadable { .. } => None,
        }
    }

    /// What was asked.
    #[must_use]
    pub fn asked(&self) -> &Asked {
        match self {
            Self::Busy { asked, .. }
            | Self::Conflict { asked, .. }
            | Self::Failed { asked, .. }
            | Self::Gone { asked, .. }
            | Self::NotFound { asked, .. }
            | Self::Refused { asked, .. }
            | Self::Unreachable { asked, .. }
            | Self::Unreadable { asked, .. } => asked,
        }
    }

    /// The connection was cut, rather than silent for too long.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        matches!(self, Self::Unreachable { source: NoAnswer::Cut(_), .. })
    }

    pub(super) fn of(asked: Asked, failure: Failure) -> Self {
        let status = match failure {
            Failure::Answered(status) => status,
            Failure::Lost(source) => return Self::Unreachable { asked, source },
            Failure::NotUnderstood(source) => return Self::Unreadable { asked, source },
        };
        match status.code {
            404 if status.says_not_found() => Self::NotFound { asked, status },
            404 => Self::Unreadable { asked, source: NotUnderstood::NotKubernetes(status) },
            408 | 500.. => Self::Failed { asked, status },
            409 => Self::Conflict { asked, status },
            410 => Self::Gone { asked, status },
            429 => Self::Busy { asked, after: status.retry_after_seconds.map(Duration::from_secs), status },
            400..500 => Self::Refused { asked, status },
            code => Self::Unreadable { asked, source: NotUnderstood::Code(code) },
        }
    }
}

/// Why no whole answer came.
#[derive(Debug, Error)]
pub enum NoAnswer {
    /// Nothing was sent, for want of a credential.
    #[error("there is no credential to show")]
    Credential(#[source] CredentialError),
    /// The connection ended before the answer did.
    #[error("the connection was cut")]
    Cut(#[source] ureq::Error),
    /// Something else between us and the server.
    #[error("the exchange failed")]
    Exchange(#[source] ureq::Error),
    /// Nothing listens there.
    #[error("the connection was refused; is the API server up?")]
    NotListening(#[source] ureq::Error),
    /// The host name is unknown.
    #[error("its host name is not known")]
    NoSuchHost(#[source] ureq::Error),
    /// It took longer than allowed.
    #[error("it took too long")]
    TimedOut(#[source] ureq::Error),
    /// No trusted connection.
    #[error("no trusted connection could be made")]
    Untrusted(#[source] TlsError),
}

/// What was wrong with an answer.
#[derive(Debug, Error)]
pub enum NotUnderstood {
    /// A code that no API server gives to such a request; redirects are among them, for none is followed.
    #[error("HTTP status {0} was not expected; is this the address of the API server?")]
    Code(u16),
    /// Not the object that was asked for.
    #[error("the object does not have the expected form")]
    Object(#[source] serde_json::Error),
    /// Not the list that was asked for. Items are counted from 1; 0 is the list itself.
    #[error("the list does not have the expected form, at item {item}")]
    Item {
        /// The item, counted over all pages.
        item: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Something that is not a list.
    #[error("instead of a list came {0}")]
    NoList(String),
    /// A 404 that is no `Status` with reason `NotFound`, as a proxy or load balancer in between sends it.
    #[error("the answer is not from Kubernetes; does a proxy or load balancer in between answer for the API server? It was: {0}")]
    NotKubernetes(Box<ApiStatus>),
    /// The request could not even be put together.
    #[error("the request could not be written")]
    Request(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What became of one attempt that did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// The server said no.
    Answered(Box<ApiStatus>),
    /// No answer, or a part of one.
    Lost(NoAnswer),
    /// An answer of another form.
    NotUnderstood(NotUnderstood),
}

impl From<ureq::Error> for NoAnswer {
    fn from(error: ureq::Error) -> Self {
        use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, InvalidData, UnexpectedEof};

        match error {
            ureq::Error::HostNotFound => Self::NoSuchHost(error),
            ureq::Error::Timeout(_) => Self::TimedOut(error),
            ureq::Error::Rustls(inner) => Self::Untrusted(TlsError::Handshake(inner)),
            ureq::Error::Io(inner) => match inner.kind() {
                BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof => Self::Cut(inner.into()),
                ConnectionRefused => Self::NotListening(inner.into()),
                InvalidData => match inner.downcast::<rustls::Error>() {
                    Ok(tls) => Self::Untrusted(TlsError::Handshake(tls)),
                    Err(other) => Self::Exchange(other.into()),
                },
                _ => Self::Exchange(inner.into()),
            },
            other => Self::Exchange(other),
        }
    }
}

impl NoAnswer {
    /// What this means for another attempt.
    pub(super) fn seen(&self) -> Seen<'_> {
        use ureq::Timeout::{Connect, Resolve};

        match self {
            Self::Credential(_) | Self::Untrusted(_) => Seen::Untrusted,
            Self::NoSuchHost(_) | Self::NotListening(_) | Self::TimedOut(ureq::Error::Timeout(Connect | Resolve)) => Seen::NotSent,
            Self::Cut(_) | Self::Exchange(_) | Self::TimedOut(_) => Seen::Lost,
        }
    }
}

/// An error and all its causes in one line.
pub fn told(error: &dyn std::error::Error) -> String {
    let mut sentence = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !sentence.ends_with(&text) {
            sentence = format!("{sentence}: {text}");
        }
        cause = error.source();
    }
    sentence
}

fn hint(code: u16) -> &'static str {
    match code {
        401 => " because it does not accept our credential",
        403 => " because a permission is missing; see the ClusterRole",
        _ => "",
    }
}

#[cfg(test)]
mod tests;
