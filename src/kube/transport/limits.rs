//! Time limits of an exchange with the API server.

use std::time::Duration;

pub(crate) const RESOLVE: Duration = Duration::from_secs(5);
/// Opening a connection; TLS may take as long again.
pub(crate) const CONNECT: Duration = Duration::from_secs(5);
pub(crate) const SEND_REQUEST: Duration = Duration::from_secs(5);
pub(crate) const SEND_BODY: Duration = Duration::from_secs(10);
/// Maximum time from the last byte of the request to the end of the head of the answer.
pub(crate) const RECEIVE_RESPONSE: Duration = Duration::from_secs(20);
/// Receiving the body of one answer, however large.
pub(crate) const RECEIVE_BODY: Duration = Duration::from_secs(60);
/// A read or write without progress. A long list may take up to `PAGE` while bytes arrive.
pub(crate) const PROGRESS: Duration = Duration::from_secs(20);
/// A call with all its attempts and pauses.
pub(crate) const CALL: Duration = Duration::from_secs(30);
/// A page of a list. The API server itself gives up after 60 seconds.
pub(crate) const PAGE: Duration = Duration::from_secs(60);
/// A whole list, with all pages and restarts.
pub(crate) const LIST: Duration = Duration::from_secs(300);
/// Silence after which a watch counts as lost. An API server sends a bookmark about every minute.
pub(crate) const SILENCE: Duration = Duration::from_secs(90);
/// Time for which an unused connection is kept. It is well below the 90 seconds of the API server and the idle limits of common load
/// balancers, so that a write seldom meets a closed connection.
pub(crate) const IDLE: Duration = Duration::from_secs(15);
