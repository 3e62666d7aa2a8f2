//! The command line as typed: subcommands and flags, and for each flag an environment variable.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use jiff::SignedDuration;

use crate::access::VerifySource;

/// Lets Kubernetes nodes that update themselves reboot one after the other, drained.
///
/// A node asks before its reboot (FleetLock protocol, as Zincati speaks it). A node is approved only once it holds a slot,
/// is cordoned and has no pod left to evict. After the reboot the node checks in and is uncordoned; then the next may reboot.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, args_conflicts_with_subcommands = true)]
#[command(after_help = "Without a command, `serve` runs. Logs: RUST_LOG=error|warn|info|debug (default info).")]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer the nodes (the default)
    Serve(Serve),
}

/// Flags of `serve`.
#[derive(Debug, Clone, Args)]
pub struct Serve {
    /// Address of the FleetLock port, which nodes call
    #[arg(long, env = "REBOOT_MANAGER_LISTEN", value_name = "ADDRESS", default_value = "[::]:8080")]
    pub listen: SocketAddr,

    /// Address of /healthz, /readyz and /metrics
    #[arg(long, env = "REBOOT_MANAGER_OPS_LISTEN", value_name = "ADDRESS", default_value = "[::]:8081")]
    pub ops_listen: SocketAddr,

    /// Path with which the path of each request must begin; it must end with v1/pre-reboot or v1/steady-state
    #[arg(long, env = "REBOOT_MANAGER_BASE_PATH", value_name = "PATH", default_value = "/")]
    pub base_path: String,

    /// TLS on the FleetLock port
    #[arg(long, env = "REBOOT_MANAGER_TLS", value_name = "MODE", default_value = "off")]
    pub tls: Tls,

    /// File with the credentials of the callers (HTTP Basic), read again when it changes. Without credentials anyone who
    /// can reach the port can act as any node
    #[arg(long, env = "REBOOT_MANAGER_AUTH_FILE", value_name = "FILE")]
    pub auth_file: Option<PathBuf>,

    /// Check that a request comes from an address of the node that its id names
    #[arg(long, env = "REBOOT_MANAGER_VERIFY_SOURCE", value_name = "MODE", default_value = "off")]
    pub verify_source: VerifySource,

    /// Certificate for --tls files, PEM, with its chain, read again when it changes
    #[arg(long, env = "REBOOT_MANAGER_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// Private key for --tls files, PEM
    #[arg(long, env = "REBOOT_MANAGER_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// Service that nodes call; the certificate of --tls bootstrap is for its ClusterIPs
    #[arg(long, env = "REBOOT_MANAGER_SERVICE_NAME", value_name = "NAME", default_value = "reboot-manager")]
    pub service_name: String,

    /// Number of nodes that may reboot at once, over all groups; from 1 to 220
    #[arg(long, env = "REBOOT_MANAGER_SLOTS", value_name = "NUMBER", default_value_t = 1, value_parser = value_parser!(u16).range(1..=220))]
    pub slots: u16,

    /// A control-plane node waits while another one is unavailable: holds a slot, is marked Rebooting, is cordoned, or is not Ready
    #[arg(long, env = "REBOOT_MANAGER_PROTECT_CONTROL_PLANE", value_name = "SWITCH", default_value = "on")]
    pub protect_control_plane: Switch,

    /// Time for which a pre-reboot request is held open while its node drains or waits for a slot; 0s answers at once. Must
    /// be shorter than the timeout of any proxy in between
    #[arg(long, env = "REBOOT_MANAGER_PRE_REBOOT_WAIT", value_name = "DURATION", default_value = "50s", value_parser = duration)]
    pub pre_reboot_wait: Duration,

    /// Number of requests held open that wait for a slot, at most half of --max-connections. Beyond this, the node that has
    /// waited for the shortest time is answered at once
    #[arg(long, env = "REBOOT_MANAGER_MAX_WAITING", value_name = "NUMBER", default_value_t = 100)]
    pub max_waiting: u16,

