//! `--tls-cert` and `--tls-key`: read at start, and again every few seconds, by content. A Secret volume changes all its
//! files at once by swapping a symbolic link, for which no file's time of change can be trusted.
//!
//! It must never replace a pair that works by one that does not.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ring::digest::{Context, Digest, SHA256};

use super::alarm::Alarm;
use super::loaded::{Broken, Loaded};
use super::renewal::Validity;
use super::served::Served;
use super::{THREAD, clock};
use crate::cluster::{KeyPem, Pair};
use crate::kube::error_chain;
use crate::metrics::Metrics;
use crate::threads;

/// How often the files are read: two small reads.
const EVERY: Duration = Duration::from_secs(3);

/// How often both are read anew because they changed in between.
const READS_MAX: usize = 5;

/// Why nothing was started.
#[derive(Debug)]
pub(super) enum Unable {
    Broken(Broken),
    Thread(io::Error),
}

/// Loads the files, and starts the thread that loads them again.
pub(super) fn start(certificate: PathBuf, key: PathBuf, served: Arc<Served>, metrics: Arc<Metrics>) -> Result<(), Unable> {
    let mut files = Files { certificate, key, loaded: None };
    if let Some(loaded) = files.look().map_err(Unable::Broken)? {
        tell(&files, &loaded.validity);
        metrics.certificate(loaded.validity.not_after);
        served.swap(loaded.key);
    }
    threads::start(THREAD, move || watch(&mut files, &served, &metrics)).map_err(Unable::Thread)
}

fn watch(files: &mut Files, served: &Served, metrics: &Metrics) {
    let mut alarm = Alarm::default();
    loop {
        clock::sleep(EVERY);
        match files.look() {
            Ok(loaded) => {
                metrics.certificate_trouble(false);
                if alarm.over() {
                    log::info!("certificate: {} and {} can be used again", files.certificate.display(), files.key.display());
                }
                if let Some(loaded) = loaded {
                    tell(files, &loaded.validity);
                    metrics.certificate(loaded.validity.not_after);
                    served.swap(loaded.key);
                }
            }
            Err(broken) => {
                metrics.certificate_trouble(true);
                let trouble = error_chain(&broken);
                if alarm.due(&trouble, clock::steady()) {
                    log::error!("certificate: the new one cannot be used, the old one stays (--tls-cert, --tls-key): {trouble}");
                }
            }
        }
    }
}

fn tell(files: &Files, validity: &Validity) {
    log::info!("certificate: {}, valid until {}", files.certificate.display(), validity.not_after);
    if validity.not_after <= clock::now() {
        log::error!("certificate: {} ended {}; nodes will not accept it", files.certificate.display(), validity.not_after);
    }
}

/// The two files, and which content of them was loaded last.
pub(super) struct Files {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) loaded: Option<[u8; 32]>,
}

impl Files {
    /// The pair in the files; `None` when it is the one loaded last.
    pub(super) fn look(&mut self) -> Result<Option<Loaded>, Broken> {
        let pair = self.read()?;
        let digest = digest(&pair);
        if self.loaded.is_some_and(|loaded| loaded.as_slice() == digest.as_ref()) {
            return Ok(None);
        }
        let loaded = Loaded::of(&pair)?;
        self.loaded = digest.as_ref().try_into().ok();
        Ok(Some(loaded))
    }

    /// Reads both so that they are of one moment: what was read first must still be there at the end.
    fn read(&self) -> Result<Pair, Broken> {
        let mut certificate = text(&self.certificate)?;
        for _ in 0..READS_MAX {
            let key = KeyPem::new(text(&self.key)?);
            let again = text(&self.certificate)?;
            if certificate == again {
                return Ok(Pair { certificate, key });
            }
            certificate = again;
        }
        let source = io::Error::other("it changes all the time");
        Err(Broken::Unread { path: self.certificate.clone(), source })
    }
}

/// PEM is ASCII; what is not is replaced and will not be read as PEM.
fn text(path: &PathBuf) -> Result<String, Broken> {
    let bytes = std::fs::read(path).map_err(|source| Broken::Unread { path: path.clone(), source })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn digest(pair: &Pair) -> Digest {
    let mut context = Context::new(&SHA256);
    context.update(pair.certificate.as_bytes());
    context.update(&[0]);
    context.update(pair.key.reveal().as_bytes());
    context.finish()
}
