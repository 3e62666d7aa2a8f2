//! Certificates of servers, at one moment, and the CAs that a kubeconfig may give for them.

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd};
use rustls::crypto::ring;
use rustls::pki_types::UnixTime;

use super::*;

/// A certificate in DER and PEM.
struct Made {
    der: CertificateDer<'static>,
    pem: String,
}

/// Parameters for the host `api`, valid in 2026.
fn parameters(ca: IsCa) -> CertificateParams {
    let mut parameters = CertificateParams::new(vec!["api".to_owned()]).unwrap();
    parameters.distinguished_name.push(DnType::CommonName, "api");
    parameters.is_ca = ca;
    parameters.not_before = date_time_ymd(2026, 1, 1);
    parameters.not_after = date_time_ymd(2027, 1, 1);
    parameters
}

fn self_signed(key: &KeyPair, ca: IsCa) -> Made {
    let certificate = parameters(ca).self_signed(key).unwrap();
    Made { der: certificate.der().clone(), pem: certificate.pem() }
}

fn issued_by(ca: &CertifiedIssuer<'_, KeyPair>, usage: ExtendedKeyUsagePurpose) -> Made {
    let mut parameters = parameters(IsCa::NoCa);
    parameters.extended_key_usages = vec![usage];
    let certificate = parameters.signed_by(&KeyPair::generate().unwrap(), ca).unwrap();
    Made { der: certificate.der().clone(), pem: certificate.pem() }
}

/// Checks the certificate as one for `name` in the middle of `year`, and that the result begins with `expected`.
#[track_caller]
fn check(server: &Made, roots: &str, name: &str, year: u64, expected: &str) {
    let verifier = by_roots(&Arc::new(ring::default_provider()), Some(roots.as_bytes())).unwrap();
    let now = UnixTime::since_unix_epoch(Duration::from_secs((year - 1970) * 31_556_952 + 15_000_000));
    let result = verifier.verify_server_cert(&server.der, &[], &ServerName::try_from(name).unwrap(), &[], now);
    let shown = result.map_or_else(|error| error.to_string(), |_| "trusted".to_owned());
    assert!(shown.contains(expected), "{shown}");
}

#[test]
fn a_certificate_among_the_cas_needs_no_issuer_but_its_time_and_name() {
    let (key, authority) = (KeyPair::generate().unwrap(), IsCa::Ca(BasicConstraints::Unconstrained));
    let own = self_signed(&key, authority);
    let mut named = parameters(authority);
    named.distinguished_name.push(DnType::CommonName, "authority");
    let other = CertifiedIssuer::self_signed(named, KeyPair::generate().unwrap()).unwrap();
    let plain = self_signed(&key, IsCa::NoCa);
    let leaf = issued_by(&other, ExtendedKeyUsagePurpose::ServerAuth);
    check(&own, &own.pem, "api", 2026, "trusted");
    check(&own, &format!("{}{}", other.pem(), own.pem), "api", 2026, "trusted");
    check(&plain, &plain.pem, "api", 2026, "trusted");
    check(&leaf, &leaf.pem, "api", 2026, "trusted");
    check(&leaf, &other.pem(), "api", 2026, "trusted");
    check(&own, &own.pem, "another", 2026, "not valid for name \"another\"");
    check(&leaf, &leaf.pem, "another", 2026, "not valid for name \"another\"");
    check(&own, &own.pem, "api", 2025, "not valid yet");
    check(&own, &own.pem, "api", 2027, "expired");
    check(&leaf, &leaf.pem, "api", 2027, "expired");
    // The same key and names, but another certificate.
    let again = self_signed(&key, IsCa::Ca(BasicConstraints::Constrained(0)));
    check(&own, &again.pem, "api", 2026, "CaUsedAsEndEntity");
    check(&own, &other.pem(), "api", 2026, "CaUsedAsEndEntity");
    check(&leaf, &own.pem, "api", 2026, "invalid peer certificate");
    let client = issued_by(&other, ExtendedKeyUsagePurpose::ClientAuth);
    check(&client, &client.pem, "api", 2026, "extended key usage");
}

#[test]
fn what_is_no_certificate_in_a_bundle_is_skipped() {
    let own = self_signed(&KeyPair::generate().unwrap(), IsCa::NoCa);
    let block = |label: &str, text: &str| format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n");
    check(&own, &format!("\u{feff}# a comment\r\n{}", own.pem.replace('\n', "\r\n")), "api", 2026, "trusted");
    check(&own, &format!("{}{}", block("CERTIFICATE", "!!"), own.pem), "api", 2026, "trusted");
    check(&own, &format!("{}{}", block("CERTIFICATE", "AAAA"), own.pem), "api", 2026, "trusted");
    check(&own, &format!("{}{}", block("X509 CRL", "AAAA"), own.pem), "api", 2026, "trusted");
    for nothing in [String::new(), "CA".to_owned(), block("CERTIFICATE", "!!"), "-----BEGIN CERTIFICATE-----\n".to_owned()] {
        let refused = by_roots(&Arc::new(ring::default_provider()), Some(nothing.as_bytes()));
        assert!(matches!(refused, Err(TlsError::NoRoots)), "{nothing:?}");
    }
}
