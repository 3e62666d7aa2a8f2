//! Certificates that are made for one test, so that the repository holds no key.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

/// Certificate authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// Certificate and its key, both in PEM.
pub struct Certificate {
    /// Certificate.
    pub pem: String,
    /// Key (PKCS#8).
    pub key_pem: String,
}

/// Makes a certificate for the address 127.0.0.1 that a client can also trust as its authority.
pub fn self_signed() -> Certificate {
    let key = KeyPair::generate().expect("a key pair");
    let certificate = parameters(&["127.0.0.1"]).self_signed(&key).expect("a certificate");
    Certificate { pem: certificate.pem(), key_pem: key.serialize_pem() }
}

/// Makes a self-signed certificate for 127.0.0.1 that is valid from 300 days ago until `left` from now.
pub fn self_signed_until(now: Timestamp, left: Duration) -> Certificate {
    let key = KeyPair::generate().expect("a key pair");
    let mut parameters = parameters(&["127.0.0.1"]);
    let now = Duration::from_secs(u64::try_from(now.as_second()).expect("a time after 1970"));
    let epoch = date_time_ymd(1970, 1, 1);
    (parameters.not_before, parameters.not_after) = (epoch + now - Duration::from_secs(300 * 24 * 3600), epoch + now + left);
    let certificate = parameters.self_signed(&key).expect("a certificate");
    Certificate { pem: certificate.pem(), key_pem: key.serialize_pem() }
}

/// Makes a certificate for the address 127.0.0.1 that is an authority itself, as some API servers make for themselves.
pub fn self_signed_authority() -> Certificate {
    let key = KeyPair::generate().expect("a key pair");
    let mut parameters = parameters(&["127.0.0.1"]);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Certificate { pem: parameters.self_signed(&key).expect("a certificate").pem(), key_pem: key.serialize_pem() }
}

impl Authority {
    /// Makes an authority.
    #[expect(clippy::new_without_default, reason = "each authority has another key")]
    pub fn new() -> Self {
        let mut parameters = parameters(&[]);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate().expect("a key pair")).expect("a certificate"))
    }

    /// Returns the authority's certificate in PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Makes a certificate for these host names and IP addresses.
    pub fn issue(&self, names: &[&str]) -> Certificate {
        let key = KeyPair::generate().expect("a key pair");
        let certificate = parameters(names).signed_by(&key, &self.0).expect("a certificate");
        Certificate { pem: certificate.pem(), key_pem: key.serialize_pem() }
    }
}

impl Certificate {
    /// Returns the configuration of a TLS server with this certificate. The server asks for a client certificate of `clients`, and accepts
    /// clients without one.
    pub fn server(&self, clients: Option<&Authority>) -> Arc<ServerConfig> {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = builder.expect("protocol versions of the provider");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.0.der().clone()).expect("a certificate authority");
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).allow_unauthenticated().build();
                builder.with_client_cert_verifier(verifier.expect("a verifier of client certificates"))
            }
        };
        let chain = CertificateDer::pem_slice_iter(self.pem.as_bytes()).collect::<Result<_, _>>().expect("a certificate in PEM");
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).expect("a key in PEM");
        Arc::new(builder.with_single_cert(chain, key).expect("a certificate for its key"))
    }
}

fn parameters(names: &[&str]) -> CertificateParams {
    let mut parameters = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).expect("valid names");
    // OpenSSL takes a certificate whose subject is its issuer for a self-signed one.
    parameters.distinguished_name.push(DnType::CommonName, names.first().copied().unwrap_or("authority of a test"));
    parameters
}
