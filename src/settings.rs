//! Settings of `serve` from flags and environment variables. Variables of Kubernetes (`POD_…`, `KUBECONFIG`) are read here only; clap reads
//! `REBOOT_MANAGER_…`, and `logging` reads `RUST_LOG`.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;

use thiserror::Error;

use crate::certificate::Source;
use crate::cli::{Serve, Tls};
use crate::cluster::Uid;
use crate::drain::Ours;
use crate::kube::{ConnectOptions, Environment};

/// Settings of `serve` that are not used as typed.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Options by which the Kubernetes API is found.
    pub connect: ConnectOptions,
    namespace: Option<String>,
    /// Identity of the pods of this server.
    pub ours: Ours,
    /// Name of this process, which no other replica has: the name of its pod if it has one, and some random letters.
    pub replica: String,
    /// Source of the certificate.
    pub tls: Source,
}

/// Flags that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Invalid {
    /// A certificate file without --tls files.
    #[error("{0} is set, but it is for --tls files (REBOOT_MANAGER_TLS=files) only; set that too, or leave it out")]
    FileUnused(&'static str),
    /// Only one of the two files.
    #[error("--tls files (REBOOT_MANAGER_TLS) needs a certificate and a key; {0} is missing, such as /etc/reboot-manager/{1}")]
    FileMissing(&'static str, &'static str),
    /// Both ports with one address.
    #[error(
        "--listen (REBOOT_MANAGER_LISTEN) and --ops-listen (REBOOT_MANAGER_OPS_LISTEN) are both {0}; use two ports, such as 8080 and 8081"
    )]
    SameAddress(SocketAddr),
}

impl Settings {
    /// Combines flags with the environment of the process.
    pub fn new(flags: &Serve) -> Result<Self, Invalid> {
        let Serve { kubeconfig, context, namespace, .. } = flags.clone();
        // The system chooses two ports for 0.
        if flags.listen == flags.ops_listen && flags.listen.port() != 0 {
            return Err(Invalid::SameAddress(flags.listen));
        }
        Ok(Self {
            connect: ConnectOptions { kubeconfig, context, environment: Environment::of(variable) },
            namespace: namespace.or_else(|| variable("POD_NAMESPACE")),
            ours: Ours {
                uid: variable("POD_UID").map(Uid),
                name: variable("POD_NAME"),
                namespace: variable("POD_NAMESPACE"),
                service_account: variable("POD_SERVICE_ACCOUNT"),
            },
            replica: replica(variable("POD_NAME").as_deref()),
            tls: source(flags)?,
        })
    }

    /// Returns the namespace of the Lease. In a pod, `service_account` is the namespace in the files of the service account.
    pub fn namespace(&self, service_account: Option<&str>) -> String {
        self.namespace.as_deref().or(service_account).unwrap_or("reboot-manager").to_owned()
    }
}

/// Reads an environment variable; `None` if it is not set or empty.
#[expect(clippy::disallowed_methods, reason = "the environment is read here and nowhere else")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn replica(pod: Option<&str>) -> String {
    // A hasher of the standard library has random keys. They need not be secret.
    let random = RandomState::new().build_hasher().finish();
    format!("{}-{random:016x}", pod.unwrap_or("reboot-manager"))
}

fn source(flags: &Serve) -> Result<Source, Invalid> {
    match (flags.tls, &flags.tls_cert, &flags.tls_key) {
        (Tls::Files, Some(certificate), Some(key)) => Ok(Source::Files { certificate: certificate.clone(), key: key.clone() }),
        (Tls::Files, None, _) => Err(Invalid::FileMissing(CERT, "tls.crt")),
        (Tls::Files, _, None) => Err(Invalid::FileMissing(KEY, "tls.key")),
        (_, Some(_), _) => Err(Invalid::FileUnused(CERT)),
        (_, _, Some(_)) => Err(Invalid::FileUnused(KEY)),
        (Tls::Bootstrap, None, None) => Ok(Source::Bootstrap { service: flags.service_name.clone() }),
        (Tls::Off, None, None) => Ok(Source::Off),
    }
}

// A flag, and the variable that may have the value instead.
const CERT: &str = "--tls-cert (REBOOT_MANAGER_TLS_CERT)";
const KEY: &str = "--tls-key (REBOOT_MANAGER_TLS_KEY)";

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn the_certificates_source_is_whole_or_refused() {
        let files = Source::Files { certificate: "c".into(), key: "k".into() };
        let cases = [
            ("", Ok(Source::Off)),
            ("--tls off", Ok(Source::Off)),
            ("--tls bootstrap", Ok(Source::Bootstrap { service: "reboot-manager".to_owned() })),
            ("--tls bootstrap --service-name other", Ok(Source::Bootstrap { service: "other".to_owned() })),
            ("--tls files --tls-cert c --tls-key k", Ok(files)),
            ("--tls files", Err(Invalid::FileMissing(CERT, "tls.crt"))),
            ("--tls files --tls-key k", Err(Invalid::FileMissing(CERT, "tls.crt"))),
            ("--tls files --tls-cert c", Err(Invalid::FileMissing(KEY, "tls.key"))),
            ("--tls-cert c --tls-key k", Err(Invalid::FileUnused(CERT))),
            ("--tls bootstrap --tls-key k", Err(Invalid::FileUnused(KEY))),
        ];
        for (words, want) in cases {
            let cli = Cli::try_parse_from(["reboot-manager"].into_iter().chain(words.split_whitespace())).unwrap();
            assert_eq!(source(&cli.into_serve()), want, "{words}");
        }
    }
}
