//! The Kubernetes API over ureq, in four wings, each of which imports only from those after it: `api`, every call this program makes;
//! `client`, one request and its repetition; `config`, where the server is and who we are; `transport`, one exchange over HTTP.
//!
//! Nothing about nodes or pods is decided here. A credential must never be logged or printed, a redirect never followed, part of a
//! list never handed out, and a write never repeated if the server may have acted on it.
//!
//! Specification: <https://kubernetes.io/docs/reference/using-api/api-concepts/>.

mod api;
mod client;
mod config;
#[cfg(test)]
mod testing;
mod transport;

pub use api::{CA, Kube, LEASE, PageEnd, Permission, REVIEWS, Scope, TLS, needed, read_page};
pub use client::{ApiError, ApiStatus, Client, Observation, error_chain};
pub use config::{ConnectOptions, Environment, Location};
pub use transport::Limits;
