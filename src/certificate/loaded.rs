//! Certificate and key, loaded from two PEM texts. No error text contains a key.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, RootCertStore};
use thiserror::Error;

use super::renewal::Validity;
use crate::cluster::Pair;
use crate::system::file_watch::Unreadable;

/// Reason why a certificate and key cannot be used. Errors of the PEM reader are omitted, because they may quote a key, also
/// one that is in the place of the certificate.
#[derive(Debug, Error)]
pub enum PairError {
    /// The certificate is not PEM.
    #[error("the certificate cannot be read as PEM; has it kept its line breaks?")]
    Certificate,
    /// The certificate has no start or end, or is none.
    #[error("the certificate is not one that TLS can use")]
    Form,
    /// Not a key, or not of this certificate.
    #[error("the private key cannot be used with the certificate; do they belong together?")]
    Key(#[source] rustls::Error),
    /// The key is not PEM.
    #[error("the private key cannot be read as PEM, as PKCS#8 or an older form, unencrypted")]
    KeyForm,
    /// No certificate at all.
    #[error("there is no certificate in it")]
    None,
    /// A file cannot be read.
    #[error(transparent)]
    Unread(#[from] Unreadable),
}

/// A certificate and its key, which belong together.
#[derive(Clone)]
pub struct Loaded {
    /// The pair in the form that TLS uses.
    pub(super) key: Arc<CertifiedKey>,
    /// Validity of the certificate.
    pub(super) validity: Validity,
}

impl Loaded {
    /// Reads both texts, and checks that they belong together.
    pub fn of(pair: &Pair) -> Result<Self, PairError> {
        let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes()).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|_may_quote_a_key| PairError::Certificate)?;
        let leaf = chain.first().ok_or(PairError::None)?;
        let validity = validity(leaf).ok_or(PairError::Form)?;
        let key = PrivateKeyDer::from_pem_slice(pair.key.reveal().as_bytes()).map_err(|_may_quote_it| PairError::KeyForm)?;
        let key = CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(PairError::Key)?;
        Ok(Self { key: Arc::new(key), validity })
    }

    /// The certificate itself.
    pub(super) fn leaf(&self) -> &CertificateDer<'static> {
        // `of` has checked that there is one.
        &self.key.cert[0]
    }
}

/// Checks certificates against one CA, as a node does.
pub(super) fn verifier(ca: &CertificateDer<'_>) -> Option<Arc<WebPkiServerVerifier>> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone().into_owned()).ok()?;
    let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().ok()
}

/// A moment as rustls has it.
pub(super) fn unix(time: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(time.as_second()).unwrap_or_default()))
}

/// Finds the validity of a certificate without a parser: the verifier reports `notBefore` and `notAfter` in its errors about a time
/// before and a time after.
fn validity(leaf: &CertificateDer<'_>) -> Option<Validity> {
    let verifier = verifier(leaf)?;
    let name = ServerName::try_from("name").ok()?;
    let at =
        |seconds| verifier.verify_server_cert(leaf, &[], &name, &[], UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)));
    let Err(rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. })) = at(0) else { return None };
    let Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) = at(FAR_FUTURE) else { return None };
    let time = |time: UnixTime| Timestamp::from_second(i64::try_from(time.as_secs()).ok()?).ok();
    Some(Validity { not_before: time(not_before)?, not_after: time(not_after)? })
}

/// The year 10000; RFC 5280 ends with 9999.
const FAR_FUTURE: u64 = 253_402_300_800;
