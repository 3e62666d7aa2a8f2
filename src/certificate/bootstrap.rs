//! `--tls bootstrap`: our own CA and certificate, kept in Secrets of our namespace, with the CA's certificate in a ConfigMap. Every
//! replica reads them every ten minutes and creates those that are missing. The first replica wins, because each write creates an
//! object or is conditional on its version. The others use the existing objects.
//!
//! A CA must never change unannounced, because only people can make nodes trust another one (`succession`). What is served must never
//! change because a Secret is lost.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;

use super::THREAD;
use super::authority::{Authority, IssueError, certificates};
use super::health::{Condition, Health, expiry_error};
use super::loaded::{Loaded, PairError};
use super::renewal::Renewal;
use super::served::Served;
use super::succession::{Facts, Step, is_shown, is_signer, succeeded};
use crate::cluster::{CaBundle, CaMap, CaSecret, KeyPem, NEXT_CA_FROM, Pair, TlsSecret};
use crate::kube::{self, ApiError, Kube, error_chain};
use crate::metrics::Metrics;
use crate::system::backoff::Backoff;
use crate::system::clock::Now;
use crate::system::{clock, threads};

/// Time between two reads of the four objects.
const EVERY: Duration = Duration::from_secs(600);

/// The pauses while that fails.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(500), max: Duration::from_secs(10) };

/// Time between two reads while a certificate is served and the CA is lost.
const LOST_EVERY: Duration = Duration::from_secs(60);

/// Own changes and conflicts with other replicas in a row: there are only a handful of objects.
const TRIES_MAX: usize = 12;

/// Reason why no certificate, or no new one, is served.
#[derive(Debug, Error)]
pub(super) enum BootstrapError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("secret {0}")]
    Authority(String, #[source] IssueError),
    #[error("the objects of the certificate keep changing")]
    Contended,
    #[error("secret {0}, which had the key of the CA, is missing: restore it from a backup; docs/tls.md, \"A lost CA\"")]
    Lost(String),
    #[error(
        "secret {0} has a CA that the configmap of that name does not show to nodes: restore the Secret that belongs to it, or, if nodes trust \
         the CA in the Secret, delete the ConfigMap; docs/tls.md, \"A lost CA\""
    )]
    NotShown(String),
    #[error("there is no service {0} (--service-name); nodes need its address in the certificate")]
    NoService(String),
    #[error("the CA was lost, and the next one in secret {0} does not sign yet; docs/tls.md, \"A lost CA\"")]
    Waits(String),
    #[error("the certificate just made or stored cannot be used")]
    Unusable(#[source] PairError),
}

/// Starts the thread that keeps the certificate and retries for ever.
pub(super) fn start(kube: Arc<Kube>, service: String, served: Arc<Served>, metrics: Arc<Metrics>) -> io::Result<()> {
    threads::start(THREAD, move || Bootstrap::new(kube, service, served, metrics).keep())
}

/// The keeper of the certificate.
pub(super) struct Bootstrap {
    kube: Arc<Kube>,
    service: String,
    served: Arc<Served>,
    metrics: Arc<Metrics>,
    health: Health,
    memory: Memory,
    failures: u32,
}

/// Objects that this replica has read or served last, in case the Secrets are lost.
#[derive(Default)]
struct Memory {
    bundle: Option<CaBundle>,
    pair: Option<(Pair, Loaded)>,
}

/// The stored objects, as read.
struct Stored {
    map: Option<CaMap>,
    tls: Option<TlsSecret>,
    ca: Option<CaSecret>,
}

/// The certificate to serve, and the CA that signed it.
type Renewed = ((Pair, Loaded), CaBundle);

/// The result of one pass.
#[derive(Default)]
struct Found {
    /// The certificate to serve.
    pair: Option<(Pair, Loaded)>,
    /// The CA as it is stored, if it can sign.
    bundle: Option<CaBundle>,
    /// Reason why it cannot be renewed.
    error: Option<BootstrapError>,
    /// Warnings: each names what a person must do by some time.
    warnings: Vec<String>,
}

impl Bootstrap {
    pub(super) fn new(kube: Arc<Kube>, service: String, served: Arc<Served>, metrics: Arc<Metrics>) -> Self {
        Self { kube, service, served, metrics, health: Health::default(), memory: Memory::default(), failures: 0 }
    }

    fn keep(mut self) {
        loop {
            let pause = self.pass(clock::now());
            clock::sleep(pause);
        }
    }

