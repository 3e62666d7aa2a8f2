//! Where the API server is and who we are: from a kubeconfig or from the pod (`location`), and the credential to send (`credential`).
//!
//! A credential must never be logged or printed.

mod credential;
mod environment;
mod exec_plugin;
mod impersonation;
mod kubeconfig;
mod location;
mod proxy;
mod secret;

pub(crate) use credential::{ConfigError, Credentials, Presented};
pub use environment::Environment;
pub use location::{ConnectOptions, Location};
