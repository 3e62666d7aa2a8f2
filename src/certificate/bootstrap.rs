//! `--tls bootstrap`: a CA and a certificate of our own, kept in Secrets of the own namespace, the CA's certificate in a
//! ConfigMap. Every replica looks every few minutes and completes what is missing; who comes first wins, by create-only
//! writes and by the version that was read, and the others take what they find.
//!
//! It must never overwrite a CA: nodes trust it, and only a person can tell them of another.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

use super::THREAD;
use super::alarm::Alarm;
use super::authority::{Authority, Unable};
use super::loaded::{Broken, Loaded};
use super::renewal::{LIFE, Renewal, Why};
use super::served::Served;
use crate::cluster::Pair;
use crate::kube::{self, ApiError, Kube, error_chain};
use crate::metrics::Metrics;
use crate::system::backoff::Backoff;
use crate::system::{clock, threads};

/// How often the objects are looked at: four small reads.
const EVERY: Duration = Duration::from_secs(600);

/// The pauses while that fails.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(500), max: Duration::from_secs(10) };

/// Others change a handful of objects at most this often in a row.
const TRIES_MAX: usize = 8;

/// What keeps us from having a certificate.
#[derive(Debug, Error)]
pub(super) enum Trouble {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("secret {0}")]
    Authority(String, #[source] Unable),
    #[error("others change the certificate's objects all the time")]
    Contended,
    #[error("secret {0} holds what was just stored there, and it cannot be used")]
    Lost(String, #[source] Broken),
    #[error("there is no service {0} (--service-name); nodes need its address in the certificate")]
    NoService(String),
}

/// Starts the thread that keeps the certificate. It does not give up.
pub(super) fn start(kube: Arc<Kube>, service: String, served: Arc<Served>, metrics: Arc<Metrics>) -> io::Result<()> {
    threads::start(THREAD, move || Bootstrap { kube, service }.keep(&served, &metrics))
}

struct Bootstrap {
    kube: Arc<Kube>,
    service: String,
}

impl Bootstrap {
    fn keep(&self, served: &Served, metrics: &Metrics) {
        let (mut alarm, mut shown, mut failures) = (Alarm::default(), None, 0);
        loop {
            let looked = threads::on_fresh_stack(|| self.look_and_load());
            match looked {
                Ok((pair, loaded)) => {
                    alarm.over();
                    metrics.certificate(loaded.validity.not_after);
                    if shown.as_ref() != Some(&pair.certificate) {
                        log::info!("certificate: secret {}, valid until {}", self.object(kube::TLS), loaded.validity.not_after);
                        served.swap(loaded.key);
                        shown = Some(pair.certificate);
                    }
                    failures = 0;
                    clock::sleep(EVERY);
                }
                Err(trouble) => {
                    metrics.certificate_trouble(true);
                    let trouble = error_chain(&trouble);
                    if alarm.due(&trouble, clock::now().instant) {
                        let hold = if shown.is_some() { "the old one stays" } else { "no node is served until there is one" };
                        log::error!("certificate: it cannot be looked after, {hold}: {trouble}");
                    }
                    failures += 1;
                    clock::sleep(BACKOFF.pause(failures, 1.0));
                }
            }
        }
    }

    fn look_and_load(&self) -> Result<(Pair, Loaded), Trouble> {
        let pair = self.look(clock::now().clock)?;
        let loaded = Loaded::of(&pair).map_err(|broken| Trouble::Lost(self.object(kube::TLS), broken))?;
        Ok((pair, loaded))
    }

    /// Completes what is stored; the pair to serve. Whenever somebody else was first it looks from the beginning.
    fn look(&self, now: Timestamp) -> Result<Pair, Trouble> {
        for _ in 0..TRIES_MAX {
            match self.complete(now) {
                Err(Trouble::Api(ApiError::Conflict(operation, _))) => {
                    log::debug!("certificate: another replica was first to {operation}")
                }
                result => return result,
            }
        }
        Err(Trouble::Contended)
    }

    fn complete(&self, now: Timestamp) -> Result<Pair, Trouble> {
        let authority = self.authority(now)?;
        self.publish(&authority)?;
        let wanted = self.wanted()?;
        self.certificate(&authority, &wanted, now)
    }

    fn authority(&self, now: Timestamp) -> Result<Authority, Trouble> {
        let unable = |unable| Trouble::Authority(self.object(kube::CA), unable);
        let stored = match self.kube.tls_secret(kube::CA)? {
            Some(stored) => stored,
            None => {
                let made = Authority::make(&self.names(), now).map_err(unable)?;
                let stored = self.kube.create_tls_secret(kube::CA, &made)?;
                log::info!("certificate: made a CA, secret {}", self.object(kube::CA));
                stored
            }
        };
        let authority = Authority::load(&stored.pair).map_err(unable)?;
        let end = authority.validity().not_after;
        if now.duration_until(end) < SignedDuration::try_from(LIFE).unwrap_or(SignedDuration::MAX) {
            log::warn!("certificate: the CA in secret {} ends {end}: docs/tls.md, \"Another CA\"", self.object(kube::CA));
        }
        Ok(authority)
    }

    /// Sees to it that the ConfigMap shows the CA's certificate.
    fn publish(&self, authority: &Authority) -> Result<(), Trouble> {
        let certificate = authority.certificate();
        match self.kube.ca_map(kube::CA)? {
            Some(map) if map.certificate == certificate => return Ok(()),
            Some(map) => self.kube.patch_ca_map(kube::CA, &map.version, &certificate)?,
            None => self.kube.create_ca_map(kube::CA, &certificate)?,
        };
        log::info!("certificate: configmap {} shows the CA's certificate", self.object(kube::CA));
        Ok(())
    }

    fn certificate(&self, authority: &Authority, wanted: &BTreeSet<String>, now: Timestamp) -> Result<Pair, Trouble> {
        let stored = self.kube.tls_secret(kube::TLS)?;
        let why = match &stored {
            None => Why::New,
            Some(stored) => match authority.examine(&stored.pair, wanted, now) {
                Ok(Renewal::Keep) => return Ok(stored.pair.clone()),
                Ok(Renewal::Renew(why)) => why,
                Err(broken) => Why::Foreign(error_chain(&broken)),
            },
        };
        let made = authority.issue(wanted, now).map_err(|unable| Trouble::Authority(self.object(kube::CA), unable))?;
        match stored {
            None => self.kube.create_tls_secret(kube::TLS, &made)?,
            Some(stored) => self.kube.patch_tls_secret(kube::TLS, &stored.version, &made)?,
        };
        let names: Vec<&str> = wanted.iter().map(String::as_str).collect();
        log::info!("certificate: made one for {}, secret {}: {why}", names.join(", "), self.object(kube::TLS));
        Ok(made)
    }

    /// What nodes may call us by.
    fn wanted(&self) -> Result<BTreeSet<String>, Trouble> {
        let service = self.kube.service(&self.service)?.ok_or_else(|| Trouble::NoService(self.object(&self.service)))?;
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
