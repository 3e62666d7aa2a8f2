//! The certificate for new connections, and the TLS configuration: TLS 1.2 and 1.3 with ring, no client certificates, and no session
//! resumption, so that no memory is kept for past clients.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};

use crate::system::guarded::Guarded;

/// The certificate in use, which a thread keeps up to date.
#[derive(Default)]
pub struct Served {
    key: Guarded<Option<Arc<CertifiedKey>>>,
    notes: Guarded<Vec<String>>,
}

impl Served {
    /// Gives new connections this certificate from now on.
    pub(super) fn swap(&self, key: Arc<CertifiedKey>) {
        *self.key.lock() = Some(key);
        self.key.wake();
    }

    /// Replaces the notes about the certificate.
    pub(super) fn set_notes(&self, notes: Vec<String>) {
        *self.notes.lock() = notes;
    }

    /// Returns what a person must know of the certificate: errors, and what must be done by some time.
    pub fn notes(&self) -> Vec<String> {
        self.notes.lock().clone()
    }

    /// Waits for the first certificate. Reports whether there is one after `limit`.
    pub fn wait(&self, limit: Duration) -> bool {
        self.key.wait(limit, |current| current.is_some()).is_some()
    }

    /// Returns the TLS configuration of the FleetLock port. Until there is a certificate every handshake fails.
    pub fn config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, rustls::Error> {
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider())).with_protocol_versions(&[&TLS13, &TLS12])?;
        let resolver: Arc<dyn ResolvesServerCert> = Arc::clone(self) as _;
        let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
        // Connections are rare and carry one request each: resumption saves nothing, and its memory grows.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for Served {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.key.lock().clone()
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Served").finish_non_exhaustive()
    }
}
