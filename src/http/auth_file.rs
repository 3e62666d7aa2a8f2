//! The credentials of `--auth-file`, which is read again when it changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;

use super::handoff::random;
use crate::access::Credentials;
use crate::metrics::Metrics;
use crate::system::file_watch::{Contents, FileWatch};
use crate::system::guarded::Guarded;
use crate::system::quotable::shown;

/// Credentials in force.
pub(crate) struct AuthFile(Guarded<Arc<Credentials>>);

impl AuthFile {
    /// Reads the file and starts to watch it.
    pub(crate) fn open(path: PathBuf, metrics: Arc<Metrics>) -> anyhow::Result<Arc<Self>> {
        // One secret for all versions of the file, made at the start and never stored.
        let secret = random()?;
        let (watch, contents) = FileWatch::open([path.clone()]);
        let credentials = parse(&path, contents, &secret)?;
        log::info!("credentials: {} in {}", credentials.count(), shown(&path));
        metrics.auth_file(Some(credentials.count()));
        let this = Arc::new(Self(Guarded::new(Arc::new(credentials))));
        let in_force = Arc::clone(&this);
        let take = move |changed: Option<Contents<1>>| match changed.map(|contents| parse(&path, contents, &secret)) {
            Some(Ok(credentials)) => {
                log::info!("credentials: {} in {}, which has changed", credentials.count(), shown(&path));
                metrics.auth_file(Some(credentials.count()));
                *in_force.0.lock() = Arc::new(credentials);
            }
            // Without this, a typo in the file locks every node out.
            Some(Err(error)) => {
                log::error!("{error:#}; the credentials read before stay in force");
                metrics.auth_file(None);
            }
            None => {}
        };
        watch.follow("auth-file", take).context("no thread can be started for --auth-file")?;
        Ok(this)
    }

    pub(super) fn current(&self) -> Arc<Credentials> {
        Arc::clone(&self.0.lock())
    }
}

fn parse(path: &Path, contents: Contents<1>, secret: &[u8; 32]) -> anyhow::Result<Credentials> {
    let unreadable = || format!("{} (--auth-file) cannot be read", shown(path));
    let [content] = contents.map_err(|error| error.source).with_context(unreadable)?;
    let text = str::from_utf8(&content).with_context(unreadable)?;
    Credentials::parse(text, secret).with_context(|| format!("the credentials in {} (--auth-file)", shown(path)))
}
