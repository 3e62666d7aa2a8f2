//! From the command line and the environment to values. Nothing raw is left behind this.

use thiserror::Error;

use crate::access::VerifySource;
use crate::certificate::Source;
use crate::cli::{self, Serve, Tls};
use crate::cluster::Uid;
use crate::drain::Ours;
use crate::kube::{ConnectOptions, Environment};

/// The namespace of the Lease when nothing else names one.
const NAMESPACE: &str = "reboot-manager";

/// The settings of `serve` that are not used as typed.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which Kubernetes API, and which Lease.
    pub connection: Connection,
    /// How to recognize our own pods.
    pub ours: Ours,
    /// The source of the certificate.
    pub tls: Source,
    /// The treatment of a request that does not come from the node it names.
    pub verify_source: VerifySource,
}

/// Everything that a call to Kubernetes needs.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Which Kubernetes API.
    pub options: ConnectOptions,
    namespace: Option<String>,
}

/// Flags that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Invalid {
    /// A certificate file without --tls files.
    #[error("{0} is for --tls files; give that too, or leave it out")]
    FileUnused(&'static str),
    /// Only one of the two files.
    #[error("--tls files needs both --tls-cert and --tls-key; {0} is missing")]
    FileMissing(&'static str),
}

impl Settings {
    /// From flags and the process's environment.
    pub fn new(flags: &Serve) -> Result<Self, Invalid> {
        Ok(Self {
            connection: Connection::new(&flags.connection),
            ours: Ours {
                uid: variable("POD_UID").map(Uid),
                name: variable("POD_NAME"),
                namespace: variable("POD_NAMESPACE"),
                service_account: variable("POD_SERVICE_ACCOUNT"),
            },
            tls: source(flags)?,
            verify_source: match flags.verify_source {
                cli::VerifySource::Enforce => VerifySource::Enforce,
                cli::VerifySource::Log => VerifySource::Log,
                cli::VerifySource::Off => VerifySource::Off,
            },
        })
    }
}

impl Connection {
    /// From flags and the process's environment.
    pub fn new(flags: &cli::Connection) -> Self {
        let cli::Connection { kubeconfig, context, namespace } = flags.clone();
        let options = ConnectOptions { kubeconfig, context, environment: Environment::of(variable) };
        Self { options, namespace: namespace.or_else(|| variable("POD_NAMESPACE")) }
    }

    /// The Lease's namespace; `own` is the one that the service account's files name, in a pod.
    pub fn namespace(&self, own: Option<&str>) -> String {
        self.namespace.as_deref().or(own).unwrap_or(NAMESPACE).to_owned()
    }
}

/// A variable that is set and not empty.
#[expect(clippy::disallowed_methods, reason = "the environment is read here and nowhere else")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn source(flags: &Serve) -> Result<Source, Invalid> {
    match (flags.tls, &flags.tls_cert, &flags.tls_key) {
        (Tls::Files, Some(certificate), Some(key)) => Ok(Source::Files { certificate: certificate.clone(), key: key.clone() }),
        (Tls::Files, None, _) => Err(Invalid::FileMissing("--tls-cert")),
        (Tls::Files, _, None) => Err(Invalid::FileMissing("--tls-key")),
        (_, Some(_), _) => Err(Invalid::FileUnused("--tls-cert")),
        (_, _, Some(_)) => Err(Invalid::FileUnused("--tls-key")),
        (Tls::Bootstrap, None, None) => Ok(Source::Bootstrap { service: flags.service_name.clone() }),
        (Tls::Off, None, None) => Ok(Source::Off),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn the_certificates_source_is_whole_or_refused() {
        let files = Source::Files { certificate: "c".into(), key: "k".into() };
        let cases = [
            ("", Ok(Source::Off)),
            ("--tls off", Ok(Source::Off)),
            ("--tls bootstrap", Ok(Source::Bootstrap { service: "reboot-manager".to_owned() })),
            ("--tls bootstrap --service-name other", Ok(Source::Bootstrap { service: "other".to_owned() })),
            ("--tls files --tls-cert c --tls-key k", Ok(files)),
            ("--tls files", Err(Invalid::FileMissing("--tls-cert"))),
            ("--tls files --tls-key k", Err(Invalid::FileMissing("--tls-cert"))),
            ("--tls files --tls-cert c", Err(Invalid::FileMissing("--tls-key"))),
            ("--tls-cert c --tls-key k", Err(Invalid::FileUnused("--tls-cert"))),
            ("--tls bootstrap --tls-key k", Err(Invalid::FileUnused("--tls-key"))),
        ];
        for (words, want) in cases {
            let cli = Cli::try_parse_from(["reboot-manager"].into_iter().chain(words.split_whitespace())).unwrap();
            let Command::Serve(flags) = cli.into_command();
            assert_eq!(source(&flags), want, "{words}");
        }
    }
}
