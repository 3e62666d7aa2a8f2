//! The server's certificate: from files, or made by us and kept in Secrets. It can be swapped while the server runs; a
//! connection keeps the one it began with.
//!
//! It must never show a private key, and never give up a certificate that works for one that does not.
//!
//! Specification: RFC 5280 (certificates), RFC 8446 and RFC 5246 (TLS 1.3 and 1.2).

mod alarm;
mod authority;
mod bootstrap;
mod files;
mod loaded;
mod renewal;
mod served;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use thiserror::Error;

use crate::kube::Kube;
use crate::metrics::Metrics;

use served::Served;

pub use authority::{Authority, Unable};
pub use loaded::{Broken, Loaded};
pub use renewal::{Renewal, Validity, Why};

/// Where the certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// We make it, and the CA that signs it, and keep both in Secrets.
    Bootstrap {
        /// The Service at whose addresses nodes call.
        service: String,
    },
    /// Somebody else puts it into files and renews it there.
    Files {
        /// PEM, the certificate itself first.
        certificate: PathBuf,
        /// PEM.
        key: PathBuf,
    },
    /// There is none: plain HTTP.
    Off,
}

/// Why there is no certificate to start with.
#[derive(Debug, Error)]
pub enum Error {
    /// The files are no good.
    #[error("the certificate cannot be used (--tls-cert, --tls-key)")]
    Files(#[source] Broken),
    /// No thread can be started.
    #[error("no thread can be started")]
    Thread(#[source] io::Error),
    /// TLS itself cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}

/// A certificate that is kept up to date by a thread of its own.
#[derive(Debug)]
pub struct Certificate {
    config: Arc<ServerConfig>,
    served: Arc<Served>,
}

impl Certificate {
    /// How the front door speaks TLS. Until there is a certificate every handshake fails.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Waits until there is a certificate; whether there is one after `limit`.
    pub fn wait(&self, limit: Duration) -> bool {
        self.served.wait(limit)
    }
}

impl Source {
    /// The Service for which we make certificates ourselves, if we do.
    pub fn service(&self) -> Option<&str> {
        if let Self::Bootstrap { service } = self { Some(service) } else { None }
    }

    /// Loads the certificate and starts the thread that keeps it up to date; `None` when there is to be no TLS. Files
    /// that cannot be used are an error; what needs Kubernetes is done by the thread, which does not give up.
    pub fn start(&self, kube: Arc<Kube>, metrics: Arc<Metrics>) -> Result<Option<Certificate>, Error> {
        let served = Arc::new(Served::default());
        let thread = match self {
            Self::Off => return Ok(None),
            Self::Files { certificate, key } => {
                files::start(certificate.clone(), key.clone(), Arc::clone(&served), metrics).map_err(|error| match error {
                    files::Unable::Broken(broken) => Error::Files(broken),
                    files::Unable::Thread(error) => Error::Thread(error),
                })
            }
            Self::Bootstrap { service } => bootstrap::start(kube, service.clone(), Arc::clone(&served), metrics).map_err(Error::Thread),
        };
        thread?;
        let config = served::config(&served).map_err(Error::Tls)?;
        Ok(Some(Certificate { config, served }))
    }
}

/// The name of this module's thread.
const THREAD: &str = "certificate";
