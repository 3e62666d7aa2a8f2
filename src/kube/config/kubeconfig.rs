//! Kubeconfig files: reading them, merging them, and choosing the cluster and user of one context.
//!
//! The rules are kubectl's. The first file with an entry (a cluster, user or context, or the current context) wins. A relative path is
//! relative to its file. Unknown keys are ignored, and of a repeated key the last one counts. A field that is not supported is refused,
//! because without it the program would use another identity than the configured one. The texts of a file may be secret and must not
//! appear in an error. `tests/it/kubeconfigs.rs` compares all this with kubectl.
//!
//! Specification: <https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/> and
//! <https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/>.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use serde_saphyr::options::DuplicateKeyPolicy;

use super::credential::{AuthMethod, Identity, Roots, Text};
use super::exec_plugin::Plugin;
use super::impersonation;
use super::secret::{Secret, bearer, fits_a_header};
use crate::kube::transport::Verification;
use crate::system::quotable::quotable;

/// A file, or several merged. Of several entries with one name the first counts.
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Kubeconfig {
    current_context: Option<String>,
    clusters: Option<Vec<NamedCluster>>,
    contexts: Option<Vec<NamedContext>>,
    users: Option<Vec<NamedUser>>,
}

/// The cluster and user of a context.
#[derive(Debug)]
pub(super) struct Selected {
    pub(super) context: String,
    pub(super) server: String,
    pub(super) proxy_url: Option<Secret>,
    pub(super) roots: Roots,
    pub(super) verification: Verification,
    pub(super) identity: Identity,
}

impl Kubeconfig {
    /// Parses the text of a file in `directory`. An error is a message that names the line or the field.
    pub(super) fn parse(text: &str, directory: &Path) -> Result<Self, String> {
        let options = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::LastWins };
        // A `Value` first: the code that makes a type from YAML is large, and there would be one for each type.
        let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
            let place = error.location().map(|place| format!("line {}, column {}", place.line(), place.column()));
            format!("is neither YAML nor JSON, or nested or repeated too much: error at {}", place.as_deref().unwrap_or("its end"))
        })?;
        // kubectl reads the first document, and takes an empty file.
        let first = documents.into_iter().next().filter(|first| !first.is_null());
        let read = first.map(serde_path_to_error::deserialize::<_, Self>).transpose();
        let mut file = read.map_err(|error| wrong_field(&error))?.unwrap_or_default();
        for cluster in file.clusters.iter_mut().flatten().filter_map(|named| named.cluster.as_mut()) {
            resolve(&mut cluster.certificate_authority, directory);
        }
        for user in file.users.iter_mut().flatten().filter_map(|named| named.user.as_mut()) {
            user.resolve_paths(directory);
        }
        Ok(file)
    }

    /// Refuses two entries of one file with one name, of which either could be meant. An error is a message.
    pub(super) fn check_names(&self) -> Result<(), String> {
        fn twice<T>(kind: &str, entries: &Option<Vec<T>>, name: impl Fn(&T) -> &str) -> Result<(), String> {
            let mut seen = BTreeSet::new();
            match entries.iter().flatten().find(|entry| !seen.insert(name(entry).to_owned())) {
                Some(entry) => Err(format!("it has two {kind} with the name {:?}; remove one", quotable(name(entry)))),
                None => Ok(()),
            }
        }
        twice("clusters", &self.clusters, |named| &named.name)?;
        twice("contexts", &self.contexts, |named| &named.name)?;
        twice("users", &self.users, |named| &named.name)
    }

    /// Adds the entries of `later`, which count only if they are missing here.
    pub(super) fn merge(&mut self, later: Self) {
        self.current_context = set(self.current_context.take()).or(later.current_context);
        self.clusters.get_or_insert_default().extend(later.clusters.into_iter().flatten());
        self.contexts.get_or_insert_default().extend(later.contexts.into_iter().flatten());
        self.users.get_or_insert_default().extend(later.users.into_iter().flatten());
    }

    /// Returns the cluster and user of `context`, or of the current context. An error is a message.
    pub(super) fn select(self, context: Option<&str>) -> Result<Selected, String> {
        let mut names: Vec<_> = self.contexts.iter().flatten().map(|named| quotable(&named.name)).collect();
        names.sort();
        names.dedup();
        let names = names.join(", ");
        if names.is_empty() {
            return Err("it has no contexts; is it a kubeconfig?".to_owned());
        }
        let Some(name) = context.map(str::to_owned).or_else(|| set(self.current_context)) else {
            return Err(format!("it has no current-context; choose one with --context: {names}"));
        };
        let shown = quotable(&name);
        let context = self.contexts.into_iter().flatten().find(|named| named.name == name);
        let context = context
            .ok_or_else(|| format!("there is no context {shown:?}; choose one with --context: {names}"))?
            .context
            .unwrap_or_default();
        let cluster_name = set(context.cluster).ok_or_else(|| format!("context {shown:?} names no cluster"))?;
        let cluster_shown = quotable(&cluster_name);
        let cluster = self.clusters.into_iter().flatten().find(|named| named.name == cluster_name);
        let cluster = cluster
            .ok_or_else(|| format!("there is no cluster {cluster_shown:?}, which context {shown:?} names"))?
            .cluster
            .unwrap_or_default();
        let user_name = context.user.unwrap_or_default();
        let user_shown = quotable(&user_name);
        let user = self.users.into_iter().flatten().find(|named| named.name == user_name);
        let user = match user {
            None if !user_name.is_empty() => return Err(format!("there is no user {user_shown:?}, which context {shown:?} names")),
            named => named.and_then(|named| named.user).unwrap_or_default(),
        };
        let identity = user.identity(&cluster).map_err(|error| format!("user {user_shown:?} {error}"))?;
        let (roots, verification) = cluster.trust().map_err(|error| format!("cluster {cluster_shown:?} {error}"))?;
        let server =
            set(cluster.server).ok_or_else(|| format!("cluster {cluster_shown:?} has no server, such as https://10.0.0.1:6443"))?;
        let proxy_url = set(cluster.proxy_url).map(Secret::new);
        Ok(Selected { context: name, server, proxy_url, roots, verification, identity })
    }
}

