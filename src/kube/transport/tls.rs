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
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme, StreamOwned};
use thiserror::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, Either, NextTimeout, Transport, TransportAdapter};

use super::buffers::PassingBuffers;

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

/// Reason why no trusted connection was made.
#[derive(Debug, Error)]
pub enum TlsError {
    #[error("the client certificate and its key do not fit together")]
    ClientCertificate(#[source] rustls::Error),
    /// The two sides did not agree, most often because of the server's certificate.
    #[error("the TLS handshake failed; check the CA certificate and the server's name")]
    Handshake(#[source] rustls::Error),
    #[error("{0:?} is not a name that a certificate can be checked against")]
    Name(String),
    #[error("the {what} cannot be read as PEM")]
    Pem { what: &'static str, source: rustls::pki_types::pem::Error },
    #[error("there is no usable CA certificate")]
    NoRoots,
}

pub(super) struct TlsConnector {
    config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
}

impl TlsConnector {
    pub(super) fn new(verification: &Verification, material: &TlsMaterial) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(TlsError::Handshake)?;
        let builder = if verification.skipped {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Unchecked { algorithms }))
        } else {
            builder.with_root_certificates(roots(material)?)
        };
        let mut config = match &material.certificate {
            Some((certificate, key)) => {
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|source| TlsError::Pem { what: "client key", source })?;
                builder.with_client_auth_cert(certificates("client certificate", certificate)?, key).map_err(TlsError::ClientCertificate)?
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

fn roots(material: &TlsMaterial) -> Result<RootCertStore, TlsError> {
    let pem = material.roots.as_ref().ok_or(TlsError::NoRoots)?;
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(certificates("CA certificate", pem)?);
    if added == 0 { Err(TlsError::NoRoots) } else { Ok(store) }
}

fn certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|source| TlsError::Pem { what, source })
}

fn parse_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(bare(host).to_owned()).map_err(|_| TlsError::Name(host.to_owned()))
}

/// The host of a URL without the brackets of an IPv6 address.
pub(crate) fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

/// Accepts any certificate, for `insecure-skip-tls-verify`. That its owner holds the key is still checked.
#[derive(Debug)]
struct Unchecked {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Debian and Alpine, Fedora, openSUSE, Alpine's other name, in Go's order.
const SYSTEM_ROOTS: &[&str] =
    &["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"];
