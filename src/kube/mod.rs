//! The Kubernetes API over ureq, in four parts, each of which imports only from those after it: `api`, every call of this program;
//! `client`, one request and its retries; `config`, the address of the server and our credential; `transport`, one exchange over HTTP.
//!
//! No decision about nodes or pods is made here. A credential must never be logged or printed. A redirect must never be followed. Part of
//! a list must never be returned. A write must never be repeated if the server may have acted on it.
//!
//! Specification: <https://kubernetes.io/docs/reference/using-api/api-concepts/>.

mod api;
mod client;
mod config;
mod transport;

pub use api::{CA, Kube, LEASE, PageEnd, Permission, REVIEWS, TLS, permissions, read_page};
pub use client::{ApiError, ApiStatus, Client, Observation, error_chain};
pub use config::{ConnectOptions, Environment, Location};
