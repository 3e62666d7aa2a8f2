//! The life of a CA, with replicas on a simulated API server: what is stored, shown and served over lost Secrets, changes and years.

use std::collections::BTreeSet;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::ToSpan;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use test_cluster::{Backend, TestCluster};

use super::super::loaded::unix;
use super::*;
use crate::kube::{Client, ConnectOptions, Environment, Location};

const NAMESPACE: &str = "reboot-manager";
const NAME: &str = "reboot-manager.reboot-manager.svc";

struct World(TestCluster);

impl World {
    fn new() -> Self {
        Self(TestCluster::on(Backend::Simulated, include_str!("../../../kubernetes/deployment.yaml")))
    }

    fn replica(&self) -> Bootstrap {
        let kubeconfig = Some(self.0.kubeconfig(self.0.admin.base(), None));
        let location = Location::find(&ConnectOptions { kubeconfig, context: None, environment: Environment::default() }).unwrap();
        let client = Client::connect(&location, Arc::new(|_| ())).unwrap();
        let service = "reboot-manager".to_owned();
        let kube = Arc::new(Kube::new(client, NAMESPACE.to_owned(), Some(service.clone())));
        Bootstrap::new(kube, service, Arc::default(), Arc::default())
    }

    fn path(kind: &str) -> String {
        let [resource, name] = match kind {
            "ca" => ["secrets", kube::CA],
            "tls" => ["secrets", kube::TLS],
            _ => ["configmaps", kube::CA],
        };
        format!("/api/v1/namespaces/{NAMESPACE}/{resource}/{name}")
    }

    /// The data of an object; `null` if it does not exist.
    fn data(&self, kind: &str) -> Value {
        let answer = self.0.admin.get(&Self::path(kind));
        if answer.status == 404 { Value::Null } else { answer.ok()["data"].take() }
    }

    fn all(&self) -> [Value; 3] {
        ["ca", "tls", "map"].map(|kind| self.data(kind))
    }

    fn delete(&self, kinds: &[&str]) {
        for kind in kinds {
            self.0.admin.delete(&Self::path(kind), None).ok();
        }
    }

    fn shown(&self) -> String {
        self.data("map")["ca.crt"].as_str().unwrap_or_default().to_owned()
    }

    fn ask(&self, from: Option<&str>) {
        self.0.admin.merge(&Self::path("map"), &json!({"metadata": {"annotations": {NEXT_CA_FROM: from}}})).ok();
    }

    fn asked(&self) -> Value {
        self.0.admin.get(&Self::path("map")).ok()["metadata"]["annotations"][NEXT_CA_FROM].take()
    }
}

fn at(clock: Timestamp) -> Now {
    Now { clock, ..clock::now() }
}

fn served(replica: &Bootstrap) -> Option<String> {
    replica.memory.pair.as_ref().map(|(pair, _)| pair.certificate.clone())
}

/// Checks the served certificate as a node does that has installed these CAs.
fn is_accepted(replica: &Bootstrap, trusted: &str, now: Timestamp) -> bool {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(trusted.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), ring::default_provider().into()).build().unwrap();
    let served = CertificateDer::from_pem_slice(served(replica).unwrap().as_bytes()).unwrap();
    verifier.verify_server_cert(&served, &[], &ServerName::try_from(NAME).unwrap(), &[], unix(now)).is_ok()
}

fn has_error(replica: &Bootstrap) -> bool {
    replica.metrics.page().unwrap().lines().any(|line| line == "reboot_manager_certificate_error 1")
}

#[test]
fn what_is_lost_is_stored_again_by_a_replica_that_has_read_it() {
    let (world, now) = (World::new(), clock::now());
    let mut replica = world.replica();
    replica.pass(now);
    let (before, certificate) = (world.all(), served(&replica));
    for lost in [&["ca"][..], &["tls"], &["map"], &["ca", "map"], &["ca", "tls"], &["ca", "tls", "map"]] {
        world.delete(lost);
        assert_eq!(replica.pass(now), EVERY, "{lost:?}");
        assert_eq!((world.all(), served(&replica)), (before.clone(), certificate.clone()), "{lost:?}");
        assert!(!has_error(&replica) && replica.served.notes().is_empty());
    }
}

