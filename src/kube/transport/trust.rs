//! Checks of the API server's certificate: by the CAs of the kubeconfig or the pod, or none.
//!
//! A certificate must chain to one of the CAs and name the server. As with kubectl, a certificate that is itself among the CAs needs no
//! issuer: many API servers have one certificate, made by themselves, which is both. Nothing else is relaxed for it: its time, its name,
//! and that the server has its key are checked.
//!
//! Specification: RFC 5280, section 6.1, and <https://pkg.go.dev/crypto/x509#Certificate.Verify>.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};

use super::tls_error::TlsError;

/// Creates the check by the CAs in `pem`. Parts of it that are no certificate are skipped, as by kubectl.
pub(super) fn by_roots(provider: &Arc<CryptoProvider>, pem: Option<&[u8]>) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem.ok_or(TlsError::NoRoots)?).filter_map(Result::ok).collect();
    let listed = certificates.iter().map(fingerprint).collect();
    let mut roots = RootCertStore::empty();
    if roots.add_parsable_certificates(certificates).0 == 0 {
        return Err(TlsError::NoRoots);
    }
    let chain =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build().map_err(|_| TlsError::NoRoots)?;
    Ok(Arc::new(ByRoots { chain, listed }))
}

/// Creates the check that accepts any certificate, for `insecure-skip-tls-verify`. That its owner holds the key is still checked.
pub(super) fn unchecked(provider: &CryptoProvider) -> Arc<dyn ServerCertVerifier> {
    Arc::new(Unchecked(provider.signature_verification_algorithms))
}

#[derive(Debug)]
struct ByRoots {
    chain: Arc<WebPkiServerVerifier>,
    /// Fingerprints of the CAs: a bundle of the system has 150 certificates, which would be kept twice.
    listed: Vec<[u8; 32]>,
}

impl ServerCertVerifier for ByRoots {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.chain.verify_server_cert(certificate, chain, name, ocsp, now) {
            Err(error) if lacks_an_issuer_only(&error) && self.listed.contains(&fingerprint(certificate)) => {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Reports whether the check ended because the certificate is a CA itself, or because no CA has issued it. Both are found after its time was
/// checked. Any other error stays one.
fn lacks_an_issuer_only(error: &Error) -> bool {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => true,
        Error::InvalidCertificate(CertificateError::Other(OtherError(other))) => {
            matches!(other.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
        }
        _ => false,
    }
}

fn fingerprint(certificate: &CertificateDer<'_>) -> [u8; 32] {
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, certificate).as_ref());
    fingerprint
}

#[derive(Debug)]
struct Unchecked(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
