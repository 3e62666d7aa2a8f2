//! One exchange with the API server: the ureq agent, with every option set, and no retries.
//!
//! The environment must never be read here, no redirect followed, no proxy used and no CA trusted but those that the
//! location names.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ureq::config::{AutoHeaderValue, RedirectAuthHeaders};
use ureq::http::Uri;
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{ConnectProxyConnector, Connector, NextTimeout, SocksConnector, TcpConnector};
use ureq::{Agent, Proxy};

use super::limits;
use super::tls::{TlsConnector, TlsMaterial, Verification, bare};
use super::tls_error::TlsError;
use crate::system::guarded::Guarded;

/// Proxy and certificate check of every connection.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    /// The check of the server's certificate; `None` for a server given as `http://`.
    pub(crate) verification: Option<Verification>,
    pub(crate) proxy: Option<Proxy>,
}

/// The agent, recreated when the certificates have changed.
pub(crate) struct Wire {
    route: Route,
    made: Guarded<Option<(Arc<TlsMaterial>, Agent)>>,
}

impl Wire {
    pub(crate) fn new(route: Route) -> Self {
        Self { route, made: Guarded::default() }
    }

    /// Returns the agent for this material. Two identities never share a connection.
    pub(crate) fn agent(&self, material: &Arc<TlsMaterial>) -> Result<Agent, TlsError> {
        let mut made = self.made.lock();
        if let Some((of, agent)) = &*made
            && of == material
        {
            return Ok(agent.clone());
        }
        let config = config(self.route.verification.is_some(), self.route.proxy.clone());
        let socket = ().chain(SocksConnector::default()).chain(ConnectProxyConnector::default()).chain(TcpConnector::default());
        let agent = match &self.route.verification {
            Some(verification) => Agent::with_parts(config, socket.chain(TlsConnector::new(verification, material)?), Addresses::default()),
            None => Agent::with_parts(config, socket, Addresses::default()),
        };
        *made = Some((Arc::clone(material), agent.clone()));
        Ok(agent)
    }
}

fn config(https_only: bool, proxy: Option<Proxy>) -> ureq::config::Config {
    // Our own connector does TLS. If ureq's were used, it would trust no certificate.
    let no_trust = TlsConfig::builder().provider(TlsProvider::Rustls).root_certs(RootCerts::new_with_certs(&[])).build();
    Agent::config_builder()
        .accept(AutoHeaderValue::None)
        .accept_encoding(AutoHeaderValue::None)
        .allow_non_standard_methods(false)
        .http_status_as_error(false)
        .https_only(https_only)
        .input_buffer_size(BUFFER_BYTES)
        .ip_family(ureq::config::IpFamily::Any)
        .max_idle_age(limits::IDLE)
        .max_idle_connections(IDLE_CONNECTIONS_MAX)
        .max_idle_connections_per_host(IDLE_CONNECTIONS_MAX)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .max_response_header_size(HEAD_BYTES_MAX)
        .no_delay(true)
        .output_buffer_size(BUFFER_BYTES)
        .proxy(proxy)
        .redirect_auth_headers(RedirectAuthHeaders::Never)
        .save_redirect_history(false)
        .timeout_await_100(Some(limits::SEND_REQUEST))
        .timeout_connect(Some(limits::CONNECT))
        .timeout_global(Some(limits::PAGE))
        .timeout_per_call(Some(limits::PAGE))
        .timeout_per_read(Some(limits::PROGRESS))
        .timeout_per_write(Some(limits::PROGRESS))
        .timeout_recv_body(Some(limits::RECEIVE_BODY))
        .timeout_recv_response(Some(limits::RECEIVE_RESPONSE))
        .timeout_resolve(Some(limits::RESOLVE))
        .timeout_send_body(Some(limits::SEND_BODY))
        .timeout_send_request(Some(limits::SEND_REQUEST))
        .tls_config(no_trust)
        .user_agent(concat!("reboot-manager/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Resolver that starts no thread for a host that is an address already, as in the cluster. ureq's own starts one for each request.
#[derive(Debug, Default)]
struct Addresses(DefaultResolver);

impl Resolver for Addresses {
    fn resolve(&self, uri: &Uri, config: &ureq::config::Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().unwrap_or_default();
        let Ok(address) = bare(host).parse::<IpAddr>() else {
            return self.0.resolve(uri, config, timeout);
        };
        let usual = match uri.scheme_str() {
            Some("https") => 443,
            Some("http") => 80,
            _ => 1080, // SOCKS
        };
        let mut addresses = self.empty();
        addresses.push(SocketAddr::new(address, uri.port_u16().unwrap_or(usual)));
        Ok(addresses)
    }
}

/// ureq's own default is 128 KiB in each direction and connection.
const BUFFER_BYTES: usize = 16 * 1024;
const HEAD_BYTES_MAX: usize = 16 * 1024;
const IDLE_CONNECTIONS_MAX: usize = 4;