#[derive(Deserialize)]
struct NamedCluster {
    #[serde(default)]
    name: String,
    cluster: Option<Cluster>,
}

#[derive(Deserialize)]
struct NamedContext {
    #[serde(default)]
    name: String,
    context: Option<Context>,
}

#[derive(Deserialize)]
struct NamedUser {
    #[serde(default)]
    name: String,
    user: Option<User>,
}

#[derive(Default, Deserialize)]
struct Context {
    cluster: Option<String>,
    user: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: Option<String>,
    tls_server_name: Option<String>,
    insecure_skip_tls_verify: Option<bool>,
    certificate_authority: Option<String>,
    certificate_authority_data: Option<String>,
    proxy_url: Option<String>,
    extensions: Option<Vec<Extension>>,
}

#[derive(Deserialize)]
struct Extension {
    #[serde(default)]
    name: String,
    extension: Option<Value>,
}

impl Cluster {
    fn trust(&self) -> Result<(Roots, Verification), String> {
        let skipped = self.insecure_skip_tls_verify == Some(true);
        let roots = match text("certificate-authority", &self.certificate_authority_data, &self.certificate_authority)? {
            Some(_) if skipped => return Err("has certificate-authority and insecure-skip-tls-verify; remove one".to_owned()),
            Some(authority) => Roots::Of(authority),
            None if skipped => Roots::None,
            None => Roots::System,
        };
        Ok((roots, Verification { skipped, server_name: set(self.tls_server_name.clone()) }))
    }

    /// Returns the data on the cluster for a credential plugin.
    fn cluster_info(&self) -> Value {
        let file = || self.certificate_authority.as_ref().and_then(|path| std::fs::read(path).ok());
        let authority = set(self.certificate_authority_data.clone()).or_else(|| file().map(|pem| BASE64_STANDARD.encode(pem)));
        let config =
            self.extensions.iter().flatten().filter(|entry| entry.name == EXEC_EXTENSION).find_map(|entry| entry.extension.clone());
        let mut info = json!({
            "server": self.server, "insecure-skip-tls-verify": self.insecure_skip_tls_verify == Some(true),
            "tls-server-name": set(self.tls_server_name.clone()), "proxy-url": set(self.proxy_url.clone()),
            "certificate-authority-data": authority, "config": config,
        });
        info.as_object_mut().into_iter().for_each(|fields| fields.retain(|_, value| !value.is_null()));
        info
    }
}

/// Every way to authenticate, supported or not.
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate: Option<String>,
    client_certificate_data: Option<String>,
    client_key: Option<String>,
    client_key_data: Option<String>,
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<String>,
    username: Option<String>,
    password: Option<String>,
    exec: Option<Plugin>,
    #[serde(rename = "as")]
    as_user: Option<String>,
    as_uid: Option<String>,
    as_groups: Option<Vec<String>>,
    as_user_extra: Option<BTreeMap<String, Option<Vec<String>>>>,
    auth_provider: Option<IgnoredAny>,
}

