//! Time limits of an exchange with the API server.

use std::time::Duration;

/// Time limits of the parts of an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Finding the server's address.
    pub resolve: Duration,
    /// Opening a connection; TLS may take as long again.
    pub connect: Duration,
    /// Sending the request's head.
    pub send_request: Duration,
    /// Sending the request's body.
    pub send_body: Duration,
    /// Maximum time from the last byte of the request to the end of the head of the answer.
    pub receive_response: Duration,
    /// Receiving the body of one answer, however large.
    pub receive_body: Duration,
    /// A read or write without progress. A long list may take up to `page` while bytes arrive.
    pub progress: Duration,
    /// A call with all its attempts and pauses.
    pub call: Duration,
    /// A page of a list. The API server itself gives up after 60 seconds.
    pub page: Duration,
    /// A whole list, with all pages and restarts.
    pub list: Duration,
    /// Silence after which a watch counts as lost. An API server sends a bookmark about every minute.
    pub silence: Duration,
    /// Time for which an unused connection is kept. It is well below the 90 seconds of the API server and the idle limits of common load
    /// balancers, so that a write seldom meets a closed connection.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            resolve: seconds(5),
            connect: seconds(5),
            send_request: seconds(5),
            send_body: seconds(10),
            receive_response: seconds(20),
            receive_body: seconds(60),
            progress: seconds(20),
            call: seconds(30),
            page: seconds(60),
            list: seconds(300),
            silence: seconds(90),
            idle: seconds(15),
        }
    }
}
