//! `--tls bootstrap`: our own CA and certificate, kept in Secrets of our namespace, with the CA's certificate in a ConfigMap. Every
//! replica reads them every ten minutes and creates those that are missing. The first replica wins, because each write creates an
//! object or is conditional on its version. The others use the existing objects.
//!
//! A CA must never be overwritten, because only administrators can make nodes trust another one.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

use super::THREAD;
use super::authority::{Authority, IssueError};
use super::loaded::{Loaded, PairError};
use super::renewal::{LIFE, Renewal};
use super::served::Served;
use crate::cluster::Pair;
use crate::kube::{self, ApiError, Kube, error_chain};
use crate::metrics::Metrics;
use crate::system::backoff::Backoff;
use crate::system::repeats::Repeats;
use crate::system::{clock, threads};

/// Time between two reads of the four objects.
const EVERY: Duration = Duration::from_secs(600);

/// The pauses while that fails.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(500), max: Duration::from_secs(10) };

/// Conflicts with other replicas in a row: there are only a handful of objects.
const TRIES_MAX: usize = 8;

/// Reason why no certificate, or no new one, is served.
#[derive(Debug, Error)]
pub(super) enum BootstrapError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("secret {0}")]
    Authority(String, #[source] IssueError),
    #[error("the objects of the certificate keep changing")]
    Contended,
    #[error("the certificate just stored in secret {0} cannot be used")]
    Lost(String, #[source] PairError),
    #[error("there is no service {0} (--service-name); nodes need its address in the certificate")]
    NoService(String),
}

/// Starts the thread that keeps the certificate and retries for ever.
pub(super) fn start(kube: Arc<Kube>, service: String, served: Arc<Served>, metrics: Arc<Metrics>) -> io::Result<()> {
    threads::start(THREAD, move || Bootstrap { kube, service }.keep(&served, &metrics))
}

struct Bootstrap {
    kube: Arc<Kube>,
    service: String,
}

impl Bootstrap {
    fn keep(&self, served: &Served, metrics: &Metrics) {
        let (mut repeats, mut shown, mut failures) = (Repeats::default(), None, 0);
        loop {
            let result = threads::on_fresh_stack(|| self.read_and_load());
            match result {
                Ok((pair, loaded)) => {
                    repeats.clear();
                    metrics.certificate(loaded.validity.not_after);
                    if shown.as_ref() != Some(&pair.certificate) {
                        log::info!("certificate: secret {}, valid until {}", self.object(kube::TLS), loaded.validity.not_after);
                        served.swap(loaded.key);
                        shown = Some(pair.certificate);
                    }
                    failures = 0;
                    clock::sleep(EVERY);
                }
                Err(error) => {
                    metrics.certificate_error(true);
                    let error = error_chain(&error);
                    if repeats.due(&error, clock::now().instant).is_some() {
                        let hold = if shown.is_some() { "the old one is still served" } else { "the FleetLock port stays closed" };
                        log::error!("certificate: renewal failed, {hold}: {error}");
                    }
                    failures += 1;
                    clock::sleep(BACKOFF.pause(failures, 1.0));
                }
            }
        }
    }

    fn read_and_load(&self) -> Result<(Pair, Loaded), BootstrapError> {
        let pair = self.settle(clock::now().clock)?;
        let loaded = Loaded::of(&pair).map_err(|error| BootstrapError::Lost(self.object(kube::TLS), error))?;
        Ok((pair, loaded))
    }

    /// Creates the missing objects, and returns the pair to serve. After a conflict with another replica all are read again.
    fn settle(&self, now: Timestamp) -> Result<Pair, BootstrapError> {
        for _ in 0..TRIES_MAX {
            match self.complete(now) {
                Err(BootstrapError::Api(ApiError::Conflict(operation, _))) => {
                    log::debug!("certificate: another replica was first to {operation}")
                }
                result => return result,
            }
        }
        Err(BootstrapError::Contended)
    }

    fn complete(&self, now: Timestamp) -> Result<Pair, BootstrapError> {
        let authority = self.authority(now)?;
        self.publish(&authority)?;
        let wanted = self.wanted()?;
        self.certificate(&authority, &wanted, now)
    }

    fn authority(&self, now: Timestamp) -> Result<Authority, BootstrapError> {
        let failed = |error| BootstrapError::Authority(self.object(kube::CA), error);
        let stored = match self.kube.tls_secret(kube::CA)? {
            Some(stored) => stored,
            None => {
                let made = Authority::make(&self.names(), now).map_err(failed)?;
                let stored = self.kube.create_tls_secret(kube::CA, &made)?;
                log::info!("certificate: made a CA, secret {}", self.object(kube::CA));
                stored
            }
        };
        let authority = Authority::load(&stored.pair).map_err(failed)?;
        let end = authority.validity().not_after;
        if now.duration_until(end) < SignedDuration::try_from(LIFE).unwrap_or(SignedDuration::MAX) {
            log::warn!("certificate: the CA in secret {} ends {end}: docs/tls.md, \"Another CA\"", self.object(kube::CA));
        }
        Ok(authority)
    }

    /// Writes the CA's certificate into the ConfigMap, if it is not there.
    fn publish(&self, authority: &Authority) -> Result<(), BootstrapError> {
        let certificate = authority.certificate();
        match self.kube.ca_map(kube::CA)? {
            Some(map) if map.certificate == certificate => return Ok(()),
            Some(map) => self.kube.patch_ca_map(kube::CA, &map.version, &certificate)?,
            None => self.kube.create_ca_map(kube::CA, &certificate)?,
        };
        log::info!("certificate: configmap {} shows the CA's certificate", self.object(kube::CA));
        Ok(())
    }

    fn certificate(&self, authority: &Authority, wanted: &BTreeSet<String>, now: Timestamp) -> Result<Pair, BootstrapError> {
        let stored = self.kube.tls_secret(kube::TLS)?;
        let why = match &stored {
            None => Renewal::New,
            Some(stored) => match authority.examine(&stored.pair, wanted, now) {
                Ok(None) => return Ok(stored.pair.clone()),
                Ok(Some(why)) => why,
                Err(error) => Renewal::Foreign(error_chain(&error)),
            },
        };
        let made = authority.issue(wanted, now).map_err(|error| BootstrapError::Authority(self.object(kube::CA), error))?;
        match stored {
            None => self.kube.create_tls_secret(kube::TLS, &made)?,
            Some(stored) => self.kube.patch_tls_secret(kube::TLS, &stored.version, &made)?,
        };
        let names: Vec<&str> = wanted.iter().map(String::as_str).collect();
        log::info!("certificate: made one for {}, secret {}: {why}", names.join(", "), self.object(kube::TLS));
        Ok(made)
    }

    /// Addresses and names by which nodes may call.
    fn wanted(&self) -> Result<BTreeSet<String>, BootstrapError> {
        let service = self.kube.service(&self.service)?.ok_or_else(|| BootstrapError::NoService(self.object(&self.service)))?;
        if service.addresses.is_empty() {
            log::warn!("certificate: service {} has no ClusterIP; the certificate holds for its names only", self.object(&self.service));
        }
        Ok(service.addresses.into_iter().chain(self.names()).collect())
    }

    fn names(&self) -> [String; 4] {
        let (name, namespace) = (&self.service, self.kube.namespace());
        [name.clone(), format!("{name}.{namespace}"), format!("{name}.{namespace}.svc"), format!("{name}.{namespace}.svc.cluster.local")]
    }

    fn object(&self, name: &str) -> String {
        format!("{}/{name}", self.kube.namespace())
    }
}