#[test]
fn a_replica_that_never_read_a_lost_ca_serves_what_is_left_and_makes_no_other() {
    for (lost, serves) in [(&["ca"][..], true), (&["ca", "map"], true), (&["ca", "tls"], false)] {
        let (world, now) = (World::new(), clock::now());
        let mut first = world.replica();
        first.pass(now);
        world.delete(lost);
        let (before, mut second) = (world.all(), world.replica());
        for _ in 0..2 {
            second.pass(now);
            assert_eq!(world.all(), before, "{lost:?}");
        }
        assert_eq!(served(&second), served(&first).filter(|_| serves), "{lost:?}");
        let notes = second.served.notes().concat();
        assert!(
            has_error(&second) && notes.contains("secret reboot-manager/reboot-manager-ca, which had the key of the CA, is missing"),
            "{notes}"
        );
    }
    // With nothing left, nothing is trusted.
    let (world, now) = (World::new(), clock::now());
    world.replica().pass(now);
    let before = world.all();
    world.delete(&["ca", "tls", "map"]);
    let mut second = world.replica();
    second.pass(now);
    assert!(world.data("ca") != before[0] && !has_error(&second) && is_accepted(&second, &world.shown(), now.clock));
}

#[test]
fn a_certificate_is_stored_again_while_the_ca_is_lost() {
    let (world, now) = (World::new(), clock::now());
    world.replica().pass(now);
    world.delete(&["ca"]);
    let mut second = world.replica();
    second.pass(now);
    let before = world.all();
    world.delete(&["tls"]);
    second.pass(now);
    assert_eq!(world.all(), before);
}

#[test]
fn a_ca_that_a_person_asks_for_comes_without_a_gap() {
    let (world, now) = (World::new(), clock::now());
    let [mut one, mut two] = [(); 2].map(|()| world.replica());
    let mut pass = |now: Timestamp| [&mut one, &mut two].map(|replica| replica.pass(at(now)));
    pass(now.clock);
    let (first, certificate) = (world.shown(), world.data("tls"));
    let from = now.clock + (30 * 24).hours();
    world.ask(Some(&from.to_string()));
    pass(now.clock);
    let both = world.shown();
    assert!(both.starts_with(&first) && both.matches("-----BEGIN CERTIFICATE-----").count() == 2, "{both}");
    // Before the time nothing else changes.
    pass(from - 1.minute());
    assert_eq!((world.shown(), world.data("tls")), (both.clone(), certificate.clone()));
    // From then on the next CA signs, in one replica first.
    pass(from);
    let after = world.data("tls");
    assert!(after != certificate && world.asked().is_null() && world.data("ca")["next.key"].is_null());
    assert_eq!(
        both.split_inclusive("-----END CERTIFICATE-----\n").collect::<BTreeSet<_>>(),
        world.shown().split_inclusive("-----END CERTIFICATE-----\n").collect()
    );
    pass(from + 10.minutes());
    assert_eq!(world.data("tls"), after, "nothing is made twice");
    pass(from + 25.hours());
    let second = world.shown();
    assert_eq!(format!("{first}{second}"), both);
    // A wish that is fulfilled already is taken away and changes nothing.
    world.ask(Some(&from.to_string()));
    pass(from + 26.hours());
    assert!(world.asked().is_null() && world.shown() == second && world.data("tls") == after);
    for replica in [&one, &two] {
        assert!(is_accepted(replica, &second, from) && is_accepted(replica, &both, from) && !is_accepted(replica, &first, from));
        assert!(!has_error(replica) && replica.served.notes().is_empty());
    }
}

#[test]
fn a_ca_at_once_is_a_time_that_has_passed() {
    let (world, now) = (World::new(), clock::now());
    let mut replica = world.replica();
    replica.pass(now);
    let first = world.shown();
    world.ask(Some(&now.clock.to_string()));
    replica.pass(now);
    assert!(!is_accepted(&replica, &first, now.clock) && is_accepted(&replica, &world.shown(), now.clock));
}

