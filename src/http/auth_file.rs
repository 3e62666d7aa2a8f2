//! The file with the credentials, which is read again when it changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;

use crate::access::{Credentials, Secret};
use crate::metrics::Metrics;
use crate::system::file_watch::{Contents, FileWatch};
use crate::system::guarded::Guarded;

/// Why a file cannot be used: a message with its path.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct AuthFileError(String);

/// The credentials in force.
pub struct AuthFile(Guarded<Arc<Credentials>>);

impl AuthFile {
    /// Reads the file and starts to watch it.
    pub fn open(path: PathBuf, metrics: Arc<Metrics>) -> Result<Arc<Self>, AuthFileError> {
        let mut secret = Secret([0; 32]);
        SystemRandom::new()
            .fill(&mut secret.0)
            .map_err(|_unspecified| AuthFileError("no random bytes to protect the credentials with".to_owned()))?;
        let (watch, contents) = FileWatch::open([path.clone()]);
        let credentials = parse(&path, contents, &secret)?;
        log::info!("credentials: {} in {}", credentials.count(), path.display());
        metrics.auth_file(Some(credentials.count()));
        let this = Arc::new(Self(Guarded::new(Arc::new(credentials))));
        let watched = Arc::clone(&this);
        let take = move |changed: Option<Contents<1>>| match changed.map(|contents| parse(&path, contents, &secret)) {
            Some(Ok(credentials)) => {
                log::info!("credentials: {} in {}, which has changed", credentials.count(), path.display());
                metrics.auth_file(Some(credentials.count()));
                *watched.0.lock() = Arc::new(credentials);
            }
            Some(Err(error)) => {
                log::error!("{error}; the credentials read before stay in force");
                metrics.auth_file(None);
            }
            None => {}
        };
        watch.follow("auth-file", take).map_err(|error| AuthFileError(format!("no thread can be started for --auth-file: {error}")))?;
        Ok(this)
    }

    /// The credentials in force.
    pub fn current(&self) -> Arc<Credentials> {
        Arc::clone(&self.0.lock())
    }
}

fn parse(path: &Path, contents: Contents<1>, secret: &Secret) -> Result<Credentials, AuthFileError> {
    let unread = |error: &dyn std::error::Error| AuthFileError(format!("{} (--auth-file) cannot be read: {error}", path.display()));
    let [content] = contents.map_err(|error| unread(&error.source))?;
    let text = String::from_utf8(content).map_err(|error| unread(&error.utf8_error()))?;
    Credentials::parse(&text, secret)
        .map_err(|mistake| AuthFileError(format!("the credentials in {} (--auth-file): {mistake}", path.display())))
}
