//! Watches: the changes of many objects, one after the other, over one connection.
//!
//! The caller decides from which version a watch continues. At most one event is in memory.
//!
//! Specification: <https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>.

use std::cell::Cell;
use std::io::{self, BufReader, Read};
use std::ops::ControlFlow;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::kube::client::{ApiError, Call, Client, DecodeError, Failure, OBJECT_BYTES_MAX, failure};
use crate::kube::transport::limits;

impl Client {
    /// Watches until the server ends the watch in order after `time`, or `take` ends it. Once the server has accepted, `open` is called
    /// and returns whether to continue. Any other end is an error: a connection that was cut, or was silent for longer than
    /// [`limits::SILENCE`].
    pub(crate) fn watch<T: DeserializeOwned>(
        &self,
        call: &Call,
        time: Duration,
        open: impl FnOnce() -> bool,
        take: impl FnMut(T) -> ControlFlow<()>,
    ) -> Result<(), ApiError> {
        // The server ends the watch a little before the client's own limit.
        let path = format!("{}&timeoutSeconds={}", call.path, time.as_secs().max(1));
        let stream = self.run(call, &path, None, time + limits::CALL, Ok);
        let events = stream.and_then(|answer| {
            if open() { read_events(answer.into_body().into_with_config().limit(u64::MAX).reader(), take) } else { Ok(()) }
        });
        events.map_err(|failure| ApiError::of(call, failure))
    }
}

/// Reads events to the end of `reader`, and passes each to `take`.
fn read_events<T: DeserializeOwned>(reader: impl Read, mut take: impl FnMut(T) -> ControlFlow<()>) -> Result<(), Failure> {
    let left = Cell::new(OBJECT_BYTES_MAX);
    let reader = BufReader::with_capacity(EVENT_BYTES, Bounded { reader, left: &left });
    let events = serde_json::Deserializer::from_reader(reader).into_iter::<T>();
    for event in events {
        let event = event.map_err(|error| failure(error, DecodeError::Object))?;
        left.set(OBJECT_BYTES_MAX);
        if take(event).is_break() {
            return Ok(());
        }
    }
    Ok(())
}

/// Reader with a limit for each event.
struct Bounded<'a, R> {
    reader: R,
    left: &'a Cell<u64>,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.reader.read(buffer)?;
        let left = self.left.get().checked_sub(length as u64).ok_or_else(|| io::Error::other("an event is too large"))?;
        self.left.set(left);
        Ok(length)
    }
}

/// Buffer for events. An event is a whole Node of 10 KB and more; a larger buffer saves few reads.
const EVENT_BYTES: usize = 8192;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const EVENTS: &str = "{\"type\":\"ADDED\",\"object\":{\"a\":\"}\"}}\n{\"type\":\"BOOKMARK\",\"object\":{}}\n";

    /// Reads at most `max` events.
    fn read(text: &str, max: usize) -> (Vec<Value>, Result<(), Failure>) {
        let mut events = Vec::new();
        let result = read_events(text.as_bytes(), |event| {
            events.push(event);
            if events.len() < max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        (events, result)
    }

    #[test]
    fn events_are_taken_in_order_until_enough_was_taken() {
        let all = [json!({"type": "ADDED", "object": {"a": "}"}}), json!({"type": "BOOKMARK", "object": {}})];
        for (text, max) in [(EVENTS.to_owned(), 9), (format!("{EVENTS}broken"), 2), (EVENTS.to_owned(), 1)] {
            let (events, result) = read(&text, max);
            assert_eq!((&events[..], result.is_ok()), (&all[..max.min(2)], true));
        }
    }

    #[test]
    fn a_stream_that_ends_within_an_event_is_cut() {
        let first = EVENTS.find('\n').unwrap();
        for length in 1..EVENTS.trim_end().len() {
            let (events, result) = read(&EVENTS[..length], 9);
            assert_eq!(events.len(), usize::from(length >= first), "{length}");
            let whole = [first, first + 1].contains(&length);
            assert!(if whole { result.is_ok() } else { matches!(result, Err(Failure::Transport(_))) }, "{length}: {result:?}");
        }
    }

    #[test]
    fn each_event_is_bounded_and_not_their_sum() {
        let event = |bytes: usize| format!("{{\"a\":\"{}\"}}\n", "x".repeat(bytes));
        let (events, result) = read(&event(1 << 20).repeat(8), 9);
        assert!((events.len(), result.is_ok()) == (8, true));
        let (events, result) = read(&event(5 << 20), 9);
        assert!(events.is_empty() && matches!(result, Err(Failure::Transport(_))), "{result:?}");
    }
}
