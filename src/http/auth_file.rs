//! The file with the credentials, and the thread that reads it again when it changes.
//!
//! Changes are found by content: a Secret volume swaps symbolic links, other tools write in place. A new content counts once
//! two reads in a row have returned it, so that a file that is just being written is not taken half-way.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;

use crate::access::{Credentials, Secret};
use crate::metrics::Metrics;
use crate::threads;

/// How often the file is read; a change is in force after twice this.
const READ_EVERY: Duration = Duration::from_secs(1);

/// A Secret has at most 1 MiB.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why a file cannot be used: a message with its path.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct AuthFileError(String);

/// The credentials in force.
pub struct AuthFile {
    path: PathBuf,
    secret: Secret,
    metrics: Arc<Metrics>,
    current: Mutex<Arc<Credentials>>,
}

/// The result of reading the file: a fingerprint of its content, or the error.
type Seen = Result<Vec<u8>, AuthFileError>;

/// The results of reading the file so far.
struct History {
    /// The result that was last acted upon.
    settled: Seen,
    last: Seen,
}

impl AuthFile {
    /// Reads the file and starts to watch it.
    pub fn open(path: PathBuf, metrics: Arc<Metrics>) -> Result<Arc<Self>, AuthFileError> {
        let mut secret = Secret([0; 32]);
        SystemRandom::new()
            .fill(&mut secret.0)
            .map_err(|_unspecified| AuthFileError("no random bytes to protect the credentials with".to_owned()))?;
        let text = read(&path)?;
        let credentials = parse(&path, &text, &secret)?;
        log::info!("credentials: {} in {}", credentials.count(), path.display());
        metrics.auth_file(Some(credentials.count()));
        let this = Arc::new(Self { path, secret, metrics, current: Mutex::new(Arc::new(credentials)) });
        let (watched, first) = (Arc::clone(&this), this.seen(&Ok(text)));
        threads::start("auth-file", move || watched.watch(History { settled: first.clone(), last: first }))
            .map_err(|error| AuthFileError(format!("no thread can be started for --auth-file: {error}")))?;
        Ok(this)
    }

    /// The credentials in force.
    pub fn current(&self) -> Arc<Credentials> {
        Arc::clone(&self.current.lock().unwrap_or_else(|_poisoned| std::process::abort()))
    }

    #[expect(clippy::disallowed_methods, reason = "a file does not report that it has changed, so it is read again and again")]
    fn watch(&self, mut history: History) {
        loop {
            std::thread::sleep(READ_EVERY);
            self.read_again(&mut history);
        }
    }

    fn read_again(&self, history: &mut History) {
        let text = read(&self.path);
        let seen = self.seen(&text);
        let is_steady = seen == history.last;
        history.last = seen;
        if !is_steady || history.last == history.settled {
            return;
        }
        history.settled = history.last.clone();
        match text.and_then(|text| parse(&self.path, &text, &self.secret)) {
            Ok(credentials) => {
                log::info!("credentials: {} in {}, which has changed", credentials.count(), self.path.display());
                self.metrics.auth_file(Some(credentials.count()));
                *self.current.lock().unwrap_or_else(|_poisoned| std::process::abort()) = Arc::new(credentials);
            }
            Err(error) => {
                log::error!("{error}; the credentials read before stay in force");
                self.metrics.auth_file(None);
            }
        }
    }

    fn seen(&self, text: &Result<String, AuthFileError>) -> Seen {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.secret.0);
        text.as_ref().map(|text| hmac::sign(&key, text.as_bytes()).as_ref().to_vec()).map_err(Clone::clone)
    }
}

fn read(path: &Path) -> Result<String, AuthFileError> {
    let mut text = String::new();
    match File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)) {
        Ok(_) if text.len() as u64 > FILE_BYTES_MAX => {
            Err(AuthFileError(format!("{} (--auth-file) is longer than a Secret can be", path.display())))
        }
        Ok(_) => Ok(text),
        Err(error) => Err(AuthFileError(format!("{} (--auth-file) cannot be read: {error}", path.display()))),
    }
}

fn parse(path: &Path, text: &str, secret: &Secret) -> Result<Credentials, AuthFileError> {
    Credentials::parse(text, secret)
        .map_err(|mistake| AuthFileError(format!("the credentials in {} (--auth-file): {mistake}", path.display())))
}
