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

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use rustls::pki_types::UnixTime;

    use super::*;

    #[track_caller]
    fn check(error: impl Into<TlsError>, words: &[&str]) {
        let said = crate::kube::error_chain(&error.into());
        assert!(words.iter().all(|word| said.contains(word)) && !said.contains("[6,"), "{said}");
    }

    /// A private key in PEM, of which the length of all, the kind, and nothing more is right.
    fn key(label: &str, kind: &[u8]) -> TlsError {
        let der = [&[0x30, kind.len() as u8 + 7, 2, 1, 0, 0x30, kind.len() as u8], kind, &[4, 0][..]].concat();
        unusable_key(format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(der)).as_bytes())
    }

    #[test]
    fn what_is_not_supported_is_named_with_the_cure() {
        let unsupported = |signature: &[u8]| {
            rustls::Error::InvalidCertificate(CertificateError::UnsupportedSignatureAlgorithmContext {
                signature_algorithm_id: signature.to_vec(),
                supported_algorithms: Vec::new(),
            })
        };
        check(
            unsupported(&P521),
            &["a key or signature that is not supported, only RSA of 2048", "give the API server another certificate"],
        );
        check(rustls::Error::AlertReceived(AlertDescription::HandshakeFailure), &["no algorithm in common", "another certificate"]);
        check(rustls::Error::InvalidCertificate(CertificateError::BadSignature), &["RSA key of less than 2048 bits", "check the CA"]);
        let expired = CertificateError::ExpiredContext { time: UnixTime::now(), not_after: UnixTime::now() };
        check(rustls::Error::InvalidCertificate(expired), &["the TLS handshake failed", "expired"]);
        check(
            key("PRIVATE KEY", &P521),
            &["(of the curve P-521) is not supported, only RSA of 2048 to 4096 bits", "issue a client certificate"],
        );
        check(key("PRIVATE KEY", &RSA), &["(RSA of this length) is not supported", "issue a client certificate"]);
        check(key("RSA PRIVATE KEY", &[]), &["(RSA of this length) is not supported"]);
        check(key("EC PRIVATE KEY", &P521), &["(of the curve P-521) is not supported"]);
        check(key("PRIVATE KEY", &[]), &["the client key is not supported"]);
        check(key("ENCRYPTED PRIVATE KEY", &[]), &["encrypted with a passphrase", "decrypt it: openssl pkey"]);
        check(key("CERTIFICATE", &[]), &["holds no private key in PEM"]);
    }
}
