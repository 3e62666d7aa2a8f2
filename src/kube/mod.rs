//! The Kubernetes API over ureq: where it is and who we are (`location`, `kubeconfig`, `proxy`,
//! `credential`, `exec_plugin`), one exchange over HTTP (`wire`, `tls`), requests and lists (`client`,
//! `list`), when to try again (`retry`), and what went wrong (`error`).
//!
//! It knows no kind of object and decides nothing about nodes or pods: callers name the path and decode
//! into their own types. It must never log or print a credential, follow a redirect, hand out a part of a
//! list, or repeat a write the server may have acted on.
//!
//! Specification: <https://kubernetes.io/docs/reference/using-api/api-concepts/>.

mod calls;
mod client;
mod clock;
mod credential;
mod error;
mod exec_plugin;
mod kubeconfig;
mod list;
mod location;
mod permissions;
mod proxy;
mod retry;
mod secret;
#[cfg(test)]
mod testing;
mod tls;
mod wire;

pub use calls::{Kube, LEASE};
pub use client::{Call, Client, ConnectError, Content, Form, Observation, Verb};
pub use credential::CredentialError;
pub use error::{ApiError, ApiStatus, Asked, Cause, NoAnswer, NotUnderstood};
pub use permissions::{NEEDED, Permission, Scope};
pub use location::{Environment, Given, Location, LocationError};
pub use tls::TlsError;
pub use wire::Limits;
