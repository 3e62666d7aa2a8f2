//! The log line of each answer, and its limit: no caller fills the log, whatever it sends and however often.
//!
//! An answer that repeats an earlier one is logged once a minute, with the number of those in between, which are logged at debug.
//! An approval is always logged.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use log::{Level, log};

use crate::access::ClientNetwork;
use crate::fleetlock::{Endpoint, Kind, Reply};
use crate::system::guarded::Guarded;
use crate::system::repeats::Repeats;

// Different answers in two minutes to known nodes. Of 5,000 nodes, 2,000 ask in this time. A line takes 34 bytes at most.
const NODES_MAX: usize = 8192;

// Different answers in two minutes to callers that act for no known node. A line of the log has about 200 bytes.
const CALLERS_MAX: usize = 100;

/// An answered request, as far as it is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered<'a> {
    pub(super) endpoint: Option<Endpoint>,
    pub(super) remote: SocketAddr,
    pub(super) user: Option<&'a str>,
    pub(super) group: Option<&'a str>,
    pub(super) node: Option<&'a str>,
    /// Probe of a load balancer.
    pub(super) is_probe: bool,
    pub(super) duration: Duration,
}

/// The lines that were logged lately.
pub(crate) struct Answers {
    nodes: Guarded<Repeats>,
    callers: Guarded<Repeats>,
}

/// The part in which two answers must agree to be equal.
#[derive(Debug, PartialEq, Eq)]
enum Limit<'a> {
    /// Address of the caller.
    Caller(ClientNetwork),
    /// Name of the node, and the reason in the message if it counts.
    Node(&'a str, String),
    /// Nothing: each answer is logged.
    None,
}

impl Answered<'_> {
    /// Bytes that are not a request.
    pub(super) fn unread(remote: SocketAddr, duration: Duration) -> Self {
        Self { endpoint: None, remote, user: None, group: None, node: None, is_probe: false, duration }
    }
}

impl Default for Answers {
    fn default() -> Self {
        Self { nodes: Guarded::new(Repeats::new(NODES_MAX)), callers: Guarded::new(Repeats::new(CALLERS_MAX)) }
    }
}

impl Answers {
    /// Logs an answer.
    pub(super) fn log(&self, answered: &Answered<'_>, reply: &Reply, now: Instant) {
        let due = if answered.is_probe { None } else { self.due(answered, reply, now) };
        let kind = reply.kind();
        let level = match due {
            None => Level::Debug,
            Some(_) if kind.status() >= 500 => Level::Warn,
            Some(_) => Level::Info,
        };
        let Answered { endpoint, remote, user, group, node, duration, .. } = *answered;
        let omitted = due.filter(|omitted| *omitted > 0);
        log!(
            level,
            endpoint = endpoint.map(Endpoint::name), code = kind.status(), kind = kind.name(), remote:% = remote, user = user,
            group = group, node = node, omitted = omitted, duration = (duration.as_secs_f64() * 1000.0).round() / 1000.0;
            "{}{} from {}: {} {}: {}{}",
            endpoint.map_or("request", Endpoint::name),
            node.map(|node| format!(" of node {node}")).unwrap_or_default(),
            user.map_or_else(|| remote.to_string(), |user| format!("{user:?} at {remote}")),
            kind.status(),
            kind.name(),
            reply.value(),
            omitted.map(|omitted| format!(" (and {omitted} more like this)")).unwrap_or_default()
        );
    }

    /// Reports whether it must be logged that an answer, such as `200 approved`, may not have reached its client.
    pub(super) fn is_loss_due(&self, status_and_kind: &str, remote: SocketAddr, now: Instant) -> bool {
        let is_approval = status_and_kind.ends_with(Kind::Approved.name());
        is_approval || self.callers.lock().due((ClientNetwork::of(remote.ip()), status_and_kind), now).is_some()
    }

    /// Returns the number of equal answers since the last line if this one must be logged.
    fn due(&self, answered: &Answered<'_>, reply: &Reply, now: Instant) -> Option<u32> {
        let (endpoint, kind) = (answered.endpoint.map(Endpoint::name), reply.kind());
        match limit(answered, reply) {
            Limit::Caller(address) => self.callers.lock().due((address, endpoint, kind), now),
            Limit::Node(node, reason) => self.nodes.lock().due((node, endpoint, kind, reason), now),
            Limit::None => Some(0),
        }
    }
}

fn limit<'a>(answered: &Answered<'a>, reply: &Reply) -> Limit<'a> {
    match (reply.kind(), answered.node) {
        (Kind::Approved, _) => Limit::None,
        (Kind::BadRequest | Kind::Unauthorized | Kind::ForbiddenGroup | Kind::ForbiddenNode | Kind::ForbiddenSource, _) | (_, None) => {
            Limit::Caller(ClientNetwork::of(answered.remote.ip()))
        }
        // The log must show at once that another pod keeps the node from being drained, or another right is missing.
        (_, Some(node)) => Limit::Node(node, without_numbers(reply.value())),
    }
}