    /// Reads all objects, makes what is due, serves the certificate and reports its condition. Returns the pause until the next pass.
    pub(super) fn pass(&mut self, now: Now) -> Duration {
        let found = threads::on_fresh_stack(|| self.settle(now.clock));
        let Found { pair, bundle, error, warnings } = found.unwrap_or_else(|error| Found { error: Some(error), ..Found::default() });
        if let Some((pair, loaded)) = pair {
            self.serve(pair, loaded);
        }
        self.memory.bundle = bundle.or_else(|| self.memory.bundle.take());
        let mut condition = Condition { errors: Vec::new(), warnings };
        if let Some(error) = &error {
            let hold = if self.memory.pair.is_some() { "the old one is still served" } else { "the FleetLock port stays closed" };
            condition.errors.push(format!("renewal failed, {hold}: {}", error_chain(error)));
        }
        condition.errors.extend(self.memory.pair.as_ref().and_then(|(_, loaded)| expiry_error(&loaded.validity, now.clock)));
        self.health.report(condition, &self.served, &self.metrics, now);
        self.failures = if error.is_some() { self.failures + 1 } else { 0 };
        match error {
            None => EVERY,
            Some(BootstrapError::Lost(_) | BootstrapError::NotShown(_) | BootstrapError::Waits(_)) if self.memory.pair.is_some() => {
                LOST_EVERY
            }
            Some(_) => BACKOFF.pause(self.failures, 1.0),
        }
    }

    fn serve(&mut self, pair: Pair, loaded: Loaded) {
        self.metrics.certificate(loaded.validity.not_after);
        if self.memory.pair.as_ref().is_none_or(|(before, _)| before.certificate != pair.certificate) {
            log::info!("certificate: secret {}, valid until {}", self.object(kube::TLS), loaded.validity.not_after);
            self.served.swap(Arc::clone(&loaded.key));
        }
        self.memory.pair = Some((pair, loaded));
    }

    /// Makes what is due, and returns what is to be served. After each change, and after a conflict with another replica, all objects are
    /// read again.
    fn settle(&self, now: Timestamp) -> Result<Found, BootstrapError> {
        for _ in 0..TRIES_MAX {
            match self.step(now) {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                Err(BootstrapError::Api(ApiError::Conflict(operation, _))) => {
                    log::debug!("certificate: another replica was first to {operation}")
                }
                Err(error) => return Err(error),
            }
        }
        Err(BootstrapError::Contended)
    }

    /// Makes one change that is due and returns `None`, or returns what is to be served.
    fn step(&self, now: Timestamp) -> Result<Option<Found>, BootstrapError> {
        // The Secret of the CA is read last: another replica that makes everything just now creates it first.
        let map = self.kube.ca_map()?;
        let stored = Stored { map, tls: self.kube.tls_secret()?, ca: self.kube.ca_secret()? };
        let mut warnings = Vec::new();
        let result = self.renew(&stored, &mut warnings, now);
        match result {
            Ok(found) => Ok(found.map(|(pair, bundle)| Found { pair: Some(pair), bundle: Some(bundle), error: None, warnings })),
            Err(BootstrapError::Api(error @ ApiError::Conflict(..))) => Err(error.into()),
            Err(error) => Ok(Some(Found { pair: self.kept(&stored, now), bundle: None, error: Some(error), warnings })),
        }
    }

    /// Makes one change that is due and returns `None`, or returns the certificate to serve and the CA that signed it.
    fn renew(&self, stored: &Stored, warnings: &mut Vec<String>, now: Timestamp) -> Result<Option<Renewed>, BootstrapError> {
        let name = || self.object(kube::CA);
        let bundle = stored.ca.as_ref().map(|ca| &ca.bundle);
        let authority = bundle.map(|bundle| Authority::load(&bundle.current));
        let shown = stored.shown();
        // A CA that this replica has used is the right one, whatever the ConfigMap shows.
        let is_known = |bundle: &CaBundle| self.memory.bundle.as_ref().is_some_and(|known| known.current == bundle.current);
        if bundle.is_some_and(|bundle| !is_known(bundle) && !is_shown(bundle, &shown)) {
            // Only people can make nodes trust another CA, so it must not sign before they say so.
            return Err(match authority {
                Some(Err(error)) => BootstrapError::Authority(name(), error),
                _ => BootstrapError::NotShown(name()),
            });
        }
        let usable = |pair: &Pair| Authority::load(pair).ok().filter(|next| next.can_sign(&self.names(), now));
        let facts = Facts {
            stored: bundle,
            remembered: self.memory.bundle.as_ref().filter(|bundle| shown.first().is_none_or(|first| is_signer(bundle, first))),
            current_end: authority.as_ref().and_then(|loaded| Some(loaded.as_ref().ok()?.validity().not_after)),
            next_made: bundle.and_then(|bundle| usable(bundle.next.as_ref()?)).map(|next| next.validity().not_before),
            is_trusted: !shown.is_empty() || self.is_served(stored, now),
            asked: self.asked(stored.map.as_ref(), warnings),
        };
        // What nodes must trust is shown before it signs.
        if self.publish(&facts, stored.map.as_ref())? || self.change(&facts, stored, now)? {
            return Ok(None);
        }
        self.metrics.authority(facts.current_end, bundle.and_then(|bundle| bundle.next.as_ref()).and_then(|_next| facts.signs_from()));
        warnings.extend(self.warning(&facts));
        match (authority, bundle) {
            (Some(Ok(authority)), Some(bundle)) => Ok(Some((self.issued(&authority, stored.tls.as_ref(), now)?, bundle.clone()))),
            (Some(Err(_)), Some(bundle)) if bundle.current.is_empty() && bundle.next.is_some() => Err(BootstrapError::Waits(name())),
            (Some(Err(error)), _) => Err(BootstrapError::Authority(name(), error)),
            _ => Err(BootstrapError::Lost(name())),
        }
    }

