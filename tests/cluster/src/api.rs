//! The administrator's client: JSON objects in and out, one blocking request a call.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use serde_json::Value;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

/// Answer of the API server.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// Body, or `Null` if the body is not JSON.
    pub body: Value,
}

impl Answer {
    /// Returns the body of a 2xx answer; panics with the whole answer if the status is another.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.body);
        self.body
    }
}

/// Answer as received.
#[derive(Debug, Clone)]
pub struct Raw {
    pub status: u16,
    /// Header fields, with names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// Client with one identity on one API server.
#[derive(Debug, Clone)]
pub struct Api {
    agent: Agent,
    base: String,
    token: Option<String>,
}

impl Api {
    /// Makes a client for `base` (`https://…`, no trailing slash); `ca` is the PEM of the server's authority.
    pub fn new(base: &str, ca: Option<&[u8]>, token: Option<&str>) -> Self {
        let roots: Vec<Certificate<'static>> =
            ca.map(|pem| Certificate::from_pem(pem).expect("a CA in PEM").to_owned()).into_iter().collect();
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
            .root_certs(RootCerts::Specific(Arc::new(roots)))
            .build();
        let config = Agent::config_builder().http_status_as_error(false).max_redirects(0).proxy(None).tls_config(tls).build();
        Self { agent: config.new_agent(), base: base.to_owned(), token: token.map(str::to_owned) }
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Sends a request; `content` is the Content-Type of `body`.
    #[track_caller]
    pub fn call(&self, method: &str, path: &str, content: &str, body: Option<&Value>) -> Answer {
        match self.try_call(method, path, content, body) {
            Ok(answer) => answer,
            Err(error) => panic!("{method} {path}: {error}"),
        }
    }

    /// Sends a request to a server that may be unavailable.
    pub fn try_call(&self, method: &str, path: &str, content: &str, body: Option<&Value>) -> Result<Answer, ureq::Error> {
        let authorization = self.token.iter().map(|token| ("Authorization".to_owned(), format!("Bearer {token}")));
        let content = body.iter().map(|_| ("Content-Type".to_owned(), content.to_owned()));
        let headers: Vec<_> = authorization.chain(content).collect();
        let raw = self.pass_on(method, path, &headers, body.map(Value::to_string).unwrap_or_default().as_bytes())?;
        Ok(Answer { status: raw.status, body: serde_json::from_slice(&raw.body).unwrap_or(Value::Null) })
    }

    /// Sends a request of another client unchanged: the header fields are the ones given, the own token is not added.
    pub fn pass_on(&self, method: &str, target: &str, headers: &[(String, String)], body: &[u8]) -> Result<Raw, ureq::Error> {
        let mut response = self.run(method, target, headers, body, Some(LIMIT))?;
        let body = response.body_mut().with_config().limit(1 << 30).read_to_vec()?;
        Ok(Raw { status: response.status().as_u16(), headers: texts(&response), body })
    }

    /// Sends another client's request for a stream, and passes on the body as it comes.
    pub fn pass_on_stream(&self, target: &str, headers: &[(String, String)]) -> Result<(Raw, impl Read + Send + use<>), ureq::Error> {
        let response = self.run("GET", target, headers, b"", None)?;
        let raw = Raw { status: response.status().as_u16(), headers: texts(&response), body: Vec::new() };
        Ok((raw, response.into_body().into_with_config().limit(u64::MAX).reader()))
    }

    fn run(
        &self,
        method: &str,
        target: &str,
        headers: &[(String, String)],
        body: &[u8],
        limit: Option<Duration>,
    ) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{target}", self.base));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if body.is_empty() && ["DELETE", "GET", "HEAD"].contains(&method) {
            return self.agent.run(self.agent.configure_request(request.body(())?).timeout_global(limit).build());
        }
        self.agent.run(self.agent.configure_request(request.body(body)?).timeout_global(limit).build())
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.call("GET", path, "", None)
    }

    #[track_caller]
    pub fn create(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, "application/json", Some(body))
    }

    #[track_caller]
    pub fn replace(&self, path: &str, body: &Value) -> Answer {
        self.call("PUT", path, "application/json", Some(body))
    }

    /// Sends a JSON merge patch.
    #[track_caller]
    pub fn merge(&self, path: &str, body: &Value) -> Answer {
        self.call("PATCH", path, "application/merge-patch+json", Some(body))
    }

    /// Deletes an object, with a grace period in seconds.
    #[track_caller]
    pub fn delete(&self, path: &str, grace: Option<u32>) -> Answer {
        let options = grace.map(|seconds| serde_json::json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": seconds}));
        self.call("DELETE", path, "application/json", options.as_ref())
    }
}

fn texts(response: &ureq::http::Response<ureq::Body>) -> Vec<(String, String)> {
    let text = |value: &ureq::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    response.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

/// Limit of a call that is no watch.
const LIMIT: Duration = Duration::from_secs(60);
