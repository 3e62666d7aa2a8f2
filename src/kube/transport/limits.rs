//! How long each part of an exchange with the API server may take.

use std::time::Duration;

/// The time limits of each part of an exchange. No other table has any.
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
    /// A read or write with no progress. Bounds a long list, which may take up to `page` while it flows.
    pub progress: Duration,
    /// A call as the caller sees it, with all attempts and the pauses between them.
    pub call: Duration,
    /// A page of a list. The API server itself gives up after 60 seconds.
    pub page: Duration,
    /// A whole list, with all pages and restarts.
    pub list: Duration,
    /// The silence after which a watch is given up. An API server sends a bookmark about every minute, so one that is silent for
    /// longer has gone without saying so.
    pub silence: Duration,
    /// The time for which an unused connection is kept. Well below the 90 seconds after which the API server closes it,
    /// and the shortest idle limit of common load balancers, so that a write seldom meets a closed connection.
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
