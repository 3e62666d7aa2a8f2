//! The Kubernetes API over ureq, in four wings, each of which imports only from those after it: `api`, every call this program makes;
//! `client`, one request and its repetition; `config`, where the server is and who we are; `transport`, one exchange over HTTP.
//!
//! It decides nothing about nodes or pods. It must never log or print a credential, follow a redirect, hand out a part of a
//! list, or repeat a write the server may have acted on.
//!
//! Specification: <https://kubernetes.io/docs/reference/using-api/api-concepts/>.

mod api;
mod client;
mod clock;
mod config;
#[cfg(test)]
mod testing;
mod transport;

pub use api::{CA, Kube, LEASE, PageEnd, Permission, REVIEWS, Scope, TLS, needed, read_page};
pub use client::{
    ApiError, ApiStatus, Asked, Call, Cause, Client, ConnectError, Content, Details, Failure, Form, NoAnswer, NotUnderstood, Observation,
    Verb, told,
};
pub use config::{CredentialError, Environment, Given, Location, LocationError};
pub use transport::{Limits, TlsError};
