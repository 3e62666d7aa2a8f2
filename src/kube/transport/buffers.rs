//! Buffers of one connection.
//!
//! ureq's own buffers live as long as their connection, and most connections are idle. These exist only while they hold data, which saves
//! 0.1 MiB of resident memory (scripts/measure-memory).

use ureq::unversioned::transport::Buffers;

/// A buffer in each direction, both of one size.
#[derive(Debug)]
pub(super) struct PassingBuffers {
    size: usize,
    output: Vec<u8>,
    /// Empty, or of full size.
    input: Vec<u8>,
    /// Arrived and not consumed: `input[consumed..filled]`.
    consumed: usize,
    filled: usize,
    progress: bool,
}

impl PassingBuffers {
    /// Creates buffers of `size` bytes, which must hold the longest header line of a request and the whole head of an answer.
    pub(super) fn new(size: usize) -> Self {
        Self { size, output: Vec::new(), input: Vec::new(), consumed: 0, filled: 0, progress: false }
    }

    /// The output has been sent.
    pub(super) fn sent(&mut self) {
        self.output = Vec::new();
    }
}

impl Buffers for PassingBuffers {
    fn output(&mut self) -> &mut [u8] {
        self.output.resize(self.size, 0);
        &mut self.output
    }

    fn input(&self) -> &[u8] {
        &self.input[self.consumed..self.filled]
    }

    fn input_append_buf(&mut self) -> &mut [u8] {
        self.input.resize(self.size, 0);
        self.input.copy_within(self.consumed..self.filled, 0);
        self.filled -= self.consumed;
        self.consumed = 0;
        &mut self.input[self.filled..]
    }

    fn input_appended(&mut self, amount: usize) {
        self.filled += amount;
    }

    fn input_consume(&mut self, amount: usize) {
        self.progress = amount > 0;
        self.consumed += amount;
        if self.consumed == self.filled {
            (self.input, self.consumed, self.filled) = (Vec::new(), 0, 0);
        }
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        self.output.resize(self.size, 0);
        let _ = self.input_append_buf();
        (&mut self.input[self.filled..], &mut self.output)
    }

    fn can_use_input(&self) -> bool {
        self.progress && self.consumed < self.filled
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Nothing is lost, doubled or changed, however it arrives and is read; and an idle connection holds nothing.
        #[test]
        fn input_comes_out_as_it_went_in(steps in proptest::collection::vec((0usize..20, 0usize..20, any::<bool>()), 1..50)) {
            let mut buffers = PassingBuffers::new(16);
            let (mut held, mut next) = (VecDeque::new(), 0u8);
            for (arrives, read, sends) in steps {
                let room = if sends { buffers.tmp_and_output().0 } else { buffers.input_append_buf() };
                prop_assert_eq!(room.len(), 16 - held.len());
                let arrives = arrives.min(room.len());
                for place in &mut room[..arrives] {
                    *place = next;
                    held.push_back(next);
                    next = next.wrapping_add(1);
                }
                buffers.input_appended(arrives);
                prop_assert!(buffers.input().iter().eq(&held));
                let read = read.min(held.len());
                buffers.input_consume(read);
                held.drain(..read);
                prop_assert!(buffers.input().iter().eq(&held));
                // After a read of nothing the rest is not enough for the reader.
                prop_assert_eq!(buffers.can_use_input(), read > 0 && !held.is_empty());
                prop_assert_eq!(buffers.input.capacity() > 0, !held.is_empty());
                prop_assert_eq!(buffers.output().len(), 16);
                buffers.sent();
                prop_assert_eq!(buffers.output.capacity(), 0);
            }
        }
    }
}