#[test]
fn a_damaged_or_replaced_secret_changes_nothing_for_nodes() {
    let (world, now) = (World::new(), clock::now());
    let mut replica = world.replica();
    replica.pass(now);
    let (map, certificate) = (world.data("map"), served(&replica));
    let of_another = Authority::make(&replica.names(), now.clock).unwrap().data();
    let damaged =
        [json!({"tls.crt": ""}), json!({"tls.crt": "eA=="}), json!({"tls.crt": "", "tls.key": ""}), json!({"tls.key": "eA=="}), of_another];
    let good = world.data("ca");
    for data in damaged {
        world.0.admin.merge(&World::path("ca"), &json!({"data": data})).ok();
        let mut fresh = world.replica();
        for replica in [&mut replica, &mut fresh] {
            replica.pass(now);
            assert_eq!((world.data("map"), served(replica)), (map.clone(), certificate.clone()), "{data}");
            assert!(has_error(replica) && replica.served.notes().concat().contains("reboot-manager-ca"), "{data}");
        }
        world.0.admin.merge(&World::path("ca"), &json!({"data": good})).ok();
        replica.pass(now);
        assert!(!has_error(&replica));
    }
}

#[test]
fn a_config_map_that_shows_another_ca_is_mended_by_a_replica_that_knows_better() {
    let (world, now) = (World::new(), clock::now());
    let mut replica = world.replica();
    replica.pass(now);
    let before = world.all();
    let other = Authority::make(&replica.names(), now.clock).unwrap().certificate;
    world.0.admin.merge(&World::path("map"), &json!({"data": {"ca.crt": other}})).ok();
    let mut fresh = world.replica();
    fresh.pass(now);
    assert!(has_error(&fresh) && served(&fresh) == served(&replica) && world.data("map")["ca.crt"] == other);
    replica.pass(now);
    assert!(world.all() == before && !has_error(&replica));
    fresh.pass(now);
    assert!(!has_error(&fresh));
}

#[test]
fn a_key_beside_the_certificate_is_not_shown() {
    let (world, now) = (World::new(), clock::now());
    world.replica().pass(now);
    let (secret, map) = (world.0.admin.get(&World::path("ca")).ok(), world.data("map"));
    let text = |field: &str| BASE64_STANDARD.decode(secret["data"][field].as_str().unwrap()).unwrap();
    let both = BASE64_STANDARD.encode([text("tls.crt"), text("tls.key")].concat());
    world.0.admin.merge(&World::path("ca"), &json!({"data": {"tls.crt": both}})).ok();
    world.delete(&["map"]);
    let mut replica = world.replica();
    replica.pass(now);
    assert!(world.data("map") == map && !has_error(&replica));
}

#[test]
fn a_replica_does_not_store_a_ca_again_that_was_replaced() {
    let (world, now) = (World::new(), clock::now());
    let [mut one, mut two] = [(); 2].map(|()| world.replica());
    one.pass(now);
    two.pass(now);
    world.ask(Some("2026-01-01T00:00:00Z"));
    two.pass(now);
    let shown = world.shown();
    world.delete(&["ca"]);
    one.pass(now);
    assert!(world.data("ca").is_null() && world.shown() == shown && has_error(&one));
    two.pass(now);
    assert!(world.shown() == shown && !has_error(&two) && is_accepted(&two, &shown, now.clock));
}

#[test]
fn a_next_ca_that_cannot_be_used_is_made_again() {
    let (world, now) = (World::new(), clock::now());
    let mut replica = world.replica();
    replica.pass(now);
    world.ask(Some(&(now.clock + 48.hours()).to_string()));
    replica.pass(now);
    world.0.admin.merge(&World::path("ca"), &json!({"data": {"next.key": "eA=="}})).ok();
    replica.pass(now);
    let both = world.shown();
    replica.pass(at(now.clock + 48.hours()));
    assert!(is_accepted(&replica, &both, now.clock + 48.hours()) && !has_error(&replica));
    assert_ne!(world.data("ca")["tls.key"], "eA==");
}

