//! Address of the API server, our identity there, and our namespace.

use std::path::{Path, PathBuf};

use ureq::http::Uri;

use super::credential::{AuthMethod, ConfigError, Identity, Roots, Text};
use super::environment::Environment;
use super::kubeconfig::{Kubeconfig, Selected};
use super::proxy;
use crate::kube::transport::{Route, Verification};
use crate::system::quotable::{quotable, shown};

/// Address of the API server, our identity there, and our namespace.
#[derive(Debug)]
pub struct Location {
    /// Without a slash at the end.
    pub(crate) server: String,
    namespace: Option<String>,
    origin: String,
    pub(crate) route: Route,
    pub(crate) roots: Roots,
    pub(crate) identity: Identity,
}

/// Options by which the API server is found.
#[derive(Debug, Clone, Default)]
pub struct ConnectOptions {
    /// `--kubeconfig`.
    pub kubeconfig: Option<PathBuf>,
    /// `--context`.
    pub context: Option<String>,
    /// The environment, as read once at the start.
    pub environment: Environment,
}

impl Location {
    /// Finds the API server.
    pub fn find(options: &ConnectOptions) -> Result<Self, ConfigError> {
        let environment = &options.environment;
        if let Some(path) = &options.kubeconfig {
            return Self::of_files(std::slice::from_ref(path), "--kubeconfig", options);
        }
        if let Some(list) = environment.kubeconfig.as_deref().filter(|list| !list.is_empty()) {
            let named: Vec<PathBuf> = std::env::split_paths(list).filter(|path| !path.as_os_str().is_empty()).collect();
            let present: Vec<PathBuf> = named.into_iter().filter(|path| path.exists()).collect();
            if present.is_empty() {
                return Err(not_found(&format!("KUBECONFIG={}, of which no file exists", quotable(list))));
            }
            return Self::of_files(&present, "KUBECONFIG", options);
        }
        let tried_pod = match (&environment.service_host, &environment.service_port) {
            (Some(host), Some(port)) if !host.is_empty() && !port.is_empty() => {
                if environment.service_account.join("token").is_file() {
                    return Self::of_pod(host, port, options);
                }
                format!("the pod's service account, but there is no token in {}", environment.service_account.display())
            }
            _ => "the pod's service account, but KUBERNETES_SERVICE_HOST and _PORT are not set".to_owned(),
        };
        let tried_home = match environment.home.as_ref().map(|home| home.join(".kube/config")) {
            Some(path) if path.exists() => return Self::of_files(&[path], "the default file", options),
            Some(path) => format!("{}, which does not exist", path.display()),
            None => "~/.kube/config, but HOME is not set".to_owned(),
        };
        Err(not_found(&format!("KUBECONFIG, which is not set; {tried_pod}; {tried_home}")))
    }

    /// Returns the namespace of our pod; `None` outside a cluster, because the namespace of a context is for other uses.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// Describes the server and its source, for the log.
    #[must_use]
    pub fn describe(&self) -> String {
        let unchecked = match &self.route.verification {
            None => ", without TLS: anyone on the way can read the credential",
            Some(verification) if verification.skipped => ", without verifying its certificate",
            Some(_) => "",
        };
        let acting = self.identity.impersonated.first().map(|(_, user)| format!(", as {:?}", quotable(user))).unwrap_or_default();
        format!("{} ({}{acting}{unchecked})", self.server, self.origin)
    }

    /// Finds the server inside the cluster. No proxy is used, because a proxy must not see the token.
    fn of_pod(host: &str, port: &str, options: &ConnectOptions) -> Result<Self, ConfigError> {
        let origin = "this pod's service account";
        let invalid = |mistake| ConfigError(format!("{origin}: {mistake}"));
        if options.context.is_some() {
            return Err(invalid("there are no contexts in a pod; --context needs --kubeconfig".to_owned()));
        }
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let (server, _) = parse_server(&format!("https://{host}:{port}")).map_err(invalid)?;
        let directory = &options.environment.service_account;
        let namespace = std::fs::read_to_string(directory.join("namespace")).ok();
        Ok(Self {
            server,
            namespace: namespace.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()),
            origin: origin.to_owned(),
            route: Route { verification: Some(Verification::default()), proxy: None },
            roots: Roots::Of(Text::File { field: "the CA certificate", path: directory.join("ca.crt") }),
            identity: Identity {
                auth: AuthMethod::TokenFile { path: directory.join("token"), otherwise: None },
                certificate: None,
                impersonated: Vec::new(),
            },
        })
    }

    /// Reads and merges these files, which `named_by` names.
    fn of_files(paths: &[PathBuf], named_by: &str, options: &ConnectOptions) -> Result<Self, ConfigError> {
        let mut merged = Kubeconfig::default();
        for path in paths {
            merged.merge(read_kubeconfig(path).map_err(|mistake| invalid(&shown(path), named_by, &mistake))?);
        }
        let files = paths.iter().map(|path| shown(path)).collect::<Vec<_>>().join(", ");
        let invalid = |mistake: String| invalid(&files, named_by, &mistake);
        let selected = merged.select(options.context.as_deref()).map_err(invalid)?;
        let (server, uri) = parse_server(&selected.server).map_err(invalid)?;
        let proxy = proxy::of_server(&uri, selected.proxy_url.as_ref(), &options.environment).map_err(invalid)?;
        let is_secure = uri.scheme_str() == Some("https");
        let Selected { context, roots, verification, identity, .. } = selected;
        Ok(Self {
            server,
            namespace: None,
            origin: format!("context {context:?} of {files}"),
            route: Route { verification: is_secure.then_some(verification), proxy },
            roots: if is_secure { roots } else { Roots::None },
            identity,
        })
    }
}

fn read_kubeconfig(path: &Path) -> Result<Kubeconfig, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
    let file = Kubeconfig::parse(&text, path.parent().unwrap_or_else(|| Path::new("")))?;
    file.check_names().map(|()| file)
}

fn invalid(files: &str, named_by: &str, mistake: &str) -> ConfigError {
    ConfigError(format!("kubeconfig {files} ({named_by}): {mistake}"))
}

fn not_found(tried: &str) -> ConfigError {
    ConfigError(format!("no Kubernetes API is configured; tried {tried}; name a kubeconfig: --kubeconfig ~/.kube/config"))
}

/// The server's URL without a slash at the end, and its parts.
fn parse_server(server: &str) -> Result<(String, Uri), String> {
    // First, because the other messages quote the text.
    if server.contains(['?', '#']) {
        return Err("the server's URL has a query (after ? or #), which no server has; write for example https://10.0.0.1:6443".to_owned());
    }
    if server.contains('@') {
        return Err(
            "the server's URL holds a user or password; remove it up to the @, and set username and password of the user".to_owned()
        );
    }
    let shown = quotable(server);
    // kubectl takes http for a server without a scheme, and sends no credential. That is more likely a mistake.
    if !["https://", "http://"].into_iter().any(|scheme| has_prefix(server, scheme)) {
        return Err(format!("the server {shown:?} has no https:// in front; write for example https://10.0.0.1:6443"));
    }
    let uri: Uri = server.parse().map_err(|_| format!("the server {shown:?} is not a URL such as https://10.0.0.1:6443"))?;
    match uri.authority() {
        Some(authority) if !authority.host().is_empty() => Ok((server.trim_end_matches('/').to_owned(), uri)),
        _ => Err(format!("the server {shown:?} is not the URL of a server such as https://10.0.0.1:6443")),
    }
}

fn has_prefix(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

#[cfg(test)]
mod tests;
