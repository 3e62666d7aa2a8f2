//! The command line as typed: subcommands and flags, and for each flag an environment variable.

mod errors;
mod variables;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::SignedDuration;

use crate::access::VerifySource;
pub use variables::unread;

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

/// Flags of `serve`. The help does not show the values of the variables, which may be secret by mistake.
#[derive(Debug, Clone, Args)]
#[command(mut_args(|arg| arg.hide_env_values(true)))]
pub struct Serve {
    /// Address of the FleetLock port, which nodes call
    #[arg(long, env = "REBOOT_MANAGER_LISTEN", value_name = "ADDRESS", default_value = "[::]:8080", value_parser = address)]
    pub listen: SocketAddr,

    /// Address of /healthz, /readyz and /metrics
    #[arg(long, env = "REBOOT_MANAGER_OPS_LISTEN", value_name = "ADDRESS", default_value = "[::]:8081", value_parser = address)]
    pub ops_listen: SocketAddr,

    /// Path with which the path of each request must begin; it must end with v1/pre-reboot or v1/steady-state
    #[arg(long, env = "REBOOT_MANAGER_BASE_PATH", value_name = "PATH", default_value = "/", value_parser = base_path)]
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
    #[arg(long, env = "REBOOT_MANAGER_SERVICE_NAME", value_name = "NAME", default_value = "reboot-manager", value_parser = name)]
    pub service_name: String,

    /// Number of nodes that may reboot at once, over all groups; from 1 to 220
    #[arg(long, env = "REBOOT_MANAGER_SLOTS", value_name = "NUMBER", default_value_t = 1, value_parser = number::<1, 220>)]
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
    #[arg(long, env = "REBOOT_MANAGER_MAX_WAITING", value_name = "NUMBER", default_value_t = 100, value_parser = number::<0, 65_535>)]
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

    /// Number of connections to the FleetLock port at once. Beyond this, the address with the most connections
    /// loses the oldest one whose request is incomplete
    #[arg(long, env = "REBOOT_MANAGER_MAX_CONNECTIONS", value_name = "NUMBER", default_value_t = 512, value_parser = number::<2, 65_535>)]
    pub max_connections: u16,

    /// Time for a request to arrive, including the TLS handshake
    #[arg(long, env = "REBOOT_MANAGER_REQUEST_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = request_timeout)]
    pub request_timeout: Duration,

    /// Maximum size of request line and headers together
    #[arg(long, env = "REBOOT_MANAGER_MAX_HEAD_BYTES", value_name = "NUMBER", default_value_t = 8192, value_parser = size)]
    pub max_head_bytes: u32,

    /// Maximum size of the body of a request
    #[arg(long, env = "REBOOT_MANAGER_MAX_BODY_BYTES", value_name = "NUMBER", default_value_t = 8192, value_parser = size)]
    pub max_body_bytes: u32,

    /// Kubeconfig to use outside the cluster (default: as kubectl finds it)
    #[arg(long, env = "REBOOT_MANAGER_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig (default: its current context)
    #[arg(long, env = "REBOOT_MANAGER_CONTEXT", value_name = "NAME")]
    pub context: Option<String>,

    /// Namespace of the Lease that holds the lock (default: the namespace of the pod, else reboot-manager)
    #[arg(long, env = "REBOOT_MANAGER_NAMESPACE", value_name = "NAME", value_parser = name)]
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
    /// Parses the arguments of the process, the first of which is its name, and reads the variables.
    pub fn read(arguments: &[OsString]) -> Result<Self, clap::Error> {
        Self::try_parse_from(arguments).map_err(|error| errors::explained(error, arguments))
    }

    /// Returns the flags of `serve`, the only subcommand and the default.
    pub fn into_serve(self) -> Serve {
        let Some(Command::Serve(serve)) = self.command else { return self.serve };
        serve
    }
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_invalid| "use an address and a port such as [::]:8080 or 0.0.0.0:8080")
}

fn base_path(text: &str) -> Result<String, &'static str> {
    let is_path = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte));
    if is_path { Ok(text.to_owned()) } else { Err("use a path such as /fleet_lock/") }
}

fn number<const MIN: u16, const MAX: u16>(text: &str) -> Result<u16, String> {
    let number = text.parse().ok().filter(|number| (MIN..=MAX).contains(number));
    number.ok_or_else(|| format!("use a number from {MIN} to {MAX}"))
}

fn size(text: &str) -> Result<u32, String> {
    let size = text.parse().ok().filter(|size| SIZES.contains(size));
    size.ok_or_else(|| format!("use a number of bytes from {} to {}", SIZES.start(), SIZES.end()))
}

/// Parses the name of a namespace or a Service, which is a DNS label (RFC 1035 or RFC 1123).
fn name(text: &str) -> Result<String, &'static str> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_name = (1..=63).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('-') && !text.ends_with('-');
    if is_name { Ok(text.to_owned()) } else { Err("use up to 63 lower-case letters, digits and dashes, such as reboot-manager") }
}

/// Parses a duration such as `50s`, `2m` or `1m30s` (jiff's friendly format), at most an hour.
fn duration(text: &str) -> Result<Duration, &'static str> {
    let duration = text.parse().ok().and_then(|span: SignedDuration| Duration::try_from(span).ok());
    duration.filter(|duration| *duration <= DURATION_MAX).ok_or("use a duration such as 50s, 2m or 1m30s, up to an hour")
}

fn request_timeout(text: &str) -> Result<Duration, &'static str> {
    let timeout = duration(text).ok().filter(|duration| *duration >= REQUEST_TIMEOUT_MIN);
    timeout.ok_or("use a duration such as 10s, from a second to an hour")
}

/// Parses a duration such as `30m` or `1h30m`, at least a minute and at most a week, or `never`.
fn limit(text: &str) -> Result<Limit, &'static str> {
    if text == "never" {
        return Ok(None);
    }
    let limit = text.parse().ok().filter(|limit| (LIMIT_MIN..=LIMIT_MAX).contains(limit));
    limit.map(Some).ok_or("use a duration such as 30m or 1h30m, from a minute to a week, or never")
}

// The request of every client fits, and memory for all connections is bounded.
const SIZES: RangeInclusive<u32> = 1024..=65536;

// The reconciler looks every ten seconds, and a kubelet reports within a minute.
const LIMIT_MIN: SignedDuration = SignedDuration::from_mins(1);

// A longer time is never, by mistake.
const LIMIT_MAX: SignedDuration = SignedDuration::from_hours(7 * 24);

// Several round trips with a distant node fit.
const REQUEST_TIMEOUT_MIN: Duration = Duration::from_secs(1);

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
            assert!(duration(text).is_err(), "{text}");
        }
        for (text, limits) in [("never", None), ("1m", Some(1)), ("1h30m", Some(90)), ("168h", Some(7 * 24 * 60))] {
            assert_eq!(limit(text), Ok(limits.map(SignedDuration::from_mins)), "{text}");
        }
        for text in ["", "0s", "59s", "169h", "-5m", "30", "Never"] {
            assert!(limit(text).is_err(), "{text}");
        }
        assert_eq!(request_timeout("10s"), Ok(Duration::from_secs(10)));
        for (text, is_valid) in [("0s", false), ("5ms", false), ("999ms", false), ("1s", true), ("1h", true)] {
            assert_eq!(request_timeout(text).is_ok(), is_valid, "{text}");
        }
    }
}
