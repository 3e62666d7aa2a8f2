//! `--tls-cert` and `--tls-key`: loaded at start, and again when they change.
//!
//! A pair that works must never be replaced by one that does not.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;

use super::THREAD;
use super::health::{Condition, Health, expiry_error};
use super::loaded::{Loaded, PairError};
use super::renewal::Validity;
use super::served::Served;
use crate::cluster::{KeyPem, Pair};
use crate::kube::error_chain;
use crate::metrics::Metrics;
use crate::system::clock;
use crate::system::file_watch::{Contents, FileWatch};
use crate::system::quotable::shown;

/// Loads the files, and starts the thread that loads them again.
pub(super) fn start(certificate: PathBuf, key: &Path, served: Arc<Served>, metrics: Arc<Metrics>) -> anyhow::Result<()> {
    let (watch, contents) = FileWatch::open([certificate.clone(), key.to_owned()]);
    let mut validity =
        serve(load(contents).context("the certificate cannot be used (--tls-cert, --tls-key)")?, &certificate, &served, &metrics);
    let (mut health, mut failed) = (Health::default(), None);
    let mut take = move |changed: Option<Contents<2>>| {
        match changed.map(load) {
            Some(Ok(new)) if has_ended(&new.validity) && !has_ended(&validity) => {
                failed = Some(format!("it ended {}", new.validity.not_after));
            }
            Some(Ok(loaded)) => (validity, failed) = (serve(loaded, &certificate, &served, &metrics), None),
            Some(Err(error)) => failed = Some(error_chain(&error)),
            None => {}
        }
        let failure = failed
            .as_ref()
            .map(|error| format!("the new one cannot be used, the old one is still served (--tls-cert, --tls-key): {error}"));
        let now = clock::now();
        let late = expiry_error(&validity, now.clock).map(|error| format!("{}: {error}", shown(&certificate)));
        let errors = failure.into_iter().chain(late).collect();
        health.report(Condition { errors, warnings: Vec::new() }, &served, &metrics, now);
    };
    take(None);
    watch.follow(THREAD, take).context("no thread can be started")
}

/// Loads the pair in the files.
fn load(contents: Contents<2>) -> Result<Loaded, PairError> {
    // PEM is ASCII. Other bytes are replaced, and then not read as PEM.
    let [certificate, key] = contents?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Loaded::of(&Pair { certificate, key: KeyPem::new(key) })
}

fn has_ended(validity: &Validity) -> bool {
    clock::now().clock >= validity.not_after
}

fn serve(loaded: Loaded, file: &Path, served: &Served, metrics: &Metrics) -> Validity {
    let Loaded { key, validity } = loaded;
    log::info!("certificate: {}, valid until {}", shown(file), validity.not_after);
    metrics.certificate(validity.not_after);
    served.swap(key);
    validity
}
