//! Credential plugin: a program in a kubeconfig that prints a token or a certificate.
//!
//! The plugin runs without a terminal and for a limited time. Its output is the credential and must never be shown. Its error output
//! goes to our own, as with kubectl.
//!
//! Specification: <https://kubernetes.io/docs/reference/config-api/client-authentication.v1/>; v1beta1 has the same fields.

use std::io::Read;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::secret::{Secret, fits_a_header};
use crate::system::clock;

/// Plugin as in a kubeconfig (`exec`). An absent field and `null` are the same, as in all of Kubernetes' Go types.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Plugin {
    pub(super) api_version: Option<String>,
    /// The program, found in `PATH` unless it is a path.
    pub(super) command: Option<String>,
    pub(super) args: Option<Vec<String>>,
    /// Added to our own environment.
    pub(super) env: Option<Vec<Variable>>,
    /// Printed when the plugin fails.
    pub(super) install_hint: Option<String>,
    pub(super) interactive_mode: Option<String>,
    pub(super) provide_cluster_info: Option<bool>,
    /// The data on the cluster, if the plugin is to get them.
    #[serde(skip)]
    pub(super) cluster: Option<Value>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Variable {
    pub(super) name: String,
    #[serde(default)]
    pub(super) value: Secret,
}

/// Credential that a plugin printed, with a certificate and a key in PEM or neither.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PluginCredential {
    pub(super) token: Option<Secret>,
    client_certificate_data: Option<String>,
    client_key_data: Option<Secret>,
    pub(super) expiration_timestamp: Option<Timestamp>,
}

impl PluginCredential {
    pub(super) fn certificate(&self) -> Option<(&str, &Secret)> {
        self.client_certificate_data.as_deref().zip(self.client_key_data.as_ref())
    }
}

impl Plugin {
    /// Refuses a plugin that cannot be run. An error is a message that begins with a verb.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.command().is_empty() {
            return Err("has a credential plugin (exec) without a command".to_owned());
        }
        let version = self.version();
        if !VERSIONS.contains(&version) {
            let supported = VERSIONS.join(" and ");
            return Err(format!("has a credential plugin (exec) of apiVersion {version:?}; supported are {supported}; update the plugin"));
        }
        if self.interactive_mode.as_deref() == Some("Always") {
            let instead = "use a plugin or user that needs none, such as a token";
            return Err(format!("has a credential plugin (exec) that needs a terminal (interactiveMode: Always); {instead}"));
        }
        Ok(())
    }

    /// Runs the plugin and reads the credential that it prints within `time_max`. An error is a message.
    pub(super) fn run(&self, time_max: Duration) -> Result<PluginCredential, String> {
        log::debug!("running the credential plugin {}", self.command());
        let deadline = clock::now().instant + time_max;
        let mut child = self.command_line().spawn().map_err(|error| self.failed(&format!("cannot be run: {error}")))?;
        let (status, output) = await_output(&mut child, deadline);
        if status.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let status = status.ok_or_else(|| self.failed(&format!("did not end within {} s", time_max.as_secs_f32())))?;
        if !status.success() {
            return Err(self.failed(&format!("failed with {status}; see its output in the log above")));
        }
        self.parse(&output)
    }

    fn command(&self) -> &str {
        self.command.as_deref().unwrap_or_default()
    }

    fn version(&self) -> &str {
        self.api_version.as_deref().unwrap_or_default()
    }

    fn command_line(&self) -> Command {
        let mut spec = json!({ "interactive": false });
        if let Some(cluster) = &self.cluster {
            spec["cluster"] = cluster.clone();
        }
        let info = json!({ "apiVersion": self.version(), "kind": "ExecCredential", "spec": spec });
        let mut line = Command::new(self.command());
        line.args(self.args.iter().flatten())
            .envs(self.env.iter().flatten().map(|variable| (&variable.name, variable.value.reveal())))
            .env("KUBERNETES_EXEC_INFO", info.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        line
    }

    fn parse(&self, output: &[u8]) -> Result<PluginCredential, String> {
        // The parser's message could quote the output, which is secret.
        let credential: ExecCredential =
            serde_json::from_slice(output).map_err(|error| self.failed(&format!("printed no ExecCredential (line {})", error.line())))?;
        if credential.api_version != self.version() || credential.kind != "ExecCredential" {
            return Err(self.failed(&format!("did not print an ExecCredential of {}", self.version())));
        }
        let mut status = credential.status.unwrap_or_default();
        if status.client_certificate_data.is_some() != status.client_key_data.is_some() {
            return Err(self.failed("returned a certificate without a key, or a key without a certificate"));
        }
        status.token = status.token.filter(|token| !token.reveal().is_empty());
        if status.token.as_ref().is_some_and(|token| !fits_a_header(token.reveal())) {
            return Err(self.failed("returned a token that cannot be sent"));
        }
        if status.token.is_none() && status.certificate().is_none() {
            return Err(self.failed("returned neither a token nor a certificate"));
        }
        Ok(status)
    }

    fn failed(&self, what: &str) -> String {
        let hint =
            self.install_hint.as_deref().filter(|hint| !hint.is_empty()).map(|hint| format!("\n{}", hint.trim())).unwrap_or_default();
        format!("the credential plugin {} {what}{hint}", self.command())
    }
}

/// Waits for the end of the plugin and reads its output; `None` if the plugin has not ended at the deadline. A program that the plugin leaves
/// behind may keep the output open. So the output is complete if it is closed, or if the plugin has ended and it is a whole JSON text.
fn await_output(child: &mut Child, deadline: Instant) -> (Option<ExitStatus>, Vec<u8>) {
    let (mut stdout, mut output, mut status) = (child.stdout.take(), Vec::new(), None);
    while !clock::left(deadline).is_zero() {
        status = status.or_else(|| child.try_wait().ok().flatten());
        // Read after the plugin may have ended: all that it has printed is there.
        while let Some(open) = &mut stdout
            && is_readable(open)
        {
            let mut part = [0; 4096];
            match open.read(&mut part) {
                Ok(length @ 1..) if output.len() < OUTPUT_BYTES_MAX => output.extend_from_slice(&part[..length]),
                _ => stdout = None,
            }
        }
        let is_complete = || stdout.is_none() || serde_json::from_slice::<IgnoredAny>(&output).is_ok();
        if status.is_some_and(|status| !status.success() || is_complete()) {
            break;
        }
        clock::sleep(POLL);
    }
    (status, output)
}

/// Reports whether a read would not wait, because there is output or its end.
fn is_readable(stdout: &ChildStdout) -> bool {
    let mut waited = [PollFd::new(stdout, PollFlags::IN)];
    poll(&mut waited, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecCredential {
    api_version: String,
    kind: String,
    status: Option<PluginCredential>,
}

const VERSIONS: [&str; 2] = ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"];
/// The limit of a plugin's output.
const OUTPUT_BYTES_MAX: usize = 1024 * 1024;
/// Time between two checks for output and the end of the plugin. The standard library cannot wait for a process with a time limit.
const POLL: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests;
