//! A client built as Zincati is: on reqwest, with a pretty-printed body, no `Content-Type`, and the credential in the URL.
//! Its words on the wire are the ones that all scenarios send.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use serde_json::json;

use crate::scenarios::SOON;

/// Agent and HTTP client of one machine.
pub(crate) struct Agent {
    base: Url,
    client: reqwest::Client,
    body: String,
}

/// The answer as the agent takes it: any 2xx is a yes, anything else is read as kind and value.
pub(crate) type Verdict = Result<(), Refused>;

#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) kind: String,
    pub(crate) value: String,
}

#[derive(Deserialize)]
struct Rejection {
    kind: String,
    value: String,
}

impl Agent {
    pub(crate) fn new(base: &str, client: reqwest::ClientBuilder, id: &str, group: &str) -> Self {
        let body = serde_json::to_string_pretty(&json!({"client_params": {"id": id, "group": group}})).unwrap();
        Self { base: Url::parse(base).unwrap(), client: client.build().unwrap(), body }
    }

    /// The outer error is that of the transport.
    pub(crate) fn ask(&self, endpoint: &str) -> Result<Verdict, reqwest::Error> {
        let url = self.base.join(endpoint).unwrap();
        let request = self.client.request(Method::POST, url).body(self.body.clone()).header("fleet-lock-protocol", "true");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let response = request.send().await?;
            let status = response.status();
            if status.is_success() {
                return Ok(Ok(()));
            }
            let Rejection { kind, value } = response.json().await?;
            Ok(Err(Refused { status, kind, value }))
        })
    }
}

/// TLS by rustls with ring. That no CA is trusted but those given is what the tests are about.
pub(crate) fn client() -> reqwest::ClientBuilder {
    // It fails when another test of this process was first, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy()
}

#[test]
fn what_it_sends_is_what_the_other_agents_send() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let recording = std::thread::spawn(move || {
        let (mut stream, _peer) = listener.accept().unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut received = Vec::new();
        while !received.ends_with(b"}\n}") && !received.ends_with(b"\n}") {
            let mut buffer = [0; 1024];
            let count = stream.read(&mut buffer).unwrap();
            received.extend_from_slice(&buffer[..count]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
        String::from_utf8(received).unwrap()
    });
    let id = "978a225b3d7b40e9acd7ce9b62f68444";
    let agent =
        Agent::new(&format!("http://workers:p%40ss%2Fword%3A9@{address}/"), client().timeout(Duration::from_secs(20)), id, "default");
    agent.ask("v1/pre-reboot").unwrap().unwrap();
    let ours = test_cluster::Zincati::new(&address.to_string(), id).with_credential("workers:p@ss/word:9");
    assert_eq!(parts(&recording.join().unwrap()), parts(&String::from_utf8(ours.request("pre-reboot")).unwrap()));
}

/// Request line, headers in any order with their names in lower case, and body.
fn parts(request: &str) -> (String, Vec<String>, String) {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let (line, headers) = head.split_once("\r\n").unwrap();
    let lower = |header: &str| header.split_once(": ").map(|(name, value)| format!("{}: {value}", name.to_lowercase())).unwrap();
    let mut headers: Vec<String> = headers.split("\r\n").map(lower).collect();
    headers.sort();
    (line.to_owned(), headers, body.to_owned())
}
