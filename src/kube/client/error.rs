//! Errors of a request: one variant for each action of the caller.
//!
//! `Display` describes only its own level; the cause is in `source()`. No text here may contain a credential.
//!
//! Specification: <https://kubernetes.io/docs/reference/using-api/api-concepts/>; of the codes, RFC 9110, section 15.

use thiserror::Error;

use super::call::Call;
use super::retry::Outcome;
use super::status::ApiStatus;
use crate::kube::config::ConfigError;
use crate::kube::transport::TlsError;

/// Failure of a request: the operation ("get node worker-3"), and the reason.
#[derive(Debug, Error)]
pub enum ApiError {
    /// 429: too many requests, or a disruption budget refuses (then among the causes). The caller may try later.
    #[error("could not {0} yet: {1}")]
    Busy(String, Box<ApiStatus>),
    /// 409: another client changed the object first, or the object exists already. The caller must read again.
    #[error("could not {0}, it was changed meanwhile; it must be read again: {1}")]
    Conflict(String, Box<ApiStatus>),
    /// 5xx and 408: the server failed. After a write the caller must read whether it was done.
    #[error("could not {0}, the API server failed; see its log if this lasts: {1}")]
    Failed(String, Box<ApiStatus>),
    /// 410: the server no longer keeps the requested version. The caller must start over.
    #[error("could not {0}, the server no longer keeps that version; it must be read from the start: {1}")]
    Gone(String, Box<ApiStatus>),
    /// 404, and a `Status` with reason `NotFound`: the object that `details` names does not exist. That may be the object of the operation,
    /// its namespace, or its API group.
    #[error("could not {0}, the API server answers that something does not exist: {1}")]
    NotFound(String, Box<ApiStatus>),
    /// Any other 4xx. A repetition gets the same answer; an administrator must act.
    #[error("could not {0}, the API server refuses it{hint}: {1}", hint = hint(.1.code))]
    Refused(String, Box<ApiStatus>),
    /// No complete answer. After a write the caller must read whether it was done.
    #[error("could not {0}: no answer from the API server")]
    Unreachable(String, #[source] TransportError),
    /// An answer that cannot be decoded. A write was probably done, which the caller must read.
    #[error("could not {0}: the answer of the API server is invalid")]
    Unreadable(String, #[source] DecodeError),
}

impl ApiError {
    /// Returns the server's answer, if there is one.
    #[must_use]
    pub fn status(&self) -> Option<&ApiStatus> {
        match self {
            Self::Busy(_, status)
            | Self::Conflict(_, status)
            | Self::Failed(_, status)
            | Self::Gone(_, status)
            | Self::NotFound(_, status)
            | Self::Refused(_, status)
            | Self::Unreadable(_, DecodeError::NotKubernetes(status)) => Some(status),
            Self::Unreachable(..) | Self::Unreadable(..) => None,
        }
    }

    /// Reports whether the connection was cut, not silent for too long.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        matches!(self, Self::Unreachable(_, TransportError::Cut(_)))
    }

    pub(crate) fn of(call: &Call, failure: Failure) -> Self {
        let operation = call.operation();
        let status = match failure {
            Failure::Answered(status) => status,
            Failure::Transport(error) => return Self::Unreachable(operation, error),
            Failure::Decode(error) => return Self::Unreadable(operation, error),
        };
        match status.code {
            404 if status.says_not_found() => Self::NotFound(operation, status),
            404 => Self::Unreadable(operation, DecodeError::NotKubernetes(status)),
            408 | 500.. => Self::Failed(operation, status),
            409 => Self::Conflict(operation, status),
            410 => Self::Gone(operation, status),
            429 => Self::Busy(operation, status),
            400..500 => Self::Refused(operation, status),
            code => Self::Unreadable(operation, DecodeError::Code(code)),
        }
    }
}

/// Reason why no complete answer arrived.
#[derive(Debug, Error)]
pub enum TransportError {
    /// A credential or a CA certificate cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("the connection was cut")]
    Cut(#[source] ureq::Error),
    #[error("the exchange failed")]
    Exchange(#[source] ureq::Error),
    #[error("the connection was refused; is the API server up?")]
    NotListening(#[source] ureq::Error),
    #[error("its host name is not known")]
    NoSuchHost(#[source] ureq::Error),
    #[error("it took too long")]
    TimedOut(#[source] ureq::Error),
    #[error(transparent)]
    Untrusted(#[from] TlsError),
}

/// Reason why an answer cannot be used.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// A code that no API server gives to this request. Redirects are among them, for none is followed.
    #[error("HTTP status {0} was not expected; is this the address of the API server?")]
    Code(u16),
    #[error("the object does not have the expected form")]
    Object(#[source] serde_json::Error),
    /// Items are counted from 1, over all pages; 0 is the list itself.
    #[error("the list does not have the expected form, at item {item}")]
    Item { item: usize, source: serde_json::Error },
    #[error("expected a list, got {0}")]
    NoList(String),
    /// A 404 without a `Status` with reason `NotFound`, as from a proxy or load balancer.
    #[error("the answer is not from Kubernetes; does a proxy or load balancer in between answer for the API server? It was: {0}")]
    NotKubernetes(Box<ApiStatus>),
    #[error("the request could not be written")]
    Request(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Failure of one attempt.
#[derive(Debug)]
pub enum Failure {
    /// An answer other than a success.
    Answered(Box<ApiStatus>),
    /// No answer, or a part of one.
    Transport(TransportError),
    /// An answer that is not the requested object or list.
    Decode(DecodeError),
}

impl<E: Into<TransportError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Transport(error.into())
    }
}

impl From<ureq::Error> for TransportError {
    fn from(error: ureq::Error) -> Self {
        use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, InvalidData, UnexpectedEof};

        match error {
            ureq::Error::HostNotFound => Self::NoSuchHost(error),
            ureq::Error::Timeout(_) => Self::TimedOut(error),
            ureq::Error::Rustls(inner) => Self::Untrusted(inner.into()),
            ureq::Error::Io(inner) => match inner.kind() {
                BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof => Self::Cut(inner.into()),
                ConnectionRefused => Self::NotListening(inner.into()),
                InvalidData => match inner.downcast::<rustls::Error>() {
                    Ok(tls) => Self::Untrusted(tls.into()),
                    Err(other) => Self::Exchange(other.into()),
                },
                _ => Self::Exchange(inner.into()),
            },
            other => Self::Exchange(other),
        }
    }
}

impl TransportError {
    /// Returns the outcome that decides about another attempt.
    pub(super) fn outcome(&self) -> Outcome<'_> {
        use ureq::Timeout::{Connect, Resolve};

        match self {
            Self::Config(_) | Self::Untrusted(_) => Outcome::Untrusted,
            Self::NoSuchHost(_) | Self::NotListening(_) | Self::TimedOut(ureq::Error::Timeout(Connect | Resolve)) => Outcome::NotSent,
            Self::Cut(_) | Self::Exchange(_) | Self::TimedOut(_) => Outcome::Lost,
        }
    }
}

/// Distinguishes a cut connection from an invalid answer in an error of the parser.
pub(crate) fn failure(error: serde_json::Error, otherwise: impl FnOnce(serde_json::Error) -> DecodeError) -> Failure {
    if error.is_io() {
        return Failure::Transport(TransportError::from(ureq::Error::from(std::io::Error::from(error))));
    }
    if error.is_eof() {
        return Failure::Transport(TransportError::Cut(std::io::Error::from(error).into()));
    }
    Failure::Decode(otherwise(error))
}

/// Joins an error and all its causes in one line.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !message.ends_with(&text) {
            message = format!("{message}: {text}");
        }
        cause = error.source();
    }
    message
}

fn hint(code: u16) -> &'static str {
    match code {
        401 => " because it does not accept our credential",
        403 => " because a permission is missing; see the RBAC rules of kubernetes/deployment.yaml",
        _ => "",
    }
}

#[cfg(test)]
mod tests;
