//! A node that calls the program over TLS and trusts the CA that `--tls bootstrap` publishes, and no other.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use crate::Zincati;
use crate::api::Api;
use crate::cluster::NAMESPACE;

/// Client of the port that nodes call.
pub struct Secured {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// Request over TLS that is not answered yet.
pub struct SecuredPending(StreamOwned<ClientConnection, TcpStream>);

impl Secured {
    /// Makes a client that trusts the published CA, for the address of the Service.
    pub fn new(admin: &Api) -> Self {
        let object = |path: &str| admin.get(&format!("/api/v1/namespaces/{NAMESPACE}/{path}")).ok();
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let authority = text(&object("configmaps/reboot-manager-ca")["data"]["ca.crt"]);
        let name = text(&object("services/reboot-manager")["spec"]["clusterIP"]);
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).expect("a CA in PEM")).expect("a CA");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("protocol versions of the provider")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { config: Arc::new(config), name: ServerName::try_from(name).expect("an address") }
    }

    /// Sends an agent's request to `steady-state` or `pre-reboot`; returns the whole answer.
    #[track_caller]
    pub fn call(&self, address: &str, endpoint: &str, id: &str) -> String {
        let mut answer = String::new();
        self.send(address, endpoint, id).0.read_to_string(&mut answer).expect("an answer, and its announced end");
        answer
    }

    /// Sends an agent's request to `steady-state` or `pre-reboot`.
    #[track_caller]
    pub fn send(&self, address: &str, endpoint: &str, id: &str) -> SecuredPending {
        let client = ClientConnection::new(Arc::clone(&self.config), self.name.clone()).expect("a client");
        let mut stream = StreamOwned::new(client, TcpStream::connect(address).expect("the server listens"));
        stream.write_all(&Zincati::new(address, id).request(endpoint)).expect("the request is sent");
        SecuredPending(stream)
    }
}

impl SecuredPending {
    /// Reports whether no byte of an answer has come yet.
    pub fn is_held(&mut self) -> bool {
        self.0.sock.set_nonblocking(true).expect("a socket");
        let answered = self.0.read(&mut [0]);
        self.0.sock.set_nonblocking(false).expect("a socket");
        answered.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}
