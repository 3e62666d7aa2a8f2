//! Proxy for a server, from the kubeconfig or the environment, by the rules of kubectl. Pure.
//!
//! Specification: <https://pkg.go.dev/golang.org/x/net/http/httpproxy#Config>. ureq reads the environment by
//! other rules (any scheme's variable for any server, no networks in `NO_PROXY`), so it is never asked to.

use std::net::IpAddr;

use ureq::Proxy;
use ureq::http::Uri;

use super::environment::Environment;
use super::secret::Secret;
use crate::kube::transport::bare;

/// Returns the proxy for `server`: `named` if set, else that of the environment. An error is a message.
pub(super) fn of_server(server: &Uri, named: Option<&Secret>, environment: &Environment) -> Result<Option<Proxy>, String> {
    let scheme = server.scheme_str().unwrap_or_default();
    let host = bare(server.host().unwrap_or_default());
    let port = server.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    let (url, origin) = match named {
        Some(url) => (url.reveal(), "proxy-url of the cluster"),
        None => match of_environment(scheme, host, port, environment) {
            Some(url) => (url, if scheme == "https" { "proxy in HTTPS_PROXY" } else { "proxy in HTTP_PROXY" }),
            None => return Ok(None),
        },
    };
    // A proxy over TLS needs CAs for itself. By a SOCKS proxy ureq lets the proxy resolve the host, as kubectl does.
    match url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase()).as_deref() {
        None | Some("http" | "socks5" | "socks5h") => {
            Proxy::new(url).map(Some).map_err(|_| format!("the {origin} is not a URL such as http://10.0.0.1:3128"))
        }
        Some(other) if !other.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            Err(format!("the {origin} is not a URL such as http://10.0.0.1:3128"))
        }
        Some(other) => Err(format!(
            "the {origin} is of kind {other:?}; use one with http:// or socks5://, as the API server is called over TLS through it"
        )),
    }
}

/// Returns the environment's proxy for `host` and `port`; `None` for a direct connection.
fn of_environment<'a>(scheme: &str, host: &str, port: u16, environment: &'a Environment) -> Option<&'a str> {
    let named = if scheme == "https" { &environment.https_proxy } else { &environment.http_proxy };
    let proxy = named.as_deref().filter(|url| !url.is_empty())?;
    let except = environment.no_proxy.as_deref().unwrap_or_default();
    if is_this_machine(host) || except.split(',').any(|entry| matches(entry, host, port)) { None } else { Some(proxy) }
}

/// Reports whether this entry of `NO_PROXY` names the server.
fn matches(entry: &str, host: &str, port: u16) -> bool {
    let entry = entry.trim().to_ascii_lowercase();
    if entry.is_empty() {
        return false;
    }
    if entry == "*" {
        return true;
    }
    let host = host.to_ascii_lowercase();
    if let Some((network, length)) = entry.split_once('/') {
        return matches!((network.parse(), length.parse(), host.parse()), (Ok(network), Ok(length), Ok(address)) if contains(network, length, address));
    }
    let (name, wanted) = split_port(&entry);
    if wanted.is_some_and(|wanted| wanted != port) {
        return false;
    }
    if let (Ok(named), Ok(address)) = (bare(name).parse::<IpAddr>(), host.parse::<IpAddr>()) {
        return named == address;
    }
    let name = name.strip_prefix('*').unwrap_or(name);
    match name.strip_prefix('.') {
        Some(_) => host.ends_with(name),
        None => host == name || host.strip_suffix(name).is_some_and(|front| front.ends_with('.')),
    }
}

fn contains(network: IpAddr, length: u32, address: IpAddr) -> bool {
    let (network, address, bits) = match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => (u128::from(network.to_bits()), u128::from(address.to_bits()), 32),
        (IpAddr::V6(network), IpAddr::V6(address)) => (network.to_bits(), address.to_bits(), 128),
        _ => return false,
    };
    length <= bits && (length == 0 || (network ^ address) >> (bits - length) == 0)
}

/// `name:port`, `[address]:port`, or the whole, which may be a bare IPv6 address.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    match entry.rsplit_once(':') {
        Some((name, port)) if name.ends_with(']') || !name.contains(':') => match port.parse() {
            Ok(port) => (name, Some(port)),
            Err(_) => (entry, None),
        },
        _ => (entry, None),
    }
}

fn is_this_machine(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(no_proxy: &str, host: &str, port: u16, proxied: bool) {
        let environment =
            Environment { https_proxy: Some("http://proxy:3128".into()), no_proxy: Some(no_proxy.into()), ..Environment::default() };
        assert_eq!(of_environment("https", host, port, &environment).is_some(), proxied, "NO_PROXY={no_proxy} {host}:{port}");
    }

    #[test]
    fn no_proxy_is_parsed_as_by_kubectl() {
        check("", "api.example.org", 443, true);
        check("*", "api.example.org", 443, false);
        check("example.org", "api.example.org", 443, false);
        check("example.org", "example.org", 443, false);
        check("example.org", "badexample.org", 443, true);
        check(".example.org", "api.example.org", 443, false);
        check(".example.org", "example.org", 443, true);
        check("*.example.org", "api.example.org", 443, false);
        check(" foo , API.example.org ", "api.example.org", 443, false);
        check("api.example.org:6443", "api.example.org", 443, true);
        check("api.example.org:6443", "api.example.org", 6443, false);
        check("10.0.0.0/8", "10.96.0.1", 443, false);
        check("10.0.0.0/8", "11.0.0.1", 443, true);
        check("0.0.0.0/0", "11.0.0.1", 443, false);
        check("10.0.0.0/99", "10.0.0.1", 443, true);
        check("fd00::/8", "fd00::1", 443, false);
        check("fd00::1", "fd00::1", 443, false);
        check("[fd00::1]:6443", "fd00::1", 6443, false);
        check("10.96.0.1", "10.96.0.1", 443, false);
        check("", "localhost", 443, false);
        check("", "127.0.0.1", 6443, false);
    }

    #[test]
    fn each_scheme_has_its_own_variable() {
        let environment = Environment { http_proxy: Some("http://proxy:3128".into()), ..Environment::default() };
        assert_eq!(of_environment("https", "api", 443, &environment), None);
        assert_eq!(of_environment("http", "api", 80, &environment), Some("http://proxy:3128"));
    }
}