    /// Time without a request after which a node that was not approved gives its slot back, or `never`
    #[arg(long, env = "REBOOT_MANAGER_RELEASE_SILENT_AFTER", value_name = "DURATION", default_value = "17m", value_parser = limit)]
    pub release_silent_after: Limit,

    /// Time without progress of its drain after which a node that was not approved gives its slot back, or `never`: no pod
    /// has gone, and none is within its grace period
    #[arg(long, env = "REBOOT_MANAGER_GIVE_UP_AFTER", value_name = "DURATION", default_value = "30m", value_parser = limit)]
    pub give_up_after: Limit,

    /// Time without Ready after which a node that was not approved gives its slot back, or `never`
    #[arg(long, env = "REBOOT_MANAGER_GIVE_UP_NOT_READY_AFTER", value_name = "DURATION", default_value = "5m", value_parser = limit)]
    pub give_up_not_ready_after: Limit,

    /// Time after which the slot of a node that has rebooted, is Ready and has not checked in is freed, or `never`
    #[arg(long, env = "REBOOT_MANAGER_RELEASE_REBOOTED_AFTER", value_name = "DURATION", default_value = "10m", value_parser = limit)]
    pub release_rebooted_after: Limit,

    /// Time after which the slot of an approved node whose Node object is gone is freed, or `never`
    #[arg(long, env = "REBOOT_MANAGER_RELEASE_DELETED_AFTER", value_name = "DURATION", default_value = "15m", value_parser = limit)]
    pub release_deleted_after: Limit,

    /// Time after which the approval of a node that still asks and has not rebooted is withdrawn, or `never`
    #[arg(long, env = "REBOOT_MANAGER_WITHDRAW_AFTER", value_name = "DURATION", default_value = "1h", value_parser = limit)]
    pub withdraw_after: Limit,

    /// First back-off of a node that gave its slot back for a reason of its own, or `never`. Each further one in a row is
    /// twice as long, up to a day
    #[arg(long, env = "REBOOT_MANAGER_BACK_OFF", value_name = "DURATION", default_value = "30m", value_parser = limit)]
    pub back_off: Limit,

    /// Number of connections to the FleetLock port at once. Beyond this, the oldest connection whose request is incomplete
    /// is closed
    #[arg(long, env = "REBOOT_MANAGER_MAX_CONNECTIONS", value_name = "NUMBER", default_value_t = 512, value_parser = value_parser!(u16).range(2..))]
    pub max_connections: u16,

    /// Time for a request to arrive, including the TLS handshake
    #[arg(long, env = "REBOOT_MANAGER_REQUEST_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = request_timeout)]
    pub request_timeout: Duration,

    /// Maximum size of request line and headers together
    #[arg(long, env = "REBOOT_MANAGER_MAX_HEAD_BYTES", value_name = "NUMBER", default_value_t = 8192, value_parser = value_parser!(u32).range(SIZES))]
    pub max_head_bytes: u32,

    /// Maximum size of the body of a request
    #[arg(long, env = "REBOOT_MANAGER_MAX_BODY_BYTES", value_name = "NUMBER", default_value_t = 8192, value_parser = value_parser!(u32).range(SIZES))]
    pub max_body_bytes: u32,

    /// Kubeconfig to use outside the cluster (default: as kubectl finds it)
    #[arg(long, env = "REBOOT_MANAGER_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig (default: its current context)
    #[arg(long, env = "REBOOT_MANAGER_CONTEXT", value_name = "NAME")]
    pub context: Option<String>,

    /// Namespace of the Lease that holds the lock (default: the namespace of the pod, else reboot-manager)
    #[arg(long, env = "REBOOT_MANAGER_NAMESPACE", value_name = "NAME")]
    pub namespace: Option<String>,

    /// Format of the log
    #[arg(long, env = "REBOOT_MANAGER_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// A time after which something happens; `None` is `never`.
pub type Limit = Option<SignedDuration>;

/// TLS on the FleetLock port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Tls {
    /// CA and certificate made by reboot-manager and kept in Secrets
    Bootstrap,
    /// Certificate and key from --tls-cert and --tls-key
    Files,
    /// Plain HTTP
    Off,
}

