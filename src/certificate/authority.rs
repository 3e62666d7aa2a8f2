//! Our own CA, and the certificates that it signs: ECDSA P-256, keys as PKCS#8.
//!
//! Nodes trust this CA for all their connections. Therefore it can sign for the names of the Service only, and for any address,
//! because addresses may change. With a stolen key no other host name can be impersonated.
//!
//! Specification: RFC 5280; of name constraints, section 4.2.1.10.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::CertificateError;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use thiserror::Error;

use super::loaded::{Loaded, PairError, unix, verifier};
use super::renewal::{self, Renewal, Validity};
use crate::cluster::{KeyPem, Pair};

/// Validity of a CA.
const CA_LIFE: Duration = Duration::from_secs(3650 * 24 * 3600);

/// Time before now at which a new certificate begins, for clocks that are behind.
const BACKDATED: Duration = Duration::from_secs(3600);

/// Reason why no certificate was made.
#[derive(Debug, Error)]
pub enum IssueError {
    /// The CA cannot be used.
    #[error("the CA cannot be used; docs/tls.md, \"Another CA\"")]
    Authority(#[from] PairError),
    /// No node accepts a certificate that the CA signs.
    #[error("what the CA signs would not be accepted: {0}; docs/tls.md, \"Another CA\"")]
    Useless(String),
    /// rcgen failed.
    #[error("no certificate can be made")]
    Made(#[from] rcgen::Error),
}

/// A CA that can sign.
pub struct Authority {
    loaded: Loaded,
    key: KeyPair,
}

impl Authority {
    /// Creates a CA that may sign for these host names and for any address.
    pub fn make(names: &[String], now: Timestamp) -> Result<Pair, IssueError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = subject(&key);
        hold(&mut params, now, now + CA_LIFE);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let everywhere = [CidrSubnet::V4([0; 4], [0; 4]), CidrSubnet::V6([0; 16], [0; 16])].map(GeneralSubtree::IpAddress);
        let names = names.iter().cloned().map(GeneralSubtree::DnsName);
        params.name_constraints =
            Some(NameConstraints { permitted_subtrees: names.chain(everywhere).collect(), excluded_subtrees: Vec::new() });
        let certificate = params.self_signed(&key)?;
        Ok(pair(certificate.der(), &key))
    }

    /// Loads a stored CA.
    pub fn load(pair: &Pair) -> Result<Self, IssueError> {
        let loaded = Loaded::of(pair)?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(pair.key.reveal().as_bytes()).map_err(|_may_quote_it| PairError::KeyForm)?;
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256).map_err(|_not_p256| PairError::KeyForm)?;
        Ok(Self { loaded, key })
    }

    /// Reports whether certificates for these names can be signed now, or once the CA is valid.
    pub(super) fn can_sign(&self, names: &[String], now: Timestamp) -> bool {
        let begun = self.loaded.validity.not_before.saturating_add(SignedDuration::try_from(BACKDATED).unwrap_or_default());
        self.issue(&names.iter().cloned().collect(), now.max(begun.unwrap_or(now))).is_ok()
    }

    /// Returns the CA's own validity.
    pub(super) fn validity(&self) -> &Validity {
        &self.loaded.validity
    }

    /// Issues a certificate for these addresses and host names.
    pub fn issue(&self, wanted: &BTreeSet<String>, now: Timestamp) -> Result<Pair, IssueError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "reboot-manager");
        hold(&mut params, now, renewal::end(self.loaded.validity.not_after, now));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        for name in wanted {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_no_address) => SanType::DnsName(name.as_str().try_into()?),
            });
        }
        let authority = subject(&self.key);
        let certificate = params.signed_by(&key, &Issuer::from_params(&authority, &self.key))?;
        let made = pair(certificate.der(), &key);
        // Checked here, before a node fails: a CA that another program made may have other name constraints.
        match self.examine(&made, wanted, now) {
            Ok(None) => Ok(made),
            Ok(Some(why)) => Err(IssueError::Useless(why.to_string())),
            Err(error) => Err(IssueError::Useless(error.to_string())),
        }
    }

    /// Returns why a stored certificate is replaced; `None` if it is kept.
    pub fn examine(&self, pair: &Pair, wanted: &BTreeSet<String>, now: Timestamp) -> Result<Option<Renewal>, PairError> {
        let held = Loaded::of(pair)?;
        let verifier = verifier(self.loaded.leaf()).ok_or(PairError::Form)?;
        let mut names = BTreeSet::new();
        for name in wanted {
            let Ok(asked) = ServerName::try_from(name.as_str()) else { continue };
            match verifier.verify_server_cert(held.leaf(), &[], &asked, &[], unix(now)) {
                Ok(_holds) => _ = names.insert(name.clone()),
                Err(rustls::Error::InvalidCertificate(
                    CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
                )) => {}
                Err(error) => return Ok(Some(Renewal::Foreign(error.to_string()))),
            }
        }
        Ok(renewal::next(&held.validity, &names, wanted, self.loaded.validity.not_after, now))
    }
}

/// Returns the certificates in a text, each in PEM. Anything else in the text, such as a private key, is left out.
pub(super) fn certificates(text: &str) -> Vec<String> {
    CertificateDer::pem_slice_iter(text.as_bytes()).filter_map(Result::ok).map(|der| pem("CERTIFICATE", &der)).collect()
}

/// Returns the subject of a CA with this key. The name is made from the key alone, and distinguishes CAs.
fn subject(key: &KeyPair) -> CertificateParams {
    let mut params = CertificateParams::default();
    let id: String = params.key_identifier(key).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    params.distinguished_name.push(DnType::CommonName, format!("reboot-manager CA {id}"));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// Sets the validity: from a little before `from` until `to`.
fn hold(params: &mut CertificateParams, from: Timestamp, to: Timestamp) {
    let since_1970 = |time: Timestamp| Duration::from_secs(u64::try_from(time.as_second()).unwrap_or_default());
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_1970(from).saturating_sub(BACKDATED);
    params.not_after = epoch + since_1970(to);
}

fn pair(certificate: &[u8], key: &KeyPair) -> Pair {
    Pair { certificate: pem("CERTIFICATE", certificate), key: KeyPem::new(pem("PRIVATE KEY", key.serialized_der())) }
}

/// RFC 7468: lines of 64.
fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for at in (0..text.len()).step_by(64) {
        pem.push_str(&text[at..text.len().min(at + 64)]);
        pem.push('\n');
    }
    pem + &format!("-----END {label}-----\n")
}
