//! Certificates from both sources, as a real TLS client meets them.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::sync::Arc;

use jiff::{Timestamp, ToSpan};
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, ServerConnection, SupportedProtocolVersion};
use test_cluster::scratch::SecretVolume;

use super::Source;
use super::authority::Authority;
use super::loaded::{Loaded, PairError, verifier};
use super::renewal::Renewal;
use super::served::Served;
use crate::cluster::{KeyPem, Pair};
use crate::metrics::Metrics;
use crate::system::clock;

const NAMES: [&str; 4] = ["10.96.0.7", "fd00::7", "reboot-manager", "reboot-manager.ns.svc"];

fn names(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|name| (*name).to_owned()).collect()
}

fn ca_at(now: Timestamp) -> (Pair, Authority) {
    let pair = Authority::make(&["reboot-manager".to_owned(), "reboot-manager.ns.svc".to_owned()], now).unwrap();
    let authority = Authority::load(&pair).unwrap();
    (pair, authority)
}

fn ca() -> (Pair, Authority) {
    ca_at(clock::now().clock)
}

fn server_pair(authority: &Authority) -> Pair {
    authority.issue(&names(&NAMES), clock::now().clock).unwrap()
}

/// A client that trusts this CA and nothing else.
fn client(ca: &Pair, name: &str, versions: &[&'static SupportedProtocolVersion]) -> ClientConnection {
    let verifier: Arc<WebPkiServerVerifier> = verifier(Loaded::of(ca).unwrap().leaf()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_protocol_versions(versions).unwrap();
    let config = builder.with_webpki_verifier(verifier).with_no_client_auth();
    ClientConnection::new(Arc::new(config), ServerName::try_from(name.to_owned()).unwrap()).unwrap()
}

/// Both ends of a connection, in memory.
struct Connection {
    client: ClientConnection,
    server: ServerConnection,
}

impl Connection {
    fn open(served: &Arc<Served>, client: ClientConnection) -> Result<Self, rustls::Error> {
        let mut this = Self { client, server: ServerConnection::new(served.config()?)? };
        while this.client.is_handshaking() || this.server.is_handshaking() {
            this.exchange()?;
        }
        Ok(this)
    }

    /// Passes on what each end has to send.
    fn exchange(&mut self) -> Result<(), rustls::Error> {
        let mut bytes = Vec::new();
        self.client.write_tls(&mut bytes).unwrap();
        self.server.read_tls(&mut bytes.as_slice()).unwrap();
        self.server.process_new_packets()?;
        bytes.clear();
        self.server.write_tls(&mut bytes).unwrap();
        self.client.read_tls(&mut bytes.as_slice()).unwrap();
        self.client.process_new_packets().map(|_state| ())
    }

    fn shown(&self) -> &CertificateDer<'static> {
        &self.client.peer_certificates().unwrap()[0]
    }
}

fn serve(pair: &Pair) -> Arc<Served> {
    let served = Arc::new(Served::default());
    served.swap(Loaded::of(pair).unwrap().key);
    served
}

#[test]
fn both_versions_are_spoken_every_name_is_believed_and_no_session_is_kept() {
    let (ca, authority) = ca();
    let served = serve(&server_pair(&authority));
    for version in [&TLS12, &TLS13] {
        for name in NAMES {
            let connection = Connection::open(&served, client(&ca, name, &[version])).unwrap();
            assert_eq!(connection.client.protocol_version(), Some(version.version), "{name}");
            assert_eq!(connection.client.tls13_tickets_received(), 0, "{name}");
        }
        let refused = Connection::open(&served, client(&ca, "10.96.0.8", &[version]));
        assert!(matches!(refused, Err(rustls::Error::InvalidCertificate(_))));
    }
}

#[test]
fn a_swapped_certificate_is_seen_by_new_connections_while_an_old_one_lives_on() {
    let (ca, authority) = ca();
    let (first, second) = (server_pair(&authority), server_pair(&authority));
    for version in [&TLS12, &TLS13] {
        let served = serve(&first);
        let mut old = Connection::open(&served, client(&ca, NAMES[0], &[version])).unwrap();
        served.swap(Loaded::of(&second).unwrap().key);
        let new = Connection::open(&served, client(&ca, NAMES[0], &[version])).unwrap();
        assert_eq!(old.shown(), Loaded::of(&first).unwrap().leaf());
        assert_eq!(new.shown(), Loaded::of(&second).unwrap().leaf());
        old.client.writer().write_all(b"x").unwrap();
        old.exchange().unwrap();
        old.server.reader().read_exact(&mut [0]).unwrap();
    }
}

#[test]
fn without_a_certificate_a_handshake_fails_and_waiting_ends() {
    let (served, (ca, authority)) = (Arc::new(Served::default()), ca());
    assert!(Connection::open(&served, client(&ca, NAMES[0], &[&TLS13])).is_err());
    assert!(!served.wait(std::time::Duration::from_millis(1)));
    served.swap(Loaded::of(&server_pair(&authority)).unwrap().key);
    assert!(served.wait(std::time::Duration::from_secs(60)));
}

#[test]
fn a_certificate_of_ours_is_kept_until_it_is_old_or_lacks_a_name() {
    let now = clock::now().clock;
    let (_, authority) = ca_at(now);
    let pair = authority.issue(&names(&NAMES), now).unwrap();
    let examine = |wanted: &[&str], hours: i64| authority.examine(&pair, &names(wanted), now + hours.hours()).unwrap();
    assert_eq!(examine(&NAMES, 0), None);
    assert_eq!(examine(&NAMES, 240 * 24), None);
    assert!(matches!(examine(&NAMES, 250 * 24), Some(Renewal::Age(_))));
    assert!(matches!(examine(&NAMES, 366 * 24), Some(Renewal::Foreign(why)) if why.contains("expired")));
    assert_eq!(examine(&["10.96.0.7", "10.96.0.9"], 0), Some(Renewal::Missing(vec!["10.96.0.9".to_owned()])));
}

#[test]
fn a_certificate_of_another_ca_is_foreign() {
    let (one, other) = (ca().1, ca().1);
    let renewal = one.examine(&server_pair(&other), &names(&NAMES), clock::now().clock).unwrap();
    assert!(matches!(renewal, Some(Renewal::Foreign(_))), "{renewal:?}");
    let empty = Pair { certificate: String::new(), key: KeyPem::new(String::new()) };
    assert!(matches!(one.examine(&empty, &names(&NAMES), clock::now().clock), Err(PairError::None)));
}

#[test]
fn no_certificate_outlives_the_ca() {
    let begun = clock::now().clock;
    let (_, authority) = ca_at(begun);
    let late = begun + (3600 * 24).hours();
    let pair = authority.issue(&names(&NAMES), late).unwrap();
    assert_eq!(Loaded::of(&pair).unwrap().validity.not_after, authority.validity().not_after);
    assert_eq!(authority.examine(&pair, &names(&NAMES), late + (40 * 24).hours()).unwrap(), None);
    assert!(authority.issue(&names(&NAMES), begun + (3651 * 24).hours()).is_err());
}

#[test]
fn the_ca_cannot_sign_for_other_host_names() {
    let (_, authority) = ca();
    for name in ["quay.io", "other.ns.svc", "ns.svc"] {
        let error = authority.issue(&names(&[name]), clock::now().clock).unwrap_err();
        assert!(error.to_string().contains("would not be accepted"), "{name}: {error}");
    }
    authority.issue(&names(&["192.0.2.1", "2001:db8::1"]), clock::now().clock).unwrap();
}

#[test]
fn a_ca_whose_key_is_anothers_is_refused() {
    let (one, other) = (ca().0, ca().0);
    assert!(Authority::load(&Pair { certificate: one.certificate, key: other.key }).is_err());
}

#[test]
fn an_invalid_pair_is_refused_and_the_error_shows_no_key() {
    let authority = ca().1;
    let (good, other) = (server_pair(&authority), server_pair(&authority));
    Loaded::of(&good).unwrap();
    let hush = good.key.reveal().lines().nth(1).unwrap().to_owned();
    let text = |text: &str| KeyPem::new(text.to_owned());
    let key_in_one_line = format!("{}{}", good.certificate, good.key.reveal().replace('\n', " "));
    let bytes = format!("{:?}", &hush.as_bytes()[..8]);
    let cases = [
        ("in place of the certificate", &key_in_one_line[..], good.key.clone(), "certificate cannot be read as PEM; has it kept"),
        ("mismatch", &other.certificate[..], good.key.clone(), "belong together"),
        ("cut", &good.certificate, text(&good.key.reveal()[..80]), "private key cannot be read as PEM"),
        ("start", &good.certificate, text(&format!("-----BEGIN {hush}\n")), "private key cannot be read as PEM"),
        ("nokey", &good.certificate, text(""), "private key cannot be read as PEM"),
        ("odd", &good.certificate, text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), "belong together"),
        ("none", "", good.key.clone(), "no certificate"),
        ("nopem", "-----BEGIN CERTIFICATE-----\n%\n", good.key.clone(), "certificate cannot be read as PEM"),
        ("noform", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", good.key.clone(), "not one that TLS can use"),
    ];
    for (name, certificate, key, says) in cases {
        let Err(error) = Loaded::of(&Pair { certificate: certificate.to_owned(), key }) else { panic!("{name} was loaded") };
        let message = crate::kube::error_chain(&error);
        assert!(message.contains(says), "{name}: {message}");
        let shown = format!("{message}{error:?}");
        assert!(!shown.contains(&hush) && !shown.contains(bytes.trim_matches(['[', ']'])), "{name}: {message}");
    }
}

#[test]
fn a_running_server_takes_the_new_pair_and_keeps_it_when_an_invalid_one_follows() {
    let files = ["tls.crt", "tls.key"];
    let (mut volume, (ca, authority)) = (SecretVolume::new(&files), ca());
    let [certificate, key] = files.map(|file| volume.file(file));
    let mut put = |pair: &Pair| volume.update(&[(files[0], &pair.certificate), (files[1], pair.key.reveal())]);
    let (first, second) = (server_pair(&authority), server_pair(&authority));
    put(&first);
    let (served, metrics) = (Arc::new(Served::default()), Arc::new(Metrics::default()));
    super::files::start(certificate, &key, Arc::clone(&served), Arc::clone(&metrics)).unwrap();
    let now_shown = || Connection::open(&served, client(&ca, NAMES[0], &[&TLS13])).unwrap().shown().clone();
    let has_error = || metrics.page().unwrap().lines().any(|line| line == "reboot_manager_certificate_error 1");
    let until = |what: &dyn Fn() -> bool| {
        let begun = clock::now().instant;
        while !what() {
            assert!(begun.elapsed() < std::time::Duration::from_secs(60), "it does not come");
            clock::sleep(std::time::Duration::from_millis(50));
        }
    };
    assert_eq!(&now_shown(), Loaded::of(&first).unwrap().leaf());
    put(&second);
    until(&|| &now_shown() == Loaded::of(&second).unwrap().leaf());
    assert!(!has_error());
    put(&Pair { certificate: first.certificate.clone(), key: second.key.clone() });
    until(&has_error);
    assert_eq!(&now_shown(), Loaded::of(&second).unwrap().leaf());
    put(&first);
    until(&|| &now_shown() == Loaded::of(&first).unwrap().leaf());
    assert!(!has_error());
}

#[test]
fn a_pair_cut_at_any_byte_is_refused() {
    let pair = server_pair(&ca().1);
    for end in 0..pair.certificate.len() - 1 {
        assert!(Loaded::of(&Pair { certificate: pair.certificate[..end].to_owned(), ..pair.clone() }).is_err(), "{end}");
    }
    for end in 0..pair.key.reveal().len() - 1 {
        assert!(Loaded::of(&Pair { key: KeyPem::new(pair.key.reveal()[..end].to_owned()), ..pair.clone() }).is_err(), "{end}");
    }
}

#[test]
fn no_key_is_shown() {
    let pair = server_pair(&ca().1);
    let hush = pair.key.reveal().lines().nth(1).unwrap();
    let served = Served::default();
    served.swap(Loaded::of(&pair).unwrap().key);
    assert!(pair.key.reveal().starts_with("-----BEGIN PRIVATE KEY-----\n"));
    for text in [format!("{pair:?}"), format!("{served:?}"), format!("{:?}", Source::Off)] {
        assert!(!text.contains(hush), "{text}");
    }
}