/// Protection of the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// The control-plane node waits
    On,
    /// The control-plane node is treated like any other node
    Off,
}

/// Format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A JSON object on each line
    Json,
    /// Plain text
    Text,
}

impl Cli {
    /// Returns the flags of `serve`, the only subcommand and the default.
    pub fn into_serve(self) -> Serve {
        let Some(Command::Serve(serve)) = self.command else { return self.serve };
        serve
    }
}

/// Parses a duration such as `50s`, `2m` or `1m30s` (jiff's friendly format), at most an hour.
fn duration(text: &str) -> Result<Duration, String> {
    let example = "give a duration such as 50s, 2m or 1m30s";
    let span: SignedDuration = text.parse().map_err(|error| format!("{error}; {example}"))?;
    let duration = Duration::try_from(span).map_err(|_negative| format!("the duration is negative; {example}"))?;
    if duration > DURATION_MAX { Err(format!("the duration is longer than an hour; {example}")) } else { Ok(duration) }
}

/// Parses a duration such as `30m` or `1h30m`, at least a minute and at most a week, or `never`.
fn limit(text: &str) -> Result<Limit, String> {
    let example = "give a duration such as 30m or 1h30m, or never";
    if text == "never" {
        return Ok(None);
    }
    let limit: SignedDuration = text.parse().map_err(|error| format!("{error}; {example}"))?;
    match limit {
        limit if limit < LIMIT_MIN => Err(format!("the duration is shorter than a minute; {example}")),
        limit if limit > LIMIT_MAX => Err(format!("the duration is longer than a week; {example}")),
        limit => Ok(Some(limit)),
    }
}

fn request_timeout(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration.is_zero() { Err("the duration must be longer than zero, such as 10s".to_owned()) } else { Ok(duration) }
}

// The request of every client fits, and memory for all connections is bounded.
const SIZES: RangeInclusive<i64> = 1024..=65536;

// The reconciler looks every ten seconds, and a kubelet reports within a minute.
const LIMIT_MIN: SignedDuration = SignedDuration::from_mins(1);

// A longer time is never, by mistake.
const LIMIT_MAX: SignedDuration = SignedDuration::from_hours(7 * 24);

// No client waits longer: Zincati gives up after 30 minutes.
const DURATION_MAX: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_are_accepted_with_and_without_serve() {
        for words in [&["reboot-manager", "serve", "--slots", "2"][..], &["reboot-manager", "--slots", "2"][..]] {
            assert_eq!(Cli::try_parse_from(words).unwrap().into_serve().slots, 2);
        }
        let most = crate::lock::SLOTS_MAX;
        for (slots, is_valid) in [(0, false), (most, true), (most + 1, false)] {
            assert_eq!(Cli::try_parse_from(["reboot-manager", "--slots", &slots.to_string()]).is_ok(), is_valid, "{slots}");
        }
    }

    #[test]
    fn durations_have_a_unit_and_a_limit() {
        for (text, seconds) in [("50s", 50), ("2m", 120), ("1m30s", 90), ("0s", 0), ("1h", 3600)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "50", "-1s", "61m", "soon"] {
            assert!(duration(text).unwrap_err().contains("such as 50s"), "{text}");
        }
        for (text, limits) in [("never", None), ("1m", Some(1)), ("1h30m", Some(90)), ("168h", Some(7 * 24 * 60))] {
            assert_eq!(limit(text), Ok(limits.map(SignedDuration::from_mins)), "{text}");
        }
        for text in ["", "0s", "59s", "169h", "-5m", "30", "Never"] {
            assert!(limit(text).unwrap_err().contains("or never"), "{text}");
        }
        assert_eq!(request_timeout("10s"), Ok(Duration::from_secs(10)));
        assert!(request_timeout("0s").is_err());
    }
}
