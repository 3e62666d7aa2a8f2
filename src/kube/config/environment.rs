//! The environment of the process, as far as it matters to the way to the API server. Read once, elsewhere.

use std::fmt;
use std::path::PathBuf;

/// The environment variables that matter here, and where a pod's service account is.
#[derive(Clone, Default)]
pub struct Environment {
    /// `KUBECONFIG`: files, parted by colons.
    pub kubeconfig: Option<String>,
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `KUBERNETES_SERVICE_HOST`: a name or an address, without brackets.
    pub service_host: Option<String>,
    /// `KUBERNETES_SERVICE_PORT`.
    pub service_port: Option<String>,
    /// The directory with `token`, `ca.crt` and `namespace`.
    pub service_account: PathBuf,
    /// `HTTP_PROXY` or `http_proxy`.
    pub http_proxy: Option<String>,
    /// `HTTPS_PROXY` or `https_proxy`.
    pub https_proxy: Option<String>,
    /// `NO_PROXY` or `no_proxy`.
    pub no_proxy: Option<String>,
}

impl Environment {
    /// Takes what matters from an environment, given as a function from a variable's name to its value.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let either = |upper: &str, lower: &str| variable(upper).filter(|value| !value.is_empty()).or_else(|| variable(lower));
        Self {
            kubeconfig: variable("KUBECONFIG"),
            home: variable("HOME").map(PathBuf::from),
            service_host: variable("KUBERNETES_SERVICE_HOST"),
            service_port: variable("KUBERNETES_SERVICE_PORT"),
            service_account: PathBuf::from("/var/run/secrets/kubernetes.io/serviceaccount"),
            http_proxy: either("HTTP_PROXY", "http_proxy"),
            https_proxy: either("HTTPS_PROXY", "https_proxy"),
            no_proxy: either("NO_PROXY", "no_proxy"),
        }
    }
}

// The URLs of proxies may contain passwords.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").field("kubeconfig", &self.kubeconfig).field("home", &self.home).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_taken_by_name() {
        let environment = Environment::of(|name| match name {
            "HTTPS_PROXY" => Some(String::new()),
            "https_proxy" | "HOME" | "KUBERNETES_SERVICE_HOST" => Some(name.to_owned()),
            _ => None,
        });
        assert_eq!(environment.https_proxy.as_deref(), Some("https_proxy"));
        assert_eq!(environment.home, Some("HOME".into()));
        assert_eq!(environment.service_host.as_deref(), Some("KUBERNETES_SERVICE_HOST"));
        assert_eq!(environment.service_account, std::path::Path::new("/var/run/secrets/kubernetes.io/serviceaccount"));
    }
}
