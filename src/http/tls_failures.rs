//! TLS connections that fail before a request: the reason of each, and when a line is logged. Pure: no I/O, no clock, no log.
//!
//! A node that does not trust our CA shows here and nowhere else. Nodes repeat their calls, so the log gets one line a minute for each
//! reason at most, with the number of failures since the last.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rustls::{AlertDescription, Error};

use crate::metrics::TlsFailure;

const LOGGED_EVERY: Duration = Duration::from_secs(60);

// Addresses of the failures between two lines.
const PEERS_MAX: usize = 8;

/// Failures that were logged, and those since then.
#[derive(Debug, Default)]
pub(super) struct TlsFailures(BTreeMap<TlsFailure, Logged>);

#[derive(Debug)]
struct Logged {
    at: Instant,
    /// Failures since then that were not logged.
    since: u64,
    /// Some of their addresses.
    peers: Vec<IpAddr>,
}

impl TlsFailures {
    /// Records a failure; returns the line to log, if one is due. `detail`: the error as the TLS library describes it.
    pub(super) fn record(&mut self, failure: TlsFailure, peer: SocketAddr, detail: &str, now: Instant) -> Option<String> {
        let more = match self.0.get_mut(&failure) {
            Some(logged) if now.saturating_duration_since(logged.at) < LOGGED_EVERY => {
                logged.since += 1;
                let ip = peer.ip().to_canonical();
                if logged.peers.len() < PEERS_MAX && !logged.peers.contains(&ip) {
                    logged.peers.push(ip);
                }
                return None;
            }
            Some(logged) if logged.since > 0 => {
                format!("; {} more since the last such line, of {}", logged.since, joined(&logged.peers))
            }
            _ => String::new(),
        };
        self.0.insert(failure, Logged { at: now, since: 0, peers: Vec::new() });
        Some(format!("TLS with {peer} failed ({}): {}: {detail}{more}", failure.name(), remedy(failure)))
    }
}

fn joined(peers: &[IpAddr]) -> String {
    peers.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}

/// Returns the reason of an error, during the handshake or after it. `None`: the connection did not fail because of TLS.
pub(super) fn failure(error: &io::Error, is_handshaking: bool) -> Option<TlsFailure> {
    if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        return Some(of_protocol(error));
    }
    is_handshaking.then(|| match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => TlsFailure::TimedOut,
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof => TlsFailure::Closed,
        _ => TlsFailure::Other,
    })
}

/// Returns the reason for a connection that does not begin as TLS does.
pub(super) fn of_first_byte(first: u8) -> TlsFailure {
    // Every method of HTTP that is in use begins with a capital letter.
    if first.is_ascii_uppercase() { TlsFailure::PlainHttp } else { TlsFailure::NotTls }
}

fn of_protocol(error: &Error) -> TlsFailure {
    use AlertDescription as Alert;
    match error {
        // Which of these a client sends depends on its library. `DecryptError`: it trusts another CA of the same name.
        Error::AlertReceived(Alert::UnknownCA | Alert::BadCertificate | Alert::CertificateUnknown | Alert::DecryptError) => {
            TlsFailure::UnknownCa
        }
        Error::AlertReceived(Alert::CertificateExpired) => TlsFailure::CertificateExpired,
        Error::AlertReceived(Alert::ProtocolVersion | Alert::HandshakeFailure | Alert::InsufficientSecurity | Alert::IllegalParameter)
        | Error::PeerIncompatible(_) => TlsFailure::NoSharedParameters,
        Error::AlertReceived(Alert::CloseNotify | Alert::UserCanceled) => TlsFailure::Closed,
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => TlsFailure::NotTls,
        _ => TlsFailure::Other,
    }
}

fn remedy(failure: TlsFailure) -> &'static str {
    match failure {
        TlsFailure::CertificateExpired => "for the client the certificate has expired; compare the clocks, then see docs/tls.md",
        TlsFailure::Closed => "the client closed the connection in the handshake; does it trust the CA (docs/tls.md)?",
        TlsFailure::NoSharedParameters => {
            "the client offers no version of TLS or no cipher that this port accepts; it needs TLS 1.2 or 1.3"
        }
        TlsFailure::NotTls => "the client does not speak TLS; use https:// in base_url",
        TlsFailure::Other => "the handshake is not possible",
        TlsFailure::PlainHttp => "the client speaks plain HTTP; use https:// in base_url",
        TlsFailure::TimedOut => "the handshake took too long",
        TlsFailure::UnknownCa => {
            "the client does not accept the certificate; install the CA on it, and call an address of the certificate (docs/tls.md)"
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::{InvalidMessage, PeerIncompatible};

    use super::*;
    use crate::system::clock;

    #[test]
    fn each_reason_is_logged_once_a_minute_with_the_number_in_between() {
        let (start, peer) = (clock::now().instant, SocketAddr::from(([10, 0, 0, 7], 4711)));
        let mut failures = TlsFailures::default();
        let mut record = |failure, seconds| failures.record(failure, peer, "UnknownCA", start + Duration::from_secs(seconds));
        let first = record(TlsFailure::UnknownCa, 0).unwrap();
        assert!(first.starts_with("TLS with 10.0.0.7:4711 failed (unknown_ca): ") && first.ends_with(": UnknownCA"), "{first}");
        assert!(record(TlsFailure::PlainHttp, 1).is_some(), "another reason has its own line");
        let logged: Vec<_> = (1..3600).filter_map(|second| record(TlsFailure::UnknownCa, second)).collect();
        assert_eq!(logged.len(), 59, "one a minute");
        assert!(logged.iter().all(|line| line.ends_with("; 59 more since the last such line, of 10.0.0.7")), "{logged:?}");
    }

    #[test]
    fn errors_have_their_reasons() {
        let wrapped = |error: Error| io::Error::new(ErrorKind::InvalidData, error);
        let cases = [
            (wrapped(Error::AlertReceived(AlertDescription::UnknownCA)), Some(TlsFailure::UnknownCa)),
            (wrapped(Error::AlertReceived(AlertDescription::BadCertificate)), Some(TlsFailure::UnknownCa)),
            (wrapped(Error::AlertReceived(AlertDescription::CertificateUnknown)), Some(TlsFailure::UnknownCa)),
            (wrapped(Error::AlertReceived(AlertDescription::DecryptError)), Some(TlsFailure::UnknownCa)),
            (wrapped(Error::AlertReceived(AlertDescription::CertificateExpired)), Some(TlsFailure::CertificateExpired)),
            (wrapped(Error::AlertReceived(AlertDescription::HandshakeFailure)), Some(TlsFailure::NoSharedParameters)),
            (wrapped(Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon)), Some(TlsFailure::NoSharedParameters)),
            (wrapped(Error::InvalidMessage(InvalidMessage::InvalidContentType)), Some(TlsFailure::NotTls)),
            (wrapped(Error::DecryptError), Some(TlsFailure::Other)),
            (ErrorKind::WouldBlock.into(), None),
            (ErrorKind::UnexpectedEof.into(), None),
        ];
        for (error, reason) in &cases {
            assert_eq!(failure(error, false), *reason, "{error:?}");
        }
        assert_eq!(failure(&ErrorKind::WouldBlock.into(), true), Some(TlsFailure::TimedOut));
        assert_eq!(failure(&ErrorKind::UnexpectedEof.into(), true), Some(TlsFailure::Closed));
        assert_eq!(failure(&ErrorKind::ConnectionReset.into(), true), Some(TlsFailure::Closed));
        assert_eq!((of_first_byte(b'P'), of_first_byte(0)), (TlsFailure::PlainHttp, TlsFailure::NotTls));
    }
}