#[test]
fn a_fresh_replica_serves_what_is_stored_while_nothing_can_be_made() {
    let (world, now) = (World::new(), clock::now());
    world.replica().pass(now);
    world.0.admin.delete(&format!("/api/v1/namespaces/{NAMESPACE}/services/reboot-manager"), None).ok();
    let mut fresh = world.replica();
    fresh.pass(now);
    assert!(is_accepted(&fresh, &world.shown(), now.clock) && has_error(&fresh));
    assert!(fresh.served.notes().concat().contains("there is no service"));
}

#[test]
fn a_time_that_is_none_changes_nothing_and_is_named_with_an_example() {
    let (world, now) = (World::new(), clock::now());
    let mut replica = world.replica();
    replica.pass(now);
    let before = world.all();
    world.ask(Some("tomorrow\u{1b}"));
    replica.pass(now);
    let notes = replica.served.notes().concat();
    assert!(world.all() == before && !has_error(&replica));
    assert!(notes.contains("\"tomorrow\\u{1b}\"") && notes.contains("2027-01-31T12:00:00Z"), "{notes}");
}

#[test]
fn a_lost_ca_is_followed_by_another_one_without_a_gap() {
    let (world, now) = (World::new(), clock::now());
    world.replica().pass(now);
    let first = world.shown();
    world.delete(&["ca"]);
    let mut replica = world.replica();
    replica.pass(now);
    let certificate = served(&replica);
    let from = now.clock + (7 * 24).hours();
    world.ask(Some(&from.to_string()));
    replica.pass(now);
    let both = world.shown();
    assert_eq!(served(&replica), certificate);
    assert!(both.ends_with(&first) && both.len() > first.len() && has_error(&replica), "{both}");
    replica.pass(at(from));
    assert!(is_accepted(&replica, &both, from) && !is_accepted(&replica, &first, from) && !has_error(&replica));
    replica.pass(at(from + 25.hours()));
    assert_eq!(format!("{}{first}", world.shown()), both);
}

#[test]
fn a_node_that_installs_what_is_shown_each_month_accepts_every_certificate_for_thirty_years() {
    let (world, begun) = (World::new(), clock::now().clock);
    let mut replica = world.replica();
    let mut installed: Vec<String> = Vec::new();
    let mut authorities = BTreeSet::new();
    for period in 0..30 * 365 / 10 {
        let now = begun + (period * 10 * 24).hours();
        replica.pass(at(now));
        installed.push(world.shown());
        authorities.extend(world.shown().split_inclusive("-----END CERTIFICATE-----\n").map(str::to_owned));
        let a_month_ago = installed.len().saturating_sub(3);
        assert!(is_accepted(&replica, &installed[a_month_ago], now), "{now}");
        assert!(!has_error(&replica), "{now}: {:?}", replica.served.notes());
        let is_followed = world.shown().matches("BEGIN").count() > 1 && !world.data("ca")["next.crt"].is_null();
        assert_eq!(replica.served.notes().concat().contains("the next CA signs from"), is_followed);
    }
    assert_eq!(authorities.len(), 4);
}

#[test]
fn an_end_that_comes_nearer_is_an_error_fourteen_days_before() {
    let (world, now) = (World::new(), clock::now());
    let mut replica = world.replica();
    replica.pass(now);
    world.delete(&["ca"]);
    let mut second = world.replica();
    for (days, says) in [(350, ""), (352, "renewal is overdue"), (366, "the certificate ended")] {
        second.pass(at(now.clock + (days * 24).hours()));
        let notes = second.served.notes().join("\n");
        assert_eq!(notes.lines().count(), if says.is_empty() { 1 } else { 2 }, "{notes}");
        assert!(has_error(&second) && notes.contains(says) && notes.contains("is missing"), "{notes}");
    }
}
