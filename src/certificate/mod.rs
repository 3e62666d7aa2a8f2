//! The server's certificate: from files, or issued here and kept in Secrets. The certificate can change while the server runs; an open
//! connection keeps its certificate.
//!
//! A private key must never be shown. A valid certificate must never be replaced by an invalid one.
//!
//! Specification: RFC 5280 (certificates), RFC 8446 and RFC 5246 (TLS 1.3 and 1.2).

mod authority;
mod bootstrap;
mod files;
mod health;
mod loaded;
mod renewal;
mod served;
mod succession;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;

use crate::kube::Kube;
use crate::metrics::Metrics;

pub use authority::{Authority, IssueError};
pub use loaded::{Loaded, PairError};
pub use renewal::{Renewal, Validity};
pub use served::Served;

/// The source of the certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Issued here, as is the CA that signs; both are kept in Secrets.
    Bootstrap {
        /// The Service at whose addresses nodes call.
        service: String,
    },
    /// Files, which an administrator or another program renews.
    Files {
        /// PEM, the certificate itself first.
        certificate: PathBuf,
        /// PEM.
        key: PathBuf,
    },
    /// No certificate: plain HTTP.
    Off,
}

impl Source {
    /// The Service for which certificates are issued here, if any.
    pub fn service(&self) -> Option<&str> {
        if let Self::Bootstrap { service } = self { Some(service) } else { None }
    }

    /// Starts the thread that keeps the certificate up to date; `None` if there is to be no TLS. Files that cannot be used are an
    /// error. Without Kubernetes the thread tries again for ever.
    pub fn start(&self, kube: Arc<Kube>, metrics: Arc<Metrics>) -> anyhow::Result<Option<Arc<Served>>> {
        let served = Arc::new(Served::default());
        match self {
            Self::Off => return Ok(None),
            Self::Files { certificate, key } => files::start(certificate.clone(), key, Arc::clone(&served), metrics)?,
            Self::Bootstrap { service } => {
                bootstrap::start(kube, service.clone(), Arc::clone(&served), metrics).context("no thread can be started")?;
            }
        }
        Ok(Some(served))
    }
}

/// The name of this module's thread.
const THREAD: &str = "certificate";