    /// Returns the time from which a person wants the next CA to sign, and its text.
    fn asked<'a>(&self, map: Option<&'a CaMap>, warnings: &mut Vec<String>) -> Option<(Timestamp, &'a str)> {
        let text = map?.next_ca_from.as_ref()?;
        let asked = text.parse().ok();
        if asked.is_none() {
            let text: String = text.chars().take(QUOTED_MAX).collect();
            warnings.push(format!(
                "annotation {NEXT_CA_FROM} of configmap {} is {text:?}, which is no time that can be used: write for example 2027-01-31T12:00:00Z",
                self.object(kube::CA)
            ));
        }
        Some((asked?, text))
    }

    /// Reports whether a certificate that is still valid is served or stored.
    fn is_served(&self, stored: &Stored, now: Timestamp) -> bool {
        let is_valid = |loaded: &Loaded| now < loaded.validity.not_after;
        let is_stored = || stored.tls.as_ref().and_then(|tls| Loaded::of(&tls.pair).ok()).is_some_and(|loaded| is_valid(&loaded));
        self.memory.pair.as_ref().is_some_and(|(_, loaded)| is_valid(loaded)) || is_stored()
    }

    /// Changes the Secret of the CA, if a change is due. Returns `false` if there is nothing to change.
    fn change(&self, facts: &Facts<'_>, stored: &Stored, now: Timestamp) -> Result<bool, BootstrapError> {
        let name = self.object(kube::CA);
        let make = || Authority::make(&self.names(), now).map_err(|error| BootstrapError::Authority(name.clone(), error));
        let shown = || stored.shown().concat();
        let (bundle, line) = match (facts.next(now), &stored.ca) {
            (Step::First, _) => (CaBundle::first(make()?), "made a CA"),
            (Step::Restore(bundle), _) => (bundle, "the CA was missing, and is stored again"),
            (Step::Successor, Some(ca)) => {
                let previous = if facts.current_end.is_some() { ca.bundle.previous.clone() } else { shown() };
                (CaBundle { next: Some(make()?), previous, ..ca.bundle.clone() }, "made the next CA, which does not sign yet")
            }
            // The CA is lost. Its certificate, as it is shown, stays beside the new one.
            (Step::Successor, None) => {
                let lost = Pair { certificate: String::new(), key: KeyPem::new(String::new()) };
                let bundle = CaBundle { next: Some(make()?), previous: shown(), ..CaBundle::first(lost) };
                (bundle, "made the next CA, after the old one was lost")
            }
            (Step::Succeed, Some(ca)) => {
                let asked = facts.asked.map(|(_from, text)| text);
                (succeeded(&ca.bundle, asked, now), "the next CA signs from now on")
            }
            (Step::Forget, Some(ca)) => (CaBundle { previous: String::new(), ..ca.bundle.clone() }, "the CA before is no longer shown"),
            (Step::Rest | Step::Succeed | Step::Forget, _) => return Ok(false),
        };
        match &stored.ca {
            None => self.kube.create_ca_secret(&bundle)?,
            Some(ca) => self.kube.patch_ca_secret(&ca.version, &bundle)?,
        };
        log::warn!("certificate: {line}, secret {name}");
        Ok(true)
    }

    /// Writes the certificates of the CAs into the ConfigMap, if it shows others. Returns `false` if there is nothing to change.
    fn publish(&self, facts: &Facts<'_>, map: Option<&CaMap>) -> Result<bool, BootstrapError> {
        let Some(bundle) = facts.stored else { return Ok(false) };
        if facts.current_end.is_none() && facts.next_made.is_none() {
            // A CA that cannot be used is an error, and no reason to show nodes anything else.
            return Ok(false);
        }
        let next = bundle.next.as_ref().map_or("", |next| next.certificate.as_str());
        let mut all = Vec::new();
        for certificate in [bundle.current.certificate.as_str(), next, &bundle.previous].into_iter().flat_map(certificates) {
            if !all.contains(&certificate) {
                all.push(certificate);
            }
        }
        let certificates = all.concat();
        match map {
            Some(map) if map.certificates == certificates && !facts.is_done() => return Ok(false),
            Some(map) => self.kube.patch_ca_map(&map.version, &certificates, facts.is_done())?,
            None => self.kube.create_ca_map(&certificates)?,
        };
        log::info!("certificate: configmap {} shows what nodes must trust", self.object(kube::CA));
        Ok(true)
    }

    /// Returns what people must do before the next CA signs.
    fn warning(&self, facts: &Facts<'_>) -> Option<String> {
        facts.stored?.next.as_ref()?;
        let map = self.object(kube::CA);
        Some(match facts.signs_from() {
            Some(from) => format!(
                "the next CA signs from {from} on: before that time, install ca.crt of configmap {map} on all nodes; docs/tls.md, \"Another CA\""
            ),
            None => format!(
                "the next CA waits for a time: install ca.crt of configmap {map} on all nodes, then write the time from which it signs into \
                 annotation {NEXT_CA_FROM}; docs/tls.md, \"A lost CA\""
            ),
        })
    }

    /// Returns the certificate to serve, a new one if that is due.
    fn issued(&self, authority: &Authority, stored: Option<&TlsSecret>, now: Timestamp) -> Result<(Pair, Loaded), BootstrapError> {
        let wanted = self.wanted()?;
        let failed = |error| BootstrapError::Authority(self.object(kube::CA), error);
        let served = self.memory.pair.as_ref().map(|(pair, _)| pair);
        let why = match stored.map(|stored| &stored.pair).or(served) {
            None => Renewal::New,
            Some(pair) => match authority.examine(pair, &wanted, now) {
                Ok(None) if stored.is_some() => return load(pair.clone()),
                // The Secret is missing, and the certificate is served.
                Ok(None) => {
                    self.kube.create_tls_secret(pair)?;
                    log::warn!("certificate: it was missing, and is stored again, secret {}", self.object(kube::TLS));
                    return load(pair.clone());
                }
                Ok(Some(why)) => why,
                Err(error) => Renewal::Foreign(error_chain(&error)),
            },
        };
        let made = authority.issue(&wanted, now).map_err(failed)?;
        match stored {
            None => self.kube.create_tls_secret(&made)?,
            Some(stored) => self.kube.patch_tls_secret(&stored.version, &made)?,
        };
        let names: Vec<&str> = wanted.iter().map(String::as_str).collect();
        log::info!("certificate: made one for {}, secret {}: {why}", names.join(", "), self.object(kube::TLS));
        load(made)
    }

    /// Returns the certificate to serve while no other can be made: the one that is served, which is stored again if it is missing, else
    /// the stored one.
    fn kept(&self, stored: &Stored, now: Timestamp) -> Option<(Pair, Loaded)> {
        let is_valid = |(_, loaded): &&(Pair, Loaded)| now < loaded.validity.not_after;
        let served = self.memory.pair.as_ref();
        if let (Some((pair, _)), None) = (served.filter(is_valid), &stored.tls) {
            match self.kube.create_tls_secret(pair) {
                Ok(_stored) => log::warn!("certificate: it was missing, and is stored again, secret {}", self.object(kube::TLS)),
                Err(error) => log::debug!("certificate: it is missing, and cannot be stored again: {}", error_chain(&error)),
            }
        }
        let loaded = stored.tls.as_ref().and_then(|tls| load(tls.pair.clone()).ok());
        served.filter(is_valid).or_else(|| loaded.as_ref().filter(is_valid)).or(served).cloned()
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

impl Stored {
    /// Returns the certificates that are shown for nodes to trust, each in PEM.
    fn shown(&self) -> Vec<String> {
        self.map.as_ref().map(|map| certificates(&map.certificates)).unwrap_or_default()
    }
}

fn load(pair: Pair) -> Result<(Pair, Loaded), BootstrapError> {
    let loaded = Loaded::of(&pair).map_err(BootstrapError::Unusable)?;
    Ok((pair, loaded))
}

/// Characters of an annotation that a message quotes.
const QUOTED_MAX: usize = 60;

#[cfg(test)]
mod tests;
