//! Servers, files and kubectl for the tables of kubeconfigs.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::{env, fs, thread};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::ServerConfig;
use serde_json::json;
use test_cluster::certificate::{Authority, self_signed_authority};
use test_cluster::http::{Reply, Request, Response, Scripted};
use test_cluster::scratch::Scratch;

/// Three API servers on loopback that accept any user, a SOCKS proxy, and a folder with files.
pub(super) struct World {
    folder: Scratch,
    ca: String,
    /// With a certificate of an authority.
    server: Scripted,
    /// With a certificate that is its own authority.
    own: Scripted,
    /// Without TLS.
    plain: Scripted,
    socks: SocketAddr,
    seen: Seen,
}

/// The user of the last request to any of the servers, since the last kubeconfig was written.
type Seen = Arc<Mutex<Option<String>>>;

impl World {
    pub(super) fn start() -> Self {
        let (authority, other, own) = (Authority::new(), Authority::new(), self_signed_authority());
        let certificate = authority.issue(&["127.0.0.1", "kubernetes"]);
        let [client, another] = [authority.issue(&["client"]), authority.issue(&["client"])];
        let folder = Scratch::new();
        let pem = |label: &str, der: &[u8]| format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(der));
        let junk = pem("CERTIFICATE", b"no certificate");
        let bundle = format!("# a comment\r\n{}{junk}{}", other.pem(), authority.pem().replace('\n', "\r\n"));
        for (name, text) in [
            ("ca.crt", authority.pem()),
            ("other.crt", other.pem()),
            ("own.crt", own.pem.clone()),
            ("bundle.crt", bundle),
            ("client.crt", client.pem.clone()),
            ("client.key", client.key_pem.clone()),
            ("other.key", another.key_pem),
            ("both.pem", format!("{}{}", client.key_pem, client.pem)),
            ("reversed.crt", format!("{}{}", authority.pem(), client.pem)),
            ("encrypted.key", pem("ENCRYPTED PRIVATE KEY", b"a passphrase is needed")),
            ("p521.key", pem("PRIVATE KEY", P521)),
            ("token", "from-file\n".to_owned()),
            ("empty", String::new()),
        ] {
            folder.file(name, text);
        }
        for version in ["v1", "v1beta1"] {
            let credential = json!({"apiVersion": format!("client.authentication.k8s.io/{version}"), "kind": "ExecCredential",
                "status": {"token": "plugin"}});
            let path = folder.file(version, format!("#!/bin/sh\necho '{credential}'\n"));
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let ca = BASE64_STANDARD.encode(authority.pem());
        let seen = Seen::default();
        let server = serve(&seen, Some(certificate.server(Some(&authority))));
        let (own, plain) = (serve(&seen, Some(own.server(None))), serve(&seen, None));
        Self { folder, ca, server, own, plain, socks: socks(), seen }
    }

    /// Writes a kubeconfig with this cluster and user.
    pub(super) fn kubeconfig(&self, cluster: &str, user: &str) -> PathBuf {
        *self.seen.lock().unwrap() = None;
        let server = if cluster.contains("server:") { "" } else { "server: 'https://$SERVER', " };
        let mut text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: here\npreferences: {{}}\ncontexts: [{{name: here, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{{server}{cluster}}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n"
        );
        let addresses =
            [("$SERVER", self.server.address()), ("$OWN", self.own.address()), ("$PLAIN", self.plain.address()), ("$SOCKS", self.socks)];
        for (name, address) in addresses {
            text = text.replace(name, &address.to_string());
        }
        self.folder.file("config", text.replace("$CA", &self.ca).replace("$TOKEN", TOKEN))
    }

    /// Returns what a server saw of the user, if it was called: header, certificate, impersonation.
    pub(super) fn seen(&self) -> Option<String> {
        self.seen.lock().unwrap().clone()
    }

    /// Returns kubectl, if the folder of the control plane is known.
    pub(super) fn kubectl(&self) -> Option<PathBuf> {
        env::var_os("REBOOT_MANAGER_CONTROL_PLANE").filter(|folder| !folder.is_empty()).map(|folder| Path::new(&folder).join("kubectl"))
    }

    /// Lets kubectl read the file and call the server. Returns what the server saw, or what kubectl printed.
    pub(super) fn run_kubectl(&self, kubectl: &Path, cluster: &str, user: &str) -> Result<String, String> {
        let (file, home) = (self.kubeconfig(cluster, user), self.folder.path());
        let output = Command::new(kubectl)
            .env_clear()
            .env("HOME", home)
            .args(["get", "--raw", "/version", "--request-timeout=20s", "--kubeconfig"])
            .arg(file)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        if output.status.success() {
            Ok(self.seen().unwrap_or_default())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}

/// Starts a server that records who calls.
fn serve(seen: &Seen, tls: Option<Arc<ServerConfig>>) -> Scripted {
    let seen = Arc::clone(seen);
    Scripted::start(tls, move |_, request| {
        *seen.lock().unwrap() = Some(identity(request));
        answer(request)
    })
}

/// Answers as an API server on which no Lease exists.
fn answer(request: &Request) -> Reply {
    let missing = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound",
        "details": {"name": "reboot-manager", "group": "coordination.k8s.io", "kind": "leases"}});
    Reply::Send(if request.path().ends_with("/version") { Response::json(200, &json!({})) } else { Response::json(404, &missing) })
}

fn identity(request: &Request) -> String {
    let impersonated = request.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value));
    let mut impersonated: Vec<String> =
        impersonated.filter(|(name, _)| name.starts_with("impersonate-")).map(|(name, value)| format!("{name}={value}")).collect();
    impersonated.sort();
    let header = request.header("Authorization").map(str::to_owned);
    let certificate = request.certified.then(|| "certificate".to_owned());
    let ways: Vec<String> = header.into_iter().chain(certificate).chain(impersonated).collect();
    ways.join(" ")
}

/// Starts a SOCKS 5 proxy without a password (RFC 1928), for as long as the process runs.
fn socks() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || join(client));
        }
    });
    address
}

fn join(mut client: TcpStream) -> io::Result<()> {
    let mut greeting = [0; 2];
    client.read_exact(&mut greeting)?;
    client.read_exact(&mut vec![0; greeting[1].into()])?;
    client.write_all(&[5, 0])?;
    // Version, command, reserved, type of address: 1 is IPv4.
    let mut request = [0; 10];
    client.read_exact(&mut request)?;
    assert_eq!(request[3], 1, "the servers of the tests are addresses");
    let port = u16::from_be_bytes([request[8], request[9]]);
    let mut server = TcpStream::connect((Ipv4Addr::new(request[4], request[5], request[6], request[7]), port))?;
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || io::copy(&mut from, &mut to));
    io::copy(&mut server, &mut client).map(drop)
}

/// A private key of the curve secp521r1 in PKCS#8 (RFC 5958), up to the key itself.
const P521: &[u8] = b"\x30\x19\x02\x01\x00\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x23\x04\x02\x30\x00";

/// A text of the form of a token.
const TOKEN: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.eyJpc3s3cr3tfQ";
