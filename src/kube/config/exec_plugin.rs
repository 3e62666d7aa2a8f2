//! Credential plugin: a program in a kubeconfig that prints a token or a certificate.
//!
//! The plugin runs without a terminal and for a limited time. Its output is the credential and must never be shown. Its error output
//! goes to our own, as with kubectl.
//!
//! Specification: <https://kubernetes.io/docs/reference/config-api/client-authentication.v1/>; v1beta1 has the same fields.

use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::secret::{Secret, fits_a_header};
use crate::system::{clock, threads};

/// A plugin and how to run it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plugin {
    /// The program, found in `PATH` unless it is a path.
    pub(super) command: PathBuf,
    pub(super) arguments: Vec<String>,
    /// Added to our own environment.
    pub(super) environment: Vec<(String, Secret)>,
    /// `client.authentication.k8s.io/v1` or `/v1beta1`.
    pub(super) api_version: String,
    /// Printed when the plugin fails.
    pub(super) install_hint: Option<String>,
    /// The data on the cluster, if the plugin is to get them.
    pub(super) cluster: Option<Value>,
    /// The time limit of one run.
    pub(super) time_max: Duration,
}

/// The credential that a plugin printed.
#[derive(Debug, PartialEq)]
pub(super) struct PluginCredential {
    pub(super) token: Option<Secret>,
    /// Certificate and key, in PEM.
    pub(super) certificate: Option<(String, Secret)>,
    pub(super) expires: Option<Timestamp>,
}

impl Plugin {
    /// Runs the plugin and reads the credential that it prints. An error is a message.
    pub(super) fn run(&self) -> Result<PluginCredential, String> {
        log::debug!("running the credential plugin {}", self.command.display());
        let deadline = clock::now().instant + self.time_max;
        let mut child = self.command_line().spawn().map_err(|error| self.failed(&format!("cannot be run: {error}")))?;
        let output = child.stdout.take().map(|stdout| read_by(stdout, deadline)).transpose().map_err(|error| {
            let _ended = await_end(&mut child, clock::now().instant);
            self.failed(&format!("cannot be read, because no thread can be started: {error}"))
        })?;
        let status = await_end(&mut child, if matches!(output, Some(None)) { clock::now().instant } else { deadline });
        let status = status.ok_or_else(|| self.failed(&format!("did not end within {} s", self.time_max.as_secs_f32())))?;
        if !status.success() {
            return Err(self.failed(&format!("failed with {status}; see its output in the log above")));
        }
        self.parse(output.flatten().unwrap_or_default().as_slice())
    }

    fn command_line(&self) -> Command {
        let mut spec = json!({ "interactive": false });
        if let Some(cluster) = &self.cluster {
            spec["cluster"] = cluster.clone();
        }
        let info = json!({ "apiVersion": self.api_version, "kind": "ExecCredential", "spec": spec });
        let mut line = Command::new(&self.command);
        line.args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value.reveal())))
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
        if credential.api_version != self.api_version || credential.kind != "ExecCredential" {
            return Err(self.failed(&format!("did not print an ExecCredential of {}", self.api_version)));
        }
        let status = credential.status.unwrap_or_default();
        let certificate = match (status.client_certificate_data, status.client_key_data) {
            (Some(certificate), Some(key)) => Some((certificate, Secret::new(key))),
            (None, None) => None,
            _ => return Err(self.failed("returned a certificate without a key, or a key without a certificate")),
        };
        let token = status.token.filter(|token| !token.is_empty());
        if token.as_deref().is_some_and(|token| !fits_a_header(token)) {
            return Err(self.failed("returned a token that cannot be sent"));
        }
        if token.is_none() && certificate.is_none() {
            return Err(self.failed("returned neither a token nor a certificate"));
        }
        Ok(PluginCredential { token: token.map(Secret::new), certificate, expires: status.expiration_timestamp })
    }

    fn failed(&self, what: &str) -> String {
        let hint = self.install_hint.as_deref().map(|hint| format!("\n{}", hint.trim())).unwrap_or_default();
        format!("the credential plugin {} {what}{hint}", self.command.display())
    }
}

/// Reads the output of the plugin; `None` if the plugin has not closed its output in time.
fn read_by(stdout: ChildStdout, deadline: Instant) -> io::Result<Option<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel();
    threads::start("plugin", move || {
        let mut output = Vec::new();
        // A cut output is no valid JSON, so no distinction is needed here.
        let _ = stdout.take(OUTPUT_BYTES_MAX).read_to_end(&mut output);
        let _ = sender.send(output);
    })?;
    Ok(receiver.recv_timeout(clock::left(deadline)).ok())
}

/// Waits for the exit status of the plugin, and kills the plugin at the deadline.
fn await_end(child: &mut Child, deadline: Instant) -> Option<ExitStatus> {
    while clock::now().instant < deadline {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) => clock::sleep(POLL),
            Err(_) => break,
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecCredential {
    api_version: String,
    kind: String,
    status: Option<ExecStatus>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ExecStatus {
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
    expiration_timestamp: Option<Timestamp>,
}

/// The limit of a plugin's output.
const OUTPUT_BYTES_MAX: u64 = 1024 * 1024;
/// Time between two checks for the end of the plugin. The standard library cannot wait for a process with a time limit.
const POLL: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests;
