//! Errors of TLS to the API server, in words an administrator can act on: rustls names algorithms by numbers.

use rustls::{AlertDescription, CertificateError, OtherError};
use thiserror::Error;

/// Reason why no trusted connection was made.
#[derive(Debug, Error)]
pub enum TlsError {
    #[error("the client certificate does not belong to the client key")]
    ClientCertificate(#[source] rustls::Error),
    #[error("the client key is encrypted with a passphrase, which this program cannot ask for; decrypt it: openssl pkey -in KEY -out NEW")]
    EncryptedKey,
    /// The two sides did not agree, most often because of the server's certificate.
    #[error("the TLS handshake failed; check the CA certificate and the server's name")]
    Handshake(#[source] rustls::Error),
    /// The server has no certificate that could be checked.
    #[error("the server and this program have no algorithm in common; this program supports {SUPPORTED}; {CURE}")]
    NothingInCommon(#[source] rustls::Error),
    #[error("{0:?} is not a name that a certificate can be checked against")]
    Name(String),
    #[error("the client certificate holds no certificate in PEM (-----BEGIN CERTIFICATE-----)")]
    NoClientCertificate,
    #[error("the client key holds no private key in PEM (-----BEGIN PRIVATE KEY-----, or RSA or EC)")]
    NoClientKey,
    #[error("the CA certificate holds no usable certificate in PEM (-----BEGIN CERTIFICATE-----)")]
    NoRoots,
    #[error("the client key{0} is not supported, only {SUPPORTED_KEYS}; issue a client certificate with another key")]
    UnsupportedKey(&'static str),
    /// Another CA with the same name has signed it, or a short RSA key, which ring refuses in the same way.
    #[error(
        "the server's certificate has a signature that is not of the configured CA (certificate-authority), or of an RSA key of less than 2048 bits, which is not supported; check the CA, and that this is the right server"
    )]
    BadSignature,
    /// The certificate of another server, or of the same after its CA was replaced.
    #[error(
        "the server's certificate is not from the configured CA (certificate-authority); check the CA, and that this is the right server"
    )]
    UnknownAuthority,
    #[error(
        "the server's certificate is a CA itself, and not the configured CA (certificate-authority); add it there, or give the server another one"
    )]
    UnlistedAuthority,
    /// The server's certificate, or one above it, is of an unsupported kind.
    #[error("the server's certificate or its CA has a key or signature that is not supported, only {SUPPORTED}; {CURE}")]
    UnsupportedCertificate,
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        match &error {
            rustls::Error::AlertReceived(AlertDescription::HandshakeFailure) => Self::NothingInCommon(error),
            rustls::Error::InvalidCertificate(
                CertificateError::UnsupportedSignatureAlgorithmContext { .. }
                | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. },
            ) => Self::UnsupportedCertificate,
            rustls::Error::InvalidCertificate(CertificateError::BadSignature) => Self::BadSignature,
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => Self::UnknownAuthority,
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(other)))
                if matches!(other.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity)) =>
            {
                Self::UnlistedAuthority
            }
            _ => Self::Handshake(error),
        }
    }
}

/// Returns why a private key cannot be used. Nothing of the key but its kind is in the error.
pub(super) fn unusable_key(pem: &[u8]) -> TlsError {
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject;

    let contains = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    if contains(pem, b"ENCRYPTED") {
        return TlsError::EncryptedKey;
    }
    let Ok(key) = PrivateKeyDer::from_pem_slice(pem) else { return TlsError::NoClientKey };
    let has = |identifier| contains(key.secret_der(), identifier);
    TlsError::UnsupportedKey(match &key {
        _ if has(&P521) => " (of the curve P-521)",
        PrivateKeyDer::Pkcs1(_) => " (RSA of this length)",
        _ if has(&RSA) => " (RSA of this length)",
        _ => "",
    })
}

const SUPPORTED_KEYS: &str = "RSA of 2048 to 4096 bits, ECDSA with P-256 or P-384, and Ed25519";
const SUPPORTED: &str = "RSA of 2048 bits or more, ECDSA with P-256 or P-384, and Ed25519, with SHA-256, SHA-384 or SHA-512";
const CURE: &str = "give the API server another certificate";

/// Object identifiers as in DER: secp521r1 (RFC 5480) and rsaEncryption (RFC 8017).
const P521: [u8; 7] = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];
const RSA: [u8; 11] = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
