//! The Kubernetes API over ureq: where it is and who we are (`location`, `kubeconfig`, `proxy`,
//! `credential`, `exec_plugin`), one exchange over HTTP (`wire`, `tls`), requests, lists and watches
//! (`call`, `client`, `list`, `watch`), when to try again (`retry`), and what went wrong (`error`, `status`). `calls` is
//! every call this program makes, `permissions` the rights they need.
//!
//! It decides nothing about nodes or pods. It must never log or print a credential, follow a redirect, hand out a part of a
//! list, or repeat a write the server may have acted on.
//!
//! Specification: <https://kubernetes.io/docs/reference/using-api/api-concepts/>.

mod buffers;
mod call;
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
mod status;
#[cfg(test)]
mod testing;
mod tls;
mod watch;
mod wire;

pub use call::{Asked, Call, Content, Form, Observation, Verb};
pub use calls::{CA, Kube, LEASE, REVIEWS, TLS};
pub use client::{Client, ConnectError};
pub use credential::CredentialError;
pub use error::{ApiError, Failure, NoAnswer, NotUnderstood, told};
pub use list::{PageEnd, read_page};
pub use location::{Environment, Given, Location, LocationError};
pub use permissions::{Permission, Scope, needed};
pub use status::{ApiStatus, Cause, Details};
pub use tls::TlsError;
pub use wire::Limits;