impl User {
    fn resolve_paths(&mut self, directory: &Path) {
        resolve(&mut self.client_certificate, directory);
        resolve(&mut self.client_key, directory);
        resolve(&mut self.token_file, directory);
        if let Some(exec) = &mut self.exec
            && exec.command.as_ref().is_some_and(|command| command.contains('/'))
        {
            resolve(&mut exec.command, directory);
        }
    }

    fn identity(self, cluster: &Cluster) -> Result<Identity, String> {
        if self.auth_provider.is_some() {
            let instead = "use a credential plugin (exec), such as gke-gcloud-auth-plugin for gcp, and kubelogin for azure and oidc";
            return Err(format!("has an auth-provider, which is not supported; {instead}"));
        }
        let impersonated = impersonation::headers(self.as_user, self.as_uid, self.as_groups, self.as_user_extra)?;
        let certificate = text("client-certificate", &self.client_certificate_data, &self.client_certificate)?;
        let key = text("client-key", &self.client_key_data, &self.client_key)?;
        let (token, token_file) = (set(self.token), set(self.token_file));
        let (username, password) = (set(self.username), set(self.password));
        let has_password = username.is_some() || password.is_some();
        if has_password && (token.is_some() || token_file.is_some()) {
            return Err("has both a token and a password; remove one".to_owned());
        }
        if token.as_ref().is_some_and(|token| !fits_a_header(token)) {
            return Err("has a token that cannot be sent, because it has a line break or another character than those of ASCII".to_owned());
        }
        let token = token.map(|token| bearer(&token));
        let auth = if let Some(path) = token_file {
            AuthMethod::TokenFile { path: path.into(), otherwise: token }
        } else if let Some(token) = token {
            AuthMethod::Header(token)
        } else if has_password {
            let pair = format!("{}:{}", username.unwrap_or_default(), password.unwrap_or_default());
            AuthMethod::Header(Secret::new(format!("Basic {}", BASE64_STANDARD.encode(pair))))
        } else if let Some(mut exec) = self.exec.filter(|_| certificate.is_none()) {
            exec.check()?;
            exec.cluster = (exec.provide_cluster_info == Some(true)).then(|| cluster.cluster_info());
            AuthMethod::Plugin(Box::new(exec))
        } else {
            AuthMethod::Nothing
        };
        let certificate = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (None, Some(_)) if auth != AuthMethod::Nothing => {
                log::warn!("the user of the kubeconfig has a client key without a certificate; the key is ignored, as kubectl does");
                None
            }
            (Some(_), None) => return Err("has a client-certificate without a client-key; add it, or remove the certificate".to_owned()),
            (None, Some(_)) => return Err("has a client-key without a client-certificate; add it, or remove the key".to_owned()),
        };
        Ok(Identity { auth, certificate, impersonated })
    }
}

/// Returns the text of a field: `FIELD-data`, which wins as with kubectl, or the file.
fn text(field: &'static str, data: &Option<String>, file: &Option<String>) -> Result<Option<Text>, String> {
    let given = |text: &Option<String>| set(text.clone());
    match (given(data), given(file)) {
        (Some(data), _) => {
            let packed: String = data.split_ascii_whitespace().collect();
            let bytes = BASE64_STANDARD
                .decode(packed)
                .map_err(|_| format!("has {field}-data that is not base64; for the name of a file use {field}"))?;
            Ok(Some(Text::Inline(bytes)))
        }
        (None, Some(file)) => Ok(Some(Text::File { field, path: PathBuf::from(file) })),
        (None, None) => Ok(None),
    }
}

/// Describes a field by its path, such as `users[0].user.token`; its value may be secret.
fn wrong_field(error: &serde_path_to_error::Error<serde_json::Error>) -> String {
    if error.path().iter().len() == 0 {
        return "is no kubeconfig: it must be a mapping with clusters, contexts and users".to_owned();
    }
    // The message of serde begins with the value.
    let needs_quotes = error.inner().to_string().ends_with("expected a string");
    let remedy = if needs_quotes {
        "; it must be a string, so a number, yes or no needs quotes"
    } else {
        "; compare it with a kubeconfig that kubectl takes"
    };
    format!("is not as a kubeconfig must be at {}{remedy}", quotable(&error.path().to_string()))
}

fn resolve(path: &mut Option<String>, directory: &Path) {
    if let Some(path) = path.as_mut().filter(|path| !path.is_empty()) {
        *path = directory.join(&*path).to_string_lossy().into_owned();
    }
}

/// An empty string is the same as none, as in all of Kubernetes' Go types.
fn set(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

const EXEC_EXTENSION: &str = "client.authentication.k8s.io/exec";

#[cfg(test)]
mod tests;