/// Returns a message without the words that change though the reason is the same: counts and times.
fn without_numbers(message: &str) -> String {
    message.split(' ').filter(|word| !word.trim_start_matches('(').starts_with(|c: char| c.is_ascii_digit())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::clock;

    fn reply(kind: Kind, message: &str) -> Reply {
        Reply::refusal(kind, message.to_owned())
    }

    fn answered<'a>(remote: &str, node: Option<&'a str>) -> Answered<'a> {
        Answered {
            endpoint: Some(Endpoint::PreReboot),
            remote: SocketAddr::new(remote.parse().unwrap(), 40_000),
            user: None,
            group: None,
            node,
            is_probe: false,
            duration: Duration::ZERO,
        }
    }

    #[test]
    fn an_answer_is_logged_once_a_minute_for_each_node_and_reason() {
        let (answers, begun) = (Answers::default(), clock::now().instant);
        let blocked =
            |by: &str| reply(Kind::DrainBlocked, &format!("3 pods left: pod a/{by} is kept since 2026-01-01T00:00:00Z (2 tries)"));
        let cases = [
            ("n1", 0, reply(Kind::SlotsTaken, "by n7 since 12:00"), Some(0)),
            ("n1", 1, reply(Kind::SlotsTaken, "by n7 since 12:05"), None),
            ("n2", 1, reply(Kind::SlotsTaken, "by n7 since 12:05"), Some(0)),
            ("n1", 2, reply(Kind::SlotsTaken, "by n8 since 12:05"), Some(0)),
            ("n1", 2, reply(Kind::Queued, "n2 is first"), Some(0)),
            ("n1", 59, reply(Kind::SlotsTaken, "by n7 since 12:05"), None),
            ("n1", 60, reply(Kind::SlotsTaken, "by n7 since 12:05"), Some(2)),
            ("n1", 61, blocked("web-0"), Some(0)),
            ("n1", 62, reply(Kind::DrainBlocked, "9 pods left: pod a/web-0 is kept since 2027-01-01T00:00:00Z (5 tries)"), None),
            ("n1", 63, blocked("web-1"), Some(0)),
            ("n1", 64, blocked("web-0"), None),
        ];
        for (node, second, reply, want) in cases {
            let due = answers.due(&answered("10.0.0.1", Some(node)), &reply, begun + Duration::from_secs(second));
            assert_eq!(due, want, "{node} {second} {reply:?}");
        }
    }

    #[test]
    fn three_thousand_waiting_nodes_have_a_line_a_minute_each() {
        let (answers, begun) = (Answers::default(), clock::now().instant);
        let logged = |second| {
            let now = begun + Duration::from_secs(second);
            let due = |number: &u32| {
                let node = format!("n{number}");
                let answered = answered("10.0.0.1", Some(&node));
                answers.due(&answered, &reply(Kind::SlotsTaken, &format!("since {second}")), now).is_some()
            };
            (0..3000).filter(due).count()
        };
        assert_eq!([0, 2, 58, 60, 62, 119, 120].map(logged), [3000, 0, 0, 3000, 0, 0, 3000]);
    }

    #[test]
    fn callers_that_act_for_no_known_node_are_limited_by_address() {
        let (answers, now) = (Answers::default(), clock::now().instant);
        let mut logged = 0;
        let mut log = |remote: &str, node, kind, message: &str| {
            logged += usize::from(answers.due(&answered(remote, node), &reply(kind, message), now).is_some());
            logged
        };
        // One line for each address and kind, whatever the caller has sent.
        for text in 0..1000 {
            let text = text.to_string();
            assert_eq!(log("10.0.0.1", None, Kind::BadRequest, &text), 1);
        }
        assert_eq!(log("10.0.0.1", None, Kind::Unauthorized, ""), 2);
        assert_eq!(log("10.0.0.1", Some("n1"), Kind::ForbiddenNode, ""), 3);
        assert_eq!(log("10.0.0.1", Some("n2"), Kind::ForbiddenNode, ""), 3);
        // A host has a whole network of IPv6.
        for host in 1..1000 {
            assert_eq!(log(&format!("2001:db8::{host:x}"), None, Kind::UnknownNode, ""), 4);
        }
        for host in 0..20_000_u32 {
            log(&format!("10.1.{}.{}", host / 256, host % 256), None, Kind::UnknownNode, "");
        }
        assert_eq!(logged, CALLERS_MAX + 1);
    }

    #[test]
    fn an_approval_is_never_omitted() {
        let (answers, now) = (Answers::default(), clock::now().instant);
        let approved = Reply::ok(Kind::Approved, "may reboot".to_owned());
        for node in [Some("n1"), None] {
            for _ in 0..3 {
                assert_eq!(answers.due(&answered("10.0.0.1", node), &approved, now), Some(0));
            }
        }
        // A check-in that has nothing new to say is limited.
        let in_service = |message: &str| Reply::ok(Kind::SteadyState, message.to_owned());
        let due = ["slot freed", "slot freed", "in service"]
            .map(|message| answers.due(&answered("10.0.0.1", Some("n1")), &in_service(message), now));
        assert_eq!(due, [Some(0), None, Some(0)]);
    }
}
