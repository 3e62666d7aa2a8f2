//! The users of a kubeconfig: every way to authenticate, or the message why one is not supported.
//!
//! Specification: `AuthInfo` and `ExecConfig` in <https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/>.

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::kube::config::credential::{AuthMethod, Identity};
use crate::kube::config::exec_plugin::Plugin;
use crate::kube::config::secret::{Secret, bearer, fits_a_header};

use super::{Cluster, resolve, set, text};

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct User {
    client_certificate: Option<String>,
    client_certificate_data: Option<String>,
    client_key: Option<String>,
    client_key_data: Option<String>,
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<String>,
    username: Option<String>,
    password: Option<String>,
    exec: Option<Exec>,
    #[serde(rename = "as")]
    as_user: Option<IgnoredAny>,
    as_uid: Option<IgnoredAny>,
    as_groups: Option<IgnoredAny>,
    as_user_extra: Option<IgnoredAny>,
    auth_provider: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Exec {
    api_version: Option<String>,
    command: Option<String>,
    args: Option<Vec<String>>,
    env: Option<Vec<ExecVariable>>,
    install_hint: Option<String>,
    interactive_mode: Option<String>,
    provide_cluster_info: Option<bool>,
}

#[derive(Deserialize)]
struct ExecVariable {
    name: String,
    value: String,
}

impl User {
    pub(super) fn resolve_paths(&mut self, directory: &Path) {
        resolve(&mut self.client_certificate, directory);
        resolve(&mut self.client_key, directory);
        resolve(&mut self.token_file, directory);
        if let Some(exec) = &mut self.exec
            && exec.command.as_ref().is_some_and(|command| command.contains('/'))
        {
            resolve(&mut exec.command, directory);
        }
    }

    pub(super) fn identity(self, cluster: &Cluster) -> Result<Identity, String> {
        if self.as_user.is_some() || self.as_uid.is_some() || self.as_groups.is_some() || self.as_user_extra.is_some() {
            return Err("acts as another user (\u{201c}as\u{201d}), which is not supported".to_owned());
        }
        if self.auth_provider.is_some() {
            return Err("has an auth-provider, which Kubernetes 1.26 removed; use a credential plugin (\u{201c}exec\u{201d})".to_owned());
        }
        let certificate = text("client-certificate-data", self.client_certificate_data.as_ref(), self.client_certificate.as_ref())?;
        let key = text("client-key-data", self.client_key_data.as_ref(), self.client_key.as_ref())?;
        let certificate = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err("has a client certificate without a key, or a key without a certificate".to_owned()),
        };
        let (token, token_file) = (set(self.token), set(self.token_file));
        let (username, password) = (set(self.username), set(self.password));
        let has_password = username.is_some() || password.is_some();
        if has_password && (token.is_some() || token_file.is_some()) {
            return Err("has both a token and a password; remove one".to_owned());
        }
        let auth = if let Some(path) = token_file {
            AuthMethod::TokenFile(path.into())
        } else if let Some(token) = token {
            if !fits_a_header(&token) {
                return Err("has a token that cannot be sent".to_owned());
            }
            AuthMethod::Header(bearer(&token))
        } else if has_password {
            let pair = format!("{}:{}", username.unwrap_or_default(), password.unwrap_or_default());
            AuthMethod::Header(Secret::new(format!("Basic {}", BASE64_STANDARD.encode(pair))))
        } else if let Some(exec) = self.exec {
            AuthMethod::Plugin(Box::new(exec.plugin(cluster)?))
        } else {
            AuthMethod::Nothing
        };
        Ok(Identity { auth, certificate })
    }
}

impl Exec {
    fn plugin(self, cluster: &Cluster) -> Result<Plugin, String> {
        let command = set(self.command).ok_or("has a credential plugin without a command")?;
        let api_version = self.api_version.unwrap_or_default();
        if !EXEC_VERSIONS.contains(&api_version.as_str()) {
            return Err(format!("has a credential plugin of apiVersion {api_version:?}; supported are {}", EXEC_VERSIONS.join(" and ")));
        }
        if self.interactive_mode.as_deref() == Some("Always") {
            return Err("has a credential plugin that needs a terminal (interactiveMode: Always)".to_owned());
        }
        Ok(Plugin {
            command: command.into(),
            arguments: self.args.unwrap_or_default(),
            environment: self.env.unwrap_or_default().into_iter().map(|variable| (variable.name, Secret::new(variable.value))).collect(),
            api_version,
            install_hint: set(self.install_hint),
            cluster: (self.provide_cluster_info == Some(true)).then(|| cluster.cluster_info()),
            time_max: EXEC_TIME_MAX,
        })
    }
}

const EXEC_VERSIONS: [&str; 2] = ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"];
/// Maximum time for a plugin, which may call a distant server.
const EXEC_TIME_MAX: Duration = Duration::from_secs(30);
