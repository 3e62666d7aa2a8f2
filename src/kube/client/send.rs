//! The client: sends requests, repeats them if that is safe, and decodes the answers.
//!
//! A write that the server may have acted on must never be repeated.
//!
//! Specification: <https://kubernetes.io/docs/reference/using-api/api-concepts/>.

use std::io::{BufReader, Read};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::{HeaderValue, Request, Response, header};
use ureq::{AsSendBody, Body};

use super::call::{Call, Observation, Verb};
use super::error::{ApiError, DecodeError, Failure, TransportError, failure};
use super::retry::{self, Attempt, Next, Outcome};
use super::status::ApiStatus;
use crate::kube::config::{Credentials, Location, Presented};
use crate::kube::transport::{Wire, limits};
use crate::system::{backoff, clock};

/// A client of one API server under one identity, to be shared by all threads.
pub struct Client {
    server: String,
    credentials: Credentials,
    /// Headers that name the user as whom this program acts.
    impersonated: Vec<(String, String)>,
    wire: Wire,
    /// Maximum time of a call, and of silence in a watch. Tests change them.
    call_time: Duration,
    silence: Duration,
    observer: Arc<Observer>,
}

type Observer = dyn Fn(&Observation) + Send + Sync;

impl Client {
    /// Creates a client for the server at `location`. Reads the credential and the certificates, and fails if they cannot be used. No
    /// connection is made yet.
    pub fn connect(location: &Location, observer: Arc<Observer>) -> Result<Self, TransportError> {
        let credentials = Credentials::new(location.identity.clone(), location.roots.clone());
        let wire = Wire::new(location.route.clone());
        wire.agent(&credentials.current(clock::now())?.tls)?;
        let (server, impersonated) = (location.server.clone(), location.identity.impersonated.clone());
        Ok(Self { server, credentials, impersonated, wire, call_time: limits::CALL, silence: limits::SILENCE, observer })
    }

    /// Reads one object, with retries.
    pub(crate) fn read<T: DeserializeOwned>(&self, call: &Call) -> Result<T, ApiError> {
        self.run(call, &call.path, None, self.call_time, decode).map_err(|failure| ApiError::of(call, failure))
    }

    /// Creates or changes one object, and decodes the answer. A retry is made only if the server certainly did not act. After any other
    /// error the caller must read the object.
    pub(crate) fn write<T: DeserializeOwned>(&self, call: &Call, body: &impl Serialize) -> Result<T, ApiError> {
        serde_json::to_vec(body)
            .map_err(unsendable)
            .and_then(|bytes| self.run(call, &call.path, Some(&bytes), self.call_time, decode))
            .map_err(|failure| ApiError::of(call, failure))
    }

    /// Sends a request until it succeeds, must not be repeated, or runs out of time.
    pub(crate) fn run<R>(
        &self,
        call: &Call,
        path: &str,
        body: Option<&[u8]>,
        time: Duration,
        decode: impl Fn(Response<Body>) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        let started = clock::now();
        let deadline = started.instant + time;
        let mut presented = self.credentials.current(started)?;
        let (mut number, mut is_renewed) = (1, false);
        loop {
            let failure = match self.once(call, path, body, &presented, clock::left(deadline)).and_then(&decode) {
                Ok(result) => return Ok(result),
                Err(failure) => failure,
            };
            let outcome = match &failure {
                Failure::Answered(status) => Outcome::Answer(status),
                Failure::Transport(lost) => lost.outcome(),
                Failure::Decode(_) => return Err(failure),
            };
            let (is_write, left) = (call.verb.is_write(), clock::left(deadline));
            let attempt = Attempt { number, is_write, is_renewed, left, jitter: backoff::jitter() };
            match retry::next(&attempt, outcome) {
                Next::GiveUp => return Err(failure),
                Next::Renew => match self.credentials.renewed(&presented, clock::now())? {
                    Some(fresh) => (presented, is_renewed) = (fresh, true),
                    None => return Err(failure),
                },
                Next::Wait(pause) => {
                    log::debug!("attempt {number} to {} failed; the next in {} ms", call.operation(), pause.as_millis());
                    clock::sleep(pause);
                    number += 1;
                }
            }
        }
    }

    fn once(&self, call: &Call, path: &str, body: Option<&[u8]>, presented: &Presented, time: Duration) -> Result<Response<Body>, Failure> {
        let uri = format!("{}{path}", self.server);
        let mut head = Request::builder().method(call.verb.method()).uri(uri).header(header::ACCEPT, call.accept());
        if let Some(authorization) = &presented.authorization {
            let mut value = HeaderValue::from_str(authorization.reveal()).map_err(unsendable)?;
            value.set_sensitive(true);
            head = head.header(header::AUTHORIZATION, value);
        }
        for (name, value) in &self.impersonated {
            head = head.header(name, HeaderValue::from_bytes(value.as_bytes()).map_err(unsendable)?);
        }
        let started = clock::now().instant;
        let answer = match body {
            None => head.body(()).map_err(unsendable).map(|request| self.send(call.verb, request, presented, time)),
            Some(bytes) => {
                let head = head.header(header::CONTENT_TYPE, call.verb.media_type());
                head.body(bytes).map_err(unsendable).map(|request| self.send(call.verb, request, presented, time))
            }
        }?;
        let code = answer.as_ref().ok().map(|response| response.status().as_u16());
        let duration = clock::now().instant.saturating_duration_since(started);
        (self.observer)(&Observation { verb: call.verb, resource: call.resource, code, duration });
        let response = answer?;
        if response.status().is_success() { Ok(response) } else { Err(Failure::Answered(Box::new(status_of(response)))) }
    }

    fn send<B: AsSendBody>(
        &self,
        verb: Verb,
        request: Request<B>,
        presented: &Presented,
        time: Duration,
    ) -> Result<Response<Body>, TransportError> {
        let agent = self.wire.agent(&presented.tls)?;
        let mut request = agent.configure_request(request).timeout_global(Some(time)).timeout_per_call(Some(time));
        if verb == Verb::Watch {
            request = request.timeout_recv_body(Some(time)).timeout_per_read(Some(self.silence));
        }
        Ok(agent.run(request.build())?)
    }
}

fn decode<T: DeserializeOwned>(response: Response<Body>) -> Result<T, Failure> {
    let reader = BufReader::new(response.into_body().into_with_config().limit(OBJECT_BYTES_MAX).reader());
    serde_json::from_reader(reader).map_err(|error| failure(error, DecodeError::Object))
}

/// Reads an answer that is not a success. Without a readable body the status code suffices.
fn status_of(response: Response<Body>) -> ApiStatus {
    let code = response.status().as_u16();
    let after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let mut body = Vec::new();
    let _ = response.into_body().into_reader().take(ERROR_BYTES_MAX).read_to_end(&mut body);
    ApiStatus::of_body(code, after, &body)
}

fn unsendable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
    Failure::Decode(DecodeError::Request(error.into()))
}

/// Twice what the API server stores of one object.
pub(crate) const OBJECT_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// A `Status` is a few hundred bytes.
const ERROR_BYTES_MAX: u64 = 64 * 1024;
#[cfg(test)]
mod tests;
