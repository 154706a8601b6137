// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Where the client may still hold back acknowledged writes: a search for data asks the bricks, which don't know of them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::range::ByteRange;

/// The bytes from `start` to `end`; none if that is not after `start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: i64,
    pub(super) end: i64,
}

impl Span {
    /// Nothing.
    const EMPTY: Self = Self { start: i64::MAX, end: 0 };

    /// Whether it is nothing.
    pub(super) fn is_empty(self) -> bool {
        self.start >= self.end
    }

    /// What reaches over both.
    fn join(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// Whether something of it lies between two offsets.
    pub(super) fn meets(self, start: i64, end: i64) -> bool {
        self.start.max(start) < self.end.min(end)
    }
}

/// Writes that one flush takes care of.
#[derive(Debug)]
struct Batch {
    span: Span,
    in_flight: u64,
}

impl Batch {
    const EMPTY: Self = Self { span: Span::EMPTY, in_flight: 0 };
}

/// Two batches: the one that writes go to, and an older one that takes no more, until a flush that began when all of its writes
/// had ended has succeeded. So a guest that never stops to write gets rid of what it wrote, too. While nothing is in flight a flush
/// takes both.
///
/// # Invariants
/// A batch with writes in flight has a span, so it is not replaced.
#[derive(Debug)]
struct Batches {
    open: Batch,
    closed: Batch,
    /// How many batches were closed.
    number: u64,
}

/// What was written since the last flush, or more.
#[derive(Debug)]
pub(super) struct Unflushed(Mutex<Batches>);

impl Unflushed {
    /// For a file that nothing was written to.
    pub(super) fn new() -> Self {
        Self(Mutex::new(Batches { open: Batch::EMPTY, closed: Batch::EMPTY, number: 0 }))
    }

    fn lock(&self) -> MutexGuard<'_, Batches> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that a range, which is not empty, will be written, until the answer is dropped.
    pub(super) fn write(&self, range: ByteRange) -> Writing<'_> {
        let mut batches = self.lock();
        // INVARIANT: the span is not empty from here on.
        batches.open.span = batches.open.span.join(Span { start: range.offset(), end: range.end() });
        batches.open.in_flight = batches.open.in_flight.saturating_add(1);
        Writing { unflushed: self, number: batches.number }
    }

    /// Says that a flush begins.
    pub(super) fn begin_flush(&self) -> Flush {
        let mut batches = self.lock();
        let Batches { open, closed, .. } = &*batches;
        let is_quiet = open.in_flight == 0 && closed.in_flight == 0;
        if !open.span.is_empty() && (closed.span.is_empty() || is_quiet) {
            // INVARIANT: without a span nothing of the closed batch is in flight.
            batches.closed = Batch { span: closed.span.join(open.span), in_flight: open.in_flight };
            batches.open = Batch::EMPTY;
            batches.number = batches.number.saturating_add(1);
        }
        Flush((batches.closed.in_flight == 0).then_some(batches.number))
    }

    /// Says that a flush has succeeded.
    pub(super) fn end_flush(&self, flush: Flush) {
        let mut batches = self.lock();
        // Another flush may have ended before, and another batch be closed.
        if flush.0 == Some(batches.number) {
            batches.closed = Batch::EMPTY;
        }
    }

    /// What may not be on the bricks.
    pub(super) fn span(&self) -> Span {
        let batches = self.lock();
        batches.open.span.join(batches.closed.span)
    }
}

/// A flush that has begun: the number of the batch that it takes care of.
#[derive(Debug)]
pub(super) struct Flush(Option<u64>);

/// A write in flight.
#[derive(Debug)]
pub(super) struct Writing<'a> {
    unflushed: &'a Unflushed,
    number: u64,
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let mut batches = self.unflushed.lock();
        let is_open = self.number == batches.number;
        let batch = if is_open { &mut batches.open } else { &mut batches.closed };
        batch.in_flight = batch.in_flight.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(offset: i64, bytes: i64) -> ByteRange {
        ByteRange::new(offset, bytes).unwrap()
    }

    fn flush(unflushed: &Unflushed) {
        let flush = unflushed.begin_flush();
        unflushed.end_flush(flush);
    }

    #[test]
    fn span_reaches_over_all_writes_until_a_flush() {
        let unflushed = Unflushed::new();
        assert_eq!(unflushed.span(), Span::EMPTY);
        drop(unflushed.write(range(4096, 512)));
        drop(unflushed.write(range(512, 512)));
        assert_eq!(unflushed.span(), Span { start: 512, end: 4608 });
        flush(&unflushed);
        assert_eq!(unflushed.span(), Span::EMPTY);
    }

    #[test]
    fn a_write_in_flight_when_the_flush_begins_stays_until_the_next() {
        let unflushed = Unflushed::new();
        let writing = unflushed.write(range(0, 512));
        let early = unflushed.begin_flush();
        drop(writing);
        unflushed.end_flush(early);
        assert!(unflushed.span().meets(0, 512));
        flush(&unflushed);
        assert_eq!(unflushed.span(), Span::EMPTY);
    }

    #[test]
    fn a_write_after_the_flush_began_stays() {
        let unflushed = Unflushed::new();
        drop(unflushed.write(range(0, 512)));
        let early = unflushed.begin_flush();
        drop(unflushed.write(range(8192, 512)));
        unflushed.end_flush(early);
        assert_eq!(unflushed.span(), Span { start: 8192, end: 8704 });
    }

    #[test]
    fn a_flush_that_ends_late_takes_nothing_that_came_after_it() {
        let unflushed = Unflushed::new();
        drop(unflushed.write(range(0, 512)));
        let (first, late) = (unflushed.begin_flush(), unflushed.begin_flush());
        unflushed.end_flush(first);
        drop(unflushed.write(range(8192, 512)));
        // Closes the batch of the second write, and fails.
        assert!(unflushed.begin_flush().0.is_some());
        unflushed.end_flush(late);
        assert_eq!(unflushed.span(), Span { start: 8192, end: 8704 });
    }

    #[test]
    fn a_flush_that_begins_when_nothing_is_in_flight_takes_everything() {
        let unflushed = Unflushed::new();
        let writing = unflushed.write(range(0, 512));
        let early = unflushed.begin_flush();
        drop(unflushed.write(range(8192, 512)));
        drop(writing);
        unflushed.end_flush(early);
        flush(&unflushed);
        assert_eq!(unflushed.span(), Span::EMPTY);
    }

    #[test]
    fn a_flush_that_ends_late_does_not_take_what_a_later_one_has_joined() {
        let unflushed = Unflushed::new();
        drop(unflushed.write(range(0, 512)));
        let late = unflushed.begin_flush();
        drop(unflushed.write(range(8192, 512)));
        let later = unflushed.begin_flush();
        unflushed.end_flush(late);
        assert!(unflushed.span().meets(8192, 8704));
        unflushed.end_flush(later);
        assert_eq!(unflushed.span(), Span::EMPTY);
    }

    #[test]
    fn writes_without_a_pause_are_flushed_too() {
        let unflushed = Unflushed::new();
        let mut writing = unflushed.write(range(0, 512));
        for start in 1..10 {
            let next = unflushed.write(range(start * 4096, 512));
            drop(std::mem::replace(&mut writing, next));
            flush(&unflushed);
        }
        assert!(!unflushed.span().meets(0, 4096));
    }
}
