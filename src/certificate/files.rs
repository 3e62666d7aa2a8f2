//! `--tls-cert` and `--tls-key`: loaded at start, and again when they change.
//!
//! A pair that works must never be replaced by one that does not.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;

use super::THREAD;
use super::loaded::{Loaded, PairError};
use super::served::Served;
use crate::cluster::{KeyPem, Pair};
use crate::kube::error_chain;
use crate::metrics::Metrics;
use crate::system::clock;
use crate::system::file_watch::{Contents, FileWatch};
use crate::system::repeats::Repeats;

/// Loads the files, and starts the thread that loads them again.
pub(super) fn start(certificate: PathBuf, key: PathBuf, served: Arc<Served>, metrics: Arc<Metrics>) -> anyhow::Result<()> {
    let (watch, contents) = FileWatch::open([certificate.clone(), key.clone()]);
    serve(load(contents).context("the certificate cannot be used (--tls-cert, --tls-key)")?, &certificate, &served, &metrics);
    let (mut repeats, mut failed) = (Repeats::default(), None);
    let take = move |changed: Option<Contents<2>>| {
        match changed.map(load) {
            Some(Ok(loaded)) => {
                failed = None;
                if repeats.clear() {
                    log::info!("certificate: {} and {} can be used again", certificate.display(), key.display());
                }
                serve(loaded, &certificate, &served, &metrics);
            }
            Some(Err(error)) => {
                metrics.certificate_error(true);
                failed = Some(error_chain(&error));
            }
            None => {}
        }
        if let Some(error) = failed.as_ref().filter(|error| repeats.due(error, clock::now().instant).is_some()) {
            log::error!("certificate: the new one cannot be used, the old one is still served (--tls-cert, --tls-key): {error}");
        }
    };
    watch.follow(THREAD, take).context("no thread can be started")
}

/// Loads the pair in the files.
fn load(contents: Contents<2>) -> Result<Loaded, PairError> {
    // PEM is ASCII. Other bytes are replaced, and then not read as PEM.
    let [certificate, key] = contents?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Loaded::of(&Pair { certificate, key: KeyPem::new(key) })
}

fn serve(loaded: Loaded, file: &Path, served: &Served, metrics: &Metrics) {
    let end = loaded.validity.not_after;
    log::info!("certificate: {}, valid until {end}", file.display());
    if end <= clock::now().clock {
        log::error!("certificate: {} ended {end}; nodes will not accept it", file.display());
    }
    metrics.certificate(end);
    served.swap(loaded.key);
}
