//! A refusal: an answer to a client, never an error of this program.
//!
//! No function has one as its `Err`: a result that may be refused on the way is a `ControlFlow<Refusal, …>`.

use super::Kind;

/// Reason for which a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// For machines.
    pub kind: Kind,
    /// For a person: which node, the reason, and the remedy. No secret that a client sent is repeated.
    pub message: String,
}

impl Refusal {
    /// A refusal of `kind`.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}
