//! Flags of `serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::Connection;

/// Flags of `serve`.
#[derive(Debug, Clone, Args)]
pub struct Serve {
    /// Address on which nodes call
    #[arg(long, env = "REBOOT_MANAGER_LISTEN", value_name = "ADDRESS", default_value = "[::]:8080")]
    pub listen: SocketAddr,

    /// Address of /healthz, /readyz and /metrics
    #[arg(long, env = "REBOOT_MANAGER_OPS_LISTEN", value_name = "ADDRESS", default_value = "[::]:8081")]
    pub ops_listen: SocketAddr,

    /// Path below which v1/pre-reboot and v1/steady-state are served
    #[arg(long, env = "REBOOT_MANAGER_BASE_PATH", value_name = "PATH", default_value = "/")]
    pub base_path: String,

    /// TLS on the address on which nodes call
    #[arg(long, env = "REBOOT_MANAGER_TLS", value_name = "MODE", default_value = "off")]
    pub tls: Tls,

    /// File with the credentials of those who may call (HTTP Basic); it is read again when it changes. Without it
    /// whoever reaches the port may speak for every node
    #[arg(long, env = "REBOOT_MANAGER_AUTH_FILE", value_name = "FILE")]
    pub auth_file: Option<PathBuf>,

    /// Whether a request must come from an address of the node that it speaks for
    #[arg(long, env = "REBOOT_MANAGER_VERIFY_SOURCE", value_name = "MODE", default_value = "off")]
    pub verify_source: VerifySource,

    /// Certificate for --tls files, PEM, with its chain; read again when it changes
    #[arg(long, env = "REBOOT_MANAGER_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// Private key for --tls files, PEM
    #[arg(long, env = "REBOOT_MANAGER_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// Service at whose ClusterIPs nodes call, for the certificate of --tls bootstrap
    #[arg(long, env = "REBOOT_MANAGER_SERVICE_NAME", value_name = "NAME", default_value = "reboot-manager")]
    pub service_name: String,

    /// How many nodes may be out at once, over all groups
    #[arg(long, env = "REBOOT_MANAGER_SLOTS", value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub slots: u16,

    /// Whether a control-plane node must wait while another one is unavailable: holds a slot, is cordoned, is not Ready
    #[arg(long, env = "REBOOT_MANAGER_PROTECT_CONTROL_PLANE", value_name = "SWITCH", default_value = "on")]
    pub protect_control_plane: Switch,

    /// How long a request for a reboot is held open while its node drains: 0s answers at once; stay below the
    /// time-out of any proxy in between
    #[arg(long, env = "REBOOT_MANAGER_PRE_REBOOT_WAIT", value_name = "DURATION", default_value = "50s", value_parser = duration)]
    pub pre_reboot_wait: Duration,

    /// How many connections of nodes may be open at once; when there are more, the one goes that has dawdled longest
    /// over its request
    #[arg(long, env = "REBOOT_MANAGER_MAX_CONNECTIONS", value_name = "NUMBER", default_value_t = 512, value_parser = clap::value_parser!(u16).range(2..))]
    pub max_connections: u16,

    /// How long a request may take to arrive, with the TLS handshake
    #[arg(long, env = "REBOOT_MANAGER_REQUEST_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = request_timeout)]
    pub request_timeout: Duration,

    /// How many bytes request line and headers may have together
    #[arg(long, env = "REBOOT_MANAGER_MAX_HEAD_BYTES", value_name = "NUMBER", default_value_t = 8192, value_parser = clap::value_parser!(u32).range(SIZES))]
    pub max_head_bytes: u32,

    /// How many bytes the body of a request may have
    #[arg(long, env = "REBOOT_MANAGER_MAX_BODY_BYTES", value_name = "NUMBER", default_value_t = 8192, value_parser = clap::value_parser!(u32).range(SIZES))]
    pub max_body_bytes: u32,

    /// Which Kubernetes API, and which Lease.
    #[command(flatten)]
    pub connection: Connection,

    /// How log lines look
    #[arg(long, env = "REBOOT_MANAGER_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// TLS on the FleetLock port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Tls {
    /// A CA and a certificate of its own, kept in Secrets
    Bootstrap,
    /// The certificate of --tls-cert and --tls-key
    Files,
    /// Plain HTTP
    Off,
}

/// What becomes of a request that does not come from the node it speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum VerifySource {
    /// It is refused
    Enforce,
    /// It is answered, with a warning in the log
    Log,
    /// Nobody looks
    Off,
}

/// A setting that is on or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// In force
    On,
    /// Not in force
    Off,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line
    Json,
    /// For people
    Text,
}

/// Reads a duration such as `50s`, `2m` or `1m30s` (jiff's friendly format); at most an hour.
fn duration(text: &str) -> Result<Duration, String> {
    let example = "give a duration such as 50s, 2m or 1m30s";
    let span: jiff::SignedDuration = text.parse().map_err(|error| format!("{error}; {example}"))?;
    let duration = Duration::try_from(span).map_err(|_negative| format!("it is negative; {example}"))?;
    if duration > HELD_MAX { Err(format!("it is longer than an hour; {example}")) } else { Ok(duration) }
}

/// A duration in which a request can arrive.
fn request_timeout(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration.is_zero() { Err("no request can arrive in no time; give a duration such as 10s".to_owned()) } else { Ok(duration) }
}

/// What a limit of sizes can be: every client's request fits, and memory for all connections is bounded.
const SIZES: std::ops::RangeInclusive<i64> = 1024..=65536;

/// No client waits longer: Zincati gives up after 30 minutes.
const HELD_MAX: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        let cases = [("50s", Some(50)), ("2m", Some(120)), ("1m30s", Some(90)), ("0s", Some(0)), ("1h", Some(3600))];
        for (text, seconds) in cases {
            assert_eq!(duration(text).ok(), seconds.map(Duration::from_secs), "{text}");
        }
        for text in ["", "50", "-1s", "61m", "soon"] {
            assert!(duration(text).unwrap_err().contains("such as 50s"), "{text}");
        }
    }

    #[test]
    fn a_request_has_some_time_to_arrive() {
        assert_eq!(request_timeout("10s").ok(), Some(Duration::from_secs(10)));
        assert!(request_timeout("0s").is_err());
    }
}
