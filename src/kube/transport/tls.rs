//! TLS to the API server: trusted CAs, our own certificate, and the connector that ureq uses.
//!
//! ureq's own connector checks a certificate against the host of the URL only, and panics if a client certificate does not match its
//! key. This connector also supports `tls-server-name`, and returns errors. A certificate must chain to the given CA and name the server,
//! unless the kubeconfig sets `insecure-skip-tls-verify`.
//!
//! Specification: `Cluster` in <https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/>.

use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, Either, NextTimeout, Transport, TransportAdapter};

use super::buffers::PassingBuffers;
use super::tls_error::{TlsError, unusable_key};
use super::trust;

/// The check of the server's certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Verification {
    /// `insecure-skip-tls-verify`: no check. The name is still sent to the server.
    pub(crate) skipped: bool,
    /// `tls-server-name`: the name in the certificate, if it is not the host in the URL.
    pub(crate) server_name: Option<String>,
}

/// PEM texts of a TLS configuration, as of one moment.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct TlsMaterial {
    /// The CA certificates; none when nothing is checked.
    pub(crate) roots: Option<Vec<u8>>,
    /// Our certificate with its chain, and its key.
    pub(crate) certificate: Option<(Vec<u8>, Vec<u8>)>,
}

impl fmt::Debug for TlsMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsMaterial(hidden)")
    }
}

pub(super) struct TlsConnector {
    config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
}

impl TlsConnector {
    pub(super) fn new(verification: &Verification, material: &TlsMaterial) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let verifier =
            if verification.skipped { trust::unchecked(&provider) } else { trust::by_roots(&provider, material.roots.as_deref())? };
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(TlsError::Handshake)?;
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = match &material.certificate {
            Some((certificate, pem)) => {
                let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| unusable_key(pem))?;
                let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate).filter_map(Result::ok).collect();
                if chain.is_empty() {
                    return Err(TlsError::NoClientCertificate);
                }
                builder.with_client_auth_cert(chain, key).map_err(|error| match error {
                    rustls::Error::General(_) => unusable_key(pem),
                    other => TlsError::ClientCertificate(other),
                })?
            }
            None => builder.with_no_client_auth(),
        };
        // With one server and few connections, a ticket cache only keeps an old identity in use.
        config.resumption = Resumption::disabled();
        let server_name = verification.server_name.as_deref().map(parse_name).transpose()?;
        Ok(Self { config: Arc::new(config), server_name })
    }
}

impl<In: Transport> Connector<In> for TlsConnector {
    type Out = Either<In, TlsTransport>;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(socket) = chained else { return Ok(None) };
        if !details.needs_tls() || socket.is_tls() {
            return Ok(Some(Either::A(socket)));
        }
        let name = self.server_name.clone().map_or_else(|| parse_name(details.uri.host().unwrap_or_default()), Ok);
        let name = name.map_err(|error| ureq::Error::Other(Box::new(error)))?;
        let mut session = ClientConnection::new(Arc::clone(&self.config), name)?;
        let mut socket = TransportAdapter::new(socket.boxed(), Arc::clone(&details.current_time));
        // Counted from now, not from before the socket was opened: a connection may take twice the limit.
        socket.set_timeout(details.timeout);
        session.complete_io(&mut socket)?;
        let buffers = PassingBuffers::new(details.config.input_buffer_size());
        Ok(Some(Either::B(TlsTransport { buffers, stream: StreamOwned::new(session, socket) })))
    }
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConnector").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

pub(super) struct TlsTransport {
    buffers: PassingBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        let output = &self.buffers.output()[..amount];
        self.stream.write_all(output)?;
        self.buffers.sent();
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsTransport")
    }
}

/// Reads the system's CA certificates, for a kubeconfig without a CA. The paths are those of Go, and so of kubectl.
pub(crate) fn system_roots() -> Option<Vec<u8>> {
    SYSTEM_ROOTS.iter().find_map(|path| std::fs::read(path).ok())
}

fn parse_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(bare(host).to_owned()).map_err(|_| TlsError::Name(host.to_owned()))
}

/// The host of a URL without the brackets of an IPv6 address.
pub(crate) fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

/// Debian and Alpine, Fedora, openSUSE, Alpine's other name, in Go's order.
const SYSTEM_ROOTS: &[&str] =
    &["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"];
