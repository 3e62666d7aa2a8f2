//! Kubeconfig files: reading them, merging them, and choosing the cluster and user of one context.
//!
//! The rules are kubectl's. The first file with an entry (a cluster, user or context, or the current context) wins. A relative path is
//! relative to its file. Unknown keys are ignored. A field that is not supported is refused, because without it the program would use
//! another identity than the configured one. The texts of a file may be secret and must not appear in an error.
//!
//! Specification: <https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/> and
//! <https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/>.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::credential::{Identity, Roots, Text};
use super::secret::Secret;
use crate::kube::transport::Verification;
use user::User;

mod user;

/// A file, or several merged, with every path made absolute or relative to the working directory.
#[derive(Default)]
pub(super) struct Kubeconfig {
    current_context: Option<String>,
    clusters: BTreeMap<String, Cluster>,
    contexts: BTreeMap<String, Context>,
    users: BTreeMap<String, User>,
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
    /// Parses the text of a file in `directory`. An error names the position.
    pub(super) fn parse(text: &str, directory: &Path) -> Result<Self, String> {
        let file: File = serde_saphyr::from_str(text).map_err(|error| match error.location() {
            Some(place) => format!("line {}, column {}", place.line(), place.column()),
            None => "its end".to_owned(),
        })?;
        let mut clusters = by_name(file.clusters, |entry| (entry.name, entry.cluster));
        let mut users = by_name(file.users, |entry| (entry.name, entry.user));
        clusters.values_mut().for_each(|cluster| cluster.resolve_paths(directory));
        users.values_mut().for_each(|user| user.resolve_paths(directory));
        let contexts = by_name(file.contexts, |entry| (entry.name, entry.context));
        Ok(Self { current_context: set(file.current_context), clusters, contexts, users })
    }

    /// Adds the entries of `later` that are missing here.
    pub(super) fn merge(&mut self, later: Self) {
        fn add<T>(to: &mut BTreeMap<String, T>, from: BTreeMap<String, T>) {
            for (name, value) in from {
                to.entry(name).or_insert(value);
            }
        }
        self.current_context = self.current_context.take().or(later.current_context);
        add(&mut self.clusters, later.clusters);
        add(&mut self.contexts, later.contexts);
        add(&mut self.users, later.users);
    }

    /// Returns the cluster and user of `context`, or of the current context. An error is a message.
    pub(super) fn select(mut self, context: Option<&str>) -> Result<Selected, String> {
        let names = self.contexts.keys().cloned().collect::<Vec<_>>().join(", ");
        let Some(name) = context.map(str::to_owned).or(self.current_context) else {
            return Err(format!("no current context is set; choose one with --context: {names}"));
        };
        let context = self.contexts.remove(&name).ok_or_else(|| format!("there is no context {name:?}; there are: {names}"))?;
        let cluster_name = set(context.cluster).ok_or_else(|| format!("context {name:?} names no cluster"))?;
        let cluster = self.clusters.remove(&cluster_name).ok_or_else(|| format!("there is no cluster {cluster_name:?}"))?;
        let user = match set(context.user) {
            Some(user) => self.users.remove(&user).ok_or_else(|| format!("there is no user {user:?}"))?,
            None => User::default(),
        };
        let identity = user.identity(&cluster).map_err(|error| format!("the user of context {name:?} {error}"))?;
        let (roots, verification) = cluster.trust().map_err(|error| format!("cluster {cluster_name:?} {error}"))?;
        let server = set(cluster.server).ok_or_else(|| format!("cluster {cluster_name:?} names no server"))?;
        let proxy_url = set(cluster.proxy_url).map(Secret::new);
        Ok(Selected { context: name, server, proxy_url, roots, verification, identity })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    current_context: Option<String>,
    clusters: Option<Vec<NamedCluster>>,
    contexts: Option<Vec<NamedContext>>,
    users: Option<Vec<NamedUser>>,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Option<Cluster>,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: Option<Context>,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    user: Option<User>,
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
    name: String,
    extension: Option<Value>,
}

#[derive(Default, Deserialize)]
struct Context {
    cluster: Option<String>,
    user: Option<String>,
}

impl Cluster {
    fn resolve_paths(&mut self, directory: &Path) {
        resolve(&mut self.certificate_authority, directory);
    }

    fn trust(&self) -> Result<(Roots, Verification), String> {
        let server_name = set(self.tls_server_name.clone());
        let authority = text("certificate-authority-data", self.certificate_authority_data.as_ref(), self.certificate_authority.as_ref())?;
        if self.insecure_skip_tls_verify != Some(true) {
            return Ok((authority.map_or(Roots::System, Roots::Of), Verification::Full { server_name }));
        }
        match authority {
            Some(_) => Err("both names a CA and says insecure-skip-tls-verify; remove one".to_owned()),
            None => Ok((Roots::None, Verification::Skipped { server_name })),
        }
    }

    /// Returns the data on the cluster for a credential plugin.
    fn cluster_info(&self) -> Value {
        let mut info = json!({ "server": self.server, "insecure-skip-tls-verify": self.insecure_skip_tls_verify == Some(true) });
        let mut add = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                info[name] = value;
            }
        };
        add("tls-server-name", set(self.tls_server_name.clone()).map(Value::from));
        add("proxy-url", set(self.proxy_url.clone()).map(Value::from));
        let file = || self.certificate_authority.as_ref().and_then(|path| std::fs::read(path).ok());
        let authority = set(self.certificate_authority_data.clone()).or_else(|| file().map(|pem| BASE64_STANDARD.encode(pem)));
        add("certificate-authority-data", authority.map(Value::from));
        let extensions = self.extensions.iter().flatten();
        add("config", extensions.filter(|entry| entry.name == EXEC_EXTENSION).find_map(|entry| entry.extension.clone()));
        info
    }
}

fn by_name<E, T: Default>(entries: Option<Vec<E>>, parts: impl Fn(E) -> (String, Option<T>)) -> BTreeMap<String, T> {
    let mut named = BTreeMap::new();
    for (name, value) in entries.into_iter().flatten().map(parts) {
        named.entry(name).or_insert_with(|| value.unwrap_or_default());
    }
    named
}

/// Returns the text of a field: the data, which wins as with kubectl, or the file.
fn text(what: &str, data: Option<&String>, file: Option<&String>) -> Result<Option<Text>, String> {
    match (data.filter(|data| !data.is_empty()), file.filter(|file| !file.is_empty())) {
        (Some(data), _) => {
            let packed: String = data.split_ascii_whitespace().collect();
            let bytes = BASE64_STANDARD.decode(packed).map_err(|_| format!("has {what} that is not base64"))?;
            Ok(Some(Text::Inline(bytes)))
        }
        (None, Some(file)) => Ok(Some(Text::File(PathBuf::from(file)))),
        (None, None) => Ok(None),
    }
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
