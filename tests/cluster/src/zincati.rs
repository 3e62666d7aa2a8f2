//! A client that sends what Zincati sends, byte for byte: pretty JSON, no `Content-Type`, no `User-Agent`.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

/// Agent of one machine.
#[derive(Debug, Clone)]
pub struct Zincati {
    pub address: String,
    /// Path before `v1/`, with a slash at both ends.
    pub base: String,
    pub id: String,
    pub group: String,
    /// `user:password`, as from `https://user:password@host/`.
    pub credential: Option<String>,
}

#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub kind: String,
    pub value: String,
    /// Head in lower case.
    pub head: String,
    /// Time from the connection to the end of the answer.
    pub took: Duration,
}

/// Request that is not answered yet.
pub struct Pending {
    stream: TcpStream,
    begun: Instant,
}

impl Zincati {
    pub fn new(address: &str, id: &str) -> Self {
        Self { address: address.to_owned(), base: "/".to_owned(), id: id.to_owned(), group: "default".to_owned(), credential: None }
    }

    /// Adds a user and a password to the `base_url`.
    #[must_use]
    pub fn with_credential(mut self, pair: &str) -> Self {
        self.credential = Some(pair.to_owned());
        self
    }

    #[track_caller]
    pub fn pre_reboot(&self) -> Answer {
        self.send("pre-reboot").answer()
    }

    #[track_caller]
    pub fn steady_state(&self) -> Answer {
        self.send("steady-state").answer()
    }

    /// Sends `pre-reboot` or `steady-state`.
    #[track_caller]
    pub fn send(&self, endpoint: &str) -> Pending {
        send(&self.address, &self.request(endpoint))
    }

    /// Sends a request to a server that may have stopped.
    pub fn try_send(&self, endpoint: &str) -> Option<Pending> {
        try_send(&self.address, &self.request(endpoint)).ok()
    }

    /// Returns the bytes of a request to `pre-reboot` or `steady-state`.
    pub fn request(&self, endpoint: &str) -> Vec<u8> {
        let (id, group) = (json!(self.id), json!(self.group));
        let body = format!("{{\n  \"client_params\": {{\n    \"id\": {id},\n    \"group\": {group}\n  }}\n}}");
        let basic = |pair: &String| format!("authorization: Basic {}\r\n", BASE64_STANDARD.encode(pair));
        let authorization = self.credential.as_ref().map(basic).unwrap_or_default();
        let head = format!(
            "POST {}v1/{endpoint} HTTP/1.1\r\nfleet-lock-protocol: true\r\n{authorization}accept: */*\r\nhost: {}\r\n\
             content-length: {}\r\n\r\n",
            self.base,
            self.address,
            body.len()
        );
        format!("{head}{body}").into_bytes()
    }
}

/// Sends any bytes.
#[track_caller]
pub fn send(address: &str, bytes: &[u8]) -> Pending {
    try_send(address, bytes).expect("the server listens and reads")
}

fn try_send(address: &str, bytes: &[u8]) -> io::Result<Pending> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.write_all(bytes)?;
    Ok(Pending { stream, begun })
}

impl Pending {
    /// Waits for the answer.
    #[track_caller]
    pub fn answer(self) -> Answer {
        self.try_answer().expect("an answer")
    }

    /// Waits for the answer; `None` if the connection ends without an answer.
    pub fn try_answer(self) -> Option<Answer> {
        let mut reader = BufReader::new(&self.stream);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if reader.read_until(b'\n', &mut head).ok()? == 0 {
                return None;
            }
        }
        let head = String::from_utf8_lossy(&head).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).and_then(|value| value.trim().parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body).ok()?;
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Answer { status, kind: text("kind"), value: text("value"), head, took: self.begun.elapsed() })
    }

    /// Closes the connection, as an agent that restarts does.
    pub fn hang_up(self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Reports whether the request is still unanswered after `wait`.
    pub fn is_held(&self, wait: Duration) -> bool {
        self.stream.set_read_timeout(Some(wait)).expect("a time-out");
        let held = self.stream.peek(&mut [0]).is_err();
        self.stream.set_read_timeout(Some(ANSWER_MAX)).expect("a time-out");
        held
    }
}

impl Answer {
    /// Checks the status and the kind, and returns the answer.
    #[track_caller]
    pub fn expect(self, status: u16, kind: &str) -> Self {
        assert!(self.status == status && self.kind == kind, "wanted {status} {kind}, got {self:?}");
        self
    }
}

/// Limit of the wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    /// A request as recorded from reqwest, the HTTP client of Zincati.
    const RECORDED: &[u8] = include_bytes!("../../data/requests/zincati");

    #[test]
    fn request_equals_the_recorded_request_of_zincati() {
        let sent = Zincati::new("10.96.0.20", "978a225b3d7b40e9acd7ce9b62f68444").request("pre-reboot");
        assert_eq!(String::from_utf8_lossy(&sent), String::from_utf8_lossy(RECORDED));
    }
}
