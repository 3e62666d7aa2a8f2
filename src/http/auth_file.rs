//! The file with the credentials, and the thread that reads it again when it changes.
//!
//! It is compared by its content: a Secret volume swaps symbolic links, others write in place. A new content counts once
//! two looks in a row have shown it, so that a file that is just being written is not taken half-way.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;

use crate::access::{Credentials, Mistake, Secret};
use crate::metrics::Metrics;
use crate::threads;

/// How often the file is read; a change is in force after twice this.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A Secret has at most 1 MiB.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why a file cannot be used.
#[derive(Debug, Error)]
pub enum AuthFileError {
    /// It does not say what it must.
    #[error("the credentials in {path} (--auth-file): {mistake}")]
    Mistake {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        mistake: Mistake,
    },
    /// The kernel gives no random bytes.
    #[error("no random bytes to protect the credentials with")]
    NoRandom,
    /// It is longer than a Secret can be.
    #[error("{path} (--auth-file) is longer than a Secret can be")]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("{path} (--auth-file) cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The credentials in force.
pub struct AuthFile {
    path: PathBuf,
    secret: Secret,
    metrics: Arc<Metrics>,
    current: Mutex<Arc<Credentials>>,
}

/// What a look has shown: the content, by its fingerprint, or what kept us from it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shown {
    Content(Vec<u8>),
    Trouble(String),
}

/// What the looks have shown so far.
struct History {
    /// What was last acted upon.
    settled: Shown,
    last: Shown,
}

impl AuthFile {
    /// Reads the file and starts to watch it.
    pub fn open(path: PathBuf, metrics: Arc<Metrics>) -> Result<Arc<Self>, AuthFileError> {
        let mut secret = Secret([0; 32]);
        SystemRandom::new().fill(&mut secret.0).map_err(|_unspecified| AuthFileError::NoRandom)?;
        let text = read(&path)?;
        let credentials = parse(&path, &text, &secret)?;
        log::info!("credentials: {} in {}", credentials.count(), path.display());
        metrics.auth_file(Some(credentials.count()));
        let this = Arc::new(Self { path, secret, metrics, current: Mutex::new(Arc::new(credentials)) });
        let (watched, first) = (Arc::clone(&this), this.shown(&Ok(text)));
        threads::start("auth-file", move || watched.watch(History { settled: first.clone(), last: first }))
            .map_err(|source| AuthFileError::Unreadable { path: this.path.clone(), source })?;
        Ok(this)
    }

    /// The credentials in force.
    pub fn current(&self) -> Arc<Credentials> {
        Arc::clone(&self.current.lock().unwrap_or_else(|_poisoned| std::process::abort()))
    }

    #[expect(clippy::disallowed_methods, reason = "a file tells nobody that it has changed, so it is looked at again and again")]
    fn watch(&self, mut history: History) {
        loop {
            std::thread::sleep(LOOK_EVERY);
            self.look(&mut history);
        }
    }

    fn look(&self, history: &mut History) {
        let text = read(&self.path);
        let shown = self.shown(&text);
        let is_steady = shown == history.last;
        history.last = shown;
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

    fn shown(&self, text: &Result<String, AuthFileError>) -> Shown {
        match text {
            Ok(text) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, &self.secret.0);
                Shown::Content(hmac::sign(&key, text.as_bytes()).as_ref().to_vec())
            }
            Err(error) => Shown::Trouble(error.to_string()),
        }
    }
}

fn read(path: &Path) -> Result<String, AuthFileError> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text));
    match read {
        Ok(_) if text.len() as u64 > FILE_BYTES_MAX => Err(AuthFileError::TooLong { path: path.to_owned() }),
        Ok(_) => Ok(text),
        Err(source) => Err(AuthFileError::Unreadable { path: path.to_owned(), source }),
    }
}

fn parse(path: &Path, text: &str, secret: &Secret) -> Result<Credentials, AuthFileError> {
    Credentials::parse(text, secret).map_err(|mistake| AuthFileError::Mistake { path: path.to_owned(), mistake })
}
