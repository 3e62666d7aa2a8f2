//! Who we are to the API server: what the kubeconfig or the pod names, read when needed and again when it
//! may have changed.
//!
//! Files are read again when the last reading is older than [`REREAD_AFTER`], and after a 401; a plugin is
//! run again when its credential expires, and after a 401. A credential must never be logged or shown.
//!
//! Specification: `AuthInfo` in <https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/> and
//! <https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/>.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;

use super::exec_plugin::{Plugin, Told};
use super::secret::{Secret, bearer, fits_a_header};
use crate::kube::clock::Moment;
use crate::kube::transport::{TlsMaterial, system_roots};

/// A text that is either given or in a file.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Text {
    File(PathBuf),
    Given(Vec<u8>),
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Given(_) => f.write_str("(hidden)"),
        }
    }
}

/// What we show with each request.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shown {
    /// The whole of an `Authorization` header.
    Header(Secret),
    Nothing,
    Plugin(Box<Plugin>),
    /// A file with a bearer token.
    TokenFile(PathBuf),
}

/// Our side of the connection.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Identity {
    pub(super) shown: Shown,
    /// Certificate and key for TLS.
    pub(super) certificate: Option<(Text, Text)>,
}

/// The CA certificates to check the server against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Roots {
    None,
    Of(Text),
    System,
}

/// What is shown to the server from some moment on.
#[derive(Debug, PartialEq)]
pub(crate) struct Presented {
    /// The `Authorization` header.
    pub(crate) authorization: Option<Secret>,
    /// The certificates.
    pub(crate) tls: Arc<TlsMaterial>,
}

/// Why there is no credential.
#[derive(Debug, Error)]
pub enum CredentialError {
    /// A file holds nothing.
    #[error("{} is empty", .0.display())]
    Empty(PathBuf),
    /// A file holds what no HTTP header may.
    #[error("{} holds no token", .0.display())]
    NoToken(PathBuf),
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The plugin did not help. The sentence says which one, what happened, and its install hint.
    #[error("{0}")]
    Plugin(String),
}

/// The credential, kept up to date.
#[derive(Debug)]
pub(crate) struct Credentials {
    identity: Identity,
    roots: Roots,
    held: Mutex<Option<Held>>,
}

#[derive(Debug, Clone)]
struct Held {
    presented: Arc<Presented>,
    told: Option<Arc<Told>>,
    read: Moment,
}

impl Credentials {
    pub(crate) fn new(identity: Identity, roots: Roots) -> Self {
        Self { identity, roots, held: Mutex::new(None) }
    }

    /// What to show now.
    pub(crate) fn current(&self, now: Moment) -> Result<Arc<Presented>, CredentialError> {
        let mut held = self.lock();
        let told = held.as_ref().and_then(|held| held.told.clone()).filter(|told| told.is_valid_at(now.wall));
        let is_spent = told.is_none() && matches!(self.identity.shown, Shown::Plugin(_));
        let usable = held.clone().filter(|_| !is_spent);
        match usable {
            None => self.read(&mut held, told, now),
            Some(usable) if now.steady.saturating_duration_since(usable.read.steady) < REREAD_AFTER => Ok(usable.presented),
            Some(usable) => self.read(&mut held, told, now).or_else(|error| {
                log::warn!("going on with the credential read before: {error}");
                *held = Some(Held { read: now, ..usable.clone() });
                Ok(usable.presented)
            }),
        }
    }

    /// What to show after the server answered 401 to `refused`, or `None` if there is nothing else.
    pub(crate) fn renewed(&self, refused: &Arc<Presented>, now: Moment) -> Result<Option<Arc<Presented>>, CredentialError> {
        let mut held = self.lock();
        if let Some(held) = held.as_ref().filter(|held| held.presented != *refused) {
            return Ok(Some(Arc::clone(&held.presented)));
        }
        let fresh = self.read(&mut held, None, now)?;
        Ok(if fresh == *refused { None } else { Some(fresh) })
    }

    fn read(&self, held: &mut Option<Held>, told: Option<Arc<Told>>, now: Moment) -> Result<Arc<Presented>, CredentialError> {
        let told = match (&self.identity.shown, told) {
            (Shown::Plugin(plugin), None) => Some(Arc::new(plugin.run().map_err(CredentialError::Plugin)?)),
            (_, told) => told,
        };
        let fresh = Arc::new(self.presented(told.as_deref())?);
        let presented = match held.take() {
            Some(before) if before.presented == fresh => before.presented,
            _ => fresh,
        };
        *held = Some(Held { presented: Arc::clone(&presented), told, read: now });
        Ok(presented)
    }

    fn presented(&self, told: Option<&Told>) -> Result<Presented, CredentialError> {
        let authorization = match &self.identity.shown {
            Shown::Header(header) => Some(header.clone()),
            Shown::Nothing => None,
            Shown::Plugin(_) => told.and_then(|told| told.token.as_ref()).map(|token| bearer(token.reveal())),
            Shown::TokenFile(path) => Some(token_of(path)?),
        };
        let certificate = match (&self.identity.certificate, told.and_then(|told| told.certificate.as_ref())) {
            (_, Some((certificate, key))) => Some((certificate.clone().into_bytes(), key.reveal().as_bytes().to_vec())),
            (Some((certificate, key)), None) => Some((text(certificate)?, text(key)?)),
            (None, None) => None,
        };
        let roots = match &self.roots {
            Roots::None => None,
            Roots::Of(pem) => Some(text(pem)?),
            Roots::System => system_roots(),
        };
        Ok(Presented { authorization, tls: Arc::new(TlsMaterial { roots, certificate }) })
    }

    /// What is held is replaced whole, so a panic elsewhere leaves nothing half done in it.
    fn lock(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    fn is_valid_at(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|end| now + EXPIRY_MARGIN < end)
    }
}

fn token_of(path: &PathBuf) -> Result<Secret, CredentialError> {
    let bytes = read_file(path)?;
    let token = str::from_utf8(&bytes).map_err(|_| CredentialError::NoToken(path.clone()))?.trim();
    if token.is_empty() {
        return Err(CredentialError::Empty(path.clone()));
    }
    if fits_a_header(token) { Ok(bearer(token)) } else { Err(CredentialError::NoToken(path.clone())) }
}

fn text(text: &Text) -> Result<Vec<u8>, CredentialError> {
    match text {
        Text::File(path) => read_file(path),
        Text::Given(bytes) => Ok(bytes.clone()),
    }
}

fn read_file(path: &PathBuf) -> Result<Vec<u8>, CredentialError> {
    std::fs::read(path).map_err(|source| CredentialError::File { path: path.clone(), source })
}

/// A projected service account token is replaced by the kubelet long before it ends, so that this is soon enough.
const REREAD_AFTER: Duration = Duration::from_secs(10);
/// A plugin's credential is not shown in its last seconds: it would expire on the way.
const EXPIRY_MARGIN: jiff::SignedDuration = jiff::SignedDuration::from_secs(5);

#[cfg(test)]
mod tests;
