//! Our credential for the API server, from the kubeconfig or the pod: read when needed, and again when it may have changed.
//!
//! Files are read again if the last read is older than [`REREAD_AFTER`], and after a 401. A plugin is run again when its credential
//! expires, and after a 401. A credential must never be logged or shown.
//!
//! Specification: `AuthInfo` in <https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/> and
//! <https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/>.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::exec_plugin::{Plugin, PluginCredential};
use super::secret::{Secret, bearer, fits_a_header};
use crate::kube::transport::{TlsMaterial, system_roots};
use crate::system::clock::Now;
use crate::system::guarded::Guarded;
use crate::system::quotable::shown;

/// A text, or the file that holds the text.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Text {
    File {
        /// Field of the kubeconfig that names the file, or what the file is.
        field: &'static str,
        path: PathBuf,
    },
    Inline(Vec<u8>),
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, .. } => write!(f, "{}", path.display()),
            Self::Inline(_) => f.write_str("(hidden)"),
        }
    }
}

/// Authentication besides a client certificate.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum AuthMethod {
    /// Value of the `Authorization` header.
    Header(Secret),
    Nothing,
    Plugin(Box<Plugin>),
    TokenFile {
        path: PathBuf,
        /// Header to send if the file cannot be read.
        otherwise: Option<Secret>,
    },
}

/// Authentication of this program.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Identity {
    pub(super) auth: AuthMethod,
    /// Certificate and key for TLS.
    pub(super) certificate: Option<(Text, Text)>,
    /// Headers that name the user as whom this program acts.
    pub(crate) impersonated: Vec<(String, String)>,
}

/// The CA certificates to check the server against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Roots {
    None,
    Of(Text),
    System,
}

/// Credential and certificates of one moment.
#[derive(Debug, PartialEq)]
pub(crate) struct Presented {
    pub(crate) authorization: Option<Secret>,
    pub(crate) tls: Arc<TlsMaterial>,
}

/// Reason why there is no API server, or no credential for it.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct ConfigError(pub(super) String);

/// Credential, kept up to date.
#[derive(Debug)]
pub(crate) struct Credentials {
    identity: Identity,
    roots: Roots,
    cached: Guarded<Option<Cached>>,
}

#[derive(Debug, Clone)]
struct Cached {
    presented: Arc<Presented>,
    issued: Option<Arc<PluginCredential>>,
    read: Now,
}

impl Credentials {
    pub(crate) fn new(identity: Identity, roots: Roots) -> Self {
        Self { identity, roots, cached: Guarded::default() }
    }

    /// Returns the credential to send now.
    pub(crate) fn current(&self, now: Now) -> Result<Arc<Presented>, ConfigError> {
        let mut cached = self.cached.lock();
        let issued = cached
            .as_ref()
            .and_then(|cached| cached.issued.clone())
            .filter(|issued| issued.expiration_timestamp.is_none_or(|end| now.clock + EXPIRY_MARGIN < end));
        let is_spent = issued.is_none() && matches!(self.identity.auth, AuthMethod::Plugin(_));
        let usable = cached.clone().filter(|_| !is_spent);
        match usable {
            None => self.read(&mut cached, issued, now),
            Some(usable) if now.instant.saturating_duration_since(usable.read.instant) < REREAD_AFTER => Ok(usable.presented),
            Some(usable) => self.read(&mut cached, issued, now).or_else(|error| {
                log::warn!("continuing with the previous credential: {error}");
                *cached = Some(Cached { read: now, ..usable.clone() });
                Ok(usable.presented)
            }),
        }
    }

    /// Returns the credential to send after the server answered 401 to `refused`; `None` if there is no other.
    pub(crate) fn renewed(&self, refused: &Arc<Presented>, now: Now) -> Result<Option<Arc<Presented>>, ConfigError> {
        let mut cached = self.cached.lock();
        if let Some(cached) = cached.as_ref().filter(|cached| cached.presented != *refused) {
            return Ok(Some(Arc::clone(&cached.presented)));
        }
        let fresh = self.read(&mut cached, None, now)?;
        Ok(if fresh == *refused { None } else { Some(fresh) })
    }

    fn read(&self, cached: &mut Option<Cached>, issued: Option<Arc<PluginCredential>>, now: Now) -> Result<Arc<Presented>, ConfigError> {
        let issued = match (&self.identity.auth, issued) {
            (AuthMethod::Plugin(plugin), None) => Some(Arc::new(plugin.run(PLUGIN_TIME_MAX).map_err(ConfigError)?)),
            (_, issued) => issued,
        };
        let fresh = Arc::new(self.presented(issued.as_deref())?);
        let presented = match cached.take() {
            Some(before) if before.presented == fresh => before.presented,
            _ => fresh,
        };
        *cached = Some(Cached { presented: Arc::clone(&presented), issued, read: now });
        Ok(presented)
    }

    fn presented(&self, issued: Option<&PluginCredential>) -> Result<Presented, ConfigError> {
        let authorization = match &self.identity.auth {
            AuthMethod::Header(header) => Some(header.clone()),
            AuthMethod::Nothing => None,
            AuthMethod::Plugin(_) => issued.and_then(|issued| issued.token.as_ref()).map(|token| bearer(token.reveal())),
            AuthMethod::TokenFile { path, otherwise } => match (token_of(path), otherwise) {
                (Err(error), None) => return Err(error),
                (read, otherwise) => read.ok().or_else(|| otherwise.clone()),
            },
        };
        let certificate = match (&self.identity.certificate, issued.and_then(PluginCredential::certificate)) {
            (_, Some((certificate, key))) => Some((certificate.as_bytes().to_vec(), key.reveal().as_bytes().to_vec())),
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
}

fn token_of(path: &Path) -> Result<Secret, ConfigError> {
    let bytes = read_file(TOKEN_FILE, path)?;
    match str::from_utf8(&bytes).map(str::trim) {
        Ok("") => Err(ConfigError(format!("{TOKEN_FILE} {} is empty", shown(path)))),
        Ok(token) if fits_a_header(token) => Ok(bearer(token)),
        _ => Err(ConfigError(format!("{TOKEN_FILE} {} holds no token", shown(path)))),
    }
}

fn text(text: &Text) -> Result<Vec<u8>, ConfigError> {
    match text {
        Text::File { field, path } => read_file(field, path),
        Text::Inline(bytes) => Ok(bytes.clone()),
    }
}

fn read_file(field: &str, path: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path).map_err(|error| ConfigError(format!("cannot read {field} {}: {error}", shown(path))))
}

const TOKEN_FILE: &str = "the token file";
/// Time after which files are read again. The kubelet replaces a projected token long before the token expires.
const REREAD_AFTER: Duration = Duration::from_secs(10);
/// Time before the end of a plugin's credential in which it is no longer sent.
const EXPIRY_MARGIN: jiff::SignedDuration = jiff::SignedDuration::from_secs(5);
/// Maximum time for a plugin, which may call a distant server.
const PLUGIN_TIME_MAX: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
